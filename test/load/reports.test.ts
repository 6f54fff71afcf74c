/** Files that a run leaves: JSON against its schema, CSV, HdrHistogram log, Prometheus text, HTML as text; and the summary. */

import { readFileSync } from 'node:fs';
import { parse } from 'csv-parse/sync';
import { decodeFromCompressedBase64, HistogramLogReader } from 'hdr-histogram-js';
import { Histogram, type LoadResult } from 'shardfetch/load';
import { beforeAll, describe, expect, test } from 'vitest';
import { bucketsOf, cut, percentilePoints } from '../../src/cli/reports/buckets.ts';
import { commandText } from '../../src/cli/reports/command-text.ts';
import { csvOf } from '../../src/cli/reports/csv.ts';
import { hdrLogOf } from '../../src/cli/reports/hdr-log.ts';
import { htmlOf } from '../../src/cli/reports/html.ts';
import { prometheusOf } from '../../src/cli/reports/prometheus.ts';
import { summaryOf } from '../../src/cli/summary.ts';
import { schemaErrors } from './json-schema.ts';
import { HOSTILE_TEXT, troubledRun, withSeconds } from './reports-rig.ts';
import { checkSums } from './rig.ts';

const SCHEMA = JSON.parse(readFileSync(new URL('../../docs/load-result.schema.json', import.meta.url), 'utf8'));
let result: LoadResult;
beforeAll(async () => {
  result = await troubledRun();
  checkSums(result);
});

describe('the schema', () => {
  test('a result has what docs/load-result.schema.json says, and nothing else', () => {
    expect(schemaErrors(SCHEMA, JSON.parse(JSON.stringify(result)))).toEqual([]);
  });

  test('the checker finds what is missing, of another type, and unknown', () => {
    const { rate: _rate, ...rest } = JSON.parse(JSON.stringify(result));
    const broken = { ...rest, durationMs: '1', verdict: 'maybe', more: 1, latency: { ...rest.latency, from: 'never' } };
    expect(
      schemaErrors(SCHEMA, broken)
        .map((error) => error.split(':')[0])
        .sort(),
    ).toEqual(['/durationMs', '/latency/from', '/more', '/rate', '/verdict'].sort());
  });
});

describe('CSV', () => {
  test('a row per second, read back by csv-parse; sums are the result’s', () => {
    const rows = parse(csvOf(result), { columns: true }) as Record<string, string>[];
    expect(rows.length).toBe(result.perSecond.length);
    const measured = rows.filter(({ t }) => Number(t) >= 0);
    const sum = (name: string) => measured.reduce((total, row) => total + Number(row[name]), 0);
    expect(sum('completed')).toBe(result.requests.completed);
    expect(sum('failed')).toBe(result.requests.failed);
    expect(sum('status_5xx')).toBe(result.statuses['503']);
    for (const [code, count] of Object.entries(result.errors)) expect(sum(`error_${code}`)).toBe(count);
    expect(rows[0]?.t).toBe('-1');
    const start = Date.parse(result.startedAt);
    for (const row of rows) expect(Date.parse(row.time ?? '')).toBe(start + Number(row.t) * 1_000);
  });

  test('a second without an answer has no latency, and no rate where nothing of it was measured', () => {
    const text = csvOf(withSeconds(result, 1, () => ({ completed: 0, lengthMs: 0 })));
    const [row] = parse(text, { columns: true }) as Record<string, string>[];
    expect(row).toMatchObject({ rate: '0', p50_us: '', max_us: '' });
  });
});

describe('HdrHistogram log', () => {
  const readAll = (text: string) => {
    const reader = new HistogramLogReader(text);
    const found = [];
    for (let next = reader.nextIntervalHistogram(); next !== null; next = reader.nextIntervalHistogram())
      found.push(next);
    return found;
  };

  test('hdr-histogram-js reads a histogram per second, which add up to the whole', () => {
    const all = readAll(hdrLogOf(result));
    const seconds = all.filter(({ tag }) => tag !== 'raw');
    const measured = result.perSecond.filter(({ t }) => t >= 0);
    expect(seconds.map(({ totalCount }) => totalCount)).toEqual(measured.map(({ completed }) => completed));
    const whole = decodeFromCompressedBase64(result.latency.corrected.histogram);
    const [first, ...more] = seconds;
    for (const next of more) first?.add(next);
    expect(first?.totalCount).toBe(result.requests.completed);
    for (const percentile of [50, 90, 99, 100]) {
      expect(first?.getValueAtPercentile(percentile)).toBe(whole.getValueAtPercentile(percentile));
    }
    expect(first?.startTimeStampMsec).toBeCloseTo(Date.parse(result.startedAt), -1);
  });

  test('the raw latency has a tag; without histograms per second there is one line for all', () => {
    const raw = readAll(hdrLogOf(result)).find(({ tag }) => tag === 'raw');
    expect(raw?.totalCount).toBe(result.latency.raw.count);
    const plain = { ...result, perSecond: result.perSecond.map(({ histogram: _histogram, ...second }) => second) };
    const [whole, ...more] = readAll(hdrLogOf(plain));
    expect(more.map(({ tag }) => tag)).toEqual(['raw']);
    expect(whole?.getValueAtPercentile(99)).toBe(result.latency.corrected.percentilesUs['99']);
  });

  test('a run without an answer is an empty histogram, not an empty field', () => {
    const nothing = { ...result.latency.corrected, count: 0, histogram: '' };
    const empty = { ...result, perSecond: [], latency: { ...result.latency, corrected: nothing, raw: nothing } };
    expect(readAll(hdrLogOf(empty)).map(({ totalCount }) => totalCount)).toEqual([0, 0]);
  });
});

describe('Prometheus text', () => {
  /** https://prometheus.io/docs/instrumenting/exposition_formats/: comments, then samples of the same family. */
  const COMMENT =
    /^# (?:HELP ([a-zA-Z_:][\w:]*) [^\n]+|TYPE ([a-zA-Z_:][\w:]*) (?:counter|gauge|histogram|summary|untyped))$/;
  const LABEL = String.raw`[a-zA-Z_]\w*="(?:[^"\\\n]|\\["\\n])*"`;
  const SAMPLE = new RegExp(
    String.raw`^([a-zA-Z_:][\w:]*)(?:\{(${LABEL}(?:,${LABEL})*)\})? (-?[\d.]+(?:e[+-]?\d+)?|\+Inf|NaN)$`,
  );

  test('every line is in the grammar, every sample in its family, no sample twice', () => {
    const text = prometheusOf({
      ...result,
      thresholds: [{ text: 'a"b\\c\nd', actual: 1, crossed: true }],
    });
    expect(text.endsWith('\n')).toBe(true);
    let family = '';
    const seen = new Set<string>();
    const families = new Set<string>();
    for (const line of text.slice(0, -1).split('\n')) {
      if (line.startsWith('#')) {
        const [, helped, typed] = COMMENT.exec(line) ?? [];
        expect(helped ?? typed, line).toBeDefined();
        if (helped !== undefined) expect(families).not.toContain(helped);
        family = helped ?? typed ?? '';
        families.add(family);
        continue;
      }
      const [, name, labels] = SAMPLE.exec(line) ?? [];
      expect(name, line).toBeDefined();
      expect(name?.replace(/_(?:bucket|sum|count)$/, ''), line).toBe(family);
      expect(seen).not.toContain(`${name}{${labels}`);
      seen.add(`${name}{${labels}`);
    }
    expect(text).toContain(String.raw`threshold="a\"b\\c\nd"`);
  });

  test('figures are the result’s; buckets ascend to the count', () => {
    const text = prometheusOf(result);
    const value = (sample: string) =>
      Number(
        text
          .split('\n')
          .find((line) => line.startsWith(`${sample} `))
          ?.split(' ')
          .at(-1),
      );
    expect(value('shardfetch_load_requests_total{outcome="completed"}')).toBe(result.requests.completed);
    expect(value('shardfetch_load_responses_total{status="503"}')).toBe(result.statuses['503']);
    expect(value('shardfetch_load_latency_quantile_seconds{from="schedule",quantile="0.99"}')).toBeCloseTo(
      (result.latency.corrected.percentilesUs['99'] as number) / 1e6,
      9,
    );
    const buckets = [...text.matchAll(/_bucket\{from="schedule",le="([^"]+)"\} (\d+)/g)];
    const bounds = buckets.map(([, le]) => Number((le ?? '').replace('+Inf', 'Infinity')));
    const counts = buckets.map(([, , count]) => Number(count));
    expect(bounds).toEqual([...bounds].sort((a, b) => a - b));
    expect(counts).toEqual([...counts].sort((a, b) => a - b));
    expect(counts.at(-1)).toBe(result.requests.completed);
    expect(value('shardfetch_load_latency_seconds_count{from="schedule"}')).toBe(result.requests.completed);
  });
});

describe('HTML as text', () => {
  test('no markup of a URL, a tag or a message gets through, and nothing is fetched', () => {
    const hostile = {
      ...result,
      notes: [HOSTILE_TEXT],
      errorExamples: { CONNECTION_LOST: HOSTILE_TEXT },
      thresholds: [{ text: HOSTILE_TEXT, actual: null, crossed: true }],
    };
    const text = htmlOf(hostile, HOSTILE_TEXT);
    expect(text).not.toContain('<img');
    expect(text).not.toContain('globalThis.broken=1</script>');
    expect(text.match(/<script>/g)?.length).toBe(2);
    expect(text).toContain(`default-src 'none'`.replaceAll("'", '&#39;'));
    expect(text).not.toMatch(/(?:src|href)=["']?(?:https?:)?\/\//);
  });

  test('numbers stand in tables too', () => {
    const text = htmlOf(result, 'shardfetch load URL');
    for (const part of [
      'p99.9',
      'Not started',
      'CONNECTION_LOST',
      '503',
      'shardfetch load URL',
      result.environment.cpu,
    ]) {
      expect(text).toContain(part);
    }
    expect(text.match(/<tr><th scope="row">-?\d+/g)?.length).toBeGreaterThanOrEqual(result.perSecond.length);
  });

  test('iterations and checks of a scenario', () => {
    const text = htmlOf(
      {
        ...result,
        iterations: {
          ...{ started: 9, completed: 7, failed: 1, unfinished: 1, lateStarts: 0, notStarted: 0 },
          duration: result.latency.raw,
          errors: { '<b>no token</b>': 1 },
        },
        checks: [{ name: 'is <b>logged</b> in', passed: 6, failed: 1 }],
      },
      '',
    );
    expect(text).toContain('threw: &#60;b&#62;no token');
    expect(text).toMatch(/is &#60;b&#62;logged&#60;\/b&#62; in<\/th><td>6<\/td><td>1<\/td><td class="bad">FAILED/);
  });

  test('a run of which nothing was answered has a report', () => {
    const nothing = { ...result.latency.corrected, count: 0, maxUs: 0, histogram: '', percentilesUs: {} };
    const phases = Object.fromEntries(Object.keys(result.latency.phases).map((phase) => [phase, nothing]));
    const latency = {
      ...result.latency,
      corrected: nothing,
      raw: nothing,
      phases: phases as LoadResult['latency']['phases'],
    };
    const empty = { ...result, latency, statuses: {}, perSecond: [], requests: { ...result.requests, completed: 0 } };
    expect(htmlOf(empty, '')).toContain('Failed');
  });
});

describe('the command line as it is shown', () => {
  test.each<[string[], string]>([
    [['load', '-c', '5', 'http://h/'], 'shardfetch load -c 5 http://h/'],
    [
      ['load', '-u', 'me:word', '--bearer=abc', 'http://me:word@h/'],
      "shardfetch load -u '***' --bearer '***' 'http://***@h/'",
    ],
    [['-ume:word', '-HCookie: a=b'], "shardfetch -u '***' -H 'Cookie: ***'"],
    [['-qu', 'me:word', '-kH', 'x-api-key: 5'], "shardfetch -qu '***' -kH 'x-api-key: ***'"],
    [
      ['-H', 'accept: text/plain', '--header', 'Authorization: x'],
      "shardfetch -H 'accept: text/plain' --header 'Authorization: ***'",
    ],
    [['-b', "it's"], `shardfetch -b 'it'\\''s'`],
  ])('%j', (args, expected) => {
    expect(commandText(args)).toBe(expected);
  });
});

describe('buckets', () => {
  const histogram = new Histogram();
  for (let us = 1; us <= 10_000; us++) histogram.record(us);

  test('hold every value once, with round borders, no more than asked for', () => {
    for (const most of [4, 10, 30]) {
      const buckets = bucketsOf(histogram, most);
      expect(buckets.reduce((sum, { count }) => sum + count, 0)).toBe(10_000);
      expect(buckets.length).toBeLessThanOrEqual(Math.max(most, 6));
    }
    expect(cut(histogram, [100, 1_000, 100_000]).map(({ count }) => count)).toEqual([100, 900, 9_000]);
    expect(bucketsOf(new Histogram(), 5)).toEqual([]);
  });

  test('points of the percentile plot ascend and end at the maximum', () => {
    const points = percentilePoints(histogram);
    expect(points.length).toBeLessThan(400);
    expect(points.at(-1)).toEqual({ share: 1, us: histogram.max });
    const shares = points.map(({ share }) => share);
    expect(shares).toEqual([...shares].sort((a, b) => a - b));
    for (const { share, us } of points)
      expect(Math.abs(histogram.valueAtPercentile(share * 100) - us)).toBeLessThanOrEqual(16);
  });
});

describe('the summary', () => {
  const first = (changes: Partial<LoadResult>) => summaryOf({ ...result, ...changes }).split('\n')[0];
  const healthy = () => ({ ...result.generator, bottleneck: null });

  test('its first line is the verdict, or that the generator was the bottleneck', () => {
    const generator = healthy();
    expect(first({ generator })).toMatch(
      /^FAILED: p99>1us\. [\d,]+ requests\/s, p99 [\d.]+ m?s, [\d,]+ failed, [\d,]+ answered with 400 or above\.$/,
    );
    expect(first({ generator, verdict: 'passed', thresholds: [] })).toMatch(/^Done: /);
    expect(first({ generator, verdict: 'passed' })).toMatch(/^Passed: /);
    expect(first({ generator, verdict: 'interrupted' })).toMatch(/^Ended early by a signal, after 1\.\d s: /);
    const requests = { ...result.requests, completed: 0 };
    expect(first({ generator, verdict: 'failed', thresholds: [], requests })).toMatch(
      /^FAILED: not one of [\d,]+ requests was answered\.$/,
    );
    expect(first({ generator: { ...generator, bottleneck: 'The generator was the bottleneck: x.' } })).toBe(
      'The generator was the bottleneck: x.',
    );
  });

  test('the text histogram counts every request, and fits 80 columns', () => {
    const rows = summaryOf(result)
      .split('\n')
      .filter((line) => line.startsWith('  up to '));
    const counts = rows.map((row) =>
      Number(/ms +([\d,]+) |us +([\d,]+) |s +([\d,]+) /.exec(row)?.slice(1).find(Boolean)?.replaceAll(',', '')),
    );
    expect(counts.reduce((sum, count) => sum + count, 0)).toBe(result.requests.completed);
    expect(rows.length).toBeLessThanOrEqual(14);
    for (const row of rows) expect(row.length).toBeLessThanOrEqual(80);
    expect(Math.max(...rows.map((row) => row.split('#').length - 1))).toBe(40);
  });
});
