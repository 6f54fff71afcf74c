/** The bare `fetch`: a pool with default options, made on first use, that does not keep the process alive. */

import type { FetchInit } from './fetch-init.ts';
import { Pool } from './pool.ts';
import type { RequestLike } from './request-like.ts';
import type { FetchResponse } from './response.ts';

let pool: Pool | null = null;

/** As `pool.fetch`, over a pool of the whole program. */
export function fetch(input: string | URL | RequestLike, init?: FetchInit | null): Promise<FetchResponse> {
  pool ??= new Pool();
  return pool.fetch(input, init);
}
