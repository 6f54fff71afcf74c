/** What is done with redirects: the option `redirect` of a pool and of a request. What a redirect does is `redirect.ts`'s. */

import { invalidArgument } from '../protocol/errors.ts';
import { isToken } from '../protocol/http1/tokens.ts';
import { checkBoolean, checkInteger, checkRecord, describe } from '../protocol/options.ts';
import { SENSITIVE_HEADERS } from '../protocol/redirect-rules.ts';

/** `'follow'`: the response is that of the last URL. `'error'`: a redirect rejects with BAD_REDIRECT. `'manual'`: the 3xx response itself, readable. */
export type RedirectMode = 'follow' | 'error' | 'manual';

/** What is done with redirects; of a pool or of one request. */
export interface RedirectOptions {
  /** Default `'follow'` (Fetch §2.2.5). */
  mode?: RedirectMode | undefined;
  /** Redirects followed of one call; one more is TOO_MANY_REDIRECTS (CURLOPT_MAXREDIRS). Default 20 (Fetch §4.4). */
  max?: number | undefined;
  /** Whether a redirect from `https:` to `http:` is followed; credentials stay behind either way. Default false: BAD_REDIRECT. */
  downgrade?: boolean | undefined;
  /** Names of further header fields that must not go to another origin, beside Authorization, Cookie, Cookie2, Proxy-Authorization and Host. Default none. */
  sensitiveHeaders?: readonly string[] | undefined;
}

export interface RedirectPolicy {
  readonly mode: RedirectMode;
  readonly max: number;
  readonly downgrade: boolean;
  /** In lower case, with those that are always left behind. */
  readonly sensitiveHeaders: ReadonlySet<string>;
}

/** Fetch §4.4, step 7. */
const REDIRECTS_MAX_DEFAULT = 20;
/** More is a slip: nobody waits for it. */
const REDIRECTS_MAX_MOST = 1_000;

export const REDIRECT_DEFAULTS: RedirectPolicy = Object.freeze({
  mode: 'follow',
  max: REDIRECTS_MAX_DEFAULT,
  downgrade: false,
  sensitiveHeaders: new Set(SENSITIVE_HEADERS),
});

/** `given` completed from `defaults`. Throws TransferError INVALID_ARGUMENT that names the option. */
export function resolveRedirect(given: unknown, defaults: RedirectPolicy = REDIRECT_DEFAULTS): RedirectPolicy {
  if (given === undefined) return defaults;
  if (typeof given === 'string') return { ...defaults, mode: checkMode('redirect', given) };
  if (typeof given !== 'object' || given === null) {
    throw invalidArgument(
      'redirect',
      `redirect must be 'follow', 'error', 'manual' or an object, not ${describe(given)}.`,
    );
  }
  const { mode, max, downgrade, sensitiveHeaders } = checkRecord('redirect', given, [
    'mode',
    'max',
    'downgrade',
    'sensitiveHeaders',
  ]) as { [name in keyof RedirectOptions]?: unknown };
  return {
    mode: mode === undefined ? defaults.mode : checkMode('redirect.mode', mode),
    max: max === undefined ? defaults.max : checkInteger('redirect.max', max, 0, REDIRECTS_MAX_MOST),
    downgrade: checkBoolean('redirect.downgrade', downgrade, defaults.downgrade),
    sensitiveHeaders: sensitiveHeaders === undefined ? defaults.sensitiveHeaders : checkNames(sensitiveHeaders),
  };
}

function checkMode(option: string, mode: unknown): RedirectMode {
  if (mode === 'follow' || mode === 'error' || mode === 'manual') return mode;
  throw invalidArgument(option, `${option} must be 'follow', 'error' or 'manual', not ${describe(mode)}.`);
}

function checkNames(names: unknown): ReadonlySet<string> {
  const option = 'redirect.sensitiveHeaders';
  if (!Array.isArray(names)) {
    throw invalidArgument(option, `${option} must be an array of header names, not ${describe(names)}.`);
  }
  for (const name of names as unknown[]) {
    if (typeof name === 'string' && isToken(name)) continue;
    throw invalidArgument(option, `${option} has ${describe(name)}, which is no header name.`);
  }
  return new Set([...SENSITIVE_HEADERS, ...(names as string[]).map((name) => name.toLowerCase())]);
}
