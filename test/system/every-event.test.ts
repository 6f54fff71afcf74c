/** A shard dies at the n-th event of a run, for every n: every fetch settles, the counts add up, the pool goes on and closes. */

import { expect, test } from 'vitest';
import { fixture, run, serve } from './rig.ts';

/** `npm test` takes some of the events, `npm run test:faults` all. Odd, because every other run sends lost requests again. */
const all = process.env.FAULTS === 'all';

test.each([
  { how: 'exit', stride: all ? 1 : 13 },
  { how: 'terminate', stride: all ? 1 : 7 },
])('$how, every event in steps of $stride', { timeout: 300_000 }, async ({ how, stride }) => {
  const url = await serve();
  const command = [process.execPath, '--require', fixture('dies-at.cjs'), fixture('every-event.mjs')];
  const ended = await run([...command, url, how, String(stride)], {}, 280_000);
  expect({ code: ended.code, signal: ended.signal }, ended.stdout + ended.stderr).toEqual({ code: 0, signal: null });
  const report = JSON.parse(ended.stdout) as { runs: number; lost: number; outcomes: object; problems: string[] };
  if (all) console.log(how, report);
  expect(report.problems).toEqual([]);
  expect(report.runs).toBeGreaterThan(all ? 20 : 3);
  // The first and the last of the runs may end no thread.
  expect(report.lost).toBeGreaterThan(report.runs / 2);
});
