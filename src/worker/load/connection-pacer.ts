/**
 * Who may open a connection now: slots wait here in order of arrival and are let through at a bounded rate, a bounded number of them
 * connecting at once. Without either bound ten thousand connects at once overflow a server's accept queue, and the kernel tries each
 * lost one again after a second: that would be measured as the server's latency.
 *
 * Reads no clock and sets no timer: the generator asks, and says what has become of who was let through.
 */

/** Of all shards: half of what the usual accept queue holds (511: nginx, Node), because whoever is connected is seen only by the turn. */
const CONNECTING_MAX = 256;
/** A rate that was not used for a while may be caught up with by so much. */
const CATCH_UP_MS = 5;
const MS_PER_SECOND = 1_000;
/** So many that have gone are kept before the list is made anew. */
const GONE_MAX = 4_096;

export class ConnectionPacer {
  /** When the rate allows the next one, on the caller's clock. */
  #nextMs = 0;
  readonly #intervalMs: number;
  /** Slots in order; those before `#head` have gone. */
  #waiting: number[] = [];
  #head = 0;
  readonly #connecting: number[] = [];
  readonly #connectingMax: number;
  /** By slot: its place in `#connecting`; -1: not there. */
  readonly #places: Int32Array;

  /** `rate`: connections per second of all shards; 0: none but CONNECTING_MAX bounds it. */
  constructor(slots: number, rate: number, shards: number) {
    this.#places = new Int32Array(slots).fill(-1);
    this.#intervalMs = rate > 0 ? (MS_PER_SECOND * shards) / rate : 0;
    this.#connectingMax = Math.max(1, Math.floor(CONNECTING_MAX / shards));
  }

  /** Whether somebody waits for the rate or for a place. */
  get isWaiting(): boolean {
    return this.#head < this.#waiting.length;
  }

  get waitingCount(): number {
    return this.#waiting.length - this.#head;
  }

  get connecting(): readonly number[] {
    return this.#connecting;
  }

  /** When the rate lets the next one through. */
  get nextMs(): number {
    return this.#nextMs;
  }

  wait(slot: number): void {
    this.#waiting.push(slot);
  }

  /** Who may connect now; -1: nobody. */
  next(now: number): number {
    if (this.#head === this.#waiting.length || this.#connecting.length >= this.#connectingMax) return -1;
    if (this.#intervalMs > 0) {
      if (now < this.#nextMs) return -1;
      this.#nextMs = Math.max(this.#nextMs, now - CATCH_UP_MS) + this.#intervalMs;
    }
    const slot = this.#waiting[this.#head++] as number;
    if (this.#head === this.#waiting.length || this.#head === GONE_MAX) {
      this.#waiting = this.#waiting.slice(this.#head);
      this.#head = 0;
    }
    this.#places[slot] = this.#connecting.push(slot) - 1;
    return slot;
  }

  /** It is connected, or has failed. */
  settled(slot: number): void {
    const place = this.#places[slot] as number;
    if (place < 0) return;
    this.#places[slot] = -1;
    const last = this.#connecting.pop() as number;
    if (last === slot) return;
    this.#connecting[place] = last;
    this.#places[last] = place;
  }

  clear(): void {
    this.#waiting = [];
    this.#head = 0;
  }
}
