/** The timer queue against the plainest model there is: a sorted array. */

import { describe, expect, test } from 'vitest';
import { TimerNode, TimerQueue } from '../../../src/worker/multi/timer-queue.ts';
import { randomOf } from '../random.ts';

interface Owned {
  readonly node: TimerNode;
  deadline: number;
}

function owned(): Owned {
  const one: Owned = { node: new TimerNode({ onTimer: () => undefined }), deadline: Number.POSITIVE_INFINITY };
  return one;
}

describe('TimerQueue', () => {
  test('100,000 timers come out in the order of their deadlines', () => {
    const random = randomOf(1);
    const queue = new TimerQueue();
    const all = Array.from({ length: 100_000 }, owned);
    for (const one of all) {
      one.deadline = random(50_000) / 7;
      queue.set(one.node, one.deadline);
    }
    // A third is moved, a third is cancelled.
    for (const [index, one] of all.entries()) {
      if (index % 3 === 0) {
        one.deadline = random(50_000) / 7;
        queue.set(one.node, one.deadline);
      } else if (index % 3 === 1) {
        one.deadline = Number.POSITIVE_INFINITY;
        queue.cancel(one.node);
      }
    }
    const expected = all.filter((one) => one.deadline !== Number.POSITIVE_INFINITY).map((one) => one.deadline);
    expected.sort((a, b) => a - b);
    expect(queue.size).toBe(expected.length);
    const deadlines = new Map(all.map((one) => [one.node, one.deadline]));
    const taken: number[] = [];
    for (let node = queue.takeDue(Number.MAX_VALUE); node !== null; node = queue.takeDue(Number.MAX_VALUE)) {
      if (node.index !== -1) throw new Error(`a timer that was taken is at ${node.index}`);
      taken.push(deadlines.get(node) as number);
    }
    // Not toEqual: of so many it takes seconds.
    expect(taken.length).toBe(expected.length);
    expect(taken.findIndex((deadline, index) => deadline !== expected[index])).toBe(-1);
    expect(queue.size).toBe(0);
    expect(queue.nearest).toBe(Number.POSITIVE_INFINITY);
  });

  test.each([1, 2, 3, 4, 5])('agrees with a sorted array after every one of 20,000 random steps (seed %i)', (seed) => {
    const random = randomOf(seed);
    const queue = new TimerQueue();
    const all = Array.from({ length: 200 }, owned);
    let now = 0;
    for (let step = 0; step < 20_000; step++) {
      const one = all[random(all.length)] as Owned;
      const what = random(10);
      if (what < 6) {
        // Often the same deadline as others, often the same as before, sometimes none.
        one.deadline = what === 0 ? Number.POSITIVE_INFINITY : now + random(40);
        queue.set(one.node, one.deadline);
      } else if (what < 8) {
        one.deadline = Number.POSITIVE_INFINITY;
        queue.cancel(one.node);
      } else {
        now += random(10);
        const due = all.filter((other) => other.deadline <= now).map((other) => other.deadline);
        due.sort((a, b) => a - b);
        for (const deadline of due) {
          const node = queue.takeDue(now);
          const taken = all.find((other) => other.node === node);
          expect(taken?.deadline).toBe(deadline);
          (taken as Owned).deadline = Number.POSITIVE_INFINITY;
        }
        expect(queue.takeDue(now)).toBeNull();
      }
      const set = all.filter((other) => other.deadline !== Number.POSITIVE_INFINITY);
      if (queue.size !== set.length) expect(queue.size).toBe(set.length);
      const nearest = set.reduce((least, other) => Math.min(least, other.deadline), Number.POSITIVE_INFINITY);
      if (queue.nearest !== nearest) expect(queue.nearest).toBe(nearest);
    }
    for (const one of all) expect(one.node.index >= 0).toBe(one.deadline !== Number.POSITIVE_INFINITY);
  });

  test('cancelling what is not set, twice, and setting to the same deadline change nothing', () => {
    const queue = new TimerQueue();
    const one = owned();
    queue.cancel(one.node);
    queue.set(one.node, Number.POSITIVE_INFINITY);
    expect(queue.size).toBe(0);
    queue.set(one.node, 5);
    queue.set(one.node, 5);
    expect([queue.size, queue.nearest]).toEqual([1, 5]);
    expect(queue.takeDue(4.999)).toBeNull();
    expect(queue.takeDue(5)).toBe(one.node);
    queue.cancel(one.node);
    expect(queue.takeDue(5)).toBeNull();
  });
});
