/** `pool.fetch` through proxies, over real threads: per pool, per request, by the environment, across redirects. */

import { once } from 'node:events';
import http from 'node:http';
import net, { type AddressInfo, type Socket } from 'node:net';
import { openDuplex, Pool, type PoolOptions, type TransferError } from 'shardfetch';
import { afterEach, describe, expect, onTestFinished, test } from 'vitest';
import { serve } from '../contract/rig.ts';
import { ROOT, serve as serveSecure } from '../tls/rig.ts';
import { type HttpProxy, httpProxy, socksProxy } from './proxies.ts';

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
  expect(failure).toMatchObject({ name: 'TypeError', message: 'fetch failed' });
  return failure.cause as TransferError;
}

describe('option proxy', () => {
  test.each([0, 1])('of the pool, and its name on the response: %i shards', async (shards) => {
    const [server, secure] = [await serve(), await serveSecure()];
    const proxy = await httpProxy();
    const pool = poolOf({ shards, proxy: `http://user:pass@127.0.0.1:${proxy.port}`, tls: { ca: ROOT } });
    for (const url of [`http://origin.test:${server.port}/`, `https://good.test:${secure.port}/`]) {
      const response = await pool.fetch(url);
      expect(await response.text()).toBe('ok');
      expect(response.connection).toMatchObject({ proxy: proxy.url, remoteAddress: `127.0.0.1:${proxy.port}` });
      expect(response.connection.tls?.verified).toBe(url.startsWith('https') ? true : undefined);
    }
    expect(proxy.heads.map(({ fields }) => fields['proxy-authorization'])).toEqual([
      'Basic dXNlcjpwYXNz',
      'Basic dXNlcjpwYXNz',
    ]);
  });

  test('of a request: another one, none, and the environment as it was when the pool was made', async () => {
    const server = await serve();
    const [one, two, three] = [await httpProxy(), await httpProxy(), await httpProxy()];
    process.env.http_proxy = `127.0.0.1:${three.port}`;
    onTestFinished(() => {
      delete process.env.http_proxy;
    });
    const pool = poolOf({ proxy: one.url });
    delete process.env.http_proxy;
    const url = `http://127.0.0.1:${server.port}/`;
    const seen: (string | null)[] = [];
    for (const proxy of [undefined, two.url, new URL(two.url), null, false, 'env'] as const) {
      const response = await pool.fetch(url, { proxy });
      expect(await response.text()).toBe('ok');
      seen.push(response.connection.proxy);
    }
    expect(seen).toEqual([one.url, two.url, two.url, null, null, three.url]);
  });

  test('SOCKS5, and what it answers', async () => {
    const server = await serve();
    const proxy = await socksProxy({ credentials: 'user:pass' });
    const pool = poolOf({ proxy: { url: proxy.url, username: 'user', password: 'pass' } });
    const response = await pool.fetch(`http://origin.test:${server.port}/`);
    expect(await response.text()).toBe('ok');
    expect(response.connection.proxy).toBe(proxy.url);
    const refusing = await socksProxy({ reply: 2 });
    const cause = await causeOf(pool.fetch(`http://origin.test:${server.port}/`, { proxy: refusing.url }));
    expect(cause).toMatchObject({ code: 'PROXY_FAILED', status: 2, phase: 'proxy' });
    expect(cause.message).toContain('its rules do not allow it');
  });

  test.each(['tunnel', 'socks5', 'absolute form'])(
    'a proxy that hangs up before it has answered is tried again, as retry says: %s',
    async (kind) => {
      const server = await serve();
      const proxy = kind === 'socks5' ? await socksProxy() : await httpProxy();
      let connections = 0;
      // It hangs up on the first two, as one does that restarts: with a FIN and with a reset.
      const front = net.createServer((socket) => {
        const time = ++connections;
        socket.on('error', () => undefined);
        if (time > 2) socket.pipe(net.connect(proxy.port, '127.0.0.1')).pipe(socket);
        else socket.once('data', () => (time === 1 ? socket.end() : socket.resetAndDestroy()));
      });
      await once(front.listen(0, '127.0.0.1'), 'listening');
      onTestFinished(() => void front.close());
      const { port } = front.address() as AddressInfo;
      const url = kind === 'socks5' ? `socks5://127.0.0.1:${port}` : `http://127.0.0.1:${port}`;
      const pool = poolOf({ proxy: { url, tunnel: kind === 'tunnel' }, retry: { attempts: 3, delayMs: 1 } });
      const response = await pool.fetch(`http://origin.test:${server.port}/`);
      expect([response.status, response.attempts, await response.text()]).toEqual([200, 3, 'ok']);
      connections = 0;
      const other = `http://other.test:${server.port}/`;
      const cause = await causeOf(pool.fetch(other, { retry: false }));
      expect(cause).toMatchObject({ code: 'CONNECTION_LOST', status: undefined });
      if (kind === 'absolute form') return;
      expect(cause).toMatchObject({ phase: 'proxy', errno: undefined });
      expect(cause.message).toBe(`The proxy ${url} closed the connection before it had let this request through.`);
      const reset = await causeOf(pool.fetch(other, { retry: false }));
      expect(reset).toMatchObject({ code: 'CONNECTION_LOST', phase: 'proxy', errno: 'ECONNRESET' });
    },
  );

  test('a failure tells the status, and no credentials', async () => {
    const proxy = await httpProxy({ authorization: 'Basic other' });
    const pool = poolOf({ proxy: `http://user:hunter2@127.0.0.1:${proxy.port}` });
    const cause = await causeOf(pool.fetch('https://origin.test/'));
    expect(cause).toMatchObject({
      code: 'PROXY_FAILED',
      status: 407,
      limit: 'proxy.username',
      url: 'https://origin.test/',
    });
    expect(JSON.stringify(cause) + cause.message).not.toMatch(/hunter2|user:|dXNlcjp/);
  });

  test.each(['http', 'tunnelling', 'socks'])('what leaves HTTP goes through a tunnel: %s', async (kind) => {
    const server = http.createServer();
    const sockets: Socket[] = [];
    server.on('upgrade', (_, socket: Socket) => {
      sockets.push(socket);
      socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n');
      socket.pipe(socket);
    });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    onTestFinished(() => {
      for (const socket of sockets) socket.destroy();
      server.close();
    });
    const [forHttp, forSocks] = [await httpProxy(), await socksProxy()];
    const proxy = { http: forHttp.url, tunnelling: { url: forHttp.url, tunnel: true }, socks: forSocks.url }[kind];
    const url = `http://origin.test:${(server.address() as AddressInfo).port}/`;
    const { response, duplex } = await openDuplex(poolOf({ proxy: proxy as string }).fetch, url, { upgrade: 'echo' });
    expect(response.status).toBe(101);
    duplex?.write('hello');
    const [chunk] = duplex === null ? [] : await once(duplex, 'data');
    expect(String(chunk)).toBe('hello');
    duplex?.destroy();
    expect(forHttp.heads.map(({ line }) => line.split(' ')[0])).toEqual(kind === 'socks' ? [] : ['CONNECT']);
  });

  test.each([
    ['ftp://127.0.0.1', /scheme/],
    ['http://127.0.0.1:99999', /not a URL/],
    ['http://127.0.0.1/path', /no path/],
    [7, /must be a URL/],
    [{ url: 'http://127.0.0.1', nope: 1 }, /no option/],
    [{ url: 'http://127.0.0.1', headers: { 'content-length': '1' } }, /cannot have the field/],
    [{ url: 'http://127.0.0.1', headers: { 'x-a': 'a\r\nb: c' } }, /cannot be sent/],
    [{ url: 'http://127.0.0.1', tls: {} }, /https:\/\//],
    [{ url: 'http://127.0.0.1', username: 'a:b' }, /colon/],
    [{ url: 'socks5://127.0.0.1', headers: { a: 'b' } }, /SOCKS/],
    [{ url: 'socks5://127.0.0.1', username: 'a'.repeat(256) }, /255/],
  ])('%j is refused, by pool and request', async (proxy, reason) => {
    expect(() => new Pool({ shards: 0, proxy: proxy as string })).toThrow(reason);
    const pool = poolOf({ shards: 0 });
    const failure = await pool.fetch('http://127.0.0.1:1/', { proxy: proxy as string }).catch((error) => error);
    expect(failure).toMatchObject({ name: 'TypeError', code: 'INVALID_ARGUMENT' });
    expect(failure.message).toMatch(reason);
    expect(failure.cause.limit).toMatch(/^proxy/);
  });
});

describe('the environment', () => {
  const NAMES = [
    'http_proxy',
    'HTTP_PROXY',
    'https_proxy',
    'HTTPS_PROXY',
    'all_proxy',
    'ALL_PROXY',
    'no_proxy',
    'NO_PROXY',
  ];
  const before = new Map(NAMES.map((name) => [name, process.env[name]]));
  afterEach(() => {
    for (const [name, value] of before) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  });

  test('curl’s variables and exceptions, decided for each origin', async () => {
    const [server, secure] = [await serve(), await serveSecure()];
    const [forHttp, forAll] = [await httpProxy(), await httpProxy()];
    for (const name of NAMES) delete process.env[name];
    process.env.HTTP_PROXY = 'http://not.this.test';
    process.env.http_proxy = forHttp.url;
    process.env.ALL_PROXY = forAll.url;
    process.env.NO_PROXY = '127.0.0.0/8';
    const resolve = { [`good.test:${secure.port}`]: '127.0.0.1' };
    const pool = poolOf({ proxy: 'env', tls: { ca: ROOT }, dns: { resolve } });
    const proxyOf = async (url: string): Promise<string | null> => {
      const response = await pool.fetch(url);
      await response.text();
      return response.connection.proxy;
    };
    expect(await proxyOf(`http://origin.test:${server.port}/`)).toBe(forHttp.url);
    expect(await proxyOf(`https://good.test:${secure.port}/`)).toBe(forAll.url);
    expect(await proxyOf(`http://127.0.0.1:${server.port}/`)).toBe(null);
  });

  test('what it says wrong is told by the name of the variable, without its value', () => {
    process.env.https_proxy = 'gopher://user:hunter2@x';
    expect(() => new Pool({ shards: 0, proxy: 'env' })).toThrow(/https_proxy/);
    expect(() => new Pool({ shards: 0, proxy: 'env' })).not.toThrow(/hunter2/);
  });
});

describe('redirects', () => {
  test('hostile/103 hostile/123 hostile/125 each hop has the proxy of its own origin, and credentials go to their proxy alone', async () => {
    const secure = await serveSecure();
    const [forHttp, forSecure] = [await httpProxy(), await httpProxy()];
    const landed = `https://good.test:${secure.port}/landed`;
    const first = await serve(({ socket }) =>
      socket.write(`HTTP/1.1 302 Found\r\nLocation: ${landed}\r\nContent-Length: 0\r\n\r\n`),
    );
    process.env.http_proxy = `http://user:pass@127.0.0.1:${forHttp.port}`;
    process.env.https_proxy = forSecure.url;
    onTestFinished(() => {
      delete process.env.http_proxy;
      delete process.env.https_proxy;
    });
    const pool = poolOf({ proxy: 'env', tls: { ca: ROOT } });
    const response = await pool.fetch(`http://origin.test:${first.port}/`, {
      headers: { authorization: 'Bearer secret' },
    });
    expect(await response.text()).toBe('ok');
    expect(response.url).toBe(landed);
    expect(response.connection.proxy).toBe(forSecure.url);
    const seen = ({ heads }: HttpProxy) =>
      heads.map(({ line, fields }) => [line, fields['proxy-authorization'], fields.authorization]);
    expect(seen(forHttp)).toEqual([[`GET http://origin.test:${first.port}/`, 'Basic dXNlcjpwYXNz', 'Bearer secret']]);
    expect(seen(forSecure)).toEqual([[`CONNECT good.test:${secure.port}`, undefined, undefined]]);
    expect(secure.requests[0]).not.toMatch(/authorization/i);
    for (const request of [...secure.requests, ...first.requests]) expect(request).not.toMatch(/proxy-authorization/i);
  });
});
