/** `expectContinue` (RFC 9110 §10.1.1) and 421 (§15.5.20): when a body goes, and what is sent once more. */

import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { get, Rig } from '../contract/rig.ts';
import {
  checkElsewhere,
  checkFailure,
  checkRefusal,
  checkStats,
  expectNoSocketLeaks,
  PLACES,
  poolFor,
  rejection,
} from '../wire/checks.ts';
import { answer, bytes, fin, head, rawPeer, request, type Step, send, serve, wait } from '../wire/raw-peer.ts';

expectNoSocketLeaks();

const FIELD = 'expect: 100-continue\r\n';
const CONTINUE = head('HTTP/1.1 100 Continue');

/** Takes a head and leaves the body; what is there of it `afterMs` later is noted. */
function headOnly(noted: string[], afterMs = 50): Step {
  return async (connection) => {
    const all = await connection.until((pending) => (pending.includes('\r\n\r\n') ? pending : null));
    const end = (all ?? '').indexOf('\r\n\r\n') + 4;
    connection.requests.push(connection.pending.slice(0, end));
    connection.pending = connection.pending.slice(end);
    await delay(afterMs);
    noted.push(connection.pending);
  };
}

async function* pieces(...all: string[]): AsyncGenerator<Buffer> {
  for (const piece of all) yield Buffer.from(piece);
}

describe.each(PLACES.slice(0, 2))('$name', ({ shards }) => {
  test('the head goes, the body follows 100, the connection is kept', async () => {
    const early: string[] = [];
    const peer = await rawPeer([
      headOnly(early),
      send(CONTINUE),
      bytes(5),
      send(answer('took it')),
      request(),
      send(answer('next')),
    ]);
    const pool = poolFor({ shards });
    const response = await pool.fetch(peer.url, { method: 'POST', body: 'hello', expectContinue: 20_000 });
    expect([response.status, await response.text()]).toEqual([200, 'took it']);
    expect(early).toEqual(['']);
    const connection = await peer.connection(0);
    expect(connection.requests[0]).toContain(`content-length: 5\r\n${FIELD}\r\n`);
    connection.pending = connection.pending.replace('hello', '');
    expect(await (await pool.fetch(peer.url)).text()).toBe('next');
    expect(peer.connections).toHaveLength(1);
  });

  test('a stream goes in chunks behind 100, not behind 103; another 100 changes nothing', async () => {
    const early: string[] = [];
    const peer = await rawPeer([
      headOnly(early, 0),
      send(head('HTTP/1.1 103 Early Hints', 'Link: <a>')),
      wait(50),
      ({ pending }) => void early.push(pending),
      send(CONTINUE),
      async (connection) => void (await connection.until((all) => (all.endsWith('0\r\n\r\n') ? all : null))),
      send(CONTINUE, answer('ok')),
    ]);
    const response = await poolFor({ shards }).fetch(peer.url, {
      method: 'PUT',
      body: pieces('one', 'two'),
      duplex: 'half',
      expectContinue: 20_000,
    });
    expect(await response.text()).toBe('ok');
    expect(early).toEqual(['', '']);
    expect((await peer.connection(0)).pending).toMatch(/^(3\r\none\r\n3\r\ntwo|6\r\nonetwo)\r\n0\r\n\r\n$/);
  });

  test('hostile/56 a server that is silent gets the body when the wait is over', async () => {
    const early: string[] = [];
    const peer = await rawPeer([headOnly(early, 100), bytes(4), send(answer('late'))]);
    const before = performance.now();
    const pool = poolFor({ shards });
    const response = await pool.fetch(peer.url, { method: 'POST', body: 'body', expectContinue: 1_500 });
    expect(await response.text()).toBe('late');
    expect(performance.now() - before).toBeGreaterThan(1_490);
    expect(early).toEqual(['']);
    expect((await peer.connection(0)).pending).toBe('body');
  });

  test.each([401, 413, 200])('hostile/57 a final %i has the body stay, and the connection close', async (status) => {
    const final = `HTTP/1.1 ${status} X\r\nContent-Length: 2\r\n\r\nno`;
    const peer = await rawPeer([headOnly([], 0), send(final)], serve(send(answer('next'))));
    const pool = poolFor({ shards });
    let asked = false;
    const body = {
      async *[Symbol.asyncIterator]() {
        asked = true;
        yield Buffer.alloc(100_000, 'secret');
      },
    };
    const response = await pool.fetch(peer.url, { method: 'POST', body, duplex: 'half', expectContinue: 20_000 });
    expect([response.status, await response.text()]).toEqual([status, 'no']);
    expect(await (await pool.fetch(peer.url)).text()).toBe('next');
    expect(peer.connections).toHaveLength(2);
    await peer.gone(0);
    expect((await peer.connection(0)).pending).toBe('');
    expect(asked).toBe(true);
    await checkStats(pool, { completed: 2, failed: 0 });
  });

  test('417 has the request sent once more without the field, and its body whole', async () => {
    const refuse = [headOnly([], 0), send(answer('', 'X: y').replace('200 OK', '417 Expectation Failed'))];
    const peer = await rawPeer(refuse, [request(), send(answer('took it'))]);
    const response = await poolFor({ shards }).fetch(peer.url, {
      method: 'POST',
      body: 'hello',
      expectContinue: 20_000,
    });
    expect([response.status, await response.text()]).toEqual([200, 'took it']);
    const [first, second] = peer.requests();
    expect(first).toContain(FIELD);
    expect(second).toBe(`${first?.replace(FIELD, '')}hello`);
    expect(peer.connections).toHaveLength(2);
  });

  test('417 is delivered when it comes again, and when the body is on its way', async () => {
    const refusal = 'HTTP/1.1 417 No\r\nContent-Length: 2\r\n\r\nno';
    const pool = poolFor({ shards });
    const always = await rawPeer([headOnly([], 0), send(refusal)], serve(send(refusal)));
    const init = { method: 'PUT', body: 'hello', expectContinue: 20_000 };
    expect((await pool.fetch(always.url, init)).status).toBe(417);
    expect(always.connections).toHaveLength(2);
    const late = await rawPeer([headOnly([], 0), send(CONTINUE), bytes(5), send(refusal)]);
    expect((await pool.fetch(late.url, init)).status).toBe(417);
    expect(late.connections).toHaveLength(1);
  });

  test('headMs holds while the body waits', async () => {
    const peer = await rawPeer([request()]);
    const pool = poolFor({ shards });
    const init = { method: 'POST', body: 'x', expectContinue: 20_000, timeouts: { headMs: 200 } };
    const error = await rejection(pool.fetch(peer.url, init));
    checkFailure(error, { code: 'HEAD_TIMEOUT', message: 'fetch failed', limit: 'timeouts.headMs' });
    await peer.gone(0);
    await checkElsewhere(pool);
  });

  test('a connection that dies while the body waits: what may be repeated is, on a reused one', async () => {
    const pool = poolFor({ shards });
    const script = [request(), send(answer('')), headOnly([], 0), fin()];
    const peer = await rawPeer(script, script, [headOnly([], 0), send(CONTINUE), bytes(2), send(answer('put'))]);
    await (await pool.fetch(peer.url)).text();
    const failed = pool.fetch(peer.url, { method: 'POST', body: 'hi', expectContinue: 20_000 });
    checkFailure(await rejection(failed), { code: 'CONNECTION_LOST', message: 'fetch failed' });
    await (await pool.fetch(peer.url)).text();
    const again = await pool.fetch(peer.url, {
      method: 'PUT',
      body: pieces('hi'),
      duplex: 'half',
      expectContinue: 20_000,
    });
    expect(await again.text()).toBe('put');
  });

  test('aborted while the body waits, nothing is left', async () => {
    const peer = await rawPeer([request()]);
    const pool = poolFor({ shards });
    const controller = new AbortController();
    const call = pool.fetch(peer.url, { method: 'POST', body: 'x', expectContinue: 20_000, signal: controller.signal });
    await peer.connection(0);
    controller.abort();
    expect(await rejection(call)).toBe(controller.signal.reason);
    await peer.gone(0);
    await checkStats(pool, { aborted: 1, inFlight: 0 });
  });

  test('hostile/68 421 has the request sent once more on another connection, a POST with its body too', async () => {
    const misdirected = answer('wrong').replace('200 OK', '421 Misdirected Request');
    const peer = await rawPeer([request(), send(misdirected)], [request(), send(answer('right'))]);
    const pool = poolFor({ shards });
    const response = await pool.fetch(peer.url, { method: 'POST', body: 'hello' });
    expect([response.status, await response.text()]).toEqual([200, 'right']);
    const [first, second] = peer.requests();
    expect(first?.endsWith('hello')).toBe(true);
    expect(second).toBe(first);
    await peer.gone(0);
    await checkStats(pool, { started: 1, completed: 1 });
  });

  test('hostile/68 a second 421 is delivered, and one to a body that cannot be given again', async () => {
    const misdirected = answer('wrong').replace('200 OK', '421 Misdirected Request');
    const pool = poolFor({ shards });
    const always = await rawPeer(serve(send(misdirected)));
    const response = await pool.fetch(always.url);
    expect([response.status, await response.text()]).toEqual([421, 'wrong']);
    expect(always.connections).toHaveLength(2);
    const once = await rawPeer([headOnly([]), send(misdirected)]);
    const streamed = await pool.fetch(once.url, { method: 'POST', body: pieces('x'), duplex: 'half' });
    expect([streamed.status, await streamed.text()]).toEqual([421, 'wrong']);
    expect(once.connections).toHaveLength(1);
  });
});

test('without content nothing is expected', async () => {
  const peer = await rawPeer(serve(send(answer(''))));
  const pool = poolFor({ shards: 0 });
  for (const init of [{ method: 'POST' }, { method: 'POST', body: '' }, {}]) {
    expect((await pool.fetch(peer.url, { ...init, expectContinue: 10_000 })).status).toBe(200);
  }
  expect(peer.requests().join()).not.toContain('expect');
});

test.each([
  ['expectContinue', { expectContinue: 0 }],
  ['expectContinue', { expectContinue: true }],
  ['expectContinue', { expectContinue: -1 }],
  ['headers', { headers: { Expect: '100-continue' } }],
])('%s: %o is refused', async (limit, init) => {
  const pool = poolFor({ shards: 0 });
  const refusal = checkRefusal(await rejection(pool.fetch('http://127.0.0.1:1/', init as object)), limit);
  expect(refusal.message).toContain('expectContinue');
});

describe('of a Multi', () => {
  test('a transfer waits for 100 before its source is asked', async () => {
    const peer = await rawPeer([headOnly([]), send(CONTINUE), bytes(3), send(answer('ok'))]);
    const asked: number[] = [];
    let given = 0;
    const rig = new Rig();
    const { transfer } = get({
      url: peer.url,
      method: 'POST',
      expectContinue: 20_000,
      body: {
        length: 3,
        read() {
          asked.push(performance.now());
          return given++ === 0 ? Buffer.from('abc') : null;
        },
      },
    });
    const began = performance.now();
    rig.multi.add(transfer);
    expect(await rig.end(transfer)).toBeNull();
    expect((asked[0] as number) - began).toBeGreaterThan(40);
    expect((await peer.connection(0)).pending).toBe('abc');
    expect(rig.multi.stats()).toMatchObject({ idle: 1 });
  });

  test('a transfer leaves HTTP: its source goes out raw, the end of it is a FIN', async () => {
    const peer = await rawPeer([
      headOnly([]),
      send(`${head('HTTP/1.1 101 Now', 'upgrade: Echo/2')}first`),
      async (connection) => void (await connection.gone),
    ]);
    const parts: (Buffer | null)[] = [Buffer.from('one'), Buffer.from('two'), null];
    const rig = new Rig();
    const got = get({ url: peer.url, upgrade: 'echo/2', body: { length: -1, read: () => parts.shift() ?? null } });
    rig.multi.add(got.transfer);
    await rig.until(() => peer.connections[0]?.isGone === true, 'the FIN');
    expect(got.body).toBe('first');
    expect(peer.connections[0]?.pending).toBe('onetwo');
    expect(got.transfer.info).toMatchObject({ status: 101, state: 'body' });
    rig.multi.remove(got.transfer);
    expect(rig.multi.stats()).toMatchObject({ connections: 0, idle: 0 });
  });
});
