/** What a transfer fails with when a callback of the application threw, or ended the multi with -1, or when the engine itself did. */

import { TransferError } from '../../protocol/errors.ts';

/** `who` begins the sentence; `cause` is what it threw. */
export function abortedBy(who: string, cause: unknown): TransferError {
  return new TransferError('ABORTED_BY_CALLBACK', `${who} threw.`, { cause });
}

/** A callback of the multi's answered -1. */
export function endedByCallback(): TransferError {
  return new TransferError('ABORTED_BY_CALLBACK', 'A multi callback ended the multi handle.');
}

/** What is no TransferError is a fault of ours. */
export function asTransferError(error: unknown): TransferError {
  if (TransferError.is(error)) return error;
  return new TransferError('INTERNAL', 'An assumption of the engine did not hold; please report this with its cause.', {
    cause: error,
  });
}

/** A callback of the transfer's own. */
export function abortedByCallback(name: string, error: unknown): TransferError {
  return new TransferError('ABORTED_BY_CALLBACK', `The transfer's ${name} callback threw, which ends the transfer.`, {
    cause: error,
  });
}
