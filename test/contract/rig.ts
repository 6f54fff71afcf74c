/**
 * What the contract tests share: a multi driven by hand, every callback of it recorded, and raw servers to talk to.
 *
 * The application of the contract is played here in the plainest way: one epoll for the sockets, one number for the timer,
 * one driving call per event; or, where SHARDFETCH_DRIVING says so, in one of the ways of `driving.ts`. It checks what an application may rely on at every call (rules 13, 14, 25) in every test.
 */

import { once } from 'node:events';
import net from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, onTestFinished } from 'vitest';
import { openEpollPoller } from '../../src/worker/io/epoll-poller.ts';
import type { Io, Poller, ResolveAnswer, Resolver } from '../../src/worker/io/io.ts';
import { nativeIo } from '../../src/worker/io/native-io.ts';
import {
  type Message,
  Multi,
  type MultiOptions,
  Transfer,
  type TransferError,
  type TransferOptions,
  WATCH_REMOVE,
} from '../../src/worker/multi/index.ts';
import { type Driving, drivingStyle, openDriving } from './driving.ts';
import type { DrivingStyle } from './driving-styles.ts';

export interface SocketCall {
  readonly kind: 'socket';
  readonly transfer: Transfer | null;
  readonly socket: number;
  readonly what: number;
  readonly data: unknown;
}

export interface TimerCall {
  readonly kind: 'timer';
  readonly ms: number;
}

export interface RigOptions extends MultiOptions {
  /** Runs inside the socket callback; what it answers is what the callback answers. */
  onSocket?: (call: SocketCall) => number | undefined;
  onTimer?: (call: TimerCall) => number | undefined;
  /** Default: what SHARDFETCH_DRIVING says. */
  driving?: DrivingStyle;
}

/** Nothing here takes long, but the machine may be busy; what does not come within this is a hang. */
const PATIENCE_MS = 20_000;

/**
 * The kernel's sockets with a clock that moves when the test says: how long the machine takes for anything counts for nothing. The
 * event loop's timers keep to the real one, so after `passes` the test drives the multi itself, by `timeout()`.
 */
export class StillClock {
  readonly io: Io;
  #nowMs = nativeIo().now();

  constructor(io: Io = nativeIo()) {
    this.io = { ...io, now: () => this.#nowMs };
  }

  passes(ms: number): void {
    this.#nowMs += ms;
  }
}

export class Rig {
  readonly multi: Multi;
  readonly poller: Poller;
  readonly calls: (SocketCall | TimerCall)[] = [];
  onSocket: RigOptions['onSocket'];
  onTimer: RigOptions['onTimer'];
  /** When the timer fires on the multi's clock; Infinity: it is not set. */
  due = Number.POSITIVE_INFINITY;
  /** What the application knows it was asked to watch. */
  readonly watched = new Map<number, number>();
  readonly messages: Message[] = [];
  /** Null: by hand, as `step` says. */
  readonly #driving: Driving | null;
  readonly #violations: unknown[] = [];

  constructor(options: RigOptions = {}) {
    const { onSocket, onTimer, driving, ...multiOptions } = options;
    this.onSocket = onSocket;
    this.onTimer = onTimer;
    this.multi = new Multi(multiOptions);
    this.poller = openEpollPoller();
    this.#driving = openDriving(driving ?? drivingStyle(), this.multi);
    onTestFinished(() => {
      this.multi.timerFunction(null);
      this.multi.socketFunction(null);
      this.multi.close();
      this.#driving?.close();
      this.poller.close();
      if (this.#violations.length > 0) throw this.#violations[0];
    });
    this.install();
  }

  install(): void {
    this.multi.socketFunction((transfer, socket, what, data) => {
      const call: SocketCall = { kind: 'socket', transfer, socket, what, data };
      this.calls.push(call);
      this.#check(() => this.#obey(socket, what));
      this.#driving?.watch(socket, what);
      return this.onSocket?.(call);
    });
    this.multi.timerFunction((ms) => {
      const call: TimerCall = { kind: 'timer', ms };
      // Rule 25: -1 deletes a timer, so it comes only when one is set.
      this.#check(() => {
        if (ms < 0) expect(this.due, 'a timer was deleted that was not set').not.toBe(Number.POSITIVE_INFINITY);
      });
      this.calls.push(call);
      this.due = ms < 0 ? Number.POSITIVE_INFINITY : nativeIo().now() + ms;
      this.#driving?.setTimer(ms);
      return this.onTimer?.(call);
    });
  }

  /** What the multi did wrong; it would take a throw inside its callbacks for the application's own. */
  #check(rule: () => void): void {
    try {
      rule();
    } catch (error) {
      this.#violations.push(error);
    }
  }

  #obey(socket: number, what: number): void {
    // Rules 13 and 14: a call is a change, and names one of the four.
    expect([1, 2, 3, WATCH_REMOVE]).toContain(what);
    expect(this.watched.get(socket) ?? WATCH_REMOVE, `socket ${socket} was told ${what} twice`).not.toBe(what);
    if (what === WATCH_REMOVE) this.watched.delete(socket);
    else this.watched.set(socket, what);
    const result = this.poller.watch(socket, what === WATCH_REMOVE ? 0 : what, 1);
    expect(result, `epoll refused socket ${socket}`).toBe(0);
  }

  get socketCalls(): SocketCall[] {
    return this.calls.filter((call) => call.kind === 'socket');
  }

  /** What was asked of sockets, in order. */
  get whats(): number[] {
    return this.socketCalls.map((call) => call.what);
  }

  get timers(): number[] {
    return this.calls.filter((call) => call.kind === 'timer').map((call) => call.ms);
  }

  /** What is ready now: pairs of socket and events. */
  ready(): [number, number][] {
    const count = this.poller.wait(0);
    return Array.from({ length: count }, (_, index) => [
      this.poller.events[index * 3] as number,
      this.poller.events[index * 3 + 1] as number,
    ]);
  }

  /** Waits without driving until so many sockets are ready, and answers them: what a peer wrote has arrived. */
  async arrived(count: number): Promise<[number, number][]> {
    const end = performance.now() + PATIENCE_MS;
    for (;;) {
      const ready = this.ready();
      if (ready.length >= count) return ready;
      if (performance.now() > end) throw new Error(`${ready.length} of ${count} sockets are ready`);
      await nextTurn();
    }
  }

  /** Does what an event loop does, once. */
  step(): void {
    if (this.#driving === null) {
      for (const [socket, events] of this.ready()) if (this.watched.has(socket)) this.multi.action(socket, events);
      this.fireTimer();
    } else this.#driving.step();
    for (const message of this.multi.messages()) this.messages.push(message);
  }

  fireTimer(): void {
    if (this.due > nativeIo().now()) return;
    this.due = Number.POSITIVE_INFINITY;
    this.multi.timeout();
  }

  /** Drives until `wanted`; throws when it does not come. */
  async until(wanted: () => boolean, what = 'what the test waits for', patienceMs = PATIENCE_MS): Promise<void> {
    const end = performance.now() + patienceMs;
    this.#driving?.begin();
    try {
      while (!wanted()) {
        this.step();
        await nextTurn();
        if (performance.now() > end) {
          throw new Error(
            `${what} did not come; ${JSON.stringify(this.multi.stats())}, due ${this.due - nativeIo().now()}`,
          );
        }
      }
    } finally {
      this.#driving?.end();
    }
  }

  /** Drives for `ms`, whatever comes. */
  async drive(ms: number): Promise<void> {
    const end = performance.now() + ms;
    await this.until(() => performance.now() >= end);
  }

  /** Drives on until the transfer has completed, and answers how. */
  async end(transfer: Transfer): Promise<TransferError | null> {
    await this.until(
      () => this.messages.some((message) => message.transfer === transfer),
      `the end of ${transfer.head}`,
    );
    return (this.messages.find((message) => message.transfer === transfer) as Message).error;
  }

  /** One transfer from its add to its remove. */
  async fetch(options: TransferOptions): Promise<Got> {
    const got = get(options);
    this.multi.add(got.transfer);
    got.error = await this.end(got.transfer);
    this.multi.remove(got.transfer);
    this.messages.length = 0;
    return got;
  }
}

/** A transfer and what came of it. */
export interface Got {
  readonly transfer: Transfer;
  head: string;
  body: string;
  ended: number;
  error: TransferError | null | undefined;
}

export function get(options: TransferOptions): Got {
  const { onHead, onData, onEnd } = options;
  const got: Got = {
    transfer: new Transfer({
      ...options,
      onHead(transfer, bytes, start, end) {
        got.head += Buffer.from(bytes.subarray(start, end)).toString('latin1');
        onHead?.(transfer, bytes, start, end);
      },
      onData(transfer, bytes, start, end) {
        const answer = onData?.(transfer, bytes, start, end);
        if (typeof answer !== 'symbol') got.body += Buffer.from(bytes.subarray(start, end)).toString('latin1');
        return answer;
      },
      onEnd(transfer, trailers) {
        got.ended++;
        onEnd?.(transfer, trailers);
      },
    }),
    head: '',
    body: '',
    ended: 0,
    error: undefined,
  };
  return got;
}

/** The server's end of a connection. */
export class ServerConnection {
  readonly socket: net.Socket;
  /** From 0, in the order of acceptance. */
  readonly index: number;
  /** Requests that came on it. */
  requests = 0;
  closed = false;

  constructor(socket: net.Socket, index: number) {
    this.socket = socket;
    this.index = index;
  }

  reply(body = 'ok', headers = ''): void {
    this.socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n${headers}\r\n${body}`);
  }
}

export type Handler = (connection: ServerConnection, request: string) => void;

export class Server {
  readonly connections: ServerConnection[] = [];
  /** Requests, in the order of arrival. */
  readonly requests: string[] = [];
  readonly url: string;
  readonly port: number;
  mostOpen = 0;

  constructor(port: number) {
    this.port = port;
    this.url = `http://127.0.0.1:${port}/`;
  }

  get open(): number {
    return this.connections.filter((connection) => !connection.closed).length;
  }

  get last(): ServerConnection {
    return this.connections.at(-1) as ServerConnection;
  }

  /** The paths asked for, in the order of arrival. */
  get paths(): string[] {
    return this.requests.map((request) => request.split(' ')[1] as string);
  }
}

/** Listens until the test is over. The handler is called at the end of each request's head (bodies are not awaited). */
export async function serve(
  handler: Handler = (connection) => connection.reply(),
  host = '127.0.0.1',
): Promise<Server> {
  const listener = net.createServer({ allowHalfOpen: true }, (socket) => {
    const connection = new ServerConnection(socket, server.connections.length);
    server.connections.push(connection);
    server.mostOpen = Math.max(server.mostOpen, server.open);
    let text = '';
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1');
      for (let end = text.indexOf('\r\n\r\n'); end >= 0; end = text.indexOf('\r\n\r\n')) {
        const request = text.slice(0, end + 4);
        const length = Number(/content-length: (\d+)/i.exec(request)?.[1] ?? 0);
        text = text.slice(end + 4 + length);
        connection.requests++;
        server.requests.push(request);
        handler(connection, request);
      }
    });
    socket.on('end', () => {
      connection.closed = true;
      socket.end();
    });
    socket.on('close', () => {
      connection.closed = true;
    });
    socket.on('error', () => undefined);
  });
  listener.listen(host.startsWith('/') ? { path: host } : { port: 0, host });
  await once(listener, 'listening');
  const server = new Server((listener.address() as Partial<net.AddressInfo>).port ?? 0);
  onTestFinished(() => {
    for (const { socket } of server.connections) socket.destroy();
    listener.close();
  });
  return server;
}

/** A port on which nothing listens. */
export async function deadPort(): Promise<number> {
  const listener = net.createServer().listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const { port } = listener.address() as net.AddressInfo;
  listener.close();
  await once(listener, 'close');
  return port;
}

/** The kernel's sockets with names that the test answers itself. */
export class Names {
  readonly asked: string[] = [];
  readonly io: Io;
  closed = 0;
  readonly #answers: ResolveAnswer[] = [];
  #resolver: Resolver | undefined;

  constructor() {
    const real = nativeIo();
    this.io = { ...real, openResolver: () => this.#open(real) };
  }

  #open(real: Io): Resolver {
    const resolver = real.openResolver();
    this.#resolver = resolver;
    return {
      get socket() {
        return resolver.socket;
      },
      resolve: (host) => this.asked.push(host),
      take: () => this.#answers.shift() ?? null,
      close: () => {
        this.closed++;
        resolver.close();
      },
    };
  }

  /** Answers look-up `lookup` (from 1) and drives the multi with the resolver's socket. */
  answer(rig: Rig, lookup: number, addresses: readonly string[], statusName = ''): void {
    this.#answers.push({ lookup, status: addresses.length > 0 ? 0 : -2, statusName, addresses });
    rig.multi.action(this.#resolver?.socket as number, 1);
  }
}

export const sleep = (ms: number): void => {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
};
