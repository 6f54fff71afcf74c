/** Rules 54 to 56: sockets that the application makes, hands in connected, refuses, and closes. */

import { once } from 'node:events';
import { closeSync, fstatSync, openSync } from 'node:fs';
import net from 'node:net';
import { describe, expect, onTestFinished, test } from 'vitest';
import { nativeIo } from '../../../src/worker/io/native-io.ts';
import type { CloseSocketHook, OpenSocketHook, SocketAddress } from '../../../src/worker/multi/index.ts';
import { deadPort, get, Rig, type Server, serve } from '../rig.ts';

/** A socket that Node made and connected; what an application would hand in. */
async function connectedByNode(server: Server): Promise<{ socket: net.Socket; descriptor: number }> {
  const socket = net.connect(server.port, '127.0.0.1');
  socket.pause();
  await once(socket, 'connect');
  onTestFinished(() => {
    socket.destroy();
  });
  const { fd } = (socket as unknown as { _handle: { fd: number } })._handle;
  return { socket, descriptor: fd };
}

function isOpen(descriptor: number): boolean {
  try {
    return fstatSync(descriptor).isSocket();
  } catch {
    return false;
  }
}

/** A descriptor, closed with the test, that no hook should answer. */
function aFile(): number {
  const descriptor = openSync('/dev/null', 'r');
  onTestFinished(() => closeSync(descriptor));
  return descriptor;
}

describe('contract/rule-54 openSocket', () => {
  test('is asked once per address, and answering nothing leaves it to the engine', async () => {
    const server = await serve();
    const asked: [string, SocketAddress][] = [];
    const rig = new Rig({ resolve: { [`a.test:${server.port}`]: ['127.0.0.77', '127.0.0.1'] } });
    const got = await rig.fetch({
      url: `http://a.test:${server.port}/`,
      openSocket: (purpose, address) => {
        asked.push([purpose, address]);
      },
    });
    expect(got.body).toBe('ok');
    expect(asked).toEqual([
      ['connect', { family: 4, address: '127.0.0.77', port: server.port }],
      ['connect', { family: 4, address: '127.0.0.1', port: server.port }],
    ]);
    await rig.fetch({ url: `http://a.test:${server.port}/`, openSocket: () => expect.unreachable() });
  });

  test('is told the path of a unix socket', async () => {
    const asked: SocketAddress[] = [];
    const unixPath = '/nonesuch/socket';
    const openSocket: OpenSocketHook = (_purpose, address) => void asked.push(address);
    await new Rig().fetch({ url: 'http://a.test/', unixPath, openSocket });
    expect(asked).toEqual([{ family: 1, address: unixPath, port: 0 }]);
  });

  test('a refused socket is COULDNT_CONNECT', async () => {
    const server = await serve();
    const rig = new Rig();
    const { error } = await rig.fetch({ url: server.url, openSocket: () => -1 });
    expect(error).toMatchObject({ code: 'COULDNT_CONNECT', phase: 'connect' });
    expect(error?.message).toContain(`The openSocket hook refused 127.0.0.1:${server.port}`);
    expect(server.connections.length).toBe(0);
    expect(rig.multi.stats()).toMatchObject({ connections: 0, running: 0 });
  });

  test('unless another address succeeds', async () => {
    const server = await serve();
    const rig = new Rig({ resolve: { [`a.test:${server.port}`]: ['127.0.0.77', '127.0.0.1'] } });
    const openSocket: OpenSocketHook = (_purpose, { address }) => (address === '127.0.0.77' ? -1 : undefined);
    expect((await rig.fetch({ url: `http://a.test:${server.port}/`, openSocket })).body).toBe('ok');
  });

  test('makes the socket: one that is not connected is bound, connected and closed by the engine', async () => {
    const peers: (string | undefined)[] = [];
    const server = await serve((connection) => {
      peers.push(connection.socket.remoteAddress);
      connection.reply();
    });
    let made = -1;
    const rig = new Rig();
    const got = await rig.fetch({
      url: server.url,
      localAddress: '127.0.0.5',
      forbidReuse: true,
      openSocket: () => {
        made = nativeIo().open(4);
        return made;
      },
    });
    expect(got.body).toBe('ok');
    expect(peers).toEqual(['127.0.0.5']);
    expect(rig.socketCalls.some(({ socket }) => socket === made)).toBe(true);
    expect(isOpen(made)).toBe(false);
  });
});

describe('contract/rule-55 a connected socket is handed in', () => {
  test('and used as it is, once more for the next transfer', async () => {
    const [server, port] = [await serve(), await deadPort()];
    const { socket, descriptor } = await connectedByNode(server);
    const closed: number[] = [];
    const rig = new Rig();
    const url = `http://127.0.0.1:${port}/`;
    const got = await rig.fetch({
      url,
      openSocket: () => ({ socket: descriptor, connected: true }),
      closeSocket: (one) => {
        closed.push(one);
        socket.destroy();
      },
    });
    expect(got.body).toBe('ok');
    expect(got.transfer.info).toMatchObject({ reused: false, remoteAddress: `127.0.0.1:${server.port}` });
    expect((await rig.fetch({ url })).transfer.info.reused).toBe(true);
    expect([server.connections.length, server.requests.length]).toEqual([1, 2]);
    expect(closed).toEqual([]);
    rig.multi.close();
    expect(closed).toEqual([descriptor]);
    await expect.poll(() => server.open, { timeout: 8_000 }).toBe(0);
  });

  test('one that is not connected after all waits for its clock', async () => {
    const rig = new Rig();
    const openSocket: OpenSocketHook = () => ({ socket: nativeIo().open(4), connected: true });
    const got = get({ url: 'http://127.0.0.1/', openSocket, timeouts: { connectMs: 100 } });
    rig.multi.add(got.transfer);
    expect(await rig.end(got.transfer)).toMatchObject({ code: 'CONNECT_TIMEOUT' });
  });
});

describe('contract/rule-56 closeSocket', () => {
  test('closes whatever the transfer opened, the losing addresses too, after their REMOVE', async () => {
    const server = await serve();
    const closed: number[] = [];
    const rig = new Rig({ resolve: { [`a.test:${server.port}`]: ['127.0.0.77', '127.0.0.1'] } });
    const closeSocket: CloseSocketHook = (socket) => {
      expect(rig.watched.has(socket)).toBe(false);
      expect(isOpen(socket)).toBe(true);
      closed.push(socket);
      closeSync(socket);
    };
    const got = await rig.fetch({ url: `http://a.test:${server.port}/`, closeSocket, forbidReuse: true });
    expect(got.body).toBe('ok');
    await rig.until(() => closed.length === 2);
    expect(closed.some(isOpen)).toBe(false);
    await rig.until(() => server.open === 0);
  });

  test("is the hook of the transfer that opened, long after it is gone, not the last user's", async () => {
    const server = await serve();
    const closed: string[] = [];
    const closing =
      (name: string): CloseSocketHook =>
      (socket) => {
        closed.push(name);
        closeSync(socket);
      };
    const rig = new Rig();
    await rig.fetch({ url: server.url, closeSocket: closing('first') });
    await rig.fetch({ url: server.url, closeSocket: closing('second') });
    expect(rig.multi.transfers()).toEqual([]);
    expect(closed).toEqual([]);
    server.last.socket.end();
    await rig.until(() => closed.length > 0);
    expect(closed).toEqual(['first']);
    expect(rig.multi.stats()).toMatchObject({ connections: 0 });
  });

  test('what it throws is rethrown by the driving call, and the multi lives', async () => {
    const server = await serve();
    const rig = new Rig();
    const closeSocket: CloseSocketHook = (socket) => {
      closeSync(socket);
      throw new Error('broken');
    };
    const got = get({ url: server.url, forbidReuse: true, closeSocket });
    rig.multi.add(got.transfer);
    await expect(rig.end(got.transfer)).rejects.toThrow('broken');
    expect(got.body).toBe('ok');
    expect((await rig.fetch({ url: server.url })).body).toBe('ok');
  });

  test('may add and remove', async () => {
    const server = await serve();
    const rig = new Rig();
    const next = get({ url: server.url });
    const closeSocket: CloseSocketHook = (socket) => {
      closeSync(socket);
      rig.multi.add(next.transfer);
    };
    await rig.fetch({ url: server.url, forbidReuse: true, closeSocket });
    expect(await rig.end(next.transfer)).toBeNull();
  });
});

describe('hooks that misbehave fail their transfer alone', () => {
  const answers: [string, () => unknown][] = [
    ['a text', () => '7'],
    ['null', () => null],
    ['a fraction', () => 1.5],
    ['another negative number', () => -2],
    ['an object without a socket', () => ({})],
    ['an object with a wrong flag', () => ({ socket: 7, connected: 'yes' })],
    ['a promise', async () => 7],
    ['a descriptor that is not open', () => 1_000_000],
    ['a descriptor that is no socket', () => aFile()],
  ];

  test.each([
    ...answers,
    [
      'a throw',
      () => {
        throw new Error('broken');
      },
    ],
  ] as [string, OpenSocketHook][])('%s', async (name, openSocket) => {
    const server = await serve();
    const rig = new Rig();
    const [bad, good] = [get({ url: server.url, openSocket }), get({ url: server.url })];
    rig.multi.add(bad.transfer);
    rig.multi.add(good.transfer);
    const error = await rig.end(bad.transfer);
    expect(error?.code).toBe('ABORTED_BY_CALLBACK');
    expect(error?.message).toContain('openSocket');
    if (name === 'a throw') expect(error?.cause).toMatchObject({ message: 'broken' });
    expect(await rig.end(good.transfer)).toBeNull();
    expect(rig.multi.stats()).toMatchObject({ connections: 1, idle: 1 });
  });

  test('a socket that the multi uses already', async () => {
    const server = await serve();
    const rig = new Rig();
    await rig.fetch({ url: server.url });
    const used = rig.socketCalls[0]?.socket as number;
    const { error } = await rig.fetch({ url: server.url, freshConnect: true, openSocket: () => used });
    expect(error).toMatchObject({ code: 'ABORTED_BY_CALLBACK', message: expect.stringContaining('in use') });
    expect((await rig.fetch({ url: server.url })).transfer.info.reused).toBe(true);
  });

  test('after removing its transfer it is asked no more, whatever could still be tried', async () => {
    let asked = 0;
    const rig = new Rig({ resolve: { 'a.test:80': ['127.0.0.1', '127.0.0.2'] } });
    const got = get({
      url: 'http://a.test/',
      // Neither is an address of this machine.
      localAddress: ['192.0.2.1', '192.0.2.2'],
      openSocket: () => {
        asked++;
        rig.multi.remove(got.transfer);
      },
    });
    rig.multi.add(got.transfer);
    rig.step();
    expect(asked).toBe(1);
    expect(rig.multi.stats()).toMatchObject({ current: 0, connections: 0 });
  });

  test('removing the transfer inside it closes what it answers', async () => {
    const server = await serve();
    const rig = new Rig();
    let made = -1;
    const got = get({
      url: server.url,
      openSocket: () => {
        made = nativeIo().open(4);
        rig.multi.remove(got.transfer);
        return made;
      },
    });
    rig.multi.add(got.transfer);
    rig.step();
    expect(made).toBeGreaterThan(0);
    expect(isOpen(made)).toBe(false);
    expect(rig.multi.stats()).toMatchObject({ current: 0, connections: 0 });
  });
});
