/** Who waits for a time to come: retries, and calls between two requests. One timer for all of them. */

import { AsyncResource } from 'node:async_hooks';

/** One who waits. */
export interface Waiting {
  readonly dueMs: number;
  readonly wake: () => void;
}

export class WaitQueue {
  /** The soonest is last, where taking it costs nothing. */
  readonly #waiting: Waiting[] = [];
  #timer: NodeJS.Timeout | null = null;
  /** When the timer fires; meaningful while there is one. */
  #timerDueMs = 0;

  get size(): number {
    return this.#waiting.length;
  }

  /** `wake` is called once, in its caller's async context, `ms` from now or a little later, unless the answer is removed before. */
  add(ms: number, wake: () => void): Waiting {
    const waiting = { dueMs: performance.now() + ms, wake: AsyncResource.bind(wake) };
    this.#waiting.splice(this.#placeOf(waiting.dueMs), 0, waiting);
    this.#setTimer();
    return waiting;
  }

  remove(waiting: Waiting): void {
    const at = this.#waiting.indexOf(waiting);
    if (at < 0) return;
    this.#waiting.splice(at, 1);
    if (this.#waiting.length === 0) this.#clearTimer();
  }

  /** The index in front of all that are due at the same time or sooner: equals leave in the order in which they came. */
  #placeOf(dueMs: number): number {
    let low = 0;
    let high = this.#waiting.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#waiting[middle] as Waiting).dueMs > dueMs) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #setTimer(): void {
    const next = this.#waiting.at(-1);
    if (next === undefined || (this.#timer !== null && this.#timerDueMs <= next.dueMs)) return;
    this.#clearTimer();
    this.#timerDueMs = next.dueMs;
    this.#timer = setTimeout(() => this.#fire(), Math.ceil(Math.max(0, next.dueMs - performance.now())));
  }

  #clearTimer(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  #fire(): void {
    this.#timer = null;
    const now = performance.now();
    for (let next = this.#waiting.at(-1); next !== undefined && next.dueMs <= now; next = this.#waiting.at(-1)) {
      this.#waiting.pop();
      next.wake();
    }
    this.#setTimer();
  }
}
