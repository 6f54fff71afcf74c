/**
 * Chunks of a response body that came and were not taken yet, and the credit for those that were: a shard sends no more than it has
 * credit for, so nobody takes, nothing more comes. After the end credit still goes back for what is taken or dropped, because the
 * shard counts it as unread until then. Who reads, and what the end means to him, is not known here.
 *
 * A peer decides how large chunks are. Small ones that wait side by side are gathered into one block, so that what waits costs
 * memory by its bytes, not by its pieces. A chunk can be taken at any time, however full its block is.
 */

import { UNCOUNTED_BODY_BYTES, WINDOW_BYTES_MIN } from '../protocol/port/frames.ts';

/** Credit goes back in steps of what each body may have unread once the budget of its shard is used up: no shard waits for less. */
const CREDIT_STEP_BYTES = WINDOW_BYTES_MIN;
/** Chunks below this are gathered: an object of its own costs as much as some hundred bytes. */
const SMALL_BYTES = 4 * 1024;
/** Of a block at most. It begins small and doubles. */
const BLOCK_BYTES_MAX = 16 * 1024;
/** The list is cut behind what was taken when there are this many such places in it, and they are the most of it. */
const TAKEN_PLACES_MAX = 64;

/** Who sends more. */
export interface CreditTaker {
  /** This many bytes were taken. */
  giveCredit(bodyBytes: number): void;
}

type Chunk = Uint8Array<ArrayBuffer>;

const NO_BYTES: Chunk = new Uint8Array(0);

export class UnreadChunks {
  readonly #sender: CreditTaker;
  #chunks: Chunk[] = [];
  /** Index of the first that waits. */
  #first = 0;
  /** Bytes in use of the last chunk, which is a block; -1: it is none. */
  #blockBytes = -1;
  #receivedBytes = 0;
  /** Since credit was given last. */
  #takenBytes = 0;
  #hasEnded = false;
  #isCounted = true;

  constructor(sender: CreditTaker) {
    this.#sender = sender;
  }

  get isEmpty(): boolean {
    return this.#first === this.#chunks.length;
  }

  push(chunk: Chunk): void {
    this.#receivedBytes += chunk.length;
    if (chunk.length < SMALL_BYTES && !this.isEmpty && this.#gather(chunk)) return;
    this.#closeBlock();
    this.#chunks.push(chunk);
  }

  /** The next one; null: none waits. */
  take(): Chunk | null {
    const chunks = this.#chunks;
    if (this.#first === chunks.length) return null;
    if (this.#first + 1 === chunks.length) this.#closeBlock();
    const chunk = chunks[this.#first] as Chunk;
    chunks[this.#first++] = NO_BYTES;
    if (this.#first === chunks.length) {
      chunks.length = 0;
      this.#first = 0;
    } else if (this.#first >= TAKEN_PLACES_MAX && this.#first * 2 > chunks.length) {
      this.#chunks = chunks.slice(this.#first);
      this.#first = 0;
    }
    this.#takenBytes += chunk.length;
    if (this.#takenBytes >= CREDIT_STEP_BYTES || this.#hasEnded) this.#settle();
    return chunk;
  }

  /** Nothing more comes. `cameWhole`: all came in the frame of its head, of which no credit is given (see frames.ts). */
  end(cameWhole = false): void {
    this.#hasEnded = true;
    this.#isCounted = !cameWhole && this.#receivedBytes > UNCOUNTED_BODY_BYTES;
    this.#settle();
  }

  /** Nothing more comes or is taken. */
  drop(): void {
    this.#closeBlock();
    for (let index = this.#first; index < this.#chunks.length; index++) {
      this.#takenBytes += (this.#chunks[index] as Chunk).length;
    }
    this.#chunks = [];
    this.#first = 0;
    if (this.#hasEnded) this.#settle();
    else this.end();
  }

  /** In steps, and once all has come, with the last of it. */
  #settle(): void {
    if (this.#takenBytes === 0) return;
    if (this.#takenBytes < CREDIT_STEP_BYTES && !(this.#hasEnded && this.isEmpty)) return;
    const bodyBytes = this.#takenBytes;
    this.#takenBytes = 0;
    if (this.#isCounted) this.#sender.giveCredit(bodyBytes);
  }

  /** False: neither the last chunk nor a block made of it has room. */
  #gather(chunk: Chunk): boolean {
    const last = this.#chunks.length - 1;
    const block = this.#chunks[last] as Chunk;
    const usedBytes = this.#blockBytes < 0 ? block.length : this.#blockBytes;
    const bytes = usedBytes + chunk.length;
    if (this.#blockBytes < 0 && usedBytes >= SMALL_BYTES) return false;
    if (this.#blockBytes < 0 || bytes > block.length) {
      if (bytes > BLOCK_BYTES_MAX) return false;
      const larger = new Uint8Array(Math.min(bytes * 2, BLOCK_BYTES_MAX));
      larger.set(usedBytes === block.length ? block : block.subarray(0, usedBytes));
      this.#chunks[last] = larger;
    }
    (this.#chunks[last] as Chunk).set(chunk, usedBytes);
    this.#blockBytes = bytes;
    return true;
  }

  /** Nothing more comes into the last block: what is left of its memory is let go. */
  #closeBlock(): void {
    if (this.#blockBytes < 0) return;
    const last = this.#chunks.length - 1;
    const block = this.#chunks[last] as Chunk;
    if (this.#blockBytes < block.length) this.#chunks[last] = block.slice(0, this.#blockBytes);
    this.#blockBytes = -1;
  }
}
