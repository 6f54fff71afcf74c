/** How fast a transfer may and must be: its speed limits, both ways, and the least speed. Made only for one that has any of these. */

import { invalidArgument } from '../../protocol/errors.ts';
import { checkInteger, checkNumber, TIMEOUT_MS_MAX } from '../../protocol/options.ts';
import { LowSpeedWatch } from './low-speed.ts';
import type { Multi } from './multi.ts';
import { Throttle } from './throttle.ts';
import type { Transfer } from './transfer.ts';

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

export const PACE_OPTION_NAMES = [
  'maxReceiveBytesPerSecond',
  'maxSendBytesPerSecond',
  'lowSpeedBytesPerSecond',
  'lowSpeedMs',
] as const;

export class Pace {
  readonly receive: Throttle | null;
  readonly send: Throttle | null;
  readonly #lowSpeed: LowSpeedWatch | null;

  constructor(receive: Throttle | null, send: Throttle | null, lowSpeed: LowSpeedWatch | null) {
    this.receive = receive;
    this.send = send;
    this.#lowSpeed = lowSpeed;
  }

  /** `held`: the application itself keeps the transfer from moving. */
  watch(multi: Multi, held: boolean): void {
    if (held) this.#lowSpeed?.stop(multi);
    else this.#lowSpeed?.start(multi);
  }

  stop(multi: Multi): void {
    this.receive?.stop(multi);
    this.send?.stop(multi);
    this.#lowSpeed?.stop(multi);
  }
}

/** null: none of it was asked for. Throws TransferError INVALID_ARGUMENT. */
export function paceOf(transfer: Transfer, options: PaceOptions): Pace | null {
  const receive = rate('maxReceiveBytesPerSecond', options.maxReceiveBytesPerSecond);
  const send = rate('maxSendBytesPerSecond', options.maxSendBytesPerSecond);
  const least = rate('lowSpeedBytesPerSecond', options.lowSpeedBytesPerSecond);
  const windowMs = checkNumber('lowSpeedMs', options.lowSpeedMs ?? 0, 0, TIMEOUT_MS_MAX, 'milliseconds');
  if (least > 0 !== windowMs > 0) {
    throw invalidArgument('lowSpeedMs', 'lowSpeedBytesPerSecond and lowSpeedMs go together: give both or neither.');
  }
  if (receive === 0 && send === 0 && least === 0) return null;
  return new Pace(
    receive === 0 ? null : new Throttle(transfer, receive),
    send === 0 ? null : new Throttle(transfer, send),
    least === 0 ? null : new LowSpeedWatch(transfer, least, windowMs),
  );
}

function rate(option: (typeof PACE_OPTION_NAMES)[number], bytesPerSecond: number | undefined): number {
  return checkInteger(option, bytesPerSecond ?? 0, 0, Number.MAX_SAFE_INTEGER);
}
