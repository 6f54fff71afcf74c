/** HOSTILE 115 and its neighbours: records and messages of TLS in unusual places. `openssl s_server` says what Node's TLS cannot. */

import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import net from 'node:net';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { Transfer } from '../../src/worker/multi/index.ts';
import { get, Rig } from '../contract/rig.ts';
import { reply, serve, serveRaw, to } from './rig.ts';

const hasOpenssl = spawnSync('openssl', ['version']).status === 0;

interface SServer {
  readonly port: number;
  readonly process: ChildProcess;
  readonly output: () => string;
}

type Relay = Awaited<ReturnType<typeof relay>>;

const PRE_SHARED_KEY = 41;
const EARLY_DATA = 42;

/** The numbers of the extensions of a ClientHello, which must be all of its record and all of the piece. */
function clientHelloExtensions(piece: Buffer): number[] {
  expect(piece[0]).toBe(22);
  expect(piece[5]).toBe(1);
  expect(piece.length).toBe(5 + piece.readUInt16BE(3));
  let at = 5 + 4 + 2 + 32;
  at += 1 + piece.readUInt8(at);
  at += 2 + piece.readUInt16BE(at);
  at += 1 + piece.readUInt8(at);
  const found: number[] = [];
  for (at += 2; at < piece.length; at += 4 + piece.readUInt16BE(at + 2)) found.push(piece.readUInt16BE(at));
  return found;
}

/**
 * What is written to it, it sends; a line of one letter is a command of s_server's, where a read of its input begins with it: what
 * is written next waits until what the command does has come, or its read takes both.
 */
async function sServer(...given: string[]): Promise<SServer> {
  const certificate = path.join(import.meta.dirname, 'certificates', 'good.pem');
  const args = ['s_server', '-accept', '127.0.0.1:0', '-cert', certificate, '-key', certificate, ...given];
  const child = spawn('openssl', args, { stdio: ['pipe', 'pipe', 'pipe'] });
  onTestFinished(() => void child.kill('SIGKILL'));
  let text = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk) => (text += String(chunk)));
  for (;;) {
    const port = /^ACCEPT 127\.0\.0\.1:(\d+)\n/m.exec(text)?.[1];
    if (port !== undefined) return { port: Number(port), process: child, output: () => text };
    await delay(20);
  }
}

/**
 * Between us and s_server, with every piece that we sent and the number of bytes that it said; the way to it stops behind
 * `heldBehind` bytes until `release`. Only whole records go on: s_server, which blocks, would wait for the rest of one, and hear no
 * command meanwhile.
 */
async function relay(port: number, heldBehind = Number.POSITIVE_INFINITY) {
  const pieces: Buffer[] = [];
  let client: net.Socket | undefined;
  let said = 0;
  let sent = 0;
  let released = false;
  let waiting = Buffer.alloc(0);
  const relayed = await serveRaw((socket) => {
    client = socket;
    const upstream = net.connect(port, '127.0.0.1');
    upstream.on('error', () => undefined);
    socket.on('data', (chunk) => {
      pieces.push(chunk);
      sent += chunk.length;
      if (sent > heldBehind && !released) socket.pause();
      waiting = Buffer.concat([waiting, chunk]);
      let end = 0;
      while (waiting.length >= end + 5 && waiting.length >= end + 5 + waiting.readUInt16BE(end + 3)) {
        end += 5 + waiting.readUInt16BE(end + 3);
      }
      upstream.write(waiting.subarray(0, end));
      waiting = waiting.subarray(end);
    });
    socket.on('close', () => upstream.destroy());
    upstream.on('data', (chunk) => {
      said += chunk.length;
      socket.write(chunk);
    });
  });
  const release = (): void => {
    released = true;
    client?.resume();
  };
  return { port: relayed, pieces, said: () => said, release };
}

/** Until the kernel's buffers are full: writes wait, and nothing of the body has gone out for a while. */
async function untilStuck(rig: Rig, transfer: Transfer): Promise<void> {
  for (let sent = -1; sent !== transfer.bytesSent || sent === 0; ) {
    sent = transfer.bytesSent;
    await rig.drive(250);
  }
}

/** Gives s_server one command or piece of a response, and drives on until it has acted on it. */
async function tell(rig: Rig, server: SServer, between: Relay, text: string): Promise<void> {
  const before = between.said();
  server.process.stdin?.write(text);
  await rig.until(() => between.said() > before, `what s_server does at ${JSON.stringify(text)}`);
}

describe.skipIf(!hasOpenssl)('openssl s_server', () => {
  test('hostile/115 KeyUpdate in mid-body, asked for by the peer, is answered', async () => {
    const server = await sServer('-tls1_3');
    const between = await relay(server.port);
    const rig = new Rig();
    const got = get(to(between.port));
    rig.multi.add(got.transfer);
    await rig.until(() => server.output().includes('GET / HTTP/1.1'));
    server.process.stdin?.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabcde');
    await rig.until(() => got.body === 'abcde');
    for (const command of ['K', 'k', 'K']) {
      await tell(rig, server, between, `${command}\n`);
      await rig.drive(50);
    }
    server.process.stdin?.write('fghij');
    await rig.until(() => got.ended === 1);
    expect(got.body).toBe('abcdefghij');
    await rig.drive(50);
    expect(rig.multi.stats().idle).toBe(1);
  });

  test('hostile/115 KeyUpdate on an idle connection is no stray byte', async () => {
    const server = await sServer('-tls1_3');
    const between = await relay(server.port);
    const rig = new Rig();
    const got = get(to(between.port));
    rig.multi.add(got.transfer);
    await rig.until(() => server.output().includes('GET / HTTP/1.1'));
    server.process.stdin?.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    await rig.until(() => got.ended === 1);
    await tell(rig, server, between, 'K\n');
    await rig.drive(200);
    expect(rig.multi.stats().idle).toBe(1);
    server.process.stdin?.write('stray');
    await rig.until(() => rig.multi.stats().idle === 0, 'the drop');
  });

  test('hostile/115 KeyUpdate that cannot be answered, because an upload waits for the socket', async () => {
    const server = await sServer('-tls1_3');
    const between = await relay(server.port, 64 * 1024);
    const rig = new Rig();
    const body = 'x'.repeat(16 * 1024 * 1024);
    const upload = get(to(between.port, 'good.test', { method: 'POST', body }));
    rig.multi.add(upload.transfer);
    await rig.until(() => server.output().includes('POST / HTTP/1.1'));
    await untilStuck(rig, upload.transfer);
    expect(upload.transfer.bytesSent).toBeLessThan(body.length);
    await tell(rig, server, between, 'K\n');
    await rig.drive(200);
    await tell(rig, server, between, 'HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n');
    await rig.drive(200);
    between.release();
    await rig.until(() => upload.transfer.bytesSent >= body.length, 'the end of the upload');
    server.process.stdin?.write('after');
    const error = await rig.end(upload.transfer);
    expect({ error, body: upload.body }).toEqual({ error: null, body: 'after' });
  });

  test('hostile/118 no early data is sent, though the server allows it', async () => {
    const server = await sServer('-tls1_3', '-early_data', '-max_early_data', '4096');
    const between = await relay(server.port);
    const rig = new Rig();
    for (const resumed of [false, true]) {
      between.pieces.length = 0;
      const said = server.output().length;
      const got = get(to(between.port, 'good.test', { freshConnect: true, forbidReuse: true }));
      rig.multi.add(got.transfer);
      await rig.until(() => server.output().slice(said).includes('GET / HTTP/1.1'));
      server.process.stdin?.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
      expect(await rig.end(got.transfer)).toBe(null);
      expect(got.transfer.info.tls?.resumed).toBe(resumed);
      const extensions = clientHelloExtensions(between.pieces[0] as Buffer);
      expect(extensions.includes(PRE_SHARED_KEY)).toBe(resumed);
      expect(extensions).not.toContain(EARLY_DATA);
      await rig.until(() => rig.multi.stats().connections === 0);
    }
    expect(server.output().match(/No early data received/g)?.length).toBe(2);
  });

  test('hostile/114 renegotiation that the peer asks for is refused', async () => {
    const server = await sServer('-tls1_2');
    const rig = new Rig();
    const got = get(to(server.port, 'good.test', { timeouts: { headMs: 2_000 } }));
    rig.multi.add(got.transfer);
    await rig.until(() => server.output().includes('GET / HTTP/1.1'));
    server.process.stdin?.write('r\n');
    await rig.drive(200);
    server.process.stdin?.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    const error = await rig.end(got.transfer);
    // What the peer makes of our refusal is its own affair; that it ends is ours.
    if (error !== null) expect(error.code).toMatch(/TLS_FAILED|CONNECTION_LOST|HEAD_TIMEOUT/);
    expect(server.output().match(/Secure Renegotiation IS|Cipher is/g)?.length ?? 0).toBeLessThan(4);
  });

  test('hostile/114 a client certificate asked for after the handshake', async () => {
    const server = await sServer('-tls1_3', '-verify', '1');
    const rig = new Rig();
    const got = get(to(server.port, 'good.test', { timeouts: { headMs: 2_000 } }));
    rig.multi.add(got.transfer);
    await rig.until(() => server.output().includes('GET / HTTP/1.1'));
    server.process.stdin?.write('c\n');
    await rig.drive(200);
    server.process.stdin?.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
    const error = await rig.end(got.transfer);
    if (error !== null) expect(error.code).toMatch(/TLS_FAILED|CONNECTION_LOST|HEAD_TIMEOUT/);
    else expect(got.body).toBe('ok');
  });
});

describe('between the ends', () => {
  /** The ciphertext of a real server, changed on its way. */
  async function between(change: (chunk: Buffer, sofar: number) => Buffer, answer = 'ok'): Promise<number> {
    const server = await serve('good', {}, (socket) => reply(socket, answer));
    return serveRaw((socket) => {
      const upstream = net.connect(server.port, '127.0.0.1');
      upstream.on('error', () => undefined);
      socket.on('data', (chunk) => upstream.write(chunk));
      socket.on('close', () => upstream.destroy());
      let sofar = 0;
      upstream.on('data', (chunk: Buffer) => {
        socket.write(change(chunk, sofar));
        sofar += chunk.length;
      });
    });
  }

  test('a bit that flips in a body is TLS_FAILED or INCOMPLETE_BODY, and none of it is delivered', async () => {
    const port = await between((chunk, sofar) => {
      const at = 60_000 - sofar;
      if (at < 0 || at >= chunk.length) return chunk;
      const changed = Buffer.from(chunk);
      changed[at] = (changed[at] as number) ^ 1;
      return changed;
    }, 'x'.repeat(200_000));
    const got = await new Rig().fetch(to(port));
    expect(got.error).toMatchObject({ code: 'INCOMPLETE_BODY', phase: 'body' });
    expect(got.body).toMatch(/^x+$/);
    expect(got.body.length).toBeLessThan(60_000);
  });

  test('garbage in place of the first record after the handshake', async () => {
    const port = await between((chunk, sofar) => (sofar > 0 ? Buffer.alloc(chunk.length, 0x55) : chunk));
    expect((await new Rig().fetch(to(port))).error).toMatchObject({ code: 'TLS_FAILED', phase: 'tls' });
  });
});

test('hostile/72 an early answer while the upload is blocked is delivered, though the peer resets', async () => {
  const server = await serve('good', {}, () => undefined);
  const body = new Uint8Array(32 * 1024 * 1024);
  const rig = new Rig();
  const got = get(to(server.port, 'good.test', { method: 'POST', body }));
  rig.multi.add(got.transfer);
  await rig.until(() => server.sockets.length === 1);
  const socket = server.sockets[0];
  socket?.removeAllListeners('data');
  socket?.pause();
  await rig.drive(50);
  socket?.write('HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\nConnection: close\r\n\r\nlong', () =>
    socket.destroy(),
  );
  const error = await rig.end(got.transfer);
  expect({ error, body: got.body }).toEqual({ error: null, body: 'long' });
});

test('a throttled upload over TLS is whole: writes that wait are offered less later', async () => {
  const server = await serve();
  const rig = new Rig();
  const text = 'abcdefghijklmnop'.repeat(512 * 1024);
  const options = { method: 'POST', body: text, maxSendBytesPerSecond: 40_000_000 };
  const upload = get(to(server.port, 'good.test', options));
  rig.multi.add(upload.transfer);
  await rig.until(() => server.sockets.length === 1);
  server.sockets[0]?.pause();
  await untilStuck(rig, upload.transfer);
  expect(upload.transfer.bytesSent).toBeLessThan(text.length);
  server.sockets[0]?.resume();
  expect(await rig.end(upload.transfer)).toBe(null);
  expect(server.bodies[0] === text).toBe(true);
});

test('rule-7 rule-8 a transfer removed in the middle of its handshake leaves nothing', async () => {
  const port = await serveRaw(() => undefined);
  const rig = new Rig();
  const got = get(to(port));
  rig.multi.add(got.transfer);
  await rig.until(() => got.transfer.phase === 'tls');
  expect(rig.multi.stats().connections).toBe(1);
  rig.multi.remove(got.transfer);
  expect(rig.multi.stats()).toMatchObject({ connections: 0, current: 0 });
  expect(rig.watched.size).toBe(0);
});
