/** What a pool's options say of connecting: names, fixed addresses, local addresses, and where a single request goes. */

import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { Pool, type PoolOptions } from 'shardfetch';
import { describe, expect, onTestFinished, test } from 'vitest';
import { eventually } from './checks.ts';
import { within } from './raw-peer.ts';

interface Server {
  readonly port: number;
  /** Host fields and the addresses that requests came from. */
  readonly seen: { host: string | undefined; from: string | undefined }[];
}

async function serve(where: { port: 0; host: string } | { path: string }): Promise<Server> {
  const seen: Server['seen'] = [];
  const server = http.createServer((request, response) => {
    seen.push({ host: request.headers.host, from: request.socket.remoteAddress });
    response.end('ok');
  });
  server.listen(where);
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { port: (server.address() as Partial<AddressInfo>).port ?? 0, seen };
}

const LOCAL = { port: 0, host: '127.0.0.1' } as const;

function poolOf(options: PoolOptions): Pool {
  const pool = new Pool(options);
  onTestFinished(() => pool.destroy());
  return pool;
}

async function text(pool: Pool, url: string, init?: object): Promise<string> {
  return (await pool.fetch(url, init)).text();
}

async function failure(pool: Pool, url: string, init?: object): Promise<{ code: string; cause: Error }> {
  return pool.fetch(url, init).then(
    () => expect.unreachable(),
    (error) => error,
  );
}

describe.each([0, 1, 2])('%i shards', (shards) => {
  test('dns.lookup runs in this thread, once per name however many wait', async () => {
    const server = await serve(LOCAL);
    const asked: [string, number][] = [];
    const pool = poolOf({
      shards,
      dns: {
        lookup: (host, family, done) => {
          asked.push([host, family]);
          setTimeout(done, 20, null, ['127.0.0.1']);
        },
        family: 4,
      },
    });
    const url = `http://a.test:${server.port}/`;
    const all = await Promise.all(Array.from({ length: 10 }, () => text(pool, url)));
    expect(all).toEqual(Array(10).fill('ok'));
    expect(asked.length).toBeLessThanOrEqual(Math.max(shards, 1));
    expect(asked[0]).toEqual(['a.test', 4]);
  });

  test('dns.lookup that fails, throws or answers nonsense fails its requests, with its error as a cause', async () => {
    const server = await serve(LOCAL);
    const pool = poolOf({
      shards,
      dns: {
        lookup: (host, _family, done) => {
          if (host === 'throws.test') throw new Error('thrown');
          if (host === 'fails.test') done(Object.assign(new Error('no such name'), { code: 'ENOTFOUND' }));
          else if (host === 'nonsense.test') done(null, [7] as never);
          else if (host === 'later.test') setTimeout(done, 5, null, ['127.0.0.1']);
        },
      },
    });
    for (const [host, cause] of [
      ['throws', 'thrown'],
      ['fails', 'no such name'],
      ['nonsense', '7'],
    ] as const) {
      const { code, cause: error } = await failure(pool, `http://${host}.test:${server.port}/`);
      expect(code).toBe('COULDNT_RESOLVE');
      expect((error.cause as Error).message).toContain(cause);
    }
    expect(await text(pool, `http://later.test:${server.port}/`)).toBe('ok');
    const timeouts = { connectMs: 50 };
    expect((await failure(pool, 'http://never.test/', { timeouts })).code).toBe('CONNECT_TIMEOUT');
    expect(await text(pool, `http://later.test:${server.port}/`)).toBe('ok');
  });

  test('dns.resolve', async () => {
    const server = await serve(LOCAL);
    const pool = poolOf({ shards, dns: { resolve: { [`a.test:${server.port}`]: ['127.0.0.1'] } } });
    expect(await text(pool, `http://a.test:${server.port}/`)).toBe('ok');
    expect(server.seen.map(({ host }) => host)).toEqual([`a.test:${server.port}`]);
  });

  test('dns.family', async () => {
    const server = await serve(LOCAL);
    const pool = poolOf({ shards, dns: { family: 6 } });
    expect((await failure(pool, `http://127.0.0.1:${server.port}/`)).code).toBe('COULDNT_RESOLVE');
  });

  test('localAddress, in turn', async () => {
    const server = await serve(LOCAL);
    const pool = poolOf({ shards, localAddress: ['127.0.0.5', '127.0.0.6'] });
    for (let round = 0; round < 4; round++) {
      expect(await text(pool, `http://127.0.0.1:${server.port}/`, { forbidReuse: true })).toBe('ok');
    }
    const from = server.seen.map((request) => request.from);
    expect(from).toEqual(['127.0.0.5', '127.0.0.6', '127.0.0.5', '127.0.0.6']);
  });

  test('connectTo and unixPath of one request: the Host field stays, and connections are not mixed up', async () => {
    const folder = mkdtempSync(path.join(os.tmpdir(), 'shardfetch-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const unixPath = path.join(folder, 'sückət');
    const [origin, other, local] = [await serve(LOCAL), await serve(LOCAL), await serve({ path: unixPath })];
    const pool = poolOf({ shards });
    const url = `http://127.0.0.1:${origin.port}/`;
    for (let round = 0; round < 2; round++) {
      expect(await text(pool, url)).toBe('ok');
      expect(await text(pool, url, { connectTo: { port: other.port } })).toBe('ok');
      expect(await text(pool, url, { unixPath })).toBe('ok');
    }
    const host = `127.0.0.1:${origin.port}`;
    for (const server of [origin, other, local]) expect(server.seen.map((one) => one.host)).toEqual([host, host]);
    expect((await failure(pool, url, { unixPath: path.join(folder, 'none') })).cause).toMatchObject({
      errno: 'ENOENT',
    });
    for (const [limit, init] of [
      ['connectTo', { connectTo: 'a b' }],
      ['unixPath', { unixPath: '' }],
      ['unixPath', { unixPath, connectTo: 'b' }],
    ] as const) {
      expect((await failure(pool, url, init)).cause).toMatchObject({ code: 'INVALID_ARGUMENT', limit });
    }
  });
});

test('a look-up that never answers keeps no closed pool alive, and a pool closes beside it', async () => {
  const asked: string[] = [];
  const pool = new Pool({ shards: 1, dns: { lookup: (host) => void asked.push(host) } });
  const pending = pool.fetch('http://never.test/').catch((error) => error.code);
  await eventually(() => asked.length > 0, 'the name is asked for');
  expect(asked).toEqual(['never.test']);
  await within(pool.destroy(), 'the pool to be destroyed');
  expect(await pending).toBe('POOL_CLOSED');
});
