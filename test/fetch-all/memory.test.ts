/** Memory is bounded whatever the number of inputs: with a heap that could not hold what comes of all of them. `bench/fetch-all.ts` does a million. */

import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

const REQUESTS = process.env.SHARDFETCH_LARGE_BODIES === '1' ? 1_000_000 : 30_000;
/** MiB. Each result kept would take a KiB and more. */
const HEAP = 24;

test(`${REQUESTS} requests in a heap of ${HEAP} MiB`, { timeout: REQUESTS * 2 + 60_000 }, async () => {
  const program = fileURLToPath(new URL('../../out/bench/fetch-all.js', import.meta.url));
  const options = { requests: REQUESTS, heap: HEAP, shards: 1, concurrency: 64, server: 'node' };
  const given = Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const { stdout } = await promisify(execFile)(process.execPath, [program, '--json', ...given]);
  expect(JSON.parse(stdout)).toMatchObject({ requests: REQUESTS, wrong: 0 });
});
