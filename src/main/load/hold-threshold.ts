/** Sentences such as `lost>0` and `p99>250ms`, and whether they are true of a result. Those of a load run are `threshold.ts`'s. */

import { invalidArgument } from '../../protocol/errors.ts';
import type { HoldResult } from '../../protocol/load/hold.ts';
import type { LoadThresholdResult } from '../../protocol/load/result.ts';

type Measured = Omit<HoldResult, 'thresholds' | 'verdict'>;
type Unit = 'count' | 'time' | 'bytes';

/** Times in microseconds. null: not measured. */
const METRICS: Readonly<Record<string, readonly [unit: Unit, of: (result: Measured) => number | null]>> = {
  lost: ['count', ({ connections }) => connections.lost],
  closed: ['count', ({ connections }) => connections.closed],
  failed: ['count', ({ connections }) => connections.failed],
  held: ['count', ({ connections }) => connections.held],
  errors: ['count', ({ requests }) => requests.failed],
  notStarted: ['count', ({ requests }) => requests.notStarted],
  rate: ['count', ({ requests }) => requests.rate],
  action: ['time', ({ action }) => (action.count === 0 ? null : action.meanUs)],
  p50: ['time', ({ latency }) => (latency.count === 0 ? null : (latency.percentilesUs['50'] ?? null))],
  p99: ['time', ({ latency }) => (latency.count === 0 ? null : (latency.percentilesUs['99'] ?? null))],
  max: ['time', ({ latency }) => (latency.count === 0 ? null : latency.maxUs)],
  heap: ['bytes', ({ memory }) => memory?.heapBytes ?? null],
  resident: ['bytes', ({ memory }) => memory?.residentBytes ?? null],
};

const SCALES: Readonly<Record<Unit, Readonly<Record<string, number>>>> = {
  count: { '': 1, k: 1e3, m: 1e6 },
  time: { us: 1, '': 1e3, ms: 1e3, s: 1e6 },
  bytes: { '': 1, b: 1, k: 1e3, kb: 1e3, kib: 1024, m: 1e6, mb: 1e6 },
};

const OPERATORS: Readonly<Record<string, (actual: number, limit: number) => boolean>> = {
  '>': (actual, limit) => actual > limit,
  '>=': (actual, limit) => actual >= limit,
  '<': (actual, limit) => actual < limit,
  '<=': (actual, limit) => actual <= limit,
  '==': (actual, limit) => actual === limit,
};

export interface HoldThreshold {
  readonly text: string;
  readonly metric: string;
  readonly operator: string;
  readonly limit: number;
}

/** Throws TransferError INVALID_ARGUMENT. */
export function parseHoldThreshold(text: string): HoldThreshold {
  const [, metric = '', operator = '', number = '', unit = ''] =
    /^\s*(\w+)\s*(>=|<=|==|>|<)\s*(\d+(?:\.\d+)?)\s*([a-z]*)(?:\/s)?\s*$/i.exec(String(text)) ?? [];
  const [kind] = METRICS[metric] ?? [];
  const scale = kind === undefined ? undefined : SCALES[kind][unit.toLowerCase()];
  if (scale === undefined) {
    throw invalidArgument(
      'thresholds',
      `A threshold is a metric, an operator and a value, such as lost>0 or p99>250ms, not "${text}"; the metrics are ${Object.keys(METRICS).join(', ')}.`,
    );
  }
  return { text: text.trim(), metric, operator, limit: Number(number) * scale };
}

/** What was not measured is crossed: nobody can say that it was kept. */
export function judgeHold({ text, metric, operator, limit }: HoldThreshold, result: Measured): LoadThresholdResult {
  const actual = METRICS[metric]?.[1](result) ?? null;
  const crossed = actual === null || (OPERATORS[operator]?.(actual, limit) ?? true);
  return { text, actual, crossed };
}
