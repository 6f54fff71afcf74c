/** What `fetch(input, init)` may be told in its init: the members, which of them are known, and the checks of the plain ones. */

import { invalidArgument } from '../protocol/errors.ts';
import { EXCHANGE_OPTION_NAMES, type ExchangeOptions } from '../protocol/exchange-options.ts';
import type { HeadersGiven } from '../protocol/http1/header-pairs.ts';
import { describe, type Timeouts } from '../protocol/options.ts';
import type { PaceOptions } from '../protocol/pace-options.ts';
import { FLAG_NAMES, OWN_ROUTE_NAMES, type OwnRoute } from '../protocol/port/request-extras.ts';
import type { AuthOptions } from './auth.ts';
import { BODY_OPTION_NAMES, type BodyOptions } from './body-options.ts';
import { BROWSER_NAMES, type BrowserMembers } from './browser-members.ts';
import { CONNECTING_NAMES, type ConnectingOptions } from './connecting.ts';
import type { CookieJar } from './cookies.ts';
import type { FetchBody } from './fetch-body.ts';
import type { RedirectMode, RedirectOptions } from './redirect-options.ts';
import type { ReferrerPolicyName } from './referrer.ts';
import type { RetryOptions } from './retry-options.ts';

/** Header fields as `fetch` takes them: a record, pairs, or a Headers object of any class. A member of a record that is null or undefined is not sent. */
export type FetchHeaders = HeadersGiven;

/** What `pool.fetch(input, init)` may be told: the members of WHATWG fetch, and those of this package. Unknown ones are refused. */
export interface FetchInit extends BodyOptions, BrowserMembers, ConnectingOptions, ExchangeOptions {
  /** Default `GET`; normalised as Fetch §4.1 says. CONNECT, TRACE and TRACK are refused. */
  method?: string | undefined;
  /** A record, pairs, or a Headers object of any class. */
  headers?: FetchHeaders | undefined;
  /** Sent with the content type that Fetch gives it, unless one is given. Bytes are copied. With a `content-length` header a stream is held to it, else it is sent in chunked coding; one that was read before is refused. */
  body?: FetchBody | undefined;
  /** Must be `'half'` for a body that is a stream or an iterable. */
  duplex?: 'half' | undefined;
  /** Rejects with `signal.reason` when aborted, and frees what the request held. */
  signal?: AbortSignal | null | undefined;
  /** This request's clocks; those not named are the pool's. */
  timeouts?: Partial<Timeouts> | undefined;
  /** `'follow'` up to 20, `'error'`, or `'manual'`: the 3xx response itself, readable; or more in an object. Default: the pool's, `'follow'`. */
  redirect?: RedirectMode | RedirectOptions | undefined;
  /** When it is made again; what is not named is the pool's, `true` is the defaults, `false` never. Default: the pool's, never. */
  retry?: RetryOptions | boolean | undefined;
  /** A jar in place of the pool's; null: none. */
  cookies?: CookieJar | null | undefined;
  /** Who asks: a user name and a password, or a token. For the URL's origin alone. An Authorization header of yours wins, and this wins over a user name in the URL. */
  auth?: AuthOptions | null | undefined;
  /** What the body must hash to (Subresource Integrity): `'sha256-…'`, `sha384` or `sha512`, several with blanks between; of the strongest that is named one must fit. The response is given when its whole body was read and fits; else it rejects with BAD_RESPONSE. */
  integrity?: string | undefined;
  /** The URL of what asks, sent as Referer as far as `referrerPolicy` lets it. Default: none is sent. A `referer` header goes before it. */
  referrer?: string | URL | undefined;
  /** How much of `referrer` is sent where (Referrer Policy §3). Default `'strict-origin-when-cross-origin'`. */
  referrerPolicy?: ReferrerPolicyName | undefined;
  /** How fast it may and must be. Default: the pool's. */
  pace?: PaceOptions | undefined;
  /** Never on a connection that served others (CURLOPT_FRESH_CONNECT). Default: true where `connections.reuse` of the pool is false. */
  freshConnect?: boolean | undefined;
  /** The connection closes after this request (CURLOPT_FORBID_REUSE), but may have served others: see `freshConnect`. Default: true where `connections.reuse` of the pool is false. */
  forbidReuse?: boolean | undefined;
  /** Whether sending it twice has the effect of once: then it is sent again when a reused connection dies before any response byte. Default: its method says (RFC 9110 §9.2.2). */
  idempotent?: boolean | undefined;
  /** The unix socket to connect to, in place of the URL's host (CURLOPT_UNIX_SOCKET_PATH). The Host field stays. */
  unixPath?: string | undefined;
  /** The target of the TCP connection in place of the URL's host and port: `{ host, port }` or `'host:port'`; either may be left out (CURLOPT_CONNECT_TO). The Host field stays. */
  connectTo?: OwnRoute['connectTo'] | undefined;
}

/** Every other member is refused. */
export const INIT_NAMES: readonly string[] = [
  'method',
  'headers',
  'body',
  'signal',
  'timeouts',
  'redirect',
  'retry',
  'cookies',
  'auth',
  'duplex',
  'pace',
  ...FLAG_NAMES,
  ...BODY_OPTION_NAMES,
  ...OWN_ROUTE_NAMES,
  ...CONNECTING_NAMES,
  ...EXCHANGE_OPTION_NAMES,
  'integrity',
  'referrer',
  'referrerPolicy',
  ...BROWSER_NAMES,
];

export function checkSignal(signal: unknown): AbortSignal | null {
  if (signal === undefined || signal === null) return null;
  if (isSignal(signal)) return signal;
  throw invalidArgument('signal', `signal must be an AbortSignal, not ${describe(signal)}.`);
}

/** By shape: signals of other realms and of polyfills are as good. */
export function isSignal(value: unknown): value is AbortSignal {
  return (
    typeof value === 'object' &&
    value !== null &&
    typeof (value as AbortSignal).aborted === 'boolean' &&
    typeof (value as AbortSignal).addEventListener === 'function' &&
    typeof (value as AbortSignal).removeEventListener === 'function'
  );
}
