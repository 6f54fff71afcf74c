/**
 * Found by fuzzing (test/fuzz/requests.test.ts): the name of an unknown option stood in the message as it was, line ends and
 * all, so that what a caller passed on from elsewhere could write lines into a log; an empty name left a hole in the sentence.
 */

import { expect, test } from 'vitest';
import { resolvePoolOptions } from '../../src/main/options.ts';

test.each([
  ['', '""'],
  ['a\r\nb', '"a\\r\\nb"'],
  ['shard', 'shard'],
])('an unknown option named %j', (name, shown) => {
  expect(() => resolvePoolOptions({ [name]: 1 })).toThrow(`There is no option ${shown}; the known ones are shards,`);
});
