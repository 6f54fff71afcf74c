/** The guard of a pool and of its requests, over real threads: functions run here, verdicts hold there. */

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Pool, type PoolOptions, type TransferError } from 'shardfetch';
import { describe, expect, onTestFinished, test } from 'vitest';
import { serve } from '../contract/rig.ts';
import { httpProxy } from '../proxy/proxies.ts';
import { eventually } from '../wire/checks.ts';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

function poolOf(options: PoolOptions): Pool {
  const pool = new Pool({ shards: 1, ...options });
  onTestFinished(() => pool.destroy());
  return pool;
}

async function causeOf(promise: Promise<unknown>): Promise<TransferError> {
  const failure = await promise.then(
    () => expect.fail('It should have rejected.'),
    (error: TypeError) => error,
  );
  expect(failure).toMatchObject({ name: 'TypeError', message: 'fetch failed', code: 'COULDNT_CONNECT' });
  return failure.cause as TransferError;
}

const textOf = async (response: Promise<Response>): Promise<string> => (await response).text();

describe.each([0, 1])('%i shards', (shards) => {
  test('public-only', async () => {
    const server = await serve();
    const pool = poolOf({ shards, guard: 'public-only', dns: { lookup: () => Promise.resolve(['::1', '127.0.0.1']) } });
    for (const url of [server.url, `http://innocent.test:${server.port}/`]) {
      const cause = await causeOf(pool.fetch(url));
      expect(cause).toMatchObject({ limit: 'guard', phase: 'connect', url });
      expect(cause.message).toContain('loopback');
    }
    expect(server.connections.length).toBe(0);
    const allowed = await textOf(pool.fetch(server.url, { guard: (address) => address === '127.0.0.1' }));
    expect(allowed).toBe('ok');
  });

  test('a function: by a promise, by a throw, for each address', async () => {
    const server = await serve();
    const seen: string[] = [];
    const pool = poolOf({
      shards,
      dns: { resolve: { [`two.test:${server.port}`]: ['127.0.0.9', '127.0.0.1'] } },
      guard: async (address, { host, port, family, url }) => {
        seen.push(`${address} ${host} ${port} ${family} ${url}`);
        await new Promise((resolve) => setTimeout(resolve, 10));
        if (address === '127.0.0.9') throw new Error('not that one');
      },
    });
    const url = `http://two.test:${server.port}/path`;
    const response = await pool.fetch(url);
    expect(await response.text()).toBe('ok');
    expect(response.connection.remoteAddress).toBe(`127.0.0.1:${server.port}`);
    expect(seen).toEqual([`127.0.0.9 two.test ${server.port} 4 ${url}`, `127.0.0.1 two.test ${server.port} 4 ${url}`]);
    const cause = await causeOf(pool.fetch(`http://127.0.0.9:${server.port}/`));
    expect(cause).toMatchObject({ limit: 'guard', cause: { message: expect.stringContaining('refused 127.0.0.9') } });
    expect(((cause.cause as Error).cause as Error).message).toBe('not that one');
  });

  test('hostile/103 hostile/134 each hop is judged', async () => {
    const inner = await serve();
    const outer = await serve(({ socket }) =>
      socket.write(`HTTP/1.1 302 Found\r\nLocation: http://127.0.0.2:${inner.port}/\r\nContent-Length: 0\r\n\r\n`),
    );
    const seen: string[] = [];
    const pool = poolOf({ shards });
    const guard = (address: string): boolean => {
      seen.push(address);
      return address !== '127.0.0.2';
    };
    const cause = await causeOf(pool.fetch(outer.url, { guard }));
    expect(cause.limit).toBe('guard');
    expect(seen).toEqual(['127.0.0.1', '127.0.0.2']);
    expect(inner.connections.length).toBe(0);
  });
});

describe('of requests', () => {
  test('one function shares its connections, another and none do not', async () => {
    const server = await serve();
    const pool = poolOf({});
    const [one, two] = [() => true, () => true];
    const reused: boolean[] = [];
    for (const guard of [undefined, one, two, one, two, undefined, one]) {
      const response = await pool.fetch(server.url, { guard });
      await response.text();
      reused.push(response.connection.reused);
    }
    expect(reused).toEqual([false, false, false, true, true, true, true]);
  });

  test('a function of its own for each of many requests at once, while memory is reclaimed', async () => {
    const server = await serve();
    const pool = poolOf({});
    let calls = 0;
    const answers = Array.from({ length: 12 }, (_, index) =>
      textOf(
        pool.fetch(`${server.url}${index}`, {
          guard: async () => {
            calls++;
            // What nobody holds any more is gone after this.
            collectGarbage();
            await new Promise((resolve) => setTimeout(resolve, 5));
            return true;
          },
        }),
      ),
    );
    expect(await Promise.all(answers)).toEqual(Array(12).fill('ok'));
    expect(calls).toBe(12);
  });

  test('one that never answers is the clock’s matter, and an abort’s', async () => {
    const server = await serve();
    const pool = poolOf({ guard: () => new Promise(() => undefined) });
    const timedOut = await pool.fetch(server.url, { timeouts: { connectMs: 100 } }).catch((error: unknown) => error);
    expect(timedOut).toMatchObject({ code: 'CONNECT_TIMEOUT' });
    const signal = AbortSignal.timeout(50);
    await expect(pool.fetch(server.url, { signal })).rejects.toMatchObject({ name: 'TimeoutError' });
    // The abort and the question go by different ports.
    await eventually(async () => (await pool.stats()).shards[0]?.connections === 0, 'the shard has let go of it');
    expect((await pool.stats()).shards[0]).toMatchObject({ running: 0, connections: 0 });
  });

  test('names through a proxy wait for a proxy that guards', async () => {
    const server = await serve();
    const proxy = await httpProxy();
    const pool = poolOf({ proxy: proxy.url, guard: 'public-only' });
    const url = `http://origin.test:${server.port}/`;
    expect((await causeOf(pool.fetch(url))).message).toContain('proxy.guards');
    expect(await textOf(pool.fetch(url, { proxy: { url: proxy.url, guards: true } }))).toBe('ok');
  });

  test.each([null, 'private', 7])('%j is no guard', async (guard) => {
    const pool = poolOf({ shards: 0 });
    await expect(pool.fetch('http://127.0.0.1:1/', { guard: guard as 'public-only' })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
    });
    expect(() => new Pool({ guard: guard as 'public-only' })).toThrow(/public-only/);
  });
});
