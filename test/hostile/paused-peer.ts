/**
 * A raw peer on a thread of its own, for pools that run in the test's thread (`shards: 0`): the test can be stopped while the
 * peer acts, so that what the peer did lies in the socket before the client looks.
 */

import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { onTestFinished } from 'vitest';

export interface PausedPeer {
  readonly url: string;
  /** Settles when the first request's head has come. */
  readonly asked: Promise<unknown>;
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
    asked: once(worker, 'message'),
    act(bytes, end) {
      Atomics.store(signal, 0, 0);
      worker.postMessage({ bytes, end });
      if (Atomics.wait(signal, 0, 0, 10_000) === 'timed-out') throw new Error('the peer did not act');
    },
  };
}

const SOURCE = `
const fs = require('node:fs');
const net = require('node:net');
const { parentPort, workerData: { signal, head } } = require('node:worker_threads');
let last = null;
let asked = false;
const server = net.createServer({ allowHalfOpen: true }, (socket) => {
  last = socket;
  let seen = '';
  socket.setNoDelay(true);
  socket.on('error', () => undefined);
  socket.on('data', (chunk) => {
    seen += chunk.toString('latin1');
    for (let at = seen.indexOf('\\r\\n\\r\\n'); at >= 0; at = seen.indexOf('\\r\\n\\r\\n')) {
      seen = seen.slice(at + 4);
      if (!asked) { asked = true; parentPort.postMessage('asked'); }
      if (head === '') { socket.pause(); return; }
      socket.write(head, 'latin1');
    }
  });
  socket.on('end', () => socket.destroy());
});
server.listen(0, '127.0.0.1', () => parentPort.postMessage(server.address().port));
parentPort.on('message', ({ bytes, end }) => {
  const done = () => { Atomics.store(signal, 0, 1); Atomics.notify(signal, 0); };
  // A reset drops what the client's kernel has not acknowledged. proc(5): addresses, state, bytes in the queue for sending.
  const hex = (port) => port.toString(16).toUpperCase().padStart(4, '0');
  const line = new RegExp(' [0-9A-F]{8}:' + hex(last.localPort) + ' [0-9A-F]{8}:' + hex(last.remotePort) + ' [0-9A-F]{2} ([0-9A-F]{8}):');
  const finish = () => {
    const unacknowledged = line.exec(fs.readFileSync('/proc/net/tcp', 'latin1'))?.[1] ?? '00000000';
    if (unacknowledged !== '00000000') { setTimeout(finish, 1); return; }
    if (end === 'rst') last.resetAndDestroy();
    else if (end === 'destroy') last.destroy();
    else if (end === 'fin') { last.end(done); return; }
    setImmediate(() => setImmediate(done));
  };
  if (bytes === '') finish();
  else last.write(bytes, 'latin1', finish);
});
`;
