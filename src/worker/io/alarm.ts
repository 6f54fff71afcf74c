/**
 * Being called at a moment, to some ten microseconds: a timerfd behind an epoll that the thread's event loop watches. For what
 * measures: Node's timers count whole milliseconds and are up to 2 ms late, which is 2 % of a latency of 100 ms.
 */

import { addon } from './addon.ts';
import { openEpollPoller } from './epoll-poller.ts';
import { errnoName } from './errno.ts';
import { EVENT_IN, type Poller } from './io.ts';

export class Alarm {
  readonly #descriptor: number;
  readonly #poller: Poller;

  /** Throws an Error when the addon cannot be loaded or the kernel has no descriptor left. What `onDue` throws is an uncaught exception. */
  constructor(onDue: () => void) {
    this.#descriptor = addon().alarmOpen();
    if (this.#descriptor < 0) throw new Error(`cannot open a timerfd: ${errnoName(this.#descriptor)}`);
    this.#poller = openEpollPoller();
    this.#poller.watch(this.#descriptor, EVENT_IN, 1);
    this.#poller.start(onDue);
  }

  /** Milliseconds on the clock of `Io.now`. `onDue` is called at it, and again and again until it is set anew. 0: never. */
  set(atMs: number): void {
    addon().alarmSet(this.#descriptor, atMs);
  }

  close(): void {
    this.#poller.stop();
    this.#poller.close();
    addon().close(this.#descriptor);
  }
}

/** CPU time of the calling thread, milliseconds. */
export function threadCpuMs(): number {
  return addon().threadCpu();
}
