/** How fast a transfer may and must be: its speed limits, both ways, and the least speed. Made only for one that has any of these. */

import type { PaceLimits } from '../../protocol/pace-options.ts';
import { LowSpeedWatch } from './low-speed.ts';
import type { Multi } from './multi.ts';
import { Throttle } from './throttle.ts';
import type { Transfer } from './transfer.ts';

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

export function paceOf(transfer: Transfer, limits: PaceLimits): Pace {
  const { maxReceiveBytesPerSecond, maxSendBytesPerSecond, lowSpeedBytesPerSecond, lowSpeedMs } = limits;
  return new Pace(
    maxReceiveBytesPerSecond === 0 ? null : new Throttle(transfer, maxReceiveBytesPerSecond),
    maxSendBytesPerSecond === 0 ? null : new Throttle(transfer, maxSendBytesPerSecond),
    lowSpeedBytesPerSecond === 0 ? null : new LowSpeedWatch(transfer, lowSpeedBytesPerSecond, lowSpeedMs),
  );
}
