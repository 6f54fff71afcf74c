/**
 * The course of a run in one shard: its phases, its seconds, its one alarm, and what is told when a second is over. What is begun when,
 * and what is counted, is its work's: requests (`generator.ts`) or iterations of a scenario (`scenario-generator.ts`).
 *
 *   warm-up    what is begun counts for nothing
 *   measuring
 *   draining   nothing falls due any more; what is under way may still end, for as long as a request may take
 *   over
 */

import type { FromLoadShard, LoadShardDone, ScenarioInterval } from '../../protocol/load/messages.ts';
import { type LoadPlan, profileEndMs } from '../../protocol/load/plan.ts';
import { Alarm } from '../io/alarm.ts';
import type { Driver } from '../multi/driver.ts';
import type { Multi } from '../multi/multi.ts';
import { Health } from './health.ts';
import type { Recorded } from './recorder.ts';

const MS_PER_SECOND = 1_000;
/** In the place of a moment: it never comes. */
export const NEVER = Number.POSITIVE_INFINITY;
/** What is due closer together than this is begun together: waking up for each would cost more than it does. */
export const ALARM_GAP_MS = 0.1;
/** How often a changing number of connections or users, and who is connected by now, is looked at. */
export const LOOK_MS = 2;
/** After a connection could not be made whoever wanted it waits this long: ten thousand must not hammer a server that is down. */
export const CONNECT_RETRY_MS = 100;

export interface RunWork {
  /** Begins what is due. */
  advance(now: number): void;
  /** The run ends: begins what was due until then. It is late, but part of the run. */
  advanceLast(untilMs: number, now: number): void;
  /** When something is due next; `NEVER`: the run's own end alone. */
  nextMs(now: number): number;
  /** Whether all that was asked for has ended before its time. */
  readonly isDone: boolean;
  /** Nothing begins any more but what was due. */
  drain(): void;
  /** Whether all that was due has ended; `isLate`: nothing waits any longer. */
  isDrained(isLate: boolean): boolean;
  /** What was counted since the last call. */
  take(): Recorded & { readonly scenario?: ScenarioInterval };
  /** Nothing begins any more at all. Answers what is given up. */
  giveUp(): Pick<LoadShardDone, 'unfinished' | 'unfinishedIterations' | 'otherTags'>;
  /** The multi is closed. */
  close(): void;
}

export class ShardRun {
  readonly health = new Health();
  phase: 'warm-up' | 'measuring' | 'draining' | 'over' = 'warm-up';
  // All of these on the multi's clock.
  startMs = NEVER;
  /** What was due before this counts for nothing. */
  countFromMs = 0;
  /** When the alarm goes. */
  alarmMs = NEVER;
  #measureMs = NEVER;
  #endMs = NEVER;
  #drainFromMs = NEVER;
  /** When a second is over, or the warm-up. */
  #cutMs = NEVER;
  #lastCutMs = 0;
  readonly #plan: LoadPlan;
  readonly #shard: number;
  readonly #multi: Multi;
  readonly #driver: Driver;
  readonly #work: RunWork;
  readonly #tell: (message: FromLoadShard) => void;
  readonly #alarm: Alarm;
  /** Of the multi's stats at the last cut. */
  #before = { opened: 0, reused: 0 };

  constructor(
    plan: LoadPlan,
    shard: number,
    multi: Multi,
    driver: Driver,
    work: RunWork,
    tell: (message: FromLoadShard) => void,
  ) {
    this.#plan = plan;
    this.#shard = shard;
    this.#multi = multi;
    this.#driver = driver;
    this.#work = work;
    this.#tell = tell;
    this.#alarm = new Alarm(() => {
      this.alarmMs = NEVER;
      this.advance(multi.io.now());
    });
  }

  /** `startMs`: on CLOCK_MONOTONIC, the same for all shards; not long ago, or soon. */
  begin(startMs: number): void {
    // It was stopped before.
    if (this.phase === 'over') return;
    const { warmupMs, profile } = this.#plan;
    this.startMs = startMs;
    this.#measureMs = startMs + warmupMs;
    this.#endMs = startMs + profileEndMs(profile);
    this.#lastCutMs = startMs;
    // Whole seconds count from the end of the warm-up, on both sides of it.
    const wholeSeconds = Math.max(0, Math.ceil(warmupMs / MS_PER_SECOND) - 1);
    this.#cutMs = this.#measureMs - wholeSeconds * MS_PER_SECOND;
    this.#driver.run();
    this.advance(this.#multi.io.now());
  }

  /** Cuts the run short: what is under way is given up. */
  stop(): void {
    if (this.phase === 'over') return;
    const now = this.#multi.io.now();
    if (this.phase !== 'draining') this.#drainFromMs = now;
    this.#finish(now);
  }

  /** Does all that is due. */
  advance(now: number): void {
    if (this.phase === 'over') return;
    if (now < this.startMs) {
      this.#wakeAt(this.startMs);
      return;
    }
    if (this.phase === 'draining') {
      this.#advanceDraining(now);
      return;
    }
    this.cutAt(now);
    const work = this.#work;
    if (now >= this.#endMs) {
      work.advanceLast(this.#endMs, now);
      this.#drain(this.#endMs);
      this.#advanceDraining(now);
      return;
    }
    work.advance(now);
    if (work.isDone) {
      // The run ends with the last answer.
      this.#drain(now);
      this.#finish(now);
    } else this.#wakeAt(Math.min(this.#cutMs, this.#endMs, work.nextMs(now)));
  }

  /** Before anything is counted that begins now: the alarm may be late, and what begins belongs to the phase that it begins in. */
  cutAt(now: number): void {
    // The end of the run is a cut of its own.
    if (now >= this.#cutMs && this.#cutMs < this.#endMs) this.#cut(now);
  }

  /** What was due in the run still gets its connection: to leave it out would leave out the worst. */
  #advanceDraining(now: number): void {
    if (now >= this.#cutMs) this.#cut(now);
    const untilMs = this.#drainFromMs + this.#plan.timeoutMs;
    const isLate = now >= untilMs;
    if (this.#work.isDrained(isLate)) this.#finish(now);
    else this.#wakeAt(isLate ? this.#cutMs : Math.min(this.#cutMs, untilMs));
  }

  #wakeAt(ms: number): void {
    if (ms === this.alarmMs) return;
    this.alarmMs = ms;
    this.#alarm.set(ms);
  }

  /** A second is over, or the warm-up is: what was counted is told. */
  #cut(now: number): void {
    if (this.phase === 'warm-up' && now >= this.#measureMs) {
      if (this.#measureMs > this.startMs) this.#tellInterval(this.#measureMs);
      this.phase = 'measuring';
      this.countFromMs = this.#measureMs;
      this.#lastCutMs = this.#measureMs;
      this.health.restart();
    } else this.#tellInterval(now);
    const seconds = Math.floor((now - this.#measureMs) / MS_PER_SECOND) + 1;
    this.#cutMs = this.#measureMs + seconds * MS_PER_SECOND;
  }

  #tellInterval(untilMs: number, last = false): void {
    const stats = this.#multi.stats();
    const { opened, reused } = this.#before;
    this.#before = stats;
    this.#tell({
      kind: 'interval',
      shard: this.#shard,
      second: Math.floor((this.#lastCutMs - this.#measureMs) / MS_PER_SECOND),
      phase: this.phase === 'over' ? 'draining' : this.phase,
      last,
      lengthMs: Math.round(untilMs - this.#lastCutMs),
      ...this.#work.take(),
      opened: stats.opened - opened,
      reused: stats.reused - reused,
      connections: stats.connections,
      peak: this.#multi.cache.openPeak,
    });
    this.#multi.cache.openPeak = 0;
    this.#lastCutMs = untilMs;
  }

  #drain(sinceMs: number): void {
    this.#tellInterval(sinceMs, true);
    this.phase = 'draining';
    this.#drainFromMs = sinceMs;
    this.#cutMs = sinceMs + MS_PER_SECOND;
    this.#work.drain();
  }

  #finish(now: number): void {
    const measured = this.countFromMs === this.#measureMs;
    const { unfinished, unfinishedIterations, otherTags } = this.#work.giveUp();
    this.#tellInterval(now, true);
    this.phase = 'over';
    this.#tell({
      kind: 'done',
      shard: this.#shard,
      measuredMs: measured ? Math.max(0, this.#drainFromMs - this.#measureMs) : 0,
      drainMs: Math.max(0, now - this.#drainFromMs),
      unfinished: measured ? unfinished : 0,
      ...(unfinishedIterations === undefined ? {} : { unfinishedIterations: measured ? unfinishedIterations : 0 }),
      ...(otherTags === undefined ? {} : { otherTags }),
      health: this.health.report(),
    });
    this.health.stop();
    this.#alarm.close();
    // It may be in the middle of a turn.
    setImmediate(() => {
      this.#multi.close();
      this.#driver.stop();
      this.#work.close();
    });
  }
}
