/**
 * One request in flight, as the main thread sees it: who waits for it, and what of its response has come.
 *
 *   waiting    the promise of fetch is open
 *   receiving  the response was delivered, its body is still coming through `source`
 *   over       nothing more comes; the place in its shard is free
 */

import { isUint8Array } from '../protocol/built-ins.ts';
import { TransferError } from '../protocol/errors.ts';
import { IDEMPOTENT_METHODS } from '../protocol/http1/methods.ts';
import type { HeadFrame } from '../protocol/port/response-frames.ts';
import { isRedirect } from '../protocol/redirect-rules.ts';
import { type BodyOrigin, BodySource } from './body-source.ts';
import { bodyFailure, fetchFailure } from './failure.ts';
import { isRepeatable } from './fetch-body.ts';
import type { FetchRequest } from './fetch-request.ts';
import type { Place } from './placement.ts';
import { type FetchResponse, PoolResponse } from './response.ts';
import type { ShardLink } from './shard-link.ts';
import { BodyHandle } from './unread-bodies.ts';
import { Uploader, type UploadTarget } from './uploader.ts';

/** Who is told that an exchange is over: the pool, which counts. */
export interface ExchangeOwner {
  exchangeOver(exchange: Exchange): void;
  /** Its shard is gone: whether it was sent again, on another one. */
  replay(exchange: Exchange): boolean;
  /** Its response is a redirect that is not simply delivered: from here on the call is in other hands. */
  redirected(
    request: FetchRequest,
    response: PoolResponse,
    resolve: (response: FetchResponse) => void,
    reject: (error: unknown) => void,
  ): void;
}

export class Exchange implements BodyOrigin, UploadTarget {
  state: 'waiting' | 'receiving' | 'over' = 'waiting';
  /** How it ended; meaningful once over. A body that the caller gave up counts as aborted. */
  outcome: 'completed' | 'failed' | 'aborted' = 'completed';
  /** Its id on the link; meaningful until over. */
  id = -1;
  link: ShardLink | null = null;
  readonly request: FetchRequest;
  readonly place: Place;
  /** Which of its place's shards has it; set before it starts. */
  rank = 0;
  #replayed = false;
  readonly #owner: ExchangeOwner;
  /** fetch's promise. Let go of once it is settled: these two hold the promise, and so the response that nobody else may hold. */
  #resolve: (response: FetchResponse) => void;
  #reject: (error: unknown) => void;
  #source: BodySource | null = null;
  #uploader: Uploader | null = null;

  constructor(
    owner: ExchangeOwner,
    request: FetchRequest,
    place: Place,
    resolve: (response: FetchResponse) => void,
    reject: (error: unknown) => void,
  ) {
    this.#owner = owner;
    this.request = request;
    this.place = place;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  /** COMPLETE: head and body at once. */
  complete(frame: HeadFrame): void {
    const response = this.#makeResponse(frame, null);
    this.over('completed');
    this.#settle(response);
  }

  /** INTERIM: a 1xx response. None comes unless it was asked for. */
  interim(_status: number, _head: string): void {}

  /** HEAD: the body follows. */
  head(frame: HeadFrame): void {
    if (this.state !== 'waiting') {
      this.fail(damaged('two response heads'));
      return;
    }
    this.state = 'receiving';
    this.#source = new BodySource(this);
    const early = earlyBody(frame);
    if (early !== null) this.#source.push(early);
    // The response is not kept here: when nobody else keeps it, its body is taken back.
    this.#settle(this.#makeResponse(frame, new BodyHandle(this.#source)));
  }

  body(chunk: Uint8Array<ArrayBuffer>): void {
    this.#source?.push(chunk);
  }

  end(endUs: number, trailers: string): void {
    if (this.#source === null) {
      this.fail(damaged('the end of a response without its head'));
      return;
    }
    this.#source.end(endUs, trailers);
    this.over('completed');
  }

  /** Its transfer failed, wherever it was. */
  fail(error: TransferError): void {
    if (this.state === 'over') return;
    error.url = this.request.target.href;
    const source = this.#source;
    this.over('failed');
    if (source === null) this.#reject(fetchFailure(error));
    else source.fail(bodyFailure(error));
  }

  /** Its shard died. `neverBegan`: before it could do anything, so that to repeat is no remedy. */
  shardLost(error: TransferError, neverBegan = false): void {
    const mayReplay = this.#mayReplay();
    // What it still reads must not go to the next shard, beside what is read anew.
    if (mayReplay) this.#uploader?.stop();
    if (mayReplay && this.#owner.replay(this)) this.#replayed = true;
    else {
      const namesReplay = mayReplay && !neverBegan && !this.request.policies.retry.shardLost;
      this.fail(namesReplay ? withReplayNamed(error) : error);
    }
  }

  /** Once, while nothing of the response has come, and only what has the same effect twice. */
  #mayReplay(): boolean {
    if (this.state !== 'waiting' || this.#replayed || !isRepeatable(this.request.body)) return false;
    return this.request.idempotent ?? IDEMPOTENT_METHODS.has(this.request.method);
  }

  /** The caller's signal fired: its reason itself is the error (Fetch §4.1). */
  abort(reason: unknown): void {
    if (this.state === 'over') return;
    const source = this.#source;
    this.link?.abort(this);
    this.over('aborted', reason);
    if (source === null) this.#reject(reason);
    else source.fail(reason);
  }

  /** Its START is under way: a body in pieces may follow. */
  started(): void {
    const { body } = this.request;
    if (body === null || isUint8Array(body)) return;
    this.#uploader = new Uploader(body, this);
    this.#uploader.start();
  }

  /** The shard has written this many bytes of the request body. */
  uploadCredit(bodyBytes: number): void {
    this.#uploader?.giveCredit(bodyBytes);
  }

  sendBody(bytes: Uint8Array): void {
    if (this.state !== 'over') this.link?.sendBody(this, bytes);
  }

  sendEnd(): void {
    if (this.state !== 'over') this.link?.sendEnd(this);
  }

  /** The caller's source failed: fetch rejects with the caller's own error, or with ours when the source broke its word. */
  uploadFailed(error: unknown): void {
    if (!TransferError.is(error)) {
      this.abort(error);
      return;
    }
    if (this.state === 'over') return;
    this.link?.abort(this);
    this.fail(error);
  }

  giveCredit(bodyBytes: number): void {
    // After the end too: what is unread counts in the shard. An abort has settled it.
    if (this.outcome !== 'aborted') this.link?.giveCredit(this, bodyBytes);
  }

  abandon(): void {
    if (this.state === 'over') return;
    this.link?.abort(this);
    this.over('aborted');
  }

  abandonedFailure(): Error {
    const error = new TransferError(
      'INCOMPLETE_BODY',
      'The body was cancelled, or left unread by everybody, before its end, so its trailers never came; read it to its end for them.',
      { phase: 'body' },
    );
    error.url = this.request.target.href;
    return bodyFailure(error);
  }

  #makeResponse(frame: HeadFrame, handle: BodyHandle | null): PoolResponse {
    const { target, method } = this.request;
    const shard = this.place.ranking[this.rank] as number;
    return new PoolResponse(frame, target.href, method, shard, handle, this.link?.certificates);
  }

  #settle(response: PoolResponse): void {
    // Nearly all responses end here, after one comparison.
    if (response.status < 300 || !this.#isFollowed(response)) this.#resolve(response as unknown as FetchResponse);
    else this.#owner.redirected(this.request, response, this.#resolve, this.#reject);
    this.#resolve = nothing;
    this.#reject = nothing;
  }

  #isFollowed(response: PoolResponse): boolean {
    const { policies, upgrade } = this.request;
    // Who asked to leave HTTP hears what he was told instead: nobody upgrades elsewhere by himself.
    return policies.redirect.mode !== 'manual' && upgrade === null && isRedirect(response.status);
  }

  protected over(outcome: 'completed' | 'failed' | 'aborted', reason?: unknown): void {
    this.state = 'over';
    this.outcome = outcome;
    this.link?.remove(this);
    this.#owner.exchangeOver(this);
    // Last, because it calls the caller's own code.
    this.#uploader?.stop(reason);
  }
}

function nothing(): void {}

function withReplayNamed({ code, message, cause }: TransferError): TransferError {
  const sentence = `${message} It may be repeated: with retry.shardLost such requests are sent once more, on another shard.`;
  return new TransferError(code, sentence, { limit: 'retry.shardLost', cause });
}

/** The part of the body that came in the head's own frame, taken out of it. */
function earlyBody(frame: HeadFrame): Uint8Array<ArrayBuffer> | null {
  if (frame.bodyBytes === 0) return null;
  if (frame.body !== null) return frame.body as Uint8Array<ArrayBuffer>;
  const headEnd = frame.infoBytes + frame.headBytes;
  return new Uint8Array(Buffer.from(frame.text.slice(headEnd), 'latin1'));
}

function damaged(what: string): TransferError {
  return new TransferError('INTERNAL', `A shard sent ${what}; please report this.`);
}
