/** How fast a transfer may and must be: names, units and checks of the options. What they do is `worker/multi/pace.ts`'s. */

import { invalidArgument } from './errors.ts';
import { checkInteger, checkNumber, checkRecord, TIMEOUT_MS_MAX } from './options.ts';

/** How fast a transfer may and must be. Speeds are bytes per second. */
export interface PaceOptions {
  /** Most bytes a second that are read from the socket, head included (CURLOPT_MAX_RECV_SPEED_LARGE). Default 0: no limit. */
  maxReceiveBytesPerSecond?: number;
  /** Most bytes a second that are written, head included (CURLOPT_MAX_SEND_SPEED_LARGE). Default 0: no limit. */
  maxSendBytesPerSecond?: number;
  /**
   * Least bytes a second, averaged over each `lowSpeedMs`; else RATE_TOO_LOW (CURLOPT_LOW_SPEED_LIMIT). Does not count while the
   * transfer is paused or its upload has nothing to send. Default 0: none.
   */
  lowSpeedBytesPerSecond?: number;
  /** Milliseconds over which the least speed is measured (CURLOPT_LOW_SPEED_TIME). Goes with `lowSpeedBytesPerSecond`. */
  lowSpeedMs?: number;
}

/** `PaceOptions`, checked; 0: not asked for. */
export type PaceLimits = Readonly<Required<PaceOptions>>;

export const PACE_OPTION_NAMES = [
  'maxReceiveBytesPerSecond',
  'maxSendBytesPerSecond',
  'lowSpeedBytesPerSecond',
  'lowSpeedMs',
] as const;

/** null: none of it was asked for. Throws TransferError INVALID_ARGUMENT that names the option, behind `prefix`. */
export function resolvePaceOptions(options: PaceOptions, prefix = ''): PaceLimits | null {
  const limits = {
    maxReceiveBytesPerSecond: rate(`${prefix}maxReceiveBytesPerSecond`, options.maxReceiveBytesPerSecond),
    maxSendBytesPerSecond: rate(`${prefix}maxSendBytesPerSecond`, options.maxSendBytesPerSecond),
    lowSpeedBytesPerSecond: rate(`${prefix}lowSpeedBytesPerSecond`, options.lowSpeedBytesPerSecond),
    lowSpeedMs: checkNumber(`${prefix}lowSpeedMs`, options.lowSpeedMs ?? 0, 0, TIMEOUT_MS_MAX, 'milliseconds'),
  };
  if (limits.lowSpeedBytesPerSecond > 0 !== limits.lowSpeedMs > 0) {
    throw invalidArgument(
      `${prefix}lowSpeedMs`,
      `${prefix}lowSpeedBytesPerSecond and ${prefix}lowSpeedMs go together: give both or neither.`,
    );
  }
  return Object.values(limits).every((limit) => limit === 0) ? null : limits;
}

/** As an option of its own. */
export function resolvePace(option: string, pace: unknown): PaceLimits | null {
  if (pace === undefined) return null;
  return resolvePaceOptions(checkRecord(option, pace, PACE_OPTION_NAMES) as PaceOptions, `${option}.`);
}

function rate(option: string, bytesPerSecond: number | undefined): number {
  return checkInteger(option, bytesPerSecond ?? 0, 0, Number.MAX_SAFE_INTEGER);
}
