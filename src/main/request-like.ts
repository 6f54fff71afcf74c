/**
 * Request objects as input: of the runtime, of undici, of any class. They are read by shape, because a Request of one class is
 * not an instance of another's (libraries hand `fetch` whichever they were built with).
 */

import { invalidArgument } from '../protocol/errors.ts';
import { describe } from '../protocol/options.ts';
import type { FetchBody } from './fetch-body.ts';
import type { FetchInit } from './fetch-init.ts';

export interface RequestLike {
  readonly url: string;
  readonly method: string;
  readonly headers: Iterable<readonly [string, string]>;
  /** Streams by their reader: lib.dom of older TypeScript does not say that they are async iterables, which they are. */
  readonly body?: AsyncIterable<Uint8Array> | Pick<ReadableStream<Uint8Array>, 'getReader'> | null;
  readonly bodyUsed?: boolean;
  readonly signal?: AbortSignal | null;
  /** `'follow'`, which is what a Request says by itself, is taken as `'manual'`; `'error'` is refused. */
  readonly redirect?: string;
}

export function isRequestLike(input: unknown): input is RequestLike {
  return (
    typeof input === 'object' &&
    input !== null &&
    typeof (input as RequestLike).url === 'string' &&
    typeof (input as RequestLike).method === 'string' &&
    typeof (input as RequestLike).headers === 'object'
  );
}

/** What the request says, as an init; what `init` says goes before it (Fetch §5.4). Throws TransferError INVALID_ARGUMENT. */
export function mergeRequest(request: RequestLike, init: unknown): object {
  if (init !== undefined && typeof init !== 'object') {
    throw invalidArgument('init', `init must be an object, not ${describe(init)}.`);
  }
  const given = (init ?? {}) as FetchInit;
  const merged: FetchInit = { method: request.method, headers: request.headers };
  if (request.signal) merged.signal = request.signal;
  if (request.redirect === 'error') merged.redirect = 'error';
  if (given.body === undefined && request.body) {
    if (request.bodyUsed)
      throw invalidArgument('input', "The Request's body was used already; clone the Request before.");
    merged.body = request.body as FetchBody;
    // Saying so is a duty of who makes a stream, and that was done when the Request was made.
    merged.duplex = 'half';
  }
  // A member that is undefined is not there (WebIDL): it does not hide what the request says.
  return { ...merged, ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) };
}
