/** Sentences such as `lost>0` and `p99>250ms`, and whether they are true of a result. Those of a load run are `threshold.ts`'s. */

import { invalidArgument } from '../../protocol/errors.ts';
import type { HoldResult } from '../../protocol/load/hold.ts';
import type { LoadThresholdResult } from '../../protocol/load/result.ts';
import { errorCount } from '../../protocol/load/threshold.ts';

type Measured = Omit<HoldResult, 'thresholds' | 'verdict'>;
type Unit = 'count' | 'time' | 'bytes';

interface Metric {
  readonly unit: Unit;
  /** Times in microseconds. null: not measured. */
  readonly of: (result: Measured) => number | null;
  /** What a share of it (`%`) is a share of; missing: it has none. */
  readonly total?: (result: Measured) => number;
}

/** Those that a load run has too mean the same; `failed` is of requests there, and of connections here. */
const METRICS: Readonly<Record<string, Metric>> = {
  lost: { unit: 'count', of: ({ connections }) => connections.lost },
  closed: { unit: 'count', of: ({ connections }) => connections.closed },
  failed: { unit: 'count', of: ({ connections }) => connections.failed },
  held: { unit: 'count', of: ({ connections }) => connections.held },
  errors: {
    unit: 'count',
    of: ({ requests, statuses }) => errorCount(requests, statuses),
    total: ({ requests }) => requests.completed + requests.failed,
  },
  notStarted: {
    unit: 'count',
    of: ({ requests }) => requests.notStarted,
    total: ({ requests }) => requests.started + requests.notStarted,
  },
  rate: { unit: 'count', of: ({ requests }) => requests.rate },
  action: { unit: 'time', of: ({ action }) => (action.count === 0 ? null : action.meanUs) },
  p50: { unit: 'time', of: ({ latency }) => (latency.count === 0 ? null : (latency.percentilesUs['50'] ?? null)) },
  p99: { unit: 'time', of: ({ latency }) => (latency.count === 0 ? null : (latency.percentilesUs['99'] ?? null)) },
  max: { unit: 'time', of: ({ latency }) => (latency.count === 0 ? null : latency.maxUs) },
  heap: { unit: 'bytes', of: ({ memory }) => memory?.heapBytes ?? null },
  resident: { unit: 'bytes', of: ({ memory }) => memory?.residentBytes ?? null },
};

const PERCENT = 100;
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
  /** `limit` is a share, from 0 to 1. */
  readonly share: boolean;
}

/** Throws TransferError INVALID_ARGUMENT. */
export function parseHoldThreshold(text: string): HoldThreshold {
  const [, metric = '', operator = '', number = '', unit = ''] =
    /^\s*(\w+)\s*(>=|<=|==|>|<)\s*(\d+(?:\.\d+)?)\s*([a-z]*|%)(?:\/s)?\s*$/i.exec(String(text)) ?? [];
  const { unit: kind, total } = METRICS[metric] ?? {};
  const share = unit === '%' && total !== undefined;
  const scale = share ? 1 / PERCENT : kind === undefined ? undefined : SCALES[kind][unit.toLowerCase()];
  if (scale === undefined) {
    throw invalidArgument(
      'thresholds',
      `A threshold is a metric, an operator and a value, such as lost>0 or p99>250ms, not "${text}"; the metrics are ${Object.keys(METRICS).join(', ')}.`,
    );
  }
  return { text: text.trim(), metric, operator, limit: Number(number) * scale, share };
}

/** What was not measured is crossed: nobody can say that it was kept. */
export function judgeHold(threshold: HoldThreshold, result: Measured): LoadThresholdResult {
  const { text, operator, limit } = threshold;
  const actual = measure(threshold, result);
  const crossed = actual === null || (OPERATORS[operator]?.(actual, limit) ?? true);
  return { text, actual, crossed };
}

function measure({ metric, share }: HoldThreshold, result: Measured): number | null {
  const { of, total } = METRICS[metric] ?? {};
  const actual = of?.(result) ?? null;
  if (actual === null || !share) return actual;
  const all = total?.(result) ?? 0;
  return all === 0 ? null : actual / all;
}
