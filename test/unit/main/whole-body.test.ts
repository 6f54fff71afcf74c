/** A body put together from pieces: right bytes for every length and every announcement, true or false. */

import { describe, expect, test } from 'vitest';
import { WholeBody } from '../../../src/protocol/port/whole-body.ts';

const MIB = 1024 * 1024;

const PATTERN = Uint8Array.from({ length: 21 * MIB }, (_, index) => index % 251);

function patterned(from: number, count: number): Uint8Array<ArrayBuffer> {
  return PATTERN.slice(from, from + count);
}

type Way = 'given' | 'lent' | 'by turns';

const WAYS: readonly Way[] = ['given', 'lent', 'by turns'];

function build(lengths: readonly number[], announced: number, way: Way): Uint8Array {
  const whole = new WholeBody(() => announced);
  let at = 0;
  for (const [index, length] of lengths.entries()) {
    const piece = patterned(at, length);
    if (way === 'given' || (way === 'by turns' && index % 2 === 0)) {
      whole.add(piece);
    } else {
      whole.addCopy(piece);
      piece.fill(255);
    }
    at += length;
  }
  return whole.take();
}

const SPLITS: readonly (readonly [string, readonly number[]])[] = [
  ['nothing', []],
  ['one piece', [1000]],
  ['small pieces', [1, 2, 3, 70_000]],
  ['exactly what is kept in pieces', [MIB / 2, MIB / 2]],
  ['one byte more', [MIB, 1]],
  ['one large piece', [3 * MIB]],
  ['more than one growth', [MIB, 1, ...Array<number>(36).fill(MIB / 2)]],
  ['single bytes', Array<number>(40_000).fill(1)],
  ['pieces just below, at and above the size of a block', [1, ...Array<number>(90).fill(16_383), 16_384, 16_385, 7]],
  ['small pieces between large ones', Array.from({ length: 60 }, (_, index) => (index % 3 === 0 ? 40_000 : index + 1))],
];

describe.each(SPLITS)('%s', (_name, lengths) => {
  const bytes = lengths.reduce((sum, length) => sum + length, 0);
  test.each([
    ['the length announced', bytes],
    ['no length announced', -1],
    ['less announced than comes', Math.floor(bytes / 2)],
    ['more announced than comes', bytes * 3 + 1],
    ['an announcement that is no number', Number.NaN],
  ])('%s', (_announcement, announced) => {
    for (const way of WAYS) {
      const whole = build(lengths, announced, way);
      expect(whole.length).toBe(bytes);
      expect(Buffer.compare(whole, patterned(0, bytes)), way).toBe(0);
      expect(whole.buffer.byteLength).toBe(bytes);
    }
  });
});

test('a single piece is handed on as it is', () => {
  const piece = patterned(0, 5000);
  const whole = new WholeBody(() => 5000);
  whole.add(piece);
  expect(whole.take()).toBe(piece);
});

test('what is announced and does not come takes no memory', () => {
  const whole = new WholeBody(() => 1e15);
  for (let index = 0; index < 3; index++) whole.add(patterned(0, MIB));
  expect(whole.take().length).toBe(3 * MIB);
});
