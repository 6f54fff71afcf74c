/**
 * The control plane: what the main thread asks of a shard now and then, over Comlink on a port of its own. Each answer is
 * `{ ok }` or `{ error }` with the error encoded by us, because Comlink loses an error's code and cause (TRAPS 9).
 */

import type { GuardQuestion } from '../guard-options.ts';
import type { Limits, Timeouts } from '../options.ts';
import type { ProxyRules } from '../proxy-options.ts';
import type { IpFamily, RouteOptions } from '../route-options.ts';
import type { StaticAddressesGiven } from '../static-addresses.ts';
import type { RequestExtras } from './request-extras.ts';

/** What a shard is started with. */
export interface ShardConfig {
  /** Its number, from 0. */
  readonly shard: number;
  /** How many the pool has. */
  readonly shards: number;
  /** Its share of `connections.total`. */
  readonly totalConnections: number;
  /** Its share of `connections.queueLength`. */
  readonly queueLength: number;
  /** Its share of the pool's budget of unread body bytes. */
  readonly unreadBytes: number;
  readonly idleMs: number;
  /** What requests get that do not say otherwise; null: the usual. */
  readonly extras: RequestExtras | null;
  readonly lookupTtlMs: number;
  /** Fixed addresses, checked. */
  readonly resolve: StaticAddressesGiven;
  /** How connections are made that a request says nothing else of, checked. */
  readonly route: RouteOptions;
  /** null: none. */
  readonly proxy: ProxyRules | null;
  /** What the guard is known by; null: there is none. */
  readonly guard: string | null;
  /** What the pool's `tls.checkServerIdentity` is known by, which is not in `route`; null: there is none. */
  readonly identityCheck: string | null;
  readonly timeouts: Readonly<Timeouts>;
  readonly limits: Readonly<Limits>;
}

/** What `pool.stats()` says of one shard. Counts are since the shard began; times in milliseconds. */
export interface ShardStats {
  /** Its number, from 0. */
  readonly shard: number;
  /** Transfers under way, the waiting ones included. */
  readonly running: number;
  /** Transfers waiting for a connection. */
  readonly queued: number;
  /** Open connections that serve nobody. */
  readonly idle: number;
  /** Open connections, idle ones included. */
  readonly connections: number;
  /** Connections ever opened. */
  readonly opened: number;
  /** Transfers that ran over a connection that had served others. */
  readonly reused: number;
  /** Transfers it was given. */
  readonly started: number;
  /** Transfers whose response came whole. */
  readonly completed: number;
  /** Transfers that ended with an error. */
  readonly failed: number;
  /** Transfers that the caller gave up. */
  readonly aborted: number;
  /** Bytes of bodies, as they came. */
  readonly bytesIn: number;
  /** Bytes of requests, heads included. */
  readonly bytesOut: number;
  /** Bytes of bodies that were received, or have a buffer waiting for them, and were not yet read by the caller; bodies up to 64 KiB apart. */
  readonly unreadBytes: number;
  /** Turns of the crank. */
  readonly turns: number;
  /** Time spent in turns. */
  readonly loopMs: number;
  /** Frames that were bad or for unknown transfers, and so ignored. */
  readonly ignoredFrames: number;
}

/** An answer of the control plane. */
export type ControlAnswer<T> = { readonly ok: T } | { readonly error: string };

/** What a shard exposes. */
export interface ShardControl {
  ping(): ControlAnswer<true>;
  stats(): ControlAnswer<ShardStats>;
  /** A certificate as DER, by the number that stands in the head of a response. */
  peerCertificate(number: number): ControlAnswer<Uint8Array>;
  /** Ends every transfer and closes every descriptor. */
  close(): ControlAnswer<true>;
}

/** What the main thread exposes to a shard when the pool has a look-up function. */
export interface LookupControl {
  lookup(host: string, family: IpFamily): Promise<ControlAnswer<readonly string[]>>;
}

/** What the main thread exposes to a shard when the pool has a function that checks identities. */
export interface IdentityControl {
  /** `certificate`: DER. An error refuses the peer. */
  check(host: string, certificate: Uint8Array): Promise<ControlAnswer<true>>;
}

/** What the main thread exposes to a shard for guards that are functions. */
export interface GuardControl {
  /** For each address: null, it may be connected to; or why not, as `encodeError` makes it. */
  judge(name: string, question: GuardQuestion): Promise<ControlAnswer<readonly (string | null)[]>>;
}

/** What the shard's task is given: its configuration and its ports. */
export interface ShardTask<Port> {
  readonly config: ShardConfig;
  readonly dataPort: Port;
  readonly controlPort: Port;
  /** For guards that are functions; a request may bring one at any time. */
  readonly guardPort: Port;
  /** null: names are resolved in the shard. */
  readonly lookupPort: Port | null;
  /** null: identities are checked by RFC 9525 alone, in the shard. */
  readonly identityPort: Port | null;
}
