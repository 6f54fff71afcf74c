/**
 * A response body on its way in: chunks that arrived and were not taken yet. Taking a chunk gives credit back, so the shard
 * sends more; nobody takes, nothing more comes. After the end credit still goes back for what is taken or dropped, because the
 * shard counts it as unread until then.
 */

import { UNCOUNTED_BODY_BYTES, WINDOW_BYTES_MIN } from '../protocol/port/frames.ts';
import { WholeBody } from '../protocol/port/whole-body.ts';

/** Credit goes back in steps of this size: one small frame per quarter of the initial credit. */
const CREDIT_STEP_BYTES = 256 * 1024;

/** Where a body comes from. */
export interface BodyOrigin {
  /** This many bytes were taken. */
  giveCredit(bodyBytes: number): void;
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
  #chunks: Uint8Array<ArrayBuffer>[] = [];
  #waiter: Waiter | null = null;
  /** Bytes that came, and bytes that were taken since credit was given last. */
  #received = 0;
  #taken = 0;
  readonly #origin: BodyOrigin;

  constructor(origin: BodyOrigin) {
    this.#origin = origin;
  }

  push(chunk: Uint8Array<ArrayBuffer>): void {
    if (this.#state.kind !== 'open') return;
    this.#received += chunk.length;
    const waiter = this.#waiter;
    if (waiter === null) {
      this.#chunks.push(chunk);
      return;
    }
    this.#waiter = null;
    this.#took(chunk);
    waiter.resolve(chunk);
  }

  end(endUs: number, trailers: string): void {
    if (this.#state.kind !== 'open') return;
    this.endUs = endUs;
    this.#trailers = trailers;
    this.#state = { kind: 'ended' };
    this.#settle();
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
    this.#settle();
    this.#ended?.reject(error);
    this.#waiter?.reject(error);
    this.#waiter = null;
  }

  /** The next chunk; null at the end. One call at a time. */
  next(): Promise<Uint8Array<ArrayBuffer> | null> {
    const chunk = this.#chunks.shift();
    if (chunk !== undefined) {
      this.#took(chunk);
      return Promise.resolve(chunk);
    }
    const state = this.#state;
    if (state.kind === 'ended' || state.kind === 'cancelled') return Promise.resolve(null);
    if (state.kind === 'failed') return Promise.reject(state.error);
    // The shard may have nothing left to send but for credit: a body beyond the budget is stopped after this much.
    if (this.#taken >= WINDOW_BYTES_MIN) this.#giveCredit();
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
    // Abandoning settles what was counted.
    this.#taken = 0;
    this.#chunks = [];
    this.#state = { kind: 'cancelled' };
    this.#ended?.reject(this.#origin.abandonedFailure());
    this.#waiter?.resolve(null);
    this.#waiter = null;
    this.#origin.abandon();
  }

  /** It has ended, and nobody will take what is left of it. */
  drop(): void {
    for (const chunk of this.#chunks) this.#taken += chunk.length;
    this.#chunks = [];
    this.#settle();
  }

  /** The whole body. `announced`: its length, -1 when it is not known. */
  async collect(announced: () => number): Promise<Uint8Array<ArrayBuffer>> {
    this.claimed = true;
    const whole = new WholeBody(announced);
    for (let chunk = await this.next(); chunk !== null; chunk = await this.next()) whole.add(chunk);
    return whole.take();
  }

  #took(chunk: Uint8Array): void {
    this.#taken += chunk.length;
    if (this.#taken >= CREDIT_STEP_BYTES) this.#giveCredit();
    else if (this.#state.kind !== 'open') this.#settle();
  }

  /** The body has ended: once all of it was taken, the shard hears of the last of it. */
  #settle(): void {
    if (this.#taken > 0 && this.#chunks.length === 0) this.#giveCredit();
  }

  #giveCredit(): void {
    if (this.isOpen || this.#received > UNCOUNTED_BODY_BYTES) this.#origin.giveCredit(this.#taken);
    this.#taken = 0;
  }
}
