/**
 * One body being decoded: all its codings, the one put on last taken off first. It decodes on demand and into one buffer that
 * all bodies of a thread share, so what it keeps between two calls is the state of its codings and, where they are stacked, a
 * small buffer between each two. It does not pause, count credit or end transfers: see `body-decoders.ts`.
 *
 * What one call gives is bounded by SLICE_BYTES, and with one coding so is its work: that grows with what comes in and what goes out.
 * Not so with stacked codings. A kilobyte may hold a gigabyte of deflate blocks without content, coded twice more, of which nothing ever
 * goes out. So a call also ends after STACK_MS, and the body fails when more than an encoder could make of it went from one coding to the next.
 */

import type { ContentCoding } from '../../protocol/content-codings.ts';
import { TransferError } from '../../protocol/errors.ts';
import { CodingDecoder, UndecodableBody } from './coding-decoder.ts';

/**
 * Given at most in one go; between two, other transfers of the shard have their turn. 0.1 to 0.3 ms for deflate and gzip, 0.8 for
 * brotli; but brotli decodes as much as its window holds before it gives of that: 8 ms for the 4 MiB of a body of zeros.
 */
export const SLICE_BYTES = 128 * 1024;

/** Between two codings of one body. */
const BETWEEN_BYTES = 8 * 1024;

/** Spent on stacked codings in one go, or little more: the clock is looked at after every BETWEEN_BYTES, 10 to 30 us. */
const STACK_MS = 1;

/**
 * What a coding may take from the one outside it: so much, and BETWEEN_RATIO_MAX for each byte that the body has given. Encoders add little
 * to what they are given; where each byte is flushed by itself it becomes 8, and 8 more with each coding on top.
 */
const BETWEEN_FREE_BYTES = 1024 * 1024;
const BETWEEN_RATIO_MAX = 64;

/** Where decoded bytes lie until the next body of this thread is decoded: made when the first body comes. */
let slice: Buffer | null = null;

/** A coding whose input another one gives. */
interface InnerStage {
  readonly decoder: CodingDecoder;
  readonly input: Uint8Array;
  at: number;
  end: number;
  /** Put into `input` so far. */
  givenBytes: number;
}

const NO_BYTES = new Uint8Array(0);

export class BodyDecoder {
  /** Decoded so far. */
  decodedBytes = 0;
  /** Of the chunk that is being decoded, how much is done: it is offered again from its beginning. */
  taken = 0;
  /** After `decode`: all that was offered is taken, and all that it gives was given. */
  isDone = true;
  readonly #outermost: CodingDecoder;
  /** From the outside in; mostly there is none. */
  readonly #inner: readonly InnerStage[];
  readonly #bytesMax: number;
  #input: Uint8Array = NO_BYTES;
  #at = 0;
  #end = 0;
  /** When the call that is under way shall end, by `performance.now()`. Only for stacked codings. */
  #untilMs = 0;
  #interrupted = false;

  /** `codings`: in the order in which they were put on; one at least. `bytesMax`: `limits.decodedBytes`, 0 for none. */
  constructor(codings: readonly ContentCoding[], bytesMax: number) {
    const [outermost, ...inner] = codings.map((coding) => new CodingDecoder(coding)).reverse();
    this.#outermost = outermost as CodingDecoder;
    this.#inner = inner.map((decoder) => ({
      decoder,
      input: new Uint8Array(BETWEEN_BYTES),
      at: 0,
      end: 0,
      givenBytes: 0,
    }));
    this.#bytesMax = bytesMax;
  }

  /**
   * Decodes up to SLICE_BYTES of what `bytes[start, end)` gives, and answers how many that are: they lie at the beginning of `decoded`.
   * When it is not done then (`isDone`), the same bytes must be offered again, unchanged; that may be so though it answers 0. Throws TransferError BAD_CONTENT_CODING or LIMIT_EXCEEDED.
   */
  decode(bytes: Uint8Array, start: number, end: number): number {
    slice ??= Buffer.allocUnsafeSlow(SLICE_BYTES);
    this.#input = bytes;
    this.#at = start + this.taken;
    this.#end = end;
    this.#interrupted = false;
    if (this.#inner.length > 0) this.#untilMs = performance.now() + STACK_MS;
    let count: number;
    try {
      count = this.#fill(this.#inner.length, slice, SLICE_BYTES);
    } catch (error) {
      throw this.#asTransferError(error);
    }
    this.#input = NO_BYTES;
    this.isDone = count < SLICE_BYTES && !this.#interrupted;
    this.taken = this.isDone ? 0 : this.#at - start;
    this.decodedBytes += count;
    if (this.#bytesMax !== 0 && this.decodedBytes > this.#bytesMax) throw tooMuch(this.#bytesMax);
    if (this.#inner.length > 0) this.#checkBetween();
    return count;
  }

  /** Valid until the next `decode` of any body on this thread. */
  get decoded(): Buffer {
    return slice as Buffer;
  }

  /** The body is over and all of it was decoded. Throws TransferError BAD_CONTENT_CODING when its codings say that more was to come. */
  finish(): void {
    slice ??= Buffer.allocUnsafeSlow(SLICE_BYTES);
    try {
      this.#outermost.finish(slice);
      for (const { decoder } of this.#inner) decoder.finish(slice);
    } catch (error) {
      throw this.#asTransferError(error);
    }
  }

  /** Its memory goes to the next body, or back. */
  release(): void {
    this.#outermost.release();
    for (const { decoder } of this.#inner) decoder.release();
  }

  /** Fills `output[0, size)` with what stage `depth` gives (0: the outermost), as far as there is input and time. */
  #fill(depth: number, output: Uint8Array, size: number): number {
    if (depth === 0) {
      const count = this.#outermost.decode(this.#input, this.#at, this.#end, output, 0, size);
      this.#at = this.#outermost.inputAt;
      return count;
    }
    const stage = this.#inner[depth - 1] as InnerStage;
    const { decoder, input } = stage;
    let count = 0;
    while (count < size) {
      if (stage.at === stage.end && !decoder.pending) {
        stage.at = 0;
        stage.end = this.#fill(depth - 1, input, input.length);
        stage.givenBytes += stage.end;
        if (stage.end === 0) break;
      }
      count += decoder.decode(input, stage.at, stage.end, output, count, size);
      stage.at = decoder.inputAt;
      if (performance.now() >= this.#untilMs) {
        this.#interrupted = true;
        break;
      }
    }
    return count;
  }

  #checkBetween(): void {
    const bytesMax = BETWEEN_FREE_BYTES + BETWEEN_RATIO_MAX * this.decodedBytes;
    if (this.#inner.every(({ givenBytes }) => givenBytes <= bytesMax)) return;
    throw this.#asTransferError(new UndecodableBody('its codings give each other far more than there is in it'));
  }

  #asTransferError(error: unknown): unknown {
    if (!(error instanceof UndecodableBody)) return error;
    const names = [this.#outermost, ...this.#inner.map(({ decoder }) => decoder)].map(({ coding }) => coding).reverse();
    return new TransferError(
      'BAD_CONTENT_CODING',
      `The body is not the ${names.join(', ')} that its Content-Encoding says: ${error.message}. With decompress: false it comes as it was sent.`,
      { phase: 'body', cause: error },
    );
  }
}

function tooMuch(bytesMax: number): TransferError {
  return new TransferError(
    'LIMIT_EXCEEDED',
    `The decoded body is longer than limits.decodedBytes allows, ${bytesMax} bytes; raise it if the peer is trusted.`,
    { phase: 'body', limit: 'limits.decodedBytes' },
  );
}
