/**
 * What `perform`, `wait` and `poll` look at, for programs without an event loop (libcurl: curl_multi_perform, _wait, _poll,
 * _wakeup): every socket of the multi and one wakeup, by plain poll(2). It needs neither socket nor timer callback, and keeps
 * nothing from one call to the next but its memory. Each call costs as much as there are sockets; who has an event loop had better
 * take a driver. Handles no event itself: `perform` hands them to `Multi.actions`.
 */

import { MultiError } from '../../protocol/errors.ts';
import { pollDescriptors } from '../io/descriptor-poll.ts';
import { errnoName } from '../io/errno.ts';
import { openWakeup, type Wakeup, type WakeupHandle } from '../io/wakeup.ts';
import type { Multi } from './multi.ts';
import { WATCH_IN } from './socket-table.ts';

/** Whether a wait goes on when there is no socket to wait for: `poll` does, `wait` does not. */
export type WithoutSockets = 'return' | 'sleep';

export class WaitSet {
  readonly #multi: Multi;
  /** Triples of descriptor, what is wanted of it, and 0; after a look: of those that are ready, as `Multi.actions` takes them. */
  #triples = new Int32Array(3 * 64);
  #wakeup: Wakeup | null = null;

  constructor(multi: Multi) {
    this.#multi = multi;
  }

  /** One turn with what is ready now. Answers the number of running transfers. */
  perform(): number {
    const ready = this.#look(this.#fill(), 0);
    return this.#multi.actions(this.#triples, ready);
  }

  /**
   * Waits for a socket, for the multi's timer, for `timeoutMs` or, as `poll`, for a wakeup: whatever comes first. Handles none of
   * it. Answers the number of sockets that are ready. Throws MultiError BAD_FUNCTION_ARGUMENT, UNRECOVERABLE_POLL.
   */
  wait(timeoutMs: number, withoutSockets: WithoutSockets): number {
    if (typeof timeoutMs !== 'number' || !(timeoutMs >= 0))
      throw new MultiError('BAD_FUNCTION_ARGUMENT', 'It takes milliseconds, 0 or more.');
    const { io } = this.#multi;
    const end = io.now() + timeoutMs;
    for (;;) {
      const sockets = this.#fill();
      if (sockets === 0 && withoutSockets === 'return') return 0;
      const wakeup = withoutSockets === 'sleep' ? this.#wakeup : null;
      if (wakeup !== null) this.#put(sockets, wakeup.descriptor, WATCH_IN);
      const untilTimer = this.#multi.getTimeout();
      const untilEnd = Math.max(0, end - io.now());
      const waitMs = untilTimer < 0 ? untilEnd : Math.min(untilTimer, untilEnd);
      const ready = this.#look(wakeup === null ? sockets : sockets + 1, waitMs);
      // It comes last, for it went in last; it is no socket of the multi's, so it does not count.
      if (wakeup !== null && ready > 0 && this.#triples[(ready - 1) * 3] === wakeup.descriptor) {
        wakeup.clear();
        return ready - 1;
      }
      // The kernel was asked for 100 ms at most: in between, this loop is where a worker can be ended.
      if (ready > 0 || this.#multi.getTimeout() === 0 || io.now() >= end) return ready;
    }
  }

  /** Ends the wait of `poll`, or the next one when none is under way. Many before it are one. */
  wakeup(): void {
    this.#openWakeup().send();
  }

  get wakeupHandle(): WakeupHandle {
    return this.#openWakeup().handle;
  }

  close(): void {
    this.#wakeup?.close();
    this.#wakeup = null;
  }

  #openWakeup(): Wakeup {
    try {
      this.#wakeup ??= openWakeup();
    } catch (error) {
      throw new MultiError('WAKEUP_FAILURE', (error as Error).message);
    }
    return this.#wakeup;
  }

  #fill(): number {
    const { sockets } = this.#multi;
    // One more for the wakeup.
    const length = 3 * (sockets.size + 1);
    if (this.#triples.length < length) this.#triples = new Int32Array(2 * length);
    return sockets.fillWatched(this.#triples);
  }

  #put(index: number, descriptor: number, what: number): void {
    this.#triples[index * 3] = descriptor;
    this.#triples[index * 3 + 1] = what;
  }

  #look(count: number, timeoutMs: number): number {
    const ready = pollDescriptors(this.#triples, count, timeoutMs);
    if (ready < 0) throw new MultiError('UNRECOVERABLE_POLL', `${errnoName(ready)}.`);
    return ready;
  }
}
