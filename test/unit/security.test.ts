/** SECURITY.md says every limit and its default: here it is held to what the sources say. */

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { resolvePoolOptions } from '../../src/main/options.ts';
import { DEFAULT_LIMITS, DEFAULT_TIMEOUTS } from '../../src/protocol/options.ts';
import { resolveMultiOptions } from '../../src/worker/multi/multi-options.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const [byPool = [], byMulti = [], fixed = []] = tablesOf(read('SECURITY.md')).filter(
  ([header]) => header?.[1] !== 'trusted',
);

function read(file: string): string {
  return readFileSync(path.join(root, file), 'utf8');
}

/** Each table as rows of cells; the first row is its header. */
function tablesOf(markdown: string): string[][][] {
  return [...markdown.matchAll(/(?:^\|.*\|\n)+/gm)].map(([table]) =>
    table
      .trim()
      .split('\n')
      .filter((line) => !line.startsWith('|---'))
      .map((line) =>
        line
          .split('|')
          .slice(1, -1)
          .map((cell) => cell.trim()),
      ),
  );
}

function defaultsOf(table: string[][]): Record<string, number> {
  const rows = table.slice(1).map(([name = '', value = '']) => [name.replaceAll('`', ''), numberOf(value)]);
  return Object.fromEntries(rows);
}

function numberOf(text: string): number {
  expect(text).toMatch(/^\d{1,3}(,\d{3})*$/);
  return Number(text.replaceAll(',', ''));
}

/** What a constant (or a property of one) is set to in a source, names of other constants in it followed. */
function constantIn(source: string, name: string): number {
  const [, expression] = new RegExp(`\\b${name}(?:: \\w+)?\\s*[=:] ([\\w\\s*+'-]+)[;,]`).exec(source) ?? [];
  if (expression === undefined) throw new Error(`there is no ${name}`);
  const numbers = expression
    .replaceAll(/[_'](?=\d)/g, '')
    .replaceAll(/\b[A-Za-z]\w*/g, (other) => String(constantIn(source, other)));
  return new Function(`return ${numbers}`)();
}

test('the limits and timeouts of a pool: all of them, with their defaults', () => {
  const { connections, limits, timeouts, lookupTtlMs } = resolvePoolOptions({});
  const { reuse, ...limitsOnly } = connections;
  expect(reuse).toBe(true);
  expect(limits).toBe(DEFAULT_LIMITS);
  expect(timeouts).toBe(DEFAULT_TIMEOUTS);
  const hardLimit = execFileSync('sh', ['-c', 'ulimit -Hn'], { encoding: 'utf8' }).trim();
  const openFiles = hardLimit === 'unlimited' ? Number.POSITIVE_INFINITY : Number(hardLimit);
  const named = defaultsOf(byPool);
  named['connections.total'] = Math.min(named['connections.total'] ?? 0, openFiles - 500);
  expect(named).toEqual({
    ...prefixed('limits', limits),
    ...prefixed('timeouts', timeouts),
    ...prefixed('connections', limitsOnly),
    'dns.ttlMs': lookupTtlMs,
  });
});

function prefixed(group: string, values: object): Record<string, number> {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [`${group}.${name}`, value]));
}

test('the limits of a multi: all of them, with their defaults', () => {
  expect(defaultsOf(byMulti)).toEqual(resolveMultiOptions({}).cacheLimits);
});

test.each(fixed.length > 1 ? fixed.slice(1) : [['no table']])('fixed: %s', (_bounds, value = '', where = '') => {
  const [, file = '', name = ''] = /^`(.+)` `(.+)`$/.exec(where) ?? [];
  expect(numberOf(value)).toBe(constantIn(read(file), name));
});
