/** `integrity`: the body is what it hashes to before anybody gets it (SRI). */

import { createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { Pool } from 'shardfetch';
import { afterAll, expect, test } from 'vitest';
import { checkFailure, checkRefusal, eventually, expectNoSocketLeaks, poolFor, rejection } from '../wire/checks.ts';
import { answer, deferred, fin, gate, rawPeer, request, send, serve } from '../wire/raw-peer.ts';

expectNoSocketLeaks();

const pool = new Pool({ shards: 1 });
afterAll(() => pool.close());

const BODY = 'body to be checked';
const hash = (algorithm: string, body = BODY): string =>
  `${algorithm}-${createHash(algorithm).update(body).digest('base64')}`;
const RIGHT = hash('sha384');

const FITS = [
  '',
  ' \t',
  hash('sha256'),
  RIGHT,
  hash('sha512'),
  `${RIGHT}?option=x`,
  RIGHT.toUpperCase().slice(0, 7) + RIGHT.slice(7),
  `${hash('sha256', 'other')}  ${RIGHT}`,
  `${hash('sha512', 'other')}\n${hash('sha512')}`,
  `md5-AAAA sha1-AAAA unknown ${RIGHT}`,
  RIGHT.replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', ''),
];

const FITS_NOT = [
  hash('sha256', 'other'),
  'sha256-',
  'sha256-!!!',
  // The strongest counts, though the weaker fits.
  `${hash('sha256')} ${hash('sha512', 'other')}`,
  `${hash('sha512', 'other')} ${hash('sha256')}`,
];

test.each(FITS)('it fits: %j', async (integrity) => {
  const peer = await rawPeer(serve(send(answer(BODY))));
  const response = await pool.fetch(peer.url, { integrity });
  expect(response.bodyUsed).toBe(false);
  expect(await response.text()).toBe(BODY);
  expect(response.bodyUsed).toBe(true);
});

test.each(FITS_NOT)('it does not: %j', async (integrity) => {
  const peer = await rawPeer(serve(send(answer(BODY))));
  const cause = checkFailure(await rejection(pool.fetch(peer.url, { integrity })), {
    code: 'BAD_RESPONSE',
    message: 'fetch failed',
    limit: 'integrity',
    phase: 'body',
    says: /sha(256|512)-/,
  });
  expect(cause.url).toBe(peer.url);
});

test.each(['nonsense', 'md5-AAAA', 'sha-256-AAAA', 5])('nothing that could be checked: %j', async (integrity) => {
  checkRefusal(await rejection(pool.fetch('http://127.0.0.1:9/', { integrity: integrity as never })), 'integrity');
});

test('a long body, every way to read it', async () => {
  const body = 'x'.repeat(300_000);
  const peer = await rawPeer(serve(send(answer(body))));
  const integrity = hash('sha256', body);
  expect((await (await pool.fetch(peer.url, { integrity })).arrayBuffer()).byteLength).toBe(body.length);
  const response = await pool.fetch(peer.url, { integrity });
  const copy = response.clone();
  let bytes = 0;
  for await (const chunk of response.body as never as AsyncIterable<Uint8Array>) bytes += chunk.length;
  expect([bytes, (await copy.text()).length]).toEqual([body.length, body.length]);
  expect((await copy.trailers.then((trailers) => [...trailers])).length).toBe(0);
  expect(copy.timings.end).toBeGreaterThan(0);
});

test('of a Request; that of the init goes first', async () => {
  const peer = await rawPeer(serve(send(answer(BODY))));
  const made = new Request(peer.url, { integrity: hash('sha256', 'other') });
  checkFailure(await rejection(pool.fetch(made)), {
    code: 'BAD_RESPONSE',
    message: 'fetch failed',
    limit: 'integrity',
  });
  expect(await (await pool.fetch(made, { integrity: RIGHT })).text()).toBe(BODY);
});

test('of what was decoded, and of a data: URL', async () => {
  const coded = gzipSync(BODY);
  const head = `HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: ${coded.length}\r\n\r\n`;
  const peer = await rawPeer(serve(send(head + coded.toString('latin1'))));
  expect(await (await pool.fetch(peer.url, { integrity: RIGHT })).text()).toBe(BODY);
  expect(await (await pool.fetch(`data:,${BODY}`, { integrity: RIGHT })).text()).toBe(BODY);
  checkFailure(await rejection(pool.fetch('data:,other', { integrity: RIGHT })), {
    code: 'BAD_RESPONSE',
    message: 'fetch failed',
    limit: 'integrity',
  });
});

test('without a body there is nothing that could fit', async () => {
  const peer = await rawPeer(serve(send('HTTP/1.1 204 No Content\r\n\r\n')));
  checkFailure(await rejection(pool.fetch(peer.url, { integrity: RIGHT })), {
    code: 'BAD_RESPONSE',
    message: 'fetch failed',
    limit: 'integrity',
    says: /no body/,
  });
});

test('a body that breaks, and an abort while it is read', async () => {
  const own = poolFor();
  const cut = await rawPeer([request(), send('HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf'), fin()]);
  checkFailure(await rejection(own.fetch(cut.url, { integrity: RIGHT })), {
    code: 'INCOMPLETE_BODY',
    message: 'fetch failed',
  });
  const never = deferred();
  const peer = await rawPeer([
    request(),
    send('HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf'),
    gate(never.promise),
  ]);
  const controller = new AbortController();
  const fetching = rejection(own.fetch(peer.url, { integrity: RIGHT, signal: controller.signal }));
  await eventually(() => peer.requests().length === 1, 'the request is there');
  // What there is of the body comes meanwhile; nothing tells of it.
  await new Promise((resolve) => setTimeout(resolve, 100));
  controller.abort(null);
  expect(await fetching).toBe(null);
  never.resolve();
  await peer.gone(0);
});
