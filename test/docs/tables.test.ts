/** Tables that list what the code has: all of it, and nothing else. */

import { readFileSync } from 'node:fs';
import { expect, test, vi } from 'vitest';
import { resolvePoolOptions } from '../../src/main/options.ts';
import { RETRY_DEFAULTS } from '../../src/main/retry-options.ts';
import { MULTI_CODES, TRANSFER_CODES } from '../../src/protocol/errors.ts';
import { ROOT } from './pages.ts';
import { memberNames, poolOptionRows } from './reference.ts';

const MULTI = 'src/worker/multi/index.ts';

/** A compiler reads all sources for the first test that asks it: two seconds on an idle core, half a minute on a busy one. */
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

test('docs/errors.md has every code, and whose fault it is', () => {
  const rows = rowsUnder(read('errors'), 'Codes');
  expect(Object.fromEntries(rows.map(([code, blame]) => [plain(code), blame]))).toEqual(TRANSFER_CODES);
});

test('docs/errors.md has every code of MultiError', () => {
  const rows = rowsUnder(read('errors'), 'Codes of `MultiError`');
  expect(rows.map(([code]) => plain(code)).sort()).toEqual(Object.keys(MULTI_CODES).sort());
});

test('docs/timeouts.md has every clock and its default', () => {
  const rows = rowsUnder(read('timeouts'), 'Timeouts');
  const told = rows.map(([name, value]) => [plain(name).replace('timeouts.', ''), numberIn(value)]);
  expect(Object.fromEntries(told)).toEqual(resolvePoolOptions({}).timeouts);
});

test('defaults that the docstrings of pool options name are those of the code', () => {
  const { connections, timeouts, limits, lookupTtlMs, decompress, policies } = resolvePoolOptions({});
  const actual: Record<string, unknown> = { 'dns.ttlMs': lookupTtlMs, decompress };
  const groups = { connections, timeouts, limits, retry: RETRY_DEFAULTS, redirect: policies.redirect };
  for (const [group, values] of Object.entries(groups)) {
    for (const [name, value] of Object.entries(values)) actual[`${group}.${name}`] = value;
  }
  // It depends on the machine.
  delete actual['connections.total'];
  let compared = 0;
  for (const { name, fallback } of poolOptionRows()) {
    const value = actual[name];
    if (typeof value !== 'number' && typeof value !== 'boolean') continue;
    expect(
      typeof value === 'number' ? numberIn(fallback) : fallback.startsWith(String(value)),
      `${name}: ${fallback}`,
    ).toBe(typeof value === 'number' ? value : true);
    compared++;
  }
  expect(compared).toBeGreaterThan(20);
});

test('docs/multi.md names every member of a Multi and every option', () => {
  const text = read('multi');
  const members = memberNames(MULTI, 'Multi').filter((name) => !text.includes(`multi.${name}`));
  const options = [...memberNames(MULTI, 'MultiOptions'), ...memberNames(MULTI, 'TransferOptions')];
  const missing = options.filter((name) => !new RegExp(`\`${name}\\b`).test(text));
  expect([...members, ...missing].filter((name) => !LEFT_OUT.has(name))).toEqual([]);
});

/** Said by a member of it. */
const LEFT_OUT: ReadonlySet<string> = new Set(['timeouts', 'limits']);

test('docs/multi.md names no member that there is not', () => {
  const known = { multi: new Set(memberNames(MULTI, 'Multi')), transfer: new Set(memberNames(MULTI, 'Transfer')) };
  const info = new Set(memberNames(MULTI, 'TransferInfo'));
  const unknown: string[] = [];
  for (const [whole, owner, name, part] of read('multi').matchAll(/`(multi|transfer)\.(\w+)(?:\.(\w+))?/g)) {
    const isKnown = known[owner as keyof typeof known].has(name as string);
    if (!isKnown || (name === 'info' && part !== undefined && !info.has(part))) unknown.push(whole);
  }
  expect(unknown).toEqual([]);
});

function read(page: string): string {
  return readFileSync(`${ROOT}docs/${page}.md`, 'utf8');
}

/** The cells of the last table below a heading, without its head. */
function rowsUnder(text: string, heading: string): string[][] {
  const [, section = ''] = text.split(new RegExp(`^#+ ${heading}$`, 'm'));
  const own = section.split(/^#/m)[0] ?? '';
  const lines = own.split('\n').filter((line) => line.startsWith('| '));
  return lines.slice(1).map((line) =>
    line
      .split(/(?<!\\)\|/)
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}

function plain(cell: string | undefined): string {
  return (cell ?? '').replaceAll('`', '');
}

/** `64 MiB` and `65,536`; the first in the text. */
function numberIn(cell: string | undefined): number {
  const [, digits = '', unit] = /([\d,]+)( MiB)?/.exec(cell ?? '') ?? [];
  return Number(digits.replaceAll(',', '')) * (unit === undefined ? 1 : 1024 * 1024);
}
