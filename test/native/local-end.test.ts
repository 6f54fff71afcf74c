/** The local end of a socket, its TCP options, and sockets that the addon did not make: `bind`, `setTcpOptions`, `adopt`, `release`. */

import { execFileSync, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, fstatSync, openSync } from 'node:fs';
import net from 'node:net';
import { describe, expect, onTestFinished, test } from 'vitest';
import { EADDRINUSE, EADDRNOTAVAIL, EAGAIN, EBADF, EEXIST, EINPROGRESS } from '../../src/worker/io/errno.ts';
import { nativeIo } from '../../src/worker/io/native-io.ts';
import { opened, readSoon, serve, until } from './peer.ts';

const EINVAL = 22;
const ENOTSOCK = 88;

const io = nativeIo();
const noSs = spawnSync('ss', ['-V']).status !== 0;

async function connectedFrom(socket: number, family: 4 | 6, address: string, port: number): Promise<void> {
  const started = io.connect(socket, family, address, port);
  expect([0, -EINPROGRESS]).toContain(started);
  const result = await until(
    () => io.connectResult(socket),
    (answer) => answer !== -EINPROGRESS,
  );
  expect(result).toBe(0);
}

/** The options that the kernel shows of the connection from this port. */
function shown(localPort: number): string {
  return execFileSync('ss', ['-tnoiH', 'sport', `= :${localPort}`], { encoding: 'utf8' });
}

describe('bind', () => {
  test.each([
    [4 as const, '127.0.0.1', '127.0.0.9'],
    [6 as const, '::1', '::1'],
  ])('over IPv%i the peer sees the address', async (family, host, local) => {
    const server = await serve({ host });
    const socket = opened(family);
    expect(io.bind(socket, family, local, 0)).toBe(0);
    await connectedFrom(socket, family, host, server.port);
    expect((await server.accept()).remoteAddress).toBe(local);
  });

  test('to a port, which nobody else gets meanwhile', async () => {
    const server = await serve({ host: '127.0.0.1' });
    const socket = opened(4);
    const free = net.createServer().listen(0, '127.0.0.9');
    await once(free, 'listening');
    const { port } = free.address() as net.AddressInfo;
    expect(io.bind(socket, 4, '127.0.0.9', port)).toBe(-EADDRINUSE);
    free.close();
    await once(free, 'close');
    expect(io.bind(socket, 4, '127.0.0.9', port)).toBe(0);
    await connectedFrom(socket, 4, '127.0.0.1', server.port);
    expect((await server.accept()).remotePort).toBe(port);
  });

  test('what cannot be is refused', () => {
    const socket = opened(4);
    expect(io.bind(socket, 4, '192.0.2.1', 0)).toBe(-EADDRNOTAVAIL);
    expect(io.bind(socket, 4, 'localhost', 0)).toBe(-EINVAL);
    expect(io.bind(socket, 4, '127.0.0.1', 65_536)).toBe(-EINVAL);
    expect(io.bind(1_000_000, 4, '127.0.0.1', 0)).toBe(-EBADF);
  });
});

describe.skipIf(noSs)('setTcpOptions', () => {
  test('probes are set and taken back', async () => {
    const server = await serve({ host: '127.0.0.1' });
    const socket = opened(4);
    expect(io.setTcpOptions(socket, true, 600, 30, 4)).toBe(0);
    await connectedFrom(socket, 4, '127.0.0.1', server.port);
    const { remotePort } = await server.accept();
    expect(shown(remotePort as number)).toMatch(/timer:\(keepalive,9min/);
    expect(io.setTcpOptions(socket, true, 0, 0, 0)).toBe(0);
    expect(shown(remotePort as number)).not.toContain('keepalive');
  });

  test('a bad argument is -EINVAL, another descriptor -EBADF', () => {
    expect(io.setTcpOptions(opened(4), 1 as never, 0, 0, 0)).toBe(-EINVAL);
    expect(io.setTcpOptions(opened(4), true, 60, 60, 0)).toBe(-EINVAL);
    expect(io.setTcpOptions(1_000_000, true, 0, 0, 0)).toBe(-EBADF);
  });
});

describe('adopt and release', () => {
  /** A connected socket of Node's that does not read by itself. */
  async function foreign(port: number): Promise<{ socket: net.Socket; descriptor: number }> {
    const socket = net.connect(port, '127.0.0.1');
    socket.pause();
    await once(socket, 'connect');
    onTestFinished(() => {
      socket.destroy();
    });
    return { socket, descriptor: (socket as unknown as { _handle: { fd: number } })._handle.fd };
  }

  test('a stranger is refused until it is adopted, and again once it is released; it stays open', async () => {
    const server = await serve({ host: '127.0.0.1' });
    const { descriptor } = await foreign(server.port);
    expect(io.read(descriptor)).toBe(-EBADF);
    expect(io.adopt(descriptor)).toBe(0);
    expect(io.read(descriptor)).toBe(-EAGAIN);
    (await server.accept()).write('x');
    expect(await readSoon(descriptor)).toBe(1);
    expect(io.remoteAddress(descriptor)).toBe(`127.0.0.1:${server.port}`);
    expect(io.release(descriptor)).toBe(0);
    expect(io.read(descriptor)).toBe(-EBADF);
    expect(io.close(descriptor)).toBe(-EBADF);
    expect(io.release(descriptor)).toBe(-EBADF);
    expect(fstatSync(descriptor).isSocket()).toBe(true);
  });

  test('only stream sockets, and none twice', async () => {
    const socket = opened(4);
    expect(io.adopt(socket)).toBe(-EEXIST);
    expect(io.read(socket)).not.toBe(-EBADF);
    const file = openSync('/dev/null', 'r');
    expect(io.adopt(file)).toBe(-ENOTSOCK);
    closeSync(file);
    expect(io.adopt(-1)).toBe(-EBADF);
    expect(io.adopt(1_000_000)).toBe(-EBADF);
    const resolver = io.openResolver();
    expect(io.adopt(resolver.socket)).toBe(-EEXIST);
    expect(io.release(resolver.socket)).toBe(-EBADF);
    resolver.close();
  });
});
