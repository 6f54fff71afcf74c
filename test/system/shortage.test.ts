/** Descriptors, or local ports, run out: what cannot be opened waits, or fails and says why; the rest goes on, and so does what comes after. */

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
  test.each([0, 1, 2])('hostile/147 %i shards: who finds none waits until one comes free', async (shards) => {
    const options = { shards, timeouts: { connectMs: 20_000 } };
    const ended = await run([process.execPath, fixture('many-open.mjs'), '150', JSON.stringify(options), '50']);
    const report = expectOrder(ended, 'EMFILE') as Shortage;
    expect(report.outcomes).toEqual(Array(150).fill('ok'));
    expect(report.elsewhere).toBe('ok');
    expect(report.again).toEqual(Array(8).fill('ok'));
    expect(report.cpuMs).toBeLessThan(IDLE_CPU_MS);
  });

  test.each([0, 1, 2])('hostile/147 %i shards: it fails with the errno when its time is over', async (shards) => {
    const options = { shards, timeouts: { connectMs: 800 } };
    const ended = await run([process.execPath, fixture('many-open.mjs'), '150', JSON.stringify(options), '50']);
    const report = expectOrder(ended, 'EMFILE') as Shortage;
    const opened = countOf(report, 'ok');
    expect(opened).toBeGreaterThan(20);
    expect(opened).toBeLessThan(100);
    expect(countOf(report, 'COULDNT_CONNECT EMFILE')).toBe(150 - opened);
    expect(report.again).toEqual(Array(8).fill('ok'));
    expect(report.cpuMs).toBeLessThan(IDLE_CPU_MS);
  });
});

test.skipIf(noLimit !== null).each([0, 6, 20])(
  'hostile/147 threads that cannot start for want of descriptors (%i are free): the pool recovers, and answers meanwhile',
  async (free) => {
    const ended = await run([process.execPath, fixture('threads-without-descriptors.mjs'), String(free)]);
    expect(ended.stdout, ended.stderr).toBe(`${JSON.stringify({ outcomes: Array(8).fill('served'), shards: 2 })}\n`);
  },
);

describe.skipIf(noNamespace !== null)(`ten ports${noNamespace === null ? '' : ` (skipped: ${noNamespace})`}`, () => {
  /** Runs the fixture where an address of this machine has ten ports for each peer. */
  async function among(requests: number, options: object): Promise<Shortage> {
    const script = 'ip link set lo up && echo "40000 40009" > /proc/sys/net/ipv4/ip_local_port_range && exec "$@"';
    const inside = ['unshare', '-n', 'sh', '-c', script, 'sh', process.execPath];
    const ended = await run([...inside, fixture('many-open.mjs'), String(requests), JSON.stringify(options)]);
    return expectOrder(ended, 'EADDRNOTAVAIL') as Shortage;
  }

  test.each([
    [1, {}],
    [2, {}],
    // With an address of its own, too, the ports are counted per peer: another peer has ten of them.
    [1, { localAddress: '127.0.0.3' }],
  ])('hostile/148 %i shards, %j', async (shards, options) => {
    const report = await among(25, { shards, ...options });
    const opened = countOf(report, 'ok');
    expect(opened).toBeGreaterThanOrEqual(8);
    expect(opened).toBeLessThanOrEqual(10);
    expect(countOf(report, 'COULDNT_CONNECT EADDRNOTAVAIL')).toBe(25 - opened);
    expect(report.elsewhere).toBe('ok');
    expect(report.again).toEqual(Array(8).fill('ok'));
    expect(report.cpuMs).toBeLessThan(IDLE_CPU_MS);
  });

  test('hostile/148 three local addresses have three times as many', async () => {
    // Some of an address's ten may be unfindable for a moment, as above.
    const report = await among(21, { shards: 1, localAddress: ['127.0.0.3', '127.0.0.4', '127.0.0.5'] });
    expect(report.outcomes).toEqual(Array(21).fill('ok'));
  });
});
