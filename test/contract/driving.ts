/**
 * The ways in which the contract tests drive their multi. `hand` is the plainest application, and the rig's own: one epoll, one
 * number for the timer, one driving call per event. The others are what a program would use: both drivers, and perform/poll. `chaos` is an
 * event system that keeps no more than the contract asks: its events are spurious, late, doubled, out of order or of the wrong
 * kind, by a seed, and so are its timers.
 *
 * Chosen by SHARDFETCH_DRIVING (default: hand) for all rigs, or by a rig's own option; the seed by SHARDFETCH_DRIVING_SEED.
 * Outside of `begin` and `end` nothing here moves the multi: a test that drives by hand there is not disturbed.
 */

import { onTestFailed } from 'vitest';
import { openEpollPoller } from '../../src/worker/io/epoll-poller.ts';
import { nativeIo } from '../../src/worker/io/native-io.ts';
import {
  type Driven,
  type Driver,
  EpollDriver,
  type Multi,
  UvDriver,
  WATCH_REMOVE,
} from '../../src/worker/multi/index.ts';
import { randomOf } from '../unit/random.ts';
import { DRIVING_STYLES, type DrivingStyle } from './driving-styles.ts';

export interface Driving {
  /** What the socket callback was told. */
  watch(socket: number, what: number): void;
  /** What the timer callback was told. */
  setTimer(ms: number): void;
  /** Does what can be done now, all of it outside `begin` and `end`; throws what the driving calls threw since the last step. */
  step(): void;
  /** From here to `end` the multi may be driven at any time. A test may wait for two things at once: each ends what it began. */
  begin(): void;
  end(): void;
  close(): void;
}

export function drivingStyle(): DrivingStyle {
  const style = (process.env.SHARDFETCH_DRIVING ?? 'hand') as DrivingStyle;
  if (!DRIVING_STYLES.includes(style)) throw new Error(`SHARDFETCH_DRIVING is none of ${DRIVING_STYLES.join(', ')}`);
  return style;
}

/** Null: the rig drives by hand. */
export function openDriving(style: DrivingStyle, multi: Multi): Driving | null {
  switch (style) {
    case 'hand':
      return null;
    case 'epoll':
      return new ByDriver(multi, (driven) => new EpollDriver(driven));
    case 'uv':
      return new ByDriver(multi, (driven) => new UvDriver(driven));
    case 'perform':
      return new ByPerform(multi);
    case 'chaos':
      return new ByChaos(multi, Number(process.env.SHARDFETCH_DRIVING_SEED ?? Date.now() % 1_000_000));
  }
}

const NEVER = Number.POSITIVE_INFINITY;

/** A driver on the event loop, behind a gate that is open from `begin` to `end`. What comes to a shut gate is late, not lost. */
class ByDriver implements Driving {
  readonly #multi: Multi;
  readonly #driver: Driver;
  #onSocket: ((transfer: null, socket: number, what: number, data: undefined) => unknown) | null = null;
  #onTimer: ((ms: number) => unknown) | null = null;
  /** How many have begun and not ended: open above 0. */
  #open = 0;
  #lateTimer = false;
  readonly #lateEvents = new Map<number, number>();
  #thrown: { error: unknown } | null = null;

  constructor(multi: Multi, make: (driven: Driven) => Driver) {
    this.#multi = multi;
    const driven: Driven = {
      socketFunction: (callback) => {
        this.#onSocket = callback;
      },
      timerFunction: (callback) => {
        this.#onTimer = callback;
      },
      removeFunctions: () => {
        this.#onSocket = null;
        this.#onTimer = null;
      },
      actions: (events, count, first = 0, more) => {
        for (let at = first * 3, end = at + count * 3; this.#open === 0 && at < end; at += 3) {
          this.#lateEvents.set(events[at] as number, events[at + 1] as number);
        }
        return this.#drive(() => multi.actions(events, count, first, more));
      },
      timeout: () => {
        if (this.#open === 0) this.#lateTimer = true;
        return this.#drive(() => multi.timeout());
      },
      get running() {
        return multi.running;
      },
      get now() {
        return multi.now;
      },
      // The rig's multi may have a clock that stands still; event loops have none such.
      io: nativeIo(),
    };
    this.#driver = make(driven);
    this.#driver.run();
  }

  #drive(call: () => number): number {
    if (this.#open === 0) return this.#multi.running;
    try {
      return call();
    } catch (error) {
      this.#thrown ??= { error };
      return this.#multi.running;
    }
  }

  /** The rig decides what a refusal means; a socket that is refused is a fault of the test. */
  watch(socket: number, what: number): void {
    this.#onSocket?.(null, socket, what, undefined);
  }

  setTimer(ms: number): void {
    this.#lateTimer = false;
    this.#onTimer?.(ms);
  }

  step(): void {
    this.#open++;
    if (this.#lateEvents.size > 0) {
      const late = Int32Array.from([...this.#lateEvents].flatMap(([socket, events]) => [socket, events, 0]));
      this.#lateEvents.clear();
      this.#drive(() => this.#multi.actions(late, late.length / 3));
    }
    if (this.#lateTimer) {
      this.#lateTimer = false;
      this.#drive(() => this.#multi.timeout());
    }
    this.#driver.crank();
    this.#open--;
    const thrown = this.#thrown;
    this.#thrown = null;
    if (thrown !== null) throw thrown.error;
  }

  begin(): void {
    this.#open++;
  }

  end(): void {
    this.#open--;
  }

  close(): void {
    this.#driver.stop();
  }
}

/** Every other step waits first: on a ready socket, a due timer, or not at all, for the test's servers live in this thread. */
class ByPerform implements Driving {
  readonly #multi: Multi;
  #steps = 0;

  constructor(multi: Multi) {
    this.#multi = multi;
  }

  step(): void {
    this.#steps++;
    if (this.#steps % 4 === 1) this.#multi.wait(0);
    if (this.#steps % 4 === 3) this.#multi.poll(0);
    this.#multi.perform();
  }

  watch(): void {}

  setTimer(): void {}

  begin(): void {}

  end(): void {}

  close(): void {}
}

/** An event that is kept back for some steps. */
interface Late {
  socket: number;
  events: number;
  steps: number;
}

/** How often, of 1, and how far an event system may stray. Late by a few steps is late by a millisecond or so. */
const CHAOS = {
  late: 0.25,
  lateStepsMax: 4,
  doubled: 0.15,
  wrongKind: 0.25,
  spurious: 0.25,
  unknown: 0.1,
  earlyTimer: 0.05,
  lateTimer: 0.3,
} as const;

class ByChaos implements Driving {
  readonly #multi: Multi;
  readonly #below: (end: number) => number;
  readonly #poller = openEpollPoller();
  readonly #watched = new Set<number>();
  #due = NEVER;
  #late: Late[] = [];
  /** Above 0 between `begin` and `end`: only there something may be late. A test that steps by hand counts on what is due. */
  #mayBeLate = 0;

  constructor(multi: Multi, seed: number) {
    this.#multi = multi;
    this.#below = randomOf(seed);
    onTestFailed(() => console.error(`driven by chaos: SHARDFETCH_DRIVING=chaos SHARDFETCH_DRIVING_SEED=${seed}`));
  }

  watch(socket: number, what: number): void {
    if (what === WATCH_REMOVE) this.#watched.delete(socket);
    else this.#watched.add(socket);
    this.#poller.watch(socket, what === WATCH_REMOVE ? 0 : what, 1);
  }

  setTimer(ms: number): void {
    this.#due = ms < 0 ? NEVER : nativeIo().now() + ms;
  }

  step(): void {
    const batch = this.#batch();
    // One call for all, or one for each: both are the application's right.
    if (this.#chance(0.5)) {
      for (const [socket, events] of batch) this.#multi.action(socket, events);
    } else if (batch.length > 0) {
      const triples = Int32Array.from(batch.flatMap(([socket, events]) => [socket, events, 0]));
      this.#multi.actions(triples, batch.length);
    }
    this.#timer();
  }

  begin(): void {
    this.#mayBeLate++;
  }

  end(): void {
    this.#mayBeLate--;
  }

  close(): void {
    this.#poller.close();
  }

  #batch(): [number, number][] {
    const batch: [number, number][] = [];
    this.#late = this.#late.filter((late) => {
      late.steps--;
      if (late.steps > 0 && this.#mayBeLate > 0) return true;
      batch.push([late.socket, late.events]);
      return false;
    });
    const { events } = this.#poller;
    for (let at = 0, end = this.#poller.wait(0) * 3; at < end; at += 3) {
      const socket = events[at] as number;
      const told = this.#chance(CHAOS.wrongKind) ? this.#below(8) : (events[at + 1] as number);
      if (this.#mayBeLate > 0 && this.#chance(CHAOS.late)) {
        this.#late.push({ socket, events: told, steps: 1 + this.#below(CHAOS.lateStepsMax) });
        continue;
      }
      batch.push([socket, told]);
      if (this.#chance(CHAOS.doubled)) batch.push([socket, this.#below(8)]);
    }
    const watched = [...this.#watched];
    if (watched.length > 0 && this.#chance(CHAOS.spurious)) {
      batch.push([watched[this.#below(watched.length)] as number, this.#below(8)]);
    }
    if (this.#chance(CHAOS.unknown)) batch.push([this.#below(2_000) - 1, this.#below(8)]);
    return this.#shuffle(batch);
  }

  #timer(): void {
    const isDue = this.#due <= nativeIo().now();
    if (isDue ? this.#mayBeLate > 0 && this.#chance(CHAOS.lateTimer) : !this.#chance(CHAOS.earlyTimer)) return;
    // An early one has not used up the timer that is set.
    if (isDue) this.#due = NEVER;
    this.#multi.timeout();
  }

  #shuffle<Item>(items: Item[]): Item[] {
    for (let last = items.length - 1; last > 0; last--) {
      const other = this.#below(last + 1);
      [items[last], items[other]] = [items[other] as Item, items[last] as Item];
    }
    return items;
  }

  #chance(of: number): boolean {
    return this.#below(1_000_000) < of * 1_000_000;
  }
}
