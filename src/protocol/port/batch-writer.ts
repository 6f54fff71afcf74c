/**
 * A batch being filled: frames are encoded into one growing buffer. It knows frames only as words and bytes; what they mean
 * is told by `request-frames.ts`, `response-frames.ts` and `session-frames.ts`. When it is sent is `batch-link.ts`'s.
 */

import { BATCH_HEADER_BYTES, BATCH_MAGIC } from './frames.ts';
import { unzeroedBuffer } from './own-buffer.ts';

/** A batch of some 200 small responses. Fresh buffers are zeroed, so reuse matters more than size (TRAPS 16). */
const CAPACITY_FIRST_BYTES = 64 * 1024;

/** A buffer that one large batch has grown is not kept for the small ones that follow. */
const CAPACITY_KEPT_BYTES = 1024 * 1024;

export class BatchWriter {
  bytes: Buffer = Buffer.alloc(0);
  words: Int32Array = new Int32Array(0);
  /** Bytes written; a multiple of 4 between frames. */
  used = 0;
  attachments: ArrayBuffer[] = [];
  /** Word index of the frame written last; -1 in an empty batch. */
  lastFrame = -1;
  #spare: ArrayBuffer | null = null;

  get isEmpty(): boolean {
    return this.lastFrame < 0;
  }

  /**
   * Begins a frame with `bytes` of room for everything in it, and answers its word index. The caller fills the words, moves
   * `used` past what it wrote and calls `endFrame`.
   */
  beginFrame(kindAndFlags: number, id: number, bytes: number): number {
    this.#makeRoom(bytes);
    const frame = this.used >> 2;
    this.words[frame + 1] = kindAndFlags;
    this.words[frame + 2] = id;
    this.lastFrame = frame;
    return frame;
  }

  /** Pads the last frame to whole words and notes its length. */
  endFrame(): void {
    this.used = (this.used + 3) & ~3;
    this.words[this.lastFrame] = this.used - this.lastFrame * 4;
  }

  /** Room for `bytes` more behind the last frame, which is being made longer. */
  makeRoom(bytes: number): void {
    this.#makeRoom(bytes);
  }

  /** Moves a buffer across with this batch; answers its number. */
  attach(buffer: ArrayBuffer): number {
    return this.attachments.push(buffer) - 1;
  }

  /** Closes the batch and hands out its buffer; the writer starts a new one. */
  take(sequence: number): ArrayBuffer {
    this.words[0] = BATCH_MAGIC;
    this.words[1] = sequence;
    this.words[2] = this.used;
    const buffer = this.bytes.buffer as ArrayBuffer;
    this.bytes = Buffer.alloc(0);
    this.words = new Int32Array(0);
    this.used = 0;
    this.attachments = [];
    this.lastFrame = -1;
    return buffer;
  }

  /** A buffer that came back, for the next batch. */
  reuse(buffer: ArrayBuffer): void {
    if (buffer.byteLength <= CAPACITY_KEPT_BYTES) this.#spare = buffer;
  }

  #makeRoom(bytes: number): void {
    const needed = this.used + bytes + 4;
    if (this.used > 0 && needed <= this.bytes.length) return;
    if (this.used === 0) {
      this.used = BATCH_HEADER_BYTES;
      this.#adopt(this.#takeSpare(BATCH_HEADER_BYTES + bytes + 4));
      return;
    }
    const grown = unzeroedBuffer(powerOfTwo(needed));
    new Uint8Array(grown).set(this.bytes.subarray(0, this.used));
    this.#adopt(grown);
  }

  #takeSpare(bytes: number): ArrayBuffer {
    const spare = this.#spare;
    if (spare !== null && spare.byteLength >= bytes) {
      this.#spare = null;
      return spare;
    }
    return unzeroedBuffer(powerOfTwo(Math.max(bytes, CAPACITY_FIRST_BYTES)));
  }

  #adopt(buffer: ArrayBuffer): void {
    this.bytes = Buffer.from(buffer);
    this.words = new Int32Array(buffer);
  }
}

function powerOfTwo(atLeast: number): number {
  return 2 ** Math.ceil(Math.log2(atLeast));
}
