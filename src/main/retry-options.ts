/** When a failed request is made again: the option `retry` of a pool and of a request. How is `retry.ts`'s. */

import { invalidArgument, TRANSFER_CODES, type TransferCode } from '../protocol/errors.ts';
import { normalizeMethod } from '../protocol/http1/request-head.ts';
import { isToken } from '../protocol/http1/tokens.ts';
import { checkBoolean, checkInteger, checkNumber, checkRecord, describe, TIMEOUT_MS_MAX } from '../protocol/options.ts';

/** When a failed request is made again; of a pool or of one request. */
export interface RetryOptions {
  /** How often it is tried in all, the first time included. Default 3; 1 where `shardLost` is all that is said. */
  attempts?: number | undefined;
  /** Failures before the response's head that are worth another try. Default: no connection came about, or it was lost (see RETRY_DEFAULTS). */
  codes?: readonly TransferCode[] | undefined;
  /** Statuses that are. Default 408, 429, 500, 502, 503, 504. */
  statuses?: readonly number[] | undefined;
  /** Methods that may be sent again. Default GET, HEAD, PUT, DELETE, OPTIONS (RFC 9110 §9.2.2); `idempotent: true` of a request allows any, `false` none. */
  methods?: readonly string[] | undefined;
  /** Milliseconds before the first retry; twice as long before each further one. Default 200. */
  delayMs?: number | undefined;
  /** The longest such wait, in milliseconds. Default 30,000. */
  maxDelayMs?: number | undefined;
  /** Waits a random part of that time ("full jitter"), so that many who failed together do not come back together. Default true. */
  jitter?: boolean | undefined;
  /** The longest wait that a Retry-After field may ask for, in milliseconds; a response that asks for more is delivered. false: the field is not looked at. Default 60,000. */
  retryAfter?: number | false | undefined;
  /** Send a request that was in flight on a shard that died once more, on another shard: once, only idempotent methods, only before its head came. Default false. */
  shardLost?: boolean | undefined;
}

export interface RetryPolicy {
  readonly attempts: number;
  readonly codes: ReadonlySet<TransferCode>;
  readonly statuses: ReadonlySet<number>;
  readonly methods: ReadonlySet<string>;
  readonly delayMs: number;
  readonly maxDelayMs: number;
  readonly jitter: boolean;
  /** 0: Retry-After is not looked at. */
  readonly retryAfterMs: number;
  readonly shardLost: boolean;
}

export const RETRY_DEFAULTS: RetryPolicy = Object.freeze({
  attempts: 3,
  codes: new Set<TransferCode>([
    'COULDNT_RESOLVE',
    'COULDNT_CONNECT',
    'CONNECT_TIMEOUT',
    'CONNECTION_LOST',
    'SEND_FAILED',
    'HEAD_TIMEOUT',
  ]),
  statuses: new Set([408, 429, 500, 502, 503, 504]),
  methods: new Set(['GET', 'HEAD', 'PUT', 'DELETE', 'OPTIONS']),
  delayMs: 200,
  maxDelayMs: 30_000,
  jitter: true,
  retryAfterMs: 60_000,
  shardLost: false,
});

/** Without a policy: once, and not again. */
export const NO_RETRY: RetryPolicy = Object.freeze({ ...RETRY_DEFAULTS, attempts: 1 });

/** More is a slip. */
const ATTEMPTS_MAX = 1_000;
const NAMES = [
  'attempts',
  'codes',
  'statuses',
  'methods',
  'delayMs',
  'maxDelayMs',
  'jitter',
  'retryAfter',
  'shardLost',
];

/** `given` completed from `defaults`. Throws TransferError INVALID_ARGUMENT that names the option. */
export function resolveRetry(given: unknown, defaults: RetryPolicy = NO_RETRY): RetryPolicy {
  if (given === undefined || given === null) return defaults;
  if (given === false) return NO_RETRY;
  if (given === true) return withAttempts(defaults);
  const options = checkRecord('retry', given, NAMES);
  const asked = Object.keys(options).filter((name) => options[name] !== undefined);
  const isPolicy = asked.length === 0 || asked.some((name) => name !== 'shardLost');
  const base = isPolicy ? withAttempts(defaults) : defaults;
  const { attempts, codes, statuses, methods, delayMs, maxDelayMs, jitter, retryAfter, shardLost } = options;
  return {
    attempts: attempts === undefined ? base.attempts : checkInteger('retry.attempts', attempts, 1, ATTEMPTS_MAX),
    codes: codes === undefined ? base.codes : checkList('retry.codes', codes, checkCode),
    statuses: statuses === undefined ? base.statuses : checkList('retry.statuses', statuses, checkStatus),
    methods: methods === undefined ? base.methods : checkList('retry.methods', methods, checkMethod),
    delayMs: delayMs === undefined ? base.delayMs : checkMilliseconds('retry.delayMs', delayMs),
    maxDelayMs: maxDelayMs === undefined ? base.maxDelayMs : checkMilliseconds('retry.maxDelayMs', maxDelayMs),
    jitter: checkBoolean('retry.jitter', jitter, base.jitter),
    retryAfterMs: retryAfter === undefined ? base.retryAfterMs : checkRetryAfter(retryAfter),
    shardLost: checkBoolean('retry.shardLost', shardLost, base.shardLost),
  };
}

function withAttempts(policy: RetryPolicy): RetryPolicy {
  return policy.attempts > 1 ? policy : { ...policy, attempts: RETRY_DEFAULTS.attempts };
}

function checkList<T>(option: string, list: unknown, check: (option: string, value: unknown) => T): ReadonlySet<T> {
  if (!Array.isArray(list)) throw invalidArgument(option, `${option} must be an array, not ${describe(list)}.`);
  return new Set((list as unknown[]).map((value) => check(option, value)));
}

function checkCode(option: string, code: unknown): TransferCode {
  if (typeof code === 'string' && Object.hasOwn(TRANSFER_CODES, code)) return code as TransferCode;
  throw invalidArgument(
    option,
    `${option} has ${describe(code)}, which is no code; the known ones are ${Object.keys(TRANSFER_CODES).join(', ')}.`,
  );
}

function checkStatus(option: string, status: unknown): number {
  return checkInteger(option, status, 400, 999);
}

function checkMethod(option: string, method: unknown): string {
  if (typeof method === 'string' && isToken(method)) return normalizeMethod(method);
  throw invalidArgument(option, `${option} has ${describe(method)}, which is no method.`);
}

function checkMilliseconds(option: string, value: unknown): number {
  return checkNumber(option, value, 0, TIMEOUT_MS_MAX, 'milliseconds');
}

function checkRetryAfter(value: unknown): number {
  return value === false ? 0 : checkMilliseconds('retry.retryAfter', value);
}
