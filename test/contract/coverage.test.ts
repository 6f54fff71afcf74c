/** Every rule of the multi handle's contract has a test that carries its number, or a line in docs/http-support.md that says why not. */

import { readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

/** The contract's sections, and the rules in each. */
const SECTIONS: Record<string, readonly [first: number, last: number]> = {
  'life cycle': [1, 12],
  'socket callback': [13, 23],
  'timer callback': [24, 30],
  'socket action': [31, 39],
  'completion messages and counters': [40, 43],
  'recursion guards': [44, 47],
  'abort by a callback': [48, 51],
  assign: [52, 53],
  connecting: [54, 58],
  'pool and reuse': [59, 67],
  'limits and queueing': [68, 73],
  'pausing, backpressure, speed': [74, 78],
  threads: [79, 80],
};

/** Rules that do not apply, or not yet; docs/http-support.md says why. */
const EXEMPT = [15, 67, 77, 80];

const TESTS = new URL('../', import.meta.url);
const DOCUMENT = readFileSync(new URL('../../docs/http-support.md', import.meta.url), 'utf8');

/** The numbers in the names of tests: `contract/rule-13 …`. */
function namedRules(): Set<number> {
  const rules = new Set<number>();
  for (const name of readdirSync(TESTS, { recursive: true, encoding: 'utf8' })) {
    if (!name.endsWith('.test.ts')) continue;
    const text = readFileSync(new URL(name, TESTS), 'utf8');
    for (const [, number] of text.matchAll(/['"`]contract\/rule-(\d{2})\b/g)) rules.add(Number(number));
  }
  return rules;
}

test('the sections have no gap', () => {
  let next = 1;
  for (const [first, last] of Object.values(SECTIONS)) {
    expect(first).toBe(next);
    next = last + 1;
  }
  expect(next).toBe(81);
});

test.each(Object.entries(SECTIONS))('every rule of "%s" has a test or a reason', (_name, [first, last]) => {
  const named = namedRules();
  const missing: number[] = [];
  for (let rule = first; rule <= last; rule++) if (!named.has(rule) && !EXEMPT.includes(rule)) missing.push(rule);
  expect(missing).toEqual([]);
});

test('no test carries a number that is none', () => {
  for (const rule of namedRules()) expect(rule >= 1 && rule <= 80, `rule ${rule}`).toBe(true);
});

test.each(EXEMPT)('rule %i has its reason in docs/http-support.md, and no test', (rule) => {
  expect(DOCUMENT).toMatch(new RegExp(`^\\| ${rule}: `, 'm'));
  expect(namedRules().has(rule)).toBe(false);
});
