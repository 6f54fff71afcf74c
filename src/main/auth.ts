/**
 * Credentials of a request: the option `auth`, and the user name and password of a URL. What is said at once (basic, bearer)
 * becomes a field of the request; what answers a challenge (digest, auto) is kept for `digest.ts` and `fetch-call.ts`. All of
 * it is for the origin of the request alone: a redirect to another one leaves it behind (HOSTILE 91, 92).
 */

import { invalidArgument } from '../protocol/errors.ts';
import type { HeaderPair } from '../protocol/http1/header-pairs.ts';
import { checkRecord, describe } from '../protocol/options.ts';

/** A user name and a password, for basic (RFC 7617) or digest (RFC 7616) authentication. */
export interface PasswordAuth {
  /** Who; in UTF-8. */
  username: string;
  /** In UTF-8. */
  password: string;
  /**
   * `'basic'`, the default, is sent with the first request (RFC 7617), so use it with https: alone. `'digest'` answers a challenge
   * (RFC 7616); the password is not sent. `'auto'` answers the strongest challenge of a 401 that it knows, basic being the weakest.
   */
  scheme?: 'basic' | 'digest' | 'auto' | undefined;
}

/** A token that is sent as `Authorization: Bearer` (RFC 6750). */
export interface BearerAuth {
  /** A token as RFC 6750 §2.1 has it. */
  bearer: string;
}

/** Who asks: a person with a password, or the holder of a token. */
export type AuthOptions = PasswordAuth | BearerAuth;

/** Who somebody is, for `Authorization`. */
export interface Credentials {
  readonly username: string;
  readonly password: string;
}

/** Credentials that wait for a challenge. */
export interface ChallengeAuth extends Credentials {
  readonly scheme: 'digest' | 'auto';
}

/** RFC 6750 §2.1: b64token, which is RFC 9110's token68. */
const BEARER_TOKEN = /^[A-Za-z0-9\-._~+/]+=*$/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: that is what it looks for
const CONTROL = /[\x00-\x1f\x7f]/;

/** What the option asks for: a value of Authorization, or credentials for later. Throws TransferError INVALID_ARGUMENT. */
export function resolveAuth(auth: unknown): string | ChallengeAuth | null {
  if (auth === undefined || auth === null) return null;
  // Not by `checkRecord`, which would show a text that may be a password.
  if (typeof auth !== 'object') {
    throw invalidArgument('auth', `auth must be { username, password } or { bearer }, not a ${typeof auth}.`);
  }
  const given = checkRecord('auth', auth, ['username', 'password', 'scheme', 'bearer']);
  if (given.bearer !== undefined) return bearerOf(given);
  const { scheme = 'basic' } = given;
  if (scheme !== 'basic' && scheme !== 'digest' && scheme !== 'auto') {
    throw invalidArgument('auth.scheme', `auth.scheme must be 'basic', 'digest' or 'auto', not ${describe(scheme)}.`);
  }
  const username = checkText('auth.username', given.username);
  const password = checkText('auth.password', given.password);
  if (scheme === 'basic') return basicOf({ username, password });
  return { username, password, scheme };
}

/** The value of Authorization (RFC 7617 §2), in UTF-8. Throws TransferError INVALID_ARGUMENT. */
export function basicOf({ username, password }: Credentials): string {
  if (username.includes(':')) {
    throw invalidArgument(
      'auth.username',
      'auth.username has a colon, which ends the user name in basic authentication (RFC 7617 §2); use digest.',
    );
  }
  return `Basic ${Buffer.from(`${username}:${password}`, 'utf8').toString('base64')}`;
}

/** The user name and password of a URL; null: it has none. */
export function userinfoOf(url: URL): Credentials | null {
  if (url.username === '' && url.password === '') return null;
  return { username: decoded(url.username), password: decoded(url.password) };
}

/** `headers` with what a URL says of its user; an Authorization that is there already wins. */
export function withUserinfo(headers: HeaderPair[], userinfo: Credentials | null): HeaderPair[] {
  if (userinfo === null || hasAuthorization(headers)) return headers;
  return [...headers, ['authorization', basicOf(userinfo)]];
}

export function hasAuthorization(headers: readonly HeaderPair[]): boolean {
  return headers.some(([name]) => name.toLowerCase() === 'authorization');
}

function bearerOf(given: Record<string, unknown>): string {
  const { bearer } = given;
  for (const other of ['username', 'password', 'scheme']) {
    if (given[other] !== undefined) {
      throw invalidArgument('auth', `auth has both bearer and ${other}; it is one or the other.`);
    }
  }
  // The token is a secret: what is wrong with it is said, the token is not.
  if (typeof bearer === 'string' && BEARER_TOKEN.test(bearer)) return `Bearer ${bearer}`;
  throw invalidArgument(
    'auth.bearer',
    'auth.bearer must be a token of letters, digits and -._~+/ with = at its end only (RFC 6750 §2.1).',
  );
}

function checkText(option: string, value: unknown): string {
  if (typeof value !== 'string') {
    throw invalidArgument(option, `${option} must be a string, not ${value === null ? 'null' : `a ${typeof value}`}.`);
  }
  if (CONTROL.test(value)) throw invalidArgument(option, `${option} has a control character (RFC 7617 §2).`);
  return value;
}

/** Percent-encoded as URLs have it; what is no encoding stands for itself. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
