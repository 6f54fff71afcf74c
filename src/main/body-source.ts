/**
 * A response body on its way in: who waits for its next chunk, and how it ends. What came and was not taken yet is kept, and credit for
 * it given, by `unread-chunks.ts`.
 */

import { WholeBody } from '../protocol/port/whole-body.ts';
import { type CreditTaker, UnreadChunks } from './unread-chunks.ts';

/** Where a body comes from. */
export interface BodyOrigin extends CreditTaker {
  /** Nobody wants the rest. */
  abandon(): void;
  /** What they get who wait for the end of a body that was abandoned. */
  abandonedFailure(): Error;
}

/** `cancelled` reads as an end: only the trailers, which will never come, tell the difference. */
type SourceState = { kind: 'open' } | { kind: 'ended' } | { kind: 'cancelled' } | { kind: 'failed'; error: unknown };

interface Waiter {
  resolve(chunk: Uint8Array<ArrayBuffer> | null): void;
  reject(error: unknown): void;
}

interface PromiseWithTrailers {
  readonly promise: Promise<string>;
  resolve(trailers: string): void;
  reject(error: unknown): void;
}

export class BodySource {
  /** When the response was complete, in microseconds since its start; -1: it is not. */
  endUs = -1;
  /** True once somebody reads to the end: then it needs no response object to be wanted. */
  claimed = false;
  #trailers = '';
  #ended: PromiseWithTrailers | null = null;
  #state: SourceState = { kind: 'open' };
  #waiter: Waiter | null = null;
  readonly #chunks: UnreadChunks;
  readonly #origin: BodyOrigin;

  constructor(origin: BodyOrigin) {
    this.#origin = origin;
    this.#chunks = new UnreadChunks(origin);
  }

  push(chunk: Uint8Array<ArrayBuffer>): void {
    if (this.#state.kind !== 'open') return;
    this.#chunks.push(chunk);
    const waiter = this.#waiter;
    if (waiter === null) return;
    this.#waiter = null;
    waiter.resolve(this.#chunks.take());
  }

  end(endUs: number, trailers: string): void {
    if (this.#state.kind !== 'open') return;
    this.endUs = endUs;
    this.#trailers = trailers;
    this.#state = { kind: 'ended' };
    this.#chunks.end();
    this.#ended?.resolve(trailers);
    this.#waiter?.resolve(null);
    this.#waiter = null;
  }

  /** The trailer section as latin-1 text, once the body has ended; rejects when it fails or is given up. */
  get trailers(): Promise<string> {
    const state = this.#state;
    if (state.kind === 'ended') return Promise.resolve(this.#trailers);
    if (state.kind === 'failed') return Promise.reject(state.error);
    if (state.kind === 'cancelled') return Promise.reject(this.#origin.abandonedFailure());
    if (this.#ended === null) {
      let resolve: (trailers: string) => void = () => undefined;
      let reject: (error: unknown) => void = () => undefined;
      const promise = new Promise<string>((yes, no) => {
        resolve = yes;
        reject = no;
      });
      // Who asked may not be waiting any more when the body fails; the body's reader hears of it in any case.
      promise.catch(() => undefined);
      this.#ended = { promise, resolve, reject };
    }
    return this.#ended.promise;
  }

  /** What arrived before the failure is still delivered, then `error`. */
  fail(error: unknown): void {
    if (this.#state.kind !== 'open') return;
    this.#state = { kind: 'failed', error };
    this.#chunks.end();
    this.#ended?.reject(error);
    this.#waiter?.reject(error);
    this.#waiter = null;
  }

  /** The next chunk; null at the end. One call at a time. */
  next(): Promise<Uint8Array<ArrayBuffer> | null> {
    const chunk = this.#chunks.take();
    if (chunk !== null) return Promise.resolve(chunk);
    const state = this.#state;
    if (state.kind === 'ended' || state.kind === 'cancelled') return Promise.resolve(null);
    if (state.kind === 'failed') return Promise.reject(state.error);
    return new Promise((resolve, reject) => {
      this.#waiter = { resolve, reject };
    });
  }

  get isOpen(): boolean {
    return this.#state.kind === 'open';
  }

  /** Nobody wants the rest. */
  cancel(): void {
    if (this.#state.kind !== 'open') {
      this.drop();
      return;
    }
    this.#state = { kind: 'cancelled' };
    this.#ended?.reject(this.#origin.abandonedFailure());
    this.#waiter?.resolve(null);
    this.#waiter = null;
    // First: it settles what the shard has counted, so that no credit is owed for what is dropped.
    this.#origin.abandon();
    this.drop();
  }

  /** It has ended, and nobody will take what is left of it. */
  drop(): void {
    this.#chunks.drop();
  }

  /** The whole body. `announced`: its length, -1 when it is not known. */
  async collect(announced: () => number): Promise<Uint8Array<ArrayBuffer>> {
    this.claimed = true;
    const whole = new WholeBody(announced);
    for (let chunk = await this.next(); chunk !== null; chunk = await this.next()) whole.add(chunk);
    return whole.take();
  }
}
