/**
 * Readiness of many sockets through the thread's own event loop: what `UvDriver` needs of the kernel. One uv_poll handle per
 * socket; what one round of libuv's polling found is handed over in one call. Waits for nothing and times nothing.
 */

import { markAsUntransferable } from 'node:worker_threads';
import { type Addon, addon } from './addon.ts';
import { errnoName } from './errno.ts';
import type { Socket } from './io.ts';

/** Throws an Error when the addon cannot be loaded or there is no memory. */
export function openLoopWatches(): LoopWatches {
  return new LoopWatches(addon());
}

export class LoopWatches {
  /** What was found: triples of socket (-1: no longer watched), events (EVENT_IN | EVENT_OUT | EVENT_ERR) and 0. */
  readonly events: Int32Array;
  readonly #native: Addon;
  /** 0 once closed: no number of any. */
  #watches: number;

  constructor(native: Addon) {
    const opened = native.watchesOpen();
    if (typeof opened === 'number') throw new Error(`cannot watch sockets on the event loop: ${errnoName(opened)}`);
    markAsUntransferable(opened.events.buffer); // the addon keeps its address
    this.#native = native;
    this.#watches = opened.watches;
    this.events = opened.events;
  }

  /**
   * Begins, changes or (what = 0) ends watching, level-triggered. Ending is at once: the descriptor may be closed after it. 0, or
   * what libuv or the kernel says against it: -EEXIST when another handle of the loop has the descriptor, -ENOSPC when there are
   * no epoll watches left, -EBADF for what neither `open` nor `openResolver` made, -ENOENT when ending what was not watched.
   */
  watch(socket: Socket, what: number): number {
    return this.#native.watchesWatch(this.#watches, socket, what);
  }

  /**
   * Calls back after each round of the event loop that found something; what holds is found again. Throws when already started or
   * closed. What `onReady` throws is an uncaught exception.
   */
  start(onReady: () => void): void {
    const result = this.#native.watchesStart(this.#watches, onReady);
    if (result !== 0) throw new Error(`cannot start watching: ${errnoName(result)}`);
  }

  stop(): void {
    this.#native.watchesStop(this.#watches);
  }

  /** How many triples of `events` are new. They hold until the event loop polls again; ending a watch makes its triple -1. */
  take(): number {
    return this.#native.watchesTake(this.#watches);
  }

  /** Adds what is ready now, unless the event loop found it within the last millisecond. One poll(2) over all sockets. */
  look(): void {
    this.#native.watchesLook(this.#watches);
  }

  /** Whether it keeps the thread's event loop alive while started, whatever is watched. Default: yes. */
  ref(): void {
    this.#native.watchesSetReferenced(this.#watches, true);
  }

  unref(): void {
    this.#native.watchesSetReferenced(this.#watches, false);
  }

  /** Ends all watching; the sockets stay open. */
  close(): void {
    this.#native.watchesClose(this.#watches);
    this.#watches = 0;
  }
}
