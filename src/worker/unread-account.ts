/**
 * How many body bytes a shard has received that no caller has read: in buffers being filled, on their way to the main thread, or
 * waiting there. By transfer, and together against the shard's budget. Counts only; who pauses is `response-forwarder.ts`'s.
 *
 * A transfer's entry outlives the transfer: the bytes of a response that is complete are as unread as any. It goes when their
 * credit has come, or with the ABORT of a caller who wants none of it.
 */

import { INITIAL_CREDIT_BYTES, WINDOW_BYTES_MIN } from '../protocol/port/frames.ts';

export class UnreadAccount {
  /** Of all transfers. */
  bytes = 0;
  readonly #budgetBytes: number;
  readonly #byTransfer = new Map<number, number>();

  constructor(budgetBytes: number) {
    this.#budgetBytes = budgetBytes;
  }

  /** How much of one body may be unread before it must wait. */
  get windowBytes(): number {
    return this.bytes < this.#budgetBytes ? INITIAL_CREDIT_BYTES : WINDOW_BYTES_MIN;
  }

  /** Whether this many more stay within the budget. */
  hasRoomFor(bodyBytes: number): boolean {
    return this.bytes + bodyBytes <= this.#budgetBytes;
  }

  /** Answers what the transfer has unread now. */
  add(id: number, bodyBytes: number): number {
    const unread = (this.#byTransfer.get(id) ?? 0) + bodyBytes;
    this.#byTransfer.set(id, unread);
    this.bytes += bodyBytes;
    return unread;
  }

  /** They were read, or will not come. Answers what is left; -1 when nothing is known of the transfer. */
  settle(id: number, bodyBytes: number): number {
    const unread = this.#byTransfer.get(id);
    if (unread === undefined || bodyBytes <= 0) return unread ?? -1;
    const left = Math.max(unread - bodyBytes, 0);
    this.bytes -= unread - left;
    if (left === 0) this.#byTransfer.delete(id);
    else this.#byTransfer.set(id, left);
    return left;
  }

  /** Nobody will read them. */
  forget(id: number): void {
    const unread = this.bytes === 0 ? undefined : this.#byTransfer.get(id);
    if (unread === undefined) return;
    this.bytes -= unread;
    this.#byTransfer.delete(id);
  }
}
