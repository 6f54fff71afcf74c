/** Our histogram beside hdr-histogram-js, on the same data: same percentiles, same encoded form, exact merges. */

import fc from 'fast-check';
import * as hdr from 'hdr-histogram-js';
import { expect, test } from 'vitest';
import { HISTOGRAM_MAX, Histogram, type HistogramPart } from '../../src/protocol/load/histogram.ts';

const PERCENTILES = [0, 1, 10, 25, 50, 75, 90, 99, 99.9, 99.99, 99.999, 100];

/** Latencies of all sizes: evenly drawn ones are nearly all large. */
const latency = fc
  .tuple(fc.integer({ min: 0, max: 31 }), fc.double({ min: 0, max: 1, noNaN: true }))
  .map(([bits, share]) => Math.min(Math.floor(2 ** bits * (1 + share)), HISTOGRAM_MAX));
const latencies = fc.array(latency, { minLength: 1, maxLength: 300 });

function theirs(values: readonly number[]): hdr.Histogram {
  const histogram = hdr.build({
    bitBucketSize: 64,
    lowestDiscernibleValue: 1,
    highestTrackableValue: HISTOGRAM_MAX,
    numberOfSignificantValueDigits: 3,
  });
  for (const value of values) histogram.recordValue(value);
  return histogram;
}

function ours(values: readonly number[], interval = false): Histogram {
  const histogram = new Histogram(interval);
  for (const value of values) histogram.record(value);
  return histogram;
}

test('percentiles, mean and count are those of hdr-histogram-js', () => {
  fc.assert(
    fc.property(latencies, (values) => {
      const [a, b] = [ours(values), theirs(values)];
      expect(a.valuesAtPercentiles(PERCENTILES)).toEqual(PERCENTILES.map((at) => b.getValueAtPercentile(at)));
      expect(a.count).toBe(b.totalCount);
      expect(a.mean).toBeCloseTo(b.mean, 3);
      expect(a.stdDeviation).toBeCloseTo(b.stdDeviation, 3);
      expect(a.max).toBe(b.getValueAtPercentile(100));
    }),
    { numRuns: 40 },
  );
});

test('hdr-histogram-js reads what is encoded, and we read what it encodes', () => {
  fc.assert(
    fc.property(latencies, (values) => {
      const [a, b] = [ours(values), theirs(values)];
      const decoded = hdr.decodeFromCompressedBase64(a.encode(), 64);
      expect(decoded.totalCount).toBe(b.totalCount);
      expect(PERCENTILES.map((at) => decoded.getValueAtPercentile(at))).toEqual(a.valuesAtPercentiles(PERCENTILES));
      expect([...Histogram.decode(a.encode()).steps()]).toEqual([...a.steps()]);
      expect([...Histogram.decode(hdr.encodeIntoCompressedBase64(b)).steps()]).toEqual([...a.steps()]);
    }),
  );
});

test('large counts survive the encoding', () => {
  const histogram = new Histogram();
  const first = ours([5_000]).take() as HistogramPart;
  for (let round = 0; round < 40; round++) histogram.addPart({ ...first, counts: Uint32Array.of(0xffff_ffff) });
  expect(hdr.decodeFromCompressedBase64(histogram.encode(), 64).totalCount).toBe(40 * 0xffff_ffff);
  expect(Histogram.decode(histogram.encode()).count).toBe(40 * 0xffff_ffff);
});

test('what shards take out adds up to the whole, however it was split', () => {
  fc.assert(
    fc.property(fc.array(latencies, { minLength: 1, maxLength: 5 }), (shards) => {
      const merged = new Histogram();
      for (const values of shards) {
        const shard = ours(values, true);
        merged.addPart(structuredClone(shard.take() as HistogramPart));
        expect(shard.take()).toBeNull();
      }
      const all = ours(shards.flat());
      expect([...merged.steps()]).toEqual([...all.steps()]);
      const added = new Histogram();
      for (const values of shards) added.add(ours(values));
      expect([...added.steps()]).toEqual([...all.steps()]);
    }),
  );
});

test('values beyond its range count at its ends', () => {
  const histogram = ours([-5, Number.NaN, 0.9, Number.POSITIVE_INFINITY, HISTOGRAM_MAX * 2]);
  expect(histogram.count).toBe(5);
  expect(histogram.min).toBe(0);
  expect(histogram.max).toBe(theirs([HISTOGRAM_MAX]).getValueAtPercentile(100));
});

test('an empty one answers 0, and its text is read', () => {
  const histogram = new Histogram();
  expect(histogram.valuesAtPercentiles([0, 50, 100])).toEqual([0, 0, 0]);
  expect([histogram.count, histogram.min, histogram.max, histogram.mean, histogram.stdDeviation]).toEqual([
    0, 0, 0, 0, 0,
  ]);
  expect(Histogram.decode('').count).toBe(0);
  expect(() => Histogram.decode('bm90IG91cnMgYXQgYWxs')).toThrow('no encoded histogram');
});
