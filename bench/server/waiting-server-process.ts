/**
 * The process of the server that waits. What a request gets depends on its path:
 *
 *   /silent   nothing, ever: its connection is open and idle
 *   /later    the small answer after a random 0.3 to 0.9 s
 *   /N        N bytes at once
 *   other     the small answer at once
 *
 * It reads just enough of HTTP for the clients of the benchmarks. It listens on four addresses of this machine, because one has
 * some 28,000 ports for its clients.
 */

import net from 'node:net';
import { HELLO } from './target.ts';

const ADDRESSES = ['127.0.0.1', '127.0.0.2', '127.0.0.3', '127.0.0.4'];
const LATER_MS_MIN = 300;
const LATER_MS_MAX = 900;
const SMALL = responseOf(Buffer.from(HELLO));
const HEAD_END = '\r\n\r\n';

process.on('disconnect', () => process.exit(0));

let port = 0;
for (const address of ADDRESSES) port = await listen(address, port);
process.send?.(ADDRESSES.map((address) => `http://${address}:${port}`));

/** On the port given, or any; answers which. */
function listen(host: string, port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = net.createServer({ noDelay: true }, serve);
    server.once('error', reject);
    server.listen({ port, host, backlog: 4096 }, () => resolve((server.address() as net.AddressInfo).port));
  });
}

function serve(socket: net.Socket): void {
  let head = '';
  socket.on('data', (bytes) => {
    head += bytes.toString('latin1');
    for (let end = head.indexOf(HEAD_END); end >= 0; end = head.indexOf(HEAD_END)) {
      answer(socket, head.slice('GET '.length, head.indexOf(' ', 'GET '.length)));
      head = head.slice(end + HEAD_END.length);
    }
  });
  socket.on('error', () => socket.destroy());
}

function answer(socket: net.Socket, path: string): void {
  if (path === '/silent') return;
  if (path === '/later') {
    const delayMs = LATER_MS_MIN + Math.random() * (LATER_MS_MAX - LATER_MS_MIN);
    setTimeout(() => socket.write(SMALL), delayMs);
    return;
  }
  const length = Number(path.slice(1));
  socket.write(Number.isInteger(length) && length > 0 ? responseOf(Buffer.alloc(length)) : SMALL);
}

function responseOf(body: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n`), body]);
}
