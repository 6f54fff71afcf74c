/** Retries as the option `retry` asks for them, against raw peers and closed ports, with real clocks. */

import { type EarlierAttempt, Pool, type RetryOptions, TransferError } from 'shardfetch';
import { afterAll, describe, expect, test } from 'vitest';
import {
  checkFailure,
  checkRefusal,
  checkStats,
  eventually,
  expectNoSocketLeaks,
  poolFor,
  rejection,
} from '../wire/checks.ts';
import { answer, closedPort, fin, rawPeer, request, reset, send, serve } from '../wire/raw-peer.ts';
import { bodyOf, peerAnswering, redirectTo, status } from './redirecting.ts';

expectNoSocketLeaks();

/** So that a test takes no time. */
const SOON: RetryOptions = { delayMs: 1 };

/** The statuses that a server answers in turn, the last one for ever. */
function answersInTurn(...answers: string[]): () => string {
  let count = 0;
  return () => answers[Math.min(count++, answers.length - 1)] as string;
}

interface RetriedError extends TypeError {
  attempts: number;
  earlier: EarlierAttempt[];
}

describe.each([{ shards: 1 }, { shards: 0 }])('$shards shards', ({ shards }) => {
  const pool = new Pool({ shards });
  afterAll(async () => {
    await checkStats(pool, { inFlight: 0 });
    await pool.close();
  });

  test('off by default', async () => {
    const peer = await peerAnswering(answersInTurn(status(503), answer('ok')));
    const response = await pool.fetch(peer.url);
    expect(response.status).toBe(503);
    expect(response.attempts).toBe(1);
    await response.text();
  });

  test.each([408, 429, 500, 502, 503, 504])('%i is tried again', async (code) => {
    const peer = await peerAnswering(answersInTurn(status(code), status(code), answer('ok')));
    const response = await pool.fetch(peer.url, { retry: SOON });
    expect(await response.text()).toBe('ok');
    expect(response.attempts).toBe(3);
    expect(peer.requests()).toHaveLength(3);
    expect(peer.connections).toHaveLength(1);
  });

  test.each([400, 401, 404, 413, 501, 505])('%i is not', async (code) => {
    const peer = await peerAnswering(() => status(code));
    const response = await pool.fetch(peer.url, { retry: SOON });
    expect(response.status).toBe(code);
    await response.text();
    expect(peer.requests()).toHaveLength(1);
  });

  test('three attempts in all; the last response is delivered, readable', async () => {
    const peer = await peerAnswering(() => status(503));
    const response = await pool.fetch(peer.url, { retry: SOON });
    expect([response.status, response.attempts, await response.text()]).toEqual([503, 3, 'no']);
    expect(peer.requests()).toHaveLength(3);
  });

  test('attempts, statuses, and true for the defaults', async () => {
    const peer = await peerAnswering(() => status(418));
    expect((await pool.fetch(peer.url, { retry: { ...SOON, attempts: 5, statuses: [418] } })).attempts).toBe(5);
    expect((await pool.fetch(peer.url, { retry: { ...SOON, statuses: [] } })).attempts).toBe(1);
    expect((await pool.fetch(peer.url, { retry: true })).attempts).toBe(1);
    expect((await pool.fetch(peer.url, { retry: { shardLost: true, statuses: [] } })).attempts).toBe(1);
  });

  test('the pool says when, the request says otherwise', async () => {
    const peer = await peerAnswering(() => status(503));
    const patient = poolFor({ shards, retry: { ...SOON, attempts: 4 } });
    expect((await patient.fetch(peer.url)).attempts).toBe(4);
    expect((await patient.fetch(peer.url, { retry: { attempts: 2 } })).attempts).toBe(2);
    expect((await patient.fetch(peer.url, { retry: false })).attempts).toBe(1);
    expect((await patient.fetch(peer.url, { retry: { statuses: [500] } })).attempts).toBe(1);
    await checkStats(patient, { started: 8, retries: 4 });
  });

  test.each([
    { method: 'POST', again: false },
    { method: 'PATCH', again: false },
    { method: 'PUT', again: true },
    { method: 'DELETE', again: true },
    { method: 'OPTIONS', again: true },
  ])('hostile/63 $method: $again', async ({ method, again }) => {
    const peer = await peerAnswering(answersInTurn(status(503), answer('ok')));
    const body = 'the body';
    const response = await pool.fetch(peer.url, { method, body, retry: SOON });
    await response.text();
    expect(response.attempts).toBe(again ? 2 : 1);
    expect(peer.requests().map(bodyOf)).toEqual(again ? [body, body] : [body]);
  });

  test('POST by method, or by idempotent; and a GET that is not', async () => {
    const peer = await peerAnswering(() => status(503));
    const init = { method: 'POST', body: 'x' };
    expect((await pool.fetch(peer.url, { ...init, retry: { ...SOON, methods: ['post'] } })).attempts).toBe(3);
    expect((await pool.fetch(peer.url, { ...init, retry: SOON, idempotent: true })).attempts).toBe(3);
    expect((await pool.fetch(peer.url, { retry: SOON, idempotent: false })).attempts).toBe(1);
  });

  test('hostile/67 a stream is never sent again, a Blob is', async () => {
    const peer = await peerAnswering(() => status(503));
    async function* stream(): AsyncGenerator<string> {
      yield 'piece';
    }
    const init = { method: 'PUT', retry: SOON };
    const streamed = await pool.fetch(peer.url, { ...init, body: stream(), duplex: 'half' });
    expect([streamed.status, streamed.attempts]).toEqual([503, 1]);
    const blob = await pool.fetch(peer.url, { ...init, body: new Blob(['in the blob']) });
    expect(blob.attempts).toBe(3);
    expect(peer.requests().slice(1).map(bodyOf)).toEqual(['in the blob', 'in the blob', 'in the blob']);
  });

  test('no connection: the error tells all attempts', async () => {
    const url = `http://127.0.0.1:${await closedPort()}/path`;
    const error = (await rejection(pool.fetch(url, { retry: SOON }))) as RetriedError;
    checkFailure(error, { code: 'COULDNT_CONNECT', message: 'fetch failed', errno: 'ECONNREFUSED' });
    expect(error.attempts).toBe(3);
    expect(error.earlier).toHaveLength(2);
    for (const attempt of error.earlier) {
      expect(attempt).toMatchObject({ url, status: null, error: { code: 'COULDNT_CONNECT' } });
      expect(TransferError.is(attempt.error)).toBe(true);
    }
  });

  test('a connection that is lost, then 503, then success', async () => {
    const peer = await rawPeer([request(), reset()], serve(send(status(503))), serve(send(answer('ok'))));
    const response = await pool.fetch(peer.url, { retry: SOON, freshConnect: true, forbidReuse: true });
    expect(await response.text()).toBe('ok');
    expect(response.attempts).toBe(3);
  });

  test('codes: what is not among them is not tried again', async () => {
    const peer = await rawPeer([request(), fin()]);
    const error = await rejection(pool.fetch(peer.url, { retry: { ...SOON, codes: ['COULDNT_CONNECT'] } }));
    expect(error).toMatchObject({ code: 'CONNECTION_LOST', attempts: 1, earlier: [] });
    const bad = await rawPeer(serve(send('HTTP/9 200 OK\r\n\r\n')));
    expect(await rejection(pool.fetch(bad.url, { retry: SOON }))).toMatchObject({ code: 'BAD_RESPONSE', attempts: 1 });
    expect(bad.connections).toHaveLength(1);
  });

  test('a body that breaks was delivered, and is not fetched again', async () => {
    const peer = await peerAnswering(() => [send('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf'), fin()]);
    const response = await pool.fetch(peer.url, { retry: SOON });
    expect(await rejection(response.text())).toMatchObject({ code: 'INCOMPLETE_BODY' });
    expect(peer.requests()).toHaveLength(1);
  });

  describe('Retry-After (RFC 9110 §10.2.3)', () => {
    const date = (ms: number): string => new Date(ms).toUTCString();

    test("seconds, and a date by the server's clock, which is years off", async () => {
      const dated = ['Date: Sun, 06 Nov 1994 08:49:36 GMT', 'Retry-After: Sunday, 06-Nov-94 08:49:37 GMT'];
      const peers = [
        await peerAnswering(answersInTurn(status(503, 'Retry-After: 1'), answer('ok'))),
        await peerAnswering(answersInTurn(status(503, ...dated), answer('ok'))),
      ];
      const begun = performance.now();
      await Promise.all(
        peers.map(async (peer) => {
          expect((await pool.fetch(peer.url, { retry: SOON })).attempts).toBe(2);
          expect(performance.now() - begun).toBeGreaterThan(950);
        }),
      );
    });

    test.each([
      ['in the past', `Retry-After: ${date(Date.now() - 10_000)}`],
      ['no date', 'Retry-After: soon'],
      ['negative', 'Retry-After: -5'],
    ])('%s: at once, or after the usual wait', async (_what, field) => {
      const peer = await peerAnswering(answersInTurn(status(429, field), answer('ok')));
      expect((await pool.fetch(peer.url, { retry: SOON })).attempts).toBe(2);
    });

    test('longer than anybody wants to wait: the response', async () => {
      const peer = await peerAnswering(answersInTurn(status(429, 'Retry-After: 61'), answer('ok')));
      const response = await pool.fetch(peer.url, { retry: SOON });
      expect([response.status, response.attempts]).toEqual([429, 1]);
      const short = { ...SOON, retryAfter: 500 };
      const other = await peerAnswering(answersInTurn(status(429, 'Retry-After: 1'), answer('ok')));
      expect((await pool.fetch(other.url, { retry: short })).status).toBe(429);
    });

    test('false: it is not looked at', async () => {
      const peer = await peerAnswering(answersInTurn(status(429, 'Retry-After: 3600'), answer('ok')));
      expect((await pool.fetch(peer.url, { retry: { ...SOON, retryAfter: false } })).attempts).toBe(2);
    });
  });

  test('waits grow: delayMs, twice that, up to maxDelayMs', async () => {
    const times: number[] = [];
    const peer = await peerAnswering(() => {
      times.push(performance.now());
      return status(503);
    });
    const retry = { attempts: 7, delayMs: 60, maxDelayMs: 120, jitter: false };
    await (await pool.fetch(peer.url, { retry })).text();
    const waits = times.slice(1).map((time, index) => time - (times[index] as number));
    const wanted = [60, 120, 120, 120, 120, 120];
    for (const [index, wait] of waits.entries()) expect(wait).toBeGreaterThan((wanted[index] as number) - 5);
    // Generous, as machines are busy: without the bound the last wait would be 1,920.
    expect(waits[5]).toBeLessThan(1_900);
  });

  test('jitter: the waits of many differ', async () => {
    const delayMs = 1_000;
    const asked = new Map<string, number>();
    const waits: number[] = [];
    const peer = await peerAnswering((_request, path) => {
      const before = asked.get(path);
      if (before === undefined) asked.set(path, performance.now());
      else waits.push(performance.now() - before);
      return status(503);
    });
    await Promise.all(
      Array.from({ length: 20 }, async (_, index) => {
        await (await pool.fetch(`${peer.origin}/${index}`, { retry: { attempts: 2, delayMs } })).text();
      }),
    );
    expect(waits).toHaveLength(20);
    expect(Math.max(...waits) - Math.min(...waits)).toBeGreaterThan(100);
    // Without jitter none is shorter; with it, of twenty some are hardly anything.
    expect(Math.min(...waits)).toBeLessThan(delayMs - 50);
  });

  test('hostile/158 abort while it waits: the reason, at once, and nothing is sent any more', async () => {
    const peer = await peerAnswering(() => status(503));
    const { retries } = await pool.stats();
    const stop = new AbortController();
    const retry = { delayMs: 1_500, jitter: false };
    const pending = rejection(pool.fetch(peer.url, { signal: stop.signal, retry }));
    await eventually(() => peer.requests().length === 1, 'the first request is there');
    await new Promise((resolve) => setTimeout(resolve, 100));
    const begun = performance.now();
    const reason = new Error('enough');
    stop.abort(reason);
    expect(await pending).toBe(reason);
    expect(performance.now() - begun).toBeLessThan(1_200);
    await new Promise((resolve) => setTimeout(resolve, 1_600));
    expect(peer.requests()).toHaveLength(1);
    expect((await pool.stats()).retries).toBe(retries);
  });

  test('totalMs is for all attempts: a wait that would outlast it is not begun', async () => {
    const peer = await peerAnswering(() => status(503));
    const begun = performance.now();
    const response = await pool.fetch(peer.url, {
      timeouts: { totalMs: 2_500 },
      retry: { attempts: 10, delayMs: 1_000, jitter: false },
    });
    expect(response.status).toBe(503);
    expect(response.attempts).toBe(2);
    expect(performance.now() - begun).toBeLessThan(2_500);
  });

  test('after a redirect it is the last URL that is tried again', async () => {
    const answers: Record<string, () => string> = {
      '/a': () => redirectTo('/b'),
      '/b': answersInTurn(status(503), answer('ok')),
    };
    const peer = await peerAnswering((_request, path) => (answers[path] as () => string)());
    const response = await pool.fetch(`${peer.origin}/a`, { retry: SOON });
    expect(await response.text()).toBe('ok');
    expect(response).toMatchObject({ attempts: 2, redirected: true });
    expect(peer.requests().map((sent) => sent.split(' ')[1])).toEqual(['/a', '/b', '/b']);
  });

  test('close waits for those that wait, destroy ends them', async () => {
    const peer = await peerAnswering(answersInTurn(status(503), answer('ok'), status(503)));
    const closing = poolFor({ shards, retry: { delayMs: 200, jitter: false } });
    const pending = closing.fetch(peer.url);
    await eventually(() => peer.requests().length === 1, 'the first request is there');
    await closing.close();
    expect(await (await pending).text()).toBe('ok');
    const cut = poolFor({ shards, retry: { delayMs: 60_000, maxDelayMs: 60_000, jitter: false } });
    const lost = rejection(cut.fetch(peer.url));
    await eventually(() => peer.requests().length === 3, 'the third request is there');
    await new Promise((resolve) => setTimeout(resolve, 50));
    await cut.destroy(new Error('the end'));
    checkFailure(await lost, { code: 'POOL_CLOSED', message: 'fetch failed' });
    checkFailure(await rejection(cut.fetch(peer.url)), { code: 'POOL_CLOSED', message: 'fetch failed' });
  });
});

test.each<{ retry: unknown; limit: string }>([
  { retry: 3, limit: 'retry' },
  { retry: { attempts: 0 }, limit: 'retry.attempts' },
  { retry: { attempts: 1.5 }, limit: 'retry.attempts' },
  { retry: { codes: ['ECONNRESET'] }, limit: 'retry.codes' },
  { retry: { codes: 'CONNECTION_LOST' }, limit: 'retry.codes' },
  { retry: { statuses: [200] }, limit: 'retry.statuses' },
  { retry: { methods: ['GE T'] }, limit: 'retry.methods' },
  { retry: { delayMs: -1 }, limit: 'retry.delayMs' },
  { retry: { maxDelayMs: Number.NaN }, limit: 'retry.maxDelayMs' },
  { retry: { jitter: 1 }, limit: 'retry.jitter' },
  { retry: { retryAfter: true }, limit: 'retry.retryAfter' },
  { retry: { shardLost: 'yes' }, limit: 'retry.shardLost' },
  { retry: { limit: 3 }, limit: 'retry.limit' },
])('refused: $retry', async ({ retry, limit }) => {
  const pool = poolFor({ shards: 0 });
  const error = await rejection(pool.fetch('http://127.0.0.1:1/', { retry: retry as RetryOptions }));
  checkRefusal(error, limit);
  expect(() => new Pool({ shards: 0, retry: retry as RetryOptions })).toThrow(expect.objectContaining({ limit }));
});
