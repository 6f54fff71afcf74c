/** Puts together what the processes of a hold tell: seconds while it goes on, sums and maxima at its end. */

import { Histogram } from '../../protocol/load/histogram.ts';
import type { FromHoldProcess, HoldCounts, HoldMemory, HoldSecond, HoldTick } from '../../protocol/load/hold.ts';

type Done = Extract<FromHoldProcess, { kind: 'done' }>;
type Opened = Extract<FromHoldProcess, { kind: 'opened' }>;

const US_PER_MS = 1_000;

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
  readonly seconds: HoldSecond[] = [];
  readonly latency = new Histogram();
  readonly actionNs = new Histogram();
  /** By process; missing: not yet. */
  readonly ticks: HoldTick[] = [];
  readonly opened: Opened[] = [];
  readonly done: Done[] = [];
  readonly #second = new Histogram();
  #before: HoldCounts = NOTHING;
  #holding = false;

  add(message: FromHoldProcess, process: number): void {
    switch (message.kind) {
      case 'ready':
        return;
      case 'tick':
        this.ticks[process] = message;
        if (message.latency !== null) {
          this.latency.addPart(message.latency);
          this.#second.addPart(message.latency);
        }
        // What it took to open them is not what an action costs among them.
        if (message.actionNs !== null && this.#holding) this.actionNs.addPart(message.actionNs);
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

  /** From here on actions are counted anew, in the processes too. */
  hold(): void {
    this.#holding = true;
    this.#before = { ...this.counts, actions: 0, actionsMs: 0 };
  }

  get counts(): HoldCounts {
    const sums: Record<string, number> = { ...NOTHING };
    for (const tick of this.ticks) {
      if (tick === undefined) continue;
      for (const [name, value] of Object.entries(tick.counts)) sums[name] = (sums[name] as number) + value;
    }
    return sums as unknown as HoldCounts;
  }

  /** What happened since the last cut. */
  cut(t: number): HoldSecond {
    const counts = this.counts;
    const before = this.#before;
    this.#before = counts;
    const actions = counts.actions - before.actions;
    const [p50Us = 0, p99Us = 0] = this.#second.valuesAtPercentiles([50, 99]);
    this.#second.clear();
    const known = this.ticks.filter((tick) => tick !== undefined);
    const second: HoldSecond = {
      t,
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
    return second;
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

export function sumRecords(records: readonly Readonly<Record<string, number>>[]): Record<string, number> {
  const sums: Record<string, number> = {};
  for (const record of records) {
    for (const [name, value] of Object.entries(record)) sums[name] = (sums[name] ?? 0) + value;
  }
  return Object.fromEntries(Object.entries(sums).sort(([a], [b]) => a.localeCompare(b, 'en', { numeric: true })));
}
