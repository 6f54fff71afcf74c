/** What `realms.test.ts` has vitest run in its vmThreads. */

import { once } from 'node:events';
import http from 'node:http';
import { expect, test } from 'vitest';
import { Pool } from '../../../dist/main/index.js';

test.each([0, 1])('shards: %i', async (shards) => {
  const server = http.createServer((request, response) => request.pipe(response)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const pool = new Pool({ shards });
  const url = `http://127.0.0.1:${server.address().port}/`;
  const response = await pool.fetch(url, { method: 'POST', body: 'there and back' });
  expect(await response.text()).toBe('there and back');
  await expect(pool.fetch('http://127.0.0.1:1/')).rejects.toThrow(TypeError);
  await pool.close();
  server.close();
});
