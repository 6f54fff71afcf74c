/**
 * A body being put together in memory. When its length was announced its pieces go to their place as they come, so that they
 * are garbage at once: kept until the end they would double the memory, and the collector would look for them all the time.
 *
 * A peer decides how large its pieces are. Small ones are gathered into blocks, so that a body costs memory by its bytes, and not by
 * its pieces: a byte in an object of its own costs 120.
 */

import { copyOf, unzeroedBuffer } from './own-buffer.ts';

/** Pieces are kept up to this many bytes: most bodies end before it. */
const PIECES_BYTES_MAX = 1024 * 1024;

/** Memory taken at most, in multiples of what has come: a peer that announces much and sends little costs little. */
const GROWTH_MAX = 16;

/** Pieces below this are gathered, but for the first, which is mostly all of it. No block is larger. */
const BLOCK_BYTES_MAX = 16 * 1024;

/** Blocks begin so small, and grow with the body. */
const BLOCK_BYTES_MIN = 512;

const NO_BLOCK = new Uint8Array(0);

export class WholeBody {
  /** In the order they came; none once `#whole` is there. */
  #pieces: Uint8Array<ArrayBuffer>[] = [];
  /** The last of the pieces, when it is a block that is not closed. */
  #block: Uint8Array<ArrayBuffer> = NO_BLOCK;
  #blockUsed = 0;
  #whole: Uint8Array<ArrayBuffer> | null = null;
  #bytes = 0;
  readonly #announced: () => number;

  /** `announced`: the length of the body, -1 when it is not known. Asked at most once per growth. */
  constructor(announced: () => number) {
    this.#announced = announced;
  }

  /** The piece is this body's from now on. */
  add(piece: Uint8Array<ArrayBuffer>): void {
    if (this.#bytes > 0 && piece.length < BLOCK_BYTES_MAX) this.addCopy(piece);
    else if (this.#hasRoomFor(piece.length)) this.#place(piece);
    else this.#keep(piece);
  }

  /** The piece is only lent. */
  addCopy(piece: Uint8Array): void {
    if (this.#hasRoomFor(piece.length)) this.#place(piece);
    else if (this.#bytes > 0 && piece.length < BLOCK_BYTES_MAX) this.#gather(piece);
    else this.#keep(new Uint8Array(copyOf(piece)));
  }

  /** All of it, in memory of its own. One piece is handed on as it is: a moved buffer is not copied. */
  take(): Uint8Array<ArrayBuffer> {
    if (this.#whole !== null && this.#pieces.length === 0 && this.#whole.length === this.#bytes) return this.#whole;
    const [first] = this.#pieces;
    if (this.#whole === null && this.#pieces.length === 1 && first !== undefined) return first;
    return this.#moveTo(this.#bytes);
  }

  #place(piece: Uint8Array): void {
    this.#whole?.set(piece, this.#bytes);
    this.#bytes += piece.length;
  }

  #keep(piece: Uint8Array<ArrayBuffer>): void {
    this.#closeBlock();
    this.#pieces.push(piece);
    this.#bytes += piece.length;
  }

  #gather(piece: Uint8Array): void {
    for (let at = 0; at < piece.length; ) {
      if (this.#blockUsed === this.#block.length) this.#openBlock();
      const count = Math.min(piece.length - at, this.#block.length - this.#blockUsed);
      this.#block.set(count === piece.length ? piece : piece.subarray(at, at + count), this.#blockUsed);
      this.#blockUsed += count;
      this.#bytes += count;
      at += count;
    }
  }

  #openBlock(): void {
    this.#block = new Uint8Array(unzeroedBuffer(Math.max(BLOCK_BYTES_MIN, Math.min(this.#bytes, BLOCK_BYTES_MAX))));
    this.#blockUsed = 0;
    this.#pieces.push(this.#block);
  }

  #closeBlock(): void {
    if (this.#block === NO_BLOCK) return;
    this.#pieces[this.#pieces.length - 1] = this.#block.subarray(0, this.#blockUsed);
    this.#block = NO_BLOCK;
    this.#blockUsed = 0;
  }

  /** Whether so many bytes more have their place in `#whole`. */
  #hasRoomFor(count: number): boolean {
    const bytes = this.#bytes + count;
    if (this.#whole === null && bytes <= PIECES_BYTES_MAX) return false;
    if (this.#whole !== null && bytes <= this.#whole.length) return true;
    const announced = this.#announced();
    if (!Number.isSafeInteger(announced) || announced < bytes) return false;
    this.#whole = this.#moveTo(Math.min(announced, bytes * GROWTH_MAX));
    this.#pieces = [];
    return true;
  }

  #moveTo(capacity: number): Uint8Array<ArrayBuffer> {
    this.#closeBlock();
    const whole = new Uint8Array(unzeroedBuffer(capacity));
    const old = this.#whole;
    let at = 0;
    if (old !== null) {
      at = this.#bytes - this.#pieces.reduce((sum, piece) => sum + piece.length, 0);
      whole.set(old.subarray(0, at));
    }
    for (const piece of this.#pieces) {
      whole.set(piece, at);
      at += piece.length;
    }
    return whole;
  }
}
