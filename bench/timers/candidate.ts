/**
 * What the engine's timers could be kept in: the interface of its TimerQueue, and the four that `bench/timers.ts` compares. All
 * are exact: deadlines are doubles, nothing comes early, what is due comes in the order of its deadlines.
 */

import { LaneNode, Lanes, type OverflowNode } from './lanes.ts';
import { SplayNode, SplayTree } from './splay-tree.ts';
import { TimingWheel, WheelNode } from './timing-wheel.ts';

export interface TimerSet<Node> {
  readonly size: number;
  /** Infinity when there is none. */
  readonly nearest: number;
  set(node: Node, deadline: number): void;
  cancel(node: Node): void;
  takeDue(now: number): Node | null;
}

export interface Candidate<Node> {
  readonly name: string;
  createSet(): TimerSet<Node>;
  createNode(): Node;
}

/** Of `src/worker/multi/timer-queue.ts`, as far as it is used here. */
interface TimerQueueModule {
  readonly TimerQueue: new () => TimerSet<OverflowNode>;
  readonly TimerNode: new (owner: object) => OverflowNode;
}

/** The product's own: the file that the engine uses, which the package does not export. Relative to this file once compiled. */
const TIMER_QUEUE = new URL('../../../dist/worker/multi/timer-queue.js', import.meta.url);

export const SPLAY_TREE: Candidate<SplayNode> = {
  name: 'splay tree',
  createSet: () => new SplayTree(),
  createNode: () => new SplayNode(),
};

export const TIMING_WHEEL: Candidate<WheelNode> = {
  name: 'timing wheel',
  createSet: () => new TimingWheel(),
  createNode: () => new WheelNode(),
};

export async function fourAryHeap(): Promise<Candidate<OverflowNode>> {
  const { TimerQueue, TimerNode } = (await import(TIMER_QUEUE.href)) as TimerQueueModule;
  const owner = { onTimer: () => {} };
  return { name: '4-ary heap (ours)', createSet: () => new TimerQueue(), createNode: () => new TimerNode(owner) };
}

export async function lanes(): Promise<Candidate<LaneNode>> {
  const { TimerQueue, TimerNode } = (await import(TIMER_QUEUE.href)) as TimerQueueModule;
  return {
    name: 'lanes, then heap',
    createSet: () => new Lanes(new TimerQueue()),
    createNode: () => new LaneNode((owner) => new TimerNode(owner)),
  };
}
