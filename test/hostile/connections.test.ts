/** D: which connection is used again, what is sent again, and how a connection ends. By case. */

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Pool } from 'shardfetch';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkFailure, checkStats, eventually, expectNoSocketLeaks, poolFor, rejection } from '../wire/checks.ts';
import {
  answer,
  bytes,
  deferred,
  fin,
  gate,
  head,
  type Peer,
  rawPeer,
  request,
  reset,
  type Script,
  type Step,
  send,
  serve,
  startPeer,
  stopReading,
} from '../wire/raw-peer.ts';
import { checkNothingIsLeft, descriptorCount } from './checks.ts';
import { pausedPeer } from './paused-peer.ts';

expectNoSocketLeaks();

const OK = head('HTTP/1.1 200 OK', 'Content-Length: 0');
const POISON = answer('poison');

describe('60: what came between the last response and the next request', () => {
  test.each([
    { what: 'a poison response', bytes: POISON },
    { what: 'a CRLF', bytes: '\r\n' },
    { what: 'FIN', bytes: '', end: 'fin' as const },
    { what: 'RST', bytes: '', end: 'rst' as const },
    { what: 'a poison response and FIN', bytes: POISON, end: 'fin' as const },
  ])('$what is found before the connection is taken', async ({ bytes: sent, end }) => {
    const peer = await pausedPeer(answer('ok'));
    const pool = poolFor({ shards: 0, connections: { perOrigin: 1 } });
    for (let round = 0; round < 10; round++) {
      expect(await (await pool.fetch(peer.url)).text()).toBe('ok');
      // This thread stands still meanwhile, and asks before it has looked at its sockets.
      peer.act(sent, end);
      // All but the first go on with the connection that the first opens.
      const [first, ...others] = await Promise.all([1, 2, 3].map(() => pool.fetch(peer.url)));
      expect(first?.connection.reused).toBe(false);
      expect(await first?.text()).toBe('ok');
      for (const other of others) expect(await other.text()).toBe('ok');
    }
    await checkStats(pool, { failed: 0, inFlight: 0 });
  });

  test('also when the race is a fair one, between threads', async () => {
    const pool = poolFor();
    const peer = await rawPeer(serve(send(answer('ok'))));
    for (let round = 0; round < 200; round++) {
      expect(await (await pool.fetch(peer.url)).text()).toBe('ok');
      // Sent in the turn in which the next request is: it overtakes the request or not, but never becomes its answer unseen.
      const last = peer.connections.at(-1);
      await last?.write('HTTP/1.1 999 Poison\r\nContent-Length: 6\r\n\r\npoison');
      const next = await pool.fetch(peer.url);
      expect([200, next.connection.reused ? 999 : 200]).toContain(next.status);
      await next.text();
    }
  });
});

describe('62 to 66: a reused connection that dies', () => {
  const pool = new Pool({ shards: 1 });
  afterAll(() => pool.close());
  let before = 0;
  beforeAll(async () => {
    await pool.stats();
    before = descriptorCount();
  });

  const FIRST: Step[] = [request(), send(OK), request()];
  const AGAIN: Script = serve(send(head('HTTP/1.1 201 Again', 'Content-Length: 0')));

  async function afterFirst(
    method: string,
    scripts: Script[],
    more: { idempotent?: boolean } = {},
  ): Promise<{ peer: Peer; second: Promise<number> }> {
    const peer = await startPeer('127.0.0.1', scripts);
    expect((await pool.fetch(peer.url, { method })).status).toBe(200);
    const second = pool.fetch(peer.url, { method, ...more }).then(({ status }) => status);
    return { peer, second };
  }

  const chunkedBody: Step = async (connection) => {
    await connection.until((pending) => (pending.endsWith('\r\n0\r\n\r\n') ? true : null));
  };
  const DEATHS = [
    { how: 'FIN', end: fin() },
    { how: 'RST', end: reset() },
  ];
  const each = (methods: string[]): { method: string; how: string; end: Step }[] =>
    methods.flatMap((method) => DEATHS.map((death) => ({ method, ...death })));

  test.each(each(['GET', 'HEAD', 'PUT', 'DELETE', 'OPTIONS']))('62: $method, $how: sent once more', async (given) => {
    const { peer, second } = await afterFirst(given.method, [[...FIRST, given.end], AGAIN]);
    expect(await second).toBe(201);
    expect(peer.connections.map(({ requests }) => requests.length)).toEqual([2, 1]);
    expect(new Set(peer.requests()).size).toBe(1);
    await peer.close();
    await checkNothingIsLeft(pool, before);
  });

  test.each(each(['POST', 'PATCH', 'PURGE']))('63: $method, $how: not sent again', async (given) => {
    const { peer, second } = await afterFirst(given.method, [[...FIRST, given.end], AGAIN]);
    checkFailure(await rejection(second), { code: 'CONNECTION_LOST', message: 'fetch failed' });
    expect(peer.connections).toHaveLength(1);
    await peer.close();
    await checkNothingIsLeft(pool, before);
  });

  test.each(each(['POST', 'PATCH']))(
    '63: $method, $how: sent once more when marked idempotent',
    async ({ method, end }) => {
      const { peer, second } = await afterFirst(method, [[...FIRST, end], AGAIN], { idempotent: true });
      expect(await second).toBe(201);
      expect(peer.connections.map(({ requests }) => requests.length)).toEqual([2, 1]);
      await peer.close();
      await checkNothingIsLeft(pool, before);
    },
  );

  test.each(each(['GET', 'PUT']))(
    '63: $method, $how: not sent again when marked not idempotent',
    async ({ method, end }) => {
      const { peer, second } = await afterFirst(method, [[...FIRST, end], AGAIN], { idempotent: false });
      checkFailure(await rejection(second), { code: 'CONNECTION_LOST', message: 'fetch failed' });
      expect(peer.connections).toHaveLength(1);
      await peer.close();
      await checkNothingIsLeft(pool, before);
    },
  );

  test.each(each(['GET', 'PUT', 'POST']))('64: $method on a fresh connection, $how: not sent again', async (given) => {
    const peer = await startPeer('127.0.0.1', [[request(), given.end], AGAIN]);
    const error = await rejection(pool.fetch(peer.url, { method: given.method }));
    checkFailure(error, { code: 'CONNECTION_LOST', message: 'fetch failed' });
    expect(peer.connections).toHaveLength(1);
    await peer.close();
    await checkNothingIsLeft(pool, before);
  });

  test.each([
    { what: 'one byte', sent: 'H' },
    { what: 'an interim response', sent: head('HTTP/1.1 103 Early Hints') },
    { what: 'a part of a head', sent: 'HTTP/1.1 200 OK\r\nContent-Le' },
  ])('65: $what came first: not sent again', async ({ sent }) => {
    for (const { end } of DEATHS.slice(0, 1)) {
      const { peer, second } = await afterFirst('GET', [[...FIRST, send(sent), end], AGAIN]);
      checkFailure(await rejection(second), { code: 'CONNECTION_LOST', message: 'fetch failed' });
      expect(peer.connections).toHaveLength(1);
      await peer.close();
    }
    await checkNothingIsLeft(pool, before);
  });

  test.each(each(['GET']))('66: the second time fails too, $how: at most one', async ({ end }) => {
    const { peer, second } = await afterFirst('GET', [[...FIRST, end], [request(), end], AGAIN]);
    checkFailure(await rejection(second), { code: 'CONNECTION_LOST', message: 'fetch failed' });
    expect(peer.connections).toHaveLength(2);
    await peer.close();
    await checkNothingIsLeft(pool, before);
  });

  test('67: a body of bytes goes again whole', async () => {
    const body = 'x'.repeat(300_000);
    const peer = await startPeer('127.0.0.1', [[...FIRST, fin()], AGAIN]);
    await pool.fetch(peer.url);
    expect((await pool.fetch(peer.url, { method: 'PUT', body })).status).toBe(201);
    expect(peer.requests().map((sent) => sent.endsWith(`\r\n\r\n${body}`))).toEqual([false, true, true]);
    await peer.close();
    await checkNothingIsLeft(pool, before);
  });

  test('67: a body that was read from a stream cannot go again, and the error says so', async () => {
    const peer = await startPeer('127.0.0.1', [[request(), send(OK), chunkedBody, fin()], AGAIN]);
    await pool.fetch(peer.url);
    async function* body(): AsyncGenerator<string> {
      yield 'x'.repeat(200);
    }
    const error = await rejection(pool.fetch(peer.url, { method: 'PUT', body: body(), duplex: 'half' }));
    checkFailure(error, {
      code: 'CONNECTION_LOST',
      message: 'fetch failed',
      says: /body that was read from a stream cannot be sent again/,
    });
    expect(peer.connections).toHaveLength(1);
    await peer.close();
    await checkNothingIsLeft(pool, before);
  });
});

describe('71: a response that is complete before the request is', () => {
  test.each(['bytes', 'a stream'])('%s: delivered, the upload stopped, the connection closed', async (kind) => {
    const pool = poolFor();
    const peer = await rawPeer([bytes(1000), stopReading(), send(answer('enough'))], serve(send(answer('next'))));
    let cut = 0;
    async function* endless(): AsyncGenerator<Uint8Array> {
      try {
        for (;;) yield new Uint8Array(65_536);
      } finally {
        cut++;
      }
    }
    const body = kind === 'bytes' ? new Uint8Array(20_000_000) : endless();
    const response = await pool.fetch(peer.url, { method: 'POST', body, duplex: 'half' });
    expect(await response.text()).toBe('enough');
    if (kind !== 'bytes') await eventually(() => cut === 1, 'the source hears that nobody reads it');
    (await peer.connection(0)).socket.resume();
    await peer.gone(0);
    const next = await pool.fetch(peer.url);
    expect([await next.text(), next.connection.reused]).toEqual(['next', false]);
    await checkStats(pool, { completed: 2, failed: 0, inFlight: 0 });
  });
});

describe('72: an early 413, then RST, while uploading', () => {
  test.each([
    { size: 0, end: 'rst' as const },
    { size: 100, end: 'rst' as const },
    { size: 100_000, end: 'rst' as const },
    { size: 100, end: 'destroy' as const },
    { size: 100_000, end: 'destroy' as const },
  ])('with a body of $size bytes, $end: delivered, as it had arrived', async ({ size, end }) => {
    const peer = await pausedPeer('');
    const pool = poolFor({ shards: 0 });
    const fetched = pool.fetch(peer.url, { method: 'POST', body: new Uint8Array(30_000_000) });
    await peer.asked;
    // The upload has stopped when nothing of it moves any more.
    let last = -1;
    for (let sent = 0; sent !== last || sent === 0; ) {
      last = sent;
      await new Promise((resolve) => setTimeout(resolve, 30));
      sent = (await pool.stats()).shards[0]?.running ?? 0;
    }
    peer.act(`HTTP/1.1 413 Too Large\r\nContent-Length: ${size}\r\n\r\n${'x'.repeat(size)}`, end);
    const response = await fetched;
    expect(response.status).toBe(413);
    expect((await response.text()).length).toBe(size);
    await checkStats(pool, { completed: 1, failed: 0, inFlight: 0 });
  });
});

describe('73 and 74: bodies that nobody reads', () => {
  test('73: a long rest closes at once, a short one that does not come within a second', async () => {
    const pool = poolFor();
    const sizes = [1_000, 200_000];
    const peers = await Promise.all(
      sizes.map((size) => rawPeer([request(), send(`HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\n\r\nabc`)])),
    );
    const responses = await Promise.all(peers.map(({ url }) => pool.fetch(url)));
    const gone: { size: number; ms: number }[] = [];
    const began = performance.now();
    await Promise.all(responses.map((response) => response.body?.cancel()));
    await Promise.all(
      peers.map(async (peer, at) => {
        await peer.gone(0);
        gone.push({ size: sizes[at] as number, ms: performance.now() - began });
      }),
    );
    // Given up in one turn: what closes at once comes first, however busy the machine is, and the other has its second.
    expect(gone.map(({ size }) => size)).toEqual([200_000, 1_000]);
    expect(gone[1]?.ms).toBeGreaterThanOrEqual(900);
  });

  test.each([10, 100_000, 5_000_000])(
    '73: a body of %i bytes that is cancelled halfway, and stays there',
    async (size) => {
      const pool = poolFor();
      const peer = await rawPeer(
        [request(), send(`HTTP/1.1 200 OK\r\nContent-Length: ${size}\r\n\r\n`, 'x'.repeat(size / 2))],
        serve(send(answer('next'))),
      );
      const response = await pool.fetch(peer.url);
      await response.body?.cancel();
      await peer.gone(0);
      expect(await (await pool.fetch(peer.url)).text()).toBe('next');
      await checkStats(pool, { aborted: 1, completed: 1, inFlight: 0 });
    },
  );

  test('74: a response that is garbage gives its connection back, and is counted', async () => {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const warnings: string[] = [];
    const note = ({ message }: Error): unknown => warnings.push(message);
    process.on('warning', note);
    const pool = poolFor();
    const { unreadBodies } = await pool.stats();
    const never = deferred();
    const peer = await rawPeer([
      request(),
      send('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12'),
      gate(never.promise),
    ]);
    for (let count = 0; count < 3; count++) await forget(pool, peer.url);
    await eventually(async () => {
      collect();
      return (await pool.stats()).unreadBodies === unreadBodies + 3;
    }, 'three unread bodies are counted');
    await peer.quiet();
    process.off('warning', note);
    expect(warnings.filter((text) => text.includes('before its body was read'))).toHaveLength(1);
    await checkStats(pool, { aborted: 3, inFlight: 0 });
  });

  // After 74: the warning comes once per process.
  const ways = ['cancel', 'abort', 'garbage'] as const;
  test.each(ways)('73: a body given up by %s, whose short rest comes: kept, and nobody gets the rest', async (way) => {
    const pool = poolFor();
    const asked = deferred();
    const peer = await rawPeer([
      request(),
      send('HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n', 'x'.repeat(3)),
      gate(asked.promise),
      send('poison'.repeat(9_999), 'xyz'),
      ...serve(send(answer('next'))),
    ]);
    await giveUp(pool, peer.url, way);
    await eventually(async () => (await pool.stats()).shards[0]?.aborted === 1, 'the shard hears of it');
    asked.resolve();
    await eventually(async () => (await pool.stats()).shards[0]?.idle === 1, 'the connection is idle');
    const next = await pool.fetch(peer.url);
    expect([await next.text(), next.connection.reused]).toEqual(['next', true]);
    await checkStats(pool, { aborted: 1, completed: 1, inFlight: 0 });
  });
});

async function giveUp(pool: Pool, url: string, way: 'cancel' | 'abort' | 'garbage'): Promise<void> {
  const controller = new AbortController();
  if (way === 'garbage') {
    setFlagsFromString('--expose-gc');
    const collect = runInNewContext('gc') as () => void;
    const { unreadBodies } = await pool.stats();
    await forget(pool, url);
    await eventually(async () => {
      collect();
      return (await pool.stats()).unreadBodies === unreadBodies + 1;
    }, 'the unread body is counted');
    return;
  }
  const response = await pool.fetch(url, { signal: controller.signal });
  if (way === 'cancel') await response.body?.cancel();
  else controller.abort();
}

/** In a function of its own, so that no frame holds the response. */
async function forget(pool: Pool, url: string): Promise<void> {
  expect((await pool.fetch(url)).status).toBe(200);
}

describe('75: connections are shared by equal origins and no others', () => {
  let one: Peer;
  let two: Peer;
  beforeAll(async () => {
    one = await startPeer('0.0.0.0', [serve(send(answer('ok')))]);
    two = await startPeer('0.0.0.0', [serve(send(answer('ok')))]);
  });
  afterAll(() => Promise.all([one.close(), two.close()]));

  const ORIGINS = ['127.0.0.1', '127.0.0.2', 'localhost'].flatMap((host) => [1, 2].map((port) => ({ host, port })));
  const urlOf = ({ host, port }: { host: string; port: number }): string =>
    `http://${host}:${port === 1 ? one.port : two.port}/`;
  const pairs = ORIGINS.flatMap((a, at) => ORIGINS.slice(at + 1).map((b) => ({ a, b })));

  test.each(pairs)('$a.host:$a.port and $b.host:$b.port', async ({ a, b }) => {
    const pool = poolFor();
    for (const url of [urlOf(a), urlOf(b)]) expect((await pool.fetch(url)).connection.reused).toBe(false);
    for (const url of [urlOf(b), urlOf(a)]) expect((await pool.fetch(url)).connection.reused).toBe(true);
  });

  test('spellings of one origin share; so do requests with Host fields of their own', async () => {
    const pool = poolFor();
    const { port } = one;
    await pool.fetch(`http://127.0.0.1:${port}/`);
    for (const host of ['127.1', '2130706433', '0x7f.1', '0177.0.0.1', '%31%32%37.0.0.1', '１２７.0.0.1']) {
      expect((await pool.fetch(`http://${host}:${port}/?q#f`)).connection.reused, host).toBe(true);
    }
    const named = await pool.fetch(`HTTP://127.0.0.1:${port}/`, { headers: { host: 'other.example' } });
    expect(named.connection.reused).toBe(true);
    await pool.fetch(`http://localhost:${port}/`);
    expect((await pool.fetch(`http://LOCALHOST:${port}/`)).connection.reused).toBe(true);
  });
});

test('76: we never half-close to mark the end of a request', async () => {
  const pool = poolFor();
  const answered = deferred();
  const peer = await rawPeer([request(), gate(answered.promise), send(answer('ok')), ...serve(send(answer('ok')))]);
  const fetched = pool.fetch(peer.url, { method: 'POST', body: 'whole' });
  const connection = await peer.connection(0);
  await eventually(() => connection.requests.length === 1, 'the request is there');
  await (await pool.fetch((await rawPeer(serve(send(answer('x'))))).url)).text();
  expect(connection.isGone).toBe(false);
  answered.resolve();
  expect(await (await fetched).text()).toBe('ok');
  expect((await pool.fetch(peer.url)).connection.reused).toBe(true);
});
