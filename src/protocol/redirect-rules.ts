/**
 * What a redirect does to a request (Fetch §4.4 "HTTP-redirect fetch", RFC 9110 §15.4): the rules alone, for calls (`main/redirect.ts`)
 * and for the load generator (`worker/load/redirects.ts`), which differ in what they do where one does not hold.
 */

/** Fetch §2.2.3. 300, 304 and others with a Location are responses like any. */
export const REDIRECT_STATUSES: readonly number[] = [301, 302, 303, 307, 308];

/** What is said to one origin is not for another (RFC 9110 §15.4, HOSTILE 91). */
export const SENSITIVE_HEADERS: readonly string[] = [
  'authorization',
  'cookie',
  'cookie2',
  'proxy-authorization',
  'host',
];

/** One of REDIRECT_STATUSES. */
export function isRedirect(status: number): boolean {
  return status === 301 || status === 302 || status === 303 || status === 307 || status === 308;
}

/** Whether the next request is a GET without a body (Fetch §4.4 step 12; RFC 9110 §15.4.2 to 15.4.4). */
export function changesToGet(status: number, method: string): boolean {
  if (status === 303) return method !== 'GET' && method !== 'HEAD';
  return (status === 301 || status === 302) && method === 'POST';
}

/** Content-Type and the like, and a length that was given with the body: they go where the body goes. */
export function describesBody(name: string): boolean {
  return /^content-/i.test(name);
}

/** Origins differ in scheme, host or port (HOSTILE 91, 94); hosts are equal or they are not. */
export function isOtherOrigin(from: URL, to: URL): boolean {
  return from.protocol !== to.protocol || from.host !== to.host;
}

/** From where nobody can read and change to where anybody can. */
export function isDowngrade(from: URL, to: URL): boolean {
  return from.protocol === 'https:' && to.protocol === 'http:';
}

/** Whether a field does not go along. `sensitive`: names in lower case that go to no other origin. */
export function staysBehind(name: string, from: URL, to: URL, sensitive: ReadonlySet<string>): boolean {
  const lowerName = name.toLowerCase();
  // RFC 9110 §10.1.3: no Referer of a secure page goes where it can be read.
  if (lowerName === 'referer' && isDowngrade(from, to)) return true;
  return isOtherOrigin(from, to) && sensitive.has(lowerName);
}

/** Location, read as latin-1, with its bytes above ASCII as a URL has them: servers send UTF-8, or anything, and the same bytes must come back. */
export function escapeLocation(location: string): string {
  return location.replace(/[\x80-\xff]/g, (byte) => `%${byte.charCodeAt(0).toString(16).toUpperCase()}`);
}
