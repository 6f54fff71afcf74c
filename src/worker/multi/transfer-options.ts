/**
 * What a Transfer is made of: the options of the application, checked, and the request that they come to, in the form the
 * wire wants. A shard, which gets that form from the main thread, makes transfers without the former.
 */

import { isUint8Array, isUrl } from '../../protocol/built-ins.ts';
import { invalidArgument } from '../../protocol/errors.ts';
import {
  checkTunnelBody,
  EXCHANGE_OPTION_NAMES,
  type ExchangeOptions,
  methodOf,
  resolveExchangeOptions,
  withExchange,
} from '../../protocol/exchange-options.ts';
import { type HeadersGiven, headerPairs } from '../../protocol/http1/header-pairs.ts';
import { CHUNKED_BODY, composeRequestHead, NO_BODY } from '../../protocol/http1/request-head.ts';
import {
  checkRecord,
  completeLimits,
  completeTimeouts,
  DEFAULT_LIMITS,
  DEFAULT_TIMEOUTS,
  describe,
  describeKind,
  type Limits,
  type Timeouts,
} from '../../protocol/options.ts';
import { originOf, targetOf } from '../../protocol/origin.ts';
import { PACE_OPTION_NAMES, type PaceOptions, resolvePaceOptions } from '../../protocol/pace-options.ts';
import { type RequestExtras, resolveExtras, withPace } from '../../protocol/port/request-extras.ts';
import { withTunnels } from '../../protocol/proxy-options.ts';
import {
  ROUTE_OPTION_NAMES,
  type RouteOptions,
  type RoutePlan,
  resolveRouteOptions,
} from '../../protocol/route-options.ts';
import { shownUrl } from '../../protocol/shown-url.ts';
import { type Route, routeOf } from './route.ts';
import type { CloseSocketHook, OpenSocketHook } from './socket-hooks.ts';
import type { Transfer } from './transfer.ts';
import type { UploadSource } from './upload.ts';

/** Returned by `onData`: nothing of the chunk was taken; it comes again, first, after `unpause()` (CURL_WRITEFUNC_PAUSE). */
export const PAUSE = Symbol.for('shardfetch.PAUSE');

/** The final head has arrived. `bytes[start, end)` is the head as text in latin-1, status line first; valid during the call only. */
export type HeadCallback = (transfer: Transfer, bytes: Uint8Array, start: number, end: number) => void;
/** Body bytes `bytes[start, end)`; valid during the call only. Returning PAUSE holds them; whatever else is returned goes on. */
export type DataCallback = (transfer: Transfer, bytes: Uint8Array, start: number, end: number) => unknown;
/** The response is complete. `trailers` is the trailer section as latin-1 text, or ''. */
export type EndCallback = (transfer: Transfer, trailers: string) => void;

/** What `new Transfer(options)` may be told (libcurl: CURLOPT_*). Unknown ones are refused. */
export interface TransferOptions extends RouteOptions, PaceOptions, ExchangeOptions {
  /** Absolute `http:` URL. */
  url: string | URL;
  /** Default `GET`. CONNECT, TRACE and TRACK are refused (Fetch §4.1). */
  method?: string;
  /** Name and value pairs in the order to send. */
  headers?: HeadersGiven;
  /** A string is sent as UTF-8. Bytes are not copied: they must stay as they are until the transfer has completed. A source is asked piece by piece. */
  body?: string | Uint8Array | UploadSource | null;
  /** Which clocks run; the others have their defaults. */
  timeouts?: Partial<Timeouts>;
  /** How much of the response is taken; the others have their defaults. */
  limits?: Partial<Limits>;
  /** Never reuse a connection for this one (CURLOPT_FRESH_CONNECT). Default false. */
  freshConnect?: boolean;
  /** Close the connection after this one (CURLOPT_FORBID_REUSE). Default false. */
  forbidReuse?: boolean;
  /** Whether sending it twice has the effect of once, so that it may be sent again when a reused connection dies before any response byte. Default: its method says (RFC 9110 §9.2.2). */
  idempotent?: boolean;
  /** Makes the sockets of this transfer (CURLOPT_OPENSOCKETFUNCTION). */
  openSocket?: OpenSocketHook;
  /** Closes the sockets that this transfer opened (CURLOPT_CLOSESOCKETFUNCTION). */
  closeSocket?: CloseSocketHook;
  /** Called once, when the final head has arrived (CURLOPT_HEADERFUNCTION). */
  onHead?: HeadCallback;
  /** Called for each piece of the body (CURLOPT_WRITEFUNCTION). */
  onData?: DataCallback;
  /** Called when the response is complete. */
  onEnd?: EndCallback;
  /** Anything of the application's (CURLOPT_PRIVATE). */
  private?: unknown;
}

/** A request in the form the wire wants: what a shard gets from the main thread, ready to be written. */
export interface PreparedRequest {
  readonly kind: 'prepared';
  /** Where it goes; one value for all transfers that go there alike. */
  readonly route: Route;
  readonly method: string;
  /** Request line and header section as latin-1 text, the empty line included. */
  readonly head: string;
  readonly body: Uint8Array | null;
  /** A body that comes in pieces; then `body` is null. */
  readonly upload: UploadSource | null;
  readonly timeouts: Readonly<Timeouts>;
  readonly limits: Readonly<Limits>;
  /** null: the usual. */
  readonly extras: RequestExtras | null;
}

const OPTION_NAMES = [
  'url',
  'method',
  'headers',
  'body',
  'timeouts',
  'limits',
  'freshConnect',
  'forbidReuse',
  'idempotent',
  'openSocket',
  'closeSocket',
  'onHead',
  'onData',
  'onEnd',
  'private',
  ...ROUTE_OPTION_NAMES,
  ...PACE_OPTION_NAMES,
  ...EXCHANGE_OPTION_NAMES,
];

/** Throws TransferError INVALID_ARGUMENT that names the option. */
export function prepareRequest(options: TransferOptions): PreparedRequest {
  checkRecord('options', options, OPTION_NAMES);
  const url = parseUrl(options.url);
  const origin = originOf(url);
  const plan = resolveExchangeOptions(options);
  const routePlan = resolveRouteOptions(options);
  const { upgrade } = plan;
  const method = methodOf(options.method, plan);
  if (options.body !== undefined && options.body !== null && upgrade === null) checkMayHaveBody(method);
  const upload = isUploadSource(options.body) ? options.body : null;
  const body = upload === null ? bodyBytes(options.body) : null;
  if (upgrade !== null) checkTunnelBody(body !== null);
  const head = composeRequestHead({
    method,
    target: targetOf(url),
    host: origin.hostField,
    headers: headerPairs(options.headers, method === 'CONNECT'),
    bodyBytes: upgrade === null ? announcedBytes(body, upload) : NO_BODY,
    upgrade,
  });
  return {
    kind: 'prepared',
    route: sharedRoute(routeOf(origin, upgrade === null ? routePlan : withTunnelling(routePlan))),
    method,
    head: sharedHead(head),
    body,
    upload,
    timeouts: completeTimeouts(options.timeouts, DEFAULT_TIMEOUTS),
    limits: completeLimits(options.limits, DEFAULT_LIMITS),
    extras: withExchange(withPace(resolveExtras(options), resolvePaceOptions(options)), plan),
  };
}

function withTunnelling(plan: RoutePlan): RoutePlan {
  return plan.proxy === null ? plan : { ...plan, proxy: withTunnels(plan.proxy) };
}

/**
 * Of the transfer prepared last. One with an equal plain route, or an equal head, gets the same object: ten thousand transfers to
 * one place then have one route and one text, which stay in the processor's cache (a quarter of a microsecond per request).
 */
let lastRoute: Route | null = null;
let lastHead = '';

function sharedRoute(route: Route): Route {
  const isEqual = lastRoute?.plain && route.plain && lastRoute.origin.text === route.origin.text;
  if (lastRoute === null || !isEqual) lastRoute = route;
  return lastRoute;
}

function sharedHead(head: string): string {
  if (head !== lastHead) lastHead = head;
  return lastHead;
}

function parseUrl(url: unknown): URL {
  if (typeof url !== 'string' && !isUrl(url)) {
    throw invalidArgument('url', `url must be a string or a URL, not ${describe(url)}.`);
  }
  if (typeof url !== 'string') return url instanceof URL ? url : new URL((url as URL).href);
  if (!URL.canParse(url)) throw invalidArgument('url', `url must be an absolute URL, not ${shownUrl(url)}.`);
  return new URL(url);
}

function isUploadSource(body: unknown): body is UploadSource {
  if (typeof body !== 'object' || body === null || !('read' in body) || typeof body.read !== 'function') return false;
  const { length } = body as UploadSource;
  if (Number.isSafeInteger(length) && length >= -1) return true;
  throw invalidArgument(
    'body',
    `The length of a body's source must be a number of bytes or -1, not ${describe(length)}.`,
  );
}

/** As `composeRequestHead` takes it. */
function announcedBytes(body: Uint8Array | null, upload: UploadSource | null): number {
  if (upload !== null) return upload.length < 0 ? CHUNKED_BODY : upload.length;
  return body === null ? NO_BODY : body.length;
}

function checkMayHaveBody(method: string): void {
  if (method !== 'GET' && method !== 'HEAD') return;
  throw invalidArgument('body', `A ${method} request cannot have a body (Fetch §5.4); use another method.`);
}

function bodyBytes(body: unknown): Uint8Array | null {
  if (body === undefined || body === null) return null;
  if (typeof body === 'string') return Buffer.from(body, 'utf8');
  if (isUint8Array(body)) return body;
  throw invalidArgument('body', `body must be a string or a Uint8Array, not ${describeKind(body)}.`);
}

/** A callback of the application's, or null. */
export function checkCallback<T>(option: string, value: T | undefined): T | null {
  if (value === undefined) return null;
  if (typeof value !== 'function')
    throw invalidArgument(option, `${option} must be a function, not ${describe(value)}.`);
  return value;
}
