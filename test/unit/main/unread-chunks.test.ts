/** Chunks that wait for a reader: in order and at once, however small; memory by bytes; credit for all that was taken, no more. */

import { expect, test } from 'vitest';
import { BodySource } from '../../../src/main/body-source.ts';
import { UnreadChunks } from '../../../src/main/unread-chunks.ts';
import { cpuMs } from '../cpu-time.ts';
import { randomOf } from '../random.ts';

const KIB = 1024;

function filled(): { chunks: UnreadChunks; credit: number[] } {
  const credit: number[] = [];
  return { chunks: new UnreadChunks({ giveCredit: (bytes) => credit.push(bytes) }), credit };
}

function bytesOf(length: number, value = 0): Uint8Array<ArrayBuffer> {
  return new Uint8Array(length).fill(value);
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, one) => total + one, 0);
}

test('200,000 chunks of one byte that nobody read are few blocks, and read in no time', async () => {
  const source = new BodySource({
    giveCredit: () => undefined,
    abandon: () => undefined,
    abandonedFailure: () => new Error('not abandoned'),
  });
  for (let index = 0; index < 200_000; index++) source.push(bytesOf(1, index & 0xff));
  source.end(1, '');
  const startMs = cpuMs();
  const read: Uint8Array[] = [];
  for (let chunk = await source.next(); chunk !== null; chunk = await source.next()) read.push(chunk);
  // It took 40 s where each was taken from the front of a list.
  expect(cpuMs() - startMs).toBeLessThan(2_000);
  expect(read.length).toBeLessThan(30);
  // No more memory than bytes.
  expect(sum(read.map(({ buffer }) => buffer.byteLength))).toBe(200_000);
  const whole = Buffer.concat(read);
  expect(whole.every((value, index) => value === (index & 0xff))).toBe(true);
});

test('100,000 large chunks are taken in no time too, each as it came', () => {
  const { chunks } = filled();
  const large = bytesOf(4 * KIB);
  for (let index = 0; index < 100_000; index++) chunks.push(large);
  const startMs = cpuMs();
  for (let index = 0; index < 100_000; index++) if (chunks.take() !== large) throw new Error('another chunk');
  expect(cpuMs() - startMs).toBeLessThan(2_000);
  expect([chunks.take(), chunks.isEmpty]).toEqual([null, true]);
});

test('whoever reads gets what is there: no chunk waits for its block to be full', () => {
  const { chunks } = filled();
  const first = bytesOf(1, 1);
  chunks.push(first);
  expect(chunks.take()).toBe(first);
  for (const value of [2, 3, 4]) chunks.push(bytesOf(1, value));
  expect([...(chunks.take() as Uint8Array)]).toEqual([2, 3, 4]);
  chunks.push(bytesOf(2, 5));
  expect([...(chunks.take() as Uint8Array)]).toEqual([5, 5]);
  expect(chunks.take()).toBe(null);
});

test('any chunks, taken at any time: the same bytes in the same order, in blocks no longer than 16 KiB (model)', () => {
  for (let seed = 1; seed <= 5; seed++) {
    const random = randomOf(seed);
    const { chunks, credit } = filled();
    const sizes = [1, 100, 4 * KIB - 1, 4 * KIB, 20 * KIB];
    let pushed = 0;
    let taken = 0;
    const take = (): void => {
      const chunk = chunks.take();
      if (chunk === null) {
        expect(taken).toBe(pushed);
        return;
      }
      expect(chunk.length).toBeLessThanOrEqual(20 * KIB);
      for (const value of chunk) if (value !== taken++ % 251) throw new Error(`seed ${seed}: byte ${taken} is wrong`);
    };
    for (let step = 0; step < 400; step++) {
      if (random(10) < 6) {
        const chunk = Uint8Array.from({ length: sizes[random(5)] as number }, () => pushed++ % 251);
        chunks.push(chunk);
      } else take();
    }
    chunks.end();
    while (!chunks.isEmpty) take();
    expect([taken, sum(credit)]).toEqual([pushed, pushed]);
  }
});

test('credit goes back in steps of 64 KiB, the last of it after the end', () => {
  const { chunks, credit } = filled();
  for (let index = 0; index < 5; index++) chunks.push(bytesOf(20 * KIB));
  for (let index = 0; index < 3; index++) chunks.take();
  expect(credit).toEqual([]);
  chunks.take();
  expect(credit).toEqual([80 * KIB]);
  chunks.end();
  expect(credit).toEqual([80 * KIB]);
  chunks.take();
  expect(credit).toEqual([80 * KIB, 20 * KIB]);
});

test('what is dropped gets its credit at once, before the end or after it', () => {
  for (const hasEnded of [false, true]) {
    const { chunks, credit } = filled();
    for (let index = 0; index < 5; index++) chunks.push(bytesOf(20 * KIB));
    chunks.take();
    if (hasEnded) chunks.end();
    chunks.drop();
    chunks.drop();
    expect([sum(credit), chunks.take(), chunks.isEmpty]).toEqual([100 * KIB, null, true]);
  }
});

test('of a body no longer than 64 KiB no credit is given after its end, nor of any that came with its head', () => {
  const short = filled();
  short.chunks.push(bytesOf(64 * KIB - 1));
  short.chunks.end();
  short.chunks.take();
  expect(short.credit).toEqual([]);
  const whole = filled();
  whole.chunks.end(true);
  whole.chunks.push(bytesOf(200 * KIB));
  whole.chunks.take();
  expect(whole.credit).toEqual([]);
});
