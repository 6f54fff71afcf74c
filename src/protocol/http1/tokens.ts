/**
 * The character classes of HTTP/1.1, as one table for bytes and as predicates for strings; both directions share them.
 *
 * It decides what a byte may be, never where it may stand: that is the parser's and the request writer's matter.
 *
 *     token       = 1*tchar                                                   RFC 9110 section 5.6.2
 *     tchar       = "!" / "#" / "$" / "%" / "&" / "'" / "*" / "+" / "-" / "." / "^" / "_" / "`" / "|" / "~" / DIGIT / ALPHA
 *     field-value = *field-content, of HTAB, SP, VCHAR and obs-text           RFC 9110 section 5.5
 *     VCHAR       = %x21-7E          obs-text = %x80-FF          OWS = *( SP / HTAB )
 */

export const HTAB = 0x09;
export const LF = 0x0a;
export const CR = 0x0d;
export const SP = 0x20;
export const DOUBLE_QUOTE = 0x22;
export const COMMA = 0x2c;
export const COLON = 0x3a;
export const SEMICOLON = 0x3b;
export const EQUALS = 0x3d;
export const BACKSLASH = 0x5c;
export const DEL = 0x7f;

/** Bits of BYTE_CLASS. */
export const TOKEN = 1;
/** May stand in a field value or a reason phrase: HTAB, SP, VCHAR, obs-text. */
export const FIELD = 2;
export const VISIBLE = 4;
export const DIGIT = 8;
/** SP and HTAB: what OWS is made of. */
export const BLANK = 16;

/** Byte -> its classes, as a sum of the bits above. */
export const BYTE_CLASS = new Uint8Array(256);

/** Byte -> its value as a hexadecimal digit, or NOT_HEX. */
export const HEX_VALUE = new Uint8Array(256);
export const NOT_HEX = 255;

for (let byte = 0; byte < 256; byte++) {
  const character = String.fromCharCode(byte);
  let bits = 0;
  if (/[!#$%&'*+\-.^_`|~0-9A-Za-z]/.test(character)) bits |= TOKEN;
  if (byte === HTAB || (byte >= SP && byte !== DEL)) bits |= FIELD;
  if (byte > SP && byte < 0x7f) bits |= VISIBLE;
  if (/[0-9]/.test(character)) bits |= DIGIT;
  if (byte === SP || byte === HTAB) bits |= BLANK;
  BYTE_CLASS[byte] = bits;
  HEX_VALUE[byte] = /[0-9A-Fa-f]/.test(character) ? Number.parseInt(character, 16) : NOT_HEX;
}

function consistsOf(text: string, bit: number): boolean {
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code > 0xff || (BYTE_CLASS[code] & bit) === 0) return false;
  }
  return true;
}

/** A method or a field name: one token character or more. */
export function isToken(text: string): boolean {
  return text.length > 0 && consistsOf(text, TOKEN);
}

/** May be sent as a field value: no CR, LF, NUL or other control than HTAB, and nothing above U+00FF. */
export function isFieldValue(text: string): boolean {
  return consistsOf(text, FIELD);
}

/** Printable ASCII without blanks, one character or more: what a request target is made of. */
export function isVisible(text: string): boolean {
  return text.length > 0 && consistsOf(text, VISIBLE);
}

/**
 * The text without the SP and HTAB around it. `String.prototype.trim` would do more: it takes U+00A0, which is obs-text and
 * belongs to the value, and CR and LF, which are to be refused and not to be mended.
 */
export function trimBlanks(text: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && isBlank(text.charCodeAt(start))) start++;
  while (end > start && isBlank(text.charCodeAt(end - 1))) end--;
  return start === 0 && end === text.length ? text : text.slice(start, end);
}

export function isBlank(code: number): boolean {
  return code === SP || code === HTAB;
}
