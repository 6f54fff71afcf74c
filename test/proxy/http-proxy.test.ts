/** HTTP proxies: requests in absolute form, tunnels, credentials, and TLS to the proxy itself, through a multi. */

import { once } from 'node:events';
import type net from 'node:net';
import tls from 'node:tls';
import { describe, expect, onTestFinished, test } from 'vitest';
import { deadPort, Rig, serve } from '../contract/rig.ts';
import { pem, ROOT, reply, serve as serveSecure } from '../tls/rig.ts';
import { httpProxy } from './proxies.ts';

const AUTHORIZATION = `Basic ${Buffer.from('müller:se:cret').toString('base64')}`;

describe('absolute form', () => {
  test('the proxy gets the whole URL, the origin its path; the connection is kept', async () => {
    const server = await serve();
    const proxy = await httpProxy();
    const rig = new Rig();
    const url = `http://origin.test:${server.port}/path?query=1`;
    for (const reused of [false, true]) {
      const got = await rig.fetch({ url, proxy: proxy.url });
      expect(got.error).toBeNull();
      expect(got.body).toBe('ok');
      expect(got.transfer.info).toMatchObject({
        reused,
        proxy: proxy.url,
        remoteAddress: `127.0.0.1:${proxy.port}`,
        tls: null,
      });
    }
    expect(proxy.heads.map(({ line }) => line)).toEqual([`GET ${url}`, `GET ${url}`]);
    expect(proxy.heads[0]?.fields.host).toBe(`origin.test:${server.port}`);
    expect(server.paths).toEqual(['/path?query=1', '/path?query=1']);
    expect(proxy.accepted).toBe(1);
  });

  test('hostile/123 credentials and fields of the proxy go to it alone', async () => {
    const server = await serve();
    const proxy = await httpProxy({ authorization: AUTHORIZATION });
    const got = await new Rig().fetch({
      url: `http://origin.test:${server.port}/`,
      headers: { authorization: 'Bearer origin' },
      proxy: {
        url: `http://m%C3%BCller:se%3Acret@127.0.0.1:${proxy.port}`,
        headers: { 'x-for-proxy': ['one', 'two'] },
      },
    });
    expect(got.body).toBe('ok');
    const fields = proxy.heads[0]?.fields;
    expect(fields).toMatchObject({ 'proxy-authorization': AUTHORIZATION, 'x-for-proxy': 'one, two' });
    expect(server.requests[0]).not.toMatch(/proxy-authorization/i);
    expect(got.transfer.info.proxy).toBe(`http://127.0.0.1:${proxy.port}`);
  });

  test('a body goes through, and a 407 is a response like any other', async () => {
    const server = await serve();
    const proxy = await httpProxy({ authorization: AUTHORIZATION });
    const rig = new Rig();
    const options = { url: `http://origin.test:${server.port}/`, method: 'POST', body: 'hello' };
    const refused = await rig.fetch({ ...options, proxy: proxy.url });
    expect(refused.error).toBeNull();
    expect(refused.transfer.info.status).toBe(407);
    const taken = await rig.fetch({ ...options, proxy: { url: proxy.url, username: 'müller', password: 'se:cret' } });
    expect(taken).toMatchObject({ error: null, body: 'ok' });
    expect(server.requests.length).toBe(1);
  });
});

describe('tunnels', () => {
  test('hostile/124 https goes through CONNECT; the origin is verified through the tunnel', async () => {
    const server = await serveSecure();
    const proxy = await httpProxy();
    const rig = new Rig();
    for (const reused of [false, true]) {
      const got = await rig.fetch({ url: `https://good.test:${server.port}/`, tls: { ca: ROOT }, proxy: proxy.url });
      expect(got).toMatchObject({ error: null, body: 'ok' });
      expect(got.transfer.info).toMatchObject({ reused, remoteAddress: `127.0.0.1:${proxy.port}` });
      expect(got.transfer.info.tls).toMatchObject({ verified: true });
    }
    expect(proxy.heads).toEqual([
      { line: `CONNECT good.test:${server.port}`, fields: { host: `good.test:${server.port}` } },
    ]);
    const { dns, connect, tls, sent } = (
      await rig.fetch({
        url: `https://good.test:${server.port}/`,
        tls: { ca: ROOT },
        proxy: proxy.url,
        freshConnect: true,
      })
    ).transfer.timings;
    expect([dns, connect, tls, sent]).toEqual([dns, connect, tls, sent].toSorted((a, b) => a - b));
    expect(connect).toBeLessThan(tls);

    const untrusted = await serveSecure('untrusted');
    const refused = await rig.fetch({
      url: `https://good.test:${untrusted.port}/`,
      tls: { ca: ROOT },
      proxy: proxy.url,
    });
    expect(refused.error).toMatchObject({ code: 'CERTIFICATE_INVALID', phase: 'tls', limit: 'tls.ca' });
    const misnamed = await rig.fetch({
      url: `https://unnamed.test:${server.port}/`,
      tls: { ca: ROOT },
      proxy: proxy.url,
    });
    expect(misnamed.error).toMatchObject({ code: 'CERTIFICATE_INVALID', limit: 'tls.servername' });
    expect(untrusted.requests).toEqual([]);
  });

  test('hostile/123 CONNECT has the credentials of the proxy, and nothing of the request', async () => {
    const server = await serveSecure();
    const proxy = await httpProxy({ authorization: AUTHORIZATION });
    const got = await new Rig().fetch({
      url: `https://good.test:${server.port}/`,
      headers: { authorization: 'Bearer origin', cookie: 'a=b', 'user-agent': 'mine' },
      tls: { ca: ROOT },
      proxy: { url: proxy.url, username: 'müller', password: 'se:cret' },
    });
    expect(got.error).toBeNull();
    expect(proxy.heads[0]?.fields).toEqual({ host: `good.test:${server.port}`, 'proxy-authorization': AUTHORIZATION });
    expect(server.requests[0]).toContain('authorization: Bearer origin');
    expect(server.requests[0]).not.toMatch(/proxy-authorization/i);
  });

  test('tunnel: true and connectTo make tunnels of http: too', async () => {
    const server = await serve();
    const proxy = await httpProxy();
    const rig = new Rig();
    const url = `http://origin.test:${server.port}/`;
    const one = await rig.fetch({ url, proxy: { url: proxy.url, tunnel: true } });
    expect(one).toMatchObject({ error: null, body: 'ok' });
    const other = await rig.fetch({
      url: 'http://one.test/',
      connectTo: { host: '127.0.0.1', port: server.port },
      proxy: proxy.url,
    });
    expect(other).toMatchObject({ error: null, body: 'ok' });
    expect(proxy.heads.map(({ line }) => line)).toEqual([
      `CONNECT origin.test:${server.port}`,
      `CONNECT 127.0.0.1:${server.port}`,
    ]);
    expect(server.paths).toEqual(['/', '/']);
  });

  test('hostile/121 wrong credentials fail with 407, and say which option', async () => {
    const proxy = await httpProxy({ authorization: AUTHORIZATION });
    const rig = new Rig();
    const url = 'https://origin.test/';
    const none = await rig.fetch({ url, proxy: proxy.url });
    expect(none.error).toMatchObject({ code: 'PROXY_FAILED', status: 407, phase: 'proxy', limit: 'proxy.username' });
    expect(none.error?.message).toMatch(/127\.0\.0\.1:\d+ wants credentials \(407\).*origin\.test:443.*give/);
    const wrong = await rig.fetch({ url, proxy: { url: proxy.url, username: 'müller', password: 'hunter2' } });
    expect(wrong.error?.message).toMatch(/refused the credentials \(407\)/);
    expect(wrong.error?.message).not.toMatch(/hunter2|müller/);
    expect(rig.multi.stats().connections).toBe(0);
  });

  test('a proxy that cannot reach the target answers with a status; one that is not there refuses', async () => {
    const proxy = await httpProxy();
    const port = await deadPort();
    const rig = new Rig();
    const refused = await rig.fetch({ url: `https://origin.test:${port}/`, proxy: proxy.url });
    expect(refused.error).toMatchObject({ code: 'PROXY_FAILED', status: 502, phase: 'proxy' });
    expect(refused.error?.message).toMatch(/status 502 "Bad Gateway"/);
    const gone = await rig.fetch({ url: 'http://origin.test/', proxy: `http://user:pass@127.0.0.1:${port}` });
    expect(gone.error).toMatchObject({ code: 'COULDNT_CONNECT', errno: 'ECONNREFUSED' });
    expect(gone.error?.message).toContain(`through the proxy http://127.0.0.1:${port}`);
    expect(gone.error?.message).not.toContain('pass');
  });
});

describe('TLS to the proxy', () => {
  const proxied = (port: number, ca = ROOT) => ({ url: `https://good.test:${port}`, tls: { ca } });

  test('absolute form and tunnels through it, with TLS in TLS', async () => {
    const plain = await serve();
    const big = 'abcdefghij'.repeat(300_000);
    const secure = await serveSecure('good', {}, (socket, request) =>
      reply(socket, /big/.test(request) ? big : 'secure'),
    );
    const proxy = await httpProxy({ certificate: 'good' });
    const rig = new Rig({ resolve: { [`good.test:${proxy.port}`]: '127.0.0.1' } });
    for (const reused of [false, true]) {
      const forwarded = await rig.fetch({ url: `http://origin.test:${plain.port}/`, proxy: proxied(proxy.port) });
      expect(forwarded).toMatchObject({ error: null, body: 'ok' });
      expect(forwarded.transfer.info).toMatchObject({ reused, tls: null, proxy: `https://good.test:${proxy.port}` });
      const through = await rig.fetch({
        url: `http://origin.test:${plain.port}/`,
        proxy: { ...proxied(proxy.port), tunnel: true },
      });
      expect(through).toMatchObject({ error: null, body: 'ok' });
      const inner = await rig.fetch({
        url: `https://good.test:${secure.port}/`,
        tls: { ca: ROOT, minVersion: 'TLSv1.3' },
        proxy: proxied(proxy.port),
      });
      expect(inner).toMatchObject({ error: null, body: 'secure' });
      expect(inner.transfer.info).toMatchObject({ reused, tls: { verified: true } });
    }
    const both = await rig.fetch({
      url: `https://good.test:${secure.port}/big`,
      method: 'POST',
      body: big,
      tls: { ca: ROOT },
      proxy: proxied(proxy.port),
    });
    expect(both.error).toBeNull();
    expect(both.body === big).toBe(true);
    expect(secure.bodies.at(-1) === big).toBe(true);
    expect(proxy.heads.filter(({ line }) => line.startsWith('CONNECT')).length).toBe(3);
  });

  test('a proxy that says after the handshake that it wants a certificate: which alert, and which option', async () => {
    const text = pem('good');
    const demanding = tls.createServer({ cert: text, key: text, requestCert: true, ca: ROOT, minVersion: 'TLSv1.3' });
    demanding.listen(0, '127.0.0.1');
    onTestFinished(() => void demanding.close());
    await once(demanding, 'listening');
    const { port } = demanding.address() as net.AddressInfo;
    const rig = new Rig({ resolve: { [`good.test:${port}`]: '127.0.0.1' } });
    const got = await rig.fetch({ url: 'https://origin.test/', proxy: proxied(port) });
    expect(got.error).toMatchObject({ code: 'PROXY_FAILED', limit: 'proxy.tls.cert', errno: undefined });
    expect(got.error?.message).toMatch(
      /proxy https:\/\/good\.test:.* \(the peer sent alert 116 \(.*give proxy\.tls\.cert/,
    );
  });

  test('a proxy that does not verify is named, with its own option', async () => {
    const proxy = await httpProxy({ certificate: 'untrusted' });
    const rig = new Rig({ resolve: { [`good.test:${proxy.port}`]: '127.0.0.1' } });
    const got = await rig.fetch({ url: 'https://origin.test/', proxy: proxied(proxy.port) });
    expect(got.error).toMatchObject({ code: 'CERTIFICATE_INVALID', limit: 'proxy.tls.ca' });
    expect(got.error?.message).toContain(`the proxy https://good.test:${proxy.port}`);
    expect(proxy.heads).toEqual([]);
  });
});
