/** The options of a Pool: names, defaults, bounds. All are known from the first day; those not built yet say so when used. */

import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { invalidArgument } from '../protocol/errors.ts';
import type { LookupFunction } from '../protocol/lookup-function.ts';
import {
  checkBoolean,
  checkInteger,
  checkNumber,
  checkRecord,
  completeLimits,
  completeTimeouts,
  describe,
  type Limits,
  TIMEOUT_MS_MAX,
  type Timeouts,
} from '../protocol/options.ts';
import { type PaceLimits, type PaceOptions, resolvePace } from '../protocol/pace-options.ts';
import { type IpFamily, type RouteOptions, resolveRouteOptions } from '../protocol/route-options.ts';
import { checkStaticAddresses, type StaticAddressesGiven } from '../protocol/static-addresses.ts';
import type { CheckServerIdentity, TlsOptions } from '../protocol/tls-options.ts';
import { checkDecompress } from './body-options.ts';
import { type CallPolicies, resolvePolicies } from './call-policies.ts';
import { CONNECTING_NAMES, Connecting, type ConnectingOptions } from './connecting.ts';
import type { CookieJar } from './cookies.ts';
import type { RedirectMode, RedirectOptions } from './redirect-options.ts';
import type { RetryOptions } from './retry-options.ts';

/** Where a request's connections live; see placement.ts. A function answers the key that is hashed instead of the origin; `connections.perOrigin` then holds for each key of an origin. */
export type PlacementOption = 'origin' | 'spread' | ((url: URL) => string);

/** How many connections a pool opens and how long it keeps them. */
export interface ConnectionOptions {
  /** Most open connections per origin, of the whole pool (CURLMOPT_MAX_HOST_CONNECTIONS); with a function as `placement`, for each key of an origin. Default 256. */
  perOrigin?: number;
  /** Most open connections, of the whole pool (CURLMOPT_MAX_TOTAL_CONNECTIONS). Default: 20,000, or what the hard limit of open files (ulimit -Hn) leaves: 500 less, or half of it where it is below 1,000. */
  total?: number;
  /** Milliseconds an idle connection is kept (CURLOPT_MAXAGE_CONN). Default 60,000. */
  idleMs?: number;
  /** false: one request per connection, which a peer that answers before it was asked cannot poison (CURLOPT_FORBID_REUSE). Default true. */
  reuse?: boolean;
  /** Bytes of bodies that may be received and unread in the whole pool before each body is held to 64 KiB. Default 64 MiB. */
  unreadBytes?: number;
  /** Most requests waiting for a connection, of the whole pool; more fail with QUEUE_FULL. Default 100,000. */
  queueLength?: number;
}

/** What `new Pool(options)` may be told. All are optional; unknown ones are refused. One table with all defaults: docs/pool-options.md. */
export interface PoolOptions extends ConnectingOptions {
  /** Worker threads. Default: cores - 1, at least 1. 0: run in this thread. */
  shards?: number;
  /** Default `'origin'`: a quiet origin stays on one shard and reuses its connections, a busy one spreads over all. */
  placement?: PlacementOption;
  /** How many connections are opened, and how long they are kept. */
  connections?: ConnectionOptions;
  /** Which clocks run on each request. */
  timeouts?: Partial<Timeouts>;
  /** How much of what a peer sends is taken. */
  limits?: Partial<Limits>;
  /** How fast each transfer may and must be. Default: as fast or slow as it is. */
  pace?: PaceOptions;
  /** When failed requests are made again. Default: never, but for the one safe retry of RFC 9110 §9.2.2, which is always made. `true`: the policy's defaults. */
  retry?: RetryOptions | boolean;
  /** How names become addresses. */
  dns?: {
    /** Milliseconds a resolved name is kept (CURLOPT_DNS_CACHE_TIMEOUT); 0: not at all. Default 60,000. */
    ttlMs?: number;
    /** Finds the addresses of names, in this thread, in the place of this machine's resolver. */
    lookup?: LookupFunction;
    /** Which addresses of a name are used (CURLOPT_IPRESOLVE): 4, 6, or 0 for all. Default 0. */
    family?: IpFamily;
    /** Fixed addresses by `host:port` or `*:port` (CURLOPT_RESOLVE): they come before look-ups and never expire. */
    resolve?: StaticAddressesGiven;
  };
  /** The address of this machine to connect from, or several that are used in turn (CURLOPT_INTERFACE): one target takes as many connections from each as there are ports. */
  localAddress?: string | readonly string[];
  /** Of all `https:` requests. Default: Node's root certificates, TLS 1.2 and 1.3. */
  tls?: TlsOptions;
  /** Ask for content codings and take them off (CURLOPT_ACCEPT_ENCODING), see docs/content-coding.md. Default true. */
  decompress?: boolean;
  /** What is done with redirects. Default `'follow'`, up to 20. */
  redirect?: RedirectMode | RedirectOptions;
  /** The jar whose cookies are sent and which stores those that are set: tough-cookie's CookieJar, or one like it. Default: none. */
  cookies?: CookieJar | null;
}

export interface ResolvedPoolOptions {
  readonly shards: number;
  readonly placement: PlacementOption;
  readonly connections: Readonly<Required<ConnectionOptions>>;
  readonly timeouts: Readonly<Timeouts>;
  readonly limits: Readonly<Limits>;
  readonly pace: PaceLimits | null;
  readonly lookupTtlMs: number;
  /** null: this machine's resolver. */
  readonly lookup: LookupFunction | null;
  /** null: names are checked by RFC 9525. */
  readonly checkServerIdentity: CheckServerIdentity | null;
  readonly resolve: StaticAddressesGiven;
  /** Of every request that says nothing else. */
  readonly route: RouteOptions;
  /** Of every request that says nothing else. */
  readonly policies: CallPolicies;
  readonly decompress: boolean;
  readonly connecting: Connecting;
}

/** More threads than this are a slip: each takes some 10 MiB and a core. */
const SHARDS_MAX = 1024;
const TOTAL_DEFAULT = 20_000;
/** Descriptors left for the program itself, where the limit is twice as many. */
const FILES_RESERVED = 500;
const PER_ORIGIN_DEFAULT = 256;
const IDLE_MS_DEFAULT = 60_000;
const QUEUE_LENGTH_DEFAULT = 100_000;
const UNREAD_BYTES_DEFAULT = 64 * 1024 * 1024;
const LOOKUP_TTL_MS_DEFAULT = 60_000;
const COUNT_MAX = 10_000_000;

const OPTION_NAMES = [
  'shards',
  'placement',
  'connections',
  'timeouts',
  'limits',
  'pace',
  'dns',
  'localAddress',
  'tls',
  'retry',
  'cookies',
  'decompress',
  'redirect',
  ...CONNECTING_NAMES,
];

const DNS_NAMES = ['ttlMs', 'lookup', 'family', 'resolve'];

type NameOptions = Pick<ResolvedPoolOptions, 'lookupTtlMs' | 'lookup' | 'checkServerIdentity' | 'resolve' | 'route'>;

/** Throws TransferError INVALID_ARGUMENT that names the option. */
export function resolvePoolOptions(options: unknown = {}): ResolvedPoolOptions {
  const given = checkRecord('options', options, OPTION_NAMES) as PoolOptions;
  const connections = resolveConnections(given.connections);
  const shards = resolveShards(given.shards, connections, given.connections?.total === undefined);
  // Each shard needs one at least, however few files may be open.
  connections.total = Math.max(connections.total, shards);
  return {
    shards,
    placement: checkPlacement(given.placement),
    connections,
    timeouts: completeTimeouts(given.timeouts),
    limits: completeLimits(given.limits),
    pace: resolvePace('pace', given.pace),
    ...resolveNames(given),
    policies: resolvePolicies(given),
    decompress: checkDecompress(given.decompress),
    connecting: new Connecting(given),
  };
}

/** Each shard has a share of each limit, so there cannot be more shards than a limit has units. */
function resolveShards(
  shards: unknown,
  { total, queueLength }: Required<ConnectionOptions>,
  totalIsDefault: boolean,
): number {
  if (shards === undefined) return Math.min(Math.max(1, availableParallelism() - 1), total, queueLength);
  const checked = checkInteger('shards', shards, 0, SHARDS_MAX);
  for (const [name, value] of Object.entries({ total, queueLength })) {
    if (value >= checked || (name === 'total' && totalIsDefault)) continue;
    const option = `connections.${name}`;
    throw invalidArgument(
      option,
      `${option} is ${value}, which ${checked} shards cannot share; use fewer shards or raise it.`,
    );
  }
  return checked;
}

function checkPlacement(placement: unknown): PlacementOption {
  if (placement === undefined) return 'origin';
  if (placement === 'origin' || placement === 'spread' || typeof placement === 'function') {
    return placement as PlacementOption;
  }
  throw invalidArgument('placement', `placement must be 'origin', 'spread' or a function, not ${describe(placement)}.`);
}

function resolveConnections(connections: unknown): Required<ConnectionOptions> {
  const totalMax = descriptorsAvailable();
  const resolved = {
    perOrigin: PER_ORIGIN_DEFAULT,
    total: Math.min(TOTAL_DEFAULT, totalMax),
    idleMs: IDLE_MS_DEFAULT,
    reuse: true,
    queueLength: QUEUE_LENGTH_DEFAULT,
    unreadBytes: UNREAD_BYTES_DEFAULT,
  };
  if (connections === undefined) return resolved;
  const given = checkRecord('connections', connections, Object.keys(resolved)) as ConnectionOptions;
  const { perOrigin, total, idleMs, queueLength, reuse, unreadBytes } = given;
  if (perOrigin !== undefined) resolved.perOrigin = checkInteger('connections.perOrigin', perOrigin, 1, COUNT_MAX);
  if (total !== undefined) resolved.total = checkTotal(total, totalMax);
  if (idleMs !== undefined) {
    resolved.idleMs = checkNumber('connections.idleMs', idleMs, 1, TIMEOUT_MS_MAX, 'milliseconds');
  }
  if (queueLength !== undefined) {
    resolved.queueLength = checkInteger('connections.queueLength', queueLength, 1, COUNT_MAX);
  }
  if (unreadBytes !== undefined) {
    resolved.unreadBytes = checkInteger('connections.unreadBytes', unreadBytes, 1, Number.MAX_SAFE_INTEGER);
  }
  if (reuse !== undefined) resolved.reuse = checkBoolean('connections.reuse', reuse);
  return resolved;
}

function checkTotal(total: unknown, totalMax: number): number {
  const checked = checkInteger('connections.total', total, 1, COUNT_MAX);
  if (checked <= totalMax) return checked;
  throw invalidArgument(
    'connections.total',
    `connections.total is ${checked}, but the hard limit of open files (ulimit -Hn) allows ${totalMax}, because ${FILES_RESERVED} files, or half of a limit below ${2 * FILES_RESERVED}, are left to the program; raise it or ask for at most ${totalMax}.`,
  );
}

function resolveNames({ dns = {}, localAddress, tls }: PoolOptions): NameOptions {
  const {
    ttlMs = LOOKUP_TTL_MS_DEFAULT,
    lookup = null,
    family,
    resolve = {},
  } = checkRecord('dns', dns, DNS_NAMES) as NonNullable<PoolOptions['dns']>;
  if (lookup !== null && typeof lookup !== 'function') {
    throw invalidArgument('dns.lookup', `dns.lookup must be a function, not ${describe(lookup)}.`);
  }
  checkNumber('dns.ttlMs', ttlMs, 0, TIMEOUT_MS_MAX, 'milliseconds, 0 for none');
  checkStaticAddresses('dns.resolve', resolve);
  resolveRouteOptions(family === undefined ? {} : { family }, 'dns.');
  const route: RouteOptions = {};
  if (family !== undefined) route.family = family;
  if (localAddress !== undefined) route.localAddress = localAddress;
  if (tls !== undefined) route.tls = tls;
  resolveRouteOptions(route);
  // Functions do not cross: this one stays here, and shards ask.
  const { checkServerIdentity = null, ...plainTls } = route.tls ?? {};
  if (checkServerIdentity !== null) route.tls = plainTls;
  // Copies: a shard that is begun later must find what was checked.
  return {
    lookupTtlMs: ttlMs,
    lookup,
    checkServerIdentity,
    resolve: structuredClone(resolve),
    route: structuredClone(route),
  };
}

/** How many connections the hard limit of open files allows. Node itself raises the soft limit to it. */
function descriptorsAvailable(): number {
  let hardLimit = Number.POSITIVE_INFINITY;
  try {
    const line = /^Max open files\s+\S+\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8'));
    if (line?.[1] !== undefined && line[1] !== 'unlimited') hardLimit = Number(line[1]);
  } catch {
    // Without /proc the limit is unknown; opening too many fails transfers one by one.
  }
  const reserved = Math.min(FILES_RESERVED, Math.floor(hardLimit / 2));
  return Math.max(1, Math.min(COUNT_MAX, hardLimit - reserved));
}
