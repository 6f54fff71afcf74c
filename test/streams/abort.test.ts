/** An abort in every state of a transfer: rejects with the signal's reason, once, frees its place, and leaves nothing. */

import { spawnSync } from 'node:child_process';
import { getEventListeners, once } from 'node:events';
import net from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { Pool } from 'shardfetch';
import { afterAll, describe, expect, onTestFinished, test } from 'vitest';
import {
  checkStats,
  eventually,
  expectNoSocketLeaks,
  PLACES,
  poolFor,
  rejection,
  socketsOpen,
} from '../wire/checks.ts';
import {
  answer,
  deferred,
  gate,
  head,
  rawPeer,
  request,
  type Script,
  send,
  serve,
  stopReading,
} from '../wire/raw-peer.ts';
import {
  bodyOf,
  CountingSource,
  checkPattern,
  collect,
  flood,
  KIB,
  MIB,
  pattern,
  patternSource,
  standsStill,
} from './rig.ts';

expectNoSocketLeaks();

const NEXT = serve(send(answer('next')));

/** A signal of its own, with a reason that is known again. */
function stopper(): { signal: AbortSignal; reason: Error; stop(): void; listeners(): number } {
  const controller = new AbortController();
  const reason = new Error('own reason');
  const { signal } = controller;
  return {
    signal,
    reason,
    stop: () => controller.abort(reason),
    listeners: () => getEventListeners(signal, 'abort').length,
  };
}

describe.each(PLACES)('$name', ({ shards }) => {
  /** One connection per origin: the next request proceeds only when the aborted one gave its place back. */
  function onePool(): Pool {
    return poolFor({ shards, connections: { perOrigin: 1 } });
  }

  const UNDER_WAY: { state: string; script: Script; upload?: boolean; come: number }[] = [
    { state: 'sending, when the server takes nothing', script: [stopReading()], upload: true, come: -1 },
    { state: 'waiting for the head', script: [request()], come: 1 },
    { state: 'in the middle of the head', script: [request(), send('HTTP/1.1 200 OK\r\nContent-Le')], come: 1 },
    { state: 'behind an interim response', script: [request(), send(head('HTTP/1.1 103 Early Hints'))], come: 1 },
  ];

  test.each(UNDER_WAY)('$state', async ({ script, upload, come }) => {
    const pool = onePool();
    const peer = await rawPeer(script, NEXT);
    const stop = stopper();
    const source = patternSource();
    const init = upload ? ({ method: 'POST', body: source, duplex: 'half' } as const) : {};
    const aborted = pool.fetch(peer.url, { ...init, signal: stop.signal });
    expect(stop.listeners()).toBe(1);
    const connection = await peer.connection(0);
    await eventually(() => (upload ? source.pulls >= 16 : connection.requests.length >= come), 'it is there');
    const next = pool.fetch(peer.url);
    stop.stop();
    expect(stop.listeners()).toBe(0);
    expect(await rejection(aborted)).toBe(stop.reason);
    connection.socket.resume();
    await peer.gone(0);
    expect(await (await next).text()).toBe('next');
    if (upload) await eventually(() => source.returns === 1, 'the source is let go');
    await checkStats(pool, { started: 2, aborted: 1, completed: 1, inFlight: 0 });
  });

  test('in the body: what has come is delivered, then the reason', async () => {
    const pool = onePool();
    const peer = await rawPeer([request(), send(head('HTTP/1.1 200 OK', 'Content-Length: 10'), 'part')], NEXT);
    const stop = stopper();
    const response = await pool.fetch(peer.url, { signal: stop.signal });
    const reader = bodyOf(response).getReader();
    expect(Buffer.from((await reader.read()).value ?? []).toString()).toBe('part');
    const pending = reader.read();
    const next = pool.fetch(peer.url);
    stop.stop();
    expect(await rejection(pending)).toBe(stop.reason);
    expect(await rejection(reader.read())).toBe(stop.reason);
    expect(await rejection(response.trailers)).toBe(stop.reason);
    await peer.gone(0);
    expect(await (await next).text()).toBe('next');
    expect(stop.listeners()).toBe(0);
    await checkStats(pool, { aborted: 1, completed: 1, inFlight: 0 });
  });

  test('in a body that is paused, and one that is collected', async () => {
    const pool = onePool();
    const endless = [request(), send(head('HTTP/1.1 200 OK')), flood()];
    const peer = await rawPeer(endless, endless, NEXT);
    for (const index of [0, 1]) {
      const stop = stopper();
      const response = await pool.fetch(peer.url, { signal: stop.signal });
      const read = index === 0 ? null : rejection(response.arrayBuffer());
      await eventually(async () => {
        const stats = await pool.stats();
        return stats.shards.some(({ running, unreadBytes }) => running === 1 && (read !== null || unreadBytes >= MIB));
      }, 'the body comes');
      stop.stop();
      expect(await (read ?? rejection(response.arrayBuffer()))).toBe(stop.reason);
      await peer.gone(index);
    }
    expect(await (await pool.fetch(peer.url)).text()).toBe('next');
  });

  test('queued: those before and behind it are not disturbed', async () => {
    const pool = onePool();
    const open = deferred();
    const peer = await rawPeer([request(), gate(open.promise), send(answer('first')), ...NEXT]);
    const first = pool.fetch(peer.url);
    const stop = stopper();
    const source = new CountingSource(1, () => 'abc');
    const queued = [
      pool.fetch(peer.url, { signal: stop.signal }),
      pool.fetch(peer.url, { method: 'POST', body: source, duplex: 'half', signal: stop.signal }),
    ];
    const behind = pool.fetch(peer.url);
    const queuedNow = async (): Promise<number> => {
      const stats = await pool.stats();
      return stats.shards.reduce((sum, shard) => sum + shard.queued, 0);
    };
    await eventually(async () => (await queuedNow()) === 3, 'three are queued');
    stop.stop();
    for (const each of queued) expect(await rejection(each)).toBe(stop.reason);
    // The caller knows before the shard does: until then the connection, come free, would go to one of them.
    await eventually(async () => (await queuedNow()) === 1, 'one is queued');
    open.resolve();
    expect(await (await first).text()).toBe('first');
    expect(await (await behind).text()).toBe('next');
    expect(peer.connections).toHaveLength(1);
    expect(peer.requests()).toHaveLength(2);
    await checkStats(pool, { aborted: 2, completed: 2, inFlight: 0 });
  });
});

test('connecting: the socket is closed, and the next one dials anew', async () => {
  const { port, open } = await fullListener();
  const pool = poolFor({ connections: { perOrigin: 1 } });
  const stop = stopper();
  // Those of tests before this one may be closing yet.
  const before = await standsStill(pool, socketsOpen, 'the number of sockets');
  const dialing = pool.fetch(`http://127.0.0.1:${port}/`, { signal: stop.signal });
  await eventually(() => socketsOpen() === before + 1, 'a socket is connecting');
  stop.stop();
  expect(await rejection(dialing)).toBe(stop.reason);
  await eventually(() => socketsOpen() === before, 'it is closed');
  open();
  expect(await (await pool.fetch(`http://127.0.0.1:${port}/`)).text()).toBe('open');
  expect(stop.listeners()).toBe(0);
  await checkStats(pool, { aborted: 1, completed: 1, inFlight: 0 });
});

test('in DNS, with a look-up that hangs', () => {
  const file = fileURLToPath(new URL('fixtures/abort-dns.mjs', import.meta.url));
  const child = spawnSync(process.execPath, [file], { encoding: 'utf8', timeout: 25_000 });
  expect({ status: child.status, stderr: child.stderr }).toEqual({ status: 0, stderr: '' });
  expect(JSON.parse(child.stdout)).toEqual({
    reasons: [true, true],
    listeners: 0,
    served: 'ok',
    counts: { started: 3, completed: 1, failed: 0, aborted: 2, inFlight: 0 },
    late: 'COULDNT_RESOLVE',
  });
});

describe('at the end', () => {
  const pool = new Pool({ shards: 1 });
  afterAll(() => pool.close());

  test('just ended: the body that has come is whole, and the signal has lost its listener', async () => {
    const peer = await rawPeer(serve(send(answer('whole'))));
    const stop = stopper();
    const response = await pool.fetch(peer.url, { signal: stop.signal });
    expect(stop.listeners()).toBe(0);
    stop.stop();
    expect(await response.text()).toBe('whole');
  });

  test('aborted before: nothing is sent, and who gives the body hears of it', async () => {
    const peer = await rawPeer(NEXT);
    const reason = new Error('long ago');
    const signal = AbortSignal.abort(reason);
    const source = new CountingSource(1, () => 'abc');
    let cancelled = 0;
    const stream = new ReadableStream({
      cancel: () => {
        cancelled++;
      },
    });
    expect(await rejection(pool.fetch(peer.url, { signal }))).toBe(reason);
    for (const body of [source, stream]) {
      expect(await rejection(pool.fetch(peer.url, { method: 'POST', body, duplex: 'half', signal }))).toBe(reason);
    }
    expect(source).toMatchObject({ pulls: 0, returns: 1 });
    expect(cancelled).toBe(1);
    expect(peer.connections).toHaveLength(0);
  });

  test('raced with the last byte: the whole response or the reason, 200 times', { timeout: 60_000 }, async () => {
    const own = poolFor({ connections: { perOrigin: 4 } });
    const length = 96 * KIB;
    const whole = pattern(length);
    let last: () => void = () => undefined;
    // The test's abort and the server's last byte leave in the same turn, a little apart.
    const script: Script = serve(
      send(head('HTTP/1.1 200 OK', 'Transfer-Encoding: chunked'), `${length.toString(16)}\r\n`, whole.subarray(0, -1)),
      () => last(),
      send(whole.subarray(-1), '\r\n0\r\n\r\n'),
    );
    const peer = await rawPeer(script);
    const outcomes = { whole: 0, reason: 0 };
    for (let round = 0; round < 200; round++) {
      const stop = stopper();
      let turns = round % 8;
      last = () => {
        const wait = (): void => {
          if (turns-- > 0) setImmediate(wait);
          else stop.stop();
        };
        wait();
      };
      try {
        const response = await own.fetch(peer.url, { signal: stop.signal });
        const read = round % 2 === 0 ? response.arrayBuffer() : collect(bodyOf(response));
        checkPattern(new Uint8Array(await read), length);
        outcomes.whole++;
      } catch (error) {
        expect(error).toBe(stop.reason);
        outcomes.reason++;
      }
      expect(stop.listeners()).toBe(0);
    }
    expect(outcomes.whole + outcomes.reason).toBe(200);
    expect(outcomes.reason).toBeGreaterThan(0);
    await checkStats(own, { started: 200, completed: outcomes.whole, aborted: outcomes.reason, inFlight: 0 });
    expect(await (await own.fetch(peer.url)).arrayBuffer()).toHaveProperty('byteLength', length);
  });
});

describe('one signal', () => {
  test('of a thousand requests: one listener, all reject with the same reason, none is left', async () => {
    const pool = poolFor({ shards: 2, connections: { perOrigin: 10 } });
    const peer = await rawPeer([request()]);
    const stop = stopper();
    const all = Array.from({ length: 1000 }, () => rejection(pool.fetch(peer.url, { signal: stop.signal })));
    expect(stop.listeners()).toBe(1);
    await eventually(async () => {
      const stats = await pool.stats();
      return stats.shards.reduce((sum, shard) => sum + shard.queued, 0) === 990;
    }, 'all but ten are queued');
    stop.stop();
    for (const reason of await Promise.all(all)) expect(reason).toBe(stop.reason);
    expect(stop.listeners()).toBe(0);
    // The callers know before the shards do, and the server may not have accepted yet what was closed already.
    await eventually(async () => {
      const { shards } = await pool.stats();
      return shards.every(({ running, queued, connections }) => running + queued + connections === 0);
    }, 'nothing is left in any shard');
    await peer.quiet();
    await checkStats(pool, { started: 1000, aborted: 1000, inFlight: 0 });
  });

  test('of requests one after the other: the listener comes and goes with them', async () => {
    const pool = poolFor();
    const peer = await rawPeer(NEXT);
    const stop = stopper();
    for (let count = 0; count < 50; count++) {
      const answered = pool.fetch(peer.url, { signal: stop.signal });
      expect(stop.listeners()).toBe(1);
      await (await answered).text();
      expect(stop.listeners()).toBe(0);
    }
    expect(peer.connections).toHaveLength(1);
  });

  test('of two pools, and of requests that a listener of the caller starts', async () => {
    const pools = [poolFor(), poolFor({ shards: 0 })];
    const peer = await rawPeer([request()]);
    const stop = stopper();
    const waiting = pools.map((pool) => rejection(pool.fetch(peer.url, { signal: stop.signal })));
    expect(stop.listeners()).toBe(2);
    const started: Promise<unknown>[] = [];
    stop.signal.addEventListener('abort', () => {
      for (const pool of pools) started.push(rejection(pool.fetch(peer.url, { signal: stop.signal })));
    });
    stop.stop();
    expect(await Promise.all(waiting)).toEqual([stop.reason, stop.reason]);
    expect(await Promise.all(started)).toEqual([stop.reason, stop.reason]);
    expect(peer.connections.length).toBeLessThanOrEqual(2);
  });

  test('its reason may be anything', async () => {
    const pool = poolFor();
    const peer = await rawPeer([request()]);
    for (const reason of [null, 0, 'text', undefined]) {
      const controller = new AbortController();
      const waiting = rejection(pool.fetch(peer.url, { signal: controller.signal }));
      controller.abort(reason);
      const seen = await waiting;
      if (reason === undefined) expect(seen).toMatchObject({ name: 'AbortError' });
      else expect(seen).toBe(reason);
    }
    const error = await rejection(pool.fetch(peer.url, { signal: AbortSignal.timeout(20) }));
    expect(error).toMatchObject({ name: 'TimeoutError' });
  });
});

/** Listens in a thread that sleeps, behind a queue that is full: connecting takes until `open()`; then everybody is answered. */
async function fullListener(): Promise<{ port: number; open(): void }> {
  const sleeping = new Int32Array(new SharedArrayBuffer(4));
  const worker = new Worker(
    `const net = require('node:net');
     const { parentPort, workerData } = require('node:worker_threads');
     const server = net.createServer((socket) => {
       socket.on('error', () => undefined);
       socket.on('data', () => socket.end('HTTP/1.1 200 OK\\r\\nContent-Length: 4\\r\\n\\r\\nopen'));
     });
     server.listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
       parentPort.postMessage(server.address().port);
       setImmediate(() => Atomics.wait(workerData, 0, 0));
     });`,
    { eval: true, workerData: sleeping },
  );
  const fillers: net.Socket[] = [];
  const open = (): void => {
    for (const filler of fillers) filler.destroy();
    Atomics.store(sleeping, 0, 1);
    Atomics.notify(sleeping, 0);
  };
  onTestFinished(async () => {
    open();
    await worker.terminate();
  });
  const [port] = (await once(worker, 'message')) as [number];
  for (;;) {
    const filler = net.connect(port, '127.0.0.1').on('error', () => undefined);
    fillers.push(filler);
    try {
      await once(filler, 'connect', { signal: AbortSignal.timeout(500) });
    } catch {
      // The time may have been this thread's own: what has connected meanwhile tells so in a turn.
      await delay(20);
      if (filler.connecting) return { port, open };
    }
  }
}
