/**
 * What a transfer's callbacks do in a shard: they write frames. Small bodies are copied into the batch, bodies of known length
 * are received straight into a buffer that is then moved, and all flow under credit: without it the transfer pauses, so a slow
 * reader stops its own socket and nothing else.
 *
 * What was received and not yet read counts, for the transfer (its window) and for the shard (its budget); see
 * `unread-account.ts`. A buffer that waits to be filled counts whole: when the budget has no room for it, the body comes in
 * pieces instead, under the window that is left to each, so whoever is read goes on and nobody waits for another to be read.
 * A body that is not longer than that window is not counted: it would never wait.
 *
 * A body with a content coding is decoded on its way (`content-coding/`), and all of this counts its decoded bytes; a response that
 * is collected takes another way altogether (`body-collector.ts`).
 */

import type { BatchWriter } from '../protocol/port/batch-writer.ts';
import { ATTACHED_BODY_BYTES, INITIAL_CREDIT_BYTES, UNCOUNTED_BODY_BYTES } from '../protocol/port/frames.ts';
import { copyOf, unzeroedBuffer } from '../protocol/port/own-buffer.ts';
import type { RequestExtras } from '../protocol/port/request-extras.ts';
import { writeAttachedBody, writeBody, writeEnd, writeHead, writeInterim } from '../protocol/port/response-frames.ts';
import { BodyCollector } from './body-collector.ts';
import { BodyDecoders } from './content-coding/body-decoders.ts';
import type { Multi } from './multi/multi.ts';
import type { Transfer } from './multi/transfer.ts';
import { UnreadAccount } from './unread-account.ts';

export class ResponseForwarder {
  completed = 0;
  readonly #writer: BatchWriter;
  readonly #multi: Multi;
  readonly #transfers: Map<number, Transfer>;
  readonly #unread: UnreadAccount;
  readonly #decoders: BodyDecoders;
  readonly #collector: BodyCollector;

  // One function each for all transfers: no closure per request.
  readonly #onHead = (transfer: Transfer, bytes: Uint8Array, start: number, end: number): void => {
    const parser = transfer.connection?.parser;
    if (parser === undefined || parser.contentCoding === '') this.#onUndecodedHead(transfer, bytes, start, end);
    else this.#onCodedHead(transfer, bytes, start, end);
  };
  readonly #onUndecodedHead = (transfer: Transfer, bytes: Uint8Array, start: number, end: number): void => {
    writeHead(this.#writer, transfer, bytes, start, end);
    const length = transfer.connection?.parser.bodyRemaining ?? -1;
    if (length > ATTACHED_BODY_BYTES && length <= INITIAL_CREDIT_BYTES) this.#receiveWhole(transfer, length);
  };
  readonly #onData = (transfer: Transfer, bytes: Uint8Array, start: number, end: number): void => {
    this.#forward(transfer, bytes, start, end);
    if (isUncounted(transfer)) return;
    const unread = this.#unread.add(transfer.id, end - start);
    if (unread >= this.#unread.windowBytes) transfer.pause();
  };
  readonly #onEnd = (transfer: Transfer, trailers: string): void => {
    const { id, target } = transfer;
    if (target !== null) writeAttachedBody(this.#writer, id, target.buffer as ArrayBuffer);
    const isOneFrame = writeEnd(this.#writer, id, transfer.endUs, trailers);
    // Of what came in one frame, and of a short body, no credit comes (see frames.ts).
    if (isOneFrame || transfer.bytesReceived <= UNCOUNTED_BODY_BYTES) this.#unread.forget(id);
    this.#ended(transfer);
  };
  readonly #onCodedData = (transfer: Transfer, bytes: Uint8Array, start: number, end: number): unknown =>
    this.#decoders.decode(transfer, bytes, start, end, this.#onDecoded);
  /** Its length is not known before its end, so it counts from its first byte on. */
  readonly #onDecoded = (transfer: Transfer, bytes: Buffer, count: number): boolean => {
    this.#forward(transfer, bytes, 0, count);
    return this.#unread.add(transfer.id, count) >= this.#unread.windowBytes;
  };
  readonly #onCodedEnd = (transfer: Transfer, trailers: string): void => {
    const { id } = transfer;
    const decodedBytes = this.#decoders.finish(transfer);
    if (decodedBytes < 0) return;
    const isOneFrame = writeEnd(this.#writer, id, transfer.endUs, trailers);
    if (isOneFrame || decodedBytes <= UNCOUNTED_BODY_BYTES) this.#unread.forget(id);
    this.#ended(transfer);
  };

  /** `budgetBytes`: how much of all bodies together may be unread before windows shrink and no whole buffers are filled. */
  constructor(writer: BatchWriter, multi: Multi, transfers: Map<number, Transfer>, budgetBytes: number) {
    this.#writer = writer;
    this.#multi = multi;
    this.#transfers = transfers;
    this.#unread = new UnreadAccount(budgetBytes);
    this.#decoders = new BodyDecoders(multi);
    this.#collector = new BodyCollector(
      writer,
      this.#unread,
      this.#decoders,
      (transfer, decodes, bytes, start, end) => {
        this.#attach(transfer, decodes);
        transfer.onHead?.(transfer, bytes, start, end);
      },
      (transfer) => this.#ended(transfer),
    );
  }

  get unreadBytes(): number {
    return this.#unread.bytes;
  }

  /** `extras`: what its request asks for. */
  attach(transfer: Transfer, extras: RequestExtras | null): void {
    const decodes = extras === null || extras.decompress !== false;
    if (extras !== null && extras.collect !== undefined) {
      this.#collector.attach(transfer, decodes, extras.uncollected);
      return;
    }
    this.#attach(transfer, decodes);
    if (extras !== null && extras.interim === true) transfer.onInterim = this.#onInterim;
  }

  /** The caller has read `bodyBytes` more, perhaps of a response that was complete long ago. */
  credit(id: number, bodyBytes: number): void {
    const left = this.#unread.settle(id, bodyBytes);
    if (left >= 0 && left < this.#unread.windowBytes) this.#transfers.get(id)?.unpause();
  }

  /** The transfer has failed: what it had received of its body in place goes out before the error, as any other body bytes have. */
  cut(transfer: Transfer): void {
    const { id, target, targetOffset } = transfer;
    if (this.#collector.forget(id)) {
      this.forget(id);
      return;
    }
    if (target !== null) {
      if (targetOffset > 0) writeBody(this.#writer, id, target, 0, targetOffset);
      this.#unread.settle(id, target.length - targetOffset);
    }
    const decodedBytes = this.#decoders.decodedBytes(id);
    this.#decoders.release(id);
    const bodyBytes = decodedBytes < 0 ? transfer.bytesReceived : decodedBytes;
    if (bodyBytes <= UNCOUNTED_BODY_BYTES) this.#unread.forget(id);
  }

  /** The main thread wants nothing more of it: no credit comes. */
  forget(id: number): void {
    this.#unread.forget(id);
    this.#decoders.release(id);
    this.#collector.forget(id);
  }

  /** The turn ends. */
  endTurn(): void {
    this.#decoders.endTurn();
  }

  readonly #onInterim = (transfer: Transfer, status: number, bytes: Uint8Array, start: number, end: number): void =>
    writeInterim(this.#writer, transfer.id, status, bytes, start, end);

  #attach(transfer: Transfer, decodes: boolean): void {
    transfer.onHead = decodes ? this.#onHead : this.#onUndecodedHead;
    transfer.onData = this.#onData;
    transfer.onEnd = this.#onEnd;
  }

  #onCodedHead(transfer: Transfer, bytes: Uint8Array, start: number, end: number): void {
    switch (this.#decoders.begin(transfer)) {
      case 'plain':
        this.#onUndecodedHead(transfer, bytes, start, end);
        return;
      case 'coded':
        transfer.onData = this.#onCodedData;
        transfer.onEnd = this.#onCodedEnd;
        writeHead(this.#writer, transfer, bytes, start, end);
        return;
      case 'failed':
        return;
    }
  }

  #forward(transfer: Transfer, bytes: Uint8Array, start: number, end: number): void {
    if (end - start <= ATTACHED_BODY_BYTES) writeBody(this.#writer, transfer.id, bytes, start, end);
    else writeAttachedBody(this.#writer, transfer.id, copyOf(bytes.subarray(start, end)));
  }

  #ended(transfer: Transfer): void {
    this.completed++;
    this.#transfers.delete(transfer.id);
    this.#multi.remove(transfer);
  }

  #receiveWhole(transfer: Transfer, length: number): void {
    if (length > UNCOUNTED_BODY_BYTES) {
      if (!this.#unread.hasRoomFor(length)) return;
      this.#unread.add(transfer.id, length);
    }
    transfer.receiveInto(new Uint8Array(unzeroedBuffer(length)));
  }
}

/** Whether its whole body is too short to count. */
function isUncounted(transfer: Transfer): boolean {
  const length = transfer.connection?.parser.contentLength ?? -1;
  return length >= 0 && length <= UNCOUNTED_BODY_BYTES;
}
