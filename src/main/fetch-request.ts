/**
 * What `pool.fetch(input, init)` was asked, checked and put into the form that the wire wants: one latin-1 string for request
 * line and headers. Nothing is sent here. The common case, a GET of a URL seen before, is two map look-ups.
 */

import { invalidArgument, type TransferError } from '../protocol/errors.ts';
import { type HeaderPair, type HeadersGiven, headerPairs } from '../protocol/http1/header-pairs.ts';
import {
  CHUNKED_BODY,
  composeRequestHead,
  NO_BODY,
  normalizeHeaderValue,
  normalizeMethod,
} from '../protocol/http1/request-head.ts';
import { checkRecord, completeTimeouts, describe, type Timeouts } from '../protocol/options.ts';
import { originOf, shown, targetOf } from '../protocol/origin.ts';
import { type PaceOptions, resolvePace } from '../protocol/pace-options.ts';
import {
  encodeExtras,
  FLAG_NAMES,
  OWN_ROUTE_NAMES,
  type OwnRoute,
  resolveExtras,
  withOwnRoute,
  withPace,
} from '../protocol/port/request-extras.ts';
import { type BodyPieces, type FetchBody, type ReadyBody, readyBody } from './fetch-body.ts';
import { isRequestLike, mergeRequest } from './request-like.ts';

export type FetchHeaders = HeadersGiven;

export interface FetchInit {
  /** Default `GET`; normalised as Fetch §4.1 says. CONNECT, TRACE and TRACK are refused. */
  method?: string | undefined;
  /** A record, pairs, or a Headers object of any class. */
  headers?: FetchHeaders | undefined;
  /** Sent with the content type that Fetch gives it, unless one is given. Bytes are copied. With a `content-length` header a stream is held to it, else it is sent in chunked coding; one that was read before is refused. */
  body?: FetchBody | undefined;
  /** Must be `'half'` for a body that is a stream or an async iterable. */
  duplex?: 'half' | undefined;
  /** Rejects with `signal.reason` when aborted, and frees what the request held. */
  signal?: AbortSignal | null | undefined;
  /** This request's clocks; those not named are the pool's. */
  timeouts?: Partial<Timeouts> | undefined;
  /** Redirects are not followed yet: `'manual'` is the default, the others reject. */
  redirect?: 'manual' | 'follow' | 'error' | undefined;
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

/** A request ready to be sent. */
export interface FetchRequest {
  readonly target: FetchTarget;
  readonly method: string;
  readonly head: string;
  /** The whole body, or its pieces. */
  readonly body: Uint8Array | BodyPieces | null;
  readonly signal: AbortSignal | null;
  /** null: the pool's. */
  readonly timeouts: Readonly<Timeouts> | null;
  /** What it asks for beyond the usual, as its frame carries it; '': nothing. */
  readonly extras: string;
  /** As asked; null: its method says. */
  readonly idempotent: boolean | null;
}

/** A URL taken apart once. */
export class FetchTarget {
  readonly url: URL;
  /** Without fragment and credentials: what `response.url` shows. */
  readonly href: string;
  readonly origin: string;
  readonly hostField: string;
  readonly path: string;
  readonly #get: FetchRequest;

  constructor(url: URL) {
    const origin = originOf(url);
    this.url = url;
    this.origin = origin.text;
    this.hostField = origin.hostField;
    this.path = targetOf(url);
    this.href = withoutFragment(shown(url));
    const head = composeRequestHead({
      method: 'GET',
      target: this.path,
      host: this.hostField,
      headers: [],
      bodyBytes: -1,
    });
    this.#get = {
      target: this,
      method: 'GET',
      head,
      body: null,
      signal: null,
      timeouts: null,
      extras: '',
      idempotent: null,
    };
  }

  /** A GET without options, made once. */
  get plainGet(): FetchRequest {
    return this.#get;
  }
}

/** URLs whose parsed form is kept: parsing costs more than everything else a small request does on the main thread. */
const TARGETS_MAX = 4096;
/** Longer URLs are not kept, so that what is kept stays small. */
const TARGET_TEXT_MAX = 2048;

/** Init members of WHATWG fetch that are about browsers and mean nothing here: they are accepted and have no effect. */
const WITHOUT_EFFECT = [
  'cache',
  'credentials',
  'integrity',
  'keepalive',
  'mode',
  'priority',
  'referrer',
  'referrerPolicy',
  'window',
];
const BUILT = [
  'method',
  'headers',
  'body',
  'signal',
  'timeouts',
  'redirect',
  'duplex',
  'pace',
  ...FLAG_NAMES,
  ...OWN_ROUTE_NAMES,
];
const KNOWN = [...BUILT, ...WITHOUT_EFFECT];

export class FetchRequests {
  readonly #timeouts: Readonly<Timeouts>;
  #targets = new Map<string, FetchTarget>();

  constructor(timeouts: Readonly<Timeouts>) {
    this.#timeouts = timeouts;
  }

  /** Throws TransferError INVALID_ARGUMENT that names the option. */
  prepare(input: unknown, init: unknown): FetchRequest {
    if (isRequestLike(input)) return this.#withInit(this.#targetOf(input.url), mergeRequest(input, init));
    const target = this.#targetOf(input);
    return init === undefined || init === null ? target.plainGet : this.#withInit(target, init);
  }

  #targetOf(input: unknown): FetchTarget {
    const text = typeof input === 'string' ? input : urlText(input);
    let target = this.#targets.get(text);
    if (target === undefined) {
      if (!URL.canParse(text)) throw badUrl(text);
      target = new FetchTarget(new URL(text));
      if (this.#targets.size >= TARGETS_MAX) this.#targets.clear();
      if (text.length <= TARGET_TEXT_MAX) this.#targets.set(text, target);
    }
    return target;
  }

  #withInit(target: FetchTarget, init: unknown): FetchRequest {
    const given = checkRecord('init', init, KNOWN) as FetchInit;
    const method = normalizeMethod(checkString('method', given.method ?? 'GET'));
    const signal = checkSignal(given.signal);
    checkRedirect(given.redirect);
    const headers = headerPairs(given.headers);
    const timeouts = completeTimeouts(given.timeouts, this.#timeouts);
    const { content, contentType } = readyBody(given.body, method, given.duplex, declaredBytes(headers));
    if (contentType !== '' && !hasHeader(headers, 'content-type')) headers.push(['content-type', contentType]);
    const head = composeRequestHead({
      method,
      target: target.path,
      host: target.hostField,
      headers,
      bodyBytes: announcedBytes(content),
    });
    return {
      target,
      method,
      head,
      body: content,
      signal,
      timeouts: timeouts === this.#timeouts ? null : timeouts,
      extras: encodeExtras(
        withPace(withOwnRoute(resolveExtras(given), ownRouteOf(given)), resolvePace('pace', given.pace)),
      ),
      idempotent: given.idempotent ?? null,
    };
  }
}

function ownRouteOf({ unixPath, connectTo }: FetchInit): OwnRoute {
  return { ...(unixPath === undefined ? {} : { unixPath }), ...(connectTo === undefined ? {} : { connectTo }) };
}

function urlText(input: unknown): string {
  if (input instanceof URL) return input.href;
  throw invalidArgument('input', `fetch takes a string, a URL or a Request, not ${describe(input)}.`);
}

function badUrl(text: string): TransferError {
  const relative = URL.canParse(text, 'http://relative.invalid/');
  const hint = relative ? '; there is no page here that a relative URL could be relative to' : '';
  return invalidArgument('input', `${describe(withoutCredentials(text))} is not an absolute URL${hint}.`);
}

/**
 * Even text that is no URL may carry a password, and because it is no URL nobody can say where that ends: everything up to the
 * last "@" is left out, unless the text is plainly a path.
 */
function withoutCredentials(text: string): string {
  const at = text.lastIndexOf('@');
  if (at < 0 || !/^\s*([/\\]{2}|[^/\\?#]*:)/.test(text)) return text;
  const scheme = /^\s*([a-z][a-z0-9+.-]*:)/i.exec(text)?.[1] ?? '';
  return `${scheme}//…${text.slice(at)}`;
}

function withoutFragment(href: string): string {
  const at = href.indexOf('#');
  return at < 0 ? href : href.slice(0, at);
}

function checkString(option: string, value: unknown): string {
  if (typeof value === 'string') return value;
  throw invalidArgument(option, `${option} must be a string, not ${describe(value)}.`);
}

function checkSignal(signal: unknown): AbortSignal | null {
  if (signal === undefined || signal === null) return null;
  if (isSignal(signal)) return signal;
  throw invalidArgument('signal', `signal must be an AbortSignal, not ${describe(signal)}.`);
}

/** By shape: signals of other realms and of polyfills are as good. */
function isSignal(value: unknown): value is AbortSignal {
  return (
    typeof value === 'object' &&
    value !== null &&
    typeof (value as AbortSignal).aborted === 'boolean' &&
    typeof (value as AbortSignal).addEventListener === 'function' &&
    typeof (value as AbortSignal).removeEventListener === 'function'
  );
}

function checkRedirect(redirect: unknown): void {
  if (redirect === undefined || redirect === 'manual') return;
  if (redirect === 'follow' || redirect === 'error') {
    throw invalidArgument(
      'redirect',
      `redirect: '${redirect}' is not built yet; 'manual', the default, gives the 3xx response as it is.`,
    );
  }
  throw invalidArgument('redirect', `redirect must be 'follow', 'error' or 'manual', not ${describe(redirect)}.`);
}

/** The length in the caller's Content-Length; -1: none, or one that composing the head will refuse. */
function declaredBytes(headers: readonly HeaderPair[]): number {
  const value = headers.find(([name]) => name.toLowerCase() === 'content-length')?.[1] ?? '';
  const digits = normalizeHeaderValue(value);
  return /^\d{1,15}$/.test(digits) ? Number(digits) : -1;
}

/** As `composeRequestHead` takes it. */
function announcedBytes(content: ReadyBody['content']): number {
  if (content === null) return NO_BODY;
  return content.length < 0 ? CHUNKED_BODY : content.length;
}

function hasHeader(headers: readonly HeaderPair[], wanted: string): boolean {
  return headers.some(([name]) => name.toLowerCase() === wanted);
}
