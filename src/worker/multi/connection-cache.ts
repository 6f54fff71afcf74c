/**
 * Which connection serves which transfer: destinations, their idle connections, their queues, and the limits on all of them.
 * Everything on the path of a request is constant time, however many connections one host has: idle connections are a
 * stack per destination (libcurl searches a list of all, see CONTRACT.md §4), and a freed connection goes straight to the
 * head of its destination's queue.
 *
 *   Destination ── idle: most recently used first ──> Connection <──> Connection
 *        │                                                │ also in one list over all, oldest first: expiry, eviction
 *        └─────── queue: first come, first served ──> Transfer <──> Transfer
 *
 * Plans only: it opens and closes nothing. `place` and `give` say what to do, the multi does it.
 */

import type { Origin } from '../../protocol/origin.ts';
import type { Connection } from './connection.ts';
import type { Transfer } from './transfer.ts';

export interface CacheLimits {
  /** Idle connections kept; above it the longest idle is closed (CURLMOPT_MAXCONNECTS, but fixed). */
  maxConnects: number;
  /** Open connections per destination; 0: no limit (CURLMOPT_MAX_HOST_CONNECTIONS). */
  maxHostConnections: number;
  /** Open connections altogether; 0: no limit (CURLMOPT_MAX_TOTAL_CONNECTIONS). */
  maxTotalConnections: number;
  /** Transfers waiting for a connection altogether; more fail with QUEUE_FULL. 0: no limit. */
  queueLength: number;
  /** An idle connection is closed after this long (CURLOPT_MAXAGE_CONN). */
  idleMs: number;
  /** A connection is not used again after this long (CURLOPT_MAXLIFETIME_CONN). */
  lifetimeMs: number;
}

/** One place that connections lead to. */
export class Destination {
  readonly origin: Origin;
  /** Connections and dials under way, those being closed included: what the limits count. */
  open = 0;
  /** Its own limit; 0: none. */
  limit: number;
  /** Most recently used idle connection. */
  idleHead: Connection | null = null;
  queueHead: Transfer | null = null;
  queueTail: Transfer | null = null;
  /** True exactly while it stands in the list of destinations that wait for a slot of the total. */
  starving = false;

  constructor(origin: Origin, limit: number) {
    this.origin = origin;
    this.limit = limit;
  }

  get hasRoom(): boolean {
    return this.limit === 0 || this.open < this.limit;
  }
}

/** What to do with a transfer: use this connection, open one, or let it wait (first closing `evict` if there is one). */
export type Placement = Connection | 'dial' | 'queue' | 'queue-full';

/** How much longer a transfer of another destination may have waited before a freed connection is given up for it. */
const STARVATION_MS = 1_000;

export class ConnectionCache {
  readonly limits: CacheLimits;
  readonly #destinations = new Map<string, Destination>();
  /** Destinations with waiting transfers that the total limit alone keeps from dialing, in the order they came. */
  #starving: Destination[] = [];
  /** All idle connections, longest idle first. */
  #oldest: Connection | null = null;
  #newest: Connection | null = null;
  idleCount = 0;
  openCount = 0;
  queuedCount = 0;

  constructor(limits: CacheLimits) {
    this.limits = limits;
  }

  destinationOf(origin: Origin): Destination {
    let destination = this.#destinations.get(origin.text);
    if (destination === undefined) {
      destination = new Destination(origin, this.limits.maxHostConnections);
      this.#destinations.set(origin.text, destination);
    }
    return destination;
  }

  /** Finds the transfer its place. A returned connection is idle no more. */
  place(transfer: Transfer, destination: Destination, now: number): Placement {
    if (!transfer.mustBeFresh) {
      const idle = this.#takeIdle(destination, now);
      if (idle !== null) return idle;
    }
    if (destination.hasRoom && this.#hasRoomInTotal) return 'dial';
    if (this.limits.queueLength === 0 || this.queuedCount < this.limits.queueLength) return 'queue';
    this.#dropIfEmpty(destination);
    return 'queue-full';
  }

  /** The longest idle connection, when a transfer waits that only the total limit keeps from dialing; the caller closes it. */
  sacrifice(): Connection | null {
    if (this.#oldest === null || this.#starving.length === 0) return null;
    this.#pruneStarving();
    return this.#starving.length === 0 ? null : this.#oldest;
  }

  /** An idle connection of the destination that is too old to be used again; the caller closes it and asks again. */
  outlived(destination: Destination, now: number): Connection | null {
    const connection = destination.idleHead;
    return connection === null || isYoungEnough(connection, now, this.limits) ? null : connection;
  }

  /** First come, first served; a transfer that is sent once more had its turn before and goes to the head. */
  enqueue(transfer: Transfer, destination: Destination): void {
    const previous = transfer.retried ? null : destination.queueTail;
    const next = transfer.retried ? destination.queueHead : null;
    transfer.queuePrevious = previous;
    transfer.queueNext = next;
    if (previous === null) destination.queueHead = transfer;
    else previous.queueNext = transfer;
    if (next === null) destination.queueTail = transfer;
    else next.queuePrevious = transfer;
    this.queuedCount++;
    this.#noteStarving(destination);
  }

  dequeue(transfer: Transfer, destination: Destination): void {
    const { queuePrevious, queueNext } = transfer;
    if (queuePrevious === null) destination.queueHead = queueNext;
    else queuePrevious.queueNext = queueNext;
    if (queueNext === null) destination.queueTail = queuePrevious;
    else queueNext.queuePrevious = queuePrevious;
    transfer.queuePrevious = null;
    transfer.queueNext = null;
    this.queuedCount--;
    this.#dropIfEmpty(destination);
  }

  /** A dial begins: it holds a slot until `slotFreed`. */
  slotTaken(destination: Destination): void {
    if (destination.open === 0) this.#destinations.set(destination.origin.text, destination);
    destination.open++;
    this.openCount++;
  }

  /** The descriptor behind a slot is closed. Answers the transfer that may dial now, already out of its queue. */
  slotFreed(destination: Destination): Transfer | null {
    destination.open--;
    this.openCount--;
    const next = this.#nextToDial(destination);
    // Its own limit kept it waiting until now, and the slot has gone to another.
    if (destination.queueHead !== null) this.#noteStarving(destination);
    this.#dropIfEmpty(destination);
    return next;
  }

  /**
   * A connection has done its work and can serve again: the transfer it goes to next (already out of its queue), 'idle'
   * when it was put with the idle ones, or 'close' when its slot is needed elsewhere.
   */
  give(connection: Connection, now: number): Transfer | 'idle' | 'close' {
    const { destination } = connection;
    if (connection.connectedAt + this.limits.lifetimeMs <= now) return 'close';
    const own = destination.queueHead;
    const other = this.#starvingOther(destination)?.queueHead ?? null;
    if (own === null) {
      if (other !== null || this.limits.maxConnects === 0) return 'close';
      this.#pushIdle(connection, now);
      return 'idle';
    }
    if (own.mustBeFresh) return 'close';
    if (other !== null && own.queuedAtMs - other.queuedAtMs > STARVATION_MS) return 'close';
    return this.#shift(destination);
  }

  /** The connection is idle no more: taken, or lost. */
  removeIdle(connection: Connection): void {
    const { idlePrevious, idleNext, olderIdle, newerIdle, destination } = connection;
    if (idlePrevious === null) destination.idleHead = idleNext;
    else idlePrevious.idleNext = idleNext;
    if (idleNext !== null) idleNext.idlePrevious = idlePrevious;
    if (olderIdle === null) this.#oldest = newerIdle;
    else olderIdle.newerIdle = newerIdle;
    if (newerIdle === null) this.#newest = olderIdle;
    else newerIdle.olderIdle = olderIdle;
    connection.idlePrevious = null;
    connection.idleNext = null;
    connection.olderIdle = null;
    connection.newerIdle = null;
    this.idleCount--;
  }

  /** The longest idle connection if there are too many or if it has been idle too long; the caller closes it and asks again. */
  excess(now: number): Connection | null {
    const oldest = this.#oldest;
    if (oldest === null) return null;
    if (this.idleCount > this.limits.maxConnects) return oldest;
    return oldest.idleSince + this.limits.idleMs <= now ? oldest : null;
  }

  /** When `excess` will next find a connection idle too long; Infinity when none is idle. */
  get nextExpiry(): number {
    return this.#oldest === null ? Number.POSITIVE_INFINITY : this.#oldest.idleSince + this.limits.idleMs;
  }

  get oldestIdle(): Connection | null {
    return this.#oldest;
  }

  get destinationCount(): number {
    return this.#destinations.size;
  }

  get #hasRoomInTotal(): boolean {
    return this.limits.maxTotalConnections === 0 || this.openCount < this.limits.maxTotalConnections;
  }

  #takeIdle(destination: Destination, now: number): Connection | null {
    const connection = destination.idleHead;
    if (connection === null || !isYoungEnough(connection, now, this.limits)) return null;
    this.removeIdle(connection);
    return connection;
  }

  #pushIdle(connection: Connection, now: number): void {
    const { destination } = connection;
    connection.idleSince = now;
    connection.idleNext = destination.idleHead;
    if (destination.idleHead !== null) destination.idleHead.idlePrevious = connection;
    destination.idleHead = connection;
    connection.olderIdle = this.#newest;
    if (this.#newest === null) this.#oldest = connection;
    else this.#newest.newerIdle = connection;
    this.#newest = connection;
    this.idleCount++;
  }

  /** Who gets a freed slot: the destination it came from, unless another has waited longer for one. */
  #nextToDial(destination: Destination): Transfer | null {
    if (!this.#hasRoomInTotal) return null;
    const own = destination.hasRoom ? destination.queueHead : null;
    const other = this.#starvingOther(destination);
    const head = other?.queueHead ?? null;
    if (other === null || head === null || (own !== null && own.queuedAtMs <= head.queuedAtMs)) {
      return own === null ? null : this.#shift(destination);
    }
    this.#starving.shift();
    if (head.queueNext === null) other.starving = false;
    else this.#starving.push(other);
    return this.#shift(other);
  }

  #noteStarving(destination: Destination): void {
    if (destination.starving || !destination.hasRoom) return;
    destination.starving = true;
    this.#starving.push(destination);
  }

  /** The first that starves and is not `own`, which goes behind the others: its connections serve it as they come free. */
  #starvingOther(own: Destination): Destination | null {
    this.#pruneStarving();
    if (this.#starving[0] === own && this.#starving.length > 1) {
      this.#starving.push(this.#starving.shift() as Destination);
      this.#pruneStarving();
    }
    const first = this.#starving[0];
    return first === undefined || first === own ? null : first;
  }

  /** Lets go of those in front that wait no more, or that their own limit keeps waiting. */
  #pruneStarving(): void {
    for (let first = this.#starving[0]; first !== undefined; first = this.#starving[0]) {
      if (first.queueHead !== null && first.hasRoom) return;
      this.#starving.shift();
      first.starving = false;
      this.#dropIfEmpty(first);
    }
  }

  #shift(destination: Destination): Transfer {
    const transfer = destination.queueHead as Transfer;
    this.dequeue(transfer, destination);
    return transfer;
  }

  /** An empty destination is forgotten: a crawler visits many. */
  #dropIfEmpty(destination: Destination): void {
    if (destination.open === 0 && destination.queueHead === null && !destination.starving) {
      this.#destinations.delete(destination.origin.text);
    }
  }
}

function isYoungEnough(connection: Connection, now: number, limits: CacheLimits): boolean {
  return connection.connectedAt + limits.lifetimeMs > now && connection.idleSince + limits.idleMs > now;
}
