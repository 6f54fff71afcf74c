/** docs/api/ and docs/pool-options.md are what the docstrings say; `npm run docs:api` writes them anew. */

import { fileURLToPath } from 'node:url';
import { expect, test, vi } from 'vitest';
import { ENTRIES, makeReference, silentMembers } from './reference.ts';

// A compiler reads all sources: two seconds on an idle core, half a minute on a busy one.
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

const DOCS = fileURLToPath(new URL('../../docs/', import.meta.url));
const reference = makeReference();

test('every public export has a docstring', () => {
  expect(reference.undocumented).toEqual([]);
});

/** What people set, call and read most. */
const WELL_KNOWN = [
  [
    'Pool',
    'PoolOptions',
    'ConnectionOptions',
    'FetchInit',
    'FetchResponse',
    'PoolStats',
    'ShardStats',
    'TransferError',
  ],
  ['Multi', 'MultiOptions', 'TransferOptions', 'TransferInfo', 'EpollDriver', 'UvDriver'],
  ['LoadOptions', 'HoldOptions'],
];

test.each(ENTRIES.map(({ name }, index) => [name, index] as const))('members of %s have docstrings', (_, index) => {
  const names = WELL_KNOWN[index] ?? [];
  const source = ENTRIES[index]?.source ?? '';
  // Of every Error.
  const silent = names.flatMap((name) => silentMembers(source, name)).filter((name) => !name.endsWith('Error.name'));
  expect(silent).toEqual([]);
});

test.each([...reference.pages])('docs/%s is what the docstrings say', async (page, text) => {
  await expect(text).toMatchFileSnapshot(DOCS + page);
});
