/**
 * A port of this machine that answers no connection attempt: what a black hole is, without leaving loopback. Linux drops the
 * first packet of a connection when the listener's queue is full, and a listener in a stuck thread never empties its queue.
 */

import { once } from 'node:events';
import net from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { onTestFinished } from 'vitest';

/** Listens on an address of loopback, in a thread that is stuck, with a queue that is full: further connections get no answer. */
export async function fullListener(host = '127.0.0.1'): Promise<{ port: number; fillers: net.Socket[] }> {
  const worker = new Worker(
    `const net = require('node:net');
     const { parentPort } = require('node:worker_threads');
     const server = net.createServer().listen({ port: 0, host: ${JSON.stringify(host)}, backlog: 1 }, () => {
       parentPort.postMessage(server.address().port);
       setImmediate(() => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0));
     });`,
    { eval: true },
  );
  onTestFinished(async () => {
    await worker.terminate();
  });
  const [port] = (await once(worker, 'message')) as [number];
  const fillers: net.Socket[] = [];
  for (;;) {
    const filler = net.connect(port, host).on('error', () => undefined);
    fillers.push(filler);
    const signal = AbortSignal.timeout(500);
    try {
      await once(filler, 'connect', { signal });
    } catch {
      // It may be this thread that stood still: then its connect is told now.
      await delay(20);
      if (filler.connecting) return { port, fillers };
    }
  }
}
