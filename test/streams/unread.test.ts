/** Bodies that nobody reads: forgotten ones give their connection back, held ones stay within one budget. */

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { FetchResponse } from 'shardfetch';
import { expect, test } from 'vitest';
import { checkStats, eventually, expectNoSocketLeaks, poolFor } from '../wire/checks.ts';
import { answer, head, rawPeer, request, send, serve } from '../wire/raw-peer.ts';
import { bodyOf, checkPattern, flood, KIB, MIB, PatternCheck, standsStill } from './rig.ts';

expectNoSocketLeaks();

test('forgotten responses give their connections back, are counted, and warned of once', () => {
  const file = fileURLToPath(new URL('fixtures/unread.mjs', import.meta.url));
  const child = spawnSync(process.execPath, ['--expose-gc', '--no-warnings', file], {
    encoding: 'utf8',
    timeout: 28_000,
  });
  expect({ status: child.status, stderr: child.stderr }).toEqual({ status: 0, stderr: '' });
  expect(JSON.parse(child.stdout)).toEqual({
    freed: true,
    lengths: [2 * MIB, 2 * MIB],
    all: true,
    quiet: true,
    trailers: 'INCOMPLETE_BODY',
    held: true,
    unreadBodies: 5,
    inFlight: 0,
    completed: 7,
    aborted: 6,
    unreadBytes: 0,
    warnings: [
      ['UnreadBodyWarning', 'SHARDFETCH_UNREAD_BODY', expect.stringContaining('garbage-collected before its body')],
    ],
  });
});

/** What one body may have unread beyond the budget: its window, and the read that reaches over it. */
const BEYOND_MAX = 64 * KIB + 128 * KIB;

test.each([
  { what: 'one shard', shards: 1 },
  { what: 'two shards', shards: 2 },
])('the budget for unread bytes holds for many bodies, and all of them make progress: $what', async ({ shards }) => {
  const budget = 4 * MIB;
  const count = 64;
  const length = 2 * MIB;
  const pool = poolFor({ shards, connections: { unreadBytes: budget } });
  const peer = await rawPeer([request(), send(head('HTTP/1.1 200 OK', `Content-Length: ${length}`)), flood(length)]);
  const responses = await Promise.all(Array.from({ length: count }, () => pool.fetch(peer.url)));
  let unread = 0;
  let highest = 0;
  const look = async (): Promise<number> => {
    const stats = await pool.stats();
    unread = stats.shards.reduce((sum, shard) => sum + shard.unreadBytes, 0);
    highest = Math.max(highest, unread);
    return unread;
  };
  await standsStill(pool, look, 'what is unread');
  expect(unread).toBeGreaterThanOrEqual(budget);
  expect(unread).toBeLessThanOrEqual(budget + count * BEYOND_MAX);

  // Each gets on while no other is read, though the budget is used up.
  const checks = await Promise.all(
    responses.map(async (response) => {
      const check = new PatternCheck();
      const reader = bodyOf(response).getReader();
      while (check.length < MIB + 300 * KIB) check.take((await reader.read()).value as Uint8Array);
      return { check, reader };
    }),
  );
  await look();
  const read = async ({ check, reader }: (typeof checks)[number]): Promise<number> => {
    for (let part = await reader.read(); !part.done; part = await reader.read()) check.take(part.value);
    return check.length;
  };
  for (const each of checks.slice(0, 8)) expect(await read(each)).toBe(length);
  await look();
  for (const bytes of await Promise.all(checks.slice(8).map(read))) expect(bytes).toBe(length);
  expect(highest).toBeLessThanOrEqual(budget + count * BEYOND_MAX);
  await checkStats(pool, { completed: count, inFlight: 0 });
  // A question for counts may overtake the last of the credit.
  await eventually(async () => (await look()) === 0, 'nothing is unread');
});

test('the smallest budget: every body still comes whole, in every framing', async () => {
  const pool = poolFor({ connections: { unreadBytes: 1 } });
  const length = 3 * MIB;
  const sized = await rawPeer([request(), send(head('HTTP/1.1 200 OK', `Content-Length: ${length}`)), flood(length)]);
  const chunked = await rawPeer([
    request(),
    send(head('HTTP/1.1 200 OK', 'Transfer-Encoding: chunked')),
    flood(length, 'chunked'),
    send('0\r\n\r\n'),
  ]);
  const reads = Array.from({ length: 20 }, async (_, index) => {
    const response = await pool.fetch(index % 2 === 0 ? sized.url : chunked.url);
    checkPattern(await response.bytes(), length);
  });
  await Promise.all(reads);
});

test('unread bodies do not hold up small requests to the same server', async () => {
  const pool = poolFor({ connections: { unreadBytes: MIB } });
  const big = await rawPeer([request(), send(head('HTTP/1.1 200 OK')), flood()]);
  const small = await rawPeer(serve(send(answer('small'))));
  const held: FetchResponse[] = [];
  for (let count = 0; count < 40; count++) held.push(await pool.fetch(big.url));
  for (let count = 0; count < 40; count++) expect(await (await pool.fetch(small.url)).text()).toBe('small');
  await Promise.all(held.map((response) => bodyOf(response).cancel()));
  await big.quiet();
  await checkStats(pool, { aborted: 40, completed: 40, inFlight: 0 });
});
