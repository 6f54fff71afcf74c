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
 * Idle connections expire in the order of that one list, because all are kept for the same time; those whose server announced
 * a shorter one (Keep-Alive: timeout) have a clock of their own (`connection.ts`). Whichever is first, age is looked at again
 * when one is taken.
 *
 * Plans only: it opens and closes nothing. `place` and `give` say what to do, the multi does it.
 */

import type { Connection } from './connection.ts';
import { Destination } from './destination.ts';
import { firstDifference, matchKeyOf } from './match-key.ts';
import type { Route } from './route.ts';
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

/** What to do with a transfer: use this connection, open one, or let it wait. */
export type Placement = Connection | 'dial' | 'queue' | 'queue-full';

/** How much longer a transfer of another destination may have waited before a freed connection is given up for it. */
const STARVATION_MS = 1_000;

export class ConnectionCache {
  /** May be changed at any time; `limitsChanged` says what follows from it. */
  readonly limits: CacheLimits;
  /** Connections of an earlier generation finish what they do and are not used again; see `renew`. */
  generation = 0;
  /** Which idle connection of a destination is taken first: the newest is warm and lets the others expire; by the oldest, all take turns. */
  takes: 'newest' | 'oldest' = 'newest';
  idleCount = 0;
  openCount = 0;
  /** The most that were open when one had just been opened. Whoever reads it may put it back to 0. */
  openPeak = 0;
  queuedCount = 0;
  /** Slots whose descriptors close when the turn ends. */
  #closing = 0;
  readonly #destinations = new Map<string, Destination>();
  /** Destinations with waiting transfers that the total limit alone keeps from dialing, in the order in which they are served. */
  #starvingHead: Destination | null = null;
  #starvingTail: Destination | null = null;
  /** All idle connections, by when they came to rest. */
  #oldest: Connection | null = null;
  #newest: Connection | null = null;

  constructor(limits: CacheLimits) {
    this.limits = limits;
  }

  get destinationCount(): number {
    return this.#destinations.size;
  }

  get oldestIdle(): Connection | null {
    return this.#oldest;
  }

  /** `share`: how many connections it may have, when not what the limits say; 0: what they say. */
  destinationOf(route: Route, share: number): Destination {
    const remembered = route.destination;
    const destination = remembered?.known && remembered.cache === this ? remembered : this.#look(route);
    if (share > 0 && share !== destination.share) {
      destination.share = share;
      this.#noteStarving(destination);
    }
    return destination;
  }

  // ── Placing a transfer ───────────────────────────────────────────────────────────────────────────────────────────────

  /** An idle connection of the destination that is too old to be used again; the caller closes it and asks again. */
  outlived(destination: Destination, now: number): Connection | null {
    const connection = this.#firstIdle(destination);
    return connection === null || this.#isYoungEnough(connection, now) ? null : connection;
  }

  /** Finds the transfer its place. A returned connection is idle no more. */
  place(transfer: Transfer, destination: Destination, now: number): Placement {
    const idle = this.#firstIdle(destination);
    if (idle !== null && !transfer.mustBeFresh && this.#isYoungEnough(idle, now)) {
      this.removeIdle(idle);
      return idle;
    }
    if (destination.hasRoom && this.#hasRoomInTotal) return 'dial';
    // What only opens a connection has nothing to wait for.
    if (transfer.connectOnly) {
      this.#dropIfEmpty(destination);
      return 'queue-full';
    }
    // What is sent once more has waited already, and must not fail for having been lost.
    const { queueLength } = this.limits;
    if (queueLength === 0 || this.queuedCount < queueLength || transfer.retried) return 'queue';
    this.#dropIfEmpty(destination);
    return 'queue-full';
  }

  enqueue(transfer: Transfer, destination: Destination): void {
    destination.enqueue(transfer);
    this.queuedCount++;
    this.#noteStarving(destination);
  }

  dequeue(transfer: Transfer, destination: Destination): void {
    destination.dequeue(transfer);
    this.queuedCount--;
    this.#noteStarving(destination);
    this.#dropIfEmpty(destination);
  }

  /**
   * The idle connection that makes room for a transfer just queued, which must have a fresh one where the limit of its host is
   * reached; the caller closes it (rule 68).
   */
  sacrificeOf(destination: Destination): Connection | null {
    return destination.hasRoom ? null : destination.idleOldest;
  }

  /** The longest idle connection, when a transfer waits that only the total limit keeps from dialing; the caller closes it. */
  sacrifice(): Connection | null {
    return this.#starvingHead === null || this.#hasRoomInTotal ? null : this.#oldest;
  }

  // ── Slots ────────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** A dial begins: it holds a slot until `slotFreed`. */
  slotTaken(destination: Destination): void {
    destination.open++;
    this.openCount++;
    this.#noteStarving(destination);
  }

  /** A dial has succeeded. */
  noteOpened(): void {
    const open = this.openCount - this.#closing;
    if (open > this.openPeak) this.openPeak = open;
  }

  /** The descriptor behind a slot closes when the turn ends. */
  slotClosing(destination: Destination): void {
    destination.closing++;
    this.#closing++;
  }

  /** The descriptor behind a slot is closed. Answers the transfer that may dial now, already out of its queue. */
  slotFreed(destination: Destination): Transfer | null {
    destination.open--;
    destination.closing--;
    this.openCount--;
    this.#closing--;
    this.#noteStarving(destination);
    const next = this.#nextToDial(destination);
    this.#dropIfEmpty(destination);
    return next;
  }

  /** A limit was raised: a transfer that may dial now, already out of its queue. The caller dials and asks again. */
  nextWithRoom(): Transfer | null {
    const first = this.#starvingHead;
    return first === null || !this.#hasRoomInTotal ? null : this.#serve(first);
  }

  /** Limits were changed: the idle connections that are too many now, for the caller to close. Busy ones live on (rule 71). */
  limitsChanged(): Connection[] {
    const tooMany: Connection[] = [];
    let over = this.limits.maxTotalConnections === 0 ? 0 : this.openCount - this.limits.maxTotalConnections;
    let oldest = this.#oldest;
    for (; oldest !== null && over > 0; oldest = oldest.idleNewerOfAll, over--) tooMany.push(oldest);
    const closing = new Set(tooMany);
    for (const destination of this.#destinations.values()) {
      let overHost = destination.limit === 0 ? 0 : destination.open - destination.limit;
      for (let idle = destination.idleOldest; idle !== null && overHost > 0; idle = idle.idleNewer, overHost--) {
        if (!closing.has(idle)) tooMany.push(idle);
      }
      this.#noteStarving(destination);
    }
    return tooMany;
  }

  // ── Idle connections ─────────────────────────────────────────────────────────────────────────────────────────────────

  /**
   * A connection has done its work and can serve again: the transfer it goes to next (already out of its queue), 'idle'
   * when it was put with the idle ones, or 'close' when it is not used again or its slot is needed elsewhere.
   */
  give(connection: Connection, now: number): Transfer | 'idle' | 'close' {
    const { destination } = connection;
    if (connection.generation !== this.generation) return 'close';
    if (connection.connectedAt + this.limits.lifetimeMs <= now) return 'close';
    if (this.#isOverLimit(destination)) return 'close';
    const own = destination.queueHead;
    const other = this.#starvingOther(destination)?.queueHead ?? null;
    if (own === null) {
      // Who waits elsewhere for the total gets the oldest idle one when the turn ends: one each, however many end in this turn.
      if (this.limits.maxConnects === 0) return 'close';
      this.#pushIdle(connection, now);
      return 'idle';
    }
    // Of those that end in one turn only as many are given up as are needed: the slots that close already are for somebody.
    if (destination.freshQueued > destination.closing && own.mustBeFresh) return 'close';
    if (other !== null && this.#closing === 0 && own.queuedAtMs - other.queuedAtMs > STARVATION_MS) return 'close';
    const next = firstNotFresh(own);
    if (next !== null) this.dequeue(next, destination);
    else this.#pushIdle(connection, now);
    return next ?? 'idle';
  }

  /** The connection is idle no more: taken, or lost. */
  removeIdle(connection: Connection): void {
    const { idleOlderOfAll, idleNewerOfAll } = connection;
    connection.destination.removeIdle(connection);
    if (idleOlderOfAll === null) this.#oldest = idleNewerOfAll;
    else idleOlderOfAll.idleNewerOfAll = idleNewerOfAll;
    if (idleNewerOfAll === null) this.#newest = idleOlderOfAll;
    else idleNewerOfAll.idleOlderOfAll = idleOlderOfAll;
    connection.idleOlderOfAll = null;
    connection.idleNewerOfAll = null;
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

  /**
   * The network has changed: whatever is open or being opened now is not used again once it has done its work
   * (CURLMOPT_NETWORK_CHANGED). The idle ones are the caller's to close.
   */
  renew(): void {
    this.generation++;
  }

  #pushIdle(connection: Connection, now: number): void {
    const previous = this.#newest;
    connection.idleSince = now;
    connection.destination.pushIdle(connection);
    connection.idleOlderOfAll = previous;
    if (previous === null) this.#oldest = connection;
    else previous.idleNewerOfAll = connection;
    this.#newest = connection;
    this.idleCount++;
  }

  #firstIdle(destination: Destination): Connection | null {
    return this.takes === 'newest' ? destination.idleNewest : destination.idleOldest;
  }

  #isYoungEnough(connection: Connection, now: number): boolean {
    const { idleMs, lifetimeMs } = this.limits;
    if (connection.connectedAt + lifetimeMs <= now) return false;
    return connection.idleSince + Math.min(idleMs, connection.keepAliveMs) > now;
  }

  // ── Who is next ──────────────────────────────────────────────────────────────────────────────────────────────────────

  get #hasRoomInTotal(): boolean {
    const { maxTotalConnections } = this.limits;
    return maxTotalConnections === 0 || this.openCount < maxTotalConnections;
  }

  /** True only after a limit was lowered. */
  #isOverLimit(destination: Destination): boolean {
    const { maxTotalConnections } = this.limits;
    if (maxTotalConnections > 0 && this.openCount > maxTotalConnections) return true;
    return destination.limit > 0 && destination.open > destination.limit;
  }

  /** Who gets a freed slot: who has waited longest; among those of one turn the destinations have it in turn (rule 70). */
  #nextToDial(destination: Destination): Transfer | null {
    if (!this.#hasRoomInTotal) return null;
    const own = destination.hasRoom ? destination.queueHead : null;
    const other = this.#starvingOther(destination);
    const head = other?.queueHead ?? null;
    if (other === null || head === null) return own === null ? null : this.#shift(destination);
    if (own !== null && own.queuedAtMs < head.queuedAtMs) return this.#shift(destination);
    return this.#serve(other);
  }

  /** The head of a starving destination's queue; whoever waits behind it there waits for all others' turn (rule 70). */
  #serve(destination: Destination): Transfer {
    this.#removeStarving(destination);
    this.#addStarving(destination);
    return this.#shift(destination);
  }

  #shift(destination: Destination): Transfer {
    const transfer = destination.queueHead as Transfer;
    this.dequeue(transfer, destination);
    return transfer;
  }

  /** The first that starves and is not `own`, which goes behind the others: its connections serve it as they come free. */
  #starvingOther(own: Destination): Destination | null {
    const first = this.#starvingHead;
    if (first !== own || first.starvingNext === null) return first === own ? null : first;
    this.#removeStarving(own);
    this.#addStarving(own);
    return this.#starvingHead;
  }

  /** Puts it into the list of the starving, or takes it out. */
  #noteStarving(destination: Destination): void {
    const starves = destination.queueHead !== null && destination.hasRoom;
    if (starves === destination.starving) return;
    if (starves) this.#addStarving(destination);
    else this.#removeStarving(destination);
  }

  #addStarving(destination: Destination): void {
    const previous = this.#starvingTail;
    destination.starving = true;
    destination.starvingPrevious = previous;
    if (previous === null) this.#starvingHead = destination;
    else previous.starvingNext = destination;
    this.#starvingTail = destination;
  }

  #removeStarving(destination: Destination): void {
    const { starvingPrevious, starvingNext } = destination;
    destination.starving = false;
    if (starvingPrevious === null) this.#starvingHead = starvingNext;
    else starvingPrevious.starvingNext = starvingNext;
    if (starvingNext === null) this.#starvingTail = starvingPrevious;
    else starvingNext.starvingPrevious = starvingPrevious;
    destination.starvingPrevious = null;
    destination.starvingNext = null;
  }

  // ── Destinations ─────────────────────────────────────────────────────────────────────────────────────────────────────

  #look(route: Route): Destination {
    const key = matchKeyOf(route);
    let destination = this.#destinations.get(key);
    if (destination === undefined) {
      destination = new Destination(this, route, key);
      this.#destinations.set(key, destination);
    } else {
      const field = firstDifference(destination.route, route);
      if (field !== null) throw new Error(`The match key took two routes that differ in ${field} for one.`);
    }
    route.destination = destination;
    return destination;
  }

  /** An empty destination is forgotten: a crawler visits many. */
  #dropIfEmpty(destination: Destination): void {
    if (destination.open > 0 || destination.queueHead !== null || !destination.known) return;
    destination.known = false;
    this.#destinations.delete(destination.key);
    if (destination.route.destination === destination) destination.route.destination = null;
  }
}

/** The first from `head` on that takes a connection that has served others; the fresh ones before it have slots that close already. */
function firstNotFresh(head: Transfer): Transfer | null {
  let transfer: Transfer | null = head;
  while (transfer?.mustBeFresh) transfer = transfer.queueNext;
  return transfer;
}
