/** The short run of `npm run sim` (see main.ts), as part of the suite. */

import { expect, test } from 'vitest';
import { runSeed } from './simulation.ts';

const SEEDS = 1_500;
/** Some 5 s on a machine that does nothing else. */
const TIMEOUT_MS = 180_000;

test('sim/seeds: every invariant holds after every turn, whatever is put in', { timeout: TIMEOUT_MS }, () => {
  const seen = new Set<string>();
  for (let seed = 1; seed <= SEEDS; seed++) {
    const { violation, counts } = runSeed(seed);
    if (violation !== null) {
      throw new Error(`seed ${seed}: ${violation.message}; again: npm run sim -- --seed ${seed} --trace`);
    }
    for (const what of counts.keys()) seen.add(what);
  }
  // Seeds that put nothing in would find nothing.
  expect(EXPECTED.filter((what) => !seen.has(what))).toEqual([]);
});

test('sim/replay: a seed tells the same story every time', () => {
  for (const seed of [3, 77, 1_204]) {
    const stories = [1, 2].map(() => {
      const lines: string[] = [];
      runSeed(seed, (line) => lines.push(line));
      return lines.join('\n');
    });
    expect(stories[0]?.length).toBeGreaterThan(1_000);
    expect(stories[1]).toBe(stories[0]);
  }
});

const EXPECTED = [
  'end: success',
  'end: COULDNT_RESOLVE',
  'end: COULDNT_CONNECT',
  'end: CONNECTION_LOST',
  'end: SEND_FAILED',
  'end: INCOMPLETE_BODY',
  'end: BAD_RESPONSE',
  'end: LIMIT_EXCEEDED',
  'end: INVALID_ARGUMENT',
  'end: ABORTED_BY_CALLBACK',
  'end: QUEUE_FULL',
  'end: QUEUE_TIMEOUT',
  'end: CONNECT_TIMEOUT',
  'end: HEAD_TIMEOUT',
  'end: BODY_TIMEOUT',
  'end: TOTAL_TIMEOUT',
  'end: RATE_TOO_LOW',
  'EINTR',
  'EMFILE',
  'answer to no question',
  'callback answered -1',
  'callback threw',
  'cannot bind',
  'cleared',
  'clock changed',
  'connection drained',
  'connection reused',
  'limit changed',
  'multi callback threw',
  'onData answered PAUSE',
  'partial read',
  'partial write',
  'paused: both',
  'paused: receive',
  'paused: send',
  'received into a target',
  'removed while running',
  'request repeated',
  'reset arrived',
  'reset purged bytes',
  'source breaks',
  'source starves',
];
