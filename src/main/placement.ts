/**
 * Which shard serves a request. Rendezvous hashing of the request's key (its origin, by default) ranks the shards; consistent
 * hashing with bounded loads picks among the first k of the ranking. So one quiet origin stays on one shard and reuses its
 * connections, one busy origin spreads over all, and a lost shard moves nobody else's requests.
 *
 *   k = min(shards, perOrigin)        each of the k has an equal share of perOrigin, per key: with a function as the option,
 *                                     an origin that has several keys may have perOrigin connections for each
 *   first of the k that has fewer in flight for this key than its share, and a load below the bound
 *   else the one of the k with the fewest in flight per share
 */

import { isPromise } from '../protocol/built-ins.ts';
import { invalidArgument, TransferError } from '../protocol/errors.ts';
import { describe } from '../protocol/options.ts';
import type { PlacementOption } from './options.ts';

/** A load below this is never too much: small loads are not worth spreading. */
const LOAD_FLOOR = 64;
/** How far above the average a shard's load may be. */
const LOAD_FACTOR = 1.25;
/** Keys whose rankings are kept while nothing of theirs is in flight: those that were in use last. */
const KEYS_MAX = 10_000;

/** A key's ranking and what is in flight for it. */
export class Place {
  readonly key: string;
  /** Shard numbers, best first. */
  readonly ranking: Uint16Array;
  /** In flight per rank. */
  readonly inFlight: Int32Array;
  inFlightTotal = 0;
  /** Called once, when fewer than `perOrigin` are in flight; null: nobody waits for that. */
  onRoom: ((place: Place) => void) | null = null;
  /** Its neighbours among the quiet places; itself: it is not among them. Theirs alone (`QuietPlaces`). */
  older: Place = this;
  newer: Place = this;

  constructor(key: string, ranking: Uint16Array) {
    this.key = key;
    this.ranking = ranking;
    this.inFlight = new Int32Array(ranking.length);
  }
}

export class Placement {
  /** Requests in flight per shard: the load. */
  readonly load: Int32Array;
  /** The answer of the last `choose`: which rank of the place. */
  rank = 0;
  readonly #shards: number;
  readonly #perOrigin: number;
  readonly #reach: number;
  readonly #spread: boolean;
  readonly #isAlive: (shard: number) => boolean;
  readonly #places = new Map<string, Place>();
  readonly #quiet = new QuietPlaces();
  #inFlight = 0;

  constructor(shards: number, perOrigin: number, option: PlacementOption, isAlive: (shard: number) => boolean) {
    this.load = new Int32Array(shards);
    this.#shards = shards;
    this.#perOrigin = perOrigin;
    this.#reach = Math.min(shards, perOrigin);
    this.#spread = option === 'spread';
    this.#isAlive = isAlive;
  }

  /** The place of a key. The shard is `place.ranking[this.rank]`, or -1 is answered when no shard lives. */
  placeOf(key: string): Place {
    let place = this.#places.get(key);
    if (place === undefined) {
      place = new Place(key, rankShards(key, this.#shards));
      this.#places.set(key, place);
      this.#becomesQuiet(place);
    }
    return place;
  }

  /** Picks a shard for one more request and counts it. -1: none lives. The rank picked is in `rank`. */
  choose(place: Place): number {
    const rank = this.#pick(place);
    if (rank < 0) return -1;
    const shard = place.ranking[rank] as number;
    place.inFlight[rank] = (place.inFlight[rank] as number) + 1;
    if (place.inFlightTotal++ === 0) this.#quiet.remove(place);
    this.load[shard] = (this.load[shard] as number) + 1;
    this.#inFlight++;
    this.rank = rank;
    return shard;
  }

  /** The request is over. */
  release(place: Place, rank: number): void {
    const shard = place.ranking[rank] as number;
    place.inFlight[rank] = (place.inFlight[rank] as number) - 1;
    this.load[shard] = (this.load[shard] as number) - 1;
    this.#inFlight--;
    if (--place.inFlightTotal === 0) this.#becomesQuiet(place);
    if (place.onRoom !== null && place.inFlightTotal < this.#perOrigin) {
      const { onRoom } = place;
      place.onRoom = null;
      onRoom(place);
    }
  }

  /** How many of an origin's connections the shard at this rank may hold. */
  share(rank: number): number {
    return rank < this.#reach ? equalShare(this.#perOrigin, this.#reach, rank) : 1;
  }

  #pick(place: Place): number {
    const bound = Math.max(LOAD_FLOOR, Math.ceil((LOAD_FACTOR * (this.#inFlight + 1)) / this.#shards));
    const { ranking, inFlight } = place;
    let best = -1;
    let bestFill = Number.POSITIVE_INFINITY;
    // Normally the first k ranks; where shards are lost, the next in the ranking stand in for them.
    let left = this.#reach;
    for (let rank = 0; rank < ranking.length && left > 0; rank++) {
      const shard = ranking[rank] as number;
      if (!this.#isAlive(shard)) continue;
      left--;
      const share = this.share(rank);
      const own = inFlight[rank] as number;
      const load = this.load[shard] as number;
      if (!this.#spread && own < share && load < bound) return rank;
      const fill = this.#spread ? load : own / share;
      if (fill < bestFill) {
        best = rank;
        bestFill = fill;
      }
    }
    return best;
  }

  /** One comes in, so one too many goes: no request ever looks at all of them. */
  #becomesQuiet(place: Place): void {
    this.#quiet.add(place);
    const oldest = this.#quiet.takeBeyond(KEYS_MAX);
    // Another place may have its key by now, where the caller's code ran between two steps of a request.
    if (oldest !== null && this.#places.get(oldest.key) === oldest) this.#places.delete(oldest.key);
  }
}

/** Places with nothing in flight, those that became so last behind the others: a ring through the places themselves. */
class QuietPlaces {
  /** Behind the newest and before the oldest. */
  readonly #ends = new Place('', new Uint16Array(0));
  #size = 0;

  add(place: Place): void {
    const { older } = this.#ends;
    place.older = older;
    place.newer = this.#ends;
    older.newer = place;
    this.#ends.older = place;
    this.#size++;
  }

  /** Does nothing where it is not among them. */
  remove(place: Place): void {
    const { older, newer } = place;
    if (older === place) return;
    older.newer = newer;
    newer.older = older;
    place.older = place;
    place.newer = place;
    this.#size--;
  }

  /** Takes the oldest out where there are more than so many. */
  takeBeyond(most: number): Place | null {
    if (this.#size <= most) return null;
    const oldest = this.#ends.newer;
    this.remove(oldest);
    return oldest;
  }
}

/** The key that a function of the caller's answers. Throws TransferError INVALID_ARGUMENT that names the option. */
export function keyFrom(placement: (url: URL) => unknown, url: URL): string {
  let key: unknown;
  try {
    key = placement(url);
  } catch (cause) {
    throw new TransferError('INVALID_ARGUMENT', 'The placement function of the pool threw; see the cause.', {
      limit: 'placement',
      cause,
    });
  }
  if (typeof key === 'string') return key;
  // A promise that nobody waits for must not end the process when it is rejected.
  if (isPromise(key)) key.catch(() => undefined);
  throw invalidArgument('placement', `The placement function of the pool must answer a string, not ${describe(key)}.`);
}

/** `whole` divided among `parts`, the remainder to the first. */
export function equalShare(whole: number, parts: number, index: number): number {
  return Math.floor(whole / parts) + (index < whole % parts ? 1 : 0);
}

/** Rendezvous (highest random weight) hashing: each shard scores the key, the scores rank the shards. */
export function rankShards(key: string, shards: number): Uint16Array {
  const hash = fnv1a(key);
  const scores = Array.from({ length: shards }, (_, shard) => mix(hash ^ Math.imul(shard + 1, GOLDEN_RATIO)));
  const ranking = Uint16Array.from(scores.keys());
  return ranking.sort((a, b) => (scores[b] as number) - (scores[a] as number) || a - b);
}

const FNV_OFFSET = 0x811c9dc5;
const FNV_PRIME = 0x01000193;
const GOLDEN_RATIO = 0x9e3779b1;

function fnv1a(text: string): number {
  let hash = FNV_OFFSET;
  for (let index = 0; index < text.length; index++) hash = Math.imul(hash ^ text.charCodeAt(index), FNV_PRIME);
  return hash >>> 0;
}

/** The finalizer of MurmurHash3: every bit of the input moves every bit of the score. */
function mix(value: number): number {
  let hash = value;
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
