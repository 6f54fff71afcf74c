/** The flags of `shardfetch hold` and the options of `hold()` that they come to. What is sent and where to is said as for `load`. */

import { type Command, Option } from 'commander';
import { type HoldOptions, SHARED_NAMES } from '../main/load/hold-options.ts';
import { usageError } from './exit-codes.ts';
import { type LoadFlags, loadOptionsOf } from './load-flags.ts';
import { parseAddresses, parseCount, parseDuration, parseRate } from './units.ts';

/** As commander names them. */
export interface HoldFlags
  extends Pick<
    LoadFlags,
    | 'connections'
    | 'duration'
    | 'z'
    | 'rate'
    | 'connectRate'
    | 'timeout'
    | 'method'
    | 'X'
    | 'header'
    | 'body'
    | 'user'
    | 'bearer'
    | 'insecure'
    | 'cacert'
    | 'cert'
    | 'key'
    | 'sni'
    | 'unixSocket'
    | 'connectTo'
    | 'resolve'
    | 'localAddr'
    | 'ipv4'
    | 'ipv6'
    | 'failIf'
    | 'j'
    | 'quiet'
  > {
  active?: string;
  processes?: string;
  to?: string;
  reconnect?: boolean;
  json?: string;
}

const collect = (value: string, before: string[]): string[] => [...before, value];

export function addHoldFlags(command: Command): Command {
  const hidden = (flags: string) => command.addOption(new Option(flags).hideHelp());
  command
    .optionsGroup('How much:')
    .option('-c, --connections <n>', 'connections to open and hold (default: 1k)')
    .option('-d, --duration <time>', 'how long, from when all are open (default: 10s)')
    .option('-a, --active <n>', 'so many have a request under way, one at a time each; or "all" (default: 10)')
    .option('-R, --rate <n>', 'instead: requests per second, over all connections in turn')
    .option('--connect-rate <n>', 'new connections per second, at most (256 are opened at once in any case)')
    .option(
      '-P, --processes <n>',
      'processes that share the connections: each may have its own open files (default: 1)',
    )
    .option('--reconnect', 'open again what is lost')
    .option('-T, --timeout <time>', 'a connection or an answer that takes longer has failed (default: 10s)')
    .optionsGroup('What is sent:')
    .option('-m, --method <name>', 'default GET; POST with a body (alias -X)')
    .option('-H, --header <line>', 'a header, "name: value"; may be given often', collect, [])
    .option('-b, --body <text>', 'the body; @file reads it from there')
    .option('-u, --user <name:password>', 'basic authentication')
    .option('--bearer <token>', 'an Authorization: Bearer header')
    .optionsGroup('Where to:')
    .option('--to <list>', "addresses to connect to in place of the URL's host, in turn: 127.0.0.1-127.0.0.4")
    .option('--local-addr <list>', 'addresses of this machine to connect from, in turn: 127.0.0.1-127.0.0.9')
    .option('--connect-to <list>', 'HOST:PORT:TO-HOST:TO-PORT, as curl has it', collect, [])
    .option('--resolve <entry>', 'HOST:PORT:ADDRESS[,ADDRESS], as curl has it', collect, [])
    .option('--unix-socket <path>', 'connects to this in place of the host')
    .option('-4, --ipv4', 'only IPv4 addresses of a name')
    .option('-6, --ipv6', 'only IPv6 addresses of a name')
    .optionsGroup('HTTPS:')
    .option('-k, --insecure', 'any certificate will do')
    .option('--cacert <file>', 'roots to trust, PEM')
    .option('--cert <file>', "the client's certificate, PEM")
    .option('--key <file>', 'its key, PEM')
    .option('--sni <name>', 'the name to ask for and to check')
    .optionsGroup('What comes of it:')
    .option(
      '--fail-if <sentence>',
      "exit code 99 when it is true: 'lost>0', 'held<10k', 'errors>0.1%', 'p99>250ms', 'heap>2KiB'",
      collect,
      [],
    )
    .option('--json <file>', 'the result as JSON; - for standard output (-j is short for it)')
    .option('-q, --quiet', 'no progress');
  for (const flags of ['-z <time>', '-X <name>', '-j']) hidden(flags);
  return command;
}

/** Throws CommandError. */
export function holdOptionsOf(urls: readonly string[], flags: HoldFlags): HoldOptions {
  if (urls.length === 0) throw usageError('Say where to hold connections: shardfetch hold URL.');
  const { active, rate, processes, to, reconnect, failIf, ...shared } = flags;
  // A small request is sent as it is written.
  const loadFlags = { ...shared, failIf: [], data: [], templates: false, keepalive: true };
  const given = loadOptionsOf(urls, loadFlags as unknown as LoadFlags);
  const common = SHARED_NAMES.filter((name) => name in given).map((name) => [name, given[name]]);
  const options: HoldOptions = { ...Object.fromEntries(common), thresholds: failIf };
  if (active !== undefined) options.active = active === 'all' ? 'all' : parseCount('--active', active);
  if (rate !== undefined) options.rate = parseRate('--rate', rate);
  if (rate !== undefined && active !== undefined) {
    throw usageError('--rate and --active exclude each other: with a rate all connections take turns.');
  }
  if (processes !== undefined) options.processes = parseCount('--processes', processes);
  if (to !== undefined) options.toAddresses = parseAddresses('--to', to);
  if (reconnect) options.reconnect = true;
  if (flags.duration !== undefined) options.durationMs = parseDuration('--duration', flags.duration);
  return options;
}
