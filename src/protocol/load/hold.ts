/**
 * What `hold()` is made of: its plan, what its processes and the main one tell each other, and its result.
 *
 *   main -> process   PLAN (first)   ACTIVE (all connections are open, in all processes)   STOP (at once)
 *   process -> main   READY (last before the first connection)   TICK (once a second)   OPENED (once)   DONE (last)
 *
 * One process has one thread, one multi and an equal share of everything. No message belongs to a request.
 */

import type { HistogramPart } from './histogram.ts';
import type { LoadPlan } from './plan.ts';
import type { LoadDistribution, LoadEnvironment, LoadShardHealth, LoadThresholdResult, LoadVerdict } from './result.ts';

/** Within version 1 members are added, never removed or changed. */
export const HOLD_SCHEMA = 'shardfetch-hold/1';

export interface HoldPlan {
  /** Targets, route, connections, rate of new connections and timeout; `shards` is the number of processes. */
  readonly load: LoadPlan;
  /** Addresses to connect to in place of the targets' hosts, in turn; empty: the hosts. */
  readonly toAddresses: readonly string[];
  /** So many connections have a request under way, one at a time each; 0 with a rate. */
  readonly active: number;
  /** Requests per second over all connections in turn; 0: `active` says. */
  readonly rate: number;
  readonly durationMs: number;
  /** Lost connections are opened again. */
  readonly reconnect: boolean;
}

export type ToHoldProcess =
  | { readonly kind: 'plan'; readonly plan: HoldPlan; readonly process: number }
  /** `startMs`: on CLOCK_MONOTONIC, which all processes share. */
  | { readonly kind: 'active'; readonly startMs: number }
  | { readonly kind: 'stop' };

/** Now, and since the beginning. */
export interface HoldCounts {
  /** Being opened. */
  readonly connecting: number;
  readonly idle: number;
  /** With a request under way. */
  readonly active: number;
  /** Ever opened, also those opened again. */
  readonly opened: number;
  /** Opened again after one was lost. */
  readonly reopened: number;
  /** Given up after some attempts. */
  readonly failed: number;
  /** Attempts to connect that failed and were made again. */
  readonly retried: number;
  /** Ended by the peer or the network, without being asked. */
  readonly lost: number;
  /** Closed after an answer that said so. */
  readonly closed: number;
  readonly started: number;
  readonly completed: number;
  readonly requestsFailed: number;
  /** Due by the rate while no connection was idle. */
  readonly notStarted: number;
  /** Sockets that were handled. */
  readonly actions: number;
  /** Time in them, milliseconds. */
  readonly actionsMs: number;
}

/** While connections are opened, and from when all of them are open, or given up. */
export type HoldPhase = 'opening' | 'holding';

/** One stands on each whole second of a phase, so that those of all processes are of the same second; one at the end of a phase. */
export interface HoldTick {
  readonly kind: 'tick';
  readonly process: number;
  readonly phase: HoldPhase;
  /** Since the phase began. */
  readonly elapsedMs: number;
  readonly counts: HoldCounts;
  readonly residentBytes: number;
  readonly heapBytes: number;
  /** What was recorded since the last tick, microseconds. */
  readonly latency: HistogramPart | null;
  /** The same: nanoseconds per action, one value per turn. */
  readonly actionNs: HistogramPart | null;
}

/** Per connection, beyond the kernel's own. */
export interface HoldMemory {
  /** What JavaScript's heap and what it holds outside grew by, after garbage collection. */
  readonly heapBytes: number;
  /** What the process grew by, with what its allocators hold back. */
  readonly residentBytes: number;
}

export type FromHoldProcess =
  | { readonly kind: 'ready' }
  | HoldTick
  /** Every connection is open or given up. `memory` is null where there are too few to tell. */
  | { readonly kind: 'opened'; readonly openingMs: number; readonly memory: HoldMemory | null }
  | {
      readonly kind: 'done';
      readonly heldMs: number;
      readonly unfinished: number;
      readonly statuses: readonly (readonly [status: number, count: number])[];
      readonly errors: Readonly<Record<string, number>>;
      readonly errorExamples: Readonly<Record<string, string>>;
      readonly perLocalAddress: Readonly<Record<string, number>>;
      readonly perRemoteAddress: Readonly<Record<string, number>>;
      readonly health: LoadShardHealth;
    };

/** One second of a run that holds connections. */
export interface HoldSecond {
  /**
   * Whole seconds from when all connections were open to when it began: 0 is the first second of holding, -1 the last of opening. One is
   * missing where a process was held up: the one before it is then longer.
   */
  readonly t: number;
  /** 1,000, but for the last of each phase, and where one is missing. */
  readonly lengthMs: number;
  readonly connecting: number;
  readonly idle: number;
  readonly active: number;
  /** All so far. */
  readonly opened: number;
  readonly failed: number;
  readonly lost: number;
  /** In this second. */
  readonly completed: number;
  readonly requestsFailed: number;
  readonly p50Us: number;
  readonly p99Us: number;
  /** Mean of one action, microseconds; 0: there was none. */
  readonly actionUs: number;
  /** Of all processes. */
  readonly residentBytes: number;
  readonly heapBytes: number;
}

/** What `onProgress` of `hold` is told, once a second. */
export interface HoldProgress {
  /** Since the phase began. */
  readonly elapsedMs: number;
  readonly phase: HoldPhase;
  /** Of holding. */
  readonly durationMs: number;
  readonly wanted: number;
  /** Its `t` counts from the beginning of the phase: while connections are opened nobody knows how long that takes. */
  readonly second: HoldSecond;
}

/** One of the processes that held. */
export interface HoldProcessResult {
  readonly openingMs: number;
  readonly memory: HoldMemory | null;
  readonly residentBytes: number;
  readonly health: LoadShardHealth;
}

/** What `hold` answers: what became of the connections, and what they cost. */
export interface HoldResult {
  readonly schema: typeof HOLD_SCHEMA;
  readonly version: string;
  readonly environment: LoadEnvironment;
  readonly urls: readonly string[];
  readonly options: {
    readonly connections: number;
    readonly processes: number;
    readonly active: number;
    readonly rate: number;
    readonly connectRate: number;
    readonly durationMs: number;
    readonly timeoutMs: number;
    readonly reconnect: boolean;
    readonly toAddresses: readonly string[];
    readonly localAddresses: readonly string[];
  };
  readonly startedAt: string;
  /** From the first connection until every one was open or given up. */
  readonly openingMs: number;
  readonly heldMs: number;
  readonly connections: {
    readonly wanted: number;
    readonly opened: number;
    readonly reopened: number;
    readonly failed: number;
    readonly retried: number;
    readonly lost: number;
    readonly closed: number;
    /** Open at the end. */
    readonly held: number;
    /** The fewest that were open at a second's end while holding. */
    readonly heldLeast: number;
    readonly peak: number;
    readonly perLocalAddress: Readonly<Record<string, number>>;
    readonly perRemoteAddress: Readonly<Record<string, number>>;
  };
  readonly requests: {
    readonly started: number;
    readonly completed: number;
    readonly failed: number;
    readonly notStarted: number;
    readonly unfinished: number;
    /** Completed per second of holding. */
    readonly rate: number;
  };
  readonly statuses: Readonly<Record<string, number>>;
  readonly errors: Readonly<Record<string, number>>;
  readonly errorExamples: Readonly<Record<string, string>>;
  /** From when it was due. */
  readonly latency: LoadDistribution;
  /** One call of the multi for one socket, while holding: wall clock, its system calls included. */
  readonly action: {
    readonly count: number;
    readonly meanUs: number;
    /** Of turns: a turn handles up to 64 sockets, and counts once, with their mean. */
    readonly p50Us: number;
    readonly p99Us: number;
    readonly maxUs: number;
  };
  /** null: too few connections to tell. */
  readonly memory: HoldMemory | null;
  readonly perSecond: readonly HoldSecond[];
  readonly processes: readonly HoldProcessResult[];
  readonly thresholds: readonly LoadThresholdResult[];
  readonly verdict: LoadVerdict;
  readonly notes: readonly string[];
}
