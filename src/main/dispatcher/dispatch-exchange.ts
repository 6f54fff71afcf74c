/**
 * One request of the dispatcher in flight: the exchange whose response goes to an undici handler, callback by callback, instead of
 * into a PoolResponse. Which callback comes when:
 *
 *     start -> head (1xx)* -> head -> data* -> end      a response
 *     start -> upgrade                                  101 to an upgrade, any answer to CONNECT; the socket has the rest
 *     … -> fail                                         once, in the place of what would follow
 *
 * A handler that pauses leaves chunks here, without credit, so that after what is under way no more comes. What a handler throws aborts the request.
 */

import { isUint8Array } from '../../protocol/built-ins.ts';
import { TransferError } from '../../protocol/errors.ts';
import { reasonPhrase } from '../../protocol/http1/header-section.ts';
import type { HeadFrame } from '../../protocol/port/response-frames.ts';
import type { RequestTrace } from '../diagnostics.ts';
import type { Outgoing } from '../duplex.ts';
import { Exchange, type ExchangeOwner } from '../exchange.ts';
import type { FetchRequest } from '../fetch-request.ts';
import type { Place } from '../placement.ts';
import { UnreadChunks } from '../unread-chunks.ts';
import { DispatchSocket } from './dispatch-socket.ts';
import { DispatchError, dispatchFailure, uploadFailure } from './errors.ts';
import type { DispatchController, DispatchHandler, HandlerFace } from './handler.ts';
import { headFields, type RawFields, trailerFields } from './raw-headers.ts';

/** Who hears of connections, by what requests tell of them. */
export interface DispatchOwner {
  /** Its response came over a connection that had served nobody before. */
  connected(exchange: DispatchExchange): void;
  /** Nothing more comes; `failure` null: it did not fail. */
  ended(exchange: DispatchExchange, failure: unknown): void;
}

/** What the handler was told: nothing of the response, its head, that a socket has the rest, or how it ended. */
type Told = 'nothing' | 'head' | 'upgrade' | 'end';

const NO_FIELDS: RawFields = [];

export class DispatchExchange extends Exchange {
  readonly #owner: DispatchOwner;
  readonly #face: HandlerFace;
  readonly #handler: DispatchHandler;
  readonly #controller: DispatchController;
  readonly #trace: RequestTrace | null;
  readonly #outgoing: Outgoing | null;
  /** What waits for the handler to go on. */
  readonly #unread = new UnreadChunks(this);
  #told: Told = 'nothing';
  #socket: DispatchSocket | null = null;
  /** The trailer section, once all has come. */
  #trailers: string | null = null;
  #isDelivering = false;

  /** `outgoing`: the way out of one that leaves HTTP. */
  constructor(
    pool: ExchangeOwner,
    owner: DispatchOwner,
    request: FetchRequest,
    place: Place,
    face: HandlerFace,
    handler: DispatchHandler,
    controller: DispatchController,
    trace: RequestTrace | null,
    outgoing: Outgoing | null,
  ) {
    super(pool, request, place, never, never);
    this.#owner = owner;
    this.#face = face;
    this.#handler = handler;
    this.#controller = controller;
    this.#trace = trace;
    this.#outgoing = outgoing;
  }

  /** It is on its way: a whole body is told as sent. */
  wasSent(): void {
    const { body } = this.request;
    if (body !== null && !isUint8Array(body)) return;
    if (body !== null) this.#call(() => this.#handler.onBodySent?.(body));
    this.#requestSent();
  }

  override complete(frame: HeadFrame): void {
    this.over('completed');
    this.#trailers = '';
    this.#unread.end(true);
    this.#head(frame);
    this.#deliver();
    this.#owner.ended(this, null);
  }

  override interim(status: number, head: string): void {
    if (this.#told !== 'nothing') return;
    this.#call(() => this.#face.head(this.#controller, status, headFields(head), reasonPhrase(head)));
  }

  override head(frame: HeadFrame): void {
    if (this.#told !== 'nothing') {
      this.fail(new TransferError('INTERNAL', 'A shard sent two response heads; please report this.'));
      return;
    }
    this.state = 'receiving';
    this.#head(frame);
    this.#deliver();
  }

  override body(chunk: Uint8Array<ArrayBuffer>): void {
    if (this.#told === 'end') return;
    this.#unread.push(chunk);
    this.#deliver();
  }

  override end(_endUs: number, trailers: string): void {
    this.over('completed');
    this.#trailers = trailers;
    this.#unread.end();
    this.#deliver();
    this.#owner.ended(this, null);
  }

  override fail(error: TransferError): void {
    if (this.state === 'over') return;
    error.url = this.request.target.href;
    this.over('failed');
    this.#failed(dispatchFailure(error), this.#told === 'head');
    this.#owner.ended(this, error);
  }

  override abort(reason: unknown): void {
    this.#abort(reason ?? new DispatchError('UND_ERR_ABORTED'));
  }

  override uploadFailed(error: unknown): void {
    this.#abort(uploadFailure(error));
  }

  override abandon(): void {
    this.#abort(new DispatchError('UND_ERR_ABORTED'));
  }

  override sendBody(bytes: Uint8Array): void {
    super.sendBody(bytes);
    if (this.state !== 'over' && this.#handler.onBodySent !== undefined) {
      this.#call(() => this.#handler.onBodySent?.(bytes));
    }
  }

  override sendEnd(): void {
    super.sendEnd();
    if (this.state !== 'over') this.#requestSent();
  }

  /** The handler, or the socket's reader, goes on. */
  resumed(): void {
    this.#deliver();
  }

  /** The socket was destroyed. */
  socketClosed(): void {
    const wasOver = this.state === 'over';
    if (!wasOver) {
      this.link?.abort(this);
      this.over('aborted');
    }
    this.#unread.drop();
    if (!wasOver) this.#owner.ended(this, null);
  }

  #requestSent(): void {
    this.#trace?.bodySent();
    if (this.#handler.onRequestSent !== undefined) this.#call(() => this.#handler.onRequestSent?.());
  }

  #head(frame: HeadFrame): void {
    const { status, text, infoBytes, headBytes, bodyBytes, reused } = frame;
    const head = text.slice(infoBytes, infoBytes + headBytes);
    const fields = headFields(head);
    const { upgrade } = this.request;
    if (!reused) this.#owner.connected(this);
    this.#trace?.head(frame);
    if (bodyBytes > 0) {
      const early = frame.body ?? Buffer.from(text.slice(infoBytes + headBytes), 'latin1');
      this.#unread.push(early as Uint8Array<ArrayBuffer>);
    }
    // Who goes on from within the callback goes on behind it.
    this.#isDelivering = true;
    if (upgrade !== null && (status === 101 || upgrade.authority !== '')) this.#upgraded(status, fields);
    else {
      this.#told = 'head';
      this.#call(() => this.#face.head(this.#controller, status, fields, reasonPhrase(head)));
    }
    this.#isDelivering = false;
  }

  #upgraded(status: number, fields: RawFields): void {
    this.#told = 'upgrade';
    const socket = new DispatchSocket(this.#outgoing as Outgoing, this);
    this.#socket = socket;
    this.#trace?.end('');
    try {
      this.#face.upgrade(this.#controller, status, fields, socket);
    } catch (error) {
      socket.destroy(error as Error);
    }
  }

  #deliver(): void {
    if (this.#isDelivering) return;
    this.#isDelivering = true;
    if (this.#socket !== null) this.#deliverTo(this.#socket);
    else this.#deliverToHandler();
    this.#isDelivering = false;
  }

  #deliverToHandler(): void {
    const controller = this.#controller;
    while (this.#told === 'head' && !controller.paused) {
      const chunk = this.#unread.take();
      if (chunk !== null) {
        this.#call(() => this.#face.data(controller, asBuffer(chunk)));
        continue;
      }
      if (this.#trailers === null) return;
      this.#told = 'end';
      this.#trace?.end(this.#trailers);
      const trailers = this.#trailers === '' ? NO_FIELDS : trailerFields(this.#trailers);
      try {
        this.#face.end(controller, trailers);
      } catch (error) {
        // As undici does, though all has come.
        this.#tellFailure(error as Error);
      }
    }
  }

  #deliverTo(socket: DispatchSocket): void {
    while (!socket.destroyed && socket.readableLength < socket.readableHighWaterMark) {
      const chunk = this.#unread.take();
      if (chunk === null) break;
      outside(() => socket.push(asBuffer(chunk)));
    }
    if (this.#trailers !== null && this.#unread.isEmpty && this.#told === 'upgrade') {
      this.#told = 'end';
      outside(() => socket.push(null));
    }
  }

  /** What the caller's code throws aborts the request. */
  #call(callback: () => void): void {
    try {
      callback();
    } catch (error) {
      this.#abort(error);
    }
  }

  #abort(reason: unknown): void {
    if (this.#told === 'end') return;
    if (this.state !== 'over') {
      this.link?.abort(this);
      this.over('aborted', reason);
      this.#failed(reason as Error);
      this.#owner.ended(this, null);
    } else this.#failed(reason as Error);
  }

  /** `isLater`: the head may have come in this same turn, and undici's fetch listens for failures of the body only some microtasks behind the head. */
  #failed(error: Error, isLater = false): void {
    const told = this.#told;
    if (told === 'end') return;
    this.#told = 'end';
    this.#unread.drop();
    if (told === 'upgrade') {
      this.#socket?.destroy(error);
      return;
    }
    this.#trace?.error(error);
    if (isLater) setImmediate(() => this.#tellFailure(error));
    else this.#tellFailure(error);
  }

  #tellFailure(error: Error): void {
    outside(() => this.#face.fail(this.#controller, error));
  }
}

/** Calls the caller's code where nobody could make anything of what it throws: that is thrown where all of the program's is, and nothing here is disturbed. */
export function outside(callback: () => void): void {
  try {
    callback();
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

function asBuffer(chunk: Uint8Array): Buffer {
  return Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
}

function never(): void {}
