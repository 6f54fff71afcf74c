/**
 * Found by fuzzing (test/fuzz/port.test.ts): a thrown value that cannot be made text, `{ toString: undefined }` or an object
 * without prototype, made encodeError throw a TypeError of its own, so that the answer it was for was never sent.
 */

import { expect, test } from 'vitest';
import { TransferError } from '../../src/protocol/errors.ts';
import { decodeTransferError, encodeError } from '../../src/protocol/port/error-encoding.ts';

test.each([
  ['an object whose toString is gone', { toString: undefined }],
  ['an object without prototype', Object.create(null) as unknown],
])('%s crosses as the cause of an error', (_what, thrown) => {
  const decoded = decodeTransferError(encodeError(new TransferError('INTERNAL', 'why', { cause: thrown })));
  expect(decoded).toMatchObject({ code: 'INTERNAL', message: 'why' });
  expect((decoded.cause as Error).message).toBe('Not an error but: a value of type object that has no text');
});
