/**
 * Requests that do not go straight to a shard and back: those that are answered here, those whose body is looked at first, and those
 * whose response is held back until its body was checked.
 */

import { TransferError } from '../protocol/errors.ts';
import { readAhead } from './body-ahead.ts';
import { fetchFailure, wholeBodyFailure } from './failure.ts';
import { discard } from './fetch-body.ts';
import { type FetchRequest, headOf } from './fetch-request.ts';
import { checkIntegrity, type Integrity, integrityFailure } from './integrity.ts';
import { answerLocally } from './local-content.ts';
import type { FetchResponse, PoolResponse } from './response.ts';

/** `send`: sends what it is given, and rejects as fetch does. So does this. */
export async function takeDetour(
  request: FetchRequest,
  send: (request: FetchRequest) => Promise<FetchResponse>,
): Promise<FetchResponse> {
  const { target, method, body, integrity } = request;
  let answer: FetchResponse;
  if (target.isLocal) {
    void discard(body);
    answer = (await asFetchFails(answerLocally(target.url, target.href, method))) as never;
    // Reading a Blob takes its time.
    if (request.signal?.aborted) throw request.signal.reason;
  } else {
    const ready = body !== null && 'ofRequest' in body ? await asFetchFails(withBodyAhead(request)) : request;
    answer = await send(ready);
  }
  if (integrity !== null) await checked(answer as unknown as PoolResponse, integrity, target.href);
  return answer;
}

async function withBodyAhead(request: FetchRequest): Promise<FetchRequest> {
  const { target, method, headers, referrer, upgrade, signal } = request;
  const body = await readAhead(request.body as never);
  if (signal?.aborted) {
    void discard(body, signal.reason);
    throw signal.reason;
  }
  return { ...request, body, head: headOf(target, method, headers, body, referrer, upgrade) };
}

/** Reads the whole body (SRI §3.3.5); from then on the response has it. */
async function checked(response: PoolResponse, integrity: Integrity, url: string): Promise<void> {
  let body: Uint8Array | null;
  try {
    body = await response.readWhole();
  } catch (error) {
    throw wholeBodyFailure(error);
  }
  try {
    if (body === null) throw integrityFailure('There is no body that integrity could be checked of.');
    checkIntegrity(integrity, body);
  } catch (error) {
    throw asFailure(error, url);
  }
}

/** Ours as fetch fails; the caller's own (a reason, a stream's error) as it is. */
async function asFetchFails<T>(promise: Promise<T>): Promise<T> {
  try {
    return await promise;
  } catch (error) {
    throw TransferError.is(error) ? fetchFailure(error) : error;
  }
}

function asFailure(error: unknown, url: string): Error {
  if (TransferError.is(error)) error.url = url;
  return fetchFailure(error);
}
