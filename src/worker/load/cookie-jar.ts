/**
 * The cookies of one virtual user: enough of RFC 6265 for a load test. A cookie is kept by domain, path and name; Domain, Path, Secure,
 * Max-Age and Expires are understood, SameSite and HttpOnly mean nothing here. There is no list of public suffixes: a Domain
 * needs a dot inside. Cookies are never told to other users.
 */

import { isIP } from 'node:net';

interface Cookie {
  readonly name: string;
  readonly value: string;
  readonly domain: string;
  /** Only this host, not those below it. */
  readonly hostOnly: boolean;
  readonly path: string;
  readonly secure: boolean;
  /** On `Date.now`; Infinity: it stays as long as the run. */
  readonly expiresMs: number;
}

/** Of one user; the oldest goes. */
const COOKIES_MAX = 50;
/** Of one cookie, name and value. */
const COOKIE_LENGTH_MAX = 4_096;
const MS_PER_SECOND = 1_000;

export class CookieJar {
  /** By domain, path and name, oldest first. */
  readonly #cookies = new Map<string, Cookie>();

  get size(): number {
    return this.#cookies.size;
  }

  clear(): void {
    this.#cookies.clear();
  }

  /** `text`: the value of a Set-Cookie header. What makes no sense is passed over, as browsers do. */
  take(text: string, url: URL): void {
    const cookie = parse(text, url);
    if (cookie === null) return;
    const key = `${cookie.domain};${cookie.path};${cookie.name}`;
    this.#cookies.delete(key);
    if (cookie.expiresMs <= Date.now()) return;
    if (this.#cookies.size === COOKIES_MAX) this.#cookies.delete(this.#cookies.keys().next().value as string);
    this.#cookies.set(key, cookie);
  }

  /** `cookie: a=1; b=2` with its line end, for a request to this URL; '': there is nothing to say. */
  field(url: URL): string {
    if (this.#cookies.size === 0) return '';
    const value = this.value(url);
    return value === '' ? '' : `cookie: ${value}\r\n`;
  }

  /** Longer paths first. */
  value(url: URL): string {
    const now = Date.now();
    return [...this.#cookies.values()]
      .filter((cookie) => cookie.expiresMs > now && goesTo(cookie, url))
      .sort((a, b) => b.path.length - a.path.length)
      .map(({ name, value }) => (name === '' ? value : `${name}=${value}`))
      .join('; ');
  }
}

function goesTo({ domain, hostOnly, path, secure }: Cookie, { hostname, pathname, protocol }: URL): boolean {
  if (secure && protocol !== 'https:') return false;
  if (hostname !== domain && (hostOnly || !isBelow(hostname, domain))) return false;
  if (!pathname.startsWith(path)) return false;
  return pathname.length === path.length || path.endsWith('/') || pathname[path.length] === '/';
}

function isBelow(host: string, domain: string): boolean {
  return host.endsWith(`.${domain}`) && isIP(host) === 0;
}

function parse(text: string, { hostname, pathname, protocol }: URL): Cookie | null {
  const [pair = '', ...attributes] = text.split(';');
  const at = pair.indexOf('=');
  const name = pair.slice(0, Math.max(at, 0)).trim();
  const value = pair.slice(at + 1).trim();
  if ((name === '' && value === '') || pair.length > COOKIE_LENGTH_MAX) return null;
  let domain = hostname;
  let hostOnly = true;
  let path = pathname.slice(0, Math.max(pathname.lastIndexOf('/'), 1));
  let secure = false;
  let expiresMs = Number.POSITIVE_INFINITY;
  let hasMaxAge = false;
  for (const attribute of attributes) {
    const equals = attribute.indexOf('=');
    const key = (equals < 0 ? attribute : attribute.slice(0, equals)).trim().toLowerCase();
    const given = equals < 0 ? '' : attribute.slice(equals + 1).trim();
    if (key === 'domain' && given !== '') {
      domain = given.replace(/^\./, '').toLowerCase();
      hostOnly = false;
    } else if (key === 'path' && given.startsWith('/')) path = given;
    else if (key === 'secure') secure = true;
    else if (key === 'max-age' && /^-?\d+$/.test(given)) {
      expiresMs = Number(given) <= 0 ? 0 : Date.now() + Number(given) * MS_PER_SECOND;
      hasMaxAge = true;
    } else if (key === 'expires' && !hasMaxAge && !Number.isNaN(Date.parse(given))) expiresMs = Date.parse(given);
  }
  // A domain that is not the host's own, or is a whole top-level domain, is refused.
  if (!hostOnly && domain !== hostname && (!isBelow(hostname, domain) || !domain.includes('.'))) return null;
  if (secure && protocol !== 'https:') return null;
  return { name, value, domain, hostOnly: hostOnly || domain === '', path, secure, expiresMs };
}
