/**
 * Deadlines in order: a 4-ary heap, one node per owner. A node set to the latest deadline (the common case: every request gets the
 * same timeout) costs O(1), cancelling O(log n). Does not read a clock and calls nobody: the multi takes what is due.
 *
 * A node in the queue has a number, and the heap is made of numbers: what moves when one is cancelled are entries of small
 * arrays, never fields of other owners' nodes. With 10,000 busy connections those are in no near cache; keeping each node's place
 * in the node cost a request 0.15 us more.
 *
 * Chosen by `npm run bench -- --only timers`, at 1,000, 10,000 and 100,000 timers; CPU ns per timer set and ended, medians of 3 on
 * Node 20 while other work ran on both cores:
 *
 *                         set and cancel        set and fire          mixed
 *   4-ary heap            92    85     139      130   221   676       76   106   274
 *   splay tree (libcurl) 124   159     166       95   136   419      136   174   728
 *   lanes, then heap      46    83     161       79   163   384       96   177   257
 *   timing wheel         221   393  49,203      792   766   937      306   339   364
 *
 * Nearly all timers are cancelled, so those columns count. Lanes (rings of equal timeouts) are better at firing, and at
 * cancelling about the same, for twice the code. A wheel is quick only where deadlines are rounded: it must search for the exact
 * nearest one.
 *
 * Of a transfer's five clocks only the nearest is here (rule 29): each state sets the one node anew. With 100,000 transfers at once
 * that adds 0.63 us to each. A node for each clock would add 0.47: a node that moves is dearer than one that is set and cancelled
 * in order; but it would be five nodes. The bound is 2 us.
 */

import type { Transfer } from './transfer.ts';

const ARITY_SHIFT = 2;
const CAPACITY_FIRST = 64;

/** What a node belongs to. */
export interface TimerOwner {
  /** Whose clock it is: it fails where `onTimer` throws. Absent, or null: no one's. */
  readonly transfer?: Transfer | null;
  /** The node's deadline has passed; it is out of the queue. */
  onTimer(now: number): void;
}

export class TimerNode {
  readonly owner: TimerOwner;
  /** Its number while it is in the queue, else -1. Written by the queue only. */
  index = -1;

  constructor(owner: TimerOwner) {
    this.owner = owner;
  }
}

export class TimerQueue {
  #size = 0;
  // By place in the heap: deadlines, and the numbers of the nodes that have them.
  #deadlines = new Float64Array(CAPACITY_FIRST);
  #numbers = new Int32Array(CAPACITY_FIRST);
  // By number: place in the heap (of a number that is free: the next free one), and the node.
  #places = new Int32Array(CAPACITY_FIRST);
  readonly #nodes: (TimerNode | null)[] = [];
  /** The first free number below `#nodes.length`; -1: none. */
  #free = -1;

  get size(): number {
    return this.#size;
  }

  /** The nearest deadline in milliseconds of the multi's clock; Infinity when there is none. */
  get nearest(): number {
    return this.#size === 0 ? Number.POSITIVE_INFINITY : (this.#deadlines[0] as number);
  }

  /** Puts the node at this deadline, from wherever it was. Infinity takes it out. */
  set(node: TimerNode, deadline: number): void {
    if (deadline === Number.POSITIVE_INFINITY) {
      this.cancel(node);
      return;
    }
    if (node.index < 0) {
      this.#siftUp(this.#size++, this.#enter(node), deadline);
      return;
    }
    const place = this.#places[node.index] as number;
    const before = this.#deadlines[place] as number;
    if (deadline < before) this.#siftUp(place, node.index, deadline);
    else if (deadline > before) this.#siftDown(place, node.index, deadline);
  }

  cancel(node: TimerNode): void {
    const number = node.index;
    if (number < 0) return;
    const place = this.#places[number] as number;
    node.index = -1;
    this.#nodes[number] = null;
    this.#places[number] = this.#free;
    this.#free = number;
    const last = --this.#size;
    if (place === last) return;
    const moved = this.#numbers[last] as number;
    const deadline = this.#deadlines[last] as number;
    const parent = (place - 1) >> ARITY_SHIFT;
    if (place > 0 && deadline < (this.#deadlines[parent] as number)) this.#siftUp(place, moved, deadline);
    else this.#siftDown(place, moved, deadline);
  }

  /** Takes the nearest node out if it is due. */
  takeDue(now: number): TimerNode | null {
    if (this.#size === 0 || (this.#deadlines[0] as number) > now) return null;
    const node = this.#nodes[this.#numbers[0] as number] as TimerNode;
    this.cancel(node);
    return node;
  }

  /** Gives the node a number. */
  #enter(node: TimerNode): number {
    let number = this.#free;
    if (number >= 0) {
      this.#free = this.#places[number] as number;
      this.#nodes[number] = node;
    } else {
      number = this.#nodes.push(node) - 1;
      if (number === this.#deadlines.length) this.#grow();
    }
    node.index = number;
    return number;
  }

  #grow(): void {
    const capacity = this.#deadlines.length * 2;
    const deadlines = new Float64Array(capacity);
    const numbers = new Int32Array(capacity);
    const places = new Int32Array(capacity);
    deadlines.set(this.#deadlines);
    numbers.set(this.#numbers);
    places.set(this.#places);
    this.#deadlines = deadlines;
    this.#numbers = numbers;
    this.#places = places;
  }

  #siftUp(from: number, number: number, deadline: number): void {
    const deadlines = this.#deadlines;
    const numbers = this.#numbers;
    const places = this.#places;
    let place = from;
    while (place > 0) {
      const parent = (place - 1) >> ARITY_SHIFT;
      const parentDeadline = deadlines[parent] as number;
      if (parentDeadline <= deadline) break;
      const parentNumber = numbers[parent] as number;
      deadlines[place] = parentDeadline;
      numbers[place] = parentNumber;
      places[parentNumber] = place;
      place = parent;
    }
    deadlines[place] = deadline;
    numbers[place] = number;
    places[number] = place;
  }

  #siftDown(from: number, number: number, deadline: number): void {
    const deadlines = this.#deadlines;
    const numbers = this.#numbers;
    const places = this.#places;
    const size = this.#size;
    let place = from;
    for (;;) {
      const first = (place << ARITY_SHIFT) + 1;
      if (first >= size) break;
      let least = first;
      let leastDeadline = deadlines[first] as number;
      const end = Math.min(first + (1 << ARITY_SHIFT), size);
      for (let child = first + 1; child < end; child++) {
        const childDeadline = deadlines[child] as number;
        if (childDeadline < leastDeadline) {
          least = child;
          leastDeadline = childDeadline;
        }
      }
      if (leastDeadline >= deadline) break;
      const childNumber = numbers[least] as number;
      deadlines[place] = leastDeadline;
      numbers[place] = childNumber;
      places[childNumber] = place;
      place = least;
    }
    deadlines[place] = deadline;
    numbers[place] = number;
    places[number] = place;
  }
}
