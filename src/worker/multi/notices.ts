/**
 * Notifications (libcurl: CURLMOPT_NOTIFYFUNCTION): what happened in a turn, told at its end, where adding and removing is as
 * safe as anywhere. Spares a program the polling of `messages()`. Nothing is noted that was not asked for.
 *
 *   EASY_DONE  a transfer has completed
 *   INFO_READ  a message waits where none waited before: it is told once until `messages()` has been read to its end
 */

import type { Completions } from './completions.ts';
import type { Transfer } from './transfer.ts';

export const NOTIFICATIONS = Object.freeze(['INFO_READ', 'EASY_DONE'] as const);
/** What `notifyEnable` takes (libcurl: CURLMNOTIFY_*). */
export type Notification = (typeof NOTIFICATIONS)[number];

/** `transfer` is null for INFO_READ. Everything is allowed inside but driving and closing (rule 47). */
export type NotifyCallback = (notification: Notification, transfer: Transfer | null) => void;

export class Notices {
  callback: NotifyCallback | null = null;
  readonly #completions: Completions;
  #infoRead = false;
  #easyDone = false;
  /** In the order in which they came to be; null: INFO_READ. */
  readonly #waiting: (Transfer | null)[] = [];

  constructor(completions: Completions) {
    this.#completions = completions;
  }

  /** Throws nothing: the caller has checked the name. */
  enable(notification: Notification, on: boolean): void {
    if (notification === 'INFO_READ') this.#infoRead = on;
    else this.#easyDone = on;
  }

  get isEmpty(): boolean {
    return this.#waiting.length === 0;
  }

  /** The transfer has completed and its message was added. */
  note(transfer: Transfer): void {
    if (this.#easyDone) {
      transfer.unnotified = true;
      this.#waiting.push(transfer);
    }
    if (this.#infoRead && this.#completions.unread === 1) this.#waiting.push(null);
  }

  /** Tells what waits, each once. What comes meanwhile is told too; what a callback throws goes to `onThrow`. */
  tell(onThrow: (error: unknown) => void): void {
    const waiting = this.#waiting;
    for (let index = 0; index < waiting.length; index++) {
      const transfer = waiting[index] as Transfer | null;
      try {
        if (transfer === null) this.#tellInfoRead();
        else this.#tellDone(transfer);
      } catch (error) {
        onThrow(error);
      }
    }
    waiting.length = 0;
  }

  /** A message that was read or dropped since is no news. */
  #tellInfoRead(): void {
    if (this.#infoRead && this.#completions.unread > 0) this.callback?.('INFO_READ', null);
  }

  /** From `remove` on nothing is told of a transfer. */
  #tellDone(transfer: Transfer): void {
    if (!transfer.unnotified) return;
    transfer.unnotified = false;
    if (this.#easyDone) this.callback?.('EASY_DONE', transfer);
  }
}
