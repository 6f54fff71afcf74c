/**
 * Little proxies that do what proxies do, and note what they were told: HTTP with CONNECT and absolute form, over TCP or TLS, and
 * SOCKS5. Names end in `.test` and lead to loopback here, so that a name which the client resolves itself is found out.
 */

import { once } from 'node:events';
import http from 'node:http';
import https from 'node:https';
import net from 'node:net';
import { onTestFinished } from 'vitest';
import { pem } from '../tls/rig.ts';

export interface HttpProxy {
  readonly port: number;
  /** `http://127.0.0.1:port`, without credentials. */
  readonly url: string;
  /** Request lines and fields, CONNECT among them, as `METHOD target` and a map of lower-case names. */
  readonly heads: { readonly line: string; readonly fields: http.IncomingHttpHeaders }[];
  /** Connections accepted. */
  accepted: number;
}

export interface HttpProxyOptions {
  /** TLS with this certificate of test/tls; '': none. */
  certificate?: string;
  /** What Proxy-Authorization must be; else 407. */
  authorization?: string;
}

/** Where names lead. */
function addressOf(host: string): string {
  return host.endsWith('.test') ? '127.0.0.1' : host.replace(/^\[|\]$/g, '');
}

export async function httpProxy({ certificate = '', authorization = '' }: HttpProxyOptions = {}): Promise<HttpProxy> {
  const agent = new http.Agent({ keepAlive: false });
  const allowed = (request: http.IncomingMessage): boolean =>
    authorization === '' || request.headers['proxy-authorization'] === authorization;
  const note = (request: http.IncomingMessage): void => {
    proxy.heads.push({ line: `${request.method} ${request.url}`, fields: request.headers });
  };
  const forward: http.RequestListener = (request, response) => {
    note(request);
    if (!allowed(request)) {
      response.writeHead(407, { 'proxy-authenticate': 'Basic' }).end('who are you?');
      return;
    }
    const url = new URL(request.url as string);
    const headers = Object.fromEntries(Object.entries(request.headers).filter(([name]) => !name.startsWith('proxy-')));
    const onward = http.request(
      {
        agent,
        host: addressOf(url.hostname),
        port: url.port,
        path: url.pathname + url.search,
        method: request.method,
        headers,
      },
      (answer) => {
        response.writeHead(answer.statusCode as number, answer.headers);
        answer.pipe(response);
      },
    );
    onward.on('error', () => response.writeHead(502).end());
    request.pipe(onward);
  };
  const text = certificate === '' ? '' : pem(certificate);
  const server =
    certificate === '' ? http.createServer(forward) : https.createServer({ cert: text, key: text }, forward);
  server.keepAliveTimeout = 60_000;
  const sockets = track(server, () => proxy.accepted++);
  server.on('connect', (request: http.IncomingMessage, socket: net.Socket, head: Buffer) => {
    note(request);
    socket.on('error', () => undefined);
    if (!allowed(request)) {
      socket.end(
        'HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n',
      );
      return;
    }
    const at = (request.url as string).lastIndexOf(':');
    const target = net.connect(Number(request.url?.slice(at + 1)), addressOf((request.url as string).slice(0, at)));
    sockets.add(target);
    target.on('connect', () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
      target.write(head);
      join(socket, target);
    });
    target.on('error', () => socket.end('HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n'));
  });
  const port = await listening(server);
  const proxy: HttpProxy = {
    port,
    url: `${certificate === '' ? 'http' : 'https'}://127.0.0.1:${port}`,
    heads: [],
    accepted: 0,
  };
  return proxy;
}

export interface SocksProxy {
  readonly port: number;
  /** `socks5://127.0.0.1:port`. */
  readonly url: string;
  /** What was asked for: kind of address, host and port. */
  readonly asked: { readonly kind: number; readonly host: string; readonly port: number }[];
  /** `user:password`, as they came. */
  readonly credentials: string[];
  accepted: number;
}

/** `credentials`: `user:password`; '': none are asked for. `oneByOne`: answers come a byte at a time. */
export async function socksProxy({ credentials = '', reply = 0, oneByOne = false } = {}): Promise<SocksProxy> {
  const server = net.createServer((socket) => {
    let received = Buffer.alloc(0);
    let state: 'greeting' | 'credentials' | 'request' | 'open' = 'greeting';
    socket.setNoDelay();
    socket.on('error', () => undefined);
    const say = async (...bytes: number[]): Promise<void> => {
      if (!oneByOne) socket.write(Buffer.from(bytes));
      else {
        for (const byte of bytes) {
          socket.write(Buffer.from([byte]));
          await new Promise((resolve) => setTimeout(resolve, 2));
        }
      }
    };
    const step = async (): Promise<void> => {
      if (state === 'greeting') {
        if (received.length < 2 || received.length < 2 + (received[1] as number)) return;
        const methods = [...received.subarray(2)];
        received = Buffer.alloc(0);
        const wanted = credentials === '' ? 0 : 2;
        state = wanted === 2 ? 'credentials' : 'request';
        await say(5, methods.includes(wanted) ? wanted : 0xff);
      } else if (state === 'credentials') {
        const userBytes = received[1] as number;
        const secretBytes = received[2 + userBytes] as number;
        if (received.length < 3 + userBytes + (secretBytes ?? 256)) return;
        const given = `${received.subarray(2, 2 + userBytes)}:${received.subarray(3 + userBytes)}`;
        proxy.credentials.push(given);
        received = Buffer.alloc(0);
        state = 'request';
        await say(1, given === credentials ? 0 : 1);
      } else if (state === 'request') {
        const kind = received[3] as number;
        const hostBytes = kind === 1 ? 4 : kind === 4 ? 16 : (received[4] as number) + 1;
        if (received.length < 4 + hostBytes + 2) return;
        const address = received.subarray(4, 4 + hostBytes);
        const host =
          kind === 1
            ? address.join('.')
            : kind === 4
              ? (address.toString('hex').match(/.{4}/g) as string[]).join(':')
              : address.subarray(1).toString('latin1');
        const port = received.readUInt16BE(4 + hostBytes);
        proxy.asked.push({ kind, host, port });
        state = 'open';
        socket.removeListener('data', onData);
        socket.pause();
        if (reply !== 0) {
          await say(5, reply, 0, 1, 0, 0, 0, 0, 0, 0);
          socket.end();
          return;
        }
        const target = net.connect(port, addressOf(host));
        sockets.add(target);
        target.on('error', () => socket.destroy());
        target.on('connect', async () => {
          await say(5, 0, 0, 1, 127, 0, 0, 1, 0, 80);
          join(socket, target);
        });
      }
    };
    const onData = (chunk: Buffer): void => {
      received = Buffer.concat([received, chunk]);
      void step();
    };
    socket.on('data', onData);
  });
  const sockets = track(server, () => proxy.accepted++);
  const port = await listening(server);
  const proxy: SocksProxy = { port, url: `socks5://127.0.0.1:${port}`, asked: [], credentials: [], accepted: 0 };
  return proxy;
}

function join(one: net.Socket, other: net.Socket): void {
  one.pipe(other);
  other.pipe(one);
  for (const [socket, peer] of [
    [one, other],
    [other, one],
  ] as const) {
    socket.on('close', () => peer.destroy());
    socket.on('error', () => peer.destroy());
  }
}

function track(server: net.Server, onConnection: () => void): Set<net.Socket> {
  const sockets = new Set<net.Socket>();
  server.on('connection', (socket: net.Socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    onConnection();
  });
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return sockets;
}

async function listening(server: net.Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return (server.address() as net.AddressInfo).port;
}
