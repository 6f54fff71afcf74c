/** Header fields as callers give them (a record, pairs, a Headers object of any class), checked and in the order to send. */

import { invalidArgument } from '../errors.ts';
import { describeKind } from '../options.ts';
import { checkHeader, normalizeHeaderValue } from './request-head.ts';

export type HeaderPair = readonly [name: string, value: string];
export type HeadersGiven = Iterable<readonly string[]> | Record<string, string | readonly string[] | null | undefined>;

/** Fields that are sent unasked: to leave them out is to say that they are empty. */
const SENT_UNASKED: readonly string[] = ['accept', 'user-agent'];

/** `connects`: they are said to a proxy (CONNECT). Throws TransferError INVALID_ARGUMENT that names the field. */
export function headerPairs(headers: unknown, connects = false): HeaderPair[] {
  if (headers === undefined || headers === null) return [];
  if (typeof headers !== 'object') {
    throw invalidArgument(
      'headers',
      `headers must be a record, pairs or a Headers object, not ${describeKind(headers)}.`,
    );
  }
  const entries = Symbol.iterator in headers ? (headers as Iterable<unknown>) : membersOf(headers);
  const pairs: HeaderPair[] = [];
  for (const entry of entries) {
    if (!Array.isArray(entry) || entry.length !== 2) {
      throw invalidArgument('headers', `Each header must be a pair of name and value, not ${describeKind(entry)}.`);
    }
    const name = text(entry[0], 'name');
    const values: unknown[] = Array.isArray(entry[1]) ? entry[1] : [entry[1]];
    for (const given of values) {
      const value = normalizeHeaderValue(text(given, 'value'));
      checkHeader(name, value, connects);
      pairs.push([name, value]);
    }
  }
  return pairs;
}

/** Of a record. A member that is undefined is not there and one that is null is left out: nobody means the texts that WebIDL makes of them. */
function membersOf(record: object): unknown[] {
  const entries: unknown[] = [];
  for (const [name, value] of Object.entries(record)) {
    if (value === undefined) continue;
    if (value !== null) entries.push([name, value]);
    else if (SENT_UNASKED.includes(name.toLowerCase())) entries.push([name, '']);
  }
  return entries;
}

/** As WebIDL makes strings: of anything but a symbol. */
function text(value: unknown, what: string): string {
  if (typeof value === 'symbol')
    throw invalidArgument('headers', `The ${what} of a header must be text, not a symbol.`);
  return String(value);
}
