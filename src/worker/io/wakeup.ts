/**
 * Ending a wait from another thread: an eventfd, and a number by which any thread of the process can send to it. The number is
 * no descriptor: it is given once in the life of the process, so one that outlived its wakeup reaches nobody.
 */

import { type Addon, addon } from './addon.ts';
import { errnoName } from './errno.ts';

/** A wakeup's number: may be posted to any thread and used there at any time. */
export type WakeupHandle = number;

/** Throws an Error whose `code` is the errno's name when the kernel has no descriptor left. */
export function openWakeup(): Wakeup {
  return new Wakeup(addon());
}

/** From any thread. Many before the next wait are one. False when there is no such wakeup (any more). */
export function sendWakeup(handle: WakeupHandle): boolean {
  return addon().wakeupSend(handle);
}

export class Wakeup {
  readonly handle: WakeupHandle;
  /** Readable from the first `send` to the next `clear`. */
  readonly descriptor: number;
  readonly #native: Addon;

  constructor(native: Addon) {
    const opened = native.wakeupOpen();
    if (typeof opened === 'number') {
      const code = errnoName(opened);
      throw Object.assign(new Error(`cannot open a wakeup: ${code}`), { code });
    }
    this.#native = native;
    this.handle = opened.number;
    this.descriptor = opened.descriptor;
  }

  send(): void {
    this.#native.wakeupSend(this.handle);
  }

  clear(): void {
    this.#native.wakeupClear(this.descriptor);
  }

  /** Once: the descriptor may be another's after that. */
  close(): void {
    this.#native.wakeupClose(this.descriptor);
  }
}
