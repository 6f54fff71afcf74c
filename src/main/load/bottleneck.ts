/**
 * Was the generator itself what limited the run? Looks at its threads' health and says so in one sentence; the report begins with
 * it. That connections were all busy in open loop is no fault of the generator's, and is a note.
 */

import type { LoadPlan } from '../../protocol/load/plan.ts';
import { LATE_MS, type LoadDistribution, type LoadRequests, type LoadShardHealth } from '../../protocol/load/result.ts';

/** A thread that is busier has no time in which a late answer would be seen at once. */
const CPU_MAX = 0.95;
/** In open loop a thread must be idle in between to be on time. */
const CPU_MAX_OPEN = 0.85;
/** Timers that are later are as late as requests, and answers wait as long to be seen. */
const LOOP_DELAY_MS_MAX = 20;
/** A longer turn is told: nothing else was seen in it. */
const TURN_MS_MAX = 100;
const PERCENT = 100;
const US_PER_MS = 1_000;
/** Late or missing starts below this share are chance. */
const SHARE_MAX = 0.01;

/** Whether requests that began late, or never, lacked a connection; else the generator itself was late. */
function lateShareOf({ started, notStarted, lateStarts }: LoadRequests): number {
  const due = started + notStarted;
  return due === 0 ? 0 : (lateStarts + notStarted) / due;
}

export function findBottleneck(
  plan: LoadPlan,
  health: readonly LoadShardHealth[],
  requests: LoadRequests,
  peak: number,
): string | null {
  const { model, shards, connectionsMax } = plan;
  const most = (of: (shard: LoadShardHealth) => number) => Math.max(0, ...health.map(of));
  const busiest = most(({ cpu }) => cpu);
  if (busiest > (model === 'open' ? CPU_MAX_OPEN : CPU_MAX)) {
    return `The generator was the bottleneck: ${shards === 1 ? 'its thread was' : 'one of its threads was'} busy for ${Math.round(busiest * PERCENT)} % of the time, so rate and latency are partly its own; use more threads (-t) or another machine.`;
  }
  const delay = most(({ loopDelayP99Ms }) => loopDelayP99Ms);
  if (delay > LOOP_DELAY_MS_MAX) {
    return `The generator was held up: its timers were up to ${Math.round(delay)} ms late (99th percentile) though its threads were not busy; something else takes this machine's CPU, and latencies contain that.`;
  }
  const late = lateShareOf(requests);
  if (late > SHARE_MAX && peak < connectionsMax) {
    return `The generator was held up: ${Math.round(late * PERCENT)} % of the requests began more than ${LATE_MS} ms late though connections were free; the corrected latencies contain that.`;
  }
  const turn = most(({ longestTurnMs }) => longestTurnMs);
  if (turn > TURN_MS_MAX) {
    return `The generator was held up once for ${Math.round(turn)} ms, in which it saw no answer; the highest latencies may be its own.`;
  }
  return null;
}

/** Sentences for the result's `notes`. `peak`: connections open at once. */
export function noteConnections(
  { connectionsMax }: LoadPlan,
  requests: LoadRequests,
  queue: LoadDistribution,
  peak: number,
): string[] {
  const late = lateShareOf(requests);
  if (late <= SHARE_MAX || peak < connectionsMax) return [];
  // Only what was answered has told how long it waited.
  const waited =
    queue.count === 0 ? '' : ` (99th percentile: ${Math.round((queue.percentilesUs['99'] as number) / US_PER_MS)} ms)`;
  return [
    `${Math.round(late * PERCENT)} % of the requests waited for ${connectionsMax === 1 ? 'the one connection' : `one of the ${connectionsMax} connections`}${waited} or were never started: the server did not keep up, or more connections (-c) are needed.`,
  ];
}
