/** Random decisions that a seed repeats. What is decided with them is their caller's matter. */

export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = Math.imul(seed ^ 0x5f356495, 0x9e3779b1) >>> 0;
  }

  /** From 0 to just below 1. */
  fraction(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    const state = this.#state;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  /** A whole number from 0 to `count - 1`. */
  below(count: number): number {
    return Math.floor(this.fraction() * count);
  }

  /** A whole number from `least` to `most`. */
  between(least: number, most: number): number {
    return least + this.below(most - least + 1);
  }

  /** True in this share of the cases. A share of 0 draws nothing, so that faults switched off cost nothing. */
  chance(share: number): boolean {
    return share > 0 && this.fraction() < share;
  }

  pick<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)] as T;
  }

  /** Small numbers often, large ones seldom: 0 to `most`. */
  skewed(most: number): number {
    const fraction = this.fraction();
    return Math.floor(fraction * fraction * fraction * (most + 1));
  }
}
