/**
 * EpollDriver: turns a multi's crank with one epoll descriptor of its own, which the thread's event loop watches. What shards
 * use. It knows the multi only through its public contract: socket callback, timer callback, `actions`, `timeout`.
 */

import { MultiError, TransferError } from '../../protocol/errors.ts';
import { openEpollPoller } from '../io/epoll-poller.ts';
import { errnoName } from '../io/errno.ts';
import type { Poller, Socket } from '../io/io.ts';
import { type Driven, type Driver, TURN_EVENTS_MAX, takeOver } from './driver.ts';
import { LoopTimer } from './loop-timer.ts';
import type { SocketCallback, TimerCallback } from './multi-options.ts';
import { WATCH_REMOVE } from './socket-table.ts';
import { AT_ONCE } from './timer-announcement.ts';

/**
 * How often one crank asks epoll again before the event loop gets its turn. While sockets were served others became ready;
 * handling them in the same crank makes batches bigger and wakes the main thread less often: a small GET at 64 in flight costs
 * 8.9 us of CPU instead of 9.7 (medians of 7 pairs), and the worst runs 13 instead of 20.
 */
const POLLS_MAX = 8;

/**
 * The same while a clock has run out: as many as it takes to have seen every socket (1,024 a time), for one that has its answer is
 * no timeout. Not for ever, because some are always ready.
 */
const POLLS_OVERDUE_MAX = 64;

/** Drives a multi with an epoll of its own, which Node's event loop watches as one descriptor: the fewest system calls with many sockets. Shards use it. */
export class EpollDriver implements Driver {
  readonly #multi: Driven;
  readonly #poller: Poller;
  /** Counts up with every new watch, so that an event of a descriptor's former life is told from one of its present. */
  #tag = 0;
  /** Tag by descriptor; 0: not watched. */
  readonly #tags: number[] = [];
  readonly #timer: LoopTimer;
  /** True exactly while the multi is driven; then the driver itself looks at the timer before it returns. */
  #cranking = false;
  /** True from `hold` until the crank that follows it. */
  #holding = false;
  #running = false;
  #began = 0;
  #keepsAlive = true;
  /** What the event loop was last told. */
  #keptAlive = true;
  readonly #onSocket: SocketCallback = (_transfer, socket, what) => this.#watch(socket, what);
  readonly #onTimer: TimerCallback = (timeoutMs) => this.#setTimer(timeoutMs);
  onTurn: (() => void) | null = null;

  /** Throws an Error when the addon cannot be loaded or the kernel has no descriptor left. */
  constructor(multi: Driven) {
    this.#multi = multi;
    this.#poller = openEpollPoller();
    this.#timer = new LoopTimer(multi, () => this.crank());
  }

  run(): void {
    if (this.#running) return;
    this.#poller.start(() => this.crank());
    this.#running = true;
    takeOver(this.#multi, this);
    try {
      this.#multi.socketFunction(this.#onSocket);
      this.#multi.timerFunction(this.#onTimer);
    } catch (error) {
      this.stop();
      throw error;
    }
    this.#keepLoopAlive();
  }

  stop(): void {
    if (this.#running) {
      this.#running = false;
      this.#multi.removeFunctions(this.#onSocket, this.#onTimer);
      this.#poller.stop();
    }
    this.#timer.disarm();
    this.#poller.close();
  }

  ref(): void {
    this.#keepsAlive = true;
    this.#keepLoopAlive();
  }

  unref(): void {
    this.#keepsAlive = false;
    this.#keepLoopAlive();
  }

  /**
   * First what the sockets have, then what was due before they were looked at. In this order an answer that waited in its socket while
   * the thread was busy, with another transfer's callback too, is no timeout (HOSTILE.md 139), and a connection that closed is
   * known before it is reused.
   */
  crank(): void {
    if (!this.#running) return;
    if (this.#cranking) throw new MultiError('RECURSIVE_API_CALL');
    this.#cranking = true;
    this.#began = this.#multi.io.now();
    const began = this.#began;
    try {
      const isOverdue = this.#timer.due <= began;
      this.#handleReady(isOverdue);
      if (this.#timer.due <= began) this.#timer.serve(isOverdue ? began : AT_ONCE);
    } finally {
      this.#cranking = false;
      this.#holding = false;
      if (this.#running) this.#timer.arm();
      this.#keepLoopAlive();
    }
    if (this.onTurn !== null) this.onTurn();
  }

  hold(): void {
    this.#holding = true;
  }

  get elapsedMs(): number {
    return this.#multi.io.now() - this.#began;
  }

  /**
   * Polls without waiting and handles what came, until nothing more does or the event loop's turn is due. No clock runs out here:
   * that of a socket of the same poll would, when the callback of one before it took long.
   */
  #handleReady(isOverdue: boolean): void {
    const { events } = this.#poller;
    const countMax = events.length / 3;
    for (let poll = 0, polls = POLLS_MAX; poll < polls; poll++) {
      const count = this.#poller.wait(0);
      if (count <= 0) return;
      polls = isOverdue && count === countMax ? POLLS_OVERDUE_MAX : POLLS_MAX;
      for (let first = 0; first < count; first += TURN_EVENTS_MAX) {
        const turn = Math.min(TURN_EVENTS_MAX, count - first);
        // Only now: the turn before may have closed a descriptor of this one, and opened another with its number.
        for (let index = first * 3, end = index + turn * 3; index < end; index += 3) {
          if (this.#tags[events[index] as number] !== events[index + 2]) events[index] = -1;
        }
        this.#multi.actions(events, turn, first, true);
      }
    }
  }

  #watch(socket: Socket, what: number): void {
    if (what === WATCH_REMOVE) {
      this.#tags[socket] = 0;
      this.#poller.watch(socket, 0, 0);
      return;
    }
    if (!this.#tags[socket]) {
      this.#tag = (this.#tag + 1) | 0 || 1;
      this.#tags[socket] = this.#tag;
    }
    const result = this.#poller.watch(socket, what, this.#tags[socket] as number);
    if (result < 0) throw refusedToWatch(result);
  }

  #setTimer(timeoutMs: number): void {
    this.#timer.set(timeoutMs);
    if (this.#cranking || this.#holding || !this.#running) return;
    this.#timer.arm();
    this.#keepLoopAlive();
  }

  /** Idle connections and their expiry keep no program alive; transfers do, unless unref'd. */
  #keepLoopAlive(): void {
    if (!this.#running) return;
    const alive = this.#keepsAlive && this.#multi.running > 0;
    if (alive === this.#keptAlive) return;
    this.#keptAlive = alive;
    this.#timer.referenced = alive;
    if (alive) this.#poller.ref();
    else this.#poller.unref();
  }
}

/** Out of kernel memory or of epoll watches: the multi fails the transfers on this socket with it. */
function refusedToWatch(negativeErrno: number): TransferError {
  const errno = errnoName(negativeErrno);
  return new TransferError(
    'COULDNT_CONNECT',
    `The kernel refused to watch one more socket (${errno}); use fewer connections, or raise fs.epoll.max_user_watches where the errno is ENOSPC.`,
    { phase: 'connect', errno },
  );
}
