/** The options and callbacks of a Multi (libcurl: CURLMOPT_*): names, units, defaults, checks. What they do is `multi.ts`'s. */

import { isUint8Array } from '../../protocol/built-ins.ts';
import { invalidArgument } from '../../protocol/errors.ts';
import type { LookupFunction } from '../../protocol/lookup-function.ts';
import { checkBoolean, checkInteger, checkNumber, checkRecord, describe } from '../../protocol/options.ts';
import { checkStaticAddresses, type StaticAddressesGiven } from '../../protocol/static-addresses.ts';
import type { Io, Socket } from '../io/io.ts';
import type { CacheLimits } from './connection-cache.ts';
import { LOOKUP_TTL_MS } from './lookups.ts';
import type { Transfer } from './transfer.ts';
import { checkCallback } from './transfer-options.ts';

/**
 * Called only when what is wanted of a socket changes. `what`: 1 in, 2 out, 3 in and out, 4 remove. `transfer` is null for an
 * idle connection and for the resolver. `data` is what `assign` tied to the socket. Returning -1 ends the multi (rule 48).
 */
// biome-ignore lint/suspicious/noConfusingVoidType: returning nothing is the usual case.
export type SocketCallback = (transfer: Transfer | null, socket: Socket, what: number, data: unknown) => void | number;

/** The one timer: -1 delete it; 0 as soon as possible; else set it anew to this many ms. Returning -1 ends the multi. */
// biome-ignore lint/suspicious/noConfusingVoidType: returning nothing is the usual case.
export type TimerCallback = (timeoutMs: number) => void | number;

/** What `clear` lets go of. */
export interface ClearOptions {
  /** Default true. */
  connections?: boolean;
  /** Default true. */
  dns?: boolean;
}

/** What `new Multi(options)` may be told (libcurl: CURLMOPT_*). Counts of 0 mean no limit. */
export interface MultiOptions {
  /** How sockets are reached. Default: the native addon. */
  io?: Io;
  /** Idle connections kept (CURLMOPT_MAXCONNECTS, but fixed). Default 10,000. */
  maxConnects?: number;
  /** Open connections per origin; more transfers wait (CURLMOPT_MAX_HOST_CONNECTIONS). Default 0: no limit. */
  maxHostConnections?: number;
  /** Open connections altogether (CURLMOPT_MAX_TOTAL_CONNECTIONS). Default 0: no limit. */
  maxTotalConnections?: number;
  /** Transfers waiting for a connection; more fail with QUEUE_FULL. Default 0: no limit. */
  queueLength?: number;
  /** Milliseconds an idle connection is kept (CURLOPT_MAXAGE_CONN). Default 118,000. */
  idleMs?: number;
  /** Milliseconds a connection may live and be used again (CURLOPT_MAXLIFETIME_CONN). Default 24 h. */
  lifetimeMs?: number;
  /** Milliseconds a resolved name is kept (CURLOPT_DNS_CACHE_TIMEOUT); 0: not at all. Default 60,000. */
  lookupTtlMs?: number;
  /** Finds the addresses of names in the place of this machine's resolver. */
  lookup?: LookupFunction;
  /** Fixed addresses by `host:port` or `*:port` (CURLOPT_RESOLVE); see `setAddresses`. */
  resolve?: StaticAddressesGiven;
  /** Milliseconds an address of a name has before the next one is tried beside it (CURLOPT_HAPPY_EYEBALLS_TIMEOUT_MS; RFC 8305 §5). Default 250. */
  happyEyeballsMs?: number;
}

export interface ResolvedMultiOptions {
  readonly io: Io | undefined;
  readonly cacheLimits: CacheLimits;
  readonly lookupTtlMs: number;
  readonly lookup: LookupFunction | null;
  readonly resolve: StaticAddressesGiven;
  readonly happyEyeballsMs: number;
}

const DAY_MS = 24 * 3600 * 1000;
/** RFC 8305 §5 recommends it; libcurl has 200. */
const HAPPY_EYEBALLS_MS = 250;
const DEFAULT_CACHE_LIMITS: CacheLimits = {
  maxConnects: 10_000,
  maxHostConnections: 0,
  maxTotalConnections: 0,
  queueLength: 0,
  idleMs: 118_000,
  lifetimeMs: DAY_MS,
};
const OPTION_NAMES = [
  'io',
  'lookupTtlMs',
  'lookup',
  'resolve',
  'happyEyeballsMs',
  ...Object.keys(DEFAULT_CACHE_LIMITS),
];

/** Throws TransferError INVALID_ARGUMENT that names the option. */
export function resolveMultiOptions(options: unknown): ResolvedMultiOptions {
  const given = checkRecord('options', options, OPTION_NAMES) as MultiOptions;
  const { io, lookupTtlMs = LOOKUP_TTL_MS, resolve = {}, happyEyeballsMs = HAPPY_EYEBALLS_MS } = given;
  checkStaticAddresses('resolve', resolve);
  return {
    io: checkIo(io),
    cacheLimits: resolveCacheLimits(given),
    lookupTtlMs: checkNumber('lookupTtlMs', lookupTtlMs, 0, DAY_MS, 'milliseconds'),
    lookup: checkCallback('lookup', given.lookup),
    resolve,
    happyEyeballsMs: checkNumber('happyEyeballsMs', happyEyeballsMs, 1, DAY_MS, 'milliseconds'),
  };
}

/** Whether it does what an Io does shows when it is used; what is none at all is told at once. */
function checkIo(io: Io | undefined): Io | undefined {
  if (io === undefined) return io;
  const isIo = typeof io === 'object' && io !== null && typeof io.open === 'function' && typeof io.now === 'function';
  if (isIo && isUint8Array(io.writeBuffer)) return io;
  throw invalidArgument('io', `io must be an Io, not ${describe(io)}; leave it out to use this machine's sockets.`);
}

/** Throws TransferError INVALID_ARGUMENT that names the option. */
export function resolveClearOptions(options: unknown): Required<ClearOptions> {
  const { connections = true, dns = true } = checkRecord('options', options, ['connections', 'dns']);
  return { connections: checkBoolean('options.connections', connections), dns: checkBoolean('options.dns', dns) };
}

function resolveCacheLimits(options: MultiOptions): CacheLimits {
  const limits: CacheLimits = { ...DEFAULT_CACHE_LIMITS };
  for (const name of Object.keys(limits) as (keyof CacheLimits)[]) {
    const value = options[name];
    if (value === undefined) continue;
    limits[name] = checkCacheLimit(name, value);
  }
  return limits;
}

/** An option that `setOption` may change. */
export type MultiOptionName = keyof CacheLimits;

export function isCacheLimit(name: unknown): name is MultiOptionName {
  return typeof name === 'string' && Object.hasOwn(DEFAULT_CACHE_LIMITS, name);
}

/** Throws TransferError INVALID_ARGUMENT. */
export function checkCacheLimit(name: MultiOptionName, value: unknown): number {
  return name.endsWith('Ms')
    ? checkNumber(name, value, 1, Number.MAX_SAFE_INTEGER, 'milliseconds')
    : checkInteger(name, value, 0, Number.MAX_SAFE_INTEGER);
}
