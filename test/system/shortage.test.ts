/** Descriptors, or local ports, run out: what cannot be opened fails and says why, the rest goes on, and so does what comes after. */

import { describe, expect, test } from 'vitest';
import { expectOrder, fixture, missing, type Report, run } from './rig.ts';

const noLimit = missing(['prlimit', '--nofile=100:100', 'true']);
const noNamespace = missing(['unshare', '-n', 'true'], ['ip', '-V']);

/** CPU of a second in which nothing happens; an endless loop takes all of it. */
const IDLE_CPU_MS = 300;

type Shortage = Report & { elsewhere: string };

function countOf(report: Shortage, outcome: string): number {
  return report.outcomes.filter((one) => one === outcome).length;
}

describe.skipIf(noLimit !== null)(`no descriptor is left${noLimit === null ? '' : ` (skipped: ${noLimit})`}`, () => {
  test.each([0, 1, 2])('%i shards', async (shards) => {
    const ended = await run([process.execPath, fixture('many-open.mjs'), '150', JSON.stringify({ shards }), '50']);
    const report = expectOrder(ended, 'EMFILE') as Shortage;
    const opened = countOf(report, 'ok');
    expect(opened).toBeGreaterThan(20);
    expect(opened).toBeLessThan(100);
    expect(countOf(report, 'COULDNT_CONNECT EMFILE')).toBe(150 - opened);
    expect(report.again).toEqual(Array(8).fill('ok'));
    expect(report.cpuMs).toBeLessThan(IDLE_CPU_MS);
  });
});

describe.skipIf(noNamespace !== null)(`ten ports${noNamespace === null ? '' : ` (skipped: ${noNamespace})`}`, () => {
  test.each([1, 2])('%i shards', async (shards) => {
    const script = 'ip link set lo up && echo "40000 40009" > /proc/sys/net/ipv4/ip_local_port_range && exec "$@"';
    const inside = ['unshare', '-n', 'sh', '-c', script, 'sh', process.execPath];
    const ended = await run([...inside, fixture('many-open.mjs'), '25', JSON.stringify({ shards })]);
    const report = expectOrder(ended, 'EADDRNOTAVAIL') as Shortage;
    const opened = countOf(report, 'ok');
    expect(opened).toBeGreaterThanOrEqual(8);
    expect(opened).toBeLessThanOrEqual(10);
    expect(countOf(report, 'COULDNT_CONNECT EADDRNOTAVAIL')).toBe(25 - opened);
    expect(report.elsewhere).toBe('ok');
    expect(report.again).toEqual(Array(8).fill('ok'));
    expect(report.cpuMs).toBeLessThan(IDLE_CPU_MS);
  });
});
