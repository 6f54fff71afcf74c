/**
 * A histogram of thousands of places as a few ranges with round borders, and as points of a percentile plot: what people see of it,
 * and what Prometheus counts. Draws nothing.
 */

import type { Histogram } from '../../main/load/index.ts';

export interface Bucket {
  /** Microseconds; values above it, up to and with `toUs`. */
  readonly fromUs: number;
  readonly toUs: number;
  readonly count: number;
}

/** Borders within a power of ten, coarse to fine. */
const SERIES: readonly (readonly number[])[] = [
  [1],
  [1, 2, 5],
  [1, 1.5, 2, 3, 5, 7],
  [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8],
  [1, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.8, 2, 2.2, 2.5, 2.8, 3, 3.5, 4, 4.5, 5, 5.5, 6, 7, 8, 9],
];
const DECADES = 10;

/** From the first that is not empty to the last, with the finest borders that make no more than `most`. */
export function bucketsOf(histogram: Histogram, most: number): Bucket[] {
  let best: Bucket[] = [];
  for (const series of SERIES) {
    const buckets = cut(histogram, bordersOf(series));
    if (buckets.length > most && best.length > 0) return best;
    best = buckets;
  }
  return best;
}

/** Every border from 1 us to an hour. */
export function bordersOf(series: readonly number[]): number[] {
  const borders: number[] = [];
  for (let decade = 0; decade < DECADES; decade++) for (const step of series) borders.push(step * 10 ** decade);
  return borders;
}

export const COARSE_BORDERS = bordersOf([1, 2, 5]);

/** A place of the histogram that lies across a border counts above it. */
export function cut(histogram: Histogram, borders: readonly number[]): Bucket[] {
  const counts = new Array<number>(borders.length).fill(0);
  let at = 0;
  for (const { to, count } of histogram.steps()) {
    while (at < borders.length - 1 && to > (borders[at] as number)) at++;
    counts[at] = (counts[at] as number) + count;
  }
  const first = counts.findIndex((count) => count > 0);
  if (first < 0) return [];
  const last = counts.findLastIndex((count) => count > 0);
  return counts.slice(first, last + 1).map((count, index) => ({
    fromUs: borders[first + index - 1] ?? 0,
    toUs: borders[first + index] as number,
    count,
  }));
}

export interface PercentilePoint {
  /** Share of the requests that took no longer, 0 to 1. */
  readonly share: number;
  readonly us: number;
}

/** More points than these are not seen on a screen. */
const POINTS_MAX = 400;
/** Points at equal steps of 1 / (1 - share), so that p99 to p99.9 has as many as 0 to p90. */
const POINTS_PER_DECADE = 60;

/** Where the curve of a percentile plot passes. The last one is the maximum, with share 1. */
export function percentilePoints(histogram: Histogram): PercentilePoint[] {
  const total = histogram.count;
  const points: PercentilePoint[] = [];
  let seen = 0;
  let next = 0;
  for (const { to, count } of histogram.steps()) {
    seen += count;
    const share = seen / total;
    const place = share === 1 ? Number.POSITIVE_INFINITY : -Math.log10(1 - share) * POINTS_PER_DECADE;
    if (place < next || points.length >= POINTS_MAX) continue;
    points.push({ share, us: to });
    next = Math.floor(place) + 1;
  }
  return points;
}
