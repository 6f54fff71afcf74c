/** The response parser under random bytes: it says the same however the reads cut, and what it says adds up. */

import fc from 'fast-check';
import { expect } from 'vitest';
import { parseHeaderSection, parseTrailerSection } from '../../src/protocol/http1/header-section.ts';
import { type ParserLimits, ResponseParser } from '../../src/protocol/http1/response-parser.ts';
import { fuzz } from './fuzz.ts';
import { checkConsistent, type Play, play } from './recorder.ts';
import { anyResponse, cut, goodResponse } from './responses.ts';

const WIDE: ParserLimits = {
  headBytes: 65_536,
  headerCount: 1_000,
  trailerBytes: 16_384,
  chunkExtensionBytes: 16_384,
  bodyBytes: 0,
};

const limits: fc.Arbitrary<ParserLimits> = fc.oneof(
  { weight: 3, arbitrary: fc.constant(WIDE) },
  {
    weight: 1,
    arbitrary: fc.record({
      headBytes: fc.integer({ min: 1, max: 300 }),
      headerCount: fc.integer({ min: 1, max: 6 }),
      trailerBytes: fc.integer({ min: 1, max: 40 }),
      chunkExtensionBytes: fc.integer({ min: 1, max: 20 }),
      bodyBytes: fc.integer({ min: 0, max: 60 }),
    }),
  },
);

const offsets = fc.array(fc.nat(5_000), { maxLength: 8 });

fuzz({
  'the same events however the reads cut, and they add up': {
    runs: 1_500,
    property: fc.property(anyResponse, limits, offsets, fc.array(fc.boolean()), (input, chosen, places, pauses) => {
      const bytes = Buffer.from(input.text, 'latin1');
      const scenario: Play = { method: input.method, fin: input.fin, limits: chosen };
      const whole = play([bytes], scenario);
      checkConsistent(whole, scenario, bytes);
      const reads = cut(bytes, places);
      expect(play(reads, scenario)).toEqual(whole);
      expect(
        play(
          Array.from(bytes, (byte) => Uint8Array.of(byte)),
          scenario,
        ),
      ).toEqual(whole);
      let turn = 0;
      expect(play(reads, scenario, { pauses: () => pauses[turn++ % Math.max(pauses.length, 1)] ?? true })).toEqual(
        whole,
      );
      expect(play(reads, scenario, { skips: true })).toEqual(whole);
    }) as fc.IRawProperty<unknown>,
  },

  'a good response is understood': {
    runs: 500,
    property: fc.property(goodResponse, offsets, (good, places) => {
      const bytes = Buffer.from(good.text, 'latin1');
      const seen = play(cut(bytes, places), { method: good.method, fin: good.fin, limits: WIDE });
      expect(seen).toMatchObject({ outcome: 'complete', status: good.status, body: good.body, rest: 0 });
      const lower = (fields: [string, string][]): [string, string][] =>
        fields.map(([name, value]) => [name.toLowerCase(), value]);
      expect(parseHeaderSection(seen.head ?? '')).toEqual(lower(good.fields));
      expect(parseTrailerSection(seen.trailers)).toEqual(lower(good.trailers));
    }) as fc.IRawProperty<unknown>,
  },

  'a parser that was used says what a new one says': {
    runs: 500,
    property: fc.property(anyResponse, anyResponse, limits, offsets, (before, after, chosen, places) => {
      const parser = new ResponseParser(WIDE);
      play([Buffer.from(before.text, 'latin1')], { method: before.method, fin: before.fin, limits: WIDE }, { parser });
      const reads = cut(Buffer.from(after.text, 'latin1'), places);
      const scenario: Play = { method: after.method, fin: after.fin, limits: chosen };
      expect(play(reads, scenario, { parser })).toEqual(play(reads, scenario));
    }) as fc.IRawProperty<unknown>,
  },
});
