/**
 * What a driver is: it turns a multi's crank on some event loop. And what it needs of the multi, which is nothing but the public
 * contract: two callbacks, two driving calls and a clock. So whoever can write one, can write another.
 */

import type { Multi } from './multi.ts';

/** The multi as a driver sees it. */
export type Driven = Pick<
  Multi,
  'socketFunction' | 'timerFunction' | 'removeFunctions' | 'actions' | 'timeout' | 'running' | 'now'
> & {
  /** @internal The clock that `now` was read from. */
  readonly io: { now(): number };
};

/**
 * Events of one turn. A turn reads what came and then writes what it led to; what it touches of so many connections, and what the
 * kernel touches for them, should still be in the processor's second-level cache for the second half (some 4 KiB each).
 */
export const TURN_EVENTS_MAX = 64;

/** What turns the wheel of a multi: an event loop. */
export interface Driver {
  /** Called after each crank: the place to read messages and to send what was collected. */
  onTurn: (() => void) | null;
  /**
   * Starts driving: installs both callbacks of the multi. Until `stop()`, or until another driver runs: that stops this one, and takes
   * over transfers in their course. Throws an Error when it was stopped, and what `socketFunction` and `timerFunction` throw: then it
   * is stopped.
   */
  run(): void;
  /** Ends driving and frees what the driver holds. The multi stays as it is, with the callbacks of another driver if one has begun since. A driver that was stopped does not run again. */
  stop(): void;
  /** The event loop stays alive while transfers run. The default. */
  ref(): void;
  /** Transfers under way do not keep the event loop alive. */
  unref(): void;
  /**
   * One turn of the crank, now: first what the sockets have, then what was due when they were looked at. Does nothing unless running.
   * Throws MultiError RECURSIVE_API_CALL inside a callback of the multi.
   */
  crank(): void;
  /** Transfers are about to be added, and `crank` will be called after that: no timer need be set for them. */
  hold(): void;
  /** Inside `onTurn`: milliseconds since the crank began. */
  readonly elapsedMs: number;
}

const drivers = new WeakMap<Driven, Driver>();

/** `driver` drives from now on. Who did before stops: libuv takes one watcher per descriptor, and two loops would do everything twice. */
export function takeOver(multi: Driven, driver: Driver): void {
  drivers.get(multi)?.stop();
  drivers.set(multi, driver);
}
