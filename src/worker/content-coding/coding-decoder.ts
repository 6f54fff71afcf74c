/**
 * One content coding being taken off, step by step and at once: bytes in, bytes out, into a buffer of the caller's, so that neither
 * memory nor time of a step is the peer's choice. Built on the handles of Node's zlib objects, without their streams: a body
 * of 3 KiB costs 5 us so, 16 to 23 through `gunzipSync` and its like, and several trips to libuv's threads through streams.
 *
 * Where a coded stream ends, more may follow: members of gzip (RFC 1952 §2.2) and frames of zstd (RFC 8878 §3) are one body together.
 * Zero bytes behind the end are padding, but for zstd, which has frames for that. Anything else there is an error, for all codings.
 */

import zlib from 'node:zlib';
import { type ContentCoding, openZstd, type ZlibObject, ZSTD_FINISH } from '../../protocol/content-codings.ts';

/** `deflate` is zlib's format (RFC 9110 §8.4.1.2), but some servers send it raw: see `deflateKind`. */
type DecoderKind = 'gzip' | 'zlib' | 'raw' | 'br' | 'zstd';

/** Idle decoders kept of each kind, for the next bodies: making one costs as much as decoding a small body. */
const IDLE_DECODERS_MAX: Readonly<Record<DecoderKind, number>> = {
  gzip: 16,
  zlib: 16,
  raw: 4,
  br: 16,
  // Their windows stay allocated: up to 8 MiB each.
  zstd: 2,
};

const NO_BYTES = new Uint8Array(0);

/** The body is not what its coding says; `message` is the library's. */
export class UndecodableBody extends Error {
  override readonly name = 'UndecodableBody';
}

class ZlibDecoder {
  readonly kind: DecoderKind;
  readonly #zlib: ZlibObject;
  readonly #finish: number;
  #fault = '';

  constructor(kind: DecoderKind) {
    this.kind = kind;
    const [object, finish] = openZlib(kind);
    this.#zlib = object as unknown as ZlibObject;
    this.#finish = finish;
    this.#zlib._handle.onerror = (message) => {
      this.#fault = message === '' ? 'it does not decode' : message;
    };
  }

  /** Throws UndecodableBody. Afterwards `inputLeft` and `outputLeft` say how far it came. */
  step(input: Uint8Array, at: number, bytes: number, output: Uint8Array, to: number, room: number): void {
    this.#write(0, input, at, bytes, output, to, room);
  }

  /** The input is over: throws UndecodableBody when the coded stream is not. */
  finish(scratch: Uint8Array): void {
    this.#write(this.#finish, NO_BYTES, 0, 0, scratch, 0, scratch.length);
  }

  get outputLeft(): number {
    return this.#zlib._writeState[0] as number;
  }

  get inputLeft(): number {
    return this.#zlib._writeState[1] as number;
  }

  /** As new. Not after a failure: some keep that. */
  reset(): void {
    this.#zlib._handle.reset();
  }

  close(): void {
    this.#zlib.close();
  }

  #write(
    flush: number,
    input: Uint8Array,
    at: number,
    bytes: number,
    output: Uint8Array,
    to: number,
    room: number,
  ): void {
    this.#zlib._handle.writeSync(flush, input, at, bytes, output, to, room);
    if (this.#fault !== '') throw new UndecodableBody(this.#fault);
  }
}

function openZlib(kind: DecoderKind): [object: object, finish: number] {
  const { Z_FINISH, BROTLI_OPERATION_FINISH } = zlib.constants;
  switch (kind) {
    case 'gzip':
      return [zlib.createGunzip(), Z_FINISH];
    case 'zlib':
      return [zlib.createInflate(), Z_FINISH];
    case 'raw':
      return [zlib.createInflateRaw(), Z_FINISH];
    case 'br':
      return [zlib.createBrotliDecompress(), BROTLI_OPERATION_FINISH];
    case 'zstd':
      return [openZstd() as object, ZSTD_FINISH];
  }
}

const idle: Readonly<Record<DecoderKind, ZlibDecoder[]>> = { gzip: [], zlib: [], raw: [], br: [], zstd: [] };
let open = 0;

/** Decoders in use on this thread. */
export function decodersInUse(): number {
  return open;
}

/** The first byte of a zlib stream names its method, 8 (RFC 1950 §2.2); no raw stream that an encoder writes begins so. */
function deflateKind(firstByte: number): DecoderKind {
  return (firstByte & 0x0f) === 8 ? 'zlib' : 'raw';
}

/** One coding of one body. */
export class CodingDecoder {
  readonly coding: ContentCoding;
  /** After `decode`: how far the input was taken. */
  inputAt = 0;
  /** The output was filled, so more may come without input. */
  pending = false;
  /** Made when the first byte comes: a body without any is empty, whatever its coding. */
  #decoder: ZlibDecoder | null = null;
  /** Padding was seen: nothing but more of it may follow. */
  #padded = false;
  #failed = false;

  constructor(coding: ContentCoding) {
    this.coding = coding;
  }

  /** Decodes `input[at, end)` into `output[to, outputEnd)`, and answers how many bytes that gave. Throws UndecodableBody. */
  decode(input: Uint8Array, at: number, end: number, output: Uint8Array, to: number, outputEnd: number): number {
    this.inputAt = at;
    if (this.#decoder === null) {
      if (at === end) return 0;
      this.#decoder = takeDecoder(this.coding === 'deflate' ? deflateKind(input[at] as number) : kindOf(this.coding));
    }
    try {
      if (!this.#padded) return this.#run(this.#decoder, input, end, output, to, outputEnd) - to;
      this.#takePadding(input, end);
      return 0;
    } catch (error) {
      this.#failed = true;
      throw error;
    }
  }

  /** Until the output is full or the input used up. Answers how far the output is written. */
  #run(
    decoder: ZlibDecoder,
    input: Uint8Array,
    end: number,
    output: Uint8Array,
    to: number,
    outputEnd: number,
  ): number {
    for (let written = to; ; ) {
      const at = this.inputAt;
      const before = written;
      decoder.step(input, at, end - at, output, written, outputEnd - written);
      this.inputAt = end - decoder.inputLeft;
      written = outputEnd - decoder.outputLeft;
      this.pending = written === outputEnd;
      if (this.pending || this.inputAt === end) return written;
      // A frame of zstd ends a step, so the next may still go on.
      if (this.inputAt === at && written === before) {
        this.#takePadding(input, end);
        return written;
      }
    }
  }

  /** What the decoder does not take stands behind the end of the coded stream. */
  #takePadding(input: Uint8Array, end: number): void {
    this.#padded = true;
    for (let at = this.inputAt; at < end; at++) {
      if (input[at] !== 0 || this.coding === 'zstd') throw new UndecodableBody('other bytes follow its end');
    }
    this.inputAt = end;
  }

  /** The body is over. Throws UndecodableBody when the coded stream is not. */
  finish(scratch: Uint8Array): void {
    if (this.#decoder === null || this.#padded) return;
    try {
      this.#decoder.finish(scratch);
    } catch (error) {
      this.#failed = true;
      throw error;
    }
  }

  release(): void {
    const decoder = this.#decoder;
    if (decoder === null) return;
    this.#decoder = null;
    giveBack(decoder, this.#failed);
  }
}

function kindOf(coding: Exclude<ContentCoding, 'deflate'>): DecoderKind {
  return coding;
}

function takeDecoder(kind: DecoderKind): ZlibDecoder {
  open++;
  return idle[kind].pop() ?? new ZlibDecoder(kind);
}

function giveBack(decoder: ZlibDecoder, failed: boolean): void {
  open--;
  const spare = idle[decoder.kind];
  if (failed || spare.length >= IDLE_DECODERS_MAX[decoder.kind]) {
    decoder.close();
    return;
  }
  decoder.reset();
  spare.push(decoder);
}
