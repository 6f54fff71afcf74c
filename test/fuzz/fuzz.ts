/**
 * Runs properties: a short run of fixed seed as part of `npm test`, and as long as one likes with `npm run fuzz` (see run.mjs),
 * which says by the environment:
 *
 *   FUZZ_MINUTES  how long, for each file; its targets share the time
 *   FUZZ_SEED     the seed that a failure printed: that one batch is run again
 *   FUZZ_PATH     and where in it the failure stood: that one case alone
 *
 * A property that never returns would take its report with it: a thread beside this one notices, prints the seed and the
 * input's number, and ends the process.
 */

import { Worker } from 'node:worker_threads';
import fc from 'fast-check';
import { afterAll, beforeAll, test } from 'vitest';

const MINUTES = Number(process.env.FUZZ_MINUTES ?? 0);
const SEED = process.env.FUZZ_SEED;
const PATH = process.env.FUZZ_PATH;

/** Of the runs that are part of `npm test`. */
const FIXED_SEED = 20_251;

/** Cases per seed in long runs: a failure is replayed by running this many again, or the one at its path. */
const BATCH_RUNS = 1_000;

/** No single case takes this long. */
const HANG_MS = 20_000;

export interface Target {
  property: fc.IRawProperty<unknown>;
  /** Cases of the short run. */
  runs: number;
}

/** Declares a test for each target; those of one file share the time. */
export function fuzz(targets: Record<string, Target>): void {
  const names = Object.keys(targets);
  const budgetMs = (MINUTES * 60_000) / names.length;
  const watch = watchForHangs();
  for (const name of names) {
    const { property, runs } = targets[name] as Target;
    test(name, { timeout: budgetMs + 60_000 }, async () => {
      const check = (seed: number, numRuns: number, path?: string): Promise<void> =>
        runOnce(name, watch.observed(property, seed), { seed, numRuns, ...(path === undefined ? {} : { path }) });
      if (SEED !== undefined) await check(Number(SEED), BATCH_RUNS, PATH);
      else if (MINUTES === 0) await check(FIXED_SEED, runs);
      else {
        const end = Date.now() + budgetMs;
        let seed = Date.now() & 0x3fff_ffff;
        let batches = 0;
        for (; batches === 0 || Date.now() < end; batches++) await check(seed++, BATCH_RUNS);
        console.log(`${name}: ${batches * BATCH_RUNS} cases, last seed ${seed - 1}`);
      }
    });
  }
}

async function runOnce(
  name: string,
  property: fc.IRawProperty<unknown>,
  parameters: fc.Parameters<unknown>,
): Promise<void> {
  const details = await fc.check(property as fc.IAsyncProperty<unknown>, parameters);
  if (!details.failed) return;
  const replay = `npm run fuzz -- --only ${JSON.stringify(name)} --seed ${details.seed} --path ${details.counterexamplePath}`;
  throw new Error(`${fc.defaultReportMessage(details as never)}\n\nTo run this case again: ${replay}`, {
    cause: details.errorInstance,
  });
}

/** Words shared with the thread that watches: the seed, the number of the case, and whether one is being run. */
const WORD_SEED = 0;
const WORD_CASE = 1;
const WORD_BUSY = 2;

const WATCHER = `
  const { workerData, parentPort } = require('node:worker_threads');
  const { writeSync } = require('node:fs');
  const { words, hangMs } = workerData;
  let before = -1;
  setInterval(() => {
    if (words[${WORD_BUSY}] === 1 && words[${WORD_CASE}] === before) {
      writeSync(2, 'fuzz: case ' + before + ' of --seed ' + words[${WORD_SEED}] + ' does not end\\n');
      process.kill(process.pid, 'SIGKILL');
    }
    before = words[${WORD_CASE}];
  }, hangMs);
`;

function watchForHangs(): { observed(property: fc.IRawProperty<unknown>, seed: number): fc.IRawProperty<unknown> } {
  const words = new Int32Array(new SharedArrayBuffer(12));
  let watcher: Worker | undefined;
  beforeAll(() => {
    watcher = new Worker(WATCHER, { eval: true, workerData: { words, hangMs: HANG_MS } });
    watcher.unref();
  });
  afterAll(() => watcher?.terminate());
  return {
    observed: (property, seed) => {
      words[WORD_SEED] = seed;
      words[WORD_CASE] = 0;
      return new Proxy(property, {
        get(target, key) {
          if (key === 'run') {
            return (value: unknown) => {
              words[WORD_CASE] = (words[WORD_CASE] as number) + 1;
              words[WORD_BUSY] = 1;
              const result = target.run(value);
              if (!(result instanceof Promise)) {
                words[WORD_BUSY] = 0;
                return result;
              }
              return result.finally(() => {
                words[WORD_BUSY] = 0;
              });
            };
          }
          const member: unknown = Reflect.get(target, key);
          return typeof member === 'function' ? member.bind(target) : member;
        },
      });
    },
  };
}
