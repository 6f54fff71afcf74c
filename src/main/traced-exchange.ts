/** An exchange of fetch that somebody observes by diagnostics_channel. What follows of its response runs in its caller's async context. */

import { AsyncResource } from 'node:async_hooks';
import { isUint8Array } from '../protocol/built-ins.ts';
import type { TransferError } from '../protocol/errors.ts';
import type { HeadFrame } from '../protocol/port/response-frames.ts';
import { RequestTrace } from './diagnostics.ts';
import { Exchange, type ExchangeOwner } from './exchange.ts';
import { type FetchRequest, headOf } from './fetch-request.ts';
import type { Place } from './placement.ts';
import type { FetchResponse } from './response.ts';

/** Tells of a request and answers it with the headers that were added, and who is to be told of what comes. Throws what fetch would for such headers. */
export function observe(request: FetchRequest): { request: FetchRequest; trace: RequestTrace } {
  const { target, method, headers, body, referrer, upgrade } = request;
  const path = upgrade === null || upgrade.authority === '' ? target.path : upgrade.authority;
  const trace = new RequestTrace(target.origin, path, method, headers);
  if (trace.added.length === 0) return { request, trace };
  // In the head alone: the next hop of a redirect, which is made of the headers, is told of and gets its own.
  const head = headOf(target, method, [...headers, ...trace.added], body, referrer, upgrade);
  return { request: { ...request, head }, trace };
}

export class TracedExchange extends Exchange {
  readonly #trace: RequestTrace;
  readonly #context = new AsyncResource('SHARDFETCH_REQUEST');

  constructor(
    owner: ExchangeOwner,
    request: FetchRequest,
    place: Place,
    resolve: (response: FetchResponse) => void,
    reject: (error: unknown) => void,
    trace: RequestTrace,
  ) {
    super(owner, request, place, resolve, reject);
    this.#trace = trace;
  }

  /** There was no shard to send it to. */
  notSent(error: TransferError): void {
    this.#trace.error(error);
  }

  override complete(frame: HeadFrame): void {
    this.#context.runInAsyncScope(() => {
      this.#trace.head(frame);
      this.#trace.end('');
      super.complete(frame);
    });
  }

  override head(frame: HeadFrame): void {
    this.#context.runInAsyncScope(() => {
      if (this.state === 'waiting') this.#trace.head(frame);
      super.head(frame);
    });
  }

  override end(endUs: number, trailers: string): void {
    if (this.state === 'receiving') this.#trace.end(trailers);
    super.end(endUs, trailers);
  }

  override fail(error: TransferError): void {
    if (this.state !== 'over') this.#trace.error(error);
    this.#context.runInAsyncScope(() => super.fail(error));
  }

  override abort(reason: unknown): void {
    if (this.state !== 'over') this.#trace.error(reason);
    super.abort(reason);
  }

  override abandon(): void {
    if (this.state !== 'over') this.#trace.error(this.abandonedFailure());
    super.abandon();
  }

  /** Of a body in pieces it is told by its end. */
  wasSent(): void {
    const { body } = this.request;
    if (body === null || isUint8Array(body)) this.#trace.bodySent();
  }

  override sendEnd(): void {
    if (this.state !== 'over') this.#trace.bodySent();
    super.sendEnd();
  }
}
