/**
 * How the generator itself fares in this thread: CPU, the longest turn, how late timers are, garbage collections. A figure of the
 * server's is worth no more than these are good.
 */

import { PerformanceObserver } from 'node:perf_hooks';
import { Histogram } from '../../protocol/load/histogram.ts';
import type { LoadShardHealth } from '../../protocol/load/result.ts';
import { threadCpuMs } from '../io/alarm.ts';

/** Timers are looked at this often: a delay shorter than it shows only by chance, and nobody would miss it. */
const LOOK_MS = 20;
const US_PER_MS = 1_000;
/** Node's timers fire up to so much after their time by themselves. */
const TIMER_SLACK_MS = 1;

export class Health {
  readonly #delays = new Histogram(true);
  readonly #observer: PerformanceObserver;
  readonly #timer: NodeJS.Timeout;
  #cpuMs = threadCpuMs();
  #sinceMs = performance.now();
  #lookedMs = performance.now();
  #longestTurnMs = 0;
  #gcCount = 0;
  #gcTotalMs = 0;
  #gcMaxMs = 0;

  constructor() {
    this.#observer = new PerformanceObserver((list) => {
      for (const { duration } of list.getEntries()) {
        this.#gcCount++;
        this.#gcTotalMs += duration;
        if (duration > this.#gcMaxMs) this.#gcMaxMs = duration;
      }
    });
    this.#observer.observe({ entryTypes: ['gc'] });
    this.#timer = setInterval(() => this.#look(), LOOK_MS);
  }

  /** The measured time begins: what came before is forgotten. */
  restart(): void {
    this.#cpuMs = threadCpuMs();
    this.#sinceMs = performance.now();
    this.#lookedMs = this.#sinceMs;
    this.#delays.clear();
    this.#longestTurnMs = 0;
    this.#gcCount = 0;
    this.#gcTotalMs = 0;
    this.#gcMaxMs = 0;
  }

  turn(ms: number): void {
    if (ms > this.#longestTurnMs) this.#longestTurnMs = ms;
  }

  report(): LoadShardHealth {
    const wallMs = performance.now() - this.#sinceMs;
    return {
      cpu: wallMs > 0 ? (threadCpuMs() - this.#cpuMs) / wallMs : 0,
      longestTurnMs: this.#longestTurnMs,
      loopDelayP99Ms: this.#delays.valueAtPercentile(99) / US_PER_MS,
      loopDelayMaxMs: this.#delays.max / US_PER_MS,
      gcCount: this.#gcCount,
      gcTotalMs: this.#gcTotalMs,
      gcMaxMs: this.#gcMaxMs,
    };
  }

  stop(): void {
    this.#observer.disconnect();
    clearInterval(this.#timer);
  }

  #look(): void {
    const now = performance.now();
    this.#delays.record((now - this.#lookedMs - LOOK_MS - TIMER_SLACK_MS) * US_PER_MS);
    this.#lookedMs = now;
  }
}
