/**
 * Latencies: how long did requests take, as percentiles? A log-linear histogram over one typed array: microseconds below 32 are
 * exact, above that every power of two is cut in 32 steps, so a percentile is at most 3 % too high. Recording allocates nothing.
 */

const STEPS_BITS = 5;
const STEPS = 1 << STEPS_BITS;
/** 2^31 us, 35 minutes: longer ones count as this. */
const US_MAX = 2 ** 31 - 1;
const SLOTS = (31 - STEPS_BITS + 1) * STEPS;

export class Histogram {
  readonly #counts = new Float64Array(SLOTS);
  #total = 0;
  #maxUs = 0;

  record(us: number): void {
    const value = us < 0 ? 0 : us > US_MAX ? US_MAX : Math.floor(us);
    const slot = slotOf(value);
    this.#counts[slot] = (this.#counts[slot] as number) + 1;
    this.#total++;
    if (value > this.#maxUs) this.#maxUs = value;
  }

  get total(): number {
    return this.#total;
  }

  get maxUs(): number {
    return this.#maxUs;
  }

  /** The latency that `share` (0 to 1) of the requests did not exceed; 0 when nothing was recorded. */
  percentileUs(share: number): number {
    const wanted = Math.max(1, Math.ceil(this.#total * share));
    let seen = 0;
    for (let slot = 0; slot < SLOTS; slot++) {
      seen += this.#counts[slot] as number;
      if (seen >= wanted) return Math.min(lastOf(slot), this.#maxUs);
    }
    return 0;
  }
}

function slotOf(us: number): number {
  if (us < STEPS) return us;
  const shift = 31 - Math.clz32(us) - STEPS_BITS;
  return (shift + 1) * STEPS + (us >>> shift) - STEPS;
}

/** The largest value that falls into a slot. */
function lastOf(slot: number): number {
  if (slot < STEPS) return slot;
  const shift = Math.floor(slot / STEPS) - 1;
  return ((slot % STEPS) + STEPS + 1) * 2 ** shift - 1;
}

/** A wrong histogram would make every figure wrong without a sign, so the benchmarks run this first. */
export function checkHistogram(): void {
  const histogram = new Histogram();
  if (histogram.percentileUs(0.5) !== 0) throw new Error('An empty histogram must answer 0.');
  for (let us = 1; us <= 100_000; us++) histogram.record(us);
  for (const share of [0.0001, 0.01, 0.5, 0.9, 0.99, 1]) {
    const exact = share * 100_000;
    const told = histogram.percentileUs(share);
    if (told < exact || told > exact * 1.04) throw new Error(`The ${share} percentile is ${exact} us, not ${told} us.`);
  }
  histogram.record(Number.POSITIVE_INFINITY);
  if (histogram.percentileUs(1) !== US_MAX) throw new Error('The longest latency was lost.');
}
