/**
 * The two error classes of the project and the tables of their codes.
 *
 * `TransferError` is what one transfer ends with; `MultiError` is what a caller of `Multi` gets for a mistake of its own.
 * The code is API and stays; the text is for people and may change. How an error crosses a thread is not here: see
 * `port/error-encoding.ts`.
 */

/** Whose fault a transfer's end is. */
export type Blame = 'caller' | 'peer' | 'network' | 'limit' | 'clock' | 'us';

/** Every code a transfer can fail with, and whose fault that is. */
export const TRANSFER_CODES = Object.freeze({
  INVALID_ARGUMENT: 'caller',
  COULDNT_RESOLVE: 'network',
  COULDNT_CONNECT: 'network',
  CONNECTION_LOST: 'network',
  SEND_FAILED: 'network',
  TLS_FAILED: 'peer',
  CERTIFICATE_INVALID: 'peer',
  CONNECT_TIMEOUT: 'clock',
  HEAD_TIMEOUT: 'clock',
  BODY_TIMEOUT: 'clock',
  TOTAL_TIMEOUT: 'clock',
  RATE_TOO_LOW: 'clock',
  BAD_RESPONSE: 'peer',
  INCOMPLETE_BODY: 'peer',
  BAD_CONTENT_CODING: 'peer',
  LIMIT_EXCEEDED: 'limit',
  TOO_MANY_REDIRECTS: 'limit',
  BAD_REDIRECT: 'peer',
  PROXY_FAILED: 'network',
  QUEUE_TIMEOUT: 'clock',
  QUEUE_FULL: 'limit',
  SHARD_LOST: 'us',
  POOL_CLOSED: 'us',
  ABORTED_BY_CALLBACK: 'us',
  INTERNAL: 'us',
} as const satisfies Record<string, Blame>);

/** A code that a transfer can fail with: a key of `TRANSFER_CODES`. */
export type TransferCode = keyof typeof TRANSFER_CODES;

/** Where in its life a transfer was when it failed. */
export type TransferPhase =
  | 'arguments'
  | 'queue'
  | 'dns'
  | 'connect'
  | 'proxy'
  | 'tls'
  | 'send'
  | 'head'
  | 'body'
  | 'done';

export interface TransferErrorDetails {
  /** Where the transfer was. Default `'arguments'` for INVALID_ARGUMENT, else unset. */
  phase?: TransferPhase | undefined;
  /** The name of the option that would change the outcome, e.g. `limits.headBytes`. */
  limit?: string | undefined;
  /** The request's URL, without credentials. */
  url?: string | undefined;
  /** The system's error name, e.g. `ECONNREFUSED`. */
  errno?: string | undefined;
  /** What a proxy answered with PROXY_FAILED: an HTTP status, or the reply code of SOCKS. */
  status?: number | undefined;
  cause?: unknown;
}

const BRAND: unique symbol = Symbol.for('shardfetch.TransferError') as never;

/**
 * Why a transfer failed. `code` is one of `TRANSFER_CODES`; `message` says in one sentence what happened and what to change.
 *
 * Recognised across copies of this package with `TransferError.is(error)`.
 */
export class TransferError extends Error {
  override readonly name = 'TransferError';
  /** Which failure: stays the same from version to version. */
  readonly code: TransferCode;
  /** Where the transfer was; undefined: it had not begun, or nobody knows. */
  readonly phase: TransferPhase | undefined;
  /** The name of the option that would change the outcome, e.g. `limits.headBytes`; undefined: there is none. */
  readonly limit: string | undefined;
  /** The system's error name, e.g. `ECONNREFUSED`; undefined: the system had no part in it. */
  readonly errno: string | undefined;
  /** Of PROXY_FAILED: what the proxy answered, an HTTP status or the reply code of SOCKS (RFC 1928 §6). */
  readonly status: number | undefined;
  /** Set once by whoever knows the URL: the engine does not, the pool does. */
  url: string | undefined;

  constructor(code: TransferCode, message: string, details: TransferErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.phase = details.phase ?? (code === 'INVALID_ARGUMENT' ? 'arguments' : undefined);
    this.limit = details.limit;
    this.errno = details.errno;
    this.status = details.status;
    this.url = details.url;
  }

  get [BRAND](): true {
    return true;
  }

  /** Whose fault it is. */
  get blame(): Blame {
    return TRANSFER_CODES[this.code];
  }

  /** Whether it is one, of this or another copy of the package. */
  static is(value: unknown): value is TransferError {
    return typeof value === 'object' && value !== null && (value as { [BRAND]?: unknown })[BRAND] === true;
  }
}

/** libcurl's CURLMcode names (docs: libcurl-errors), for the codes that a JavaScript caller can provoke. */
export const MULTI_CODES = Object.freeze({
  BAD_HANDLE: 'The multi handle is closed.',
  BAD_EASY_HANDLE: 'The transfer belongs to another multi handle.',
  BAD_SOCKET: 'The multi handle does not know this socket.',
  UNKNOWN_OPTION: 'The multi handle has no such option.',
  ADDED_ALREADY: 'The transfer is added to a multi handle already; remove it first.',
  RECURSIVE_API_CALL: 'The multi handle cannot be driven or closed from inside one of its callbacks.',
  ABORTED_BY_CALLBACK:
    'A socket or timer callback returned -1, which ends the multi handle; remove all transfers to use it again.',
  BAD_FUNCTION_ARGUMENT: 'The argument is not of the kind that this function takes.',
  WAKEUP_FAILURE: 'The kernel has no descriptor left for wakeups.',
  UNRECOVERABLE_POLL: 'The kernel refused to wait for the sockets.',
});

/** A code of `MultiError`: libcurl's CURLMcode without its prefix. */
export type MultiCode = keyof typeof MULTI_CODES;

/** A mistake of the caller of `Multi`, thrown before anything has changed. */
export class MultiError extends Error {
  override readonly name = 'MultiError';
  readonly code: MultiCode;

  constructor(code: MultiCode, detail?: string) {
    super(detail === undefined ? MULTI_CODES[code] : `${MULTI_CODES[code]} ${detail}`);
    this.code = code;
  }
}

/** A caller's mistake: thrown or rejected before any input or output. `option` names the argument at fault. */
export function invalidArgument(option: string, sentence: string): TransferError {
  return new TransferError('INVALID_ARGUMENT', sentence, { limit: option, phase: 'arguments' });
}
