/**
 * `load(options)`: a run from its checks to its result. Splits nothing itself: every shard knows its share of the plan; here they are
 * started at one moment, heard, and put together.
 */

import { readFileSync } from 'node:fs';
import { TransferError } from '../../protocol/errors.ts';
import type { FromLoadShard } from '../../protocol/load/messages.ts';
import { type LoadPlan, profileEndMs } from '../../protocol/load/plan.ts';
import { LOAD_SCHEMA, type LoadGenerator, type LoadProgress, type LoadResult } from '../../protocol/load/result.ts';
import type { ScenarioPlan } from '../../protocol/load/scenario.ts';
import { isUnanswered, judge } from '../../protocol/load/threshold.ts';
import { nativeIo } from '../../worker/io/native-io.ts';
import { findBottleneck, noteConnections } from './bottleneck.ts';
import { environment } from './environment.ts';
import { LoadError } from './load-error.ts';
import { type LoadOptions, type ResolvedLoad, resolveLoadOptions } from './load-options.ts';
import { LoadThreads } from './load-threads.ts';
import { LoadMerger } from './merge.ts';
import { checkMachine, machineLimits, probeTargets } from './preflight.ts';
import { loadScenario } from './scenario.ts';

/** Shards begin so much later than they are told to: the message must have reached all. */
const BEGIN_MS = 20;
const MS_PER_SECOND = 1_000;

/**
 * Puts a server under load and tells how it did. Rejects with a LoadError before anything is sent when the options make no sense, the
 * target cannot be reached or this machine does not allow what is asked for; what goes wrong later is in the result.
 */
export async function load(options: LoadOptions): Promise<LoadResult> {
  if (options?.scenario !== undefined) return loadWithScenario(options);
  const resolved = resolve(options);
  const notes = await check(resolved, options.signal);
  return runLoad(resolved, options, notes);
}

async function loadWithScenario(options: LoadOptions): Promise<LoadResult> {
  const scenario = await loadScenario(options.scenario);
  const resolved = resolve(scenario.complete(options));
  const { plan } = resolved;
  const notes = await check(resolved, options.signal);
  const { url } = plan.scenario as ScenarioPlan;
  const data = await scenario.setup(url);
  const withData = { ...resolved, plan: { ...plan, scenario: { ...(plan.scenario as ScenarioPlan), data } } };
  let result: LoadResult;
  try {
    result = await runLoad(withData, options, notes);
  } catch (error) {
    await scenario.teardown(data, url);
    throw error;
  }
  const failure = await scenario.teardown(data, url);
  return failure === null ? result : { ...result, notes: [...result.notes, failure] };
}

/** Everything that can be known before: what it finds is notes, or a LoadError. */
async function check({ plan }: ResolvedLoad, signal: AbortSignal | undefined): Promise<string[]> {
  const notes = checkMachine(plan, machineLimits());
  await probeTargets(plan, signal);
  return notes;
}

async function runLoad(
  resolved: ResolvedLoad,
  { signal, onProgress }: LoadOptions,
  notes: readonly string[],
): Promise<LoadResult> {
  const run = new LoadRun(resolved, onProgress, notes);
  const stop = () => run.stop();
  signal?.addEventListener('abort', stop, { once: true });
  try {
    return await run.run(signal?.aborted === true);
  } finally {
    signal?.removeEventListener('abort', stop);
  }
}

function resolve(options: LoadOptions): ResolvedLoad {
  try {
    return resolveLoadOptions(options);
  } catch (error) {
    if (TransferError.is(error)) throw new LoadError('arguments', error.message, { cause: error });
    throw error;
  }
}

class LoadRun {
  readonly #resolved: ResolvedLoad;
  readonly #plan: LoadPlan;
  readonly #notes: readonly string[];
  readonly #merger: LoadMerger;
  readonly #threads: LoadThreads;
  #interrupted = false;
  /** What `onProgress` threw, in a box: it may be anything. */
  #thrown: { readonly reason: unknown } | null = null;
  #beganMs = 0;
  #measureFrom = new Date();
  #cpuBefore = process.cpuUsage();

  constructor(resolved: ResolvedLoad, onProgress: LoadOptions['onProgress'], notes: readonly string[]) {
    this.#resolved = resolved;
    this.#plan = resolved.plan;
    this.#notes = notes;
    this.#merger = new LoadMerger(this.#plan, resolved.secondHistograms, (second, phase) => {
      this.#report(onProgress, {
        elapsedMs: performance.now() - this.#beganMs,
        totalMs: resolved.run.durationMs === 0 ? 0 : profileEndMs(this.#plan.profile),
        phase,
        second,
        completed: this.#merger.completed,
        failed: this.#merger.failed,
      });
    });
    this.#threads = new LoadThreads(this.#plan, (message) => this.#hear(message));
  }

  async run(stopped: boolean): Promise<LoadResult> {
    try {
      await this.#threads.allReady();
      const { warmupMs } = this.#plan;
      // All clocks at one moment: telling takes a while, and whoever is told may take the processor.
      const startMs = nativeIo().now() + BEGIN_MS;
      this.#measureFrom = new Date(Date.now() + BEGIN_MS + warmupMs);
      this.#beganMs = performance.now() + BEGIN_MS;
      this.#threads.tell({ kind: 'begin', startMs });
      this.#cpuBefore = process.cpuUsage();
      if (warmupMs > 0) {
        setTimeout(() => {
          this.#cpuBefore = process.cpuUsage();
        }, BEGIN_MS + warmupMs).unref();
      }
      if (stopped) this.stop();
      if (this.#plan.scenario !== null) this.#threads.watchSilence();
      await this.#threads.ended;
    } finally {
      await this.#threads.terminate();
    }
    if (this.#thrown !== null) throw this.#thrown.reason;
    return this.#result();
  }

  /** What is under way is given up; the result is of what was done. */
  stop(): void {
    if (this.#interrupted) return;
    this.#interrupted = true;
    this.#threads.tell({ kind: 'stop' });
  }

  /** What it throws ends the run: who watches it is broken, and nobody would see the rest. */
  #report(onProgress: LoadOptions['onProgress'], progress: LoadProgress): void {
    if (this.#thrown !== null) return;
    try {
      onProgress?.(progress);
    } catch (reason) {
      this.#thrown = { reason };
      this.stop();
    }
  }

  #hear(message: FromLoadShard): void {
    if (message.kind === 'interval') this.#merger.add(message);
    else if (message.kind === 'done') this.#merger.finish(message);
  }

  #result(): LoadResult {
    const { run, thresholds } = this.#resolved;
    const merger = this.#merger;
    const plan = this.#plan;
    const durationMs = Math.max(0, ...merger.done.map(({ measuredMs }) => measuredMs));
    const { requests, phases, connections } = merger;
    const result: LoadResult = {
      schema: LOAD_SCHEMA,
      version: packageVersion(),
      environment: environment(),
      targets: plan.targets.map(({ method, url, tag, weight }) => ({ method, url, tag, weight })),
      options: run,
      startedAt: this.#measureFrom.toISOString(),
      durationMs,
      drainMs: Math.max(0, ...merger.done.map(({ drainMs }) => drainMs)),
      rate: durationMs > 0 ? (merger.completedInTime * MS_PER_SECOND) / durationMs : 0,
      requests,
      statuses: merger.statuses,
      errors: merger.errors,
      errorExamples: merger.errorExamples,
      bytes: { received: merger.bytesReceived, sent: merger.bytesSent },
      latency: {
        from: plan.model === 'open' && plan.scenario === null ? 'schedule' : 'send',
        corrected: merger.corrected,
        raw: merger.raw,
        phases,
      },
      perSecond: merger.seconds,
      perTag: merger.tags,
      iterations: merger.iterations,
      checks: merger.checks,
      connections,
      generator: this.#generator(),
      thresholds: [],
      verdict: 'passed',
      notes: [...this.#notes, ...noteConnections(plan, requests, phases.queue, connections.peak)],
    };
    const judged = thresholds.map((threshold) => judge(threshold, result));
    const failed = judged.some(({ crossed }) => crossed) || isUnanswered(result);
    return { ...result, thresholds: judged, verdict: this.#interrupted ? 'interrupted' : failed ? 'failed' : 'passed' };
  }

  #generator(): LoadGenerator {
    const shards = [...this.#merger.done].sort((a, b) => a.shard - b.shard).map(({ health }) => health);
    const { user, system } = process.cpuUsage(this.#cpuBefore);
    return {
      shards,
      cpuUserUs: user,
      cpuSystemUs: system,
      memoryBytes: process.memoryUsage.rss(),
      bottleneck: findBottleneck(this.#plan, shards, this.#merger.requests, this.#merger.connections.peak),
    };
  }
}

function packageVersion(): string {
  const file = new URL('../../../package.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}
