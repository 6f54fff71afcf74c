/**
 * Responses with `collect`: nothing of them leaves the shard before they are complete; then all of them leaves at once, as one COMPLETE
 * frame (HEAD and END where there are trailers). So there is no credit, no stream, and a body that fails fails `fetch` itself.
 * A response that may be followed by another request is not collected: its body is of no use, and may have no end.
 *
 * What is being collected counts as unread. It cannot be made to wait, since nobody reads it: limits.bodyBytes and
 * limits.decodedBytes bound it, and with it the memory it takes, whatever pieces it comes in (`whole-body.ts`).
 */

import type { BatchWriter } from '../protocol/port/batch-writer.ts';
import { ATTACHED_BODY_BYTES } from '../protocol/port/frames.ts';
import { unzeroedBuffer } from '../protocol/port/own-buffer.ts';
import { attachToHead, writeBody, writeEnd, writeHead } from '../protocol/port/response-frames.ts';
import { WholeBody } from '../protocol/port/whole-body.ts';
import type { BodyDecoders } from './content-coding/body-decoders.ts';
import type { Transfer } from './multi/transfer.ts';
import type { UnreadAccount } from './unread-account.ts';

/** A body of known length is received in place up to this one: a peer that announces more must send it first. */
const RECEIVED_WHOLE_BYTES_MAX = 16 * 1024 * 1024;

/** Below half of Buffer.poolSize, whatever that is. */
const POOLED_BYTES_MAX = 2048;

/** Of a body that is decoded. */
const UNKNOWN_LENGTH = -1;

/** Statuses below this one are always collected. */
const UNCOLLECTED_MIN = 300;

/** Who takes a response that is not collected, from its head on. `decodes`: its request does not forbid it. */
export type Uncollected = (transfer: Transfer, decodes: boolean, bytes: Uint8Array, start: number, end: number) => void;

interface Collected {
  readonly head: Uint8Array;
  /** null: its length is known, and it is received in place; or none of it has come. */
  body: WholeBody | null;
}

export class BodyCollector {
  readonly #writer: BatchWriter;
  readonly #unread: UnreadAccount;
  readonly #decoders: BodyDecoders;
  readonly #onUncollected: Uncollected;
  readonly #onEnded: (transfer: Transfer) => void;
  /** Statuses that are not collected, of those whose head has not come. */
  readonly #uncollected = new Map<number, readonly number[]>();
  readonly #collected = new Map<number, Collected>();

  readonly #onHead = (transfer: Transfer, bytes: Uint8Array, start: number, end: number): void => {
    if (this.#givesUp(transfer)) {
      this.#onUncollected(transfer, true, bytes, start, end);
      return;
    }
    const parser = transfer.connection?.parser;
    const coding = parser === undefined || parser.contentCoding === '' ? 'plain' : this.#decoders.begin(transfer);
    if (coding !== 'failed') this.#begin(transfer, bytes, start, end, coding === 'coded');
  };
  readonly #onUndecodedHead = (transfer: Transfer, bytes: Uint8Array, start: number, end: number): void => {
    if (this.#givesUp(transfer)) this.#onUncollected(transfer, false, bytes, start, end);
    else this.#begin(transfer, bytes, start, end, false);
  };
  readonly #onData = (transfer: Transfer, bytes: Uint8Array, start: number, end: number): void => {
    this.#add(transfer, bytes.subarray(start, end), transfer.connection?.parser.contentLength ?? -1);
  };
  readonly #onEnd = (transfer: Transfer, trailers: string): void => {
    this.#deliver(transfer, trailers);
  };
  readonly #onCodedData = (transfer: Transfer, bytes: Uint8Array, start: number, end: number): unknown =>
    this.#decoders.decode(transfer, bytes, start, end, this.#onDecoded);
  readonly #onDecoded = (transfer: Transfer, bytes: Buffer, count: number): boolean => {
    this.#add(transfer, bytes.subarray(0, count), UNKNOWN_LENGTH);
    return false;
  };
  readonly #onCodedEnd = (transfer: Transfer, trailers: string): void => {
    if (this.#decoders.finish(transfer) >= 0) this.#deliver(transfer, trailers);
  };

  /** `onEnded`: called when a response has left. */
  constructor(
    writer: BatchWriter,
    unread: UnreadAccount,
    decoders: BodyDecoders,
    onUncollected: Uncollected,
    onEnded: (transfer: Transfer) => void,
  ) {
    this.#writer = writer;
    this.#unread = unread;
    this.#decoders = decoders;
    this.#onUncollected = onUncollected;
    this.#onEnded = onEnded;
  }

  /** `uncollected`: the statuses that are not collected. */
  attach(transfer: Transfer, decodes: boolean, uncollected: readonly number[] | undefined): void {
    if (uncollected !== undefined) this.#uncollected.set(transfer.id, uncollected);
    transfer.onHead = decodes ? this.#onHead : this.#onUndecodedHead;
    transfer.onData = this.#onData;
    transfer.onEnd = this.#onEnd;
  }

  /** True when it was collecting this response, of which nothing is left now. */
  forget(id: number): boolean {
    this.#uncollected.delete(id);
    return this.#collected.delete(id);
  }

  /** Its head has come. */
  #givesUp({ id, status }: Transfer): boolean {
    const statuses = this.#uncollected.get(id);
    if (statuses === undefined) return false;
    this.#uncollected.delete(id);
    return status >= UNCOLLECTED_MIN && statuses.includes(status);
  }

  #begin(transfer: Transfer, bytes: Uint8Array, start: number, end: number, coded: boolean): void {
    this.#collected.set(transfer.id, { head: Buffer.from(bytes.subarray(start, end)), body: null });
    if (coded) {
      transfer.onData = this.#onCodedData;
      transfer.onEnd = this.#onCodedEnd;
      return;
    }
    const length = transfer.connection?.parser.bodyRemaining ?? -1;
    if (length <= ATTACHED_BODY_BYTES || length > RECEIVED_WHOLE_BYTES_MAX) return;
    this.#unread.add(transfer.id, length);
    transfer.receiveInto(new Uint8Array(unzeroedBuffer(length)));
  }

  #add(transfer: Transfer, bytes: Uint8Array, announcedBytes: number): void {
    const collected = this.#collected.get(transfer.id) as Collected;
    if (collected.body === null) {
      collected.body = new WholeBody(() => announcedBytes);
      // Mostly all of it. From Node's pool if it is small: memory of its own costs more than it does.
      if (bytes.length <= POOLED_BYTES_MAX) collected.body.add(Buffer.from(bytes));
      else collected.body.addCopy(bytes);
    } else {
      collected.body.addCopy(bytes);
    }
    this.#unread.add(transfer.id, bytes.length);
  }

  #deliver(transfer: Transfer, trailers: string): void {
    const { id, target } = transfer;
    const { head, body } = this.#collected.get(id) as Collected;
    this.#collected.delete(id);
    this.#unread.forget(id);
    writeHead(this.#writer, transfer, head, 0, head.length);
    const bytes = (target as Uint8Array<ArrayBuffer> | null) ?? body?.take() ?? null;
    if (bytes !== null) {
      if (bytes.length > ATTACHED_BODY_BYTES) attachToHead(this.#writer, bytes.buffer);
      else writeBody(this.#writer, id, bytes, 0, bytes.length);
    }
    writeEnd(this.#writer, id, transfer.endUs, trailers);
    this.#onEnded(transfer);
  }
}
