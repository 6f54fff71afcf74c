/**
 * Makes fields of a head or a trailer section that the response parser let through.
 *
 * It is for the side that shows the response to somebody, and is called when somebody looks. It checks nothing: the text has
 * passed the parser, which has also replaced every obs-fold by one SP.
 *
 *     field-line = field-name ":" OWS field-value OWS                                 RFC 9112 section 5
 */

import { trimBlanks } from './tokens.ts';

export type Field = [name: string, value: string];

/**
 * The fields of a head: the latin-1 text that `onHead` or `onInterim` delivered, status line and empty line included. Names in
 * lower case, values without the OWS around them, in the order of the lines; a name that comes twice is there twice.
 */
export function parseHeaderSection(text: string): Field[] {
  const statusLineEnd = text.indexOf('\r\n');
  return statusLineEnd === -1 ? [] : parseFields(text, statusLineEnd + 2);
}

/** The fields of a trailer section: the text that `onEnd` delivered, of field lines only. */
export function parseTrailerSection(text: string): Field[] {
  return parseFields(text, 0);
}

/** The reason phrase of a head, `''` when there is none. */
export function reasonPhrase(text: string): string {
  const statusLineEnd = text.indexOf('\r\n');
  return text.slice('HTTP/1.1 200 '.length, statusLineEnd === -1 ? text.length : statusLineEnd);
}

function parseFields(text: string, start: number): Field[] {
  const fields: Field[] = [];
  let at = start;
  while (at < text.length) {
    const lineEnd = text.indexOf('\r\n', at);
    const stop = lineEnd === -1 ? text.length : lineEnd;
    if (stop === at) break;
    const colon = text.indexOf(':', at);
    fields.push([text.slice(at, colon).toLowerCase(), trimBlanks(text.slice(colon + 1, stop))]);
    at = stop + 2;
  }
  return fields;
}
