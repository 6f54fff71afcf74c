/**
 * Whether a request that failed, or was answered with "not now", is made again, and after how long. Named predicates only: who
 * waits and sends is `fetch-call.ts`. A request whose body is a stream is never made again, because it was read.
 */

import { TransferError } from '../protocol/errors.ts';
import { isRepeatable } from './fetch-body.ts';
import type { FetchRequest } from './fetch-request.ts';
import { parseHttpDate } from './http-date.ts';
import type { PoolResponse } from './response.ts';
import type { RetryPolicy } from './retry-options.ts';

const MS_PER_S = 1_000;

/** An attempt that was not the last. */
export interface EarlierAttempt {
  /** Without fragment and credentials. */
  readonly url: string;
  /** Of a response that was not taken; null: it failed. */
  readonly status: number | null;
  readonly error: TransferError | null;
}

export function mayRetryFailure(policy: RetryPolicy, request: FetchRequest, error: unknown): boolean {
  const cause = error instanceof Error ? error.cause : undefined;
  return TransferError.is(cause) && policy.codes.has(cause.code) && mayRepeat(policy, request);
}

export function mayRetryStatus(policy: RetryPolicy, request: FetchRequest, status: number): boolean {
  return policy.statuses.has(status) && mayRepeat(policy, request);
}

function mayRepeat(policy: RetryPolicy, { method, idempotent, body }: FetchRequest): boolean {
  return (idempotent ?? policy.methods.has(method)) && isRepeatable(body);
}

/** Milliseconds to wait before the `retry`th retry, from 1. */
export function backOffMs(policy: RetryPolicy, retry: number): number {
  const longest = Math.min(policy.maxDelayMs, policy.delayMs * 2 ** (retry - 1));
  return policy.jitter ? Math.random() * longest : longest;
}

/** Milliseconds that the response asks to wait (RFC 9110 §10.2.3); -1: it does not say. */
export function retryAfterMs(response: PoolResponse): number {
  const [value] = response.fieldValues('retry-after');
  if (value === undefined) return -1;
  // However long: what asks for more than anybody waits must not pass for nothing said.
  if (/^\d+$/.test(value)) return Number(value) * MS_PER_S;
  const time = parseHttpDate(value);
  if (Number.isNaN(time)) return -1;
  // By the server's own clock where it tells it: ours may be wrong by hours.
  const [date = ''] = response.fieldValues('date');
  const serverTime = parseHttpDate(date);
  return Math.max(0, time - (Number.isNaN(serverTime) ? Date.now() : serverTime));
}

/** How long to wait before this response's request is made again; -1: it asks for longer than anybody wants to wait. */
export function waitFor(policy: RetryPolicy, response: PoolResponse, retry: number): number {
  const asked = policy.retryAfterMs === 0 ? -1 : retryAfterMs(response);
  if (asked < 0) return backOffMs(policy, retry);
  return asked > policy.retryAfterMs ? -1 : asked;
}
