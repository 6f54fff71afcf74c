/**
 * The generator of one shard where a scenario is run: virtual users in place of slots, iterations in place of requests. The scenario's
 * promises are what an iteration costs; when they begin is decided as in `generator.ts`, and what is told is the same.
 *
 * closed loop: every user below the profile's value begins again when it is done (and has thought).
 * open loop: iterations are due by arithmetic. One that is due takes a free user, or waits in the late queue. Its duration counts
 * from when it was due; the latency of its requests from when they were sent, because the scenario says when that is.
 *
 * Connections are each user's own, so connections of users that rest stay open until they have been idle for long.
 */

import type { TransferError } from '../../protocol/errors.ts';
import type { FromLoadShard, LoadInterval } from '../../protocol/load/messages.ts';
import { type LoadPlan, profileEndMs, shareOf } from '../../protocol/load/plan.ts';
import { ArrivalSchedule, isConstant, valueAt } from '../../protocol/load/profile.ts';
import { LATE_MS } from '../../protocol/load/result.ts';
import { boundedName, SCENARIO_NAMES_MAX, type Scenario, type ScenarioPlan } from '../../protocol/load/scenario.ts';
import { type RoutePlan, resolveRouteOptions } from '../../protocol/route-options.ts';
import { Alarm } from '../io/alarm.ts';
import { EpollDriver } from '../multi/epoll-driver.ts';
import { Multi } from '../multi/multi.ts';
import type { Transfer } from '../multi/transfer.ts';
import type { BodyFile } from './body-file.ts';
import { ConnectionPacer } from './connection-pacer.ts';
import { Health } from './health.ts';
import { LateQueue } from './late-queue.ts';
import { Recorder } from './recorder.ts';
import { BodyFiles, couldNotConnect, type Exchange, type ScenarioHost } from './scenario-client.ts';
import { ScenarioRecorder } from './scenario-recorder.ts';
import { VirtualUser } from './scenario-user.ts';
import { TemplateRow } from './template.ts';

const MS_PER_SECOND = 1_000;
const NEVER = Number.POSITIVE_INFINITY;
/** Iterations due closer together than this begin together. */
const ALARM_GAP_MS = 0.1;
/** How often a changing number of users, and who is connected by now, is looked at. */
const LOOK_MS = 2;
/** After a connection could not be made its user waits this long. */
const CONNECT_RETRY_MS = 100;

type Phase = 'warm-up' | 'measuring' | 'draining' | 'over';

export class ScenarioGenerator implements ScenarioHost {
  readonly plan: LoadPlan;
  readonly scenario: ScenarioPlan;
  readonly routePlans: readonly RoutePlan[];
  readonly #shard: number;
  readonly #tell: (message: FromLoadShard) => void;
  readonly #multi: Multi;
  readonly #driver: EpollDriver;
  readonly #alarm: Alarm;
  readonly #health = new Health();
  readonly #requests: Recorder;
  readonly #iterations = new ScenarioRecorder();
  readonly #pacer: ConnectionPacer;
  readonly #arrivals: ArrivalSchedule | null;
  readonly #late: LateQueue;
  readonly #row: TemplateRow;
  readonly #files = new BodyFiles();
  /** Numbers of tags by name. */
  readonly #tags = new Map<string, number>();
  readonly #users: VirtualUser[];
  /** Open loop: users with nothing to do. */
  readonly #free: VirtualUser[] = [];
  /** Closed loop: users below it begin again. */
  #wanted = 0;
  /** Closed loop: users below it have begun. */
  #begun = 0;
  readonly #resting = new Set<VirtualUser>();
  /** Those that are done and begin again in the event loop's next turn: one that waits for nothing must not keep a turn for itself. */
  #again: VirtualUser[] = [];
  readonly #exchanges = new Set<Exchange>();
  /** By user: what it sent last. Tells who is connected by now. */
  readonly #latest: Transfer[] = [];
  /** Users in the middle of an iteration. */
  readonly #running = new Set<VirtualUser>();
  /** The driver is held until the transfers that were added are started. */
  #held = false;

  #phase: Phase = 'warm-up';
  /** All of these on the multi's clock. */
  #startMs = NEVER;
  #measureMs = NEVER;
  #endMs = NEVER;
  #drainFromMs = NEVER;
  #cutMs = NEVER;
  #lastCutMs = 0;
  /** What was begun before this counts for nothing. */
  #countFromMs = 0;
  /** Iterations that may still be begun. */
  #left = NEVER;
  #alarmMs = NEVER;
  /** Of the multi's stats at the last cut. */
  #before = { opened: 0, reused: 0, bytesIn: 0, bytesOut: 0 };

  constructor(plan: LoadPlan, shard: number, run: Scenario, tell: (message: FromLoadShard) => void) {
    const userCount = shareOf(plan.connectionsMax, shard, plan.shards);
    const isOpen = plan.model === 'open';
    this.plan = plan;
    this.scenario = plan.scenario as ScenarioPlan;
    this.#shard = shard;
    this.#tell = tell;
    this.#multi = new Multi({ maxConnects: 2 ** 30, resolve: plan.resolve });
    this.#driver = new EpollDriver(this.#multi);
    this.#driver.onTurn = () => this.#endTurn();
    this.#alarm = new Alarm(() => this.#onAlarm());
    const locals = plan.localAddresses.length === 0 ? [undefined] : plan.localAddresses;
    this.routePlans = locals.map((localAddress) =>
      resolveRouteOptions(localAddress === undefined ? plan.route : { ...plan.route, localAddress }),
    );
    this.#requests = new Recorder(false, 0, plan.localAddresses.length);
    this.#pacer = new ConnectionPacer(userCount, plan.connectRate, plan.shards);
    this.#arrivals = isOpen ? new ArrivalSchedule(plan.profile, shard, plan.shards) : null;
    this.#late = new LateQueue(isOpen ? Math.max(1, Math.ceil(plan.lateMax / plan.shards)) : 0);
    this.#row = new TemplateRow(plan.tables, shard, plan.shards);
    this.#users = Array.from(
      { length: userCount },
      (_, index) => new VirtualUser(this, run, this.#iterations, 1 + shard + index * plan.shards, index),
    );
    if (isOpen) this.#free.push(...this.#users);
    if (plan.requestsMax > 0) this.#left = shareOf(plan.requestsMax, shard, plan.shards);
  }

  /** `startMs`: on CLOCK_MONOTONIC, the same for all shards. */
  begin(startMs: number): void {
    if (this.#phase === 'over') return;
    const { warmupMs, profile } = this.plan;
    this.#startMs = startMs;
    this.#measureMs = startMs + warmupMs;
    this.#endMs = startMs + profileEndMs(profile);
    this.#lastCutMs = startMs;
    // Whole seconds count from the end of the warm-up, on both sides of it.
    const wholeSeconds = Math.max(0, Math.ceil(warmupMs / MS_PER_SECOND) - 1);
    this.#cutMs = this.#measureMs - wholeSeconds * MS_PER_SECOND;
    this.#driver.run();
    this.#advance(this.#multi.io.now());
  }

  /** Cuts the run short: what is under way is given up. */
  stop(): void {
    if (this.#phase === 'over') return;
    const now = this.#multi.io.now();
    if (this.#phase !== 'draining') this.#drainFromMs = now;
    this.#finish(now);
  }

  /** Something that nobody waited for went wrong. */
  noteError(reason: unknown): void {
    this.#iterations.noteError(`Nobody waited for: ${reason instanceof Error ? reason.message : reason}`);
  }

  // ── For users ────────────────────────────────────────────────────────────────────────────────────────────────────────

  send(exchange: Exchange, transfer: Transfer): void {
    if (this.#phase === 'over') return;
    if (!this.#held) {
      this.#held = true;
      this.#driver.hold();
      setImmediate(() => this.#crank());
    }
    exchange.beganMs = this.#multi.io.now();
    if (this.counts(exchange.beganMs)) this.#requests.start(0);
    this.#exchanges.add(exchange);
    this.#latest[exchange.client.index] = transfer;
    this.#multi.add(transfer);
  }

  completed(exchange: Exchange, transfer: Transfer): void {
    this.#exchanges.delete(exchange);
    const { index } = exchange.client;
    if (this.counts(exchange.beganMs))
      this.#requests.completed(transfer, transfer.startMs, exchange.tag, index % this.routePlans.length);
    this.#pacer.settled(index);
    this.#multi.remove(transfer);
  }

  counts(sinceMs: number): boolean {
    return sinceMs >= this.#countFromMs;
  }

  tagNumber(given: string): number {
    const name = boundedName(this.#tags, given, SCENARIO_NAMES_MAX);
    let tag = this.#tags.get(name);
    if (tag === undefined) {
      tag = this.#requests.addTag();
      this.#tags.set(name, tag);
    }
    return tag;
  }

  bodyFile(path: string): BodyFile {
    return this.#files.get(path);
  }

  #crank(): void {
    this.#held = false;
    if (this.#phase !== 'over') this.#driver.crank();
  }

  // ── Time ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

  #onAlarm(): void {
    this.#alarmMs = NEVER;
    this.#advance(this.#multi.io.now());
  }

  #endTurn(): void {
    const multi = this.#multi;
    for (let transfer = multi.nextDone(); transfer !== null; transfer = multi.nextDone()) this.#failed(transfer);
    this.#health.turn(this.#driver.elapsedMs);
    // Whoever has connected makes room for the next one, which must not wait for the alarm.
    if (this.#pacer.isWaiting && this.#phase !== 'over') this.#letBegin(multi.io.now());
  }

  #failed(transfer: Transfer): void {
    const exchange = transfer.private as Exchange;
    const { error } = transfer;
    this.#multi.remove(transfer);
    // What has succeeded was removed in `completed`, and its message with it.
    if (error === null) return;
    const { index } = exchange.client;
    this.#exchanges.delete(exchange);
    this.#pacer.settled(index);
    if (this.counts(exchange.beganMs)) {
      this.#requests.failed(transfer, error.code, error.message, exchange.tag, index % this.routePlans.length);
    }
    exchange.failed(error as TransferError);
  }

  /** Does all that is due. */
  #advance(now: number): void {
    if (this.#phase === 'over') return;
    if (now < this.#startMs) {
      this.#wakeAt(this.#startMs);
      return;
    }
    // The end of the run is a cut of its own.
    if (now >= this.#cutMs && (this.#cutMs < this.#endMs || this.#phase === 'draining')) this.#cut(now);
    if (this.#phase === 'draining') {
      this.#advanceDraining(now);
      return;
    }
    if (now >= this.#endMs) {
      if (this.#arrivals !== null) this.#advanceOpen(this.#endMs, now, this.#arrivals);
      this.#drain(this.#endMs);
      this.#advance(now);
      return;
    }
    if (this.#arrivals === null) this.#advanceClosed(now);
    else this.#advanceOpen(now, now, this.#arrivals);
    if (this.#left === 0 && this.#running.size === 0) {
      this.#drain(now);
      this.#finish(now);
    } else this.#arm(now);
  }

  #advanceOpen(untilMs: number, now: number, arrivals: ArrivalSchedule): void {
    while (arrivals.nextMs <= untilMs - this.#startMs) this.#arrive(this.#startMs + arrivals.take(), now);
  }

  #advanceClosed(now: number): void {
    const { profile, shards } = this.plan;
    if (this.#wanted === 0 || !isConstant(profile)) {
      const total = Math.round(valueAt(profile, now - this.#startMs));
      this.#want(Math.min(shareOf(total, this.#shard, shards), this.#users.length));
    }
    this.#letBegin(now);
  }

  /** Users that may connect now. */
  #letBegin(now: number): void {
    const { connecting } = this.#pacer;
    for (let place = connecting.length - 1; place >= 0; place--) {
      const index = connecting[place] as number;
      if ((this.#latest[index]?.connectUs ?? -1) >= 0) this.#pacer.settled(index);
    }
    for (let index = this.#pacer.next(now); index >= 0; index = this.#pacer.next(now)) {
      this.#begin(this.#users[index] as VirtualUser, now, now);
    }
  }

  /** Iterations under way may end, for as long as a request may take. */
  #advanceDraining(now: number): void {
    const untilMs = this.#drainFromMs + this.plan.timeoutMs;
    const isWaiting = this.#late.length > 0 && this.#left > 0;
    if (now >= untilMs || (this.#running.size === 0 && !isWaiting)) this.#finish(now);
    else this.#wakeAt(Math.min(this.#cutMs, untilMs));
  }

  #arm(now: number): void {
    let next = Math.min(this.#cutMs, this.#endMs);
    const arrivals = this.#arrivals;
    if (arrivals !== null) {
      if (arrivals.nextMs !== NEVER)
        next = Math.min(next, Math.max(this.#startMs + arrivals.nextMs, now + ALARM_GAP_MS));
    } else if (this.#pacer.isWaiting || !isConstant(this.plan.profile)) next = Math.min(next, now + LOOK_MS);
    this.#wakeAt(next);
  }

  #wakeAt(ms: number): void {
    if (ms === this.#alarmMs) return;
    this.#alarmMs = ms;
    this.#alarm.set(ms);
  }

  // ── Iterations ───────────────────────────────────────────────────────────────────────────────────────────────────────

  /** So many users are to go on from now on. */
  #want(wanted: number): void {
    const before = this.#wanted;
    this.#wanted = wanted;
    for (let index = before; index < wanted; index++) {
      const user = this.#users[index] as VirtualUser;
      if (index < this.#begun && !this.#resting.delete(user)) continue;
      this.#pacer.wait(index);
    }
    this.#begun = Math.max(this.#begun, wanted);
  }

  #arrive(dueMs: number, now: number): void {
    if (this.#left === 0) return;
    const user = this.#free.pop();
    if (user !== undefined) this.#begin(user, dueMs, now);
    else if (!this.#late.push(dueMs) && dueMs >= this.#countFromMs) this.#iterations.notStarted++;
  }

  #begin(user: VirtualUser, dueMs: number, now: number): void {
    if (this.#left === 0) {
      this.#pacer.settled(user.index);
      return;
    }
    if (this.counts(dueMs)) {
      this.#iterations.started++;
      if (now - dueMs > LATE_MS) this.#iterations.lateStarts++;
      if (this.#phase !== 'warm-up') this.#left--;
    }
    this.#running.add(user);
    this.#row.next();
    user.iterate(this.#row, dueMs).then(
      () => this.#ended(user, null),
      (reason: unknown) => this.#ended(user, reason ?? new Error('It threw nothing.')),
    );
  }

  /** `reason`: what it threw; null: it came to its end. */
  #ended(user: VirtualUser, reason: unknown): void {
    if (this.#phase === 'over') return;
    this.#running.delete(user);
    if (this.counts(user.dueMs)) {
      if (reason === null) this.#iterations.completed(this.#multi.io.now() - user.dueMs);
      else this.#iterations.failed(reason);
    }
    this.#pacer.settled(user.index);
    const { thinkMs } = this.plan;
    const [least, most] = thinkMs;
    const waitMs = Math.max(
      most === 0 ? 0 : least + Math.random() * (most - least),
      couldNotConnect(reason) ? CONNECT_RETRY_MS : 0,
    );
    if (waitMs > 0) setTimeout(() => this.#onceMore(user), waitMs);
    else this.#onceMore(user);
  }

  #onceMore(user: VirtualUser): void {
    if (this.#again.push(user) === 1) setImmediate(() => this.#beginAgain());
  }

  #beginAgain(): void {
    const users = this.#again;
    this.#again = [];
    if (this.#phase === 'over') return;
    const now = this.#multi.io.now();
    for (const user of users) {
      if (this.#arrivals !== null) this.#release(user, now);
      else if (user.index >= this.#wanted) this.#resting.add(user);
      else if (this.#phase !== 'draining') this.#begin(user, now, now);
    }
    if (this.#phase === 'draining' || this.#left === 0 || this.#pacer.isWaiting) this.#advance(now);
  }

  /** A user is free: what has waited longest gets it. */
  #release(user: VirtualUser, now: number): void {
    if (this.#late.length > 0 && this.#left > 0) this.#begin(user, this.#late.shift(), now);
    else this.#free.push(user);
  }

  // ── Phases ───────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** A second is over, or the warm-up is: what was counted is told. */
  #cut(now: number): void {
    if (this.#phase === 'warm-up' && now >= this.#measureMs) {
      if (this.#measureMs > this.#startMs) this.#tellInterval(this.#measureMs);
      this.#phase = 'measuring';
      this.#countFromMs = this.#measureMs;
      this.#lastCutMs = this.#measureMs;
      this.#health.restart();
    } else this.#tellInterval(now);
    const seconds = Math.floor((now - this.#measureMs) / MS_PER_SECOND) + 1;
    this.#cutMs = this.#measureMs + seconds * MS_PER_SECOND;
  }

  #tellInterval(untilMs: number, last = false): void {
    const stats = this.#multi.stats();
    const { opened, reused, bytesIn, bytesOut } = this.#before;
    const names = [...this.#tags.keys()];
    const recorded = this.#requests.take();
    this.#before = stats;
    const interval: LoadInterval = {
      kind: 'interval',
      shard: this.#shard,
      second: Math.floor((this.#lastCutMs - this.#measureMs) / MS_PER_SECOND),
      phase: this.#phase === 'over' ? 'draining' : this.#phase,
      last,
      lengthMs: Math.round(untilMs - this.#lastCutMs),
      ...recorded,
      tags: recorded.tags.map((tag) => ({ ...tag, name: names[tag.tag] as string })),
      scenario: this.#iterations.take(),
      bytesReceived: stats.bytesIn - bytesIn,
      bytesSent: stats.bytesOut - bytesOut,
      opened: stats.opened - opened,
      reused: stats.reused - reused,
      connections: stats.connections,
      peak: this.#multi.cache.openPeak,
    };
    this.#multi.cache.openPeak = 0;
    this.#tell(interval);
    this.#lastCutMs = untilMs;
  }

  /** Nothing begins any more but what was due; what is under way may still end. */
  #drain(sinceMs: number): void {
    this.#tellInterval(sinceMs, true);
    this.#phase = 'draining';
    this.#drainFromMs = sinceMs;
    this.#cutMs = sinceMs + MS_PER_SECOND;
    this.#pacer.clear();
  }

  #finish(now: number): void {
    const measured = this.#countFromMs === this.#measureMs;
    const unfinished = [...this.#exchanges].filter(({ beganMs }) => this.counts(beganMs)).length;
    const unfinishedIterations = [...this.#running].filter(({ dueMs }) => this.counts(dueMs)).length;
    for (; this.#late.length > 0; ) {
      if (this.#late.shift() >= this.#countFromMs && this.#left > 0) this.#iterations.notStarted++;
    }
    this.#tellInterval(now, true);
    this.#phase = 'over';
    this.#tell({
      kind: 'done',
      shard: this.#shard,
      measuredMs: measured ? Math.max(0, this.#drainFromMs - this.#measureMs) : 0,
      drainMs: Math.max(0, now - this.#drainFromMs),
      unfinished: measured ? unfinished : 0,
      unfinishedIterations: measured ? unfinishedIterations : 0,
      health: this.#health.report(),
    });
    this.#health.stop();
    this.#alarm.close();
    // It may be in the middle of a turn.
    setImmediate(() => {
      this.#multi.close();
      this.#driver.stop();
      this.#files.close();
    });
  }
}
