/**
 * Dials that wait for a descriptor: this process, or the machine, has none left (EMFILE, ENFILE). The one that waits longest is
 * tried again whenever the multi closes a descriptor, and every so often, because others of the process close some too. While
 * any waits, idle connections are given up for it, and one to its own destination that comes free is its. Nobody waits longer than its own clocks allow: see `timeouts.ts`.
 */

import type { Destination } from './destination.ts';
import type { Dial } from './dial.ts';
import type { Multi } from './multi.ts';
import { TimerNode, type TimerOwner } from './timer-queue.ts';

/** Often enough that nobody notices a descriptor free, seldom enough that waiting costs nothing: one system call each time. */
const RETRY_MS = 100;

/**
 * A look-up opens a descriptor for its answers, /etc/hosts and sockets to name servers. With too few it may say that there is no such
 * name, so as many idle connections are given up at once.
 */
const LOOKUP_DESCRIPTORS = 4;

export class DescriptorShortage implements TimerOwner {
  readonly #multi: Multi;
  readonly #waiting = new Set<Dial>();
  readonly #byDestination = new Map<Destination, Set<Dial>>();
  readonly #timer = new TimerNode(this);

  constructor(multi: Multi) {
    this.#multi = multi;
  }

  /** Keeps its place when it waits already. */
  wait(dial: Dial): void {
    this.#waiting.add(dial);
    const together = this.#byDestination.get(dial.destination);
    if (together === undefined) this.#byDestination.set(dial.destination, new Set([dial]));
    else together.add(dial);
    const { timers, now, cache, placer } = this.#multi;
    if (this.#timer.index < 0) timers.set(this.#timer, now + RETRY_MS);
    // Their descriptors close when the turn ends; then `descriptorsClosed` comes.
    const needed = dial.phase === 'dns' ? LOOKUP_DESCRIPTORS : 1;
    for (let given = 0; given < needed && cache.oldestIdle !== null; given++) placer.closeIdle(cache.oldestIdle);
  }

  forget(dial: Dial): void {
    if (!this.#waiting.delete(dial)) return;
    const together = this.#byDestination.get(dial.destination);
    together?.delete(dial);
    if (together?.size === 0) this.#byDestination.delete(dial.destination);
    if (this.#waiting.size === 0) this.#multi.timers.cancel(this.#timer);
  }

  /** The one that waits longest for a connection to this destination, if an old one would do. */
  longestFor(destination: Destination): Dial | null {
    if (this.#waiting.size === 0) return null;
    for (const dial of this.#byDestination.get(destination) ?? []) {
      if (!dial.transfer.mustBeFresh && !dial.hasRacers) return dial;
    }
    return null;
  }

  /** The multi has closed some: at the end of each turn in which it did. */
  descriptorsClosed(): void {
    if (this.#waiting.size > 0) this.#tryAgain();
  }

  onTimer(now: number): void {
    this.#multi.timers.set(this.#timer, now + RETRY_MS);
    this.#tryAgain();
  }

  /** First come, first served, up to the first that finds none again. */
  #tryAgain(): void {
    for (const dial of this.#waiting) {
      try {
        dial.proceed();
      } catch (error) {
        this.#multi.engineFault(dial.transfer, error);
      }
      if (this.#waiting.has(dial)) return;
    }
  }
}
