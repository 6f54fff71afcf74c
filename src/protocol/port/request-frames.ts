/** What the main thread tells a shard: START, ABORT, CREDIT. Layouts: see frames.ts. */

import { isArrayBuffer } from '../built-ins.ts';
import { TIMEOUT_MS_MAX, type Timeouts } from '../options.ts';
import type { BatchReader } from './batch-reader.ts';
import type { BatchWriter } from './batch-writer.ts';
import {
  ABORT,
  ATTACHED_BODY_BYTES,
  CREDIT,
  FLAG_EXTRAS,
  FLAG_STREAMED,
  FLAG_TIMEOUTS,
  FRAME_HEADER_WORDS,
  START,
} from './frames.ts';
import { copyOf } from './own-buffer.ts';
import { decodeExtras, type RequestExtras } from './request-extras.ts';

const START_WORDS = 10;
const TIMEOUT_WORDS = 5;
const STREAM_WORDS = 2;
const EXTRAS_WORDS = 1;
const CREDIT_WORDS = 4;

const float64 = new Float64Array(1);
const halves = new Int32Array(float64.buffer);

/** Of `streamedBytes`: the request has no streamed body. */
export const NOT_STREAMED = -2;

/**
 * `timeouts` null: the pool's. The body is copied: small ones into the batch, large ones into an attachment. `streamedBytes`: the
 * length of a body that follows in BODY frames, -1 when it is unknown. `extras`: as `encodeExtras` wrote them.
 */
export function writeStart(
  writer: BatchWriter,
  id: number,
  startMs: number,
  originShare: number,
  origin: string,
  head: string,
  body: Uint8Array | null,
  timeouts: Readonly<Timeouts> | null,
  streamedBytes: number = NOT_STREAMED,
  extras = '',
): void {
  const bodyBytes = body === null ? -1 : body.length;
  const attached = bodyBytes > ATTACHED_BODY_BYTES;
  const inline = body === null || attached ? 0 : bodyBytes;
  const extrasBytes = extras === '' ? 0 : Buffer.byteLength(extras);
  const flags =
    (timeouts === null ? 0 : FLAG_TIMEOUTS) |
    (streamedBytes === NOT_STREAMED ? 0 : FLAG_STREAMED) |
    (extrasBytes === 0 ? 0 : FLAG_EXTRAS);
  const words = startWords(flags);
  const room = words * 4 + origin.length + head.length + extrasBytes + inline;
  const frame = writer.beginFrame(START | (flags << 8), id, room);
  const { words: out, bytes } = writer;
  float64[0] = startMs;
  out[frame + 3] = originShare;
  out[frame + 4] = halves[0] as number;
  out[frame + 5] = halves[1] as number;
  out[frame + 6] = origin.length;
  out[frame + 7] = head.length;
  out[frame + 8] = bodyBytes;
  out[frame + 9] = attached ? writer.attach(copyOf(body as Uint8Array)) : -1;
  if (timeouts !== null) {
    // Rounded up: a part of a millisecond must not become 0, which is no clock at all.
    out[frame + 10] = Math.ceil(timeouts.queueMs);
    out[frame + 11] = Math.ceil(timeouts.connectMs);
    out[frame + 12] = Math.ceil(timeouts.headMs);
    out[frame + 13] = Math.ceil(timeouts.bodyIdleMs);
    out[frame + 14] = Math.ceil(timeouts.totalMs);
  }
  if (streamedBytes !== NOT_STREAMED) {
    float64[0] = streamedBytes;
    const at = frame + streamWord(flags);
    out[at] = halves[0] as number;
    out[at + 1] = halves[1] as number;
  }
  if (extrasBytes > 0) out[frame + words - 1] = extrasBytes;
  let at = (frame + words) * 4;
  bytes.write(origin, at, 'latin1');
  at += origin.length;
  bytes.write(head, at, 'latin1');
  at += head.length;
  if (extrasBytes > 0) at += bytes.write(extras, at, 'utf8');
  if (inline > 0) bytes.set(body as Uint8Array, at);
  writer.used = at + inline;
  writer.endFrame();
}

function startWords(flags: number): number {
  return streamWord(flags) + (flags & FLAG_STREAMED ? STREAM_WORDS : 0) + (flags & FLAG_EXTRAS ? EXTRAS_WORDS : 0);
}

function streamWord(flags: number): number {
  return START_WORDS + (flags & FLAG_TIMEOUTS ? TIMEOUT_WORDS : 0);
}

export function writeAbort(writer: BatchWriter, id: number): void {
  writer.beginFrame(ABORT, id, FRAME_HEADER_WORDS * 4);
  writer.used += FRAME_HEADER_WORDS * 4;
  writer.endFrame();
}

export function writeCredit(writer: BatchWriter, id: number, bodyBytes: number): void {
  const frame = writer.beginFrame(CREDIT, id, CREDIT_WORDS * 4);
  writer.words[frame + 3] = bodyBytes;
  writer.used += CREDIT_WORDS * 4;
  writer.endFrame();
}

/** Parsed extras that are kept; whoever makes them differ for each request pays for parsing them. */
const EXTRAS_KEPT_MAX = 256;

/** A START frame's fields. One object serves all frames of a shard: take what is to be kept. */
export class StartFrame {
  id = 0;
  startMs = 0;
  originShare = 0;
  origin = '';
  head = '';
  body: Uint8Array | null = null;
  /** null: the pool's. */
  timeouts: Readonly<Timeouts> | null = null;
  /** Length of a body that follows, -1 unknown; NOT_STREAMED: none follows. */
  streamedBytes = NOT_STREAMED;
  /** null: none. */
  extras: RequestExtras | null = null;
  /** Requests that ask for the same share what was parsed. */
  readonly #extrasByText = new Map<string, RequestExtras>();
  readonly #usual: RequestExtras | null;

  /** `usual`: the extras of requests that do not say otherwise. */
  constructor(usual: RequestExtras | null = null) {
    this.#usual = usual;
  }

  /** False when the frame does not hold what it says; `id` is right even then. */
  read(reader: BatchReader): boolean {
    this.id = reader.id;
    const originBytes = reader.word(6);
    const headBytes = reader.word(7);
    const bodyBytes = reader.word(8);
    const attachment = reader.word(9);
    const words = startWords(reader.flags);
    const inline = bodyBytes > 0 && attachment < 0 ? bodyBytes : 0;
    const extrasBytes = reader.flags & FLAG_EXTRAS ? reader.word(words - 1) : 0;
    if (originBytes <= 0 || headBytes <= 0 || bodyBytes < -1 || extrasBytes < 0) return false;
    if (!reader.holds(words * 4, originBytes + headBytes + extrasBytes + inline)) return false;
    halves[0] = reader.word(4);
    halves[1] = reader.word(5);
    this.startMs = float64[0] as number;
    this.originShare = reader.word(3);
    if (!Number.isFinite(this.startMs) || this.originShare < 0) return false;
    if (!this.#readStreamed(reader)) return false;
    let at = (reader.frame + words) * 4;
    this.origin = reader.bytes.toString('latin1', at, at + originBytes);
    at += originBytes;
    this.head = reader.bytes.toString('latin1', at, at + headBytes);
    at += headBytes;
    if (!this.#readExtras(reader, at, extrasBytes)) return false;
    at += extrasBytes;
    return this.#readBody(reader, bodyBytes, attachment, at) && this.#readTimeouts(reader);
  }

  #readStreamed(reader: BatchReader): boolean {
    this.streamedBytes = NOT_STREAMED;
    if (!(reader.flags & FLAG_STREAMED)) return true;
    const word = streamWord(reader.flags);
    halves[0] = reader.word(word);
    halves[1] = reader.word(word + 1);
    this.streamedBytes = float64[0] as number;
    return Number.isSafeInteger(this.streamedBytes) && this.streamedBytes >= -1;
  }

  #readExtras(reader: BatchReader, at: number, extrasBytes: number): boolean {
    this.extras = this.#usual;
    if (extrasBytes === 0) return true;
    const text = reader.bytes.toString('utf8', at, at + extrasBytes);
    const known = this.#extrasByText.get(text);
    if (known !== undefined) {
      this.extras = known;
      return true;
    }
    const own = decodeExtras(text);
    if (own === null) return false;
    this.extras = { ...this.#usual, ...own };
    if (this.#extrasByText.size >= EXTRAS_KEPT_MAX) this.#extrasByText.clear();
    this.#extrasByText.set(text, this.extras);
    return true;
  }

  #readBody(reader: BatchReader, bodyBytes: number, attachment: number, at: number): boolean {
    this.body = null;
    if (bodyBytes < 0) return true;
    if (attachment < 0) {
      this.body = Uint8Array.prototype.slice.call(reader.bytes, at, at + bodyBytes);
      return true;
    }
    const buffer = reader.attachments[attachment];
    if (!isArrayBuffer(buffer) || buffer.byteLength !== bodyBytes) return false;
    this.body = new Uint8Array(buffer);
    return true;
  }

  #readTimeouts(reader: BatchReader): boolean {
    this.timeouts = null;
    if (!(reader.flags & FLAG_TIMEOUTS)) return true;
    for (let word = START_WORDS; word < START_WORDS + TIMEOUT_WORDS; word++) {
      if (reader.word(word) < 0 || reader.word(word) > TIMEOUT_MS_MAX) return false;
    }
    this.timeouts = {
      queueMs: reader.word(10),
      connectMs: reader.word(11),
      headMs: reader.word(12),
      bodyIdleMs: reader.word(13),
      totalMs: reader.word(14),
    };
    return true;
  }
}
