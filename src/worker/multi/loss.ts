/** Whether a request may be sent once more: when its connection dies under it, and else what it fails with; and when the server wants it otherwise. */

import { TransferError } from '../../protocol/errors.ts';
import { IDEMPOTENT_METHODS } from '../../protocol/http1/methods.ts';
import { errnoName } from '../io/errno.ts';
import type { TlsFault } from '../io/tls-io.ts';
import type { RequestSender } from './request-sender.ts';
import { brokenBy } from './tls-failure.ts';
import type { Transfer } from './transfer.ts';

/** The ladder of RFC 9110 §9.2.2: once, on a fresh connection, and only what may be repeated. Whether its body can be, is another matter. */
export function mayRepeat(transfer: Transfer): boolean {
  if (!transfer.reused) return false;
  if (transfer.retried) return false;
  if (transfer.firstByteUs >= 0) return false;
  return transfer.bytesSent === 0 || (transfer.idempotent ?? IDEMPOTENT_METHODS.has(transfer.method));
}

/**
 * Sent once more, on another connection, where the response says that this was the wrong one (421, RFC 9110 §15.5.20) or that the server
 * knows no `Expect` (417, §10.1.1); and where it can be: a body that was begun cannot be given again.
 */
export function mayStartOver(transfer: Transfer, status: 421 | 417, { progress, uploadBegun }: RequestSender): boolean {
  if (uploadBegun) return false;
  return status === 421 ? !transfer.retried : transfer.expects && progress === 'awaiting';
}

/**
 * `negativeErrno`: what a system call said, or 0 for the peer's FIN; `fault`: what TLS said in its place. `bodyForbidsRetry`: only the
 * body stood against sending it once more, which the caller is told, who could give one that can be sent again (HOSTILE 67).
 */
export function lossOf(
  transfer: Transfer,
  negativeErrno: number,
  fault: TlsFault | null,
  sendFailed: boolean,
  bodyForbidsRetry: boolean,
): TransferError {
  const { phase, state, origin } = transfer;
  const errno = negativeErrno === 0 || fault !== null ? undefined : errnoName(negativeErrno);
  const how = fault === null ? (errno ?? 'closed by the peer') : brokenBy(fault);
  const again = bodyForbidsRetry
    ? '; it was not tried again, because a body that was read from a stream cannot be sent again'
    : '';
  if (state === 'body') {
    return new TransferError(
      'INCOMPLETE_BODY',
      `The connection to ${origin.text} was lost (${how}) after ${transfer.bytesReceived} bytes of a body that had not ended.`,
      { phase, errno },
    );
  }
  if (sendFailed || state === 'sending') {
    return new TransferError(
      'SEND_FAILED',
      `The request could not be sent to ${origin.text}: the connection was lost (${how}) after ${transfer.bytesSent} bytes${again}.`,
      { phase: 'send', errno },
    );
  }
  return new TransferError(
    'CONNECTION_LOST',
    `The connection to ${origin.text} was lost (${how}) before ${transfer.firstByteUs < 0 ? 'any byte' : 'the end'} of the response head${again}.`,
    { phase, errno },
  );
}

/** The peer's FIN came without its close_notify, behind a body that only the close ends. */
export function truncatedBody({ origin, bytesReceived }: Transfer): TransferError {
  return new TransferError(
    'INCOMPLETE_BODY',
    `${origin.text} closed the connection after ${bytesReceived} body bytes without ending TLS (close_notify), so the body, which has no announced length, may be cut short.`,
    { phase: 'body' },
  );
}

/** What was given to `receiveInto` does not hold the body any more. */
export function targetTooSmall({ origin, target }: Transfer): TransferError {
  return new TransferError(
    'INVALID_ARGUMENT',
    `The array that the body from ${origin.text} goes into was detached or shrunk to ${target?.length} bytes, so the response was cut off; leave it alone until the transfer has ended.`,
    { limit: 'receiveInto', phase: 'body' },
  );
}
