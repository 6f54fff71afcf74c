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
import { type LoadPlan, shareOf } from '../../protocol/load/plan.ts';
import { ArrivalSchedule, isConstant, valueAt } from '../../protocol/load/profile.ts';
import type { Driver } from '../multi/driver.ts';
import { EpollDriver } from '../multi/epoll-driver.ts';
import { Multi } from '../multi/multi.ts';
import { TimerNode, TimerQueue } from '../multi/timer-queue.ts';
import { Transfer } from '../multi/transfer.ts';
import { ConnectionPacer } from './connection-pacer.ts';
import { LateQueue } from './late-queue.ts';
import { type Recorded, Recorder } from './recorder.ts';
import type { RequestSource } from './request-source.ts';
import { ALARM_GAP_MS, CONNECT_RETRY_MS, LOOK_MS, NEVER, type RunWork, ShardRun } from './shard-run.ts';

/** A request may take this much longer than the plan's timeout, as a share of it, and within these bounds, in milliseconds. */
const SWEEP_SHARE = 1 / 20;
const SWEEP_MS_MIN = 5;
const SWEEP_MS_MAX = 100;
/** Idle connections are the plan's to keep, not the clock's to close. */
const IDLE_MS = 2 ** 40;

export class LoadGenerator implements RunWork {
  readonly #plan: LoadPlan;
  readonly #shard: number;
  readonly #source: RequestSource;
  readonly #multi: Multi;
  readonly #driver: Driver;
  readonly #run: ShardRun;
  readonly #recorder: Recorder;
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

  /** Requests that may still be started; Infinity: the profile alone ends the run. */
  #left = NEVER;
  /** Something falls due that the alarm was not set for yet. */
  #changed = false;
  #sweep: NodeJS.Timeout | null = null;

  constructor(plan: LoadPlan, shard: number, source: RequestSource, tell: (message: FromLoadShard) => void) {
    const slots = shareOf(plan.connectionsMax, shard, plan.shards);
    const isOpen = plan.model === 'open';
    this.#plan = plan;
    this.#shard = shard;
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
    this.#run = new ShardRun(plan, shard, this.#multi, this.#driver, this, tell);
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
    const { timeoutMs } = this.#plan;
    const sweepMs = Math.min(Math.max(timeoutMs * SWEEP_SHARE, SWEEP_MS_MIN), SWEEP_MS_MAX);
    if (timeoutMs > 0 && this.#run.phase !== 'over') this.#sweep = setInterval(() => this.#sweepSlots(), sweepMs);
    this.#run.begin(startMs);
  }

  /** Cuts the run short: what is under way is given up. */
  stop(): void {
    this.#run.stop();
  }

  // ── Time ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

  #endTurn(): void {
    const multi = this.#multi;
    for (let transfer = multi.nextDone(); transfer !== null; transfer = multi.nextDone()) this.#failed(transfer);
    const run = this.#run;
    run.health.turn(this.#driver.elapsedMs);
    if (multi.now >= run.alarmMs || this.#mustLook) run.advance(multi.io.now());
  }

  /** Whether something may be due that the alarm was not set for. In closed loop, once all connections are open, that is never so. */
  get #mustLook(): boolean {
    if (this.#run.phase === 'draining' || this.#left === 0) return true;
    return this.#changed || this.#pacer.connecting.length > 0;
  }

  advance(now: number): void {
    if (this.#arrivals === null) this.#advanceClosed(now);
    else this.#advanceOpen(now, now, this.#arrivals);
  }

  advanceLast(untilMs: number, now: number): void {
    if (this.#arrivals !== null) this.#advanceOpen(untilMs, now, this.#arrivals);
  }

  get isDone(): boolean {
    return this.#left === 0 && this.#inFlight === 0;
  }

  /** Starts what is due until then. */
  #advanceOpen(untilMs: number, now: number, arrivals: ArrivalSchedule): void {
    const { startMs } = this.#run;
    while (arrivals.nextMs <= untilMs - startMs) this.#arrive(startMs + arrivals.take(), now);
  }

  drain(): void {
    this.#pacer.clear();
  }

  isDrained(isLate: boolean): boolean {
    if (isLate) this.#giveUpLate();
    return this.#inFlight === 0 && this.#late.length === 0;
  }

  #giveUpLate(): void {
    // A run by requests has started all that it was asked for.
    for (; this.#late.length > 0; ) {
      if (this.#late.shift() >= this.#run.countFromMs && this.#left > 0) this.#recorder.notStarted++;
    }
  }

  #advanceClosed(now: number): void {
    if (!this.#constant || this.#wanted === 0) {
      const { profile, shards } = this.#plan;
      const total = Math.round(valueAt(profile, now - this.#run.startMs));
      this.#want(Math.min(shareOf(total, this.#shard, shards), this.#transfers.length));
    }
    for (let node = this.#thinking.takeDue(now); node !== null; node = this.#thinking.takeDue(now)) {
      node.owner.onTimer(now);
    }
    if (this.#hasRested) this.#boundConnections();
    this.#letConnect(now);
  }

  nextMs(now: number): number {
    this.#changed = false;
    const arrivals = this.#arrivals;
    if (arrivals !== null) return Math.max(this.#run.startMs + arrivals.nextMs, now + ALARM_GAP_MS);
    let next = this.#thinking.nearest;
    if (!this.#constant) next = Math.min(next, now + LOOK_MS);
    if (this.#pacer.isWaiting) next = Math.min(next, Math.max(this.#pacer.nextMs, now + LOOK_MS));
    return next;
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
    if (this.#run.phase === 'draining' || this.#run.phase === 'over') return;
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
    else if (!this.#late.push(dueMs) && dueMs >= this.#run.countFromMs) this.#recorder.notStarted++;
  }

  /** A slot is free: who has waited longest gets it. */
  #release(slot: number, now: number): void {
    const waits = this.#late.length > 0 && this.#left > 0 && this.#run.phase !== 'over';
    if (waits) this.#start(slot, this.#late.shift(), now);
    else this.#free[this.#freeCount++] = slot;
  }

  // ── Requests ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  #start(slot: number, dueMs: number, now: number): void {
    if (this.#left === 0) return;
    const transfer = this.#transfers[slot] as Transfer;
    this.#tags[slot] = this.#source.prepare(transfer, slot);
    this.#due[slot] = dueMs;
    this.#run.cutAt(now);
    if (dueMs >= this.#run.countFromMs) {
      this.#recorder.start(now - dueMs);
      if (this.#run.phase !== 'warm-up') this.#left--;
    }
    this.#inFlight++;
    this.#multi.add(transfer);
  }

  readonly #onEnd = (transfer: Transfer): void => {
    const slot = transfer.id;
    const dueMs = this.#due[slot] as number;
    const { kept } = transfer;
    if (dueMs >= this.#run.countFromMs) {
      this.#recorder.completed(transfer, dueMs, this.#tags[slot] as number, slot % this.#localCount);
    }
    this.#multi.remove(transfer);
    const { now } = this.#multi;
    if (this.#follows && this.#run.phase !== 'over' && this.#source.follow?.(transfer, slot)) {
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
    transfer.freshConnect = false;
    this.#run.cutAt(now);
    // One that counts for nothing leads to none that counts.
    if ((this.#due[slot] as number) >= this.#run.countFromMs) {
      this.#recorder.redirected++;
      this.#due[slot] = now;
      this.#recorder.start(0);
    }
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
    if (dueMs >= this.#run.countFromMs) {
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
    this.#run.advance(this.#multi.io.now());
  }

  // ── The run ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  take(): Recorded {
    return this.#recorder.take();
  }

  giveUp(): { unfinished: number } {
    this.#giveUpLate();
    if (this.#sweep !== null) clearInterval(this.#sweep);
    return { unfinished: this.#inFlight };
  }

  close(): void {
    this.#source.close?.();
  }
}
