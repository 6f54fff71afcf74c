/**
 * A run as a HdrHistogram log, version 1.3, which HistogramLogProcessor, HistogramLogAnalyzer and hdr-histogram-js read:
 *
 *     Tag=name,start,length,max,histogram     seconds since the epoch, seconds, milliseconds, base64
 *
 * Values are microseconds. Untagged is the corrected latency: one line per second where the result holds each second's histogram,
 * else one for the whole run. In open loop a line tagged `raw` holds what was measured from when requests were sent, of the whole run.
 */

import type { LoadDistribution, LoadResult } from '../../main/load/index.ts';
import { Histogram } from '../../main/load/index.ts';

const MS_PER_SECOND = 1_000;
const US_PER_MS = 1_000;
const DIGITS = 3;

export function hdrLogOf(result: LoadResult): string {
  const { version, startedAt, durationMs, drainMs, latency, perSecond } = result;
  const startMs = Date.parse(startedAt);
  const wholeMs = durationMs + drainMs;
  const measured = perSecond.filter(({ t }) => t >= 0);
  const lines = [
    `#[Written by shardfetch ${version}; values are microseconds, Interval_Max is milliseconds]`,
    '#[Histogram log format version 1.3]',
    `#[StartTime: ${seconds(startMs)} (seconds since epoch), ${new Date(startMs).toISOString()}]`,
    '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"',
  ];
  if (measured.some(({ histogram }) => histogram !== undefined)) {
    for (const { t, lengthMs, maxUs, histogram } of measured) {
      lines.push(lineOf('', startMs + t * MS_PER_SECOND, lengthMs, maxUs, histogram ?? ''));
    }
  } else {
    lines.push(wholeLine('', startMs, wholeMs, latency.corrected));
  }
  if (latency.from === 'schedule') lines.push(wholeLine('Tag=raw,', startMs, wholeMs, latency.raw));
  return `${lines.join('\n')}\n`;
}

function wholeLine(tag: string, startMs: number, lengthMs: number, { maxUs, histogram }: LoadDistribution): string {
  return lineOf(tag, startMs, lengthMs, maxUs, histogram);
}

/** Tools read no empty field: nothing recorded is an empty histogram. */
function lineOf(tag: string, startMs: number, lengthMs: number, maxUs: number, histogram: string): string {
  const encoded = histogram === '' ? new Histogram().encode() : histogram;
  return `${tag}${seconds(startMs)},${seconds(lengthMs)},${(maxUs / US_PER_MS).toFixed(DIGITS)},${encoded}`;
}

function seconds(ms: number): string {
  return (ms / MS_PER_SECOND).toFixed(DIGITS);
}
