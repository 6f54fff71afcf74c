/** `Poller` over the addon's epoll, and through libuv over the thread's own event loop. */

import { markAsUntransferable } from 'node:worker_threads';
import { type Addon, addon } from './addon.ts';
import { errnoName } from './errno.ts';
import type { Poller } from './io.ts';

/** Throws an Error when the addon cannot be loaded or the kernel has no descriptor left. */
export function openEpollPoller(): Poller {
  return new EpollPoller(addon());
}

class EpollPoller implements Poller {
  readonly events: Int32Array;
  readonly #native: Addon;
  /** The epoll; -1 once closed: its number may by then be another descriptor's. */
  #descriptor: number;

  constructor(native: Addon) {
    const opened = native.pollerOpen();
    if (typeof opened === 'number') throw new Error(`cannot open an epoll: ${errnoName(opened)}`);
    markAsUntransferable(opened.events.buffer); // the addon keeps its address
    this.#native = native;
    this.#descriptor = opened.descriptor;
    this.events = opened.events;
  }

  /** -EBADF for what neither `open` nor `openResolver` made, -ENOENT when ending what was not watched. */
  watch(socket: number, what: number, tag: number): number {
    return this.#native.pollerWatch(this.#descriptor, socket, what, tag);
  }

  /** Fractions are rounded up; negative is 100 ms. At most 1,024 triples at once. A signal ends the wait early, with 0. */
  wait(timeoutMs: number): number {
    return this.#native.pollerWait(this.#descriptor, timeoutMs);
  }

  /** Throws when already started or closed. What `onReady` throws is an uncaught exception. May start again after `stop`. */
  start(onReady: () => void): void {
    const result = this.#native.pollerStart(this.#descriptor, onReady);
    if (result !== 0) throw new Error(`cannot start the poller: ${errnoName(result)}`);
  }

  stop(): void {
    this.#native.pollerStop(this.#descriptor);
  }

  ref(): void {
    this.#native.pollerSetReferenced(this.#descriptor, true);
  }

  unref(): void {
    this.#native.pollerSetReferenced(this.#descriptor, false);
  }

  close(): void {
    this.#native.pollerClose(this.#descriptor);
    this.#descriptor = -1;
  }
}
