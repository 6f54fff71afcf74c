/**
 * Was the generator itself what limited the run? Looks at its threads' health and says so in one sentence; the report begins with
 * it. That connections were all busy in open loop is no fault of the generator's, and is a note.
 */

import type { LoadPlan } from '../../protocol/load/plan.ts';
import type { LoadDistribution, LoadRequests, LoadShardHealth } from '../../protocol/load/result.ts';

/** A thread that is busier has no time in which a late answer would be seen at once. */
const CPU_MAX = 0.95;
/** In open loop a thread must be idle in between to be on time. */
const CPU_MAX_OPEN = 0.85;
/** Timers that are later are as late as requests, and answers wait as long to be seen. */
const LOOP_DELAY_MS_MAX = 20;
/** A turn in which nothing else was seen, against the median latency. */
const TURN_MS_MAX = 100;
const PERCENT = 100;
/** Late or missing starts below this share are chance. */
const SHARE_MAX = 0.01;

export function findBottleneck({ model, shards }: LoadPlan, health: readonly LoadShardHealth[]): string | null {
  const busiest = Math.max(0, ...health.map(({ cpu }) => cpu));
  if (busiest > (model === 'open' ? CPU_MAX_OPEN : CPU_MAX)) {
    return `The generator was the bottleneck: ${shards === 1 ? 'its thread was' : 'one of its threads was'} busy for ${Math.round(busiest * PERCENT)} % of the time, so rate and latency are partly its own; use more threads (-t) or another machine.`;
  }
  const delay = Math.max(0, ...health.map(({ loopDelayP99Ms }) => loopDelayP99Ms));
  if (delay > LOOP_DELAY_MS_MAX) {
    return `The generator was held up: its timers were up to ${Math.round(delay)} ms late (99th percentile) though its threads were not busy; something else takes this machine's CPU, and latencies contain that.`;
  }
  const turn = Math.max(0, ...health.map(({ longestTurnMs }) => longestTurnMs));
  if (turn > TURN_MS_MAX) {
    return `The generator was held up once for ${Math.round(turn)} ms, in which it saw no answer; the highest latencies may be its own.`;
  }
  return null;
}

/** Sentences for the result's `notes`. */
export function noteConnections(
  { model, connectionsMax }: LoadPlan,
  requests: LoadRequests,
  queue: LoadDistribution,
): string[] {
  if (model === 'closed') return [];
  const due = requests.started + requests.notStarted;
  const late = requests.lateStarts + requests.notStarted;
  if (due === 0 || late / due < SHARE_MAX) return [];
  const waited = Math.round((queue.percentilesUs['99'] as number) / 1_000);
  return [
    `${Math.round((late / due) * PERCENT)} % of the requests had to wait for one of ${connectionsMax} connections (99th percentile: ${waited} ms) or were never started: the server did not keep up, or more connections (-c) are needed.`,
  ];
}
