/**
 * Values by small integer ids that are never mistaken for each other: an id is a slot and the count of its uses, so an id
 * of a value that was removed finds nothing, even when its slot serves another by now. Constant time, no hashing.
 */

const SLOT_BITS = 20;
const SLOT_MASK = (1 << SLOT_BITS) - 1;
/** Uses of a slot before its count starts over; 31 bits in all keep ids small integers. */
const USE_MASK = (1 << 11) - 1;

/** Most values at a time. */
export const SLOTS_MAX = 1 << SLOT_BITS;

export class SlotTable<T> {
  readonly #values: (T | undefined)[] = [];
  readonly #ids: number[] = [];
  readonly #free: number[] = [];
  size = 0;

  /** Keeps a value and answers its id. Throws RangeError when SLOTS_MAX values are kept. */
  insert(value: T): number {
    let slot = this.#free.pop();
    if (slot === undefined) {
      slot = this.#values.length;
      if (slot === SLOTS_MAX) throw new RangeError(`No more than ${SLOTS_MAX} values fit.`);
      this.#ids.push(slot);
      this.#values.push(undefined);
    }
    this.#values[slot] = value;
    this.size++;
    return this.#ids[slot] as number;
  }

  get(id: number): T | undefined {
    const slot = id & SLOT_MASK;
    return this.#ids[slot] === id ? this.#values[slot] : undefined;
  }

  remove(id: number): void {
    const slot = id & SLOT_MASK;
    if (this.#ids[slot] !== id || this.#values[slot] === undefined) return;
    this.#values[slot] = undefined;
    this.#ids[slot] = ((((id >> SLOT_BITS) + 1) & USE_MASK) << SLOT_BITS) | slot;
    this.#free.push(slot);
    this.size--;
  }

  *[Symbol.iterator](): Generator<T> {
    for (const value of this.#values) if (value !== undefined) yield value;
  }
}
