/**
 * Ends the rest of a connection whose server keeps idle ones for a shorter time than the cache does (`Keep-Alive: timeout=N`).
 *
 * It is not stopped when the connection is taken, and not moved when that rests again: it fires at the end of a rest long past, looks
 * how long the present one lasts, and is set to that. So a request costs a comparison, and the queue of timers is touched once per N
 * seconds.
 */

import type { Connection } from './connection.ts';
import type { Multi } from './multi.ts';
import { TimerNode, type TimerOwner } from './timer-queue.ts';

export class RestClock implements TimerOwner {
  readonly #multi: Multi;
  readonly #connection: Connection;
  readonly #timer = new TimerNode(this);
  #deadline = 0;

  constructor(multi: Multi, connection: Connection) {
    this.#multi = multi;
    this.#connection = connection;
  }

  /** The connection rests from now on. */
  begin(): void {
    const deadline = this.#restEnds;
    if (this.#timer.index < 0 || this.#deadline > deadline) this.#wakeAt(deadline);
  }

  onTimer(now: number): void {
    if (this.#connection.state !== 'idle') return;
    const deadline = this.#restEnds;
    if (deadline > now) this.#wakeAt(deadline);
    else this.#multi.placer.closeIdle(this.#connection);
  }

  stop(): void {
    this.#multi.timers.cancel(this.#timer);
  }

  get #restEnds(): number {
    return this.#connection.idleSince + this.#connection.keepAliveMs;
  }

  #wakeAt(deadline: number): void {
    this.#deadline = deadline;
    this.#multi.timers.set(this.#timer, deadline);
  }
}
