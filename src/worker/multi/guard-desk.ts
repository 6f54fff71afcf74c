/**
 * Asks guards about addresses, for dials. A guard that answers at once is heard at once; one that answers later, from the main
 * thread, is heard in the multi's next turn, for which the timer callback asks.
 */

import type { Guard, GuardQuestion, GuardVerdicts } from '../../protocol/guard-options.ts';
import type { Multi } from './multi.ts';
import { AT_ONCE } from './timer-announcement.ts';
import { TimerNode, type TimerOwner } from './timer-queue.ts';

type Tell = (verdicts: GuardVerdicts) => void;

export class GuardDesk implements TimerOwner {
  readonly #multi: Multi;
  /** What was answered between turns. */
  readonly #answered: { tell: Tell; verdicts: GuardVerdicts }[] = [];
  readonly #timer = new TimerNode(this);
  #closed = false;

  constructor(multi: Multi) {
    this.#multi = multi;
  }

  /** `tell` hears once, perhaps before this returns; never again once the multi is closed. */
  ask(guard: Guard, question: GuardQuestion, tell: Tell): void {
    let asking = true;
    let answered = false;
    guard.judge(question, (verdicts) => {
      if (answered || this.#closed) return;
      answered = true;
      if (asking) tell(verdicts);
      else this.#tellNextTurn(tell, verdicts);
    });
    asking = false;
  }

  /** Guards have answered since the last turn (TimerOwner). */
  onTimer(): void {
    for (let next = this.#answered.shift(); next !== undefined; next = this.#answered.shift()) next.tell(next.verdicts);
  }

  /** What is answered from here on is ignored. */
  leave(): void {
    this.#closed = true;
    this.#answered.length = 0;
    this.#multi.timers.cancel(this.#timer);
  }

  #tellNextTurn(tell: Tell, verdicts: GuardVerdicts): void {
    this.#answered.push({ tell, verdicts });
    this.#multi.timers.set(this.#timer, AT_ONCE);
    this.#multi.timersChanged();
  }
}
