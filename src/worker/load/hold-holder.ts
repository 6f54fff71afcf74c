/**
 * Opens a process's share of connections, holds them, and keeps a few of them busy: the experiment that libcurl's multi_socket was
 * published with, against any server. What is measured besides requests is what one call of the multi costs among so many sockets.
 *
 *   opening   transfers that connect and send nothing (CURLOPT_CONNECT_ONLY), at a bounded rate, a bounded number at once. One that
 *             fails is tried again, ATTEMPTS_MAX times in all
 *   waiting   all are open or given up; other processes may not be so far
 *   holding   `active` transfers, each sending its next request when it has its answer; or requests at a rate, over all connections
 *             in turn, latency counted from when each was due
 *   over
 *
 * A connection is lost when there is one less than were opened. Nothing asks which: the engine sees a close as it comes.
 */

import { Histogram } from '../../protocol/load/histogram.ts';
import type { FromHoldProcess, HoldCounts, HoldMemory, HoldPlan } from '../../protocol/load/hold.ts';
import { shareOf } from '../../protocol/load/plan.ts';
import { Alarm } from '../io/alarm.ts';
import { EpollDriver } from '../multi/epoll-driver.ts';
import { Multi } from '../multi/multi.ts';
import { Transfer } from '../multi/transfer.ts';
import { ConnectionPacer } from './connection-pacer.ts';
import { Health } from './health.ts';
import { HoldMeter } from './hold-meter.ts';
import { type HoldRoute, holdRoutesOf, takeIdle } from './hold-routes.ts';

/** How often a connection is tried before it is given up. */
const ATTEMPTS_MAX = 3;
/** Between attempts, milliseconds. */
const RETRY_MS = 250;
/** How often it is looked at who may connect. */
const LOOK_MS = 2;
const TICK_MS = 1_000;
/** An active connection that failed lets go of its turn so long. */
const FAILED_PAUSE_MS = 100;
/** Idle connections are the peer's to close, not the clock's. */
const IDLE_MS = 2 ** 40;
/** Arrivals closer together than this are started together. */
const ALARM_GAP_MS = 0.1;
/** What is made once is made before memory is measured: so many connections come first, or this share of them. */
const MEMORY_FIRST = 1_000;
const MEMORY_FIRST_SHARE = 1 / 4;
/** With fewer, what else a process does is more than its connections. */
const MEMORY_LEAST = 400;
const US_PER_MS = 1_000;
const MS_PER_SECOND = 1_000;

type Phase = 'opening' | 'waiting' | 'holding' | 'over';

interface Usage {
  readonly connections: number;
  readonly heapBytes: number;
  readonly residentBytes: number;
}

export class Holder {
  readonly #plan: HoldPlan;
  readonly #process: number;
  readonly #tell: (message: FromHoldProcess) => void;
  readonly #multi: Multi;
  readonly #meter: HoldMeter;
  readonly #driver: EpollDriver;
  readonly #health = new Health();
  readonly #routes: readonly HoldRoute[];
  readonly #slots: number;
  readonly #active: number;
  readonly #pacer: ConnectionPacer;
  /** By slot. */
  readonly #attempts: Uint8Array;
  readonly #alarm: Alarm;
  #looking: NodeJS.Timeout | null = null;
  #ticking: NodeJS.Timeout | null = null;
  #ending: NodeJS.Timeout | null = null;
  readonly #pauses = new Set<NodeJS.Timeout>();

  #phase: Phase = 'opening';
  #beganMs = 0;
  #holdFromMs = 0;
  #first: Usage | null = null;
  #connecting = 0;
  #retrying = 0;
  /** Slots that have their connection, or are given up. */
  #settled = 0;
  #reopened = 0;
  #connectsFailed = 0;
  #retried = 0;
  #closed = 0;
  #started = 0;
  #completed = 0;
  #requestsFailed = 0;
  #notStarted = 0;
  #inFlight = 0;
  /** By a transfer's `id`: when it was due. */
  readonly #due: number[] = [];
  readonly #free: Transfer[] = [];
  #dueCount = 0;
  #route = 0;
  #turn = 0;
  readonly #latency = new Histogram(true);
  readonly #statuses = new Map<number, number>();
  readonly #errors: Record<string, number> = {};
  readonly #errorExamples: Record<string, string> = {};
  readonly #perLocal: Record<string, number> = {};
  readonly #perRemote: Record<string, number> = {};

  constructor(plan: HoldPlan, process: number, tell: (message: FromHoldProcess) => void) {
    const { load } = plan;
    const share = (total: number) => shareOf(total, process, load.shards);
    this.#plan = plan;
    this.#process = process;
    this.#tell = tell;
    this.#slots = share(load.connectionsMax);
    this.#active = Math.min(share(plan.active), this.#slots);
    this.#multi = new Multi({
      maxConnects: this.#slots + 1,
      idleMs: IDLE_MS,
      lifetimeMs: IDLE_MS,
      resolve: load.resolve,
    });
    // A few active ones stay the same few; a rate goes round.
    this.#multi.cache.takes = plan.rate > 0 || this.#active === this.#slots ? 'oldest' : 'newest';
    this.#meter = new HoldMeter(this.#multi);
    this.#driver = new EpollDriver(this.#meter);
    this.#driver.onTurn = () => this.#endTurn();
    this.#alarm = new Alarm(() => this.#arrive());
    this.#routes = holdRoutesOf(plan);
    this.#attempts = new Uint8Array(this.#slots);
    this.#pacer = new ConnectionPacer(this.#slots, load.connectRate, load.shards);
  }

  open(): void {
    this.#beganMs = this.#now();
    this.#driver.run();
    this.#awaitTick();
    for (let slot = 0; slot < this.#slots; slot++) {
      this.#routeOf(slot).wanted++;
      this.#pacer.wait(slot);
    }
    this.#look();
  }

  /** All are open everywhere. `startMs`: when holding begins. */
  hold(startMs: number): void {
    if (this.#phase !== 'waiting') return;
    this.#phase = 'holding';
    this.#holdFromMs = startMs;
    this.#health.restart();
    this.#meter.restart();
    // Seconds count anew.
    if (this.#ticking !== null) clearTimeout(this.#ticking);
    this.#awaitTick();
    this.#ending = setTimeout(() => this.stop(), startMs + this.#plan.durationMs - this.#now());
    if (this.#plan.rate > 0) this.#alarm.set(startMs);
    else for (let index = 0; index < this.#active; index++) this.#startActive(this.#newTransfer());
  }

  stop(): void {
    if (this.#phase === 'over') return;
    const now = this.#now();
    const heldMs = this.#phase === 'holding' ? Math.max(0, now - this.#holdFromMs) : 0;
    if (this.#phase === 'holding' && this.#plan.rate > 0) {
      this.#giveUpDue(Math.min(now, this.#holdFromMs + this.#plan.durationMs));
    }
    this.#tick();
    this.#phase = 'over';
    for (const timer of [this.#looking, this.#ticking, this.#ending, ...this.#pauses]) {
      if (timer !== null) clearTimeout(timer);
    }
    this.#tell({
      kind: 'done',
      heldMs,
      unfinished: this.#inFlight,
      statuses: [...this.#statuses],
      errors: this.#errors,
      errorExamples: this.#errorExamples,
      perLocalAddress: this.#perLocal,
      perRemoteAddress: this.#perRemote,
      health: this.#health.report(),
    });
    this.#health.stop();
    this.#alarm.close();
    // It may be in the middle of a turn.
    setImmediate(() => {
      this.#multi.close();
      this.#driver.stop();
    });
  }

  #now(): number {
    return this.#multi.io.now();
  }

  #endTurn(): void {
    const multi = this.#multi;
    for (let transfer = multi.nextDone(); transfer !== null; transfer = multi.nextDone()) this.#ended(transfer);
    this.#health.turn(this.#driver.elapsedMs);
    // All that was started has its connection.
    this.#turn++;
    if (this.#pacer.isWaiting) this.#letConnect(this.#now());
  }

  #ended(transfer: Transfer): void {
    const { error, connectOnly } = transfer;
    this.#multi.remove(transfer);
    if (connectOnly) {
      if (error === null) this.#connected(transfer);
      else this.#notConnected(transfer, error.code, error.message);
      return;
    }
    // What has succeeded was removed in `onEnd`.
    if (error !== null) this.#requestFailed(transfer, error.code, error.message);
  }

  // ── Connections ──────────────────────────────────────────────────────────────────────────────────────────────────────

  #routeOf(slot: number): HoldRoute {
    // Of the slots of all processes, so that no process begins where another did.
    const number = slot * this.#plan.load.shards + this.#process;
    return this.#routes[number % this.#routes.length] as HoldRoute;
  }

  #look(): void {
    this.#letConnect(this.#now());
    const isNeeded = this.#pacer.isWaiting && this.#phase !== 'over';
    if (isNeeded) this.#looking ??= setInterval(() => this.#look(), LOOK_MS);
    else if (this.#looking !== null) {
      clearInterval(this.#looking);
      this.#looking = null;
    }
  }

  #letConnect(now: number): void {
    if (this.#phase === 'over') return;
    for (let slot = this.#pacer.next(now); slot >= 0; slot = this.#pacer.next(now)) {
      const transfer = new Transfer(this.#routeOf(slot).opening);
      transfer.id = slot;
      this.#connecting++;
      this.#multi.add(transfer);
    }
  }

  #connected(transfer: Transfer): void {
    const { id: slot, remoteAddress } = transfer;
    const { localAddress } = this.#routeOf(slot);
    this.#connecting--;
    this.#pacer.settled(slot);
    count(this.#perRemote, remoteAddress);
    if (localAddress !== '') count(this.#perLocal, localAddress);
    if (this.#phase === 'holding') this.#reopened++;
    else this.#settle();
  }

  #notConnected(transfer: Transfer, code: string, message: string): void {
    const { id: slot } = transfer;
    this.#connecting--;
    this.#pacer.settled(slot);
    this.#noteError(code, message);
    // Those opened again have their turn at every tick.
    if (this.#phase === 'holding' || this.#phase === 'over') return;
    const attempts = (this.#attempts[slot] as number) + 1;
    this.#attempts[slot] = attempts;
    if (attempts === ATTEMPTS_MAX) {
      this.#connectsFailed++;
      this.#routeOf(slot).wanted--;
      this.#settle();
      return;
    }
    this.#retried++;
    this.#retrying++;
    this.#after(RETRY_MS, () => {
      this.#retrying--;
      this.#pacer.wait(slot);
      this.#look();
    });
  }

  #settle(): void {
    this.#settled++;
    const first = Math.min(MEMORY_FIRST, Math.floor(this.#slots * MEMORY_FIRST_SHARE));
    if (this.#settled === first && this.#slots >= MEMORY_LEAST) this.#first = this.#usage();
    if (this.#settled === this.#slots) {
      this.#phase = 'waiting';
      const openingMs = this.#now() - this.#beganMs;
      const memory = this.#memory();
      this.#tick();
      this.#tell({ kind: 'opened', openingMs, memory });
    }
  }

  #usage(): Usage {
    globalThis.gc?.();
    const { heapUsed, external, rss } = process.memoryUsage();
    return { connections: this.#open, heapBytes: heapUsed + external, residentBytes: rss };
  }

  /** Nothing is known where no garbage could be collected. */
  #memory(): HoldMemory | null {
    const first = this.#first;
    if (first === null || globalThis.gc === undefined) return null;
    const last = this.#usage();
    const connections = last.connections - first.connections;
    if (connections < MEMORY_LEAST / 2) return null;
    return {
      heapBytes: (last.heapBytes - first.heapBytes) / connections,
      residentBytes: (last.residentBytes - first.residentBytes) / connections,
    };
  }

  /** What is open, without what connects. */
  get #open(): number {
    return Math.max(0, this.#multi.cache.openCount - this.#connecting);
  }

  /** As many as are missing on each route, one attempt each. */
  #reconnect(): void {
    if (this.#connecting > 0 || this.#pacer.isWaiting) return;
    const missing = this.#routes.map(({ request, wanted }) => wanted - (request.route.destination?.open ?? 0));
    for (let slot = 0; slot < this.#slots; slot++) {
      const route = this.#routes.indexOf(this.#routeOf(slot));
      const left = missing[route] as number;
      if (left <= 0) continue;
      missing[route] = left - 1;
      this.#pacer.wait(slot);
    }
    this.#look();
  }

  // ── Requests ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  #newTransfer(): Transfer {
    const [route] = this.#routes;
    const transfer = new Transfer((route as HoldRoute).request);
    transfer.id = this.#due.push(0) - 1;
    transfer.onEnd = this.#onEnd;
    return transfer;
  }

  /** The next route, in turn from `from`, on which a connection is idle, for a request that is started now; -1: none is. */
  #idleRoute(from: number): number {
    const routes = this.#routes;
    for (let step = 0; step < routes.length; step++) {
      const index = (from + step) % routes.length;
      if (takeIdle(routes[index] as HoldRoute, this.#turn)) return index;
    }
    return -1;
  }

  /** An active transfer keeps to its route as long as it can. */
  #startActive(transfer: Transfer): void {
    const route = this.#idleRoute(transfer.id % this.#routes.length);
    if (route >= 0) this.#start(transfer, route, this.#multi.io.now());
    else this.#pauseActive(transfer);
  }

  #pauseActive(transfer: Transfer): void {
    this.#after(FAILED_PAUSE_MS, () => this.#startActive(transfer));
  }

  /** All requests that are due by the rate. */
  #arrive(): void {
    if (this.#phase !== 'holding') return;
    const now = this.#now();
    for (let due = this.#nextDueMs; due <= now; due = this.#nextDueMs) {
      this.#dueCount++;
      const route = this.#idleRoute(this.#route);
      if (route < 0) {
        this.#notStarted++;
        continue;
      }
      this.#route = (route + 1) % this.#routes.length;
      this.#start(this.#free.pop() ?? this.#newTransfer(), route, due);
    }
    this.#alarm.set(Math.max(this.#nextDueMs, now + ALARM_GAP_MS));
  }

  get #nextDueMs(): number {
    const { rate, load } = this.#plan;
    const intervalMs = (MS_PER_SECOND * load.shards) / rate;
    // Processes do not all send at once.
    return this.#holdFromMs + (this.#dueCount + this.#process / load.shards) * intervalMs;
  }

  /** What was due in time and will not be started any more. */
  #giveUpDue(untilMs: number): void {
    for (; this.#nextDueMs < untilMs; this.#dueCount++) this.#notStarted++;
  }

  #start(transfer: Transfer, route: number, dueMs: number): void {
    const { request } = this.#routes[route] as HoldRoute;
    if (transfer.route !== request.route || transfer.head !== request.head) transfer.become(request);
    this.#due[transfer.id] = dueMs;
    this.#started++;
    this.#inFlight++;
    this.#multi.add(transfer);
  }

  readonly #onEnd = (transfer: Transfer): void => {
    const { status, kept } = transfer;
    const { now } = this.#multi;
    this.#latency.record((now - (this.#due[transfer.id] as number)) * US_PER_MS);
    this.#statuses.set(status, (this.#statuses.get(status) ?? 0) + 1);
    this.#completed++;
    this.#inFlight--;
    if (!kept) this.#closed++;
    this.#multi.remove(transfer);
    if (this.#phase !== 'holding') return;
    if (this.#plan.rate > 0) this.#free.push(transfer);
    // Its connection is idle when this turn ends; until then its own route is as good as one that has an idle connection.
    else if (kept) this.#start(transfer, this.#routeIndexOf(transfer), now);
    else this.#startActive(transfer);
  };

  #routeIndexOf(transfer: Transfer): number {
    const own = transfer.id % this.#routes.length;
    if ((this.#routes[own] as HoldRoute).request.route === transfer.route) return own;
    return this.#routes.findIndex(({ request }) => request.route === transfer.route);
  }

  #requestFailed(transfer: Transfer, code: string, message: string): void {
    this.#requestsFailed++;
    this.#inFlight--;
    this.#noteError(code, message);
    if (this.#phase !== 'holding') return;
    if (this.#plan.rate > 0) this.#free.push(transfer);
    else this.#pauseActive(transfer);
  }

  #noteError(code: string, message: string): void {
    count(this.#errors, code);
    this.#errorExamples[code] ??= message;
  }

  // ── Figures ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  #after(ms: number, work: () => void): void {
    const timer = setTimeout(() => {
      this.#pauses.delete(timer);
      if (this.#phase !== 'over') work();
    }, ms);
    this.#pauses.add(timer);
  }

  /** The next one stands on the next whole second, so that they do not drift. */
  #awaitTick(): void {
    const elapsedMs = this.#elapsedMs;
    const nextMs = (Math.floor(elapsedMs / TICK_MS) + 1) * TICK_MS;
    this.#ticking = setTimeout(() => {
      // A timer may be early by what its loop has not looked at the clock.
      if (this.#elapsedMs >= nextMs) this.#tick();
      this.#awaitTick();
    }, nextMs - elapsedMs);
  }

  /** Since the beginning, or since that of holding, which may lie ahead. */
  get #elapsedMs(): number {
    return Math.max(0, this.#now() - (this.#phase === 'holding' ? this.#holdFromMs : this.#beganMs));
  }

  #tick(): void {
    if (this.#phase === 'holding' && this.#plan.reconnect) this.#reconnect();
    const { rss, heapUsed } = process.memoryUsage();
    this.#tell({
      kind: 'tick',
      process: this.#process,
      phase: this.#phase === 'holding' ? 'holding' : 'opening',
      elapsedMs: this.#elapsedMs,
      counts: this.#counts(),
      residentBytes: rss,
      heapBytes: heapUsed,
      latency: this.#latency.take(),
      actionNs: this.#meter.actionNs.take(),
    });
  }

  #counts(): HoldCounts {
    const { cache, placer } = this.#multi;
    const { opened } = placer;
    return {
      connecting: this.#connecting + this.#retrying,
      idle: cache.idleCount,
      active: this.#inFlight,
      opened,
      reopened: this.#reopened,
      failed: this.#connectsFailed,
      retried: this.#retried,
      lost: Math.max(0, opened - this.#open - this.#closed),
      closed: this.#closed,
      started: this.#started,
      completed: this.#completed,
      requestsFailed: this.#requestsFailed,
      notStarted: this.#notStarted,
      actions: this.#meter.actionCount,
      actionsMs: this.#meter.actionsMs,
    };
  }
}

function count(record: Record<string, number>, name: string): void {
  record[name] = (record[name] ?? 0) + 1;
}
