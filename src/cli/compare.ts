/**
 * Two results of the load tester: what changed, and is it more than noise? Each run is cut in equal pieces of whole seconds, and the
 * pieces of both are compared by their ranks (`compare-ranks.ts`). That tells whether the runs differ by more than their own seconds
 * do. It cannot tell how much a run differs from itself an hour later: that takes several runs. Prints nothing, reads no file.
 */

import type { LoadResult, LoadSecond } from '../main/load/index.ts';
import { rankSumTest } from './compare-ranks.ts';
import { rateOf } from './reports/csv.ts';

/** Below it a difference is more than noise. There are half a dozen tests: equal runs seem to differ in some figure 1 time in 20. */
export const NOISE_P = 0.01;
/** With fewer in each run no difference at all has a p below `NOISE_P`. */
export const PIECES_MIN = 5;
/** Neighbouring seconds are alike, so many of them are no more evidence than a few: longer runs are cut in longer pieces. */
const PIECES_MAX = 30;
/** The last second of a run may be a short one. */
const WHOLE_MS = 900;

/**
 * better, worse  by more than noise
 * noise          what difference there is may be chance
 * untested       one figure per run: nothing says how much it varies
 * short          too few seconds to tell
 */
export type ChangeVerdict = 'better' | 'worse' | 'noise' | 'untested' | 'short';
export type ChangeUnit = 'rate' | 'us' | 'share';

export interface Change {
  readonly name: string;
  readonly unit: ChangeUnit;
  /** Of the whole run; null: nothing was measured. */
  readonly before: number | null;
  readonly after: number | null;
  /** 0.05: 5 % more; Infinity: from none to some; null where it cannot be said. */
  readonly relative: number | null;
  /** The same for the middle of the pieces, which is what is tested: one bad second moves `relative` and not this. null: untested, short. */
  readonly typical: number | null;
  /** Whether more of it is worse. */
  readonly moreIsWorse: boolean;
  /** How likely chance alone does this; null: untested or short. */
  readonly p: number | null;
  readonly verdict: ChangeVerdict;
}

export interface Comparison {
  readonly changes: readonly Change[];
  /** Why the two may not compare at all. Sentences. */
  readonly warnings: readonly string[];
  /** How many pieces of how many seconds each run was cut in. */
  readonly pieces: readonly [before: Pieces, after: Pieces];
}

interface Pieces {
  readonly count: number;
  readonly seconds: number;
}

interface Metric {
  readonly name: string;
  readonly unit: ChangeUnit;
  readonly moreIsWorse: boolean;
  readonly of: (result: LoadResult) => number | null;
  /** null: nothing in this second. Absent: not measured by the second. */
  readonly ofSecond?: (second: LoadSecond) => number | null;
}

export function compareResults(before: LoadResult, after: LoadResult): Comparison {
  const hasNotStarted = before.requests.notStarted + after.requests.notStarted > 0;
  const metrics = METRICS.filter(({ name }) => name !== 'not started' || hasNotStarted);
  return {
    changes: metrics.map((metric) => changeOf(metric, before, after)),
    warnings: warningsOf(before, after),
    pieces: [piecesOf(before), piecesOf(after)],
  };
}

/** Changes that make a run fail: worse by more than `share`, and by more than noise where the runs are long enough to tell. */
export function failuresOf({ changes }: Comparison, share: number): Change[] {
  return changes.filter(({ relative, typical, moreIsWorse, verdict }) => {
    const change = verdict === 'worse' ? typical : verdict === 'short' ? relative : null;
    return change !== null && (moreIsWorse ? change : -change) > share;
  });
}

// ── What is compared ───────────────────────────────────────────────────────────────────────────────────────────────────

const METRICS: readonly Metric[] = [
  { name: 'rate', unit: 'rate', moreIsWorse: false, of: ({ rate }) => rate, ofSecond: rateOf },
  latency('50', ({ p50Us }) => p50Us),
  latency('90', ({ p90Us }) => p90Us),
  latency('99', ({ p99Us }) => p99Us),
  latency('99.9'),
  {
    name: 'max',
    unit: 'us',
    moreIsWorse: true,
    of: ({ latency: { corrected } }) => (corrected.count === 0 ? null : corrected.maxUs),
    ofSecond: ({ completed, maxUs }) => (completed === 0 ? null : maxUs),
  },
  {
    name: 'errors',
    unit: 'share',
    moreIsWorse: true,
    of: ({ requests: { completed, failed }, statuses }) => share(failed + badAnswers(statuses), completed + failed),
    ofSecond: ({ completed, failed, statuses }) => share(failed + badAnswers(statuses), completed + failed),
  },
  {
    name: 'not started',
    unit: 'share',
    moreIsWorse: true,
    of: ({ requests: { started, notStarted } }) => share(notStarted, started + notStarted),
    ofSecond: ({ started, notStarted }) => share(notStarted, started + notStarted),
  },
  {
    name: 'CPU per request',
    unit: 'us',
    moreIsWorse: true,
    of: ({ generator: { cpuUserUs, cpuSystemUs }, requests: { completed } }) =>
      completed === 0 ? null : (cpuUserUs + cpuSystemUs) / completed,
  },
];

function latency(percentile: string, of?: (second: LoadSecond) => number): Metric {
  const metric: Metric = {
    name: `p${percentile}`,
    unit: 'us',
    moreIsWorse: true,
    of: ({ latency: { corrected } }) => (corrected.count === 0 ? null : (corrected.percentilesUs[percentile] ?? null)),
  };
  if (of === undefined) return metric;
  return { ...metric, ofSecond: (second) => (second.completed === 0 ? null : of(second)) };
}

function badAnswers(statuses: Readonly<Record<string, number>>): number {
  return Object.entries(statuses).reduce((sum, [status, count]) => sum + (status >= '4' ? count : 0), 0);
}

function share(part: number, whole: number): number | null {
  return whole === 0 ? null : part / whole;
}

// ── Whether it changed ─────────────────────────────────────────────────────────────────────────────────────────────────

function changeOf(metric: Metric, before: LoadResult, after: LoadResult): Change {
  const { name, unit, moreIsWorse, ofSecond } = metric;
  const values = [metric.of(before), metric.of(after)] as const;
  const relative = relativeOf(...values);
  const common = { name, unit, before: values[0], after: values[1], relative, moreIsWorse };
  if (ofSecond === undefined) return { ...common, p: null, typical: null, verdict: 'untested' };
  const first = samplesOf(before, ofSecond);
  const second = samplesOf(after, ofSecond);
  if (first.length < PIECES_MIN || second.length < PIECES_MIN)
    return { ...common, p: null, typical: null, verdict: 'short' };
  const p = rankSumTest(first, second);
  const [was, is] = [middleOf(first), middleOf(second)];
  const typical = was === is ? relative : relativeOf(was, is);
  if (p >= NOISE_P) return { ...common, p, typical, verdict: 'noise' };
  return { ...common, p, typical, verdict: (typical ?? 0) > 0 === moreIsWorse ? 'worse' : 'better' };
}

function relativeOf(before: number | null, after: number | null): number | null {
  if (before === null || after === null) return null;
  if (before === 0) return after === 0 ? 0 : Number.POSITIVE_INFINITY;
  return after / before - 1;
}

function wholeSeconds({ perSecond }: LoadResult): LoadSecond[] {
  return perSecond.filter(({ t, lengthMs }) => t >= 0 && lengthMs >= WHOLE_MS);
}

function piecesOf(result: LoadResult): Pieces {
  const { length } = wholeSeconds(result);
  const seconds = Math.max(1, Math.ceil(length / PIECES_MAX));
  return { count: Math.floor(length / seconds), seconds };
}

/** The mean of each piece's seconds; pieces in which nothing was measured are left out. */
function samplesOf(result: LoadResult, ofSecond: (second: LoadSecond) => number | null): number[] {
  const { count, seconds } = piecesOf(result);
  const whole = wholeSeconds(result);
  return Array.from({ length: count }, (_, piece) => {
    const values = whole.slice(piece * seconds, (piece + 1) * seconds).flatMap((second) => ofSecond(second) ?? []);
    return values.length === 0 ? [] : [values.reduce((sum, value) => sum + value, 0) / values.length];
  }).flat();
}

function middleOf(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length >> 1;
  const upper = sorted[half] as number;
  return sorted.length % 2 === 1 ? upper : ((sorted[half - 1] as number) + upper) / 2;
}

// ── Whether they compare ───────────────────────────────────────────────────────────────────────────────────────────────

function warningsOf(before: LoadResult, after: LoadResult): string[] {
  const warnings: string[] = [];
  const differing = (name: string, of: (result: LoadResult) => unknown) => {
    const [was, is] = [JSON.stringify(of(before)), JSON.stringify(of(after))];
    if (was !== is) warnings.push(`The runs differ in ${name}: ${was} before, ${is} after.`);
  };
  differing('targets', ({ targets }) => targets.map(({ method, url }) => `${method} ${url}`));
  const optionNames = new Set([...Object.keys(before.options), ...Object.keys(after.options)]);
  for (const name of optionNames)
    differing(name, ({ options }) => {
      // One stage says what duration and rate say.
      if (name === 'stages') return options.stages.length > 1 ? options.stages : null;
      return (options as unknown as Record<string, unknown>)[name] ?? null;
    });
  differing('machine', ({ environment }) => environment?.cpu);
  differing('cores', ({ environment }) => environment?.cores);
  differing('Node', ({ environment }) => environment?.node);
  for (const [when, { generator }] of [
    ['before', before],
    ['after', after],
  ] as const) {
    if (generator.bottleneck !== null) warnings.push(`The run ${when}: ${generator.bottleneck}`);
  }
  return warnings;
}
