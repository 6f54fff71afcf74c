/**
 * Who waits for a time to come: retries, and calls between two requests. One timer for all of them, and a binary heap, because a server
 * that answers 503 can make all of a pool's calls wait at once. The engine's `timer-queue.ts` is another one: the main thread takes nothing
 * from the worker's rooms, and this one keeps those with the same time in the order in which they came.
 */

import { AsyncResource } from 'node:async_hooks';

/** One who waits. */
export interface Waiting {
  readonly dueMs: number;
}

interface Entry extends Waiting {
  readonly wake: () => void;
  /** What `wake` is called in. AsyncResource.bind would do, but takes 40 us (Node 20). */
  readonly context: AsyncResource;
  /** Earlier ones have lower numbers. */
  readonly number: number;
  /** Its index in the heap; -1: it is not there any more. Written by `#put` and `remove` only. */
  at: number;
}

/** The longest that a timer of Node's takes; longer ones would fire at once. */
const TIMER_MS_MAX = 2 ** 31 - 1;

export class WaitQueue {
  /** No one is due before its parent: of the entry at n that is the one at (n - 1) / 2. */
  readonly #heap: Entry[] = [];
  #lastNumber = 0;
  #timer: NodeJS.Timeout | null = null;
  /** When the timer fires; meaningful while there is one. */
  #timerDueMs = 0;

  get size(): number {
    return this.#heap.length;
  }

  /**
   * `wake` is called once, in its caller's async context, `ms` from now or a little later, unless the answer is removed before. Who waits keeps
   * the process alive, with Infinity too.
   */
  add(ms: number, wake: () => void): Waiting {
    const dueMs = performance.now() + ms;
    const context = new AsyncResource('SHARDFETCH_WAIT');
    const entry: Entry = { dueMs, wake, context, number: ++this.#lastNumber, at: -1 };
    this.#rise(entry, this.#heap.length);
    this.#setTimer();
    return entry;
  }

  /** Does nothing where it has been woken or removed. */
  remove(waiting: Waiting): void {
    const entry = waiting as Entry;
    const { at } = entry;
    if (at < 0) return;
    entry.at = -1;
    const last = this.#heap.pop() as Entry;
    if (last !== entry) {
      if (at > 0 && isBefore(last, this.#heap[(at - 1) >>> 1] as Entry)) this.#rise(last, at);
      else this.#sink(last, at);
    }
    if (this.#heap.length === 0) this.#clearTimer();
  }

  /** Puts an entry at this index, or above it. */
  #rise(entry: Entry, from: number): void {
    let at = from;
    while (at > 0) {
      const parent = (at - 1) >>> 1;
      const above = this.#heap[parent] as Entry;
      if (!isBefore(entry, above)) break;
      this.#put(above, at);
      at = parent;
    }
    this.#put(entry, at);
  }

  /** Puts an entry at this index, or below it. */
  #sink(entry: Entry, from: number): void {
    const heap = this.#heap;
    let at = from;
    for (let child = 2 * at + 1; child < heap.length; child = 2 * at + 1) {
      if (child + 1 < heap.length && isBefore(heap[child + 1] as Entry, heap[child] as Entry)) child++;
      const below = heap[child] as Entry;
      if (!isBefore(below, entry)) break;
      this.#put(below, at);
      at = child;
    }
    this.#put(entry, at);
  }

  #put(entry: Entry, at: number): void {
    this.#heap[at] = entry;
    entry.at = at;
  }

  #setTimer(): void {
    const next = this.#heap[0];
    if (next === undefined || (this.#timer !== null && this.#timerDueMs <= next.dueMs)) return;
    this.#clearTimer();
    this.#timerDueMs = next.dueMs;
    const ms = Math.ceil(Math.max(0, next.dueMs - performance.now()));
    this.#timer = setTimeout(() => this.#fire(), Math.min(ms, TIMER_MS_MAX));
  }

  #clearTimer(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  #fire(): void {
    this.#timer = null;
    const now = performance.now();
    for (let next = this.#heap[0]; next !== undefined && next.dueMs <= now; next = this.#heap[0]) {
      this.remove(next);
      next.context.runInAsyncScope(next.wake);
    }
    this.#setTimer();
  }
}

function isBefore(a: Entry, b: Entry): boolean {
  return a.dueMs < b.dueMs || (a.dueMs === b.dueMs && a.number < b.number);
}
