/**
 * A body being put together in memory. When its length was announced its pieces go to their place as they come, so that they
 * are garbage at once: kept until the end they would double the memory, and the collector would look for them all the time.
 */

import { unzeroedBuffer } from './own-buffer.ts';

/** Pieces are kept up to this many bytes: most bodies end before it. */
const PIECES_BYTES_MAX = 1024 * 1024;

/** Memory taken at most, in multiples of what has come: a peer that announces much and sends little costs little. */
const GROWTH_MAX = 16;

export class WholeBody {
  /** In the order they came; none once `#whole` is there. */
  #pieces: Uint8Array<ArrayBuffer>[] = [];
  #whole: Uint8Array<ArrayBuffer> | null = null;
  #bytes = 0;
  readonly #announced: () => number;

  /** `announced`: the length of the body, -1 when it is not known. Asked at most once per growth. */
  constructor(announced: () => number) {
    this.#announced = announced;
  }

  add(piece: Uint8Array<ArrayBuffer>): void {
    const bytes = this.#bytes + piece.length;
    if (this.#whole === null && bytes <= PIECES_BYTES_MAX) this.#pieces.push(piece);
    else if (this.#hasRoomFor(bytes)) this.#whole?.set(piece, this.#bytes);
    else this.#pieces.push(piece);
    this.#bytes = bytes;
  }

  /** One piece is handed on as it is: a moved buffer is not copied. */
  take(): Uint8Array<ArrayBuffer> {
    if (this.#whole !== null && this.#pieces.length === 0 && this.#whole.length === this.#bytes) return this.#whole;
    const [first] = this.#pieces;
    if (this.#whole === null && this.#pieces.length === 1 && first !== undefined) return first;
    return this.#moveTo(this.#bytes);
  }

  #hasRoomFor(bytes: number): boolean {
    if (this.#whole !== null && bytes <= this.#whole.length) return true;
    const announced = this.#announced();
    if (!Number.isSafeInteger(announced) || announced < bytes) return false;
    this.#whole = this.#moveTo(Math.min(announced, bytes * GROWTH_MAX));
    this.#pieces = [];
    return true;
  }

  #moveTo(capacity: number): Uint8Array<ArrayBuffer> {
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
