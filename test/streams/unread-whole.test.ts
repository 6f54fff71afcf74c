/**
 * The budget for unread bytes, where bodies are shorter than the window of one: each could come whole, and all of them together
 * must not. Also what was complete and not read, which counts as long as somebody could read it.
 */

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { FetchResponse, Pool } from 'shardfetch';
import { describe, expect, test } from 'vitest';
import { checkStats, eventually, expectNoSocketLeaks, poolFor, rejection } from '../wire/checks.ts';
import { answer, deferred, fin, gate, head, type Peer, rawPeer, request, send, serve } from '../wire/raw-peer.ts';
import { bodyOf, checkPattern, flood, KIB, MIB, standsStill } from './rig.ts';

expectNoSocketLeaks();

const BUDGET = 4 * MIB;
/** What one body may have unread beyond the budget: its window, and the read that reaches over it. */
const BEYOND_MAX = 64 * KIB + 128 * KIB;

const FRAMINGS = ['Content-Length', 'chunked'] as const;

/** Sends bodies of the pattern, one per request, as fast as they are taken. */
function bodies(length: number, framing: (typeof FRAMINGS)[number]): Promise<Peer> {
  return framing === 'chunked'
    ? rawPeer([
        request(),
        send(head('HTTP/1.1 200 OK', 'Transfer-Encoding: chunked')),
        flood(length, 'chunked'),
        send('0\r\n\r\n'),
      ])
    : rawPeer([request(), send(head('HTTP/1.1 200 OK', `Content-Length: ${length}`)), flood(length)]);
}

const fetchMany = (pool: Pool, url: string, count: number): Promise<FetchResponse[]> =>
  Promise.all(Array.from({ length: count }, () => pool.fetch(url)));

const unreadOf = async (pool: Pool): Promise<number> =>
  (await pool.stats()).shards.reduce((sum, shard) => sum + shard.unreadBytes, 0);

const settled = (pool: Pool): Promise<void> =>
  eventually(async () => (await unreadOf(pool)) === 0, 'nothing is unread');

describe.each([0, 1, 2])('%i shards', (shards) => {
  test.each(FRAMINGS)('%s: no more is taken than the budget, and the floor of each', async (framing) => {
    const count = 64;
    const length = MIB - 1;
    const pool = poolFor({ shards, connections: { unreadBytes: BUDGET } });
    const responses = await fetchMany(pool, (await bodies(length, framing)).url, count);
    const unread = await standsStill(pool, () => unreadOf(pool), 'what is unread');
    expect(unread).toBeGreaterThan(BUDGET - MIB * Math.max(shards, 1));
    expect(unread).toBeLessThanOrEqual(BUDGET + count * BEYOND_MAX);
    expect((await pool.stats()).completed).toBeLessThanOrEqual(BUDGET / length + 1);
    // Whichever is read goes on, though the others keep the budget used up: the last first.
    for (const response of responses.reverse()) checkPattern(await response.bytes(), length);
    await settled(pool);
    await checkStats(pool, { completed: count, inFlight: 0 });
  });
});

test.each(FRAMINGS)('%s: all are read at the same time, and no more than the budget is under way', async (framing) => {
  const count = 100;
  const pool = poolFor({ connections: { unreadBytes: MIB } });
  const { url } = await bodies(300 * KIB, framing);
  await Promise.all(
    Array.from({ length: count }, async () => checkPattern(await (await pool.fetch(url)).bytes(), 300 * KIB)),
  );
  await settled(pool);
  await checkStats(pool, { completed: count, inFlight: 0 });
});

test('lengths that were announced and do not come hold up nobody', async () => {
  const pool = poolFor({ connections: { unreadBytes: BUDGET } });
  const never = deferred();
  const stalled = await rawPeer([
    request(),
    send(head('HTTP/1.1 200 OK', `Content-Length: ${MIB}`), 'x'),
    gate(never.promise),
  ]);
  const held = await fetchMany(pool, stalled.url, 20);
  expect(await unreadOf(pool)).toBeLessThanOrEqual(BUDGET + 20 * BEYOND_MAX);
  for (const framing of FRAMINGS) {
    const { url } = await bodies(MIB, framing);
    for (const response of await fetchMany(pool, url, 5)) checkPattern(await response.bytes(), MIB);
  }
  const small = await rawPeer(serve(send(answer('small'))));
  expect(await (await pool.fetch(small.url)).text()).toBe('small');
  await Promise.all(held.map((response) => bodyOf(response).cancel()));
  await settled(pool);
});

test.each(FRAMINGS)('%s: a body that came whole counts until it was read', async (framing) => {
  const pool = poolFor();
  const [response] = await fetchMany(pool, (await bodies(500 * KIB, framing)).url, 1);
  await eventually(async () => (await pool.stats()).completed === 1, 'it is complete');
  expect(await unreadOf(pool)).toBe(500 * KIB);
  const reader = bodyOf(response as FetchResponse).getReader();
  let read = 0;
  for (let part = await reader.read(); !part.done; part = await reader.read()) read += part.value.length;
  expect(read).toBe(500 * KIB);
  await settled(pool);
});

test.each(FRAMINGS)('%s: a body that came whole counts until it was cancelled', async (framing) => {
  const pool = poolFor();
  const [response] = await fetchMany(pool, (await bodies(500 * KIB, framing)).url, 1);
  await eventually(async () => (await pool.stats()).completed === 1, 'it is complete');
  expect(await unreadOf(pool)).toBe(500 * KIB);
  await bodyOf(response as FetchResponse).cancel();
  await settled(pool);
});

test.each(FRAMINGS)('%s: a body that came whole counts until nobody can read it any more', async (framing) => {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const pool = poolFor();
  await forget(pool, (await bodies(500 * KIB, framing)).url);
  await eventually(async () => {
    collect();
    return (await unreadOf(pool)) === 0;
  }, 'nothing is unread');
  // It came whole: that nobody read it kept no connection.
  await checkStats(pool, { completed: 1, aborted: 0 });
});

/** In a function of its own, so that no frame holds the response. */
async function forget(pool: Pool, url: string): Promise<void> {
  const response = await pool.fetch(url);
  await eventually(async () => (await pool.stats()).completed === 1, 'it is complete');
  expect(await unreadOf(pool)).toBe(500 * KIB);
  expect(response.bodyUsed).toBe(false);
}

test.each([300 * KIB, 20 * KIB])(
  'a body that breaks off after %i bytes counts what came, until that was read',
  async (came) => {
    const pool = poolFor();
    const peer = await rawPeer([
      request(),
      send(head('HTTP/1.1 200 OK', `Content-Length: ${MIB}`)),
      flood(came),
      fin(),
    ]);
    const response = await pool.fetch(peer.url);
    await eventually(async () => (await pool.stats()).failed === 1, 'it has failed');
    expect(await unreadOf(pool)).toBe(came > 64 * KIB ? came : 0);
    const reader = bodyOf(response).getReader();
    let read = 0;
    const all = (async (): Promise<void> => {
      for (let part = await reader.read(); !part.done; part = await reader.read()) read += part.value.length;
    })();
    expect(await rejection(all)).toMatchObject({ message: 'terminated' });
    expect(read).toBe(came);
    await settled(pool);
  },
);

test('an abort settles what was unread, before the end and after it', async () => {
  const pool = poolFor();
  const { url } = await bodies(500 * KIB, 'Content-Length');
  const never = deferred();
  const half = await rawPeer([
    request(),
    send(head('HTTP/1.1 200 OK', `Content-Length: ${MIB}`)),
    flood(300 * KIB),
    gate(never.promise),
  ]);
  for (const target of [url, half.url]) {
    const controller = new AbortController();
    const response = await pool.fetch(target, { signal: controller.signal });
    await eventually(async () => (await unreadOf(pool)) > 0, 'something is unread');
    controller.abort();
    if (target === url) await response.bytes().catch(() => undefined);
    await settled(pool);
  }
});

test.each([1, 4 * KIB, 16 * KIB, 17 * KIB, 63 * KIB])(
  'a body of %i bytes, below the floor, is not counted',
  async (length) => {
    const pool = poolFor({ connections: { unreadBytes: 1 } });
    for (const framing of FRAMINGS) {
      const responses = await fetchMany(pool, (await bodies(length, framing)).url, 10);
      await eventually(async () => (await pool.stats()).inFlight === 0, 'all have come');
      expect(await unreadOf(pool)).toBe(0);
      for (const response of responses) checkPattern(await response.bytes(), length);
    }
  },
);
