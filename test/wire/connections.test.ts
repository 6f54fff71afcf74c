/** Connections: reuse, limits, queues, the one safe retry, and what may not be used again. */

import { Pool } from 'shardfetch';
import { afterAll, describe, expect, test } from 'vitest';
import {
  checkElsewhere,
  checkFailure,
  checkStats,
  eventually,
  expectNoSocketLeaks,
  PLACES,
  poolFor,
  rejection,
} from './checks.ts';
import {
  answer,
  bytes,
  deferred,
  fin,
  gate,
  head,
  rawPeer,
  request,
  reset,
  type Script,
  type Step,
  send,
  serve,
  wait,
} from './raw-peer.ts';

expectNoSocketLeaks();

describe.each(PLACES)('reuse, $name', ({ shards }) => {
  const pool = new Pool({ shards });
  afterAll(() => pool.close());

  test('one connection for requests one after the other', async () => {
    const peer = await rawPeer(serve(send(answer('again'))));
    for (let count = 0; count < 20; count++) {
      const response = await pool.fetch(peer.url, count % 2 === 0 ? {} : { method: 'POST', body: 'x' });
      expect(await response.text()).toBe('again');
      expect(response.connection.reused).toBe(count > 0);
    }
    expect(peer.connections).toHaveLength(1);
    expect(peer.requests()).toHaveLength(20);
    await checkStats(pool, { inFlight: 0, failed: 0 });
  });

  test.each([
    ['timeout=1', 3],
    ['timeout=5, max=1', 1],
  ])('Keep-Alive: %s: requests one after the other take %i connections', async (value, connections) => {
    const response = `${head('HTTP/1.1 200 OK', `Keep-Alive: ${value}`, 'Content-Length: 2')}ok`;
    const peer = await rawPeer(serve(send(response)));
    for (let count = 0; count < 3; count++) expect(await (await pool.fetch(peer.url)).text()).toBe('ok');
    expect(peer.connections).toHaveLength(connections);
  });

  test('freshConnect takes no connection that served others, forbidReuse leaves none', async () => {
    const peer = await rawPeer(serve(send(answer('ok'))));
    const fetched = async (init: object): Promise<boolean> => {
      const response = await pool.fetch(peer.url, init);
      await response.text();
      return response.connection.reused;
    };
    expect(await fetched({})).toBe(false);
    expect(await fetched({ freshConnect: true })).toBe(false);
    expect(peer.connections).toHaveLength(2);
    expect(await fetched({ forbidReuse: true })).toBe(true);
    expect(await fetched({ forbidReuse: true, method: 'POST', body: 'x', timeouts: { headMs: 9_999 } })).toBe(true);
    expect(await fetched({ forbidReuse: true, method: 'POST', body: new Blob(['x']) })).toBe(false);
    expect(await fetched({})).toBe(false);
    expect(peer.connections).toHaveLength(4);
  });

  test('connections.reuse: false gives each request a connection, unless it says otherwise', async () => {
    const own = new Pool({ shards, connections: { reuse: false } });
    const peer = await rawPeer(serve(send(answer('ok'))));
    for (let count = 1; count <= 5; count++) {
      const response = await own.fetch(peer.url);
      expect(await response.text()).toBe('ok');
      expect(response.connection.reused).toBe(false);
      expect(peer.connections).toHaveLength(count);
    }
    await (await own.fetch(peer.url, { forbidReuse: false })).text();
    // The connection that was kept is for who asks for it.
    expect((await own.fetch(peer.url, { idempotent: true })).connection.reused).toBe(false);
    expect((await own.fetch(peer.url, { freshConnect: false })).connection.reused).toBe(true);
    await own.close();
  });

  test.each([
    { what: 'Connection: close', response: answer('x', 'Connection: close'), kept: false },
    { what: 'close among other options', response: answer('x', 'Connection: foo, Close'), kept: false },
    { what: 'HTTP/1.0', response: 'HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx', kept: false },
    {
      what: 'HTTP/1.0 with keep-alive',
      response: 'HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx',
      kept: true,
    },
    { what: 'HTTP/1.1 with keep-alive', response: answer('x', 'Connection: Keep-Alive'), kept: true },
  ])('$what: kept $kept', async ({ response, kept }) => {
    const peer = await rawPeer(serve(send(response)));
    await (await pool.fetch(peer.url)).text();
    if (!kept) await peer.gone(0);
    const second = await pool.fetch(peer.url);
    expect(second.connection.reused).toBe(kept);
    expect(peer.connections).toHaveLength(kept ? 1 : 2);
  });

  test('FIN behind a whole response: the response counts, the connection does not', async () => {
    const peer = await rawPeer([request(), send(answer('last')), fin()], serve(send(answer('next'))));
    expect(await (await pool.fetch(peer.url)).text()).toBe('last');
    await peer.gone(0);
    const next = await pool.fetch(peer.url);
    expect(await next.text()).toBe('next');
    expect(next.connection.reused).toBe(false);
  });

  test('500 in flight, 10 connections: never more, and all complete', async () => {
    const narrow = poolFor({ shards, connections: { perOrigin: 10 } });
    const peer = await rawPeer(serve(wait(1), send(answer('served'))));
    const texts = await Promise.all(Array.from({ length: 500 }, async () => (await narrow.fetch(peer.url)).text()));
    expect(texts.every((text) => text === 'served')).toBe(true);
    expect(peer.openMax).toBeLessThanOrEqual(10);
    expect(peer.connections).toHaveLength(10);
    expect(peer.requests()).toHaveLength(500);
    const stats = await checkStats(narrow, { started: 500, completed: 500, inFlight: 0 });
    expect(stats.shards.reduce((sum, shard) => sum + shard.reused, 0)).toBe(490);
  });
});

describe('limits', () => {
  test('3 connections over 2 shards: never more, and both shards work', async () => {
    const pool = poolFor({ shards: 2, connections: { perOrigin: 3 } });
    const peer = await rawPeer(serve(wait(1), send(answer('served'))));
    const shards = await Promise.all(
      Array.from({ length: 300 }, async () => {
        const response = await pool.fetch(peer.url);
        await response.text();
        return response.connection.shard;
      }),
    );
    expect(peer.openMax).toBeLessThanOrEqual(3);
    expect(new Set(shards).size).toBe(2);
    await checkStats(pool, { completed: 300, inFlight: 0 });
  });

  test('a total over several origins; idle connections make room', async () => {
    const pool = poolFor({ connections: { total: 4 } });
    const peers = await Promise.all(Array.from({ length: 8 }, () => rawPeer(serve(wait(1), send(answer('served'))))));
    const urls = peers.map(({ url }) => url);
    const texts = await Promise.all(
      Array.from({ length: 400 }, async (_, at) => (await pool.fetch(urls[at % 8] as string)).text()),
    );
    expect(texts).toEqual(Array(400).fill('served'));
    const stats = await checkStats(pool, { completed: 400, inFlight: 0, failed: 0 });
    expect(stats.shards[0]?.connections).toBeLessThanOrEqual(4);
    for (const peer of peers) expect(peer.requests()).toHaveLength(50);
  });

  test('a total that is all taken: others wait, and are served when a slot comes free', async () => {
    const pool = poolFor({ connections: { total: 2 } });
    const free = deferred();
    const busy = await rawPeer(serve(gate(free.promise), send(answer('busy'))));
    const other = await rawPeer(serve(send(answer('other'))));
    const held = [pool.fetch(busy.url), pool.fetch(busy.url)];
    await busy.connection(1);
    const waiting = pool.fetch(other.url);
    await eventually(async () => (await pool.stats()).shards[0]?.queued === 1, 'it waits');
    expect(other.connections).toHaveLength(0);
    free.resolve();
    expect(await (await waiting).text()).toBe('other');
    for (const response of await Promise.all(held)) expect(await response.text()).toBe('busy');
    const { shards } = await checkStats(pool, { completed: 3, inFlight: 0 });
    expect(shards[0]?.connections).toBeLessThanOrEqual(2);
  });

  test('idle connections are closed when their time is over', async () => {
    const pool = poolFor({ connections: { idleMs: 50 } });
    const peer = await rawPeer(serve(send(answer('x'))));
    await (await pool.fetch(peer.url)).text();
    await peer.gone(0);
    expect((await pool.fetch(peer.url)).connection.reused).toBe(false);
    await peer.gone(1);
  });

  test('timeouts.queueMs: QUEUE_TIMEOUT, and who waits longer gets the connection', async () => {
    const pool = poolFor({ connections: { perOrigin: 1 } });
    const free = deferred();
    const peer = await rawPeer(serve(gate(free.promise), send(answer('served'))));
    const first = pool.fetch(peer.url);
    await peer.connection(0);
    const patient = pool.fetch(peer.url);
    const error = await rejection(pool.fetch(peer.url, { timeouts: { queueMs: 50 } }));
    checkFailure(error, { code: 'QUEUE_TIMEOUT', message: 'fetch failed', limit: 'timeouts.queueMs', phase: 'queue' });
    free.resolve();
    expect(await (await first).text()).toBe('served');
    const response = await patient;
    expect(await response.text()).toBe('served');
    expect(response.timings.queued).toBeGreaterThan(40);
    expect(peer.connections).toHaveLength(1);
    expect(peer.requests()).toHaveLength(2);
    await checkStats(pool, { started: 3, completed: 2, failed: 1, inFlight: 0 });
  });

  test('timeouts.totalMs acts in the queue too', async () => {
    const pool = poolFor({ connections: { perOrigin: 1 } });
    const free = deferred();
    const peer = await rawPeer([request(), gate(free.promise), send(answer('held'))]);
    const first = pool.fetch(peer.url, { timeouts: { totalMs: 25_000 } });
    await peer.connection(0);
    const error = await rejection(pool.fetch(peer.url, { timeouts: { totalMs: 50 } }));
    checkFailure(error, { code: 'TOTAL_TIMEOUT', message: 'fetch failed', limit: 'timeouts.totalMs', phase: 'queue' });
    // Who holds the connection has a clock of its own; that this one runs out too is in failures.test.ts.
    free.resolve();
    expect(await (await first).text()).toBe('held');
  });

  test('connections.queueLength: QUEUE_FULL at once, and the others are served', async () => {
    const pool = poolFor({ connections: { perOrigin: 1, queueLength: 3 } });
    const free = deferred();
    const peer = await rawPeer(serve(gate(free.promise), send(answer('served'))));
    const first = pool.fetch(peer.url);
    await peer.connection(0);
    const waiting = Array.from({ length: 3 }, () => pool.fetch(peer.url));
    for (let count = 0; count < 2; count++) {
      checkFailure(await rejection(pool.fetch(peer.url)), {
        code: 'QUEUE_FULL',
        message: 'fetch failed',
        limit: 'connections.queueLength',
        phase: 'queue',
      });
    }
    await checkStats(pool, { inFlight: 4, failed: 2 });
    // A full queue is in nobody's way who need not wait.
    await checkElsewhere(pool);
    free.resolve();
    for (const response of await Promise.all([first, ...waiting])) expect(await response.text()).toBe('served');
    await checkStats(pool, { started: 7, completed: 5, failed: 2, inFlight: 0 });
  });

  test('a slot whose request failed goes to the next in the queue', async () => {
    const pool = poolFor({ connections: { perOrigin: 1 } });
    const peer = await rawPeer(
      [request(), wait(30), reset()],
      [request(), send('garbage')],
      serve(send(answer('served'))),
    );
    const outcomes = await Promise.allSettled(
      Array.from({ length: 5 }, async () => (await pool.fetch(peer.url)).text()),
    );
    expect(outcomes.map(({ status }) => status)).toEqual([
      'rejected',
      'rejected',
      'fulfilled',
      'fulfilled',
      'fulfilled',
    ]);
    await checkStats(pool, { completed: 3, failed: 2, inFlight: 0 });
  });
});

/** Answers one request, then does this when the next has come. */
function thenDies(...steps: Step[]): Script {
  return [request(), send(answer('first')), ...steps];
}

const CLEAN = serve(send(answer('second')));

describe.each(PLACES)('a connection that dies between requests, $name', ({ shards }) => {
  const pool = new Pool({ shards });
  afterAll(() => pool.close());

  test.each([
    { what: 'FIN', steps: [fin()] },
    { what: 'stray bytes', steps: [wait(20), send(answer('poison'))] },
    { what: 'one stray byte', steps: [wait(20), send('\n')] },
  ])('$what on an idle one: the next request uses a new one', async ({ steps }) => {
    const peer = await rawPeer(thenDies(...steps), CLEAN);
    expect(await (await pool.fetch(peer.url)).text()).toBe('first');
    await peer.gone(0);
    const response = await pool.fetch(peer.url, { method: 'POST', body: 'never sent twice' });
    expect(await response.text()).toBe('second');
    expect(response.connection.reused).toBe(false);
    expect(peer.connections).toHaveLength(2);
    await checkStats(pool, { failed: 0, inFlight: 0 });
  });

  test('RST on an idle one: the next request uses a new one', async () => {
    // A pool of its own: that it has dropped the connection shows in its counts only.
    const own = poolFor({ shards });
    const peer = await rawPeer(thenDies(wait(20), reset()), CLEAN);
    expect(await (await own.fetch(peer.url)).text()).toBe('first');
    await eventually(
      async () => (await own.stats()).shards.every(({ connections }) => connections === 0),
      'the connection is dropped',
    );
    const response = await own.fetch(peer.url, { method: 'POST', body: 'never sent twice' });
    expect(await response.text()).toBe('second');
    await checkStats(own, { failed: 0, inFlight: 0 });
  });

  test.each([
    { what: 'FIN', steps: [request(), fin()] },
    { what: 'RST', steps: [request(), reset()] },
    { what: 'FIN in the middle of the request', steps: [bytes(10), fin()] },
  ])('$what as the next one comes: sent again, once, unseen', async ({ steps }) => {
    for (const method of ['GET', 'HEAD', 'PUT', 'DELETE', 'OPTIONS']) {
      const peer = await rawPeer(thenDies(...steps), CLEAN);
      expect(await (await pool.fetch(peer.url)).text()).toBe('first');
      const response = await pool.fetch(peer.url, method === 'PUT' ? { method, body: 'whole again' } : { method });
      expect(response.status).toBe(200);
      expect(response.connection.reused).toBe(false);
      expect(peer.connections).toHaveLength(2);
      expect(peer.connections[1]?.requests).toEqual([expect.stringMatching(new RegExp(`^${method} / HTTP/1.1\r\n`))]);
      if (method === 'PUT') expect(peer.connections[1]?.requests[0]).toMatch(/\r\n\r\nwhole again$/);
      const { queued, dns, connect, sent, firstByte, end } = response.timings;
      const order = [0, queued, dns, connect, sent, firstByte];
      expect(order).toEqual([...order].sort((a, b) => a - b));
      expect(end === -1 || end >= firstByte).toBe(true);
    }
  });

  test.each(['POST', 'PATCH'])('%s that may have been seen is not sent again', async (method) => {
    for (const death of [fin(), reset()]) {
      const peer = await rawPeer(thenDies(request(), death), CLEAN);
      expect(await (await pool.fetch(peer.url)).text()).toBe('first');
      const error = await rejection(pool.fetch(peer.url, { method, body: 'once' }));
      checkFailure(error, { code: 'CONNECTION_LOST', message: 'fetch failed' });
      expect(peer.connections).toHaveLength(1);
      expect(await (await pool.fetch(peer.url)).text()).toBe('second');
      expect(peer.requests().filter((sent) => sent.startsWith(method))).toHaveLength(1);
    }
  });

  test('a response that has begun is never asked for again', async () => {
    const peer = await rawPeer(thenDies(request(), send('H'), fin()), CLEAN);
    await (await pool.fetch(peer.url)).text();
    checkFailure(await rejection(pool.fetch(peer.url)), { code: 'CONNECTION_LOST', message: 'fetch failed' });
    expect(peer.connections).toHaveLength(1);
  });

  test('a retry that dies too is a failure: there is no second one', async () => {
    const peer = await rawPeer(thenDies(request(), fin()), [request(), fin()], CLEAN);
    await (await pool.fetch(peer.url)).text();
    checkFailure(await rejection(pool.fetch(peer.url)), { code: 'CONNECTION_LOST', message: 'fetch failed' });
    expect(peer.connections).toHaveLength(2);
    expect(peer.requests()).toHaveLength(3);
  });

  test('a fresh connection that dies is a failure, for any method', async () => {
    for (const method of ['GET', 'POST']) {
      const peer = await rawPeer([request(), fin()], CLEAN);
      const error = await rejection(pool.fetch(peer.url, { method }));
      checkFailure(error, { code: 'CONNECTION_LOST', message: 'fetch failed' });
      expect(peer.connections).toHaveLength(1);
    }
  });
});

describe('the retry among others', () => {
  test('with one connection per origin it waits for nobody and nobody is lost', async () => {
    const pool = poolFor({ connections: { perOrigin: 1 } });
    const peer = await rawPeer(thenDies(request(), fin()), CLEAN);
    await (await pool.fetch(peer.url)).text();
    const texts = await Promise.all(Array.from({ length: 5 }, async () => (await pool.fetch(peer.url)).text()));
    expect(texts).toEqual(Array(5).fill('second'));
    await checkStats(pool, { completed: 6, failed: 0, inFlight: 0 });
  });

  test('twenty idle connections die at once as twenty GETs come', async () => {
    const pool = poolFor();
    const allThere = deferred();
    // Each of the twenty serves one request, and dies with the second.
    const dying: Script = [request(), gate(allThere.promise), send(answer('first')), request(), reset()];
    const peer = await rawPeer(...Array(20).fill(dying), CLEAN);
    const begun = Array.from({ length: 20 }, () => pool.fetch(peer.url));
    await peer.connection(19);
    allThere.resolve();
    await Promise.all(begun.map(async (response) => (await response).text()));
    const texts = await Promise.all(Array.from({ length: 20 }, async () => (await pool.fetch(peer.url)).text()));
    expect(texts).toEqual(Array(20).fill('second'));
    await checkStats(pool, { completed: 40, failed: 0, inFlight: 0 });
  });

  test('a server that ends every connection with its answer is served without a failure', async () => {
    const pool = poolFor({ connections: { perOrigin: 4 } });
    const peer = await rawPeer([request(), send(answer('one each')), fin()]);
    const texts = await Promise.all(Array.from({ length: 100 }, async () => (await pool.fetch(peer.url)).text()));
    expect(texts).toEqual(Array(100).fill('one each'));
    await checkStats(pool, { completed: 100, failed: 0, inFlight: 0 });
  });

  test('a head in pieces on a reused connection is not a death', async () => {
    const pool = poolFor();
    const peer = await rawPeer(serve(send(head('HTTP/1.1 103 Hints')), wait(5), send(answer('x'))));
    for (let count = 0; count < 3; count++) expect(await (await pool.fetch(peer.url)).text()).toBe('x');
    expect(peer.connections).toHaveLength(1);
  });
});
