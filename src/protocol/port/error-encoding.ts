/**
 * Errors across threads, with code and causes intact: structured cloning keeps neither. An ERROR frame and an answer of the
 * control plane carry the text that `encodeError` makes.
 */

import { isError } from '../built-ins.ts';
import { TRANSFER_CODES, type TransferCode, TransferError, type TransferPhase } from '../errors.ts';
import { thrownText } from '../thrown-text.ts';

/** Causes deeper than this are cut: a chain may be circular. */
const CAUSE_DEPTH_MAX = 8;

interface EncodedError {
  name: string;
  message: string;
  stack?: string;
  /** TransferError's, or any error's `code` (a system error's, say). */
  code?: string;
  phase?: TransferPhase;
  limit?: string;
  errno?: string;
  status?: number;
  cause?: EncodedError;
  /** AggregateError's. */
  errors?: EncodedError[];
}

export function encodeError(error: unknown): string {
  return JSON.stringify(describeError(error, 0));
}

export function decodeError(text: string): Error {
  return revive(JSON.parse(text) as EncodedError);
}

/** As `decodeError`, but always a TransferError: whatever else came is the cause of an INTERNAL one. */
export function decodeTransferError(text: string): TransferError {
  let error: unknown;
  try {
    error = decodeError(text);
  } catch (damage) {
    error = damage;
  }
  if (TransferError.is(error)) return error;
  return new TransferError(
    'INTERNAL',
    'A shard failed a transfer in a way that has no code; please report this with its cause.',
    {
      cause: error,
    },
  );
}

function describeError(error: unknown, depth: number): EncodedError {
  if (!isError(error)) return { name: 'Error', message: `Not an error but: ${thrownText(error)}` };
  const encoded: EncodedError = { name: error.name, message: error.message };
  const { code } = error as { code?: unknown };
  if (typeof code === 'string') encoded.code = code;
  if (TransferError.is(error)) {
    if (error.phase !== undefined) encoded.phase = error.phase;
    if (error.limit !== undefined) encoded.limit = error.limit;
    if (error.errno !== undefined) encoded.errno = error.errno;
    if (error.status !== undefined) encoded.status = error.status;
  } else if (error.stack !== undefined) {
    encoded.stack = error.stack;
  }
  if (depth < CAUSE_DEPTH_MAX) {
    if (error.cause !== undefined) encoded.cause = describeError(error.cause, depth + 1);
    if (error instanceof AggregateError) {
      encoded.errors = error.errors.map((one: unknown) => describeError(one, depth + 1));
    }
  }
  return encoded;
}

function revive(encoded: EncodedError): Error {
  const cause = encoded.cause === undefined ? undefined : revive(encoded.cause);
  if (encoded.name === 'TransferError' && isTransferCode(encoded.code)) {
    const { phase, limit, errno, status } = encoded;
    return new TransferError(encoded.code, encoded.message, { phase, limit, errno, status, cause });
  }
  const options = cause === undefined ? undefined : { cause };
  const error =
    encoded.errors === undefined
      ? new Error(encoded.message, options)
      : new AggregateError(encoded.errors.map(revive), encoded.message, options);
  error.name = encoded.name;
  if (encoded.stack !== undefined) error.stack = encoded.stack;
  if (encoded.code !== undefined) (error as { code?: string }).code = encoded.code;
  return error;
}

function isTransferCode(code: string | undefined): code is TransferCode {
  return code !== undefined && Object.hasOwn(TRANSFER_CODES, code);
}
