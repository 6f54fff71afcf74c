/**
 * How bytes of a peer, or text of a caller, are shown in an error message: quoted, escaped, short.
 *
 * What a peer sends ends up in logs and terminals through these messages, so that nothing but printable ASCII is shown as it is.
 */

/** Bytes or characters. Enough to recognise a line of a head; short enough for one line of a log. */
const EXCERPT_MAX = 40;

/** How much of an excerpt stands before the byte at fault, when the line is longer than an excerpt. */
const BEFORE_FAULT_MAX = 24;

function escapeCode(code: number): string {
  if (code === 0x0d) return '\\r';
  if (code === 0x0a) return '\\n';
  if (code === 0x09) return '\\t';
  if (code === 0x22 || code === 0x5c) return `\\${String.fromCharCode(code)}`;
  if (code >= 0x20 && code < 0x7f) return String.fromCharCode(code);
  if (code <= 0xff) return `\\x${code.toString(16).padStart(2, '0')}`;
  return `\\u${code.toString(16).padStart(4, '0')}`;
}

/** Quotes bytes[start, end), cut after EXCERPT_MAX. */
export function excerptBytes(bytes: Uint8Array, start: number, end: number): string {
  const stop = Math.min(end, start + EXCERPT_MAX);
  let text = '"';
  for (let at = start; at < stop; at++) text += escapeCode(bytes[at]);
  return `${text}${stop < end ? '…' : ''}"`;
}

/** Quotes what stands around the byte at `fault`, of a line that began at `start`. */
export function excerptAround(bytes: Uint8Array, start: number, fault: number, end: number): string {
  const from = Math.max(start, fault - BEFORE_FAULT_MAX);
  return `${from > start ? '…' : ''}${excerptBytes(bytes, from, end)}`;
}

/** Quotes a caller's text, cut after EXCERPT_MAX. */
export function excerptText(text: string): string {
  let quoted = '"';
  for (let index = 0; index < Math.min(text.length, EXCERPT_MAX); index++) quoted += escapeCode(text.charCodeAt(index));
  return `${quoted}${text.length > EXCERPT_MAX ? '…' : ''}"`;
}
