/** `pool.warm`: connections opened ahead of their requests. */

import { setTimeout as delay } from 'node:timers/promises';
import type { Pool } from 'shardfetch';
import { describe, expect, test } from 'vitest';
import { ROOT, serve as serveSecure } from '../tls/rig.ts';
import {
  checkFailure,
  checkRefusal,
  checkStats,
  eventually,
  expectNoSocketLeaks,
  PLACES,
  poolFor,
  rejection,
} from '../wire/checks.ts';
import { answer, closedPort, deferred, fin, gate, rawPeer, request, send, serve } from '../wire/raw-peer.ts';

expectNoSocketLeaks();

const idlePerShard = async (pool: Pool): Promise<number[]> => (await pool.stats()).shards.map(({ idle }) => idle);

describe.each(PLACES.slice(0, 2))('$name', ({ shards }) => {
  test('they lie idle until requests use them, and are not opened again', async () => {
    const peer = await rawPeer(serve(send(answer('ok'))));
    const pool = poolFor({ shards });
    expect(await pool.warm(`${peer.origin}/any/path`, 3)).toBe(3);
    expect(await idlePerShard(pool)).toEqual([3]);
    await peer.connection(2);
    expect(peer.connections).toHaveLength(3);
    const responses = await Promise.all([1, 2, 3].map(() => pool.fetch(peer.url)));
    for (const response of responses) {
      expect(await response.text()).toBe('ok');
      expect(response.connection.reused).toBe(true);
      expect(response.timings.connect).toBeGreaterThanOrEqual(0);
    }
    expect(peer.connections).toHaveLength(3);
    expect(peer.requests()).toHaveLength(3);
    await checkStats(pool, { failed: 0, inFlight: 0 });
  });

  test('https: the handshake is done', async () => {
    const server = await serveSecure('good');
    const pool = poolFor({ shards, tls: { ca: ROOT } });
    const init = { connectTo: '127.0.0.1' };
    expect(await pool.warm(`https://good.test:${server.port}/`, 2, init)).toBe(2);
    await eventually(() => server.sockets.length === 2, 'both handshakes');
    const response = await pool.fetch(`https://good.test:${server.port}/`, init);
    expect(await response.text()).toBe('ok');
    expect(response.connection).toMatchObject({ reused: true, tls: { verified: true } });
    expect(server.accepted).toBe(2);
  });

  test('no more than perOrigin and total allow, which is no failure', async () => {
    const peer = await rawPeer(serve(send(answer('ok'))));
    const pool = poolFor({ shards, connections: { perOrigin: 4 } });
    expect(await pool.warm(peer.origin, 10)).toBe(4);
    expect(await pool.warm(peer.origin, 10)).toBe(0);
    await peer.connection(3);
    expect(peer.connections).toHaveLength(4);
    const few = poolFor({ shards, connections: { total: 2 } });
    const other = await rawPeer(serve(send(answer('ok'))));
    expect(await few.warm(peer.origin)).toBe(1);
    expect(await few.warm(other.origin, 5)).toBe(1);
    // A request gets by all the same.
    expect(await (await few.fetch((await rawPeer(serve(send(answer('third'))))).url)).text()).toBe('third');
  });

  test('a request that waits for a connection gets it', async () => {
    const open = deferred();
    const peer = await rawPeer(
      [request(), gate(open.promise), send(answer('slow')), request()],
      serve(send(answer('ok'))),
    );
    const pool = poolFor({ shards, connections: { perOrigin: 2 } });
    const slow = pool.fetch(peer.url);
    await peer.connection(0);
    expect(await pool.warm(peer.origin, 2)).toBe(1);
    expect(await (await pool.fetch(peer.url)).text()).toBe('ok');
    expect(peer.connections).toHaveLength(2);
    open.resolve();
    expect(await (await slow).text()).toBe('slow');
  });

  test('idleMs ends them, and so does their server; a request that meets the latter is sent once more', async () => {
    const peer = await rawPeer(serve(send(answer('ok'))));
    const pool = poolFor({ shards, connections: { idleMs: 150 } });
    expect(await pool.warm(peer.origin, 2)).toBe(2);
    // The peer may take them later than they end.
    await peer.connection(1);
    await peer.quiet();
    expect(peer.connections).toHaveLength(2);
    const closing = await rawPeer([request(), fin()], serve(send(answer('again'))));
    const another = poolFor({ shards });
    expect(await another.warm(closing.origin)).toBe(1);
    expect(await (await another.fetch(closing.url)).text()).toBe('again');
    expect(closing.connections).toHaveLength(2);
  });

  test('rejects as fetch does where none could be opened', async () => {
    const pool = poolFor({ shards });
    const port = await closedPort();
    const error = await rejection(pool.warm(`http://127.0.0.1:${port}`, 3));
    checkFailure(error, { code: 'COULDNT_CONNECT', message: 'fetch failed', phase: 'connect', errno: 'ECONNREFUSED' });
    await checkStats(pool, { failed: 3, inFlight: 0 });
    const controller = new AbortController();
    controller.abort(new Error('not any more'));
    expect(await rejection(pool.warm('http://127.0.0.1:1', 1, { signal: controller.signal }))).toBe(
      controller.signal.reason,
    );
    await pool.close();
    checkFailure(await rejection(pool.warm(`http://127.0.0.1:${port}`)), {
      code: 'POOL_CLOSED',
      message: 'fetch failed',
    });
  });
});

test('they are spread as requests are', async () => {
  const peer = await rawPeer(serve(send(answer('ok'))));
  const pool = poolFor({ shards: 2, connections: { perOrigin: 8 } });
  expect(await pool.warm(peer.origin, 8)).toBe(8);
  expect(await idlePerShard(pool)).toEqual([4, 4]);
});

test.each([
  ['count', 'http://127.0.0.1:1', 0, undefined, {}],
  ['count', 'http://127.0.0.1:1', 1.5, undefined, {}],
  ['input', 'nowhere', 1, undefined, {}],
  ['init.method', 'http://127.0.0.1:1', 1, { method: 'POST' }, {}],
  ['connections.reuse', 'http://127.0.0.1:1', 1, undefined, { connections: { reuse: false } }],
])('%s is refused: %s %s %o', async (limit, origin, count, init, options) => {
  const pool = poolFor({ shards: 0, ...options });
  checkRefusal(await rejection(pool.warm(origin, count, init as object)), limit);
});

test('a pool closes while connections are being opened', async () => {
  const peer = await rawPeer(serve(send(answer('ok'))));
  const pool = poolFor({ shards: 1 });
  const warming = pool.warm(peer.origin, 2);
  await Promise.all([warming, pool.close()]);
  expect(await warming).toBe(2);
  await peer.connection(1);
  await peer.quiet();
  await delay(0);
});
