/** K: abort() wherever a request can be, callbacks that call back, frames that nobody sends. By case. */

import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { type FetchInit, type FetchResponse, Pool } from 'shardfetch';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { DEFAULT_LIMITS, DEFAULT_TIMEOUTS } from '../../src/protocol/options.ts';
import { BatchLink } from '../../src/protocol/port/batch-link.ts';
import { ERROR } from '../../src/protocol/port/frames.ts';
import { writeStart } from '../../src/protocol/port/request-frames.ts';
import { Shard } from '../../src/worker/shard.ts';
import { fullListener } from '../full-listener.ts';
import { checkStats, eventually, expectNoSocketLeaks, PLACES, poolFor, rejection } from '../wire/checks.ts';
import {
  answer,
  deferred,
  gate,
  type Peer,
  rawPeer,
  request,
  type Script,
  send,
  serve,
  stopReading,
} from '../wire/raw-peer.ts';
import { checkNothingIsLeft, descriptorCount } from './checks.ts';

expectNoSocketLeaks();

const HALF = 'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf';

interface Phase {
  readonly name: string;
  readonly script: Script;
  readonly init?: FetchInit;
  /** Settles when the request is where it is to be aborted. */
  reached(peer: Peer, response: Promise<FetchResponse>): Promise<unknown>;
  /** Whether there is a response by then. */
  readonly answered?: boolean;
}

const arrived = async (peer: Peer): Promise<void> => {
  const connection = await peer.connection(0);
  await eventually(() => connection.requests.length > 0, 'the request is there');
};

const PHASES: Phase[] = [
  { name: 'at once', script: [request()], reached: () => Promise.resolve() },
  { name: 'a turn later', script: [request()], reached: () => new Promise((resolve) => setImmediate(resolve)) },
  { name: 'connected', script: [], reached: (peer) => peer.connection(0) },
  {
    name: 'sending',
    script: [stopReading()],
    init: { method: 'POST', body: new Uint8Array(20_000_000) },
    reached: (peer) => peer.connection(0),
  },
  { name: 'waiting', script: [request()], reached: arrived },
  { name: 'in an interim head', script: [request(), send('HTTP/1.1 103 E\r\n\r\n')], reached: arrived },
  { name: 'in the head', script: [request(), send('HTTP/1.1 200 OK\r\nA: ')], reached: arrived },
  { name: 'behind the head', script: [request(), send(HALF)], reached: (_, response) => response, answered: true },
  {
    name: 'in a body received in place',
    script: [request(), send('HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n', 'x'.repeat(50_000))],
    reached: (_, response) => response,
    answered: true,
  },
  {
    name: 'in a body that nobody takes',
    script: [request(), send('HTTP/1.1 200 OK\r\n\r\n', 'x'.repeat(8_000_000))],
    reached: (_, response) => response,
    answered: true,
  },
];

describe.each(PLACES)('158: abort(), $name', ({ shards }) => {
  let pool: Pool;
  beforeAll(() => {
    pool = new Pool({ shards });
  });
  afterAll(() => pool.close());

  test.each(PHASES)('$name', async ({ script, init, reached, answered }) => {
    await pool.stats();
    const before = descriptorCount();
    const { aborted } = await pool.stats();
    const peer = await rawPeer(script, serve(send(answer('next'))));
    const controller = new AbortController();
    const reason = { mine: true };
    const fetched = pool.fetch(peer.url, { ...init, signal: controller.signal });
    fetched.catch(() => undefined);
    await reached(peer, fetched);
    controller.abort(reason);
    controller.abort('again');
    if (answered) {
      const response = await fetched;
      expect(await rejection(response.arrayBuffer())).toBe(reason);
    } else expect(await rejection(fetched)).toBe(reason);
    for (const { socket } of peer.connections) socket.resume();
    await peer.quiet();
    await checkStats(pool, { inFlight: 0, aborted: aborted + 1 });
    if (peer.connections.length > 0) expect(await (await pool.fetch(peer.url)).text()).toBe('next');
    await peer.close();
    await checkNothingIsLeft(pool, before);
  });

  test('queued: its place goes to the next, and the one that holds the connection is unharmed', async () => {
    const own = poolFor({ shards, connections: { perOrigin: Math.max(shards, 1) }, placement: () => 'one' });
    const answered = deferred();
    const peer = await rawPeer([
      request(),
      gate(answered.promise),
      send(answer('held')),
      ...serve(send(answer('next'))),
    ]);
    const held = own.fetch(peer.url);
    await arrived(peer);
    const holders = Array.from({ length: Math.max(shards, 1) - 1 }, () => own.fetch(peer.url));
    const controller = new AbortController();
    const queued = own.fetch(peer.url, { signal: controller.signal });
    const behind = own.fetch(peer.url);
    controller.abort('mine');
    expect(await rejection(queued)).toBe('mine');
    answered.resolve();
    expect(await (await held).text()).toBe('held');
    await Promise.all([behind, ...holders].map(async (one) => (await one).text()));
    await checkStats(own, { inFlight: 0, aborted: 1 });
  });

  test('while its name is looked up', async () => {
    const before = descriptorCount();
    const controller = new AbortController();
    const fetched = pool.fetch('http://never-resolves.invalid/', { signal: controller.signal });
    await new Promise((resolve) => setImmediate(resolve));
    controller.abort('mine');
    const error = await rejection(fetched);
    // The look-up of a name that cannot be may be quicker.
    if (error !== 'mine') expect(error).toMatchObject({ code: 'COULDNT_RESOLVE' });
    await checkStats(pool, { inFlight: 0 });
    await eventually(() => descriptorCount() <= before + 1, 'no more than a resolver is open');
  });
});

test('158: while connecting', async () => {
  const pool = poolFor();
  const { port, fillers } = await fullListener();
  const controller = new AbortController();
  const all = Array.from({ length: 5 }, () => pool.fetch(`http://127.0.0.1:${port}/`, { signal: controller.signal }));
  await pool.stats();
  controller.abort('mine');
  for (const outcome of await Promise.allSettled(all)) expect(outcome).toMatchObject({ reason: 'mine' });
  await checkStats(pool, { inFlight: 0, aborted: 5 });
  for (const filler of fillers) filler.destroy();
});

describe('159: aborts that change nothing, or everything', () => {
  test('after completion, and twice', async () => {
    const pool = poolFor();
    const peer = await rawPeer(serve(send(answer('whole'))));
    const controller = new AbortController();
    const response = await pool.fetch(peer.url, { signal: controller.signal });
    expect(await response.text()).toBe('whole');
    controller.abort();
    controller.abort();
    expect((await pool.fetch(peer.url)).connection.reused).toBe(true);
    await checkStats(pool, { completed: 2, aborted: 0 });
  });

  test('a signal that is aborted already: no request, its own reason', async () => {
    const pool = poolFor();
    const peer = await rawPeer(serve(send(answer('never'))));
    const reason = new Error('mine');
    expect(await rejection(pool.fetch(peer.url, { signal: AbortSignal.abort(reason) }))).toBe(reason);
    expect(await rejection(pool.fetch(peer.url, { signal: AbortSignal.abort() }))).toMatchObject({
      name: 'AbortError',
    });
    await checkStats(pool, { started: 0 });
    expect(peer.connections).toHaveLength(0);
  });

  test('AbortSignal.timeout gives its TimeoutError; one signal for many requests, one listener', async () => {
    const pool = poolFor();
    const peer = await rawPeer([request()]);
    const signal = AbortSignal.timeout(50);
    let listeners = 0;
    const add = signal.addEventListener.bind(signal);
    signal.addEventListener = ((...given: Parameters<typeof add>) => {
      listeners++;
      add(...given);
    }) as typeof signal.addEventListener;
    const all = await Promise.allSettled(Array.from({ length: 20 }, () => pool.fetch(peer.url, { signal })));
    for (const outcome of all) expect(outcome).toMatchObject({ reason: { name: 'TimeoutError' } });
    expect(listeners).toBe(1);
    await checkStats(pool, { aborted: 20, inFlight: 0 });
  });
});

test('160: abort races with the last byte: the whole response or the reason, nothing between', async () => {
  const pool = poolFor();
  const body = 'x'.repeat(3000);
  let whole = 0;
  let cut = 0;
  for (let round = 0; round < 150; round++) {
    const peer = await rawPeer([
      request(),
      send('HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n', body.slice(1)),
      send('x'),
    ]);
    const controller = new AbortController();
    const outcome = (async () => (await pool.fetch(peer.url, { signal: controller.signal })).text())();
    outcome.catch(() => undefined);
    await new Promise((resolve) => setTimeout(resolve, (round % 30) / 10));
    controller.abort('mine');
    const [settled] = await Promise.allSettled([outcome]);
    if (settled.status === 'fulfilled') {
      expect(settled.value).toBe(body);
      whole++;
    } else {
      expect(settled.reason).toBe('mine');
      cut++;
    }
    await peer.close();
  }
  expect(whole + cut).toBe(150);
  const stats = await checkStats(pool, { inFlight: 0, failed: 0 });
  expect(stats.completed).toBeGreaterThanOrEqual(whole);
});

test('161: whatever is called from where a response arrives: abort, fetch, close', async () => {
  const pool = poolFor();
  const peer = await rawPeer(serve(send(answer('x'.repeat(50_000)))));
  const other = await rawPeer([request(), send(HALF)]);
  const controllers = Array.from({ length: 5 }, () => new AbortController());
  const broken = controllers.map(({ signal }) => pool.fetch(other.url, { signal }).then((response) => response.text()));
  for (const one of broken) one.catch(() => undefined);
  // In the listener of a signal: other aborts, new requests.
  controllers[0]?.signal.addEventListener('abort', () => {
    for (const controller of controllers) controller.abort('all');
  });
  const chained = new Promise<string>((resolve, reject) => {
    controllers[1]?.signal.addEventListener('abort', () => {
      pool.fetch(peer.url).then((response) => resolve(response.text()), reject);
    });
  });
  await (await pool.fetch(peer.url)).text();
  controllers[0]?.abort('first');
  for (const [index, outcome] of (await Promise.allSettled(broken)).entries()) {
    expect(outcome).toMatchObject({ reason: index === 0 ? 'first' : 'all' });
  }
  expect((await chained).length).toBe(50_000);
  const last = await pool.fetch(peer.url);
  const closing = last.text().then(() => pool.close());
  await closing;
  expect(await rejection(pool.fetch(peer.url))).toMatchObject({ code: 'POOL_CLOSED' });
});

describe('164 and 165: frames that nobody sends', () => {
  const config = {
    shard: 0,
    shards: 1,
    identityCheck: null,
    totalConnections: 10,
    queueLength: 10,
    unreadBytes: 1_000_000,
    idleMs: 1000,
    lookupTtlMs: 1000,
    resolve: {},
    route: {},
    proxy: null,
    guard: null,
    extras: null,
    timeouts: DEFAULT_TIMEOUTS,
    limits: DEFAULT_LIMITS,
  };

  /** A shard in this thread, spoken to by frames. */
  function shardOf(): {
    shard: Shard;
    link: BatchLink;
    port: MessagePort;
    frames: [kind: number, id: number][];
    closed: () => boolean;
  } {
    const { port1, port2 } = new MessageChannel();
    const guardPort = new MessageChannel().port1;
    const ports = { controlPort: port2, guardPort, lookupPort: null, identityPort: null };
    const shard = new Shard({ config, dataPort: port2, ...ports });
    const link = new BatchLink(port1);
    const frames: [number, number][] = [];
    let closed = false;
    port1.on('message', (message) => link.receive(message, ({ kind, id }) => frames.push([kind, id])));
    port1.on('close', () => {
      closed = true;
    });
    return { shard, link, port: port1, frames, closed: () => closed };
  }

  test('165: an unknown kind fails the transfer that it names, and is counted when it names none', async () => {
    const peer = await rawPeer([request()]);
    const { shard, link, frames, port } = shardOf();
    const head = `GET / HTTP/1.1\r\nhost: 127.0.0.1:${peer.port}\r\n\r\n`;
    for (const id of [1, 2]) writeStart(link.writer, id, 1, 0, peer.origin, head, null, null);
    link.flush();
    await eventually(() => shard.stats().running === 2, 'both run');
    for (const id of [1, 99]) {
      link.writer.beginFrame(77, id, 12);
      link.writer.used += 12;
      link.writer.endFrame();
    }
    link.flush();
    await eventually(() => frames.some(([kind, id]) => kind === ERROR && id === 1), 'the first fails');
    expect(shard.stats()).toMatchObject({ running: 1, failed: 1, ignoredFrames: 1 });
    expect(frames).toEqual([[ERROR, 1]]);
    port.close();
    await peer.quiet();
  });

  test.each([
    ['no batch at all', 'nonsense'],
    ['an empty list', []],
    ['a batch of zeros', [new ArrayBuffer(64), null]],
    ['a buffer returned that was never sent', [null, new ArrayBuffer(8)]],
    ['objects in the place of buffers', [{}, {}]],
    ['null', null],
  ])('164: %s ends the shard, and what was in flight with it', async (_, message) => {
    const peer = await rawPeer([request()]);
    const { link, port, closed } = shardOf();
    writeStart(link.writer, 1, 1, 0, peer.origin, `GET / HTTP/1.1\r\nhost: a\r\n\r\n`, null, null);
    link.flush();
    await arrived(peer);
    port.postMessage(message);
    await eventually(closed, 'the port is closed');
    await peer.quiet();
  });
});
