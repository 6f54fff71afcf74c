/**
 * The body of a Request, looked at before it is sent. A Request shows its body as a stream only, whatever it was made of; most were made of
 * text or bytes, and then the stream gives all of it without anybody waiting. Such a body is sent with its length, as fetch does (servers
 * refuse chunked coding more often than not), and can be sent again. Anything else goes out as it comes.
 */

import { iteratorOf, letGo } from './body-iterator.ts';
import { type BodyPieces, pieceBytes } from './fetch-body.ts';

/** More is not collected: it would have to be kept, too. */
const AHEAD_BYTES_MAX = 1024 * 1024;

/**
 * The whole body when all of it comes before the event loop turns; else its pieces, of which nothing is lost. Rejects with the error of the
 * stream, when that fails so soon.
 */
export async function readAhead({ source, length }: BodyPieces): Promise<Uint8Array | BodyPieces> {
  const iterator = iteratorOf(source);
  const pieces: unknown[] = [];
  const turn = new Promise<null>((resolve) => setImmediate(resolve, null));
  for (let bytes = 0; ; ) {
    const step = iterator.next();
    const first = await Promise.race([step, turn]);
    if (first === null || bytes > AHEAD_BYTES_MAX) {
      // Whoever reads on hears of it.
      step.catch(() => undefined);
      return { source: new ReadAhead(pieces, step, iterator), length, repeatable: false };
    }
    if (first.done) return Buffer.concat(pieces.map((piece) => pieceBytes(piece)));
    try {
      bytes += pieceBytes(first.value).length;
    } catch (error) {
      void letGo(iterator);
      throw error;
    }
    pieces.push(first.value);
  }
}

/** What was read, and then the rest. */
class ReadAhead implements AsyncIterable<unknown> {
  readonly #pieces: unknown[];
  #step: Promise<IteratorResult<unknown>> | null;
  readonly #rest: AsyncIterator<unknown>;

  constructor(pieces: unknown[], step: Promise<IteratorResult<unknown>>, rest: AsyncIterator<unknown>) {
    this.#pieces = pieces;
    this.#step = step;
    this.#rest = rest;
  }

  [Symbol.asyncIterator](): AsyncIterator<unknown> {
    return {
      next: (): Promise<IteratorResult<unknown>> => {
        if (this.#pieces.length > 0) return Promise.resolve({ done: false, value: this.#pieces.shift() });
        const step = this.#step ?? this.#rest.next();
        this.#step = null;
        return step;
      },
      return: async (reason): Promise<IteratorResult<unknown>> => {
        await letGo(this.#rest, reason);
        return { done: true, value: undefined };
      },
    };
  }
}
