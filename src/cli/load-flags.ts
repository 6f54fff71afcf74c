/**
 * The flags of `shardfetch load`: their names, what they say in `--help`, and the options of `load()` that they come to. Reads the
 * files that flags name and nothing else; prints nothing.
 *
 * Letters follow wrk where testers disagree: -c connections, -d duration, -t threads, -R rate, -H header, -L latency.
 */

import { isUtf8 } from 'node:buffer';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { type Command, Option } from 'commander';
import type { LoadTables, TableOrder } from '../main/load/index.ts';
import type { LoadOptions } from '../main/load/load-options.ts';
import type { LoadTargetOptions } from '../main/load/targets.ts';
import { placesIn } from '../protocol/load/template.ts';
import { shownUrl } from '../protocol/shown-url.ts';
import { CommandError, EXIT, usageError } from './exit-codes.ts';
import type { ReportFlags } from './reports/report-files.ts';
import {
  parseAddresses,
  parseCount,
  parseDuration,
  parsePositiveRate,
  parseRate,
  parseStages,
  parseThink,
} from './units.ts';

/** As commander names them. */
export interface LoadFlags extends ReportFlags {
  connections?: string;
  duration?: string;
  z?: string;
  threads?: string;
  requests?: string;
  rate?: string;
  ratePerConnection?: string;
  stages?: string;
  connectionStages?: string;
  rampConnections?: string;
  connectRate?: string;
  warmup?: string;
  think?: string;
  keepalive: boolean;
  timeout?: string;
  lateQueue?: string;
  streams?: string;
  h1?: boolean;
  h2?: boolean;
  h2c?: boolean;
  h3?: boolean;
  method?: string;
  X?: string;
  header: string[];
  body?: string;
  bodyFile?: string;
  urlFile?: string;
  user?: string;
  bearer?: string;
  compressed?: boolean;
  cookies?: boolean;
  follow?: boolean;
  templates: boolean;
  data: string[];
  dataOrder?: string;
  scenario?: string;
  iterations?: string;
  insecure?: boolean;
  cacert?: string;
  cert?: string;
  key?: string;
  pass?: string;
  sni?: string;
  unixSocket?: string;
  connectTo: string[];
  resolve: string[];
  localAddr?: string;
  ipv4?: boolean;
  ipv6?: boolean;
  failIf: string[];
  compare?: string;
  failIfWorse?: string;
  config?: string;
  j?: boolean;
  latency?: boolean;
  quiet?: boolean;
}

const collect = (value: string, before: string[]): string[] => [...before, value];

export function addLoadFlags(command: Command): Command {
  const hidden = (flags: string) => command.addOption(new Option(flags).hideHelp());
  command
    .optionsGroup('How much:')
    .option('-c, --connections <n>', 'connections that send; with a rate: how many may be open (default: 10; 1k)')
    .option('-d, --duration <time>', 'how long is measured (default: 10s)')
    .option('-n, --requests <n>', 'ends after so many requests')
    .option('-R, --rate <n>', 'requests per second, whatever the server does (open loop): 500, 5k/s, 600/m')
    .option('--rate-per-connection <n>', 'the same for each connection')
    .option('--stages <list>', 'a rate that changes, in straight lines: 10s:100,30s:5k')
    .option('--connection-stages <list>', 'a number of connections that changes: 10s:100,30s:1k')
    .option('--ramp-connections <time>', 'the connections begin one after the other in this time, then --duration runs')
    .option('--connect-rate <n>', 'new connections per second, at most')
    .option('--warmup <time>', 'comes first and counts for nothing')
    .option('--think <time>', 'between an answer and the next request: 1s, or 500ms-2s')
    .option('--no-keepalive', 'one connection per request')
    .option('-T, --timeout <time>', 'a request without its whole answer after this has failed (default: 10s)')
    .option('--late-queue <n>', 'requests that are due and wait for a connection; more are not started')
    .option('-t, --threads <n>', 'threads that send (default: cores - 1)')
    .optionsGroup('What is sent:')
    .option('-m, --method <name>', 'default GET; POST with a body (alias -X)')
    .option('-H, --header <line>', 'a header, "name: value"; may be given often', collect, [])
    .option('-b, --body <text>', 'the body; @file reads it from there')
    .option('-B, --body-file <file>', 'the body: the bytes of a file, which is not held in memory where it is large')
    .option('--url-file <file>', 'more targets, one per line: [WEIGHT] [METHOD] URL')
    .option('--scenario <file>', 'a module that says what a virtual user does; -c is then the number of users')
    .option('--iterations <n>', 'of a scenario: ends after so many')
    .option('--data <[name=]file>', 'a CSV table: {{name.column}} in URL, headers and body', collect, [])
    .option('--data-order <order>', 'in which its rows are used: turn (default), random, once')
    .option('--no-templates', '{{ in URL, headers and body is sent as it is')
    .option('-u, --user <name:password>', 'basic authentication')
    .option('--bearer <token>', 'an Authorization: Bearer header')
    .option('--cookies', 'each connection keeps the cookies that it is given')
    .option('-r, --follow', 'follows redirects, 10 in a row at most')
    .option('--compressed', 'asks for compressed bodies; they are counted as they come')
    .optionsGroup('Where to:')
    .option('--connect-to <list>', 'HOST:PORT:TO-HOST:TO-PORT, as curl has it', collect, [])
    .option('--resolve <entry>', 'HOST:PORT:ADDRESS[,ADDRESS], as curl has it', collect, [])
    .option('--unix-socket <path>', 'connects to this in place of the host')
    .option('--local-addr <list>', 'addresses of this machine to connect from, in turn: 127.0.0.1-127.0.0.9')
    .option('-4, --ipv4', 'only IPv4 addresses of a name')
    .option('-6, --ipv6', 'only IPv6 addresses of a name')
    .optionsGroup('HTTPS:')
    .option('-k, --insecure', 'any certificate will do')
    .option('--cacert <file>', 'roots to trust, PEM')
    .option('--cert <file>', "the client's certificate, PEM")
    .option('--key <file>', 'its key, PEM')
    .option('--pass <phrase>', 'opens the key')
    .option('--sni <name>', 'the name to ask for and to check')
    .optionsGroup('What comes of it:')
    .option(
      '--fail-if <sentence>',
      "exit code 99 when it is true: 'p99>250ms', 'errors>0.1%', 'rate<5k/s'",
      collect,
      [],
    )
    .option('--json <file>', 'the result as JSON; - for standard output (-j is short for it)')
    .option('--html <file>', 'a report with plots, one file')
    .option('--csv <file>', 'the figures of each second')
    .option('--hdr <file>', 'a HdrHistogram log, one line per second')
    .option('--prometheus <file>', "the figures as Prometheus' text format")
    .option('--compare <file>', 'a result (--json) of before: what changed, and whether it is more than noise')
    .option('--fail-if-worse <share>', 'exit code 99 when --compare finds it worse by more: 5%')
    .option('--config <file>', 'flags from a JSON file; those of the command line win')
    .option('-L, --latency', 'the whole table of latencies')
    .option('-q, --quiet', 'no progress');
  for (const flags of ['-z <time>', '-X <name>', '-j', '-p, --streams <n>', '--h1', '--h2', '--h2c', '--h3'])
    hidden(flags);
  return command;
}

/** Throws CommandError. */
export function loadOptionsOf(urls: readonly string[], flags: LoadFlags): LoadOptions {
  refuseUnbuilt(flags);
  if (flags.scenario !== undefined) return scenarioOptionsOf(urls, flags);
  if (flags.iterations !== undefined) throw usageError('--iterations belong to a --scenario; without one give -n.');
  const targets = [...urls.map((url) => ({ url })), ...(flags.urlFile === undefined ? [] : readTargets(flags.urlFile))];
  if (targets.length === 0) throw usageError('Say what to put under load: shardfetch load URL.');
  const [only] = targets;
  const what =
    targets.length === 1 && only !== undefined && Object.keys(only).length === 1 ? { url: only.url } : { targets };
  return {
    ...what,
    ...amountOf(flags),
    ...requestOf(flags),
    ...routeOf(flags),
    thresholds: flags.failIf,
    secondHistograms: flags.hdr !== undefined,
  };
}

function scenarioOptionsOf(urls: readonly string[], flags: LoadFlags): LoadOptions {
  const { scenario, iterations, urlFile, requests, hdr, failIf } = flags;
  if (urls.length > 1 || urlFile !== undefined) {
    throw usageError('A scenario takes one URL, to which its requests may be relative.');
  }
  if (requests !== undefined) throw usageError('A scenario counts iterations: give --iterations in place of -n.');
  const { body, method, templates, ...request } = requestOf(flags);
  const [given] = [body, method, templates].filter((option) => option !== undefined);
  if (given !== undefined)
    throw usageError('A scenario says itself what is sent: leave method, body and templates out.');
  return {
    ...(urls[0] === undefined ? {} : { url: urls[0] }),
    scenario: scenario as string,
    ...(iterations === undefined ? {} : { iterations: parseCount('--iterations', iterations) }),
    ...amountOf(flags),
    ...request,
    ...routeOf(flags),
    ...(failIf.length === 0 ? {} : { thresholds: failIf }),
    secondHistograms: hdr !== undefined,
  };
}

function refuseUnbuilt({ h2, h2c, h3, streams }: LoadFlags): void {
  if (h2 || h2c || h3) throw usageError('HTTP/2 and HTTP/3 are not built yet; requests are HTTP/1.1.');
  if (streams !== undefined && streams !== '1') {
    throw usageError(
      'Pipelining (-p) is not offered: servers answer in order, so one slow answer would be counted as the latency of all behind it; use more connections (-c).',
    );
  }
}

type Options = Omit<LoadOptions, 'url' | 'targets'>;

function amountOf(flags: LoadFlags): Options {
  const options: Options = {};
  const { connections, rate, ratePerConnection, stages, connectionStages, rampConnections, threads, requests } = flags;
  const duration = flags.duration ?? flags.z;
  if (connections !== undefined) options.connections = parseCount('--connections', connections);
  if (duration !== undefined) options.durationMs = parseDuration('--duration', duration);
  if (requests !== undefined) options.requests = parseCount('--requests', requests);
  if (rate !== undefined) options.rate = parseRate('--rate', rate);
  if (ratePerConnection !== undefined) {
    if (rate !== undefined) throw usageError('--rate and --rate-per-connection say the same thing; give one of them.');
    if (options.connections === undefined) throw usageError('--rate-per-connection needs --connections.');
    options.rate = parseRate('--rate-per-connection', ratePerConnection) * options.connections;
  }
  if (stages !== undefined && (rate ?? ratePerConnection) !== undefined) {
    throw usageError('--stages and a rate say the same thing; give one of them.');
  }
  if (stages !== undefined) options.rateStages = parseStages('--stages', stages, parseRate);
  if (connectionStages !== undefined) {
    options.connectionStages = parseStages('--connection-stages', connectionStages, parseCount);
  }
  if (rampConnections !== undefined) ramp(options, parseDuration('--ramp-connections', rampConnections));
  if (threads !== undefined) options.shards = parseCount('--threads', threads);
  if (flags.warmup !== undefined) options.warmupMs = parseDuration('--warmup', flags.warmup);
  if (flags.think !== undefined) options.thinkMs = parseThink('--think', flags.think);
  if (flags.connectRate !== undefined) options.connectRate = parsePositiveRate('--connect-rate', flags.connectRate);
  if (flags.timeout !== undefined) options.timeoutMs = parseDuration('--timeout', flags.timeout);
  if (flags.lateQueue !== undefined) options.lateMax = parseCount('--late-queue', flags.lateQueue);
  if (!flags.keepalive) options.keepAlive = false;
  return options;
}

/** From no connection to all of them, and then the duration. */
function ramp(options: Options, rampMs: number): void {
  if (options.rate !== undefined || options.rateStages !== undefined) {
    throw usageError('--ramp-connections belongs to a run by connections; with a rate use --stages.');
  }
  const { connections, durationMs = 10_000 } = options;
  if (connections === undefined) throw usageError('--ramp-connections needs --connections.');
  options.connectionStages = [
    { durationMs: rampMs, to: connections },
    { durationMs, to: connections },
  ];
  delete options.connections;
  delete options.durationMs;
}

function requestOf(flags: LoadFlags): Options {
  const options: Options = {};
  const method = flags.method ?? flags.X;
  if (method !== undefined) options.method = method;
  if (flags.header.length > 0) options.headers = flags.header.map(headerOf);
  if (flags.body !== undefined && flags.bodyFile !== undefined)
    throw usageError('--body and --body-file both give a body.');
  if (flags.bodyFile !== undefined) options.body = { file: flags.bodyFile };
  else if (flags.body?.startsWith('@')) options.body = textOf(readInput('--body', flags.body.slice(1)));
  else if (flags.body !== undefined) options.body = flags.body;
  if (flags.compressed) options.compressed = true;
  if (flags.cookies) options.cookies = true;
  if (flags.follow) options.followRedirects = true;
  if (!flags.templates) options.templates = false;
  if (flags.data.length > 0) options.data = tablesOf(flags.data, flags.dataOrder);
  else if (flags.dataOrder !== undefined) throw usageError('--data-order needs --data.');
  if (flags.bearer !== undefined && flags.user !== undefined)
    throw usageError('--user and --bearer both say who asks; give one of them.');
  if (flags.bearer?.trim() === '') throw usageError('--bearer takes a token, and this one is empty.');
  if (flags.bearer !== undefined) options.auth = { bearer: flags.bearer };
  if (flags.user !== undefined) {
    const at = flags.user.indexOf(':');
    if (at < 0) throw usageError('--user takes name:password.');
    options.auth = { username: flags.user.slice(0, at), password: flags.user.slice(at + 1) };
  }
  return options;
}

/** Text where it is some, for templates may be in it; else the bytes. */
function textOf(bytes: Buffer): string | Buffer {
  return isUtf8(bytes) ? bytes.toString('utf8') : bytes;
}

/** `users.csv` is the table `users`; `people=users.csv` is the table `people`. */
function tablesOf(entries: readonly string[], order: string | undefined): LoadTables {
  return Object.fromEntries(
    entries.map((entry) => {
      const at = entry.indexOf('=');
      const file = entry.slice(at + 1);
      const name = at < 0 ? path.basename(file, path.extname(file)) : entry.slice(0, at);
      return [name, { file, ...(order === undefined ? {} : { order: order as TableOrder }) }];
    }),
  );
}

function headerOf(line: string): [name: string, value: string] {
  const at = line.indexOf(':');
  if (at <= 0) throw usageError('--header takes "name: value", and one has no colon or no name in front of it.');
  return [line.slice(0, at), line.slice(at + 1).trim()];
}

function routeOf(flags: LoadFlags): Options {
  const options: Options = {};
  const { insecure, cacert, cert, key, pass, sni } = flags;
  const tls = {
    ...(insecure ? { rejectUnauthorized: false } : {}),
    ...(cacert === undefined ? {} : { ca: readInput('--cacert', cacert).toString('utf8') }),
    ...(cert === undefined ? {} : { cert: readInput('--cert', cert).toString('utf8') }),
    ...(key === undefined ? {} : { key: readInput('--key', key).toString('utf8') }),
    ...(pass === undefined ? {} : { passphrase: pass }),
    ...(sni === undefined ? {} : { servername: sni }),
  };
  if (Object.keys(tls).length > 0) options.tls = tls;
  if (flags.unixSocket !== undefined) options.unixPath = flags.unixSocket;
  if (flags.connectTo.length > 0) options.connectTo = flags.connectTo;
  if (flags.resolve.length > 0) options.resolve = Object.fromEntries(flags.resolve.map(resolveEntryOf));
  if (flags.localAddr !== undefined) options.localAddresses = parseAddresses('--local-addr', flags.localAddr);
  if (flags.ipv4 && flags.ipv6) throw usageError('-4 and -6 exclude each other.');
  if (flags.ipv4) options.family = 4;
  if (flags.ipv6) options.family = 6;
  return options;
}

function resolveEntryOf(entry: string): [hostAndPort: string, addresses: string[]] {
  const [, hostAndPort, addresses] = /^((?:\[[^\]]+\]|[^:]+):\d+):(.+)$/.exec(entry) ?? [];
  if (hostAndPort === undefined || addresses === undefined) {
    throw usageError(`--resolve takes HOST:PORT:ADDRESS, not ${shownUrl(entry)}.`);
  }
  return [hostAndPort, addresses.split(',').map((address) => address.replace(/^\[|\]$/g, ''))];
}

const TARGET_LINE = /^(?:(\d+)\s+)?(?:([A-Z]+)\s+)?(\S.*)$/;

/** Lines of `[WEIGHT] [METHOD] URL`; empty ones and those that begin with # are passed over. */
function readTargets(file: string): LoadTargetOptions[] {
  const lines = readInput('--url-file', file).toString('utf8').split('\n');
  return lines.flatMap((line, index) => {
    const text = line.trim();
    if (text === '' || text.startsWith('#')) return [];
    const [, weight, method, url] = TARGET_LINE.exec(text) ?? [];
    if (url === undefined || hasBlank(url) || !URL.canParse(url)) {
      throw usageError(`--url-file ${file}: line ${index + 1} is no [WEIGHT] [METHOD] URL.`);
    }
    return [
      { url, ...(weight === undefined ? {} : { weight: Number(weight) }), ...(method === undefined ? {} : { method }) },
    ];
  });
}

/** Blanks stand in templates alone. */
function hasBlank(url: string): boolean {
  let at = 0;
  for (const [start, end] of placesIn(url)) {
    if (/\s/.test(url.slice(at, start))) return true;
    at = end;
  }
  return /\s/.test(url.slice(at));
}

function readInput(flag: string, file: string): Buffer {
  try {
    return readFileSync(file);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new CommandError(EXIT.arguments, `${flag}: ${file} cannot be read (${code ?? 'unknown reason'}).`);
  }
}
