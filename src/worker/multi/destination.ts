/**
 * One place that connections lead to: what is open there, which of it is idle, and who waits. Lists only; who gets what is
 * the connection cache's decision.
 *
 *   idle    longest idle <── older / newer ──> most recently used (taken from here, sacrificed from there)
 *   queue   head: served next <── previous / next ──> tail
 */

import type { Origin } from '../../protocol/origin.ts';
import type { Connection } from './connection.ts';
import type { ConnectionCache } from './connection-cache.ts';
import type { Route } from './route.ts';
import type { Transfer } from './transfer.ts';

export class Destination {
  readonly cache: ConnectionCache;
  /** That of the first transfer; those of all others agree with it in every field. */
  readonly route: Route;
  /** What the cache finds it by. */
  readonly key: string;
  /** Connections and dials under way, those being closed included: what the limits count. */
  open = 0;
  /** Of these, those whose descriptors close when the turn ends. */
  closing = 0;
  /** Its share of connections, from the transfer that came last; 0: the cache's limit. */
  share = 0;
  /** Most recently used idle connection. */
  idleNewest: Connection | null = null;
  idleOldest: Connection | null = null;
  queueHead: Transfer | null = null;
  queueTail: Transfer | null = null;
  /** Of the queue, those that take no connection that has served others. */
  freshQueued = 0;
  /** False once the cache has dropped it, because nothing was open and nobody waited here. */
  known = true;
  /** True exactly while it stands in the cache's list of those that wait for a slot of the total. */
  starving = false;
  starvingPrevious: Destination | null = null;
  starvingNext: Destination | null = null;

  constructor(cache: ConnectionCache, route: Route, key: string) {
    this.cache = cache;
    this.route = route;
    this.key = key;
  }

  get origin(): Origin {
    return this.route.origin;
  }

  /** Most connections it may have; 0: no limit. */
  get limit(): number {
    return this.share > 0 ? this.share : this.cache.limits.maxHostConnections;
  }

  get hasRoom(): boolean {
    const { limit } = this;
    return limit === 0 || this.open < limit;
  }

  pushIdle(connection: Connection): void {
    const previous = this.idleNewest;
    connection.idleOlder = previous;
    if (previous === null) this.idleOldest = connection;
    else previous.idleNewer = connection;
    this.idleNewest = connection;
  }

  removeIdle(connection: Connection): void {
    const { idleOlder, idleNewer } = connection;
    if (idleOlder === null) this.idleOldest = idleNewer;
    else idleOlder.idleNewer = idleNewer;
    if (idleNewer === null) this.idleNewest = idleOlder;
    else idleNewer.idleOlder = idleOlder;
    connection.idleOlder = null;
    connection.idleNewer = null;
  }

  /** First come, first served; a transfer that is sent once more had its turn before and goes to the head. */
  enqueue(transfer: Transfer): void {
    const previous = transfer.retried ? null : this.queueTail;
    const next = transfer.retried ? this.queueHead : null;
    if (transfer.mustBeFresh) this.freshQueued++;
    transfer.queuePrevious = previous;
    transfer.queueNext = next;
    if (previous === null) this.queueHead = transfer;
    else previous.queueNext = transfer;
    if (next === null) this.queueTail = transfer;
    else next.queuePrevious = transfer;
  }

  dequeue(transfer: Transfer): void {
    const { queuePrevious, queueNext } = transfer;
    if (transfer.mustBeFresh) this.freshQueued--;
    if (queuePrevious === null) this.queueHead = queueNext;
    else queuePrevious.queueNext = queueNext;
    if (queueNext === null) this.queueTail = queuePrevious;
    else queueNext.queuePrevious = queuePrevious;
    transfer.queuePrevious = null;
    transfer.queueNext = null;
  }
}
