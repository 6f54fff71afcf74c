/**
 * The load generator of one shard: a multi of its own, as many transfers as it may have in flight, and nothing per request beside
 * them. A transfer whose answer is complete is recorded, removed and added again in the same turn, so the path of a request has no
 * promise, no closure, no timer and no message, and crosses no thread.
 *
 *   slot     a number: one transfer, its connection in closed loop, and its places in the arrays below
 *   alarm    one for all: the next arrival, the next connection, the next thought that ends
 *   sweep    ends requests that take longer than the plan allows; it visits all slots, some times a second
 *
 * closed loop: every slot below the profile's value sends, waits for its answer, thinks, sends.
 * open loop: arrivals are due by arithmetic (`profile.ts`). One that is due takes a free slot; there being none it waits in the late
 * queue, and its latency counts from when it was due, wherever it waited.
 *
 * It counts (`recorder.ts`) and tells what it counted; what that means is the main thread's to say.
 */

import { type FromLoadShard, tagsOf } from '../../protocol/load/messages.ts';
import { type LoadPlan, profileEndMs, shareOf } from '../../protocol/load/plan.ts';
import { ArrivalSchedule, isConstant, valueAt } from '../../protocol/load/profile.ts';
import { Alarm } from '../io/alarm.ts';
import type { Driver } from '../multi/driver.ts';
import { EpollDriver } from '../multi/epoll-driver.ts';
import { Multi } from '../multi/multi.ts';
import { TimerNode, TimerQueue } from '../multi/timer-queue.ts';
import { Transfer } from '../multi/transfer.ts';
import { ConnectionPacer } from './connection-pacer.ts';
import { Health } from './health.ts';
import { LateQueue } from './late-queue.ts';
import { Recorder } from './recorder.ts';
import type { RequestSource } from './request-source.ts';

const MS_PER_SECOND = 1_000;
const NEVER = Number.POSITIVE_INFINITY;
/** Arrivals closer together than this are started together: waking up for each would cost more than the request. */
const ALARM_GAP_MS = 0.1;
/** How often a changing number of connections, and who is connected by now, is looked at. */
const LOOK_MS = 2;
/** After a connection could not be made its slot waits this long: ten thousand slots must not hammer a server that is down. */
const CONNECT_RETRY_MS = 100;
/** A request may take this much longer than the plan's timeout, as a share of it, and within these bounds, in milliseconds. */
const SWEEP_SHARE = 1 / 20;
const SWEEP_MS_MIN = 5;
const SWEEP_MS_MAX = 100;
/** Idle connections are the plan's to keep, not the clock's to close. */
const IDLE_MS = 2 ** 40;

type Phase = 'warm-up' | 'measuring' | 'draining' | 'over';

export class LoadGenerator {
  readonly #plan: LoadPlan;
  readonly #shard: number;
  readonly #tell: (message: FromLoadShard) => void;
  readonly #source: RequestSource;
  readonly #multi: Multi;
  readonly #driver: Driver;
  readonly #alarm: Alarm;
  readonly #recorder: Recorder;
  readonly #health = new Health();
  readonly #pacer: ConnectionPacer;
  readonly #arrivals: ArrivalSchedule | null;
  readonly #late: LateQueue;
  readonly #localCount: number;
  /** Answers may lead to further requests. */
  readonly #follows: boolean;
  /** The profile never changes its value. */
  readonly #constant: boolean;

  // By slot.
  readonly #transfers: Transfer[] = [];
  /** When it should have started, on the multi's clock. */
  readonly #due: Float64Array;
  readonly #tags: Int32Array;
  readonly #thoughts: TimerNode[] = [];

  /** Open loop: slots with nothing to do, last freed first: their transfers and connections are in the cache. */
  readonly #free: Int32Array;
  #freeCount = 0;
  /** Closed loop: slots below it send; those above end when they have their answer. */
  #wanted = 0;
  /** Closed loop: slots below it have begun. */
  #begun = 0;
  /** Closed loop, a changing number of connections: slots that have ended and may begin again. */
  readonly #resting: boolean[] = [];
  /** Slots that have begun and do not rest. */
  #activeCount = 0;
  /** A slot has come to rest: its connection is one too many. */
  #hasRested = false;
  readonly #thinking = new TimerQueue();
  #inFlight = 0;

  #phase: Phase = 'warm-up';
  /** All of these on the multi's clock. */
  #startMs = NEVER;
  #measureMs = NEVER;
  #endMs = NEVER;
  #drainFromMs = NEVER;
  #cutMs = NEVER;
  #lastCutMs = 0;
  /** What was due before this counts for nothing. */
  #countFromMs = 0;
  /** Requests that may still be started; Infinity: the profile alone ends the run. */
  #left = NEVER;
  #alarmMs = NEVER;
  /** Something falls due that the alarm was not set for yet. */
  #changed = false;
  #sweep: NodeJS.Timeout | null = null;
  #stopped = false;
  /** Of the multi's stats at the last cut. */
  #before = { opened: 0, reused: 0, bytesIn: 0, bytesOut: 0 };

  constructor(plan: LoadPlan, shard: number, source: RequestSource, tell: (message: FromLoadShard) => void) {
    const slots = shareOf(plan.connectionsMax, shard, plan.shards);
    const isOpen = plan.model === 'open';
    this.#plan = plan;
    this.#shard = shard;
    this.#tell = tell;
    this.#source = source;
    this.#multi = new Multi({
      maxConnects: slots,
      // Where every slot keeps to its connection there are never more than slots: a limit would only make some wait for a close.
      maxTotalConnections: this.#mustBound(plan) ? slots : 0,
      idleMs: IDLE_MS,
      lifetimeMs: IDLE_MS,
      resolve: plan.resolve,
    });
    // Where connections rest while their slots think, all take turns: the last ones would serve everybody, and the others nobody.
    if (plan.thinkMs[1] > 0) this.#multi.cache.takes = 'oldest';
    this.#driver = new EpollDriver(this.#multi);
    this.#driver.onTurn = () => this.#endTurn();
    this.#alarm = new Alarm(() => this.#onAlarm());
    this.#follows = plan.redirectsMax > 0;
    this.#constant = isConstant(plan.profile);
    this.#localCount = Math.max(1, plan.localAddresses.length);
    this.#recorder = new Recorder(isOpen, tagsOf(plan).length, plan.localAddresses.length);
    this.#pacer = new ConnectionPacer(slots, plan.connectRate, plan.shards);
    this.#arrivals = isOpen ? new ArrivalSchedule(plan.profile, shard, plan.shards) : null;
    this.#late = new LateQueue(isOpen ? Math.max(1, Math.ceil(plan.lateMax / plan.shards)) : 0);
    this.#due = new Float64Array(slots);
    this.#tags = new Int32Array(slots);
    this.#free = new Int32Array(isOpen ? slots : 0);
    for (let slot = 0; slot < slots; slot++) this.#addSlot(slot, isOpen);
    if (plan.requestsMax > 0) this.#left = shareOf(plan.requestsMax, shard, plan.shards);
  }

  /** Whether slots may leave connections behind: to another origin, or because fewer are wanted. */
  #mustBound({ targets, profile, redirectsMax }: LoadPlan): boolean {
    return redirectsMax > 0 || new Set(targets.map(({ url }) => new URL(url).origin)).size > 1 || !isConstant(profile);
  }

  #addSlot(slot: number, isOpen: boolean): void {
    const transfer = new Transfer(this.#source.first(slot));
    transfer.id = slot;
    transfer.onEnd = this.#onEnd;
    this.#transfers.push(transfer);
    if (isOpen) this.#free[this.#freeCount++] = this.#transfers.length - 1;
    else this.#thoughts.push(new TimerNode({ onTimer: (now) => this.#thought(slot, now) }));
  }

  /** `startMs`: on CLOCK_MONOTONIC, the same for all shards; not long ago, or soon. */
  begin(startMs: number): void {
    // It was stopped before.
    if (this.#phase === 'over') return;
    const { warmupMs, profile, timeoutMs } = this.#plan;
    this.#startMs = startMs;
    this.#measureMs = startMs + warmupMs;
    this.#endMs = startMs + profileEndMs(profile);
    this.#lastCutMs = startMs;
    // Whole seconds count from the end of the warm-up, on both sides of it.
    const wholeSeconds = Math.max(0, Math.ceil(warmupMs / MS_PER_SECOND) - 1);
    this.#cutMs = this.#measureMs - wholeSeconds * MS_PER_SECOND;
    this.#driver.run();
    const sweepMs = Math.min(Math.max(timeoutMs * SWEEP_SHARE, SWEEP_MS_MIN), SWEEP_MS_MAX);
    if (timeoutMs > 0) this.#sweep = setInterval(() => this.#sweepSlots(), sweepMs);
    this.#advance(this.#multi.io.now());
  }

  /** Cuts the run short: what is under way is given up. */
  stop(): void {
    if (this.#phase === 'over') return;
    const now = this.#multi.io.now();
    this.#stopped = true;
    if (this.#phase !== 'draining') this.#drainFromMs = now;
    this.#finish(now);
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
    if (multi.now >= this.#alarmMs || this.#mustLook) this.#advance(multi.io.now());
  }

  /** Whether something may be due that the alarm was not set for. In closed loop, once all connections are open, that is never so. */
  get #mustLook(): boolean {
    if (this.#phase === 'draining' || this.#left === 0) return true;
    return this.#changed || this.#pacer.connecting.length > 0;
  }

  /** Does all that is due. */
  #advance(now: number): void {
    if (this.#phase === 'over' || now < this.#startMs) {
      if (this.#phase !== 'over') this.#wakeAt(this.#startMs);
      return;
    }
    // The end of the run is a cut of its own.
    if (now >= this.#cutMs && (this.#cutMs < this.#endMs || this.#phase === 'draining')) this.#cut(now);
    if (this.#phase === 'draining') {
      this.#advanceDraining(now);
      return;
    }
    if (now >= this.#endMs) {
      // Whatever was due by then is late, but part of the run.
      if (this.#arrivals !== null) this.#advanceOpen(this.#endMs, now, this.#arrivals);
      this.#drain(this.#endMs);
      this.#advance(now);
      return;
    }
    if (this.#arrivals === null) this.#advanceClosed(now);
    else this.#advanceOpen(now, now, this.#arrivals);
    if (this.#left === 0 && this.#inFlight === 0) this.#finishByRequests(now);
    else this.#arm(now);
  }

  /** Starts what is due until then. */
  #advanceOpen(untilMs: number, now: number, arrivals: ArrivalSchedule): void {
    const elapsedMs = untilMs - this.#startMs;
    while (arrivals.nextMs <= elapsedMs) this.#arrive(this.#startMs + arrivals.take(), now);
  }

  /**
   * What was due in the run and waits for a connection still gets one: to leave it out would leave out the worst. Not for longer than a
   * request may take.
   */
  #advanceDraining(now: number): void {
    const untilMs = this.#drainFromMs + this.#plan.timeoutMs;
    if (now >= untilMs) this.#giveUpLate();
    if (this.#inFlight === 0 && this.#late.length === 0) this.#finish(now);
    else this.#wakeAt(now < untilMs ? Math.min(this.#cutMs, untilMs) : this.#cutMs);
  }

  #giveUpLate(): void {
    // A run by requests has started all that it was asked for.
    for (; this.#late.length > 0; ) {
      if (this.#late.shift() >= this.#countFromMs && this.#left > 0) this.#recorder.notStarted++;
    }
  }

  #advanceClosed(now: number): void {
    if (!this.#constant || this.#wanted === 0) {
      const { profile, shards } = this.#plan;
      const total = Math.round(valueAt(profile, now - this.#startMs));
      this.#want(Math.min(shareOf(total, this.#shard, shards), this.#transfers.length));
    }
    for (let node = this.#thinking.takeDue(now); node !== null; node = this.#thinking.takeDue(now)) {
      node.owner.onTimer(now);
    }
    if (this.#hasRested) this.#boundConnections();
    this.#letConnect(now);
  }

  /** Sets the alarm to what comes next. */
  #arm(now: number): void {
    this.#changed = false;
    let next = Math.min(this.#cutMs, this.#endMs);
    const arrivals = this.#arrivals;
    if (arrivals !== null) {
      if (arrivals.nextMs !== NEVER)
        next = Math.min(next, Math.max(this.#startMs + arrivals.nextMs, now + ALARM_GAP_MS));
    } else {
      next = Math.min(next, this.#thinking.nearest);
      if (!this.#constant) next = Math.min(next, now + LOOK_MS);
      if (this.#pacer.isWaiting) next = Math.min(next, Math.max(this.#pacer.nextMs, now + LOOK_MS));
    }
    this.#wakeAt(next);
  }

  #wakeAt(ms: number): void {
    if (ms === this.#alarmMs) return;
    this.#alarmMs = ms;
    this.#alarm.set(ms);
  }

  // ── Closed loop ──────────────────────────────────────────────────────────────────────────────────────────────────────

  /** So many slots are to send from now on. */
  #want(wanted: number): void {
    if (wanted === this.#wanted) return;
    const before = this.#wanted;
    this.#wanted = wanted;
    // Those above it end with their answers, and their connections then: a limit now would close those of others.
    for (let slot = before; slot < wanted; slot++) {
      if (slot < this.#begun && !this.#resting[slot]) continue;
      this.#resting[slot] = false;
      this.#activeCount++;
      this.#pacer.wait(slot);
    }
    this.#begun = Math.max(this.#begun, wanted);
    this.#boundConnections();
  }

  #rest(slot: number): void {
    this.#resting[slot] = true;
    this.#activeCount--;
    this.#hasRested = true;
    this.#changed = true;
  }

  /** As many as there are slots that send: the multi closes what is idle beyond that. */
  #boundConnections(): void {
    this.#hasRested = false;
    if (!this.#constant) this.#multi.setOption('maxTotalConnections', Math.max(this.#activeCount, 1));
  }

  #letConnect(now: number): void {
    const { connecting } = this.#pacer;
    for (let index = connecting.length - 1; index >= 0; index--) {
      const slot = connecting[index] as number;
      if ((this.#transfers[slot] as Transfer).connectUs >= 0) this.#pacer.settled(slot);
    }
    if (!this.#pacer.isWaiting) return;
    for (let slot = this.#pacer.next(now); slot >= 0; slot = this.#pacer.next(now)) {
      // Others' idle connections are theirs: they think.
      const transfer = this.#transfers[slot] as Transfer;
      transfer.freshConnect = true;
      this.#start(slot, now, now);
      if (this.#left === 0) this.#pacer.clear();
    }
  }

  /** Its answer has come, or never will: its next request. `fresh`: that must open a connection. */
  #next(slot: number, now: number, fresh: boolean, waitMs: number): void {
    if (this.#phase === 'draining' || this.#phase === 'over') return;
    if (slot >= this.#wanted) {
      this.#rest(slot);
      return;
    }
    const [least, most] = this.#plan.thinkMs;
    const thinkMs = Math.max(most === 0 ? 0 : least + Math.random() * (most - least), waitMs);
    if (thinkMs > 0) {
      this.#thinking.set(this.#thoughts[slot] as TimerNode, now + thinkMs);
      this.#changed = true;
      return;
    }
    if (fresh) this.#connect(slot, now);
    else this.#start(slot, now, now);
  }

  /** It has thought, or has waited long enough after it could not connect. */
  #thought(slot: number, now: number): void {
    if (slot >= this.#wanted) this.#rest(slot);
    else if (this.#hasConnectionFor) this.#start(slot, now, now);
    else this.#connect(slot, now);
  }

  /** Each slot that sends has a connection of its own, even if it is never asked which. */
  get #hasConnectionFor(): boolean {
    const { cache } = this.#multi;
    return cache.idleCount > 0 && cache.openCount + this.#pacer.waitingCount >= this.#wanted;
  }

  #connect(slot: number, now: number): void {
    this.#pacer.wait(slot);
    this.#changed = true;
    this.#letConnect(now);
  }

  // ── Open loop ────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** A request is due. */
  #arrive(dueMs: number, now: number): void {
    if (this.#left === 0) return;
    if (this.#freeCount > 0) this.#start(this.#free[--this.#freeCount] as number, dueMs, now);
    else if (!this.#late.push(dueMs) && dueMs >= this.#countFromMs) this.#recorder.notStarted++;
  }

  /** A slot is free: who has waited longest gets it. */
  #release(slot: number, now: number): void {
    const waits = this.#late.length > 0 && this.#left > 0 && this.#phase !== 'over';
    if (waits) this.#start(slot, this.#late.shift(), now);
    else this.#free[this.#freeCount++] = slot;
  }

  // ── Requests ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  #start(slot: number, dueMs: number, now: number): void {
    if (this.#left === 0) return;
    const transfer = this.#transfers[slot] as Transfer;
    this.#tags[slot] = this.#source.prepare(transfer, slot);
    this.#due[slot] = dueMs;
    if (dueMs >= this.#countFromMs) {
      this.#recorder.start(now - dueMs);
      if (this.#phase !== 'warm-up') this.#left--;
    }
    this.#inFlight++;
    this.#multi.add(transfer);
  }

  readonly #onEnd = (transfer: Transfer): void => {
    const slot = transfer.id;
    const dueMs = this.#due[slot] as number;
    const { kept } = transfer;
    if (dueMs >= this.#countFromMs) {
      this.#recorder.completed(transfer, dueMs, this.#tags[slot] as number, slot % this.#localCount);
    }
    this.#multi.remove(transfer);
    const { now } = this.#multi;
    if (this.#follows && this.#phase !== 'over' && this.#source.follow?.(transfer, slot)) {
      this.#follow(transfer, now);
      return;
    }
    this.#inFlight--;
    if (this.#arrivals !== null) {
      this.#release(slot, now);
      return;
    }
    const { reused } = transfer;
    if (!reused) {
      this.#pacer.settled(slot);
      transfer.freshConnect = false;
    }
    this.#next(slot, now, !kept, 0);
    if (reused || !this.#pacer.isWaiting) return;
    // The next one connects now, not when the driver has come to all sockets that are ready.
    this.#letConnect(now);
  };

  /** Where its answer led. It belongs to the request that began it, so it does not count towards the number that was asked for. */
  #follow(transfer: Transfer, now: number): void {
    const slot = transfer.id;
    if (!transfer.reused) this.#pacer.settled(slot);
    if ((this.#due[slot] as number) >= this.#countFromMs) this.#recorder.redirected++;
    this.#due[slot] = now;
    if (now >= this.#countFromMs) this.#recorder.start(0);
    this.#multi.add(transfer);
  }

  #failed(transfer: Transfer): void {
    const { error } = transfer;
    this.#multi.remove(transfer);
    // What has succeeded was removed in `onEnd`, and its message with it.
    if (error !== null) this.#end(transfer, error.code, error.message);
  }

  /** A request without a whole answer. The transfer is removed by now. */
  #end(transfer: Transfer, code: string, message: string): void {
    const slot = transfer.id;
    const dueMs = this.#due[slot] as number;
    if (dueMs >= this.#countFromMs) {
      this.#recorder.failed(transfer, code, message, this.#tags[slot] as number, slot % this.#localCount);
    }
    this.#inFlight--;
    const now = this.#multi.io.now();
    this.#pacer.settled(slot);
    transfer.freshConnect = false;
    if (this.#arrivals === null) this.#next(slot, now, true, transfer.connectUs < 0 ? CONNECT_RETRY_MS : 0);
    else this.#release(slot, now);
  }

  #sweepSlots(): void {
    const { timeoutMs } = this.#plan;
    const sinceMs = this.#multi.io.now() - timeoutMs;
    for (const transfer of this.#transfers) {
      if (transfer.multi === null || transfer.startMs > sinceMs || transfer.state === 'done') continue;
      const connecting = transfer.connectUs < 0;
      const { text } = transfer.origin;
      this.#multi.remove(transfer);
      if (connecting) this.#end(transfer, 'CONNECT_TIMEOUT', `No connection to ${text} within ${timeoutMs} ms.`);
      else this.#end(transfer, 'TOTAL_TIMEOUT', `No whole answer from ${text} within ${timeoutMs} ms.`);
    }
    this.#advance(this.#multi.io.now());
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
    this.#before = stats;
    this.#tell({
      kind: 'interval',
      shard: this.#shard,
      second: Math.floor((this.#lastCutMs - this.#measureMs) / MS_PER_SECOND),
      phase: this.#phase === 'over' ? 'draining' : this.#phase,
      last,
      lengthMs: Math.round(untilMs - this.#lastCutMs),
      ...this.#recorder.take(),
      bytesReceived: stats.bytesIn - bytesIn,
      bytesSent: stats.bytesOut - bytesOut,
      opened: stats.opened - opened,
      reused: stats.reused - reused,
      connections: stats.connections,
      peak: this.#multi.cache.openPeak,
    });
    this.#multi.cache.openPeak = 0;
    this.#lastCutMs = untilMs;
  }

  /** Nothing falls due any more; what is under way may still be answered. */
  #drain(sinceMs: number): void {
    this.#tellInterval(sinceMs, true);
    this.#phase = 'draining';
    this.#drainFromMs = sinceMs;
    this.#cutMs = sinceMs + MS_PER_SECOND;
    this.#pacer.clear();
  }

  /** All requests that were asked for have ended: the run ends with the last answer. */
  #finishByRequests(now: number): void {
    this.#drain(now);
    this.#finish(now);
  }

  #finish(now: number): void {
    const unfinished = this.#transfers.filter((transfer) => transfer.multi !== null).length;
    const measured = this.#countFromMs === this.#measureMs;
    this.#giveUpLate();
    this.#tellInterval(now, true);
    this.#phase = 'over';
    this.#tell({
      kind: 'done',
      shard: this.#shard,
      measuredMs: measured ? Math.max(0, this.#drainFromMs - this.#measureMs) : 0,
      drainMs: Math.max(0, now - this.#drainFromMs),
      unfinished: this.#stopped && measured ? unfinished : 0,
      health: this.#health.report(),
    });
    if (this.#sweep !== null) clearInterval(this.#sweep);
    this.#health.stop();
    this.#alarm.close();
    // It may be in the middle of a turn.
    setImmediate(() => {
      this.#multi.close();
      this.#driver.stop();
      this.#source.close?.();
    });
  }
}
