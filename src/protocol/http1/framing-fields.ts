/**
 * The four fields of a response that decide where its body ends and whether its connection lives on, read from bytes; and the one
 * that says how its body is coded, which is only found here.
 *
 * Names are recognised and values are read here, without making strings. What the values mean together (a length *and* a
 * transfer coding, a response without a body, …) is decided in `response-parser.ts`.
 *
 *     Content-Length    = 1*DIGIT                           RFC 9110 section 8.6; as a list, RFC 9112 section 6.3
 *     Transfer-Encoding = #transfer-coding                  RFC 9112 section 6.1; the only one we take is one "chunked"
 *     Connection        = #connection-option                RFC 9110 section 7.6.1
 *     Keep-Alive        = #( token "=" ( token / quoted-string ) )     RFC 2068 section 19.7.1.1; of it, timeout
 */

import { BLANK, BYTE_CLASS, COMMA, DIGIT } from './tokens.ts';

export const NOT_FRAMING = 0;
export const CONTENT_LENGTH = 1;
export const TRANSFER_ENCODING = 2;
export const CONNECTION = 3;
export const KEEP_ALIVE = 4;
export const CONTENT_ENCODING = 5;

/** Answers of readContentLength below zero. */
export const LENGTH_MALFORMED = -1;
export const LENGTHS_DIFFER = -2;

/** Bits of readConnection's answer. */
export const OPTION_CLOSE = 1;
export const OPTION_KEEP_ALIVE = 2;

/** A keep-alive time beyond this is as good as this one: 30 days, in seconds. It bounds what enters our clocks. */
const KEEP_ALIVE_S_MAX = 2_592_000;

const NAME_CONTENT_LENGTH = ascii('content-length');
const NAME_TRANSFER_ENCODING = ascii('transfer-encoding');
const NAME_CONNECTION = ascii('connection');
const NAME_CONTENT_ENCODING = ascii('content-encoding');
const WORD_KEEP_ALIVE = ascii('keep-alive');
const WORD_CLOSE = ascii('close');
const WORD_CHUNKED = ascii('chunked');
const WORD_TIMEOUT_IS = ascii('timeout=');

function ascii(word: string): Uint8Array {
  return Uint8Array.from(word, (character) => character.charCodeAt(0));
}

/**
 * Whether bytes[start, …) begins with the lower-case word, in any case. Setting bit 5 folds letters; it would also take a control
 * byte for "-" or "=", which is why this is for bytes that passed as token or field bytes only.
 */
function begins(bytes: Uint8Array, start: number, word: Uint8Array): boolean {
  for (let index = 0; index < word.length; index++) {
    if ((bytes[start + index] | 0x20) !== word[index]) return false;
  }
  return true;
}

/** Which of the five fields the name bytes[start, end) is, or NOT_FRAMING. */
export function framingField(bytes: Uint8Array, start: number, end: number): number {
  switch (end - start) {
    case 10:
      if (begins(bytes, start, NAME_CONNECTION)) return CONNECTION;
      return begins(bytes, start, WORD_KEEP_ALIVE) ? KEEP_ALIVE : NOT_FRAMING;
    case 14:
      return begins(bytes, start, NAME_CONTENT_LENGTH) ? CONTENT_LENGTH : NOT_FRAMING;
    case 16:
      return begins(bytes, start, NAME_CONTENT_ENCODING) ? CONTENT_ENCODING : NOT_FRAMING;
    case 17:
      return begins(bytes, start, NAME_TRANSFER_ENCODING) ? TRANSFER_ENCODING : NOT_FRAMING;
    default:
      return NOT_FRAMING;
  }
}

function skipBlanks(bytes: Uint8Array, start: number, end: number): number {
  let at = start;
  while (at < end && (BYTE_CLASS[bytes[at]] & BLANK) !== 0) at++;
  return at;
}

function trimEnd(bytes: Uint8Array, start: number, end: number): number {
  let stop = end;
  while (stop > start && (BYTE_CLASS[bytes[stop - 1]] & BLANK) !== 0) stop--;
  return stop;
}

/**
 * The length that a Content-Length value announces: one number, or the same number again and again. Infinity when it is
 * valid but above 2^53 - 1: it is never rounded.
 */
export function readContentLength(bytes: Uint8Array, start: number, end: number): number {
  const stop = trimEnd(bytes, start, end);
  let at = start;
  let announced = LENGTH_MALFORMED;
  for (;;) {
    at = skipBlanks(bytes, at, stop);
    const first = at;
    let length = 0;
    while (at < stop && (BYTE_CLASS[bytes[at]] & DIGIT) !== 0) {
      length = length * 10 + (bytes[at] - 0x30);
      if (length > Number.MAX_SAFE_INTEGER) length = Number.POSITIVE_INFINITY;
      at++;
    }
    if (at === first) return LENGTH_MALFORMED;
    at = skipBlanks(bytes, at, stop);
    if (at < stop && bytes[at] !== COMMA) return LENGTH_MALFORMED;
    if (announced >= 0 && announced !== length) return LENGTHS_DIFFER;
    announced = length;
    if (at === stop) return announced;
    at++;
  }
}

/** Whether a Transfer-Encoding value is exactly one `chunked`, in any case. */
export function isChunked(bytes: Uint8Array, start: number, end: number): boolean {
  const from = skipBlanks(bytes, start, end);
  return trimEnd(bytes, from, end) - from === WORD_CHUNKED.length && begins(bytes, from, WORD_CHUNKED);
}

/** Which of `close` and `keep-alive` a Connection value names, as a sum of OPTION_ bits. */
export function readConnection(bytes: Uint8Array, start: number, end: number): number {
  let options = 0;
  let at = start;
  while (at < end) {
    const comma = elementEnd(bytes, at, end);
    const from = skipBlanks(bytes, at, comma);
    const length = trimEnd(bytes, from, comma) - from;
    if (length === WORD_CLOSE.length && begins(bytes, from, WORD_CLOSE)) options |= OPTION_CLOSE;
    else if (length === WORD_KEEP_ALIVE.length && begins(bytes, from, WORD_KEEP_ALIVE)) options |= OPTION_KEEP_ALIVE;
    at = comma + 1;
  }
  return options;
}

/** The `timeout` of a Keep-Alive value in seconds, or -1: the field is a hint, and what cannot be read is no hint. */
export function readKeepAliveTimeout(bytes: Uint8Array, start: number, end: number): number {
  let at = start;
  while (at < end) {
    const comma = elementEnd(bytes, at, end);
    const from = skipBlanks(bytes, at, comma);
    const stop = trimEnd(bytes, from, comma);
    if (stop - from > WORD_TIMEOUT_IS.length && begins(bytes, from, WORD_TIMEOUT_IS)) {
      const seconds = readContentLength(bytes, from + WORD_TIMEOUT_IS.length, stop);
      return seconds < 0 ? -1 : Math.min(seconds, KEEP_ALIVE_S_MAX);
    }
    at = comma + 1;
  }
  return -1;
}

function elementEnd(bytes: Uint8Array, start: number, end: number): number {
  let at = start;
  while (at < end && bytes[at] !== COMMA) at++;
  return at;
}
