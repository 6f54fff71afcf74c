/** A shard that dies while the pool's look-up function works for it; the one that takes its place asks it, too. */

import type { LookupDone, PoolOptions } from 'shardfetch';
import { expect, test } from 'vitest';
import { type Death, eventually, kill, makePool, rejection, serve, workers } from './rig.ts';

test.each<Death>(['terminate', 'throws'])('a shard ends by %s in the middle of a look-up', async (death) => {
  const server = await serve();
  const { port } = new URL(server.url);
  const asked: { host: string; done: LookupDone }[] = [];
  const dns: PoolOptions['dns'] = {
    lookup: (host, _family, done) => {
      if (host === 'now.test') done(null, ['127.0.0.1']);
      else asked.push({ host, done });
    },
  };
  const pool = makePool({ shards: 1, dns });
  expect((await pool.fetch(`http://now.test:${port}/`)).status).toBe(200);
  const lost = rejection(pool.fetch(`http://later.test:${port}/`));
  await eventually(() => asked.length === 1, 'the look-up');
  kill(workers[0], death);
  expect(await lost).toMatchObject({ code: 'SHARD_LOST' });
  // The answer comes for a shard that is gone.
  asked[0]?.done(null, ['127.0.0.1']);
  expect((await pool.fetch(`http://now.test:${port}/`)).status).toBe(200);
  const again = pool.fetch(`http://later.test:${port}/`);
  await eventually(() => asked.length === 2, 'the look-up of the new shard');
  asked[1]?.done(null, ['127.0.0.1']);
  expect((await again).status).toBe(200);
});
