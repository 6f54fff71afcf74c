/**
 * The bodies of a shard that are being decoded, and whose turn it is. What is decoded goes to whoever asks for it, see
 * `response-forwarder.ts` and `body-collector.ts`.
 *
 * Decoding happens on the shard's thread, as bytes come: a small body is decoded within the turn that received it. A chunk may hold a
 * thousand times its size, though, or, with stacked codings, work for hours. So one body gets one call of its BodyDecoder in one go, which
 * ends by itself, and all bodies together TURN_MS before the event loop has its turn. A chunk that is not done is refused (PAUSE): the
 * engine keeps it, stops the socket, and offers it again.
 */

import { type ContentCoding, codingNames, knownCodings } from '../../protocol/content-codings.ts';
import { TransferError } from '../../protocol/errors.ts';
import type { Multi } from '../multi/multi.ts';
import type { Transfer } from '../multi/transfer.ts';
import { PAUSE } from '../multi/transfer-options.ts';
import { BodyDecoder } from './body-decoder.ts';

/**
 * Spent on decoding by one shard between two turns of its event loop, or little more. Time and not bytes, because brotli decodes up
 * to its window at once, 4 MiB mostly, before it gives the first byte of that.
 */
const TURN_MS = 3;

/** Bodies that go on in one turn. */
const RESUMED_MAX = 16;

/** Content-Encoding fields whose meaning is kept; peers write few different ones. */
const FIELDS_KEPT_MAX = 64;

/** A part of the representation as it is coded (RFC 9110 §14.2), which does not decode by itself. */
const PARTIAL_CONTENT = 206;

/** Takes decoded bytes, which are valid during the call. True: the transfer shall wait before it gives more. */
export type DecodedSink = (transfer: Transfer, bytes: Buffer, count: number) => boolean;

interface Field {
  /** Codings that it names, known or not. */
  readonly count: number;
  /** Those to be taken off. */
  readonly codings: readonly ContentCoding[];
}

export class BodyDecoders {
  readonly #multi: Multi;
  readonly #decoders = new Map<number, BodyDecoder>();
  readonly #fields = new Map<string, Field>();
  #turnMs = 0;
  /** Transfers with a chunk that is not done, in the order in which they go on. */
  #waiting: Transfer[] = [];

  constructor(multi: Multi) {
    this.#multi = multi;
  }

  /** Bodies being decoded. */
  get count(): number {
    return this.#decoders.size;
  }

  /**
   * Inside `onHead`, of a response with a Content-Encoding: whether its body is to be decoded. 'failed': it named too many codings, and the
   * transfer has ended with LIMIT_EXCEEDED.
   */
  begin(transfer: Transfer): 'plain' | 'coded' | 'failed' {
    const parser = transfer.connection?.parser;
    // HEAD, 204, 304 and empty bodies have nothing to decode, whatever they say; other protocols are not decoded.
    if (parser === undefined || parser.bodyRemaining === 0 || transfer.status === PARTIAL_CONTENT) return 'plain';
    if (parser.framing === 'tunnel') return 'plain';
    const { count, codings } = this.#meaningOf(parser.contentCoding);
    const { limits } = transfer;
    if (count > limits.codings) {
      this.#multi.fail(transfer, tooManyCodings(count, limits.codings));
      return 'failed';
    }
    if (codings.length === 0) return 'plain';
    this.#decoders.set(transfer.id, new BodyDecoder(codings, limits.decodedBytes));
    return 'coded';
  }

  /** Inside `onData`, whose answer is answered. What is decoded goes to `sink`. */
  decode(transfer: Transfer, bytes: Uint8Array, start: number, end: number, sink: DecodedSink): unknown {
    const decoder = this.#decoders.get(transfer.id) as BodyDecoder;
    if (this.#turnMs >= TURN_MS) {
      this.#waiting.push(transfer);
      return PAUSE;
    }
    const began = performance.now();
    let count: number;
    try {
      count = decoder.decode(bytes, start, end);
    } catch (error) {
      this.#multi.fail(transfer, error as TransferError);
      return undefined;
    }
    this.#turnMs += performance.now() - began;
    const mustWait = count > 0 && sink(transfer, decoder.decoded, count);
    if (decoder.isDone) {
      if (mustWait) transfer.pause();
      return undefined;
    }
    // Whoever asked it to wait will say when it goes on.
    if (!mustWait) this.#waiting.push(transfer);
    return PAUSE;
  }

  /** Inside `onEnd`: how long the decoded body was. -1: it was not whole, and the transfer has an error now. */
  finish(transfer: Transfer): number {
    const decoder = this.#decoders.get(transfer.id) as BodyDecoder;
    try {
      decoder.finish();
      return decoder.decodedBytes;
    } catch (error) {
      transfer.error = error as TransferError;
      return -1;
    } finally {
      this.release(transfer.id);
    }
  }

  /** What a transfer has decoded so far; -1: it decodes nothing. */
  decodedBytes(id: number): number {
    return this.#decoders.get(id)?.decodedBytes ?? -1;
  }

  /** Nothing more of it is to be decoded. */
  release(id: number): void {
    const decoder = this.#decoders.get(id);
    if (decoder === undefined) return;
    this.#decoders.delete(id);
    decoder.release();
  }

  /** The turn ends: some of those with a chunk that is not done go on in the next one. */
  endTurn(): void {
    this.#turnMs = 0;
    if (this.#waiting.length === 0) return;
    for (const transfer of this.#waiting.splice(0, RESUMED_MAX)) {
      if (this.#decoders.has(transfer.id)) transfer.unpause();
    }
  }

  #meaningOf(text: string): Field {
    let field = this.#fields.get(text);
    if (field === undefined) {
      const names = codingNames(text);
      field = { count: names.length, codings: knownCodings(names) };
      if (this.#fields.size >= FIELDS_KEPT_MAX) this.#fields.clear();
      this.#fields.set(text, field);
    }
    return field;
  }
}

function tooManyCodings(count: number, codingsMax: number): TransferError {
  return new TransferError(
    'LIMIT_EXCEEDED',
    `The response names ${count} content codings, more than limits.codings allows, ${codingsMax}.`,
    { phase: 'head', limit: 'limits.codings' },
  );
}
