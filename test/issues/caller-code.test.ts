/**
 * Where the caller's own code meets ours: iterators, signals, inits and promises that do what they should not. Each of these
 * once took other requests with it, hung `close()`, ended the process or lost what the caller had said.
 */

import { once } from 'node:events';
import http from 'node:http';
import type net from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { type FetchInit, Pool } from 'shardfetch';
import { expect, onTestFinished, test } from 'vitest';
import { checkStats, poolFor, rejection } from '../wire/checks.ts';
import { answer, rawPeer, request, reset, send, serve, wait } from '../wire/raw-peer.ts';

/** Endless, and with a `return` that is not what the language promises. */
function sloppy(onReturn: () => unknown): AsyncIterable<string> {
  const iterator = {
    next: async () => {
      await delay(20);
      return { value: 'x', done: false };
    },
    return: onReturn,
  };
  return { [Symbol.asyncIterator]: () => iterator as never };
}

test.each([
  ['answers no promise', () => ({ done: true })],
  ['answers nothing', () => undefined],
  [
    'throws',
    () => {
      throw new Error('from return');
    },
  ],
])('an iterator whose return() %s harms nobody', async (_what, onReturn) => {
  const pool = poolFor();
  const slow = await rawPeer([request(), wait(200), send(answer('fine'))]);
  const refusing = await rawPeer([request(), reset()]);
  const innocent = pool.fetch(slow.url);
  const init: FetchInit = { method: 'POST', duplex: 'half', body: sloppy(onReturn) };
  expect(await rejection(pool.fetch(refusing.url, init))).toBeInstanceOf(TypeError);
  expect(
    await rejection(pool.fetch(refusing.url, { ...init, body: sloppy(onReturn), signal: AbortSignal.timeout(30) })),
  ).toBeTruthy();
  expect(await (await innocent).text()).toBe('fine');
  await checkStats(pool, { inFlight: 0 });
});

test('a member of init that is undefined does not hide what the Request says', async () => {
  const pool = poolFor();
  const server = http.createServer(async (asked, answered) => {
    let body = '';
    for await (const chunk of asked) body += chunk;
    answered.end(`${asked.method} ${asked.headers['x-id']} ${body}`);
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  onTestFinished(() => void server.close());
  const url = `http://127.0.0.1:${(server.address() as net.AddressInfo).port}/`;
  const put = (): Request => new Request(url, { method: 'PUT', headers: { 'x-id': '1' }, body: 'data' });
  const nothing = { method: undefined, headers: undefined, body: undefined, signal: undefined };
  expect(await (await pool.fetch(put(), nothing)).text()).toBe('PUT 1 data');
  const aborted = new Request(url, { signal: AbortSignal.abort('mine') });
  expect(await rejection(pool.fetch(aborted, { signal: undefined }))).toBe('mine');
});

test('looking at the trailers of a body that breaks is no unhandled rejection', async () => {
  const pool = poolFor();
  const peer = await rawPeer([
    request(),
    send('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n'),
    wait(50),
    reset(),
  ]);
  const unhandled: unknown[] = [];
  const listener = (reason: unknown): number => unhandled.push(reason);
  process.on('unhandledRejection', listener);
  const response = await pool.fetch(peer.url);
  const { trailers } = response;
  expect(response.trailers).toBe(trailers);
  expect(await rejection(response.text())).toMatchObject({ message: 'terminated' });
  await delay(20);
  process.off('unhandledRejection', listener);
  expect(unhandled).toEqual([]);
  expect(await rejection(trailers)).toMatchObject({ message: 'terminated' });
});

test('a signal that is none is refused, one that throws rejects, and nothing stays counted', async () => {
  const pool = new Pool({ shards: 0 });
  const peer = await rawPeer(serve(send(answer('ok'))));
  const lacking = { aborted: false, addEventListener: () => undefined };
  expect(await rejection(pool.fetch(peer.url, { signal: lacking as never }))).toMatchObject({
    code: 'INVALID_ARGUMENT',
  });
  const throwing = {
    aborted: false,
    addEventListener: () => {
      throw new RangeError('mine');
    },
    removeEventListener: () => undefined,
  };
  expect(await rejection(pool.fetch(peer.url, { signal: throwing as never }))).toBeInstanceOf(RangeError);
  let reads = 0;
  const changing = {
    get aborted(): boolean {
      if (reads++ > 0) throw new RangeError('later');
      return false;
    },
    addEventListener: () => undefined,
    removeEventListener: () => {
      throw new RangeError('at the end');
    },
  };
  const outcome = await pool.fetch(peer.url, { signal: changing as never }).then(
    (response) => response.text(),
    (error: unknown) => error,
  );
  expect(outcome === 'ok' || outcome instanceof TypeError).toBe(true);
  await checkStats(pool, { inFlight: 0 });
  await pool.close();
});

test('a stream that was not sent is not left locked', async () => {
  const pool = new Pool({ shards: 0 });
  await pool.close();
  const stream = new Blob(['abc']).stream();
  const error = await rejection(pool.fetch('http://127.0.0.1:1/', { method: 'POST', body: stream, duplex: 'half' }));
  expect(error).toMatchObject({ code: 'POOL_CLOSED' });
  await delay(20);
  expect(stream.locked).toBe(false);
});
