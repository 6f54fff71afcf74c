/**
 * Transfer: libcurl's easy handle. One request and what becomes of it: its options, callbacks, state, clocks and timings.
 * It moves no bytes (see `connection.ts`) and decides nothing about connections (see `connection-cache.ts`).
 *
 * States, and what is true in each:
 *
 *   new       not added to a multi, or removed from it
 *   runnable  added; starts in the multi's next turn
 *   queued    waits in its destination's queue for a connection slot
 *   dialing   `dial` opens a connection for it: look-up, then connecting
 *   sending   has `connection`; part of the request is not written yet (a response may already arrive)
 *   waiting   has `connection`; the request is written, the final head has not arrived
 *   body      has `connection`; the head has been delivered
 *   done      has completed with `error` or without; stays added until removed
 */

import { invalidArgument, MultiError, TransferError, type TransferPhase } from '../../protocol/errors.ts';
import {
  CHUNKED_BODY,
  checkHeader,
  composeRequestHead,
  NO_BODY,
  normalizeHeaderValue,
  normalizeMethod,
} from '../../protocol/http1/request-head.ts';
import {
  checkRecord,
  completeLimits,
  completeTimeouts,
  DEFAULT_LIMITS,
  DEFAULT_TIMEOUTS,
  describe,
  type Limits,
  type Timeouts,
} from '../../protocol/options.ts';
import { type Origin, originOf, targetOf } from '../../protocol/origin.ts';
import type { Connection } from './connection.ts';
import type { Dial } from './dial.ts';
import type { Multi } from './multi.ts';
import { TimerNode } from './timer-queue.ts';
import type { UploadSource } from './upload.ts';

export type TransferState = 'new' | 'runnable' | 'queued' | 'dialing' | 'sending' | 'waiting' | 'body' | 'done';

/** Returned by `onData`: nothing of the chunk was taken; it comes again, first, after `unpause()` (CURL_WRITEFUNC_PAUSE). */
export const PAUSE = Symbol.for('shardfetch.PAUSE');

/** The final head has arrived. `bytes[start, end)` is the head as text in latin-1, status line first; valid during the call only. */
export type HeadCallback = (transfer: Transfer, bytes: Uint8Array, start: number, end: number) => void;
/** Body bytes `bytes[start, end)`; valid during the call only. */
// biome-ignore lint/suspicious/noConfusingVoidType: a callback that returns nothing goes on; one that returns PAUSE holds.
export type DataCallback = (transfer: Transfer, bytes: Uint8Array, start: number, end: number) => void | typeof PAUSE;
/** The response is complete. `trailers` is the trailer section as latin-1 text, or ''. */
export type EndCallback = (transfer: Transfer, trailers: string) => void;

export interface TransferOptions {
  /** Absolute `http:` URL. */
  url: string | URL;
  /** Default `GET`. CONNECT, TRACE and TRACK are refused (Fetch §4.1). */
  method?: string;
  /** Name and value pairs in the order to send. */
  headers?: Iterable<readonly [string, string]> | Record<string, string>;
  /** A string is sent as UTF-8. Bytes are not copied: they must stay as they are until the transfer has completed. A source is asked piece by piece. */
  body?: string | Uint8Array | UploadSource | null;
  timeouts?: Partial<Timeouts>;
  limits?: Partial<Limits>;
  /** Never reuse a connection for this one (CURLOPT_FRESH_CONNECT). Default false. */
  freshConnect?: boolean;
  /** Close the connection after this one (CURLOPT_FORBID_REUSE). Default false. */
  forbidReuse?: boolean;
  onHead?: HeadCallback;
  onData?: DataCallback;
  onEnd?: EndCallback;
  /** Anything of the application's (CURLOPT_PRIVATE). */
  private?: unknown;
}

/** A request in the form the wire wants: what a shard gets from the main thread, ready to be written. */
export interface PreparedRequest {
  readonly kind: 'prepared';
  readonly origin: Origin;
  readonly method: string;
  /** Request line and header section as latin-1 text, the empty line included. */
  readonly head: string;
  readonly body: Uint8Array | null;
  /** A body that comes in pieces; then `body` is null. */
  readonly upload: UploadSource | null;
  readonly timeouts: Readonly<Timeouts>;
  readonly limits: Readonly<Limits>;
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
  'onHead',
  'onData',
  'onEnd',
  'private',
];

/** Milliseconds from the start of the transfer; -1 for what has not happened. A reused connection shows its connect steps as done at once. */
export interface TransferTimings {
  /** Left the queue (CURLINFO_QUEUE_TIME_T). */
  queued: number;
  /** The name was resolved (CURLINFO_NAMELOOKUP_TIME_T). */
  dns: number;
  /** Connected (CURLINFO_CONNECT_TIME_T). */
  connect: number;
  /** TLS was set up (CURLINFO_APPCONNECT_TIME_T); equals `connect` on plain connections. */
  tls: number;
  /** The request was written (CURLINFO_POSTTRANSFER_TIME_T). */
  sent: number;
  /** The first byte of the response was seen (CURLINFO_STARTTRANSFER_TIME_T). */
  firstByte: number;
  /** Completed (CURLINFO_TOTAL_TIME_T). */
  end: number;
}

export interface TransferInfo {
  readonly state: TransferState;
  /** 0 before the head. */
  readonly status: number;
  /** `HTTP/1.1` or `HTTP/1.0`; '' before the head. */
  readonly httpVersion: string;
  /** Whether it ran over a connection that had served others (CURLINFO_NUM_CONNECTS = 0). */
  readonly reused: boolean;
  /** `127.0.0.1:8080`; '' before there is a connection. */
  readonly remoteAddress: string;
  readonly bytesReceived: number;
  readonly bytesSent: number;
  /** Whether it was sent a second time because its reused connection died before any response byte (RFC 9110 §9.2.2). */
  readonly retried: boolean;
}

const NEVER = Number.POSITIVE_INFINITY;
const US_PER_MS = 1000;

export class Transfer {
  readonly origin: Origin;
  readonly method: string;
  readonly head: string;
  readonly body: Uint8Array | null;
  readonly upload: UploadSource | null;
  readonly timeouts: Readonly<Timeouts>;
  readonly limits: Readonly<Limits>;
  readonly forbidReuse: boolean;
  onHead: HeadCallback | null = null;
  onData: DataCallback | null = null;
  onEnd: EndCallback | null = null;
  private: unknown = undefined;
  /** A small integer of the application's, kept apart from `private` so that reading it costs nothing. */
  id = 0;

  /** Why it failed; null while it runs and after success. */
  error: TransferError | null = null;
  status = 0;
  minorVersion = -1;
  reused = false;
  remoteAddress = '';
  bytesReceived = 0;
  bytesSent = 0;

  // What follows is the engine's; the application reads it through `info` and `timings`.

  /** @internal */ state: TransferState = 'new';
  /** @internal The multi it is added to. */ multi: Multi | null = null;
  /** @internal All transfers of a multi form a list. */ previous: Transfer | null = null;
  /** @internal */ next: Transfer | null = null;
  /** @internal Its place in its destination's queue; meaningful in 'queued'. */ queuePrevious: Transfer | null = null;
  /** @internal */ queueNext: Transfer | null = null;
  /** @internal True exactly while it waits in the multi's list of transfers to run. */ scheduled = false;
  /** @internal Set in 'dialing'. */ dial: Dial | null = null;
  /** @internal Set in 'sending', 'waiting' and 'body'. */ connection: Connection | null = null;
  /** @internal */ readonly freshConnect: boolean;
  /** @internal */ retried = false;
  /** @internal True exactly when its completion was announced and not yet read. */ unread = false;
  /** @internal */ paused = false;
  /** @internal Where a body of known length is received; null: through `onData`. */ target: Uint8Array | null = null;
  /** @internal */ targetOffset = 0;
  /** @internal Its share of connections to its destination; 0: the multi's limit. */ hostConnections = 0;
  /** @internal The multi's clock when it was added, or earlier (the main thread's call). */ startMs = -1;
  /** @internal */ queuedAtMs = 0;
  /** @internal Made when the first clock starts. */ timer: TimerNode | null = null;
  /** @internal */ totalDeadline = NEVER;
  /** @internal The clock of the present state. */ phaseDeadline = NEVER;
  /** @internal Microseconds since `startMs`, small integers; -1: not yet. */ queuedUs = -1;
  /** @internal */ dnsUs = -1;
  /** @internal */ connectUs = -1;
  /** @internal */ tlsUs = -1;
  /** @internal */ sentUs = -1;
  /** @internal */ firstByteUs = -1;
  /** @internal */ endUs = -1;

  /** Throws TransferError INVALID_ARGUMENT that names the option. */
  constructor(options: TransferOptions | PreparedRequest) {
    if ('kind' in options) {
      this.origin = options.origin;
      this.method = options.method;
      this.head = options.head;
      this.body = options.body;
      this.upload = options.upload;
      this.timeouts = options.timeouts;
      this.limits = options.limits;
      this.forbidReuse = false;
      this.freshConnect = false;
      return;
    }
    checkRecord('options', options, OPTION_NAMES);
    const url = parseUrl(options.url);
    this.origin = originOf(url);
    this.method = normalizeMethod(options.method ?? 'GET');
    if (options.body !== undefined && options.body !== null) checkMayHaveBody(this.method);
    this.upload = isUploadSource(options.body) ? options.body : null;
    this.body = this.upload === null ? bodyBytes(options.body) : null;
    this.head = composeRequestHead({
      method: this.method,
      target: targetOf(url),
      host: this.origin.hostField,
      headers: headerPairs(options.headers),
      bodyBytes: announcedBytes(this.body, this.upload),
    });
    this.timeouts = completeTimeouts(options.timeouts, DEFAULT_TIMEOUTS);
    this.limits = completeLimits(options.limits, DEFAULT_LIMITS);
    this.freshConnect = options.freshConnect === true;
    this.forbidReuse = options.forbidReuse === true;
    this.onHead = callback('onHead', options.onHead);
    this.onData = callback('onData', options.onData);
    this.onEnd = callback('onEnd', options.onEnd);
    this.private = options.private;
  }

  /**
   * No body bytes are delivered and the socket is no longer read until `unpause()` (curl_easy_pause). The body clock stands
   * still; the others run.
   */
  pause(): void {
    if (this.paused) return;
    this.paused = true;
    this.multi?.readClock();
    this.connection?.pauseChanged();
    this.multi?.pauseChanged();
  }

  /** Goes on in the multi's next turn, which the timer callback asks for: no socket event is needed. */
  unpause(): void {
    if (!this.paused) return;
    this.paused = false;
    this.multi?.readClock();
    this.connection?.pauseChanged();
    this.multi?.schedule(this);
  }

  /** The source of the body, which had answered PAUSE, has more (or has ended); the engine asks it in the multi's next turn. */
  continueUpload(): void {
    this.multi?.schedule(this);
  }

  /**
   * Inside `onHead` only: a body of known length goes straight into `target`, which must hold exactly `contentLength` bytes,
   * and `onData` is not called. Saves a copy per byte.
   */
  receiveInto(target: Uint8Array): void {
    const length = this.connection?.parser.bodyRemaining ?? -1;
    if (length !== target.length) {
      throw new MultiError('BAD_FUNCTION_ARGUMENT', `The target holds ${target.length} bytes, the body ${length}.`);
    }
    this.target = target;
    this.targetOffset = 0;
  }

  get info(): TransferInfo {
    return {
      state: this.state,
      status: this.status,
      httpVersion: this.minorVersion < 0 ? '' : `HTTP/1.${this.minorVersion}`,
      reused: this.reused,
      remoteAddress: this.remoteAddress,
      bytesReceived: this.bytesReceived,
      bytesSent: this.bytesSent,
      retried: this.retried,
    };
  }

  get timings(): TransferTimings {
    return {
      queued: milliseconds(this.queuedUs),
      dns: milliseconds(this.dnsUs),
      connect: milliseconds(this.connectUs),
      tls: milliseconds(this.tlsUs),
      sent: milliseconds(this.sentUs),
      firstByte: milliseconds(this.firstByteUs),
      end: milliseconds(this.endUs),
    };
  }

  /** @internal True when it must not take an idle connection: asked for, or the one retry. */
  get mustBeFresh(): boolean {
    return this.freshConnect || this.retried;
  }

  /** @internal Where it is, as errors tell it. */
  get phase(): TransferPhase {
    switch (this.state) {
      case 'new':
      case 'runnable':
      case 'queued':
        return 'queue';
      case 'dialing':
        return this.dial?.phase ?? 'connect';
      case 'sending':
        return 'send';
      case 'waiting':
        return 'head';
      case 'body':
      case 'done':
        return this.state;
    }
    return this.state satisfies never;
  }

  /** @internal Microseconds from the start to `now`, as a small integer. */
  since(now: number): number {
    return Math.round((now - this.startMs) * US_PER_MS);
  }

  /** @internal Starts the clock of the state just entered; `ms` 0: none. */
  startPhaseClock(multi: Multi, now: number, ms: number): void {
    this.phaseDeadline = ms > 0 ? now + ms : NEVER;
    const deadline = Math.min(this.phaseDeadline, this.totalDeadline);
    if (this.timer === null) {
      if (deadline === NEVER) return;
      this.timer = new TimerNode(this);
    }
    multi.timers.set(this.timer, deadline);
  }

  /** @internal */
  stopClocks(multi: Multi): void {
    this.phaseDeadline = NEVER;
    this.totalDeadline = NEVER;
    if (this.timer !== null) multi.timers.cancel(this.timer);
  }

  /** @internal A clock ran out (TimerOwner). */
  onTimer(now: number): void {
    const multi = this.multi;
    if (multi === null) return;
    multi.fail(this, this.totalDeadline <= now ? this.#totalTimeout() : this.#phaseTimeout());
  }

  /** @internal Back to what it was before `add`, so that it can be added again (rule 4). */
  reset(): void {
    this.state = 'new';
    this.multi = null;
    this.dial = null;
    this.connection = null;
    this.scheduled = false;
    this.unread = false;
    this.paused = false;
    this.startMs = -1;
  }

  /** @internal What a new run starts from. */
  begin(): void {
    this.target = null;
    this.error = null;
    this.status = 0;
    this.minorVersion = -1;
    this.reused = false;
    this.remoteAddress = '';
    this.bytesReceived = 0;
    this.bytesSent = 0;
    this.retried = false;
    this.queuedUs = -1;
    this.dnsUs = -1;
    this.connectUs = -1;
    this.tlsUs = -1;
    this.sentUs = -1;
    this.firstByteUs = -1;
    this.endUs = -1;
  }

  #totalTimeout(): TransferError {
    const { totalMs } = this.timeouts;
    return new TransferError(
      'TOTAL_TIMEOUT',
      `The transfer from ${this.origin.text} did not complete within ${totalMs} ms; raise timeouts.totalMs if it may take longer.`,
      { limit: 'timeouts.totalMs', phase: this.phase },
    );
  }

  #phaseTimeout(): TransferError {
    const { phase, timeouts } = this;
    const origin = this.origin.text;
    switch (this.state) {
      case 'new':
      case 'runnable':
      case 'queued':
        return new TransferError(
          'QUEUE_TIMEOUT',
          `No connection to ${origin} became free within ${timeouts.queueMs} ms; raise connections.perOrigin or timeouts.queueMs.`,
          { limit: 'timeouts.queueMs', phase },
        );
      case 'dialing':
        return new TransferError(
          'CONNECT_TIMEOUT',
          `${phase === 'dns' ? 'Resolving' : 'Connecting to'} ${origin} took longer than ${timeouts.connectMs} ms; check the address or raise timeouts.connectMs.`,
          { limit: 'timeouts.connectMs', phase },
        );
      case 'sending':
      case 'waiting':
        return new TransferError(
          'HEAD_TIMEOUT',
          `${origin} ${this.state === 'sending' ? 'stopped taking the request' : 'sent no complete response head'} for ${timeouts.headMs} ms; raise timeouts.headMs if it needs longer.`,
          { limit: 'timeouts.headMs', phase },
        );
      case 'body':
      case 'done':
        return new TransferError(
          'BODY_TIMEOUT',
          `${origin} sent no body bytes for ${timeouts.bodyIdleMs} ms; raise timeouts.bodyIdleMs if pauses are expected.`,
          { limit: 'timeouts.bodyIdleMs', phase },
        );
    }
  }
}

function milliseconds(us: number): number {
  return us < 0 ? -1 : us / US_PER_MS;
}

function parseUrl(url: unknown): URL {
  if (typeof url !== 'string' && !(url instanceof URL)) {
    throw invalidArgument('url', `url must be a string or a URL, not ${describe(url)}.`);
  }
  if (url instanceof URL) return url;
  if (!URL.canParse(url)) throw invalidArgument('url', `url must be an absolute URL, not ${describe(url)}.`);
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
  if (body instanceof Uint8Array) return body;
  throw invalidArgument('body', `body must be a string or a Uint8Array, not ${describe(body)}.`);
}

function headerPairs(headers: unknown): readonly (readonly [string, string])[] {
  if (headers === undefined) return [];
  if (typeof headers !== 'object' || headers === null) {
    throw invalidArgument('headers', `headers must be pairs or a record, not ${describe(headers)}.`);
  }
  const given = Symbol.iterator in headers ? [...(headers as Iterable<unknown>)] : Object.entries(headers);
  return given.map((pair): [string, string] => {
    if (!Array.isArray(pair) || pair.length !== 2) {
      throw invalidArgument('headers', `Each header must be a pair of name and value, not ${describe(pair)}.`);
    }
    const name = String(pair[0]);
    const value = normalizeHeaderValue(String(pair[1]));
    checkHeader(name, value);
    return [name, value];
  });
}

function callback<T>(option: string, value: T | undefined): T | null {
  if (value === undefined) return null;
  if (typeof value !== 'function')
    throw invalidArgument(option, `${option} must be a function, not ${describe(value)}.`);
  return value;
}
