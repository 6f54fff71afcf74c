/**
 * Who did what: every run of every transfer, every connection, every request and answer on it. Hears of each system call (as the
 * network's `Watcher`), of each callback and of each turn's end, and holds them against what must be true. It drives nothing.
 *
 * The first thing that is not true is kept (`violation`) and not thrown: the engine would take a throw for the application's.
 */

import { errnoName } from '../../src/worker/io/errno.ts';
import type { SimulatedNetwork, SimulatedSocket, Watcher } from '../../src/worker/io/simulated/network.ts';
import type { Multi, Transfer, TransferError } from '../../src/worker/multi/index.ts';
import { firstDifference } from './pattern.ts';
import { type Client, Exchange, type HeadHandler, Line, Place, type Run, Violation } from './records.ts';
import type { Scenario } from './scenario.ts';

const IDEMPOTENT: ReadonlySet<string> = new Set(['GET', 'HEAD', 'PUT', 'DELETE', 'OPTIONS']);
/** Sockets that one dial opens at a time (RFC 8305). */
const RACERS_MAX = 6;
const NEVER = Number.POSITIVE_INFINITY;
/** The engine reads the clock earlier or later in a turn than the ledger does, and it goes on meanwhile. */
const EPSILON_MS = 0.5;

export type LimitName =
  | 'maxConnects'
  | 'maxHostConnections'
  | 'maxTotalConnections'
  | 'queueLength'
  | 'idleMs'
  | 'lifetimeMs';

export class Ledger implements Watcher {
  violation: Violation | null = null;
  /** How often what happened: faults put in, ends seen. */
  readonly counts = new Map<string, number>();
  readonly places: Place[];
  readonly clients: Client[] = [];
  /** Runs that are added. */
  readonly runs: Run[] = [];
  readonly exchanges: Exchange[] = [];
  turn = 0;
  turnBeganMs = 0;
  added = 0;
  trace: ((line: string) => void) | null = null;
  /** The widest that were in force: what was begun under a limit may go on under a lower one (rule 71). 0: none. */
  readonly limits: Record<LimitName, number>;
  readonly #mayHoldSending: boolean;
  readonly #onHead: HeadHandler = (line, method, target, head) => this.#requestHead(line, method, target, head);
  readonly #byAddress = new Map<string, Place>();
  network!: SimulatedNetwork;
  multi!: Multi;
  /** Whether a callback answered -1. */
  ended = false;
  openSockets = 0;
  #usedLines = 0;
  /** No destination has a second address: a dial has one socket at most. */
  readonly #dialsAreSingle: boolean;

  constructor(scenario: Scenario) {
    const { multi } = scenario;
    const limit = (name: LimitName): number => multi[name] ?? 0;
    this.#mayHoldSending = scenario.habits.pauseSending > 0;
    this.limits = {
      maxConnects: limit('maxConnects'),
      maxHostConnections: limit('maxHostConnections'),
      maxTotalConnections: limit('maxTotalConnections'),
      queueLength: limit('queueLength'),
      idleMs: limit('idleMs'),
      lifetimeMs: limit('lifetimeMs'),
    };
    this.places = scenario.destinations.map((plan) => new Place(plan));
    this.#dialsAreSingle = scenario.destinations.every(({ addresses }) => addresses.length === 1);
    for (const place of this.places) {
      for (const address of place.plan.addresses) this.#byAddress.set(`${address} ${place.plan.port}`, place);
    }
  }

  fault(rule: string, detail: string): void {
    this.violation ??= new Violation(rule, detail);
    this.trace?.(`VIOLATION ${rule}: ${detail}`);
  }

  require(isTrue: boolean, rule: string, detail: () => string): void {
    if (!isTrue) this.fault(rule, detail());
  }

  note(what: string): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + 1);
  }

  placeAt(address: string, port: number): Place {
    const place = this.#byAddress.get(`${address} ${port}`);
    if (place === undefined) throw new Violation('connect', `${address} ${port} was never named`);
    return place;
  }

  // ── Watcher: what the engine asks of the kernel ──────────────────────────────────────────────────────────────────────

  opened(_socket: SimulatedSocket): void {
    this.openSockets++;
    const { maxTotalConnections } = this.limits;
    if (maxTotalConnections > 0 && this.#dialsAreSingle)
      this.#checkLimit(this.openSockets, maxTotalConnections, 'sockets');
  }

  connecting(socket: SimulatedSocket): void {
    const place = this.placeAt(socket.address, socket.port);
    socket.data = new Line(socket, place, this.#onHead);
    const isBound = socket.localAddress !== '';
    const openCount = isBound ? ++place.openBound : ++place.openSockets;
    const { maxHostConnections } = this.limits;
    if (maxHostConnections > 0 && place.plan.addresses.length === 1) {
      this.#checkLimit(openCount, maxHostConnections, `sockets to ${place.plan.key}`);
    }
  }

  #checkLimit(count: number, limit: number, what: string): void {
    this.require(count <= limit, 'rule-69', () => `${count} ${what} are open, ${limit} may be`);
  }

  /** A dial may try several addresses at a time within one slot; what carries requests counts always. */
  #lineUsed(line: Line): void {
    const { maxHostConnections, maxTotalConnections } = this.limits;
    const usedCount = line.isBound ? ++line.place.usedBound : ++line.place.usedLines;
    this.#usedLines++;
    if (maxHostConnections > 0) {
      this.#checkLimit(usedCount, maxHostConnections, `connections to ${line.place.plan.key}`);
    }
    if (maxTotalConnections > 0) this.#checkLimit(this.#usedLines, maxTotalConnections, 'connections');
  }

  connectFailed(socket: SimulatedSocket): void {
    const line = socket.data as Line;
    line.place.connectFailures++;
    line.place.faultTurn = this.turn;
    line.unfit = 'connecting failed';
  }

  wasRead(socket: SimulatedSocket, count: number): void {
    const line = socket.data as Line;
    if (count > 0) {
      // Whose transfer may not send yet is not known.
      if (line.isIdle && !this.#mayHoldSending) line.unfit ||= 'bytes came while it was idle';
      else if (line.current !== null) line.current.answered = true;
      return;
    }
    line.unfit ||= count === 0 ? 'its end was read' : `reading told ${errnoName(count)}`;
    line.faultTurn = this.turn;
    line.place.faultTurn = this.turn;
  }

  writeFailed(socket: SimulatedSocket, negativeErrno: number): void {
    const line = socket.data as Line;
    line.unfit ||= `writing told ${errnoName(negativeErrno)}`;
    line.faultTurn = this.turn;
    line.place.faultTurn = this.turn;
  }

  writing(socket: SimulatedSocket): void {
    const line = socket.data as Line;
    if (line.isIdle) {
      line.takenMs = this.network.clock.nowMs;
      line.takenReadBytes = socket.readBytes;
    }
    line.isIdle = false;
    if (line.connectedMs === 0) line.connectedMs = this.network.clock.nowMs;
  }

  wrote(socket: SimulatedSocket, bytes: Uint8Array): void {
    const line = socket.data as Line;
    this.require(line.unfit === '', 'unfit', () => `bytes were written to ${socket.descriptor}: ${line.unfit}`);
    const sending = line.current?.run;
    this.require(
      sending?.sendPaused !== true,
      'send-pause',
      () => `bytes of client ${sending?.client.number} were written`,
    );
    if (line.reader.atBoundary) {
      this.#checkDrained(line);
      this.require(
        line.current === null,
        'rule-61',
        () => `a request was written to a busy connection, ${socket.descriptor}`,
      );
      const before = line.exchanges.at(-1);
      if (before === undefined) this.#lineUsed(line);
      else this.#checkReuse(line, before);
      const exchange = new Exchange(this.exchanges.length, line);
      this.exchanges.push(exchange);
      line.exchanges.push(exchange);
      line.current = exchange;
    }
    line.reader.feed(bytes);
  }

  /** The rest of a response that nobody wanted was read, to its last byte, when the connection serves again. */
  #checkDrained(line: Line): void {
    const { current, socket } = line;
    if (current === null || !current.discarded) return;
    const isWhole = current.finished && current.requestWhole && current.keepsAlive;
    const isRead = socket.readBytes === current.endOffset;
    this.require(
      line.poisoned || (isWhole && isRead),
      'discard',
      () => `socket ${socket.descriptor} is used in mid-response`,
    );
    this.note('connection drained');
    line.current = null;
    // Nobody was told when it came to rest.
    line.restsMs = line.takenMs;
  }

  /** What a connection that has served must not have been through (RFC 9112 §9.2, rules 62 and 65). */
  #checkReuse(line: Line, before: Exchange): void {
    const { socket } = line;
    const { idleMs, lifetimeMs } = this.limits;
    const restedMs = line.takenMs - line.restsMs - EPSILON_MS;
    const aliveMs = line.takenMs - line.connectedMs - EPSILON_MS;
    this.require(
      !before.finished || line.takenReadBytes <= before.endOffset,
      'unfit',
      () => `socket ${socket.descriptor} is used again though more than response ${before.ordinal} was read`,
    );
    // A transfer that may not send takes a connection and writes to it later.
    if (this.#mayHoldSending) return;
    this.require(restedMs < idleMs, 'rule-62', () => `socket ${socket.descriptor} is used again after ${restedMs} ms`);
    this.require(aliveMs < lifetimeMs, 'rule-62', () => `socket ${socket.descriptor} is used again at ${aliveMs} ms`);
    if (line.poisoned || before.keepAliveS < 0) return;
    // Honoured less one second.
    const keptMs = before.keepAliveS * 1000 - 1000;
    this.require(
      restedMs < keptMs,
      'keep-alive',
      () => `socket ${socket.descriptor} is used again after ${restedMs} ms, timeout ${before.keepAliveS} s`,
    );
  }

  closed(socket: SimulatedSocket): void {
    this.openSockets--;
    const line = socket.data as Line | undefined;
    if (line === undefined) return;
    line.lostTurn = this.turn;
    if (line.isBound) line.place.openBound--;
    else line.place.openSockets--;
    if (line.exchanges.length > 0) {
      if (line.isBound) line.place.usedBound--;
      else line.place.usedLines--;
      this.#usedLines--;
    }
    line.unfit ||= 'it is closed';
  }

  /** A request's head is written: now it is known whose it is. */
  #requestHead(line: Line, method: string, target: string, head: string): void {
    const exchange = line.current as Exchange;
    const client = this.clients[Number(target.slice(1))];
    const run = client?.run ?? null;
    this.trace?.(`request ${exchange.ordinal}: ${method} ${target} on ${line.socket.descriptor}`);
    if (client === undefined || run === null || run.state !== 'running') {
      this.fault('rule-6', `${method} ${target} was written for a transfer that does not run`);
      return;
    }
    this.require(client.method === method, 'request', () => `${client.method} became ${method}`);
    const { key } = client.destination.plan;
    this.require(
      client.destination === line.place,
      'rule-60',
      () => `a request for ${key} went to ${line.place.plan.key}`,
    );
    this.require(head.includes(`\r\nhost: ${key}\r\n`), 'request', () => `no host: ${key} in ${JSON.stringify(head)}`);
    this.#checkRepetition(run, exchange);
    const { freshConnect = false, localAddress } = client.options;
    const isBound = localAddress !== undefined;
    this.require(isBound === line.isBound, 'rule-60', () => `client ${client.number} has another's local address`);
    this.require(
      !freshConnect || !exchange.reusesLine,
      'rule-65',
      () => `client ${client.number} must have a fresh connection`,
    );
    exchange.run = run;
    run.exchanges.push(exchange);
    if (exchange.reusesLine) this.note('connection reused');
  }

  /** Rule 64 as we keep it: once, on a fresh connection, and only what may be repeated. */
  #checkRepetition(run: Run, exchange: Exchange): void {
    const before = run.exchanges.at(-1);
    if (before === undefined) return;
    this.note('request repeated');
    const { client } = run;
    this.require(run.exchanges.length === 1, 'rule-64', () => `client ${client.number} was sent a third time`);
    this.require(!exchange.reusesLine, 'rule-64', () => `client ${client.number} was repeated on a used connection`);
    this.require(
      before.reusesLine,
      'rule-64',
      () => `client ${client.number} was repeated after a fresh connection failed`,
    );
    this.require(
      !before.answered,
      'rule-64',
      () => `client ${client.number} was repeated although an answer had begun`,
    );
    this.require(IDEMPOTENT.has(client.method), 'rule-64', () => `${client.method} was repeated`);
    this.require(!run.sourceAsked, 'rule-64', () => `client ${client.number} was repeated after its source was asked`);
  }

  // ── Callbacks of the application ─────────────────────────────────────────────────────────────────────────────────────

  began(run: Run): void {
    this.runs.push(run);
    this.added++;
  }

  removed(run: Run, discarded = false): void {
    if (run.state === 'running') this.note('removed while running');
    const exchange = run.exchanges.at(-1);
    if (discarded && exchange !== undefined) exchange.discarded = true;
    else this.#leaveLine(run, 'its transfer was removed');
    run.state = 'removed';
    run.client.run = null;
    this.runs.splice(this.runs.indexOf(run), 1);
  }

  /** Rule 28's row: nothing is heard of what was removed or has completed. */
  heard(run: Run, callback: string): void {
    this.require(
      run.client.run === run && run.state === 'running',
      'rule-6',
      () => `${callback} of a run that is ${run.state}`,
    );
  }

  head(run: Run, head: string): void {
    this.heard(run, 'onHead');
    this.require(!run.hadHead, 'callbacks', () => 'onHead came twice');
    run.hadHead = true;
    const exchange = run.exchanges.at(-1);
    if (exchange === undefined || isPoisoned(run) || exchange.broken) return;
    const named = /\r\nx-exchange: (\d+)\r\n/.exec(head)?.[1];
    this.require(
      named === String(exchange.ordinal),
      'cross-talk',
      () => `client ${run.client.number} asked with request ${exchange.ordinal} and got the head of ${named}`,
    );
  }

  body(run: Run, bytes: Uint8Array, start: number, end: number, taken: boolean): void {
    this.heard(run, 'onData');
    this.require(run.hadHead && !run.hadEnd, 'callbacks', () => 'onData before onHead or after onEnd');
    this.require(!run.paused, 'rule-75', () => `client ${run.client.number} got body bytes while it was paused`);
    this.#checkBody(run, bytes, start, end);
    if (taken) run.bodyBytes += end - start;
  }

  #checkBody(run: Run, bytes: Uint8Array, start: number, end: number): void {
    const exchange = run.exchanges.at(-1);
    if (exchange === undefined || isPoisoned(run) || exchange.broken) return;
    const difference = firstDifference(exchange.ordinal, run.bodyBytes, bytes, start, end);
    this.require(
      difference < 0,
      'cross-talk',
      () =>
        `client ${run.client.number}: byte ${run.bodyBytes + difference} of its body is not of response ${exchange.ordinal}`,
    );
  }

  end(run: Run): void {
    this.heard(run, 'onEnd');
    this.require(run.hadHead, 'callbacks', () => 'onEnd without onHead');
    this.require(!run.hadEnd, 'callbacks', () => 'onEnd came twice');
    run.hadEnd = true;
    const exchange = run.exchanges.at(-1);
    if (exchange === undefined) return;
    const { line } = exchange;
    // A stray response may have been taken for it.
    if (!exchange.keepsAlive && !line.poisoned) line.unfit ||= 'its last response said close';
    if (!exchange.requestWhole) line.unfit ||= 'the response came before the request was whole';
    if (run.client.options.forbidReuse === true) line.unfit ||= 'its last transfer forbids reuse';
    if (line.current !== exchange) return;
    line.current = null;
    line.isIdle = true;
    line.restsMs = this.network.clock.nowMs;
  }

  /** EASY_DONE (rule 43). */
  notified(transfer: Transfer): void {
    const { run, number } = transfer.private as Client;
    if (run === null || run.notified)
      this.fault('rule-43', `EASY_DONE of client ${number}, ${run === null ? 'removed' : 'twice'}`);
    else run.notified = true;
    this.require(transfer.info.state === 'done', 'rule-43', () => `EASY_DONE of client ${number}, which is not done`);
  }

  message(transfer: Transfer, error: TransferError | null): void {
    const client = transfer.private as Client;
    const { run } = client;
    if (run === null || run.messaged) {
      this.fault(
        'rule-40',
        `client ${client.number} has a message ${run === null ? 'though it was removed' : 'twice'}`,
      );
      return;
    }
    run.messaged = true;
    this.require(transfer.info.state === 'done', 'rule-40', () => 'a message came before its transfer was done');
    this.require(transfer.error === error, 'rule-40', () => 'a message tells another error than its transfer');
  }

  // ── Ends ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** After each call of the engine: whoever is done now is judged. */
  judge(): void {
    for (const run of this.runs) {
      if (run.state !== 'running' || run.client.transfer.info.state !== 'done') continue;
      run.state = 'done';
      const { error } = run.client.transfer;
      this.trace?.(
        `client ${run.client.number} is done: ${error === null ? 'success' : `${error.code} ${error.message}`}`,
      );
      this.note(error === null ? 'end: success' : `end: ${error.code}`);
      if (error === null) this.#judgeSuccess(run);
      else {
        this.#judgeFailure(run, error);
        this.#leaveLine(run, 'its transfer failed');
      }
    }
  }

  #leaveLine(run: Run, why: string): void {
    const exchange = run.exchanges.at(-1);
    if (exchange !== undefined && exchange.line.current === exchange) exchange.line.unfit ||= why;
  }

  #judgeSuccess(run: Run): void {
    const { number, transfer } = run.client;
    const exchange = run.exchanges.at(-1);
    this.require(run.hadHead && run.hadEnd, 'success', () => `client ${number} succeeded without its callbacks`);
    if (exchange === undefined) {
      // A stray response came before the request was written.
      if (isPoisoned(run)) return;
      this.fault('success', `client ${number} succeeded without a request`);
      return;
    }
    const { timings } = transfer;
    const order = [
      timings.queued,
      timings.dns,
      timings.connect,
      timings.tls,
      timings.sent,
      timings.firstByte,
      timings.end,
    ];
    const reached = order.filter((ms, index) => index !== 4 || ms >= 0);
    // The answer may begin before the request is whole.
    const inOrder = reached.every((ms, index) => index === 0 || index >= 4 || ms >= (reached[index - 1] as number));
    this.require(
      inOrder && reached.every((ms) => ms >= 0 && ms <= timings.end),
      'timings',
      () => `client ${number}: ${order}`,
    );
    if (isPoisoned(run)) return;
    if (run.target !== null) {
      this.#checkBody(run, run.target, 0, run.target.length);
      run.bodyBytes += run.target.length;
    }
    const { maxReceiveBytesPerSecond: rate = 0 } = run.client.options;
    if (rate > 0) this.#checkPace(run, exchange, rate);
    this.require(!exchange.broken, 'success', () => `client ${number} succeeded with a broken response`);
    this.require(!exchange.tooLarge, 'success', () => `client ${number} succeeded beyond its limits`);
    this.require(
      exchange.finished,
      'success',
      () => `client ${number} succeeded with response ${exchange.ordinal}, which is not whole`,
    );
    this.require(
      run.bodyBytes === exchange.bodyBytes,
      'success',
      () => `client ${number} got ${run.bodyBytes} of ${exchange.bodyBytes} body bytes`,
    );
  }

  /** A burst is a tenth of a second or one byte; one is there at the start, one may be begun, one is kept. */
  #checkPace(run: Run, exchange: Exchange, rate: number): void {
    const elapsedMs = this.multi.now - exchange.beganMs + 3 * Math.max(100, Math.ceil(1000 / rate));
    const most = (elapsedMs * rate) / 1000 + 1;
    this.require(
      run.bodyBytes <= most,
      'rule-78',
      () => `client ${run.client.number}: ${run.bodyBytes} bytes, at most ${most}`,
    );
  }

  #judgeFailure(run: Run, error: TransferError): void {
    const { number, transfer, destination, upload } = run.client;
    const { now } = this.multi;
    const exchange = run.exchanges.at(-1);
    const { timeouts } = transfer;
    const who = (): string => `client ${number} ended as ${error.code}, phase ${error.phase}: ${error.message}`;
    const poisoned = isPoisoned(run);
    const sinceAdded = now - run.addedMs + EPSILON_MS;
    switch (error.code) {
      case 'COULDNT_RESOLVE':
        this.require(destination.nameFailures > 0 || this.counts.has('EMFILE'), 'unjustified', who);
        return;
      case 'COULDNT_CONNECT':
        this.require(
          destination.connectFailures > 0 || this.counts.has('EMFILE') || this.counts.has('cannot bind'),
          'unjustified',
          who,
        );
        return;
      case 'CONNECTION_LOST':
      case 'SEND_FAILED':
      case 'INCOMPLETE_BODY':
        this.#judgeLoss(run, exchange, who);
        return;
      case 'BAD_RESPONSE':
        this.require(exchange?.broken === true || poisoned, 'unjustified', who);
        return;
      case 'LIMIT_EXCEEDED':
        this.require(exchange?.tooLarge === true || poisoned, 'unjustified', who);
        return;
      case 'QUEUE_TIMEOUT':
        this.require(timeouts.queueMs > 0 && sinceAdded >= timeouts.queueMs, 'unjustified', who);
        return;
      case 'CONNECT_TIMEOUT':
        this.require(timeouts.connectMs > 0 && sinceAdded >= timeouts.connectMs, 'unjustified', who);
        this.require(run.exchanges.length < 2, 'unjustified', who);
        return;
      case 'HEAD_TIMEOUT':
        this.require(timeouts.headMs > 0 && sinceAdded >= timeouts.headMs, 'unjustified', who);
        return;
      case 'BODY_TIMEOUT':
        this.require(timeouts.bodyIdleMs > 0 && sinceAdded >= timeouts.bodyIdleMs && run.hadHead, 'unjustified', who);
        this.require(!run.paused, 'rule-75', who);
        return;
      case 'RATE_TOO_LOW': {
        const { lowSpeedMs = NEVER } = run.client.options;
        this.require(sinceAdded >= lowSpeedMs && !run.paused && !run.sendPaused, 'unjustified', who);
        return;
      }
      case 'TOTAL_TIMEOUT':
        // It may have been changed since.
        this.require(run.clockTurn >= 0 || sinceAdded >= timeouts.totalMs, 'unjustified', who);
        this.require(timeouts.totalMs > 0, 'unjustified', who);
        return;
      case 'QUEUE_FULL':
        this.require(this.limits.queueLength > 0 || this.counts.has('limit changed'), 'unjustified', who);
        return;
      case 'ABORTED_BY_CALLBACK':
        this.require(run.threw || this.ended || upload?.broken === true, 'unjustified', who);
        return;
      case 'INVALID_ARGUMENT':
        this.require(upload?.broken === true, 'unjustified', who);
        return;
      default:
        this.fault('unjustified', `${who()} ${error.cause instanceof Error ? error.cause.stack : ''}`);
    }
  }

  /** A loss is told in the turn in which it was seen, on the connection of the run, and not after a whole answer. */
  #judgeLoss(run: Run, exchange: Exchange | undefined, who: () => string): void {
    // Before its head is written nobody knows on which connection it is; what is known then is of the try before.
    const isKnown = exchange !== undefined && exchange.line.lostTurn >= this.turn;
    const seenTurn = isKnown ? exchange.line.faultTurn : run.client.destination.faultTurn;
    this.require(seenTurn === this.turn, 'unjustified', who);
    if (exchange === undefined || exchange.line.poisoned || exchange.broken || !exchange.finished) return;
    if (exchange.framing === 'close' || !isKnown) return;
    this.require(
      exchange.line.socket.readBytes < exchange.endOffset,
      'unjustified',
      () => `${who()}, with its whole answer read`,
    );
  }

  /** The clocks of the queue, of connecting and of the head are heeded in time: nothing starts them anew. */
  #checkPlace(run: Run): void {
    const { transfer, number } = run.client;
    const { state, retried } = transfer.info;
    const place = `${state} ${retried}`;
    const { now } = this.multi;
    if (place !== run.place) {
      run.place = place;
      run.placeSinceMs = now;
      return;
    }
    const { queueMs, connectMs, headMs } = transfer.timeouts;
    const most = state === 'queued' ? queueMs : state === 'dialing' ? connectMs : state === 'waiting' ? headMs : 0;
    // What a clock waits for may have come in a long turn: such as run out in it do so in the next one.
    const sinceMs = this.turnBeganMs - run.placeSinceMs - EPSILON_MS;
    this.require(
      most === 0 || sinceMs <= most,
      'clock',
      () => `client ${number} is ${state} for ${sinceMs} ms, ${most} are its most`,
    );
  }

  // ── After each turn ──────────────────────────────────────────────────────────────────────────────────────────────────

  /** `drove`: by a driving call, which sees to what is due. */
  checkTurn(watched: ReadonlyMap<number, number>, drove: boolean): void {
    const { multi } = this;
    let running = 0;
    let paused = 0;
    for (const run of this.runs) {
      if (run.state !== 'running') continue;
      running++;
      if (run.paused || run.client.options.maxReceiveBytesPerSecond !== undefined) paused++;
      if (drove) this.#checkPlace(run);
      const { totalMs } = run.client.transfer.timeouts;
      if (drove && run.clockTurn !== this.turn && totalMs > 0 && run.addedMs + totalMs + EPSILON_MS < multi.now) {
        this.fault('clock', `client ${run.client.number} runs beyond its totalMs, ${run.client.transfer.info.state}`);
      }
    }
    this.require(
      multi.running === running,
      'rule-35',
      () => `running is ${multi.running}, ${running} transfers are not done`,
    );
    const stats = multi.stats();
    this.require(stats.added === this.added, 'rule-42', () => `added is ${stats.added}, not ${this.added}`);
    this.require(
      stats.current === this.runs.length,
      'rule-42',
      () => `current is ${stats.current}, not ${this.runs.length}`,
    );
    this.require(stats.current === stats.running + stats.pending + stats.done, 'rule-42', () => JSON.stringify(stats));
    this.require(
      stats.done === this.runs.length - running,
      'rule-42',
      () => `done is ${stats.done}, not ${this.runs.length - running}`,
    );
    this.require(stats.idle <= stats.connections, 'rule-42', () => JSON.stringify(stats));
    const { maxHostConnections, maxTotalConnections } = this.limits;
    if (maxTotalConnections > 0) this.#checkLimit(stats.connections, maxTotalConnections, 'connections by stats()');
    if (maxHostConnections > 0) {
      this.#checkLimit(stats.connections, maxHostConnections * this.places.length * 2, 'connections by stats()');
    }
    // A dial has six racers at most.
    const socketsMax = this.#dialsAreSingle ? stats.connections : stats.connections * RACERS_MAX;
    this.require(
      this.openSockets <= socketsMax,
      'leak',
      () => `${this.openSockets} sockets, ${stats.connections} slots`,
    );
    const { maxConnects, queueLength } = this.limits;
    this.require(
      stats.idle <= maxConnects,
      'rule-66',
      () => `${stats.idle} connections are idle, ${maxConnects} may be`,
    );
    if (queueLength > 0) {
      // What is sent once more does not count.
      this.require(stats.pending <= queueLength + running, 'queue', () => `${stats.pending} wait, ${queueLength} may`);
    }
    let unwatched = 0;
    for (const socket of this.network.sockets()) if (!watched.has(socket.descriptor)) unwatched++;
    this.require(
      unwatched <= paused,
      'leak',
      () => `${unwatched} sockets are unwatched, ${paused} transfers are paused`,
    );
    for (const socket of watched.keys()) {
      this.require(this.network.isOpen(socket), 'rule-16', () => `descriptor ${socket} is watched and not open`);
    }
  }
}

/**
 * What was read may be a stray response. Before its request's head is written nobody knows on which connection a run is: until
 * then it may be any of its destination.
 */
function isPoisoned({ client, exchanges }: Run): boolean {
  const line = exchanges.at(-1)?.line;
  if (line === undefined || line.socket.state === 'closed') return client.destination.poisoned;
  return line.poisoned;
}
