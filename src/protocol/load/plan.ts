/**
 * LoadPlan: everything a run needs, checked and complete, as plain data: it crosses to every shard by structured clone, and each
 * shard works out its own share of it. What a caller may write instead, with units and defaults, is `main/load/load-options.ts`'s.
 *
 * Times are milliseconds from the start of the run, warm-up included.
 */

import type { HeaderPair } from '../http1/header-pairs.ts';
import type { RouteOptions } from '../route-options.ts';
import type { ScenarioPlan } from './scenario.ts';
import type { LoadTable, RequestTemplate } from './template.ts';

export interface LoadBodyFile {
  readonly path: string;
  readonly bytes: number;
}

/** One kind of request. */
export interface LoadTarget {
  /** Absolute `http:` or `https:` URL, without credentials (they are in `headers` by now). With a template: as it was written. */
  readonly url: string;
  readonly method: string;
  readonly headers: readonly HeaderPair[];
  /** null: none, or a file's. */
  readonly body: Uint8Array | null;
  /** A body that is read anew for each request, piece by piece; null: none. */
  readonly bodyFile: LoadBodyFile | null;
  /** The head, and a body with templates, where there are any; then `headers` is empty. null: there are none. */
  readonly template: RequestTemplate | null;
  /** How often it is sent, against the weights of the others. Whole, 1 at least. */
  readonly weight: number;
  /** Its name in the result's `perTag`; several targets may share one. */
  readonly tag: string;
}

/**
 * A piece of the run's profile: from `fromMs` to `untilMs` the value goes straight from `from` to `to`. What the value is says the
 * model: requests per second in open loop, connections in closed loop. Segments follow each other without a gap.
 */
export interface LoadSegment {
  readonly fromMs: number;
  readonly untilMs: number;
  readonly from: number;
  readonly to: number;
}

/**
 * closed  each connection sends its next request when it has its answer (and has thought): the server sets the pace, and a server that
 *         stalls is asked less
 * open    requests begin when the profile says so, whatever the server does; latency counts from that moment
 */
export type LoadModel = 'closed' | 'open';

export interface LoadPlan {
  readonly targets: readonly LoadTarget[];
  /** What virtual users do; then the targets are only where they do it. null: targets are sent. */
  readonly scenario: ScenarioPlan | null;
  /** Of templates and scenarios. */
  readonly tables: readonly LoadTable[];
  /** Each connection's slot keeps the cookies that it is given. */
  readonly cookies: boolean;
  /** How many redirects in a row are followed; 0: none. */
  readonly redirectsMax: number;
  /** Of all targets. `localAddress` is an array where there are several, used in turn by connection. */
  readonly route: Omit<RouteOptions, 'localAddress'>;
  /** Numeric addresses of this machine to connect from, in turn; empty: the kernel chooses. */
  readonly localAddresses: readonly string[];
  /** Fixed addresses by `host:port` (curl's --resolve). */
  readonly resolve: Readonly<Record<string, readonly string[]>>;
  readonly model: LoadModel;
  readonly profile: readonly LoadSegment[];
  /** Closed: the most that the profile reaches. Open: how many requests may be in flight. */
  readonly connectionsMax: number;
  /** Ends the run after so many requests, or iterations of a scenario, were started and counted; 0: only the profile ends it. */
  readonly requestsMax: number;
  /** The beginning of the run that counts for nothing. It is part of the profile. */
  readonly warmupMs: number;
  /** Closed: between an answer and the next request, drawn evenly from least to most. */
  readonly thinkMs: readonly [least: number, most: number];
  /** false: one connection per request. */
  readonly keepAlive: boolean;
  /** New connections per second, all shards together; 0: as fast as it goes. */
  readonly connectRate: number;
  /** A request without its whole answer after so long has failed; counted from when it was sent (or began to connect). */
  readonly timeoutMs: number;
  /** Open: how many requests may be due and wait for a free connection; more are counted as not started. */
  readonly lateMax: number;
  readonly shards: number;
}

/** The beginning and the end of the profile. */
export function profileEndMs(profile: readonly LoadSegment[]): number {
  return profile.at(-1)?.untilMs ?? 0;
}

/** How much of `total` shard number `shard` of `shards` has: the shares differ by one at most and add up. */
export function shareOf(total: number, shard: number, shards: number): number {
  return Math.floor(total / shards) + (shard < total % shards ? 1 : 0);
}
