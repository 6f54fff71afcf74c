/** ABORTED_BY_CALLBACK: what a transfer fails with when a callback of the application threw, or ended the multi with -1. */

import { TransferError } from '../../protocol/errors.ts';

/** `who` begins the sentence. Without a `cause` the callback answered -1. */
export function abortedBy(who: string, cause: unknown): TransferError {
  return new TransferError(
    'ABORTED_BY_CALLBACK',
    `${who} ${cause === undefined ? 'ended the multi handle' : 'threw'}.`,
    {
      cause,
    },
  );
}
