/**
 * Digest authentication (RFC 7616): what answers a challenge, and the challenges of origins that were answered, which later
 * requests answer at once with a higher nonce count. `auth-int` is not built: it would hash whole bodies before they are sent.
 */

import { createHash, getHashes, randomBytes } from 'node:crypto';
import type { ChallengeAuth, Credentials } from './auth.ts';
import { type Challenge, parseChallenges } from './auth-challenge.ts';

/** By strength, the strongest first, with the names that node:crypto has for them. */
const ALGORITHMS: readonly (readonly [name: string, hash: string])[] = [
  ['SHA-512-256', 'sha512-256'],
  ['SHA-256', 'sha256'],
  ['MD5', 'md5'],
];

/** Origins and users whose challenge is kept, and nonces whose count is. */
const SESSIONS_MAX = 1_000;
const NONCES_MAX = 1_000;
const CLIENT_NONCE_BYTES = 16;
/** More requests than this with one nonce (RFC 7616 §3.4: 8 hexadecimal digits) begin anew. */
const NONCE_COUNT_MAX = 0xffff_ffff;

/** A digest challenge that can be answered. */
export interface DigestChallenge {
  /** As text, which is hashed. */
  readonly realm: string;
  /** As it came, which goes back. */
  readonly realmField: string;
  readonly nonce: string;
  /** null: there was none. */
  readonly opaque: string | null;
  /** As the challenge wrote it; null: it named none, which is MD5. */
  readonly algorithm: string | null;
  readonly hash: string;
  readonly isSession: boolean;
  /** Place in ALGORITHMS. */
  readonly rank: number;
  /** false: as RFC 2069 had it. */
  readonly hasQop: boolean;
  readonly hashesUser: boolean;
  /** The nonce of the request was right and too old: the credentials may be right. */
  readonly isStale: boolean;
}

/** Requests that were sent with a nonce, whoever the user was (RFC 7616 §3.4). */
interface NonceUse {
  count: number;
}

interface Session {
  readonly challenge: DigestChallenge;
  readonly use: NonceUse;
}

/** What answers a 401: a digest, or basic where that was allowed and nothing better was asked for. */
export type Answerable = DigestChallenge | 'basic';

/** The strongest challenge of a 401 that may be answered; null: none. */
export function strongest(values: readonly string[], scheme: ChallengeAuth['scheme']): Answerable | null {
  const challenges = parseChallenges(values);
  const digests = challenges.map(digestOf).filter((digest) => digest !== null);
  digests.sort((a, b) => a.rank - b.rank);
  const [best] = digests;
  if (best !== undefined) return best;
  return scheme === 'auto' && challenges.some((challenge) => challenge.scheme === 'basic') ? 'basic' : null;
}

/** The challenges that were answered, of one pool. */
export class DigestSessions {
  /** Oldest use first. */
  readonly #sessions = new Map<string, Session>();
  /** By origin and nonce; the one that came longest ago first. A server may give many the same nonce, and the same one again. */
  readonly #uses = new Map<string, NonceUse>();

  get size(): number {
    return this.#sessions.size;
  }

  /** From now on requests of this user to this origin answer it. */
  remember(origin: string, { username }: Credentials, challenge: DigestChallenge): void {
    const nonce = keyOf(origin, challenge.nonce);
    const use = this.#uses.get(nonce) ?? { count: 0 };
    putLast(this.#uses, nonce, use, NONCES_MAX);
    putLast(this.#sessions, keyOf(origin, username), { challenge, use }, SESSIONS_MAX);
  }

  forget(origin: string, { username }: Credentials): void {
    this.#sessions.delete(keyOf(origin, username));
  }

  /** The value of Authorization for the next request; null: this origin has not asked yet. */
  authorization(origin: string, credentials: Credentials, method: string, path: string): string | null {
    const key = keyOf(origin, credentials.username);
    const session = this.#sessions.get(key);
    if (session === undefined) return null;
    const { challenge, use } = session;
    this.#sessions.delete(key);
    if (use.count >= NONCE_COUNT_MAX) {
      this.#uses.delete(keyOf(origin, challenge.nonce));
      return null;
    }
    this.#sessions.set(key, session);
    use.count++;
    return digestAuthorization(challenge, credentials, method, path, use.count, newClientNonce());
  }
}

/** The value of Authorization (RFC 7616 §3.4). */
export function digestAuthorization(
  challenge: DigestChallenge,
  credentials: Credentials,
  method: string,
  path: string,
  count: number,
  clientNonce: string,
): string {
  const { realm, realmField, nonce, opaque, algorithm, hash, isSession, hasQop, hashesUser } = challenge;
  const { username, password } = credentials;
  const digest = (text: string): string => createHash(hash).update(text, 'utf8').digest('hex');
  const nonceCount = count.toString(16).padStart(8, '0');
  const base = digest(`${username}:${realm}:${password}`);
  const secret = isSession ? digest(`${base}:${nonce}:${clientNonce}`) : base;
  const what = digest(`${method}:${path}`);
  const response = hasQop
    ? digest(`${secret}:${nonce}:${nonceCount}:${clientNonce}:auth:${what}`)
    : digest(`${secret}:${nonce}:${what}`);
  const user = hashesUser ? quoted('username', digest(`${username}:${realm}`)) : userField(username);
  const fields = [user, quoted('realm', realmField), quoted('nonce', nonce), quoted('uri', path)];
  fields.push(`response="${response}"`);
  if (algorithm !== null) fields.push(`algorithm=${algorithm}`);
  if (opaque !== null) fields.push(quoted('opaque', opaque));
  if (hasQop) fields.push('qop=auth', `nc=${nonceCount}`);
  if (hasQop || isSession) fields.push(quoted('cnonce', clientNonce));
  if (hashesUser) fields.push('userhash=true');
  return `Digest ${fields.join(', ')}`;
}

function newClientNonce(): string {
  return randomBytes(CLIENT_NONCE_BYTES).toString('hex');
}

/** null: it is none, or one that cannot be answered. */
function digestOf({ scheme, parameters }: Challenge): DigestChallenge | null {
  const nonce = parameters.get('nonce');
  const realm = parameters.get('realm');
  if (scheme !== 'digest' || nonce === undefined || realm === undefined) return null;
  const algorithm = parameters.get('algorithm') ?? null;
  const named = (algorithm ?? 'MD5').toUpperCase();
  const isSession = named.endsWith('-SESS');
  const name = isSession ? named.slice(0, -'-SESS'.length) : named;
  const rank = ALGORITHMS.findIndex(([known]) => known === name);
  const hash = ALGORITHMS[rank]?.[1];
  if (hash === undefined || !hasHash(hash)) return null;
  const qop = parameters.get('qop');
  // A list that has no `auth` offers auth-int alone.
  if (
    qop !== undefined &&
    !qop
      .toLowerCase()
      .split(/[\s,]+/)
      .includes('auth')
  )
    return null;
  return {
    realm: asUtf8(realm),
    realmField: realm,
    nonce,
    opaque: parameters.get('opaque') ?? null,
    algorithm,
    hash,
    isSession,
    rank,
    hasQop: qop !== undefined,
    hashesUser: parameters.get('userhash')?.toLowerCase() === 'true',
    isStale: parameters.get('stale')?.toLowerCase() === 'true',
  };
}

let hashes: ReadonlySet<string> | null = null;

/** A Node in FIPS mode has no MD5, and not every OpenSSL has SHA-512/256. */
function hasHash(name: string): boolean {
  hashes ??= new Set(getHashes().map((hash) => hash.toLowerCase()));
  return hashes.has(name);
}

/** A user name above ASCII goes in the extended notation (RFC 7616 §3.4, RFC 8187). */
function userField(username: string): string {
  if (/^[\x20-\x7e]*$/.test(username)) return quoted('username', username);
  const encoded = encodeURIComponent(username).replace(
    /['()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
  return `username*=UTF-8''${encoded}`;
}

function quoted(name: string, value: string): string {
  return `${name}="${value.replace(/["\\]/g, '\\$&')}"`;
}

/** Field values come as latin-1; a realm in UTF-8 is hashed as the text that it is. */
function asUtf8(value: string): string {
  const text = Buffer.from(value, 'latin1').toString('utf8');
  return text.includes('\ufffd') ? value : text;
}

function keyOf(origin: string, of: string): string {
  return `${origin} ${of}`;
}

/** As the youngest of at most `max`. */
function putLast<T>(map: Map<string, T>, key: string, value: T, max: number): void {
  map.delete(key);
  map.set(key, value);
  if (map.size <= max) return;
  const [oldest] = map.keys();
  if (oldest !== undefined) map.delete(oldest);
}
