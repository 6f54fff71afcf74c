/** A main thread that was blocked must not take its own deafness for a shard's death. */

import { expect, test } from 'vitest';
import { eventually, expectBalance, makePool, serve } from './rig.ts';

test('a main thread blocked for 12 s does not end a healthy shard', async () => {
  const server = await serve();
  const pool = makePool({ shards: 2, placement: 'spread' });
  const hanging = Promise.all([0, 1].map(async () => (await pool.fetch(`${server.url}hang`)).text()));
  await eventually(() => server.open.length === 2, 'the requests');
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 12_000);
  // Whatever was due meanwhile has had its chance.
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  for (const response of server.open) response.end('alive');
  expect(await hanging).toEqual(['alive', 'alive']);
  expect(await (await pool.fetch(server.url)).text()).toBe('ok');
  expect(await expectBalance(pool)).toMatchObject({ failed: 0, shardsLost: 0 });
}, 60_000);
