/** Where a transfer connects to and from: connect-to targets, unix sockets, local addresses and ports, TCP options. */

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { nativeIo } from '../../../src/worker/io/native-io.ts';
import { Transfer, type TransferOptions } from '../../../src/worker/multi/index.ts';
import { deadPort, get, Rig, type Server, StillClock, serve } from '../rig.ts';

const EADDRNOTAVAIL = 99;

/** A server that notes the addresses that requests come from. */
async function servePeers(): Promise<Server & { peers: (string | undefined)[] }> {
  const peers: (string | undefined)[] = [];
  const server = await serve((connection) => {
    peers.push(connection.socket.remoteAddress);
    connection.reply();
  });
  return Object.assign(server, { peers });
}

function hostOf(request: string): string | undefined {
  return /^host: (.*)$/im.exec(request)?.[1];
}

describe('connectTo', () => {
  test.each<[string, (port: number) => NonNullable<TransferOptions['connectTo']>]>([
    ['host and port', (port) => ({ host: '127.0.0.1', port })],
    ['text', (port) => `127.0.0.1:${port}`],
    ['an entry of a list', (port) => ['other.test:80:127.0.0.1:1', `a.test:80:127.0.0.1:${port}`]],
    ['an entry for any host', (port) => [`:80:127.0.0.1:${port}`]],
    ['an entry for any port', (port) => [`a.test::127.0.0.1:${port}`]],
  ])('%s: the connection goes there, the Host field stays', async (_name, connectTo) => {
    const server = await serve();
    const rig = new Rig();
    const got = await rig.fetch({ url: 'http://a.test/x', connectTo: connectTo(server.port) });
    expect(got.body).toBe('ok');
    expect(hostOf(server.requests[0] as string)).toBe('a.test');
    expect(got.transfer.info.remoteAddress).toBe(`127.0.0.1:${server.port}`);
  });

  test("a part that is left out is the origin's own; a name is looked up", async () => {
    const server = await serve();
    const asked: string[] = [];
    const rig = new Rig({
      lookup: (host, _family, done) => {
        asked.push(host);
        done(null, ['127.0.0.1']);
      },
    });
    expect((await rig.fetch({ url: `http://a.test:${server.port}/`, connectTo: 'B.test' })).body).toBe('ok');
    expect((await rig.fetch({ url: 'http://a.test:1/', connectTo: `:${server.port}` })).body).toBe('ok');
    expect(asked).toEqual(['b.test', 'a.test']);
    expect(server.requests.map(hostOf)).toEqual([`a.test:${server.port}`, 'a.test:1']);
  });

  test('an entry that does not match leaves all as it was', async () => {
    const server = await serve();
    const rig = new Rig();
    expect((await rig.fetch({ url: server.url, connectTo: ['a.test::b.test:', '127.0.0.1:1:b.test:2'] })).body).toBe(
      'ok',
    );
  });

  test('a target that fails is named', async () => {
    const port = await deadPort();
    const { error } = await new Rig().fetch({ url: 'http://a.test/', connectTo: { host: '127.0.0.1', port } });
    expect(error).toMatchObject({ code: 'COULDNT_CONNECT', errno: 'ECONNREFUSED' });
    expect((error?.cause as Error | undefined)?.message).toContain(`127.0.0.1:${port}`);
  });
});

describe('unixPath', () => {
  function socketPath(): string {
    const folder = mkdtempSync(path.join(os.tmpdir(), 'shardfetch-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    return path.join(folder, 'server');
  }

  test('no name is looked up, the Host field stays, the connection is kept', async () => {
    const unixPath = socketPath();
    const server = await serve(undefined, unixPath);
    const rig = new Rig({ lookup: () => expect.unreachable() });
    for (const reused of [false, true]) {
      const got = await rig.fetch({ url: 'http://a.test/', unixPath });
      expect(got.body).toBe('ok');
      expect(got.transfer.info).toMatchObject({ reused, remoteAddress: unixPath });
    }
    expect(server.requests.map(hostOf)).toEqual(['a.test', 'a.test']);
    expect(server.connections.length).toBe(1);
  });

  test('nobody there: the path is named', async () => {
    const unixPath = socketPath();
    const { error } = await new Rig().fetch({ url: 'http://a.test/', unixPath });
    expect(error).toMatchObject({ code: 'COULDNT_CONNECT', errno: 'ENOENT' });
    expect((error?.cause as Error | undefined)?.message).toContain(unixPath);
  });
});

describe('localAddress', () => {
  test('one: all connections come from there', async () => {
    const server = await servePeers();
    const rig = new Rig();
    for (let round = 0; round < 3; round++) {
      await rig.fetch({ url: server.url, localAddress: '127.0.0.5', forbidReuse: true });
    }
    expect(server.peers).toEqual(['127.0.0.5', '127.0.0.5', '127.0.0.5']);
  });

  test('several: in turn for each target, whatever the others do', async () => {
    const [server, other] = [await servePeers(), await servePeers()];
    const rig = new Rig();
    const localAddress = ['127.0.0.5', '127.0.0.6', '127.0.0.7'];
    for (let round = 0; round < 4; round++) {
      for (const { url } of [server, other]) await rig.fetch({ url, localAddress, forbidReuse: true });
    }
    for (const one of [server, other]) {
      expect(one.peers).toEqual(['127.0.0.5', '127.0.0.6', '127.0.0.7', '127.0.0.5']);
    }
  });

  test('those of the other family are for its addresses', async () => {
    const server = await servePeers();
    const rig = new Rig({ resolve: { [`a.test:${server.port}`]: ['::1', '127.0.0.1'] } });
    const url = `http://a.test:${server.port}/`;
    const got = await rig.fetch({ url, localAddress: ['::1', '127.0.0.5'] });
    expect(got.body).toBe('ok');
    expect(server.peers).toEqual(['127.0.0.5']);
    const { error } = await rig.fetch({ url: server.url, localAddress: '::1' });
    expect(error).toMatchObject({ code: 'COULDNT_CONNECT', errno: 'EAFNOSUPPORT' });
    expect((error?.cause as Error | undefined)?.message).toContain('localAddress ::1');
  });

  test('hostile/148 none of this machine: the sentence names it', async () => {
    const server = await servePeers();
    const { error } = await new Rig().fetch({ url: server.url, localAddress: '192.0.2.1' });
    expect(error).toMatchObject({ code: 'COULDNT_CONNECT', errno: 'EADDRNOTAVAIL' });
    expect(error?.message).toContain('localAddress 192.0.2.1');
    expect(server.connections.length).toBe(0);
  });
});

describe('hostile/148 no port is left', () => {
  /** A kernel in which some local addresses have no port for anybody at one target. */
  function exhausted(spent: Set<string>, target: number) {
    const real = nativeIo();
    const bound = new Map<number, string>();
    const asked: string[] = [];
    const io = {
      ...real,
      bind: (socket: number, family: 4 | 6 | 1, address: string, port: number) => {
        bound.set(socket, address);
        return real.bind(socket, family, address, port);
      },
      connect: (socket: number, family: 4 | 6 | 1, address: string, port: number) => {
        const local = bound.get(socket) ?? '';
        bound.delete(socket);
        if (port === target) asked.push(local);
        return port === target && spent.has(local) ? -EADDRNOTAVAIL : real.connect(socket, family, address, port);
      },
    };
    return { io, asked };
  }

  test('a distinct error; back-off: the kernel is asked again only after a while; others are not affected', async () => {
    const [server, other] = [await servePeers(), await servePeers()];
    const spent = new Set(['']);
    const { io, asked } = exhausted(spent, server.port);
    const clock = new StillClock(io);
    const rig = new Rig({ io: clock.io });
    let failures = 0;
    for (let ms = 0; ms < 600; ms += 10, clock.passes(10)) {
      const { error } = await rig.fetch({ url: server.url });
      expect(error).toMatchObject({ code: 'COULDNT_CONNECT', errno: 'EADDRNOTAVAIL', phase: 'connect' });
      expect(error?.message).toMatch(/No local port is left.*localAddress/);
      failures++;
      expect((await rig.fetch({ url: other.url, forbidReuse: true })).body).toBe('ok');
    }
    // At 0, 50, 150, 350 ms.
    expect([failures, asked.length]).toEqual([60, 4]);
    spent.clear();
    clock.passes(1_000);
    expect((await rig.fetch({ url: server.url })).body).toBe('ok');
    // Forgotten: the next shortage begins anew, with 50 ms.
    spent.add('');
    asked.length = 0;
    const fail = () => rig.fetch({ url: server.url, freshConnect: true, forbidReuse: true });
    expect((await fail()).error?.errno).toBe('EADDRNOTAVAIL');
    clock.passes(60);
    await fail();
    expect(asked.length).toBe(2);
  });

  test('another local address helps at once, and the spent one is passed over', async () => {
    const server = await servePeers();
    const { io, asked } = exhausted(new Set(['127.0.0.5']), server.port);
    const rig = new Rig({ io });
    const localAddress = ['127.0.0.5', '127.0.0.6', '127.0.0.7'];
    for (let round = 0; round < 4; round++) {
      expect((await rig.fetch({ url: server.url, localAddress, forbidReuse: true })).body).toBe('ok');
    }
    expect(server.peers).toEqual(['127.0.0.6', '127.0.0.6', '127.0.0.7', '127.0.0.6']);
    expect(asked.filter((local) => local === '127.0.0.5').length).toBeLessThanOrEqual(2);
  });
});

describe('localPorts', () => {
  test('one, and a range in which taken ones are passed over; all taken is an error that says so', async () => {
    const server = await serve((connection) => connection.index > 0 && connection.reply());
    const rig = new Rig();
    const hold = async (): Promise<number> => {
      const port = await deadPort();
      const held = get({ url: server.url, localPorts: port });
      rig.multi.add(held.transfer);
      await rig.until(() => held.transfer.error !== null || server.requests.length === 1);
      return held.transfer.error === null ? port : -1;
    };
    let taken = -1;
    // Another program may take the port before it is used here.
    for (let attempt = 0; attempt < 5 && taken < 0; attempt++) taken = await hold();
    expect(server.last.socket.remotePort).toBe(taken);
    const { error } = await rig.fetch({ url: server.url, localPorts: [taken, taken] });
    expect(error).toMatchObject({ code: 'COULDNT_CONNECT', errno: 'EADDRINUSE' });
    expect((error?.cause as Error | undefined)?.message).toContain(`localPorts (${taken} to ${taken})`);
    expect(error?.message).toContain(`Every port of localPorts (${taken} to ${taken}) is taken`);
    const range = await rig.fetch({ url: server.url, localPorts: [taken, Math.min(taken + 20, 65_535)] });
    expect(range.body).toBe('ok');
    expect(server.last.socket.remotePort).toBeGreaterThan(taken);
  });
});

describe('TCP options', () => {
  const noSs = (() => {
    try {
      execFileSync('ss', ['-V'], { stdio: 'ignore' });
      return false;
    } catch {
      return true;
    }
  })();

  /** The calls for a transfer, as the kernel gets them. */
  async function calls(options: Partial<TransferOptions>): Promise<unknown[][]> {
    const server = await serve();
    const real = nativeIo();
    const seen: unknown[][] = [];
    const setTcpOptions: typeof real.setTcpOptions = (socket, ...rest) => {
      const result = real.setTcpOptions(socket, ...rest);
      seen.push([...rest, result]);
      return result;
    };
    const rig = new Rig({ io: { ...real, setTcpOptions } });
    expect((await rig.fetch({ url: server.url, ...options })).body).toBe('ok');
    return seen;
  }

  test.each<[Partial<TransferOptions>, unknown[][]]>([
    [{}, []],
    [{ noDelay: true, keepAlive: false }, []],
    [{ noDelay: false }, [[false, 0, 0, 0, 0]]],
    [{ keepAlive: true }, [[true, 60, 60, 9, 0]]],
    [{ keepAlive: { idleMs: 1_500, intervalMs: 100, probes: 3 } }, [[true, 2, 1, 3, 0]]],
  ])('%j', async (options, wanted) => {
    expect(await calls(options)).toEqual(wanted);
  });

  test('a socket of the application gets them too, the default ones included', async () => {
    const openSocket = () => nativeIo().open(4);
    expect(await calls({ openSocket })).toEqual([[true, 0, 0, 0, 0]]);
  });

  test.skipIf(noSs)('the kernel has them', async () => {
    const server = await serve();
    const rig = new Rig();
    const shown = async (options: Partial<TransferOptions>) => {
      await rig.fetch({ url: server.url, ...options });
      const { remotePort } = server.last.socket;
      return execFileSync('ss', ['-tnoH', 'sport', `= :${remotePort}`], { encoding: 'utf8' });
    };
    expect(await shown({})).not.toContain('keepalive');
    expect(await shown({ keepAlive: { idleMs: 90_000 } })).toMatch(/timer:\(keepalive,1min/);
  });
});

describe('refused before anything happens', () => {
  test.each<[string, object]>([
    ['connectTo', { connectTo: '' }],
    ['connectTo', { connectTo: 'a b:1' }],
    ['connectTo', { connectTo: 'a:70000' }],
    ['connectTo', { connectTo: {} }],
    ['connectTo.port', { connectTo: { port: 0 } }],
    ['connectTo.host', { connectTo: { host: 'a:1' } }],
    ['connectTo[0]', { connectTo: ['a:1'] }],
    ['unixPath', { unixPath: '' }],
    ['unixPath', { unixPath: `/${'x'.repeat(107)}` }],
    ['unixPath', { unixPath: '/a\0b' }],
    ['unixPath', { unixPath: '/a', connectTo: 'b' }],
    ['localAddress', { localAddress: 'localhost' }],
    ['localAddress', { localAddress: [] }],
    ['localAddress[1]', { localAddress: ['127.0.0.1', 7] }],
    ['localPorts[1]', { localPorts: [9, 8] }],
    ['localPorts', { localPorts: 0 }],
    ['localPorts', { localPorts: '1-2' }],
    ['family', { family: 5 }],
    ['noDelay', { noDelay: 1 }],
    ['keepAlive.probes', { keepAlive: { probes: 128 } }],
    ['keepAlive.idleMs', { keepAlive: { idleMs: 0 } }],
    ['keepAlive', { keepAlive: 60 }],
    ['openSocket', { openSocket: 1 }],
    ['closeSocket', { closeSocket: null }],
  ])('%s: %j', (limit, options) => {
    const make = () => new Transfer({ url: 'http://a.test/', ...(options as Partial<TransferOptions>) });
    expect(make).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT', limit }));
  });
});
