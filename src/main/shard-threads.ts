/**
 * The worker threads, owned by Piscina: one shard each. Knows threads, not shards' insides: it launches a shard's task on a
 * thread that has none, and ends threads.
 */

import type { MessagePort, Worker } from 'node:worker_threads';
import { Piscina } from 'piscina';
import type { ShardTask } from '../protocol/port/control.ts';

const SHARD_FILE = new URL('../worker/shard.js', import.meta.url);

/** A shard's thread, launched or about to be. */
export interface ShardThread {
  /** Settles when the shard has begun, or could not. */
  readonly begun: Promise<void>;
  /** Ends the thread, wherever it is: what it was doing is lost. */
  terminate(): void;
}

export class ShardThreads {
  readonly #piscina: Piscina;
  /** Threads that have, or had, a shard; a thread is never given a second one. */
  readonly #occupied = new Set<number>();
  /** What the last thread that failed on its own threw. */
  lastError: unknown = undefined;

  constructor(count: number) {
    this.#piscina = new Piscina({
      filename: SHARD_FILE.href,
      minThreads: count,
      maxThreads: count,
      idleTimeout: Number.POSITIVE_INFINITY,
      concurrentTasksPerWorker: 1,
      // A worker that waits in Atomics.wait for its next task would be deaf to its own sockets.
      atomics: 'disabled',
      recordTiming: false,
      workerHistogram: false,
      loadBalancer: (_task, workers) => {
        const free = workers.find((worker) => worker.currentUsage === 0 && !this.#occupied.has(worker.id));
        if (free === undefined) return null;
        this.#occupied.add(free.id);
        return free;
      },
    });
    // A thread that dies with its shard: the shard's port tells; here is only why.
    this.#piscina.on('error', (error) => {
      this.lastError = error;
    });
    this.#piscina.on('workerDestroy', (worker: { id: number }) => this.#occupied.delete(worker.id));
  }

  launch(task: ShardTask<MessagePort>): ShardThread {
    const abort = new AbortController();
    let thread: Worker | undefined;
    let wanted = true;
    const begun = this.#piscina
      .run(task, { transferList: [task.dataPort, task.controlPort], signal: abort.signal })
      .then((threadId: number) => {
        thread = this.#piscina.threads.find((candidate) => candidate.threadId === threadId);
        if (!wanted) void thread?.terminate();
      });
    return {
      begun,
      terminate: () => {
        wanted = false;
        if (thread === undefined) abort.abort();
        else void thread.terminate();
      },
    };
  }

  /** Ends all threads. Piscina's close() would not do (TRAPS 8): shards are drained before this. */
  async destroy(): Promise<void> {
    await this.#piscina.destroy();
  }
}
