/** A server to connect to, and waiting for what the kernel does in its own time: what the tests of native/ share. */

import { once } from 'node:events';
import net from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { onTestFinished } from 'vitest';
import { EAGAIN, EINPROGRESS, ENOTCONN } from '../../src/worker/io/errno.ts';
import type { AddressFamily } from '../../src/worker/io/io.ts';
import { nativeIo } from '../../src/worker/io/native-io.ts';

export interface Server {
  readonly port: number;
  /** The server's end of the next connection. */
  accept(): Promise<net.Socket>;
}

/** Listens until the test is over. `where`: a host, or a path to listen on. */
export async function serve(where: { host: string } | { path: string }): Promise<Server> {
  const waiting: net.Socket[] = [];
  const all = new Set<net.Socket>();
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    all.add(socket);
    waiting.push(socket);
    socket.on('error', () => {});
    server.emit('accepted');
  });
  server.listen('path' in where ? where : { ...where, port: 0 });
  await once(server, 'listening');
  onTestFinished(() => {
    for (const socket of all) socket.destroy();
    server.close();
  });
  const address = server.address();
  return {
    port: address !== null && typeof address === 'object' ? address.port : 0,
    async accept() {
      for (;;) {
        const socket = waiting.shift();
        if (socket) return socket;
        await once(server, 'accepted');
      }
    },
  };
}

/** A connected socket of ours, closed with the test. */
export async function connected(family: AddressFamily, address: string, port: number): Promise<number> {
  const socket = opened(family);
  const started = nativeIo().connect(socket, family, address, port);
  if (started !== 0 && started !== -EINPROGRESS) throw new Error(`connect answered ${started}`);
  const result = await until(
    () => nativeIo().connectResult(socket),
    (answer) => answer !== -EINPROGRESS,
  );
  if (result !== 0) throw new Error(`connectResult answered ${result}`);
  return socket;
}

/** An unconnected socket of ours, closed with the test. */
export function opened(family: AddressFamily): number {
  const socket = nativeIo().open(family);
  if (socket < 0) throw new Error(`open answered ${socket}`);
  onTestFinished(() => {
    nativeIo().close(socket);
  });
  return socket;
}

/** Repeats a call until its answer is what the test waits for; throws after 20 s, with the last answer. */
export async function until<T>(call: () => T, wanted: (answer: T) => boolean): Promise<T> {
  const end = performance.now() + 20_000;
  for (;;) {
    const answer = call();
    if (wanted(answer)) return answer;
    if (performance.now() > end) throw new Error(`waited in vain; the last answer was ${answer}`);
    await delay(1);
  }
}

/** What `read` answers once there is something to answer. */
export function readSoon(socket: number): Promise<number> {
  return until(
    () => nativeIo().read(socket),
    (answer) => answer !== -EAGAIN && answer !== -ENOTCONN,
  );
}

/** The bytes that the last `read` left. */
export function readText(count: number): string {
  return Buffer.from(nativeIo().readBuffer.subarray(0, count)).toString('latin1');
}
