/**
 * Options that meet each other in one call: what a response that is not the last may cost, where `connectTo` holds, what a refused
 * request does with its body. Each of these once hung, failed or went to the wrong server.
 */

import { createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { type FetchInit, Pool } from 'shardfetch';
import { afterAll, describe, expect, test } from 'vitest';
import { bodyOf, peerAnswering, redirectTo, status } from '../policies/redirecting.ts';
import { checkFailure, checkStats, poolFor, rejection } from '../wire/checks.ts';
import { answer, fin, head, rawPeer, request, type Script, send, wait } from '../wire/raw-peer.ts';

const DIGEST = 'WWW-Authenticate: Digest realm="r", nonce="n", qop="auth", algorithm=MD5';
const CREDENTIALS = { username: 'user', password: 'secret', scheme: 'digest' } as const;

/** Responses that the call goes on from, and what makes it do so. */
const FOLLOWED: readonly [string, string, FetchInit][] = [
  ['a redirect', 'HTTP/1.1 302 Found\r\nLocation: /next', {}],
  ['a 503', 'HTTP/1.1 503 Busy', { retry: { attempts: 2, delayMs: 1 } }],
  ['a challenge', `HTTP/1.1 401 Unauthorized\r\n${DIGEST}`, { auth: CREDENTIALS }],
];

/** Bodies that nobody should wait for. */
const BODIES: readonly [string, string][] = [
  ['has no end', 'Content-Length: 1000000\r\n\r\nbegun'],
  ['does not decode', 'Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnone'],
  ['is framed wrongly', 'Transfer-Encoding: chunked\r\n\r\nZZ\r\n'],
];

/** The first request gets this, on a connection of its own; others are answered. */
function after(first: string): Promise<{ url: string; requests(): string[] }> {
  const script: Script = [request(), send(first), wait(20_000)];
  return rawPeer(script, [request(), send(answer('last')), fin()]);
}

describe.each([{ shards: 1 }, { shards: 0 }])('$shards shards', ({ shards }) => {
  const pool = new Pool({ shards });
  afterAll(async () => {
    await checkStats(pool, { inFlight: 0 });
    await pool.close();
  });

  describe.each(FOLLOWED)('collect: %s is not collected', (_what, lines, init) => {
    test.each(BODIES)('whose body %s', async (_how, rest) => {
      const peer = await after(`${lines}\r\n${rest}`);
      const response = await pool.fetch(peer.url, { ...init, collect: 'text', freshConnect: true });
      expect([response.status, await response.text()]).toEqual([200, 'last']);
      expect(peer.requests()).toHaveLength(2);
    });
  });

  test.each([
    ['302', head('HTTP/1.1 302 Found', 'Content-Encoding: gzip'), {}],
    ['503', head('HTTP/1.1 503 Busy', 'Content-Encoding: gzip'), { method: 'POST', retry: true }],
    ['401', head('HTTP/1.1 401 Who', 'Content-Encoding: gzip'), { auth: CREDENTIALS }],
  ] as [string, string, FetchInit][])('collect: a %s that is the last comes whole, too', async (_what, lines, init) => {
    const body = gzipSync('whole');
    const cut = await rawPeer([request(), send(lines, body.subarray(0, 9)), fin()]);
    checkFailure(await rejection(pool.fetch(cut.url, { ...init, collect: 'text' })), {
      code: 'BAD_CONTENT_CODING',
      message: 'fetch failed',
    });
    const peer = await rawPeer([request(), send(lines, body), fin()]);
    const response = await pool.fetch(peer.url, { ...init, collect: 'text' });
    expect([response.bodyUsed, await response.text()]).toEqual([false, 'whole']);
  });

  test('collect and integrity over a redirect', async () => {
    const peer = await peerAnswering((_request, path) => (path === '/' ? redirectTo('/next') : answer('right')));
    const integrity = `sha256-${createHash('sha256').update('right').digest('base64')}`;
    expect(await (await pool.fetch(peer.url, { collect: 'text', integrity })).text()).toBe('right');
  });

  test('connectTo stands in the place of the first origin, and of no other', async () => {
    const other = await peerAnswering(() => redirectTo('http://first.test/back'));
    const first = await peerAnswering((_request, path) => (path === '/' ? redirectTo(`${other.url}on`) : answer(path)));
    for (const connectTo of [`127.0.0.1:${first.port}`, { host: '127.0.0.1', port: first.port }]) {
      const response = await pool.fetch('http://first.test/', { connectTo });
      expect(await response.text()).toBe('/back');
      expect(response.redirects.map(({ url }) => url)).toEqual(['http://first.test/', `${other.url}on`]);
    }
    expect(other.requests()).toHaveLength(2);
  });

  test('connectTo as a list holds for each URL that it fits', async () => {
    const peer = await peerAnswering((_request, path) =>
      path === '/' ? redirectTo('http://two.test/on') : answer(path),
    );
    const response = await pool.fetch('http://one.test/', { connectTo: [`::127.0.0.1:${peer.port}`] });
    expect([response.url, await response.text()]).toEqual(['http://two.test/on', '/on']);
  });

  test('a Retry-After longer than any number is still longer than anybody waits', async () => {
    const peer = await peerAnswering(() => status(429, `Retry-After: ${'9'.repeat(400)}`));
    const response = await pool.fetch(peer.url, { retry: { delayMs: 1 } });
    expect([response.status, response.attempts]).toEqual([429, 1]);
    await response.text();
  });

  test('integrity that fails is not tried again', async () => {
    const peer = await peerAnswering(() => answer('other'));
    const init: FetchInit = { integrity: `sha256-${'A'.repeat(43)}=`, retry: { delayMs: 1, codes: ['BAD_RESPONSE'] } };
    checkFailure(await rejection(pool.fetch(peer.url, init)), {
      code: 'BAD_RESPONSE',
      limit: 'integrity',
      message: 'fetch failed',
    });
    expect(peer.requests()).toHaveLength(1);
  });

  test('values of a header in an array are fields of their own', async () => {
    const peer = await peerAnswering((text) => answer(bodyOf(text)));
    await (await pool.fetch(peer.url, { headers: { 'x-list': ['a', 'b'] as never } })).text();
    expect(peer.requests()[0]).toContain('x-list: a\r\nx-list: b\r\n');
  });
});

test.each([
  ['closed', {}],
  ['closed, with a policy', { retry: true }],
])('a stream given to a pool that is %s is cancelled', async (_what, init) => {
  const pool = poolFor();
  await pool.close();
  let cancelled = 0;
  const body = new ReadableStream({ cancel: () => void cancelled++ });
  const error = await rejection(pool.fetch('http://127.0.0.1:1/', { ...init, method: 'POST', body, duplex: 'half' }));
  checkFailure(error, { code: 'POOL_CLOSED', message: 'fetch failed' });
  expect(cancelled).toBe(1);
});

test.each([
  ['collect', { collect: 'text' }],
  ['integrity', { integrity: `sha256-${'A'.repeat(43)}=` }],
] as [string, FetchInit][])('%s with upgrade would wait for ever, so it is refused', async (limit, init) => {
  const error = await rejection(poolFor().fetch('http://127.0.0.1:1/', { upgrade: 'echo', ...init }));
  expect(error).toMatchObject({ code: 'INVALID_ARGUMENT', cause: { limit } });
});

test('warm: there is nothing to connect to for a data: URL', async () => {
  const error = await rejection(poolFor().warm('data:,text'));
  expect(error).toMatchObject({ code: 'INVALID_ARGUMENT', cause: { limit: 'origin' } });
});

test('HEAD of a data: URL has no body, however it is read', async () => {
  expect(await (await poolFor().fetch('data:,text', { method: 'HEAD' })).text()).toBe('');
});

test('a signal that fires when the body has arrived takes nothing away', async () => {
  const peer = await rawPeer([request(), send(answer('here'))]);
  const controller = new AbortController();
  const response = await poolFor().fetch(peer.url, { signal: controller.signal, collect: 'text' });
  controller.abort();
  expect(await response.text()).toBe('here');
});

test.each(['full', 5, null, ''])('duplex: %j is refused, with or without a body', async (duplex) => {
  for (const init of [{}, { method: 'POST', body: 'text' }]) {
    const error = await rejection(poolFor().fetch('http://127.0.0.1:1/', { ...init, duplex } as never));
    expect(error).toMatchObject({ code: 'INVALID_ARGUMENT', cause: { limit: 'duplex' } });
  }
});
