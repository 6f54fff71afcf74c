/**
 * What a caller may say of how the bodies of responses come: `decompress` and `collect`. Checked here, and put into the form in which
 * a request carries them; the shards do what they say.
 */

import { ACCEPT_ENCODING } from '../protocol/content-codings.ts';
import { invalidArgument } from '../protocol/errors.ts';
import type { HeaderPair } from '../protocol/http1/header-pairs.ts';
import { checkBoolean, describe } from '../protocol/options.ts';
import type { CollectAs, RequestExtras } from '../protocol/port/request-extras.ts';

/** Of a request's init. */
export interface BodyOptions {
  /** Ask for content codings and take them off (CURLOPT_ACCEPT_ENCODING). false: neither, the body comes as it was sent. Default: the pool's. */
  decompress?: boolean | undefined;
  /** Answer only when the body is complete, all at once: reading it then waits for nothing, and a body that breaks rejects `fetch` itself. Says how it will be read. Default: the response comes with its head, and its body as a stream. */
  collect?: CollectAs | undefined;
}

export const BODY_OPTION_NAMES = ['decompress', 'collect'] as const;

const COLLECT_AS: readonly unknown[] = ['bytes', 'text', 'json'] satisfies CollectAs[];

/** Throws TransferError INVALID_ARGUMENT. */
export function checkDecompress(decompress: unknown, usual = true): boolean {
  return checkBoolean('decompress', decompress, usual);
}

/** `usual`: the pool's `decompress`. `uncollected`: statuses that may be followed by another request. Throws TransferError INVALID_ARGUMENT that names the option. */
export function withBodyOptions(
  extras: RequestExtras | null,
  { decompress, collect }: BodyOptions,
  usual: boolean,
  uncollected: readonly number[],
): RequestExtras | null {
  const isUsual = checkDecompress(decompress, usual) === usual;
  if (isUsual && collect === undefined) return extras;
  if (collect !== undefined && !COLLECT_AS.includes(collect)) {
    throw invalidArgument('collect', `collect must be 'bytes', 'text' or 'json', not ${describe(collect)}.`);
  }
  return {
    ...extras,
    ...(isUsual ? {} : { decompress: !usual }),
    ...(collect === undefined ? {} : { collect, ...(uncollected.length === 0 ? {} : { uncollected }) }),
  };
}

/**
 * Asks for what can be decoded, unless the caller asked for something. With Range it asks for none: a part of a coded body does not
 * decode by itself (Fetch §4.5, step 8.22).
 */
export function askForCodings(headers: HeaderPair[], decompress: boolean): void {
  if (!decompress || ACCEPT_ENCODING === '') return;
  let value = ACCEPT_ENCODING;
  for (const [name] of headers) {
    const lower = name.toLowerCase();
    if (lower === 'accept-encoding') return;
    if (lower === 'range') value = 'identity';
  }
  headers.push(['accept-encoding', value]);
}
