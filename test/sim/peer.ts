/**
 * The world outside the client: names, listeners, and HTTP servers that answer by script, well or badly. Each response carries the
 * number of its request in a field and in every byte of its body.
 */

import { constants } from 'node:os';
import type { SimulatedClock } from '../../src/worker/io/simulated/clock.ts';
import type { Channel, ConnectPlan, LookupPlan, Peer, World } from '../../src/worker/io/simulated/network.ts';
import type { Random } from '../../src/worker/io/simulated/random.ts';
import type { Ledger } from './ledger.ts';
import { firstDifference, patternBytes } from './pattern.ts';
import type { Exchange, Line, UploadPlan } from './records.ts';
import { RequestReader } from './request-reader.ts';
import type { PeerFaults, Scenario } from './scenario.ts';

const { ECONNREFUSED, ENETUNREACH, ETIMEDOUT, EHOSTUNREACH } = constants.errno;
const EAI_NONAME = -2;
const EAI_AGAIN = -3;

const NEVER = Number.POSITIVE_INFINITY;
/** How long the kernel of a real machine tries. */
const CONNECT_GIVES_UP_MS = 127_000;
const RESOLVER_GIVES_UP_MS = 30_000;

/** What no reader of HTTP/1.1 may take for a response head. */
const GARBAGE_HEADS = [
  'SSH-2.0-simulated\r\n',
  'HTTP/1.1 200 OK\n\n',
  'HTTP/1.1 2OO OK\r\n\r\n',
  'HTTP/2 200\r\n\r\n',
  'HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n',
  'HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\n',
  'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n',
  'HTTP/1.1 200 OK\r\nx y: 1\r\n\r\n',
];
const GARBAGE_BODIES = [
  'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n',
  'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n',
];
const STRAYS = ['\r\n', 'x', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno', 'HTTP/1.1 408 Request Timeout\r\n\r\n'];
/** Larger than the limit that transfers to such servers have. */
export const TOO_LARGE_HEAD_BYTES = 3_000;
export const TOO_LARGE_BODY_BYTES = 2_000;

export class SimulatedWorld implements World {
  readonly ledger: Ledger;
  readonly clock: SimulatedClock;
  readonly random: Random;
  readonly scenario: Scenario;

  constructor(ledger: Ledger, clock: SimulatedClock, random: Random, scenario: Scenario) {
    this.ledger = ledger;
    this.clock = clock;
    this.random = random;
    this.scenario = scenario;
  }

  get faults(): PeerFaults {
    return this.scenario.peers;
  }

  happens(fault: keyof PeerFaults): boolean {
    if (!this.random.chance(this.faults[fault])) return false;
    this.ledger.note(`peer: ${fault}`);
    return true;
  }

  /** Short delays often; sometimes as long as the clocks of the client, so that they race. */
  delay(): number {
    const { random } = this;
    if (random.chance(0.5)) return 0;
    return random.chance(0.9) ? random.fraction() * this.scenario.latencyMs : random.fraction() * 200;
  }

  resolve(host: string): LookupPlan {
    const { random } = this;
    const place = this.ledger.places.find(({ plan }) => plan.host === host);
    if (place === undefined) throw new Error(`${host} is nobody's name`);
    // The system's resolver gives up in the end.
    if (this.happens('nameSilent')) {
      this.#nameFails(host);
      return { afterMs: RESOLVER_GIVES_UP_MS, status: EAI_AGAIN, statusName: 'EAI_AGAIN', addresses: [] };
    }
    const afterMs = this.happens('nameSlow') ? random.between(50, 800) : this.delay();
    const fails = this.happens('nameFails');
    const isEmpty = !fails && this.happens('nameWithoutAddress');
    if (fails || isEmpty) this.#nameFails(host);
    if (fails) {
      const status = random.pick([EAI_NONAME, EAI_AGAIN]);
      return { afterMs, status, statusName: status === EAI_NONAME ? 'EAI_NONAME' : 'EAI_AGAIN', addresses: [] };
    }
    return { afterMs, status: 0, statusName: '', addresses: isEmpty ? [] : place.plan.addresses };
  }

  #nameFails(host: string): void {
    for (const place of this.ledger.places) if (place.plan.host === host) place.nameFailures++;
  }

  connect(address: string, port: number): ConnectPlan {
    const { random } = this;
    this.ledger.placeAt(address, port);
    const accept = (channel: Channel): Peer => new HttpPeer(this, channel);
    if (this.happens('refuse'))
      return { result: -ECONNREFUSED, afterMs: random.chance(0.3) ? -1 : this.delay(), accept };
    if (this.happens('unreachable')) {
      return {
        result: random.chance(0.5) ? -ENETUNREACH : -EHOSTUNREACH,
        afterMs: random.chance(0.5) ? -1 : this.delay(),
        accept,
      };
    }
    if (this.happens('blackHole')) return { result: -ETIMEDOUT, afterMs: CONNECT_GIVES_UP_MS, accept };
    return { result: 0, afterMs: this.happens('atOnce') ? -1 : this.delay(), accept };
  }
}

/** One step of a response: after `delayMs`, do it. */
interface Step {
  readonly delayMs: number;
  readonly act: () => void;
}

class HttpPeer implements Peer {
  readonly #world: SimulatedWorld;
  readonly #channel: Channel;
  readonly #line: Line;
  readonly #reader: RequestReader;
  /** How many requests have begun to arrive. */
  #requests = 0;
  #exchange: Exchange | null = null;
  #requestBytes = 0;
  #requestBroken = false;
  #answering = false;
  #requestWhole = true;
  #gone = false;

  constructor(world: SimulatedWorld, channel: Channel) {
    this.#world = world;
    this.#channel = channel;
    this.#line = channel.socket.data as Line;
    this.#reader = new RequestReader({
      onHead: () => this.#requestBegan(),
      onBody: (bytes) => this.#requestBody(bytes),
      onEnd: () => this.#requestEnded(),
    });
    if (world.happens('unread')) channel.readDelayMs = NEVER;
    if (world.happens('slowReader')) channel.readDelayMs = world.random.between(1, 30);
    if (world.happens('hangUp')) this.#hangUp(world.random.chance(0.5));
    else if (world.happens('banner')) this.#stray();
  }

  onBytes(bytes: Uint8Array): void {
    if (this.#gone) return;
    this.#reader.feed(bytes);
  }

  onClosed(_reset: boolean): void {
    this.#gone = true;
  }

  // ── Requests ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  #requestBegan(): void {
    const exchange = this.#line.exchanges[this.#requests++] as Exchange;
    const { ledger } = this.#world;
    // A stray response may have been taken for the one before.
    if (this.#answering && !this.#line.poisoned)
      ledger.fault('rule-61', `request ${exchange.ordinal} arrived before the response before it was whole`);
    this.#exchange = exchange;
    this.#requestBytes = 0;
    this.#requestBroken = false;
    this.#requestWhole = false;
    if (this.#world.happens('early')) this.#answer(exchange);
  }

  #requestBody(bytes: Uint8Array): void {
    const exchange = this.#exchange as Exchange;
    const body = exchange.run?.client.number ?? 0;
    if (!this.#requestBroken && firstDifference(body, this.#requestBytes, bytes, 0, bytes.length) >= 0) {
      this.#requestBroken = true;
      this.#world.ledger.fault('upload', `request ${exchange.ordinal} has bytes that client ${body} did not give`);
    }
    this.#requestBytes += bytes.length;
  }

  #requestEnded(): void {
    const exchange = this.#exchange as Exchange;
    const upload = exchange.run?.client.upload as UploadPlan | null | undefined;
    const announced = upload?.length ?? 0;
    this.#requestWhole = true;
    if (upload?.broken !== true && this.#requestBytes !== announced) {
      this.#world.ledger.fault(
        'upload',
        `request ${exchange.ordinal} has ${this.#requestBytes} bytes, not ${announced}`,
      );
    }
    if (!this.#answering && !exchange.finished) this.#answer(exchange);
  }

  // ── Responses ────────────────────────────────────────────────────────────────────────────────────────────────────────

  #answer(exchange: Exchange): void {
    const world = this.#world;
    const { random } = world;
    this.#answering = true;
    const steps: Step[] = [];
    if (world.happens('stall')) return;
    if (world.happens('interim')) {
      for (let count = random.between(1, 3); count > 0; count--) {
        const text = random.pick(['HTTP/1.1 100 Continue\r\n\r\n', 'HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n']);
        this.#pieces(steps, Buffer.from(text, 'latin1'), text.length);
      }
    }
    if (world.happens('garbage')) {
      exchange.broken = true;
      const isHead = exchange.run?.client.method === 'HEAD';
      const text = Buffer.from(random.pick(isHead ? GARBAGE_HEADS : [...GARBAGE_HEADS, ...GARBAGE_BODIES]), 'latin1');
      this.#pieces(steps, text, text.length);
      if (random.chance(0.5)) steps.push({ delayMs: world.delay(), act: () => this.#hangUp(random.chance(0.5)) });
      this.#play(steps, 0);
      return;
    }
    const message = this.#compose(exchange);
    const fault = world.happens('cut') ? 'cut' : world.happens('reset') ? 'reset' : 'none';
    const sent = fault === 'none' ? message.bytes.length : random.below(message.bytes.length + 1);
    this.#pieces(steps, message.bytes, sent);
    const delayMs = world.delay();
    const isWhole = sent === message.bytes.length && exchange.framing !== 'close';
    if (isWhole) steps.push({ delayMs: 0, act: () => this.#finished(exchange) });
    if (fault === 'reset') steps.push({ delayMs, act: () => this.#hangUp(true) });
    else if (fault === 'cut') steps.push({ delayMs, act: () => this.#cut(exchange, message, sent) });
    else if (!isWhole) steps.push({ delayMs, act: () => this.#finished(exchange) });
    this.#play(steps, 0);
  }

  #compose(exchange: Exchange): { bytes: Buffer; headBytes: number } {
    const world = this.#world;
    const { random, scenario } = world;
    const client = exchange.run?.client;
    const isHead = client?.method === 'HEAD';
    const status = random.chance(0.9) ? random.pick([200, 200, 404, 500]) : random.pick([204, 304]);
    const isBodiless = status === 204 || status === 304;
    const http10 = world.happens('http10');
    let length = random.chance(0.15) ? 0 : random.skewed(scenario.bodyBytesMax);
    const { headBytes: headMax = Number.POSITIVE_INFINITY, bodyBytes: bodyMax = 0 } = client?.options.limits ?? {};
    const bodyIsLimited = bodyMax > 0 && !isHead && !isBodiless;
    const headIsLimited = headMax < TOO_LARGE_HEAD_BYTES;
    const tooLarge = (bodyIsLimited || headIsLimited) && world.happens('tooLarge');
    if (tooLarge && bodyIsLimited) length = TOO_LARGE_BODY_BYTES;
    else if (bodyMax > 0) length = Math.min(length, bodyMax);
    let framing: Exchange['framing'] = 'length';
    if (isBodiless) framing = 'none';
    else if (world.happens('closeDelimited')) framing = 'close';
    else if (!http10 && random.chance(world.faults.chunked)) framing = 'chunked';
    const says = world.happens('close') ? 'close' : http10 && random.chance(0.5) ? 'keep-alive' : '';
    let head = `HTTP/1.${http10 ? 0 : 1} ${status} Simulated\r\nx-exchange: ${exchange.ordinal}\r\n`;
    if (says !== '') head += `Connection: ${says}\r\n`;
    if (framing === 'length') head += `Content-Length: ${length}\r\n`;
    if (framing === 'chunked') head += 'Transfer-Encoding: chunked\r\n';
    if (world.happens('keepAliveTimeout')) {
      exchange.keepAliveS = random.between(0, 4);
      head += `Keep-Alive: timeout=${exchange.keepAliveS}\r\n`;
    }
    if (tooLarge && !bodyIsLimited) head += `x-filler: ${'f'.repeat(TOO_LARGE_HEAD_BYTES)}\r\n`;
    head += '\r\n';
    const hasBody = !isHead && framing !== 'none';
    exchange.tooLarge = tooLarge;
    exchange.framing = hasBody ? framing : 'none';
    exchange.bodyBytes = hasBody ? length : 0;
    exchange.keepsAlive = exchange.framing !== 'close' && says !== 'close' && (!http10 || says === 'keep-alive');
    const body = hasBody ? encodeBody(random, exchange) : [];
    return { bytes: Buffer.concat([Buffer.from(head, 'latin1'), ...body]), headBytes: head.length };
  }

  /** Steps that send the first `length` bytes in pieces. */
  #pieces(steps: Step[], bytes: Uint8Array, length: number): void {
    const { random } = this.#world;
    const isInPieces = random.chance(0.4);
    let at = 0;
    while (at < length) {
      const room = length - at;
      const size = !isInPieces || steps.length > 20 ? room : random.chance(0.2) ? 1 : random.between(1, room);
      const piece = bytes.subarray(at, at + size);
      steps.push({ delayMs: this.#world.delay(), act: () => this.#channel.send(piece) });
      at += size;
    }
  }

  #play(steps: readonly Step[], index: number): void {
    const step = steps[index];
    if (step === undefined) return;
    const act = (): void => {
      if (this.#gone) return;
      step.act();
      this.#play(steps, index + 1);
    };
    if (step.delayMs === 0) act();
    else this.#world.clock.after(step.delayMs, act);
  }

  #cut(exchange: Exchange, message: { bytes: Buffer; headBytes: number }, sent: number): void {
    if (exchange.framing === 'close' && sent >= message.headBytes) {
      exchange.bodyBytes = sent - message.headBytes;
      const bodyMax = exchange.run?.client.options.limits?.bodyBytes ?? 0;
      if (exchange.bodyBytes <= bodyMax) exchange.tooLarge = false;
      exchange.finished = true;
      exchange.endOffset = this.#channel.sentBytes;
    }
    this.#hangUp(false);
  }

  #finished(exchange: Exchange): void {
    const world = this.#world;
    exchange.finished = true;
    exchange.endOffset = this.#channel.sentBytes;
    this.#answering = false;
    if (world.happens('stray')) this.#stray();
    if (!exchange.keepsAlive) {
      if (exchange.framing === 'close' || world.random.chance(0.8)) this.#hangUp(false);
      return;
    }
    if (world.happens('closeUnsaid')) {
      this.#hangUp(world.random.chance(0.3));
      return;
    }
    this.#rest(exchange.keepAliveS);
  }

  /** What it does to a connection on which no request comes. */
  #rest(keepAliveS: number): void {
    const world = this.#world;
    const { random } = world;
    const requests = this.#requests;
    const at = (ms: number, act: () => void): void =>
      world.clock.after(ms, () => {
        if (!this.#gone && this.#requests === requests && this.#requestWhole) act();
      });
    const whenIdle = (act: () => void): void => {
      const ms = random.chance(0.7)
        ? random.fraction() * 3 * (world.scenario.latencyMs + 1)
        : random.between(10, 1_500);
      at(ms, act);
    };
    if (keepAliveS >= 0) at(keepAliveS * 1000, () => this.#hangUp(false));
    if (world.happens('idleClose')) whenIdle(() => this.#hangUp(false));
    else if (world.happens('idleReset')) whenIdle(() => this.#hangUp(true));
    else if (world.happens('idleStray')) whenIdle(() => this.#stray());
  }

  #stray(): void {
    this.#line.poisoned = true;
    this.#line.place.poisoned = true;
    this.#channel.send(Buffer.from(this.#world.random.pick(STRAYS), 'latin1'));
  }

  /** It reads nothing from here on; `half`-closed connections are those whose requests it still takes. */
  #hangUp(reset: boolean): void {
    this.#gone = true;
    if (reset) {
      this.#channel.reset();
      return;
    }
    this.#channel.deaf = this.#world.random.chance(0.7);
    this.#channel.end();
  }
}

function encodeBody(random: Random, exchange: Exchange): Uint8Array[] {
  const { ordinal, bodyBytes, framing } = exchange;
  if (framing !== 'chunked') return [patternBytes(ordinal, 0, bodyBytes)];
  const parts: Uint8Array[] = [];
  let at = 0;
  while (at < bodyBytes) {
    const size = Math.min(bodyBytes - at, random.chance(0.2) ? random.between(1, 4) : random.between(1, 1 + bodyBytes));
    const extension = random.chance(0.1) ? ';name="v;a\\"lue"' : '';
    parts.push(Buffer.from(`${size.toString(16)}${extension}\r\n`, 'latin1'), patternBytes(ordinal, at, size), CRLF);
    at += size;
  }
  parts.push(Buffer.from(random.chance(0.2) ? '0\r\nx-end: 1\r\n\r\n' : '0\r\n\r\n', 'latin1'));
  return parts;
}

const CRLF = Buffer.from('\r\n', 'latin1');
