/** The table of README.md: every case in scope has its line, every file that it names is there, every script has its case. */

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { readScripts } from './script.ts';

const HERE = new URL('./', import.meta.url);
const LATER: readonly number[] = [];
/** Numbers of the list that name no case. */
const MISSING = [4, 7, 13, 19, 23, 28, 32, 39, 43, 46, 52, 55, 58, 70, 77, 83, 87, 109, 117, 145, 166, 167];
const FIRST_A_TO_E = Array.from({ length: 90 }, (_, index) => index + 1);
/** F and, of I, cookies; 93, 97 and 130 name no case. */
const F = [91, 92, 94, 95, 96, 98, 99, 100, 102, 103];
const COOKIES = [128, 129];
const G = Array.from({ length: 120 - 104 }, (_, index) => index + 104);
/** H, and the end of I: URLs and the guard. */
const H_AND_GUARD = [120, 121, 122, 123, 124, 125, 127, 131, 132, 133, 134];
const J_AND_K = Array.from({ length: 169 - 135 }, (_, index) => index + 136);
const IN_SCOPE = [...FIRST_A_TO_E, ...F, ...G, ...COOKIES, ...H_AND_GUARD, ...J_AND_K]
  .sort((a, b) => a - b)
  .filter((number) => !LATER.includes(number) && !MISSING.includes(number));

const rows = readFileSync(new URL('README.md', HERE), 'utf8')
  .split('\n')
  .map((line) => /^\| (\d+) \| ([^|]*) \| ([^|]*)\|$/.exec(line))
  .filter((row) => row !== null)
  .map(([, number, where, outcome]) => ({
    number: Number(number),
    where: where as string,
    outcome: outcome as string,
  }));

test('every case in scope has one line, in order', () => {
  expect(rows.map(({ number }) => number)).toEqual(IN_SCOPE);
});

test('every line names files that are there, or says why the case is not covered', () => {
  for (const { number, where } of rows) {
    if (where.startsWith('not covered: ')) continue;
    const files = where.split(', ').map((name) => name.split(' ')[0] as string);
    for (const file of files) {
      expect(file, String(number)).toMatch(/\.(md|test\.ts)$/);
      expect(existsSync(new URL(file.includes('/') ? `../${file}` : file, HERE)), `${number}: ${file}`).toBe(true);
    }
  }
});

test('every script stands where the table says, and its case is in scope', () => {
  for (const file of readdirSync(HERE).filter((name) => name.endsWith('.md') && name !== 'README.md')) {
    const numbers = new Set(readScripts(new URL(file, HERE), file).map(({ number }) => number));
    for (const number of numbers) expect(rows.find((row) => row.number === number)?.where, `${number}`).toContain(file);
    for (const { number, where } of rows.filter((row) => row.where.includes(file))) {
      if (number !== 153) expect(numbers.has(number), `${where}: ${number}`).toBe(true);
    }
  }
});
