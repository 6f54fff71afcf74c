/**
 * The transfers added to a multi, in the order they came. A list through the transfers themselves: adding and removing cost
 * the same however many there are, and allocate nothing.
 */

import type { Transfer } from './transfer.ts';

export class TransferList {
  first: Transfer | null = null;
  length = 0;
  #last: Transfer | null = null;

  add(transfer: Transfer): void {
    transfer.previous = this.#last;
    transfer.next = null;
    if (this.#last === null) this.first = transfer;
    else this.#last.next = transfer;
    this.#last = transfer;
    this.length++;
  }

  delete(transfer: Transfer): void {
    const { previous, next } = transfer;
    if (previous === null) this.first = next;
    else previous.next = next;
    if (next === null) this.#last = previous;
    else next.previous = previous;
    transfer.previous = null;
    transfer.next = null;
    this.length--;
  }

  toArray(): Transfer[] {
    const all: Transfer[] = [];
    for (let transfer = this.first; transfer !== null; transfer = transfer.next) all.push(transfer);
    return all;
  }
}
