/**
 * What may make several requests of one call: redirects, retries, cookies, answers to challenges. Resolved once for a pool, and
 * for a request where its init says something of it. What they do is told in their own files; `fetch-call.ts` drives.
 */

import type { HeaderPair } from '../protocol/http1/header-pairs.ts';
import { REDIRECT_STATUSES } from '../protocol/redirect-rules.ts';
import { type ChallengeAuth, hasAuthorization, resolveAuth, withUserinfo } from './auth.ts';
import { type CookieJar, checkCookies } from './cookies.ts';
import type { FetchTarget } from './fetch-target.ts';
import { REDIRECT_DEFAULTS, type RedirectPolicy, resolveRedirect } from './redirect-options.ts';
import { NO_RETRY, type RetryPolicy, resolveRetry } from './retry-options.ts';

export interface CallPolicies {
  readonly redirect: RedirectPolicy;
  readonly retry: RetryPolicy;
  /** null: no jar. */
  readonly cookies: CookieJar | null;
  /** Waits for a challenge; null: nothing does. */
  readonly auth: ChallengeAuth | null;
  /** True while nothing but a redirect can make a second request: then a call is its exchange and no more. */
  readonly isSingle: boolean;
  /** Those of each request of a call: redirects and retries are the call's. null: these are such. */
  readonly ofEach: CallPolicies | null;
}

/** The members of a pool's options that this file resolves. */
export interface PolicyOptions {
  redirect?: unknown;
  retry?: unknown;
  cookies?: unknown;
}

/** And those of a request's init. */
export interface PolicyInit extends PolicyOptions {
  auth?: unknown;
  credentials?: unknown;
}

/** It asks for credentials (RFC 9110 §15.5.2). */
const CHALLENGE_STATUS = 401;

/** Of each of several requests. */
const EACH_DEFAULTS: CallPolicies = Object.freeze<CallPolicies>({
  redirect: { ...REDIRECT_DEFAULTS, mode: 'manual' },
  retry: NO_RETRY,
  cookies: null,
  auth: null,
  isSingle: true,
  ofEach: null,
});

export const POLICY_DEFAULTS: CallPolicies = Object.freeze({
  ...EACH_DEFAULTS,
  redirect: REDIRECT_DEFAULTS,
  ofEach: EACH_DEFAULTS,
});

/** Of a pool. Throws TransferError INVALID_ARGUMENT that names the option. */
export function resolvePolicies({ redirect, retry, cookies }: PolicyOptions): CallPolicies {
  return single({
    ...POLICY_DEFAULTS,
    redirect: resolveRedirect(redirect),
    retry: resolveRetry(retry),
    cookies: checkCookies(cookies),
  });
}

/**
 * Of a request; `defaults` itself when its init says nothing. What can be said of the user at once is added to `headers`.
 * Throws TransferError INVALID_ARGUMENT that names the option.
 */
export function policiesOf(
  init: PolicyInit,
  target: FetchTarget,
  headers: HeaderPair[],
  defaults: CallPolicies,
): CallPolicies {
  const { redirect, retry, cookies, credentials } = init;
  const auth = takeAuth(resolveAuth(init.auth), target, headers);
  const isSilent = redirect === undefined && retry === undefined && cookies === undefined && auth === null;
  if (isSilent && credentials !== 'omit') return defaults;
  return single({
    redirect: resolveRedirect(redirect, defaults.redirect),
    retry: resolveRetry(retry, defaults.retry),
    cookies: credentials === 'omit' ? null : cookies === undefined ? defaults.cookies : checkCookies(cookies),
    auth,
    isSingle: true,
    ofEach: null,
  });
}

/** Statuses of responses that may be followed by another request of the same call. */
export function followedStatuses({ redirect, retry, auth }: CallPolicies, leavesHttp: boolean): readonly number[] {
  const followed: number[] = [];
  if (redirect.mode !== 'manual' && !leavesHttp) followed.push(...REDIRECT_STATUSES);
  if (retry.attempts > 1) followed.push(...retry.statuses);
  if (auth !== null && !followed.includes(CHALLENGE_STATUS)) followed.push(CHALLENGE_STATUS);
  return followed;
}

function single(policies: CallPolicies): CallPolicies {
  const { redirect, retry, cookies, auth } = policies;
  return {
    ...policies,
    isSingle: retry.attempts === 1 && cookies === null && auth === null,
    ofEach: { ...EACH_DEFAULTS, redirect: { ...redirect, mode: 'manual' }, retry },
  };
}

/** The caller's own Authorization wins over the option, the option over the URL. */
function takeAuth(
  auth: string | ChallengeAuth | null,
  target: FetchTarget,
  headers: HeaderPair[],
): ChallengeAuth | null {
  if (hasAuthorization(headers)) return null;
  if (typeof auth === 'string') headers.push(['authorization', auth]);
  else if (auth !== null) return auth;
  else if (target.userinfo !== null) headers.push(...withUserinfo([], target.userinfo));
  return null;
}
