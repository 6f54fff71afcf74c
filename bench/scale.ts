/**
 * The question: does the load tester reach the number of connections that it is made for, without a failure of its own making? Two runs
 * of the command line as users have it, each against servers in processes of their own on this machine's loopback addresses:
 *
 *   18,000 connections in one process, every one of them active, for a minute (`shardfetch load`, closed loop, with thinking)
 *   50,000 connections held by three processes, each asked in turn, for a minute (`shardfetch hold`), from two local addresses
 *
 * It prints the commands, so that they can be run by hand against another server, and ends with code 1 when a figure is not as it
 * must be. What it starts ends with it.
 */

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import type { HoldResult, LoadResult } from 'shardfetch/load';
import { runOwned } from './child-processes.ts';
import { integerOption, runProgram } from './command-line.ts';
import { describeEnvironment, environmentLine } from './environment.ts';
import { startWaitingServer, type WaitingServer } from './server/waiting-server.ts';
import { bold, count, figure, table } from './text.ts';

const HELP = `Does the load tester reach the number of connections that it is made for?

  npm run build && node out/bench/scale.js [options]

  --seconds N      how long each run is (default 60)
  --active N       connections in one process, all active (default 18,000); 0 leaves the run out
  --held N         connections held (default 50,000); 0 leaves the run out
  --processes N    that hold them (default 3)
  --help

It needs two gigabytes of memory and a hard limit of open files (ulimit -Hn) of 19,000 or more.
`;

const COMMAND = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
/** A process of the server has as many files as one of ours. */
const PER_SERVER = 17_000;
/** Between an answer and the next request of a connection. */
const THINK = '3s';
/** Connections are all open by then. */
const WARM_UP_S = 20;
const HELD_RATE = 1_000;
const SPARE_S = 120;
const MS_PER_SECOND = 1_000;

interface Check {
  readonly what: string;
  readonly found: string;
  readonly holds: boolean;
}

async function run(): Promise<number> {
  const { values } = parseArgs({
    options: {
      seconds: { type: 'string', default: '60' },
      active: { type: 'string', default: '18000' },
      held: { type: 'string', default: '50000' },
      processes: { type: 'string', default: '3' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    console.log(HELP);
    return 0;
  }
  const seconds = integerOption('seconds', values.seconds, 1, 3_600);
  const active = integerOption('active', values.active, 0, 1_000_000);
  const held = integerOption('held', values.held, 0, 1_000_000);
  const processes = integerOption('processes', values.processes, 1, 64);
  console.log(environmentLine(describeEnvironment()));
  const checks: Check[] = [];
  if (active > 0) checks.push(...(await runActive(active, seconds)));
  if (held > 0) checks.push(...(await runHeld(held, processes, seconds)));
  const broken = checks.filter(({ holds }) => !holds);
  console.log(`\n${broken.length === 0 ? 'All as it must be.' : `${broken.length} not as it must be.`}`);
  return broken.length === 0 ? 0 : 1;
}

// ── All active ─────────────────────────────────────────────────────────────────────────────────────────────────────────

async function runActive(connections: number, seconds: number): Promise<Check[]> {
  const args = ['load', '-t', '1', '-c', String(connections), '--think', THINK];
  args.push('--warmup', `${WARM_UP_S}s`, '-d', `${seconds}s`, '-T', '30s');
  const result = await withServers(Math.ceil(connections / PER_SERVER), (origins) =>
    runCommand<LoadResult>(args, origins, WARM_UP_S + seconds),
  );
  const { requests, errors, latency, generator } = result;
  const [shard] = generator.shards;
  return report(`${count(connections)} connections in one process, all active, ${seconds} s`, [
    check('connections open at the same time', result.connections.peak, (open) => open === connections),
    // Each has an answer about every THINK: one that has none in all that time is not active.
    check('requests answered', requests.completed, (completed) => completed >= connections * Math.floor(seconds / 6)),
    check('requests failed', requests.failed, isNone, Object.entries(errors).join(' ')),
    check('connections lost', result.connections.lost, isNone),
    check('connections that could not be opened', result.connections.failed, isNone),
    told('requests a second', count(Math.round(result.rate))),
    told(
      'latency, p50 and p99, ms',
      `${ms(latency.corrected.percentilesUs['50'])} and ${ms(latency.corrected.percentilesUs['99'])}`,
    ),
    told('CPU of its thread, share of a core', figure(shard?.cpu ?? 0)),
    told('longest turn, ms', figure(shard?.longestTurnMs ?? 0)),
    told('memory of the process, MB', figure(generator.memoryBytes / 1e6)),
  ]);
}

// ── Held ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

async function runHeld(connections: number, processes: number, seconds: number): Promise<Check[]> {
  const args = ['hold', '-c', String(connections), '-P', String(processes), '-R', String(HELD_RATE)];
  args.push('--local-addr', '127.0.0.1-127.0.0.2', '-d', `${seconds}s`, '-T', '30s');
  const result = await withServers(Math.ceil(connections / PER_SERVER), (origins) =>
    runCommand<HoldResult>(args, origins, seconds),
  );
  const { requests, errors, memory, action, latency } = result;
  const held = result.connections;
  const resident = result.processes.reduce((sum, { residentBytes }) => sum + residentBytes, 0);
  const due = (HELD_RATE * result.heldMs) / MS_PER_SECOND;
  return report(`${count(connections)} connections held by ${processes} processes, ${seconds} s`, [
    check('connections held at the end', held.held, (open) => open === connections),
    check('the fewest at any second', held.heldLeast, (open) => open === connections),
    check('connections lost', held.lost, isNone),
    check('connections that could not be opened', held.failed, isNone, Object.entries(errors).join(' ')),
    check('requests answered', requests.completed, (completed) => completed >= due * 0.95),
    check('requests failed', requests.failed, isNone),
    told('opened a second', count(Math.round((held.opened * MS_PER_SECOND) / result.openingMs))),
    told('one action, mean, us', figure(action.meanUs)),
    told('latency, p50 and p99, ms', `${ms(latency.percentilesUs['50'])} and ${ms(latency.percentilesUs['99'])}`),
    told('JavaScript per connection, KiB', figure((memory?.heapBytes ?? Number.NaN) / 1024)),
    told('of the process per connection, KiB', figure((memory?.residentBytes ?? Number.NaN) / 1024)),
    told('memory of all processes, MB', figure(resident / 1e6)),
    ...Object.entries(held.perLocalAddress).map(([address, opened]) => told(`from ${address}`, count(opened))),
  ]);
}

// ── Both ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

async function withServers<T>(servers: number, work: (origins: readonly string[]) => Promise<T>): Promise<T> {
  const started: WaitingServer[] = [];
  try {
    for (let server = 0; server < servers; server++) started.push(await startWaitingServer());
    return await work(started.flatMap(({ origins }) => origins));
  } finally {
    await Promise.all(started.map((server) => server.stop()));
  }
}

async function runCommand<Result>(
  args: readonly string[],
  origins: readonly string[],
  seconds: number,
): Promise<Result> {
  const urls = origins.map((origin) => `${origin}/`);
  console.log(`\n$ shardfetch ${args.join(' ')} ${urls[0]} … (${urls.length} of them)   # ${openFilesLine()}`);
  const all = [COMMAND, ...args, '-q', '--json', '-', ...urls];
  const { code, stdout, stderr, timedOut } = await runOwned(process.execPath, all, (seconds + SPARE_S) * MS_PER_SECOND);
  if (timedOut) throw new Error('It did not end in time.');
  if (stdout === '') throw new Error(`It ended with code ${code}: ${stderr.trim()}`);
  return JSON.parse(stdout) as Result;
}

function openFilesLine(): string {
  const line = /^Max open files\s+\d+\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1'));
  return `ulimit -Hn: ${line?.[1] ?? 'unknown'}`;
}

function check(what: string, found: number, holds: (found: number) => boolean, why = ''): Check {
  return { what, found: `${count(found)}${why === '' ? '' : ` (${why})`}`, holds: holds(found) };
}

function told(what: string, found: string): Check {
  return { what, found, holds: true };
}

function isNone(found: number): boolean {
  return found === 0;
}

function ms(us: number | undefined): string {
  return figure((us ?? Number.NaN) / 1_000);
}

function report(title: string, checks: readonly Check[]): Check[] {
  console.log(bold(title));
  console.log(
    table([['', 'measured', ''], ...checks.map(({ what, found, holds }) => [what, found, holds ? '' : 'NO'])]),
  );
  return [...checks];
}

await runProgram(run);
