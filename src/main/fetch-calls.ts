/** The calls of one pool that take several requests: what they share, and what is counted of them. */

import { AsyncResource } from 'node:async_hooks';
import type { TransferError } from '../protocol/errors.ts';
import type { Timeouts } from '../protocol/options.ts';
import { DigestSessions } from './digest.ts';
import { type CallHost, FetchCall } from './fetch-call.ts';
import type { FetchRequest } from './fetch-request.ts';
import type { FetchResponse, PoolResponse } from './response.ts';
import type { SignalWatch } from './signal-watch.ts';
import { WaitQueue } from './wait-queue.ts';

/** What the calls need of their pool. */
export interface CallsOwner {
  /** Sends one request of a call; the pool may be closing, but not closed. */
  sendFor(request: FetchRequest, resolve: (response: FetchResponse) => void, reject: (error: unknown) => void): void;
  /** A call has ended. */
  callOver(): void;
}

export class FetchCalls implements CallHost {
  readonly timeouts: Readonly<Timeouts>;
  readonly waits = new WaitQueue();
  readonly digests = new DigestSessions();
  /** Redirects followed, and attempts after the first, since the pool began. */
  redirects = 0;
  retries = 0;
  readonly #owner: CallsOwner;
  readonly #signals: SignalWatch;
  readonly #calls = new Set<FetchCall>();

  constructor(owner: CallsOwner, signals: SignalWatch, timeouts: Readonly<Timeouts>) {
    this.#owner = owner;
    this.#signals = signals;
    this.timeouts = timeouts;
  }

  /** Calls under way. */
  get size(): number {
    return this.#calls.size;
  }

  begin(request: FetchRequest, resolve: (response: FetchResponse) => void, reject: (error: unknown) => void): void {
    this.#add(new FetchCall(this, request, 0, resolve, reject)).begin();
  }

  /** A call whose first request was made already, and redirected. */
  continueAfter(
    request: FetchRequest,
    response: PoolResponse,
    resolve: (response: FetchResponse) => void,
    reject: (error: unknown) => void,
  ): void {
    const { end, firstByte } = response.timings;
    const spentMs = Math.max(0, end, firstByte);
    let call: FetchCall;
    try {
      call = this.#add(new FetchCall(this, request, spentMs, resolve, reject));
    } catch (error) {
      // A signal of the caller's own making.
      response.drop();
      reject(error);
      return;
    }
    call.continueAfter(response);
  }

  /** Fails all that are under way. */
  failAll(error: () => TransferError): void {
    for (const call of [...this.#calls]) call.fail(error());
  }

  sendFor(request: FetchRequest, answered: (response: PoolResponse) => void, failed: (error: unknown) => void): void {
    // What the call does then (asks a jar, tells of its next request) it does in its caller's async context.
    const context = new AsyncResource('SHARDFETCH_CALL');
    this.#owner.sendFor(
      request,
      (response) => context.runInAsyncScope(answered, null, response),
      (error) => context.runInAsyncScope(failed, null, error),
    );
  }

  followed(): void {
    this.redirects++;
  }

  retried(): void {
    this.retries++;
  }

  callOver(call: FetchCall): void {
    this.#calls.delete(call);
    if (call.signal !== null) this.#signals.remove(call.signal, call);
    this.#owner.callOver();
  }

  #add(call: FetchCall): FetchCall {
    // First what is the caller's and may throw.
    if (call.signal !== null) this.#signals.add(call.signal, call);
    this.#calls.add(call);
    return call;
  }
}
