/**
 * The processes of our own target. It reads just enough of HTTP to answer fast: every empty line ends a GET without a body,
 * and every GET gets the same bytes. So it is a target for benchmarks and no HTTP server.
 */

import cluster, { type Worker } from 'node:cluster';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import tls from 'node:tls';
import type { Report } from './node-server.ts';

const PROCESSES = 2;
/** Relative to this file once it is compiled. */
const CERTIFICATE = new URL('../../../test/tls/certificates/good.pem', import.meta.url);
const BODY = 'hello, world\n';
const RESPONSE = Buffer.from(
  `HTTP/1.1 200 OK\r\nServer: bench\r\nContent-Type: text/plain\r\nContent-Length: ${BODY.length}\r\n\r\n${BODY}`,
);
/** Answers to a burst of pipelined requests are cut from this. */
const BURST_MAX = 64;
const BURST = Buffer.concat(Array.from({ length: BURST_MAX }, () => RESPONSE));
const CR = 13;
const LF = 10;

if (cluster.isPrimary) runPrimary();
else runServer();

function runPrimary(): void {
  /** Of each process two: first the plain port, then that of TLS. */
  const ports: number[] = [];
  const workers = Array.from({ length: PROCESSES }, () => cluster.fork());
  cluster.on('listening', (_worker, address) => {
    ports.push(address.port);
    if (ports.length < 2 * PROCESSES) return;
    const [listening, secure] = [...new Set(ports)];
    report({ listening: listening as number, secure: secure as number });
  });
  process.on('message', async () => {
    const counts = await Promise.all(workers.map(countOf));
    report({ requests: counts.reduce((sum, count) => sum + count, 0) });
  });
  // The benchmark closed the channel or died.
  process.on('disconnect', () => process.exit(0));
}

function report(message: Report): void {
  // The benchmark may have ended meanwhile: then nobody is left to be told.
  process.send?.(message, undefined, undefined, () => {});
}

function countOf(worker: Worker): Promise<number> {
  return new Promise((resolve) => {
    worker.once('message', resolve);
    worker.send('count');
  });
}

function runServer(): void {
  let requests = 0;
  process.on('message', () => process.send?.(requests));
  process.on('disconnect', () => process.exit(0));
  const serve = (socket: net.Socket): void => {
    let matched = 0;
    socket.on('data', (bytes) => {
      let due = 0;
      // A whole request in one read, the usual case, needs no walk.
      if (matched === 0 && endsOneRequest(bytes)) due = 1;
      else {
        for (let index = 0; index < bytes.length; index++) {
          const expected = matched % 2 === 0 ? CR : LF;
          matched = bytes[index] === expected ? matched + 1 : bytes[index] === CR ? 1 : 0;
          if (matched === 4) {
            matched = 0;
            due++;
          }
        }
      }
      requests += due;
      for (; due >= BURST_MAX; due -= BURST_MAX) socket.write(BURST);
      if (due > 0) socket.write(due === 1 ? RESPONSE : BURST.subarray(0, due * RESPONSE.length));
    });
    socket.on('error', () => socket.destroy());
  };
  const place = { port: 0, host: '127.0.0.1', backlog: 4096 };
  const pem = readFileSync(CERTIFICATE, 'latin1');
  const secure = tls.createServer({ cert: pem, key: pem, noDelay: true }, serve);
  net.createServer({ noDelay: true }, serve).listen(place, () => secure.listen(place));
}

/** True when the only empty line in `bytes` is at their end. */
function endsOneRequest(bytes: Buffer): boolean {
  return bytes.indexOf('\r\n\r\n') === bytes.length - 4;
}
