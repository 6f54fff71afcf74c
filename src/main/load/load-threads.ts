/** The threads of a run, one per shard: started together, told together, ended together. What they tell is `merge.ts`'s. */

import { Worker } from 'node:worker_threads';
import { isError } from '../../protocol/built-ins.ts';
import type { FromLoadShard, LoadShardTask, ToLoadShard } from '../../protocol/load/messages.ts';
import type { LoadPlan } from '../../protocol/load/plan.ts';
import { ownFile } from '../../protocol/own-file.ts';
import { LoadError } from './load-error.ts';

const LOOK_MS = 1_000;
/** A scenario that computes without end keeps its thread from telling anything. Looks of `LOOK_MS` without a word, which is a second's. */
const SILENT_LOOKS_MAX = 20;

export class LoadThreads {
  readonly #workers: readonly Worker[];
  /** Settles when all have told their last, or one has died. */
  readonly ended: Promise<void>;
  readonly ready: Promise<void>;
  #resolveReady: () => void = () => {};
  #readyCount = 0;
  /** By shard: how many looks ago it was heard. Looks and not times, so that a process that was stopped finds nobody silent. */
  readonly #silentLooks: number[] = [];
  #looks: NodeJS.Timeout | null = null;
  /** Shards that were ended because they told nothing. */
  readonly #silent = new Set<number>();

  constructor(plan: LoadPlan, onMessage: (message: FromLoadShard) => void) {
    this.ready = new Promise((resolve) => {
      this.#resolveReady = resolve;
    });
    this.#workers = Array.from({ length: plan.shards }, (_, shard) => {
      const task: LoadShardTask = { plan, shard };
      return new Worker(ownFile('../../worker/load/load-entry.cjs', import.meta.url), {
        workerData: task,
        name: `load shard ${shard}`,
      });
    });
    this.ended = Promise.all(this.#workers.map((worker, shard) => this.#watch(worker, shard, onMessage))).then(
      () => {},
    );
    // Whoever waits for `ready` alone hears of it there: see `allReady`.
    this.ended.catch(() => {});
  }

  /** All are ready to begin. Rejects when one has died. */
  async allReady(): Promise<void> {
    await Promise.race([this.ready, this.ended]);
  }

  tell(message: ToLoadShard): void {
    for (const worker of this.#workers) worker.postMessage(message);
  }

  /** From the beginning of the run: a thread that tells nothing any more is ended, and `ended` rejects. */
  watchSilence(): void {
    this.#looks = setInterval(() => {
      for (const [shard, worker] of this.#workers.entries()) {
        const looks = (this.#silentLooks[shard] ?? 0) + 1;
        this.#silentLooks[shard] = looks;
        if (looks !== SILENT_LOOKS_MAX) continue;
        this.#silent.add(shard);
        void worker.terminate();
      }
    }, LOOK_MS);
  }

  async terminate(): Promise<void> {
    if (this.#looks !== null) clearInterval(this.#looks);
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
  }

  #watch(worker: Worker, shard: number, onMessage: (message: FromLoadShard) => void): Promise<void> {
    return new Promise((resolve, reject) => {
      let done = false;
      let fault: unknown;
      worker.on('message', (message: FromLoadShard) => {
        this.#silentLooks[shard] = 0;
        if (message.kind === 'ready' && ++this.#readyCount === this.#workers.length) this.#resolveReady();
        onMessage(message);
        if (message.kind !== 'done') return;
        done = true;
        // It has nothing more to tell.
        this.#silentLooks[shard] = Number.NEGATIVE_INFINITY;
        resolve();
      });
      worker.on('error', (error) => {
        fault = error;
      });
      worker.once('exit', () => {
        if (done) return;
        const sentence = this.#silent.has(shard)
          ? `Shard ${shard} of the generator told nothing for ${(SILENT_LOOKS_MAX * LOOK_MS) / 1_000} s and was ended: its scenario computes without end.`
          : `Shard ${shard} of the generator died${because(fault)}.`;
        reject(new LoadError('generator', sentence, { cause: fault }));
      });
    });
  }
}

function because(fault: unknown): string {
  return isError(fault) ? `: ${fault.message}` : '';
}
