/**
 * What `pool.fetch(input, init)` was asked, checked and put into the form that the wire wants: one latin-1 string for request
 * line and headers. Nothing is sent here. The common case, a GET of a URL seen before, is two map look-ups.
 */

import { invalidArgument, type TransferError } from '../protocol/errors.ts';
import {
  checkHeader,
  composeRequestHead,
  normalizeHeaderValue,
  normalizeMethod,
} from '../protocol/http1/request-head.ts';
import { checkRecord, completeTimeouts, describe, type Timeouts } from '../protocol/options.ts';
import { originOf, shown, targetOf } from '../protocol/origin.ts';

export type FetchBody = string | ArrayBuffer | ArrayBufferView | URLSearchParams | null;
export type FetchHeaders = Iterable<readonly [string, string]> | Record<string, string>;

export interface FetchInit {
  /** Default `GET`; normalised as Fetch §4.1 says. CONNECT, TRACE and TRACK are refused. */
  method?: string;
  /** A record, pairs, or a Headers object of any class. */
  headers?: FetchHeaders;
  /** A string and URLSearchParams are sent as UTF-8, with the content type that Fetch gives them unless one is given. Bytes are copied. */
  body?: FetchBody;
  /** Rejects with `signal.reason` when aborted, and frees what the request held. */
  signal?: AbortSignal | null;
  /** This request's clocks; those not named are the pool's. */
  timeouts?: Partial<Timeouts>;
  /** Redirects are not followed yet: `'manual'` is the default. */
  redirect?: 'manual';
}

/** A request ready to be sent. */
export interface FetchRequest {
  readonly target: FetchTarget;
  readonly method: string;
  readonly head: string;
  readonly body: Uint8Array | null;
  readonly signal: AbortSignal | null;
  /** null: the pool's. */
  readonly timeouts: Readonly<Timeouts> | null;
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
    this.#get = { target: this, method: 'GET', head, body: null, signal: null, timeouts: null };
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
/** What a frame can tell of a body's length. */
const BODY_BYTES_MAX = 2 ** 31 - 1;

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
const BUILT = ['method', 'headers', 'body', 'signal', 'timeouts', 'redirect', 'duplex'];
const KNOWN = [...BUILT, ...WITHOUT_EFFECT];

export class FetchRequests {
  readonly #timeouts: Readonly<Timeouts>;
  #targets = new Map<string, FetchTarget>();

  constructor(timeouts: Readonly<Timeouts>) {
    this.#timeouts = timeouts;
  }

  /** Throws TransferError INVALID_ARGUMENT that names the option. */
  prepare(input: unknown, init: unknown): FetchRequest {
    const target = this.#targetOf(input);
    return init === undefined ? target.plainGet : this.#withInit(target, init);
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
    const body = bodyOf(given.body, method, headers);
    const head = composeRequestHead({
      method,
      target: target.path,
      host: target.hostField,
      headers,
      bodyBytes: body === null ? -1 : body.length,
    });
    const timeouts = completeTimeouts(given.timeouts, this.#timeouts);
    return { target, method, head, body, signal, timeouts: timeouts === this.#timeouts ? null : timeouts };
  }
}

function urlText(input: unknown): string {
  if (input instanceof URL) return input.href;
  throw invalidArgument(
    'input',
    `fetch takes a string or a URL, not ${describe(input)}; Request objects are not built yet.`,
  );
}

function badUrl(text: string): TransferError {
  const relative = URL.canParse(text, 'http://relative.invalid/');
  const hint = relative ? '; there is no page here that a relative URL could be relative to' : '';
  return invalidArgument('input', `${describe(withoutCredentials(text))} is not an absolute URL${hint}.`);
}

/** Even text that is no URL may carry a password. */
function withoutCredentials(text: string): string {
  return text.replace(/\/\/[^/@]*@/, '//');
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
    typeof (value as AbortSignal).addEventListener === 'function'
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

function headerPairs(headers: unknown): (readonly [string, string])[] {
  if (headers === undefined || headers === null) return [];
  if (typeof headers !== 'object') {
    throw invalidArgument('headers', `headers must be a record, pairs or a Headers object, not ${describe(headers)}.`);
  }
  const entries = Symbol.iterator in headers ? (headers as Iterable<unknown>) : Object.entries(headers);
  const pairs: (readonly [string, string])[] = [];
  for (const entry of entries) {
    if (!Array.isArray(entry) || entry.length !== 2) {
      throw invalidArgument('headers', `Each header must be a pair of name and value, not ${describe(entry)}.`);
    }
    const name = String(entry[0]);
    const value = normalizeHeaderValue(String(entry[1]));
    checkHeader(name, value);
    pairs.push([name, value]);
  }
  return pairs;
}

/** The body's bytes, and its content type among the headers (Fetch §5.2) when the caller gave none. */
function bodyOf(body: unknown, method: string, headers: (readonly [string, string])[]): Uint8Array | null {
  if (body === undefined || body === null) return null;
  if (method === 'GET' || method === 'HEAD') {
    throw invalidArgument('body', `A ${method} request cannot have a body (Fetch §5.4); use another method.`);
  }
  if (typeof body === 'string') {
    addContentType(headers, 'text/plain;charset=UTF-8');
    return Buffer.from(body, 'utf8');
  }
  if (body instanceof URLSearchParams) {
    addContentType(headers, 'application/x-www-form-urlencoded;charset=UTF-8');
    return Buffer.from(body.toString(), 'utf8');
  }
  const bytes = viewOf(body);
  if (bytes !== null && bytes.length > BODY_BYTES_MAX) {
    throw invalidArgument(
      'body',
      `A body of ${bytes.length} bytes is too long; at most ${BODY_BYTES_MAX} can be sent at once.`,
    );
  }
  if (bytes !== null) return bytes;
  throw invalidArgument(
    'body',
    `body must be a string, bytes or URLSearchParams, not ${describe(body)}; streams, FormData and Blob are not built yet.`,
  );
}

function viewOf(body: unknown): Uint8Array | null {
  if (ArrayBuffer.isView(body)) return new Uint8Array(body.buffer, body.byteOffset, body.byteLength);
  if (body instanceof ArrayBuffer || body instanceof SharedArrayBuffer) return new Uint8Array(body);
  return null;
}

function addContentType(headers: (readonly [string, string])[], value: string): void {
  if (!headers.some(([name]) => name.toLowerCase() === 'content-type')) headers.push(['content-type', value]);
}
