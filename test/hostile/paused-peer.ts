/**
 * A raw peer on a thread of its own, for pools that run in the test's thread (`shards: 0`): the test can be stopped while the
 * peer acts, so that what the peer did lies in the socket before the client looks.
 */

import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { onTestFinished } from 'vitest';

export interface PausedPeer {
  readonly url: string;
  /** The last connection sends this, ends as told, and the bytes are in the client's socket when this returns. */
  act(bytes: string, end?: 'fin' | 'rst' | 'destroy'): void;
}

/** `head`: what each request's head is answered with; '' for nothing. */
export async function pausedPeer(head: string): Promise<PausedPeer> {
  const signal = new Int32Array(new SharedArrayBuffer(4));
  const worker = new Worker(SOURCE, { eval: true, workerData: { signal, head } });
  onTestFinished(async () => {
    await worker.terminate();
  });
  const [port] = (await once(worker, 'message')) as [number];
  return {
    url: `http://127.0.0.1:${port}/`,
    act(bytes, end) {
      Atomics.store(signal, 0, 0);
      worker.postMessage({ bytes, end });
      if (Atomics.wait(signal, 0, 0, 10_000) === 'timed-out') throw new Error('the peer did not act');
    },
  };
}

const SOURCE = `
const net = require('node:net');
const { parentPort, workerData: { signal, head } } = require('node:worker_threads');
let last = null;
const server = net.createServer({ allowHalfOpen: true }, (socket) => {
  last = socket;
  let seen = '';
  socket.setNoDelay(true);
  socket.on('error', () => undefined);
  socket.on('data', (chunk) => {
    seen += chunk.toString('latin1');
    for (let at = seen.indexOf('\\r\\n\\r\\n'); at >= 0; at = seen.indexOf('\\r\\n\\r\\n')) {
      seen = seen.slice(at + 4);
      if (head === '') { socket.pause(); return; }
      socket.write(head, 'latin1');
    }
  });
  socket.on('end', () => socket.destroy());
});
server.listen(0, '127.0.0.1', () => parentPort.postMessage(server.address().port));
parentPort.on('message', ({ bytes, end }) => {
  const done = () => { Atomics.store(signal, 0, 1); Atomics.notify(signal, 0); };
  const finish = () => {
    if (end === 'rst') last.resetAndDestroy();
    else if (end === 'destroy') last.destroy();
    else if (end === 'fin') { last.end(done); return; }
    setImmediate(() => setImmediate(done));
  };
  if (bytes === '') finish();
  else last.write(bytes, 'latin1', finish);
});
`;
