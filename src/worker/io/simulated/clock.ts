/**
 * Simulated time and what is to happen in it: a heap of actions, the nearest first, those of one instant in the order they
 * were asked for. Time moves only when it is told to.
 */

interface Appointment {
  readonly atMs: number;
  readonly order: number;
  readonly act: () => void;
}

/** Not 0: a monotonic clock is not either. */
const START_MS = 1_000;

export class SimulatedClock {
  nowMs = START_MS;
  readonly #heap: Appointment[] = [];
  #order = 0;

  /** When the next action is due; Infinity: none is. */
  get nextMs(): number {
    return this.#heap[0]?.atMs ?? Number.POSITIVE_INFINITY;
  }

  get size(): number {
    return this.#heap.length;
  }

  after(delayMs: number, act: () => void): void {
    this.at(this.nowMs + delayMs, act);
  }

  at(atMs: number, act: () => void): void {
    const heap = this.#heap;
    const appointment = { atMs, order: this.#order++, act };
    let index = heap.length;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (!isBefore(appointment, heap[parent] as Appointment)) break;
      heap[index] = heap[parent] as Appointment;
      index = parent;
    }
    heap[index] = appointment;
  }

  /** Moves to `toMs`, or stays when that is past, and does all that is due. */
  advance(toMs: number): void {
    while (this.nextMs <= toMs) {
      const { atMs, act } = this.#take();
      if (atMs > this.nowMs) this.nowMs = atMs;
      act();
    }
    if (toMs > this.nowMs) this.nowMs = toMs;
  }

  #take(): Appointment {
    const heap = this.#heap;
    const first = heap[0] as Appointment;
    const last = heap.pop() as Appointment;
    const size = heap.length;
    if (size === 0) return first;
    let index = 0;
    for (;;) {
      let child = index * 2 + 1;
      if (child >= size) break;
      if (child + 1 < size && isBefore(heap[child + 1] as Appointment, heap[child] as Appointment)) child++;
      if (!isBefore(heap[child] as Appointment, last)) break;
      heap[index] = heap[child] as Appointment;
      index = child;
    }
    heap[index] = last;
    return first;
  }
}

function isBefore(one: Appointment, other: Appointment): boolean {
  return one.atMs === other.atMs ? one.order < other.order : one.atMs < other.atMs;
}
