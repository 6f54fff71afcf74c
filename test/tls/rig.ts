/**
 * What the tests of TLS share: servers with the certificates of `certificates/`, and transfers that reach them by the name that
 * a test wants, on loopback. The multi is driven by the contract's rig.
 */

import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import tls from 'node:tls';
import { onTestFinished } from 'vitest';
import type { TransferOptions } from '../../src/worker/multi/index.ts';

export function pem(name: string): string {
  return readFileSync(path.join(import.meta.dirname, 'certificates', `${name}.pem`), 'latin1');
}

export const ROOT = pem('root');

export interface SecureServer {
  readonly port: number;
  /** TLS sockets, in the order of their handshakes. */
  readonly sockets: tls.TLSSocket[];
  /** Requests, in the order of arrival. */
  readonly requests: string[];
  /** Their bodies. */
  readonly bodies: string[];
  /** What the server's side of handshakes failed with. */
  readonly failures: Error[];
  /** TCP connections ever. */
  accepted: number;
}

export type Answer = (socket: tls.TLSSocket, request: string, server: SecureServer) => void;

export const reply = (socket: tls.TLSSocket, body = 'ok', headers = ''): void => {
  socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n${headers}\r\n${body}`);
};

/** A server with the certificate `name`, until the test is over. */
export async function serve(
  name = 'good',
  options: tls.TlsOptions = {},
  answer: Answer = (socket) => reply(socket),
): Promise<SecureServer> {
  const text = pem(name);
  const listener = tls.createServer({ cert: text, key: text, ...options }, (socket) => {
    server.sockets.push(socket);
    let text = '';
    /** So much must be there before another look at it: a body of MiB that is looked at with every record takes seconds. */
    let wanted = 0;
    socket.on('error', () => undefined);
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1');
      if (text.length < wanted) return;
      for (let end = text.indexOf('\r\n\r\n'); end >= 0; end = text.indexOf('\r\n\r\n')) {
        const request = text.slice(0, end + 4);
        const length = Number(/content-length: (\d+)/i.exec(request)?.[1] ?? 0);
        wanted = end + 4 + length;
        if (text.length < wanted) return;
        wanted = 0;
        const body = text.slice(end + 4, end + 4 + length);
        text = text.slice(end + 4 + length);
        server.requests.push(request);
        server.bodies.push(body);
        answer(socket, request, server);
      }
    });
  });
  const all = new Set<net.Socket>();
  listener.on('connection', (socket: net.Socket) => {
    server.accepted++;
    all.add(socket);
    socket.on('error', () => undefined);
  });
  listener.on('tlsClientError', (error) => server.failures.push(error));
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const { port } = listener.address() as net.AddressInfo;
  const server: SecureServer = { port, sockets: [], requests: [], bodies: [], failures: [], accepted: 0 };
  onTestFinished(() => {
    for (const socket of all) socket.destroy();
    listener.close();
  });
  return server;
}

/** A TCP server that speaks bytes, until the test is over. */
export async function serveRaw(onConnection: (socket: net.Socket) => void): Promise<number> {
  const all = new Set<net.Socket>();
  const listener = net.createServer({ allowHalfOpen: true }, (socket) => {
    all.add(socket);
    socket.on('error', () => undefined);
    onConnection(socket);
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  onTestFinished(() => {
    for (const socket of all) socket.destroy();
    listener.close();
  });
  return (listener.address() as net.AddressInfo).port;
}

/** A GET of `host`, which is reached on loopback, trusting the tests' root. */
export function to(port: number, host = 'good.test', options: Partial<TransferOptions> = {}): TransferOptions {
  const { tls: given, ...rest } = options;
  return {
    url: `https://${host}:${port}/`,
    ...(net.isIP(host) === 0 && !host.startsWith('[') ? { connectTo: '127.0.0.1' } : {}),
    tls: { ca: ROOT, ...given },
    ...rest,
  };
}
