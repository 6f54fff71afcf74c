/**
 * What a redirect asks for: the next request, or why there is none, by `protocol/redirect-rules.ts`. Nothing
 * is sent here, and who counts, waits and drops the response's body is `fetch-call.ts`.
 */

import { TransferError } from '../protocol/errors.ts';
import { excerptText } from '../protocol/http1/excerpt.ts';
import { changesToGet, describesBody, escapeLocation, isDowngrade, staysBehind } from '../protocol/redirect-rules.ts';
import { shownUrl } from '../protocol/shown-url.ts';
import { withUserinfo } from './auth.ts';
import { isRepeatable } from './fetch-body.ts';
import { type FetchRequest, headOf, type OriginRoute } from './fetch-request.ts';
import { FetchTarget } from './fetch-target.ts';
import type { RedirectPolicy } from './redirect-options.ts';
import type { PoolResponse } from './response.ts';

/** One redirect that was followed. */
export interface RedirectStep {
  /** 301, 302, 303, 307 or 308. */
  readonly status: number;
  /** What was asked, without fragment and credentials. */
  readonly url: string;
  /** Where it sent us: absolute, with the fragment that stays when Location has none, without credentials. */
  readonly location: string;
  /** Of the redirect response; its body was dropped. */
  readonly headers: Headers;
}

/** The value of Location (RFC 9110 §10.2.2), made ASCII; null: there is none. The same line twice says nothing else (as curl has it). */
export function locationOf(response: PoolResponse): string | null {
  const [first, ...others] = response.fieldValues('location');
  if (first === undefined) return null;
  const other = others.find((value) => value !== first);
  if (other === undefined) return escapeLocation(first);
  throw badRedirect('The redirect has two Location fields that differ, so nobody can say where it leads.');
}

/**
 * Where Location leads. `fragment`: of the URL that was asked for, `#` included; it stays when Location has none (Fetch §4.4
 * step 2, RFC 9110 §10.2.2). Throws BAD_REDIRECT.
 */
export function resolveLocation(location: string, request: FetchRequest, fragment: string): URL {
  const { url: base } = request.target;
  if (!URL.canParse(location, base.href)) throw badRedirect('The Location of the redirect is not a URL.');
  const url = new URL(location, base.href);
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    throw badRedirect(
      `The redirect leads to a URL of ${excerptText(url.protocol)}; only http: and https: URLs are followed.`,
    );
  }
  if (url.hash === '' && fragment !== '' && !location.includes('#')) url.hash = fragment;
  return url;
}

/** The request that the redirect asks for. Throws BAD_REDIRECT. */
export function redirectedRequest(
  request: FetchRequest,
  status: number,
  url: URL,
  policy: RedirectPolicy,
): FetchRequest {
  const { url: from } = request.target;
  if (isDowngrade(from, url) && !policy.downgrade) {
    throw badRedirect(
      `The redirect leads from https: to ${shownUrl(url)}, where anybody on the way can read and change; it is followed with redirect.downgrade: true.`,
      'redirect.downgrade',
    );
  }
  if (status !== 303 && !isRepeatable(request.body)) {
    throw badRedirect(
      `The redirect with status ${status} came when the body had been read, and a stream cannot be replayed; give bytes, text or a Blob as body, or redirect: 'manual'.`,
    );
  }
  const target = targetOf(url);
  const becomesGet = changesToGet(status, request.method);
  const method = becomesGet ? 'GET' : request.method;
  const body = becomesGet ? null : request.body;
  const kept = request.headers.filter(
    ([name]) => !(becomesGet && describesBody(name)) && !staysBehind(name, from, url, policy.sensitiveHeaders),
  );
  const headers = withUserinfo(kept, target.userinfo);
  const { ownRoute } = request;
  return {
    ...request,
    target,
    extras: ownRoute === null ? request.extras : extrasFor(ownRoute, target),
    method,
    headers,
    body,
    head: headOf(target, method, headers, body, request.referrer, request.upgrade),
  };
}

/** What stands in the place of one origin does not stand in the place of others. */
function extrasFor({ origin, extras, otherExtras }: OriginRoute, target: FetchTarget): string {
  return target.origin === origin ? extras : otherExtras;
}

function targetOf(url: URL): FetchTarget {
  try {
    return new FetchTarget(url);
  } catch (cause) {
    throw badRedirect(
      `The redirect leads to ${shownUrl(url)}, which cannot be requested; see the cause.`,
      undefined,
      cause,
    );
  }
}

export function badRedirect(sentence: string, limit?: string, cause?: unknown): TransferError {
  return new TransferError('BAD_REDIRECT', sentence, { phase: 'head', limit, cause });
}

export function tooManyRedirects(max: number): TransferError {
  return new TransferError(
    'TOO_MANY_REDIRECTS',
    `There was one redirect more than redirect.max (${max}) allows; the error's redirects say where they led.`,
    { phase: 'head', limit: 'redirect.max' },
  );
}
