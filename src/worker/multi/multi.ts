/**
 * Multi: libcurl's multi handle. One handle drives any number of transfers; the application owns the event loop; the handle
 * says which sockets to watch and when to wake it. This file holds the contract with the application (CONTRACT.md §2) and
 * the order of a turn; bytes are `connection.ts`'s, opening is `dial.ts`'s, who gets which connection is
 * `connection-cache.ts`'s.
 *
 * A turn is the outermost driving call (`action`, `actions`, `timeout`). Within it callbacks of transfers run as things happen;
 * sockets are announced, REMOVEd and closed, and the timer is told, when the turn ends:
 *
 *   begin: read the clock once
 *   events / due timers
 *   end:   run scheduled transfers -> socket callbacks -> close descriptors -> freed slots start waiting transfers
 *          (again until nothing changes) -> timer callback -> rethrow what a callback without a transfer threw
 */

import { MultiError, TransferError } from '../../protocol/errors.ts';
import type { Io, Socket } from '../io/io.ts';
import { nativeIo } from '../io/native-io.ts';
import { Connection } from './connection.ts';
import { ConnectionCache, type Destination } from './connection-cache.ts';
import { Dial } from './dial.ts';
import { Lookups } from './lookups.ts';
import { type MultiOptions, resolveMultiOptions, type SocketCallback, type TimerCallback } from './multi-options.ts';
import { type SocketEntry, SocketTable, WATCH_NONE, WATCH_REMOVE } from './socket-table.ts';
import { TimerNode, type TimerOwner, TimerQueue } from './timer-queue.ts';
import { Transfer } from './transfer.ts';

/** A completed transfer, as `messages()` tells it: once. */
export interface Message {
  readonly transfer: Transfer;
  /** null: success. */
  readonly error: TransferError | null;
}

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
  readonly connections: number;
  readonly idle: number;
  /** Connections ever opened. */
  readonly opened: number;
  /** Transfers begun on a connection that had served others. */
  readonly reused: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
}

const NEVER = Number.POSITIVE_INFINITY;
/** An announced expiry that means as soon as possible; no deadline is 0, because the clock is not. */
const AT_ONCE = 0;

export class Multi {
  /** @internal */ readonly io: Io;
  /** @internal Where requests are put together: a Buffer over `io.writeBuffer`. */ readonly staging: Buffer;
  /** @internal */ readonly sockets = new SocketTable();
  /** @internal */ readonly timers = new TimerQueue();
  /** @internal */ readonly cache: ConnectionCache;
  /** @internal */ readonly lookups: Lookups;
  /** Milliseconds of the multi's clock (CLOCK_MONOTONIC), read once per turn: what the timer callback's argument counts from. */
  now: number;

  #socketCallback: SocketCallback | null = null;
  #timerCallback: TimerCallback | null = null;
  /** The expiry the application was told; NEVER: none, AT_ONCE: 0 ms. */
  #announced = NEVER;
  /** True exactly while a driving call is under way, so also while any callback of it runs. */
  #inTurn = false;
  /** True exactly while the timer callback of `add` or `unpause` runs. */
  #inTimerCallback = false;
  #closed = false;
  /** True from a callback's -1 until all transfers are removed (rules 48 to 50). */
  #dead = false;
  /** What a callback that has no transfer threw: rethrown when the turn ends. */
  #rethrown: { error: unknown } | null = null;

  #first: Transfer | null = null;
  #last: Transfer | null = null;
  /** Transfers to start or to go on with in the next turn. */
  #scheduled: Transfer[] = [];
  #scheduledSpare: Transfer[] = [];
  /** Slots whose descriptors close at the end of this turn. */
  #freedSlots: Destination[] = [];
  #done: Transfer[] = [];
  #doneHead = 0;
  readonly #idleTimer: TimerNode;

  #added = 0;
  #current = 0;
  #running = 0;
  #doneCount = 0;
  #opened = 0;
  #reused = 0;
  #bytesIn = 0;
  #bytesOut = 0;

  /** Throws TransferError INVALID_ARGUMENT that names the option. */
  constructor(options: MultiOptions = {}) {
    const { io, cacheLimits, lookupTtlMs } = resolveMultiOptions(options);
    this.io = io ?? nativeIo();
    const { writeBuffer } = this.io;
    this.staging = Buffer.from(writeBuffer.buffer, writeBuffer.byteOffset, writeBuffer.byteLength);
    this.cache = new ConnectionCache(cacheLimits);
    this.lookups = new Lookups(this.io, this.sockets, lookupTtlMs);
    this.now = this.io.now();
    this.#idleTimer = new TimerNode(new IdleExpiry(this));
  }

  // ── What the application calls ───────────────────────────────────────────────────────────────────────────────────────

  /** CURLMOPT_SOCKETFUNCTION. May be installed late: what is wanted then is told from then on (rule 22). */
  socketFunction(callback: SocketCallback | null): void {
    this.#socketCallback = callback;
    if (callback === null) return;
    this.sockets.noteAll();
    // An application that only waits for what it is told would otherwise wait for ever.
    this.#settleOutsideTurn();
  }

  /** CURLMOPT_TIMERFUNCTION. */
  timerFunction(callback: TimerCallback | null): void {
    this.#timerCallback = callback;
    this.#announced = NEVER;
    this.#settleOutsideTurn();
  }

  /**
   * Registers a transfer; it starts in the next turn, for which the timer callback asks (rule 3). Allowed in every callback.
   * Throws MultiError ADDED_ALREADY, BAD_HANDLE, BAD_FUNCTION_ARGUMENT, ABORTED_BY_CALLBACK.
   */
  add(transfer: Transfer): void {
    if (this.#closed) throw new MultiError('BAD_HANDLE');
    if (this.#dead && this.#current > 0) throw new MultiError('ABORTED_BY_CALLBACK');
    this.#dead = false;
    if (!(transfer instanceof Transfer)) throw new MultiError('BAD_FUNCTION_ARGUMENT', 'Only a Transfer can be added.');
    if (transfer.multi !== null) throw new MultiError('ADDED_ALREADY');
    transfer.begin();
    transfer.multi = this;
    transfer.state = 'runnable';
    if (transfer.startMs < 0) transfer.startMs = this.#inTurn ? this.now : this.io.now();
    this.#link(transfer);
    this.#added++;
    this.#running++;
    if (transfer.timeouts.totalMs > 0) {
      transfer.totalDeadline = transfer.startMs + transfer.timeouts.totalMs;
      transfer.startPhaseClock(this, transfer.startMs, 0);
    }
    this.schedule(transfer);
  }

  /**
   * Unregisters a transfer at any time; from here on no callback or message of it comes (rules 5 to 9). In mid-exchange its
   * connection closes. Not added: nothing happens. Throws MultiError BAD_EASY_HANDLE when it is another multi's.
   */
  remove(transfer: Transfer): void {
    if (transfer.multi === null) return;
    if (transfer.multi !== this) throw new MultiError('BAD_EASY_HANDLE');
    if (transfer.state === 'done') this.#doneCount--;
    else {
      this.#release(transfer);
      this.#running--;
    }
    this.#unlink(transfer);
    transfer.reset();
    if (this.#current === 0) this.#dead = false;
    this.#settleOutsideTurn();
  }

  /** There was activity on a socket: `events` 1 in, 2 out, 4 error; 0 unknown. Answers the number of running transfers. */
  action(socket: Socket, events: number): number {
    this.#beginTurn();
    this.#dispatch(socket, events);
    this.#runDueTimers();
    return this.#endTurn();
  }

  /** `action` for a batch in one turn: `count` triples of socket, events and a tag that is not read. A socket of -1 is passed over. */
  actions(events: Int32Array, count: number): number {
    this.#beginTurn();
    for (let index = 0, end = count * 3; index < end; index += 3) {
      const socket = events[index] as number;
      if (socket >= 0) this.#dispatch(socket, events[index + 1] as number);
    }
    this.#runDueTimers();
    return this.#endTurn();
  }

  /** The timer fired (libcurl: socket_action with CURL_SOCKET_TIMEOUT). Answers the number of running transfers. */
  timeout(): number {
    this.#beginTurn();
    // The timer was single-shot: whatever stays due is announced again (rule 27).
    this.#announced = NEVER;
    this.#runDueTimers();
    return this.#endTurn();
  }

  /** Milliseconds until `timeout()` is due, rounded up; 0 now; -1 never (curl_multi_timeout). */
  getTimeout(): number {
    return this.#timeoutMs(this.#expiry(), this.io.now());
  }

  /** Ties a value to a socket until its REMOVE (rules 52, 53). Throws MultiError BAD_SOCKET. Allowed in every callback. */
  assign(socket: Socket, data: unknown): void {
    const entry = this.sockets.get(socket);
    if (entry === undefined) throw new MultiError('BAD_SOCKET', `Socket ${socket}.`);
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
    while (this.#doneHead < this.#done.length) {
      const transfer = this.#done[this.#doneHead++] as Transfer;
      if (this.#doneHead === this.#done.length) {
        this.#done.length = 0;
        this.#doneHead = 0;
      }
      if (!transfer.unread || transfer.multi !== this) continue;
      transfer.unread = false;
      return transfer;
    }
    return null;
  }

  /** All added transfers (curl_multi_get_handles). */
  transfers(): Transfer[] {
    const all: Transfer[] = [];
    for (let transfer = this.#first; transfer !== null; transfer = transfer.next) all.push(transfer);
    return all;
  }

  get running(): number {
    return this.#running;
  }

  stats(): MultiStats {
    return {
      added: this.#added,
      current: this.#current,
      running: this.#running - this.cache.queuedCount,
      pending: this.cache.queuedCount,
      done: this.#doneCount,
      connections: this.cache.openCount,
      idle: this.cache.idleCount,
      opened: this.#opened,
      reused: this.#reused,
      bytesIn: this.#bytesIn,
      bytesOut: this.#bytesOut,
    };
  }

  /** Removes every transfer, closes every connection and ends the handle; may call the socket callback. Twice is fine. */
  close(): void {
    if (this.#closed) return;
    if (this.#inTurn || this.#inTimerCallback) throw new MultiError('RECURSIVE_API_CALL');
    this.#beginTurn();
    for (let transfer = this.#first; transfer !== null; transfer = this.#first) this.remove(transfer);
    for (let idle = this.cache.oldestIdle; idle !== null; idle = this.cache.oldestIdle) this.closeIdle(idle);
    this.lookups.leave();
    this.timers.cancel(this.#idleTimer);
    // Whatever the callbacks do now, it is closed.
    this.#closed = true;
    try {
      this.#endTurn();
    } finally {
      this.lookups.close();
    }
  }

  // ── What the engine's other parts call ───────────────────────────────────────────────────────────────────────────────

  /** @internal The transfer has something to do that no socket event will tell. */
  schedule(transfer: Transfer): void {
    if (!transfer.scheduled) {
      transfer.scheduled = true;
      this.#scheduled.push(transfer);
    }
    this.#settleOutsideTurn();
  }

  /** @internal Outside a turn `now` is the last turn's, which may be long ago: who starts a clock there asks for this first. */
  readClock(): void {
    if (!this.#inTurn) this.now = this.io.now();
  }

  /** @internal The transfer paused: what is wanted of its socket has changed. */
  pauseChanged(): void {
    this.#settleOutsideTurn();
  }

  /** @internal */
  complete(transfer: Transfer, error: TransferError | null): void {
    transfer.stopClocks(this);
    transfer.connection = null;
    transfer.dial = null;
    transfer.error = error;
    if (transfer.endUs < 0) transfer.endUs = transfer.since(this.now);
    this.#bytesIn += transfer.bytesReceived;
    this.#bytesOut += transfer.bytesSent;
    // A callback of its own may have removed it.
    if (transfer.multi !== this) return;
    transfer.state = 'done';
    transfer.unread = true;
    this.#running--;
    this.#doneCount++;
    this.#done.push(transfer);
  }

  /** @internal Ends a transfer wherever it is. */
  fail(transfer: Transfer, error: TransferError): void {
    this.#release(transfer);
    this.complete(transfer, error);
  }

  /** @internal Its reused connection died before any response byte: once more, on a fresh one. */
  retry(transfer: Transfer): void {
    transfer.retried = true;
    transfer.connection = null;
    transfer.bytesSent = 0;
    transfer.state = 'runnable';
    transfer.startPhaseClock(this, this.now, 0);
    this.schedule(transfer);
  }

  /** @internal A connection has done its work. */
  connectionFree(connection: Connection): void {
    const next = this.cache.give(connection, this.now);
    if (next === 'close') connection.close();
    else if (next !== 'idle') this.#begin(connection, next);
    else {
      connection.state = 'idle';
      this.#closeExcess();
    }
  }

  /** @internal */
  dialSucceeded(dial: Dial, entry: SocketEntry): void {
    const { transfer, destination } = dial;
    transfer.dial = null;
    transfer.connectUs = transfer.since(this.now);
    transfer.tlsUs = transfer.connectUs;
    this.#opened++;
    this.#begin(new Connection(this, destination, entry, transfer.limits), transfer);
  }

  /** @internal */
  dialFailed(dial: Dial, error: TransferError): void {
    this.fail(dial.transfer, error);
  }

  /** @internal The descriptor that held the destination's slot closes at the end of this turn. */
  freeSlot(destination: Destination): void {
    this.#freedSlots.push(destination);
  }

  /** @internal */
  closeIdle(connection: Connection): void {
    this.cache.removeIdle(connection);
    connection.close();
  }

  /** @internal Idle connections have a common clock. */
  expireIdle(): void {
    this.#closeExcess();
  }

  // ── The turn ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  #beginTurn(): void {
    if (this.#closed) throw new MultiError('BAD_HANDLE');
    if (this.#inTurn || this.#inTimerCallback) throw new MultiError('RECURSIVE_API_CALL');
    this.#inTurn = true;
    this.now = this.io.now();
  }

  #endTurn(): number {
    this.#runScheduled();
    if (this.#dead) this.#failAll();
    // The timer callback may add and remove: then there is more to tell.
    do {
      this.#settle();
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
      if (!this.sockets.hasChanged && this.#freedSlots.length === 0) {
        // Rule 68: who waits only because of the total gets the place of an idle connection.
        const sacrifice = this.cache.sacrifice();
        if (sacrifice === null) return;
        this.closeIdle(sacrifice);
      }
      this.#tellSockets();
      this.#fillFreedSlots();
      if (this.#dead) this.#failAll();
    }
  }

  get #isUnsettled(): boolean {
    if (this.sockets.hasChanged || this.#freedSlots.length > 0) return true;
    return !this.#dead && this.#expiry() !== this.#announced;
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
    try {
      owner.onSocketEvents(events);
    } catch (error) {
      this.#engineFault(owner.transfer, error);
    }
  }

  /** An engine bug fails one transfer, not the multi. Without a transfer there is nobody to tell but the driver. */
  #engineFault(transfer: Transfer | null, error: unknown): void {
    if (transfer === null || transfer.multi !== this || transfer.state === 'done') {
      this.#rethrown ??= { error };
      return;
    }
    const internal = new TransferError(
      'INTERNAL',
      'An assumption of the engine did not hold; please report this with its cause.',
      {
        cause: error,
        phase: transfer.phase,
      },
    );
    this.fail(transfer, internal);
  }

  #runDueTimers(): void {
    for (let node = this.timers.takeDue(this.now); node !== null; node = this.timers.takeDue(this.now)) {
      node.owner.onTimer(this.now);
    }
  }

  /** One pass: what is scheduled meanwhile waits for the next turn, for which the timer asks (rule 34). */
  #runScheduled(): void {
    const scheduled = this.#scheduled;
    if (scheduled.length === 0) return;
    this.#scheduled = this.#scheduledSpare;
    for (let index = 0; index < scheduled.length; index++) {
      const transfer = scheduled[index] as Transfer;
      // Removed meanwhile, perhaps added to another multi.
      if (transfer.multi !== this || !transfer.scheduled) continue;
      transfer.scheduled = false;
      try {
        if (transfer.state === 'runnable') this.#start(transfer);
        else {
          transfer.connection?.continueUpload();
          transfer.connection?.resume();
        }
      } catch (error) {
        this.#engineFault(transfer, error);
      }
    }
    scheduled.length = 0;
    this.#scheduledSpare = scheduled;
  }

  #start(transfer: Transfer): void {
    const { cache } = this;
    const destination = this.#destinationOf(transfer);
    for (let old = cache.outlived(destination, this.now); old !== null; old = cache.outlived(destination, this.now)) {
      this.closeIdle(old);
    }
    const placement = cache.place(transfer, destination, this.now);
    if (placement === 'dial') this.#dial(transfer, destination);
    else if (placement === 'queue') this.#queue(transfer, destination);
    else if (placement === 'queue-full') this.fail(transfer, this.#queueFull(destination));
    else this.#begin(placement, transfer);
  }

  #destinationOf(transfer: Transfer): Destination {
    const destination = this.cache.destinationOf(transfer.origin);
    if (transfer.hostConnections > 0) destination.limit = transfer.hostConnections;
    return destination;
  }

  #dial(transfer: Transfer, destination: Destination): void {
    transfer.queuedUs = transfer.since(this.now);
    transfer.state = 'dialing';
    this.cache.slotTaken(destination);
    transfer.startPhaseClock(this, this.now, transfer.timeouts.connectMs);
    const dial = new Dial(this, transfer, destination);
    transfer.dial = dial;
    dial.start();
  }

  #queue(transfer: Transfer, destination: Destination): void {
    transfer.state = 'queued';
    transfer.queuedAtMs = this.now;
    transfer.startPhaseClock(this, this.now, transfer.timeouts.queueMs);
    this.cache.enqueue(transfer, destination);
    // It must have a fresh one where its own host's limit is reached; the total's limit is seen to when the turn ends.
    if (!destination.hasRoom && destination.idleHead !== null) this.closeIdle(destination.idleHead);
  }

  #begin(connection: Connection, transfer: Transfer): void {
    if (connection.uses > 0) {
      this.#reused++;
      const us = transfer.since(this.now);
      transfer.queuedUs = us;
      transfer.dnsUs = us;
      transfer.connectUs = us;
      transfer.tlsUs = us;
    }
    connection.begin(transfer);
  }

  /** Tells the application what changed, then closes what is leaving: REMOVE comes before the close (rule 16). */
  #tellSockets(): void {
    const changed = this.sockets.takeChanged();
    for (let index = 0; index < changed.length; index++) {
      const entry = changed[index] as SocketEntry;
      entry.changed = false;
      // A callback that throws makes the socket leave; its REMOVE is still to be told then, in the next pass.
      const { leaving } = entry;
      if (entry.wanted !== entry.told) this.#tellSocket(entry);
      if (!leaving) continue;
      this.sockets.delete(entry);
      if (entry.owned) this.io.close(entry.socket);
    }
  }

  #tellSocket(entry: SocketEntry): void {
    entry.told = entry.wanted;
    const what = entry.wanted === WATCH_NONE ? WATCH_REMOVE : entry.wanted;
    const { transfer } = entry.owner;
    if (this.#socketCallback !== null) {
      try {
        if (this.#socketCallback(transfer, entry.socket, what, entry.data) === -1) this.#dead = true;
      } catch (error) {
        if (transfer === null) this.#rethrown ??= { error };
        else this.fail(transfer, TransferError.is(error) ? error : abortedBy('socket callback', error));
      }
    }
    if (what === WATCH_REMOVE) entry.data = undefined;
  }

  #fillFreedSlots(): void {
    for (let index = 0; index < this.#freedSlots.length; index++) {
      const next = this.cache.slotFreed(this.#freedSlots[index] as Destination);
      if (next === null) continue;
      try {
        this.#dial(next, this.#destinationOf(next));
      } catch (error) {
        this.#engineFault(next, error);
      }
    }
    this.#freedSlots.length = 0;
  }

  #failAll(): void {
    for (let transfer = this.#first; transfer !== null; transfer = transfer.next) {
      if (transfer.state !== 'done') this.fail(transfer, abortedBy('multi callback', undefined));
    }
    for (let idle = this.cache.oldestIdle; idle !== null; idle = this.cache.oldestIdle) this.closeIdle(idle);
  }

  #closeExcess(): void {
    for (let idle = this.cache.excess(this.now); idle !== null; idle = this.cache.excess(this.now))
      this.closeIdle(idle);
    if (this.#idleTimer.index < 0) this.timers.set(this.#idleTimer, this.cache.nextExpiry);
  }

  // ── The timer ────────────────────────────────────────────────────────────────────────────────────────────────────────

  #expiry(): number {
    return this.#scheduled.length > 0 ? AT_ONCE : this.timers.nearest;
  }

  #timeoutMs(expiry: number, now: number): number {
    if (expiry === NEVER) return -1;
    return expiry <= now ? 0 : Math.ceil(expiry - now);
  }

  /** Tells the application only when the expiry itself changed (rule 26). */
  #announceTimer(): void {
    const expiry = this.#expiry();
    if (expiry === this.#announced || this.#dead) return;
    this.#announced = expiry;
    if (this.#timerCallback === null) return;
    this.readClock();
    try {
      if (this.#timerCallback(this.#timeoutMs(expiry, this.now)) === -1) this.#dead = true;
    } catch (error) {
      this.#rethrown ??= { error };
    }
  }

  /** `add`, `remove` and `unpause` outside a turn: the timer asks for the turn that does the work. */
  #settleOutsideTurn(): void {
    if (this.#inTurn || this.#inTimerCallback) return;
    do {
      if (this.sockets.hasChanged || this.#freedSlots.length > 0) {
        // Sockets of a removed transfer leave now; what is scheduled waits for a driving call (rule 3).
        this.#beginTurn();
        this.#settle();
        this.#inTurn = false;
      }
      this.#inTimerCallback = true;
      this.#announceTimer();
      this.#inTimerCallback = false;
    } while (this.#isUnsettled);
    this.#rethrow();
  }

  // ── Book-keeping ─────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Takes a transfer away from whatever serves it. */
  #release(transfer: Transfer): void {
    if (transfer.state === 'queued') this.cache.dequeue(transfer, this.cache.destinationOf(transfer.origin));
    const { dial, connection } = transfer;
    if (dial !== null) {
      dial.cancel();
      transfer.dial = null;
      this.freeSlot(dial.destination);
    }
    transfer.stopClocks(this);
    transfer.connection = null;
    connection?.abandon();
  }

  #queueFull(destination: Destination): TransferError {
    const { queueLength } = this.cache.limits;
    return new TransferError(
      'QUEUE_FULL',
      `${queueLength} transfers wait for a connection already, so none to ${destination.origin.text} can be added; start fewer at a time or raise connections.queueLength.`,
      { limit: 'connections.queueLength', phase: 'queue' },
    );
  }

  #link(transfer: Transfer): void {
    transfer.previous = this.#last;
    transfer.next = null;
    if (this.#last === null) this.#first = transfer;
    else this.#last.next = transfer;
    this.#last = transfer;
    this.#current++;
  }

  #unlink(transfer: Transfer): void {
    const { previous, next } = transfer;
    if (previous === null) this.#first = next;
    else previous.next = next;
    if (next === null) this.#last = previous;
    else next.previous = previous;
    transfer.previous = null;
    transfer.next = null;
    this.#current--;
  }
}

class IdleExpiry implements TimerOwner {
  readonly #multi: Multi;

  constructor(multi: Multi) {
    this.#multi = multi;
  }

  onTimer(): void {
    this.#multi.expireIdle();
  }
}

function abortedBy(who: string, error: unknown): TransferError {
  return new TransferError(
    'ABORTED_BY_CALLBACK',
    `A ${who} ${error === undefined ? 'ended the multi handle' : 'threw'}.`,
    {
      cause: error,
    },
  );
}
