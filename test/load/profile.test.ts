/** When arrivals are due, and what the value of a profile is at a moment. */

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type LoadSegment, shareOf } from '../../src/protocol/load/plan.ts';
import { ArrivalSchedule, arrivalsBetween, isConstant, valueAt } from '../../src/protocol/load/profile.ts';
import { rotationOf } from '../../src/worker/load/request-source.ts';

function constant(rate: number, ms: number): LoadSegment[] {
  return [{ fromMs: 0, untilMs: ms, from: rate, to: rate }];
}

function takeAll(schedule: ArrivalSchedule): number[] {
  const dues: number[] = [];
  while (schedule.nextMs !== Number.POSITIVE_INFINITY) dues.push(schedule.take());
  return dues;
}

const segments = fc
  .array(fc.record({ ms: fc.integer({ min: 1, max: 3_000 }), to: fc.integer({ min: 0, max: 200 }) }), {
    minLength: 1,
    maxLength: 5,
  })
  .map((stages): LoadSegment[] => {
    let at = 0;
    let from = 0;
    return stages.map(({ ms, to }) => {
      const segment = { fromMs: at, untilMs: at + ms, from, to };
      at += ms;
      from = to;
      return segment;
    });
  });

describe('arrivals', () => {
  test('a constant rate is evenly spaced, from 0 on, the end left out', () => {
    expect(takeAll(new ArrivalSchedule(constant(4, 1_000), 0, 1))).toEqual([0, 250, 500, 750]);
    expect(takeAll(new ArrivalSchedule(constant(1_000, 10_000), 0, 1))).toHaveLength(10_000);
  });

  test('shards take turns', () => {
    expect(takeAll(new ArrivalSchedule(constant(4, 1_000), 0, 2))).toEqual([0, 500]);
    expect(takeAll(new ArrivalSchedule(constant(4, 1_000), 1, 2))).toEqual([250, 750]);
  });

  test('a ramp from 0 is as dense as its rate', () => {
    // 10 per second after 1 s: 5 arrivals, when t²·5 is whole.
    const dues = takeAll(new ArrivalSchedule([{ fromMs: 0, untilMs: 1_000, from: 0, to: 10 }], 0, 1));
    expect(dues.map((ms) => Math.round(ms))).toEqual([0, 447, 632, 775, 894]);
  });

  test('every moment has as many behind it as the area says, whatever the profile and the shards', () => {
    fc.assert(
      fc.property(segments, fc.integer({ min: 1, max: 4 }), (profile, shards) => {
        const dues = Array.from({ length: shards }, (_, shard) => takeAll(new ArrivalSchedule(profile, shard, shards)))
          .flat()
          .sort((a, b) => a - b);
        const end = profile.at(-1)?.untilMs ?? 0;
        expect(Math.abs(dues.length - arrivalsBetween(profile, 0, end))).toBeLessThanOrEqual(1);
        for (const [number, due] of dues.entries()) {
          expect(arrivalsBetween(profile, 0, due)).toBeCloseTo(number, 3);
        }
      }),
      { numRuns: 60 },
    );
  });
});

test('the value goes straight from one end of a segment to the other', () => {
  const profile = [
    { fromMs: 0, untilMs: 100, from: 0, to: 10 },
    { fromMs: 100, untilMs: 200, from: 10, to: 4 },
  ];
  expect([-1, 0, 50, 100, 150, 200, 500].map((ms) => valueAt(profile, ms))).toEqual([0, 0, 5, 10, 7, 4, 4]);
  expect(isConstant(profile)).toBe(false);
  expect(isConstant(constant(5, 10))).toBe(true);
});

test('shares add up and differ by one at most', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 10_000 }), fc.integer({ min: 1, max: 64 }), (total, shards) => {
      const shares = Array.from({ length: shards }, (_, shard) => shareOf(total, shard, shards));
      expect(shares.reduce((sum, share) => sum + share, 0)).toBe(total);
      expect(Math.max(...shares) - Math.min(...shares)).toBeLessThanOrEqual(1);
    }),
  );
});

test('weights make a rotation that is spread evenly', () => {
  expect([...rotationOf([1])]).toEqual([0]);
  expect([...rotationOf([2, 2])]).toEqual([0, 1]);
  expect([...rotationOf([5, 1, 1])]).toEqual([0, 0, 1, 0, 2, 0, 0]);
});
