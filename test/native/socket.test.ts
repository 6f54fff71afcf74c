/** Sockets of the addon over real TCP and unix sockets: what `Io` promises of each call. */

import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, fstatSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { describe, expect, onTestFinished, test } from 'vitest';
import { EAGAIN, EBADF, ECONNRESET, EINPROGRESS, EPIPE } from '../../src/worker/io/errno.ts';
import { fileLimit, nativeIo } from '../../src/worker/io/native-io.ts';
import { connected, opened, readSoon, readText, serve, until } from './peer.ts';

const EINVAL = 22;
const ENOENT = 2;
const ENODEV = 19;
const ENAMETOOLONG = 36;
const EAFNOSUPPORT = 97;
const ECONNREFUSED = 111;

const io = nativeIo();

function stage(text: string): number {
  return Buffer.from(io.writeBuffer.buffer).write(text, 'latin1');
}

function temporaryPath(name: string): string {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'shardfetch-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  return path.join(folder, name);
}

describe('connecting', () => {
  test.each([
    { family: 4 as const, host: '127.0.0.1', shown: '127.0.0.1' },
    { family: 6 as const, host: '::1', shown: '[::1]' },
  ])('over IPv$family: bytes both ways, FIN, the peer as text', async ({ family, host, shown }) => {
    const server = await serve({ host });
    const socket = await connected(family, host, server.port);
    const peer = await server.accept();
    expect(io.remoteAddress(socket)).toBe(`${shown}:${server.port}`);
    expect(io.read(socket)).toBe(-EAGAIN);
    expect(io.write(socket, 0, stage('ping'))).toBe(4);
    expect(String(await once(peer, 'data').then(([chunk]) => chunk))).toBe('ping');
    peer.end('pong');
    expect(readText(await readSoon(socket))).toBe('pong');
    expect(await readSoon(socket)).toBe(0);
    expect(io.close(socket)).toBe(0);
    expect(io.close(socket)).toBe(-EBADF);
  });

  test('over a unix path and an abstract name', async () => {
    // Of full length: the libuv of Node 20 pads an abstract name to it.
    const abstract = `\0shardfetch-test-${process.pid}`.padEnd(108, '\0');
    for (const name of [temporaryPath('socket'), abstract]) {
      const server = await serve({ path: name });
      const socket = await connected(1, name, 0);
      expect(io.remoteAddress(socket)).toBe(name);
      (await server.accept()).end('x');
      expect(await readSoon(socket)).toBe(1);
    }
  });

  test('a scope is a name or a number of an interface', () => {
    const port = 9;
    expect(io.connect(opened(6), 6, '::1%lo', port)).not.toBe(-EINVAL);
    expect(io.connect(opened(6), 6, '::1%1', port)).not.toBe(-EINVAL);
    expect(io.connect(opened(6), 6, 'fe80::1%nonesuch', port)).toBe(-ENODEV);
    expect(io.connect(opened(6), 6, 'fe80::1%', port)).toBe(-ENODEV);
  });

  test('a refused connection says so once', async () => {
    const server = net.createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as net.AddressInfo;
    server.close();
    await once(server, 'close');
    const socket = opened(4);
    const started = io.connect(socket, 4, '127.0.0.1', port);
    expect([-EINPROGRESS, -ECONNREFUSED]).toContain(started);
    if (started === -ECONNREFUSED) return;
    expect(
      await until(
        () => io.connectResult(socket),
        (answer) => answer !== -EINPROGRESS,
      ),
    ).toBe(-ECONNREFUSED);
  });

  test('a unix path without a server', () => {
    expect(io.connect(opened(1), 1, temporaryPath('none'), 0)).toBe(-ENOENT);
  });

  test('what is no address is refused before the kernel sees it', () => {
    const inet = opened(4);
    for (const address of ['', 'localhost', '127.0.0.1\0.example.org', '::1', '127.0.0.256']) {
      expect(io.connect(inet, 4, address, 80), address).toBe(-EINVAL);
    }
    expect(io.connect(inet, 4, '127.0.0.1', 65_536)).toBe(-EINVAL);
    expect(io.connect(inet, 4, '127.0.0.1', -1)).toBe(-EINVAL);
    expect(io.connect(inet, 6, '::1', 80)).toBe(-EAFNOSUPPORT);
    const local = opened(1);
    expect(io.connect(local, 1, '', 0)).toBe(-EINVAL);
    expect(io.connect(local, 1, '/a\0b', 0)).toBe(-EINVAL);
    expect(io.connect(local, 1, `/${'x'.repeat(107)}`, 0)).toBe(-ENAMETOOLONG);
    expect(io.connect(local, 1, `/${'x'.repeat(106)}`, 0)).toBe(-ENOENT);
    expect(io.connect(local, 1, `\0${'x'.repeat(108)}`, 0)).toBe(-ENAMETOOLONG);
    expect(io.open(5 as 4)).toBe(-EAFNOSUPPORT);
  });

  test('an event meant for an earlier socket of the same number fakes no connection', async () => {
    const socket = opened(4);
    expect(io.connectResult(socket)).toBe(-EINPROGRESS);
    expect(io.remoteAddress(socket)).toBe('');
  });
});

describe('bytes', () => {
  test('a write takes what fits, then -EAGAIN, and goes on when the peer read', async () => {
    const server = await serve({ host: '127.0.0.1' });
    const socket = await connected(4, '127.0.0.1', server.port);
    const peer = await server.accept();
    peer.pause();
    const bytes = new Uint8Array(16 << 20).fill(7);
    let sent = 0;
    let stopped = false;
    for (let answer = 0; !stopped; sent += Math.max(answer, 0)) {
      answer = io.writeFrom(socket, bytes, sent, bytes.length - sent);
      stopped = answer === -EAGAIN || sent + Math.max(answer, 0) === bytes.length;
    }
    expect(sent).toBeGreaterThan(0);
    expect(sent).toBeLessThan(bytes.length);
    let received = 0;
    peer.on('data', (chunk) => {
      received += chunk.length;
    });
    peer.resume();
    while (sent < bytes.length) {
      const answer = await until(
        () => io.writeFrom(socket, bytes, sent, bytes.length - sent),
        (count) => count !== -EAGAIN,
      );
      expect(answer).toBeGreaterThan(0);
      sent += answer;
    }
    await until(
      () => received,
      (count) => count === bytes.length,
    );
  });

  test('readInto fills its window and nothing beside it', async () => {
    const server = await serve({ host: '127.0.0.1' });
    const socket = await connected(4, '127.0.0.1', server.port);
    (await server.accept()).write('abcdef');
    const target = Buffer.alloc(8, '.');
    const window = target.subarray(1); // its own offset into the memory counts
    expect(
      await until(
        () => io.readInto(socket, window, 1, 4),
        (answer) => answer !== -EAGAIN,
      ),
    ).toBe(4);
    expect(target.toString()).toBe('..abcd..');
    expect(io.readInto(socket, window, 5, 2)).toBe(2);
    expect(target.toString()).toBe('..abcdef');
  });

  test('a bad window is -EINVAL and moves nothing', async () => {
    const server = await serve({ host: '127.0.0.1' });
    const socket = await connected(4, '127.0.0.1', server.port);
    const room = io.writeBuffer.length;
    expect(io.write(socket, 0, 0)).toBe(0);
    expect(io.write(socket, room, 1)).toBe(-EINVAL);
    expect(io.write(socket, -1, 1)).toBe(-EINVAL);
    expect(io.write(socket, 1, -1)).toBe(-EINVAL);
    expect(io.write(socket, 2 ** 31 - 1, 2 ** 31 - 1)).toBe(-EINVAL);
    const bytes = new Uint8Array(8);
    for (const [offset, length] of [
      [0, 9],
      [8, 1],
      [9, 0],
      [-1, 2],
      [0, -1],
      [2 ** 53 - 1, 2 ** 53 - 1],
      [0, 0],
    ] as const) {
      expect(io.readInto(socket, bytes, offset, length), `${offset}, ${length}`).toBe(-EINVAL);
      if (length !== 0) expect(io.writeFrom(socket, bytes, offset, length), `${offset}, ${length}`).toBe(-EINVAL);
    }
    for (const no of [null, 'text', {}, new Float64Array(8), new ArrayBuffer(8)] as unknown as Uint8Array[]) {
      expect(io.readInto(socket, no, 0, 8)).toBe(-EINVAL);
      expect(io.writeFrom(socket, no, 0, 8)).toBe(-EINVAL);
    }
    const gone = new Uint8Array(8);
    structuredClone(gone.buffer, { transfer: [gone.buffer] });
    expect(io.readInto(socket, gone, 0, 8)).toBe(-EINVAL);
    const call = io.write as (...values: unknown[]) => number;
    expect(call()).toBe(-EBADF);
    expect(call(socket)).toBe(-EINVAL);
    expect(call('x', {}, Number.NaN)).toBe(-EBADF);
  });

  test('the registered buffers cannot be transferred away', () => {
    try {
      structuredClone(io.readBuffer.buffer, { transfer: [io.readBuffer.buffer as ArrayBuffer] });
    } catch {
      // Node 22 and later refuse; Node 20 copies.
    }
    expect(io.readBuffer.length).toBe(128 * 1024);
    expect(nativeIo()).toBe(io);
  });

  test('a reset by the peer is an answer: -ECONNRESET to the reader, -EPIPE to the writer, and no signal', async () => {
    const server = await serve({ host: '127.0.0.1' });
    const socket = await connected(4, '127.0.0.1', server.port);
    (await server.accept()).resetAndDestroy();
    expect(await readSoon(socket)).toBe(-ECONNRESET);
    expect(io.write(socket, 0, 1)).toBe(-EPIPE);
    await delay(1);
    expect(io.write(socket, 0, 1)).toBe(-EPIPE);
  });

  test('a write after a reset does not kill a process whose SIGPIPE is no longer ignored', () => {
    const fixture = fileURLToPath(new URL('fixtures/sigpipe.mjs', import.meta.url));
    const child = spawnSync(process.execPath, [fixture], { encoding: 'utf8', timeout: 20_000 });
    expect({ status: child.status, signal: child.signal, stdout: child.stdout }).toEqual({
      status: 0,
      signal: null,
      stdout: `${-EPIPE}\n`,
    });
  });
});

describe('descriptors of others', () => {
  test('are refused by every call and stay open', () => {
    const file = temporaryPath('file');
    const foreign = openSync(file, 'w');
    onTestFinished(() => closeSync(foreign));
    const bytes = new Uint8Array(8);
    for (const descriptor of [0, 1, 2, foreign, -1, 1 << 30, 2 ** 31, Number.NaN, 0.5]) {
      expect(io.connect(descriptor, 4, '127.0.0.1', 1)).toBe(-EBADF);
      expect(io.connectResult(descriptor)).toBe(-EBADF);
      expect(io.read(descriptor)).toBe(-EBADF);
      expect(io.readInto(descriptor, bytes, 0, 8)).toBe(-EBADF);
      expect(io.write(descriptor, 0, 8)).toBe(-EBADF);
      expect(io.writeFrom(descriptor, bytes, 0, 8)).toBe(-EBADF);
      expect(io.close(descriptor)).toBe(-EBADF);
      expect(io.remoteAddress(descriptor)).toBe('');
    }
    for (const descriptor of [0, 1, 2, foreign]) fstatSync(descriptor);
    expect(writeSync(foreign, 'still here')).toBe(10);
    expect(fstatSync(foreign).size).toBe(10);
  });

  test('a socket that was closed is a stranger again', () => {
    const socket = io.open(4);
    expect(io.close(socket)).toBe(0);
    expect(io.read(socket)).toBe(-EBADF);
    expect(io.connect(socket, 4, '127.0.0.1', 1)).toBe(-EBADF);
  });
});

test('now is the monotonic clock, in milliseconds', () => {
  const before = Number(process.hrtime.bigint()) / 1e6;
  const now = io.now();
  const after = Number(process.hrtime.bigint()) / 1e6;
  expect(now).toBeGreaterThanOrEqual(before - 1e-3);
  expect(now).toBeLessThanOrEqual(after + 1e-3);
});

test('fileLimit is the hard limit of this process', () => {
  const shown = spawnSync('sh', ['-c', 'ulimit -Hn'], { encoding: 'utf8' }).stdout.trim();
  expect(String(fileLimit())).toBe(shown === 'unlimited' ? 'Infinity' : shown);
});
