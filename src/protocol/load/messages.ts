/**
 * What main thread and shards of a load run tell each other, by structured clone over one port per shard.
 *
 *   main -> shard   BEGIN (once all are READY)   STOP (at once; what is under way is given up)
 *   shard -> main   READY   INTERVAL (about once a second)   DONE (last)
 *
 * No message belongs to a request.
 */

import type { HistogramPart } from './histogram.ts';
import type { LoadPlan } from './plan.ts';
import type { LoadShardHealth } from './result.ts';

/** What a shard's thread is given to start with. */
export interface LoadShardTask {
  readonly plan: LoadPlan;
  readonly shard: number;
}

export type ToLoadShard =
  /** `startMs`: on CLOCK_MONOTONIC, which all threads share. */
  { readonly kind: 'begin'; readonly startMs: number } | { readonly kind: 'stop' };

/** What a scenario's iterations came to between two cuts. */
export interface ScenarioInterval {
  readonly started: number;
  readonly completed: number;
  readonly failed: number;
  readonly lateStarts: number;
  readonly notStarted: number;
  /** Of those completed, from when they were due. */
  readonly duration: HistogramPart | null;
  /** Of those failed, by message. */
  readonly errors: Readonly<Record<string, number>>;
  readonly checks: readonly { readonly name: string; readonly passed: number; readonly failed: number }[];
}

export interface TagInterval {
  /** The tag's place in the list of the plan's tags, or of the shard's where it has a name. */
  readonly tag: number;
  /** Of a scenario, whose tags come up as it runs. */
  readonly name?: string;
  readonly failed: number;
  readonly bytes: number;
  readonly statuses: readonly (readonly [status: number, count: number])[];
  readonly errors: Readonly<Record<string, number>>;
  readonly latency: HistogramPart | null;
}

/** What happened between two cuts of a shard. */
export interface LoadInterval {
  readonly kind: 'interval';
  readonly shard: number;
  /** Which second, from the end of the warm-up; negative in the warm-up. */
  readonly second: number;
  readonly phase: 'warm-up' | 'measuring' | 'draining';
  /** The last one before draining. */
  readonly last: boolean;
  readonly lengthMs: number;
  readonly started: number;
  readonly completed: number;
  readonly failed: number;
  readonly lateStarts: number;
  readonly notStarted: number;
  readonly repeated: number;
  readonly redirected: number;
  readonly statuses: readonly (readonly [status: number, count: number])[];
  readonly errors: Readonly<Record<string, number>>;
  /** The first message of each code that was new. */
  readonly errorExamples: Readonly<Record<string, string>>;
  readonly bytesReceived: number;
  readonly bytesSent: number;
  readonly opened: number;
  readonly reused: number;
  readonly connectFailed: number;
  readonly lost: number;
  readonly closed: number;
  /** Open now. */
  readonly connections: number;
  /** The most that were open when one had just been opened; 0: none was. */
  readonly peak: number;
  /** Opened, in the order of the plan's local addresses; one number where there is none. */
  readonly perLocalAddress: readonly number[];
  /** Open loop only: in closed loop `raw` is both. */
  readonly corrected: HistogramPart | null;
  readonly raw: HistogramPart | null;
  /** In the order of LOAD_PHASES. */
  readonly phases: readonly (HistogramPart | null)[];
  /** Empty where there is one tag. */
  readonly tags: readonly TagInterval[];
  /** Absent where there is no scenario. */
  readonly scenario?: ScenarioInterval;
}

export interface LoadShardDone {
  readonly kind: 'done';
  readonly shard: number;
  /** From the end of the warm-up until this shard stopped starting requests, or, in a run by requests, had its last answer. */
  readonly measuredMs: number;
  readonly drainMs: number;
  readonly unfinished: number;
  /** Of a scenario: begun and neither completed nor failed. */
  readonly unfinishedIterations?: number;
  /** Of a scenario: tags that it counted under OTHER_NAME because it had as many already; null: too many to name. */
  readonly otherTags?: readonly string[] | null;
  readonly health: LoadShardHealth;
}

export type FromLoadShard = { readonly kind: 'ready'; readonly shard: number } | LoadInterval | LoadShardDone;

/** Tags in the order of their first target. */
export function tagsOf(plan: LoadPlan): string[] {
  return [...new Set(plan.targets.map(({ tag }) => tag))];
}
