/**
 * What is looked at before a run, so that it does not fail in the middle for reasons that were known: files, ports, and one
 * connection to each origin, on which nothing is sent. Each refusal says which setting to change and to what.
 */

import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import type { LoadPlan } from '../../protocol/load/plan.ts';
import type { RouteOptions } from '../../protocol/route-options.ts';
import { fileLimit } from '../../worker/io/native-io.ts';
import { EpollDriver } from '../../worker/multi/epoll-driver.ts';
import { Multi } from '../../worker/multi/multi.ts';
import { Transfer } from '../../worker/multi/transfer.ts';
import { countOf } from './count-of.ts';
import { LoadError } from './load-error.ts';

/** What the process needs besides connections: Node's own, and a few per shard. */
const FILES_APART = 64;
const FILES_PER_SHARD = 16;
const PORTS_MAX = 65_536;
/** Linux: a port stays with its last connection this long after a close (TCP_TIMEWAIT_LEN). */
const TIME_WAIT_S = 60;
const MS_PER_SECOND = 1_000;

/** What this machine allows; tests give other figures. */
export interface MachineLimits {
  readonly files: number;
  /** net.ipv4.ip_local_port_range, first and last. */
  readonly ports: readonly [number, number];
  /** net.ipv4.tcp_tw_reuse: 0 no, 1 yes, 2 on loopback. */
  readonly timeWaitReuse: number;
}

export function machineLimits(): MachineLimits {
  const [first = 32_768, last = 60_999] = numbersOf('/proc/sys/net/ipv4/ip_local_port_range');
  const [timeWaitReuse = 0] = numbersOf('/proc/sys/net/ipv4/tcp_tw_reuse');
  return { files: fileLimit(), ports: [first, last], timeWaitReuse };
}

function numbersOf(file: string): number[] {
  try {
    return readFileSync(file, 'latin1').trim().split(/\s+/).map(Number);
  } catch {
    return [];
  }
}

/** Throws LoadError for what cannot work. Answers what may not, as sentences. */
export function checkMachine(plan: LoadPlan, limits: MachineLimits): string[] {
  checkFiles(plan, limits);
  return checkPorts(plan, limits);
}

function checkFiles({ connectionsMax, shards }: LoadPlan, { files }: MachineLimits): void {
  const needed = connectionsMax + FILES_APART + FILES_PER_SHARD * shards;
  if (needed <= files) return;
  throw new LoadError(
    'limits',
    `For ${countOf(connectionsMax, 'connection')} about ${needed} open files are needed, and this process may have ${files}; raise the hard limit to ${needed} (ulimit -Hn ${needed}, or nofile in /etc/security/limits.conf), or use fewer connections.`,
  );
}

function checkPorts(plan: LoadPlan, limits: MachineLimits): string[] {
  const { route, targets, localAddresses, connectionsMax, keepAlive, model, profile } = plan;
  if (route.unixPath !== undefined) return [];
  const [first, last] = limits.ports;
  const locals = Math.max(1, localAddresses.length);
  // A port may be used once per target address; names may have several, but nobody promises that.
  const origins = new Set(targets.map(({ url }) => new URL(url).origin)).size;
  const perAddress = last - first + 1;
  const ports = perAddress * locals * origins;
  if (connectionsMax > ports) {
    const addresses = Math.ceil(connectionsMax / (perAddress * origins));
    const [widest] = [PORTS_MAX - 1024];
    const wider =
      connectionsMax <= widest * locals * origins ? ', or widen net.ipv4.ip_local_port_range to "1024 65535"' : '';
    throw new LoadError(
      'limits',
      `${connectionsMax} connections need as many local ports and there are ${ports} (${first} to ${last}, once per local address); give ${addresses} local addresses with --local-addr (127.0.0.1-127.0.0.${addresses} on loopback)${wider}.`,
    );
  }
  if (keepAlive || model === 'closed') return [];
  const rate = Math.max(...profile.flatMap(({ from, to }) => [from, to]));
  const reuses =
    limits.timeWaitReuse === 1 ||
    (limits.timeWaitReuse === 2 && targets.every(({ url }) => isLoopback(new URL(url).hostname)));
  const seconds = reuses ? 1 : TIME_WAIT_S;
  if (rate * seconds <= ports) return [];
  const addresses = Math.ceil((rate * seconds) / (perAddress * origins));
  return [
    `${rate} new connections a second leave up to ${Math.round(rate * seconds)} ports waiting (TIME_WAIT, ${seconds} s) and there are ${ports}; if connections fail with EADDRNOTAVAIL give ${addresses} local addresses with --local-addr, or set net.ipv4.tcp_tw_reuse to 1.`,
  ];
}

function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || (isIP(hostname) === 4 && hostname.startsWith('127.'));
}

/**
 * Connects to each origin once, through TLS where there is some, and closes: a name that does not resolve, a refusal or a certificate
 * that does not verify is told before load starts. Throws LoadError.
 */
export async function probeTargets(plan: LoadPlan, signal: AbortSignal | undefined): Promise<void> {
  if (signal?.aborted) return;
  const urls = new Map(plan.targets.map(({ url }) => [new URL(url).origin, url]));
  const multi = new Multi({ resolve: plan.resolve });
  const driver = new EpollDriver(multi);
  try {
    await new Promise<void>((resolve, reject) => {
      const probes = [...urls.values()].flatMap((url) => localsOf(plan).map((local) => probeOf(plan, url, local)));
      let left = probes.length;
      const connected = (transfer: Transfer) => {
        multi.remove(transfer);
        if (--left === 0) resolve();
      };
      driver.onTurn = () => {
        for (const transfer of multi.transfers()) if (transfer.connection !== null) connected(transfer);
        for (let transfer = multi.nextDone(); transfer !== null; transfer = multi.nextDone()) {
          // A server that closes at once was reached: what it does to requests is what the run tells.
          if (transfer.tlsUs >= 0) connected(transfer);
          else reject(new LoadError('target', transfer.error?.message ?? '', { cause: transfer.error }));
        }
      };
      signal?.addEventListener('abort', () => resolve(), { once: true });
      driver.run();
      for (const probe of probes) multi.add(probe);
    });
  } finally {
    multi.close();
    driver.stop();
  }
}

/** Every local address is tried: one that is not this machine's would fail a share of all requests. */
function localsOf({ localAddresses }: LoadPlan): readonly (string | undefined)[] {
  return localAddresses.length === 0 ? [undefined] : localAddresses;
}

/** It connects, and holds its request for ever. */
function probeOf(plan: LoadPlan, url: string, local: string | undefined): Transfer {
  const route: RouteOptions = local === undefined ? plan.route : { ...plan.route, localAddress: local };
  const connectMs = Math.min(plan.timeoutMs, 10 * MS_PER_SECOND);
  const transfer = new Transfer({ url, ...route, freshConnect: true, timeouts: { connectMs } });
  transfer.pause('send');
  return transfer;
}
