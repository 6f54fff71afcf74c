/**
 * The response that `pool.fetch` answers. A class of our own, because making the runtime's costs 50 to 90 us: it holds one
 * string with everything in it, and makes Headers, streams and the like when they are first asked for. `instanceof Response`
 * holds and every member works: what is missing here is done by a real Response made on demand (see the end of the file).
 */

import { Readable } from 'node:stream';
import { inspect } from 'node:util';
import { parseHeaderSection, parseTrailerSection, reasonPhrase } from '../protocol/http1/header-section.ts';
import { INFO_TIMINGS_BYTES } from '../protocol/port/frames.ts';
import { type HeadFrame, infoTiming, readInfo } from '../protocol/port/response-frames.ts';
import { extractMimeType } from './mime-type.ts';
import type { RedirectStep } from './redirect.ts';
import { ResponseHeaders } from './response-headers.ts';
import { type CertificateSource, ResponseTls } from './response-tls.ts';
import type { BodyHandle } from './unread-bodies.ts';

/** Milliseconds since `pool.fetch` was called; -1: has not happened (yet). A reused connection shows its connect steps as done at once; `tls` equals `connect` on plain connections. */
export interface ResponseTimings {
  /** Left the queue (CURLINFO_QUEUE_TIME_T). */
  readonly queued: number;
  /** The name was resolved (CURLINFO_NAMELOOKUP_TIME_T). */
  readonly dns: number;
  /** Connected (CURLINFO_CONNECT_TIME_T). */
  readonly connect: number;
  /** TLS was set up (CURLINFO_APPCONNECT_TIME_T). */
  readonly tls: number;
  /** The request was written (CURLINFO_POSTTRANSFER_TIME_T). */
  readonly sent: number;
  /** The first byte of the response was seen (CURLINFO_STARTTRANSFER_TIME_T). */
  readonly firstByte: number;
  /** The whole response had come (CURLINFO_TOTAL_TIME_T). */
  readonly end: number;
}

/** Over what a response came. */
export interface ResponseConnection {
  /** Whether the connection had served others before. */
  readonly reused: boolean;
  /** `127.0.0.1:8080`, `[::1]:8080`. */
  readonly remoteAddress: string;
  /** The proxy that it went through, `http://proxy.example:3128`, without credentials; null: none. Then `remoteAddress` is the proxy's. */
  readonly proxy: string | null;
  /** The number of the shard that carried it; -1: none did. */
  readonly shard: number;
  /** `HTTP/1.1` or `HTTP/1.0`. */
  readonly httpVersion: string;
  /** null: `http:`. */
  readonly tls: ResponseTls | null;
}

/** What `pool.fetch` answers: a Response, and what libcurl's getinfo would tell. */
export interface FetchResponse extends Response {
  /** When what happened; read anew each time, so `end` is there once the body has come. */
  readonly timings: ResponseTimings;
  /** Over what it came. */
  readonly connection: ResponseConnection;
  /** The trailer section (RFC 9110 §6.5), once the body has been read to its end; never merged into `headers`. Rejects when the body fails or is given up. */
  readonly trailers: Promise<Headers>;
  /** The redirects that led here, in their order; empty without any. */
  readonly redirects: readonly RedirectStep[];
  /** How often it was tried, retries by `retry` included: 1 without any. */
  readonly attempts: number;
  /** As that of a Response; the copy has all members, too. */
  clone(): FetchResponse;
  /** Newer than some runtimes' Response. */
  bytes(): Promise<Uint8Array<ArrayBuffer>>;
}

/** What went before the last request of a call. */
export interface CallPast {
  readonly redirects: readonly RedirectStep[];
  readonly attempts: number;
}

const NO_REDIRECTS: readonly RedirectStep[] = [];

/** Fetch §2.2.3, without 101 and 103: no 1xx comes here but the 101 that was asked for, and what follows it is its body. */
const NULL_BODY_STATUSES: ReadonlySet<number> = new Set([204, 205, 304]);
const US_PER_MS = 1000;
const NOT_ASCII = /[\x80-\xff]/;
const END_TIMING = 6;
const NO_BYTES = new Uint8Array(0);
/** Info of a response that no shard gave: no timing has happened, and there is no address. */
const NO_INFO = '\xff'.repeat(INFO_TIMINGS_BYTES);
const NO_SHARD = -1;

const utf8 = new TextDecoder();

export class PoolResponse {
  readonly #frame: HeadFrame;
  readonly #url: string;
  readonly #shard: number;
  readonly #hasBody: boolean;
  /** Chunks still coming; null: the body is whole in the frame. */
  readonly #handle: BodyHandle | null;
  /** @internal null: nothing went before. */
  past: CallPast | null = null;
  readonly #certificates: CertificateSource | null;
  #used = false;
  /** The body, when all of it was read before anybody got the response. */
  #whole: Uint8Array<ArrayBuffer> | null = null;
  #headers: Headers | null = null;
  #trailers: Promise<Headers> | null = null;
  #stream: ReadableStream<Uint8Array> | null = null;
  /** The runtime's Response over the same body, once a member asked for it. */
  #real: Response | null = null;

  constructor(
    frame: HeadFrame,
    url: string,
    method: string,
    shard: number,
    handle: BodyHandle | null,
    certificates: CertificateSource | null = null,
  ) {
    this.#certificates = certificates;
    this.#frame = frame;
    this.#url = url;
    this.#shard = shard;
    this.#handle = handle;
    this.#hasBody = method === 'CONNECT' || (method !== 'HEAD' && !NULL_BODY_STATUSES.has(frame.status));
  }

  get status(): number {
    return this.#frame.status;
  }

  get ok(): boolean {
    return this.#frame.status >= 200 && this.#frame.status <= 299;
  }

  get statusText(): string {
    return reasonPhrase(this.#headText);
  }

  get url(): string {
    return this.#url;
  }

  get redirected(): boolean {
    return this.redirects.length > 0;
  }

  get redirects(): readonly RedirectStep[] {
    return this.past?.redirects ?? NO_REDIRECTS;
  }

  get attempts(): number {
    return this.past?.attempts ?? 1;
  }

  get type(): 'basic' {
    return 'basic';
  }

  get headers(): Headers {
    this.#headers ??= new ResponseHeaders(parseHeaderSection(this.#headText));
    return this.#headers;
  }

  get timings(): ResponseTimings {
    return {
      queued: this.#timing(0),
      dns: this.#timing(1),
      connect: this.#timing(2),
      tls: this.#timing(3),
      sent: this.#timing(4),
      firstByte: this.#timing(5),
      end: this.#handle === null ? this.#timing(END_TIMING) : milliseconds(this.#handle.source.endUs),
    };
  }

  get connection(): ResponseConnection {
    const { reused, http10 } = this.#frame;
    const { remoteAddress, proxy, tls } = readInfo(this.#frame);
    return {
      reused,
      remoteAddress,
      proxy,
      shard: this.#shard,
      httpVersion: http10 ? 'HTTP/1.0' : 'HTTP/1.1',
      tls: tls === null ? null : new ResponseTls(tls, this.#certificates),
    };
  }

  get trailers(): Promise<Headers> {
    this.#trailers ??= this.#makeTrailers();
    return this.#trailers;
  }

  get body(): ReadableStream<Uint8Array> | null {
    if (this.#real !== null) return this.#real.body;
    if (!this.#hasBody) return null;
    this.#stream ??= this.#makeStream();
    return this.#stream;
  }

  get bodyUsed(): boolean {
    if (this.#real !== null) return this.#real.bodyUsed;
    return this.#used || (this.#stream !== null && Readable.isDisturbed(this.#stream as never));
  }

  text(): Promise<string> {
    const ready = this.#takeText();
    return ready === null ? this.#takeBytes().then(decode) : Promise.resolve(ready);
  }

  json(): Promise<unknown> {
    const ready = this.#takeText();
    if (ready === null) return this.#takeBytes().then((bytes) => JSON.parse(decode(bytes)));
    try {
      return Promise.resolve(JSON.parse(ready));
    } catch (error) {
      return Promise.reject(error);
    }
  }

  arrayBuffer(): Promise<ArrayBuffer> {
    return this.#takeBytes().then(exactBuffer);
  }

  bytes(): Promise<Uint8Array<ArrayBuffer>> {
    return this.#takeBytes();
  }

  blob(): Promise<Blob> {
    const type = extractMimeType(this.headers.get('content-type')) ?? '';
    return this.#takeBytes().then((bytes) => new Blob([bytes], { type }));
  }

  /** Both read the same body from here on; the copy keeps what a Response of the runtime would not: url, timings, any status. */
  clone(): PoolResponse {
    const copy = new PoolResponse(this.#frame, this.#url, 'GET', this.#shard, this.#handle, this.#certificates);
    const real = this.toResponse();
    if (real.body === null || real.bodyUsed || real.body.locked) {
      copy.#real = real.clone();
    } else {
      // Not by its own `clone`: runtimes cancel the body of such a clone when that is garbage, though somebody holds the body.
      const [mine, theirs] = real.body.tee();
      this.#real = new Response(mine, this.#realInit);
      copy.#real = new Response(theirs, this.#realInit);
    }
    copy.#headers = new ResponseHeaders(this.headers);
    copy.past = this.past;
    return copy;
  }

  /** @internal A response that no shard gave: its head as it would stand on the wire. */
  static local(head: string, body: Uint8Array, url: string, method: string): PoolResponse {
    const info = NO_INFO;
    const frame: HeadFrame = {
      status: 200,
      reused: false,
      http10: false,
      secure: false,
      proxied: false,
      text: info + head,
      infoBytes: info.length,
      headBytes: head.length,
      bodyBytes: body.length,
      body,
    };
    return new PoolResponse(frame, url, method, NO_SHARD, null);
  }

  /** @internal Waits for the whole body, which it has from then on, for who reads it later; null: there is none. */
  async readWhole(): Promise<Uint8Array | null> {
    if (!this.#hasBody) return null;
    const bytes = await this.#takeBytes();
    this.#used = false;
    this.#whole = bytes;
    return bytes;
  }

  /** @internal The values of a field, line by line, as latin-1 text. */
  fieldValues(name: string): string[] {
    return parseHeaderSection(this.#headText)
      .filter(([field]) => field === name)
      .map(([, value]) => value);
  }

  /** @internal Nobody will read the body: its connection is kept where little is left of it. */
  drop(): void {
    this.#handle?.source.cancel();
  }

  /** @internal The runtime's Response over what is left of this one; from then on it holds the body. */
  toResponse(): Response {
    if (this.#real !== null) return this.#real;
    if (this.bodyUsed || this.#stream?.locked) {
      // What is asked of it must fail as it does for a body that was read already. Not kept: a lock may be released.
      const read = new Response(NO_BYTES, this.#realInit);
      void read.arrayBuffer();
      return read;
    }
    this.#real = new Response(this.body, this.#realInit);
    return this.#real;
  }

  [inspect.custom](_depth: number, options: object): string {
    const { status, statusText, url, ok, bodyUsed, connection, timings } = this;
    return `FetchResponse ${inspect({ status, statusText, url, ok, bodyUsed, headers: this.headers, connection, timings }, options)}`;
  }

  /** A status that Response refuses (it knows 200 to 599) is the peer's choice; the rest of the members still work. */
  get #realInit(): ResponseInit {
    const { status, statusText, headers } = this;
    return { status: status >= 200 && status <= 599 ? status : 200, statusText, headers };
  }

  get #headText(): string {
    const { text, infoBytes, headBytes } = this.#frame;
    return text.slice(infoBytes, infoBytes + headBytes);
  }

  #timing(index: number): number {
    return milliseconds(infoTiming(this.#frame.text, index));
  }

  /** The body as text when it is here, whole, and was not touched; null: it must be collected. */
  #takeText(): string | null {
    const { text, body, infoBytes, headBytes } = this.#frame;
    if (
      this.#used ||
      this.#handle !== null ||
      this.#whole !== null ||
      body !== null ||
      this.#stream !== null ||
      this.#real !== null
    )
      return null;
    this.#used = this.#hasBody;
    const bytes = text.slice(infoBytes + headBytes);
    return NOT_ASCII.test(bytes) ? utf8.decode(Buffer.from(bytes, 'latin1')) : bytes;
  }

  #takeBytes(): Promise<Uint8Array<ArrayBuffer>> {
    if (this.#real !== null) return this.#real.arrayBuffer().then((buffer) => new Uint8Array(buffer));
    if (this.bodyUsed) return Promise.reject(new TypeError('Body is unusable: Body has already been read'));
    if (this.#stream?.locked) return Promise.reject(new TypeError('Body is unusable: Body is locked by a reader'));
    this.#used = this.#hasBody;
    if (this.#stream !== null) return collectStream(this.#stream);
    if (this.#whole !== null) return Promise.resolve(this.#whole);
    if (this.#handle !== null) return this.#handle.source.collect(() => this.#announcedBytes);
    return Promise.resolve(this.#wholeBytes());
  }

  /** The length that the peer announced; -1: none. */
  get #announcedBytes(): number {
    const text = this.headers.get('content-length');
    return text === null || !/^\d+$/.test(text) ? -1 : Number(text);
  }

  #wholeBytes(): Uint8Array<ArrayBuffer> {
    const { text, body, infoBytes, headBytes, bodyBytes } = this.#frame;
    if (body !== null) return body as Uint8Array<ArrayBuffer>;
    const bytes = new Uint8Array(bodyBytes);
    const start = infoBytes + headBytes;
    for (let index = 0; index < bodyBytes; index++) bytes[index] = text.charCodeAt(start + index);
    return bytes;
  }

  #makeTrailers(): Promise<Headers> {
    if (this.#handle === null) return Promise.resolve(new Headers());
    const trailers = this.#handle.source.trailers.then((text) => new Headers(parseTrailerSection(text)));
    // Who only looked at this member has nothing to catch; the body's reader hears of a failure in any case.
    trailers.catch(() => undefined);
    return trailers;
  }

  #makeStream(): ReadableStream<Uint8Array> {
    const handle = this.#handle;
    const whole = this.#whole;
    if (whole !== null) return wholeStream(() => whole);
    if (handle === null) return wholeStream(() => this.#wholeBytes());
    return new ReadableStream({
      type: 'bytes',
      async pull(controller): Promise<void> {
        const chunk = await handle.source.next();
        if (chunk !== null) {
          controller.enqueue(chunk);
          return;
        }
        controller.close();
        controller.byobRequest?.respond(0);
      },
      cancel(): void {
        handle.source.cancel();
      },
    });
  }
}

function milliseconds(us: number): number {
  return us < 0 ? -1 : us / US_PER_MS;
}

function wholeStream(bytes: () => Uint8Array<ArrayBuffer>): ReadableStream<Uint8Array> {
  return new ReadableStream({
    type: 'bytes',
    pull(controller): void {
      const chunk = bytes();
      if (chunk.length > 0) controller.enqueue(chunk);
      controller.close();
      controller.byobRequest?.respond(0);
    },
  });
}

async function collectStream(stream: ReadableStream<Uint8Array>): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  const whole = Buffer.concat(chunks);
  return new Uint8Array(exactBuffer(whole));
}

/** UTF-8 with the byte order mark removed (Encoding §6, as Fetch asks). */
function decode(bytes: Uint8Array): string {
  return utf8.decode(bytes);
}

function exactBuffer(bytes: Uint8Array): ArrayBuffer {
  const { buffer, byteOffset, byteLength } = bytes;
  if (byteOffset === 0 && byteLength === buffer.byteLength) return buffer as ArrayBuffer;
  return buffer.slice(byteOffset, byteOffset + byteLength) as ArrayBuffer;
}

// `instanceof Response` holds, and every member of the runtime's Response that is missing above (clone, formData, and what
// later versions add) is done by a real one. Inherited members would throw: they know only their own kind (TRAPS 13).
Object.setPrototypeOf(PoolResponse.prototype, Response.prototype);
for (const key of Reflect.ownKeys(Response.prototype)) {
  if (Object.hasOwn(PoolResponse.prototype, key)) continue;
  const inherited = Object.getOwnPropertyDescriptor(Response.prototype, key) as PropertyDescriptor;
  if (typeof inherited.value === 'function') {
    const method = inherited.value as (...given: unknown[]) => unknown;
    Object.defineProperty(PoolResponse.prototype, key, {
      ...inherited,
      value(this: PoolResponse, ...given: unknown[]): unknown {
        return method.apply(this.toResponse(), given);
      },
    });
  } else if (inherited.get !== undefined) {
    const { get } = inherited;
    Object.defineProperty(PoolResponse.prototype, key, {
      ...inherited,
      get(this: PoolResponse): unknown {
        return get.call(this.toResponse());
      },
    });
  }
}
