/**
 * Transfer: libcurl's easy handle. One request and what becomes of it: its options, callbacks, state, clocks and timings.
 * It moves no bytes (see `connection.ts`) and decides nothing about connections (see `connection-cache.ts`).
 *
 * States, and what is true in each:
 *
 *   new       not added to a multi, or removed from it
 *   runnable  added; starts in the multi's next turn
 *   queued    waits in its destination's queue for a connection slot
 *   dialing   `dial` opens a connection for it: look-up, then connecting; then `handshake`, for TLS and for a proxy
 *   sending   has `connection`; part of the request is not written yet (a response may already arrive)
 *   waiting   has `connection`; the request is written, the final head has not arrived
 *   body      has `connection`; the head has been delivered
 *   done      has completed with `error` or without; stays added until removed
 */

import type { X509Certificate } from 'node:crypto';
import { MultiError, type TransferError, type TransferPhase } from '../../protocol/errors.ts';
import { completeTimeouts, type Limits, type Timeouts } from '../../protocol/options.ts';
import type { Origin } from '../../protocol/origin.ts';
import type { TlsInfo } from '../io/tls-io.ts';
import { headAlong } from '../proxy/forward-head.ts';
import type { Connection } from './connection.ts';
import type { Dial } from './dial.ts';
import type { Handshake } from './handshake.ts';
import type { Multi } from './multi.ts';
import { type Pace, paceOf } from './pace.ts';
import type { Route } from './route.ts';
import type { SocketHooks } from './socket-hooks.ts';
import { phaseTimeout, totalTimeout } from './timeouts.ts';
import { TimerNode } from './timer-queue.ts';
import {
  checkCallback,
  type DataCallback,
  type EndCallback,
  type HeadCallback,
  type PreparedRequest,
  prepareRequest,
  type TransferOptions,
} from './transfer-options.ts';
import type { UploadSource } from './upload.ts';

/** Where in its life a transfer is. `new`: not added; `done`: completed, with an error or without. */
export type TransferState = 'new' | 'runnable' | 'queued' | 'dialing' | 'sending' | 'waiting' | 'body' | 'done';

/** What `pause` holds. */
export type PauseDirection = 'receive' | 'send' | 'both';

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

/** What is known of a transfer (libcurl: curl_easy_getinfo). */
export interface TransferInfo {
  /** Where in its life it is. */
  readonly state: TransferState;
  /** 0 before the head. */
  readonly status: number;
  /** `HTTP/1.1` or `HTTP/1.0`; '' before the head. */
  readonly httpVersion: string;
  /** Whether it ran over a connection that had served others (CURLINFO_NUM_CONNECTS = 0). */
  readonly reused: boolean;
  /** `127.0.0.1:8080`; '' before there is a connection. */
  readonly remoteAddress: string;
  /** The proxy it goes through, `http://proxy.example:3128` (CURLINFO_USED_PROXY); '': none. Then `remoteAddress` is the proxy's. */
  readonly proxy: string;
  /** Protocol, cipher and whether a session was resumed (CURLINFO_TLS_SSL_PTR); null on plain connections and before there is one. */
  readonly tls: TlsInfo | null;
  /** Bytes of its body, as they came (CURLINFO_SIZE_DOWNLOAD_T). */
  readonly bytesReceived: number;
  /** Bytes that were written, head included. */
  readonly bytesSent: number;
  /** Whether it was sent a second time because its reused connection died before any response byte (RFC 9110 §9.2.2). */
  readonly retried: boolean;
}

const NEVER = Number.POSITIVE_INFINITY;
const US_PER_MS = 1000;

/** One request and what becomes of it (libcurl: an easy handle). It does nothing until it is added to a multi. May be added again when it was removed. */
export class Transfer {
  // Changed by `become` alone.
  origin: Origin;
  /** Where and how it connects. */
  route: Route;
  method: string;
  head: string;
  body: Uint8Array | null;
  upload: UploadSource | null;
  /** Changed with `setTimeouts`. */
  timeouts: Readonly<Timeouts>;
  readonly limits: Readonly<Limits>;
  readonly forbidReuse: boolean;
  /** null: its method says. */
  readonly idempotent: boolean | null;
  /** The protocols that it would switch to; '': it is a CONNECT; null: it stays with HTTP. */
  readonly upgrade: string | null;
  /** How long its body waits for 100 (Continue); 0: it does not. */
  readonly expectContinueMs: number;
  /** It opens a connection and is complete (CURLOPT_CONNECT_ONLY). */
  readonly connectOnly: boolean;
  onHead: HeadCallback | null = null;
  /** @internal Hears of heads of 1xx responses, 100 and 101 left out; must not throw. */
  onInterim: ((transfer: Transfer, status: number, bytes: Uint8Array, start: number, end: number) => void) | null =
    null;
  onData: DataCallback | null = null;
  onEnd: EndCallback | null = null;
  /** The application's own (CURLOPT_PRIVATE). */
  private: unknown = undefined;
  /** A small integer of the application's, kept apart from `private` so that reading it costs nothing. */
  id = 0;

  /** Why it failed; null while it runs and after success. */
  error: TransferError | null = null;
  status = 0;
  minorVersion = -1;
  reused = false;
  remoteAddress = '';
  /** Of the connection it runs or ran over; null: plain, or none yet. */
  tls: TlsInfo | null = null;
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
  /** @internal Set in 'dialing', until connected. */ dial: Dial | null = null;
  /** @internal Set in 'dialing', once connected: TLS, or a proxy. */ handshake: Handshake | null = null;
  /** @internal Set in 'sending', 'waiting' and 'body'. */ connection: Connection | null = null;
  /** @internal Changed between runs by who sends many requests. */ freshConnect: boolean;
  /** @internal null: the engine opens and closes its sockets itself. */ readonly socketHooks: SocketHooks | null =
    null;
  /** @internal */ retried = false;
  /** @internal The server does not know `Expect` (417). */ expectationRefused = false;
  /** @internal Its connection can serve again; meaningful in 'done'. */ kept = false;
  /** @internal Where its unread message waits; -1: it has none. See completions.ts. */ messagePlace = -1;
  /** @internal True exactly while its EASY_DONE waits to be told. */ unnotified = false;
  /** @internal Receiving is paused. */ paused = false;
  /** @internal Sending is paused. */ sendPaused = false;
  /** @internal null: as fast as it goes, and as slow. */ readonly pace: Pace | null;
  /** @internal Where a body of known length is received; null: through `onData`. */ target: Uint8Array | null = null;
  /** @internal */ targetOffset = 0;
  /** @internal The connection cache's generation when it dialed. */ generation = 0;
  /** @internal Its share of connections to its destination; 0: the multi's limit. */ hostConnections = 0;
  /** @internal The multi's clock when it was added, or earlier (the main thread's call). */ startMs = -1;
  /** @internal */ queuedAtMs = 0;
  /** @internal Made when the first clock starts. */ timer: TimerNode | null = null;
  /** @internal */ totalDeadline = NEVER;
  /** @internal The clock of the present state. */ phaseDeadline = NEVER;
  /** @internal Microseconds since `startMs`, small integers for the first 35 minutes; -1: not yet. */ queuedUs = -1;
  /** @internal */ dnsUs = -1;
  /** @internal */ connectUs = -1;
  /** @internal */ tlsUs = -1;
  /** @internal */ sentUs = -1;
  /** @internal */ firstByteUs = -1;
  /** @internal */ endUs = -1;

  /** Throws TransferError INVALID_ARGUMENT that names the option. */
  constructor(options: TransferOptions | PreparedRequest) {
    const request = isPrepared(options) ? options : prepareRequest(options);
    this.route = request.route;
    this.origin = request.route.origin;
    this.method = request.method;
    this.head = headAlong(request.route, request.head);
    this.body = request.body;
    this.upload = request.upload;
    this.timeouts = request.timeouts;
    this.limits = request.limits;
    const given = isPrepared(options) ? null : options;
    const { extras } = request;
    this.freshConnect = extras?.freshConnect === true;
    this.forbidReuse = extras?.forbidReuse === true;
    this.idempotent = extras?.idempotent ?? null;
    this.upgrade = extras?.upgrade ?? null;
    this.expectContinueMs = extras?.expectContinueMs ?? 0;
    this.connectOnly = extras?.connectOnly === true;
    this.pace = extras?.pace === undefined ? null : paceOf(this, extras.pace);
    if (given === null) return;
    this.socketHooks = socketHooksOf(given);
    this.onHead = checkCallback('onHead', given.onHead);
    this.onData = checkCallback('onData', given.onData);
    this.onEnd = checkCallback('onEnd', given.onEnd);
    this.private = given.private;
  }

  /**
   * Holds the transfer until `unpause` (curl_easy_pause), in any state and in every callback. Receiving, the default: no body bytes
   * are delivered, the socket is not read and the body clock stands still. Sending: nothing is written, not even the head, and
   * the clock of a stalled upload stands still. The other clocks run. Throws MultiError BAD_FUNCTION_ARGUMENT.
   */
  pause(direction: PauseDirection = 'receive'): void {
    const receive = holdsReceiving(direction) || this.paused;
    const send = holdsSending(direction) || this.sendPaused;
    if (receive === this.paused && send === this.sendPaused) return;
    this.paused = receive;
    this.sendPaused = send;
    this.multi?.readClock();
    this.connection?.pauseChanged();
    this.multi?.pauseChanged();
  }

  /**
   * Goes on, by default with receiving, in the multi's next turn, which the timer callback asks for: no socket event is needed.
   * Throws MultiError BAD_FUNCTION_ARGUMENT.
   */
  unpause(direction: PauseDirection = 'receive'): void {
    const receive = !holdsReceiving(direction) && this.paused;
    const send = !holdsSending(direction) && this.sendPaused;
    if (receive === this.paused && send === this.sendPaused) return;
    this.paused = receive;
    this.sendPaused = send;
    this.multi?.readClock();
    this.connection?.pauseChanged();
    this.multi?.schedule(this);
  }

  /**
   * Changes clocks, also of a transfer that is added (rule 12). `totalMs` acts at once and counts from the start; each of the others
   * when its clock starts next. Throws TransferError INVALID_ARGUMENT.
   */
  setTimeouts(timeouts: Partial<Timeouts>): void {
    this.timeouts = completeTimeouts(timeouts, this.timeouts);
    const { multi } = this;
    if (multi === null || this.state === 'done') return;
    this.startTotalClock(multi);
    multi.clockChanged();
  }

  /** The source of the body, which had answered PAUSE, has more (or has ended); the engine asks it in the multi's next turn. */
  continueUpload(): void {
    this.multi?.schedule(this);
  }

  /**
   * Inside `onHead` only: a body of known length goes straight into `target`, which must hold exactly `contentLength` bytes,
   * and `onData` is not called. Saves a copy per byte. When it is detached or shrunk before the end, the transfer fails with
   * INVALID_ARGUMENT. Throws MultiError BAD_FUNCTION_ARGUMENT.
   */
  receiveInto(target: Uint8Array): void {
    const length = this.connection?.parser.bodyRemaining ?? -1;
    if (length !== target.length) {
      throw new MultiError('BAD_FUNCTION_ARGUMENT', `The target holds ${target.length} bytes, the body ${length}.`);
    }
    this.target = target;
    this.targetOffset = 0;
  }

  /** What is known of it now (curl_easy_getinfo); a new object each time. */
  get info(): TransferInfo {
    return {
      state: this.state,
      status: this.status,
      httpVersion: this.minorVersion < 0 ? '' : `HTTP/1.${this.minorVersion}`,
      reused: this.reused,
      remoteAddress: this.remoteAddress,
      proxy: this.route.proxy?.name ?? '',
      tls: this.tls,
      bytesReceived: this.bytesReceived,
      bytesSent: this.bytesSent,
      retried: this.retried,
    };
  }

  /** The peer's certificate (CURLINFO_CERTINFO), while the transfer has a connection: in `onHead` and `onData`. null: none was shown. */
  get peerCertificate(): X509Certificate | null {
    return this.connection?.peerCertificate ?? null;
  }

  /** When what happened; a new object each time. */
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
    return this.freshConnect || this.retried || this.connectOnly;
  }

  /** @internal Its head says `Expect: 100-continue`: there is content, and nobody has refused to be told so. */
  get expects(): boolean {
    if (this.expectContinueMs === 0 || this.expectationRefused) return false;
    return this.upload !== null || (this.body !== null && this.body.length > 0);
  }

  /** @internal Its body goes out only when the server has said so. */
  get bodyWaits(): boolean {
    return this.upgrade !== null || (this.expectContinueMs > 0 && this.expects);
  }

  /** @internal Where it is, as errors tell it. */
  get phase(): TransferPhase {
    switch (this.state) {
      case 'new':
      case 'runnable':
      case 'queued':
        return 'queue';
      case 'dialing':
        return this.handshake?.phase ?? this.dial?.phase ?? 'connect';
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

  /** @internal Reads a field of each line of cache that it takes; see `SocketTable.prefetch`. */
  prefetch(): number {
    let sum =
      this.id + this.status + this.messagePlace + this.hostConnections + this.queuedUs + this.endUs + this.head.length;
    if (this.previous === null) sum++;
    if (this.scheduled) sum++;
    if (this.startMs > 0) sum++;
    if (this.totalDeadline > 0) sum++;
    if (this.phaseDeadline > 0) sum++;
    return this.timer === null ? sum : sum + this.timer.index;
  }

  /** @internal Microseconds from the start to `now`, whole: for the first 35 minutes a small integer, which costs nothing to keep. */
  since(now: number): number {
    return Math.round((now - this.startMs) * US_PER_MS);
  }

  /** @internal The clock of the whole transfer counts from its start. */
  startTotalClock(multi: Multi): void {
    const { totalMs } = this.timeouts;
    this.totalDeadline = totalMs > 0 ? this.startMs + totalMs : NEVER;
    this.#setTimer(multi);
  }

  /** @internal Starts the clock of the state just entered; `ms` 0: none. */
  startPhaseClock(multi: Multi, now: number, ms: number): void {
    this.phaseDeadline = ms > 0 ? now + ms : NEVER;
    this.#setTimer(multi);
  }

  #setTimer(multi: Multi): void {
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
    this.pace?.stop(multi);
  }

  /** @internal A clock ran out (TimerOwner). */
  onTimer(now: number): void {
    const multi = this.multi;
    if (multi === null) return;
    multi.fail(this, this.totalDeadline <= now ? totalTimeout(this) : phaseTimeout(this));
  }

  /**
   * @internal Takes another request's target, head and body, and keeps its own clocks, limits and callbacks: what sends many requests
   * needs no new transfer for each. Throws MultiError ADDED_ALREADY.
   */
  become({ route, method, head, body, upload }: PreparedRequest): void {
    if (this.multi !== null) throw new MultiError('ADDED_ALREADY');
    this.route = route;
    this.origin = route.origin;
    this.method = method;
    this.head = headAlong(route, head);
    this.body = body;
    this.upload = upload;
  }

  /** @internal Back to what it was before `add`, so that it can be added again (rule 4). */
  reset(): void {
    this.state = 'new';
    this.multi = null;
    this.dial = null;
    this.handshake = null;
    this.connection = null;
    this.scheduled = false;
    this.unnotified = false;
    this.paused = false;
    this.sendPaused = false;
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
    this.tls = null;
    this.bytesReceived = 0;
    this.bytesSent = 0;
    this.retried = false;
    this.expectationRefused = false;
    this.queuedUs = -1;
    this.dnsUs = -1;
    this.connectUs = -1;
    this.tlsUs = -1;
    this.sentUs = -1;
    this.firstByteUs = -1;
    this.endUs = -1;
  }
}

function isPrepared(options: TransferOptions | PreparedRequest): options is PreparedRequest {
  return typeof options === 'object' && options !== null && 'kind' in options;
}

function socketHooksOf({ openSocket, closeSocket }: TransferOptions): SocketHooks | null {
  if (openSocket === undefined && closeSocket === undefined) return null;
  return {
    openSocket: checkCallback('openSocket', openSocket),
    closeSocket: checkCallback('closeSocket', closeSocket),
  };
}

function milliseconds(us: number): number {
  return us < 0 ? -1 : us / US_PER_MS;
}

function holdsReceiving(direction: PauseDirection): boolean {
  if (direction === 'receive' || direction === 'both') return true;
  if (direction === 'send') return false;
  throw new MultiError('BAD_FUNCTION_ARGUMENT', `There is no direction ${String(direction)}: receive, send or both.`);
}

function holdsSending(direction: PauseDirection): boolean {
  return direction !== 'receive';
}
