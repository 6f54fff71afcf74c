/**
 * The meter of a client process: counts answers, decides when warming up and measuring are over, and takes CPU and time at both
 * ends of the window. The load does not stop at its ends, so what is under way at one end is made up for by what is at the
 * other. Latency is taken of a sample, of small requests one in 16: two looks at the clock cost more than a shard's work for one.
 */

import { type CpuTime, cpuTimeBetween, readCpuTime } from '../cpu-clock.ts';
import { Histogram } from '../histogram.ts';
import type { Measurement, Window } from './client.ts';

type Phase =
  | { readonly name: 'warming'; readonly sinceMs: number }
  | { readonly name: 'measuring'; readonly sinceMs: number; readonly sinceCpu: CpuTime; readonly sinceAnswers: number }
  | { readonly name: 'over' };

export class Meter {
  readonly #window: Window;
  readonly #inFlight: number;
  readonly #sampleEvery: number;
  readonly #report: (measurement: Measurement) => void;
  readonly #latencies = new Histogram();
  readonly #failures: Record<string, number> = {};
  #phase: Phase = { name: 'warming', sinceMs: performance.now() };
  #begun = 0;
  #answers = 0;
  /** True until the window is over: clients stop then. */
  running = true;

  /** `sampleEvery`: a power of two. `report` is called once, in the middle of the load. */
  constructor(window: Window, inFlight: number, sampleEvery: number, report: (measurement: Measurement) => void) {
    this.#window = window;
    this.#inFlight = inFlight;
    this.#sampleEvery = sampleEvery;
    this.#report = report;
  }

  /** A request starts. Answers what its `end` wants back: the time, or 0 when it is not one of the sample. */
  begin(): number {
    return (this.#begun++ & (this.#sampleEvery - 1)) === 0 ? performance.now() : 0;
  }

  /** Its answer is complete and right. */
  end(began: number): void {
    this.#answers++;
    if (began !== 0) this.#look(began);
  }

  /** It failed. Failed requests are not answers. */
  fail(code: string, began: number): void {
    this.#failures[code] = (this.#failures[code] ?? 0) + 1;
    if (began !== 0) this.#look(0);
  }

  #look(began: number): void {
    const now = performance.now();
    const phase = this.#phase;
    if (phase.name === 'over') return;
    const { warmMs, measureMs, phaseMsMax } = this.#window;
    const spentMs = now - phase.sinceMs;
    if (phase.name === 'warming') {
      if ((spentMs < warmMs || this.#answers < this.#inFlight) && spentMs < phaseMsMax) return;
      this.#phase = { name: 'measuring', sinceMs: now, sinceCpu: readCpuTime(), sinceAnswers: this.#answers };
      return;
    }
    if (began > 0) this.#latencies.record((now - began) * 1000);
    const requests = this.#answers - phase.sinceAnswers;
    if ((spentMs < measureMs || requests < this.#inFlight) && spentMs < phaseMsMax) return;
    this.#phase = { name: 'over' };
    this.running = false;
    this.#report({
      requests,
      seconds: spentMs / 1000,
      ...cpuTimeBetween(phase.sinceCpu, readCpuTime()),
      p50Us: this.#latencies.percentileUs(0.5),
      p99Us: this.#latencies.percentileUs(0.99),
      failures: this.#failures,
    });
  }
}

/** What a failure is called in reports: its code, else its name. */
export function failureCode(error: unknown): string {
  const { code, cause, name } = error as { code?: unknown; cause?: { code?: unknown }; name?: unknown };
  return String(code ?? cause?.code ?? name ?? 'unknown');
}
