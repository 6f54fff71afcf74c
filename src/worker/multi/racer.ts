/** One address that a dial tries: a socket whose connect is under way. The dial decides what its outcome means. */

import type { Socket } from '../io/io.ts';
import type { Dial } from './dial.ts';
import { type SocketEntry, type SocketOwner, type SocketTable, WATCH_OUT } from './socket-table.ts';
import type { Transfer } from './transfer.ts';

export class Racer implements SocketOwner {
  readonly address: string;
  readonly entry: SocketEntry;
  readonly #dial: Dial;

  /** Its socket is announced as its transfer's (rule 20). */
  constructor(dial: Dial, address: string, socket: Socket, sockets: SocketTable) {
    this.#dial = dial;
    this.address = address;
    this.entry = sockets.add(socket, this);
    // A connect that succeeded at once is found writable at once: one path for both.
    sockets.want(this.entry, WATCH_OUT);
  }

  get transfer(): Transfer {
    return this.#dial.transfer;
  }

  onSocketEvents(_events: number): void {
    this.#dial.racerMoved(this);
  }
}
