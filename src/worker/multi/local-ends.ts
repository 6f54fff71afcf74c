/**
 * From which end of this machine the next connection to a target is made: local addresses and ports in turn, passing over an
 * address that has lately had no port left for that target. To ask the kernel again at once would cost a walk through all of
 * its ports (milliseconds, at the expense of every other transfer of the thread), so each refusal is remembered for a while.
 * Opens nothing: see `socket-opener.ts`.
 */

/** The first refusal is remembered so long, each further one twice as long, up to the second. Ports come free by the second or slower (TIME_WAIT: 60 s). */
const BACK_OFF_FIRST_MS = 50;
const BACK_OFF_MAX_MS = 1_000;

/** Most targets kept in mind: a crawler visits many, and a turn or a refusal forgotten costs little. */
const TARGETS_MAX = 4_096;

interface Refusal {
  until: number;
  backOffMs: number;
}

export class LocalEnds {
  readonly #turns = new Map<string, number>();
  /** By local address and target. */
  readonly #refusals = new Map<string, Refusal>();

  /** How many connections were made to this target before this one. */
  turn(target: string): number {
    const turn = this.#turns.get(target) ?? 0;
    if (turn === 0 && this.#turns.size >= TARGETS_MAX) this.#turns.clear();
    this.#turns.set(target, turn + 1);
    return turn;
  }

  /** Whether `local` ('': the kernel's choice) had no port for the target, too short a time ago to ask again. */
  isSpent(local: string, target: string, now: number): boolean {
    if (this.#refusals.size === 0) return false;
    const refusal = this.#refusals.get(`${local}>${target}`);
    return refusal !== undefined && refusal.until > now;
  }

  refused(local: string, target: string, now: number): void {
    const key = `${local}>${target}`;
    const before = this.#refusals.get(key)?.backOffMs ?? 0;
    if (before === 0 && this.#refusals.size >= TARGETS_MAX) this.#refusals.clear();
    const backOffMs = before === 0 ? BACK_OFF_FIRST_MS : Math.min(before * 2, BACK_OFF_MAX_MS);
    this.#refusals.set(key, { until: now + backOffMs, backOffMs });
  }

  /** It has ports again. */
  granted(local: string, target: string): void {
    if (this.#refusals.size > 0) this.#refusals.delete(`${local}>${target}`);
  }
}
