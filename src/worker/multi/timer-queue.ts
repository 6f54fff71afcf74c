/**
 * Deadlines in order: a 4-ary heap of nodes, one node per owner, that knows each node's place so that cancelling is
 * O(log n) and a node set to the latest deadline (the common case: every request gets the same timeout) is O(1).
 * Does not read a clock and calls nobody: the multi takes what is due.
 *
 * Chosen by `npm run bench -- --only timers`, at 1,000, 10,000 and 100,000 timers; CPU ns per timer set and ended, medians of 5 on
 * Node 20, other work running:
 *
 *                         set and cancel        set and fire          mixed
 *   4-ary heap            41    48     136      119   180   327       48    85   231
 *   splay tree (libcurl)  85   168     213       96   113   309      140   211   375
 *   lanes, then heap      59    74     155       80   147   343       84   119   232
 *   timing wheel         202   374  14,412      830   773   923      295   334   297
 *
 * Nearly all timers are cancelled: there the heap wins at every size, because most nodes are near its leaves. (A wheel is quick
 * only where deadlines are rounded; it must look for the exact nearest one. Lanes are rings of equal timeouts.)
 *
 * Of a transfer's five clocks only the nearest is here (rule 29): each state sets the one node anew. At 100,000 transfers at once
 * that adds 0.74 us to each; five nodes each would add 0.44, since a node that moves is dearer than one that is set and
 * cancelled in order, but five times the memory. The bound is 2 us.
 */

const ARITY_SHIFT = 2;
const CAPACITY_FIRST = 64;

/** What a node belongs to. */
export interface TimerOwner {
  /** The node's deadline has passed; it is out of the queue. */
  onTimer(now: number): void;
}

export class TimerNode {
  readonly owner: TimerOwner;
  /** Place in the heap; -1 when not in it. Written by the queue only. */
  index = -1;

  constructor(owner: TimerOwner) {
    this.owner = owner;
  }
}

export class TimerQueue {
  /** Deadlines beside their nodes: comparing reads one flat array of doubles and touches no object. */
  #deadlines = new Float64Array(CAPACITY_FIRST);
  readonly #nodes: TimerNode[] = [];

  get size(): number {
    return this.#nodes.length;
  }

  /** The nearest deadline in milliseconds of the multi's clock; Infinity when there is none. */
  get nearest(): number {
    return this.#nodes.length === 0 ? Number.POSITIVE_INFINITY : (this.#deadlines[0] as number);
  }

  /** Puts the node at this deadline, from wherever it was. Infinity takes it out. */
  set(node: TimerNode, deadline: number): void {
    if (deadline === Number.POSITIVE_INFINITY) {
      this.cancel(node);
      return;
    }
    if (node.index < 0) {
      const index = this.#nodes.length;
      if (index === this.#deadlines.length) this.#grow();
      this.#nodes.push(node);
      this.#siftUp(index, node, deadline);
      return;
    }
    const before = this.#deadlines[node.index] as number;
    if (deadline < before) this.#siftUp(node.index, node, deadline);
    else if (deadline > before) this.#siftDown(node.index, node, deadline);
  }

  cancel(node: TimerNode): void {
    const index = node.index;
    if (index < 0) return;
    node.index = -1;
    const last = this.#nodes.length - 1;
    const moved = this.#nodes.pop() as TimerNode;
    if (index === last) return;
    const deadline = this.#deadlines[last] as number;
    const parent = (index - 1) >> ARITY_SHIFT;
    if (index > 0 && deadline < (this.#deadlines[parent] as number)) this.#siftUp(index, moved, deadline);
    else this.#siftDown(index, moved, deadline);
  }

  /** Takes the nearest node out if it is due. */
  takeDue(now: number): TimerNode | null {
    if (this.#nodes.length === 0 || (this.#deadlines[0] as number) > now) return null;
    const node = this.#nodes[0] as TimerNode;
    this.cancel(node);
    return node;
  }

  #grow(): void {
    const wider = new Float64Array(this.#deadlines.length * 2);
    wider.set(this.#deadlines);
    this.#deadlines = wider;
  }

  #siftUp(from: number, node: TimerNode, deadline: number): void {
    const deadlines = this.#deadlines;
    const nodes = this.#nodes;
    let index = from;
    while (index > 0) {
      const parent = (index - 1) >> ARITY_SHIFT;
      const parentDeadline = deadlines[parent] as number;
      if (parentDeadline <= deadline) break;
      const parentNode = nodes[parent] as TimerNode;
      deadlines[index] = parentDeadline;
      nodes[index] = parentNode;
      parentNode.index = index;
      index = parent;
    }
    deadlines[index] = deadline;
    nodes[index] = node;
    node.index = index;
  }

  #siftDown(from: number, node: TimerNode, deadline: number): void {
    const deadlines = this.#deadlines;
    const nodes = this.#nodes;
    const size = nodes.length;
    let index = from;
    for (;;) {
      const first = (index << ARITY_SHIFT) + 1;
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
      const childNode = nodes[least] as TimerNode;
      deadlines[index] = leastDeadline;
      nodes[index] = childNode;
      childNode.index = index;
      index = least;
    }
    deadlines[index] = deadline;
    nodes[index] = node;
    node.index = index;
  }
}
