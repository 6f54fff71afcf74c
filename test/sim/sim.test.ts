/** The short run of `npm run sim` (see main.ts), as part of the suite. */

import { expect, test } from 'vitest';
import { runSeed } from './simulation.ts';

const SEEDS = 1_500;
/** Seeds of one test: a failure says which. */
const SEEDS_EACH = 250;

for (let first = 1; first <= SEEDS; first += SEEDS_EACH) {
  test(`sim/seeds ${first} to ${first + SEEDS_EACH - 1}: every invariant holds after every turn`, () => {
    for (let seed = first; seed < first + SEEDS_EACH; seed++) {
      const { violation } = runSeed(seed);
      if (violation !== null) {
        throw new Error(`seed ${seed}: ${violation.message}; again: npm run sim -- --seed ${seed} --trace`);
      }
    }
  });
}

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

test('sim/coverage: the short run puts in every kind of fault and sees every kind of end', () => {
  const seen = new Set<string>();
  for (let seed = 1; seed <= SEEDS; seed++) for (const what of runSeed(seed).counts.keys()) seen.add(what);
  const missing = EXPECTED.filter((what) => !seen.has(what));
  expect(missing).toEqual([]);
});

const EXPECTED = [
  ...['success', 'COULDNT_RESOLVE', 'COULDNT_CONNECT', 'CONNECTION_LOST', 'SEND_FAILED', 'INCOMPLETE_BODY'],
  ...['BAD_RESPONSE', 'LIMIT_EXCEEDED', 'INVALID_ARGUMENT', 'ABORTED_BY_CALLBACK', 'QUEUE_FULL', 'QUEUE_TIMEOUT'],
  ...['CONNECT_TIMEOUT', 'HEAD_TIMEOUT', 'BODY_TIMEOUT', 'TOTAL_TIMEOUT'],
]
  .map((code) => `end: ${code}`)
  .concat([
    'EINTR',
    'EMFILE',
    'answer to no question',
    'callback answered -1',
    'callback threw',
    'connection reused',
    'multi callback threw',
    'onData answered PAUSE',
    'partial read',
    'partial write',
    'received into a target',
    'removed while running',
    'request repeated',
    'reset arrived',
    'reset purged bytes',
    'source breaks',
    'source starves',
  ]);
