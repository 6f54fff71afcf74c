/**
 * `http` of a scenario: the requests of one virtual user, each a promise, over connections that are this user's alone, with the cookies
 * it was given. Redirects, where followed, are requests of their own to whoever counts.
 */

import { statSync } from 'node:fs';
import { invalidArgument, TransferError } from '../../protocol/errors.ts';
import { type HeaderPair, headerPairs } from '../../protocol/http1/header-pairs.ts';
import type { LoadPlan } from '../../protocol/load/plan.ts';
import type { ScenarioHttp, ScenarioPlan, ScenarioRequest, ScenarioResponse } from '../../protocol/load/scenario.ts';
import { checkInteger, checkNumber, checkRecord, describeKind } from '../../protocol/options.ts';
import { originOf } from '../../protocol/origin.ts';
import { WholeBody } from '../../protocol/port/whole-body.ts';
import { changesToGet } from '../../protocol/redirect-rules.ts';
import type { RoutePlan } from '../../protocol/route-options.ts';
import { shownUrl } from '../../protocol/shown-url.ts';
import { inGroup, type Route, routeOf } from '../multi/route.ts';
import { Transfer } from '../multi/transfer.ts';
import { prepareRequest } from '../multi/transfer-options.ts';
import type { UploadSource } from '../multi/upload.ts';
import { BodyFile } from './body-file.ts';
import { CookieJar } from './cookie-jar.ts';
import { fieldValues } from './head-fields.ts';
import { redirectFields, redirectOf } from './redirects.ts';
import { BODY_BYTES_MAX, HeldResponse } from './scenario-response.ts';

const MS_PER_DAY = 24 * 3600 * 1_000;
const US_PER_MS = 1_000;
const REDIRECTS_DEFAULT = 10;
const REDIRECTS_MAX = 100;
const NAMES = ['headers', 'body', 'json', 'form', 'tag', 'timeoutMs', 'followRedirects', 'discardBody'];

/** What all users of a shard share. */
export interface ScenarioHost {
  readonly plan: LoadPlan;
  readonly scenario: ScenarioPlan;
  /** By local address. */
  readonly routePlans: readonly RoutePlan[];
  /** Adds the transfer, and drives the multi soon. */
  send(exchange: Exchange, transfer: Transfer): void;
  /** Its transfer has its whole answer. */
  completed(exchange: Exchange, transfer: Transfer): void;
  /** Whether what began then is part of the result. */
  counts(sinceMs: number): boolean;
  tagNumber(name: string): number;
  bodyFile(path: string): BodyFile;
}

/** Files by path, opened when first sent. */
export class BodyFiles {
  readonly #files = new Map<string, BodyFile>();

  get(path: string): BodyFile {
    let file = this.#files.get(path);
    if (file === undefined) {
      file = new BodyFile({ path, bytes: statSync(path).size });
      this.#files.set(path, file);
    }
    return file;
  }

  close(): void {
    for (const file of this.#files.values()) file.close();
  }
}

export class ScenarioClient implements ScenarioHttp {
  /** What `tag()` said; '': nothing. */
  tagName = '';
  readonly host: ScenarioHost;
  readonly jar = new CookieJar();
  /** This user's number in its shard. */
  readonly index: number;
  readonly #base: URL;
  /** By origin. */
  readonly #routes = new Map<string, Route>();

  constructor(host: ScenarioHost, index: number, base: URL) {
    this.host = host;
    this.index = index;
    this.#base = base;
  }

  get(url: string | URL, options?: ScenarioRequest): Promise<ScenarioResponse> {
    return this.request('GET', url, options);
  }

  head(url: string | URL, options?: ScenarioRequest): Promise<ScenarioResponse> {
    return this.request('HEAD', url, options);
  }

  post(url: string | URL, options?: ScenarioRequest): Promise<ScenarioResponse> {
    return this.request('POST', url, options);
  }

  put(url: string | URL, options?: ScenarioRequest): Promise<ScenarioResponse> {
    return this.request('PUT', url, options);
  }

  patch(url: string | URL, options?: ScenarioRequest): Promise<ScenarioResponse> {
    return this.request('PATCH', url, options);
  }

  delete(url: string | URL, options?: ScenarioRequest): Promise<ScenarioResponse> {
    return this.request('DELETE', url, options);
  }

  request(method: string, url: string | URL, options: ScenarioRequest = {}): Promise<ScenarioResponse> {
    return new Promise((resolve, reject) => {
      checkRecord('options', options, NAMES);
      if (!URL.canParse(`${url}`, this.#base.href)) {
        throw invalidArgument('url', `${shownUrl(`${url}`)} is no URL, and none relative to ${shownUrl(this.#base)}.`);
      }
      new Exchange(this, method, new URL(url, this.#base), options, resolve, reject).send();
    });
  }

  clearCookies(): void {
    this.jar.clear();
  }

  /** Connections of this user alone. */
  routeTo(url: URL): Route {
    let route = this.#routes.get(url.origin);
    if (route === undefined) {
      const { routePlans } = this.host;
      const plan = routePlans[this.index % routePlans.length] as RoutePlan;
      route = inGroup(routeOf(originOf(url), plan), `user ${this.index}`);
      this.#routes.set(url.origin, route);
    }
    return route;
  }

  /** What the run sends with each request. */
  fieldsFor(url: URL): HeaderPair[] {
    const { headers, authorization } = this.host.scenario;
    const own = authorization !== '' && url.origin === this.#base.origin;
    return own ? [...headers, ['authorization', authorization]] : [...headers];
  }
}

/** One call of a scenario's: a request, and those that its redirects lead to. */
export class Exchange {
  readonly client: ScenarioClient;
  /** When its present request was sent, on the multi's clock. */
  beganMs = 0;
  tag = 0;
  readonly #options: ScenarioRequest;
  readonly #resolve: (response: ScenarioResponse) => void;
  readonly #reject: (reason: unknown) => void;
  readonly #redirectsMax: number;
  readonly #timeoutMs: number;
  #method: string;
  #url: URL;
  #fields: HeaderPair[];
  #body: string | Uint8Array | BodyFile | null;
  #redirects = 0;
  #head = '';
  /** null: not held. */
  #held: WholeBody | null = null;
  #bodyBytes = 0;

  /** Throws TransferError INVALID_ARGUMENT. */
  constructor(
    client: ScenarioClient,
    method: string,
    url: URL,
    options: ScenarioRequest,
    resolve: (response: ScenarioResponse) => void,
    reject: (reason: unknown) => void,
  ) {
    const { plan } = client.host;
    const { timeoutMs, followRedirects, headers } = options;
    this.client = client;
    this.#method = method;
    this.#url = url;
    this.#options = options;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#timeoutMs = checkNumber('timeoutMs', timeoutMs ?? plan.timeoutMs, 1, MS_PER_DAY, 'milliseconds');
    this.#redirectsMax = followRedirects === undefined ? plan.redirectsMax : redirectsOf(followRedirects);
    const [body, contentType] = contentOf(client.host, options);
    const own = headerPairs(headers);
    this.#body = body;
    this.#fields = withDefaults(own, client.fieldsFor(url), contentType);
  }

  /** Throws TransferError INVALID_ARGUMENT. */
  send(): void {
    const { client } = this;
    const { host } = client;
    const cookie = host.plan.cookies ? client.jar.value(this.#url) : '';
    const body: string | Uint8Array | UploadSource | null =
      this.#body instanceof BodyFile ? this.#body.reader() : this.#body;
    const timeoutMs = this.#timeoutMs;
    const prepared = prepareRequest({
      url: this.#url,
      method: this.#method,
      headers: cookie === '' ? this.#fields : [...this.#fields, ['cookie', cookie]],
      body,
      timeouts: { queueMs: 0, connectMs: timeoutMs, headMs: 0, bodyIdleMs: 0, totalMs: timeoutMs },
      forbidReuse: !host.plan.keepAlive,
    });
    const transfer = new Transfer({ ...prepared, route: client.routeTo(this.#url) });
    this.tag = host.tagNumber(this.#tagName());
    this.#held = this.#options.discardBody === true ? null : new WholeBody(unknownLength);
    this.#bodyBytes = 0;
    transfer.private = this;
    transfer.onHead = (_transfer, bytes, start, end) => this.#answered(bytes, start, end);
    transfer.onData = (_transfer, bytes, start, end) => this.#received(bytes, start, end);
    transfer.onEnd = () => this.#ended(transfer);
    host.send(this, transfer);
  }

  failed(error: TransferError): void {
    this.#reject(error);
  }

  #tagName(): string {
    const { tag } = this.#options;
    if (tag !== undefined) return tag;
    return this.client.tagName === '' ? `${this.#method} ${this.#url.pathname}` : this.client.tagName;
  }

  #answered(bytes: Uint8Array, start: number, end: number): void {
    this.#head = Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString('latin1');
    const { jar, host } = this.client;
    if (!host.plan.cookies) return;
    for (const value of fieldValues(this.#head, 'set-cookie')) jar.take(value, this.#url);
  }

  /** The bytes are only lent. */
  #received(bytes: Uint8Array, start: number, end: number): void {
    this.#bodyBytes += end - start;
    if (this.#bodyBytes > BODY_BYTES_MAX) this.#held = null;
    this.#held?.addCopy(bytes.subarray(start, end));
  }

  #ended(transfer: Transfer): void {
    const { status } = transfer;
    this.client.host.completed(this, transfer);
    const mayFollow = status >= 300 && status < 400 && this.#redirects < this.#redirectsMax;
    const next = mayFollow ? redirectOf(status, fieldValues(this.#head, 'location')[0], this.#url) : null;
    if (next !== null) {
      this.#follow(status, next);
      return;
    }
    const whyNot = this.#options.discardBody === true ? 'was discarded' : `is longer than ${BODY_BYTES_MAX} bytes`;
    this.#resolve(
      new HeldResponse({
        url: this.#url.href,
        status,
        head: this.#head,
        body: this.#held,
        whyNot,
        bodyBytes: this.#bodyBytes,
        latencyMs: transfer.endUs / US_PER_MS,
        redirects: this.#redirects,
      }),
    );
  }

  #follow(status: number, next: URL): void {
    const dropsBody = changesToGet(status, this.#method);
    if (dropsBody) {
      this.#method = 'GET';
      this.#body = null;
    }
    this.#fields = redirectFields(this.#fields, this.#url, next, dropsBody);
    this.#url = next;
    this.#redirects++;
    try {
      this.send();
    } catch (error) {
      this.#reject(error);
    }
  }
}

/** It is read and put together when it is asked for, if it is. */
function unknownLength(): number {
  return -1;
}

function redirectsOf(follow: boolean | number): number {
  if (follow === true) return REDIRECTS_DEFAULT;
  return follow === false ? 0 : checkInteger('followRedirects', follow, 0, REDIRECTS_MAX);
}

/** Fields of the request in front; the run's and the content's where it has none of that name. */
function withDefaults(own: HeaderPair[], run: readonly HeaderPair[], contentType: string): HeaderPair[] {
  const has = (name: string): boolean => own.some(([given]) => given.toLowerCase() === name);
  const fields = [...run.filter(([name]) => !has(name.toLowerCase())), ...own];
  if (contentType !== '' && !has('content-type')) fields.push(['content-type', contentType]);
  return fields;
}

/** The body, and the Content-Type that it implies; '': none. */
function contentOf(
  host: ScenarioHost,
  { body, json, form }: ScenarioRequest,
): [body: string | Uint8Array | BodyFile | null, contentType: string] {
  const given = [body, json, form].filter((one) => one !== undefined).length;
  if (given > 1) throw invalidArgument('body', 'A request has one body: give body, json or form.');
  if (json !== undefined) return [JSON.stringify(json), 'application/json'];
  if (form !== undefined) {
    const pairs = Object.entries(form).map(([name, value]): [string, string] => [name, `${value}`]);
    return [new URLSearchParams(pairs).toString(), 'application/x-www-form-urlencoded'];
  }
  if (body === undefined) return [null, ''];
  if (typeof body === 'string' || body instanceof Uint8Array) return [body, ''];
  if (typeof body === 'object' && body !== null && typeof body.file === 'string') {
    return [host.bodyFile(body.file), ''];
  }
  throw invalidArgument('body', `body must be a string, a Uint8Array or { file }, not ${describeKind(body)}.`);
}

/** Whether no connection could be made: who tries again at once would hammer a server that is down. */
export function couldNotConnect(reason: unknown): boolean {
  return TransferError.is(reason) && (reason.phase === 'dns' || reason.phase === 'connect' || reason.phase === 'tls');
}
