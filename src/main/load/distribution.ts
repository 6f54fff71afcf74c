/** A histogram as results show it: figures to read, and all of it for tools. */

import type { Histogram } from '../../protocol/load/histogram.ts';
import { LOAD_PERCENTILES, type LoadDistribution } from '../../protocol/load/result.ts';

export function distributionOf(histogram: Histogram): LoadDistribution {
  const { count } = histogram;
  const values = histogram.valuesAtPercentiles(LOAD_PERCENTILES);
  return {
    count,
    minUs: histogram.min,
    meanUs: Math.round(histogram.mean * 10) / 10,
    stdDevUs: Math.round(histogram.stdDeviation * 10) / 10,
    maxUs: histogram.max,
    percentilesUs: Object.fromEntries(
      LOAD_PERCENTILES.map((percentile, index) => [`${percentile}`, values[index] as number]),
    ),
    histogram: count === 0 ? '' : histogram.encode(),
  };
}
