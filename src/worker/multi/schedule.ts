/**
 * Transfers with something to do that no socket event will tell: to start, to go on after a pause, to ask for more of a body.
 * They run in the multi's next turn, for which the timer asks. Runs nothing itself.
 */

import type { Transfer } from './transfer.ts';

export class Schedule {
  #waiting: Transfer[] = [];
  #spare: Transfer[] = [];

  get isEmpty(): boolean {
    return this.#waiting.length === 0;
  }

  add(transfer: Transfer): void {
    if (transfer.scheduled) return;
    transfer.scheduled = true;
    this.#waiting.push(transfer);
  }

  /**
   * What waits now; what is added from here on waits for the next call (rule 34). A transfer may be stale: `scheduled` is false
   * when it was removed meanwhile. The caller empties the array, which is used again by the call after next.
   */
  takeAll(): Transfer[] {
    const taken = this.#waiting;
    this.#waiting = this.#spare;
    this.#spare = taken;
    return taken;
  }
}
