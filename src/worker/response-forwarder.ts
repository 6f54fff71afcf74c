/**
 * What a transfer's callbacks do in a shard: they write frames. Small bodies are copied into the batch, bodies of known length
 * are received straight into a buffer that is then moved, and all flow under credit: without it the transfer pauses, so a slow
 * reader stops its own socket and nothing else.
 */

import type { BatchWriter } from '../protocol/port/batch-writer.ts';
import { ATTACHED_BODY_BYTES, INITIAL_CREDIT_BYTES } from '../protocol/port/frames.ts';
import { writeAttachedBody, writeBody, writeEnd, writeHead } from '../protocol/port/response-frames.ts';
import type { Multi } from './multi/multi.ts';
import type { Transfer } from './multi/transfer.ts';

export class ResponseForwarder {
  completed = 0;
  readonly #writer: BatchWriter;
  readonly #multi: Multi;
  readonly #transfers: Map<number, Transfer>;
  /** Credit left, of the transfers that have used some of it; the others have INITIAL_CREDIT_BYTES. */
  readonly #credits = new Map<number, number>();

  // One function each for all transfers: no closure per request.
  readonly #onHead = (transfer: Transfer, bytes: Uint8Array, start: number, end: number): void => {
    writeHead(this.#writer, transfer, bytes, start, end);
    const length = transfer.connection?.parser.bodyRemaining ?? -1;
    if (length > ATTACHED_BODY_BYTES && length <= INITIAL_CREDIT_BYTES) transfer.receiveInto(new Uint8Array(length));
  };
  readonly #onData = (transfer: Transfer, bytes: Uint8Array, start: number, end: number): void => {
    writeBody(this.#writer, transfer.id, bytes, start, end);
    this.#spend(transfer, end - start);
  };
  readonly #onEnd = (transfer: Transfer, trailers: string): void => {
    const { id, target } = transfer;
    if (target !== null) writeAttachedBody(this.#writer, id, target.buffer as ArrayBuffer);
    writeEnd(this.#writer, id, transfer.endUs, trailers);
    this.completed++;
    this.#transfers.delete(id);
    if (this.#credits.size > 0) this.#credits.delete(id);
    this.#multi.remove(transfer);
  };

  constructor(writer: BatchWriter, multi: Multi, transfers: Map<number, Transfer>) {
    this.#writer = writer;
    this.#multi = multi;
    this.#transfers = transfers;
  }

  attach(transfer: Transfer): void {
    transfer.onHead = this.#onHead;
    transfer.onData = this.#onData;
    transfer.onEnd = this.#onEnd;
  }

  /** The main thread has handed on `bodyBytes` more. Credit for a transfer that has ended comes late and means nothing. */
  credit(id: number, bodyBytes: number): void {
    const transfer = this.#transfers.get(id);
    if (transfer === undefined || bodyBytes <= 0) return;
    const credit = (this.#credits.get(id) ?? INITIAL_CREDIT_BYTES) + bodyBytes;
    this.#credits.set(id, credit);
    if (credit > 0) transfer.unpause();
  }

  /** The transfer has failed: what it had received of its body in place goes out before the error, as any other body bytes have. */
  cut(transfer: Transfer): void {
    const { id, target, targetOffset } = transfer;
    if (target !== null && targetOffset > 0) writeBody(this.#writer, id, target, 0, targetOffset);
  }

  /** The transfer has ended without `onEnd`. */
  forget(id: number): void {
    this.#credits.delete(id);
  }

  #spend(transfer: Transfer, bodyBytes: number): void {
    // A body that initial credit covers whole needs no account.
    const { parser } = transfer.connection as { parser: { contentLength: number } };
    if (parser.contentLength >= 0 && parser.contentLength <= INITIAL_CREDIT_BYTES) return;
    const credit = (this.#credits.get(transfer.id) ?? INITIAL_CREDIT_BYTES) - bodyBytes;
    this.#credits.set(transfer.id, credit);
    if (credit <= 0) transfer.pause();
  }
}
