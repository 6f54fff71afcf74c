/** The guard in a multi: asked at connect time, about resolved addresses, for every one that would be connected to. */

import { describe, expect, test } from 'vitest';
import type { GuardTarget } from '../../src/protocol/guard-options.ts';
import { Names, Rig, type Server, serve } from '../contract/rig.ts';
import { httpProxy, socksProxy } from '../proxy/proxies.ts';

const PUBLIC_ONLY = { guard: 'public-only' } as const;

/** One that lets nothing be connected to, so that a test reaches no network whatever it does. */
const asked = (): { guard: (address: string, target: GuardTarget) => boolean; addresses: string[] } => {
  const addresses: string[] = [];
  return {
    addresses,
    guard: (address) => {
      addresses.push(address);
      return false;
    },
  };
};

function untouched(...servers: Server[]): void {
  for (const server of servers) expect(server.connections.length).toBe(0);
}

describe('hostile/134 public-only', () => {
  test.each([
    '127.0.0.1',
    '0.0.0.0',
    '[::1]',
    '[::]',
    '[::ffff:127.0.0.1]',
    '[::ffff:7f00:1]',
    '[64:ff9b::7f00:1]',
    // hostile/132: spellings of the same
    '0x7f.1',
    '127.1',
    '2130706433',
    '0177.0.0.1',
    '１２７.0.0.1',
    '127。0。0。1',
    '0',
  ])('hostile/132 %s is refused before anything is sent', async (host) => {
    const server = await serve();
    const rig = new Rig();
    const got = await rig.fetch({ url: `http://${host}:${server.port}/`, ...PUBLIC_ONLY });
    expect(got.error).toMatchObject({ code: 'COULDNT_CONNECT', phase: 'connect', limit: 'guard' });
    expect(got.error?.message).toMatch(/guard lets only public addresses.*is none \(/);
    expect(got.error?.cause).toMatchObject({ code: 'COULDNT_CONNECT', limit: 'guard' });
    expect(rig.whats.length).toBe(0);
    untouched(server);
  });

  test('what names lead to is judged, wherever the answer is from (DNS rebinding)', async () => {
    const server = await serve();
    const url = `http://innocent.test:${server.port}/`;
    const fixed = await new Rig({ resolve: { [`innocent.test:${server.port}`]: '127.0.0.1' } }).fetch({
      url,
      ...PUBLIC_ONLY,
    });
    const looked = await new Rig({ lookup: () => Promise.resolve(['127.0.0.1']) }).fetch({ url, ...PUBLIC_ONLY });
    const detour = await new Rig().fetch({ url, connectTo: { host: '127.0.0.1', port: server.port }, ...PUBLIC_ONLY });
    const mapped = await new Rig().fetch({ url, connectTo: { host: '0x7f.1', port: server.port }, ...PUBLIC_ONLY });
    const names = new Names();
    const rig = new Rig({ io: names.io });
    const resolving = rig.fetch({ url, ...PUBLIC_ONLY });
    await rig.until(() => names.asked.length === 1);
    names.answer(rig, 1, ['127.0.0.1', '::1', '127.0.0.7']);
    const resolved = await resolving;
    for (const { error } of [fixed, looked, detour, mapped, resolved]) {
      expect(error).toMatchObject({ code: 'COULDNT_CONNECT', limit: 'guard' });
    }
    const { errors } = (resolved.error as Error).cause as AggregateError;
    expect(errors.map(({ message }) => message)).toEqual([
      expect.stringContaining('127.0.0.1'),
      expect.stringContaining('[::1]'),
      expect.stringContaining('127.0.0.7'),
    ]);
    untouched(server);
  });

  test('a unix socket is no address of the internet', async () => {
    const got = await new Rig().fetch({ url: 'http://docker.test/', unixPath: '/run/docker.sock', ...PUBLIC_ONLY });
    expect(got.error).toMatchObject({ code: 'COULDNT_CONNECT', limit: 'guard' });
    expect(got.error?.message).toContain('/run/docker.sock');
  });

  test.each(['8.8.8.8', '2606:4700::1111'])(
    'hostile/134 a unix socket is one, also where its path reads %s',
    async (unixPath) => {
      const opened: unknown[] = [];
      const openSocket = (...told: unknown[]): number => opened.push(told) && -1;
      const got = await new Rig().fetch({ url: 'http://docker.test/', unixPath, openSocket, ...PUBLIC_ONLY });
      expect(got.error).toMatchObject({ code: 'COULDNT_CONNECT', limit: 'guard' });
      expect(got.error?.message).toContain(`and ${unixPath} is none (a unix socket)`);
      const families: number[] = [];
      const guard = (_: string, { family }: GuardTarget): boolean => families.push(family) < 0;
      const judged = await new Rig().fetch({ url: 'http://docker.test/', unixPath, openSocket, guard });
      expect(judged.error?.message).toContain(`The guard refused ${unixPath}.`);
      expect(families).toEqual([1]);
      expect(opened).toEqual([]);
    },
  );

  test('the openSocket hook is not asked for what is refused', async () => {
    const opened: string[] = [];
    const got = await new Rig().fetch({
      url: 'http://127.0.0.1/',
      ...PUBLIC_ONLY,
      openSocket: (_, { address }) => {
        opened.push(address);
        return -1;
      },
    });
    expect(got.error?.limit).toBe('guard');
    expect(opened).toEqual([]);
  });
});

describe('a function', () => {
  test('is told address, host, port, family and URL; what it refuses is passed over for the next', async () => {
    const server = await serve();
    const seen: [string, GuardTarget][] = [];
    const rig = new Rig({ resolve: { [`two.test:${server.port}`]: ['127.0.0.9', '::1', '127.0.0.1'] } });
    const got = await rig.fetch({
      url: `http://two.test:${server.port}/path?q`,
      guard: (address, target) => {
        seen.push([address, target]);
        return address === '127.0.0.1';
      },
    });
    expect(got).toMatchObject({ error: null, body: 'ok' });
    expect(got.transfer.info.remoteAddress).toBe(`127.0.0.1:${server.port}`);
    const target = { host: 'two.test', port: server.port, url: `http://two.test:${server.port}/path?q` };
    expect(seen).toEqual([
      ['127.0.0.9', { ...target, family: 4 }],
      ['::1', { ...target, family: 6 }],
      ['127.0.0.1', { ...target, family: 4 }],
    ]);
  });

  test.each<[string, (address: string) => unknown, RegExp]>([
    ['false', () => false, /refused/],
    [
      'a throw',
      () => {
        throw new Error('not that one');
      },
      /refused.*see the cause/,
    ],
    ['null', () => null, /neither true nor false/],
    ['a text', () => 'yes', /neither true nor false/],
    ['a promise', () => Promise.resolve(true), /must answer at once/],
    ['a rejection', () => Promise.reject(new Error('late')), /must answer at once/],
  ])('%s refuses', async (_, guard, reason) => {
    const server = await serve();
    const got = await new Rig().fetch({ url: server.url, guard: guard as () => boolean });
    expect(got.error).toMatchObject({ code: 'COULDNT_CONNECT', limit: 'guard' });
    expect(got.error?.message).toMatch(reason);
    untouched(server);
  });

  test('nothing and true let it be', async () => {
    const server = await serve();
    for (const answer of [undefined, true] as const) {
      expect(await new Rig().fetch({ url: server.url, guard: () => answer })).toMatchObject({
        error: null,
        body: 'ok',
      });
    }
  });

  test('may remove its transfer', async () => {
    const server = await serve();
    const rig = new Rig();
    const removed = rig.fetch({
      url: server.url,
      guard: () => {
        const [transfer] = rig.multi.transfers();
        if (transfer !== undefined) rig.multi.remove(transfer);
        return true;
      },
    });
    removed.catch(() => undefined);
    await rig.until(() => rig.multi.transfers().length === 0);
    expect(rig.multi.stats()).toMatchObject({ connections: 0, current: 0 });
    untouched(server);
  });

  test('is asked for each connection that is opened, and not for one that is kept', async () => {
    const server = await serve();
    const rig = new Rig();
    let count = 0;
    const guard = () => {
      count++;
    };
    for (const options of [{}, {}, { freshConnect: true }]) await rig.fetch({ url: server.url, guard, ...options });
    expect(count).toBe(2);
    expect(rig.multi.stats()).toMatchObject({ opened: 2, reused: 1 });
  });
});

describe('hostile/75 hostile/134 what is shared', () => {
  test('a connection that was opened without the guard, or under another, serves no guarded request', async () => {
    const server = await serve();
    const rig = new Rig();
    const guard = () => true;
    for (const options of [{}, { guard }, { guard: () => true }]) {
      const got = await rig.fetch({ url: server.url, ...options });
      expect(got.transfer.info.reused).toBe(false);
    }
    const guarded = await rig.fetch({ url: server.url, ...PUBLIC_ONLY });
    expect(guarded.error).toMatchObject({ limit: 'guard' });
    expect((await rig.fetch({ url: server.url, guard })).transfer.info.reused).toBe(true);
    expect((await rig.fetch({ url: server.url })).transfer.info.reused).toBe(true);
  });
});

describe('with a proxy', () => {
  test('the target is judged, not the proxy: addresses as they are, names not unless the proxy guards', async () => {
    const server = await serve();
    const [http, socks] = [await httpProxy(), await socksProxy()];
    const rig = new Rig();
    const named = `http://origin.test:${server.port}/`;
    for (const proxy of [http.url, socks.url, { url: http.url, tunnel: true }]) {
      const literal = await rig.fetch({ url: server.url, proxy, ...PUBLIC_ONLY });
      expect(literal.error).toMatchObject({ code: 'COULDNT_CONNECT', limit: 'guard' });
      const name = await rig.fetch({ url: named, proxy, ...PUBLIC_ONLY });
      expect(name.error).toMatchObject({ code: 'COULDNT_CONNECT', limit: 'guard' });
      expect(name.error?.message).toMatch(/cannot judge origin\.test.*proxy\.guards/);
    }
    expect(http.accepted + socks.accepted).toBe(0);
    const guarding = { url: http.url, guards: true };
    expect(await rig.fetch({ url: named, proxy: guarding, ...PUBLIC_ONLY })).toMatchObject({ error: null, body: 'ok' });
    const literal = await rig.fetch({ url: server.url, proxy: guarding, ...PUBLIC_ONLY });
    expect(literal.error?.limit).toBe('guard');
    const detour = await rig.fetch({ url: named, proxy: guarding, connectTo: '127.0.0.1', ...PUBLIC_ONLY });
    expect(detour.error?.limit).toBe('guard');
  });

  test('a function is asked about literal targets', async () => {
    const { guard, addresses } = asked();
    const got = await new Rig().fetch({ url: 'http://[::1]:1/', proxy: 'http://127.0.0.1:1', guard });
    expect(got.error?.limit).toBe('guard');
    expect(addresses).toEqual(['::1']);
  });
});

test.each(['private', null, 7, {}])('%j is no guard', async (guard) => {
  const rig = new Rig();
  await expect(rig.fetch({ url: 'http://127.0.0.1:1/', guard: guard as 'public-only' })).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
    limit: 'guard',
  });
});
