/**
 * Puts together what shards tell: seconds as they are complete, and the whole at the end. Histograms are added, count by count, so
 * percentiles of the whole are those of all requests, never means of shards' percentiles.
 */

import { Histogram, type HistogramPart } from '../../protocol/load/histogram.ts';
import { type LoadInterval, type LoadShardDone, type TagInterval, tagsOf } from '../../protocol/load/messages.ts';
import type { LoadPlan } from '../../protocol/load/plan.ts';
import {
  LOAD_PHASES,
  type LoadCheck,
  type LoadConnections,
  type LoadDistribution,
  type LoadIterations,
  type LoadPhase,
  type LoadRequests,
  type LoadSecond,
  type LoadTagResult,
} from '../../protocol/load/result.ts';
import { OTHER_NAME, SCENARIO_NAMES_MAX } from '../../protocol/load/scenario.ts';
import { distributionOf } from './distribution.ts';
import { ScenarioMerger } from './scenario-merge.ts';

const MS_PER_SECOND = 1_000;

type Counts = Record<string, number>;

/** A second that some shards have told. */
class SecondBuilder {
  readonly second: number;
  readonly #latency = new Histogram();
  readonly #statuses: Counts = {};
  readonly #errors: Counts = {};
  #lengthMs = 0;
  #started = 0;
  #completed = 0;
  #failed = 0;
  #notStarted = 0;
  #bytes = 0;
  readonly #connections: number[] = [];
  readonly #peaks: number[] = [];

  constructor(second: number) {
    this.second = second;
  }

  add(interval: LoadInterval): void {
    this.#started += interval.started;
    this.#failed += interval.failed;
    this.#completed += interval.completed;
    this.#notStarted += interval.notStarted;
    this.#bytes += interval.bytesReceived;
    this.#connections[interval.shard] = interval.connections;
    this.#peaks[interval.shard] = Math.max(this.#peaks[interval.shard] ?? 0, interval.connections, interval.peak);
    if (interval.phase !== 'draining') this.#lengthMs = Math.max(this.#lengthMs, interval.lengthMs);
    for (const [status, count] of interval.statuses) addCount(this.#statuses, `${Math.floor(status / 100)}xx`, count);
    addCounts(this.#errors, interval.errors);
    const part = interval.corrected ?? interval.raw;
    if (part !== null) this.#latency.addPart(part);
  }

  /** The most open at once, where all threads had their most at the same time. */
  get peak(): number {
    return this.#peaks.reduce((sum, count) => sum + (count ?? 0), 0);
  }

  /** `withHistogram`: all of its latencies, 1 to 4 KB of text. */
  build(withHistogram: boolean): LoadSecond {
    const [p50Us, p90Us, p99Us, maxUs] = this.#latency.valuesAtPercentiles([50, 90, 99, 100]);
    return {
      t: this.second,
      lengthMs: this.#lengthMs,
      started: this.#started,
      completed: this.#completed,
      failed: this.#failed,
      notStarted: this.#notStarted,
      p50Us: p50Us as number,
      p90Us: p90Us as number,
      p99Us: p99Us as number,
      maxUs: maxUs as number,
      connections: this.#connections.reduce((sum, count) => sum + (count ?? 0), 0),
      bytes: this.#bytes,
      statuses: this.#statuses,
      errors: this.#errors,
      ...(withHistogram ? { histogram: (maxUs as number) === 0 ? '' : this.#latency.encode() } : {}),
    };
  }
}

export class LoadMerger {
  readonly seconds: LoadSecond[] = [];
  readonly errors: Counts = {};
  readonly errorExamples: Record<string, string> = {};
  readonly statuses: Counts = {};
  readonly done: LoadShardDone[] = [];
  bytesReceived = 0;
  bytesSent = 0;
  /** Within the measured time, without what came while draining. */
  completedInTime = 0;
  readonly #plan: LoadPlan;
  readonly #secondHistograms: boolean;
  readonly #onSecond: (second: LoadSecond, phase: LoadInterval['phase']) => void;
  readonly #corrected = new Histogram();
  readonly #raw = new Histogram();
  readonly #phases = LOAD_PHASES.map(() => new Histogram());
  readonly #tags: TagBuilder[];
  /** Of a scenario, by shard: those that it counts by their names. */
  readonly #tagsTold: Set<string>[] = [];
  readonly #requests = {
    started: 0,
    completed: 0,
    failed: 0,
    lateStarts: 0,
    notStarted: 0,
    repeated: 0,
    redirected: 0,
  };
  readonly #connections = { opened: 0, reused: 0, failed: 0, lost: 0, closed: 0 };
  readonly #perLocalAddress: number[] = [];
  readonly #scenario = new ScenarioMerger();
  /** Seconds that not all shards have told yet, in order. */
  readonly #open = new Map<number, SecondBuilder>();
  /** By shard: it has told all seconds below this one. */
  readonly #told: number[];
  #phase: LoadInterval['phase'] = 'warm-up';
  #peak = 0;

  constructor(
    plan: LoadPlan,
    secondHistograms: boolean,
    onSecond: (second: LoadSecond, phase: LoadInterval['phase']) => void,
  ) {
    this.#plan = plan;
    this.#secondHistograms = secondHistograms;
    this.#onSecond = onSecond;
    this.#tags = plan.scenario === null ? tagsOf(plan).map((tag) => new TagBuilder(tag)) : [];
    this.#told = new Array<number>(plan.shards).fill(Number.NEGATIVE_INFINITY);
  }

  get completed(): number {
    return this.#requests.completed;
  }

  get failed(): number {
    return this.#requests.failed;
  }

  add(interval: LoadInterval): void {
    this.#phase = interval.phase;
    if (interval.phase !== 'warm-up') this.#addToWhole(interval);
    this.#addToSecond(interval);
    this.#buildSeconds();
  }

  finish(done: LoadShardDone): void {
    this.done.push(done);
    this.#told[done.shard] = Number.POSITIVE_INFINITY;
    this.#buildSeconds();
  }

  get requests(): LoadRequests {
    const unfinished = this.done.reduce((sum, shard) => sum + shard.unfinished, 0);
    return { ...this.#requests, unfinished };
  }

  get connections(): LoadConnections {
    const { localAddresses } = this.#plan;
    const names = localAddresses.length === 0 ? [''] : localAddresses;
    const perLocalAddress: Counts = {};
    for (const [index, name] of names.entries()) addCount(perLocalAddress, name, this.#perLocalAddress[index] ?? 0);
    return { ...this.#connections, peak: this.#peak, perLocalAddress };
  }

  get iterations(): LoadIterations | null {
    if (this.#plan.scenario === null) return null;
    const unfinished = this.done.reduce((sum, shard) => sum + (shard.unfinishedIterations ?? 0), 0);
    return this.#scenario.build(unfinished);
  }

  get checks(): LoadCheck[] {
    return this.#scenario.checks;
  }

  get corrected(): LoadDistribution {
    const { model, scenario } = this.#plan;
    return distributionOf(model === 'open' && scenario === null ? this.#corrected : this.#raw);
  }

  get raw(): LoadDistribution {
    return distributionOf(this.#raw);
  }

  get phases(): Record<LoadPhase, LoadDistribution> {
    return Object.fromEntries(
      LOAD_PHASES.map((phase, index) => [phase, distributionOf(this.#phases[index] as Histogram)]),
    ) as Record<LoadPhase, LoadDistribution>;
  }

  get tags(): LoadTagResult[] {
    if (this.#plan.scenario !== null) return this.#scenarioTags().map((tag) => tag.build());
    const [only] = this.#tags;
    if (only === undefined || this.#tags.length > 1) return this.#tags.map((tag) => tag.build());
    const { completed, failed } = this.#requests;
    const { statuses, errors, bytesReceived: bytes, corrected: latency } = this;
    return [{ tag: only.tag, completed, failed, statuses, errors, bytes, latency }];
  }

  #addToWhole(interval: LoadInterval): void {
    const { started, completed, failed, lateStarts, notStarted, repeated, redirected } = interval;
    const requests = this.#requests;
    requests.started += started;
    requests.completed += completed;
    requests.failed += failed;
    requests.lateStarts += lateStarts;
    requests.notStarted += notStarted;
    requests.repeated += repeated;
    requests.redirected += redirected;
    if (interval.phase === 'measuring') this.completedInTime += completed;
    const connections = this.#connections;
    connections.opened += interval.opened;
    connections.reused += interval.reused;
    connections.failed += interval.connectFailed;
    connections.lost += interval.lost;
    connections.closed += interval.closed;
    for (const [index, count] of interval.perLocalAddress.entries()) {
      this.#perLocalAddress[index] = (this.#perLocalAddress[index] ?? 0) + count;
    }
    this.bytesReceived += interval.bytesReceived;
    this.bytesSent += interval.bytesSent;
    for (const [status, count] of interval.statuses) addCount(this.statuses, `${status}`, count);
    addCounts(this.errors, interval.errors);
    for (const [code, example] of Object.entries(interval.errorExamples)) this.errorExamples[code] ??= example;
    addPart(this.#corrected, interval.corrected);
    addPart(this.#raw, interval.raw);
    for (const [index, part] of interval.phases.entries()) addPart(this.#phases[index] as Histogram, part);
    for (const tag of interval.tags) this.#tagOf(interval.shard, tag)?.add(tag);
    if (interval.scenario !== undefined) this.#scenario.add(interval.scenario);
  }

  /** Those of which all requests are in their row; the others, and those beyond SCENARIO_NAMES_MAX, together and last. */
  #scenarioTags(): TagBuilder[] {
    const elsewhere = this.done.map(({ shard, otherTags }) => {
      const told = this.#tagsTold[shard];
      const others = new Set(otherTags);
      return (tag: string) => !told?.has(tag) && (otherTags === null || others.has(tag));
    });
    const isWhole = ({ tag }: TagBuilder) => tag !== OTHER_NAME && !elsewhere.some((counts) => counts(tag));
    const shown = new Set(this.#tags.filter(isWhole).slice(0, SCENARIO_NAMES_MAX));
    const rest = this.#tags.filter((tag) => !shown.has(tag));
    if (rest.length === 0) return [...shown];
    const other = new TagBuilder(OTHER_NAME);
    for (const tag of rest) other.addAll(tag);
    return [...shown, other];
  }

  /** A scenario's tags come up as it runs. */
  #tagOf(shard: number, { tag, name }: TagInterval): TagBuilder | undefined {
    if (name === undefined) return this.#tags[tag];
    this.#tagsTold[shard] = (this.#tagsTold[shard] ?? new Set()).add(name);
    let builder = this.#tags.find((known) => known.tag === name);
    if (builder === undefined) {
      builder = new TagBuilder(name);
      this.#tags.push(builder);
    }
    return builder;
  }

  /** What ended after the run belongs to its last second, unless it took seconds of its own. */
  #addToSecond(interval: LoadInterval): void {
    const { shard, phase, lengthMs } = interval;
    const isTail = phase === 'draining' && lengthMs < MS_PER_SECOND;
    const second = isTail ? (this.#told[shard] as number) : interval.second;
    let builder = this.#open.get(second);
    if (builder === undefined) {
      builder = new SecondBuilder(second);
      this.#open.set(second, builder);
    }
    builder.add(interval);
    // The run's last second stays open for what is answered after it.
    this.#told[shard] = interval.last || phase === 'draining' ? second : second + 1;
  }

  /** A second is complete when every shard has told all of it. */
  #buildSeconds(): void {
    const until = Math.min(...this.#told);
    for (const [second, builder] of [...this.#open].sort(([a], [b]) => a - b)) {
      if (second >= until) return;
      this.#open.delete(second);
      this.#peak = Math.max(this.#peak, builder.peak);
      const built = builder.build(this.#secondHistograms);
      this.seconds.push(built);
      this.#onSecond(built, this.#phase);
    }
  }
}

class TagBuilder {
  readonly tag: string;
  #completed = 0;
  #failed = 0;
  #bytes = 0;
  readonly #statuses: Counts = {};
  readonly #errors: Counts = {};
  readonly #latency = new Histogram();

  constructor(tag: string) {
    this.tag = tag;
  }

  add({ failed, bytes, statuses, errors, latency }: TagInterval): void {
    this.#failed += failed;
    this.#bytes += bytes;
    for (const [status, count] of statuses) {
      this.#completed += count;
      addCount(this.#statuses, `${status}`, count);
    }
    addCounts(this.#errors, errors);
    addPart(this.#latency, latency);
  }

  addAll(other: TagBuilder): void {
    this.#completed += other.#completed;
    this.#failed += other.#failed;
    this.#bytes += other.#bytes;
    addCounts(this.#statuses, other.#statuses);
    addCounts(this.#errors, other.#errors);
    this.#latency.add(other.#latency);
  }

  build(): LoadTagResult {
    return {
      tag: this.tag,
      completed: this.#completed,
      failed: this.#failed,
      statuses: this.#statuses,
      errors: this.#errors,
      bytes: this.#bytes,
      latency: distributionOf(this.#latency),
    };
  }
}

function addPart(histogram: Histogram, part: HistogramPart | null): void {
  if (part !== null) histogram.addPart(part);
}

function addCounts(counts: Counts, added: Readonly<Counts>): void {
  for (const [name, count] of Object.entries(added)) addCount(counts, name, count);
}

function addCount(counts: Counts, name: string, count: number): void {
  counts[name] = (counts[name] ?? 0) + count;
}
