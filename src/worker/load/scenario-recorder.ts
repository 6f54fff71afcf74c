/** What a shard counts of a scenario between two cuts, beside its requests (`recorder.ts`): iterations, checks, tags as they come up. */

import { isError } from '../../protocol/built-ins.ts';
import { Histogram } from '../../protocol/load/histogram.ts';
import type { ScenarioInterval } from '../../protocol/load/messages.ts';
import { boundedName, MESSAGES_MAX, SCENARIO_NAMES_MAX } from '../../protocol/load/scenario.ts';
import { thrownText } from '../../protocol/thrown-text.ts';

const US_PER_MS = 1_000;
/** A sentence, not a page. */
const MESSAGE_LENGTH_MAX = 300;

export class ScenarioRecorder {
  started = 0;
  lateStarts = 0;
  notStarted = 0;
  #completed = 0;
  #failed = 0;
  readonly #duration = new Histogram(true);
  #errors = new Map<string, number>();
  readonly #checks = new Map<string, { passed: number; failed: number }>();

  completed(durationMs: number): void {
    this.#completed++;
    this.#duration.record(durationMs * US_PER_MS);
  }

  failed(reason: unknown): void {
    this.#failed++;
    this.noteError(messageOf(reason));
  }

  noteError(message: string): void {
    const name = boundedName(this.#errors, message, MESSAGES_MAX);
    this.#errors.set(name, (this.#errors.get(name) ?? 0) + 1);
  }

  check(given: string, passed: boolean): void {
    const name = boundedName(this.#checks, given, SCENARIO_NAMES_MAX);
    let counts = this.#checks.get(name);
    if (counts === undefined) {
      counts = { passed: 0, failed: 0 };
      this.#checks.set(name, counts);
    }
    if (passed) counts.passed++;
    else counts.failed++;
  }

  take(): ScenarioInterval {
    const taken: ScenarioInterval = {
      started: this.started,
      completed: this.#completed,
      failed: this.#failed,
      lateStarts: this.lateStarts,
      notStarted: this.notStarted,
      duration: this.#duration.take(),
      errors: Object.fromEntries(this.#errors),
      checks: [...this.#checks].map(([name, { passed, failed }]) => ({ name, passed, failed })),
    };
    this.started = 0;
    this.lateStarts = 0;
    this.notStarted = 0;
    this.#completed = 0;
    this.#failed = 0;
    this.#errors = new Map();
    this.#checks.clear();
    return taken;
  }
}

function messageOf(reason: unknown): string {
  const text = isError(reason) ? `${reason.name}: ${thrownText(reason)}` : thrownText(reason);
  return text.length > MESSAGE_LENGTH_MAX ? `${text.slice(0, MESSAGE_LENGTH_MAX)}…` : text;
}
