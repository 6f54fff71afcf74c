/**
 * The program around the multi: obeys the contract (watches what it is told, keeps one timer), and is otherwise as awkward as the
 * contract allows. It delivers events late, twice, reordered, of no socket at all; it pauses, removes and adds in callbacks.
 */

import type { SimulatedClock } from '../../src/worker/io/simulated/clock.ts';
import type { SimulatedNetwork } from '../../src/worker/io/simulated/network.ts';
import type { Random } from '../../src/worker/io/simulated/random.ts';
import {
  EVENT_IN,
  EVENT_OUT,
  Multi,
  MultiError,
  PAUSE,
  Transfer,
  type TransferOptions,
  type UploadSource,
  WATCH_REMOVE,
} from '../../src/worker/multi/index.ts';
import type { Ledger } from './ledger.ts';
import { patternBytes } from './pattern.ts';
import { TOO_LARGE_HEAD_BYTES } from './peer.ts';
import { type Client, Run, type UploadPlan, Violation } from './records.ts';
import type { Habits, Scenario } from './scenario.ts';

const NEVER = Number.POSITIVE_INFINITY;
/** Turns of one seed; a run that needs more does not end. */
const STEPS_MAX = 60_000;
/** Turns with honest events at which nothing moves: a driver that waits for the kernel would spin. */
const IDLE_TURNS_MAX = 200;
/** Milliseconds of the deadline that are rounded away at most, and what the clock goes on meanwhile. */
const ROUNDING_MS = 1.5;

const METHODS = ['GET', 'GET', 'GET', 'HEAD', 'DELETE', 'POST', 'PUT'];

class Mischief extends Error {}

export class Application {
  readonly #scenario: Scenario;
  readonly #habits: Habits;
  readonly #ledger: Ledger;
  readonly #network: SimulatedNetwork;
  readonly #clock: SimulatedClock;
  readonly #random: Random;
  readonly #multi: Multi;
  /** What it was asked to watch. */
  readonly #watched = new Map<number, number>();
  /** When its timer fires. */
  #due = NEVER;
  /** What it means to do as soon as it is its turn. */
  readonly #todo: (() => void)[] = [];
  /** Events that were seen and not delivered: socket and events. */
  readonly #late: [number, number][] = [];
  readonly #events = new Int32Array(3 * 1_024);
  #left: number;
  #inCallback = false;
  #closed = false;
  #hasEnded = false;
  #idleTurns = 0;
  #progressSeen = -1;
  /** Null unless someone wants to read what happens. */
  trace: ((line: string) => void) | null = null;

  constructor(scenario: Scenario, ledger: Ledger, network: SimulatedNetwork, random: Random) {
    this.#scenario = scenario;
    this.#habits = scenario.habits;
    this.#ledger = ledger;
    this.#network = network;
    this.#clock = network.clock;
    this.#random = random;
    this.#left = scenario.transfers;
    this.#multi = new Multi({ io: network, ...scenario.multi });
    ledger.multi = this.#multi;
    ledger.network = network;
    this.#install();
    for (let count = scenario.transfers; count > 0; count--) {
      this.#later(random.fraction() * scenario.arrivalMs, () => this.#addNew());
    }
    if (this.#habits.closeMidway) this.#later(random.fraction() * 300, () => this.#close());
  }

  /** Until nothing is left to do. */
  run(): void {
    for (let step = 0; this.#step(); step++) {
      this.#throwViolation();
      if (step > STEPS_MAX) throw new Violation('quiet', `${STEPS_MAX} turns and no end`);
    }
    this.#throwViolation();
    this.#checkRest();
    this.#close();
    this.#checkEnd();
    this.#throwViolation();
  }

  #throwViolation(): void {
    const { violation } = this.#ledger;
    if (violation !== null) throw violation;
  }

  // ── Driving ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** False when there is nothing more that could happen. */
  #step(): boolean {
    const random = this.#random;
    const habits = this.#habits;
    if (this.#closed) {
      this.#todo.length = 0;
      return this.#advance();
    }
    const ready = this.#ready();
    if (habits.prompt && ready.length > 0) return this.#deliver(ready);
    if (this.#todo.length > 0 && random.chance(0.7)) {
      const index = habits.reorder ? random.below(this.#todo.length) : 0;
      const [act] = this.#todo.splice(index, 1);
      act?.();
      return true;
    }
    if (random.chance(habits.spurious)) return this.#deliverSpurious();
    if (random.chance(habits.early)) return this.#timeout();
    if (random.chance(habits.settings)) {
      this.#changeSettings();
      this.#clock.advance(this.#clock.nowMs + 0.1);
      return true;
    }
    if (this.#late.length > 0 && random.chance(0.3)) return this.#deliver(this.#late.splice(0));
    const isDue = this.#due <= this.#clock.nowMs;
    if (isDue && (ready.length === 0 || random.chance(0.3))) return this.#timeout();
    if (ready.length > 0 && random.chance(habits.late)) {
      for (const socket of ready) this.#late.push(socket);
      return this.#advance();
    }
    if (ready.length > 0) return this.#deliver(ready);
    return this.#advance();
  }

  /** Time goes on to whatever is next; or well beyond it, when the program is busy elsewhere. */
  #advance(): boolean {
    const next = Math.min(this.#clock.nextMs, this.#closed ? NEVER : this.#due);
    if (next === NEVER) {
      if (this.#todo.length > 0 || this.#late.splice(0).length > 0) return true;
      return !this.#closed && this.#readMessages() > 0;
    }
    const { busyMs } = this.#habits;
    const busy = busyMs > 0 && this.#random.chance(0.3) ? this.#random.fraction() * busyMs : 0;
    this.#clock.advance(Math.max(next, this.#clock.nowMs) + busy);
    this.#idleTurns = 0;
    return true;
  }

  /** What a poller would say of the watched sockets. */
  #ready(): [number, number][] {
    const ready: [number, number][] = [];
    for (const [socket, what] of this.#watched) {
      const events = this.#network.readiness(socket);
      if (events < 0) this.#ledger.fault('rule-16', `descriptor ${socket} was closed before its REMOVE`);
      const told = (events & what) | (events & 4);
      if (told > 0) ready.push([socket, told]);
    }
    return ready;
  }

  #deliver(ready: [number, number][]): boolean {
    const random = this.#random;
    this.#idleTurns++;
    if (this.#idleTurns > IDLE_TURNS_MAX) {
      this.#ledger.fault(
        'quiet',
        `${IDLE_TURNS_MAX} turns at ${this.#clock.nowMs} ms without progress; ready: ${JSON.stringify(ready)}`,
      );
    }
    if (this.#habits.reorder) shuffle(ready, random);
    if (this.#habits.reorder && ready.length > 1 && random.chance(0.3)) ready.length = random.between(1, ready.length);
    if (random.chance(this.#habits.spurious)) ready.splice(random.below(ready.length + 1), 0, this.#spuriousEvent());
    if (random.chance(this.#habits.batches)) {
      let at = 0;
      for (const [socket, events] of ready) {
        this.#events[at++] = random.chance(this.#habits.spurious) ? -1 : socket;
        this.#events[at++] = this.#masked(events);
        this.#events[at++] = 0;
      }
      this.#call(`actions ${JSON.stringify(ready)}`, () => this.#multi.actions(this.#events, ready.length));
      return true;
    }
    for (const [socket, events] of ready) {
      if (this.#closed) break;
      this.#call(`action ${socket} ${events}`, () => this.#multi.action(socket, this.#masked(events)));
      if (random.chance(0.1)) this.#clock.advance(this.#clock.nowMs + 0.05);
    }
    return true;
  }

  #masked(events: number): number {
    return this.#random.chance(this.#habits.unknownEvents) ? 0 : events;
  }

  #deliverSpurious(): boolean {
    const [socket, events] = this.#spuriousEvent();
    this.#call(`action ${socket} ${events}, spurious`, () => this.#multi.action(socket, events));
    // Time goes on, or a program that does only this would never end.
    this.#clock.advance(this.#clock.nowMs + 0.1);
    return true;
  }

  /** An event of a descriptor that may be anyone's, or nobody's. */
  #spuriousEvent(): [number, number] {
    return [this.#random.between(3, 12), this.#random.pick([0, EVENT_IN, EVENT_OUT, EVENT_IN | EVENT_OUT, 7])];
  }

  #timeout(): boolean {
    this.#due = NEVER;
    this.#idleTurns++;
    if (this.#idleTurns > IDLE_TURNS_MAX)
      this.#ledger.fault('quiet', `${IDLE_TURNS_MAX} timeouts at ${this.#clock.nowMs} ms without progress`);
    this.#call('timeout', () => this.#multi.timeout());
    return true;
  }

  /** A call that drives or changes the multi from outside its callbacks, and what is looked at after it. */
  #call(what: string, act: () => unknown): void {
    this.trace?.(`${this.#clock.nowMs.toFixed(3)} ${what}`);
    this.#ledger.turn++;
    this.#ledger.turnBeganMs = this.#clock.nowMs;
    try {
      act();
    } catch (error) {
      this.#thrown(what, error);
    }
    this.#network.forgetRead();
    this.#ledger.judge();
    if (this.#network.progress !== this.#progressSeen || this.#network.refusals > 0) this.#idleTurns = 0;
    this.#progressSeen = this.#network.progress;
    this.#network.refusals = 0;
    if (!this.#closed) {
      this.#ledger.checkTurn(this.#watched, /^(act|timeout)/.test(what));
      this.#checkTimer();
    }
    if (this.#random.chance(1 - this.#habits.messagesLag)) this.#readMessages();
  }

  /** Only what a callback of ours threw comes out, and that a callback's -1 ended the multi. */
  #thrown(what: string, error: unknown): void {
    if (error instanceof Mischief) return;
    if (error instanceof MultiError && error.code === 'ABORTED_BY_CALLBACK' && this.#ledger.ended) {
      // The timer is silent from here on: nobody would drive what still ran (rule 49).
      const running = this.#ledger.runs.filter(({ client }) => client.transfer.info.state !== 'done');
      this.#ledger.require(running.length === 0, 'rule-49', () => `${running.length} run on after ${what}`);
      return;
    }
    this.#ledger.fault('throws', `${what} threw ${error instanceof Error ? error.stack : String(error)}`);
  }

  #checkTimer(): void {
    if (this.#ledger.ended) return;
    const now = this.#clock.nowMs;
    const ms = this.#multi.getTimeout();
    if (ms < 0) {
      this.#ledger.require(
        this.#due === NEVER,
        'rule-25',
        () => `the timer is set to ${this.#due}, getTimeout() is -1`,
      );
      return;
    }
    const difference = Math.abs(Math.max(this.#due, now) - (now + ms));
    this.#ledger.require(
      difference <= ROUNDING_MS,
      'rule-24',
      () => `the timer is set to ${this.#due} at ${now}, getTimeout() is ${ms}`,
    );
  }

  #readMessages(): number {
    let count = 0;
    for (const { transfer, error } of this.#multi.messages()) {
      const client = transfer.private as Client;
      this.#ledger.message(transfer, error);
      count++;
      const { run } = client;
      if (run === null) continue;
      // A completed transfer stays added until it is removed (rule 4).
      if (this.#random.chance(0.8)) this.#remove(run);
      else this.#later(this.#random.fraction() * 100, () => client.run === run && this.#remove(run));
    }
    return count;
  }

  #later(delayMs: number, act: () => void): void {
    this.#clock.after(delayMs, () => this.#todo.push(act));
  }

  // ── Transfers ────────────────────────────────────────────────────────────────────────────────────────────────────────

  #addNew(): void {
    if (this.#left === 0 || this.#closed) return;
    this.#left--;
    this.#add(this.#newClient());
  }

  #newClient(): Client {
    const random = this.#random;
    const { clients, places } = this.#ledger;
    const number = clients.length;
    const destination = random.pick(places);
    const method = random.pick(METHODS);
    const upload = method === 'POST' || method === 'PUT' ? this.#rollUpload() : null;
    const options: TransferOptions = {
      url: `http://${destination.plan.key}/${number}`,
      method,
      timeouts: this.#rollTimeouts(),
      ...(random.chance(0.1) ? { freshConnect: true } : {}),
      ...(random.chance(0.1) ? { forbidReuse: true } : {}),
      ...(random.chance(this.#habits.pace) ? { maxReceiveBytesPerSecond: this.#rollRate() } : {}),
      ...(random.chance(this.#habits.pace) ? { maxSendBytesPerSecond: this.#rollRate() } : {}),
      ...(random.chance(this.#habits.lowSpeed)
        ? { lowSpeedBytesPerSecond: random.between(1, 2_000), lowSpeedMs: random.between(1, 300) }
        : {}),
      ...(random.chance(this.#habits.localAddresses) ? { localAddress: ['10.99.0.1', '10.99.0.2', 'fd00::99'] } : {}),
      ...(this.#scenario.peers.tooLarge > 0 ? { limits: this.#rollLimits() } : {}),
      ...(random.chance(0.2) ? { headers: { 'X-Padding': 'p'.repeat(random.between(1, 600)) } } : {}),
    };
    const holder: { client: Client | null } = { client: null };
    const body = upload === null ? null : this.#bodyOf(number, upload, holder);
    const transfer = new Transfer(body === null ? options : { ...options, body });
    const again = random.chance(this.#habits.again) ? random.between(1, 3) : 0;
    const client: Client = { number, transfer, destination, options, method, upload, run: null, again };
    holder.client = client;
    transfer.private = client;
    clients.push(client);
    this.#listen(client);
    return client;
  }

  #rollTimeouts(): NonNullable<TransferOptions['timeouts']> {
    const random = this.#random;
    const clock = (share: number, most: number): number => (random.chance(share) ? random.between(1, most) : 0);
    return {
      queueMs: clock(0.2, 600),
      connectMs: clock(0.3, 400) || 3_000,
      headMs: clock(0.3, 400) || 5_000,
      bodyIdleMs: clock(0.3, 400) || 5_000,
      totalMs: clock(0.3, 1_500),
    };
  }

  /** Fast enough for the longest body within seconds. */
  #rollRate(): number {
    return this.#random.between(100, 1_000) + this.#scenario.bodyBytesMax;
  }

  #rollLimits(): NonNullable<TransferOptions['limits']> {
    return this.#random.chance(0.5) ? { headBytes: TOO_LARGE_HEAD_BYTES - 1_000 } : { bodyBytes: 1_000 };
  }

  #rollUpload(): UploadPlan {
    const random = this.#random;
    const length = random.chance(0.1) ? 0 : random.skewed(this.#scenario.bodyBytesMax + 10);
    const kind = random.chance(0.6) ? 'source' : 'bytes';
    return { length, kind, broken: kind === 'source' && random.chance(this.#habits.brokenSource) };
  }

  #bodyOf(number: number, upload: UploadPlan, holder: { client: Client | null }): Uint8Array | UploadSource {
    if (upload.kind === 'bytes') return patternBytes(number, 0, upload.length);
    const random = this.#random;
    const isAnnounced = random.chance(0.5);
    let run: Run | null = null;
    let at = 0;
    let breaksAt = -1;
    return {
      length: isAnnounced ? upload.length : -1,
      read: () => {
        const client = holder.client as Client;
        if (client.run === null) {
          this.#ledger.fault('rule-6', `the source of client ${number} is asked after it was removed`);
          return null;
        }
        if (client.run !== run) {
          run = client.run;
          at = 0;
          breaksAt = upload.broken ? random.below(upload.length + 1) : -1;
        }
        run.sourceAsked = true;
        if (random.chance(this.#habits.starve)) {
          this.#ledger.note('source starves');
          const starved = run;
          this.#later(
            random.fraction() * 60,
            () =>
              client.run === starved && this.#do(`continueUpload ${number}`, () => client.transfer.continueUpload()),
          );
          return PAUSE;
        }
        if (upload.broken && at >= breaksAt) return this.#breakSource(isAnnounced, upload, at);
        if (at === upload.length) return null;
        const most = upload.broken ? Math.max(1, breaksAt - at) : upload.length - at;
        const size = random.chance(0.1)
          ? 0
          : Math.min(upload.length - at, random.chance(0.3) ? 1 : random.between(1, most));
        at += size;
        return patternBytes(number, at - size, size);
      },
    };
  }

  /** A source that does not keep its word. In chunked coding only a throw shows. */
  #breakSource(isAnnounced: boolean, upload: UploadPlan, at: number): Uint8Array | null {
    this.#ledger.note('source breaks');
    if (isAnnounced && at < upload.length && this.#random.chance(0.4)) return null;
    if (isAnnounced && this.#random.chance(0.5)) return new Uint8Array(upload.length - at + 1);
    throw new Mischief('the source');
  }

  #add(client: Client): void {
    const run = new Run(client, this.#clock.nowMs);
    const act = (): void => {
      client.run = run;
      this.#ledger.began(run);
      try {
        this.#multi.add(client.transfer);
      } catch (error) {
        // What the timer callback did is told by an add that was done all the same.
        // It was removed in it, even.
        const isAdded = client.run !== run || client.transfer.multi === this.#multi;
        if (!(error instanceof MultiError) || isAdded) throw error;
        // Nothing was added.
        client.run = null;
        this.#ledger.runs.splice(this.#ledger.runs.indexOf(run), 1);
        this.#ledger.added--;
        if (!(error.code === 'ABORTED_BY_CALLBACK' && this.#ledger.ended)) throw error;
      }
    };
    this.trace?.(
      `${this.#clock.nowMs.toFixed(3)} add client ${client.number}${this.#inCallback ? ', in a callback' : ''}`,
    );
    if (this.#inCallback) act();
    else this.#call(`add ${client.number}`, act);
    if (client.run !== run) return;
    const random = this.#random;
    if (random.chance(this.#habits.remove)) {
      this.#later(random.fraction() * random.pick([0, 20, 300]), () => client.run === run && this.#remove(run));
    }
    if (random.chance(this.#habits.pauseInside)) {
      this.#later(random.fraction() * 40, () => client.run === run && run.state === 'running' && this.#pause(run));
    }
  }

  #remove(run: Run): void {
    const { client } = run;
    this.trace?.(
      `${this.#clock.nowMs.toFixed(3)} remove client ${client.number}${this.#inCallback ? ', in a callback' : ''}`,
    );
    const how = this.#random.chance(this.#habits.discard) ? 'discard' : 'remove';
    this.#ledger.removed(run, how === 'discard');
    if (this.#inCallback) this.#multi[how](client.transfer);
    else this.#call(`${how} ${client.number}`, () => this.#multi[how](client.transfer));
    if (client.again === 0 || this.#closed) return;
    client.again--;
    if (this.#random.chance(0.5)) this.#add(client);
    else this.#later(this.#random.fraction() * 50, () => !this.#closed && this.#add(client));
  }

  #pause(run: Run): void {
    const { client } = run;
    const random = this.#random;
    if (run.paused || run.sendPaused || client.transfer.info.state === 'done') return;
    const direction = random.chance(this.#habits.pauseSending) ? random.pick(['send', 'both'] as const) : 'receive';
    run.paused = direction !== 'send';
    run.sendPaused = direction !== 'receive';
    this.trace?.(`${this.#clock.nowMs.toFixed(3)} pause client ${client.number}, ${direction}`);
    this.#ledger.note(`paused: ${direction}`);
    this.#later(random.fraction() * random.pick([1, 30, 300]), () => this.#unpause(run));
    this.#do(`pause ${client.number}`, () => client.transfer.pause(direction));
  }

  #unpause(run: Run): void {
    const { client } = run;
    if (client.run !== run || !(run.paused || run.sendPaused)) return;
    const direction = run.paused && run.sendPaused ? 'both' : run.paused ? 'receive' : 'send';
    run.paused = false;
    run.sendPaused = false;
    this.#do(`unpause ${client.number}, ${direction}`, () => client.transfer.unpause(direction));
  }

  /** What is allowed in callbacks too. */
  #do(what: string, act: () => void): void {
    if (!this.#inCallback) {
      this.#call(what, act);
      return;
    }
    this.trace?.(`  ${what}, in a callback`);
    act();
  }

  /** What may be changed at any time. */
  #changeSettings(): void {
    const random = this.#random;
    const { limits, runs } = this.#ledger;
    switch (random.below(3)) {
      case 0: {
        const name = random.pick(['maxConnects', 'maxHostConnections', 'maxTotalConnections', 'queueLength'] as const);
        const value = random.between(name === 'maxConnects' ? 0 : 1, 6);
        // 0 is no limit, save for maxConnects.
        if (name === 'maxConnects' || limits[name] > 0) limits[name] = Math.max(limits[name], value);
        this.#ledger.note('limit changed');
        this.#do(`setOption ${name} ${value}`, () => this.#multi.setOption(name, value));
        return;
      }
      case 1: {
        const what = { connections: random.chance(0.7), dns: random.chance(0.7) };
        this.#ledger.note('cleared');
        this.#do('clear', () => this.#multi.clear(what));
        return;
      }
      default: {
        if (runs.length === 0) return;
        const run = random.pick(runs);
        const { client } = run;
        const totalMs = random.between(1, 2_000);
        run.clockTurn = this.#ledger.turn;
        this.#ledger.note('clock changed');
        this.#do(`setTimeouts ${client.number} ${totalMs}`, () => client.transfer.setTimeouts({ totalMs }));
      }
    }
  }

  // ── Callbacks ────────────────────────────────────────────────────────────────────────────────────────────────────────

  #install(): void {
    if (this.#habits.notified) {
      this.#multi.notifyEnable('EASY_DONE');
      this.#multi.notifyFunction((notification, transfer) =>
        this.#callback(notification, () => {
          if (transfer !== null) this.#ledger.notified(transfer);
          this.#mischief(null);
        }),
      );
    }
    this.#multi.socketFunction((transfer, socket, what) => {
      return this.#callback(`socket ${socket}: ${what}`, () => {
        this.#obey(transfer, socket, what);
        return this.#answer(transfer);
      });
    });
    this.#multi.timerFunction((timeoutMs) => {
      return this.#callback(`timer: ${timeoutMs}`, () => {
        this.#ledger.require(timeoutMs === -1 || timeoutMs >= 0, 'rule-25', () => `the timer is told ${timeoutMs}`);
        if (timeoutMs < 0)
          this.#ledger.require(this.#due !== NEVER, 'rule-25', () => 'a timer was deleted that was not set');
        this.#due = timeoutMs < 0 ? NEVER : this.#clock.nowMs + timeoutMs;
        return this.#answer(null);
      });
    });
  }

  /** Rules 13, 14 and 16. */
  #obey(transfer: Transfer | null, socket: number, what: number): void {
    const ledger = this.#ledger;
    ledger.require([1, 2, 3, 4].includes(what), 'rule-14', () => `socket ${socket} is told ${what}`);
    ledger.require(
      (this.#watched.get(socket) ?? WATCH_REMOVE) !== what,
      'rule-13',
      () => `socket ${socket} is told ${what} twice`,
    );
    ledger.require(this.#network.isOpen(socket), 'rule-16', () => `socket ${socket} is told ${what} and not open`);
    if (transfer !== null) {
      const { run, number } = transfer.private as Client;
      ledger.require(
        run !== null || what === WATCH_REMOVE,
        'rule-6',
        () => `client ${number} was removed and socket ${socket} is its`,
      );
    }
    if (what === WATCH_REMOVE) this.#watched.delete(socket);
    else this.#watched.set(socket, what);
  }

  /** The answer of a multi callback: seldom -1, seldom a throw. */
  #answer(transfer: Transfer | null): number | undefined {
    if (this.#habits.ends && !this.#hasEnded && !this.#closed && this.#random.chance(0.05)) {
      this.#hasEnded = true;
      this.#ledger.ended = true;
      this.#ledger.note('callback answered -1');
      return -1;
    }
    if (!this.#closed && this.#random.chance(this.#habits.socketThrows)) {
      const client = (transfer?.private ?? null) as Client | null;
      if (client?.run) client.run.threw = true;
      this.#ledger.note('multi callback threw');
      throw new Mischief('a multi callback');
    }
    this.#mischief(null);
    return undefined;
  }

  #listen(client: Client): void {
    const { transfer } = client;
    transfer.onHead = (_transfer, bytes, start, end) => {
      this.#callback(`onHead of client ${client.number}`, () => {
        const { run } = client;
        if (run === null) return this.#ledger.fault('rule-6', `onHead of client ${client.number}, which was removed`);
        this.#ledger.head(run, Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString('latin1'));
        this.#receiveInto(run);
        if (this.#random.chance(this.#habits.discard * 0.3)) this.#remove(run);
        this.#mischief(run);
      });
    };
    transfer.onData = (_transfer, bytes, start, end) =>
      this.#callback(`onData of client ${client.number}`, () => {
        const { run } = client;
        if (run === null) return this.#ledger.fault('rule-6', `onData of client ${client.number}, which was removed`);
        const refuses = this.#random.chance(this.#habits.pauseInside * 0.5);
        this.#ledger.body(run, bytes, start, end, !refuses);
        if (refuses) {
          run.paused = true;
          this.#ledger.note('onData answered PAUSE');
          this.#later(this.#random.fraction() * 60, () => this.#unpause(run));
          return PAUSE;
        }
        this.#mischief(run);
        return undefined;
      });
    transfer.onEnd = () => {
      this.#callback(`onEnd of client ${client.number}`, () => {
        const { run } = client;
        if (run === null) return this.#ledger.fault('rule-6', `onEnd of client ${client.number}, which was removed`);
        this.#ledger.end(run);
        this.#mischief(run);
      });
    };
  }

  #receiveInto(run: Run): void {
    const { transfer } = run.client;
    const exchange = run.exchanges.at(-1);
    if (exchange?.framing !== 'length' || exchange.line.poisoned || exchange.broken || exchange.tooLarge) return;
    if (exchange.bodyBytes === 0 || !this.#random.chance(this.#habits.readInto)) return;
    run.target = new Uint8Array(exchange.bodyBytes);
    transfer.receiveInto(run.target);
    this.#ledger.note('received into a target');
  }

  #callback<T>(what: string, act: () => T): T {
    this.trace?.(`  ${what}`);
    const before = this.#inCallback;
    this.#inCallback = true;
    try {
      return act();
    } finally {
      this.#inCallback = before;
    }
  }

  /** What the contract allows inside a callback, and what it refuses. `run`: whose callback it is. */
  #mischief(run: Run | null): void {
    const random = this.#random;
    const habits = this.#habits;
    if (this.#closed) return;
    if (run !== null && random.chance(habits.throws)) {
      run.threw = true;
      this.#ledger.note('callback threw');
      throw new Mischief('a callback');
    }
    if (run !== null && run.client.run === run && random.chance(habits.pauseInside * 0.5)) this.#pause(run);
    if (!random.chance(habits.mischief)) return;
    const { runs } = this.#ledger;
    const other = runs.length === 0 ? null : random.pick(runs);
    switch (random.below(7)) {
      case 0:
        this.#addNew();
        return;
      case 1:
        if (other !== null) this.#remove(other);
        return;
      case 2:
        if (other !== null && other.state === 'running') this.#pause(other);
        return;
      case 3:
        if (other !== null) this.#unpause(other);
        return;
      case 4:
        if (run !== null && run.client.run === run) this.#remove(run);
        return;
      case 5:
        if (habits.settings > 0) this.#changeSettings();
        return;
      default:
        this.#driveInside();
    }
  }

  /** Rule 44, as far as we keep it. */
  #driveInside(): void {
    const act = this.#random.pick([
      () => this.#multi.action(3, 1),
      () => this.#multi.actions(this.#events, 0),
      () => this.#multi.timeout(),
      () => this.#multi.close(),
    ]);
    try {
      act();
    } catch (error) {
      if (error instanceof MultiError && error.code === 'RECURSIVE_API_CALL') return;
      this.#ledger.fault('rule-44', `driving in a callback threw ${String(error)}`);
      return;
    }
    this.#ledger.fault('rule-44', 'driving in a callback was not refused');
  }

  // ── The end ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  #close(): void {
    if (this.#closed) return;
    const before = [...this.#ledger.runs];
    this.#call('close', () => {
      this.#closed = true;
      for (const run of before) this.#ledger.removed(run);
      this.#multi.close();
    });
  }

  /** Nothing more can happen, and the multi is open: every transfer has completed and what is idle has expired. */
  #checkRest(): void {
    if (this.#closed) return;
    const ledger = this.#ledger;
    for (const run of [...ledger.runs]) {
      const { number, transfer } = run.client;
      ledger.require(
        run.state === 'done',
        'completion',
        () => `client ${number} never ends, ${transfer.info.state}, paused: ${run.paused}`,
      );
      const isTold = !this.#habits.notified || run.notified;
      ledger.require(isTold, 'rule-43', () => `client ${number} is done without EASY_DONE`);
      ledger.require(
        run.state !== 'done' || run.messaged,
        'rule-40',
        () => `client ${number} is done without a message`,
      );
    }
    ledger.require(this.#watched.size === 0, 'leak', () => `watched at the end: ${[...this.#watched.keys()]}`);
    const stats = this.#multi.stats();
    ledger.require(stats.connections === 0 && stats.idle === 0, 'leak', () => JSON.stringify(stats));
    ledger.require(this.#ledger.openSockets === 0, 'leak', () => `${this.#ledger.openSockets} sockets at the end`);
  }

  #checkEnd(): void {
    const ledger = this.#ledger;
    const multi = this.#multi;
    ledger.require(this.#network.openCount === 0, 'leak', () => `${this.#network.openCount} descriptors after close`);
    ledger.require(this.#watched.size === 0, 'leak', () => `watched after close: ${[...this.#watched.keys()]}`);
    ledger.require(this.#due === NEVER || ledger.ended, 'leak', () => `the timer is set after close, to ${this.#due}`);
    const stats = multi.stats();
    const isEmpty = stats.current + stats.running + stats.pending + stats.done + stats.connections + stats.idle === 0;
    ledger.require(isEmpty, 'leak', () => `after close: ${JSON.stringify(stats)}`);
    ledger.require(stats.added === ledger.added, 'rule-42', () => `added ${stats.added}, not ${ledger.added}`);
    ledger.require(
      multi.cache.destinationCount === 0,
      'leak',
      () => `${multi.cache.destinationCount} destinations after close`,
    );
    ledger.require(multi.timers.size === 0, 'leak', () => `${multi.timers.size} timers after close`);
    ledger.require(multi.sockets.size === 0, 'leak', () => `${multi.sockets.size} sockets in the table after close`);
    for (const { number, transfer } of ledger.clients) {
      ledger.require(
        transfer.multi === null && transfer.connection === null,
        'leak',
        () => `client ${number} has its multi after close`,
      );
      ledger.require(
        transfer.timer === null || transfer.timer.index < 0,
        'leak',
        () => `client ${number} has a clock after close`,
      );
    }
    ledger.require(multi.nextDone() === null, 'rule-6', () => 'a message came after close');
  }
}

function shuffle<T>(list: T[], random: Random): void {
  for (let index = list.length - 1; index > 0; index--) {
    const other = random.below(index + 1);
    [list[index], list[other]] = [list[other] as T, list[index] as T];
  }
}
