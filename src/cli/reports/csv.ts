/**
 * The series of a run as CSV (RFC 4180): one row per second, the warm-up included (its `t` is negative). Columns that a run always has
 * come first, in this order; then one per status class and one per error code that occurred, in the order of their names.
 *
 *     t             seconds from the end of the warm-up to the beginning of this one
 *     time          the same as ISO 8601
 *     length_ms     how much of the second was measured
 *     started, completed, failed, not_started
 *     rate          completed per second
 *     p50_us, p90_us, p99_us, max_us     latency of those that completed in it; empty where none did
 *     connections   open at its end
 *     bytes         received, of bodies
 *     status_2xx …  answers of this class
 *     error_CODE …  failures with this code
 */

import type { LoadResult, LoadSecond } from '../../main/load/index.ts';

const MS_PER_SECOND = 1_000;
const LINE_END = '\r\n';

export function csvOf({ perSecond, startedAt }: LoadResult): string {
  const classes = namesOf(perSecond, ({ statuses }) => statuses);
  const codes = namesOf(perSecond, ({ errors }) => errors);
  const startMs = Date.parse(startedAt);
  const head = [
    ...['t', 'time', 'length_ms', 'started', 'completed', 'failed', 'not_started', 'rate'],
    ...['p50_us', 'p90_us', 'p99_us', 'max_us', 'connections', 'bytes'],
    ...classes.map((name) => `status_${name}`),
    ...codes.map((code) => `error_${code}`),
  ];
  const rows = perSecond.map((second) => {
    const { t, lengthMs, completed, p50Us, p90Us, p99Us, maxUs } = second;
    const latency = completed === 0 ? ['', '', '', ''] : [p50Us, p90Us, p99Us, maxUs];
    return [
      t,
      new Date(startMs + t * MS_PER_SECOND).toISOString(),
      round(lengthMs),
      ...[second.started, completed, second.failed, second.notStarted],
      round(rateOf(second)),
      ...latency,
      ...[second.connections, second.bytes],
      ...classes.map((name) => second.statuses[name] ?? 0),
      ...codes.map((code) => second.errors[code] ?? 0),
    ];
  });
  return [head, ...rows].map((row) => row.map((cell) => cellOf(`${cell}`)).join(',') + LINE_END).join('');
}

/** Completed per second of it; 0 where nothing of it was measured. */
export function rateOf({ completed, lengthMs }: LoadSecond): number {
  return lengthMs > 0 ? (completed * MS_PER_SECOND) / lengthMs : 0;
}

/** Of all seconds, sorted. */
export function namesOf(
  perSecond: readonly LoadSecond[],
  of: (second: LoadSecond) => Readonly<Record<string, number>>,
): string[] {
  return [...new Set(perSecond.flatMap((second) => Object.keys(of(second))))].sort();
}

function cellOf(text: string): string {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}
