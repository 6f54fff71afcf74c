/**
 * Measured: wrk with one thread. It runs for longer than the window; its CPU is read from Linux and its answers from the
 * server's own count at both ends, so that starting up and connecting are left out as for the other clients. Its latencies are
 * its own, of its whole run.
 */

import { setTimeout as sleep } from 'node:timers/promises';
import { collectOutput, probe, spawnOwned } from '../child-processes.ts';
import type { Load, Measurement, Window } from '../clients/client.ts';
import { readCpuTimeOf } from '../cpu-clock.ts';
import type { Target } from '../server/target.ts';

/** wrk opens all its connections before it answers any: in this long even 10,000 are open. */
const CONNECT_MS_PER_1000 = 100;
/** wrk gives itself half a second to calibrate. */
const WARM_MS_MIN = 600;

export function probeWrk(): Promise<string | null> {
  return probe('wrk', ['-v']);
}

/** `closes`: a new connection for each request. */
export async function measureWrk(
  target: Target,
  load: Load,
  window: Window,
  timeoutMs: number,
  closes = false,
): Promise<Measurement> {
  const args = [
    '-t1',
    `-c${load.inFlight}`,
    `-d${Math.ceil(timeoutMs / 1000)}s`,
    '--timeout',
    '30s',
    '--latency',
    ...(closes ? ['-H', 'Connection: close'] : []),
    load.url,
  ];
  const child = spawnOwned('wrk', args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const output = collectOutput(child, timeoutMs);
  const { pid } = child;
  if (pid === undefined) throw new Error('wrk did not start');
  await sleep(Math.max(window.warmMs, WARM_MS_MIN) + (load.inFlight / 1000) * CONNECT_MS_PER_1000);

  const before = await look(target, pid);
  await sleep(window.measureMs);
  const after = await look(target, pid);

  // It prints what it has when it is interrupted.
  child.kill('SIGINT');
  const { stdout, stderr } = await output;
  return {
    // Our own looks at the count are requests too: one lies between the two answers.
    requests: after.requests - before.requests - 1,
    seconds: (after.atMs - before.atMs) / 1000,
    userUs: after.userUs - before.userUs,
    systemUs: after.systemUs - before.systemUs,
    mainThreadUs: null,
    p50Us: latencyUs(stdout, '50%'),
    p99Us: latencyUs(stdout, '99%'),
    failures: failuresIn(stdout + stderr),
  };
}

/**
 * A busy server answers our question for its count late, and nobody knows when within that time it counted: so CPU and clock
 * are read before and after, and the middle is taken.
 */
async function look(target: Target, pid: number) {
  const before = { atMs: performance.now(), cpu: readCpuTimeOf(pid) };
  const requests = await target.requestCount();
  const after = { atMs: performance.now(), cpu: readCpuTimeOf(pid) };
  if (before.cpu === null || after.cpu === null) throw new Error('wrk ended too early');
  return {
    requests,
    atMs: (before.atMs + after.atMs) / 2,
    userUs: (before.cpu.userUs + after.cpu.userUs) / 2,
    systemUs: (before.cpu.systemUs + after.cpu.systemUs) / 2,
  };
}

const US_BY_UNIT: Readonly<Record<string, number>> = { us: 1, ms: 1_000, s: 1_000_000, m: 60_000_000 };

function latencyUs(report: string, percentile: string): number {
  const match = new RegExp(`^\\s*${percentile}\\s+([\\d.]+)(us|ms|s|m)\\s*$`, 'm').exec(report);
  return match === null ? 0 : Number(match[1]) * (US_BY_UNIT[match[2] as string] as number);
}

/** wrk tells failures only when there are some. */
function failuresIn(report: string): Record<string, number> {
  const failures: Record<string, number> = {};
  const match = /Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(report);
  for (const [index, name] of ['connect', 'read', 'write', 'timeout'].entries()) {
    const count = Number(match?.[index + 1] ?? 0);
    if (count > 0) failures[name] = count;
  }
  const status = /Non-2xx or 3xx responses: (\d+)/.exec(report);
  if (status !== null) failures.WRONG_STATUS = Number(status[1]);
  return failures;
}
