/** Where an answer leads, and the request that goes there: made of the one that was answered, whatever that was made of. */

import type { HeaderPair } from '../../protocol/http1/header-pairs.ts';
import { composeRequestHead } from '../../protocol/http1/request-head.ts';
import { originOf, targetOf } from '../../protocol/origin.ts';

const REDIRECTS: readonly number[] = [301, 302, 303, 307, 308];
/** What belongs to the body, which a redirect may drop. */
const CONTENT_FIELDS: readonly string[] = [
  'content-length',
  'content-type',
  'content-encoding',
  'content-language',
  'content-location',
];
/** Who asks is told to nobody but the origin that was asked (Fetch §4.4). Cookies are the jar's to add. */
const OWN_FIELDS: readonly string[] = ['authorization'];

/** Whether it is a redirect, and where to; null: it is none, or leads nowhere that can be asked. */
export function redirectOf(status: number, location: string | undefined, from: URL): URL | null {
  if (location === undefined || !REDIRECTS.includes(status)) return null;
  // Servers send UTF-8 there, which arrived as latin-1.
  const text = Buffer.from(location, 'latin1').toString('utf8');
  if (!URL.canParse(text, from.href)) return null;
  const url = new URL(text, from);
  if ((url.protocol !== 'http:' && url.protocol !== 'https:') || url.username !== '' || url.password !== '')
    return null;
  return url;
}

/** Whether the next request is a GET without a body (Fetch §4.4, steps 11 and 12). */
export function becomesGet(status: number, method: string): boolean {
  if (status === 303) return method !== 'GET' && method !== 'HEAD';
  return (status === 301 || status === 302) && method === 'POST';
}

/** The fields that go along. */
export function redirectFields(fields: readonly HeaderPair[], from: URL, to: URL, dropsBody: boolean): HeaderPair[] {
  return fields.filter(([name]) => {
    const lower = name.toLowerCase();
    if (lower === 'host' || lower === 'cookie' || lower === 'content-length') return false;
    if (dropsBody && CONTENT_FIELDS.includes(lower)) return false;
    return from.origin === to.origin || !OWN_FIELDS.includes(lower);
  });
}

/** `head`: the one that was sent, in latin-1. `bodyBytes`: as `composeRequestHead` takes it. Throws TransferError INVALID_ARGUMENT. */
export function redirectHead(
  head: string,
  from: URL,
  to: URL,
  method: string,
  dropsBody: boolean,
  bodyBytes: number,
): string {
  const end = head.indexOf('\r\n\r\n');
  const lines = head.slice(0, end).split('\r\n').slice(1);
  const fields = lines.map((line): HeaderPair => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1)]);
  const headers = redirectFields(fields, from, to, dropsBody);
  return composeRequestHead({ method, target: targetOf(to), host: originOf(to).hostField, headers, bodyBytes });
}
