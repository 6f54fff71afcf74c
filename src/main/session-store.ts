/**
 * TLS sessions that shards of a pool have set aside for each other. A shard offers, for each destination, as many as there are
 * other shards; each of these gets one, with the first batch that goes there anyway, so sharing costs no message to them. What nobody
 * needs now is kept for a shard that begins later.
 *
 * Knows shards by their numbers and sessions as bytes: what a session may be used for is its key, which shards have made of the whole
 * TLS configuration and the destination.
 */

import type { SharedSession } from '../protocol/port/session-frames.ts';
import { rankShards } from './placement.ts';

/** Keys that are known; those used last are kept. */
const KEYS_MAX = 1_000;

/** Sessions of TLS 1.3 kept for shards that begin later, of one key. */
const SPARES_MAX = 2;

/** Servers change the keys of their tickets, often by the hour: an older one would only fail to resume. */
const AGE_MS_MAX = 60 * 60_000;

/** The store as one shard's link sees it. */
export interface SessionShelf {
  /** The shard has set it aside. */
  offer(session: SharedSession): void;
  /** What waits for the shard, which has it from then on; null: nothing. */
  take(): readonly SharedSession[] | null;
}

interface Kept {
  readonly session: SharedSession;
  readonly sinceMs: number;
}

interface Known {
  /** Shards that have had a session of this key; what they need further their servers give them. */
  readonly served: Set<number>;
  /** For shards that begin later. */
  spares: Kept[];
}

export class SessionStore {
  readonly #shards: number;
  readonly #known = new Map<string, Known>();
  /** For each shard what goes to it, by key. */
  readonly #waiting: readonly Map<string, Kept>[];

  constructor(shards: number) {
    this.#shards = shards;
    this.#waiting = Array.from({ length: shards }, () => new Map());
  }

  shelfOf(shard: number): SessionShelf {
    return { offer: (session) => this.offer(shard, session), take: () => this.take(shard) };
  }

  offer(shard: number, session: SharedSession): void {
    const kept = { session, sinceMs: performance.now() };
    const known = this.#knownOf(session.key);
    known.served.add(shard);
    if (!session.single) {
      known.spares = [kept];
      for (let other = 0; other < this.#shards; other++) if (!known.served.has(other)) this.#give(other, known, kept);
      return;
    }
    const next = this.#ranking(session.key).find((other) => !known.served.has(other));
    if (next !== undefined) {
      this.#give(next, known, kept);
      return;
    }
    known.spares.push(kept);
    if (known.spares.length > SPARES_MAX) known.spares.shift();
  }

  take(shard: number): SharedSession[] | null {
    const waiting = this.#waiting[shard] as Map<string, Kept>;
    if (waiting.size === 0) return null;
    const oldest = performance.now() - AGE_MS_MAX;
    const taken: SharedSession[] = [];
    for (const { session, sinceMs } of waiting.values()) if (sinceMs > oldest) taken.push(session);
    waiting.clear();
    return taken;
  }

  /** `shard` begins anew and has none. */
  begun(shard: number): void {
    for (const [key, known] of this.#known) {
      if (!known.served.has(shard) || this.#waiting[shard]?.has(key)) continue;
      known.served.delete(shard);
      const spare = known.spares.at(-1);
      if (spare === undefined) continue;
      if (spare.session.single) known.spares.pop();
      this.#give(shard, known, spare);
    }
  }

  #give(shard: number, known: Known, kept: Kept): void {
    known.served.add(shard);
    this.#waiting[shard]?.set(kept.session.key, kept);
  }

  #knownOf(key: string): Known {
    let known = this.#known.get(key);
    if (known === undefined) known = { served: new Set(), spares: [] };
    else this.#known.delete(key);
    this.#known.set(key, known);
    if (this.#known.size > KEYS_MAX) this.#forgetOldest();
    return known;
  }

  #forgetOldest(): void {
    const oldest = this.#known.keys().next();
    if (oldest.done) return;
    this.#known.delete(oldest.value);
    for (const waiting of this.#waiting) waiting.delete(oldest.value);
  }

  /** Who is likely to connect there next comes first: the destination begins with its origin, by which requests are placed. */
  #ranking(key: string): number[] {
    return [...rankShards(key.split(' ')[1] ?? '', this.#shards)];
  }
}
