/** One seed from its beginning to its end. */

import { SimulatedClock } from '../../src/worker/io/simulated/clock.ts';
import { SimulatedNetwork } from '../../src/worker/io/simulated/network.ts';
import { Random } from '../../src/worker/io/simulated/random.ts';
import { Application } from './application.ts';
import { Ledger } from './ledger.ts';
import { SimulatedWorld } from './peer.ts';
import { Violation } from './records.ts';
import { rollScenario } from './scenario.ts';

export interface SeedReport {
  readonly seed: number;
  /** null: every invariant held. */
  readonly violation: Violation | null;
  /** How often each fault was put in and each end was seen. */
  readonly counts: ReadonlyMap<string, number>;
}

/** `trace` hears of every call, callback and segment. */
export function runSeed(seed: number, trace: ((line: string) => void) | null = null): SeedReport {
  const random = new Random(seed);
  const scenario = rollScenario(random);
  trace?.(JSON.stringify(scenario));
  const clock = new SimulatedClock();
  const ledger = new Ledger(scenario);
  const world = new SimulatedWorld(ledger, clock, random, scenario);
  const { kernel: faults, readBufferBytes, writeBufferBytes, sendBufferBytes, descriptorsMax, latencyMs } = scenario;
  const network = new SimulatedNetwork({
    clock,
    random,
    faults,
    world,
    watcher: ledger,
    readBufferBytes,
    writeBufferBytes,
    sendBufferBytes,
    descriptorsMax,
    latencyMs,
  });
  network.trace = trace === null ? null : (line) => trace(`    ${line}`);
  ledger.trace = trace === null ? null : (line) => trace(`  * ${line}`);
  let violation: Violation | null = null;
  try {
    const application = new Application(scenario, ledger, network, random);
    application.trace = trace;
    application.run();
  } catch (error) {
    // The first thing that was wrong, when it made something else throw.
    violation = ledger.violation ?? asViolation(error);
  }
  return { seed, violation, counts: ledger.counts };
}

function asViolation(error: unknown): Violation {
  if (error instanceof Violation) return error;
  return new Violation('throws', error instanceof Error ? (error.stack ?? error.message) : String(error));
}
