/**
 * The main thread's end of one life of one shard: its data port, its control port, and the exchanges in flight there. When
 * the data port closes the shard is lost, whatever else was heard of its thread (TRAPS 7), and this link with it; who starts
 * another is `shard-keeper.ts`.
 */

import type { MessagePort } from 'node:worker_threads';
import { isUint8Array } from '../protocol/built-ins.ts';
import { TransferError } from '../protocol/errors.ts';
import { BatchLink } from '../protocol/port/batch-link.ts';
import type { BatchReader } from '../protocol/port/batch-reader.ts';
import { decodeTransferError } from '../protocol/port/error-encoding.ts';
import {
  ATTACHED_BODY_BYTES,
  BODY,
  COMPLETE,
  CREDIT,
  END,
  ERROR,
  HEAD,
  INTERIM,
  SESSION,
} from '../protocol/port/frames.ts';
import { copyOf } from '../protocol/port/own-buffer.ts';
import { NOT_STREAMED, writeAbort, writeCredit, writeStart } from '../protocol/port/request-frames.ts';
import {
  readBody,
  readEnd,
  readError,
  readHead,
  readInterim,
  writeAttachedBody,
  writeBody,
  writeEnd,
} from '../protocol/port/response-frames.ts';
import { readSession, writeSession } from '../protocol/port/session-frames.ts';
import type { Exchange } from './exchange.ts';
import { because } from './failure.ts';
import type { CertificateSource } from './response-tls.ts';
import type { SessionShelf } from './session-store.ts';

/** Ids are 32-bit words of frames. */
const ID_MAX = 2 ** 31 - 1;

/** Called once, when the data port has closed, before what was in flight is failed. */
export type LinkLostCallback = (link: ShardLink) => void;

export class ShardLink {
  /** Frames that were bad or for exchanges that are over, and so ignored. */
  ignoredFrames = 0;
  /** True when something came since the watchdog last looked; it clears it. */
  heard = false;
  /** Its shard could not begin: nothing was ever sent, and another would most likely fare no better. */
  neverBegan = false;
  /** Why the shard ended, once known; the cause of SHARD_LOST. */
  deathCause: unknown = undefined;
  readonly #port: MessagePort;
  readonly #link: BatchLink;
  /** In flight, by id. Ids count up and are not used again for a long time, so a late frame finds nothing. */
  readonly #exchanges = new Map<number, Exchange>();
  #lastId = 0;
  readonly #onLost: LinkLostCallback;
  readonly #sessions: SessionShelf | null;
  /** Of this life's connections; null: nobody is to be asked. */
  readonly certificates: CertificateSource | null;
  readonly #onFrame = (reader: BatchReader): void => this.#handleFrame(reader);
  readonly #onImmediate = (): void => this.#flush();
  #flushing: NodeJS.Immediate | null = null;
  /** Whether the port keeps the process alive: exactly while exchanges are in flight, looked at when a turn ends. */
  #refd = false;
  #lost = false;
  #closing = false;

  /** `sessions` null: there is no other shard. */
  constructor(
    port: MessagePort,
    onLost: LinkLostCallback,
    certificates: CertificateSource | null = null,
    sessions: SessionShelf | null = null,
  ) {
    this.certificates = certificates;
    this.#sessions = sessions;
    this.#port = port;
    this.#link = new BatchLink(port);
    this.#onLost = onLost;
    port.on('message', (message) => this.#receive(message));
    port.on('messageerror', (error) => this.#unreadable(error));
    port.on('close', () => this.#portClosed());
    port.unref();
  }

  get inFlight(): number {
    return this.#exchanges.size;
  }

  get lost(): boolean {
    return this.#lost;
  }

  /** `startMs`: when fetch was called, on the monotonic clock that all threads share. */
  start(exchange: Exchange, startMs: number, originShare: number): void {
    const { target, head, body, timeouts, extras } = exchange.request;
    exchange.link = this;
    exchange.id = this.#nextId();
    this.#exchanges.set(exchange.id, exchange);
    const whole = isUint8Array(body) ? body : null;
    const streamedBytes = body === null || body === whole ? NOT_STREAMED : body.length;
    const { writer } = this.#link;
    writeStart(writer, exchange.id, startMs, originShare, target.origin, head, whole, timeouts, streamedBytes, extras);
    if (streamedBytes !== NOT_STREAMED) exchange.started();
    if (!this.#refd) {
      this.#refd = true;
      this.#port.ref();
    }
    this.#scheduleFlush();
  }

  abort(exchange: Exchange): void {
    if (this.#lost || this.#exchanges.get(exchange.id) !== exchange) return;
    writeAbort(this.#link.writer, exchange.id);
    this.#scheduleFlush();
  }

  /** A piece of a request body; copied, so that the caller may use its memory again. */
  sendBody(exchange: Exchange, bytes: Uint8Array): void {
    if (this.#lost) return;
    const { writer } = this.#link;
    if (bytes.length > ATTACHED_BODY_BYTES) writeAttachedBody(writer, exchange.id, copyOf(bytes));
    else writeBody(writer, exchange.id, bytes, 0, bytes.length);
    this.#scheduleFlush();
  }

  sendEnd(exchange: Exchange): void {
    if (this.#lost) return;
    writeEnd(this.#link.writer, exchange.id, 0, '');
    this.#scheduleFlush();
  }

  giveCredit(exchange: Exchange, bodyBytes: number): void {
    if (this.#lost) return;
    writeCredit(this.#link.writer, exchange.id, bodyBytes);
    this.#scheduleFlush();
  }

  remove(exchange: Exchange): void {
    this.#exchanges.delete(exchange.id);
    if (this.#exchanges.size === 0) this.#scheduleFlush();
  }

  exchanges(): Iterable<Exchange> {
    return this.#exchanges.values();
  }

  /** Closes the port: the shard ends, and what is in flight fails. */
  close(): void {
    this.#closing = true;
    this.#port.close();
  }

  #receive(message: unknown): void {
    this.heard = true;
    try {
      this.#link.receive(message, this.#onFrame);
    } catch (error) {
      this.#unreadable(error);
      return;
    }
    this.#scheduleFlush();
  }

  #handleFrame(reader: BatchReader): void {
    if (reader.kind === SESSION) {
      this.#takeSession(reader);
      return;
    }
    const exchange = this.#exchanges.get(reader.id);
    if (exchange === undefined) {
      this.ignoredFrames++;
      return;
    }
    if (!this.#dispatch(reader, exchange)) {
      this.ignoredFrames++;
      this.abort(exchange);
      exchange.fail(
        new TransferError('INTERNAL', `A shard sent a damaged frame of kind ${reader.kind}; please report this.`),
      );
    }
  }

  #takeSession(reader: BatchReader): void {
    const session = readSession(reader);
    if (session === null) this.ignoredFrames++;
    else this.#sessions?.offer(session);
  }

  /** Sessions for this shard go with whatever goes there. */
  #writeSessions(): void {
    if (this.#sessions === null || this.#link.writer.isEmpty) return;
    const waiting = this.#sessions.take();
    if (waiting !== null) for (const session of waiting) writeSession(this.#link.writer, session);
  }

  /** False when the frame does not hold what its kind says. */
  #dispatch(reader: BatchReader, exchange: Exchange): boolean {
    switch (reader.kind) {
      case COMPLETE: {
        const frame = readHead(reader);
        if (frame !== null) exchange.complete(frame);
        return frame !== null;
      }
      case HEAD: {
        const frame = readHead(reader);
        if (frame !== null) exchange.head(frame);
        return frame !== null;
      }
      case INTERIM: {
        const interim = readInterim(reader);
        if (interim !== null) exchange.interim(interim.status, interim.head);
        return interim !== null;
      }
      case BODY: {
        const chunk = readBody(reader);
        if (chunk !== null) exchange.body(chunk);
        return chunk !== null;
      }
      case END: {
        const end = readEnd(reader);
        if (end !== null) exchange.end(end.endUs, end.trailers);
        return end !== null;
      }
      case CREDIT:
        exchange.uploadCredit(reader.word(3));
        return true;
      case ERROR: {
        const text = readError(reader);
        if (text !== null) exchange.fail(decodeTransferError(text));
        return text !== null;
      }
      default:
        return false;
    }
  }

  /** Small integers from 1; after two thousand million they start over, past those still in flight. */
  #nextId(): number {
    do this.#lastId = this.#lastId === ID_MAX ? 1 : this.#lastId + 1;
    while (this.#exchanges.has(this.#lastId));
    return this.#lastId;
  }

  /** One message per turn: frames of this turn wait for its end, when the event loop comes to its immediates. */
  #scheduleFlush(): void {
    if (this.#lost) return;
    this.#flushing ??= setImmediate(this.#onImmediate);
  }

  #flush(): void {
    this.#flushing = null;
    if (this.#lost) return;
    this.#writeSessions();
    this.#link.flush();
    if (this.#refd && this.#exchanges.size === 0) {
      this.#refd = false;
      this.#port.unref();
    }
  }

  #unreadable(error: unknown): void {
    this.deathCause ??= error;
    this.close();
  }

  #portClosed(): void {
    if (this.#lost) return;
    this.#lost = true;
    const inFlight = [...this.#exchanges.values()];
    this.#exchanges.clear();
    // The next life begins first, so that what may be sent again has somewhere to go.
    this.#onLost(this);
    for (const exchange of inFlight) exchange.shardLost(this.#lossOf(), this.neverBegan);
  }

  #lossOf(): TransferError {
    if (this.neverBegan) {
      const sentence = `The shard for this request could not begin${because(this.deathCause)}`;
      return new TransferError('SHARD_LOST', sentence, { cause: this.deathCause });
    }
    const sentence = this.#closing
      ? 'The shard that carried this request was ended.'
      : 'The worker thread that carried this request ended.';
    return new TransferError('SHARD_LOST', sentence, { cause: this.deathCause });
  }
}
