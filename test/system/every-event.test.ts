/** A shard dies at the n-th event of a run, for every n: every fetch settles, the counts add up, the pool goes on and closes. */

import { expect, test } from 'vitest';
import { fixture, run, serve } from './rig.ts';

test.each([
  { how: 'exit', stride: 1 },
  { how: 'terminate', stride: 1 },
])('$how at every event', { timeout: 300_000 }, async ({ how, stride }) => {
  const url = await serve();
  const command = [process.execPath, '--require', fixture('dies-at.cjs'), fixture('every-event.mjs')];
  const ended = await run([...command, url, how, String(stride)], {}, 280_000);
  expect({ code: ended.code, signal: ended.signal }, ended.stdout + ended.stderr).toEqual({ code: 0, signal: null });
  const report = JSON.parse(ended.stdout) as { runs: number; lost: number; outcomes: object; problems: string[] };
  console.log(how, report);
  expect(report.problems).toEqual([]);
  expect(report.runs).toBeGreaterThan(20);
  expect(report.lost).toBeGreaterThan(report.runs / 2);
});
