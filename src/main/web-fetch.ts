/**
 * `pool.fetch` for packages that take a `fetch`: with the type of the runtime's, and with its tolerance. `pool.fetch` refuses members of an init that it
 * does not know, because they are slips; packages hand theirs on (ofetch its whole options), and Fetch ignores what it does not know.
 */

import type { FetchInit } from './fetch-init.ts';
import type { RequestLike } from './request-like.ts';
import type { FetchResponse } from './response.ts';

/** What code that is to be tested takes in the place of the global fetch: `pool.fetch`, `fetch` itself, or a function of a test's. */
export type FetchLike = (input: string | URL | Request, init?: RequestInit) => Promise<Response>;

/** A pool, or what has its `fetch`. */
export interface HasFetch {
  fetch(input: string | URL | RequestLike, init?: FetchInit | null): Promise<FetchResponse>;
}

/** The members of RequestInit (Fetch §5.4). And `dispatcher`, which is refused: it asks for what will not happen. */
const WEB_NAMES = [
  'method',
  'headers',
  'body',
  'referrer',
  'referrerPolicy',
  'mode',
  'credentials',
  'cache',
  'redirect',
  'integrity',
  'keepalive',
  'signal',
  'duplex',
  'priority',
  'window',
  'dispatcher',
] as const;

/**
 * A fetch over a pool with the runtime's type, for ky, ofetch and others that take a `fetch`. Members of an init that Fetch does not know are ignored,
 * those of ours among them: these come from `defaults`, which each request gets.
 */
export function webFetch(pool: HasFetch, defaults: FetchInit = {}): typeof globalThis.fetch {
  return (input, init) => pool.fetch(input as string | URL | RequestLike, { ...defaults, ...membersOf(init) });
}

function membersOf(init: unknown): FetchInit {
  if (init === undefined || init === null) return {};
  const members: Record<string, unknown> = {};
  for (const name of WEB_NAMES) {
    const value = (init as Record<string, unknown>)[name];
    if (value !== undefined) members[name] = value;
  }
  return members;
}
