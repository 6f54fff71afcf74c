/**
 * A batch that arrived, walked frame by frame. A batch whose frames do not add up cannot be trusted in any part and throws
 * `UnreadableBatch`; what single frames say is checked by who decodes them.
 */

import { BATCH_HEADER_BYTES, BATCH_MAGIC, FRAME_HEADER_WORDS } from './frames.ts';

/** The other thread sent what no encoder of ours writes: the link is beyond repair. */
export class UnreadableBatch extends Error {
  override readonly name = 'UnreadableBatch';
}

export class BatchReader {
  bytes: Buffer = Buffer.alloc(0);
  words: Int32Array = new Int32Array(0);
  attachments: readonly ArrayBuffer[] = [];
  /** Word index of the present frame. */
  frame = 0;
  /** Byte offset behind the present frame. */
  frameEnd = 0;
  #end = 0;

  /** Opens a batch. Throws UnreadableBatch. */
  open(buffer: ArrayBuffer, attachments: readonly ArrayBuffer[], sequence: number): void {
    if (buffer.byteLength < BATCH_HEADER_BYTES || buffer.byteLength % 4 !== 0) {
      throw new UnreadableBatch(`A batch of ${buffer.byteLength} bytes has no header.`);
    }
    this.bytes = Buffer.from(buffer);
    this.words = new Int32Array(buffer);
    this.attachments = attachments;
    const magic = this.words[0] as number;
    const number = this.words[1] as number;
    const used = this.words[2] as number;
    if (magic !== BATCH_MAGIC) throw new UnreadableBatch('A batch does not begin as batches do.');
    if (number !== sequence) throw new UnreadableBatch(`Batch ${number} arrived where ${sequence} was due.`);
    if (used < BATCH_HEADER_BYTES || used > buffer.byteLength || used % 4 !== 0) {
      throw new UnreadableBatch(`A batch of ${buffer.byteLength} bytes says that ${used} are used.`);
    }
    this.#end = used;
    this.frameEnd = BATCH_HEADER_BYTES;
  }

  /** Goes to the next frame; false after the last. Throws UnreadableBatch. */
  next(): boolean {
    const start = this.frameEnd;
    if (start === this.#end) return false;
    const frame = start >> 2;
    const length = this.words[frame] as number;
    if (length < FRAME_HEADER_WORDS * 4 || length % 4 !== 0 || length > this.#end - start) {
      throw new UnreadableBatch(`A frame says that it is ${length} bytes long where ${this.#end - start} are left.`);
    }
    this.frame = frame;
    this.frameEnd = start + length;
    return true;
  }

  get kind(): number {
    return (this.words[this.frame + 1] as number) & 0xff;
  }

  get flags(): number {
    return ((this.words[this.frame + 1] as number) >> 8) & 0xff;
  }

  get id(): number {
    return this.words[this.frame + 2] as number;
  }

  /** Word `index` of the frame, counted from its first. Words beyond the frame read as 0. */
  word(index: number): number {
    const at = this.frame + index;
    return at * 4 < this.frameEnd ? (this.words[at] as number) : 0;
  }

  /** Whether `bytes` from byte `offset` of the frame are inside it. */
  holds(offset: number, bytes: number): boolean {
    return bytes >= 0 && this.frame * 4 + offset + bytes <= this.frameEnd;
  }

  /** Lets go of the buffer, which is returned. */
  close(): void {
    this.bytes = EMPTY_BYTES;
    this.words = EMPTY_WORDS;
    this.attachments = [];
  }
}

const EMPTY_BYTES = Buffer.alloc(0);
const EMPTY_WORDS = new Int32Array(0);
