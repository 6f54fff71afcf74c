/** `shards: 0`: the shard in this thread keeps the same promises. */

import { expect, test } from 'vitest';
import { descriptors, eventually, expectBalance, type Loss, makePool, rejection, serve, workers } from './rig.ts';

test('requests, failures, aborts and counts without any thread', async () => {
  const server = await serve();
  const pool = makePool({ shards: 0 });
  const texts = await Promise.all(Array.from({ length: 50 }, async () => (await pool.fetch(server.url)).text()));
  expect(texts).toEqual(Array(50).fill('ok'));
  expect((await rejection(pool.fetch('http://255.255.255.255/'))).code).toBe('COULDNT_CONNECT');
  const controller = new AbortController();
  const given = rejection(pool.fetch(`${server.url}hang`, { signal: controller.signal }));
  await eventually(() => server.open.length === 1, 'the request');
  const reason = new Error('given up');
  controller.abort(reason);
  expect(await given).toBe(reason);
  expect(workers.length).toBe(0);
  expect(await expectBalance(pool)).toMatchObject({ started: 52, completed: 50, failed: 1, aborted: 1 });
  expect((await pool.stats()).shards.length).toBe(1);
});

test('close() waits for what is in flight, destroy() cuts it; both leave no descriptor', async () => {
  const server = await serve();
  const before = descriptors();
  const closing = makePool({ shards: 0 });
  const slow = closing.fetch(`${server.url}slow`).then((response) => response.text());
  await closing.close();
  expect(await slow).toBe('slow');

  const cut = makePool({ shards: 0 });
  const hanging = rejection(cut.fetch(`${server.url}hang`));
  // Its head is there.
  const part = rejection((await cut.fetch(`${server.url}part`)).text());
  await eventually(() => server.open.length === 2, 'the requests');
  await cut.destroy('because');
  expect((await hanging).code).toBe('POOL_CLOSED');
  const broken: Loss = await part;
  expect([broken.message, broken.code, broken.cause.cause]).toEqual(['terminated', 'POOL_CLOSED', 'because']);
  await eventually(async () => (await server.connections()) === 0, 'the close of every connection');
  await eventually(() => JSON.stringify(descriptors()) === JSON.stringify(before), 'the baseline').catch(() =>
    expect(descriptors()).toEqual(before),
  );
});

test('close() and destroy() in the turn of its making settle', async () => {
  await makePool({ shards: 0 }).close();
  await makePool({ shards: 0 }).destroy();
  const pool = makePool({ shards: 0 });
  const fetched = rejection(pool.fetch('http://127.0.0.1:1/'));
  await pool.destroy();
  expect((await fetched).code).toBe('POOL_CLOSED');
  await expectBalance(pool);
});
