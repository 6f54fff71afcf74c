/** How a failed request looks to who called fetch: a TypeError with fetch's own words, the TransferError as its cause. */

import { isError } from '../protocol/built-ins.ts';
import { TransferError } from '../protocol/errors.ts';
import { thrownText } from '../protocol/thrown-text.ts';

/**
 * `TypeError('fetch failed')`: these words exactly, because retry libraries test for them. `code` stands on both. A caller's
 * own mistake keeps its sentence as the message instead: it must not look like a network failure that is worth a retry.
 */
export function fetchFailure(error: unknown): TypeError & { code?: string } {
  const cause = asTransferError(error);
  const message = cause.code === 'INVALID_ARGUMENT' ? cause.message : 'fetch failed';
  return Object.assign(new TypeError(message, { cause }), { code: cause.code });
}

/** `TypeError('terminated')`: a body that broke after its head was delivered. */
export function bodyFailure(error: TransferError): TypeError & { code?: string } {
  return Object.assign(new TypeError('terminated', { cause: error }), { code: error.code });
}

/** The failure of a body of which nothing was given out yet: to who waits for fetch nothing was cut off. */
export function wholeBodyFailure(error: unknown): unknown {
  const cause = (error as Error | null | undefined)?.cause;
  return TransferError.is(cause) ? fetchFailure(cause) : error;
}

function asTransferError(error: unknown): TransferError {
  if (TransferError.is(error)) return error;
  // Something of the caller's threw while it was read: an iterator of headers, a toString, a detached buffer.
  return new TransferError('INVALID_ARGUMENT', `An argument of fetch could not be read: ${thrownText(error)}`, {
    cause: error,
  });
}

/** The end of a sentence that tells why a shard could not begin or ended. */
export function because(cause: unknown): string {
  const why = isError(cause) ? (cause.message.split('\n', 1)[0] as string) : '';
  return why === '' ? '.' : `: ${why.replace(/\.$/, '')}.`;
}
