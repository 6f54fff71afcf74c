/** Requests that are due and have no connection yet: nothing but the moments they were due, first come, first served, and bounded. */

export class LateQueue {
  readonly #dues: Float64Array;
  #head = 0;
  #length = 0;

  constructor(capacity: number) {
    this.#dues = new Float64Array(capacity);
  }

  get length(): number {
    return this.#length;
  }

  /** False: it is full. */
  push(dueMs: number): boolean {
    if (this.#length === this.#dues.length) return false;
    this.#dues[(this.#head + this.#length++) % this.#dues.length] = dueMs;
    return true;
  }

  /** The one that has waited longest; only where `length` is not 0. */
  shift(): number {
    const dueMs = this.#dues[this.#head] as number;
    this.#head = (this.#head + 1) % this.#dues.length;
    this.#length--;
    return dueMs;
  }
}
