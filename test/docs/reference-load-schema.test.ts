/** docs/load-result.schema.json is what the interface `LoadResult` says; `npm run docs:api` writes it anew. */

import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { makeLoadSchema } from './load-schema.ts';

const FILE = fileURLToPath(new URL('../../docs/load-result.schema.json', import.meta.url));

// A compiler reads all sources: two seconds on an idle core, half a minute on a busy one.
test('docs/load-result.schema.json is what the docstrings say', { timeout: 120_000 }, async () => {
  await expect(`${JSON.stringify(makeLoadSchema(), null, 2)}\n`).toMatchFileSnapshot(FILE);
});
