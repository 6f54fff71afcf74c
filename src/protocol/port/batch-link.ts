/**
 * One end of the data plane: what both threads do with batches, whatever is in them.
 *
 * - One `postMessage` per turn, never one per request: `flush()` sends what the turn collected.
 * - At most BATCHES_UNANSWERED_MAX batches under way per direction. What comes meanwhile waits in the writer and makes the
 *   next batch bigger: a backlog of messages would starve the other thread's sockets and timers for seconds (TRAPS 5).
 * - A batch is answered by returning its buffer, which is then reused.
 * - Batches are numbered; a lost, repeated or reordered one makes the link unreadable.
 */

import { isArrayBuffer } from '../built-ins.ts';
import { BatchReader, UnreadableBatch } from './batch-reader.ts';
import { BatchWriter } from './batch-writer.ts';
import type { PortLike, PortMessage } from './frames.ts';

const BATCHES_UNANSWERED_MAX = 2;

export class BatchLink {
  readonly writer = new BatchWriter();
  readonly #port: PortLike;
  readonly #reader = new BatchReader();
  #sequenceOut = 0;
  #sequenceIn = 0;
  /** Batches sent and not returned. */
  #unanswered = 0;
  /** Buffers to give back with the next message. */
  #toReturn: ArrayBuffer[] = [];

  constructor(port: PortLike) {
    this.#port = port;
  }

  /**
   * Takes in a message; `onFrame` is called with the reader at each frame. Throws UnreadableBatch. After it, and whatever else
   * the turn brought, the caller calls `flush`.
   */
  receive(message: unknown, onFrame: (reader: BatchReader) => void): void {
    if (!Array.isArray(message) || message.length < 2) throw new UnreadableBatch('A message is not a batch.');
    const [batch, returned] = message as PortMessage;
    if (returned !== null) {
      if (!isArrayBuffer(returned) || this.#unanswered === 0) {
        throw new UnreadableBatch('A buffer was returned that was not sent.');
      }
      this.#unanswered--;
      this.writer.reuse(returned);
    }
    if (batch === null) return;
    if (!isArrayBuffer(batch)) throw new UnreadableBatch('A batch is not a buffer.');
    const reader = this.#reader;
    reader.open(batch, message.length > 2 ? (message.slice(2) as ArrayBuffer[]) : NONE, ++this.#sequenceIn);
    while (reader.next()) onFrame(reader);
    reader.close();
    this.#toReturn.push(batch);
  }

  /** Sends what there is, if it may. */
  flush(): void {
    const mayWrite = this.#unanswered < BATCHES_UNANSWERED_MAX && !this.writer.isEmpty;
    if (!mayWrite && this.#toReturn.length === 0) return;
    this.#post(mayWrite, this.#toReturn.shift() ?? null);
    while (this.#toReturn.length > 0) this.#post(false, this.#toReturn.shift() ?? null);
  }

  #post(mayWrite: boolean, returned: ArrayBuffer | null): void {
    const transfer: ArrayBuffer[] = returned === null ? [] : [returned];
    if (!mayWrite) {
      this.#port.postMessage([null, returned], transfer);
      return;
    }
    const { attachments } = this.writer;
    const batch = this.writer.take(++this.#sequenceOut);
    this.#unanswered++;
    transfer.push(batch, ...attachments);
    this.#port.postMessage([batch, returned, ...attachments], transfer);
  }
}

const NONE: readonly ArrayBuffer[] = [];
