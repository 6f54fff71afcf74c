/**
 * Multi: libcurl's multi handle. One handle drives any number of transfers; the application owns the event loop; the handle
 * says which sockets to watch and when to wake it. This file holds the contract with the application (CONTRACT.md §2) and
 * the order of a turn. Who gets which connection is `placer.ts`'s matter, opening one `dial.ts`'s, its bytes `connection.ts`'s;
 * what the application is told of sockets is `socket-announcer.ts`'s, of the timer `timer-announcement.ts`'s.
 *
 * A turn is the outermost driving call (`action`, `actions`, `timeout`). Within it callbacks of transfers run as things happen;
 * sockets are announced, REMOVEd and closed, and the timer is told, when the turn ends:
 *
 *   begin: read the clock
 *   events / timers that were due then
 *   end:   run scheduled transfers -> socket callbacks -> close descriptors -> freed slots start waiting transfers
 *          (again until nothing changes) -> notifications -> timer callback -> rethrow what a callback without a transfer threw
 */

import { isInt32Array } from '../../protocol/built-ins.ts';
import { MultiError, TransferError } from '../../protocol/errors.ts';
import { describe } from '../../protocol/options.ts';
import type { Io, Socket } from '../io/io.ts';
import { nativeIo } from '../io/native-io.ts';
import type { WakeupHandle } from '../io/wakeup.ts';
import { endedByCallback } from './aborted-by.ts';
import { Completions } from './completions.ts';
import { ConnectionCache } from './connection-cache.ts';
import { DescriptorShortage } from './descriptor-shortage.ts';
import type { Dial } from './dial.ts';
import { GuardDesk } from './guard-desk.ts';
import { Lookups } from './lookups.ts';
import {
  type ClearOptions,
  checkCacheLimit,
  isCacheLimit,
  type MultiOptionName,
  type MultiOptions,
  resolveClearOptions,
  resolveMultiOptions,
  type SocketCallback,
  type TimerCallback,
} from './multi-options.ts';
import { NOTIFICATIONS, Notices, type Notification, type NotifyCallback } from './notices.ts';
import { Placer } from './placer.ts';
import { Schedule } from './schedule.ts';
import { SocketAnnouncer } from './socket-announcer.ts';
import { SocketOpener } from './socket-opener.ts';
import { type SocketEntry, SocketTable } from './socket-table.ts';
import { AT_ONCE, TimerAnnouncement, timeoutMs } from './timer-announcement.ts';
import { TimerQueue } from './timer-queue.ts';
import { Transfer } from './transfer.ts';
import { TransferList } from './transfer-list.ts';
import { WaitSet } from './wait-set.ts';

/** A completed transfer, as `messages()` tells it: once. */
export interface Message {
  readonly transfer: Transfer;
  /** null: success. */
  readonly error: TransferError | null;
}

/** Counts of a multi since it was made, and what it holds now. */
export interface MultiStats {
  /** Transfers ever added. */
  readonly added: number;
  /** Added and not removed. */
  readonly current: number;
  /** Added, not completed and not waiting for a connection (rule 42; `multi.running` counts those too, rule 35). */
  readonly running: number;
  /** Waiting for a connection. */
  readonly pending: number;
  /** Completed and not removed. */
  readonly done: number;
  /** Messages that were not read yet (what curl_multi_info_read tells as `msgs_in_queue`). */
  readonly unread: number;
  /** Open connections. */
  readonly connections: number;
  /** Open connections that serve nobody. */
  readonly idle: number;
  /** Connections ever opened. */
  readonly opened: number;
  /** Transfers begun on a connection that had served others. */
  readonly reused: number;
  /** Bytes of bodies, as they came. Counted when a transfer has completed or was removed, as is `bytesOut`. */
  readonly bytesIn: number;
  /** Bytes of requests, heads included. */
  readonly bytesOut: number;
}

/** The multi handle (libcurl: CURLM): any number of transfers, driven by an event loop that is not its own. It opens no thread and sets no timer. */
export class Multi {
  /** @internal */ readonly io: Io;
  /** @internal Where requests are put together: a Buffer over `io.writeBuffer`. */ readonly staging: Buffer;
  /** @internal */ readonly sockets = new SocketTable();
  /** @internal */ readonly timers = new TimerQueue();
  /** @internal */ readonly cache: ConnectionCache;
  /** @internal */ readonly placer: Placer;
  /** @internal */ readonly lookups: Lookups;
  /** @internal */ readonly guards = new GuardDesk(this);
  /** @internal */ readonly socketOpener = new SocketOpener(this);
  /** @internal */ readonly shortage = new DescriptorShortage(this);
  /** @internal */ readonly happyEyeballsMs: number;
  /**
   * Milliseconds of the multi's clock (CLOCK_MONOTONIC), as it was when the present event began: what clocks, timings and the timer
   * callback's argument count from.
   */
  now: number;

  readonly #transfers = new TransferList();
  readonly #schedule = new Schedule();
  readonly #completions = new Completions();
  readonly #notices = new Notices(this.#completions);
  readonly #socketAnnouncer: SocketAnnouncer;
  readonly #timer = new TimerAnnouncement();
  readonly #waitSet = new WaitSet(this);
  /** True exactly while a driving call is under way, so also while any callback of it runs. */
  #inTurn = false;
  /** True in a turn when code of the application's may have run since `now` was read: that may take any time. */
  #isNowOld = false;
  /** True exactly while the timer or notify callback runs because of `add`, `remove` or `unpause` outside a turn. */
  #inOuterCallback = false;
  #closed = false;
  /** True from a callback's -1 until all transfers are removed (rules 48 to 50). */
  #dead = false;
  /** True from a callback's -1 until every transfer has failed, which is before the call under way returns. */
  #isDying = false;
  /** What a callback that has no transfer threw: rethrown when the turn ends, and outside a turn by the next one (rules 48 to 51). */
  #rethrown: { error: unknown } | null = null;

  #added = 0;
  #running = 0;
  #doneCount = 0;
  #bytesIn = 0;
  #bytesOut = 0;

  /** Throws TransferError INVALID_ARGUMENT that names the option. */
  constructor(options: MultiOptions = {}) {
    const { io, cacheLimits, lookupTtlMs, lookup, resolve, happyEyeballsMs } = resolveMultiOptions(options);
    this.io = io ?? nativeIo();
    const { writeBuffer } = this.io;
    this.staging = Buffer.from(writeBuffer.buffer, writeBuffer.byteOffset, writeBuffer.byteLength);
    this.cache = new ConnectionCache(cacheLimits);
    this.placer = new Placer(this, this.cache);
    this.#socketAnnouncer = new SocketAnnouncer(this);
    this.lookups = new Lookups(this, lookupTtlMs, lookup);
    for (const [hostAndPort, addresses] of Object.entries(resolve)) {
      this.lookups.statics.set('resolve', hostAndPort, addresses);
    }
    this.happyEyeballsMs = happyEyeballsMs;
    this.now = this.io.now();
  }

  // ── What the application calls ───────────────────────────────────────────────────────────────────────────────────────

  /**
   * CURLMOPT_SOCKETFUNCTION; null: none. May be installed late: what is wanted then is told from then on (rule 22). What the callback
   * throws where it is called outside a driving call, for a socket without a transfer, the next driving call throws. Throws MultiError
   * BAD_FUNCTION_ARGUMENT, and as `add` what the callback does when it is told at once.
   */
  socketFunction(callback: SocketCallback | null): void {
    checkFunction('socket', callback);
    this.#socketAnnouncer.callback = callback;
    if (callback === null) return;
    this.sockets.noteAll();
    // An application that only waits for what it is told would otherwise wait for ever.
    this.#settleAndThrow();
  }

  /**
   * CURLMOPT_TIMERFUNCTION; null: none. What the callback throws where it is called outside a driving call, by `add` or on installation,
   * that call throws; where `remove`, `unpause` or another calls it, the next driving call. Throws MultiError BAD_FUNCTION_ARGUMENT, and as `add`.
   */
  timerFunction(callback: TimerCallback | null): void {
    checkFunction('timer', callback);
    this.#timer.callback = callback;
    this.#timer.forget();
    this.#settleAndThrow();
  }

  /**
   * Takes these callbacks away where they are still installed: what a driver calls when it stops, so that those of whoever drives now
   * stay.
   */
  removeFunctions(socketCallback: SocketCallback, timerCallback: TimerCallback): void {
    if (this.#socketAnnouncer.callback === socketCallback) this.socketFunction(null);
    if (this.#timer.callback === timerCallback) this.timerFunction(null);
  }

  /**
   * CURLMOPT_NOTIFYFUNCTION; null: none. Told at the end of a turn, where add and remove are legal. Nothing is told before
   * `notifyEnable`. Throws MultiError BAD_FUNCTION_ARGUMENT.
   */
  notifyFunction(callback: NotifyCallback | null): void {
    checkFunction('notify', callback);
    this.#notices.callback = callback;
  }

  /** curl_multi_notify_enable. Of what has happened already nothing is told. Throws MultiError UNKNOWN_OPTION. */
  notifyEnable(notification: Notification): void {
    this.#notices.enable(checkNotification(notification), true);
  }

  /** curl_multi_notify_disable. Takes back what was not told yet. Throws MultiError UNKNOWN_OPTION. */
  notifyDisable(notification: Notification): void {
    this.#notices.enable(checkNotification(notification), false);
  }

  /**
   * Changes a limit (curl_multi_setopt). Ends no transfer (rule 71): what is idle beyond a lowered limit closes, who waits within
   * a raised one dials; who waits beyond a lowered `queueLength` goes on waiting, and a connection older than a lowered `lifetimeMs`
   * serves nobody after its present transfer. Allowed in every callback. Throws MultiError BAD_HANDLE, UNKNOWN_OPTION (`io` and `lookupTtlMs` are
   * fixed when the multi is made), TransferError INVALID_ARGUMENT.
   */
  setOption(name: MultiOptionName, value: number): void {
    if (this.#closed) throw new MultiError('BAD_HANDLE');
    if (!isCacheLimit(name)) throw new MultiError('UNKNOWN_OPTION', `${describe(name)}.`);
    this.cache.limits[name] = checkCacheLimit(name, value);
    this.readClock();
    this.placer.limitsChanged();
    this.#settleOutsideTurn();
  }

  /**
   * Registers a transfer; it starts in the next turn, for which the timer callback asks (rule 3). Allowed in every callback.
   * Throws MultiError ADDED_ALREADY, BAD_HANDLE, BAD_FUNCTION_ARGUMENT, ABORTED_BY_CALLBACK (a callback answered -1 and transfers
   * of that time are still added). Throws also what the timer callback throws, and ABORTED_BY_CALLBACK where that answers -1: then the
   * transfer is added all the same, and in the second case has failed by then, as all others have.
   */
  add(transfer: Transfer): void {
    if (this.#closed) throw new MultiError('BAD_HANDLE');
    if (this.#dead && this.#transfers.length > 0) throw new MultiError('ABORTED_BY_CALLBACK');
    this.#dead = false;
    if (!(transfer instanceof Transfer)) throw new MultiError('BAD_FUNCTION_ARGUMENT', 'Only a Transfer can be added.');
    if (transfer.multi !== null) throw new MultiError('ADDED_ALREADY');
    transfer.begin();
    transfer.multi = this;
    transfer.state = 'runnable';
    if (transfer.startMs < 0) {
      this.readClock();
      transfer.startMs = this.now;
    }
    this.#transfers.add(transfer);
    this.#added++;
    this.#running++;
    if (transfer.timeouts.totalMs > 0) transfer.startTotalClock(this);
    this.#schedule.add(transfer);
    this.#settleAndThrow();
  }

  /**
   * Unregisters a transfer at any time; from here on no callback or message of it comes (rules 5 to 9). In mid-exchange its
   * connection closes. Not added: nothing happens. Throws MultiError BAD_EASY_HANDLE when it is another multi's,
   * BAD_FUNCTION_ARGUMENT when it is no Transfer.
   */
  remove(transfer: Transfer): void {
    if (!(transfer instanceof Transfer))
      throw new MultiError('BAD_FUNCTION_ARGUMENT', 'Only a Transfer can be removed.');
    if (transfer.multi === null) return;
    if (transfer.multi !== this) throw new MultiError('BAD_EASY_HANDLE');
    if (transfer.state === 'done') this.#doneCount--;
    else {
      this.placer.release(transfer);
      this.#running--;
      this.#bytesIn += transfer.bytesReceived;
      this.#bytesOut += transfer.bytesSent;
    }
    this.#completions.drop(transfer);
    this.#transfers.delete(transfer);
    transfer.reset();
    if (this.#transfers.length === 0) this.#dead = false;
    this.#settleOutsideTurn();
  }

  /**
   * `remove`, of a transfer whose response is no longer wanted: when its body has a known end within 64 KiB, that is read away
   * for 1 s at most and the connection is kept, because that costs less than a new one; else the connection closes. In every
   * other state the same as `remove`. Throws as that does.
   */
  discard(transfer: Transfer): void {
    if (transfer instanceof Transfer && transfer.multi === this) {
      this.readClock();
      transfer.connection?.drain();
    }
    this.remove(transfer);
  }

  /**
   * There was activity on a socket: `events` 1 in, 2 out, 4 error; 0 unknown. Whatever clock has run out ends its transfer then (rule 31),
   * also when its own socket is the next to be told: who has several sockets tells `actions`. Answers the number of running transfers. Throws
   * MultiError BAD_HANDLE, RECURSIVE_API_CALL, BAD_FUNCTION_ARGUMENT, ABORTED_BY_CALLBACK (a callback answered -1), and at the turn's
   * end what a callback without a transfer threw.
   */
  action(socket: Socket, events: number): number {
    if (typeof socket !== 'number' || typeof events !== 'number') {
      throw new MultiError('BAD_FUNCTION_ARGUMENT', 'It takes a socket and events, both numbers.');
    }
    const beganMs = this.#beginTurn();
    try {
      this.#dispatch(socket, events);
      this.#runDueTimers(beganMs);
      return this.#endTurn();
    } finally {
      this.#inTurn = false;
    }
  }

  /**
   * `action` for a batch in one turn: `count` triples of socket, events and a tag that is not read, from the triple `first` on. A
   * socket of -1 is passed over. `more`: no clock runs out yet, for events that came at the same time follow in the next call, or
   * `timeout` does. Throws as `action`.
   */
  actions(events: Int32Array, count: number, first = 0, more = false): number {
    checkTriples(events, count, first);
    const beganMs = this.#beginTurn();
    try {
      const start = first * 3;
      const end = start + count * 3;
      if (count > 1) this.sockets.prefetch(events, start, end);
      for (let index = start; index < end; index += 3) {
        const socket = events[index] as number;
        if (socket >= 0) this.#dispatch(socket, events[index + 1] as number);
      }
      if (!more) this.#runDueTimers(beganMs);
      return this.#endTurn();
    } finally {
      this.#inTurn = false;
    }
  }

  /**
   * The timer fired (libcurl: socket_action with CURL_SOCKET_TIMEOUT). `dueByMs`, on the multi's clock: when the sockets were last looked
   * at. A clock that ran out later waits, because what it waits for may lie in its socket. Answers the number of running transfers.
   * Throws as `action`.
   */
  timeout(dueByMs = Number.POSITIVE_INFINITY): number {
    if (typeof dueByMs !== 'number' || !(dueByMs >= 0)) {
      throw new MultiError('BAD_FUNCTION_ARGUMENT', 'It takes milliseconds of the clock, or nothing.');
    }
    const beganMs = this.#beginTurn();
    try {
      // The timer was single-shot: whatever stays due is announced again (rule 27).
      this.#timer.forget();
      this.#runDueTimers(Math.min(beganMs, dueByMs));
      return this.#endTurn();
    } finally {
      this.#inTurn = false;
    }
  }

  /**
   * For programs without an event loop: `perform` does what there is to do, `wait` or `poll` waits for more, in a loop as long as
   * `perform` answers more than 0 (curl_multi_perform). Neither callback is needed. Node's own event loop stands still meanwhile.
   * Answers the number of running transfers. Throws MultiError BAD_HANDLE, RECURSIVE_API_CALL, UNRECOVERABLE_POLL.
   */
  perform(): number {
    this.#checkMayDrive();
    return this.#waitSet.perform();
  }

  /**
   * Waits until a socket is ready or a timer due, at most `timeoutMs`; returns at once when there is no socket to wait for
   * (curl_multi_wait); a transfer that is paused has none. Answers the number of sockets that are ready, for `perform` to handle. Throws as `perform`, and
   * BAD_FUNCTION_ARGUMENT. A worker that waits can be terminated within 100 ms.
   */
  wait(timeoutMs: number): number {
    this.#checkMayDrive();
    return this.#waitSet.wait(timeoutMs, 'return');
  }

  /** As `wait`, but sleeps also when there is no socket, and ends by `wakeup` too, which does not count (curl_multi_poll). */
  poll(timeoutMs: number): number {
    this.#checkMayDrive();
    return this.#waitSet.wait(timeoutMs, 'sleep');
  }

  /**
   * Ends a `poll`, or the next one if none waits; many are one (curl_multi_wakeup). Allowed in every callback. Other threads call
   * the function `wakeup` with `wakeupHandle`. Throws MultiError BAD_HANDLE, WAKEUP_FAILURE.
   */
  wakeup(): void {
    if (this.#closed) throw new MultiError('BAD_HANDLE');
    this.#waitSet.wakeup();
  }

  /** A number by which any thread of the process may end a `poll` of this multi, at any time. Throws as `wakeup`. */
  get wakeupHandle(): WakeupHandle {
    if (this.#closed) throw new MultiError('BAD_HANDLE');
    return this.#waitSet.wakeupHandle;
  }

  /** Milliseconds until `timeout()` is due, rounded up; 0 now; -1 never (curl_multi_timeout). */
  getTimeout(): number {
    return timeoutMs(this.#expiry(), this.io.now());
  }

  /** Ties a value to a socket until its REMOVE (rules 52, 53). Throws MultiError BAD_SOCKET. Allowed in every callback. */
  assign(socket: Socket, data: unknown): void {
    const entry = this.sockets.get(socket);
    if (entry === undefined) throw new MultiError('BAD_SOCKET', `Socket ${describe(socket)}.`);
    entry.data = data;
  }

  /** Each completion once, in order (curl_multi_info_read). Messages that arrive while it is walked are included. */
  *messages(): Generator<Message> {
    for (let transfer = this.nextDone(); transfer !== null; transfer = this.nextDone()) {
      yield { transfer, error: transfer.error };
    }
  }

  /** The next completed transfer, or null: `messages()` without its objects. */
  nextDone(): Transfer | null {
    return this.#completions.next();
  }

  /** All added transfers (curl_multi_get_handles). */
  transfers(): Transfer[] {
    return this.#transfers.toArray();
  }

  /** Transfers that have not completed, those waiting for a connection included. */
  get running(): number {
    return this.#running;
  }

  /** Counts and what it holds now. */
  stats(): MultiStats {
    return {
      added: this.#added,
      current: this.#transfers.length,
      running: this.#running - this.cache.queuedCount,
      pending: this.cache.queuedCount,
      done: this.#doneCount,
      unread: this.#completions.unread,
      connections: this.cache.openCount,
      idle: this.cache.idleCount,
      opened: this.placer.opened,
      reused: this.placer.reused,
      bytesIn: this.#bytesIn,
      bytesOut: this.#bytesOut,
    };
  }

  /**
   * Lets go of what an earlier network left behind (CURLMOPT_NETWORK_CHANGED): `connections`: idle ones close now, busy ones
   * when their transfer is through; `dns`: names are resolved anew. Both by default. Allowed in every callback. Throws
   * MultiError BAD_HANDLE, TransferError INVALID_ARGUMENT.
   */
  clear(options: ClearOptions = {}): void {
    if (this.#closed) throw new MultiError('BAD_HANDLE');
    const { connections, dns } = resolveClearOptions(options);
    if (connections) this.placer.renew();
    if (dns) this.lookups.clear();
    this.#settleOutsideTurn();
  }

  /**
   * Fixes the addresses of `host:port`, or of `*:port` for all hosts, until it is told otherwise; null forgets them
   * (CURLOPT_RESOLVE). They come before look-ups and never expire. Allowed in every callback. Throws TransferError INVALID_ARGUMENT,
   * MultiError BAD_HANDLE.
   */
  setAddresses(hostAndPort: string, addresses: string | readonly string[] | null): void {
    if (this.#closed) throw new MultiError('BAD_HANDLE');
    this.lookups.statics.set('setAddresses', hostAndPort, addresses);
  }

  /**
   * Removes every transfer, closes every connection and ends the handle. Twice is fine. The socket callback is told REMOVE of every
   * socket meanwhile, and the timer callback -1; to drive or to close in them is RECURSIVE_API_CALL. Throws MultiError
   * RECURSIVE_API_CALL inside a callback, and what such a callback threw: the handle is closed all the same.
   */
  close(): void {
    if (this.#closed) return;
    if (this.#inTurn || this.#inOuterCallback) throw new MultiError('RECURSIVE_API_CALL');
    this.#beginTurn();
    try {
      const all = this.#transfers;
      for (let transfer = all.first; transfer !== null; transfer = all.first) this.remove(transfer);
      this.placer.closeAllIdle();
      this.lookups.leave();
      this.guards.leave();
      // Whatever the callbacks do now, it is closed.
      this.#closed = true;
      this.#endTurn();
    } finally {
      this.#inTurn = false;
      this.#waitSet.close();
      this.lookups.close();
    }
  }

  // ── What the engine's other parts call ───────────────────────────────────────────────────────────────────────────────

  /** @internal The transfer has something to do that no socket event will tell. */
  schedule(transfer: Transfer): void {
    this.#schedule.add(transfer);
    this.#settleOutsideTurn();
  }

  /**
   * @internal For who starts a clock outside a turn, where `now` is the last turn's, or after code of the application's. Within a turn it
   * is read before each event and before each transfer that is run, so one transfer's code does not count towards another's clocks.
   */
  readClock(): void {
    this.now = this.io.now();
  }

  /** @internal A clock was set, perhaps outside a turn: the application's timer may have to change. */
  timersChanged(): void {
    this.#settleOutsideTurn();
  }

  /** @internal The transfer paused: what is wanted of its socket has changed. */
  pauseChanged(): void {
    this.#settleOutsideTurn();
  }

  /** @internal A clock of a transfer was changed from outside: the timer may have to be another. */
  clockChanged(): void {
    this.#settleOutsideTurn();
  }

  /** @internal */
  complete(transfer: Transfer, error: TransferError | null): void {
    transfer.stopClocks(this);
    transfer.connection = null;
    transfer.dial = null;
    transfer.handshake = null;
    transfer.error = error;
    if (transfer.endUs < 0) transfer.endUs = transfer.since(this.now);
    this.#bytesIn += transfer.bytesReceived;
    this.#bytesOut += transfer.bytesSent;
    // A callback of its own may have removed it.
    if (transfer.multi !== this) return;
    transfer.state = 'done';
    this.#running--;
    this.#doneCount++;
    this.#completions.add(transfer);
    this.#notices.note(transfer);
  }

  /** @internal Ends a transfer wherever it is. */
  fail(transfer: Transfer, error: TransferError): void {
    this.placer.release(transfer);
    this.complete(transfer, error);
  }

  /** @internal Its reused connection died before any response byte, or the server wants it otherwise: once more, on a fresh one. */
  retry(transfer: Transfer): void {
    transfer.retried = true;
    transfer.connection = null;
    this.#bytesOut += transfer.bytesSent;
    transfer.bytesSent = 0;
    // What is told of a connection is of the one that answers, or fails.
    transfer.dnsUs = -1;
    transfer.connectUs = -1;
    transfer.tlsUs = -1;
    transfer.sentUs = -1;
    transfer.firstByteUs = -1;
    transfer.pace?.stop(this);
    transfer.state = 'runnable';
    transfer.startPhaseClock(this, this.now, 0);
    this.schedule(transfer);
  }

  /** @internal */
  dialSucceeded(dial: Dial, entry: SocketEntry): void {
    this.placer.dialSucceeded(dial, entry);
  }

  /** @internal */
  dialFailed(dial: Dial, error: TransferError): void {
    this.fail(dial.transfer, error);
  }

  /** @internal A callback answered -1 (rule 48). */
  die(): void {
    this.#dead = true;
    this.#isDying = true;
  }

  /** @internal A callback that has no transfer threw: the driving call throws it when its turn has ended; outside a turn, the next one. */
  rethrowLater(error: unknown): void {
    this.#rethrown ??= { error };
  }

  /** @internal An engine bug fails one transfer, not the multi. Without a transfer there is nobody to tell but the driver. */
  engineFault(transfer: Transfer | null, cause: unknown): void {
    if (transfer === null || transfer.multi !== this || transfer.state === 'done') {
      this.rethrowLater(cause);
      return;
    }
    const { phase } = transfer;
    const sentence = 'An assumption of the engine did not hold; please report this with its cause.';
    this.fail(transfer, new TransferError('INTERNAL', sentence, { cause, phase }));
  }

  // ── The turn ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  #checkMayDrive(): void {
    if (this.#closed) throw new MultiError('BAD_HANDLE');
    if (this.#inTurn || this.#inOuterCallback) throw new MultiError('RECURSIVE_API_CALL');
  }

  /** When it began. */
  #beginTurn(): number {
    this.#checkMayDrive();
    this.#inTurn = true;
    this.#isNowOld = false;
    this.now = this.io.now();
    return this.now;
  }

  /** Before anything in which code of the application's may run. A turn without two of these reads the clock once. */
  #beginStep(): void {
    if (this.#isNowOld) this.now = this.io.now();
    this.#isNowOld = true;
  }

  #endTurn(): number {
    this.#runScheduled();
    // The timer callback may add and remove: then there is more to tell.
    do {
      this.#settle();
      this.#tellNotices();
      this.#announceTimer();
    } while (this.#isUnsettled);
    this.#inTurn = false;
    this.#rethrow();
    if (this.#dead && !this.#closed) throw new MultiError('ABORTED_BY_CALLBACK');
    return this.#running;
  }

  /** Tells and closes sockets and hands on what they held, until nothing of this is left to do. */
  #settle(): void {
    for (;;) {
      if (this.#isDying) this.#failAll();
      if (!this.sockets.hasChanged && !this.placer.hasFreedSlots && !this.placer.sacrifice()) return;
      this.#socketAnnouncer.tellChanges();
      this.#isNowOld = true;
      // A callback may have made more sockets leave: a slot is handed on when its descriptor is closed (rule 69).
      if (!this.sockets.hasChanged) this.placer.fillFreedSlots();
    }
  }

  get #isUnsettled(): boolean {
    if (this.#isDying || this.sockets.hasChanged || this.placer.hasFreedSlots || !this.#notices.isEmpty) return true;
    return !this.#dead && this.#timer.isNews(this.#expiry());
  }

  #tellNotices(): void {
    if (this.#notices.isEmpty) return;
    this.#notices.tell((error) => this.rethrowLater(error));
    this.#isNowOld = true;
  }

  #rethrow(): void {
    const rethrown = this.#rethrown;
    this.#rethrown = null;
    if (rethrown !== null) throw rethrown.error;
  }

  /** A late event for a socket that is gone is silently accepted (rule 33). */
  #dispatch(socket: Socket, events: number): void {
    const entry = this.sockets.get(socket);
    if (entry === undefined || entry.leaving) return;
    const { owner } = entry;
    this.#beginStep();
    try {
      owner.onSocketEvents(events);
    } catch (error) {
      this.engineFault(owner.transfer, error);
    }
  }

  /** What was due when the turn began: what has come to be due since is not, before its socket was looked at again. */
  #runDueTimers(dueByMs: number): void {
    for (let node = this.timers.takeDue(dueByMs); node !== null; node = this.timers.takeDue(dueByMs)) {
      const { owner } = node;
      this.#beginStep();
      try {
        owner.onTimer(dueByMs);
      } catch (error) {
        this.engineFault(owner instanceof Transfer ? owner : (owner.transfer ?? null), error);
      }
    }
  }

  /** One pass: what is scheduled meanwhile waits for the next turn, for which the timer asks (rule 34). */
  #runScheduled(): void {
    if (this.#schedule.isEmpty) return;
    const scheduled = this.#schedule.takeAll();
    for (let index = 0; index < scheduled.length; index++) {
      const transfer = scheduled[index] as Transfer;
      // Removed meanwhile, perhaps added to another multi.
      if (transfer.multi !== this || !transfer.scheduled) continue;
      transfer.scheduled = false;
      this.#beginStep();
      try {
        if (transfer.state === 'runnable') this.#start(transfer);
        else {
          transfer.connection?.continueUpload();
          transfer.connection?.resume();
        }
      } catch (error) {
        this.engineFault(transfer, error);
      }
    }
    scheduled.length = 0;
  }

  #start(transfer: Transfer): void {
    this.placer.start(transfer);
    // To wait in a queue, or to be sent whole on a connection that was open, is nobody's code but ours: the next one has the same time.
    const { state } = transfer;
    if (state === 'queued' || (state === 'waiting' && transfer.upload === null)) this.#isNowOld = false;
  }

  #failAll(): void {
    this.#isDying = false;
    for (let transfer = this.#transfers.first; transfer !== null; transfer = transfer.next) {
      if (transfer.state !== 'done') this.fail(transfer, endedByCallback());
    }
    this.placer.closeAllIdle();
  }

  // ── The timer ────────────────────────────────────────────────────────────────────────────────────────────────────────

  #expiry(): number {
    return this.#schedule.isEmpty ? this.timers.nearest : AT_ONCE;
  }

  /** Tells the application only when the expiry itself changed (rule 26). */
  #announceTimer(): void {
    const expiry = this.#expiry();
    if (this.#dead || !this.#timer.isNews(expiry)) return;
    if (this.#isNowOld || !this.#inTurn) this.readClock();
    try {
      if (this.#timer.tell(expiry, this.now) === -1) this.die();
    } catch (error) {
      this.rethrowLater(error);
    }
  }

  /** `add`, `remove` and `unpause` outside a turn: the timer asks for the turn that does the work. */
  #settleOutsideTurn(): void {
    if (this.#inTurn || this.#inOuterCallback) return;
    do {
      if (this.#isDying || this.sockets.hasChanged || this.placer.hasFreedSlots) {
        // Sockets of a removed transfer leave now; what is scheduled waits for a driving call (rule 3).
        this.#beginTurn();
        try {
          this.#settle();
        } finally {
          this.#inTurn = false;
        }
      }
      this.#inOuterCallback = true;
      try {
        this.#tellNotices();
        this.#announceTimer();
      } finally {
        this.#inOuterCallback = false;
      }
    } while (this.#isUnsettled);
  }

  /** As `#settleOutsideTurn`, for the calls that say at once what a callback did to them: an application may have no other call to hear it from. */
  #settleAndThrow(): void {
    if (this.#inTurn || this.#inOuterCallback) return;
    const wasDead = this.#dead;
    const held = this.#rethrown;
    this.#settleOutsideTurn();
    if (this.#dead && !wasDead) throw new MultiError('ABORTED_BY_CALLBACK');
    if (held === null) this.#rethrow();
  }
}

/** An optional function. */
function checkFunction(which: string, callback: unknown): void {
  if (callback === null || typeof callback === 'function') return;
  throw new MultiError(
    'BAD_FUNCTION_ARGUMENT',
    `The ${which} callback must be a function or null, not ${describe(callback)}.`,
  );
}

function checkTriples(events: Int32Array, count: number, first: number): void {
  if (!isInt32Array(events)) {
    throw new MultiError('BAD_FUNCTION_ARGUMENT', `The events must be an Int32Array, not ${describe(events)}.`);
  }
  if (Number.isInteger(count) && Number.isInteger(first) && count >= 0 && first >= 0) {
    if ((first + count) * 3 <= events.length) return;
  }
  throw new MultiError(
    'BAD_FUNCTION_ARGUMENT',
    `${describe(count)} triples from ${describe(first)} on are not in an array of ${events.length} numbers.`,
  );
}

function checkNotification(notification: Notification): Notification {
  if (NOTIFICATIONS.includes(notification)) return notification;
  throw new MultiError('UNKNOWN_OPTION', `${String(notification)}.`);
}
