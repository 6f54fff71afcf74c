/**
 * What a transfer's callbacks do in a shard: they write frames. Small bodies are copied into the batch, bodies of known length
 * are received straight into a buffer that is then moved, and all flow under credit: without it the transfer pauses, so a slow
 * reader stops its own socket and nothing else.
 *
 * A body whose length initial credit covers is sent whole and needs no account. Of any other, bytes that were sent and not yet
 * handed on count as unread, for the transfer (its window) and for the shard (its budget).
 */

import type { BatchWriter } from '../protocol/port/batch-writer.ts';
import { ATTACHED_BODY_BYTES, INITIAL_CREDIT_BYTES, WINDOW_BYTES_MIN } from '../protocol/port/frames.ts';
import { copyOf, unzeroedBuffer } from '../protocol/port/own-buffer.ts';
import { writeAttachedBody, writeBody, writeEnd, writeHead } from '../protocol/port/response-frames.ts';
import type { Multi } from './multi/multi.ts';
import type { Transfer } from './multi/transfer.ts';

export class ResponseForwarder {
  completed = 0;
  readonly #writer: BatchWriter;
  readonly #multi: Multi;
  readonly #transfers: Map<number, Transfer>;
  readonly #budgetBytes: number;
  /** Unread bytes, by transfer. */
  readonly #unread = new Map<number, number>();
  #unreadTotal = 0;

  // One function each for all transfers: no closure per request.
  readonly #onHead = (transfer: Transfer, bytes: Uint8Array, start: number, end: number): void => {
    writeHead(this.#writer, transfer, bytes, start, end);
    const length = transfer.connection?.parser.bodyRemaining ?? -1;
    if (length > ATTACHED_BODY_BYTES && length <= INITIAL_CREDIT_BYTES)
      transfer.receiveInto(new Uint8Array(unzeroedBuffer(length)));
  };
  readonly #onData = (transfer: Transfer, bytes: Uint8Array, start: number, end: number): void => {
    if (end - start <= ATTACHED_BODY_BYTES) writeBody(this.#writer, transfer.id, bytes, start, end);
    else writeAttachedBody(this.#writer, transfer.id, copyOf(bytes.subarray(start, end)));
    if (!isCovered(transfer)) this.#spend(transfer, end - start);
  };
  readonly #onEnd = (transfer: Transfer, trailers: string): void => {
    const { id, target } = transfer;
    if (target !== null) writeAttachedBody(this.#writer, id, target.buffer as ArrayBuffer);
    writeEnd(this.#writer, id, transfer.endUs, trailers);
    this.completed++;
    this.#transfers.delete(id);
    this.forget(id);
    this.#multi.remove(transfer);
  };

  /** `budgetBytes`: how much of all bodies together may be unread before windows shrink. */
  constructor(writer: BatchWriter, multi: Multi, transfers: Map<number, Transfer>, budgetBytes: number) {
    this.#writer = writer;
    this.#multi = multi;
    this.#transfers = transfers;
    this.#budgetBytes = budgetBytes;
  }

  get unreadBytes(): number {
    return this.#unreadTotal;
  }

  attach(transfer: Transfer): void {
    transfer.onHead = this.#onHead;
    transfer.onData = this.#onData;
    transfer.onEnd = this.#onEnd;
  }

  /** The main thread has handed on `bodyBytes` more. Credit for a transfer that has ended comes late and means nothing. */
  credit(id: number, bodyBytes: number): void {
    const unread = this.#unread.get(id);
    if (unread === undefined || bodyBytes <= 0) return;
    const left = Math.max(unread - bodyBytes, 0);
    this.#unread.set(id, left);
    this.#unreadTotal -= unread - left;
    if (left < this.#windowBytes) this.#transfers.get(id)?.unpause();
  }

  /** The transfer has failed: what it had received of its body in place goes out before the error, as any other body bytes have. */
  cut(transfer: Transfer): void {
    const { id, target, targetOffset } = transfer;
    if (target !== null && targetOffset > 0) writeBody(this.#writer, id, target, 0, targetOffset);
  }

  /** The transfer has ended. */
  forget(id: number): void {
    if (this.#unread.size === 0) return;
    this.#unreadTotal -= this.#unread.get(id) ?? 0;
    this.#unread.delete(id);
  }

  get #windowBytes(): number {
    return this.#unreadTotal < this.#budgetBytes ? INITIAL_CREDIT_BYTES : WINDOW_BYTES_MIN;
  }

  #spend(transfer: Transfer, bodyBytes: number): void {
    const unread = (this.#unread.get(transfer.id) ?? 0) + bodyBytes;
    this.#unread.set(transfer.id, unread);
    this.#unreadTotal += bodyBytes;
    if (unread >= this.#windowBytes) transfer.pause();
  }
}

/** Whether initial credit covers the whole body. */
function isCovered(transfer: Transfer): boolean {
  const length = transfer.connection?.parser.contentLength ?? -1;
  return length >= 0 && length <= INITIAL_CREDIT_BYTES;
}
