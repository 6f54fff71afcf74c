/**
 * A connection with TLS that has said close_notify and waits a while for the peer's: ended in good order, where the peer takes part.
 * Nobody uses it any more; it has the socket and the slot until it closes them.
 */

import { isTransient } from '../io/errno.ts';
import type { Destination } from './destination.ts';
import type { Multi } from './multi.ts';
import { type SocketEntry, type SocketOwner, WATCH_IN } from './socket-table.ts';
import { TimerNode, type TimerOwner } from './timer-queue.ts';

/** How long a peer may take with its close_notify. It may never come: most peers close without, or leave us to. */
const PARTING_MS_MAX = 500;

export class Parting implements SocketOwner, TimerOwner {
  readonly transfer = null;
  readonly #multi: Multi;
  readonly #entry: SocketEntry;
  readonly #destination: Destination;
  readonly #timer = new TimerNode(this);
  #closed = false;

  constructor(multi: Multi, entry: SocketEntry, destination: Destination) {
    this.#multi = multi;
    this.#entry = entry;
    this.#destination = destination;
    entry.owner = this;
    multi.placer.parting.add(this);
    multi.sockets.want(entry, WATCH_IN);
    // Its transfer's callbacks came before.
    multi.readClock();
    multi.timers.set(this.#timer, multi.now + PARTING_MS_MAX);
  }

  /** What still comes is of no use; what counts is its end. */
  onSocketEvents(): void {
    if (this.#closed) return;
    const count = this.#multi.io.read(this.#entry.socket);
    if (count <= 0 && !isTransient(count)) this.close();
  }

  onTimer(): void {
    this.close();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    const { placer, timers, sockets } = this.#multi;
    placer.parting.delete(this);
    timers.cancel(this.#timer);
    sockets.leave(this.#entry);
    placer.freeSlot(this.#destination);
  }
}
