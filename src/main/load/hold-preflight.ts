/**
 * What is looked at before connections are opened: files per process and of the system, ports, watches, the queue of a server on
 * this machine. Each refusal says which setting to change and to what. Figures come from /proc and are given to what judges them.
 */

import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import type { HoldPlan } from '../../protocol/load/hold.ts';
import { countOf } from './count-of.ts';
import { LoadError } from './load-error.ts';
import { type MachineLimits, machineLimits } from './preflight.ts';

/** What a process needs besides its connections. */
export const HOLD_FILES_APART = 80;
const PORTS_WIDEST = 65_535 - 1_024 + 1;
/** At once, of all processes (see `connection-pacer.ts`). */
const CONNECTING_MAX = 256;

export interface HoldLimits extends MachineLimits {
  /** fs.file-max less what is open; Infinity: unknown. */
  readonly filesLeft: number;
  /** fs.epoll.max_user_watches. */
  readonly watches: number;
  /** net.core.somaxconn: no accept queue of this machine is longer. */
  readonly somaxconn: number;
  /** nf_conntrack_max less what is tracked; Infinity: nothing is tracked. */
  readonly tracked: number;
}

export function holdLimits(): HoldLimits {
  const unbounded = Number.POSITIVE_INFINITY;
  const [used = 0, , most = unbounded] = numbersOf('/proc/sys/fs/file-nr');
  const [watches = unbounded] = numbersOf('/proc/sys/fs/epoll/max_user_watches');
  const [somaxconn = unbounded] = numbersOf('/proc/sys/net/core/somaxconn');
  const [trackedMax = unbounded] = numbersOf('/proc/sys/net/netfilter/nf_conntrack_max');
  const [tracked = 0] = numbersOf('/proc/sys/net/netfilter/nf_conntrack_count');
  return { ...machineLimits(), filesLeft: most - used, watches, somaxconn, tracked: trackedMax - tracked };
}

function numbersOf(file: string): number[] {
  try {
    return readFileSync(file, 'latin1').trim().split(/\s+/).map(Number);
  } catch {
    return [];
  }
}

/** Throws LoadError for what cannot work. Answers what may not, as sentences. */
export function checkHold(plan: HoldPlan, limits: HoldLimits): string[] {
  const { load } = plan;
  const { connectionsMax, shards } = load;
  const each = Math.ceil(connectionsMax / shards) + HOLD_FILES_APART;
  if (each > limits.files) {
    const processes = Math.ceil(connectionsMax / Math.max(1, limits.files - HOLD_FILES_APART));
    throw refusal(
      `For ${countOf(connectionsMax, 'connection')} in ${countOf(shards, 'process')} ${each} open files are needed in each, and a process may have ${limits.files}; use --processes ${processes}, or raise the hard limit to ${each} (ulimit -Hn ${each}, or nofile in /etc/security/limits.conf).`,
    );
  }
  const files = connectionsMax + shards * HOLD_FILES_APART;
  if (files > limits.filesLeft) {
    throw refusal(
      `For ${countOf(connectionsMax, 'connection')} ${files} open files are needed, and the system has ${limits.filesLeft} left; raise fs.file-max by ${files - limits.filesLeft} (sysctl -w fs.file-max=…), or hold fewer.`,
    );
  }
  if (connectionsMax > limits.watches) {
    throw refusal(
      `${connectionsMax} connections need as many epoll watches and fs.epoll.max_user_watches is ${limits.watches}; raise it to ${connectionsMax} (sysctl -w fs.epoll.max_user_watches=${connectionsMax}).`,
    );
  }
  if (load.route.unixPath !== undefined) return [];
  checkPorts(plan, limits);
  return notesOf(plan, limits);
}

/** A port serves once per local address and target address. */
function checkPorts({ load, toAddresses }: HoldPlan, { ports: [first, last] }: HoldLimits): void {
  const { connectionsMax, localAddresses } = load;
  const targets = targetCount(load, toAddresses);
  const locals = Math.max(1, localAddresses.length);
  const range = last - first + 1;
  // The most on one pair of addresses.
  const each = Math.ceil(connectionsMax / (targets * locals));
  if (each <= range) return;
  const needed = Math.ceil(connectionsMax / (range * targets));
  const wider =
    each <= PORTS_WIDEST
      ? ', or widen net.ipv4.ip_local_port_range (sysctl -w net.ipv4.ip_local_port_range="1024 65535")'
      : '';
  throw refusal(
    `${connectionsMax} connections to ${countOf(targets, 'target address')} from ${countOf(locals, 'local address')} need ${each} local ports each and there are ${range} (${first} to ${last}); give ${needed} local addresses with --local-addr (127.0.0.1-127.0.0.${needed} on loopback), more target addresses with --to${wider}.`,
  );
}

function targetCount({ targets }: HoldPlan['load'], toAddresses: readonly string[]): number {
  const ports = new Set(targets.map(({ url }) => new URL(url).port));
  if (toAddresses.length > 0) return new Set(toAddresses).size * ports.size;
  return new Set(targets.map(({ url }) => new URL(url).host)).size;
}

function notesOf({ load, toAddresses }: HoldPlan, { somaxconn, tracked }: HoldLimits): string[] {
  const notes: string[] = [];
  const hosts = toAddresses.length > 0 ? toAddresses : load.targets.map(({ url }) => new URL(url).hostname);
  if (hosts.some(isLoopback) && somaxconn < CONNECTING_MAX) {
    notes.push(
      `net.core.somaxconn is ${somaxconn}, so a server on this machine takes no more connections at once, and up to ${CONNECTING_MAX} are opened at once; raise it to ${CONNECTING_MAX} and the server's backlog too, or use --connect-rate.`,
    );
  }
  if (load.connectionsMax > tracked) {
    notes.push(
      `The firewall of this machine has room for ${tracked} more connections; if some cannot be opened raise net.netfilter.nf_conntrack_max.`,
    );
  }
  return notes;
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '[::1]' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}

/** Connections that a server on this machine (this network namespace) had no room for, since the machine began. */
export function acceptOverflows(): number {
  try {
    const lines = readFileSync('/proc/net/netstat', 'latin1').split('\n');
    const [names, values] = lines.filter((line) => line.startsWith('TcpExt:')).map((line) => line.split(' '));
    return Number(values?.[names?.indexOf('ListenOverflows') ?? -1] ?? 0);
  } catch {
    return 0;
  }
}

function refusal(sentence: string): LoadError {
  return new LoadError('limits', sentence);
}
