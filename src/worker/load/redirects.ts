/** Where an answer leads, and the request that goes there: made of the one that was answered, whatever that was made of. */

import type { HeaderPair } from '../../protocol/http1/header-pairs.ts';
import { composeRequestHead } from '../../protocol/http1/request-head.ts';
import { originOf, targetOf } from '../../protocol/origin.ts';
import {
  describesBody,
  escapeLocation,
  isDowngrade,
  isRedirect,
  SENSITIVE_HEADERS,
  staysBehind,
} from '../../protocol/redirect-rules.ts';

/** Cookies are the jar's to add. */
const SENSITIVE: ReadonlySet<string> = new Set(SENSITIVE_HEADERS);

/** Whether it is a redirect that is followed, and where to; null: its answer is an answer like any. */
export function redirectOf(status: number, location: string | undefined, from: URL): URL | null {
  if (location === undefined || !isRedirect(status)) return null;
  const text = escapeLocation(location);
  if (!URL.canParse(text, from.href)) return null;
  const url = new URL(text, from);
  if ((url.protocol !== 'http:' && url.protocol !== 'https:') || isDowngrade(from, url)) return null;
  return url.username === '' && url.password === '' ? url : null;
}

/** The fields that go along. */
export function redirectFields(fields: readonly HeaderPair[], from: URL, to: URL, dropsBody: boolean): HeaderPair[] {
  return fields.filter(([name]) => {
    const lower = name.toLowerCase();
    // These are made anew.
    if (lower === 'host' || lower === 'cookie' || lower === 'content-length') return false;
    return !(dropsBody && describesBody(name)) && !staysBehind(name, from, to, SENSITIVE);
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
