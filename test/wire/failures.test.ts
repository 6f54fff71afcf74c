/**
 * Everything that a peer can do wrong or leave undone: the code and the words of the failure, the connection gone, everything
 * else untouched.
 */

import { type FetchInit, Pool, type PoolOptions, type TransferCode } from 'shardfetch';
import { afterAll, describe, expect, onTestFinished, test } from 'vitest';
import { fullListener } from '../full-listener.ts';
import {
  checkElsewhere,
  checkFailure,
  checkStats,
  eventually,
  expectNoSocketLeaks,
  poolFor,
  rejection,
} from './checks.ts';
import {
  answer,
  bytes,
  closedPort,
  fin,
  head,
  rawPeer,
  request,
  reset,
  type Script,
  type Step,
  send,
  sendApart,
  serve,
  stopReading,
  wait,
} from './raw-peer.ts';

expectNoSocketLeaks();

const LIMITS = { headBytes: 2000, headerCount: 20, trailerBytes: 100, chunkExtensionBytes: 100, bodyBytes: 2_000_000 };

interface Case {
  what: string;
  script: Script;
  code: TransferCode;
  /** Whether the head was delivered before it failed. Default: no. */
  inBody?: boolean;
  limit?: string;
  phase?: string;
  errno?: string;
  says?: RegExp;
  init?: FetchInit;
}

const CHUNKED = head('HTTP/1.1 200 OK', 'Transfer-Encoding: chunked');
const LENGTH_10 = head('HTTP/1.1 200 OK', 'Content-Length: 10');

/** Behind a request, these steps. */
function asked(...steps: Step[]): Script {
  return [request(), ...steps];
}

/** The peer sends this and then nothing: whoever closes the connection is the client. */
function sends(...parts: string[]): Script {
  return asked(send(...parts));
}

const DEATHS: Case[] = [
  { what: 'FIN at once', script: [fin()], code: 'CONNECTION_LOST' },
  { what: 'FIN instead of a response', script: asked(fin()), code: 'CONNECTION_LOST', phase: 'head', says: /closed/ },
  { what: 'RST instead of a response', script: asked(reset()), code: 'CONNECTION_LOST', errno: 'ECONNRESET' },
  { what: 'FIN in the status line', script: asked(send('HTTP/1.1 20'), fin()), code: 'CONNECTION_LOST', phase: 'head' },
  { what: 'FIN in the header section', script: asked(send('HTTP/1.1 200 OK\r\nA: b'), fin()), code: 'CONNECTION_LOST' },
  {
    what: 'RST in the header section',
    script: asked(send('HTTP/1.1 200 OK\r\nA: b\r\n'), wait(20), reset()),
    code: 'CONNECTION_LOST',
    errno: 'ECONNRESET',
  },
  {
    what: 'FIN behind an interim head',
    script: asked(send(head('HTTP/1.1 103 Hints')), fin()),
    code: 'CONNECTION_LOST',
  },
  {
    what: 'FIN in the middle of a body',
    script: asked(send(`${LENGTH_10}12345`), fin()),
    code: 'INCOMPLETE_BODY',
    inBody: true,
    phase: 'body',
    says: /5 of the 10/,
  },
  {
    what: 'FIN before any byte of a body',
    script: asked(send(LENGTH_10), fin()),
    code: 'INCOMPLETE_BODY',
    inBody: true,
  },
  {
    what: 'RST in the middle of a body',
    script: asked(send(`${LENGTH_10}12345`), wait(20), reset()),
    code: 'INCOMPLETE_BODY',
    inBody: true,
    errno: 'ECONNRESET',
  },
  {
    what: 'FIN in the middle of a body that is received in place',
    script: asked(send(head('HTTP/1.1 200 OK', 'Content-Length: 100000'), 'x'.repeat(60_000)), fin()),
    code: 'INCOMPLETE_BODY',
    inBody: true,
  },
  {
    what: 'FIN in the middle of a body of megabytes',
    script: asked(send(head('HTTP/1.1 200 OK', 'Content-Length: 1900000'), 'x'.repeat(1_500_000)), fin()),
    code: 'INCOMPLETE_BODY',
    inBody: true,
  },
  {
    what: 'RST in the middle of a body that ends with the connection',
    script: asked(send(`${head('HTTP/1.1 200 OK')}12345`), wait(20), reset()),
    code: 'INCOMPLETE_BODY',
    inBody: true,
  },
  { what: 'FIN in a chunk', script: asked(send(`${CHUNKED}5\r\nab`), fin()), code: 'INCOMPLETE_BODY', inBody: true },
  {
    what: 'FIN in a chunk size',
    script: asked(send(`${CHUNKED}5\r\nabcde\r\n1`), fin()),
    code: 'INCOMPLETE_BODY',
    inBody: true,
  },
  {
    what: 'FIN before the last chunk',
    script: asked(send(`${CHUNKED}5\r\nabcde\r\n`), fin()),
    code: 'INCOMPLETE_BODY',
    inBody: true,
  },
  {
    what: 'FIN before the final line',
    script: asked(send(`${CHUNKED}0\r\n`), fin()),
    code: 'INCOMPLETE_BODY',
    inBody: true,
  },
  {
    what: 'FIN in the trailers',
    script: asked(send(`${CHUNKED}0\r\nA: b`), fin()),
    code: 'INCOMPLETE_BODY',
    inBody: true,
  },
  {
    what: 'RST in the middle of an upload',
    script: [bytes(1000), reset()],
    code: 'SEND_FAILED',
    phase: 'send',
    init: { method: 'POST', body: new Uint8Array(5_000_000) },
  },
];

const GARBAGE: Case[] = [
  { what: 'bytes that are no HTTP', script: sends('SSH-2.0-OpenSSH_9.2\r\n'), code: 'BAD_RESPONSE', says: /SSH-2/ },
  { what: 'a page without a head', script: sends('<html>hello</html>'), code: 'BAD_RESPONSE' },
  { what: 'a TLS alert', script: sends('\x15\x03\x03\x00\x02\x02\x46'), code: 'BAD_RESPONSE', says: /TLS/ },
  { what: 'a status of two digits', script: sends('HTTP/1.1 20 OK\r\n\r\n'), code: 'BAD_RESPONSE' },
  { what: 'a status of four digits', script: sends('HTTP/1.1 2000 OK\r\n\r\n'), code: 'BAD_RESPONSE' },
  { what: 'status 099', script: sends('HTTP/1.1 099 OK\r\n\r\n'), code: 'BAD_RESPONSE' },
  { what: 'HTTP/2.0 in text', script: sends('HTTP/2.0 200 OK\r\n\r\n'), code: 'BAD_RESPONSE' },
  { what: 'LF without CR', script: sends('HTTP/1.1 200 OK\nContent-Length: 0\n\n'), code: 'BAD_RESPONSE' },
  { what: 'CR without LF', script: sends('HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n'), code: 'BAD_RESPONSE' },
  { what: 'NUL in a value', script: sends('HTTP/1.1 200 OK\r\nA: b\0c\r\n\r\n'), code: 'BAD_RESPONSE' },
  { what: 'a line without a colon', script: sends('HTTP/1.1 200 OK\r\nA b\r\n\r\n'), code: 'BAD_RESPONSE' },
  { what: 'a blank before the colon', script: sends('HTTP/1.1 200 OK\r\nA : b\r\n\r\n'), code: 'BAD_RESPONSE' },
  { what: 'a name that is none', script: sends('HTTP/1.1 200 OK\r\n: b\r\n\r\n'), code: 'BAD_RESPONSE' },
  { what: 'a protocol that nobody asked for', script: sends(head('HTTP/1.1 101 Switching')), code: 'BAD_RESPONSE' },
  {
    what: 'two lengths',
    script: sends(head('HTTP/1.1 200 OK', 'Content-Length: 1', 'Content-Length: 2'), 'ab'),
    code: 'BAD_RESPONSE',
  },
  {
    what: 'a length and chunks',
    script: sends(head('HTTP/1.1 200 OK', 'Content-Length: 5', 'Transfer-Encoding: chunked'), '0\r\n\r\n'),
    code: 'BAD_RESPONSE',
  },
  { what: 'a length that is none', script: sends(head('HTTP/1.1 200 OK', 'Content-Length: -1')), code: 'BAD_RESPONSE' },
  {
    what: 'a length of 2^64',
    script: sends(head('HTTP/1.1 204 OK', 'Content-Length: 18446744073709551616')),
    code: 'BAD_RESPONSE',
  },
  {
    what: 'a transfer coding that is not ours',
    script: sends(head('HTTP/1.1 200 OK', 'Transfer-Encoding: gzip, chunked')),
    code: 'BAD_RESPONSE',
  },
  {
    what: 'chunks in HTTP/1.0',
    script: sends(head('HTTP/1.0 200 OK', 'Transfer-Encoding: chunked'), '0\r\n\r\n'),
    code: 'BAD_RESPONSE',
  },
  {
    what: 'a chunk size that is none',
    script: sends(`${CHUNKED}zz\r\n`),
    code: 'BAD_RESPONSE',
    inBody: true,
    phase: 'body',
  },
  {
    what: 'a chunk size without end',
    script: sends(`${CHUNKED}${'f'.repeat(17)}`),
    code: 'BAD_RESPONSE',
    inBody: true,
  },
  {
    what: 'a chunk longer than it says',
    script: sends(`${CHUNKED}2\r\nabc\r\n0\r\n\r\n`),
    code: 'BAD_RESPONSE',
    inBody: true,
  },
  {
    what: 'a chunk line ended by LF',
    script: sends(`${CHUNKED}2\nab\r\n0\r\n\r\n`),
    code: 'BAD_RESPONSE',
    inBody: true,
  },
  {
    what: 'a trailer without a colon',
    script: sends(`${CHUNKED}0\r\nbad\r\n\r\n`),
    code: 'BAD_RESPONSE',
    inBody: true,
  },
];

const TOO_MUCH: Case[] = [
  {
    what: 'a head that is too large',
    script: sends(`HTTP/1.1 200 OK\r\nA: ${'x'.repeat(2000)}\r\n\r\n`),
    code: 'LIMIT_EXCEEDED',
    limit: 'limits.headBytes',
    phase: 'head',
  },
  {
    what: 'a head without end',
    script: asked(send('HTTP/1.1 200 OK\r\nA: ', 'x'.repeat(100_000))),
    code: 'LIMIT_EXCEEDED',
    limit: 'limits.headBytes',
  },
  {
    what: 'interim heads without end',
    script: asked(send(...Array.from({ length: 100 }, () => head(`HTTP/1.1 103 ${'x'.repeat(100)}`)))),
    code: 'LIMIT_EXCEEDED',
    limit: 'limits.headBytes',
  },
  {
    what: 'too many headers',
    script: sends(head('HTTP/1.1 200 OK', ...Array.from({ length: 21 }, () => 'A: b'))),
    code: 'LIMIT_EXCEEDED',
    limit: 'limits.headerCount',
    phase: 'head',
  },
  {
    what: 'too large trailers',
    script: sends(`${CHUNKED}0\r\nA: ${'x'.repeat(100)}\r\n\r\n`),
    code: 'LIMIT_EXCEEDED',
    inBody: true,
    limit: 'limits.trailerBytes',
  },
  {
    what: 'too long chunk extensions',
    script: sends(`${CHUNKED}1;a=${'x'.repeat(100)}\r\n`),
    code: 'LIMIT_EXCEEDED',
    inBody: true,
    limit: 'limits.chunkExtensionBytes',
  },
  {
    what: 'a body announced too long',
    script: sends(head('HTTP/1.1 200 OK', 'Content-Length: 2000001')),
    code: 'LIMIT_EXCEEDED',
    limit: 'limits.bodyBytes',
  },
  {
    what: 'a body in chunks that is too long',
    script: sends(`${CHUNKED}1e8480\r\n`, 'x'.repeat(2_000_000), '\r\n1\r\nx\r\n'),
    code: 'LIMIT_EXCEEDED',
    inBody: true,
    limit: 'limits.bodyBytes',
  },
  {
    what: 'a body without a length that is too long',
    script: sends(head('HTTP/1.1 200 OK'), 'x'.repeat(2_000_001)),
    code: 'LIMIT_EXCEEDED',
    inBody: true,
    limit: 'limits.bodyBytes',
  },
];

const SILENCE_MS = 80;

const SILENCES: Case[] = [
  {
    what: 'before the head',
    script: asked(),
    code: 'HEAD_TIMEOUT',
    limit: 'timeouts.headMs',
    phase: 'head',
    init: { timeouts: { headMs: SILENCE_MS } },
  },
  {
    what: 'in the head',
    script: sends('HTTP/1.1 200 OK\r\nA: '),
    code: 'HEAD_TIMEOUT',
    limit: 'timeouts.headMs',
    init: { timeouts: { headMs: SILENCE_MS } },
  },
  {
    what: 'behind an interim head',
    script: sends(head('HTTP/1.1 100 Continue')),
    code: 'HEAD_TIMEOUT',
    limit: 'timeouts.headMs',
    init: { timeouts: { headMs: SILENCE_MS } },
  },
  {
    what: 'with a header every few milliseconds',
    script: asked(
      sendApart(
        Array.from({ length: 200 }, (_, at) => (at === 0 ? 'HTTP/1.1 200 OK\r\nA: ' : 'b')),
        10,
      ),
    ),
    code: 'HEAD_TIMEOUT',
    limit: 'timeouts.headMs',
    init: { timeouts: { headMs: 5 * SILENCE_MS } },
  },
  {
    what: 'while it should take an upload',
    script: [stopReading()],
    code: 'HEAD_TIMEOUT',
    limit: 'timeouts.headMs',
    phase: 'send',
    says: /taking the request/,
    init: { method: 'POST', body: new Uint8Array(8_000_000), timeouts: { headMs: 3 * SILENCE_MS } },
  },
  {
    what: 'before the body',
    script: sends(LENGTH_10),
    code: 'BODY_TIMEOUT',
    inBody: true,
    limit: 'timeouts.bodyIdleMs',
    phase: 'body',
    init: { timeouts: { bodyIdleMs: SILENCE_MS } },
  },
  {
    what: 'in the body',
    script: sends(`${LENGTH_10}12345`),
    code: 'BODY_TIMEOUT',
    inBody: true,
    limit: 'timeouts.bodyIdleMs',
    init: { timeouts: { bodyIdleMs: SILENCE_MS } },
  },
  {
    what: 'in a body received in place',
    script: sends(head('HTTP/1.1 200 OK', 'Content-Length: 100000'), 'x'.repeat(50_000)),
    code: 'BODY_TIMEOUT',
    inBody: true,
    limit: 'timeouts.bodyIdleMs',
    init: { timeouts: { bodyIdleMs: SILENCE_MS } },
  },
  {
    what: 'in a chunk',
    script: sends(`${CHUNKED}5\r\nab`),
    code: 'BODY_TIMEOUT',
    inBody: true,
    limit: 'timeouts.bodyIdleMs',
    init: { timeouts: { bodyIdleMs: SILENCE_MS } },
  },
  {
    what: 'where the connection should end',
    script: sends(`${head('HTTP/1.1 200 OK')}12345`),
    code: 'BODY_TIMEOUT',
    inBody: true,
    limit: 'timeouts.bodyIdleMs',
    init: { timeouts: { bodyIdleMs: SILENCE_MS } },
  },
  {
    what: 'behind a head that came before the upload was over',
    script: [bytes(1000), send(LENGTH_10), bytes(4_000_000), stopReading()],
    code: 'BODY_TIMEOUT',
    inBody: true,
    limit: 'timeouts.bodyIdleMs',
    init: { method: 'POST', body: new Uint8Array(8_000_000), timeouts: { bodyIdleMs: 3 * SILENCE_MS } },
  },
];

/** Within it a head has come on a busy machine, too: this clock runs from the call on. */
const TOTAL_MS = 2_000;

/** Clocks that end in a state, which must have been reached by then: long, so all at once. */
const TOTALS: Case[] = [
  {
    what: 'before the head, all in all',
    script: asked(),
    code: 'TOTAL_TIMEOUT',
    limit: 'timeouts.totalMs',
    phase: 'head',
    init: { timeouts: { totalMs: TOTAL_MS } },
  },
  {
    what: 'in the body, all in all',
    script: sends(`${LENGTH_10}12345`),
    code: 'TOTAL_TIMEOUT',
    inBody: true,
    limit: 'timeouts.totalMs',
    init: { timeouts: { totalMs: TOTAL_MS } },
  },
  {
    what: 'a body that drips for too long',
    script: asked(send(head('HTTP/1.1 200 OK')), sendApart('x'.repeat(2_000), 10)),
    code: 'TOTAL_TIMEOUT',
    inBody: true,
    limit: 'timeouts.totalMs',
    init: { timeouts: { totalMs: TOTAL_MS, bodyIdleMs: 10 * TOTAL_MS } },
  },
];

describe.each([
  { name: 'one shard', shards: 1, cases: [...DEATHS, ...GARBAGE, ...TOO_MUCH, ...SILENCES] },
  {
    name: 'in this thread',
    shards: 0,
    cases: [...DEATHS, ...GARBAGE.slice(0, 3), ...TOO_MUCH.slice(0, 2), ...SILENCES],
  },
  { name: 'two shards', shards: 2, cases: [DEATHS[1], DEATHS[7], GARBAGE[0], TOO_MUCH[0], SILENCES[0]] as Case[] },
])('$name', ({ shards, cases }) => {
  const pool = new Pool({ shards, limits: LIMITS });
  let peers = 0;
  afterAll(async () => {
    const stats = await checkStats(pool, { inFlight: 0, aborted: 0 });
    // Of each case: its failure, and a clean transfer to the same server and to another.
    expect(stats.failed).toBe(peers);
    expect(stats.completed).toBe(2 * peers);
    await pool.close();
  });

  const check = async ({ script, init, inBody = false, ...expected }: Case): Promise<void> => {
    const peer = await rawPeer(script, serve(send(answer('clean'))));
    peers++;
    const fetched = pool.fetch(`${peer.url}path#fragment`, init);
    const failing = inBody ? (await fetched).text() : fetched;
    const { what: _, ...failure } = expected;
    const cause = checkFailure(await rejection(failing), {
      ...failure,
      message: inBody ? 'terminated' : 'fetch failed',
    });
    expect(cause.url).toBe(`${peer.url}path`);
    const connection = await peer.connection(0);
    connection.socket.resume();
    await peer.gone(0);
    const clean = await pool.fetch(peer.url);
    expect(await clean.text()).toBe('clean');
    expect(clean.connection.reused).toBe(false);
    // It failed, and was not sent again behind the caller's back.
    expect(peer.connections).toHaveLength(2);
    await checkElsewhere(pool);
  };

  test.each(cases)('$code: $what', check);

  test('TOTAL_TIMEOUT', async () => {
    await pool.stats();
    await Promise.all(TOTALS.map(check));
  });
});

test.each([1, 0])('a total timeout of less than a millisecond, shards: %d', async (shards) => {
  const pool = new Pool({ shards });
  // Whether a connection was made before the time was over is left to chance.
  const peer = await rawPeer(asked());
  checkFailure(await rejection(pool.fetch(peer.url, { timeouts: { totalMs: 0.5 } })), {
    code: 'TOTAL_TIMEOUT',
    message: 'fetch failed',
    limit: 'timeouts.totalMs',
  });
  await peer.quiet();
  await checkElsewhere(pool);
  await checkStats(pool, { inFlight: 0, aborted: 0 });
  await pool.close();
});

describe('no connection', () => {
  const pool = new Pool({ shards: 1 });
  afterAll(() => pool.close());

  test('a closed port', async () => {
    const port = await closedPort();
    const cause = checkFailure(await rejection(pool.fetch(`http://127.0.0.1:${port}/`)), {
      code: 'COULDNT_CONNECT',
      message: 'fetch failed',
      phase: 'connect',
      errno: 'ECONNREFUSED',
    });
    expect(cause.message).toContain(String(port));
    await checkElsewhere(pool);
  });

  test('a closed port behind a name: one cause per address', async () => {
    const port = await closedPort();
    const cause = checkFailure(await rejection(pool.fetch(`http://localhost:${port}/`)), {
      code: 'COULDNT_CONNECT',
      message: 'fetch failed',
      errno: 'ECONNREFUSED',
    });
    const inner = cause.cause as Error & { errors?: { errno: string; code: string }[] };
    for (const one of inner.errors ?? [inner as never]) {
      expect(one).toMatchObject({ code: 'COULDNT_CONNECT', errno: 'ECONNREFUSED' });
    }
  });

  test('an unknown host', async () => {
    const cause = checkFailure(await rejection(pool.fetch('http://does-not-exist.invalid/')), {
      code: 'COULDNT_RESOLVE',
      message: 'fetch failed',
      phase: 'dns',
      says: /does-not-exist\.invalid/,
    });
    expect(cause.url).toBe('http://does-not-exist.invalid/');
    await checkElsewhere(pool);
    await checkStats(pool, { inFlight: 0 });
  });

  test('a server that does not accept: CONNECT_TIMEOUT', async () => {
    const { port, fillers } = await fullListener();
    const begun = performance.now();
    checkFailure(await rejection(pool.fetch(`http://127.0.0.1:${port}/`, { timeouts: { connectMs: 100 } })), {
      code: 'CONNECT_TIMEOUT',
      message: 'fetch failed',
      limit: 'timeouts.connectMs',
      phase: 'connect',
    });
    expect(performance.now() - begun).toBeGreaterThanOrEqual(95);
    for (const filler of fillers) filler.destroy();
    await checkElsewhere(pool);
    await checkStats(pool, { inFlight: 0 });
  });
});

describe('FIN after every byte', () => {
  const pool = new Pool({ shards: 1 });
  afterAll(() => pool.close());
  const whole = `${head('HTTP/1.1 200 OK', 'A: b', 'Transfer-Encoding: chunked')}5\r\nabcde\r\n0\r\nT: t\r\n\r\n`;
  const headEnd = whole.indexOf('\r\n\r\n') + 4;

  test.each(['FIN', 'RST'])('%s', async (how) => {
    const ends = Array.from({ length: whole.length + 1 }, (_, at) => at);
    await Promise.all(
      ends.map(async (end) => {
        const close = how === 'FIN' ? [fin()] : [wait(30), reset()];
        const peer = await rawPeer(asked(...(end === 0 ? [] : [send(whole.slice(0, end))]), ...close));
        const fetched = pool.fetch(peer.url);
        if (end < headEnd) {
          checkFailure(await rejection(fetched), { code: 'CONNECTION_LOST', message: 'fetch failed' });
        } else if (end < whole.length) {
          checkFailure(await rejection((await fetched).text()), { code: 'INCOMPLETE_BODY', message: 'terminated' });
        } else expect(await (await fetched).text()).toBe('abcde');
        await peer.quiet();
        expect(peer.connections).toHaveLength(1);
      }),
    );
    await checkStats(pool, { inFlight: 0 });
    await checkElsewhere(pool);
  });
});

describe('a body that breaks', () => {
  test.each([
    { what: 'in pieces', length: 1000, sent: 400 },
    { what: 'received in place', length: 100_000, sent: 60_000 },
    { what: 'of megabytes', length: 3_000_000, sent: 2_000_000 },
  ])('$what: what came is delivered, then the failure', async ({ length, sent }) => {
    const pool = poolFor();
    const peer = await rawPeer(
      asked(send(head('HTTP/1.1 200 OK', `Content-Length: ${length}`), 'x'.repeat(sent)), fin()),
    );
    const response = await pool.fetch(peer.url);
    let received = 0;
    let failure: unknown;
    try {
      for await (const chunk of response.body ?? []) received += (chunk as Uint8Array).length;
    } catch (error) {
      failure = error;
    }
    checkFailure(failure, { code: 'INCOMPLETE_BODY', message: 'terminated' });
    expect(received).toBe(sent);
    await checkStats(pool, { failed: 1, inFlight: 0 });
  });

  test('every way to read it rejects, and nobody who does not read it is bothered', async () => {
    const unhandled: unknown[] = [];
    const note = (error: unknown): unknown => unhandled.push(error);
    process.on('unhandledRejection', note);
    onTestFinished(() => {
      process.off('unhandledRejection', note);
    });
    const pool = poolFor();
    const peer = await rawPeer(asked(send(`${LENGTH_10}12345`), fin()));
    for (const method of ['text', 'json', 'arrayBuffer', 'bytes', 'blob', 'formData'] as const) {
      const error = await rejection((await pool.fetch(peer.url))[method]());
      if (method !== 'formData') checkFailure(error, { code: 'INCOMPLETE_BODY', message: 'terminated' });
    }
    await pool.fetch(peer.url);
    void (await pool.fetch(peer.url)).body;
    // A head is told before the end of its body has come.
    await eventually(async () => (await pool.stats()).inFlight === 0, 'all have ended');
    await checkStats(pool, { inFlight: 0, failed: 8 });
    await new Promise((resolve) => setImmediate(resolve));
    expect(unhandled).toEqual([]);
  });
});

describe('more than was announced', () => {
  test.each([
    { what: 'in the same segment', script: asked(send(`${answer('12345')}67890`)) },
    { what: 'in a segment of its own', script: asked(send(answer('12345')), wait(50), send('67890')) },
    { what: 'a whole second response', script: asked(send(answer('12345') + answer('poison'))) },
    { what: 'a lone CRLF', script: asked(send(`${answer('12345')}\r\n`)) },
    { what: 'behind chunks', script: asked(send(`${CHUNKED}5\r\n12345\r\n0\r\n\r\nmore`)) },
    { what: 'behind a body received in place', script: asked(send(`${answer('12345'.repeat(10_000))}more`)) },
  ])('$what: the body is right, the connection is not used again', async ({ script }) => {
    const pool = poolFor();
    const peer = await rawPeer(script, serve(send(answer('clean'))));
    expect(await (await pool.fetch(peer.url)).text()).toMatch(/^(12345)+$/);
    await peer.gone(0);
    const next = await pool.fetch(peer.url);
    expect(await next.text()).toBe('clean');
    expect(next.connection.reused).toBe(false);
    await checkStats(pool, { completed: 2, failed: 0 });
  });

  test('a body where there is none', async () => {
    for (const [method, response] of [
      ['HEAD', answer('12345')],
      ['GET', `${head('HTTP/1.1 204 None')}12345`],
    ] as const) {
      const pool = poolFor();
      const peer = await rawPeer(asked(send(response)), serve(send(answer('clean'))));
      expect(await (await pool.fetch(peer.url, { method })).text()).toBe('');
      await peer.gone(0);
      expect(await (await pool.fetch(peer.url)).text()).toBe('clean');
    }
  });
});

test('bad servers do not disturb good ones in the same shard', async () => {
  // No clock is to end any of them.
  const options: PoolOptions = { shards: 1, limits: LIMITS, timeouts: { headMs: 25_000, bodyIdleMs: 25_000 } };
  const pool = poolFor(options);
  const good = await rawPeer(serve(send(answer('good'))));
  const bad = await Promise.all(
    [...DEATHS, ...GARBAGE, ...TOO_MUCH].map(async (one) => ({ one, peer: await rawPeer(one.script) })),
  );
  const outcomes = await Promise.all([
    ...bad.map(async ({ one, peer }) => {
      const error = await rejection(pool.fetch(peer.url, one.init).then((response) => response.text()));
      expect((error as { code?: string }).code).toBe(one.code);
      return 'bad';
    }),
    ...Array.from({ length: 200 }, async () => (await pool.fetch(good.url)).text()),
  ]);
  expect(outcomes.filter((outcome) => outcome === 'good')).toHaveLength(200);
  await checkStats(pool, { completed: 200, failed: bad.length, inFlight: 0 });
});
