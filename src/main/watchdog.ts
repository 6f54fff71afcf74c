/**
 * One watchdog per shard, on the main thread: with work pending and nothing heard for 5 s it asks, and 5 s later it ends the
 * shard. One coarse timer, which runs only while there is work; no clock is read per message.
 */

/** How often the watchdog looks. */
const TICK_MS = 1_000;
/** Quiet ticks before the shard is asked whether it lives. */
const QUIET_TICKS_ASK = 5;
/** Quiet ticks before it is ended. */
const QUIET_TICKS_END = 10;

export interface Watched {
  /** Whether answers are due. */
  isBusy(): boolean;
  /** Whether anything came since the last call. */
  wasHeard(): boolean;
  /** Asks for a sign of life, which will be heard. */
  ask(): void;
  /** It does not live. */
  end(): void;
}

export class Watchdog {
  readonly #watched: Watched;
  #timer: NodeJS.Timeout | null = null;
  #quietTicks = 0;

  constructor(watched: Watched) {
    this.#watched = watched;
  }

  /** There is work now. */
  start(): void {
    if (this.#timer !== null) return;
    this.#quietTicks = 0;
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    this.#timer.unref();
  }

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
    this.#timer = null;
  }

  get running(): boolean {
    return this.#timer !== null;
  }

  #tick(): void {
    if (!this.#watched.isBusy()) {
      this.stop();
      return;
    }
    if (this.#watched.wasHeard()) {
      this.#quietTicks = 0;
      return;
    }
    this.#quietTicks++;
    if (this.#quietTicks === QUIET_TICKS_ASK) this.#watched.ask();
    if (this.#quietTicks >= QUIET_TICKS_END) {
      this.stop();
      this.#watched.end();
    }
  }
}
