/**
 * Cookies through a jar of the caller's (RFC 6265bis): asked before each request, redirects included, and told of each
 * Set-Cookie. The jar decides which cookie is whose; what is bounded here is how much a peer can put into it and how much
 * comes out.
 */

import { invalidArgument, TransferError } from '../protocol/errors.ts';
import type { HeaderPair } from '../protocol/http1/header-pairs.ts';
import { checkHeader } from '../protocol/http1/request-head.ts';
import { describeKind } from '../protocol/options.ts';

/**
 * A cookie jar as tough-cookie has it, or part of one. Both functions may answer a promise, call back, or answer at once. A callback is
 * given where there is a parameter for it: the second of `getCookieString`, the last of `setCookie`, whose third, of four, are options
 * (`{ ignoreError: true }`: a cookie that is refused is no error). Where there is none, undefined is an answer: no cookies, or done.
 */
export interface CookieJar {
  /** What the Cookie field is to say for a URL; '' for nothing. */
  getCookieString(url: string, callback: (error: unknown, cookies?: string) => void): unknown;
  /** Takes one Set-Cookie field of a response from a URL. */
  // Jars differ in what they take as options.
  // biome-ignore lint/suspicious/noExplicitAny: see above
  setCookie(cookie: string, url: string, ...rest: any[]): unknown;
}

type Callback = (error: unknown, value?: unknown) => void;

/** Set-Cookie lines of one response that are stored (as curl). */
const SET_COOKIES_MAX = 50;
/** Name and value of one cookie together (RFC 6265bis §5.6); longer ones are not stored. */
const COOKIE_BYTES_MAX = 4_096;
/** The Cookie field (as curl); what does not fit is left out, whole cookies at a time. */
const COOKIE_FIELD_BYTES_MAX = 8_190;
/** Parameters of a setCookie that takes a callback: as the third, or behind options. */
const CALLBACK_THIRD = 3;

/** The option `cookies`. null: none. Throws TransferError INVALID_ARGUMENT. */
export function checkCookies(jar: unknown): CookieJar | null {
  if (jar === undefined || jar === null || jar === false) return null;
  const { getCookieString, setCookie } = jar as Partial<CookieJar>;
  if (typeof getCookieString === 'function' && typeof setCookie === 'function') return jar as CookieJar;
  throw invalidArgument(
    'cookies',
    `cookies must be a jar with the functions getCookieString and setCookie, as tough-cookie's CookieJar has them, not ${describeKind(jar)}.`,
  );
}

/** The jar's cookies for a URL; '' for none. Rejects with a TransferError. */
export async function cookiesFor(jar: CookieJar, url: string): Promise<string> {
  const cookies = await asked('getCookieString', takesCallback(jar), (...callback) =>
    jar.getCookieString(url, ...(callback as [Callback])),
  );
  if (cookies === undefined || cookies === null || cookies === '') return '';
  if (typeof cookies !== 'string') {
    throw invalidArgument(
      'cookies',
      `The cookie jar's getCookieString must answer a string, not ${describeKind(cookies)}.`,
    );
  }
  checkHeader('cookie', cookies);
  return bounded(cookies);
}

/** Stores what a response sets. Rejects with a TransferError. */
export async function storeCookies(jar: CookieJar, lines: readonly string[], url: string): Promise<void> {
  for (const line of lines.slice(0, SET_COOKIES_MAX)) {
    if (!mayBeStored(line, url)) continue;
    const { length } = jar.setCookie;
    await asked('setCookie', length >= CALLBACK_THIRD, (...callback) =>
      length === CALLBACK_THIRD
        ? jar.setCookie(line, url, ...callback)
        : jar.setCookie(line, url, { ignoreError: true }, ...callback),
    );
  }
}

/** `headers` with the jar's cookies: before the caller's own, which win where a name is in both. */
export function withCookies(headers: readonly HeaderPair[], cookies: string): readonly HeaderPair[] {
  if (cookies === '') return headers;
  const own = headers.filter(([name]) => name.toLowerCase() === 'cookie').map(([, value]) => value);
  const others = headers.filter(([name]) => name.toLowerCase() !== 'cookie');
  const ownNames = new Set(own.flatMap(cookiePairs).map(nameOf));
  const kept = cookiePairs(cookies).filter((pair) => !ownNames.has(nameOf(pair)));
  return [...others, ['cookie', [...kept, ...own].join('; ')]];
}

function mayBeStored(line: string, url: string): boolean {
  const semicolon = line.indexOf(';');
  const pair = semicolon < 0 ? line : line.slice(0, semicolon);
  // Without its attributes: RFC 6265bis §5.6 counts name and value.
  if (pair.replace('=', '').length > COOKIE_BYTES_MAX) return false;
  // RFC 6265bis §5.7 step 9: http: must not write what only https: may read. This machine itself is as safe as https:.
  const isSecure = semicolon >= 0 && /;\s*secure\s*(?:;|=|$)/i.test(line.slice(semicolon));
  return !isSecure || url.startsWith('https:') || isLocal(new URL(url).hostname);
}

function isLocal(hostname: string): boolean {
  return (
    hostname === 'localhost' ||
    hostname.endsWith('.localhost') ||
    hostname === '[::1]' ||
    /^127(\.\d+){3}$/.test(hostname)
  );
}

function bounded(cookies: string): string {
  if (cookies.length <= COOKIE_FIELD_BYTES_MAX) return cookies;
  const cut = cookies.lastIndexOf('; ', COOKIE_FIELD_BYTES_MAX);
  return cut < 0 ? '' : cookies.slice(0, cut);
}

function cookiePairs(field: string): string[] {
  return field.split(';').map((pair) => pair.trim());
}

function nameOf(pair: string): string {
  const equals = pair.indexOf('=');
  return equals < 0 ? pair : pair.slice(0, equals);
}

/** tough-cookie 2 takes its callback out of `arguments`: its setCookie alone shows that it has any. */
function takesCallback({ getCookieString, setCookie }: CookieJar): boolean {
  return getCookieString.length >= 2 || (getCookieString.length === 0 && setCookie.length >= CALLBACK_THIRD);
}

/** Whichever comes first: the value of a promise, what the callback is given, or what was answered at once. */
function asked(name: string, callsBack: boolean, ask: (...callback: [] | [Callback]) => unknown): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const fail = (error: unknown): void => reject(jarFailure(name, error));
    let returned: unknown;
    try {
      const callback: Callback = (error, value) =>
        error === null || error === undefined ? resolve(value) : fail(error);
      returned = callsBack ? ask(callback) : ask();
    } catch (error) {
      fail(error);
      return;
    }
    if (typeof (returned as PromiseLike<unknown> | null | undefined)?.then === 'function') {
      (returned as PromiseLike<unknown>).then(resolve, fail);
    } else if (returned !== undefined || !callsBack) {
      resolve(returned);
    }
  });
}

function jarFailure(name: string, cause: unknown): TransferError {
  return new TransferError('ABORTED_BY_CALLBACK', `The jar given as cookies failed in ${name}; see the cause.`, {
    limit: 'cookies',
    cause,
  });
}
