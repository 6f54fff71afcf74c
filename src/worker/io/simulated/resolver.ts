/** Simulated names: answers that come when their plan says, behind a descriptor that is readable until the last is taken. */

import type { ResolveAnswer, Resolver } from '../io.ts';
import type { SimulatedClock } from './clock.ts';
import type { LookupPlan } from './network.ts';

/** A number that no look-up has. */
const STRANGE_LOOKUP = 1_000_000;

interface ResolverOptions {
  readonly descriptor: number;
  readonly clock: SimulatedClock;
  plan(host: string): LookupPlan;
  note(what: string): void;
  /** Whether an answer that nobody asked for comes before this one. */
  isStrange(): boolean;
  onProgress(): void;
  onClose(): void;
}

export class SimulatedResolver implements Resolver {
  readonly #options: ResolverOptions;
  #answers: ResolveAnswer[] = [];
  #lookups = 0;
  #closed = false;

  constructor(options: ResolverOptions) {
    this.#options = options;
  }

  get socket(): number {
    return this.#closed ? -1 : this.#options.descriptor;
  }

  get isReadable(): boolean {
    return this.#answers.length > 0;
  }

  resolve(host: string): number {
    const { afterMs, ...answer } = this.#options.plan(host);
    const lookup = ++this.#lookups;
    this.#options.onProgress();
    if (afterMs === Number.POSITIVE_INFINITY) {
      this.#options.note('name without an answer');
      return lookup;
    }
    this.#options.clock.after(afterMs, () => {
      if (this.#closed) return;
      if (this.#options.isStrange()) {
        this.#options.note('answer to no question');
        this.#answers.push({ ...answer, lookup: STRANGE_LOOKUP });
      }
      this.#answers.push({ ...answer, lookup });
    });
    return lookup;
  }

  take(): ResolveAnswer | null {
    const answer = this.#answers.shift();
    if (answer === undefined) return null;
    this.#options.onProgress();
    return answer;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#answers = [];
    this.#options.onClose();
  }
}
