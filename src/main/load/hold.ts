/**
 * `hold(options)`: many connections, few of them active, from the checks to the result. The connections live in processes of their
 * own (`worker/load/hold-process.ts`); here they are started, told when all are ready, heard, and put together.
 */

import { readFileSync } from 'node:fs';
import { TransferError } from '../../protocol/errors.ts';
import {
  HOLD_SCHEMA,
  type HoldPhase,
  type HoldPlan,
  type HoldResult,
  type HoldSecond,
} from '../../protocol/load/hold.ts';
import { nativeIo } from '../../worker/io/native-io.ts';
import { distributionOf } from './distribution.ts';
import { environment } from './environment.ts';
import { HoldMerger, sumRecords } from './hold-merge.ts';
import { type HoldOptions, type ResolvedHold, resolveHoldOptions } from './hold-options.ts';
import { acceptOverflows, checkHold, holdLimits } from './hold-preflight.ts';
import { HoldProcesses } from './hold-processes.ts';
import { judgeHold } from './hold-threshold.ts';
import { LoadError } from './load-error.ts';
import { probeTargets } from './preflight.ts';

/** Processes begin so much later than they are told to: the message must have reached all. */
const BEGIN_MS = 20;
const MS_PER_SECOND = 1_000;
const US_PER_MS = 1_000;
const NS_PER_US = 1_000;
/** A process that is busier sees answers late. */
const CPU_MAX = 0.95;

/**
 * Opens connections, holds them and keeps a few of them busy. Rejects with a LoadError before anything is opened when the options
 * make no sense, the target cannot be reached or this machine does not allow what is asked for; what goes wrong later is in the result.
 */
export async function hold(options: HoldOptions): Promise<HoldResult> {
  const resolved = resolve(options);
  const { signal } = options;
  const notes = checkHold(resolved.plan, holdLimits());
  await probe(resolved.plan, signal);
  const run = new HoldRun(resolved, options.onProgress, notes);
  const stop = () => run.stop();
  signal?.addEventListener('abort', stop, { once: true });
  try {
    if (signal?.aborted) run.stop();
    return await run.run();
  } finally {
    signal?.removeEventListener('abort', stop);
  }
}

function resolve(options: HoldOptions): ResolvedHold {
  try {
    return resolveHoldOptions(options);
  } catch (error) {
    if (TransferError.is(error)) throw new LoadError('arguments', error.message, { cause: error });
    throw error;
  }
}

/** Each address is tried: one that refuses would fail a share of all connections. */
async function probe({ load, toAddresses }: HoldPlan, signal: AbortSignal | undefined): Promise<void> {
  if (toAddresses.length === 0) await probeTargets(load, signal);
  for (const host of toAddresses) {
    await probeTargets({ ...load, route: { ...load.route, connectTo: { host } } }, signal);
  }
}

class HoldRun {
  readonly #resolved: ResolvedHold;
  readonly #plan: HoldPlan;
  readonly #onProgress: HoldOptions['onProgress'];
  readonly #notes: readonly string[];
  readonly #merger: HoldMerger;
  readonly #processes: HoldProcesses;
  readonly #startedAt = new Date();
  readonly #overflows = acceptOverflows();
  #openCount = 0;
  #stopped = false;

  constructor(resolved: ResolvedHold, onProgress: HoldOptions['onProgress'], notes: readonly string[]) {
    this.#resolved = resolved;
    this.#plan = resolved.plan;
    this.#onProgress = onProgress;
    this.#notes = notes;
    this.#merger = new HoldMerger(this.#plan.load.shards, (second, phase) => this.#tellSecond(second, phase));
    this.#processes = new HoldProcesses(this.#plan, (message, process) => {
      this.#merger.add(message, process);
      // One that has its plan only now was not there when all were told.
      if (message.kind === 'ready' && this.#stopped) this.#processes.tell({ kind: 'stop' });
      if (message.kind === 'opened') this.#opened();
    });
  }

  async run(): Promise<HoldResult> {
    try {
      await this.#processes.ended;
    } finally {
      await this.#processes.terminate();
    }
    this.#merger.end();
    return this.#result();
  }

  /** What is open is let go; the result is of what was done. */
  stop(): void {
    this.#stopped = true;
    this.#processes.tell({ kind: 'stop' });
  }

  #opened(): void {
    this.#openCount++;
    if (this.#openCount < this.#plan.load.shards || this.#stopped) return;
    this.#merger.hold();
    this.#processes.tell({ kind: 'active', startMs: nativeIo().now() + BEGIN_MS });
  }

  #tellSecond(second: HoldSecond, phase: HoldPhase): void {
    this.#onProgress?.({
      elapsedMs: second.t * MS_PER_SECOND + second.lengthMs,
      phase,
      durationMs: this.#plan.durationMs,
      wanted: this.#plan.load.connectionsMax,
      second,
    });
  }

  #result(): HoldResult {
    const { load, active, rate, durationMs, reconnect, toAddresses } = this.#plan;
    const merger = this.#merger;
    const { counts, done, seconds } = merger;
    const sum = (of: (process: (typeof done)[number]) => number) => done.reduce((total, one) => total + of(one), 0);
    const heldMs = Math.max(0, ...done.map((process) => process.heldMs));
    const open = (second: { idle: number; active: number }) => second.idle + second.active;
    const held = counts.idle + counts.active;
    const holding = seconds.filter(({ t }) => t >= 0);
    const measured = {
      schema: HOLD_SCHEMA,
      version: packageVersion(),
      environment: environment(),
      urls: load.targets.map(({ url }) => url),
      options: {
        connections: load.connectionsMax,
        processes: load.shards,
        active,
        rate,
        connectRate: load.connectRate,
        durationMs,
        timeoutMs: load.timeoutMs,
        reconnect,
        toAddresses,
        localAddresses: load.localAddresses,
      },
      startedAt: this.#startedAt.toISOString(),
      openingMs: Math.max(0, ...merger.opened.map(({ openingMs }) => openingMs)),
      heldMs,
      connections: {
        wanted: load.connectionsMax,
        opened: counts.opened,
        reopened: counts.reopened,
        failed: counts.failed,
        retried: counts.retried,
        lost: counts.lost,
        closed: counts.closed,
        held,
        heldLeast: Math.min(held, ...holding.map(open)),
        peak: Math.max(held, ...seconds.map(open)),
        perLocalAddress: sumRecords(done.map(({ perLocalAddress }) => perLocalAddress)),
        perRemoteAddress: sumRecords(done.map(({ perRemoteAddress }) => perRemoteAddress)),
      },
      requests: {
        started: counts.started,
        completed: counts.completed,
        failed: counts.requestsFailed,
        notStarted: counts.notStarted,
        unfinished: sum(({ unfinished }) => unfinished),
        rate: heldMs > 0 ? (counts.completed * MS_PER_SECOND) / heldMs : 0,
      },
      statuses: sumRecords(done.map(({ statuses }) => Object.fromEntries(statuses))),
      errors: sumRecords(done.map(({ errors }) => errors)),
      errorExamples: merger.errorExamples,
      latency: distributionOf(merger.latency),
      action: this.#action(),
      memory: merger.memory,
      perSecond: seconds,
      processes: done.map(({ health }, process) => ({
        openingMs: merger.opened[process]?.openingMs ?? 0,
        memory: merger.opened[process]?.memory ?? null,
        residentBytes: merger.ticks[process]?.residentBytes ?? 0,
        health,
      })),
      notes: [...this.#notes, ...this.#notesAfter()],
    } satisfies Omit<HoldResult, 'thresholds' | 'verdict'>;
    const thresholds = this.#resolved.thresholds.map((threshold) => judgeHold(threshold, measured));
    const { connections, requests } = measured;
    const isUnanswered = connections.opened === 0 || (requests.completed === 0 && requests.failed > 0);
    const failed = isUnanswered || thresholds.some(({ crossed }) => crossed);
    return { ...measured, thresholds, verdict: this.#stopped ? 'interrupted' : failed ? 'failed' : 'passed' };
  }

  #action(): HoldResult['action'] {
    const { actionNs, counts } = this.#merger;
    const { actions, actionsMs } = counts;
    const [p50 = 0, p99 = 0] = actionNs.valuesAtPercentiles([50, 99]);
    return {
      count: actions,
      meanUs: actions > 0 ? (actionsMs * US_PER_MS) / actions : 0,
      p50Us: p50 / NS_PER_US,
      p99Us: p99 / NS_PER_US,
      maxUs: actionNs.max / NS_PER_US,
    };
  }

  #notesAfter(): string[] {
    const notes: string[] = [];
    const busiest = Math.max(0, ...this.#merger.done.map(({ health }) => health.cpu));
    if (busiest > CPU_MAX) {
      notes.push(
        `A process was busy for ${Math.round(busiest * 100)} % of the time, so latency is partly its own; use more processes (--processes), or fewer active connections.`,
      );
    }
    const overflows = acceptOverflows() - this.#overflows;
    if (overflows > 0) {
      notes.push(
        `Servers on this machine had no room for ${overflows} new connections in their accept queues (ListenOverflows); raise the server's backlog and net.core.somaxconn, or use --connect-rate.`,
      );
    }
    return notes;
  }
}

function packageVersion(): string {
  const file = new URL('../../../package.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}
