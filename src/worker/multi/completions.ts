/**
 * Transfers that have completed and whose message the application has not read yet, in the order of completion. Reading
 * takes the first, dropping clears a place: neither ever scans for a transfer (rule 41; libcurl walks its queue on remove).
 */

import type { Transfer } from './transfer.ts';

export class Completions {
  /** Messages that wait to be read. */
  unread = 0;
  /** Places in order; null: dropped. */
  readonly #places: (Transfer | null)[] = [];
  /** How many places were there before the first of `#places`: a transfer's `messagePlace` counts from the beginning of time. */
  #before = 0;
  #head = 0;

  add(transfer: Transfer): void {
    transfer.messagePlace = this.#before + this.#places.length;
    this.#places.push(transfer);
    this.unread++;
  }

  /** The next message's transfer, or null. */
  next(): Transfer | null {
    while (this.unread > 0) {
      const transfer = this.#places[this.#head++] as Transfer | null;
      if (transfer === null) continue;
      this.#forget(transfer);
      return transfer;
    }
    return null;
  }

  /** The transfer was removed: its message, if it is unread, is never told (rule 6). */
  drop(transfer: Transfer): void {
    if (transfer.messagePlace < 0) return;
    this.#places[transfer.messagePlace - this.#before] = null;
    this.#forget(transfer);
  }

  #forget(transfer: Transfer): void {
    transfer.messagePlace = -1;
    this.unread--;
    if (this.unread > 0) return;
    // Also when nobody ever reads: who removes in `onEnd` must not leave a place behind per transfer.
    this.#before += this.#places.length;
    this.#places.length = 0;
    this.#head = 0;
  }
}
