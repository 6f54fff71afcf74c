/**
 * The server that benchmarks send to: `GET /hello` answers 13 bytes over keep-alive connections. nginx where it is installed,
 * else our own in Node. It listens on 127.0.0.1 alone, on a free port, in processes of its own, so that its CPU is not the
 * client's; it ends with the benchmark.
 */

import net from 'node:net';
import { probeNginx, startNginx } from './nginx.ts';
import { startNodeServer } from './node-server.ts';

export const HELLO = 'hello, world\n';

/** Bodies that `filesUrl` has. */
export const BODY_SIZES: readonly number[] = [64 * 1024, 1024 * 1024, 16 * 1024 * 1024];

export interface Target {
  /** What answers, for people. */
  readonly name: string;
  readonly url: string;
  /** The same over TLS, with the certificate of the tests; '': it cannot. */
  readonly secureUrl: string;
  /** Answers as many bytes as the number says that is put behind it; '': it cannot. */
  readonly filesUrl: string;
  /** The same over TLS. */
  readonly secureFilesUrl: string;
  /** Requests answered so far, by the server's own count. */
  requestCount(): Promise<number>;
  stop(): Promise<void>;
}

export type TargetKind = 'auto' | 'nginx' | 'node';

export async function startTarget(kind: TargetKind): Promise<Target> {
  if (kind === 'node') return startNodeServer();
  if ((await probeNginx()) !== null) return startNginx();
  if (kind === 'nginx')
    throw new Error('nginx is not installed (Debian: apt-get install nginx-light); try --server node.');
  return startNodeServer();
}

/** A port of 127.0.0.1 that nobody listened on a moment ago. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = net.createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as net.AddressInfo;
      server.close(() => resolve(port));
    });
  });
}

/** Resolves when `GET /hello` answers as it should; rejects after `timeoutMs`. */
export async function waitUntilItAnswers(url: string, timeoutMs: number): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    if ((await get(url)).endsWith(`\r\n\r\n${HELLO}`)) return;
    if (performance.now() > deadline) throw new Error(`The server does not answer at ${url}.`);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

/** One GET over a connection of its own, as text; '' when it fails. No HTTP client is used: they are what is measured. */
export function get(url: string): Promise<string> {
  const { hostname, port, pathname, host } = new URL(url);
  return new Promise((resolve) => {
    let text = '';
    const socket = net.connect(Number(port), hostname);
    socket.setEncoding('latin1').setTimeout(5_000, () => socket.destroy());
    socket.on('data', (part) => {
      text += part;
    });
    socket.on('error', () => {});
    socket.on('close', () => resolve(text));
    socket.write(`GET ${pathname} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
  });
}
