/**
 * The one timer of a multi, kept with what Node's event loop has: setTimeout, and setImmediate for what is due already. To move a
 * deadline later costs nothing: an armed timer that is too early is left, and looks again when it fires. When to serve it, its driver
 * decides.
 */

import { MultiError } from '../../protocol/errors.ts';
import type { Driven } from './driver.ts';

const NEVER = Number.POSITIVE_INFINITY;

/** The longest that setTimeout takes; a later deadline is armed again when this fires. */
const TIMEOUT_MS_MAX = 2 ** 31 - 1;

export class LoopTimer {
  /** When it is due on the multi's clock; 0: as soon as possible; Infinity: it is not set. */
  due = NEVER;
  readonly #multi: Driven;
  readonly #onFired: () => void;
  /** When the armed timer fires; it may be earlier than `due`. */
  #armed = NEVER;
  #timer: NodeJS.Timeout | null = null;
  #immediate: NodeJS.Immediate | null = null;
  #referenced = true;

  /** `onFired` looks at `due` itself: it is also called when that has moved on. */
  constructor(multi: Driven, onFired: () => void) {
    this.#multi = multi;
    this.#onFired = onFired;
  }

  /** What a timer callback is told: -1 no timer, 0 as soon as possible, else milliseconds. Arms nothing. */
  set(timeoutMs: number): void {
    if (timeoutMs < 0) this.due = NEVER;
    else if (timeoutMs === 0) this.due = 0;
    // Counted from when the multi read its clock: it is not late by what has happened since.
    else this.due = this.#multi.now + timeoutMs;
  }

  /** Has the multi do what it was set for. From then on it is not set, unless the multi sets it. Throws as `Multi.timeout`. */
  serve(dueByMs: number): void {
    const { due } = this;
    this.due = NEVER;
    try {
      this.#multi.timeout(dueByMs);
    } catch (error) {
      // A refused drive has changed nothing (rule 44), and the multi does not tell twice what has not changed (rule 26).
      if (error instanceof MultiError && error.code === 'RECURSIVE_API_CALL' && this.due === NEVER) this.due = due;
      throw error;
    }
  }

  /** Sees to it that `onFired` is called when it is due. */
  arm(): void {
    if (this.due === NEVER) return;
    const now = this.#multi.io.now();
    if (this.due <= now) {
      this.#immediate ??= setImmediate(() => {
        this.#immediate = null;
        this.#onFired();
      });
      return;
    }
    if (this.#armed <= this.due) return;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#armed = this.due;
    this.#timer = setTimeout(() => this.#fired(), Math.min(Math.ceil(this.due - now), TIMEOUT_MS_MAX));
    if (!this.#referenced) this.#timer.unref();
  }

  disarm(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    if (this.#immediate !== null) clearImmediate(this.#immediate);
    this.#timer = null;
    this.#immediate = null;
    this.#armed = NEVER;
    this.due = NEVER;
  }

  /** Whether an armed timer keeps the event loop alive. Default: yes. */
  set referenced(referenced: boolean) {
    this.#referenced = referenced;
    if (referenced) this.#timer?.ref();
    else this.#timer?.unref();
  }

  #fired(): void {
    this.#timer = null;
    this.#armed = NEVER;
    this.#onFired();
  }
}
