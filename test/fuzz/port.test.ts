/** Batches that no encoder of ours wrote: each is refused or read within its bounds, and every exchange settles. */

import { EventEmitter } from 'node:events';
import type { MessagePort } from 'node:worker_threads';
import fc from 'fast-check';
import { expect } from 'vitest';
import type { Exchange } from '../../src/main/exchange.ts';
import { ShardLink } from '../../src/main/shard-link.ts';
import { TransferError } from '../../src/protocol/errors.ts';
import { BatchLink } from '../../src/protocol/port/batch-link.ts';
import { BatchReader, UnreadableBatch } from '../../src/protocol/port/batch-reader.ts';
import { BatchWriter } from '../../src/protocol/port/batch-writer.ts';
import { decodeTransferError, encodeError } from '../../src/protocol/port/error-encoding.ts';
import { StartFrame, writeAbort, writeCredit, writeStart } from '../../src/protocol/port/request-frames.ts';
import {
  readBody,
  readEnd,
  readError,
  readHead,
  writeAttachedBody,
  writeBody,
  writeEnd,
  writeError,
  writeHead,
} from '../../src/protocol/port/response-frames.ts';
import { fuzz } from './fuzz.ts';

interface Batch {
  buffer: ArrayBuffer;
  attachments: ArrayBuffer[];
}

/** The transfers that exist; frames name these, and others. */
const IDS = [1, 2, 3];
const FACTS = {
  status: 200,
  minorVersion: 1,
  reused: false,
  remoteAddress: '127.0.0.1:80',
  queuedUs: 0,
  dnsUs: 0,
  connectUs: 0,
  tlsUs: -1,
  sentUs: 0,
  firstByteUs: 0,
  endUs: -1,
};
const HEAD = Buffer.from('HTTP/1.1 200 OK\r\nA: b\r\n\r\n');
const TIMEOUTS = { queueMs: 1, connectMs: 2, headMs: 3, bodyIdleMs: 4, totalMs: 5 };

const frame = fc.record({
  kind: fc.constantFrom('start', 'abort', 'credit', 'head', 'body', 'attached', 'end', 'error'),
  id: fc.constantFrom(...IDS, 9),
  bytes: fc.oneof(fc.nat(40), fc.constantFrom(0, 5_000, 20_000)),
  text: fc.string({ maxLength: 10 }),
});

function write(
  writer: BatchWriter,
  { kind, id, bytes, text }: typeof frame extends fc.Arbitrary<infer T> ? T : never,
): void {
  switch (kind) {
    case 'start':
      writeStart(
        writer,
        id,
        bytes,
        0,
        'http://a.test',
        'GET / HTTP/1.1\r\n\r\n',
        new Uint8Array(bytes),
        bytes % 2 ? TIMEOUTS : null,
        bytes % 3 ? -2 : bytes,
        bytes % 5 ? '' : text,
      );
      return;
    case 'abort':
      writeAbort(writer, id);
      return;
    case 'credit':
      writeCredit(writer, id, bytes);
      return;
    case 'head':
      writeHead(writer, { ...FACTS, id }, HEAD, 0, HEAD.length);
      return;
    case 'body':
      writeBody(writer, id, new Uint8Array(bytes), 0, bytes);
      return;
    case 'attached':
      writeAttachedBody(writer, id, new ArrayBuffer(bytes));
      return;
    case 'end':
      writeEnd(writer, id, bytes, bytes % 2 ? 'X: y\r\n' : '');
      return;
    case 'error':
      writeError(writer, id, bytes % 2 ? text : encodeError(new TransferError('INTERNAL', text)));
  }
}

/** A batch of good frames, then some of its words changed: mostly to small numbers, which lengths are. */
const mutatedBatch: fc.Arbitrary<Batch> = fc
  .record({
    frames: fc.array(frame, { minLength: 1, maxLength: 6 }),
    words: fc.array(fc.tuple(fc.nat(200), fc.oneof(fc.nat(64), fc.integer(), fc.constantFrom(-1, -4, 2 ** 31 - 1))), {
      maxLength: 4,
    }),
    cut: fc.option(fc.nat(400)),
    attachments: fc.constantFrom('kept', 'none', 'shorter'),
  })
  .map(({ frames, words, cut, attachments }) => {
    const writer = new BatchWriter();
    for (const one of frames) write(writer, one);
    const moved = writer.attachments;
    const whole = writer.take(1);
    const view = new Int32Array(whole);
    const used = (view[2] as number) >> 2;
    for (const [at, word] of words) view[at % used] = word;
    const buffer = cut === null ? whole : whole.slice(0, (cut % used) * 4);
    if (attachments === 'kept') return { buffer, attachments: moved };
    return { buffer, attachments: attachments === 'none' ? [] : moved.map((one) => one.slice(0, one.byteLength >> 1)) };
  });

const randomBatch: fc.Arbitrary<Batch> = fc
  .array(fc.oneof(fc.nat(64), fc.integer()), { maxLength: 40 })
  .map((words) => ({
    buffer: Int32Array.from([0x53464231, 1, words.length * 4 + 12, ...words]).buffer,
    attachments: [],
  }));

const batch = fc.oneof({ weight: 4, arbitrary: mutatedBatch }, { weight: 1, arbitrary: randomBatch });

/** Reads every frame with every decoder, as a confused peer might. */
function readAll({ buffer, attachments }: Batch): void {
  const reader = new BatchReader();
  const start = new StartFrame();
  const room = buffer.byteLength + attachments.reduce((sum, one) => sum + one.byteLength, 0);
  reader.open(buffer, attachments, 1);
  let frames = 0;
  while (reader.next()) {
    if (++frames * 12 > buffer.byteLength) throw new Error('more frames than the batch has room for');
    if (reader.frameEnd > buffer.byteLength) throw new Error('a frame beyond its batch');
    const head = readHead(reader);
    const parts = [
      head?.text.length,
      head?.body?.length,
      readBody(reader)?.length,
      readEnd(reader)?.trailers.length,
      readError(reader)?.length,
    ];
    for (const part of parts) if (part !== undefined && part > room) throw new Error('more read than was there');
    if (
      head !== null &&
      head.text.length + (head.body?.length ?? 0) !== head.infoBytes + head.headBytes + head.bodyBytes
    ) {
      throw new Error('a head shorter than it says');
    }
    if (start.read(reader) && start.origin.length + start.head.length + (start.body?.length ?? 0) > room) {
      throw new Error('a request longer than its batch');
    }
  }
}

class FakePort extends EventEmitter {
  closed = false;

  postMessage(): void {}

  ref(): void {}

  unref(): void {}

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.emit('close');
  }
}

/** An exchange as its link sees it, which counts how often it ended. */
function fakeExchange(link: ShardLink): { exchange: Exchange; ends: () => number } {
  let ends = 0;
  const over = (): void => {
    ends++;
    link.remove(fake as unknown as Exchange);
  };
  const fake = {
    id: -1,
    request: { target: { origin: 'http://a.test' }, head: 'GET / HTTP/1.1\r\n\r\n', body: null, timeouts: null },
    complete: over,
    head: () => undefined,
    body: (chunk: Uint8Array) => expect(chunk.length).toBeLessThanOrEqual(20_000),
    end: over,
    uploadCredit: () => undefined,
    fail: (error: unknown) => {
      expect(TransferError.is(error)).toBe(true);
      over();
    },
    shardLost: over,
  };
  return { exchange: fake as unknown as Exchange, ends: () => ends };
}

fuzz({
  'a batch is refused or read within its bounds': {
    runs: 3_000,
    property: fc.property(batch, (given) => {
      try {
        readAll(given);
      } catch (error) {
        if (!(error instanceof UnreadableBatch)) throw error;
      }
    }) as fc.IRawProperty<unknown>,
  },

  'a message is refused or taken in': {
    runs: 1_000,
    property: fc.property(fc.oneof(fc.anything(), fc.array(fc.anything(), { maxLength: 4 })), (message) => {
      try {
        new BatchLink({ postMessage: () => undefined }).receive(message, () => undefined);
      } catch (error) {
        if (!(error instanceof UnreadableBatch)) throw error;
      }
    }) as fc.IRawProperty<unknown>,
  },

  'every exchange of a link ends once, whatever comes': {
    runs: 2_000,
    property: fc.property(fc.array(batch, { minLength: 1, maxLength: 3 }), (batches) => {
      const port = new FakePort();
      let lost = 0;
      const link = new ShardLink(port as unknown as MessagePort, () => lost++);
      const exchanges = IDS.map(() => fakeExchange(link));
      for (const { exchange } of exchanges) link.start(exchange, 0, 0);
      let sequence = 0;
      for (const { buffer, attachments } of batches) {
        if (port.closed) break;
        if (buffer.byteLength >= 8) new Int32Array(buffer)[1] = ++sequence;
        port.emit('message', [buffer, null, ...attachments]);
      }
      link.close();
      expect(lost).toBe(1);
      expect(exchanges.map(({ ends }) => ends())).toEqual(IDS.map(() => 1));
      expect(link.inFlight).toBe(0);
    }) as fc.IRawProperty<unknown>,
  },

  'an error crosses, whatever it is': {
    runs: 1_000,
    property: fc.property(fc.anything(), fc.string(), fc.nat(20), (thrown, message, depth) => {
      let error: unknown = thrown;
      for (let level = 0; level < depth; level++) error = new Error(message, { cause: error });
      const circular = new TransferError('CONNECTION_LOST', message, { cause: error, errno: 'EPIPE' });
      const decoded = decodeTransferError(encodeError(circular));
      expect(decoded).toMatchObject({ code: 'CONNECTION_LOST', message, errno: 'EPIPE' });
      expect(TransferError.is(decodeTransferError(encodeError(thrown)))).toBe(true);
      expect(TransferError.is(decodeTransferError(message))).toBe(true);
      expect(TransferError.is(decodeTransferError(JSON.stringify(thrown) ?? ''))).toBe(true);
    }) as fc.IRawProperty<unknown>,
  },
});
