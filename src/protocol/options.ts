/**
 * The limits and clocks of one transfer: their names, units, defaults and bounds. Both sides of the thread boundary use them,
 * so they live here; how a limit acts is the engine's matter.
 */

import { invalidArgument } from './errors.ts';

/** Which clocks run on a transfer, in milliseconds; 0 turns a clock off. */
export interface Timeouts {
  /** Waiting for a connection slot. QUEUE_TIMEOUT. Default 0: as long as it takes. */
  queueMs: number;
  /** DNS + TCP (+ proxy + TLS), from the attempt (libcurl: CURLOPT_CONNECTTIMEOUT_MS). CONNECT_TIMEOUT. Default 10,000. */
  connectMs: number;
  /** From the last byte of the request that could be sent to the end of the response's head. HEAD_TIMEOUT. Default 300,000. */
  headMs: number;
  /** Between two arrivals of body bytes; stands still while the transfer is paused. BODY_TIMEOUT. Default 300,000. */
  bodyIdleMs: number;
  /** The whole transfer, queue included (libcurl: CURLOPT_TIMEOUT_MS). TOTAL_TIMEOUT. Default 0: none. */
  totalMs: number;
}

/** How much of what a peer sends is taken; 0 for `bodyBytes` and `decodedBytes` means no limit. LIMIT_EXCEEDED names the limit. */
export interface Limits {
  /** All heads of one response, interim ones included. Default 65,536. */
  headBytes: number;
  /** Header lines of one response. Default 1,000. */
  headerCount: number;
  /** The trailer section. Default 16,384 (as hyper). */
  trailerBytes: number;
  /** Chunk extensions of one body, all together. Default 16,384 (as hyper; CVE-2023-39326). */
  chunkExtensionBytes: number;
  /** Content codings stacked on one body. Default 5 (as curl; CVE-2022-32206). Acts on bodies that would be decoded. */
  codings: number;
  /** Body bytes as they arrive. Default 0: no limit. */
  bodyBytes: number;
  /** Bytes of a body after its content coding was taken off; one without is `bodyBytes`' alone. Default 0: no limit. */
  decodedBytes: number;
}

export const DEFAULT_TIMEOUTS: Readonly<Timeouts> = Object.freeze({
  queueMs: 0,
  connectMs: 10_000,
  headMs: 300_000,
  bodyIdleMs: 300_000,
  totalMs: 0,
});

export const DEFAULT_LIMITS: Readonly<Limits> = Object.freeze({
  headBytes: 65_536,
  headerCount: 1_000,
  trailerBytes: 16_384,
  chunkExtensionBytes: 16_384,
  codings: 5,
  bodyBytes: 0,
  decodedBytes: 0,
});

/** The longest clock, about 24 days: what fits a signed 32-bit integer, in a frame and in setTimeout. Longer ones are slips of a unit. */
export const TIMEOUT_MS_MAX = 2 ** 31 - 1;

/** The largest head limit: batches of frames hold whole heads. */
export const HEAD_BYTES_MAX = 16 * 1024 * 1024;

/** `timeouts` completed from `defaults`; throws INVALID_ARGUMENT that names the option. Answers `defaults` itself when nothing differs. */
export function completeTimeouts(
  timeouts: unknown,
  defaults: Readonly<Timeouts> = DEFAULT_TIMEOUTS,
): Readonly<Timeouts> {
  return completeNumbers('timeouts', timeouts, defaults, (name, value) => {
    checkNumber(`timeouts.${name}`, value, 0, TIMEOUT_MS_MAX, 'milliseconds, 0 for none');
  });
}

/** `limits` completed from `defaults`; throws INVALID_ARGUMENT that names the option. */
export function completeLimits(limits: unknown, defaults: Readonly<Limits> = DEFAULT_LIMITS): Readonly<Limits> {
  return completeNumbers('limits', limits, defaults, (name, value) => {
    const least = name === 'bodyBytes' || name === 'decodedBytes' ? 0 : 1;
    const most = name === 'headBytes' || name === 'trailerBytes' ? HEAD_BYTES_MAX : Number.MAX_SAFE_INTEGER;
    checkInteger(`limits.${name}`, value, least, most);
  });
}

function completeNumbers<T extends object>(
  group: string,
  given: unknown,
  defaults: Readonly<T>,
  check: (name: string, value: unknown) => void,
): Readonly<T> {
  if (given === undefined) return defaults;
  const values = checkRecord(group, given, Object.keys(defaults));
  const complete: Record<string, unknown> = { ...defaults };
  for (const [name, value] of Object.entries(values)) {
    if (value === undefined) continue;
    check(name, value);
    complete[name] = value;
  }
  return complete as T;
}

/** An options object of plain kind with known names only. A member that is undefined is not there (WebIDL), whatever its name. */
export function checkRecord(option: string, value: unknown, names: readonly string[]): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalidArgument(option, `${option} must be an object, not ${describeKind(value)}.`);
  }
  for (const name of Object.keys(value)) {
    if (!names.includes(name) && (value as Record<string, unknown>)[name] !== undefined) {
      const path = option === 'options' ? name : `${option}.${name}`;
      const shown = /^[\w.-]+$/.test(path) ? path : describe(path);
      throw invalidArgument(path, `There is no option ${shown}; the known ones are ${names.join(', ')}.`);
    }
  }
  return value as Record<string, unknown>;
}

/** `fallback`: what it is where it was not given; absent: then it must be given. */
export function checkBoolean(option: string, value: unknown, fallback?: boolean): boolean {
  if (value === undefined && fallback !== undefined) return fallback;
  if (typeof value === 'boolean') return value;
  throw invalidArgument(option, `${option} must be true or false, not ${describe(value)}.`);
}

export function checkInteger(option: string, value: unknown, least: number, most: number): number {
  if (!Number.isInteger(value)) {
    throw invalidArgument(option, `${option} must be a whole number, not ${describe(value)}.`);
  }
  return checkNumber(option, value, least, most, 'a whole number');
}

export function checkNumber(option: string, value: unknown, least: number, most: number, unit: string): number {
  if (typeof value !== 'number' || Number.isNaN(value)) {
    throw invalidArgument(option, `${option} must be a number (${unit}), not ${describe(value)}.`);
  }
  if (value < least || value > most) {
    throw invalidArgument(option, `${option} must be from ${least} to ${most}, not ${value}.`);
  }
  return value;
}

/** A value as it reads in a sentence, short. Not for what may be a secret: see `describeKind`, and `shownUrl` for URLs. */
export function describe(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value);
  if (value === null || value === undefined || typeof value === 'number' || typeof value === 'boolean') {
    return String(value);
  }
  if (typeof value === 'bigint') return `${value}n`;
  if (typeof value === 'object')
    return Array.isArray(value) ? 'an array' : `an object (${value.constructor?.name ?? 'no prototype'})`;
  return `a ${typeof value}`;
}

/** Only what kind of value it is: what was given in place of headers, cookies, a key or a password may be the secret itself. */
export function describeKind(value: unknown): string {
  if (value === undefined || typeof value === 'object') return describe(value);
  return value === '' ? 'an empty string' : `a ${typeof value}`;
}
