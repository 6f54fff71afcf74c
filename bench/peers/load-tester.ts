/**
 * Measured: a load tester as its users start it, a process of its own, with one thread that sends. All are looked at from outside in
 * the same way: CPU from Linux, answers from the server's own count, at both ends of a window in the middle of their run, so that
 * starting up and connecting are left out. Latencies are not compared: each tells its own.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { collectOutput, probe, spawnOwned } from '../child-processes.ts';
import type { Load, Measurement, Window } from '../clients/client.ts';
import { readCpuTimeOf } from '../cpu-clock.ts';
import type { Target } from '../server/target.ts';

export interface LoadTester {
  readonly name: string;
  readonly command: string;
  /** Of a run of so many seconds, which is cut short. */
  args(load: Load, seconds: number): string[];
}

/** Relative to this file once it is compiled. */
const OURS = fileURLToPath(new URL('../../../dist/cli/main.js', import.meta.url));
const AUTOCANNON = fileURLToPath(new URL('../../../node_modules/autocannon/autocannon.js', import.meta.url));

export const OUR_LOAD = 'shardfetch load';
const LOAD_TESTERS: readonly LoadTester[] = [
  {
    name: OUR_LOAD,
    command: process.execPath,
    args: ({ url, inFlight }, seconds) => [
      OURS,
      'load',
      '-q',
      '-k',
      '-t',
      '1',
      '-c',
      `${inFlight}`,
      '-d',
      `${seconds}s`,
      '-T',
      '30s',
      url,
    ],
  },
  {
    name: 'wrk',
    command: 'wrk',
    args: ({ url, inFlight }, seconds) => ['-t1', `-c${inFlight}`, `-d${seconds}s`, '--timeout', '30s', url],
  },
  {
    name: 'h2load',
    command: 'h2load',
    args: ({ url, inFlight }, seconds) => ['--h1', '-t1', `-c${inFlight}`, '-m1', '-D', `${seconds}`, url],
  },
  {
    name: 'autocannon',
    command: process.execPath,
    args: ({ url, inFlight }, seconds) => [AUTOCANNON, '-n', '-c', `${inFlight}`, '-d', `${seconds}`, '-t', '30', url],
  },
];

export async function findLoadTesters(say: (line: string) => void): Promise<LoadTester[]> {
  const found: LoadTester[] = [];
  for (const tester of LOAD_TESTERS) {
    const { name, command } = tester;
    const isThere =
      command === process.execPath || (await probe(command, [name === 'wrk' ? '-v' : '--version'])) !== null;
    if (isThere) found.push(tester);
    else say(`Peer missing: ${name} (Debian: apt-get install ${name === 'h2load' ? 'nghttp2-client' : name}).`);
  }
  return found;
}

/** Compilers and connecting are over by then. */
const WARM_MS_MIN = 2_000;
const CONNECT_MS_PER_1000 = 200;
/** A full handshake is a millisecond of the server's CPU. */
const HANDSHAKE_MS_PER_1000 = 1_500;
const RUN_SECONDS_MAX = 60;
/** Those that do not end by themselves then are ended. */
const END_MS_MAX = 3_000;

export async function measureLoadTester(
  tester: LoadTester,
  target: Target,
  load: Load,
  window: Window,
): Promise<Measurement> {
  const child = spawnOwned(tester.command, tester.args(load, RUN_SECONDS_MAX), { stdio: ['ignore', 'pipe', 'pipe'] });
  const output = collectOutput(child, RUN_SECONDS_MAX * 1000);
  const { pid } = child;
  if (pid === undefined) throw new Error(`${tester.name} did not start`);
  const connectMs = load.url.startsWith('https:') ? HANDSHAKE_MS_PER_1000 : CONNECT_MS_PER_1000;
  await sleep(Math.max(window.warmMs, WARM_MS_MIN) + (load.inFlight / 1000) * connectMs);
  const before = await look(tester, target, pid);
  await sleep(window.measureMs);
  const after = await look(tester, target, pid);
  child.kill('SIGINT');
  const forced = setTimeout(() => child.kill('SIGKILL'), END_MS_MAX);
  await output;
  clearTimeout(forced);
  return {
    // Our own looks at the count are requests too: one lies between the two answers.
    requests: after.requests - before.requests - 1,
    seconds: (after.atMs - before.atMs) / 1000,
    userUs: after.userUs - before.userUs,
    systemUs: after.systemUs - before.systemUs,
    mainThreadUs: null,
    p50Us: 0,
    p99Us: 0,
    failures: {},
  };
}

/** A busy server answers late, and nobody knows when it counted: CPU and clock are taken before and after, and the middle counts. */
async function look(tester: LoadTester, target: Target, pid: number) {
  const before = { atMs: performance.now(), cpu: readCpuTimeOf(pid) };
  const requests = await target.requestCount();
  const after = { atMs: performance.now(), cpu: readCpuTimeOf(pid) };
  if (before.cpu === null || after.cpu === null) throw new Error(`${tester.name} ended too early`);
  return {
    requests,
    atMs: (before.atMs + after.atMs) / 2,
    userUs: (before.cpu.userUs + after.cpu.userUs) / 2,
    systemUs: (before.cpu.systemUs + after.cpu.systemUs) / 2,
  };
}
