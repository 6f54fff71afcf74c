/**
 * One request in flight, as the main thread sees it: who waits for it, and what of its response has come.
 *
 *   waiting    the promise of fetch is open
 *   receiving  the response was delivered, its body is still coming through `source`
 *   over       nothing more comes; the place in its shard is free
 */

import { TransferError } from '../protocol/errors.ts';
import type { HeadFrame } from '../protocol/port/response-frames.ts';
import { type BodyOrigin, BodySource } from './body-source.ts';
import { bodyFailure, fetchFailure } from './failure.ts';
import type { FetchRequest } from './fetch-request.ts';
import type { Place } from './placement.ts';
import { type FetchResponse, PoolResponse } from './response.ts';
import type { ShardLink } from './shard-link.ts';

/** Who is told that an exchange is over: the pool, which counts. */
export interface ExchangeOwner {
  exchangeOver(exchange: Exchange): void;
  /** Its shard is gone: whether it was sent again, on another one. */
  replay(exchange: Exchange): boolean;
}

/** Methods whose repetition has the effect of one request (RFC 9110 §9.2.2). */
const IDEMPOTENT_METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'PUT', 'DELETE', 'OPTIONS']);

export class Exchange implements BodyOrigin {
  state: 'waiting' | 'receiving' | 'over' = 'waiting';
  /** How it ended; meaningful once over. A body that the caller gave up counts as aborted. */
  outcome: 'completed' | 'failed' | 'aborted' = 'completed';
  /** Its id on the link; meaningful until over. */
  id = -1;
  link: ShardLink | null = null;
  readonly request: FetchRequest;
  readonly place: Place;
  rank: number;
  #replayed = false;
  readonly #owner: ExchangeOwner;
  readonly #resolve: (response: FetchResponse) => void;
  readonly #reject: (error: unknown) => void;
  #response: PoolResponse | null = null;
  #source: BodySource | null = null;

  constructor(
    owner: ExchangeOwner,
    request: FetchRequest,
    place: Place,
    rank: number,
    resolve: (response: FetchResponse) => void,
    reject: (error: unknown) => void,
  ) {
    this.#owner = owner;
    this.request = request;
    this.place = place;
    this.rank = rank;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  /** COMPLETE: head and body at once. */
  complete(frame: HeadFrame): void {
    const response = this.#makeResponse(frame, null);
    this.#over('completed');
    this.#resolve(response as unknown as FetchResponse);
  }

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
    this.#response = this.#makeResponse(frame, this.#source);
    this.#resolve(this.#response as unknown as FetchResponse);
  }

  body(chunk: Uint8Array<ArrayBuffer>): void {
    this.#source?.push(chunk);
  }

  end(endUs: number, trailers: string): void {
    if (this.#source === null) {
      this.fail(damaged('the end of a response without its head'));
      return;
    }
    this.#response?.ended(endUs);
    this.#source.end(trailers);
    this.#over('completed');
  }

  /** Its transfer failed, wherever it was. */
  fail(error: TransferError): void {
    if (this.state === 'over') return;
    error.url = this.request.target.href;
    const source = this.#source;
    this.#over('failed');
    if (source === null) this.#reject(fetchFailure(error));
    else source.fail(bodyFailure(error));
  }

  /** Its shard died. */
  shardLost(error: TransferError): void {
    if (this.#mayReplay() && this.#owner.replay(this)) this.#replayed = true;
    else this.fail(error);
  }

  /** Once, while nothing of the response has come, and only what has the same effect twice. */
  #mayReplay(): boolean {
    return this.state === 'waiting' && !this.#replayed && IDEMPOTENT_METHODS.has(this.request.method);
  }

  /** The caller's signal fired: its reason itself is the error (Fetch §4.1). */
  abort(reason: unknown): void {
    if (this.state === 'over') return;
    const source = this.#source;
    this.link?.abort(this);
    this.#over('aborted');
    if (source === null) this.#reject(reason);
    else source.fail(reason);
  }

  giveCredit(bodyBytes: number): void {
    if (this.state === 'receiving') this.link?.giveCredit(this, bodyBytes);
  }

  abandon(): void {
    if (this.state === 'over') return;
    this.link?.abort(this);
    this.#over('aborted');
  }

  #makeResponse(frame: HeadFrame, source: BodySource | null): PoolResponse {
    const { target, method } = this.request;
    return new PoolResponse(frame, target.href, method, this.place.ranking[this.rank] as number, source);
  }

  #over(outcome: 'completed' | 'failed' | 'aborted'): void {
    this.state = 'over';
    this.outcome = outcome;
    this.link?.remove(this);
    this.#owner.exchangeOver(this);
  }
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
