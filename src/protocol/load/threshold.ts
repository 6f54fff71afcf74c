/**
 * Thresholds: when does a run fail? `METRIC OPERATOR VALUE`, such as `p99>250ms`: the run fails when the sentence is true.
 *
 *     p50 … p99.999, mean, max, min   latency, corrected       with us, ms, s or m; a bare number is milliseconds
 *     raw:p99 …                       latency from the send    the same
 *     firstByte:p99 …                 a phase of it            the same
 *     rate                            completed per second     bare or with /s; k and m are allowed
 *     errors                          failed, or status 400 and above; share of what ended with %, else their number
 *     failed, late, notStarted        share with %, else the number
 *     status:503, status:5xx          share with %, else the number
 *     checks                          of a scenario: share that passed, with %
 *     iterationsFailed                of a scenario: share with %, else the number
 */

import { invalidArgument } from '../errors.ts';
import { describe } from '../options.ts';
import { Histogram } from './histogram.ts';
import {
  LOAD_PHASES,
  type LoadDistribution,
  type LoadPhase,
  type LoadResult,
  type LoadThresholdResult,
} from './result.ts';

type Operator = '>' | '>=' | '<' | '<=' | '==';
type Metric =
  | 'latency'
  | 'rate'
  | 'errors'
  | 'failed'
  | 'late'
  | 'notStarted'
  | 'status'
  | 'checks'
  | 'iterationsFailed';

/** A sentence such as `p99>250ms`, read: a run fails when it is true. */
export interface Threshold {
  readonly text: string;
  readonly metric: Metric;
  /** Of a latency: which; of a status: `503` or `5xx`; else ''. */
  readonly of: string;
  /** Of a latency: '' corrected, 'raw' or a phase. */
  readonly part: string;
  readonly operator: Operator;
  /** Microseconds, requests per second, share from 0 to 1, or a number. */
  readonly value: number;
  readonly share: boolean;
}

const GRAMMAR = /^\s*(?:([a-zA-Z]+):)?([a-zA-Z]*[\d.]*(?:xx)?)\s*(>=|<=|==|>|<)\s*(\d+(?:\.\d+)?)\s*([a-zA-Z%/]*)\s*$/;
const LATENCY = /^(?:p(\d{1,2}(?:\.\d+)?|100)|mean|max|min)$/;
const STATUS = /^(?:[1-5]\d\d|[1-5]xx)$/;
const US_BY_UNIT: Readonly<Record<string, number>> = { us: 1, '': 1_000, ms: 1_000, s: 1_000_000, m: 60_000_000 };
const RATE_BY_UNIT: Readonly<Record<string, number>> = { '': 1, '/s': 1, k: 1e3, 'k/s': 1e3, m: 1e6, 'm/s': 1e6 };
const PERCENT = 100;
const EXAMPLES = "'p99>250ms', 'errors>0.1%', 'rate<5000/s', 'status:5xx>0'";

/** Throws TransferError INVALID_ARGUMENT. */
export function parseThreshold(text: unknown, option = 'thresholds'): Threshold {
  const match = typeof text === 'string' ? GRAMMAR.exec(text) : null;
  if (match === null) throw notUnderstood(option, text);
  const [, prefix = '', name = '', operator, number, unit = ''] = match;
  const common = { text: (text as string).trim(), operator: operator as Operator };
  if (prefix === 'status') {
    if (!STATUS.test(name)) throw notUnderstood(option, text);
    return { ...common, metric: 'status', of: name, part: '', ...amount(option, text, Number(number), unit) };
  }
  if (LATENCY.test(name)) {
    const scale = US_BY_UNIT[unit];
    const known = prefix === '' || prefix === 'raw' || LOAD_PHASES.includes(prefix as LoadPhase);
    if (scale === undefined || !known) throw notUnderstood(option, text);
    return { ...common, metric: 'latency', of: name, part: prefix, value: Number(number) * scale, share: false };
  }
  if (prefix !== '') throw notUnderstood(option, text);
  if (name === 'rate') {
    const scale = RATE_BY_UNIT[unit.toLowerCase()];
    if (scale === undefined) throw notUnderstood(option, text);
    return { ...common, metric: name, of: '', part: '', value: Number(number) * scale, share: false };
  }
  if (name === 'checks' && unit !== '%') throw notUnderstood(option, text);
  if (
    name === 'checks' ||
    name === 'iterationsFailed' ||
    name === 'errors' ||
    name === 'failed' ||
    name === 'late' ||
    name === 'notStarted'
  ) {
    return { ...common, metric: name, of: '', part: '', ...amount(option, text, Number(number), unit) };
  }
  throw notUnderstood(option, text);
}

/** What a run came to. A threshold of which nothing was measured is crossed: a run that says nothing has not passed. */
export function judge(threshold: Threshold, result: LoadResult): LoadThresholdResult {
  const actual = measure(threshold, result);
  return {
    text: threshold.text,
    actual,
    crossed: actual === null || compare(actual, threshold.operator, threshold.value),
  };
}

/** Not one answer, though there was something to do. */
export function isUnanswered({ requests, iterations }: Pick<LoadResult, 'requests' | 'iterations'>): boolean {
  if (requests.completed > 0) return false;
  return requests.started > 0 || (iterations !== null && iterations.failed > 0 && iterations.completed === 0);
}

function measure({ metric, of, part, share }: Threshold, result: LoadResult): number | null {
  const { requests, statuses } = result;
  const ended = requests.completed + requests.failed;
  const due = requests.started + requests.notStarted;
  switch (metric) {
    case 'latency':
      return latencyOf(distributionOf(result, part), of);
    case 'rate':
      return result.durationMs > 0 ? result.rate : null;
    case 'errors':
      return amountOf(errorCount(requests, statuses), ended, share);
    case 'failed':
      return amountOf(requests.failed, ended, share);
    case 'late':
      return amountOf(requests.lateStarts, due, share);
    case 'notStarted':
      return amountOf(requests.notStarted, due, share);
    case 'checks':
      return shareOfChecks(result.checks);
    case 'iterationsFailed': {
      const { failed = 0, completed = 0 } = result.iterations ?? {};
      return amountOf(failed, failed + completed, share);
    }
    case 'status':
      return amountOf(
        countStatuses(statuses, (status) => (of.endsWith('xx') ? `${Math.floor(status / 100)}xx` : `${status}`) === of),
        ended,
        share,
      );
  }
  return metric satisfies never;
}

function distributionOf({ latency }: LoadResult, part: string): LoadDistribution {
  if (part === '') return latency.corrected;
  return part === 'raw' ? latency.raw : latency.phases[part as LoadPhase];
}

function latencyOf(distribution: LoadDistribution, of: string): number | null {
  if (distribution.count === 0) return null;
  if (of === 'mean') return distribution.meanUs;
  if (of === 'max') return distribution.maxUs;
  if (of === 'min') return distribution.minUs;
  return Histogram.decode(distribution.histogram).valueAtPercentile(Number(of.slice(1)));
}

/** Requests that failed, and those answered with status 400 or above. */
export function errorCount({ failed }: { readonly failed: number }, statuses: LoadResult['statuses']): number {
  return failed + countStatuses(statuses, (status) => status >= 400);
}

function countStatuses(statuses: Readonly<Record<string, number>>, counts: (status: number) => boolean): number {
  return Object.entries(statuses).reduce((sum, [status, count]) => sum + (counts(Number(status)) ? count : 0), 0);
}

/** That passed; null: there were none. */
function shareOfChecks(checks: LoadResult['checks']): number | null {
  const passed = checks.reduce((sum, check) => sum + check.passed, 0);
  const failed = checks.reduce((sum, check) => sum + check.failed, 0);
  return amountOf(passed, passed + failed, true);
}

/** null: a share of nothing. */
function amountOf(count: number, total: number, share: boolean): number | null {
  if (!share) return count;
  return total === 0 ? null : count / total;
}

function amount(option: string, text: unknown, value: number, unit: string): { value: number; share: boolean } {
  if (unit === '%') return { value: value / PERCENT, share: true };
  if (unit === '') return { value, share: false };
  throw notUnderstood(option, text);
}

function compare(actual: number, operator: Operator, value: number): boolean {
  switch (operator) {
    case '>':
      return actual > value;
    case '>=':
      return actual >= value;
    case '<':
      return actual < value;
    case '<=':
      return actual <= value;
    case '==':
      return actual === value;
  }
  return operator satisfies never;
}

function notUnderstood(option: string, text: unknown): Error {
  return invalidArgument(option, `The threshold ${describe(text)} is not understood; write one such as ${EXAMPLES}.`);
}
