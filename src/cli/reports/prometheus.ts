/**
 * A run as Prometheus text (exposition format 0.0.4), for the node exporter's textfile collector or a push gateway. The format is a
 * few lines of rules, so no library writes it; times are seconds, as is the custom there. Says the state at the end of the run, once.
 */

import { Histogram, type LoadDistribution, type LoadResult } from '../../main/load/index.ts';
import { COARSE_BORDERS, cut } from './buckets.ts';

const US_PER_SECOND = 1_000_000;
const MS_PER_SECOND = 1_000;
const PREFIX = 'shardfetch_load_';

type Labels = Readonly<Record<string, string>>;
type Sample = readonly [suffix: string, labels: Labels, value: number];

export function prometheusOf(result: LoadResult): string {
  const { requests, connections, generator, latency, verdict, version, options, bytes } = result;
  const counts = (record: Readonly<Record<string, number>>, label: string): Sample[] =>
    Object.entries(record).map(([name, count]) => ['', { [label]: name }, count]);
  const one = (value: number): Sample[] => [['', {}, value]];
  const distributions: [Labels, LoadDistribution][] = [[{ from: latency.from }, latency.corrected]];
  if (latency.from === 'schedule') distributions.push([{ from: 'send' }, latency.raw]);
  const outcomes = {
    completed: requests.completed,
    failed: requests.failed,
    unfinished: requests.unfinished,
    not_started: requests.notStarted,
  };
  return [
    family('info', 'gauge', 'What ran.', [['', { version, model: options.model, verdict }, 1]]),
    family(
      'start_timestamp_seconds',
      'gauge',
      'Start of the measured time.',
      one(Date.parse(result.startedAt) / 1_000),
    ),
    family('duration_seconds', 'gauge', 'The measured time.', one(result.durationMs / MS_PER_SECOND)),
    family('rate', 'gauge', 'Requests completed per second.', one(result.rate)),
    family('requests_total', 'counter', 'Requests by what became of them.', counts(outcomes, 'outcome')),
    family('late_starts_total', 'counter', 'Requests that began late.', one(requests.lateStarts)),
    family('responses_total', 'counter', 'Answers by status.', counts(result.statuses, 'status')),
    family('errors_total', 'counter', 'Failures by code.', counts(result.errors, 'code')),
    family('received_bytes_total', 'counter', 'Bodies received.', one(bytes.received)),
    family('sent_bytes_total', 'counter', 'Heads and bodies sent.', one(bytes.sent)),
    family('connections_peak', 'gauge', 'The most connections open at once.', one(connections.peak)),
    family('connections_opened_total', 'counter', 'Connections opened.', one(connections.opened)),
    family(
      'latency_seconds',
      'histogram',
      'Latency of completed requests, from when they were due (schedule) or sent (send).',
      distributions.flatMap(([labels, distribution]) => histogramSamples(labels, distribution)),
    ),
    family(
      'latency_quantile_seconds',
      'gauge',
      'Percentiles of the same, to 3 digits.',
      distributions.flatMap(([labels, { percentilesUs, count }]): Sample[] =>
        count === 0
          ? []
          : Object.entries(percentilesUs).map(([percentile, us]) => [
              '',
              { ...labels, quantile: `${Number((Number(percentile) / 100).toPrecision(8))}` },
              us / US_PER_SECOND,
            ]),
      ),
    ),
    family(
      'threshold_crossed',
      'gauge',
      '1: it was.',
      result.thresholds.map(({ text, crossed }) => ['', { threshold: text }, Number(crossed)]),
    ),
    family(
      'generator_cpu_ratio',
      'gauge',
      'CPU of each thread that sends.',
      generator.shards.flatMap(({ cpu }, shard): Sample[] => (cpu < 0 ? [] : [['', { shard: `${shard}` }, cpu]])),
    ),
    family(
      'generator_bottleneck',
      'gauge',
      '1: the figures are partly of the generator.',
      one(Number(generator.bottleneck !== null)),
    ),
  ].join('');
}

function histogramSamples(labels: Labels, { histogram, count, meanUs }: LoadDistribution): Sample[] {
  const samples: Sample[] = [];
  let seen = 0;
  for (const { toUs, count: added } of cut(Histogram.decode(histogram), COARSE_BORDERS)) {
    seen += added;
    samples.push(['_bucket', { ...labels, le: `${toUs / US_PER_SECOND}` }, seen]);
  }
  samples.push(['_bucket', { ...labels, le: '+Inf' }, count]);
  samples.push(['_sum', labels, (meanUs * count) / US_PER_SECOND]);
  samples.push(['_count', labels, count]);
  return samples;
}

/** A family without a sample is left out. */
function family(
  name: string,
  type: 'counter' | 'gauge' | 'histogram',
  help: string,
  samples: readonly Sample[],
): string {
  if (samples.length === 0) return '';
  const lines = samples.map(([suffix, labels, value]) => `${PREFIX}${name}${suffix}${labelsText(labels)} ${value}\n`);
  return `# HELP ${PREFIX}${name} ${help}\n# TYPE ${PREFIX}${name} ${type}\n${lines.join('')}`;
}

function labelsText(labels: Labels): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escaped(value)}"`);
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
}

function escaped(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('"', '\\"');
}
