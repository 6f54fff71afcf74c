/** A body put together from pieces: right bytes for every length and every announcement, true or false. */

import { describe, expect, test } from 'vitest';
import { WholeBody } from '../../../src/protocol/port/whole-body.ts';

const MIB = 1024 * 1024;

function patterned(from: number, count: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(count);
  for (let index = 0; index < count; index++) bytes[index] = (from + index) % 251;
  return bytes;
}

function build(lengths: readonly number[], announced: number): Uint8Array {
  const whole = new WholeBody(() => announced);
  let at = 0;
  for (const length of lengths) {
    whole.add(patterned(at, length));
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
    const whole = build(lengths, announced);
    expect(whole.length).toBe(bytes);
    expect(Buffer.compare(whole, patterned(0, bytes))).toBe(0);
    expect(whole.buffer.byteLength).toBe(bytes);
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
