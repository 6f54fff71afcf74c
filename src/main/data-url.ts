/**
 * `data:` URLs (Fetch §6, RFC 2397): what they hold, and of which type.
 *
 *     dataurl = "data:" [ mediatype ] [ ";base64" ] "," data
 */

import { invalidArgument } from '../protocol/errors.ts';
import { mimeType } from './mime-type.ts';

export interface LocalContent {
  /** '' : none. */
  readonly contentType: string;
  readonly body: Uint8Array<ArrayBuffer>;
}

const TYPE_DEFAULT = 'text/plain;charset=US-ASCII';
const BASE64_MARK = /; *base64$/i;

/** `href`: as the URL standard writes it. Throws TransferError INVALID_ARGUMENT. */
export function readDataUrl(href: string): LocalContent {
  const hash = href.indexOf('#');
  const text = href.slice('data:'.length, hash < 0 ? href.length : hash);
  const comma = text.indexOf(',');
  if (comma < 0) throw badDataUrl('has no comma, behind which its content would be');
  // The URL parser leaves no other white space than blanks.
  const given = text.slice(0, comma).trim();
  const isBase64 = BASE64_MARK.test(given);
  const decoded = percentDecode(text.slice(comma + 1));
  const type = isBase64 ? given.replace(BASE64_MARK, '') : given;
  return {
    contentType: mimeType(type.startsWith(';') ? `text/plain${type}` : type) ?? TYPE_DEFAULT,
    body: isBase64 ? forgivingBase64(decoded) : new Uint8Array(Buffer.from(decoded, 'latin1')),
  };
}

/** The bytes as latin-1. The URL parser has escaped everything beyond ASCII. */
function percentDecode(text: string): string {
  return text.replace(/%([0-9A-Fa-f]{2})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 16)));
}

/** Infra §7 "forgiving-base64 decode". */
function forgivingBase64(text: string): Uint8Array<ArrayBuffer> {
  let data = text.replace(/[\t\n\f\r ]/g, '');
  if (data.length % 4 === 0) data = data.replace(/={1,2}$/, '');
  if (data.length % 4 === 1 || !/^[A-Za-z0-9+/]*$/.test(data)) throw badDataUrl('is not base64, though it says so');
  return new Uint8Array(Buffer.from(data, 'base64'));
}

function badDataUrl(what: string): Error {
  return invalidArgument('input', `The data: URL ${what}.`);
}
