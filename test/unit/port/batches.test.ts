/** Batches and the link that sends them: what is written arrives, what is damaged is refused, buffers come back. */

import { MessageChannel, type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import { describe, expect, onTestFinished, test } from 'vitest';
import { TransferError } from '../../../src/protocol/errors.ts';
import { BatchLink } from '../../../src/protocol/port/batch-link.ts';
import { BatchReader, UnreadableBatch } from '../../../src/protocol/port/batch-reader.ts';
import { BatchWriter } from '../../../src/protocol/port/batch-writer.ts';
import { encodeError } from '../../../src/protocol/port/error-encoding.ts';
import { BODY, COMPLETE, END, ERROR, HEAD, START } from '../../../src/protocol/port/frames.ts';
import {
  NOT_STREAMED,
  StartFrame,
  writeAbort,
  writeCredit,
  writeStart,
} from '../../../src/protocol/port/request-frames.ts';
import {
  attachToHead,
  infoTiming,
  readBody,
  readEnd,
  readError,
  readHead,
  writeAttachedBody,
  writeBody,
  writeEnd,
  writeError,
  writeHead,
} from '../../../src/protocol/port/response-frames.ts';
import { randomOf } from '../random.ts';

const FACTS = {
  id: 7,
  status: 200,
  minorVersion: 1,
  reused: true,
  remoteAddress: '[::1]:8080',
  queuedUs: 1,
  dnsUs: -1,
  connectUs: 3,
  tlsUs: 4,
  sentUs: 5,
  firstByteUs: 6,
  endUs: -1,
};
const HEAD_TEXT = Buffer.from('HTTP/1.1 200 OK\r\nA: b\r\n\r\n');

/** A batch with a frame of every kind. */
function everyKind(): { batch: ArrayBuffer; attachments: ArrayBuffer[] } {
  const writer = new BatchWriter();
  const timeouts = { queueMs: 1, connectMs: 2, headMs: 3, bodyIdleMs: 4, totalMs: 5 };
  writeStart(writer, 1, 12.5, 3, 'http://a.test', 'GET / HTTP/1.1\r\n\r\n', Buffer.from('body'), timeouts);
  writeStart(writer, 2, 13.5, 0, 'http://b.test', 'PUT / HTTP/1.1\r\n\r\n', new Uint8Array(20_000), null);
  writeStart(writer, 10, 1, 0, 'http://c.test', 'PUT / HTTP/1.1\r\n\r\n', null, timeouts, -1, '{"forbidReuse":true}');
  writeAbort(writer, 3);
  writeCredit(writer, 4, 100);
  writeHead(writer, FACTS, HEAD_TEXT, 0, HEAD_TEXT.length);
  writeBody(writer, 7, Buffer.from('some body'), 0, 9);
  writeAttachedBody(writer, 7, new Uint8Array([1, 2, 3]).buffer);
  writeEnd(writer, 7, 99, 'X: y\r\n');
  writeHead(writer, { ...FACTS, id: 8 }, HEAD_TEXT, 0, HEAD_TEXT.length);
  writeEnd(writer, 8, 98, '');
  writeError(writer, 9, encodeError(new TransferError('INTERNAL', 'why')));
  const { attachments } = writer;
  return { batch: writer.take(1), attachments };
}

/** Reads every frame with every decoder, as a confused peer might. */
function readAll(batch: ArrayBuffer, attachments: ArrayBuffer[]): number {
  const reader = new BatchReader();
  const start = new StartFrame();
  let frames = 0;
  reader.open(batch, attachments, 1);
  while (reader.next()) {
    if (++frames > batch.byteLength) throw new Error('more frames than bytes');
    const head = readHead(reader);
    if (head !== null && head.text.length > batch.byteLength) throw new Error('a head longer than its batch');
    const body = readBody(reader);
    if (body !== null && body.length > batch.byteLength) throw new Error('a body longer than its batch');
    const end = readEnd(reader);
    if (end !== null && end.trailers.length > batch.byteLength) throw new Error('trailers longer than their batch');
    readError(reader);
    start.read(reader);
    if ((start.body?.length ?? 0) > 20_000) throw new Error('a request body longer than any');
    void [reader.kind, reader.flags, reader.id, reader.word(1_000_000)];
  }
  reader.close();
  return frames;
}

describe('a damaged batch is refused or decoded, and harms nothing', () => {
  const whole = everyKind();

  test('whole', () => {
    expect(readAll(whole.batch.slice(0), whole.attachments)).toBe(10);
  });

  test('every truncation', () => {
    const used = new Int32Array(whole.batch)[2] as number;
    for (let length = 0; length < used; length++) {
      expect(() => readAll(whole.batch.slice(0, length), whole.attachments)).toThrow(UnreadableBatch);
    }
  });

  test('every truncation that the header agrees to', () => {
    const used = new Int32Array(whole.batch)[2] as number;
    let read = 0;
    for (let length = 12; length < used; length += 4) {
      const batch = whole.batch.slice(0, length);
      new Int32Array(batch)[2] = length;
      try {
        readAll(batch, whole.attachments);
        read++;
      } catch (error) {
        expect(error).toBeInstanceOf(UnreadableBatch);
      }
    }
    expect(read).toBe(10); // cut between two frames, or before the first
  });

  test('every bit flipped', () => {
    const used = new Int32Array(whole.batch)[2] as number;
    for (let bit = 0; bit < used * 8; bit++) {
      const batch = whole.batch.slice(0);
      const bytes = new Uint8Array(batch);
      bytes[bit >> 3] = (bytes[bit >> 3] as number) ^ (1 << (bit & 7));
      try {
        readAll(batch, whole.attachments);
      } catch (error) {
        if (!(error instanceof UnreadableBatch)) throw new Error(`bit ${bit}: ${error}`, { cause: error });
      }
    }
  });

  test('every word replaced by extremes, with attachments missing', () => {
    const used = new Int32Array(whole.batch)[2] as number;
    for (let word = 0; word < used / 4; word++) {
      for (const value of [0, -1, 1, 4, 11, 12, 2 ** 31 - 1, -(2 ** 31), 0x7fff_fffc, used]) {
        const batch = whole.batch.slice(0);
        new Int32Array(batch)[word] = value;
        try {
          readAll(batch, []);
        } catch (error) {
          if (!(error instanceof UnreadableBatch)) throw new Error(`word ${word} = ${value}: ${error}`);
        }
      }
    }
  });

  test('something else in the place of an attachment', () => {
    const writer = new BatchWriter();
    writeHead(writer, FACTS, HEAD_TEXT, 0, HEAD_TEXT.length);
    attachToHead(writer, new ArrayBuffer(4));
    writeAttachedBody(writer, 7, new ArrayBuffer(4));
    const batch = writer.take(1);
    for (const other of [undefined, null, 1, 'text', {}, new Uint8Array(4), new SharedArrayBuffer(4)]) {
      const reader = new BatchReader();
      reader.open(batch.slice(0), [other, other] as unknown as ArrayBuffer[], 1);
      expect(reader.next()).toBe(true);
      expect(readHead(reader), String(other)).toBeNull();
      expect(reader.next()).toBe(true);
      expect(readBody(reader), String(other)).toBeNull();
    }
  });

  test('random bytes', () => {
    const random = randomOf(5);
    for (let round = 0; round < 3_000; round++) {
      const batch = new ArrayBuffer(random(30) * 4);
      const words = new Int32Array(batch);
      for (let word = 0; word < words.length; word++) words[word] = random(4) === 0 ? random(64) : random(2 ** 32);
      if (words.length > 3 && random(4) > 0) words.set(new Int32Array(whole.batch, 0, 2));
      if (words.length > 3 && random(4) > 0) words[2] = batch.byteLength;
      try {
        readAll(batch, whole.attachments);
      } catch (error) {
        expect(error).toBeInstanceOf(UnreadableBatch);
      }
    }
  });
});

describe('frames round trip', () => {
  const TIMEOUTS = { queueMs: 1, connectMs: 2, headMs: 3, bodyIdleMs: 4, totalMs: 5 };
  test.each([
    [null, NOT_STREAMED, ''],
    [TIMEOUTS, -1, '{"forbidReuse":true}'],
    [null, 2 ** 40, '{"idempotent":false,"name":"é€"}'],
    [TIMEOUTS, NOT_STREAMED, '{"freshConnect":true,"forbidReuse":false}'],
    [null, 0, ''],
  ])('START with timeouts %j, streamed %i, extras %s', (timeouts, streamed, extras) => {
    const writer = new BatchWriter();
    const body = streamed === NOT_STREAMED ? Buffer.from('body') : null;
    for (let id = 1; id <= 2; id++)
      writeStart(writer, id, 1.5, 2, 'http://x.test', 'PUT / HTTP/1.1\r\n\r\n', body, timeouts, streamed, extras);
    const reader = new BatchReader();
    reader.open(writer.take(1), [], 1);
    const frame = new StartFrame({ forbidReuse: false });
    while (reader.next()) {
      expect(frame.read(reader)).toBe(true);
      expect(frame).toMatchObject({ origin: 'http://x.test', head: 'PUT / HTTP/1.1\r\n\r\n', timeouts, startMs: 1.5 });
      expect(frame.streamedBytes).toBe(streamed);
      expect(frame.extras).toEqual({ forbidReuse: false, ...(extras === '' ? {} : JSON.parse(extras)) });
      expect(frame.body === null ? null : Buffer.from(frame.body)).toEqual(body);
    }
  });

  test.each(['{', '[]', 'null', '7', '"x"'])('START with extras that are %s is refused', (extras) => {
    const writer = new BatchWriter();
    writeStart(writer, 1, 0, 0, 'http://x.test', 'GET / HTTP/1.1\r\n\r\n', null, null, NOT_STREAMED, extras);
    const reader = new BatchReader();
    reader.open(writer.take(1), [], 1);
    expect(reader.next()).toBe(true);
    expect(new StartFrame().read(reader)).toBe(false);
  });

  const SIZES = [0, 1, 2, 3, 4, 5, 7, 8, 9, 63, 64, 65, 4095, 4096, 4097, 16_383, 16_384, 16_385, 70_000];

  test.each(SIZES)('START with a head and a body of %i bytes', (size) => {
    const body = Uint8Array.from({ length: size }, (_, index) => index * 7);
    const head = `GET /${'é'.repeat(size)} HTTP/1.1\r\n\r\n`;
    const writer = new BatchWriter();
    for (const given of [body, null])
      writeStart(writer, 2 ** 30 + size, 0.1 + size, 5, 'http://x.test:81', head, given, null);
    const { attachments } = writer;
    expect(attachments.length).toBe(size > 16_384 ? 1 : 0);
    const reader = new BatchReader();
    reader.open(writer.take(1), attachments, 1);
    const frame = new StartFrame();
    for (const given of [body, null]) {
      expect(reader.next()).toBe(true);
      expect(reader.kind).toBe(START);
      expect(frame.read(reader)).toBe(true);
      expect(frame).toMatchObject({
        id: 2 ** 30 + size,
        startMs: 0.1 + size,
        originShare: 5,
        origin: 'http://x.test:81',
      });
      expect(frame.head).toBe(head);
      expect(frame.timeouts).toBeNull();
      expect(frame.body === null).toBe(given === null);
      expect(Buffer.compare(Buffer.from(frame.body ?? []), Buffer.from(given ?? []))).toBe(0);
    }
    expect(reader.next()).toBe(false);
  });

  test('START keeps its body when the caller changes the bytes after that', () => {
    for (const size of [10, 30_000]) {
      const body = new Uint8Array(size).fill(1);
      const writer = new BatchWriter();
      writeStart(writer, 1, 0, 0, 'http://x.test', 'PUT / HTTP/1.1\r\n\r\n', body, null);
      body.fill(2);
      const { attachments } = writer;
      const reader = new BatchReader();
      reader.open(writer.take(1), attachments, 1);
      reader.next();
      const frame = new StartFrame();
      frame.read(reader);
      expect(frame.body?.every((byte) => byte === 1)).toBe(true);
    }
  });

  test.each(SIZES)('HEAD, BODY lengthened in pieces to %i bytes, END', (size) => {
    const body = Buffer.from(Uint8Array.from({ length: size }, (_, index) => index * 11));
    for (const pieces of [1, 2, 7]) {
      for (const between of [false, true]) {
        const writer = new BatchWriter();
        writeHead(writer, FACTS, HEAD_TEXT, 5, HEAD_TEXT.length);
        // Another transfer's frame in between makes BODY frames of what would lengthen the HEAD.
        if (between) writeError(writer, 1, '{}');
        for (let piece = 0; piece < pieces; piece++) {
          const [from, to] = [Math.floor((size * piece) / pieces), Math.floor((size * (piece + 1)) / pieces)];
          writeBody(writer, 7, body, from, to);
        }
        writeEnd(writer, 7, 1234, '');
        const reader = new BatchReader();
        reader.open(writer.take(1), [], 1);
        reader.next();
        const head = readHead(reader);
        expect(reader.kind).toBe(between ? HEAD : COMPLETE);
        expect(head).toMatchObject({ status: 200, reused: true, http10: false, bodyBytes: between ? 0 : size });
        expect(head?.text.slice(head.infoBytes, head.infoBytes + head.headBytes)).toBe(HEAD_TEXT.toString('latin1', 5));
        if (!between) {
          const text = head?.text.slice((head.infoBytes ?? 0) + (head.headBytes ?? 0)) ?? '';
          // Not toEqual: it looks at each byte for itself, which takes seconds.
          expect(Buffer.compare(Buffer.from(head?.body ?? Buffer.from(text, 'latin1')), body)).toBe(0);
          expect(reader.next()).toBe(false);
          continue;
        }
        reader.next();
        expect(reader.kind).toBe(ERROR);
        reader.next();
        expect(reader.kind).toBe(BODY);
        expect(Buffer.compare(Buffer.from(readBody(reader) ?? []), body)).toBe(0);
        reader.next();
        expect(reader.kind).toBe(END);
        expect(readEnd(reader)).toEqual({ endUs: 1234, trailers: '' });
        expect(reader.next()).toBe(false);
      }
    }
  });

  test('a body that grows the buffer many times in the middle of its frame keeps every byte', () => {
    const writer = new BatchWriter();
    writeHead(writer, FACTS, HEAD_TEXT, 0, HEAD_TEXT.length);
    const piece = Buffer.from(Uint8Array.from({ length: 9_999 }, (_, index) => index * 13));
    for (let count = 0; count < 200; count++) writeBody(writer, 7, piece, 0, piece.length);
    writeEnd(writer, 7, 5, '');
    const reader = new BatchReader();
    reader.open(writer.take(1), [], 1);
    reader.next();
    const head = readHead(reader);
    expect(Buffer.compare(Buffer.from(head?.body ?? []), Buffer.concat(Array(200).fill(piece)))).toBe(0);
  });

  test('an attached body is never lengthened: what follows is a frame of its own', () => {
    const writer = new BatchWriter();
    writeAttachedBody(writer, 7, new Uint8Array([1, 2]).buffer);
    writeBody(writer, 7, Buffer.from([3]), 0, 1);
    const { attachments } = writer;
    const reader = new BatchReader();
    reader.open(writer.take(1), attachments, 1);
    reader.next();
    expect([...(readBody(reader) ?? [])]).toEqual([1, 2]);
    reader.next();
    expect([...(readBody(reader) ?? [])]).toEqual([3]);
  });

  test('texts: trailers in latin-1, errors in UTF-8', () => {
    const writer = new BatchWriter();
    writeEnd(writer, 1, 0, 'X: é\r\n');
    writeError(writer, 1, '"→ \u{1f600}"');
    const reader = new BatchReader();
    reader.open(writer.take(1), [], 1);
    reader.next();
    expect(readEnd(reader)?.trailers).toBe('X: é\r\n');
    reader.next();
    expect(readError(reader)).toBe('"→ \u{1f600}"');
  });

  test('timings are told to the microsecond for 35 minutes, to the millisecond for 24 days, and never backwards', () => {
    const minuteUs = 60_000_000;
    const limitUs = 2 ** 31 - 1;
    const cases: [given: number, told: number][] = [
      [-1, -1],
      [0, 0],
      [limitUs, limitUs],
      [limitUs + 1, 2_147_484_000],
      [36 * minuteUs, 36 * minuteUs],
      [72 * minuteUs + 1_234, 72 * minuteUs + 1_000],
      [3 * 24 * 60 * minuteUs, 3 * 24 * 60 * minuteUs],
      [24 * 24 * 60 * minuteUs, 24 * 24 * 60 * minuteUs],
      [1_000 * 24 * 60 * minuteUs, (limitUs - 1) * 1_000],
    ];
    for (const [given, told] of cases) {
      const writer = new BatchWriter();
      writeHead(writer, { ...FACTS, queuedUs: given, firstByteUs: given }, HEAD_TEXT, 0, HEAD_TEXT.length);
      writeEnd(writer, FACTS.id, given, '');
      writeEnd(writer, FACTS.id, given, 'X: y\r\n');
      const reader = new BatchReader();
      reader.open(writer.take(1), [], 1);
      reader.next();
      const text = readHead(reader)?.text ?? '';
      expect([0, 1, 2, 5, 6].map((index) => infoTiming(text, index))).toEqual([told, -1, 3, told, told]);
      reader.next();
      expect(readEnd(reader)?.endUs).toBe(told);
    }
  });

  test('a buffer that was used before leaves nothing behind', () => {
    const writer = new BatchWriter();
    const dirty = new ArrayBuffer(64 * 1024);
    new Uint8Array(dirty).fill(0xff);
    writer.reuse(dirty);
    writeAbort(writer, 3);
    writeEnd(writer, 4, 5, 'abc');
    const batch = writer.take(1);
    expect(batch).toBe(dirty);
    const reader = new BatchReader();
    reader.open(batch, [], 1);
    reader.next();
    expect([reader.id, reader.flags, reader.word(3)]).toEqual([3, 0, 0]);
    reader.next();
    expect(readEnd(reader)).toEqual({ endUs: 5, trailers: 'abc' });
    expect(reader.next()).toBe(false);
  });
});

/** Two links over a real channel, with messages delivered when the test says. */
function pair(): { a: BatchLink; b: BatchLink; toA: () => unknown; toB: () => unknown; ports: MessagePort[] } {
  const { port1, port2 } = new MessageChannel();
  onTestFinished(() => port1.close());
  const next = (port: MessagePort) => () => receiveMessageOnPort(port)?.message;
  return {
    a: new BatchLink(port1),
    b: new BatchLink(port2),
    toA: next(port1),
    toB: next(port2),
    ports: [port1, port2],
  };
}

const ids = (link: BatchLink, message: unknown): number[] => {
  const seen: number[] = [];
  link.receive(message, (reader) => seen.push(reader.id));
  return seen;
};

describe('BatchLink', () => {
  test('at most two batches are unanswered; what comes meanwhile makes the next one bigger', () => {
    const { a, b, toA, toB } = pair();
    for (let turn = 0; turn < 6; turn++) {
      writeAbort(a.writer, turn);
      a.flush();
      a.flush();
    }
    expect(ids(b, toB())).toEqual([0]);
    expect(ids(b, toB())).toEqual([1]);
    expect(toB()).toBeUndefined();
    b.flush();
    expect(ids(a, toA())).toEqual([]);
    expect(ids(a, toA())).toEqual([]);
    a.flush();
    expect(ids(b, toB())).toEqual([2, 3, 4, 5]);
    expect(toB()).toBeUndefined();
  });

  test('a quiet link says nothing; an answer carries a batch when there is one', () => {
    const { a, b, toA, toB } = pair();
    a.flush();
    expect(toB()).toBeUndefined();
    writeAbort(a.writer, 1);
    a.flush();
    ids(b, toB());
    writeAbort(b.writer, 2);
    b.flush();
    const message = toA();
    expect((message as unknown[]).every((part) => part instanceof ArrayBuffer)).toBe(true);
    expect(ids(a, message)).toEqual([2]);
    a.flush();
    expect(ids(b, toB())).toEqual([]);
    b.flush();
    expect([toA(), toB()]).toEqual([undefined, undefined]);
  });

  test('buffers come back and are used again: a long exchange allocates a few', () => {
    const { a, b, toA, toB } = pair();
    const made = new Set<ArrayBufferLike>();
    for (let turn = 0; turn < 500; turn++) {
      writeAbort(a.writer, turn);
      // Transfer makes new ArrayBuffer objects, so memory is told by what it holds: a mark in the unused end.
      const words = a.writer.words;
      if (words[16_000] !== 4711) made.add(a.writer.bytes.buffer);
      words[16_000] = 4711;
      a.flush();
      ids(b, toB());
      b.flush();
      ids(a, toA());
    }
    expect(made.size).toBe(1);
  });

  test('attachments travel with their batch, and only with it', () => {
    const { a, b, toB } = pair();
    writeAttachedBody(a.writer, 1, new Uint8Array([1, 2, 3]).buffer);
    a.flush();
    writeAttachedBody(a.writer, 2, new Uint8Array([4]).buffer);
    a.flush();
    const bodies: number[][] = [];
    for (let turn = 0; turn < 2; turn++) b.receive(toB(), (reader) => bodies.push([...(readBody(reader) ?? [])]));
    expect(bodies).toEqual([[1, 2, 3], [4]]);
  });

  test('lost, repeated and reordered batches make the link unreadable', () => {
    for (const order of [[1], [0, 0], [1, 0], [0, 2]]) {
      const { a, b, toB } = pair();
      const messages: unknown[][] = [];
      for (let turn = 0; turn < 2; turn++) {
        writeAbort(a.writer, turn);
        a.flush();
        messages.push(toB() as unknown[]);
      }
      messages.push([new ArrayBuffer(12), null]);
      expect(() => {
        for (const index of order) {
          const [batch] = messages[index] as [ArrayBuffer];
          ids(b, [batch.slice(0), null]);
        }
      }, `order ${order}`).toThrow(UnreadableBatch);
    }
  });

  test.each([
    [undefined],
    [null],
    ['text'],
    [{}],
    [[]],
    [[null]],
    [[1, null]],
    [['batch', null]],
    [[null, 'buffer']],
    [[null, new ArrayBuffer(8)]],
    [[new Uint8Array(16), null]],
    [[new ArrayBuffer(0), null]],
    [[new ArrayBuffer(12), null]],
    [[new SharedArrayBuffer(12), null]],
  ])('what is no batch is refused: %j', (message) => {
    const { a } = pair();
    expect(() => ids(a, message)).toThrow(UnreadableBatch);
  });
});
