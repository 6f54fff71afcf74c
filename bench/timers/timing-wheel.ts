/**
 * A candidate: a hierarchical timing wheel (Varghese and Lauck, 1987) of four levels of 256 slots, a millisecond to the lowest.
 * Setting and cancelling are a link each; a slot of a higher level is dealt out to the lower ones when its time begins.
 *
 * Exact, as the engine's timers must be: within a slot the nearest is looked for, and what is due of the present millisecond is
 * taken in order. That is what a wheel is bad at, and why equal timeouts of one batch, which share a slot, cost it much.
 */

import type { TimerSet } from './candidate.ts';

const LEVELS = 4;
const SLOT_BITS = 8;
const SLOTS = 1 << SLOT_BITS;
const SLOT_MASK = SLOTS - 1;

export class WheelNode {
  deadline = 0;
  /** Which list of `TimingWheel`; -1: none. */
  slot = -1;
  next: WheelNode | null = null;
  previous: WheelNode | null = null;
}

export class TimingWheel implements TimerSet<WheelNode> {
  size = 0;
  readonly #slots: (WheelNode | null)[] = Array.from({ length: LEVELS * SLOTS }, () => null);
  /** How many nodes each level has. */
  readonly #counts = new Int32Array(LEVELS);
  /** The millisecond that the lowest level stands at; nothing in the wheel is before it, but in its own slot. */
  #tick = -1;
  /** The nearest as last found; null: to be looked for. */
  #nearest: WheelNode | null = null;

  get nearest(): number {
    return this.size === 0 ? Number.POSITIVE_INFINITY : this.#findNearest().deadline;
  }

  set(node: WheelNode, deadline: number): void {
    if (node.slot >= 0) {
      if (node.deadline === deadline) return;
      this.cancel(node);
    }
    // An empty wheel may stand anywhere.
    if (this.size === 0) this.#tick = Math.max(this.#tick, 0);
    this.size++;
    node.deadline = deadline;
    this.#put(node);
    if (this.#nearest !== null && deadline < this.#nearest.deadline) this.#nearest = node;
  }

  cancel(node: WheelNode): void {
    if (node.slot < 0) return;
    this.size--;
    this.#unlink(node);
    if (node === this.#nearest) this.#nearest = null;
  }

  takeDue(now: number): WheelNode | null {
    if (this.size === 0) {
      this.#tick = Math.floor(now);
      return null;
    }
    const node = this.#findNearest();
    if (node.deadline > now) {
      this.#advance(Math.floor(now));
      return null;
    }
    this.#advance(Math.floor(node.deadline));
    this.cancel(node);
    return node;
  }

  #put(node: WheelNode): void {
    const tick = Math.max(Math.floor(node.deadline), this.#tick);
    const ahead = tick - this.#tick;
    let level = 0;
    while (level < LEVELS - 1 && ahead >= 2 ** (SLOT_BITS * (level + 1))) level++;
    const slot = level * SLOTS + (Math.floor(tick / 2 ** (SLOT_BITS * level)) & SLOT_MASK);
    const head = this.#slots[slot] as WheelNode | null;
    node.slot = slot;
    node.previous = null;
    node.next = head;
    if (head !== null) head.previous = node;
    this.#slots[slot] = node;
    this.#counts[level] = (this.#counts[level] as number) + 1;
  }

  #unlink(node: WheelNode): void {
    const { slot, next, previous } = node;
    if (previous === null) this.#slots[slot] = next;
    else previous.next = next;
    if (next !== null) next.previous = previous;
    node.slot = -1;
    node.next = null;
    node.previous = null;
    const level = slot >> SLOT_BITS;
    this.#counts[level] = (this.#counts[level] as number) - 1;
  }

  /** Where time goes on to: slots of higher levels that begin on the way are dealt out. The lower ones passed are empty. */
  #advance(tick: number): void {
    if (tick <= this.#tick) return;
    const before = this.#tick;
    this.#tick = tick;
    for (let level = LEVELS - 1; level > 0; level--) {
      const width = 2 ** (SLOT_BITS * level);
      const from = Math.floor(before / width);
      const to = Math.min(Math.floor(tick / width), from + SLOTS);
      if (this.#counts[level] === 0) continue;
      for (let at = from + 1; at <= to; at++) {
        let node = this.#slots[level * SLOTS + (at & SLOT_MASK)] as WheelNode | null;
        while (node !== null) {
          const { next } = node;
          this.#unlink(node);
          this.#put(node);
          node = next;
        }
      }
    }
  }

  #findNearest(): WheelNode {
    if (this.#nearest !== null) return this.#nearest;
    let best: WheelNode | null = null;
    for (let level = 0; level < LEVELS; level++) {
      if (this.#counts[level] === 0) continue;
      const from = Math.floor(this.#tick / 2 ** (SLOT_BITS * level));
      // Of a higher level the present slot was dealt out; what stands in it again is a whole turn ahead, and comes last.
      const first = level === 0 ? 0 : 1;
      for (let offset = first; offset < SLOTS + first; offset++) {
        const head = this.#slots[level * SLOTS + ((from + offset) & SLOT_MASK)] as WheelNode | null;
        if (head === null) continue;
        // What begins later than the best so far holds none that is better.
        if (best !== null && (from + offset) * 2 ** (SLOT_BITS * level) > best.deadline) break;
        for (let node: WheelNode | null = head; node !== null; node = node.next) {
          if (best === null || node.deadline < best.deadline) best = node;
        }
        break;
      }
    }
    this.#nearest = best;
    return best as WheelNode;
  }
}
