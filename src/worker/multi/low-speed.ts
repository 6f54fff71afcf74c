/**
 * The least speed a transfer must have (libcurl: CURLOPT_LOW_SPEED_LIMIT, CURLOPT_LOW_SPEED_TIME), of body bytes received and
 * request bytes sent together, from the moment it has a connection. Looked at once per `lowSpeedMs`: a transfer that stops
 * is found after one to two times that. Off while the application itself holds it (rule 75).
 */

import { TransferError } from '../../protocol/errors.ts';
import type { Multi } from './multi.ts';
import { TimerNode, type TimerOwner } from './timer-queue.ts';
import type { Transfer } from './transfer.ts';

export class LowSpeedWatch implements TimerOwner {
  readonly transfer: Transfer;
  readonly #bytesPerSecond: number;
  readonly #windowMs: number;
  readonly #node = new TimerNode(this);
  /** Bytes that had moved when the present window began. */
  #bytesBefore = 0;

  constructor(transfer: Transfer, bytesPerSecond: number, windowMs: number) {
    this.transfer = transfer;
    this.#bytesPerSecond = bytesPerSecond;
    this.#windowMs = windowMs;
  }

  /** A new window begins, unless one has. */
  start(multi: Multi): void {
    if (this.#node.index < 0) this.#beginWindow(multi);
  }

  stop(multi: Multi): void {
    multi.timers.cancel(this.#node);
  }

  /** A window ends (TimerOwner). */
  onTimer(): void {
    const transfer = this.transfer;
    const { multi } = transfer;
    if (multi === null) return;
    const bytes = movedBytes(transfer) - this.#bytesBefore;
    if (bytes * 1000 >= this.#bytesPerSecond * this.#windowMs) this.#beginWindow(multi);
    else multi.fail(transfer, this.#rateTooLow(bytes));
  }

  #beginWindow(multi: Multi): void {
    this.#bytesBefore = movedBytes(this.transfer);
    multi.timers.set(this.#node, multi.now + this.#windowMs);
  }

  #rateTooLow(bytes: number): TransferError {
    const { origin, phase } = this.transfer;
    return new TransferError(
      'RATE_TOO_LOW',
      `Only ${bytes} bytes to and from ${origin.text} moved within ${this.#windowMs} ms; lower lowSpeedBytesPerSecond (${this.#bytesPerSecond}) or raise lowSpeedMs if it may be that slow.`,
      { limit: 'lowSpeedBytesPerSecond', phase },
    );
  }
}

function movedBytes(transfer: Transfer): number {
  return transfer.bytesReceived + transfer.bytesSent;
}
