/**
 * Memory stays bounded: bodies larger than the heap go through both ways, a slow reader holds its peer, and paused bodies take no
 * more than their budget. Each in a process of its own with a heap of 64 MiB; SHARDFETCH_LARGE_BODIES=1 makes the large ones 4 GiB.
 * Each is seconds of computing in two processes, which a busy machine makes a minute of.
 */

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { MIB, WINDOW_MAX } from './rig.ts';

const LARGE = process.env.SHARDFETCH_LARGE_BODIES === '1';
const THROUGH_BYTES = (LARGE ? 4 : 1) * 1024 * MIB;

let server: ChildProcess;
let url = '';

beforeAll(async () => {
  const file = fileURLToPath(new URL('fixtures/endless-server.mjs', import.meta.url));
  server = spawn(process.execPath, [file], { stdio: ['pipe', 'pipe', 'inherit'] });
  const [port] = await once(server.stdout as NodeJS.ReadableStream, 'data');
  url = `http://127.0.0.1:${String(port).trim()}/`;
}, 60_000);

afterAll(async () => {
  const ended = once(server, 'exit');
  server.stdin?.end();
  await ended;
}, 60_000);

async function run(what: string, ...values: string[]): Promise<Record<string, unknown> & { peakMib: number }> {
  const file = fileURLToPath(new URL('fixtures/memory.mjs', import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, [
    '--max-old-space-size=64',
    file,
    what,
    url,
    ...values,
  ]);
  return JSON.parse(stdout);
}

test(`${THROUGH_BYTES / MIB} MiB each way at once through a heap of 64 MiB`, {
  timeout: LARGE ? 600_000 : 180_000,
}, async () => {
  const seen = await run('through', String(THROUGH_BYTES));
  expect(seen).toMatchObject({ received: THROUGH_BYTES, sent: { bytes: THROUGH_BYTES, wrong: 0 } });
  expect(seen.peakMib).toBeLessThan(320);
});

test('a reader ten times slower than the peer', { timeout: 180_000 }, async () => {
  const seen = await run('slow');
  expect(seen.read).toBe(true);
  expect(seen.unreadMax).toBeLessThanOrEqual(WINDOW_MAX);
  expect(seen.peakMib).toBeLessThan(320);
});

// Its server accepts one of the two thousand connections per turn of its loop, and a turn may be long.
test('a thousand paused bodies beside a thousand running ones', { timeout: 300_000 }, async () => {
  const seen = await run('paused');
  expect(seen).toMatchObject({ whole: 1_000, firsts: 1_000 });
  // The budget of 32 MiB, and what each body may have beyond it.
  expect(seen.unreadMib).toBeLessThanOrEqual(32 + (1_000 * 192) / 1024);
  expect(seen.peakMib).toBeLessThan(640);
});
