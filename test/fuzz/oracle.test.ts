/**
 * The response parser against Node's own, as an oracle: what they make of the same bytes differs only where
 * known-differences.ts says so, and why.
 */

import fc from 'fast-check';
import { compare } from './compare.ts';
import { fuzz } from './fuzz.ts';
import { isKnown } from './known-differences.ts';
import { nodeReads } from './node-client.ts';
import { play } from './recorder.ts';
import { anyResponse } from './responses.ts';

/** As wide as Node's, so that limits make no difference. */
const limits = {
  headBytes: 65_536,
  headerCount: 1_000,
  trailerBytes: 16_384,
  chunkExtensionBytes: 16_384,
  bodyBytes: 0,
};

fuzz({
  'the same as Node, but for what is known': {
    runs: 4_000,
    property: fc.asyncProperty(anyResponse, async ({ text, method, fin }) => {
      const bytes = Buffer.from(text, 'latin1');
      const ours = play([bytes], { method, fin, limits });
      const theirs = await nodeReads(bytes, method, fin);
      const difference = compare(ours, theirs);
      if (difference === null || isKnown({ text, method, ours, theirs, difference })) return;
      throw new Error(`${difference}\nours: ${JSON.stringify(ours)}\nNode: ${JSON.stringify(theirs)}`);
    }) as fc.IRawProperty<unknown>,
  },
});
