/**
 * Members of an init that Fetch has for browsers: checked as WebIDL does, and what of them means something on a server. There is no
 * page, no other origin and no cache here; docs/fetch.md says for each what that comes to.
 */

import { invalidArgument } from '../protocol/errors.ts';
import type { HeaderPair } from '../protocol/http1/header-pairs.ts';
import { describe } from '../protocol/options.ts';

export interface BrowserMembers {
  /** No effect, because there is no page whose origin could be the same: every response is given whole. `'navigate'` is refused, as in Fetch. */
  mode?: 'cors' | 'no-cors' | 'same-origin' | 'navigate' | undefined;
  /** There is no cache here; `'no-store'`, `'reload'` and `'no-cache'` ask those on the way not to answer from theirs, as Fetch §4.6 has it. `'only-if-cached'` is refused. */
  cache?: 'default' | 'no-store' | 'reload' | 'no-cache' | 'force-cache' | 'only-if-cached' | undefined;
  /** `'omit'`: no cookies of the jar are sent, and none are stored. The others do both; what the request itself says (`auth`, the URL, headers) is sent in any case. */
  credentials?: 'omit' | 'same-origin' | 'include' | undefined;
  /** No effect: a request goes on for as long as the process does. */
  keepalive?: boolean | undefined;
  /** No effect: requests go in their order. */
  priority?: 'high' | 'low' | 'auto' | undefined;
  /** Can only be null, as in Fetch. */
  window?: null | undefined;
}

const VALUES: Readonly<Record<string, readonly unknown[]>> = {
  mode: ['cors', 'no-cors', 'same-origin'],
  cache: ['default', 'no-store', 'reload', 'no-cache', 'force-cache'],
  credentials: ['omit', 'same-origin', 'include'],
  keepalive: [true, false],
  priority: ['high', 'low', 'auto'],
  window: [null],
};

const MEMBERS = Object.keys(VALUES);

export const BROWSER_NAMES: readonly string[] = MEMBERS;

/** What Fetch §4.6 steps 8.20 and 8.21 add for a cache mode, where the caller has no such field. */
const NO_CACHE: readonly HeaderPair[] = [['cache-control', 'max-age=0']];
const RELOAD: readonly HeaderPair[] = [
  ['pragma', 'no-cache'],
  ['cache-control', 'no-cache'],
];
const NO_FIELDS: readonly HeaderPair[] = [];

/** Throws TransferError INVALID_ARGUMENT that names the member. */
export function checkBrowserMembers(given: BrowserMembers): void {
  for (const name of MEMBERS) {
    const value = given[name as keyof BrowserMembers];
    if (value === undefined) continue;
    if (name === 'cache' && value === 'only-if-cached') {
      throw invalidArgument('cache', "cache: 'only-if-cached' cannot be answered, because there is no cache here.");
    }
    const values = VALUES[name] as readonly unknown[];
    if (values.includes(value)) continue;
    const wanted = values.map((each) => describe(each)).join(', ');
    throw invalidArgument(
      name,
      `${name} must be ${values.length > 1 ? 'one of ' : ''}${wanted}, not ${describe(value)}.`,
    );
  }
}

/** The fields that ask caches on the way for a fresh answer. */
export function cacheFields(cache: BrowserMembers['cache']): readonly HeaderPair[] {
  if (cache === 'no-cache') return NO_CACHE;
  return cache === 'no-store' || cache === 'reload' ? RELOAD : NO_FIELDS;
}
