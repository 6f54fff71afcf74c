/**
 * Fields of a head or of a trailer section in undici's forms: raw, a flat array of names and values as Buffers, as they were sent; and
 * parsed, a record of values by names in lower case. They passed the parser: nothing is checked here.
 */

import { trimBlanks } from '../../protocol/http1/tokens.ts';

/** name, value, name, value …: latin-1 text, as sent. */
export type RawFields = readonly string[];
export type ParsedFields = Record<string, string | string[]>;

/** Of a head, status line and empty line included. */
export function headFields(head: string): RawFields {
  const statusLineEnd = head.indexOf('\r\n');
  return statusLineEnd === -1 ? [] : trailerFields(head, statusLineEnd + 2);
}

/** Of field lines only. */
export function trailerFields(text: string, start = 0): RawFields {
  const fields: string[] = [];
  let at = start;
  while (at < text.length) {
    const lineEnd = text.indexOf('\r\n', at);
    const stop = lineEnd === -1 ? text.length : lineEnd;
    if (stop === at) break;
    const colon = text.indexOf(':', at);
    fields.push(text.slice(at, colon), trimBlanks(text.slice(colon + 1, stop)));
    at = stop + 2;
  }
  return fields;
}

export function asBuffers(fields: RawFields): Buffer[] {
  return fields.map((text) => Buffer.from(text, 'latin1'));
}

/** A name that comes twice has an array. */
export function asRecord(fields: RawFields): ParsedFields {
  const record: ParsedFields = {};
  for (let index = 0; index < fields.length; index += 2) {
    const name = (fields[index] as string).toLowerCase();
    const value = fields[index + 1] as string;
    if (!Object.hasOwn(record, name)) {
      setField(record, name, value);
      continue;
    }
    const before = record[name] as string | string[];
    if (Array.isArray(before)) before.push(value);
    else record[name] = [before, value];
  }
  return record;
}

/** All fields of another record, into one that the caller has already. Interceptors may tell of none by nothing. */
export function copyFields(into: Record<string, unknown>, from: ParsedFields | null | undefined): void {
  for (const [name, value] of Object.entries(from ?? {})) setField(into, name, value);
}

/** Not by assignment: a server may call a field __proto__. */
function setField(record: Record<string, unknown>, name: string, value: unknown): void {
  Object.defineProperty(record, name, { value, enumerable: true, configurable: true, writable: true });
}
