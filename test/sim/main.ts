/**
 * `npm run sim`: many seeds, on every core.
 *
 *   --seeds N    how many, default 10,000
 *   --from N     the first, default 1
 *   --seed N     this one alone
 *   --trace      with every call, callback and segment (with --seed)
 *   --workers N  threads, default one per core
 *   --failures N how many failures end the run, default 10
 *   --prove      puts bugs in, one at a time, and sees each found (prove.mjs)
 *
 * Ends with how often each fault was put in and each end was seen. A seed that fails is printed with how to run it again; status 1.
 */

import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { runSeed } from './simulation.ts';

/** Seeds given to a thread at a time. */
const BATCH_SEEDS = 200;
/** A batch that takes longer has a seed that never returns. */
const BATCH_MS_MAX = 120_000;
const PROGRESS_MS = 5_000;

interface Batch {
  readonly first: number;
  readonly count: number;
}

interface BatchReport {
  readonly batch: Batch;
  readonly failures: readonly { readonly seed: number; readonly message: string }[];
  readonly counts: ReadonlyMap<string, number>;
}

if (isMainThread) await main();
else if (workerData === 'sim') work();

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      seeds: { type: 'string', default: '10000' },
      from: { type: 'string', default: '1' },
      seed: { type: 'string' },
      trace: { type: 'boolean', default: false },
      failures: { type: 'string', default: '10' },
      workers: { type: 'string', default: String(availableParallelism()) },
      help: { type: 'boolean', default: false },
    },
  });
  const [seeds, from, workers, failuresMax] = [values.seeds, values.from, values.workers, values.failures].map(
    Number,
  ) as [number, number, number, number];
  const only = values.seed === undefined ? null : Number(values.seed);
  const isValid = [seeds, from, workers, failuresMax, only ?? 0].every(
    (number) => Number.isSafeInteger(number) && number >= 0,
  );
  if (values.help || !isValid || workers === 0) {
    console.log('npm run sim -- [--seeds N] [--from N] [--seed N [--trace]] [--workers N] [--failures N] [--prove]');
    process.exitCode = values.help ? 0 : 2;
  } else if (only !== null) process.exitCode = runOne(only, values.trace);
  else process.exitCode = await runMany(from, seeds, workers, failuresMax);
}

function runOne(seed: number, isTraced: boolean): number {
  const { violation, counts } = runSeed(seed, isTraced ? (line) => console.log(line) : null);
  if (!isTraced) printCounts(counts);
  console.log(violation === null ? `seed ${seed}: every invariant held` : failureText(seed, violation.message));
  return violation === null ? 0 : 1;
}

function failureText(seed: number, message: string): string {
  return `seed ${seed} failed: ${message}\n  again: npm run sim -- --seed ${seed} --trace`;
}

async function runMany(from: number, seeds: number, workers: number, failuresMax: number): Promise<number> {
  const counts = new Map<string, number>();
  const startedMs = Date.now();
  let next = from;
  let done = 0;
  let failures = 0;
  const report = (): void => {
    const seconds = (Date.now() - startedMs) / 1000;
    console.log(`${done} of ${seeds} seeds in ${seconds.toFixed(0)} s, ${failures} failed`);
  };
  const progress = setInterval(report, PROGRESS_MS);
  const take = (): Batch | null => {
    const count = Math.min(BATCH_SEEDS, from + seeds - next);
    if (count <= 0 || failures >= failuresMax) return null;
    next += count;
    return { first: next - count, count };
  };
  const told = ({ batch, failures: failed, counts: seen }: BatchReport): void => {
    done += batch.count;
    failures += failed.length;
    for (const { seed, message } of failed) console.log(failureText(seed, message));
    for (const [what, count] of seen) counts.set(what, (counts.get(what) ?? 0) + count);
  };
  await Promise.all(Array.from({ length: workers }, () => runWorker(take, told)));
  clearInterval(progress);
  printCounts(counts);
  report();
  return failures === 0 && done === seeds ? 0 : 1;
}

function runWorker(take: () => Batch | null, told: (report: BatchReport) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const worker = new Worker(fileURLToPath(import.meta.url), { workerData: 'sim' });
    let watch: NodeJS.Timeout | undefined;
    const give = (): void => {
      clearTimeout(watch);
      const batch = take();
      if (batch === null) {
        void worker.terminate().then(() => resolve());
        return;
      }
      watch = setTimeout(() => {
        reject(
          new Error(`seeds ${batch.first} to ${batch.first + batch.count - 1} failed: one of them does not return`),
        );
      }, BATCH_MS_MAX);
      worker.postMessage(batch);
    };
    worker.on('message', (report: BatchReport) => {
      told(report);
      give();
    });
    worker.on('error', reject);
    give();
  });
}

function work(): void {
  parentPort?.on('message', (batch: Batch) => {
    const counts = new Map<string, number>();
    const failures: { seed: number; message: string }[] = [];
    for (let seed = batch.first; seed < batch.first + batch.count; seed++) {
      const { violation, counts: seen } = runSeed(seed);
      if (violation !== null) failures.push({ seed, message: violation.message });
      for (const [what, count] of seen) counts.set(what, (counts.get(what) ?? 0) + count);
    }
    parentPort?.postMessage({ batch, failures, counts } satisfies BatchReport);
  });
}

function printCounts(counts: ReadonlyMap<string, number>): void {
  const width = Math.max(...[...counts.keys()].map((what) => what.length), 0);
  for (const [what, count] of [...counts].sort()) console.log(`  ${what.padEnd(width)} ${count}`);
}
