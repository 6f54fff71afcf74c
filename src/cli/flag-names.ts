/**
 * What an option of the library is called on the command line. Sentences of the library name its options; wherever one is printed they
 * become flags here. What no flag stands for keeps its name.
 */

import { TransferError } from '../protocol/errors.ts';

type Names = Readonly<Record<string, string>>;

const TLS: Names = {
  'tls.ca': '--cacert',
  'tls.cert': '--cert',
  'tls.key': '--key',
  'tls.passphrase': '--pass',
  'tls.servername': '--sni',
  'tls.rejectUnauthorized': '--insecure',
};

/** What `load` and `hold` have in common. */
const RUN: Names = {
  ...TLS,
  connections: '--connections',
  durationMs: '--duration',
  rate: '--rate',
  connectRate: '--connect-rate',
  timeoutMs: '--timeout',
  'timeouts.connectMs': '--timeout',
  'timeouts.headMs': '--timeout',
  'timeouts.bodyIdleMs': '--timeout',
  'timeouts.totalMs': '--timeout',
  method: '--method',
  headers: '--header',
  body: '--body',
  auth: '--user',
  connectTo: '--connect-to',
  unixPath: '--unix-socket',
  localAddress: '--local-addr',
  localAddresses: '--local-addr',
  resolve: '--resolve',
  thresholds: '--fail-if',
};

/** Plain words (`rate`) are options where a sentence begins with them and the error is about them; others wherever they stand. */
const FLAGS = {
  load: {
    ...RUN,
    rateStages: '--stages',
    connectionStages: '--connection-stages',
    requests: '--requests',
    iterations: '--iterations',
    warmupMs: '--warmup',
    thinkMs: '--think',
    keepAlive: '--no-keepalive',
    lateMax: '--late-queue',
    shards: '--threads',
    followRedirects: '--follow',
    data: '--data',
  },
  hold: { ...RUN, active: '--active', processes: '--processes', toAddresses: '--to' },
  get: {
    ...TLS,
    'timeouts.connectMs': '--connect-timeout',
    'timeouts.totalMs': '--max-time',
    'connections.perOrigin': '--parallel-max',
    'redirect.max': '--max-redirs',
    maxReceiveBytesPerSecond: '--limit-rate',
    lowSpeedBytesPerSecond: '--speed-limit',
    lowSpeedMs: '--speed-time',
    proxy: '--proxy',
  },
} as const satisfies Record<string, Names>;

/** A thread is a shard to the library alone. */
const WORDS: Names = { shard: 'thread', shards: 'threads', Shard: 'Thread' };

export type FlagsOf = keyof typeof FLAGS;

const PLAIN = /^[a-z]+$/;

/** Of an option in milliseconds; flags take times. */
const RANGE = /(must be from) (\d+) (to) (\d+), not (-?[\d.]+)(?=\.)/;

/** Neither within a URL or a quotation, nor a part of a longer name. */
const STANDS = ['(?<![\\w./:"\'-])', '(?![\\w"\'/-]|\\.\\w)'] as const;

function patternOf(names: readonly string[]): RegExp {
  const longestFirst = [...names].sort((a, b) => b.length - a.length).map((name) => name.replaceAll('.', '\\.'));
  return new RegExp(`${STANDS[0]}(${longestFirst.join('|')})(?:\\[(\\d+)\\](?:\\.\\w+)*)?${STANDS[1]}`, 'g');
}

const PATTERNS: Readonly<Record<FlagsOf, RegExp>> = {
  load: patternOf([...Object.keys(FLAGS.load).filter((name) => !PLAIN.test(name)), ...Object.keys(WORDS)]),
  hold: patternOf(Object.keys(FLAGS.hold).filter((name) => !PLAIN.test(name))),
  get: patternOf(Object.keys(FLAGS.get).filter((name) => !PLAIN.test(name))),
};

/** A sentence of the library as the command says it. `option`: which one it is about. */
export function inFlags(command: FlagsOf, sentence: string, option = ''): string {
  const names: Names = FLAGS[command];
  const about = names[option];
  const begins = about !== undefined && new RegExp(`^${option}\\b`).test(sentence);
  const rest = option.endsWith('Ms') ? sentence.replace(RANGE, '$1 $2ms $3 $4ms, not $5ms') : sentence;
  const text = begins ? about + rest.slice(option.length) : rest;
  return text.replace(PATTERNS[command], (_found, name: string, index: string | undefined) => {
    const place = index === undefined ? '' : ` (number ${Number(index) + 1})`;
    return (WORDS[name] ?? names[name] ?? name) + place;
  });
}

/** What an error of the library says, to whoever uses the command. */
export function errorText(command: FlagsOf, error: Error): string {
  const about = TransferError.is(error) ? error : error.cause;
  return inFlags(command, error.message, TransferError.is(about) ? about.limit : undefined);
}
