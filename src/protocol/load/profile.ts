/**
 * The arithmetic of a run's profile: what the value is at a moment, and when the k-th arrival of an open loop is due. No clock and no
 * timer: who has one asks.
 *
 * Arrivals are counted over all shards: number k is due when the area under the profile reaches k, and belongs to shard k modulo the
 * number of shards, so that shards interleave without agreeing on anything.
 */

import type { LoadSegment } from './plan.ts';

const MS_PER_SECOND = 1_000;
/** Of an arrival: what rounding may lose at the end of a segment. */
const ROUNDING = 1e-6;

/** The profile's value at a moment; that of its ends before and after it. */
export function valueAt(profile: readonly LoadSegment[], ms: number): number {
  let value = profile[0]?.from ?? 0;
  for (const { fromMs, untilMs, from, to } of profile) {
    if (ms < fromMs) return value;
    if (ms < untilMs) return from + ((to - from) * (ms - fromMs)) / (untilMs - fromMs);
    value = to;
  }
  return value;
}

/** How many arrivals the profile comes to between two moments. */
export function arrivalsBetween(profile: readonly LoadSegment[], sinceMs: number, untilMs: number): number {
  let sum = 0;
  for (const segment of profile) {
    const begin = Math.max(sinceMs, segment.fromMs);
    const end = Math.min(untilMs, segment.untilMs);
    if (begin >= end) continue;
    const at = (ms: number) => valueAt([segment], Math.min(ms, segment.untilMs));
    sum += ((at(begin) + at(end)) / 2) * ((end - begin) / MS_PER_SECOND);
  }
  return sum;
}

/** Whether the value ever changes: then somebody has to look now and then. */
export function isConstant(profile: readonly LoadSegment[]): boolean {
  return profile.every(({ from, to }) => from === to && from === profile[0]?.from);
}

export class ArrivalSchedule {
  /** When the next arrival is due, milliseconds from the start of the run; Infinity: there is none any more. */
  nextMs = 0;
  readonly #profile: readonly LoadSegment[];
  readonly #shards: number;
  #number: number;
  #segment = 0;
  /** Arrivals before the present segment: not whole. */
  #before = 0;

  constructor(profile: readonly LoadSegment[], shard: number, shards: number) {
    this.#profile = profile;
    this.#shards = shards;
    this.#number = shard;
    this.#find();
  }

  /** The next arrival, which is taken. */
  take(): number {
    const { nextMs } = this;
    this.#number += this.#shards;
    this.#find();
    return nextMs;
  }

  #find(): void {
    for (; this.#segment < this.#profile.length; this.#segment++) {
      const segment = this.#profile[this.#segment] as LoadSegment;
      const arrivals = arrivalsBetween([segment], segment.fromMs, segment.untilMs);
      const within = this.#number - this.#before;
      if (within < arrivals - ROUNDING) {
        this.nextMs = segment.fromMs + timeOf(segment, within);
        return;
      }
      this.#before += arrivals;
    }
    this.nextMs = Number.POSITIVE_INFINITY;
  }
}

/** Milliseconds until the area under a segment reaches `arrivals`: the root of at + ct² that does not subtract near-equals. */
function timeOf({ fromMs, untilMs, from, to }: LoadSegment, arrivals: number): number {
  if (arrivals <= 0) return 0;
  const rate = from / MS_PER_SECOND;
  const growth = (to - from) / MS_PER_SECOND / (2 * (untilMs - fromMs));
  return (2 * arrivals) / (rate + Math.sqrt(Math.max(0, rate * rate + 4 * growth * arrivals)));
}
