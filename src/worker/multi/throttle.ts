/**
 * A speed limit in one direction (libcurl: CURLOPT_MAX_RECV_SPEED_LARGE, CURLOPT_MAX_SEND_SPEED_LARGE). Bytes that moved are
 * paid off at the rate; what has not moved for a while may be caught up with one burst, so the rate holds over any longer time.
 * Says how much may move and when to look again; whoever moves bytes stops watching the socket meanwhile (rule 78).
 */

import type { Multi } from './multi.ts';
import { TimerNode, type TimerOwner } from './timer-queue.ts';
import type { Transfer } from './transfer.ts';

/** What may move at once, in milliseconds of the rate: ten steps a second look smooth and cost ten turns. */
const BURST_MS = 100;

export class Throttle implements TimerOwner {
  readonly bytesPerSecond: number;
  /** True exactly while nothing may move and the timer runs. */
  waiting = false;
  readonly transfer: Transfer;
  readonly #node = new TimerNode(this);
  /** A burst is one byte at least. */
  readonly #burstMs: number;
  /** When what has moved is paid off, on the multi's clock. */
  #paidMs = 0;

  constructor(transfer: Transfer, bytesPerSecond: number) {
    this.transfer = transfer;
    this.bytesPerSecond = bytesPerSecond;
    this.#burstMs = Math.max(BURST_MS, Math.ceil(1000 / bytesPerSecond));
  }

  /** How many bytes may move now; 0 exactly while it is `waiting`: the transfer's connection hears when that ends. */
  room(multi: Multi): number {
    if (this.waiting) return 0;
    this.#paidMs = Math.max(this.#paidMs, multi.now - this.#burstMs);
    return Math.max(Math.floor(((multi.now - this.#paidMs) * this.bytesPerSecond) / 1000), 1);
  }

  /** So many have moved: no more than `room` said. What is left of a burst is not worth an event: it waits for a whole one. */
  moved(multi: Multi, bytes: number): void {
    this.#paidMs += (bytes * 1000) / this.bytesPerSecond;
    if (this.#paidMs + this.#burstMs / 2 <= multi.now) return;
    this.waiting = true;
    multi.timers.set(this.#node, this.#paidMs + this.#burstMs);
  }

  stop(multi: Multi): void {
    this.waiting = false;
    multi.timers.cancel(this.#node);
  }

  /** A burst is paid off (TimerOwner). */
  onTimer(): void {
    this.waiting = false;
    this.transfer.connection?.rateAllows();
  }
}
