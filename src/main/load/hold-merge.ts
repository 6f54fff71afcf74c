/** Puts together what the processes of a hold tell: seconds while it goes on, sums and maxima at its end. */

import { Histogram } from '../../protocol/load/histogram.ts';
import type {
  FromHoldProcess,
  HoldCounts,
  HoldMemory,
  HoldPhase,
  HoldSecond,
  HoldTick,
} from '../../protocol/load/hold.ts';

type Done = Extract<FromHoldProcess, { kind: 'done' }>;
type Opened = Extract<FromHoldProcess, { kind: 'opened' }>;

const US_PER_MS = 1_000;
const MS_PER_SECOND = 1_000;
/** What is left of a second at the end of a phase counts as one from here on. */
const REST_MS_MIN = 300;

const NOTHING: HoldCounts = {
  connecting: 0,
  idle: 0,
  active: 0,
  opened: 0,
  reopened: 0,
  failed: 0,
  retried: 0,
  lost: 0,
  closed: 0,
  started: 0,
  completed: 0,
  requestsFailed: 0,
  notStarted: 0,
  actions: 0,
  actionsMs: 0,
};

export class HoldMerger {
  seconds: HoldSecond[] = [];
  readonly latency = new Histogram();
  readonly actionNs = new Histogram();
  /** By process; missing: not yet. */
  readonly ticks: HoldTick[] = [];
  readonly opened: Opened[] = [];
  readonly done: Done[] = [];
  readonly #processes: number;
  readonly #onSecond: (second: HoldSecond, phase: HoldPhase) => void;
  readonly #latencyOfSecond = new Histogram();
  #before: HoldCounts = NOTHING;
  #phase: HoldPhase = 'opening';
  /** Of the phase, when the second began that is not complete. */
  #cutMs = 0;

  constructor(processes: number, onSecond: (second: HoldSecond, phase: HoldPhase) => void) {
    this.#processes = processes;
    this.#onSecond = onSecond;
  }

  add(message: FromHoldProcess, process: number): void {
    switch (message.kind) {
      case 'ready':
        return;
      case 'tick':
        this.ticks[process] = message;
        if (message.latency !== null) {
          this.latency.addPart(message.latency);
          this.#latencyOfSecond.addPart(message.latency);
        }
        // What it took to open them is not what an action costs among them.
        if (message.actionNs !== null && message.phase === 'holding') this.actionNs.addPart(message.actionNs);
        this.#cutWhole();
        return;
      case 'opened':
        this.opened[process] = message;
        return;
      case 'done':
        this.done[process] = message;
        return;
    }
    message satisfies never;
  }

  /** All are open: from here on seconds and actions are counted anew, in the processes too. */
  hold(): void {
    this.#endOpening();
    this.#phase = 'holding';
    this.#cutMs = 0;
    this.#before = { ...this.counts, actions: 0, actionsMs: 0 };
  }

  /** All have told their last. */
  end(): void {
    if (this.#phase === 'opening') this.#endOpening();
    else if (!this.#cutRest(REST_MS_MIN)) this.#addRest();
  }

  get counts(): HoldCounts {
    const sums: Record<string, number> = { ...NOTHING };
    for (const tick of this.ticks) {
      if (tick === undefined) continue;
      for (const [name, value] of Object.entries(tick.counts)) sums[name] = (sums[name] as number) + value;
    }
    return sums as unknown as HoldCounts;
  }

  /** How far each process is in this phase; what one of the last phase's has told is nothing in this one. */
  get #told(): number[] {
    return Array.from({ length: this.#processes }, (_, process) => {
      const tick = this.ticks[process];
      return tick?.phase === this.#phase ? tick.elapsedMs : 0;
    });
  }

  /** Up to the last whole second that all processes have told. */
  #cutWhole(): void {
    const toldMs = Math.min(...this.#told);
    if (secondOf(toldMs) > secondOf(this.#cutMs)) this.#cut(secondOf(toldMs) * MS_PER_SECOND);
  }

  /** False: too little is left for a second of its own. */
  #cutRest(leastMs: number): boolean {
    const toldMs = Math.max(...this.#told);
    if (toldMs - this.#cutMs <= leastMs) return false;
    this.#cut(toldMs);
    return true;
  }

  /** What is left belongs to the last second of holding: seconds add up to the whole. */
  #addRest(): void {
    const last = this.seconds.at(-1);
    if (last === undefined || last.t < 0) return;
    const restMs = Math.max(0, Math.max(...this.#told) - this.#cutMs);
    const { counts } = this;
    const before = this.#before;
    this.seconds[this.seconds.length - 1] = {
      ...last,
      lengthMs: last.lengthMs + restMs,
      opened: counts.opened,
      failed: counts.failed,
      lost: counts.lost,
      completed: last.completed + counts.completed - before.completed,
      requestsFailed: last.requestsFailed + counts.requestsFailed - before.requestsFailed,
    };
  }

  /** Only now is it known how long before the end each second of opening was. */
  #endOpening(): void {
    // One second at least is told, however quick it was.
    this.#cutRest(this.seconds.length === 0 ? 0 : REST_MS_MIN);
    const end = (this.seconds.at(-1)?.t ?? -1) + 1;
    this.seconds = this.seconds.map((second) => ({ ...second, t: second.t - end }));
  }

  /** What happened since the last cut is a second. */
  #cut(untilMs: number): void {
    const t = secondOf(this.#cutMs);
    const lengthMs = untilMs - this.#cutMs;
    this.#cutMs = untilMs;
    const counts = this.counts;
    const before = this.#before;
    this.#before = counts;
    const actions = counts.actions - before.actions;
    const [p50Us = 0, p99Us = 0] = this.#latencyOfSecond.valuesAtPercentiles([50, 99]);
    this.#latencyOfSecond.clear();
    const known = this.ticks.filter((tick) => tick !== undefined);
    const second: HoldSecond = {
      t,
      lengthMs,
      connecting: counts.connecting,
      idle: counts.idle,
      active: counts.active,
      opened: counts.opened,
      failed: counts.failed,
      lost: counts.lost,
      completed: counts.completed - before.completed,
      requestsFailed: counts.requestsFailed - before.requestsFailed,
      p50Us,
      p99Us,
      actionUs: actions > 0 ? ((counts.actionsMs - before.actionsMs) * US_PER_MS) / actions : 0,
      residentBytes: known.reduce((sum, { residentBytes }) => sum + residentBytes, 0),
      heapBytes: known.reduce((sum, { heapBytes }) => sum + heapBytes, 0),
    };
    this.seconds.push(second);
    this.#onSecond(second, this.#phase);
  }

  get memory(): HoldMemory | null {
    const known = this.opened.flatMap(({ memory }) => (memory === null ? [] : [memory]));
    if (known.length === 0) return null;
    const mean = (of: (memory: HoldMemory) => number) =>
      known.reduce((sum, memory) => sum + of(memory), 0) / known.length;
    return { heapBytes: mean(({ heapBytes }) => heapBytes), residentBytes: mean(({ residentBytes }) => residentBytes) };
  }

  get errorExamples(): Record<string, string> {
    return Object.assign({}, ...this.done.map(({ errorExamples }) => errorExamples)) as Record<string, string>;
  }
}

function secondOf(ms: number): number {
  return Math.floor(ms / MS_PER_SECOND);
}

export function sumRecords(records: readonly Readonly<Record<string, number>>[]): Record<string, number> {
  const sums: Record<string, number> = {};
  for (const record of records) {
    for (const [name, value] of Object.entries(record)) sums[name] = (sums[name] ?? 0) + value;
  }
  return Object.fromEntries(Object.entries(sums).sort(([a], [b]) => a.localeCompare(b, 'en', { numeric: true })));
}
