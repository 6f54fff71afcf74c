/** Proxies that do wrong, over sockets: HOSTILE.md section H where the bytes' timing, the clock or the connection matter. */

import { describe, expect, test } from 'vitest';
import { get, Names, Rig, serve } from '../contract/rig.ts';
import { ROOT, serveRaw, serve as serveSecure } from '../tls/rig.ts';
import { httpProxy, socksProxy } from './proxies.ts';

const OPEN = 'HTTP/1.1 200 OK\r\n\r\n';

describe('CONNECT', () => {
  test('hostile/122 dribbled, it succeeds within the clock and fails beyond it', async () => {
    const server = await serve();
    const dribble = (everyMs: number) =>
      serveRaw((socket) => {
        socket.once('data', () => {
          let sent = 0;
          socket.on('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'));
          const timer = setInterval(() => {
            if (sent < OPEN.length && !socket.destroyed) socket.write(OPEN[sent++] as string);
            else clearInterval(timer);
          }, everyMs);
          socket.on('close', () => clearInterval(timer));
        });
      });
    const [quick, slow] = [await dribble(3), await dribble(100)];
    const url = `http://origin.test:${server.port}/`;
    const rig = new Rig();
    const got = await rig.fetch({ url, proxy: { url: `127.0.0.1:${quick}`, tunnel: true } });
    expect(got).toMatchObject({ error: null, body: 'ok' });
    const late = await rig.fetch({
      url,
      proxy: { url: `127.0.0.1:${slow}`, tunnel: true },
      timeouts: { connectMs: 250 },
    });
    expect(late.error).toMatchObject({ code: 'CONNECT_TIMEOUT', phase: 'proxy', limit: 'timeouts.connectMs' });
    expect(late.error?.message).toContain(`through the proxy http://127.0.0.1:${slow}`);
    expect(rig.multi.stats().connections).toBe(1);
  });

  test.each([
    ['closes without a word', '', 'CONNECTION_LOST'],
    ['closes in mid-head', 'HTTP/1.1 200 O', 'CONNECTION_LOST'],
    ['says more than it was asked', `${OPEN}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil`, 'PROXY_FAILED'],
    ['answers with a page', 'HTTP/1.1 503 Busy\r\nContent-Type: text/html\r\n\r\n<p>', 'PROXY_FAILED'],
  ])(
    'hostile/120 hostile/121 a proxy that %s: the tunnel is not used, nor the connection kept',
    async (_, bytes, code) => {
      const requests: string[] = [];
      const port = await serveRaw((socket) => {
        socket.once('data', (chunk) => {
          requests.push(String(chunk));
          socket.end(bytes);
          socket.on('data', (more) => requests.push(String(more)));
        });
      });
      const rig = new Rig();
      const got = await rig.fetch({
        url: 'https://origin.test/',
        tls: { ca: ROOT },
        proxy: `http://127.0.0.1:${port}`,
      });
      expect(got.error).toMatchObject({ code, phase: 'proxy' });
      expect(requests).toEqual(['CONNECT origin.test:443 HTTP/1.1\r\nhost: origin.test:443\r\n\r\n']);
      expect(rig.multi.stats()).toMatchObject({ connections: 0, opened: 0 });
    },
  );

  test('a transfer that is removed in the middle leaves nothing', async () => {
    const port = await serveRaw(() => undefined);
    const rig = new Rig();
    const got = rig.fetch({
      url: 'https://origin.test/',
      proxy: `http://127.0.0.1:${port}`,
      timeouts: { totalMs: 150 },
    });
    expect((await got).error).toMatchObject({ code: 'TOTAL_TIMEOUT', phase: 'proxy' });
    expect(rig.multi.stats().connections).toBe(0);
    expect(rig.watched.size).toBe(0);
  });

  test('one slow tunnel holds up no other', async () => {
    const server = await serve();
    const slow = await serveRaw(() => undefined);
    const proxy = await httpProxy();
    const rig = new Rig();
    const url = `http://origin.test:${server.port}/`;
    const stuck = get({ url, proxy: { url: `127.0.0.1:${slow}`, tunnel: true }, timeouts: { connectMs: 2_000 } });
    const quick = get({ url, proxy: { url: proxy.url, tunnel: true } });
    for (const { transfer } of [stuck, quick]) rig.multi.add(transfer);
    await rig.until(() => rig.messages.length === 2, 'the end of both');
    expect(rig.messages.map(({ transfer, error }) => [transfer, error?.code])).toEqual([
      [quick.transfer, undefined],
      [stuck.transfer, 'CONNECT_TIMEOUT'],
    ]);
    expect(quick.body).toBe('ok');
  });
});

describe('SOCKS5', () => {
  test('hostile/127 no name is resolved here, whatever the proxy answers', async () => {
    const server = await serve();
    const [good, bad] = [await socksProxy(), await socksProxy({ reply: 4 })];
    const names = new Names();
    const rig = new Rig({ io: names.io });
    for (const scheme of ['socks5', 'socks5h']) {
      const url = `http://origin.test:${server.port}/`;
      const got = await rig.fetch({ url, proxy: `${scheme}://127.0.0.1:${good.port}`, freshConnect: true });
      expect(got).toMatchObject({ error: null, body: 'ok' });
      const failed = await rig.fetch({ url, proxy: `${scheme}://127.0.0.1:${bad.port}` });
      expect(failed.error).toMatchObject({ code: 'PROXY_FAILED', status: 4 });
    }
    expect(names.asked).toEqual([]);
    expect(good.asked[0]).toEqual({ kind: 3, host: 'origin.test', port: server.port });
  });

  test('hostile/124 the origin is verified through it; answers come a byte at a time', async () => {
    const [server, untrusted] = [await serveSecure(), await serveSecure('untrusted')];
    const proxy = await socksProxy({ credentials: 'user:pass', oneByOne: true });
    const rig = new Rig();
    const options = { tls: { ca: ROOT }, proxy: `socks5h://user:pass@127.0.0.1:${proxy.port}` };
    const got = await rig.fetch({ url: `https://good.test:${server.port}/`, ...options });
    expect(got).toMatchObject({ error: null, body: 'ok' });
    expect(got.transfer.info).toMatchObject({ proxy: proxy.url, remoteAddress: `127.0.0.1:${proxy.port}` });
    const refused = await rig.fetch({ url: `https://good.test:${untrusted.port}/`, ...options });
    expect(refused.error).toMatchObject({ code: 'CERTIFICATE_INVALID', limit: 'tls.ca' });
    expect(proxy.credentials).toEqual(['user:pass', 'user:pass']);
    expect(untrusted.requests).toEqual([]);
  });

  test('wrong credentials, and none', async () => {
    const proxy = await socksProxy({ credentials: 'user:pass' });
    const rig = new Rig();
    for (const userinfo of ['', 'user:hunter2@']) {
      const got = await rig.fetch({ url: 'http://origin.test/', proxy: `socks5://${userinfo}127.0.0.1:${proxy.port}` });
      expect(got.error).toMatchObject({ code: 'PROXY_FAILED', limit: 'proxy.username' });
      expect(got.error?.message).not.toContain('hunter2');
    }
    expect(proxy.asked).toEqual([]);
  });
});

describe('hostile/75 what is shared', () => {
  test('connections through different proxies, credentials and tunnels never mix', async () => {
    const server = await serve();
    const [one, two] = [await httpProxy(), await httpProxy()];
    const socks = await socksProxy();
    const rig = new Rig();
    const url = `http://127.0.0.1:${server.port}/`;
    const all = [
      null,
      one.url,
      two.url,
      { url: one.url, tunnel: true },
      { url: one.url, username: 'a', password: 'b' },
      { url: one.url, username: 'a', password: 'c' },
      { url: one.url, headers: { 'x-a': 'b' } },
      socks.url,
    ];
    for (const reused of [false, true]) {
      for (const proxy of all) {
        const got = await rig.fetch({ url, proxy });
        expect(got.error).toBeNull();
        expect(got.transfer.info.reused).toBe(reused);
      }
    }
    expect(rig.multi.stats()).toMatchObject({ opened: all.length, reused: all.length });
  });
});
