/**
 * Gives every transfer its connection: does what `connection-cache.ts` plans. Starts transfers, dials, lets them wait, hands a
 * freed connection or slot to the next, closes idle connections that are too many or too old.
 *
 * A slot is freed when its descriptor closes, which is at the end of a turn: `freeSlot` notes it, `fillFreedSlots` hands it on.
 */

import { TransferError } from '../../protocol/errors.ts';
import type { TlsInfo } from '../io/tls-io.ts';
import { type Rung, rungAfter } from '../proxy/ladder.ts';
import { Tunnel } from '../proxy/tunnel.ts';
import { Connection } from './connection.ts';
import type { ConnectionCache } from './connection-cache.ts';
import type { Destination } from './destination.ts';
import { Dial } from './dial.ts';
import type { Multi } from './multi.ts';
import type { Parting } from './parting.ts';
import type { SocketEntry } from './socket-table.ts';
import { TimerNode, type TimerOwner } from './timer-queue.ts';
import { TlsHandshake } from './tls-handshake.ts';
import type { Transfer } from './transfer.ts';
import type { UnwantedRest } from './unwanted-rest.ts';

export class Placer implements TimerOwner {
  /** @internal Rests of responses that nobody wants, being read away. */
  readonly draining = new Set<UnwantedRest>();
  /** @internal Waiting for the peer's close_notify. */
  readonly parting = new Set<Parting>();
  /** Connections ever opened. */
  opened = 0;
  /** Transfers begun on a connection that had served others. */
  reused = 0;
  readonly #multi: Multi;
  readonly #cache: ConnectionCache;
  /** Slots whose descriptors close at the end of this turn. */
  readonly #freedSlots: Destination[] = [];
  /** True from a change of limits until who has room now has been served. */
  #limitsChanged = false;
  /** Idle connections have a common clock. */
  readonly #idleTimer = new TimerNode(this);

  constructor(multi: Multi, cache: ConnectionCache) {
    this.#multi = multi;
    this.#cache = cache;
  }

  /** A transfer in its first turn. */
  start(transfer: Transfer): void {
    const { now } = this.#multi;
    const cache = this.#cache;
    const destination = this.#destinationOf(transfer);
    for (let old = cache.outlived(destination, now); old !== null; old = cache.outlived(destination, now)) {
      this.closeIdle(old);
    }
    const placement = cache.place(transfer, destination, now);
    if (placement === 'dial') this.#dial(transfer, destination);
    else if (placement === 'queue') this.#queue(transfer, destination);
    else if (placement === 'queue-full') this.#multi.fail(transfer, this.#queueFull(transfer, destination));
    else this.#begin(placement, transfer);
  }

  /** Takes a transfer away from whatever serves it. */
  release(transfer: Transfer): void {
    if (transfer.state === 'queued') this.#cache.dequeue(transfer, this.#destinationOf(transfer));
    const { dial, handshake, connection } = transfer;
    if (dial !== null) {
      dial.cancel();
      transfer.dial = null;
      this.freeSlot(dial.destination);
    }
    if (handshake !== null) {
      handshake.cancel();
      transfer.handshake = null;
      this.freeSlot(handshake.destination);
    }
    transfer.stopClocks(this.#multi);
    transfer.connection = null;
    connection?.abandon();
  }

  dialSucceeded(dial: Dial, entry: SocketEntry): void {
    const { transfer, destination } = dial;
    transfer.dial = null;
    transfer.connectUs = transfer.since(this.#multi.now);
    this.#climb(transfer, destination, entry, 'connected', null);
  }

  /** `info`: of the TLS that the socket has by now, the outer one or the inner one; null: none. */
  handshakeSucceeded({ transfer, destination, entry, rung }: TlsHandshake | Tunnel, info: TlsInfo | null): void {
    transfer.handshake = null;
    this.#climb(transfer, destination, entry, rung, info);
  }

  /** The next rung of `worker/proxy/ladder.ts`, or, where that was the last, the first request. */
  #climb(transfer: Transfer, destination: Destination, entry: SocketEntry, done: Rung, tls: TlsInfo | null): void {
    const rung = rungAfter(transfer.route, done);
    if (rung === 'connected' || rung === 'ready') {
      transfer.tlsUs = done === 'connected' ? transfer.connectUs : transfer.since(this.#multi.now);
      this.#beginFirst(transfer, destination, entry, tls);
      return;
    }
    const handshake =
      rung === 'tunnel'
        ? new Tunnel(this.#multi, transfer, destination, entry, tls)
        : new TlsHandshake(this.#multi, transfer, destination, entry, rung);
    transfer.handshake = handshake;
    handshake.start();
  }

  #beginFirst(transfer: Transfer, destination: Destination, entry: SocketEntry, tls: TlsInfo | null): void {
    this.opened++;
    this.#cache.noteOpened();
    const connection = new Connection(this.#multi, destination, entry, transfer.limits, tls);
    connection.generation = transfer.generation;
    if (transfer.connectOnly) this.#openedAhead(connection, transfer);
    else this.#begin(connection, transfer);
  }

  /** There is no request yet: the transfer is complete, and the connection waits for one. */
  #openedAhead(connection: Connection, transfer: Transfer): void {
    connection.openedFor(transfer);
    transfer.onHead?.(transfer, this.#multi.io.readBuffer, 0, 0);
    this.#multi.complete(transfer, null);
    transfer.onEnd?.(transfer, '');
    this.connectionFree(connection);
  }

  /** A connection has done its work. */
  connectionFree(connection: Connection): void {
    const next = this.#cache.give(connection, this.#multi.now);
    const starved = this.#multi.shortage.longestFor(connection.destination);
    // The end of the transfer before was told to the application.
    if (typeof next === 'object' || starved !== null) this.#multi.readClock();
    if (next === 'close') connection.close();
    else if (starved !== null) this.#giveToStarved(connection, starved, next);
    else if (next !== 'idle') this.#begin(connection, next);
    else {
      connection.rest();
      this.closeExcess();
    }
  }

  /** Who waits for a descriptor has waited longer than `next`, the head of the queue if there is one, which takes its place. */
  #giveToStarved(connection: Connection, starved: Dial, next: Transfer | 'idle'): void {
    const { transfer, destination } = starved;
    starved.cancel();
    transfer.dial = null;
    if (next === 'idle') {
      this.#cache.removeIdle(connection);
      this.freeSlot(destination);
    }
    this.#begin(connection, transfer);
    if (next !== 'idle') this.#dialInSlot(next, destination);
  }

  /** The descriptor that held the destination's slot closes at the end of this turn. */
  freeSlot(destination: Destination): void {
    this.#cache.slotClosing(destination);
    this.#freedSlots.push(destination);
  }

  get hasFreedSlots(): boolean {
    return this.#freedSlots.length > 0 || this.#limitsChanged;
  }

  /** The descriptors behind them are closed: who waits dials. */
  fillFreedSlots(): void {
    const freed = this.#freedSlots;
    for (let index = 0; index < freed.length; index++) {
      const next = this.#cache.slotFreed(freed[index] as Destination);
      if (next !== null) this.#dialNext(next);
    }
    freed.length = 0;
    if (!this.#limitsChanged) return;
    this.#limitsChanged = false;
    for (let next = this.#cache.nextWithRoom(); next !== null; next = this.#cache.nextWithRoom()) this.#dialNext(next);
  }

  /**
   * The cache's limits were changed (rule 71): idle connections beyond them close now, busy ones when they have done their work;
   * who waits and has room now dials when the turn ends.
   */
  limitsChanged(): void {
    this.#limitsChanged = true;
    for (const idle of this.#cache.limitsChanged()) this.closeIdle(idle);
    this.#multi.timers.cancel(this.#idleTimer);
    this.closeExcess();
  }

  /** The network has changed: nothing that is open or being opened now is used again. The busy finish what they do. */
  renew(): void {
    this.#cache.renew();
    this.closeAllIdle();
  }

  /** Rule 68: who waits only because of the total gets the place of an idle connection. False: nobody does. */
  sacrifice(): boolean {
    const idle = this.#cache.sacrifice();
    if (idle === null) return false;
    this.closeIdle(idle);
    return true;
  }

  closeIdle(connection: Connection): void {
    this.#cache.removeIdle(connection);
    connection.close();
  }

  closeExcess(): void {
    const { now, timers } = this.#multi;
    for (let idle = this.#cache.excess(now); idle !== null; idle = this.#cache.excess(now)) this.closeIdle(idle);
    if (this.#idleTimer.index < 0) timers.set(this.#idleTimer, this.#cache.nextExpiry);
  }

  /** Closes what no transfer has. */
  closeAllIdle(): void {
    for (let idle = this.#cache.oldestIdle; idle !== null; idle = this.#cache.oldestIdle) this.closeIdle(idle);
    for (const rest of this.draining) rest.close();
    // Also what was idle a moment ago: there may be no turn any more in which it could wait.
    for (const parting of this.parting) parting.close();
    this.#multi.timers.cancel(this.#idleTimer);
  }

  /** An idle connection may have been idle too long (TimerOwner). */
  onTimer(): void {
    this.closeExcess();
  }

  #destinationOf(transfer: Transfer): Destination {
    return this.#cache.destinationOf(transfer.route, transfer.hostConnections);
  }

  /** A transfer that has left its queue because a slot is free. */
  #dialNext(transfer: Transfer): void {
    try {
      this.#dial(transfer, this.#destinationOf(transfer));
    } catch (error) {
      this.#multi.engineFault(transfer, error);
    }
  }

  #dial(transfer: Transfer, destination: Destination): void {
    this.#cache.slotTaken(destination);
    this.#dialInSlot(transfer, destination);
  }

  #dialInSlot(transfer: Transfer, destination: Destination): void {
    const multi = this.#multi;
    multi.readClock();
    transfer.queuedUs = transfer.since(multi.now);
    transfer.state = 'dialing';
    transfer.startPhaseClock(multi, multi.now, transfer.timeouts.connectMs);
    transfer.generation = this.#cache.generation;
    const dial = new Dial(multi, transfer, destination);
    transfer.dial = dial;
    dial.start();
  }

  #queue(transfer: Transfer, destination: Destination): void {
    const { now } = this.#multi;
    transfer.state = 'queued';
    transfer.queuedAtMs = now;
    transfer.startPhaseClock(this.#multi, now, transfer.timeouts.queueMs);
    this.#cache.enqueue(transfer, destination);
    // What only waits for its peer's farewell goes first (rule 68).
    for (const parting of this.parting) parting.close();
    // It must have a fresh one where its own host's limit is reached; the total's limit is seen to when the turn ends.
    const sacrifice = this.#cache.sacrificeOf(destination);
    if (sacrifice !== null) this.closeIdle(sacrifice);
  }

  #begin(connection: Connection, transfer: Transfer): void {
    if (connection.uses > 0) {
      this.reused++;
      const us = transfer.since(this.#multi.now);
      transfer.queuedUs = us;
      transfer.dnsUs = us;
      transfer.connectUs = us;
      transfer.tlsUs = us;
    }
    connection.begin(transfer);
  }

  #queueFull({ connectOnly }: Transfer, destination: Destination): TransferError {
    if (connectOnly) {
      return new TransferError(
        'QUEUE_FULL',
        `There are as many connections as may be, so none to ${destination.origin.text} was opened ahead; raise connections.perOrigin or connections.total.`,
        { limit: 'connections.perOrigin', phase: 'queue' },
      );
    }
    const { queueLength } = this.#cache.limits;
    return new TransferError(
      'QUEUE_FULL',
      `${queueLength} transfers wait for a connection already, so none to ${destination.origin.text} can be added; start fewer at a time or raise connections.queueLength.`,
      { limit: 'connections.queueLength', phase: 'queue' },
    );
  }
}
