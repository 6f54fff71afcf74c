/**
 * Request objects as input: of the runtime, of undici, of any class. They are read by shape, because a Request of one class is
 * not an instance of another's (libraries hand `fetch` whichever they were built with).
 */

import { invalidArgument } from '../protocol/errors.ts';
import { checkRecord } from '../protocol/options.ts';
import type { FetchBody } from './fetch-body.ts';
import { INIT_NAMES } from './fetch-init.ts';

/** A Request of any class, known by its shape: of the runtime, of any undici, or of your own. */
export interface RequestLike {
  readonly url: string;
  readonly method: string;
  readonly headers: Iterable<readonly [string, string]>;
  /** Streams by their reader: lib.dom of older TypeScript does not say that they are async iterables, which they are. */
  readonly body?: AsyncIterable<Uint8Array> | Pick<ReadableStream<Uint8Array>, 'getReader'> | null;
  readonly bodyUsed?: boolean;
  readonly signal?: AbortSignal | null;
  /** `'follow'`, which is what a Request says by itself, is no wish: the pool's options decide then. */
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

/** Members of a Request that are texts and that an init has too. Those of other packages lack some, and `mode` is about pages. */
const TEXT_MEMBERS = ['cache', 'credentials', 'integrity', 'referrer', 'referrerPolicy'] as const;

/** What the request says, as an init; what `init` says goes before it (Fetch §5.4). Throws TransferError INVALID_ARGUMENT. */
export function mergeRequest(request: RequestLike, init: unknown): object {
  const given = checkRecord('init', init ?? {}, INIT_NAMES) as Record<string, unknown>;
  const merged: Record<string, unknown> = { method: request.method, headers: request.headers };
  if (request.signal) merged.signal = request.signal;
  if (request.redirect === 'error' || request.redirect === 'manual') merged.redirect = request.redirect;
  for (const name of TEXT_MEMBERS) {
    const value = (request as unknown as Record<string, unknown>)[name];
    if (typeof value === 'string' && value !== '') merged[name] = value;
  }
  // A body that is null is none: then it is the request's (Fetch §5.4 step 39).
  const hasOwnBody = given.body !== undefined && given.body !== null;
  if (!hasOwnBody && request.body) {
    if (request.bodyUsed)
      throw invalidArgument('input', "The Request's body was used already; clone the Request before.");
    merged.body = request.body as FetchBody;
    // Saying so is a duty of who makes a stream, and that was done when the Request was made.
    merged.duplex = 'half';
  }
  if (init === undefined || init === null) return merged;
  for (const name of INIT_NAMES) {
    const value = given[name];
    // A member that is undefined is not there (WebIDL): it does not hide what the request says.
    if (value !== undefined && (name !== 'body' || hasOwnBody)) merged[name] = value;
  }
  return merged;
}
