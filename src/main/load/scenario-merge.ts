/** Puts together what shards tell of a scenario: iterations and checks. Requests are `merge.ts`'s. */

import { Histogram } from '../../protocol/load/histogram.ts';
import type { ScenarioInterval } from '../../protocol/load/messages.ts';
import type { LoadCheck, LoadIterations } from '../../protocol/load/result.ts';
import { boundedName, MESSAGES_MAX, SCENARIO_NAMES_MAX } from '../../protocol/load/scenario.ts';
import { distributionOf } from './distribution.ts';

export class ScenarioMerger {
  readonly #duration = new Histogram();
  readonly #errors = new Map<string, number>();
  readonly #checks = new Map<string, { passed: number; failed: number }>();
  readonly #counts = { started: 0, completed: 0, failed: 0, lateStarts: 0, notStarted: 0 };

  add({ started, completed, failed, lateStarts, notStarted, duration, errors, checks }: ScenarioInterval): void {
    const counts = this.#counts;
    counts.started += started;
    counts.completed += completed;
    counts.failed += failed;
    counts.lateStarts += lateStarts;
    counts.notStarted += notStarted;
    if (duration !== null) this.#duration.addPart(duration);
    for (const [message, count] of Object.entries(errors)) {
      const name = boundedName(this.#errors, message, MESSAGES_MAX);
      this.#errors.set(name, (this.#errors.get(name) ?? 0) + count);
    }
    for (const check of checks) {
      const name = boundedName(this.#checks, check.name, SCENARIO_NAMES_MAX);
      const { passed, failed: failures } = this.#checks.get(name) ?? { passed: 0, failed: 0 };
      this.#checks.set(name, { passed: passed + check.passed, failed: failures + check.failed });
    }
  }

  build(unfinished: number): LoadIterations {
    return {
      ...this.#counts,
      unfinished,
      duration: distributionOf(this.#duration),
      errors: Object.fromEntries(this.#errors),
    };
  }

  get checks(): LoadCheck[] {
    return [...this.#checks].map(([name, { passed, failed }]) => ({ name, passed, failed }));
  }
}
