/**
 * Failures as users of undici know them: its names and `UND_ERR_…` codes, and the symbols by which its classes recognise their own
 * (`error instanceof errors.SocketError` holds in undici 6.20 and later), without undici. The TransferError is the `cause`. What has no
 * counterpart there is the TransferError itself. The table stands in docs/undici.md.
 */

import { isError } from '../../protocol/built-ins.ts';
import { TransferError } from '../../protocol/errors.ts';

/** Code -> name and the words that are said when there are none. */
const KINDS = {
  UND_ERR_INVALID_ARG: ['InvalidArgumentError', 'Invalid Argument Error'],
  UND_ERR_INVALID_RETURN_VALUE: ['InvalidReturnValueError', 'Invalid Return Value Error'],
  UND_ERR_ABORTED: ['AbortError', 'Request aborted'],
  UND_ERR_CONNECT_TIMEOUT: ['ConnectTimeoutError', 'Connect Timeout Error'],
  UND_ERR_HEADERS_TIMEOUT: ['HeadersTimeoutError', 'Headers Timeout Error'],
  UND_ERR_BODY_TIMEOUT: ['BodyTimeoutError', 'Body Timeout Error'],
  UND_ERR_HEADERS_OVERFLOW: ['HeadersOverflowError', 'Headers Overflow Error'],
  UND_ERR_RES_EXCEEDED_MAX_SIZE: ['ResponseExceededMaxSizeError', 'Response content exceeded max size'],
  UND_ERR_REQ_CONTENT_LENGTH_MISMATCH: [
    'RequestContentLengthMismatchError',
    'Request body length does not match content-length header',
  ],
  UND_ERR_RESPONSE_STATUS_CODE: ['ResponseStatusCodeError', 'Response Status Code Error'],
  UND_ERR_DESTROYED: ['ClientDestroyedError', 'The client is destroyed'],
  UND_ERR_CLOSED: ['ClientClosedError', 'The client is closed'],
  UND_ERR_SOCKET: ['SocketError', 'Socket error'],
  UND_ERR_NOT_SUPPORTED: ['NotSupportedError', 'Not supported error'],
} as const;

export type UndiciCode = keyof typeof KINDS;

/** undici's RequestAbortedError is an AbortError of its own, too. */
const FURTHER_BRANDS: { readonly [code in UndiciCode]?: string } = { UND_ERR_ABORTED: 'UND_ERR_ABORT' };

/** An error that undici takes for its own. */
export class DispatchError extends Error {
  override name: string;
  readonly code: UndiciCode;

  constructor(code: UndiciCode, message?: string, options?: ErrorOptions) {
    const [name, words] = KINDS[code];
    super(message ?? words, options);
    this.name = name;
    this.code = code;
    brand(this, 'UND_ERR');
    brand(this, code);
    const further = FURTHER_BRANDS[code];
    if (further !== undefined) brand(this, further);
  }
}

function brand(error: DispatchError, code: string): void {
  Object.defineProperty(error, Symbol.for(`undici.error.${code}`), { value: true });
}

export function invalidDispatch(message: string): DispatchError {
  return new DispatchError('UND_ERR_INVALID_ARG', message);
}

/** What a failed request is called there. `isClosing`: the pool takes no more, rather than that it was cut. */
export function dispatchFailure(error: unknown, isClosing = false): Error {
  if (!TransferError.is(error)) return error as Error;
  const { message } = error;
  const options = { cause: error };
  switch (error.code) {
    case 'INVALID_ARGUMENT':
      return new DispatchError('UND_ERR_INVALID_ARG', message, options);
    case 'CONNECT_TIMEOUT':
      return new DispatchError('UND_ERR_CONNECT_TIMEOUT', message, options);
    case 'HEAD_TIMEOUT':
      return new DispatchError('UND_ERR_HEADERS_TIMEOUT', message, options);
    case 'BODY_TIMEOUT':
      return new DispatchError('UND_ERR_BODY_TIMEOUT', message, options);
    case 'LIMIT_EXCEEDED':
      if (error.limit === 'limits.bodyBytes') {
        return new DispatchError('UND_ERR_RES_EXCEEDED_MAX_SIZE', message, options);
      }
      return new DispatchError('UND_ERR_HEADERS_OVERFLOW', message, options);
    case 'BAD_RESPONSE':
      return named('HTTPParserError', 'HPE_INVALID', error);
    case 'COULDNT_RESOLVE':
    case 'COULDNT_CONNECT':
    case 'SEND_FAILED':
    case 'CONNECTION_LOST':
      return error.errno === undefined
        ? new DispatchError('UND_ERR_SOCKET', message, options)
        : named('Error', systemName(error.errno), error);
    case 'INCOMPLETE_BODY':
    case 'SHARD_LOST':
      return new DispatchError('UND_ERR_SOCKET', message, options);
    case 'POOL_CLOSED':
      // destroy(error): as in undici, what it cut fails with that.
      if (isError(error.cause)) return error.cause;
      return new DispatchError(isClosing ? 'UND_ERR_CLOSED' : 'UND_ERR_DESTROYED', message, options);
    default:
      return error;
  }
}

/** The upload broke its word; the caller's own errors are left as they are. */
export function uploadFailure(error: unknown): Error {
  if (!TransferError.is(error) || !error.message.includes('Content-Length')) return dispatchFailure(error);
  return new DispatchError('UND_ERR_REQ_CONTENT_LENGTH_MISMATCH', error.message, { cause: error });
}

/** Of getaddrinfo's names Node and undici know two. */
function systemName(errno: string): string {
  if (errno === 'EAI_NONAME' || errno === 'EAI_NODATA') return 'ENOTFOUND';
  return errno;
}

function named(name: string, code: string, cause: TransferError): Error {
  const error = Object.assign(new Error(cause.message, { cause }), { code });
  if (name !== 'Error') error.name = name;
  return error;
}
