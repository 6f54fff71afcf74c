/**
 * What the application knows of the one timer (libcurl: CURLMOPT_TIMERFUNCTION): it is told when the expiry itself changed,
 * and only then (rule 26). When the expiry is, the multi knows; when to tell, too.
 */

import type { TimerCallback } from './multi-options.ts';

/** No timer. */
export const NEVER = Number.POSITIVE_INFINITY;
/** An expiry that means as soon as possible; no deadline is 0, because the clock is not. */
export const AT_ONCE = 0;

export class TimerAnnouncement {
  callback: TimerCallback | null = null;
  /** The expiry the application was told, on the multi's clock. */
  #told = NEVER;

  /** The application's timer is gone: it fired (it was single-shot), or its callback is a new one. */
  forget(): void {
    this.#told = NEVER;
  }

  isNews(expiry: number): boolean {
    return expiry !== this.#told;
  }

  /** Tells it; what the callback answers or throws goes to the caller. */
  // biome-ignore lint/suspicious/noConfusingVoidType: what TimerCallback answers.
  tell(expiry: number, now: number): void | number {
    this.#told = expiry;
    return this.callback?.(timeoutMs(expiry, now));
  }
}

/** Milliseconds from `now` until `expiry`, rounded up so that a timer that fires on the minute finds it due; 0 now; -1 never. */
export function timeoutMs(expiry: number, now: number): number {
  if (expiry === NEVER) return -1;
  return expiry <= now ? 0 : Math.ceil(expiry - now);
}
