/**
 * The worker threads, owned by Piscina: one shard each. Knows threads, not shards' insides: it launches a shard's task on a
 * thread that has none, and ends threads.
 */

import type { MessagePort, Worker } from 'node:worker_threads';
import { Piscina } from 'piscina';
import { ownFile } from '../protocol/own-file.ts';
import type { ShardTask } from '../protocol/port/control.ts';

/** A shard's thread, launched or about to be. */
export interface ShardThread {
  /** Settles when the shard has begun, or could not. */
  readonly begun: Promise<void>;
  /** Called when the thread dies of something thrown in it, before the shard's port closes. */
  onError: ((error: unknown) => void) | null;
  /** Ends the thread, wherever it is: what it was doing is lost. */
  terminate(): void;
}

export class ShardThreads {
  readonly #piscina: Piscina;
  /** Threads that have, or had, a shard or were to begin one; a thread is never given a second one. */
  readonly #occupied = new Map<number, { readonly currentUsage: number }>();
  /** Threads whose shard has begun. */
  readonly #begun = new Set<number>();
  /** Launches that have neither begun nor failed, the oldest first. */
  readonly #unsettled = new Set<AbortController>();
  #destroyed = false;
  /** What the last thread that failed on its own threw. */
  lastError: unknown = undefined;

  constructor(count: number) {
    this.#piscina = new Piscina({
      filename: ownFile('../worker/shard-entry.cjs', import.meta.url).href,
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
        this.#occupied.set(free.id, free);
        return free;
      },
    });
    // One that had thrown before `destroy`, and ended after it, was replaced then.
    this.#piscina.on('workerCreate', () => {
      // With no thread left it would only forget that one of before is still ending.
      if (this.#destroyed && this.#piscina.threads.length > 0) void this.#piscina.destroy();
    });
    // A thread that dies with its shard: the shard's port tells; here is only why.
    this.#piscina.on('error', (error) => {
      this.lastError = error;
      this.#failThreadless();
    });
  }

  launch(task: ShardTask<MessagePort>): ShardThread {
    const abort = new AbortController();
    let thread: Worker | undefined;
    let wanted = true;
    this.#unsettled.add(abort);
    const begun = this.#piscina.run(task, { transferList: portsOf(task), signal: abort.signal }).then(
      (threadId: number) => {
        this.#unsettled.delete(abort);
        this.#begun.add(threadId);
        thread = this.#piscina.threads.find((candidate) => candidate.threadId === threadId);
        thread?.once('error', (error) => launched.onError?.(error));
        thread?.once('exit', () => this.#forget(threadId));
        if (!wanted) void thread?.terminate();
      },
      (error: unknown) => {
        this.#unsettled.delete(abort);
        this.#endFailed();
        throw abort.signal.aborted && wanted ? this.lastError : error;
      },
    );
    const launched: ShardThread = {
      begun,
      onError: null,
      terminate: () => {
        wanted = false;
        if (thread === undefined) abort.abort();
        else void thread.terminate();
      },
    };
    return launched;
  }

  /** A thread whose shard could not begin lives on, and would keep the place of one whose shard could. */
  #endFailed(): void {
    const { threads } = this.#piscina;
    const living = new Set(threads.map((thread) => thread.threadId));
    for (const threadId of this.#occupied.keys()) if (!living.has(threadId)) this.#forget(threadId);
    for (const thread of threads) {
      const { threadId } = thread;
      if (this.#begun.has(threadId) || this.#occupied.get(threadId)?.currentUsage !== 0) continue;
      thread.once('exit', () => this.#forget(threadId));
      void thread.terminate();
    }
  }

  /**
   * Piscina makes no other thread in the place of one that could not even start (no descriptor, no memory), so a launch that waits
   * for one would wait for ever: it fails, and who wants it launches again. Threads are given to the oldest launches first.
   */
  #failThreadless(): void {
    const { threads } = this.#piscina;
    const taken = threads.filter((thread) => this.#begun.has(thread.threadId)).length;
    const threadless = [...this.#unsettled].slice(Math.max(0, threads.length - taken));
    for (const launch of threadless) launch.abort();
  }

  #forget(threadId: number): void {
    this.#occupied.delete(threadId);
    this.#begun.delete(threadId);
  }

  /**
   * Ends all threads. Piscina's close() would not do (TRAPS 8): shards are drained before this. Its destroy() takes a thread that
   * throws at that moment for ended before it is, and replaces it when it is: so the second one.
   */
  async destroy(): Promise<void> {
    const ends = this.#piscina.threads.map((thread) => new Promise((resolve) => thread.once('exit', resolve)));
    await this.#piscina.destroy();
    await Promise.all(ends);
    await this.#piscina.destroy();
    this.#destroyed = true;
  }
}

function portsOf({
  dataPort,
  controlPort,
  guardPort,
  lookupPort,
  identityPort,
}: ShardTask<MessagePort>): MessagePort[] {
  return [dataPort, controlPort, guardPort, lookupPort, identityPort].filter((port) => port !== null);
}
