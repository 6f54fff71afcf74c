/** Media types, read and written as the MIME Sniffing standard does (§4); Node's own parser does the reading. */

import { MIMEType } from 'node:util';

/** Characters. Longer ones are none: Node's parser takes time by the square of the blanks in it. */
const TYPE_LENGTH_MAX = 1_024;

/** As it is written in full; null: it is none. */
export function mimeType(text: string): string | null {
  return parse(text)?.toString() ?? null;
}

/**
 * Of the values of all Content-Type fields of a response (Fetch §3.2 "extract a MIME type"): the last that is one, which gets the charset of those
 * before it when it is of the same type and has none. null: there is none.
 */
export function extractMimeType(contentType: string | null): string | null {
  let charset: string | null = null;
  let essence = '';
  let extracted: MIMEType | null = null;
  for (const value of membersOf(contentType ?? '')) {
    const type = parse(value);
    if (type === null || type.essence === '*/*') continue;
    if (type.essence !== essence) {
      charset = type.params.get('charset');
      essence = type.essence;
    } else if (charset !== null && !type.params.has('charset')) {
      type.params.set('charset', charset);
    }
    extracted = type;
  }
  return extracted?.toString() ?? null;
}

function parse(text: string): MIMEType | null {
  if (text.length > TYPE_LENGTH_MAX) return null;
  try {
    return new MIMEType(text);
  } catch {
    return null;
  }
}

/** Split at commas that do not stand in a quoted string. */
function membersOf(list: string): string[] {
  return list.match(/(?:[^",]|"(?:[^"\\]|\\.)*"?)+/g) ?? [];
}
