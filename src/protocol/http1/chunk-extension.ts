/**
 * The grammar of chunk extensions, as a transition function over single bytes: it says whether an extension is well formed.
 *
 * Extensions mean nothing to us and are skipped (RFC 9112 section 7.1.1), but they are read strictly: a client that skips to
 * the next LF whatever comes is the one half of a smuggling attack. Counting them against their limit is the parser's matter.
 *
 *     chunk-ext      = *( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )        RFC 9112 section 7.1.1
 *     chunk-ext-name = token          chunk-ext-val = token / quoted-string
 *     quoted-string  = DQUOTE *( qdtext / quoted-pair ) DQUOTE                              RFC 9110 section 5.6.4
 *
 * As written, the grammar has no blanks between the last extension (or the size) and CRLF: they are refused.
 */

import { BACKSLASH, BLANK, BYTE_CLASS, CR, DOUBLE_QUOTE, EQUALS, FIELD, HTAB, SEMICOLON, SP, TOKEN } from './tokens.ts';

/** Where in an extension we are. Numbers, because the chunk decoder counts on from here with its own states. */
export const EXTENSION_BLANK = 0; // Blanks after the size or a value: only ";" may follow.
export const EXTENSION_NAME_START = 1;
export const EXTENSION_NAME = 2;
export const EXTENSION_NAME_BLANK = 3;
export const EXTENSION_VALUE_START = 4;
export const EXTENSION_VALUE = 5;
export const EXTENSION_QUOTED = 6;
export const EXTENSION_ESCAPED = 7;
export const EXTENSION_QUOTED_END = 8;
/** CR was read where it may stand: LF and the chunk's data follow. */
export const EXTENSION_END = 9;
/** The byte is not allowed here. */
export const EXTENSION_REFUSED = 10;

/** What follows the chunk size when it is no hexadecimal digit. */
export function extensionStart(byte: number): number {
  if (byte === CR) return EXTENSION_END;
  if (byte === SEMICOLON) return EXTENSION_NAME_START;
  return byte === SP || byte === HTAB ? EXTENSION_BLANK : EXTENSION_REFUSED;
}

export function nextExtensionState(state: number, byte: number): number {
  const bits = BYTE_CLASS[byte];
  switch (state) {
    case EXTENSION_BLANK:
      if ((bits & BLANK) !== 0) return EXTENSION_BLANK;
      return byte === SEMICOLON ? EXTENSION_NAME_START : EXTENSION_REFUSED;
    case EXTENSION_NAME_START:
      if ((bits & BLANK) !== 0) return EXTENSION_NAME_START;
      return (bits & TOKEN) !== 0 ? EXTENSION_NAME : EXTENSION_REFUSED;
    case EXTENSION_NAME:
      if ((bits & TOKEN) !== 0) return EXTENSION_NAME;
      if (byte === EQUALS) return EXTENSION_VALUE_START;
      if ((bits & BLANK) !== 0) return EXTENSION_NAME_BLANK;
      return extensionStart(byte);
    case EXTENSION_NAME_BLANK:
      if ((bits & BLANK) !== 0) return EXTENSION_NAME_BLANK;
      if (byte === EQUALS) return EXTENSION_VALUE_START;
      return byte === SEMICOLON ? EXTENSION_NAME_START : EXTENSION_REFUSED;
    case EXTENSION_VALUE_START:
      if ((bits & BLANK) !== 0) return EXTENSION_VALUE_START;
      if (byte === DOUBLE_QUOTE) return EXTENSION_QUOTED;
      return (bits & TOKEN) !== 0 ? EXTENSION_VALUE : EXTENSION_REFUSED;
    case EXTENSION_VALUE:
      return (bits & TOKEN) !== 0 ? EXTENSION_VALUE : extensionStart(byte);
    case EXTENSION_QUOTED:
      if (byte === DOUBLE_QUOTE) return EXTENSION_QUOTED_END;
      if (byte === BACKSLASH) return EXTENSION_ESCAPED;
      return (bits & FIELD) !== 0 ? EXTENSION_QUOTED : EXTENSION_REFUSED;
    case EXTENSION_ESCAPED:
      return (bits & FIELD) !== 0 ? EXTENSION_QUOTED : EXTENSION_REFUSED;
    case EXTENSION_QUOTED_END:
      return extensionStart(byte);
    default:
      return EXTENSION_REFUSED;
  }
}
