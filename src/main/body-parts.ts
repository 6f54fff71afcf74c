/**
 * A request body made of bytes and Blobs, one after the other: nothing of it is used up by reading, so it can be read anew, from
 * its beginning, when a request is sent once more. What stands in the parts is not known here.
 */

import { isUint8Array } from '../protocol/built-ins.ts';
import { iteratorOf, letGo } from './body-iterator.ts';

/** By shape, because Files and Blobs of other packages are as good. */
export interface BlobLike {
  readonly size: number;
  readonly type: string;
  /** A ReadableStream: lib.dom, `node:buffer` and others have each a type of their own for it. */
  stream(): unknown;
}

export type BodyPart = Uint8Array | BlobLike;

export function isBlob(value: unknown): value is BlobLike {
  return (
    typeof value === 'object' &&
    value !== null &&
    typeof (value as BlobLike).size === 'number' &&
    typeof (value as BlobLike).type === 'string' &&
    typeof (value as BlobLike).stream === 'function'
  );
}

/** Bytes of all parts; -1: one of them does not know its own. */
export function bytesOfParts(parts: readonly BodyPart[]): number {
  let bytes = 0;
  for (const part of parts) {
    const size = isUint8Array(part) ? part.length : part.size;
    if (!Number.isSafeInteger(size) || size < 0) return -1;
    bytes += size;
  }
  return bytes;
}

export class BodyParts implements AsyncIterable<unknown> {
  readonly #parts: readonly BodyPart[];

  constructor(parts: readonly BodyPart[]) {
    this.#parts = parts;
  }

  /** Each reads from the beginning. */
  [Symbol.asyncIterator](): AsyncIterator<unknown> {
    return new PartsReading(this.#parts);
  }
}

/** Not a generator: `return` of one that waits for a Blob would wait, too, and the Blob would never hear of it. */
class PartsReading implements AsyncIterator<unknown> {
  readonly #parts: readonly BodyPart[];
  #next = 0;
  /** Of the Blob that is being read. */
  #blob: AsyncIterator<unknown> | null = null;

  constructor(parts: readonly BodyPart[]) {
    this.#parts = parts;
  }

  async next(): Promise<IteratorResult<unknown>> {
    for (;;) {
      if (this.#blob !== null) {
        const step = await this.#blob.next();
        if (!step.done) return step;
        this.#blob = null;
      }
      const part = this.#parts[this.#next++];
      if (part === undefined) return { done: true, value: undefined };
      if (isUint8Array(part)) return { done: false, value: part };
      this.#blob = iteratorOf(part.stream() as AsyncIterable<unknown>);
    }
  }

  async return(reason?: unknown): Promise<IteratorResult<unknown>> {
    this.#next = this.#parts.length;
    const blob = this.#blob;
    this.#blob = null;
    if (blob !== null) await letGo(blob, reason);
    return { done: true, value: undefined };
  }
}
