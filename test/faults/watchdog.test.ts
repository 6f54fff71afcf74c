/** The watchdog: a shard that spins is ended, one that is healthy lives, however deaf the main thread was. */

import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { eventually, expectBalance, expectLoss, kill, type Loss, makePool, rejection, serve, workers } from './rig.ts';

test('a shard that spins is ended after some 10 s and replaced; the other serves meanwhile', async () => {
  const server = await serve();
  const pool = makePool({ shards: 2, placement: 'spread' });
  await Promise.all([0, 1].map(async () => (await pool.fetch(server.url)).text()));
  // The silence begins here: a shard that holds a request says nothing of it.
  const began = performance.now();
  const hanging = [0, 1].map(() => pool.fetch(`${server.url}hang`));
  const settled = Promise.allSettled(hanging);
  await eventually(() => server.open.length === 2, 'the requests');
  kill(workers[0], 'spins');
  // The other shard is asked for a sign of life too, gives it, and carries its silent request on.
  const error = (await Promise.race(hanging.map((promise) => rejection(promise)))) as Loss;
  const took = performance.now() - began;
  expect(took).toBeGreaterThan(8_500);
  // Its timers of the main thread may come late on a busy machine, and they are ten.
  expect(took).toBeLessThan(25_000);
  expectLoss(error, 'fetch failed', `${server.url}hang`);
  expect((error.cause.cause as Error).message).toContain('10 s');
  for (const response of server.open) response.end('alive');
  const results = await settled;
  const survivor = results.find((result) => result.status === 'fulfilled');
  expect(await survivor?.value.text()).toBe('alive');
  const shards = await Promise.all(
    Array.from({ length: 6 }, async () => {
      const response = await pool.fetch(server.url);
      await response.text();
      return response.connection.shard;
    }),
  );
  expect(new Set(shards).size).toBe(2);
  expect(await expectBalance(pool)).toMatchObject({ failed: 1, shardsLost: 1 });
}, 60_000);

test('close() with a shard that spins and carries nothing settles within seconds', async () => {
  const server = await serve();
  const pool = makePool({ shards: 1 });
  await (await pool.fetch(server.url)).text();
  kill(workers.at(-1), 'spins');
  await delay(50);
  const began = performance.now();
  await pool.close();
  // It is given one second to answer; the watchdog would take ten.
  expect(performance.now() - began).toBeLessThan(8_000);
});
