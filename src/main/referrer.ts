/**
 * The Referer of a request: what `referrer` and `referrerPolicy` of an init come to (Referrer Policy §8.3 "Determine request's
 * Referrer"). A server has no page that it could come from, so without a `referrer` there is none; a Referer among the headers is the caller's own and stays.
 */

import { isUrl } from '../protocol/built-ins.ts';
import { invalidArgument } from '../protocol/errors.ts';
import { describe } from '../protocol/options.ts';
import { shownUrl } from '../protocol/shown-url.ts';

const POLICIES = [
  '',
  'no-referrer',
  'no-referrer-when-downgrade',
  'same-origin',
  'origin',
  'strict-origin',
  'origin-when-cross-origin',
  'strict-origin-when-cross-origin',
  'unsafe-url',
] as const;

export type ReferrerPolicyName = (typeof POLICIES)[number];

/** Where a request comes from, as its caller says. */
export interface Referrer {
  readonly url: URL;
  readonly policy: Exclude<ReferrerPolicyName, ''>;
}

const POLICY_DEFAULT = 'strict-origin-when-cross-origin';

/** Longer ones are cut to their origin (Referrer Policy §8.3 step 4). */
const REFERER_TEXT_MAX = 4096;

/** null: no Referer is sent. Throws TransferError INVALID_ARGUMENT that names the option. */
export function resolveReferrer(referrer: unknown, policy: unknown): Referrer | null {
  const name = policy ?? '';
  if (!POLICIES.includes(name as ReferrerPolicyName)) {
    const known = POLICIES.filter((each) => each !== '').join(', ');
    throw invalidArgument('referrerPolicy', `referrerPolicy must be one of ${known}, not ${describe(policy)}.`);
  }
  if (referrer === undefined || referrer === '' || referrer === 'no-referrer' || referrer === 'about:client')
    return null;
  const text = isUrl(referrer) ? referrer.href : referrer;
  if (typeof text !== 'string' || !URL.canParse(text)) {
    throw invalidArgument('referrer', `referrer must be an absolute URL, not ${shownUrl(referrer)}.`);
  }
  const url = new URL(text);
  if (url.protocol !== 'http:' && url.protocol !== 'https:') return null;
  url.username = '';
  url.password = '';
  url.hash = '';
  return { url, policy: (name || POLICY_DEFAULT) as Referrer['policy'] };
}

/** The value of the Referer field for a request to `target`; null: none. To be asked again for each redirect. */
export function refererOf({ url, policy }: Referrer, target: URL): string | null {
  const sameOrigin = url.origin === target.origin;
  const downgrade = isTrustworthy(url) && !isTrustworthy(target);
  const origin = `${url.origin}/`;
  const full = url.href.length > REFERER_TEXT_MAX ? origin : url.href;
  switch (policy) {
    case 'no-referrer':
      return null;
    case 'origin':
      return origin;
    case 'unsafe-url':
      return full;
    case 'same-origin':
      return sameOrigin ? full : null;
    case 'origin-when-cross-origin':
      return sameOrigin ? full : origin;
    case 'strict-origin':
      return downgrade ? null : origin;
    case 'no-referrer-when-downgrade':
      return downgrade ? null : full;
    case 'strict-origin-when-cross-origin':
      if (sameOrigin) return full;
      return downgrade ? null : origin;
  }
}

/** Secure Contexts §3.1, of what can be requested here: nobody on the way can read it. */
function isTrustworthy({ protocol, hostname }: URL): boolean {
  if (protocol === 'https:') return true;
  return /^(127(\.\d+){3}|\[::1\]|localhost|.+\.localhost)$/.test(hostname);
}
