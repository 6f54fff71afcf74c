/**
 * Whether a value is a built-in, of whatever realm. The realms of one thread have each their own classes, so `instanceof` says no to
 * what another made. Two meet where this package is loaded in a `node:vm` context, as jest and vitest's vmThreads do: there Buffer,
 * the errors of Node and what the addon makes are the outer realm's. Classes of this package are told by `instanceof`.
 */

import { types } from 'node:util';

export const { isArrayBuffer, isInt32Array, isPromise, isUint8Array, isUint32Array } = types;

/** A DOMException has `message` and `name` as others have, but no mark of theirs before Node 24. */
export function isError(value: unknown): value is Error {
  return value instanceof Error || types.isNativeError(value) || tagOf(value) === 'DOMException';
}

/** Of other packages too (whatwg-url's, which is jsdom's). */
export function isUrl(value: unknown): value is URL {
  return value instanceof URL || (tagOf(value) === 'URL' && typeof (value as URL).href === 'string');
}

function tagOf(value: unknown): unknown {
  return (
    typeof value === 'object' && value !== null && (value as { [Symbol.toStringTag]?: unknown })[Symbol.toStringTag]
  );
}
