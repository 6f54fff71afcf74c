/** What a caller of `hold()` says, with units and defaults, and the plan that it comes to. Everything is checked before anything is opened. */

import { isIP } from 'node:net';
import { invalidArgument } from '../../protocol/errors.ts';
import type { HoldPlan, HoldProgress } from '../../protocol/load/hold.ts';
import { checkBoolean, checkInteger, checkNumber, checkRecord, describe } from '../../protocol/options.ts';
import { countOf } from './count-of.ts';
import { type HoldThreshold, parseHoldThreshold } from './hold-threshold.ts';
import { type LoadOptions, RATE_MAX, resolveLoadOptions } from './load-options.ts';

/** What `hold(options)` may be told. Unknown ones are refused. */
/** What `hold` takes. What is sent and where to is said as for `load`. */
export interface HoldOptions
  extends Pick<
    LoadOptions,
    | 'url'
    | 'targets'
    | 'method'
    | 'headers'
    | 'body'
    | 'auth'
    | 'tls'
    | 'connectTo'
    | 'family'
    | 'unixPath'
    | 'localAddresses'
    | 'resolve'
    | 'signal'
  > {
  /** How many connections are opened and held. Default 1,000. */
  connections?: number;
  /** How long, from when all are open. Default 10,000. */
  durationMs?: number;
  /** So many of them have a request under way, one at a time each; `'all'`. Default 10, with a rate none. */
  active?: number | 'all';
  /** Requests per second, over all connections in turn, instead of `active`. */
  rate?: number;
  /** New connections per second. Default 0: as fast as the server takes them, 256 at once. */
  connectRate?: number;
  /** Processes that share the connections: each has its own limit of open files, and its own core. Default 1. */
  processes?: number;
  /** Addresses to connect to in place of the URLs' hosts, in turn. */
  toAddresses?: readonly string[];
  /** A connection or an answer that takes longer has failed. Default 10,000. */
  timeoutMs?: number;
  /** Lost connections are opened again, once a second. Default false. */
  reconnect?: boolean;
  /** When the run has failed: `lost>0`; see docs/hold.md. */
  thresholds?: readonly string[];
  /** Called about once a second. */
  onProgress?: (progress: HoldProgress) => void;
}

export interface ResolvedHold {
  readonly plan: HoldPlan;
  readonly thresholds: readonly HoldThreshold[];
}

const CONNECTIONS_DEFAULT = 1_000;
const ACTIVE_DEFAULT = 10;
/** Each takes some 50 MB by itself. */
const PROCESSES_MAX = 64;

const OWN_NAMES = [
  'active',
  'rate',
  'processes',
  'toAddresses',
  'reconnect',
  'thresholds',
  'onProgress',
] as const satisfies readonly (keyof HoldOptions)[];

/** As `load()` has them. */
export const SHARED_NAMES = [
  'url',
  'targets',
  'method',
  'headers',
  'body',
  'auth',
  'tls',
  'connectTo',
  'family',
  'unixPath',
  'localAddresses',
  'resolve',
  'signal',
  'connections',
  'durationMs',
  'connectRate',
  'timeoutMs',
] as const satisfies readonly (keyof HoldOptions & keyof LoadOptions)[];

/** Throws TransferError INVALID_ARGUMENT that names the option. */
export function resolveHoldOptions(options: unknown): ResolvedHold {
  const given = checkRecord('options', options, [...OWN_NAMES, ...SHARED_NAMES]) as HoldOptions;
  const connections = checkInteger('connections', given.connections ?? CONNECTIONS_DEFAULT, 1, 10_000_000);
  const processes = checkInteger('processes', given.processes ?? 1, 1, PROCESSES_MAX);
  if (processes > connections) {
    throw invalidArgument(
      'processes',
      `${processes} processes cannot share ${countOf(connections, 'connection')}; use fewer processes or more connections.`,
    );
  }
  const shared = Object.fromEntries(SHARED_NAMES.flatMap((name) => (name in given ? [[name, given[name]]] : [])));
  const { plan: load } = resolveLoadOptions({ ...shared, connections, shards: processes, templates: false });
  if (load.targets.some(({ bodyFile }) => bodyFile !== null)) {
    throw invalidArgument('body', 'A request of hold is small: its body must fit into 1 MiB.');
  }
  const toAddresses = given.toAddresses ?? [];
  checkAddresses(toAddresses);
  if (toAddresses.length > 0 && (given.connectTo !== undefined || given.unixPath !== undefined)) {
    throw invalidArgument('toAddresses', 'toAddresses, connectTo and unixPath exclude each other: each says where to.');
  }
  const rate = given.rate === undefined ? 0 : checkNumber('rate', given.rate, 0, RATE_MAX, 'requests per second');
  if (rate > 0 && given.active !== undefined) {
    throw invalidArgument('rate', 'rate and active exclude each other: with a rate all connections take turns.');
  }
  return {
    plan: {
      load,
      toAddresses,
      active: rate > 0 || given.rate === 0 ? 0 : activeOf(given.active, connections),
      rate,
      durationMs: load.profile.at(-1)?.untilMs ?? 0,
      reconnect: checkBoolean('reconnect', given.reconnect, false),
    },
    thresholds: (given.thresholds ?? []).map(parseHoldThreshold),
  };
}

function activeOf(active: HoldOptions['active'], connections: number): number {
  if (active === 'all') return connections;
  if (active === undefined) return Math.min(ACTIVE_DEFAULT, connections);
  return checkInteger('active', active, 0, connections);
}

function checkAddresses(addresses: readonly string[]): void {
  const bad = addresses.find((address) => isIP(address) === 0);
  if (bad !== undefined)
    throw invalidArgument('toAddresses', `toAddresses must be IP addresses, not ${describe(bad)}.`);
}
