/**
 * What `dispatch(options, handler)` was asked, checked as undici checks it and put into the form that the wire wants. Raw: nothing is added but
 * Host and the framing, no redirect is followed, nothing decoded. The head's last gate is `composeRequestHead`, as for fetch.
 */

import { type ParsedUrlQueryInput, stringify } from 'node:querystring';
import { isUint8Array, isUrl } from '../../protocol/built-ins.ts';
import { methodOf, withExchange } from '../../protocol/exchange-options.ts';
import type { HeaderPair } from '../../protocol/http1/header-pairs.ts';
import { CHUNKED_BODY, composeRequestHead, NO_BODY } from '../../protocol/http1/request-head.ts';
import { resolveUpgrade, type Upgrade } from '../../protocol/http1/upgrade.ts';
import { TIMEOUT_MS_MAX, type Timeouts } from '../../protocol/options.ts';
import { originOf as originOfUrl } from '../../protocol/origin.ts';
import { encodeExtras, type RequestExtras } from '../../protocol/port/request-extras.ts';
import { type ProxyRules, rulesAt } from '../../protocol/proxy-options.ts';
import { shownUrl } from '../../protocol/shown-url.ts';
import type { CallPolicies } from '../call-policies.ts';
import { type ReadyBody, readyBody } from '../fetch-body.ts';
import { type FetchRequest, NOTHING_UNCOLLECTED } from '../fetch-request.ts';
import { type FetchTarget, FetchTargets } from '../fetch-target.ts';
import { DispatchError, invalidDispatch } from './errors.ts';

/** As undici's, of versions 6 to 8. */
export interface DispatchOptions {
  origin?: string | URL | undefined;
  /** Of the URL: path and query, sent as they are. For CONNECT `host:port`. */
  path: string;
  method: string;
  body?: unknown;
  /** A record, pairs, or a flat array of names and values. */
  headers?: unknown;
  /** Appended to a path that has none. */
  query?: Record<string, unknown> | undefined;
  /** Default: its method says (RFC 9110 §9.2.2). */
  idempotent?: boolean | undefined;
  /** No effect: nothing is pipelined. */
  blocking?: boolean | undefined;
  /** The protocol to switch to. */
  upgrade?: boolean | string | null | undefined;
  /** Milliseconds, 0 for none. Default: the pool's `timeouts.headMs`. */
  headersTimeout?: number | null | undefined;
  /** Milliseconds, 0 for none. Default: the pool's `timeouts.bodyIdleMs`. */
  bodyTimeout?: number | null | undefined;
  /** The connection closes after the request. */
  reset?: boolean | undefined;
  /** The body waits for 100 (Continue), 1 s at most. */
  expectContinue?: boolean | undefined;
  /** Whose certificate is asked for, and must be shown. Default: the Host header's name, or the origin's. */
  servername?: string | null | undefined;
  throwOnError?: boolean | undefined;
  maxRedirections?: number | null | undefined;
}

/** What a dispatcher's requests have in common. */
export interface DispatchDefaults {
  readonly timeouts: Readonly<Timeouts>;
  /** null: none. */
  readonly proxy: ProxyRules | null;
  readonly policies: CallPolicies;
}

/** libcurl's (CURLOPT_EXPECT_100_TIMEOUT_MS). */
const EXPECT_CONTINUE_MS = 1_000;
/** As undici's invalidPathRegex, and no more than Latin-1. */
const BAD_IN_PATH = /[^\x21-\xff]/;
/** As far as bodies go: a raw request may have one with any method. */
const ANY_METHOD = 'ANY';
/** Origins whose parsed form is kept. */
const ORIGINS_MAX = 1_000;
const NO_HEADERS: readonly HeaderPair[] = [];

/** A dispatch, checked, before its head is made: what observers may still add headers to. */
export interface DispatchPlan {
  readonly target: FetchTarget;
  readonly path: string;
  readonly method: string;
  /** Without Host and Content-Length, which are of the head's making. */
  readonly headers: readonly HeaderPair[];
  /** '': the origin's. */
  readonly host: string;
  readonly body: ReadyBody['content'];
  readonly upgrade: Upgrade | null;
  readonly timeouts: Readonly<Timeouts> | null;
  readonly extras: string;
  readonly idempotent: boolean | null;
}

export class DispatchRequests {
  readonly #timeouts: Readonly<Timeouts>;
  readonly #proxy: ProxyRules | null;
  readonly #policies: CallPolicies;
  readonly #targets = new FetchTargets();
  /** By what callers write for them. */
  readonly #origins = new Map<string, string>();

  constructor({ timeouts, proxy, policies }: DispatchDefaults) {
    this.#timeouts = timeouts;
    this.#proxy = proxy;
    this.#policies = policies.ofEach ?? policies;
  }

  /** Throws DispatchError UND_ERR_INVALID_ARG, or TransferError INVALID_ARGUMENT. */
  plan(options: DispatchOptions): DispatchPlan {
    const path = pathOf(options);
    const method = checkMethod(options.method);
    const upgrade = upgradeOf(options, method, path);
    checkUnsupported(options);
    const fields = fieldsOf(options.headers);
    const origin = this.#originOf(options.origin);
    const target = this.#targetOf(origin, path);
    const { content, contentType } = bodyOf(options.body, fields.contentLength);
    if (contentType !== '' && !hasField(fields.pairs, 'content-type')) fields.pairs.push(['content-type', contentType]);
    if (isUint8Array(content) && fields.contentLength >= 0 && content.length !== fields.contentLength) {
      throw new DispatchError('UND_ERR_REQ_CONTENT_LENGTH_MISMATCH');
    }
    if (upgrade !== null && content !== null) throw invalidDispatch('A request with upgrade cannot have a body.');
    const servername = servernameOf(target, options.servername, fields.host);
    return {
      target: servername === '' ? target : this.#targetOf(withHost(target.url, servername), path),
      path,
      method,
      headers: fields.pairs,
      host: fields.host === '' ? target.hostField : fields.host,
      body: content,
      upgrade,
      timeouts: this.#timeoutsOf(options),
      extras: extrasOf(
        options,
        fields.isReset,
        upgrade,
        content !== null,
        servername === '' ? null : this.#detourTo(target.url),
      ),
      idempotent: options.idempotent ?? null,
    };
  }

  /** `added`: further headers. Throws TransferError INVALID_ARGUMENT. */
  request(plan: DispatchPlan, added: readonly HeaderPair[] = NO_HEADERS): FetchRequest {
    const { target, path, method, body, upgrade, timeouts, extras, idempotent } = plan;
    const headers = added.length === 0 ? plan.headers : [...plan.headers, ...added];
    const head = composeRequestHead({
      method,
      target: path,
      host: plan.host,
      headers: [['host', upgrade?.authority || plan.host], ...UNASKED_LEFT_OUT, ...headers],
      bodyBytes: body === null || upgrade !== null ? NO_BODY : body.length < 0 ? CHUNKED_BODY : body.length,
      upgrade,
    });
    return {
      target,
      method,
      headers,
      head,
      body,
      signal: null,
      timeouts,
      extras,
      ownRoute: null,
      uncollected: NOTHING_UNCOLLECTED,
      guard: null,
      idempotent,
      upgrade,
      referrer: null,
      integrity: null,
      takesDetour: false,
      policies: this.#policies,
    };
  }

  #originOf(given: unknown): string {
    const text = isUrl(given) ? given.href : given;
    if (typeof text !== 'string' || text === '') {
      throw invalidDispatch('opts.origin must be a non-empty string or URL.');
    }
    let origin = this.#origins.get(text);
    if (origin === undefined) {
      origin = originOf(text);
      if (this.#origins.size >= ORIGINS_MAX) this.#origins.clear();
      this.#origins.set(text, origin);
    }
    return origin;
  }

  #targetOf(origin: string, path: string): FetchTarget {
    if (path.startsWith('/')) return this.#targets.of(origin + path);
    return this.#targets.of(origin);
  }

  /** Under another name, but to where the origin says, and by the way that leads there. */
  #detourTo(url: URL): Detour {
    const connectTo = { host: bareHost(url), port: portOf(url) };
    if (this.#proxy === null) return { route: { connectTo } };
    return { route: { connectTo }, proxy: rulesAt(this.#proxy, originOfUrl(url)) };
  }

  #timeoutsOf({ headersTimeout, bodyTimeout }: DispatchOptions): Readonly<Timeouts> | null {
    const headMs = checkTimeout('headersTimeout', headersTimeout, this.#timeouts.headMs);
    const bodyIdleMs = checkTimeout('bodyTimeout', bodyTimeout, this.#timeouts.bodyIdleMs);
    if (headMs === this.#timeouts.headMs && bodyIdleMs === this.#timeouts.bodyIdleMs) return null;
    return { ...this.#timeouts, headMs, bodyIdleMs };
  }
}

/** An empty Accept or User-Agent says that there is none; one of the caller's is sent all the same. */
const UNASKED_LEFT_OUT: readonly HeaderPair[] = [
  ['accept', ''],
  ['user-agent', ''],
];

function pathOf({ path, query, method }: DispatchOptions): string {
  if (typeof path !== 'string') throw invalidDispatch('path must be a string');
  if (!path.startsWith('/') && !/^https?:\/\//.test(path) && method !== 'CONNECT') {
    throw invalidDispatch('path must be an absolute URL or start with a slash');
  }
  if (BAD_IN_PATH.test(path)) throw invalidDispatch('invalid request path');
  // undici's own connect(url) puts a slash before it.
  if (method === 'CONNECT') return path.startsWith('/') ? path.slice(1) : path;
  return query === undefined || query === null ? path : withQuery(path, query);
}

function withQuery(path: string, query: Record<string, unknown>): string {
  if (path.includes('?') || path.includes('#')) {
    throw invalidDispatch('Query params cannot be passed when url already contains "?" or "#".');
  }
  const all = stringify(query as ParsedUrlQueryInput);
  return all === '' ? path : `${path}?${all}`;
}

function checkMethod(method: unknown): string {
  if (typeof method !== 'string') throw invalidDispatch('method must be a string');
  return method;
}

function upgradeOf({ upgrade }: DispatchOptions, method: string, path: string): Upgrade | null {
  if (method === 'CONNECT') return resolveUpgrade({ connect: path });
  if (!upgrade) return null;
  if (typeof upgrade !== 'string') throw invalidDispatch('upgrade must be a string');
  const resolved = resolveUpgrade(upgrade);
  methodOf(method, { upgrade: resolved, expectContinueMs: 0 });
  return resolved;
}

function checkUnsupported(options: DispatchOptions): void {
  const { maxRedirections, reset, idempotent, expectContinue } = options;
  if (maxRedirections) {
    throw invalidDispatch('maxRedirections is not supported, use the redirect interceptor');
  }
  for (const [name, value] of Object.entries({ reset, idempotent, expectContinue })) {
    if (value !== undefined && value !== null && typeof value !== 'boolean') throw invalidDispatch(`invalid ${name}`);
  }
}

function checkTimeout(name: string, given: unknown, usual: number): number {
  if (given === undefined || given === null) return usual;
  if (typeof given !== 'number' || !Number.isFinite(given) || given < 0) throw invalidDispatch(`invalid ${name}`);
  return Math.min(Math.ceil(given), TIMEOUT_MS_MAX);
}

function originOf(text: string): string {
  if (!URL.canParse(text)) throw invalidDispatch(`The origin ${shownUrl(text)} is not a URL.`);
  const { origin, protocol } = new URL(text);
  if (protocol === 'http:' || protocol === 'https:') return origin;
  throw invalidDispatch('Invalid URL protocol: the URL must start with `http:` or `https:`.');
}

interface Fields {
  readonly pairs: HeaderPair[];
  /** '': none. */
  readonly host: string;
  /** -1: none. */
  readonly contentLength: number;
  readonly isReset: boolean;
}

/** The fields, as far as they are the caller's; those that undici acts on are taken out. */
function fieldsOf(headers: unknown): Fields {
  const pairs: HeaderPair[] = [];
  let host = '';
  let contentLength = -1;
  let isReset = false;
  for (const [key, given] of entriesOf(headers)) {
    if (given === undefined) continue;
    const name = fieldText(key, 'header key');
    const lower = name.toLowerCase();
    for (const one of Array.isArray(given) ? given : [given]) {
      const value = one === null ? '' : fieldText(one, `${name} header`);
      switch (lower) {
        case 'host':
          if (host !== '') throw invalidDispatch('duplicate host header');
          host = value;
          break;
        case 'content-length':
          if (contentLength >= 0) throw invalidDispatch('duplicate content-length header');
          if (!/^\d{1,15}$/.test(value)) throw invalidDispatch('invalid content-length header');
          contentLength = Number(value);
          break;
        case 'connection':
          isReset ||= /(?:^|,)\s*close\s*(?:,|$)/i.test(value);
          break;
        case 'expect':
          throw new DispatchError('UND_ERR_NOT_SUPPORTED', 'expect header not supported');
        case 'te':
          // The engine takes trailers in any case, and says so to nobody.
          if (value.trim().toLowerCase() !== 'trailers') pairs.push([name, value]);
          break;
        default:
          pairs.push([name, value]);
      }
    }
  }
  return { pairs, host, contentLength, isReset };
}

function* entriesOf(headers: unknown): Iterable<readonly [unknown, unknown]> {
  if (headers === undefined || headers === null) return;
  if (typeof headers !== 'object') throw invalidDispatch('headers must be an object or an array');
  if (Array.isArray(headers) && !Array.isArray(headers[0])) {
    if (headers.length % 2 !== 0) throw invalidDispatch('headers array must be even');
    for (let index = 0; index < headers.length; index += 2) yield [headers[index], headers[index + 1]];
    return;
  }
  if (!(Symbol.iterator in headers)) {
    yield* Object.entries(headers);
    return;
  }
  for (const entry of headers as Iterable<unknown>) {
    if (!Array.isArray(entry) || entry.length !== 2) throw invalidDispatch('headers must be in key-value pair format');
    yield entry as [unknown, unknown];
  }
}

function fieldText(value: unknown, what: string): string {
  if (typeof value === 'string') return value;
  if (isUint8Array(value)) return Buffer.from(value.buffer, value.byteOffset, value.length).toString('latin1');
  if (typeof value === 'object' || typeof value === 'symbol' || typeof value === 'function') {
    throw invalidDispatch(`invalid ${what}`);
  }
  return String(value);
}

function hasField(pairs: readonly HeaderPair[], wanted: string): boolean {
  return pairs.some(([name]) => name.toLowerCase() === wanted);
}

/** Of text and bytes no content type is told, as undici tells none. */
function bodyOf(body: unknown, declared: number): ReadyBody {
  if (body === undefined || body === null) return { content: null, contentType: '' };
  const ready = readyBody(body, ANY_METHOD, 'half', declared);
  if (isUint8Array(ready.content) && ready.content.length === 0) return { content: null, contentType: '' };
  return typeof body === 'string' ? { ...ready, contentType: '' } : ready;
}

/** The name to be asked for where it is not the origin's; '': it is. */
function servernameOf({ url }: FetchTarget, given: unknown, host: string): string {
  if (url.protocol !== 'https:') return '';
  const name = typeof given === 'string' && given !== '' ? given : host.replace(/:\d*$/, '');
  return name === '' || name.toLowerCase() === url.hostname ? '' : name;
}

function withHost(url: URL, servername: string): string {
  const text = `https://${servername}${url.port === '' ? '' : `:${url.port}`}`;
  if (!URL.canParse(text)) throw invalidDispatch(`invalid servername ${JSON.stringify(servername)}`);
  return text;
}

/** Nearly all requests have these. */
const RAW: RequestExtras = { decompress: false, interim: true };
const RAW_ENCODED = encodeExtras(RAW);

/** Where the target's host and port are not what is connected to. */
type Detour = Pick<RequestExtras, 'route' | 'proxy'>;

function extrasOf(
  { idempotent, reset, expectContinue }: DispatchOptions,
  isReset: boolean,
  upgrade: Upgrade | null,
  hasBody: boolean,
  detour: Detour | null,
): string {
  const forbidReuse = reset ?? isReset;
  const waits = expectContinue === true && hasBody;
  if (!forbidReuse && !waits && upgrade === null && detour === null && typeof idempotent !== 'boolean') {
    return RAW_ENCODED;
  }
  const expectContinueMs = waits ? EXPECT_CONTINUE_MS : 0;
  return encodeExtras(
    withExchange(
      {
        ...RAW,
        ...(forbidReuse ? { forbidReuse } : {}),
        ...(typeof idempotent === 'boolean' ? { idempotent } : {}),
        ...detour,
      },
      { upgrade, expectContinueMs },
    ),
  );
}

function bareHost({ hostname }: URL): string {
  return hostname.startsWith('[') ? hostname.slice(1, -1) : hostname;
}

function portOf({ port }: URL): number {
  return port === '' ? 443 : Number(port);
}
