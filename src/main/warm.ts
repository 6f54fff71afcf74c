/**
 * `pool.warm`: connections opened before anyone needs them. Each is an exchange that ends when its connection is there, so it is placed,
 * limited and counted as a request is; the connection then lies idle in its shard as any other does.
 */

import { invalidArgument, TransferError } from '../protocol/errors.ts';
import { checkInteger, checkRecord } from '../protocol/options.ts';
import { decodeExtras, encodeExtras } from '../protocol/port/request-extras.ts';
import type { FetchInit } from './fetch-init.ts';
import type { FetchRequest } from './fetch-request.ts';

/** What of a request says where and how it connects: requests that say the same find these connections. */
export type WarmInit = Pick<FetchInit, (typeof WARM_NAMES)[number]>;

const WARM_NAMES = ['signal', 'timeouts', 'unixPath', 'connectTo', 'proxy', 'guard'] as const;

/** The bounds of the pool that hold for it. */
interface WarmLimits {
  readonly perOrigin: number;
  readonly total: number;
  readonly reuse: boolean;
}

const COUNT_MAX = 10_000_000;

/** How many are to be opened. Throws TransferError INVALID_ARGUMENT that names the argument. */
export function checkWarm(count: unknown, init: unknown, { perOrigin, total, reuse }: WarmLimits): number {
  if (!reuse) {
    throw invalidArgument(
      'connections.reuse',
      'With connections.reuse: false no connection can lie idle, so none is opened ahead.',
    );
  }
  if (init !== undefined && init !== null) checkRecord('init', init, [...WARM_NAMES]);
  return Math.min(checkInteger('count', count, 1, COUNT_MAX), perOrigin, total);
}

/** The request that opens a connection and sends nothing. Throws TransferError INVALID_ARGUMENT. */
export function connectOnly(request: FetchRequest): FetchRequest {
  if (request.target.isLocal) {
    const { protocol } = request.target.url;
    throw invalidArgument(
      'origin',
      `origin must be an http: or https: URL; there is nothing to connect to for ${protocol} URLs.`,
    );
  }
  return { ...request, extras: encodeExtras({ ...decodeExtras(request.extras || '{}'), connectOnly: true }) };
}

/** How many were opened. Rejects as the first that failed, where none was; with the signal's reason where that fired. */
export async function openAll(
  count: number,
  signal: AbortSignal | null,
  openOne: () => Promise<unknown>,
): Promise<number> {
  const outcomes = await Promise.allSettled(Array.from({ length: count }, openOne));
  signal?.throwIfAborted();
  const failures = outcomes.filter((outcome) => outcome.status === 'rejected');
  const failure = failures.find(({ reason }) => !hadNoRoom(reason));
  if (failures.length === count && failure !== undefined) throw failure.reason;
  return count - failures.length;
}

/** That there is no room for more is no failure: as many are open as may be. */
function hadNoRoom(error: unknown): boolean {
  const cause = error instanceof Error ? error.cause : null;
  return TransferError.is(cause) && cause.code === 'QUEUE_FULL';
}
