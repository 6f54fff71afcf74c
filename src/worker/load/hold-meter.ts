/**
 * A multi as its driver sees it, with a clock around what the driver calls: how long one action takes, which is what libcurl's
 * multi_socket was published with. Wall clock, so it includes the action's system calls, and whoever else had the processor.
 */

import { Histogram } from '../../protocol/load/histogram.ts';
import type { Driven } from '../multi/driver.ts';
import type { Multi } from '../multi/multi.ts';
import type { SocketCallback, TimerCallback } from '../multi/multi-options.ts';

const NS_PER_MS = 1_000_000;

export class HoldMeter implements Driven {
  readonly io: Multi['io'];
  /** Sockets handled. */
  actionCount = 0;
  actionsMs = 0;
  /** Nanoseconds per action, one value per turn. */
  readonly actionNs = new Histogram(true);
  readonly #multi: Multi;

  constructor(multi: Multi) {
    this.#multi = multi;
    this.io = multi.io;
  }

  get running(): number {
    return this.#multi.running;
  }

  get now(): number {
    return this.#multi.now;
  }

  socketFunction(callback: SocketCallback | null): void {
    this.#multi.socketFunction(callback);
  }

  timerFunction(callback: TimerCallback | null): void {
    this.#multi.timerFunction(callback);
  }

  removeFunctions(socketCallback: SocketCallback, timerCallback: TimerCallback): void {
    this.#multi.removeFunctions(socketCallback, timerCallback);
  }

  actions(events: Int32Array, count: number, first?: number, more?: boolean): number {
    const began = this.io.now();
    const running = this.#multi.actions(events, count, first, more);
    const tookMs = this.io.now() - began;
    this.actionCount += count;
    this.actionsMs += tookMs;
    this.actionNs.record((tookMs * NS_PER_MS) / count);
    return running;
  }

  timeout(dueByMs?: number): number {
    return this.#multi.timeout(dueByMs);
  }

  /** What was measured so far is forgotten. */
  restart(): void {
    this.actionCount = 0;
    this.actionsMs = 0;
    this.actionNs.clear();
  }
}
