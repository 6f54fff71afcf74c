/**
 * EpollDriver: turns a multi's crank with one epoll descriptor of its own, which the thread's event loop watches. What shards
 * use. It knows the multi only through its public contract: socket callback, timer callback, `actions`, `timeout`.
 */

import { TransferError } from '../../protocol/errors.ts';
import { openEpollPoller } from '../io/epoll-poller.ts';
import { errnoName } from '../io/errno.ts';
import type { Poller, Socket } from '../io/io.ts';
import type { Multi } from './multi.ts';
import { WATCH_REMOVE } from './socket-table.ts';

/**
 * How often one crank asks epoll again before the event loop gets its turn. While sockets were served others became ready;
 * handling them in the same crank makes batches bigger and wakes the main thread less often: a small GET at 64 in flight costs
 * 8.9 us of CPU instead of 9.7 (medians of 7 pairs), and the worst runs 13 instead of 20.
 */
const POLLS_MAX = 8;

const NEVER = Number.POSITIVE_INFINITY;

export class EpollDriver {
  readonly #multi: Multi;
  readonly #poller: Poller;
  /** Counts up with every new watch, so that an event of a descriptor's former life is told from one of its present. */
  #tag = 0;
  /** Tag by descriptor; 0: not watched. */
  readonly #tags: number[] = [];
  /** When `timeout()` is due on the multi's clock; NEVER: not. */
  #due = NEVER;
  /** When the armed timer fires; it may be earlier than `#due`: moving a deadline later costs nothing. */
  #armed = NEVER;
  #timer: NodeJS.Timeout | null = null;
  #immediate: NodeJS.Immediate | null = null;
  /** True while the driver itself will look at `#due` before it returns. */
  #cranking = false;
  #running = false;
  #began = 0;
  #keepsAlive = true;
  /** Called after each crank: the place to read messages and to send what was collected. */
  onTurn: (() => void) | null = null;

  constructor(multi: Multi) {
    this.#multi = multi;
    this.#poller = openEpollPoller();
  }

  /** Starts driving: installs both callbacks of the multi. Until `stop()`. */
  run(): void {
    if (this.#running) return;
    this.#running = true;
    this.#multi.socketFunction((_transfer, socket, what) => this.#watch(socket, what));
    this.#multi.timerFunction((timeoutMs) => this.#setTimer(timeoutMs));
    this.#poller.start(() => this.crank());
    this.#holdLoop();
  }

  /** Ends driving and closes the epoll descriptor. The multi stays as it is. */
  stop(): void {
    if (!this.#running) return;
    this.#running = false;
    this.#multi.socketFunction(null);
    this.#multi.timerFunction(null);
    this.#disarm();
    this.#poller.stop();
    this.#poller.close();
  }

  /** The event loop stays alive while transfers run. The default. */
  ref(): void {
    this.#keepsAlive = true;
    this.#holdLoop();
  }

  /** Transfers under way do not keep the event loop alive. */
  unref(): void {
    this.#keepsAlive = false;
    this.#holdLoop();
  }

  /**
   * One turn of the crank: first what the sockets have, then what is due. In this order an answer that waited in its socket
   * while the thread was busy is no timeout (HOSTILE.md 139), and a connection that closed is known before it is reused.
   */
  crank(): void {
    if (!this.#running) return;
    this.#cranking = true;
    this.#began = this.#multi.io.now();
    try {
      this.handleReady();
      if (this.#due <= this.#multi.io.now()) {
        this.#due = NEVER;
        this.#multi.timeout();
      }
    } finally {
      this.#cranking = false;
      this.#arm();
      this.#holdLoop();
    }
    if (this.onTurn !== null) this.onTurn();
  }

  /** Transfers are about to be added, and `crank` will be called after that: no timer need be set for them. */
  hold(): void {
    this.#cranking = true;
  }

  /** Inside `onTurn`: milliseconds since the crank began. */
  get elapsedMs(): number {
    return this.#multi.io.now() - this.#began;
  }

  /** Polls without waiting and handles what came, until nothing more does or the event loop's turn is due. */
  handleReady(): void {
    const { events } = this.#poller;
    for (let poll = 0; poll < POLLS_MAX; poll++) {
      const count = this.#poller.wait(0);
      if (count <= 0) return;
      for (let index = 0, end = count * 3; index < end; index += 3) {
        if (this.#tags[events[index] as number] !== events[index + 2]) events[index] = -1;
      }
      this.#multi.actions(events, count);
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
    if (timeoutMs < 0) this.#due = NEVER;
    else if (timeoutMs === 0) this.#due = 0;
    // Counted from the turn's beginning: after a long turn the timer is not late by its length.
    else this.#due = this.#multi.now + timeoutMs;
    if (!this.#cranking) {
      this.#arm();
      this.#holdLoop();
    }
  }

  /** Sees to it that `crank` runs when `#due` comes. An armed timer that is too early is left: it will look again. */
  #arm(): void {
    if (!this.#running || this.#due === NEVER) return;
    const now = this.#multi.io.now();
    if (this.#due <= now) {
      this.#immediate ??= setImmediate(() => {
        this.#immediate = null;
        this.crank();
      });
      return;
    }
    if (this.#armed <= this.#due) return;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#armed = this.#due;
    this.#timer = setTimeout(() => this.#timerFired(), Math.min(Math.ceil(this.#due - now), TIMEOUT_MS_MAX));
    if (!this.#holding) this.#timer.unref();
  }

  #timerFired(): void {
    this.#timer = null;
    this.#armed = NEVER;
    this.crank();
  }

  #disarm(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    if (this.#immediate !== null) clearImmediate(this.#immediate);
    this.#timer = null;
    this.#immediate = null;
    this.#armed = NEVER;
    this.#due = NEVER;
  }

  /** What the event loop was last told. */
  #holding = true;

  /** Idle connections and their expiry keep no program alive; transfers do, unless unref'd. */
  #holdLoop(): void {
    if (!this.#running) return;
    const hold = this.#keepsAlive && this.#multi.running > 0;
    if (hold === this.#holding) return;
    this.#holding = hold;
    if (hold) {
      this.#poller.ref();
      this.#timer?.ref();
    } else {
      this.#poller.unref();
      this.#timer?.unref();
    }
  }
}

/** The longest that setTimeout takes; a later deadline is armed again when this fires. */
const TIMEOUT_MS_MAX = 2 ** 31 - 1;

/** Out of kernel memory or of epoll watches: the multi fails the transfers on this socket with it. */
function refusedToWatch(negativeErrno: number): TransferError {
  const errno = errnoName(negativeErrno);
  return new TransferError(
    'COULDNT_CONNECT',
    `The kernel refused to watch one more socket (${errno}); use fewer connections, or raise fs.epoll.max_user_watches where the errno is ENOSPC.`,
    { phase: 'connect', errno },
  );
}
