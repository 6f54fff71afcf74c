/** Every descriptor ends with its environment, however that ends. In a process of its own: a native crash fails the test, not the runner. */

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

function run(fixture: string, ...values: string[]): Record<string, unknown> {
  const file = fileURLToPath(new URL(`fixtures/${fixture}`, import.meta.url));
  const child = spawnSync(process.execPath, [file, ...values], { encoding: 'utf8', timeout: 280_000 });
  expect({ status: child.status, signal: child.signal }, child.stderr).toEqual({ status: 0, signal: null });
  return JSON.parse(child.stdout);
}

/** Hundreds of threads: 10 s on two idle cores, more than a minute on busy ones. */
const LIMIT_MS = 300_000;

test('346 workers die in eight ways and leave no descriptor', { timeout: LIMIT_MS }, () => {
  const seed = String(Date.now() % 1_000_000);
  const seen = run('worker-death.mjs', seed);
  expect(seen).toMatchObject({ workers: 346, surprises: [], connections: 0, threads: 0 });
  expect(seen.after, `seed ${seed}`).toEqual(seen.before);
  expect(seen.stuck).toBeGreaterThan(0); // look-ups outlived their workers
});

test('look-ups that hang take 16 threads, hold up no other resolver, and outlive theirs harmlessly', {
  timeout: LIMIT_MS,
}, () => {
  expect(run('resolver-stuck.mjs')).toEqual({
    threads: 16,
    other: ['127.0.0.1'],
    descriptorReused: true,
    strayAnswer: null,
  });
});
