/** What the plots of the HTML report show, as columns of numbers: it stands in the page and `html-script.ts` draws it. */

import { Histogram, type LoadDistribution, type LoadResult, type LoadSecond } from '../../main/load/index.ts';
import { percentilePoints } from './buckets.ts';
import { namesOf, rateOf } from './csv.ts';

const MS_PER_SECOND = 1_000;

/** Columns as uPlot takes them; null is a gap. Times are seconds, latencies microseconds. */
export interface PlotData {
  readonly t: readonly number[];
  readonly isOpen: boolean;
  readonly rate: readonly number[];
  /** Requests that were sent, per second; empty in closed loop. */
  readonly started: readonly number[];
  readonly latency: readonly { readonly name: string; readonly us: readonly (number | null)[] }[];
  readonly errors: readonly { readonly name: string; readonly perSecond: readonly number[] }[];
  readonly connections: readonly number[];
  /** `x` is 1 / (1 - share): 10 is p90, 100 is p99. */
  readonly percentiles: readonly {
    readonly name: string;
    readonly x: readonly number[];
    readonly us: readonly number[];
  }[];
}

export function plotData({ perSecond, options, latency }: LoadResult): PlotData {
  const seconds = perSecond.filter(({ lengthMs }) => lengthMs > 0);
  const per = (second: LoadSecond, count: number) => (count * MS_PER_SECOND) / second.lengthMs;
  const latencyOf = (name: string, of: (second: LoadSecond) => number) => ({
    name,
    us: seconds.map((second) => (second.completed === 0 ? null : of(second))),
  });
  const isOpen = options.model === 'open';
  return {
    t: seconds.map(({ t }) => t),
    isOpen,
    rate: seconds.map(rateOf),
    started: isOpen ? seconds.map((second) => per(second, second.started)) : [],
    latency: [
      latencyOf('max', ({ maxUs }) => maxUs),
      latencyOf('p99', ({ p99Us }) => p99Us),
      latencyOf('p90', ({ p90Us }) => p90Us),
      latencyOf('p50', ({ p50Us }) => p50Us),
    ],
    errors: troubleNames(perSecond).map((name) => ({
      name,
      perSecond: seconds.map((second) => per(second, troubleCount(second, name))),
    })),
    connections: seconds.map(({ connections }) => connections),
    percentiles: [
      curve(isOpen ? 'corrected' : 'latency', latency.corrected),
      ...(isOpen ? [curve('raw', latency.raw)] : []),
    ],
  };
}

/** The maximum stands where the next request would have been. */
function curve(name: string, { histogram, count }: LoadDistribution): PlotData['percentiles'][number] {
  const points = percentilePoints(Histogram.decode(histogram));
  return {
    name,
    x: points.map(({ share }) => (share === 1 ? Math.max(count, 1) : 1 / (1 - share))),
    us: points.map(({ us }) => us),
  };
}

/** What went wrong in any second: error codes, status classes from 400 on, and what was not started. */
export function troubleNames(perSecond: readonly LoadSecond[]): string[] {
  const classes = namesOf(perSecond, ({ statuses }) => statuses).filter((name) => name >= '4');
  const notStarted = perSecond.some((second) => second.notStarted > 0) ? ['not started'] : [];
  return [...namesOf(perSecond, ({ errors }) => errors), ...classes, ...notStarted];
}

function troubleCount({ errors, statuses, notStarted }: LoadSecond, name: string): number {
  return name === 'not started' ? notStarted : (errors[name] ?? statuses[name] ?? 0);
}
