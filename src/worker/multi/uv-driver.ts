/**
 * UvDriver: turns a multi's crank with the thread's own event loop alone: a uv_poll handle per socket, and setTimeout. It asks
 * nothing of the kernel that libuv does not ask itself, so it runs wherever Node does. It knows the multi only through its public
 * contract: socket callback, timer callback, `actions`, `timeout`.
 */

import { MultiError, TransferError } from '../../protocol/errors.ts';
import { errnoName } from '../io/errno.ts';
import type { Socket } from '../io/io.ts';
import { type LoopWatches, openLoopWatches } from '../io/loop-watches.ts';
import { type Driven, type Driver, TURN_EVENTS_MAX, takeOver } from './driver.ts';
import { LoopTimer } from './loop-timer.ts';
import type { SocketCallback, TimerCallback } from './multi-options.ts';
import { WATCH_REMOVE } from './socket-table.ts';
import { AT_ONCE } from './timer-announcement.ts';

/** Drives a multi on Node's own event loop, with one `uv_poll` per socket. */
export class UvDriver implements Driver {
  readonly #multi: Driven;
  readonly #watches: LoopWatches;
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

  /** Throws an Error when the addon cannot be loaded. */
  constructor(multi: Driven) {
    this.#multi = multi;
    this.#watches = openLoopWatches();
    this.#timer = new LoopTimer(multi, () => this.crank());
  }

  run(): void {
    if (this.#running) return;
    this.#watches.start(() => this.crank());
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
    }
    this.#timer.disarm();
    this.#watches.close();
  }

  ref(): void {
    this.#keepsAlive = true;
    this.#keepLoopAlive();
  }

  unref(): void {
    this.#keepsAlive = false;
    this.#keepLoopAlive();
  }

  crank(): void {
    if (!this.#running) return;
    if (this.#cranking) throw new MultiError('RECURSIVE_API_CALL');
    this.#cranking = true;
    this.#began = this.#multi.io.now();
    const began = this.#began;
    try {
      const isOverdue = this.#timer.due <= began;
      // An answer that waited in its socket while the thread was busy, with another transfer's callback too, is no timeout (HOSTILE.md
      // 139): the event loop runs timers before it polls, so what it has not told yet is looked for first, and what runs out after
      // that waits for the next crank.
      if (isOverdue) this.#watches.look();
      this.#handleReady();
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

  /** No clock runs out here: that of the last would, when the callback of the first took long. */
  #handleReady(): void {
    const { events } = this.#watches;
    const count = this.#watches.take();
    for (let first = 0; first < count; first += TURN_EVENTS_MAX) {
      const turn = Math.min(TURN_EVENTS_MAX, count - first);
      this.#multi.actions(events, turn, first, true);
    }
  }

  #watch(socket: Socket, what: number): void {
    if (what === WATCH_REMOVE) {
      this.#watches.watch(socket, 0);
      return;
    }
    const result = this.#watches.watch(socket, what);
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
    if (alive) this.#watches.ref();
    else this.#watches.unref();
  }
}

/** The multi fails the transfers on this socket with it. */
function refusedToWatch(negativeErrno: number): TransferError {
  const errno = errnoName(negativeErrno);
  return new TransferError(
    'COULDNT_CONNECT',
    `The event loop refused to watch one more socket (${errno}); use fewer connections, or raise fs.epoll.max_user_watches where the errno is ENOSPC.`,
    { phase: 'connect', errno },
  );
}
