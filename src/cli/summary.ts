/** A run in a screen of text, to be read in ten seconds: what limited it, how much, how fast, what failed. */

import {
  Histogram,
  type LoadDistribution,
  type LoadProgress,
  type LoadResult,
  type LoadThresholdResult,
} from '../main/load/index.ts';
import { inFlags } from './flag-names.ts';
import { bucketsOf } from './reports/buckets.ts';
import { scenarioLines } from './scenario-summary.ts';
import {
  borderText,
  bytesText,
  countedText,
  countText,
  percentText,
  plainText,
  rateText,
  table,
  timeText,
} from './text.ts';

const MS_PER_SECOND = 1_000;
const SHOWN_PERCENTILES = ['50', '90', '99', '99.9'] as const;

/** Longer bars say no more. */
const BAR_CELLS = 40;
const BUCKETS_MAX = 14;

/** `all`: the whole table of latencies. */
export function summaryOf(result: LoadResult, all = false): string {
  const parts = [
    ...(result.generator.bottleneck === null ? [] : [result.generator.bottleneck]),
    verdictOf(result),
    '',
    headline(result),
    '',
    requestsLine(result),
    '',
    all ? latencyTable(result) : latencyRows(result),
    ...histogramLines(result.latency.corrected),
    '',
    ...detailLines(result),
    ...scenarioLines(result),
    ...result.notes.map((note) => `\nNote: ${note}`),
    ...(result.thresholds.length === 0 ? [] : ['', thresholdLines(result.thresholds)]),
  ];
  return parts.join('\n');
}

/** The run in one sentence: how it ended, and the figures that matter most. */
export function verdictOf(result: LoadResult): string {
  const { verdict, requests, rate, latency, statuses, thresholds, durationMs, iterations } = result;
  const { completed, failed, started } = requests;
  const crossed = thresholds.filter((threshold) => threshold.crossed).map(({ text }) => text);
  const p99 = completed === 0 ? '' : `, p99 ${timeText(latency.corrected.percentilesUs['99'] as number)}`;
  const bad = Object.entries(statuses).reduce((sum, [status, count]) => sum + (Number(status) >= 400 ? count : 0), 0);
  const refused = bad > 0 ? `, ${countText(bad)} answered with 400 or above` : '';
  const figures = `${rateText(rate)} requests/s${p99}, ${countText(failed)} failed${refused}${iterationsText(iterations)}`;
  const nothing = completed === 0 && started > 0;
  switch (verdict) {
    case 'interrupted':
      return `Ended early by a signal, after ${(durationMs / MS_PER_SECOND).toFixed(1)} s: ${figures}${crossed.length > 0 ? `; crossed: ${crossed.join(', ')}` : ''}.`;
    case 'failed':
      if (crossed.length > 0) {
        return `FAILED: ${crossed.join(', ')}. ${nothing ? 'Not one request was answered' : figures}.`;
      }
      return nothing
        ? `FAILED: not one of ${countText(started)} requests was answered.`
        : `FAILED: no request was sent, and all ${countText(iterations?.failed ?? 0)} iterations failed.`;
    case 'passed':
      return `${thresholds.length > 0 ? 'Passed' : 'Done'}: ${figures}.`;
  }
  return verdict satisfies never;
}

function iterationsText(iterations: LoadResult['iterations']): string {
  return iterations === null || iterations.failed === 0 ? '' : `, ${countText(iterations.failed)} iterations failed`;
}

/** What was under load, in a few words. */
export function targetText({ targets }: LoadResult): string {
  const [first] = targets;
  if (first?.method === 'SCENARIO') return `Scenario ${first.tag} at ${first.url}`;
  if (targets.length === 1 && first !== undefined) return `${first.method} ${first.url}`;
  const origins = new Set(targets.map(({ url }) => originOf(url)));
  return `${targets.length} targets of ${origins.size === 1 ? [...origins][0] : `${origins.size} origins`}`;
}

/** A scenario's target may be no URL. */
function originOf(url: string): string {
  return URL.canParse(url) ? new URL(url).origin : url;
}

function headline(result: LoadResult): string {
  const { options, durationMs } = result;
  const threads = options.shards === 1 ? '1 thread' : `${options.shards} threads`;
  const sender = result.iterations === null ? 'connection' : 'user';
  const sent = result.iterations === null ? 'requests' : 'iterations';
  const connections = `${countText(options.connections)} ${sender}${options.connections === 1 ? '' : 's'}`;
  const how =
    options.model === 'closed'
      ? `closed loop, ${options.keepAlive ? connections : `${connections}, a new one per request`}`
      : `open loop, ${options.rate === null ? 'a changing rate' : `${rateText(options.rate)} ${sent}/s`}, up to ${connections}`;
  return `${targetText(result)}\n${how}, ${threads}, ${(durationMs / MS_PER_SECOND).toFixed(1)} s`;
}

function requestsLine({ requests, rate, options, iterations }: LoadResult): string {
  const { completed, failed, lateStarts, notStarted, unfinished } = requests;
  const parts = [`${countText(completed)} completed`, `${rateText(rate)}/s`, `${countText(failed)} failed`];
  if (options.model === 'open' && iterations === null)
    parts.push(`${countText(lateStarts)} started late`, `${countText(notStarted)} not started`);
  if (unfinished > 0) parts.push(`${countText(unfinished)} unfinished`);
  return table([['Requests', parts.join('   ')]]);
}

/** Corrected and raw side by side where they can differ. */
function latencyRows({ latency }: LoadResult): string {
  const head = ['Latency', ...SHOWN_PERCENTILES.map((percentile) => `p${percentile}`), 'max', 'mean'];
  const row = (name: string, { percentilesUs, maxUs, meanUs, count }: LoadDistribution) => [
    name,
    ...[...SHOWN_PERCENTILES.map((percentile) => percentilesUs[percentile] as number), maxUs, meanUs].map((us) =>
      count === 0 ? '-' : timeText(us),
    ),
  ];
  if (latency.from === 'send') return table([head, row('', latency.corrected)]);
  return table([head, row('from when it was due', latency.corrected), row('from when it was sent', latency.raw)]);
}

function latencyTable({ latency }: LoadResult): string {
  const columns: (readonly [name: string, distribution: LoadDistribution])[] =
    latency.from === 'send'
      ? [['all', latency.corrected]]
      : [
          ['from due', latency.corrected],
          ['from sent', latency.raw],
        ];
  for (const [phase, distribution] of Object.entries(latency.phases)) {
    if (distribution.maxUs > 0) columns.push([phase, distribution]);
  }
  const rows = Object.keys(latency.corrected.percentilesUs).map((percentile) => [
    `p${percentile}`,
    ...columns.map(([, { percentilesUs }]) => timeText(percentilesUs[percentile] as number)),
  ]);
  const end = (name: string, of: (distribution: LoadDistribution) => number) => [
    name,
    ...columns.map(([, distribution]) => timeText(of(distribution))),
  ];
  return table([
    ['Latency', ...columns.map(([name]) => name)],
    end('min', ({ minUs }) => minUs),
    ...rows,
    end('max', ({ maxUs }) => maxUs),
    end('mean', ({ meanUs }) => meanUs),
  ]);
}

/** Where the requests are: one bar per range of latencies. */
function histogramLines({ histogram, count }: LoadDistribution): string[] {
  if (count === 0) return [];
  const buckets = bucketsOf(Histogram.decode(histogram), BUCKETS_MAX);
  const most = Math.max(...buckets.map((bucket) => bucket.count));
  const rows = buckets.map((bucket) => [
    `up to ${borderText(bucket.toUs)}`,
    countText(bucket.count),
    percentText(bucket.count / count),
  ]);
  const bars = buckets.map((bucket) => '#'.repeat(Math.ceil((bucket.count / most) * BAR_CELLS)));
  return [
    '',
    ...table(rows)
      .split('\n')
      .map((row, index) => `${row}  ${bars[index]}`.trimEnd()),
  ];
}

function detailLines(result: LoadResult): string[] {
  const { statuses, errors, errorExamples, bytes, connections, generator, durationMs, perTag } = result;
  const seconds = durationMs / MS_PER_SECOND;
  const perSecond = seconds > 0 ? `, ${bytesText(Math.round(bytes.received / seconds))}/s` : '';
  const counts = (record: Readonly<Record<string, number>>) =>
    Object.entries(record)
      .map(([name, count]) => `${name}: ${countText(count)}`)
      .join('   ');
  const busiest = Math.max(0, ...generator.shards.map(({ cpu }) => cpu));
  const rows = [
    ['Answers', counts(statuses) || 'none'],
    ['Received', `${bytesText(bytes.received)}${perSecond}`],
    ['Connections', connectionsText(connections)],
    [
      'Generator',
      `${percentText(busiest)} of a core at most per thread, ${bytesText(generator.memoryBytes)} of memory`,
    ],
  ];
  const lines = rows.map(([name = '', text = '']) => `  ${name.padEnd(12)} ${text}`);
  for (const [code, count] of Object.entries(errors)) {
    lines.push(
      `  ${'Failed'.padEnd(12)} ${countText(count)} ${code}: ${plainText(inFlags('load', errorExamples[code] ?? ''))}`.trimEnd(),
    );
  }
  if (perTag.length > 1) {
    lines.push('');
    lines.push(
      table([
        ['By tag', 'completed', 'failed', 'p50', 'p99'],
        ...perTag.map(({ tag, completed, failed, latency }) => [
          plainText(tag),
          countText(completed),
          countText(failed),
          timeText(latency.percentilesUs['50'] as number),
          timeText(latency.percentilesUs['99'] as number),
        ]),
      ]),
    );
  }
  return lines;
}

function connectionsText({ opened, lost, failed, closed, peak }: LoadResult['connections']): string {
  const parts = [`${countText(peak)} at most`, `${countText(opened)} opened`];
  if (closed > 0) parts.push(`${countText(closed)} closed after an answer`);
  if (lost > 0) parts.push(`${countText(lost)} lost`);
  if (failed > 0) parts.push(`${countText(failed)} could not be opened`);
  return parts.join(', ');
}

function thresholdLines(thresholds: readonly LoadThresholdResult[]): string {
  return thresholds
    .map(({ text, actual, crossed }) => {
      const found = actual === null ? 'nothing was measured' : foundText(text, actual);
      return `  ${crossed ? 'FAILED' : 'passed'}  ${text}  (${found})`;
    })
    .join('\n');
}

/** In the unit that the threshold was given in. */
export function foundText(text: string, actual: number): string {
  if (text.includes('%')) return percentText(actual);
  if (/^(?:\w+:)?(?:p[\d.]+|mean|max|min)\s*[<>=]/.test(text)) return timeText(actual);
  return countText(actual);
}

/** One line per second, where nothing better can be shown. */
export function progressLine({ elapsedMs, totalMs, phase, second }: LoadProgress): string {
  const at = `${(elapsedMs / MS_PER_SECOND).toFixed(0)} s`;
  const of = totalMs > 0 ? ` of ${(totalMs / MS_PER_SECOND).toFixed(0)} s` : '';
  const perSecond = second.lengthMs > 0 ? (second.completed * MS_PER_SECOND) / second.lengthMs : 0;
  const failed =
    second.failed > 0 ? `   ${countText(second.failed)} failed (${Object.keys(second.errors).join(', ')})` : '';
  const late = second.notStarted > 0 ? `   ${countText(second.notStarted)} not started` : '';
  const warm = phase === 'warm-up' ? '   warming up' : '';
  return `${at}${of}   ${countText(perSecond)}/s   p50 ${timeText(second.p50Us)}   p99 ${timeText(second.p99Us)}   ${countedText(second.connections, 'connection')}${failed}${late}${warm}`;
}
