/**
 * Histogram: how often was each latency seen? HdrHistogram's layout with 3 significant digits, from 0 to 3,600,000,000 us, as one
 * array of counts: a value below 2,048 has its own place, above that every power of two is cut in 1,024. Recording is a shift and an
 * addition (2 to 3 ns); merging is adding arrays, so shards merge exactly.
 *
 * Percentiles are those of hdr-histogram-js on the same data, to the last digit, and `encode` writes what it reads (V2, compressed,
 * base64: https://github.com/HdrHistogram/HdrHistogram). Knows nothing of time or requests.
 */

import { deflateSync, inflateSync } from 'node:zlib';

/** One hour; longer ones count as this. */
export const HISTOGRAM_MAX = 3_600_000_000;
const DIGITS = 3;
/** 2,048 places of width 1: the least power of two that tells 1999 from 2000. */
const EXACT_BITS = 11;
const HALF_BITS = EXACT_BITS - 1;
const HALF = 1 << HALF_BITS;
/** `HISTOGRAM_MAX` has 32 bits. */
const BUCKETS = 32 - EXACT_BITS + 1;
export const HISTOGRAM_LENGTH = (BUCKETS + 1) * HALF;
/** 31 - `Math.clz32` of a value with `EXACT_BITS` bits is HALF_BITS. */
const SHIFT_BASE = 31 - HALF_BITS;
const EXACT_MASK = (1 << EXACT_BITS) - 1;

/** The counts that are not 0 lie here: what crosses from a shard. */
export interface HistogramPart {
  /** The place of the first. */
  readonly first: number;
  readonly counts: Uint32Array;
}

/** Counts of latencies in microseconds, kept to 3 significant digits, as HdrHistogram keeps them. */
export class Histogram {
  /** By place. A count of 2^32 would take a day at 50,000 a second: `merge` adds into doubles, so only one interval must stay below. */
  readonly #counts: Float64Array | Uint32Array;

  /** `interval`: for one second in a shard: half the memory. */
  constructor(interval = false) {
    this.#counts = interval ? new Uint32Array(HISTOGRAM_LENGTH) : new Float64Array(HISTOGRAM_LENGTH);
  }

  /** A value below 0 counts as 0, one above the maximum as that; fractions are cut off. */
  record(value: number): void {
    const counts = this.#counts;
    const place = placeOf(value > HISTOGRAM_MAX ? HISTOGRAM_MAX : value > 0 ? value >>> 0 : 0);
    counts[place] = (counts[place] as number) + 1;
  }

  /** How many were recorded. Walks all of it, as everything below: recording does nothing that can be done later. */
  get count(): number {
    const counts = this.#counts;
    let total = 0;
    for (let place = 0; place < HISTOGRAM_LENGTH; place++) total += counts[place] as number;
    return total;
  }

  /** hdr-histogram-js's `getValueAtPercentile`: the highest value that counts as equal to that of this percentile. 0 when empty. */
  valueAtPercentile(percentile: number): number {
    return this.valuesAtPercentiles([percentile])[0] as number;
  }

  /** Several in one walk; they must ascend. */
  valuesAtPercentiles(percentiles: readonly number[]): number[] {
    const total = this.count;
    const values: number[] = [];
    let seen = 0;
    let place = -1;
    for (const percentile of percentiles) {
      const wanted = wantedCount(percentile, total);
      while (total > 0 && seen < wanted) seen += this.#counts[++place] as number;
      values.push(total === 0 ? 0 : percentile === 0 ? lowestOf(place) : highestOf(place));
    }
    return values;
  }

  /** The lowest value recorded, as far as its place tells; 0 when empty. */
  get min(): number {
    const place = this.#firstPlace();
    return place < 0 ? 0 : lowestOf(place);
  }

  /** The highest value recorded, as far as its place tells; 0 when empty. */
  get max(): number {
    const place = this.#lastPlace();
    return place < 0 ? 0 : highestOf(place);
  }

  get mean(): number {
    const { total, sum } = this.#sumOf((place) => middleOf(place));
    return total === 0 ? 0 : sum / total;
  }

  get stdDeviation(): number {
    const { mean } = this;
    const { total, sum } = this.#sumOf((place) => (middleOf(place) - mean) ** 2);
    return total === 0 ? 0 : Math.sqrt(sum / total);
  }

  add(other: Histogram): void {
    const counts = this.#counts;
    const added = other.#counts;
    for (let place = 0; place < HISTOGRAM_LENGTH; place++) {
      const count = added[place] as number;
      if (count > 0) counts[place] = (counts[place] as number) + count;
    }
  }

  addPart({ first, counts: added }: HistogramPart): void {
    const counts = this.#counts;
    for (let index = 0; index < added.length; index++) {
      counts[first + index] = (counts[first + index] as number) + (added[index] as number);
    }
  }

  /** What was recorded since the last call, taken out. Null: nothing. Its buffer may be transferred. */
  take(): HistogramPart | null {
    const last = this.#lastPlace();
    if (last < 0) return null;
    const first = this.#firstPlace();
    const part = { first, counts: Uint32Array.from(this.#counts.subarray(first, last + 1)) };
    this.#counts.fill(0, first, last + 1);
    return part;
  }

  clear(): void {
    this.#counts.fill(0);
  }

  /** Places that are not empty, lowest first: what a report draws. */
  *steps(): Generator<{ readonly from: number; readonly to: number; readonly count: number }> {
    for (let place = 0; place < HISTOGRAM_LENGTH; place++) {
      const count = this.#counts[place] as number;
      if (count > 0) yield { from: lowestOf(place), to: highestOf(place), count };
    }
  }

  /** V2, compressed, base64. */
  encode(): string {
    const payload = encodeCounts(this.#counts, this.#lastPlace() + 1);
    const head = Buffer.alloc(HEAD_BYTES);
    head.writeInt32BE(COOKIE, 0);
    head.writeInt32BE(payload.length, 4);
    head.writeInt32BE(0, 8);
    head.writeInt32BE(DIGITS, 12);
    head.writeBigInt64BE(1n, 16);
    head.writeBigInt64BE(BigInt(HISTOGRAM_MAX), 24);
    head.writeDoubleBE(1, 32);
    const compressed = deflateSync(Buffer.concat([head, payload]));
    const envelope = Buffer.alloc(8);
    envelope.writeInt32BE(COMPRESSED_COOKIE, 0);
    envelope.writeInt32BE(compressed.length, 4);
    return Buffer.concat([envelope, compressed]).toString('base64');
  }

  /** What `encode` wrote; '' is an empty one. Throws an Error for anything else. */
  static decode(text: string): Histogram {
    const histogram = new Histogram();
    if (text === '') return histogram;
    const bytes = Buffer.from(text, 'base64');
    if (bytes.length < 8 || bytes.readInt32BE(0) !== COMPRESSED_COOKIE) throw notOurs();
    const plain = inflateSync(bytes.subarray(8, 8 + bytes.readInt32BE(4)));
    if (plain.length < HEAD_BYTES || plain.readInt32BE(0) !== COOKIE || plain.readInt32BE(12) !== DIGITS)
      throw notOurs();
    if (plain.readBigInt64BE(16) !== 1n) throw notOurs();
    decodeCounts(plain.subarray(HEAD_BYTES, HEAD_BYTES + plain.readInt32BE(4)), histogram.#counts);
    return histogram;
  }

  /** Weighted by the counts. Empty places are passed over: a result of two hundred tags would take more than a second else. */
  #sumOf(weigh: (place: number) => number): { readonly total: number; readonly sum: number } {
    const counts = this.#counts;
    let total = 0;
    let sum = 0;
    for (let place = 0, end = this.#lastPlace() + 1; place < end; place++) {
      const count = counts[place] as number;
      if (count === 0) continue;
      total += count;
      sum += weigh(place) * count;
    }
    return { total, sum };
  }

  /** A plain loop: with a callback for each place it would hold a shard up for a tenth of a millisecond. */
  #firstPlace(): number {
    const counts = this.#counts;
    let place = 0;
    while (place < HISTOGRAM_LENGTH && counts[place] === 0) place++;
    return place === HISTOGRAM_LENGTH ? -1 : place;
  }

  #lastPlace(): number {
    let place = HISTOGRAM_LENGTH - 1;
    while (place >= 0 && this.#counts[place] === 0) place--;
    return place;
  }
}

// ── Places ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Of a whole value of 32 bits. */
function placeOf(value: number): number {
  const shift = SHIFT_BASE - Math.clz32(value | EXACT_MASK);
  return (shift << HALF_BITS) + (value >>> shift);
}

function shiftOf(place: number): number {
  return place < 2 * HALF ? 0 : (place >>> HALF_BITS) - 1;
}

function lowestOf(place: number): number {
  const shift = shiftOf(place);
  return (place - (shift << HALF_BITS)) * 2 ** shift;
}

function highestOf(place: number): number {
  return lowestOf(place) + 2 ** shiftOf(place) - 1;
}

/** As hdr-histogram-js takes it for means. */
function middleOf(place: number): number {
  return lowestOf(place) + Math.floor(2 ** shiftOf(place) / 2);
}

/** The count at which the percentile is reached, as hdr-histogram-js rounds it: a unit in the last place must not skip a count. */
function wantedCount(percentile: number, total: number): number {
  const exact = (Math.min(percentile, 100) / 100) * total;
  const unitInLastPlace = 2 ** (Math.floor(Math.log2(exact)) - 52);
  return Math.max(Math.ceil(exact - unitInLastPlace), 1);
}

// ── The encoded form ───────────────────────────────────────────────────────────────────────────────────────────────────

// The bits 0x10 say: words of any length, ZigZag LEB128.
const COOKIE = 0x1c849303 | 0x10;
const COMPRESSED_COOKIE = 0x1c849304 | 0x10;
const HEAD_BYTES = 40;

/** Each count as a ZigZag LEB128 word; a run of empty places as its negative length. */
function encodeCounts(counts: Float64Array | Uint32Array, length: number): Buffer {
  const bytes: number[] = [];
  for (let place = 0; place < length; ) {
    const count = counts[place] as number;
    let run = 1;
    if (count === 0) while (place + run < length && counts[place + run] === 0) run++;
    putWord(bytes, count === 0 && run > 1 ? run * 2 - 1 : count * 2);
    place += run;
  }
  return Buffer.from(bytes);
}

function decodeCounts(bytes: Buffer, counts: Float64Array | Uint32Array): void {
  let place = 0;
  for (let offset = 0; offset < bytes.length; ) {
    let word = 0;
    let scale = 1;
    let byte: number;
    do {
      byte = bytes[offset++] ?? 0;
      word += (byte & 0x7f) * scale;
      scale *= 128;
    } while (byte >= 0x80 && offset < bytes.length);
    if (word % 2 === 1) place += (word + 1) / 2;
    else if (place < HISTOGRAM_LENGTH) counts[place++] = word / 2;
    else throw notOurs();
  }
}

/** Words of up to 2^53 take 8 bytes, where LEB128 and its 9-byte variant agree. */
function putWord(bytes: number[], word: number): void {
  let rest = word;
  while (rest >= 128) {
    bytes.push((rest % 128) | 0x80);
    rest = Math.floor(rest / 128);
  }
  bytes.push(rest);
}

function notOurs(): Error {
  return new Error('This is no encoded histogram of microseconds with 3 significant digits.');
}
