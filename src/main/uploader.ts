/**
 * A request body in pieces on its way out: asks the caller's iterator, and hands what it gives to the shard while there is
 * credit. Held to the announced length to the byte. It ends with the body, with the exchange, or with the caller's own error.
 */

import { invalidArgument } from '../protocol/errors.ts';
import { INITIAL_CREDIT_BYTES } from '../protocol/port/frames.ts';
import { iteratorOf, letGo } from './body-iterator.ts';
import { type BodyPieces, pieceBytes } from './fetch-body.ts';

/** Longer pieces are sent in parts of this size, so that one piece cannot overdraw the credit by much. */
const PART_BYTES = 256 * 1024;

/** What the uploader needs of its exchange. */
export interface UploadTarget {
  sendBody(bytes: Uint8Array): void;
  sendEnd(): void;
  /** The caller's source threw, or did not keep its word: `error` is what fetch rejects with. */
  uploadFailed(error: unknown): void;
}

export class Uploader {
  readonly #source: AsyncIterable<unknown>;
  readonly #length: number;
  readonly #target: UploadTarget;
  /** Of the source, once it is being read. */
  #iterator: AsyncIterator<unknown> | null = null;
  #sent = 0;
  #credit = INITIAL_CREDIT_BYTES;
  #stopped = false;
  /** Wakes the loop when credit comes or all ends. */
  #wake: (() => void) | null = null;

  constructor(pieces: BodyPieces, target: UploadTarget) {
    this.#source = pieces.source;
    this.#length = pieces.length;
    this.#target = target;
  }

  start(): void {
    this.#run().catch((error: unknown) => {
      if (this.#stopped) return;
      this.#stopped = true;
      this.#target.uploadFailed(error);
    });
  }

  giveCredit(bodyBytes: number): void {
    this.#credit += bodyBytes;
    this.#wakeUp();
  }

  /** The exchange is over: the caller's source is told that nobody reads it any more, and why it was aborted. */
  stop(reason?: unknown): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#wakeUp();
    if (this.#iterator !== null) void letGo(this.#iterator, reason);
  }

  async #run(): Promise<void> {
    const iterator = iteratorOf(this.#source);
    this.#iterator = iterator;
    for (;;) {
      const { done, value } = await iterator.next();
      if (this.#stopped) return;
      if (done) break;
      try {
        await this.#sendPiece(pieceBytes(value));
      } catch (error) {
        // Ours, about what the source gave: it would go on giving.
        void letGo(iterator);
        throw error;
      }
      if (this.#stopped) return;
    }
    if (this.#length >= 0 && this.#sent < this.#length) throw lengthMismatch(this.#length, 'fewer');
    this.#stopped = true;
    this.#target.sendEnd();
  }

  async #sendPiece(bytes: Uint8Array): Promise<void> {
    if (this.#length >= 0 && this.#sent + bytes.length > this.#length) throw lengthMismatch(this.#length, 'more');
    this.#sent += bytes.length;
    for (let at = 0; at < bytes.length; at += PART_BYTES) {
      while (this.#credit <= 0 && !this.#stopped) await this.#nextCredit();
      if (this.#stopped) return;
      const part = bytes.subarray(at, at + PART_BYTES);
      this.#credit -= part.length;
      this.#target.sendBody(part);
    }
  }

  #nextCredit(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  #wakeUp(): void {
    const wake = this.#wake;
    this.#wake = null;
    wake?.();
  }
}

function lengthMismatch(length: number, how: 'more' | 'fewer'): Error {
  return invalidArgument(
    'body',
    `The body gave ${how} bytes than the ${length} that its Content-Length announced, so the request was cut off.`,
  );
}
