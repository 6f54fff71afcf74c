/**
 * The loads that timer candidates are put under, with lengths as the engine sets them: nearly all are one of a few timeouts,
 * counted from the time it is. Time is simulated: it goes on a little with every timer, so that `count` of them are set at once.
 */

import type { Candidate } from './candidate.ts';

/** How a timer ends: cancelled (nearly all of a client's), fired, or nine of ten the one and the tenth the other. */
export const LOADS = ['set and cancel', 'set and fire', 'mixed'] as const;
export type LoadName = (typeof LOADS)[number];

/** Timers at once. */
export const COUNTS: readonly number[] = [1_000, 10_000, 100_000];

/** What the process of one candidate prints. */
export interface TimerFigures {
  readonly name: string;
  /** CPU nanoseconds per timer. */
  readonly loads: readonly { readonly load: LoadName; readonly count: number; readonly ns: number }[];
  readonly transfer: TransferCost;
}

/** The pool's defaults for head and body, then connect, idle, and one of an application's own. Milliseconds. */
const LENGTHS_MS: readonly number[] = [
  300_000, 300_000, 300_000, 300_000, 300_000, 300_000, 10_000, 10_000, 60_000, 5_000,
];
/** One timer in so many of the mixed load fires, after a length of its own. */
const FIRED_ONE_IN = 10;
/** So far from its place in the order of beginning may a request end. */
const DISORDER = 64;
/** Timers ended in one turn: so often is the nearest asked for. */
const TURN_TIMERS = 64;
/** Simulated time from one timer to the next in the loads in which none fires: 100,000 requests a second. */
const STEP_MS = 0.01;

/** CPU nanoseconds per timer: one `set`, one end, and its share of a turn's questions. */
export function measureLoad<Node>(
  candidate: Candidate<Node>,
  load: LoadName,
  count: number,
  operations: number,
): number {
  const set = candidate.createSet();
  const nodes = Array.from({ length: count }, () => candidate.createNode());
  const random = randomOf(1);
  // Requests end nearly, but not quite, in the order in which they began.
  const order = nearlyInOrder(count, random);
  const lengths = Float64Array.from(
    { length: 65_536 },
    () => LENGTHS_MS[Math.floor(random() * LENGTHS_MS.length)] as number,
  );
  if (load === 'mixed') {
    // Due, at whatever time, before its turn to be cancelled comes.
    for (let index = 0; index < lengths.length; index += FIRED_ONE_IN) lengths[index] = random() * count * STEP_MS;
  }
  let now = 1_000_000;

  const fire = (untilNow: number): number => {
    let fired = 0;
    for (let node = set.takeDue(untilNow); node !== null; node = set.takeDue(untilNow)) {
      set.set(node, untilNow + (lengths[fired++ & 0xffff] as number));
    }
    return fired;
  };

  const run = (timers: number): void => {
    if (load === 'set and fire') {
      // The nearest is asked for and waited for, as a driver does.
      for (let done = 0; done < timers; ) {
        now = Math.max(now, set.nearest) + STEP_MS;
        done += fire(now);
      }
      return;
    }
    let at = 0;
    for (let done = 0; done < timers; done++) {
      const node = nodes[order[at] as number] as Node;
      at = at + 1 === count ? 0 : at + 1;
      now += STEP_MS;
      set.cancel(node);
      set.set(node, now + (lengths[done & 0xffff] as number));
      if (done % TURN_TIMERS !== 0) continue;
      if (set.nearest > now) continue;
      fire(now);
    }
  };

  for (const [index, node] of nodes.entries()) {
    // As if they had been set one after the other for as long as the longest lasts.
    const age = load === 'set and fire' ? random() : 0;
    now += STEP_MS;
    set.set(node, now + (lengths[index & 0xffff] as number) * (1 - age));
  }
  run(Math.min(operations, 100_000));
  const before = process.cpuUsage();
  run(operations);
  const { user, system } = process.cpuUsage(before);
  return ((user + system) * 1000) / operations;
}

/** What timers add to one transfer, CPU microseconds. */
export interface TransferCost {
  /** One node per transfer, at the nearest of its deadlines: what the engine does. */
  readonly oneNodeUs: number;
  /** A node for each of the five. */
  readonly fiveNodesUs: number;
}

const CONNECT_MS = 10_000;
const HEAD_MS = 300_000;
const BODY_MS = 300_001;
const QUEUE_MS = 30_000;
const TOTAL_MS = 600_000;

/**
 * `count` transfers at once go through their phases together: queue, connect, head and body, each with its clock, and a total
 * clock all the while.
 */
export function measureTransfers<Node>(candidate: Candidate<Node>, count: number): TransferCost {
  const phases = [QUEUE_MS, CONNECT_MS, HEAD_MS, BODY_MS];
  const one = (): number => {
    const set = candidate.createSet();
    const nodes = Array.from({ length: count }, () => candidate.createNode());
    const totals = new Float64Array(count);
    let now = 1_000_000;
    const before = process.cpuUsage();
    for (let index = 0; index < count; index++) {
      now += STEP_MS;
      totals[index] = now + TOTAL_MS;
    }
    for (const phaseMs of phases) {
      for (let index = 0; index < count; index++) {
        now += STEP_MS;
        set.set(nodes[index] as Node, Math.min(now + phaseMs, totals[index] as number));
      }
    }
    for (let index = 0; index < count; index++) set.cancel(nodes[index] as Node);
    const { user, system } = process.cpuUsage(before);
    return (user + system) / count;
  };
  const five = (): number => {
    const set = candidate.createSet();
    const createNodes = () => Array.from({ length: count }, () => candidate.createNode());
    const totals = createNodes();
    const clocks = phases.map(createNodes);
    let now = 1_000_000;
    const before = process.cpuUsage();
    for (let index = 0; index < count; index++) {
      now += STEP_MS;
      set.set(totals[index] as Node, now + TOTAL_MS);
    }
    for (const [phase, phaseMs] of phases.entries()) {
      const ending = clocks[phase - 1];
      const beginning = clocks[phase] as Node[];
      for (let index = 0; index < count; index++) {
        now += STEP_MS;
        if (ending !== undefined) set.cancel(ending[index] as Node);
        set.set(beginning[index] as Node, now + phaseMs);
      }
    }
    for (let index = 0; index < count; index++) {
      set.cancel((clocks.at(-1) as Node[])[index] as Node);
      set.cancel(totals[index] as Node);
    }
    const { user, system } = process.cpuUsage(before);
    return (user + system) / count;
  };
  // The first run of each is the compiler's.
  one();
  five();
  return { oneNodeUs: one(), fiveNodesUs: five() };
}

function nearlyInOrder(count: number, random: () => number): Int32Array {
  const order = Int32Array.from({ length: count }, (_, index) => index);
  for (let index = 0; index < count; index++) {
    const other = Math.min(count - 1, index + Math.floor(random() * DISORDER));
    [order[index], order[other]] = [order[other] as number, order[index] as number];
  }
  return order;
}

/** The same numbers in [0, 1) at every run (mulberry32). */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let value = Math.imul(state ^ (state >>> 15), 1 | state);
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value;
    return ((value ^ (value >>> 14)) >>> 0) / 2 ** 32;
  };
}
