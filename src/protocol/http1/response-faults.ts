/**
 * The sentences that say how a peer broke HTTP, with what was seen. They are for people: only the code of an error is API.
 *
 * Nothing is decided here; the parser has found the fault, at a byte of a line, before it asks for words.
 */

import { excerptAround } from './excerpt.ts';
import { COLON, CR, isBlank, LF } from './tokens.ts';

/** What a limit counts, to be followed by "than limits.… allows". */
const COUNTED = {
  headBytes: 'The head of the response has more bytes',
  headerCount: 'The head of the response has more fields',
  trailerBytes: 'The trailers of the response have more bytes',
  chunkExtensionBytes: 'The chunk extensions of the body have more bytes',
  bodyBytes: 'The body of the response has more bytes',
} as const;

export type ParserLimit = keyof typeof COUNTED;

/** Which part of a line the byte at fault stands in. */
export type LinePart = 'the reason phrase' | 'a field name' | 'a field value' | 'the end of a line' | 'the first field';

export function limitFault(limit: ParserLimit, allowed: number): string {
  return `${COUNTED[limit]} than limits.${limit} allows (${allowed}); raise it to take this response.`;
}

/** A response that is none of HTTP/1.x. The common reason is a port that speaks TLS (an alert, or a handshake record). */
export function versionFault(bytes: Uint8Array, lineStart: number, fault: number, end: number): string {
  const first = bytes[lineStart];
  const hint = first === 0x15 || first === 0x16 ? ' It looks like TLS: should the URL begin with https?' : '';
  const seen = excerptAround(bytes, lineStart, fault, end);
  return `The response does not begin with an HTTP/1.x status line, but with ${seen}.${hint}`;
}

export function statusFault(bytes: Uint8Array, lineStart: number, fault: number, end: number): string {
  const seen = excerptAround(bytes, lineStart, fault, end);
  return `its status is not a number of three digits from 100 to 999: ${seen}`;
}

export function lineFault(part: LinePart, bytes: Uint8Array, lineStart: number, fault: number, end: number): string {
  return `${lineReason(part, bytes[fault], fault === lineStart)}: ${excerptAround(bytes, lineStart, fault, end)}`;
}

function lineReason(part: LinePart, byte: number, first: boolean): string {
  if (part === 'the end of a line') return 'a CR is not followed by LF';
  if (part === 'the first field') return 'a blank stands before its first field';
  if (byte === LF) return 'a line ends with LF alone';
  if (part === 'a field name') {
    if (byte === COLON && first) return 'a field has no name';
    if (byte === CR) return 'a field line has no colon';
    if (isBlank(byte)) return 'a blank stands in a field name or before its colon';
  }
  return `a byte in ${part} is not allowed there`;
}
