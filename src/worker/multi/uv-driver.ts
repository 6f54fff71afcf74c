/**
 * UvDriver: turns a multi's crank with the thread's own event loop alone: a uv_poll handle per socket, and setTimeout. It asks
 * nothing of the kernel that libuv does not ask itself, so it runs wherever Node does. It knows the multi only through its public
 * contract: socket callback, timer callback, `actions`, `timeout`.
 */

import { TransferError } from '../../protocol/errors.ts';
import { errnoName } from '../io/errno.ts';
import type { Socket } from '../io/io.ts';
import { type LoopWatches, openLoopWatches } from '../io/loop-watches.ts';
import { type Driven, type Driver, TURN_EVENTS_MAX } from './driver.ts';
import { LoopTimer } from './loop-timer.ts';
import type { SocketCallback, TimerCallback } from './multi-options.ts';
import { WATCH_REMOVE } from './socket-table.ts';

/** Drives a multi on Node's own event loop, with one `uv_poll` per socket. */
export class UvDriver implements Driver {
  readonly #multi: Driven;
  readonly #watches: LoopWatches;
  readonly #timer: LoopTimer;
  /** True while the driver itself will look at the timer before it returns. */
  #cranking = false;
  #running = false;
  #began = 0;
  #keepsAlive = true;
  /** What the event loop was last told. */
  #holding = true;
  readonly #onSocket: SocketCallback = (_transfer, socket, what) => this.#watch(socket, what);
  readonly #onTimer: TimerCallback = (timeoutMs) => this.#setTimer(timeoutMs);
  onTurn: (() => void) | null = null;

  /** Throws an Error when the addon cannot be loaded. */
  constructor(multi: Driven) {
    this.#multi = multi;
    this.#watches = openLoopWatches();
    this.#timer = new LoopTimer(
      () => multi.io.now(),
      () => this.crank(),
    );
  }

  run(): void {
    if (this.#running) return;
    this.#running = true;
    this.#watches.start(() => this.crank());
    this.#multi.socketFunction(this.#onSocket);
    this.#multi.timerFunction(this.#onTimer);
    this.#holdLoop();
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
    this.#holdLoop();
  }

  unref(): void {
    this.#keepsAlive = false;
    this.#holdLoop();
  }

  crank(): void {
    if (!this.#running) return;
    this.#cranking = true;
    this.#began = this.#multi.io.now();
    try {
      // An answer that waited in its socket while the thread was busy is no timeout (HOSTILE.md 139): the event loop runs timers
      // before it polls, so what it has not told yet is looked for first.
      if (this.#timer.isDue) this.#watches.look();
      this.#handleReady();
      if (this.#timer.isDue) {
        this.#timer.clear();
        this.#multi.timeout();
      }
    } finally {
      this.#cranking = false;
      if (this.#running) this.#timer.arm();
      this.#holdLoop();
    }
    if (this.onTurn !== null) this.onTurn();
  }

  hold(): void {
    this.#cranking = true;
  }

  get elapsedMs(): number {
    return this.#multi.io.now() - this.#began;
  }

  #handleReady(): void {
    const { events } = this.#watches;
    const count = this.#watches.take();
    for (let first = 0; first < count; first += TURN_EVENTS_MAX) {
      const turn = Math.min(TURN_EVENTS_MAX, count - first);
      this.#multi.actions(events, turn, first, first + turn < count);
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
    this.#timer.set(timeoutMs, this.#multi.now);
    if (this.#cranking || !this.#running) return;
    this.#timer.arm();
    this.#holdLoop();
  }

  /** Idle connections and their expiry keep no program alive; transfers do, unless unref'd. */
  #holdLoop(): void {
    if (!this.#running) return;
    const hold = this.#keepsAlive && this.#multi.running > 0;
    if (hold === this.#holding) return;
    this.#holding = hold;
    this.#timer.referenced = hold;
    if (hold) this.#watches.ref();
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
