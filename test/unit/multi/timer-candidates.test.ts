/** What bench/timers.ts compares must all do the same: each candidate against the plainest model there is, a list that is searched. */

import { describe, expect, test } from 'vitest';
import type { TimerSet } from '../../../bench/timers/candidate.ts';
import { LaneNode, Lanes, type OverflowNode } from '../../../bench/timers/lanes.ts';
import { SplayNode, SplayTree } from '../../../bench/timers/splay-tree.ts';
import { TimingWheel, WheelNode } from '../../../bench/timers/timing-wheel.ts';
import { TimerNode, type TimerOwner, TimerQueue } from '../../../src/worker/multi/timer-queue.ts';
import { randomOf } from '../random.ts';

const NEVER = Number.POSITIVE_INFINITY;

/** Timeouts of a few lengths, of one that outlasts a turn of the wheel's lowest levels, and some of any length. */
function lengthOf(random: (below: number) => number): number {
  const kind = random(10);
  if (kind < 5) return 300;
  if (kind < 7) return 40;
  if (kind === 7) return 70_000;
  return random(4_000) / 7;
}

function agrees<Node>(set: TimerSet<Node>, createNode: () => Node, seed: number): void {
  const random = randomOf(seed);
  const all = Array.from({ length: 300 }, () => ({ node: createNode(), deadline: NEVER }));
  const find = (node: Node | null) => all.find((one) => one.node === node);
  let now = 5_000;
  for (let step = 0; step < 5_000; step++) {
    const one = all[random(all.length)] as (typeof all)[number];
    const what = random(10);
    if (what < 5) {
      one.deadline = now + lengthOf(random);
      set.set(one.node, one.deadline);
    } else if (what < 8) {
      one.deadline = NEVER;
      set.cancel(one.node);
    } else {
      now += random(100) === 0 ? 50_000 : random(60) / 3;
      const due = all.map(({ deadline }) => deadline).filter((deadline) => deadline <= now);
      due.sort((a, b) => a - b);
      for (const deadline of due) {
        const taken = find(set.takeDue(now));
        expect(taken?.deadline).toBe(deadline);
        if (taken !== undefined) taken.deadline = NEVER;
      }
      expect(set.takeDue(now)).toBeNull();
    }
    const nearest = all.reduce((least, { deadline }) => Math.min(least, deadline), NEVER);
    if (set.nearest !== nearest) expect(set.nearest).toBe(nearest);
    const size = all.filter(({ deadline }) => deadline !== NEVER).length;
    if (set.size !== size) expect(set.size).toBe(size);
  }
}

describe.each([1, 2, 3])('candidates agree with a list after every step (seed %i)', (seed) => {
  test('the splay tree', () => {
    agrees(new SplayTree(), () => new SplayNode(), seed);
  });

  test('the timing wheel', () => {
    agrees(new TimingWheel(), () => new WheelNode(), seed);
  });

  test('the lanes', () => {
    const overflow = (owner: LaneNode) => new TimerNode(owner as unknown as TimerOwner) as unknown as OverflowNode;
    const heap = new TimerQueue() as unknown as TimerSet<OverflowNode>;
    agrees(new Lanes(heap), () => new LaneNode(overflow), seed);
  });
});
