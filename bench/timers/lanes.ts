/**
 * A candidate: timers of one length, set one after the other, come in order by themselves, so they are not sorted at all. They go
 * into a *lane*, a ring that is only ever appended to, where setting and cancelling move nothing and touch one slot. A node knows
 * its slot, so cancelling leaves a hole; holes at either end go at once, holes between when the ring is full and they are most
 * of it. A few lanes do for a few lengths; a deadline that fits behind none goes into a heap.
 *
 *   deadlines  |      4.1  4.1  4.3  4.7  5.0  5.0      |      ascending from the head
 *   nodes      |       A    -    C    -    -    F       |      -: cancelled
 *                     head                      last
 */

import type { TimerSet } from './candidate.ts';

const LANES = 8;
/** In `LaneNode.lane`: the heap. */
const HEAP = LANES;
const CAPACITY_FIRST = 64;

/** A node of what takes the deadlines that fit behind no lane. */
export interface OverflowNode {
  readonly owner: LaneNode;
  readonly index: number;
}

export class LaneNode {
  /** Slot in the lane; -1 when it is in none. */
  index = -1;
  lane = HEAP;
  /** Its stand-in in the heap. */
  readonly overflow: OverflowNode;

  constructor(createOverflow: (owner: LaneNode) => OverflowNode) {
    this.overflow = createOverflow(this);
  }
}

export class Lanes implements TimerSet<LaneNode> {
  readonly #lanes: readonly Lane[] = Array.from({ length: LANES }, () => new Lane());
  readonly #heap: TimerSet<OverflowNode>;
  /** Of each lane, and of the heap behind them, the nearest deadline: Infinity when empty. */
  readonly #nearest = new Float64Array(LANES + 1).fill(Number.POSITIVE_INFINITY);
  /** Of each lane the latest deadline: -Infinity when empty. */
  readonly #latest = new Float64Array(LANES).fill(Number.NEGATIVE_INFINITY);
  #laned = 0;

  constructor(heap: TimerSet<OverflowNode>) {
    this.#heap = heap;
  }

  get size(): number {
    return this.#laned + this.#heap.size;
  }

  get nearest(): number {
    return this.#nearest[this.#nearestLane()] as number;
  }

  set(node: LaneNode, deadline: number): void {
    if (node.index >= 0 && (this.#lanes[node.lane] as Lane).deadlineOf(node) === deadline) return;
    this.cancel(node);
    if (deadline === Number.POSITIVE_INFINITY) return;
    const place = this.#laneFor(deadline);
    if (place === HEAP) {
      this.#heap.set(node.overflow, deadline);
      this.#nearest[HEAP] = this.#heap.nearest;
      return;
    }
    node.lane = place;
    (this.#lanes[place] as Lane).append(node, deadline);
    this.#latest[place] = deadline;
    if (deadline < (this.#nearest[place] as number)) this.#nearest[place] = deadline;
    this.#laned++;
  }

  cancel(node: LaneNode): void {
    if (node.index < 0) {
      if (node.overflow.index < 0) return;
      this.#heap.cancel(node.overflow);
      this.#nearest[HEAP] = this.#heap.nearest;
      return;
    }
    const lane = this.#lanes[node.lane] as Lane;
    lane.delete(node);
    this.#laned--;
    this.#nearest[node.lane] = lane.nearest;
    this.#latest[node.lane] = lane.latest;
  }

  takeDue(now: number): LaneNode | null {
    const place = this.#nearestLane();
    if ((this.#nearest[place] as number) > now || this.size === 0) return null;
    if (place === HEAP) {
      const node = this.#heap.takeDue(now);
      this.#nearest[HEAP] = this.#heap.nearest;
      return node === null ? null : node.owner;
    }
    const node = (this.#lanes[place] as Lane).first;
    this.cancel(node);
    return node;
  }

  #nearestLane(): number {
    const nearest = this.#nearest;
    let least = 0;
    for (let lane = 1; lane <= HEAP; lane++) {
      if ((nearest[lane] as number) < (nearest[least] as number)) least = lane;
    }
    return least;
  }

  /** The lane whose latest deadline is least far before this one; an empty lane when it is before all of them; else the heap. */
  #laneFor(deadline: number): number {
    const latest = this.#latest;
    let best = HEAP;
    let bestLatest = Number.NEGATIVE_INFINITY;
    for (let lane = 0; lane < LANES; lane++) {
      const candidate = latest[lane] as number;
      if (candidate > deadline || (candidate <= bestLatest && best !== HEAP)) continue;
      best = lane;
      bestLatest = candidate;
    }
    return best;
  }
}

class Lane {
  /** Deadlines beside their nodes: what is compared lies close together, and no object is touched for it. */
  #deadlines = new Float64Array(CAPACITY_FIRST);
  #nodes: (LaneNode | null)[] = emptySlots(CAPACITY_FIRST);
  #mask = CAPACITY_FIRST - 1;
  #head = 0;
  /** Slots from the head to the last, holes included. */
  #used = 0;
  #live = 0;

  /** Infinity when empty. */
  get nearest(): number {
    return this.#used === 0 ? Number.POSITIVE_INFINITY : (this.#deadlines[this.#head] as number);
  }

  /** The latest deadline: what comes next must not be before it. -Infinity when empty. */
  get latest(): number {
    if (this.#used === 0) return Number.NEGATIVE_INFINITY;
    return this.#deadlines[(this.#head + this.#used - 1) & this.#mask] as number;
  }

  get first(): LaneNode {
    return this.#nodes[this.#head] as LaneNode;
  }

  deadlineOf(node: LaneNode): number {
    return this.#deadlines[node.index] as number;
  }

  append(node: LaneNode, deadline: number): void {
    if (this.#used > this.#mask) this.#makeRoom();
    const slot = (this.#head + this.#used) & this.#mask;
    this.#deadlines[slot] = deadline;
    this.#nodes[slot] = node;
    node.index = slot;
    this.#used++;
    this.#live++;
  }

  delete(node: LaneNode): void {
    const nodes = this.#nodes;
    const mask = this.#mask;
    const slot = node.index;
    nodes[slot] = null;
    node.index = -1;
    this.#live--;
    if (this.#live === 0) {
      this.#used = 0;
      return;
    }
    // Neither walk meets the other: a node is left between them.
    if (slot === this.#head) {
      let head = slot;
      do head = (head + 1) & mask;
      while (nodes[head] === null);
      this.#used -= (head - slot) & mask;
      this.#head = head;
    } else {
      while (nodes[(this.#head + this.#used - 1) & mask] === null) this.#used--;
    }
  }

  /** Closes the holes where they are most of the ring, so that this is not to do again soon; else doubles it. */
  #makeRoom(): void {
    if (this.#live > (this.#mask + 1) >> 2) this.#grow();
    const nodes = this.#nodes;
    const deadlines = this.#deadlines;
    const mask = this.#mask;
    const head = this.#head;
    let to = head;
    for (let offset = 0; offset < this.#used; offset++) {
      const from = (head + offset) & mask;
      const node = nodes[from] as LaneNode | null;
      if (node === null) continue;
      if (from !== to) {
        nodes[from] = null;
        nodes[to] = node;
        deadlines[to] = deadlines[from] as number;
        node.index = to;
      }
      to = (to + 1) & mask;
    }
    this.#used = this.#live;
  }

  #grow(): void {
    const capacity = this.#mask + 1;
    const deadlines = new Float64Array(capacity * 2);
    const nodes = emptySlots(capacity * 2);
    for (let offset = 0; offset < this.#used; offset++) {
      const from = (this.#head + offset) & this.#mask;
      const node = this.#nodes[from] as LaneNode | null;
      deadlines[offset] = this.#deadlines[from] as number;
      nodes[offset] = node;
      if (node !== null) node.index = offset;
    }
    this.#deadlines = deadlines;
    this.#nodes = nodes;
    this.#mask = capacity * 2 - 1;
    this.#head = 0;
  }
}

function emptySlots(count: number): (LaneNode | null)[] {
  return new Array<LaneNode | null>(count).fill(null);
}
