/**
 * Transfers that have completed and whose message the application has not read yet, in the order of completion. Reading
 * takes the first, dropping clears a place: neither ever scans for a transfer (rule 41; libcurl walks its queue on remove).
 */

import type { Transfer } from './transfer.ts';

/** Fewer places than these are not worth closing up. */
const PLACES_MIN = 64;

export class Completions {
  /** Messages that wait to be read. */
  unread = 0;
  /** Places in order, which `messagePlace` counts; null: read or dropped. */
  readonly #places: (Transfer | null)[] = [];
  /** All places before this one are empty. */
  #head = 0;

  add(transfer: Transfer): void {
    transfer.messagePlace = this.#places.length;
    this.#places.push(transfer);
    this.unread++;
  }

  /** The next message's transfer, or null. */
  next(): Transfer | null {
    while (this.unread > 0) {
      const transfer = this.#places[this.#head] as Transfer | null;
      if (transfer !== null) {
        this.drop(transfer);
        return transfer;
      }
      this.#head++;
    }
    return null;
  }

  /** The transfer was removed: its message, if it is unread, is never told (rule 6). */
  drop(transfer: Transfer): void {
    if (transfer.messagePlace < 0) return;
    this.#places[transfer.messagePlace] = null;
    transfer.messagePlace = -1;
    this.unread--;
    const places = this.#places.length;
    if (this.unread === 0) this.#close(0);
    else if (places >= PLACES_MIN && this.unread <= places >> 1) this.#closeUp();
  }

  /**
   * Empty places go, also where a message stays unread for ever, or nobody ever reads. Half are empty, so each was paid for by the
   * adding of one.
   */
  #closeUp(): void {
    const places = this.#places;
    let kept = 0;
    for (let index = this.#head; index < places.length; index++) {
      const transfer = places[index] as Transfer | null;
      if (transfer === null) continue;
      transfer.messagePlace = kept;
      places[kept++] = transfer;
    }
    this.#close(kept);
  }

  #close(kept: number): void {
    this.#places.length = kept;
    this.#head = 0;
  }
}
