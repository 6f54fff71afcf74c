/** docs/api/ and docs/pool-options.md are what the docstrings say; `npm run docs:api` writes them anew. */

import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { makeReference } from './reference.ts';

const DOCS = fileURLToPath(new URL('../../docs/', import.meta.url));
const reference = makeReference();

test('every public export has a docstring', () => {
  expect(reference.undocumented).toEqual([]);
});

test.each([...reference.pages])('docs/%s is what the docstrings say', async (page, text) => {
  await expect(text).toMatchFileSnapshot(DOCS + page);
});
