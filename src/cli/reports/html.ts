/**
 * A run as one HTML file that needs no network: what came of it, plots of it over time, its distribution, and every number as a table
 * for those who cannot see plots. The plots are uPlot's, inlined. Every text from the result is escaped, and the page's content security
 * policy allows its own script and style by their hashes and nothing else, so that a URL with markup in it stays a text.
 */

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { Histogram, LATE_MS, type LoadDistribution, type LoadResult, type LoadSecond } from '../../main/load/index.ts';
import { inFlags } from '../flag-names.ts';
import { foundText, targetText, verdictOf } from '../summary.ts';
import { borderText, bytesText, countedText, countText, percentText, rateText, timeText } from '../text.ts';
import { bucketsOf } from './buckets.ts';
import { rateOf } from './csv.ts';
import { REPORT_SCRIPT } from './html-script.ts';
import { REPORT_STYLE } from './html-style.ts';
import { html, Markup } from './markup.ts';
import { plotData, troubleNames } from './plot-data.ts';

const MS_PER_SECOND = 1_000;
const BUCKETS_MAX = 24;
/** A browser shows tables of more rows slowly; the CSV has all. */
const ROWS_MAX = 1_000;

/** `command`: the command line without secrets; '' where there was none. */
export function htmlOf(result: LoadResult, command: string): string {
  const { script, style } = plotLibrary();
  const scripts = [script, REPORT_SCRIPT];
  const styles = [style, REPORT_STYLE];
  const policy = `default-src 'none'; script-src ${hashesOf(scripts)}; style-src ${hashesOf(styles)}; base-uri 'none'; form-action 'none'`;
  return html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${titleOf(result)}</title>
${styles.map((text) => new Markup(`<style>${text}</style>\n`))}</head>
<body>
<main>
${head(result)}
${figures(result)}
${overTime(result)}
${distribution(result)}
${tags(result)}
${scenario(result)}
${answers(result)}
${aboutRun(result, command)}
</main>
<script type="application/json" id="data">${new Markup(scriptJson(plotData(result)))}</script>
${scripts.map((text) => new Markup(`<script>${text}</script>\n`))}</body>
</html>
`.text;
}

function hashesOf(texts: readonly string[]): string {
  return texts.map((text) => `'sha256-${createHash('sha256').update(text).digest('base64')}'`).join(' ');
}

function plotLibrary(): { script: string; style: string } {
  const { resolve } = createRequire(import.meta.url);
  const read = (file: string) => readFileSync(resolve(`uplot/dist/${file}`), 'utf8');
  return { script: read('uPlot.iife.min.js'), style: read('uPlot.min.css') };
}

/** Nothing in it can end a script element. */
function scriptJson(value: unknown): string {
  return JSON.stringify(value)
    .replaceAll('<', '\\u003c')
    .replaceAll('\u2028', '\\u2028')
    .replaceAll('\u2029', '\\u2029');
}

function titleOf(result: LoadResult): string {
  return `Load: ${targetText(result)}`;
}

// ── What one sees first ────────────────────────────────────────────────────────────────────────────────────────────────

function head(result: LoadResult): Markup {
  const { generator, options, startedAt, durationMs, notes, verdict } = result;
  const shards = `${options.shards} ${options.shards === 1 ? 'thread' : 'threads'}`;
  const how = options.model === 'closed' ? 'closed loop' : 'open loop';
  return html`<header>
<h1>${targetText(result)}</h1>
${generator.bottleneck === null ? '' : html`<p class="alert" role="alert">${generator.bottleneck}</p>`}
<p class="verdict ${isClean(result) ? 'clean' : verdict}">${verdictOf(result)}</p>
<p class="quiet">${how}, ${countedText(options.connections, 'connection')}, ${shards}, ${(durationMs / MS_PER_SECOND).toFixed(1)} s, from <time datetime="${startedAt}">${startedAt.replace('T', ' ').replace(/\.\d+Z$/, ' UTC')}</time></p>
${notes.map((note) => html`<p class="note">${note}</p>`)}
</header>`;
}

/** Passed, and nothing went wrong. */
function isClean({ verdict, requests, statuses }: LoadResult): boolean {
  return (
    verdict === 'passed' &&
    requests.completed > 0 &&
    requests.failed === 0 &&
    !Object.keys(statuses).some((status) => status >= '4')
  );
}

function figures(result: LoadResult): Markup {
  const { latency, requests, rate, bytes, durationMs } = result;
  const { percentilesUs, maxUs, count } = latency.corrected;
  const time = (us: number | undefined) => (count === 0 || us === undefined ? '–' : timeText(us));
  const ended = requests.completed + requests.failed;
  const seconds = durationMs / MS_PER_SECOND;
  const cards: [name: string, figure: string, more: string][] = [
    ['Rate', `${rateText(rate)}/s`, `${countText(requests.completed)} completed`],
    ['p50', time(percentilesUs['50']), 'half took no longer'],
    ['p99', time(percentilesUs['99']), '1 in 100 took longer'],
    ['p99.9', time(percentilesUs['99.9']), '1 in 1,000 took longer'],
    ['Maximum', time(maxUs), latency.from === 'schedule' ? 'from when it was due' : 'from when it was sent'],
    ['Failed', countText(requests.failed), ended === 0 ? 'nothing ended' : percentText(requests.failed / ended)],
    ['Received', bytesText(bytes.received), seconds > 0 ? `${bytesText(Math.round(bytes.received / seconds))}/s` : ''],
  ];
  return html`<section aria-label="Figures" class="cards">
${cards.map(
  ([
    name,
    figure,
    more,
  ]) => html`<div class="card"><div class="name">${name}</div><div class="figure">${figure}</div><div class="quiet">${more}</div></div>
`,
)}</section>`;
}

// ── Over time ──────────────────────────────────────────────────────────────────────────────────────────────────────────

function overTime(result: LoadResult): Markup {
  const { perSecond, options, requests } = result;
  const measured = perSecond.filter(({ t }) => t >= 0);
  const rates = measured.map(rateOf);
  const p99s = measured.filter(({ completed }) => completed > 0).map(({ p99Us }) => p99Us);
  const span = (values: readonly number[], text: (value: number) => string) =>
    values.length === 0 ? 'nothing was measured' : `from ${text(Math.min(...values))} to ${text(Math.max(...values))}`;
  const troubles = troubleNames(perSecond);
  return html`<section>
<h2>Over time</h2>
${plot('rate', 'Rate', 'requests per second', `Completed requests per second, ${span(rates, countText)}.`)}
${plot('latency', 'Latency', options.model === 'open' ? 'of requests by the second in which they completed, from when they were due' : 'of requests by the second in which they completed', `99th percentile by second, ${span(p99s, timeText)}.`)}
${
  troubles.length === 0
    ? html`<figure><figcaption><b>Errors</b></figcaption><p class="none">No request failed, and no answer had a status of 400 or more.</p></figure>`
    : plot(
        'errors',
        'Errors',
        'failures by code, and answers with a status of 400 or more, per second',
        `${countText(requests.failed)} requests failed.`,
      )
}
${plot('connections', 'Connections', 'open at the end of each second', `At most ${countText(result.connections.peak)}.`)}
<details><summary>The same as a table</summary>${secondsTable(perSecond)}</details>
</section>`;
}

/** The script draws into it; the label is for who does not see that. */
function plot(id: string, name: string, of: string, label: string): Markup {
  return html`<figure><figcaption><b>${name}</b> <span class="quiet">${of}</span></figcaption><div class="plot" id="${id}" role="img" aria-label="${label}"></div></figure>`;
}

function secondsTable(perSecond: readonly LoadSecond[]): Markup {
  const step = Math.ceil(perSecond.length / ROWS_MAX);
  const shown = perSecond.filter((_, index) => index % step === 0);
  const time = ({ completed }: LoadSecond, us: number) => (completed === 0 ? '–' : timeText(us));
  return html`${step > 1 ? html`<p class="quiet">Every ${step}th second; the CSV has all.</p>` : ''}${table(
    [
      'Second',
      'Rate',
      'Completed',
      'Failed',
      'Not started',
      'p50',
      'p90',
      'p99',
      'max',
      'Connections',
      'Received',
      'Errors',
    ],
    shown.map((second) => [
      second.t < 0 ? `${second.t} (warm-up)` : `${second.t}`,
      countText(rateOf(second)),
      countText(second.completed),
      countText(second.failed),
      countText(second.notStarted),
      time(second, second.p50Us),
      time(second, second.p90Us),
      time(second, second.p99Us),
      time(second, second.maxUs),
      countText(second.connections),
      bytesText(second.bytes),
      countsText(second.errors),
    ]),
  )}`;
}

// ── Distribution ───────────────────────────────────────────────────────────────────────────────────────────────────────

function distribution({ latency }: LoadResult): Markup {
  if (latency.corrected.count === 0) return html``;
  const isOpen = latency.from === 'schedule';
  const columns: [name: string, of: LoadDistribution][] = isOpen
    ? [
        ['From when due', latency.corrected],
        ['From when sent', latency.raw],
      ]
    : [['Whole request', latency.corrected]];
  for (const [phase, of] of Object.entries(latency.phases))
    if (of.maxUs > 0) columns.push([PHASE_NAMES[phase] ?? phase, of]);
  const row = (name: string, of: (distribution: LoadDistribution) => number) => [
    name,
    ...columns.map(([, column]) => (column.count === 0 ? '–' : timeText(of(column)))),
  ];
  const rows = [
    row('min', ({ minUs }) => minUs),
    ...Object.keys(latency.corrected.percentilesUs).map((percentile) =>
      row(`p${percentile}`, ({ percentilesUs }) => percentilesUs[percentile] as number),
    ),
    row('max', ({ maxUs }) => maxUs),
    row('mean', ({ meanUs }) => meanUs),
    row('standard deviation', ({ stdDevUs }) => stdDevUs),
    ['requests', ...columns.map(([, { count }]) => countText(count))],
  ];
  return html`<section>
<h2>Distribution of latency</h2>
${plot('percentiles', 'Percentiles', isOpen ? 'corrected (from when a request was due) and raw (from when it was sent): a gap is what waited' : 'to the right, ever rarer requests', `Median ${timeText(latency.corrected.percentilesUs['50'] as number)}, 99th percentile ${timeText(latency.corrected.percentilesUs['99'] as number)}, maximum ${timeText(latency.corrected.maxUs)}.`)}
${bars(Histogram.decode(latency.corrected.histogram))}
${table(['Latency', ...columns.map(([name]) => name)], rows)}
</section>`;
}

const PHASE_NAMES: Readonly<Record<string, string>> = {
  queue: 'Queue',
  dns: 'DNS',
  connect: 'Connect',
  tls: 'TLS',
  firstByte: 'First byte',
  body: 'Body',
};

/** Lengths are a meter's: a style attribute would need the policy to allow them all. */
function bars(histogram: Histogram): Markup {
  const buckets = bucketsOf(histogram, BUCKETS_MAX);
  const total = histogram.count;
  const most = Math.max(...buckets.map(({ count }) => count));
  return html`<figure><figcaption><b>Requests by latency</b></figcaption><table class="bars"><thead><tr><th>Up to</th><th>Requests</th><th>Share</th><th></th></tr></thead><tbody>
${buckets.map(
  ({
    toUs,
    count,
  }) => html`<tr><th>${borderText(toUs)}</th><td>${countText(count)}</td><td>${percentText(count / total)}</td><td><svg viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true"><rect width="${count === 0 ? 0 : Math.max(2, Math.round((count / most) * 1000))}" height="10"></rect></svg></td></tr>
`,
)}</tbody></table></figure>`;
}

// ── Tables ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

function tags({ perTag }: LoadResult): Markup {
  if (perTag.length < 2) return html``;
  return html`<section><h2>By tag</h2>${table(
    ['Tag', 'Completed', 'Failed', 'p50', 'p90', 'p99', 'max', 'Received', 'Answers', 'Errors'],
    perTag.map(({ tag, completed, failed, latency, bytes, statuses, errors }) => [
      tag,
      countText(completed),
      countText(failed),
      ...['50', '90', '99'].map((percentile) =>
        latency.count === 0 ? '–' : timeText(latency.percentilesUs[percentile] as number),
      ),
      latency.count === 0 ? '–' : timeText(latency.maxUs),
      bytesText(bytes),
      countsText(statuses),
      countsText(errors),
    ]),
  )}</section>`;
}

/** Results of before scenarios were built have neither member. */
function scenario({ iterations, checks }: LoadResult): Markup {
  if (!iterations) return html``;
  const { completed, failed, unfinished, lateStarts, notStarted, duration, errors } = iterations;
  const time = (us: number | undefined) => (duration.count === 0 || us === undefined ? '–' : timeText(us));
  const rows = [
    ['completed', countText(completed)],
    ['failed', countText(failed)],
    ['unfinished', countText(unfinished)],
    ['began late', countText(lateStarts)],
    ['never began', countText(notStarted)],
    ['p50 of their time', time(duration.percentilesUs['50'])],
    ['p99 of their time', time(duration.percentilesUs['99'])],
    ...Object.entries(errors).map(([message, count]) => [`threw: ${message}`, countText(count)]),
  ];
  const checked = checks.map(({ name, passed, failed: not }) => [
    name,
    countText(passed),
    countText(not),
    not > 0 ? 'FAILED' : 'passed',
  ]);
  return html`<section class="columns">
<div><h2>Iterations</h2>${table(['', 'Iterations'], rows)}</div>
${checked.length === 0 ? '' : html`<div><h2>Checks</h2>${table(['Check', 'Passed', 'Failed', ''], checked)}</div>`}
</section>`;
}

function answers({ statuses, errors, errorExamples, connections, thresholds, requests, options }: LoadResult): Markup {
  const openRows =
    options.model === 'open'
      ? [
          [`started more than ${LATE_MS} ms late`, countText(requests.lateStarts)],
          ['never started', countText(requests.notStarted)],
        ]
      : [];
  return html`<section class="columns">
${
  thresholds.length === 0
    ? ''
    : html`<div><h2>Thresholds</h2>${table(
        ['Fails if', 'Found', ''],
        thresholds.map(({ text, actual, crossed }) => [
          text,
          actual === null ? 'nothing' : foundText(text, actual),
          crossed ? 'FAILED' : 'passed',
        ]),
      )}</div>`
}
<div><h2>Requests</h2>${table(
    ['', 'Requests'],
    [
      ['started', countText(requests.started)],
      ['completed', countText(requests.completed)],
      ['failed', countText(requests.failed)],
      ['unfinished', countText(requests.unfinished)],
      ...openRows,
      ['sent again on a new connection', countText(requests.repeated)],
    ],
  )}</div>
<div><h2>Answers</h2>${table(
    ['Status', 'Answers'],
    Object.entries(statuses).map(([status, count]) => [status, countText(count)]),
  )}</div>
<div><h2>Connections</h2>${table(
    ['', 'Connections'],
    [
      ['most at once', countText(connections.peak)],
      ['opened', countText(connections.opened)],
      ['requests on a used one', countText(connections.reused)],
      ['could not be opened', countText(connections.failed)],
      ['lost', countText(connections.lost)],
      ['closed after an answer', countText(connections.closed)],
      ...Object.entries(connections.perLocalAddress)
        .filter(([address]) => address !== '')
        .map(([address, count]) => [`opened from ${address}`, countText(count)]),
    ],
  )}</div>
${
  Object.keys(errors).length === 0
    ? ''
    : html`<div class="wide"><h2>Failures</h2>${table(
        ['Code', 'Requests', 'The first of them'],
        Object.entries(errors).map(([code, count]) => [
          code,
          countText(count),
          inFlags('load', errorExamples[code] ?? ''),
        ]),
      )}</div>`
}
</section>`;
}

function aboutRun(result: LoadResult, command: string): Markup {
  const { generator, environment, targets, options, version, drainMs } = result;
  const rows: [name: string, text: string][] = [
    ...(command === '' ? [] : [['Command', command] as [string, string]]),
    ['Version', `shardfetch ${version}`],
    ['Machine', `${environment.cpu}, ${environment.cores} cores, ${bytesText(environment.memoryBytes)} of memory`],
    ['System', `${environment.platform} ${environment.kernel} ${environment.arch}, Node ${environment.node}`],
    ['Keep-alive', options.keepAlive ? 'yes' : 'no, one connection per request'],
    ['Timeout', `${options.timeoutMs / MS_PER_SECOND} s`],
    ['Warm-up', `${options.warmupMs / MS_PER_SECOND} s`],
    ['Waited for the last answers', `${(drainMs / MS_PER_SECOND).toFixed(1)} s`],
    ['CPU of the generator', `${timeText(generator.cpuUserUs + generator.cpuSystemUs)}`],
    ['Memory of the generator', bytesText(generator.memoryBytes)],
    ...(options.rate === null ? [] : [['Rate asked for', `${rateText(options.rate)}/s`] as [string, string]]),
  ];
  const unit = options.model === 'open' ? '/s' : ' connections';
  return html`<section>
<h2>The run</h2>
${table(['', ''], rows, 'facts')}
${
  options.stages.length < 2
    ? ''
    : table(
        ['Stage', 'Time', 'From', 'To'],
        options.stages.map(({ durationMs, from, to }, index) => [
          `${index + 1}`,
          `${durationMs / MS_PER_SECOND} s`,
          `${countText(from)}${unit}`,
          `${countText(to)}${unit}`,
        ]),
      )
}
${
  targets.length < 2
    ? ''
    : table(
        ['Target', 'Tag', 'Weight'],
        targets.map(({ method, url, tag, weight }) => [`${method} ${url}`, tag, `${weight}`]),
      )
}
<h3>Threads of the generator</h3>
${table(
  [
    'Thread',
    'CPU',
    'Longest turn',
    'Timers late, p99',
    'Timers late, most',
    'Garbage collections',
    'Their time',
    'The longest',
  ],
  generator.shards.map((shard, index) => [
    `${index}`,
    shard.cpu < 0 ? 'unknown' : percentText(shard.cpu),
    msText(shard.longestTurnMs),
    msText(shard.loopDelayP99Ms),
    msText(shard.loopDelayMaxMs),
    countText(shard.gcCount),
    msText(shard.gcTotalMs),
    msText(shard.gcMaxMs),
  ]),
)}
</section>`;
}

function table(head: readonly string[], rows: readonly (readonly string[])[], className = 'numbers'): Markup {
  const heads = head.every((text) => text === '')
    ? ''
    : html`<thead><tr>${head.map((text) => html`<th scope="col">${text}</th>`)}</tr></thead>`;
  return html`<div class="scroll"><table class="${className}">${heads}<tbody>
${rows.map(
  ([
    first = '',
    ...cells
  ]) => html`<tr><th scope="row">${first}</th>${cells.map((cell) => html`<td${cell === 'FAILED' ? new Markup(' class="bad"') : ''}>${cell}</td>`)}</tr>
`,
)}</tbody></table></div>`;
}

function countsText(counts: Readonly<Record<string, number>>): string {
  return Object.entries(counts)
    .map(([name, count]) => `${name}: ${countText(count)}`)
    .join(', ');
}

function msText(ms: number): string {
  return timeText(ms * 1_000);
}
