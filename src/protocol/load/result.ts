/**
 * LoadResult: what a run found, as `--json` writes it and `load()` answers it. The schema is versioned by `schema`: within version 1
 * members are added, never removed or changed in meaning. Documented for users in docs/load.md.
 *
 * Latencies are microseconds, times milliseconds, as the names say. Percentiles are those of HdrHistogram with 3 significant digits;
 * `histogram` holds all of the distribution, in HdrHistogram's V2 compressed form and base64, for its usual tools.
 *
 * Everything counts from the end of the warm-up on: a request counts when it was due (open loop) or sent (closed loop) after it.
 */

import type { LoadModel } from './plan.ts';

/** `schema` of results. Within one number members are added, never removed or changed. */
export const LOAD_SCHEMA = 'shardfetch-load/1';

/** A distribution of latencies, in microseconds. */
export interface LoadDistribution {
  readonly count: number;
  readonly minUs: number;
  readonly meanUs: number;
  readonly stdDevUs: number;
  readonly maxUs: number;
  /** Keys as `LOAD_PERCENTILES` has them: `'50'`, `'99.9'`. */
  readonly percentilesUs: Readonly<Record<string, number>>;
  /** HdrHistogram V2, compressed, base64; microseconds from 1 to 3,600,000,000 with 3 digits. '' when nothing was recorded. */
  readonly histogram: string;
}

/** The percentiles that every distribution of a result has. */
export const LOAD_PERCENTILES = [10, 25, 50, 75, 90, 95, 99, 99.9, 99.99, 99.999] as const;

/** The parts of a request, in the order in which they come. */
export const LOAD_PHASES = ['queue', 'dns', 'connect', 'tls', 'firstByte', 'body'] as const;
/** A part of the latency of a request: one of `LOAD_PHASES`. */
export type LoadPhase = (typeof LOAD_PHASES)[number];

/** What became of the requests of a run. */
export interface LoadRequests {
  /** Sent, or begun to connect for. = completed + failed + unfinished. */
  readonly started: number;
  /** Answered whole, whatever the status. */
  readonly completed: number;
  /** Ended without a whole answer; by code in `errors`. */
  readonly failed: number;
  /** Neither completed nor failed: under way when the run was cut short (a signal), or sent by a scenario that did not wait for it. Else 0: the run waits for them. */
  readonly unfinished: number;
  /** Open loop: started more than `LATE_MS` after they were due. Their latency counts from when they were due all the same. */
  readonly lateStarts: number;
  /** Open loop: due and never started: no connection was free and the late queue was full, or the run ended first. */
  readonly notStarted: number;
  /** Sent a second time because their reused connection died before any byte of the answer (RFC 9110 §9.2.2); counted once above. */
  readonly repeated: number;
  /** Of those started: to where an answer led, where redirects are followed. They do not count towards `options.requests`. */
  readonly redirected: number;
}

/** A start is called late from here on: far more than a timer's and a turn's delay. */
export const LATE_MS = 10;

/** One second of the run (the last one may be shorter). */
export interface LoadSecond {
  /** Seconds from the end of the warm-up to the beginning of this one; negative in the warm-up, which is in the series and nowhere else. */
  readonly t: number;
  /** How much of the second was measured: 1000 but in the last one. */
  readonly lengthMs: number;
  readonly started: number;
  readonly completed: number;
  readonly failed: number;
  /** Open loop: due and not started, in the second in which that was certain; for what never left the late queue, after the end. */
  readonly notStarted: number;
  /** Of the requests that completed in it; corrected, as `latency.corrected` is. */
  readonly p50Us: number;
  readonly p90Us: number;
  readonly p99Us: number;
  readonly maxUs: number;
  /** Open at its end. */
  readonly connections: number;
  /** Received, of bodies. */
  readonly bytes: number;
  /** Status classes, `'2xx'`. */
  readonly statuses: Readonly<Record<string, number>>;
  readonly errors: Readonly<Record<string, number>>;
  /** The latencies of those that completed in it, as `LoadDistribution.histogram`; only where `secondHistograms` asked for it. */
  readonly histogram?: string;
}

/** The same for one tag. */
export interface LoadTagResult {
  readonly tag: string;
  readonly completed: number;
  readonly failed: number;
  readonly statuses: Readonly<Record<string, number>>;
  readonly errors: Readonly<Record<string, number>>;
  readonly bytes: number;
  readonly latency: LoadDistribution;
}

/** How often virtual users did what a scenario says. */
export interface LoadIterations {
  /** = completed + failed + unfinished. */
  readonly started: number;
  /** Came to their end. */
  readonly completed: number;
  /** Threw; by message in `errors`. */
  readonly failed: number;
  /** Under way when the run was over: a whole `timeoutMs` after its end, or cut short. */
  readonly unfinished: number;
  /** Open loop: began more than `LATE_MS` after they were due. */
  readonly lateStarts: number;
  /** Open loop: due and never begun, because no user was free. */
  readonly notStarted: number;
  /** Of those completed; in open loop from when they were due. */
  readonly duration: LoadDistribution;
  /** Of those failed, by message, and of rejections that nobody waited for; 50 different ones at most, the rest under '(other)'. */
  readonly errors: Readonly<Record<string, number>>;
}

/** What a scenario expected, and how often it was so. */
export interface LoadCheck {
  readonly name: string;
  readonly passed: number;
  readonly failed: number;
}

/** What became of the connections of a run. */
export interface LoadConnections {
  readonly opened: number;
  /** Requests on a connection that had served others. */
  readonly reused: number;
  /** That failed to be made. */
  readonly failed: number;
  /** Lost in mid-request, or found dead when a request was sent. */
  readonly lost: number;
  /** Closed after an answer because the server or `keepAlive` said so. */
  readonly closed: number;
  /** The most open at once. */
  readonly peak: number;
  /** Opened by local address; '' where the kernel chose. */
  readonly perLocalAddress: Readonly<Record<string, number>>;
}

/** How one thread of the generator fared. */
export interface LoadShardHealth {
  /** CPU seconds over wall seconds of its thread; -1: this system does not tell. */
  readonly cpu: number;
  /** The longest turn of its event loop, in which nothing else was sent or received. */
  readonly longestTurnMs: number;
  /** How late the event loop came to a timer. */
  readonly loopDelayP99Ms: number;
  readonly loopDelayMaxMs: number;
  readonly gcCount: number;
  readonly gcTotalMs: number;
  readonly gcMaxMs: number;
}

/** How the generator itself fared: whether it was what limited the run. */
export interface LoadGenerator {
  readonly shards: readonly LoadShardHealth[];
  /** CPU of the whole process, microseconds, over the measured time. */
  readonly cpuUserUs: number;
  readonly cpuSystemUs: number;
  /** Resident memory at the end. */
  readonly memoryBytes: number;
  /** null: the figures are the server's. Else a sentence: they are partly the generator's own. The report begins with it. */
  readonly bottleneck: string | null;
}

/** A threshold, and whether it was kept. */
export interface LoadThresholdResult {
  /** As it was given: `p99>250ms`. */
  readonly text: string;
  /** What was found, in the threshold's unit (us, requests per second, share from 0 to 1, count); null: nothing was measured. */
  readonly actual: number | null;
  /** True: the run fails. */
  readonly crossed: boolean;
}

/**
 * passed       as asked, no threshold crossed
 * failed       a threshold was crossed, or nothing was answered at all
 * interrupted  ended early (a signal); thresholds were judged on what there was
 */
export type LoadVerdict = 'passed' | 'failed' | 'interrupted';

/** Where the run took place: figures of two machines do not compare. */
export interface LoadEnvironment {
  /** `v22.19.0`. */
  readonly node: string;
  /** `linux`. */
  readonly platform: string;
  readonly kernel: string;
  readonly arch: string;
  /** The model's name. */
  readonly cpu: string;
  /** That this process may use. */
  readonly cores: number;
  readonly memoryBytes: number;
}

/** The options of the run in plain words: what `--compare` looks at before it compares. Secrets are left out. */
export interface LoadRunOptions {
  readonly model: LoadModel;
  readonly connections: number;
  readonly shards: number;
  /** Open loop, constant rate; null else. */
  readonly rate: number | null;
  readonly durationMs: number;
  readonly warmupMs: number;
  readonly requests: number;
  readonly keepAlive: boolean;
  readonly timeoutMs: number;
  readonly stages: readonly { readonly durationMs: number; readonly from: number; readonly to: number }[];
}

/** What a run measured; the JSON of `shardfetch load --json`. Latencies are microseconds, times milliseconds. */
export interface LoadResult {
  readonly schema: typeof LOAD_SCHEMA;
  /** Of this package. */
  readonly version: string;
  readonly environment: LoadEnvironment;
  readonly targets: readonly {
    readonly method: string;
    readonly url: string;
    readonly tag: string;
    readonly weight: number;
  }[];
  readonly options: LoadRunOptions;
  /** ISO 8601, the start of the measured time. */
  readonly startedAt: string;
  /** The measured time: from the end of the warm-up to the end of the profile; where the run ends by requests, to the last answer. */
  readonly durationMs: number;
  /** How long was waited after that for the requests under way. Their answers count in everything but `rate`. */
  readonly drainMs: number;
  /** Requests completed within `durationMs`, per second of it. */
  readonly rate: number;
  readonly requests: LoadRequests;
  /** Completed requests by status, `'200'`. */
  readonly statuses: Readonly<Record<string, number>>;
  /** Failed requests by the code of `TransferError`. */
  readonly errors: Readonly<Record<string, number>>;
  /** A sentence for the first failure of each code. */
  readonly errorExamples: Readonly<Record<string, string>>;
  readonly bytes: {
    /** Bodies received; heads are not counted. */
    readonly received: number;
    /** Heads and bodies sent; without what was sent in vain before a request was repeated. */
    readonly sent: number;
  };
  readonly latency: {
    /** `'schedule'`: corrected from when each request was due (open loop). `'send'`: closed loop, where both are the same. */
    readonly from: 'schedule' | 'send';
    readonly corrected: LoadDistribution;
    /** From when the request was really sent. */
    readonly raw: LoadDistribution;
    /** dns, connect and tls count only requests that opened a connection; queue only open loop. */
    readonly phases: Readonly<Record<LoadPhase, LoadDistribution>>;
  };
  readonly perSecond: readonly LoadSecond[];
  readonly perTag: readonly LoadTagResult[];
  /** null: there was no scenario. */
  readonly iterations: LoadIterations | null;
  /** In the order in which they came up; empty without a scenario. */
  readonly checks: readonly LoadCheck[];
  readonly connections: LoadConnections;
  readonly generator: LoadGenerator;
  readonly thresholds: readonly LoadThresholdResult[];
  readonly verdict: LoadVerdict;
  /** What was noticed before the run and did not keep it from starting, such as ports that may run short. Sentences. */
  readonly notes: readonly string[];
}

/** What `onProgress` is told, once a second. */
export interface LoadProgress {
  /** From the start of the run, warm-up included. */
  readonly elapsedMs: number;
  /** Of the whole run; 0: it ends by requests. */
  readonly totalMs: number;
  readonly phase: 'warm-up' | 'measuring' | 'draining';
  /** The second that has just ended. */
  readonly second: LoadSecond;
  /** Since the end of the warm-up. */
  readonly completed: number;
  readonly failed: number;
}
