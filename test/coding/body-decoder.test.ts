/** BodyDecoder alone: every coding at every split, what stands behind the end, what is missing before it, and how much comes at once. */

import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { type ContentCoding, codingNames, knownCodings } from '../../src/protocol/content-codings.ts';
import { TransferError } from '../../src/protocol/errors.ts';
import { BodyDecoder, SLICE_BYTES } from '../../src/worker/content-coding/body-decoder.ts';
import { decodersInUse } from '../../src/worker/content-coding/coding-decoder.ts';
import { codingOf, ENCODER_NAMES, encode, json, SILENT_PIECES, silentBomb } from './rig.ts';

afterEach(() => expect(decodersInUse()).toBe(0));

/** As the engine does it: a chunk that was not done is offered again. `moved`: from other memory, at another offset. */
function decodeAll(codings: readonly ContentCoding[], chunks: readonly Uint8Array[], bytesMax = 0): Buffer {
  const decoder = new BodyDecoder(codings, bytesMax);
  const out: Buffer[] = [];
  try {
    for (const chunk of chunks) {
      let [bytes, start] = [Buffer.concat([Buffer.from('before'), chunk, Buffer.from('after')]), 6];
      for (;;) {
        const count = decoder.decode(bytes, start, start + chunk.length);
        expect(count).toBeLessThanOrEqual(SLICE_BYTES);
        out.push(Buffer.from(decoder.decoded.subarray(0, count)));
        if (decoder.isDone) break;
        [bytes, start] = [Buffer.from(chunk), 0];
      }
    }
    decoder.finish();
  } finally {
    decoder.release();
  }
  return Buffer.concat(out);
}

function failureOf(run: () => unknown): TransferError {
  try {
    run();
  } catch (error) {
    if (TransferError.is(error)) return error;
    throw error;
  }
  throw new Error('it did not fail');
}

function splits(data: Uint8Array): Uint8Array[][] {
  return Array.from({ length: data.length + 1 }, (_, at) => [data.subarray(0, at), data.subarray(at)]);
}

function bytewise(data: Uint8Array): Uint8Array[] {
  return Array.from(data, (byte) => Uint8Array.of(byte));
}

describe.each(ENCODER_NAMES)('%s', (name) => {
  const codings = [codingOf(name)];

  test('decode(encode(x)) is x, split at every byte', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 120 }), (data) => {
        const coded = encode(name, data);
        for (const chunks of [...splits(coded), bytewise(coded)]) {
          expect(decodeAll(codings, chunks).equals(data)).toBe(true);
        }
      }),
      { numRuns: 12, seed: 20_251 },
    );
  });

  test('a large body comes in slices, whole', () => {
    const data = Buffer.from(json(700_000));
    const coded = encode(name, data);
    expect(decodeAll(codings, [coded]).equals(data)).toBe(true);
    const parts = Array.from({ length: Math.ceil(coded.length / 5000) }, (_, index) =>
      coded.subarray(index * 5000, index * 5000 + 5000),
    );
    expect(decodeAll(codings, parts).equals(data)).toBe(true);
  });

  test('a body of as much as a slice, and one byte less and more', () => {
    for (const length of [SLICE_BYTES - 1, SLICE_BYTES, SLICE_BYTES + 1, 2 * SLICE_BYTES]) {
      const data = Buffer.alloc(length, 'x');
      expect(decodeAll(codings, [encode(name, data)]).equals(data), String(length)).toBe(true);
      expect(
        decodeAll(
          codings,
          bytewise(encode(name, data).subarray(0, 200)).concat([encode(name, data).subarray(200)]),
        ).equals(data),
      ).toBe(true);
    }
  });

  test('cut off anywhere, it is BAD_CONTENT_CODING', () => {
    const coded = encode(name, 'what is missing of this must not go unnoticed');
    for (let length = 1; length < coded.length; length++) {
      for (const chunks of [[coded.subarray(0, length)], bytewise(coded.subarray(0, length))]) {
        const error = failureOf(() => decodeAll(codings, chunks));
        expect(error.code, `${length} of ${coded.length}`).toBe('BAD_CONTENT_CODING');
        expect(error.phase).toBe('body');
      }
    }
  });

  test('no bytes at all are an empty body', () => {
    expect(decodeAll(codings, []).length).toBe(0);
    expect(decodeAll(codings, [encode(name, '')]).length).toBe(0);
  });

  test('zero bytes behind the end are padding, others are an error, wherever the chunks end', () => {
    const coded = encode(name, 'hello');
    for (const chunks of splits(Buffer.concat([coded, Buffer.alloc(20)]))) {
      // zstd has frames to pad with.
      if (name === 'zstd') expect(failureOf(() => decodeAll(codings, chunks)).code).toBe('BAD_CONTENT_CODING');
      else expect(decodeAll(codings, chunks).toString()).toBe('hello');
    }
    for (const junk of [Buffer.from('junk'), Buffer.from('\0\0junk'), Buffer.concat([Buffer.alloc(3), coded])]) {
      for (const chunks of splits(Buffer.concat([coded, junk]))) {
        expect(failureOf(() => decodeAll(codings, chunks)).code, junk.toString('hex')).toBe('BAD_CONTENT_CODING');
      }
    }
  });

  test('what is not coded so is BAD_CONTENT_CODING that names the coding', () => {
    const error = failureOf(() => decodeAll(codings, [Buffer.from('<html>no</html>'.repeat(20))]));
    expect(error.code).toBe('BAD_CONTENT_CODING');
    expect(error.message).toContain(codingOf(name));
    expect(error.message).toContain('decompress: false');
  });

  test('any bytes end or fail, and nothing is left', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(400), (noise, at) => {
        const coded = encode(name, json(500));
        const damaged = Buffer.concat([coded.subarray(0, at), noise, coded.subarray(at)]);
        try {
          decodeAll(codings, [damaged]);
        } catch (error) {
          expect((error as TransferError).code).toBe('BAD_CONTENT_CODING');
        }
      }),
      { numRuns: 200, seed: 20_251 },
    );
  });

  test('limits.decodedBytes: what it allows passes, one byte more does not', () => {
    const coded = encode(name, 'x'.repeat(1000));
    expect(decodeAll(codings, [coded], 1000).length).toBe(1000);
    const error = failureOf(() => decodeAll(codings, [coded], 999));
    expect({ code: error.code, limit: error.limit }).toEqual({ code: 'LIMIT_EXCEEDED', limit: 'limits.decodedBytes' });
  });
});

test('members of gzip, and frames of zstd, are one body; so are many empty ones', () => {
  for (const name of ['gzip', 'zstd'].filter((each) => ENCODER_NAMES.includes(each))) {
    const members = Buffer.concat([encode(name, 'one '), encode(name, ''), encode(name, 'two')]);
    for (const chunks of [...splits(members), bytewise(members)]) {
      expect(decodeAll([codingOf(name)], chunks).toString()).toBe('one two');
    }
    const empty = Buffer.concat(Array.from({ length: 5_000 }, () => encode(name, '')));
    expect(decodeAll([codingOf(name)], [empty, encode(name, 'end')]).toString()).toBe('end');
    const cut = members.subarray(0, members.length - 1);
    expect(failureOf(() => decodeAll([codingOf(name)], [cut])).code).toBe('BAD_CONTENT_CODING');
  }
});

test('stacked codings are taken off from the last to the first, split at every byte', () => {
  const stacks = [
    ['gzip', 'br'],
    ['deflate', 'gzip'],
    ['br', 'br', 'gzip'],
    ['gzip', 'raw', 'br', 'deflate', 'gzip'],
  ];
  for (const stack of stacks) {
    const data = json(300);
    const coded = stack.reduce((bytes: Buffer, name) => encode(name, bytes), Buffer.from(data));
    const codings = stack.map(codingOf);
    for (const chunks of [...splits(coded), bytewise(coded)]) {
      expect(decodeAll(codings, chunks).toString(), stack.join()).toBe(data);
    }
    for (let length = 1; length < coded.length; length += 7) {
      expect(failureOf(() => decodeAll(codings, [coded.subarray(0, length)])).code).toBe('BAD_CONTENT_CODING');
    }
    const large = Buffer.from(json(400_000));
    const largeCoded = stack.reduce((bytes: Buffer, name) => encode(name, bytes), large);
    expect(decodeAll(codings, [largeCoded]).equals(large), stack.join()).toBe(true);
  }
});

test.each(Object.keys(SILENT_PIECES))('stacked codings that work for ever and give nothing: %s', (name) => {
  const bomb = silentBomb(name);
  expect(bomb.length).toBeLessThan(64 * 1024);
  const began = performance.now();
  const error = failureOf(() => decodeAll(['gzip', 'gzip', 'gzip', 'gzip'], [bomb]));
  expect(error.code).toBe('BAD_CONTENT_CODING');
  expect(error.message).toContain('far more than there is in it');
  // Some 10 ms. All of it would be 8 GiB, at 1 to 4 ns a byte.
  expect(performance.now() - began).toBeLessThan(3_000);
});

test('stacked codings that give nothing for long go on in another call, and what comes at last is whole', () => {
  const silence = Buffer.concat(Array<Buffer>(45_000).fill(encode('gzip', '')));
  const stack = Array<ContentCoding>(5).fill('gzip');
  const coded = stack.reduce((bytes: Buffer) => Buffer.concat([silence, encode('gzip', bytes)]), Buffer.from('end'));
  const decoder = new BodyDecoder(stack, 0);
  let silentCalls = 0;
  let text = '';
  try {
    do {
      const count = decoder.decode(coded, 0, coded.length);
      text += decoder.decoded.toString('latin1', 0, count);
      if (count === 0) silentCalls++;
    } while (!decoder.isDone);
    decoder.finish();
  } finally {
    decoder.release();
  }
  expect(text).toBe('end');
  // 3.6 MB of members without content are some 12 ms; a call is to end after one.
  expect(silentCalls).toBeGreaterThan(1);
});

test('stacked codings of bytes that were flushed one by one pass, though they are many times as long in between', () => {
  const data = Buffer.from(json(120_000));
  const inner = gzipInBlocks(data, 1);
  const coded = gzipInBlocks(inner, 6);
  expect(coded.length).toBeGreaterThan(1_200_000);
  expect(decodeAll(['gzip', 'gzip', 'gzip'], [encode('gzip', coded)]).equals(data)).toBe(true);
});

/** RFC 1951 §3.2.4: stored blocks of so many bytes each, then an empty one that is the last. */
function gzipInBlocks(data: Buffer, blockBytes: number): Buffer {
  const parts: Uint8Array[] = [Buffer.from('1f8b0800000000000003', 'hex')];
  for (let at = 0; at < data.length; at += blockBytes) {
    const piece = data.subarray(at, at + blockBytes);
    parts.push(Uint8Array.of(0, piece.length, 0, ~piece.length & 0xff, 0xff), piece);
  }
  parts.push(Uint8Array.of(1, 0, 0, 0xff, 0xff), encode('gzip', data).subarray(-8));
  return Buffer.concat(parts);
}

test('an inner coding that is cut off is told, though the outer one is whole', () => {
  const inner = encode('gzip', 'hello hello hello');
  const coded = encode('br', inner.subarray(0, inner.length - 2));
  expect(failureOf(() => decodeAll(['gzip', 'br'], [coded])).message).toContain('gzip, br');
});

test('a decoder serves again after a failure of another one', () => {
  for (const name of ENCODER_NAMES) {
    for (let round = 0; round < 50; round++) {
      if (round % 2 === 0) failureOf(() => decodeAll([codingOf(name)], [Buffer.from('\x01\x02 nonsense nonsense')]));
      else expect(decodeAll([codingOf(name)], [encode(name, `round ${round}`)]).toString()).toBe(`round ${round}`);
    }
  }
});

test('what Content-Encoding names', () => {
  const known = (field: string): string[] => knownCodings(codingNames(field));
  expect(known('gzip')).toEqual(['gzip']);
  expect(known(' GZip ,, x-GZIP,\tDeflate')).toEqual(['gzip', 'gzip', 'deflate']);
  expect(known('identity')).toEqual([]);
  expect(known('identity, br')).toEqual(['br']);
  expect(known('gzip, compress')).toEqual([]);
  expect(known('aes128gcm, gzip')).toEqual([]);
  expect(codingNames(', gzip,')).toEqual(['gzip']);
  expect(known('')).toEqual([]);
});
