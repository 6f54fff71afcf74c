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
import type { FromLoadShard, ScenarioInterval } from '../../protocol/load/messages.ts';
import { type LoadPlan, shareOf } from '../../protocol/load/plan.ts';
import { ArrivalSchedule, isConstant, valueAt } from '../../protocol/load/profile.ts';
import { LATE_MS } from '../../protocol/load/result.ts';
import {
  boundedName,
  OTHER_TAGS_MAX,
  SCENARIO_NAMES_MAX,
  type Scenario,
  type ScenarioPlan,
} from '../../protocol/load/scenario.ts';
import { type RoutePlan, resolveRouteOptions } from '../../protocol/route-options.ts';
import { EpollDriver } from '../multi/epoll-driver.ts';
import { Multi } from '../multi/multi.ts';
import type { Transfer } from '../multi/transfer.ts';
import type { BodyFile } from './body-file.ts';
import { ConnectionPacer } from './connection-pacer.ts';
import { LateQueue } from './late-queue.ts';
import { type Recorded, Recorder } from './recorder.ts';
import { BodyFiles, couldNotConnect, type Exchange, type ScenarioHost } from './scenario-client.ts';
import { ScenarioRecorder } from './scenario-recorder.ts';
import { VirtualUser } from './scenario-user.ts';
import { ALARM_GAP_MS, CONNECT_RETRY_MS, LOOK_MS, NEVER, type RunWork, ShardRun } from './shard-run.ts';
import { TemplateRow } from './template.ts';

export class ScenarioGenerator implements ScenarioHost, RunWork {
  readonly plan: LoadPlan;
  readonly scenario: ScenarioPlan;
  readonly routePlans: readonly RoutePlan[];
  readonly #shard: number;
  readonly #multi: Multi;
  readonly #driver: EpollDriver;
  readonly #run: ShardRun;
  readonly #requests: Recorder;
  readonly #iterations = new ScenarioRecorder();
  readonly #pacer: ConnectionPacer;
  readonly #arrivals: ArrivalSchedule | null;
  readonly #late: LateQueue;
  readonly #row: TemplateRow;
  readonly #files = new BodyFiles();
  /** Numbers of tags by name. */
  readonly #tags = new Map<string, number>();
  /** Those that are counted together. */
  readonly #otherTags = new Set<string>();
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

  /** Iterations that may still be begun. */
  #left = NEVER;

  constructor(plan: LoadPlan, shard: number, run: Scenario, tell: (message: FromLoadShard) => void) {
    const userCount = shareOf(plan.connectionsMax, shard, plan.shards);
    const isOpen = plan.model === 'open';
    this.plan = plan;
    this.scenario = plan.scenario as ScenarioPlan;
    this.#shard = shard;
    this.#multi = new Multi({ maxConnects: 2 ** 30, resolve: plan.resolve });
    this.#driver = new EpollDriver(this.#multi);
    this.#driver.onTurn = () => this.#endTurn();
    this.#run = new ShardRun(plan, shard, this.#multi, this.#driver, this, tell);
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
    this.#run.begin(startMs);
  }

  /** Cuts the run short: what is under way is given up. */
  stop(): void {
    this.#run.stop();
  }

  /** Something that nobody waited for went wrong. */
  noteError(reason: unknown): void {
    this.#iterations.noteError(`Nobody waited for: ${reason instanceof Error ? reason.message : reason}`);
  }

  // ── For users ────────────────────────────────────────────────────────────────────────────────────────────────────────

  send(exchange: Exchange, transfer: Transfer): void {
    if (this.#run.phase === 'over') return;
    if (!this.#held) {
      this.#held = true;
      this.#driver.hold();
      setImmediate(() => this.#crank());
    }
    exchange.beganMs = this.#multi.io.now();
    this.#run.cutAt(exchange.beganMs);
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
    return sinceMs >= this.#run.countFromMs;
  }

  tagNumber(given: string): number {
    const name = boundedName(this.#tags, given, SCENARIO_NAMES_MAX);
    if (name !== given && this.#otherTags.size < OTHER_TAGS_MAX) this.#otherTags.add(given);
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
    if (this.#run.phase !== 'over') this.#driver.crank();
  }

  // ── Time ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

  #endTurn(): void {
    const multi = this.#multi;
    for (let transfer = multi.nextDone(); transfer !== null; transfer = multi.nextDone()) this.#failed(transfer);
    this.#run.health.turn(this.#driver.elapsedMs);
    // Whoever has connected makes room for the next one, which must not wait for the alarm.
    if (this.#pacer.isWaiting && this.#run.phase !== 'over') this.#letBegin(multi.io.now());
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

  advance(now: number): void {
    if (this.#arrivals === null) this.#advanceClosed(now);
    else this.#advanceOpen(now, now, this.#arrivals);
  }

  advanceLast(untilMs: number, now: number): void {
    if (this.#arrivals !== null) this.#advanceOpen(untilMs, now, this.#arrivals);
  }

  get isDone(): boolean {
    return this.#left === 0 && this.#running.size === 0;
  }

  #advanceOpen(untilMs: number, now: number, arrivals: ArrivalSchedule): void {
    const { startMs } = this.#run;
    while (arrivals.nextMs <= untilMs - startMs) this.#arrive(startMs + arrivals.take(), now);
  }

  #advanceClosed(now: number): void {
    const { profile, shards } = this.plan;
    if (this.#wanted === 0 || !isConstant(profile)) {
      const total = Math.round(valueAt(profile, now - this.#run.startMs));
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

  drain(): void {
    this.#pacer.clear();
  }

  isDrained(isLate: boolean): boolean {
    const isWaiting = this.#late.length > 0 && this.#left > 0;
    return isLate || (this.#running.size === 0 && !isWaiting);
  }

  nextMs(now: number): number {
    const arrivals = this.#arrivals;
    if (arrivals !== null) return Math.max(this.#run.startMs + arrivals.nextMs, now + ALARM_GAP_MS);
    return this.#pacer.isWaiting || !isConstant(this.plan.profile) ? now + LOOK_MS : NEVER;
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
    else if (!this.#late.push(dueMs) && dueMs >= this.#run.countFromMs) this.#iterations.notStarted++;
  }

  #begin(user: VirtualUser, dueMs: number, now: number): void {
    if (this.#left === 0) {
      this.#pacer.settled(user.index);
      return;
    }
    this.#run.cutAt(now);
    if (this.counts(dueMs)) {
      this.#iterations.started++;
      if (now - dueMs > LATE_MS) this.#iterations.lateStarts++;
      if (this.#run.phase !== 'warm-up') this.#left--;
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
    if (this.#run.phase === 'over') return;
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
    if (this.#run.phase === 'over') return;
    const now = this.#multi.io.now();
    for (const user of users) {
      if (this.#arrivals !== null) this.#release(user, now);
      else if (user.index >= this.#wanted) this.#resting.add(user);
      else if (this.#run.phase !== 'draining') this.#begin(user, now, now);
    }
    if (this.#run.phase === 'draining' || this.#left === 0 || this.#pacer.isWaiting) this.#run.advance(now);
  }

  /** A user is free: what has waited longest gets it. */
  #release(user: VirtualUser, now: number): void {
    if (this.#late.length > 0 && this.#left > 0) this.#begin(user, this.#late.shift(), now);
    else this.#free.push(user);
  }

  // ── The run ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  take(): Recorded & { scenario: ScenarioInterval } {
    const names = [...this.#tags.keys()];
    const recorded = this.#requests.take();
    return {
      ...recorded,
      tags: recorded.tags.map((tag) => ({ ...tag, name: names[tag.tag] as string })),
      scenario: this.#iterations.take(),
    };
  }

  giveUp(): Required<ReturnType<RunWork['giveUp']>> {
    for (; this.#late.length > 0; ) {
      if (this.counts(this.#late.shift()) && this.#left > 0) this.#iterations.notStarted++;
    }
    return {
      unfinished: [...this.#exchanges].filter(({ beganMs }) => this.counts(beganMs)).length,
      unfinishedIterations: [...this.#running].filter(({ dueMs }) => this.counts(dueMs)).length,
      otherTags: this.#otherTags.size < OTHER_TAGS_MAX ? [...this.#otherTags] : null,
    };
  }

  close(): void {
    this.#files.close();
  }
}
