/**
 * One open connection and the exchange it carries: writes the request, reads the response, hands its bytes to the transfer.
 * Sending and receiving progress independently: a response may arrive, and even complete, while the request is being sent.
 * Which transfer comes next is the connection cache's matter; opening is `dial.ts`'s.
 *
 *   idle      no transfer; watched for reading, so that a close or stray bytes are seen at once (RFC 9112 §9.2, §9.5)
 *   busy      has `transfer`
 *   draining  has no transfer any more: `unwanted-rest.ts` has the socket, and reads away what is left of a response
 *   closed    let go; its descriptor closes at the end of the turn, or `parting.ts` has it
 */

import { X509Certificate } from 'node:crypto';
import type { TransferError } from '../../protocol/errors.ts';
import { ResponseParser, type ResponseSink } from '../../protocol/http1/response-parser.ts';
import { EPIPE, isTransient } from '../io/errno.ts';
import { EVENT_ERR, EVENT_IN, EVENT_OUT } from '../io/io.ts';
import {
  TLS_FAILED,
  TLS_MORE,
  TLS_READ_WANTS_WRITE,
  TLS_TRUNCATED,
  TLS_WRITE_WANTS_READ,
  type TlsInfo,
  type TlsIo,
} from '../io/tls-io.ts';
import { abortedByCallback, asTransferError } from './aborted-by.ts';
import type { Destination } from './destination.ts';
import { Expectation } from './expectation.ts';
import { lossOf, mayRepeat, mayStartOver, targetTooSmall, truncatedBody } from './loss.ts';
import type { Multi } from './multi.ts';
import { Parting } from './parting.ts';
import { RequestSender, type SendProgress } from './request-sender.ts';
import { RestClock } from './rest-clock.ts';
import { type SocketEntry, type SocketOwner, WATCH_IN, WATCH_NONE, WATCH_OUT } from './socket-table.ts';
import type { Throttle } from './throttle.ts';
import { connectionFailed } from './tls-failure.ts';
import type { Transfer } from './transfer.ts';
import { PAUSE } from './transfer-options.ts';
import { isNearItsEnd, UnwantedRest } from './unwanted-rest.ts';

/**
 * A server's `Keep-Alive: timeout=N` is honoured less this: its clock began when it sent the response, ours when we read it, and
 * the next request takes its time on the way back.
 */
const KEEP_ALIVE_MARGIN_MS = 1_000;

/** Reads of an idle connection that find nothing but TLS talking to itself. Tickets and a change of keys take one or two. */
const IDLE_READS_MAX = 32;

export class Connection implements SocketOwner, ResponseSink {
  state: 'idle' | 'busy' | 'draining' | 'closed' = 'busy';
  transfer: Transfer | null = null;
  readonly destination: Destination;
  readonly parser: ResponseParser;
  readonly remoteAddress: string;
  readonly connectedAt: number;
  /** Exchanges begun on it. */
  uses = 0;

  // The cache's links; see connection-cache.ts.
  /** The cache's generation when its dial began. */ generation = 0;
  /** How long its server says that it keeps an idle connection, less KEEP_ALIVE_MARGIN_MS; Infinity: it does not say. */
  keepAliveMs = Number.POSITIVE_INFINITY;
  idleSince = 0;
  /** Among the idle ones of its destination. */ idleOlder: Connection | null = null;
  idleNewer: Connection | null = null;
  /** Among all idle ones. */ idleOlderOfAll: Connection | null = null;
  idleNewerOfAll: Connection | null = null;

  /** In 'draining'. */
  #unwanted: UnwantedRest | null = null;
  /** In 'idle': how often it was said to be readable since it rests. */
  #idleReads = 0;
  /** Made when first needed. */
  #restClock: RestClock | null = null;

  readonly #multi: Multi;
  readonly #entry: SocketEntry;
  readonly #sender: RequestSender;
  /** How TLS was set up; null: it is plain. */
  readonly #tls: TlsInfo | null;
  /** What the last read or write left behind, as bits (tls-io.ts); 0 always where it is plain. */
  #tlsState = 0;
  /** Bytes read from the socket and held back because the transfer paused. */
  #leftover: Uint8Array | null = null;
  /** In the exchange under way, while its body waits for 100 (Continue). */
  #expectation: Expectation | null = null;
  /** A chunk that `onData` refused with PAUSE: it comes again, first. */
  #refused: Uint8Array | null = null;
  /** The trailer section of the response that ends. */
  #trailers = '';
  /** True when something followed the response: bytes that nobody asked for, or the peer's FIN. */
  #stray = false;
  /** What a callback threw: it fails the transfer, not the connection's parser. */
  #thrown: TransferError | null = null;

  constructor(
    multi: Multi,
    destination: Destination,
    entry: SocketEntry,
    limits: Transfer['limits'],
    tls: TlsInfo | null,
  ) {
    this.#multi = multi;
    this.#entry = entry;
    this.destination = destination;
    this.parser = new ResponseParser(limits);
    this.#sender = new RequestSender(multi, entry.socket);
    this.#tls = tls;
    this.remoteAddress = multi.io.remoteAddress(entry.socket);
    this.connectedAt = multi.now;
    entry.owner = this;
  }

  get isSecure(): boolean {
    return this.#tls !== null;
  }

  get peerCertificate(): X509Certificate | null {
    const der = this.#tls === null ? null : (this.#multi.io.tls as TlsIo).peer(this.#entry.socket);
    return der === null ? null : new X509Certificate(der);
  }

  /** As SocketOwner: objects are laid out in the order of their fields, 64 bytes to a line of cache. */
  prefetch(): number {
    const { transfer } = this;
    let sum = this.generation;
    if (this.idleSince > 0) sum++;
    if (this.connectedAt > 0) sum++;
    if (this.#stray) sum++;
    if (this.#sender.uploadBegun) sum++;
    sum += this.parser.prefetch();
    return transfer === null ? sum : sum + transfer.prefetch();
  }

  // ── Sending ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  begin(transfer: Transfer): void {
    const multi = this.#multi;
    this.state = 'busy';
    this.#unwanted = null;
    this.transfer = transfer;
    transfer.connection = this;
    transfer.state = 'sending';
    transfer.reused = this.uses > 0;
    transfer.remoteAddress = this.remoteAddress;
    // In absolute form it is the proxy's, and nothing of the origin's.
    transfer.tls = this.destination.route.forwards ? null : this.#tls;
    this.uses++;
    this.parser.limits = transfer.limits;
    this.parser.begin(transfer.method, this, transfer.upgrade ?? '');
    transfer.pace?.watch(multi, false);
    multi.sockets.want(this.#entry, transfer.paused ? WATCH_NONE : WATCH_IN);
    this.#sendStep(transfer, this.#sender.start(transfer));
  }

  /** Opened ahead of its first request, which will find it used: a server may close it meanwhile, as any that was idle. */
  openedFor(transfer: Transfer): void {
    transfer.remoteAddress = this.remoteAddress;
    transfer.tls = this.#tls;
    this.uses = 1;
  }

  #sendStep(transfer: Transfer, progress: SendProgress): void {
    const multi = this.#multi;
    // The source of the body may have removed it.
    if (this.transfer !== transfer) return;
    // And it may have taken its time.
    if (transfer.upload !== null) multi.readClock();
    if (this.#tls !== null) this.#noteTls(TLS_WRITE_WANTS_READ);
    switch (progress) {
      case 'sent':
        if (this.parser.framing === 'tunnel') this.#endWriting(transfer);
        else transfer.sentUs = transfer.since(multi.now);
        this.#watch(transfer);
        this.#awaitHead(transfer);
        return;
      case 'awaiting':
        transfer.sentUs = transfer.since(multi.now);
        this.#watch(transfer);
        if (transfer.expects && transfer.state === 'sending') {
          this.#expectation = new Expectation(multi, this, transfer.expectContinueMs);
        }
        this.#awaitHead(transfer);
        return;
      case 'blocked':
        // The peer takes no more for now. Each progress restarts the clock: a slow upload is not a silent peer.
        this.#watch(transfer);
        if (transfer.state === 'sending') transfer.startPhaseClock(multi, multi.now, transfer.timeouts.headMs);
        return;
      case 'put off':
      case 'starved':
      case 'held':
        // The application has nothing to send for now, or holds it: that is no fault of the peer's, so no clock of its runs.
        if (progress === 'put off') multi.schedule(transfer);
        this.#watch(transfer);
        if (transfer.state === 'sending') transfer.startPhaseClock(multi, multi.now, 0);
        return;
      case 'failed':
        this.#sendFailed(transfer);
        return;
      case 'refused':
        this.#fail(this.#sender.fault as TransferError);
    }
  }

  #awaitHead(transfer: Transfer): void {
    if (transfer.state !== 'sending') return;
    transfer.state = 'waiting';
    transfer.startPhaseClock(this.#multi, this.#multi.now, transfer.timeouts.headMs);
  }

  /** The body that waited for the server's word may go: the server has given it, or has been silent for long enough. */
  sendBody(): void {
    const { transfer } = this;
    this.#expectation?.stop();
    this.#expectation = null;
    if (!this.#sender.sendBody() || transfer === null) return;
    if (transfer.state === 'waiting') transfer.state = 'sending';
    this.#multi.schedule(transfer);
  }

  /** The last of what goes into a tunnel is written; what comes out of it still does. */
  #endWriting({ upload }: Transfer): void {
    if (upload === null) return;
    const { io } = this.#multi;
    const { socket } = this.#entry;
    // The peer may be gone already, which reading finds.
    if (this.#tls === null) io.endWriting(socket);
    else (io.tls as TlsIo).shutDown(socket);
  }

  /** The source of the body has more, or the transfer may send again. */
  continueUpload(): void {
    const { transfer } = this;
    const { progress } = this.#sender;
    if (transfer === null || (progress !== 'starved' && progress !== 'put off' && progress !== 'held')) return;
    this.#sendStep(transfer, this.#sender.proceed(transfer));
  }

  /** A speed limit of the transfer's has bytes to give again. */
  rateAllows(): void {
    const { transfer } = this;
    if (transfer === null) return;
    this.continueUpload();
    if (this.transfer !== transfer) return;
    this.#watch(transfer);
    if (transfer.state === 'body') this.#restartBodyClock(transfer);
    if ((this.#tlsState & TLS_MORE) !== 0 && !transfer.paused) this.#receive();
  }

  /**
   * Nothing more can be sent, but the answer may have come first (an early 413, say): what has come is read before judging, to
   * its end (RFC 9112 §9.5). What a paused or throttled transfer does not take yet is read when it goes on.
   */
  #sendFailed(transfer: Transfer): void {
    while (this.transfer === transfer && !transfer.paused && this.#receive());
    if (this.transfer !== transfer) return;
    const isHeld = this.#leftover !== null || this.#refused !== null;
    // Still watched for writing, it would be reported for ever, and nobody would take it.
    if (transfer.paused || isHeld || transfer.pace?.receive?.waiting) this.#watch(transfer);
    else this.#connectionLost(this.#sender.errno);
  }

  // ── Receiving ────────────────────────────────────────────────────────────────────────────────────────────────────────

  onSocketEvents(events: number): void {
    if (this.state === 'idle') {
      this.#idleEvent(events);
      return;
    }
    if (this.transfer === null) return;
    const { transfer } = this;
    // With TLS either direction may wait for the other.
    const sends =
      events === 0 || (events & (EVENT_OUT | EVENT_ERR)) !== 0 || (this.#tlsState & TLS_WRITE_WANTS_READ) !== 0;
    if (this.#sender.progress === 'blocked' && sends) {
      const { bytesSent } = transfer;
      const progress = this.#sender.proceed(transfer);
      // An event that was not true is no progress: the clock runs on (rule 32).
      if (progress !== 'blocked' || transfer.bytesSent > bytesSent) this.#sendStep(transfer, progress);
      else if (this.#tls !== null) this.#noteWriting(transfer);
    }
    if (this.transfer !== transfer || transfer.paused) return;
    const reads =
      events === 0 || (events & (EVENT_IN | EVENT_ERR)) !== 0 || (this.#tlsState & TLS_READ_WANTS_WRITE) !== 0;
    if (reads) this.#receive();
  }

  // ── Resting ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** It lies with the idle ones from now on. */
  rest(): void {
    const multi = this.#multi;
    this.state = 'idle';
    this.#idleReads = 0;
    // Its last transfer may have ended while it was paused, with the socket unwatched.
    multi.sockets.want(this.#entry, WATCH_IN);
    if (this.keepAliveMs >= multi.cache.limits.idleMs) return;
    this.#restClock ??= new RestClock(multi, this);
    this.#restClock.begin();
  }

  /**
   * Anything on an idle connection makes it unfit: a close, or bytes that nobody asked for (RFC 9112 §9.2). What TLS says to itself,
   * such as tickets, is read away and is not meant; unless it must be answered and the peer takes no answer, or does not end.
   */
  #idleEvent(events: number): void {
    const count = this.#multi.io.read(this.#entry.socket);
    if (this.#tls !== null) {
      this.#noteTls(TLS_MORE | TLS_READ_WANTS_WRITE);
      // Of one without TLS an event that finds nothing was not true, which is harmless however often (rule 32).
      if ((events & EVENT_IN) !== 0) this.#idleReads++;
    }
    if (count < 0 && isTransient(count) && this.#tlsState === 0 && this.#idleReads <= IDLE_READS_MAX) return;
    this.#multi.placer.closeIdle(this);
  }

  /** One read per event: watching is level-triggered, and one transfer must not hog a turn (rule 38). False: no bytes came. */
  #receive(): boolean {
    const multi = this.#multi;
    const transfer = this.transfer as Transfer;
    // What was held back while it was paused comes first: the transfer was unpaused and its `resume` is still to come.
    if (this.#leftover !== null || this.#refused !== null) return false;
    const { target, pace } = transfer;
    if (target !== null && target.length - transfer.targetOffset < this.parser.bodyRemaining) {
      this.#fail(targetTooSmall(transfer));
      return false;
    }
    if (pace !== null && pace.receive !== null) return this.#receiveThrottled(transfer, pace.receive);
    if (target !== null) return this.#receiveIntoTarget(transfer, target, target.length - transfer.targetOffset);
    const count = multi.io.read(this.#entry.socket);
    return this.#received(transfer, count);
  }

  /** As much as the speed limit has room for; the socket is not watched while that is nothing (rule 78). */
  #receiveThrottled(transfer: Transfer, throttle: Throttle): boolean {
    const { io } = this.#multi;
    const { target, targetOffset } = transfer;
    const wanted = target === null ? io.readBuffer.length : target.length - targetOffset;
    const most = Math.min(wanted, throttle.room(this.#multi));
    // Unwatched; the event is one from before.
    if (most === 0) return false;
    const isMore =
      target === null
        ? this.#received(transfer, io.readInto(this.#entry.socket, io.readBuffer, 0, most))
        : this.#receiveIntoTarget(transfer, target, most);
    if (throttle.waiting && this.transfer === transfer) {
      this.#watch(transfer);
      if (transfer.state === 'body') this.#restartBodyClock(transfer);
    }
    return isMore;
  }

  /** `count` bytes lie in the read buffer; 0: the peer's FIN; negative: an errno, or what TLS answers. */
  #received(transfer: Transfer, count: number): boolean {
    if (this.#tls !== null) this.#noteReading(transfer);
    if (count > 0) {
      transfer.pace?.receive?.moved(this.#multi, count);
      this.#consume(transfer, this.#multi.io.readBuffer, 0, count);
    } else this.#notReceived(transfer, count);
    return count > 0;
  }

  #notReceived(transfer: Transfer, count: number): void {
    if (count === 0) this.#peerClosed(transfer);
    else if (count === TLS_TRUNCATED) this.#peerTruncated(transfer);
    else if (!isTransient(count)) this.#connectionLost(count);
  }

  #receiveIntoTarget(transfer: Transfer, target: Uint8Array, most: number): boolean {
    const count = this.#multi.io.readInto(this.#entry.socket, target, transfer.targetOffset, most);
    if (this.#tls !== null) this.#noteReading(transfer);
    if (count > 0) {
      transfer.pace?.receive?.moved(this.#multi, count);
      transfer.targetOffset += count;
      transfer.bytesReceived += count;
      this.parser.skipBody(count);
      if (this.parser.complete) this.#stray = (this.#tlsState & TLS_MORE) !== 0;
      this.#afterBytes(transfer);
    } else this.#notReceived(transfer, count);
    return count > 0;
  }

  #consume(transfer: Transfer, bytes: Uint8Array, start: number, end: number): void {
    if (transfer.firstByteUs < 0) transfer.firstByteUs = transfer.since(this.#multi.now);
    let consumed: number;
    try {
      consumed = this.parser.execute(bytes, start, end);
    } catch (error) {
      if (this.transfer === transfer) this.#fail(this.#thrown ?? asTransferError(error));
      else this.#unwanted?.close();
      return;
    }
    if (this.transfer !== transfer) {
      this.#unwanted?.take(bytes, consumed, end);
      return;
    }
    if (this.parser.complete) this.#stray = consumed < end || (this.#tlsState & TLS_MORE) !== 0;
    else if (consumed < end) this.#leftover = bytes.slice(consumed, end);
    this.#afterBytes(transfer);
  }

  /** Settles what the bytes changed: the end of the exchange, or the clock that runs next. */
  #afterBytes(transfer: Transfer): void {
    if (this.transfer !== transfer) return;
    if (this.#thrown !== null) this.#fail(this.#thrown);
    else if (this.parser.complete && this.#refused === null) this.#finish(transfer);
    else if (transfer.state === 'body') this.#restartBodyClock(transfer);
  }

  /**
   * The peer's FIN without its close_notify: anyone on the way could have sent it. What has an end of its own is judged by that; a
   * body that only the close ends is not known to be whole (RFC 9112 §9.8).
   */
  #peerTruncated(transfer: Transfer): void {
    if (transfer.state !== 'body' || !this.#endsWithConnection || this.parser.complete) {
      this.#peerClosed(transfer);
      return;
    }
    this.#fail(truncatedBody(transfer));
  }

  #peerClosed(transfer: Transfer): void {
    if (transfer.firstByteUs < 0) {
      this.#connectionLost(0);
      return;
    }
    const { errno } = this.#sender;
    if (this.#endsWithConnection && errno !== 0 && errno !== -EPIPE) {
      // A reset is told once, and writing was told: reading finds an end where the body was cut. EPIPE comes after a FIN.
      this.#connectionLost(errno);
      return;
    }
    try {
      this.parser.finish();
    } catch (error) {
      this.#fail(this.#thrown ?? asTransferError(error));
      return;
    }
    this.#stray = true;
    this.#afterBytes(transfer);
  }

  get #endsWithConnection(): boolean {
    const { framing } = this.parser;
    return framing === 'close' || framing === 'tunnel';
  }

  // ── ResponseSink: what the parser found ──────────────────────────────────────────────────────────────────────────────

  onInterim({ status }: ResponseParser, bytes: Uint8Array, start: number, end: number): void {
    const { transfer } = this;
    if (transfer === null) return;
    if (status !== 100) transfer.onInterim?.(transfer, status, bytes, start, end);
    // What would go into a tunnel is no content: 100 asks for that, and opens nothing.
    else if (transfer.upgrade === null) this.sendBody();
  }

  onHead(parser: ResponseParser, bytes: Uint8Array, start: number, end: number): void {
    const transfer = this.transfer as Transfer;
    const { status } = parser;
    if ((status === 421 || status === 417) && this.#startOver(transfer, status)) return;
    this.#expectation?.stop();
    transfer.status = status;
    transfer.minorVersion = parser.minorVersion;
    transfer.state = 'body';
    if (transfer.onHead !== null) {
      try {
        transfer.onHead(transfer, bytes, start, end);
      } catch (error) {
        this.#thrown = abortedByCallback('onHead', error);
        throw this.#thrown;
      }
    }
    if (parser.framing === 'tunnel' && this.transfer === transfer) this.sendBody();
  }

  #startOver(transfer: Transfer, status: 421 | 417): boolean {
    if (!mayStartOver(transfer, status, this.#sender)) return false;
    if (status === 417) transfer.expectationRefused = true;
    this.parser.abandon();
    this.abandon();
    this.#multi.retry(transfer);
    return true;
  }

  onBody(_parser: ResponseParser, bytes: Uint8Array, start: number, end: number): boolean {
    const { transfer } = this;
    if (transfer === null) return this.state === 'draining';
    transfer.bytesReceived += end - start;
    if (transfer.target !== null) {
      if (transfer.target.length - transfer.targetOffset < end - start) {
        this.#thrown = targetTooSmall(transfer);
        throw this.#thrown;
      }
      transfer.target.set(bytes.subarray(start, end), transfer.targetOffset);
      transfer.targetOffset += end - start;
      return true;
    }
    return this.#deliver(transfer, bytes, start, end);
  }

  /** The exchange ends when `execute` has returned: see `#finish`. */
  onEnd(_parser: ResponseParser, trailers: string): void {
    this.#trailers = trailers;
  }

  /** True when more may follow at once. */
  #deliver(transfer: Transfer, bytes: Uint8Array, start: number, end: number): boolean {
    if (transfer.onData === null) return true;
    if (transfer.paused) {
      // It paused in `onHead`, and these bytes came in the same read (rule 75).
      this.#refused = bytes.slice(start, end);
      return false;
    }
    try {
      const answer = transfer.onData(transfer, bytes, start, end);
      // It may have removed itself.
      if (this.transfer !== transfer) return false;
      if (answer === PAUSE) {
        this.#refused = bytes.slice(start, end);
        transfer.paused = true;
        this.pauseChanged();
      }
    } catch (error) {
      this.#thrown = abortedByCallback('onData', error);
      throw this.#thrown;
    }
    return !transfer.paused;
  }

  // ── Pausing ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** The transfer paused or unpaused: its socket is watched accordingly; the body clock stands still meanwhile (rule 75). */
  pauseChanged(): void {
    const { transfer } = this;
    if (transfer === null || this.state !== 'busy') return;
    this.#watch(transfer);
    if (transfer.state === 'body') this.#restartBodyClock(transfer);
    else if (transfer.state === 'sending') this.#restartSendClock(transfer);
  }

  /** After `unpause()`: what was held back goes first; the socket's turn comes with its next event. */
  resume(): void {
    const { transfer } = this;
    if (transfer === null || this.state !== 'busy' || transfer.paused) return;
    const refused = this.#refused;
    if (refused !== null) {
      this.#refused = null;
      try {
        this.#deliver(transfer, refused, 0, refused.length);
      } catch (error) {
        if (this.transfer === transfer) this.#fail(asTransferError(error));
        return;
      }
    }
    if (this.transfer !== transfer) return;
    if (this.parser.complete && this.#refused === null) {
      // Its last bytes are taken: it ends even if they were answered with a pause.
      this.#afterBytes(transfer);
      return;
    }
    if (transfer.paused) return;
    const leftover = this.#leftover;
    this.#leftover = null;
    if (leftover !== null) this.#consume(transfer, leftover, 0, leftover.length);
    else if (refused !== null) this.#afterBytes(transfer);
    // What TLS has decrypted already no event of the socket will tell (rule 39).
    if ((this.#tlsState & TLS_MORE) !== 0 && this.transfer === transfer && !transfer.paused) this.#receive();
  }

  // ── Ending ───────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** The transfer was removed or has failed for reasons of its own. In mid-exchange the connection is of no more use (rule 7). */
  abandon(): void {
    this.transfer = null;
    this.#cut();
  }

  /** In good order where there is TLS: close_notify goes out, and the peer's is waited for, unless somebody waits for its place. */
  close(): void {
    if (this.state === 'closed') return;
    const multi = this.#multi;
    const { io, cache } = multi;
    const parts = this.#tls !== null && cache.queuedCount === 0;
    if (!parts || (io.tls as TlsIo).shutDown(this.#entry.socket) !== 0) {
      this.#cut();
      return;
    }
    this.#letGo();
    new Parting(multi, this.#entry, this.destination);
  }

  #cut(): void {
    if (this.state === 'closed') return;
    this.#letGo();
    this.#multi.sockets.leave(this.#entry);
    this.#multi.placer.freeSlot(this.destination);
  }

  #letGo(): void {
    this.state = 'closed';
    this.#sender.stop();
    this.#expectation?.stop();
    this.#leftover = null;
    this.#refused = null;
    this.#restClock?.stop();
  }

  /**
   * Lets go of its transfer, whose response is no longer wanted, and reads away what is left of that, where it is worth it
   * (HOSTILE 73). Otherwise nothing happens: whoever removes the transfer abandons the connection.
   */
  drain(): void {
    const { transfer, parser } = this;
    if (transfer === null || transfer.state !== 'body') return;
    if (!isNearItsEnd(parser) || !this.#canServeAgain(transfer)) return;
    const leftover = this.#leftover;
    this.#leftover = null;
    this.#refused = null;
    transfer.connection = null;
    this.transfer = null;
    this.state = 'draining';
    this.#unwanted = new UnwantedRest(this.#multi, this, this.#entry);
    // Inside a callback of the parser's what is left of its bytes comes when it returns: see `#consume`.
    if (leftover !== null) this.#unwanted.take(leftover, 0, leftover.length);
    else if (parser.complete) this.#unwanted.finish();
  }

  #finish(transfer: Transfer): void {
    const multi = this.#multi;
    const reusable = this.#canServeAgain(transfer);
    this.transfer = null;
    transfer.kept = reusable;
    if (!reusable) this.close();
    multi.complete(transfer, null);
    if (transfer.onEnd !== null) {
      // It is done already, so removing it (and adding it again) in here keeps the connection.
      try {
        transfer.onEnd(transfer, this.#trailers);
      } catch (error) {
        transfer.error = abortedByCallback('onEnd', error);
      }
    }
    if (reusable) multi.placer.connectionFree(this);
  }

  #canServeAgain(transfer: Transfer): boolean {
    if (!this.parser.keepAlive) return false;
    if (this.#stray) return false;
    if (transfer.forbidReuse) return false;
    // What a server says once holds until it says otherwise.
    const { keepAliveTimeoutS } = this.parser;
    if (keepAliveTimeoutS >= 0) this.keepAliveMs = keepAliveTimeoutS * 1000 - KEEP_ALIVE_MARGIN_MS;
    if (this.keepAliveMs <= 0) return false;
    // The response came before the request was sent whole: the rest of the request would be taken for the next one.
    const { progress } = this.#sender;
    return progress === 'sent' || (progress === 'awaiting' && transfer.upgrade !== null);
  }

  #connectionLost(negativeErrno: number): void {
    const transfer = this.transfer as Transfer;
    if (mayRepeat(transfer) && !this.#sender.uploadBegun) {
      this.abandon();
      this.#multi.retry(transfer);
      return;
    }
    this.#fail(this.#lossOf(transfer, negativeErrno));
  }

  #lossOf(transfer: Transfer, negativeErrno: number): TransferError {
    const { errno, uploadBegun } = this.#sender;
    const known = negativeErrno === 0 ? errno : negativeErrno;
    const fault = known === TLS_FAILED ? (this.#multi.io.tls as TlsIo).error(this.#entry.socket) : null;
    if (fault !== null && transfer.state !== 'body') return connectionFailed(this.destination.origin, fault);
    return lossOf(transfer, known, fault, errno !== 0, mayRepeat(transfer) && uploadBegun);
  }

  #fail(error: TransferError): void {
    const transfer = this.transfer as Transfer;
    this.#thrown = null;
    // `complete` tells the phase and abandons this connection.
    this.#multi.fail(transfer, error);
  }

  #watch(transfer: Transfer): void {
    const { progress } = this.#sender;
    const { pace, paused, sendPaused } = transfer;
    const incoming = paused || pace?.receive?.waiting ? WATCH_NONE : WATCH_IN;
    const tls = this.#tlsState;
    const blocked = progress === 'blocked' && !sendPaused && (tls & TLS_WRITE_WANTS_READ) === 0;
    const outgoing = blocked || (tls & TLS_READ_WANTS_WRITE) !== 0 ? WATCH_OUT : WATCH_NONE;
    pace?.watch(this.#multi, paused || sendPaused || progress === 'starved' || progress === 'awaiting');
    this.#multi.sockets.want(this.#entry, incoming | outgoing);
  }

  /** Takes over the bits of one direction. */
  #noteTls(bits: number): void {
    const { state } = this.#multi.io.tls as TlsIo;
    this.#tlsState = (this.#tlsState & ~bits) | ((state[0] as number) & bits);
  }

  /** After a write that came no further: what it waits for may have changed. */
  #noteWriting(transfer: Transfer): void {
    this.#noteTls(TLS_WRITE_WANTS_READ);
    this.#watch(transfer);
  }

  /** After a read: it goes on without an event where TLS has more, and where it must write first, when it can. */
  #noteReading(transfer: Transfer): void {
    const before = this.#tlsState;
    this.#noteTls(TLS_MORE | TLS_READ_WANTS_WRITE);
    if ((this.#tlsState & TLS_MORE) !== 0) this.#multi.schedule(transfer);
    if (((before ^ this.#tlsState) & TLS_READ_WANTS_WRITE) !== 0) this.#watch(transfer);
  }

  #restartBodyClock(transfer: Transfer): void {
    const { timeouts, paused, pace } = transfer;
    const held = paused || pace?.receive?.waiting || this.parser.framing === 'tunnel';
    // Not from before the application was given what came: that may have taken long.
    if (!held && timeouts.bodyIdleMs > 0) this.#multi.readClock();
    transfer.startPhaseClock(this.#multi, this.#multi.now, held ? 0 : timeouts.bodyIdleMs);
  }

  /** It runs while the peer takes no more of the request. */
  #restartSendClock(transfer: Transfer): void {
    const stalled = this.#sender.progress === 'blocked' && !transfer.sendPaused;
    transfer.startPhaseClock(this.#multi, this.#multi.now, stalled ? transfer.timeouts.headMs : 0);
  }
}
