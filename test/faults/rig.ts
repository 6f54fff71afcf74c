/**
 * What the tests of dying shards share. The product has no hooks for this: Node tells of each new Worker, a thread can be
 * ended from outside, and Piscina's bootstrap imports whatever file it is sent.
 */

import { once } from 'node:events';
import { readdirSync, readlinkSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { MessageChannel, type Worker } from 'node:worker_threads';
import { Pool, type PoolOptions, type PoolStats } from 'shardfetch';
import { expect, onTestFinished } from 'vitest';

/** Threads that live, oldest first. */
export const workers: Worker[] = [];

process.on('worker', (worker: Worker) => {
  workers.push(worker);
  worker.once('exit', () => workers.splice(workers.indexOf(worker), 1));
});

export type Death = 'terminate' | 'throws' | 'exits' | 'spins';

/** Does it to the thread; it dies in its own time. */
export function kill(worker: Worker | undefined, death: Death): void {
  if (worker === undefined) throw new Error('there is no thread to kill');
  if (death === 'terminate') {
    void worker.terminate();
    return;
  }
  const filename = fileURLToPath(new URL(`./fixtures/${death}.cjs`, import.meta.url));
  const { port1 } = new MessageChannel();
  worker.postMessage(
    {
      filename,
      name: 'default',
      niceIncrement: 0,
      atomics: 'disabled',
      port: port1,
      sharedBuffer: new SharedArrayBuffer(64),
    },
    [port1],
  );
}

export function makePool(options: PoolOptions): Pool {
  const pool = new Pool(options);
  onTestFinished(() => pool.destroy());
  return pool;
}

export interface FaultServer {
  readonly url: string;
  /** Responses begun and not ended: those of /hang (no head) and /part (head and half a body). */
  readonly open: http.ServerResponse[];
  connections(): Promise<number>;
}

/** `/` answers at once, `/hang` and `/part` when the test ends them, `/slow` after 30 ms. */
export async function serve(): Promise<FaultServer> {
  const open: http.ServerResponse[] = [];
  const server = http.createServer((request, response) => {
    if (request.url === '/hang') open.push(response);
    else if (request.url === '/part') {
      response.writeHead(200);
      response.write('part');
      open.push(response);
    } else if (request.url === '/slow') setTimeout(() => response.end('slow'), 30);
    else response.end('ok');
  });
  server.keepAliveTimeout = 60_000;
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const connections = (): Promise<number> =>
    new Promise((resolve) => {
      server.getConnections((_error, count) => resolve(count));
    });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, open, connections };
}

export interface Loss extends TypeError {
  readonly code: string;
  readonly cause: Error & { code: string; url: string; message: string; cause?: unknown };
}

/** What a promise was rejected with. */
export async function rejection(promise: Promise<unknown>): Promise<Loss> {
  try {
    await promise;
  } catch (error) {
    return error as Loss;
  }
  throw new Error('it did not reject');
}

/** The shape that callers of fetch test for. */
export function expectLoss(error: Loss, words: 'fetch failed' | 'terminated', url: string): void {
  expect(error).toBeInstanceOf(TypeError);
  expect(error.message).toBe(words);
  expect(error.code).toBe('SHARD_LOST');
  expect(error.cause).toMatchObject({ name: 'TransferError', code: 'SHARD_LOST', url });
  expect(error.cause.message).toMatch(/^.{20,}\.$/);
}

export async function expectBalance(pool: Pool, inFlight = 0): Promise<PoolStats> {
  const stats = await pool.stats();
  expect(stats.inFlight).toBe(inFlight);
  expect(stats.started).toBe(stats.completed + stats.failed + stats.aborted + stats.inFlight);
  return stats;
}

/** Until `look` answers true; what does not come within 20 s does not come. */
export async function eventually(look: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const end = performance.now() + 20_000;
  while (!(await look())) {
    if (performance.now() > end) throw new Error(`${what} did not come`);
    await delay(5);
  }
}

/** Sockets, epolls and eventfds of this process, by kind. */
export function descriptors(): Record<string, number> {
  const counts: Record<string, number> = { socket: 0, eventpoll: 0, eventfd: 0 };
  for (const name of readdirSync('/proc/self/fd')) {
    try {
      const kind = /^(?:anon_inode:)?\[?(socket|eventpoll|eventfd)/.exec(readlinkSync(`/proc/self/fd/${name}`))?.[1];
      if (kind !== undefined) counts[kind] = (counts[kind] ?? 0) + 1;
    } catch {
      // Closed since it was listed.
    }
  }
  return counts;
}
