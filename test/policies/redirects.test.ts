/** Redirects: HOSTILE.md section F and Fetch §4.4, with literal bytes from raw peers. */

import { once } from 'node:events';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import { type FetchInit, Pool, type RedirectStep, type TransferError } from 'shardfetch';
import { afterAll, describe, expect, onTestFinished, test } from 'vitest';
import { pem } from '../tls/rig.ts';
import { checkFailure, checkStats, eventually, expectNoSocketLeaks, poolFor, rejection } from '../wire/checks.ts';
import { answer, bytes, deferred, fin, gate, type Peer, rawPeer, send, wait } from '../wire/raw-peer.ts';
import { bodyOf, fieldOf, peerAnswering, redirects, redirectTo } from './redirecting.ts';

expectNoSocketLeaks();

const SECRETS = {
  authorization: 'Bearer s3cret',
  cookie: 'a=s3cret',
  cookie2: 'b=s3cret',
  'x-api-key': 's3cret',
  'x-kept': 'yes',
};

function refused(
  error: unknown,
  code: 'BAD_REDIRECT' | 'TOO_MANY_REDIRECTS',
  says: RegExp,
  limit?: string,
): TransferError {
  return checkFailure(error, { code, message: 'fetch failed', says, limit });
}

describe.each([{ shards: 1 }, { shards: 0 }])('$shards shards', ({ shards }) => {
  const pool = new Pool({ shards });
  afterAll(async () => {
    const { started, redirects: followed } = await checkStats(pool, { inFlight: 0 });
    expect(followed).toBeGreaterThan(0);
    expect(started).toBeGreaterThan(followed);
    await pool.close();
  });

  async function refusedAt(peer: Peer, init?: FetchInit): Promise<unknown> {
    return rejection(pool.fetch(`${peer.origin}/a`, init));
  }

  test('followed by default: url, redirected, history', async () => {
    const peer = await peerAnswering(redirects({ '/a': redirectTo('/b'), '/b': redirectTo('c?d', 301) }));
    const response = await pool.fetch(`${peer.origin}/a`);
    expect(response.url).toBe(`${peer.origin}/c?d`);
    expect(response.redirected).toBe(true);
    expect(response.redirects.map(({ status, url, location }) => ({ status, url, location }))).toEqual([
      { status: 302, url: `${peer.origin}/a`, location: `${peer.origin}/b` },
      { status: 301, url: `${peer.origin}/b`, location: `${peer.origin}/c?d` },
    ]);
    expect(response.redirects[0]?.headers.get('location')).toBe('/b');
    expect(response.clone().redirected).toBe(true);
    expect(await response.text()).toBe('/c?d');
    // The short body of each redirect was read away.
    expect(peer.connections).toHaveLength(1);
  });

  test('a response without a redirect has no history', async () => {
    const peer = await peerAnswering(redirects({}));
    const response = await pool.fetch(`${peer.origin}/a`);
    expect(await response.text()).toBe('/a');
    expect(response).toMatchObject({ redirected: false, redirects: [], attempts: 1 });
  });

  test.each([300, 304, 305, 306, 399])('%i with a Location is a response like any other', async (status) => {
    const peer = await peerAnswering(() => `HTTP/1.1 ${status} X\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n`);
    const response = await pool.fetch(`${peer.origin}/a`);
    expect(response.status).toBe(status);
    expect(peer.requests()).toHaveLength(1);
    await response.text();
  });

  test('without a Location: the response itself', async () => {
    const peer = await peerAnswering(() => 'HTTP/1.1 302 Found\r\nContent-Length: 2\r\n\r\nhm');
    const response = await pool.fetch(`${peer.origin}/a`);
    expect(response.status).toBe(302);
    expect(response.redirected).toBe(false);
    expect(await response.text()).toBe('hm');
  });

  test("'manual': the 3xx itself, readable; 'error': BAD_REDIRECT", async () => {
    const peer = await peerAnswering(redirects({ '/a': redirectTo('/b') }));
    const response = await pool.fetch(`${peer.origin}/a`, { redirect: 'manual' });
    expect([response.status, response.headers.get('location'), await response.text()]).toEqual([302, '/b', 'gone']);
    refused(await refusedAt(peer, { redirect: 'error' }), 'BAD_REDIRECT', /redirect: 'error' forbids/, 'redirect');
    expect(peer.requests()).toHaveLength(2);
  });

  test('the pool says how, the request says otherwise', async () => {
    const peer = await peerAnswering(redirects({ '/a': redirectTo('/b'), '/b': redirectTo('/c') }));
    const manual = poolFor({ shards, redirect: 'manual' });
    expect((await manual.fetch(`${peer.origin}/a`)).status).toBe(302);
    expect((await manual.fetch(`${peer.origin}/a`, { redirect: 'follow' })).status).toBe(200);
    const short = poolFor({ shards, redirect: { max: 1 } });
    refused(await rejection(short.fetch(`${peer.origin}/a`)), 'TOO_MANY_REDIRECTS', /\(1\)/, 'redirect.max');
    const none = await rejection(pool.fetch(`${peer.origin}/a`, { redirect: { max: 0 } }));
    refused(none, 'TOO_MANY_REDIRECTS', /\(0\)/, 'redirect.max');
  });

  describe('hostile/91 another origin gets no credentials', () => {
    test('they are dropped, the rest stays', async () => {
      const there = await peerAnswering(redirects({}));
      const here = await peerAnswering(redirects({ '/a': redirectTo(`${there.origin}/b`) }));
      const response = await pool.fetch(`${here.origin}/a`, {
        headers: { ...SECRETS, host: 'own.test' },
        redirect: { sensitiveHeaders: ['X-Api-Key'] },
      });
      await response.text();
      expect(fieldOf(here.requests()[0], 'authorization')).toBe('Bearer s3cret');
      expect(fieldOf(here.requests()[0], 'host')).toBe('own.test');
      const [sent = ''] = there.requests();
      expect(sent).not.toContain('s3cret');
      expect(fieldOf(sent, 'x-kept')).toBe('yes');
      expect(fieldOf(sent, 'host')).toBe(`127.0.0.1:${there.port}`);
    });

    test('the same origin keeps them', async () => {
      const peer = await peerAnswering(redirects({ '/a': redirectTo('/b') }));
      await (await pool.fetch(`${peer.origin}/a`, { headers: SECRETS })).text();
      for (const [name, value] of Object.entries(SECRETS)) expect(fieldOf(peer.requests()[1], name)).toBe(value);
    });

    test('hostile/92 and they never come back', async () => {
      const hops: string[] = [];
      const there = await peerAnswering((_request, path) => redirectTo(`${hops[0]}${path}/back`));
      const here = await peerAnswering((_request, path) =>
        path === '/a' ? redirectTo(`${there.origin}/b`) : answer(path),
      );
      hops.push(here.origin);
      const response = await pool.fetch(`${here.origin}/a`, { headers: SECRETS });
      expect(await response.text()).toBe('/b/back');
      for (const name of ['authorization', 'cookie', 'cookie2']) {
        expect(fieldOf(here.requests()[0], name)).toBeDefined();
        expect(fieldOf(here.requests()[1], name)).toBeUndefined();
      }
    });

    test.each(['evilfoo.test', 'sub.foo.test', 'foo.test.', 'foo.test:81'])(
      'hostile/94 %s is another origin than foo.test',
      async (host) => {
        const peer = await peerAnswering(redirects({ '/a': redirectTo(`http://${host}/b`) }));
        const connectTo = [`::127.0.0.1:${peer.port}`];
        await (await pool.fetch('http://foo.test/a', { headers: SECRETS, connectTo })).text();
        expect(fieldOf(peer.requests()[0], 'authorization')).toBeDefined();
        expect(fieldOf(peer.requests()[1], 'authorization')).toBeUndefined();
        expect(fieldOf(peer.requests()[1], 'host')).toBe(host);
      },
    );
  });

  describe('hostile/95 methods and bodies', () => {
    test.each([
      { status: 301, method: 'POST', becomes: 'GET' },
      { status: 302, method: 'POST', becomes: 'GET' },
      { status: 303, method: 'POST', becomes: 'GET' },
      { status: 303, method: 'PUT', becomes: 'GET' },
      { status: 301, method: 'PUT', becomes: 'PUT' },
      { status: 302, method: 'PATCH', becomes: 'PATCH' },
      { status: 307, method: 'POST', becomes: 'POST' },
      { status: 308, method: 'POST', becomes: 'POST' },
      { status: 308, method: 'DELETE', becomes: 'DELETE' },
    ])('$status $method', async ({ status, method, becomes }) => {
      const peer = await peerAnswering(redirects({ '/a': redirectTo('/b', status) }));
      const headers = { 'content-type': 'text/own', 'content-language': 'en', 'x-kept': 'yes' };
      await (await pool.fetch(`${peer.origin}/a`, { method, headers, body: 'body' })).text();
      const [, sent = ''] = peer.requests();
      expect(sent.split(' ', 1)).toEqual([becomes]);
      expect(fieldOf(sent, 'x-kept')).toBe('yes');
      const kept = becomes === method;
      expect(bodyOf(sent)).toBe(kept ? 'body' : '');
      expect(fieldOf(sent, 'content-length')).toBe(kept ? '4' : undefined);
      expect(fieldOf(sent, 'content-type')).toBe(kept ? 'text/own' : undefined);
      expect(fieldOf(sent, 'content-language')).toBe(kept ? 'en' : undefined);
    });

    test.each([301, 302, 303, 307, 308])('%i HEAD stays HEAD', async (status) => {
      const peer = await peerAnswering((_request, path) =>
        path === '/a' ? `HTTP/1.1 ${status} X\r\nLocation: /b\r\n\r\n` : 'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n',
      );
      await pool.fetch(`${peer.origin}/a`, { method: 'HEAD' });
      expect(peer.requests().map((sent) => sent.slice(0, 7))).toEqual(['HEAD /a', 'HEAD /b']);
    });

    const form = new FormData();
    form.append('field', 'in the form');
    form.append('file', new Blob(['in the file']), 'file.txt');
    test.each([
      { what: 'bytes', body: Buffer.from('in the bytes'), holds: ['in the bytes'] },
      { what: 'URLSearchParams', body: new URLSearchParams({ a: 'b' }), holds: ['a=b'] },
      { what: 'a Blob', body: new Blob(['in the ', 'blob']), holds: ['in the blob'] },
      { what: 'FormData', body: form, holds: ['in the form', 'in the file'] },
    ])('hostile/96 307 sends $what again', async ({ body, holds }) => {
      const peer = await peerAnswering(redirects({ '/a': redirectTo('/b', 307) }));
      await (await pool.fetch(`${peer.origin}/a`, { method: 'POST', body })).text();
      const [first, second] = peer.requests().map((sent) => bodyOf(sent));
      expect(second).toBe(first);
      for (const text of holds) expect(second).toContain(text);
      expect(fieldOf(peer.requests()[1], 'content-type')).toBe(fieldOf(peer.requests()[0], 'content-type'));
    });

    test('bytes are sent as they were when fetch was called', async () => {
      const opened = deferred();
      const peer = await peerAnswering((_request, path) =>
        path === '/a' ? [gate(opened.promise), send(redirectTo('/b', 307))] : answer('ok'),
      );
      const body = Buffer.from('before');
      const pending = pool.fetch(`${peer.origin}/a`, { method: 'POST', body });
      await eventually(() => peer.requests().length === 1, 'the first request is there');
      body.write('after ');
      opened.resolve();
      await (await pending).text();
      expect(peer.requests().map(bodyOf)).toEqual(['before', 'before']);
    });

    async function* stream(): AsyncGenerator<string> {
      yield 'piece';
    }

    test.each([301, 302, 307, 308])('hostile/96 %i with a stream: it cannot be replayed', async (status) => {
      const peer = await peerAnswering(redirects({ '/a': redirectTo('/b', status) }));
      const error = await refusedAt(peer, { method: 'POST', body: stream(), duplex: 'half' });
      refused(error, 'BAD_REDIRECT', /stream cannot be replayed/);
      expect(peer.requests()).toHaveLength(1);
    });

    test('an early 307 while a Blob is being sent: it is sent anew, from its beginning', async () => {
      const there = await peerAnswering((sent) => answer(String(bodyOf(sent).length)));
      const early = await rawPeer([
        bytes(100_000),
        send(`HTTP/1.1 307 X\r\nLocation: ${there.url}\r\nContent-Length: 0\r\n\r\n`),
      ]);
      const body = new Blob([Buffer.alloc(3_000_000, 'x')]);
      const response = await pool.fetch(early.url, { method: 'POST', body });
      expect(await response.text()).toBe('3000000');
      await early.gone(0);
    });

    test('303 needs no body any more', async () => {
      const peer = await peerAnswering(redirects({ '/a': redirectTo('/b', 303) }));
      const response = await pool.fetch(`${peer.origin}/a`, { method: 'POST', body: stream(), duplex: 'half' });
      expect(await response.text()).toBe('/b');
      expect(peer.requests()[1]).toMatch(/^GET \/b /);
    });
  });

  test.each([
    'file:///etc/passwd',
    'data:text/plain,x',
    'unix:/tmp/s',
    'ftp://127.0.0.1/',
    'gopher://127.0.0.1/',
    'javascript:alert(1)',
    'ws://127.0.0.1/',
  ])('hostile/99 to %s', async (location) => {
    const peer = await peerAnswering(redirects({ '/a': redirectTo(location) }));
    refused(await refusedAt(peer), 'BAD_REDIRECT', /only http: and https:/);
    expect(peer.requests()).toHaveLength(1);
  });

  test.each(['http://', 'http://a b/', 'http://[::1/', 'http://127.0.0.1:99999/', 'http://127.0.0.1:0/'])(
    'a Location that is no URL to go to: %s',
    async (location) => {
      const peer = await peerAnswering(redirects({ '/a': redirectTo(location) }));
      refused(await refusedAt(peer), 'BAD_REDIRECT', /not a URL|cannot be requested/);
    },
  );

  test('two Locations that differ; the same one twice', async () => {
    const peer = await peerAnswering(
      redirects({ '/a': redirectTo('/b', 302, 'Location: /c'), '/d': redirectTo('/e', 302, 'location: /e') }),
    );
    refused(await refusedAt(peer), 'BAD_REDIRECT', /two Location fields/);
    expect(await (await pool.fetch(`${peer.origin}/d`)).text()).toBe('/e');
  });

  test('an empty Location is the same URL (Fetch), and ends as a loop', async () => {
    const peer = await peerAnswering(redirects({ '/a': redirectTo('') }));
    refused(await refusedAt(peer, { redirect: { max: 3 } }), 'TOO_MANY_REDIRECTS', /\(3\)/, 'redirect.max');
    expect(peer.requests()).toHaveLength(4);
  });

  test.each([
    { location: '/caf\xc3\xa9?\xc3\xbc', path: '/caf%C3%A9?%C3%BC' },
    { location: '/caf\xe9', path: '/caf%E9' },
    { location: '/a b"<>', path: '/a%20b%22%3C%3E' },
    { location: '//127.0.0.1:PORT/x/../y', path: '/y' },
    { location: '\\\\127.0.0.1:PORT\\z', path: '/z' },
    { location: '?only', path: '/a?only' },
  ])('bytes come back as they were sent: $path', async ({ location, path }) => {
    const ports: number[] = [];
    const peer = await peerAnswering((_request, asked) =>
      asked === '/a' ? redirectTo(location.replace('PORT', String(ports[0]))) : answer('ok'),
    );
    ports.push(peer.port);
    await (await pool.fetch(`${peer.origin}/a`)).text();
    expect(peer.requests()[1]?.split(' ')[1]).toBe(path);
  });

  test('fragments: the old one stays until there is a new one; response.url has none (Fetch §4.4, §5.5)', async () => {
    const peer = await peerAnswering(
      redirects({
        '/a': redirectTo('/b'),
        '/b': redirectTo('/c#new'),
        '/c': redirectTo('/d'),
        '/d': redirectTo('/e#'),
      }),
    );
    const response = await pool.fetch(`${peer.origin}/a#old`);
    expect(await response.text()).toBe('/e');
    expect(response.url).toBe(`${peer.origin}/e`);
    const locations = response.redirects.map(({ location }) => location.slice(peer.origin.length));
    expect(locations).toEqual(['/b#old', '/c#new', '/d#new', '/e#']);
    for (const sent of peer.requests()) expect(sent).not.toContain('#');
  });

  test('hostile/84 credentials in a Location: for that origin, in Authorization alone', async () => {
    const there = await peerAnswering(redirects({}));
    const location = `http://us%20er:p%40ss@127.0.0.1:${there.port}/b`;
    const here = await peerAnswering(redirects({ '/a': redirectTo(location) }));
    const response = await pool.fetch(`${here.origin}/a`, { headers: { authorization: 'Bearer other' } });
    await response.text();
    const [sent = ''] = there.requests();
    expect(fieldOf(sent, 'authorization')).toBe(`Basic ${Buffer.from('us er:p@ss').toString('base64')}`);
    expect(sent.replace(/authorization: .*/, '')).not.toMatch(/p%40ss|p@ss/);
    expect(response.url).toBe(`${there.origin}/b`);
    expect(response.redirects[0]?.location).toBe(`${there.origin}/b`);
  });

  test('hostile/100 a loop ends after 20, with the chain; the connection is kept', async () => {
    const peer = await peerAnswering((_request, path) => redirectTo(`${path}a`));
    const error = await refusedAt(peer);
    refused(error, 'TOO_MANY_REDIRECTS', /redirect\.max \(20\)/, 'redirect.max');
    expect((error as { redirects: RedirectStep[] }).redirects).toHaveLength(21);
    expect(peer.requests()).toHaveLength(21);
    expect(peer.connections).toHaveLength(1);
  });

  test('hostile/100 a redirect whose body does not end: its connection closes, the call goes on', async () => {
    const peer = await peerAnswering((_request, path) =>
      path === '/a'
        ? 'HTTP/1.1 302 Found\r\nLocation: /b\r\nContent-Length: 100000000\r\n\r\nbegin'
        : path === '/c'
          ? [send('HTTP/1.1 302 Found\r\nLocation: /b\r\n\r\nuntil the end'), fin()]
          : answer('ok'),
    );
    const { unreadBodies } = await pool.stats();
    expect(await (await pool.fetch(`${peer.origin}/a`)).text()).toBe('ok');
    await peer.gone(0);
    // It was dropped, not found by the garbage collector.
    expect((await pool.stats()).unreadBodies).toBe(unreadBodies);
    expect(await (await pool.fetch(`${peer.origin}/c`)).text()).toBe('ok');
  });

  test('hostile/102 limits hold at every hop, and the 3xx body is not waited for', async () => {
    const strict = poolFor({ shards, limits: { bodyBytes: 10 } });
    const peer = await peerAnswering((_request, path) =>
      path === '/a'
        ? redirectTo('/b')
        : path === '/long'
          ? `HTTP/1.1 302 X\r\nLocation: /b\r\nContent-Length: 11\r\n\r\n${'x'.repeat(11)}`
          : answer('x'.repeat(11)),
    );
    const error = await rejection(strict.fetch(`${peer.origin}/a`).then((response) => response.text()));
    expect(error).toMatchObject({ code: 'LIMIT_EXCEEDED', cause: { url: `${peer.origin}/b` } });
    expect(await rejection(strict.fetch(`${peer.origin}/long`))).toMatchObject({ code: 'LIMIT_EXCEEDED' });
  });

  test('totalMs spans the chain: what the first hop took is missing for the second', async () => {
    let redirected = Number.NaN;
    const noted = (): void => {
      redirected = performance.now();
    };
    const peer = await peerAnswering((_request, path) => {
      if (path !== '/a') return [];
      return [wait(1_000), noted, send(redirectTo('/b'))];
    });
    const totalMs = 2_000;
    const begun = performance.now();
    const error = await refusedAt(peer, { timeouts: { totalMs } });
    const ended = performance.now();
    expect(error).toMatchObject({ code: 'TOTAL_TIMEOUT', cause: { url: `${peer.origin}/b` } });
    expect(ended - begun).toBeGreaterThan(totalMs - 50);
    // A clock that began anew with the second hop would still run.
    expect(ended - redirected).toBeLessThan(totalMs - 50);
    expect(peer.requests()).toHaveLength(2);
  });

  test.each([0, 1, 2])('hostile/158 abort while hop %i is waited for: the reason itself', async (hop) => {
    const held = `/${'a'.repeat(hop)}`;
    const peer = await peerAnswering((_request, path) => (path === held ? [] : redirectTo(`${path}a`)));
    const stop = new AbortController();
    const pending = rejection(pool.fetch(`${peer.origin}/`, { signal: stop.signal }));
    await eventually(() => peer.requests().length === hop + 1, `request ${hop} is there`);
    const reason = new Error('enough');
    stop.abort(reason);
    expect(await pending).toBe(reason);
    await peer.quiet();
    expect(peer.requests()).toHaveLength(hop + 1);
  });

  test('hostile/158 abort while the last body comes', async () => {
    const peer = await peerAnswering((_request, path) =>
      path === '/a' ? redirectTo('/b') : 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome',
    );
    const stop = new AbortController();
    const response = await pool.fetch(`${peer.origin}/a`, { signal: stop.signal });
    stop.abort('enough');
    expect(await rejection(response.text())).toBe('enough');
    await peer.quiet();
  });

  test('close waits for the rest of the chain; destroy cuts it', async () => {
    const opened = deferred();
    const peer = await peerAnswering((_request, path) =>
      path === '/a' ? [gate(opened.promise), send(redirectTo('/b'))] : path === '/b' ? redirectTo('/c') : answer('ok'),
    );
    const closing = poolFor({ shards });
    const pending = closing.fetch(`${peer.origin}/a`);
    await eventually(() => peer.requests().length === 1, 'the first request is there');
    const closed = closing.close();
    opened.resolve();
    expect(await (await pending).text()).toBe('ok');
    await closed;
    const cut = poolFor({ shards });
    const silent = await peerAnswering((_request, path) => (path === '/a' ? redirectTo('/b') : []));
    const lost = rejection(cut.fetch(`${silent.origin}/a`));
    await eventually(() => silent.requests().length === 2, 'the second request is there');
    await cut.destroy();
    checkFailure(await lost, { code: 'POOL_CLOSED', message: 'fetch failed' });
  });

  test('hostile/103 the place of each request is chosen anew', async () => {
    const asked: string[] = [];
    const spread = poolFor({
      shards,
      placement: (url) => {
        asked.push(url.pathname);
        if (url.pathname === '/bad') throw new Error('no place');
        return url.pathname;
      },
    });
    const peer = await peerAnswering(redirects({ '/a': redirectTo('/b'), '/c': redirectTo('/bad') }));
    await (await spread.fetch(`${peer.origin}/a`)).text();
    expect(asked).toEqual(['/a', '/b']);
    expect(await rejection(spread.fetch(`${peer.origin}/c`))).toMatchObject({ code: 'INVALID_ARGUMENT' });
  });

  test('hostile/103 hostile/134 the guard judges each hop', async () => {
    const there = await peerAnswering(redirects({}));
    const here = await peerAnswering(redirects({ '/a': redirectTo(`${there.origin}/b`) }));
    const guarded = poolFor({ shards, guard: (_address, { port }) => port !== there.port });
    const error = await rejection(guarded.fetch(`${here.origin}/a`));
    expect(error).toMatchObject({ cause: { url: `${there.origin}/b` }, redirects: [{ status: 302 }] });
    expect(here.requests()).toHaveLength(1);
    expect(there.connections).toHaveLength(0);
  });

  test('hostile/98 https to http: by option only, and without credentials or Referer', async () => {
    const plain = await peerAnswering(redirects({}));
    const server = https.createServer({ cert: pem('good'), key: pem('good') }, (_request, response) => {
      response.writeHead(302, { location: `${plain.origin}/b` });
      response.end();
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    onTestFinished(() => {
      server.close();
      server.closeAllConnections();
    });
    const trusting = poolFor({ shards, tls: { rejectUnauthorized: false } });
    const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}/a`;
    const headers = { ...SECRETS, referer: url };
    refused(
      await rejection(trusting.fetch(url, { headers })),
      'BAD_REDIRECT',
      /redirect\.downgrade: true/,
      'redirect.downgrade',
    );
    expect(plain.requests()).toHaveLength(0);
    const response = await trusting.fetch(url, { headers, redirect: { downgrade: true } });
    expect(await response.text()).toBe('/b');
    const [sent] = plain.requests();
    for (const name of ['authorization', 'cookie', 'referer']) expect(fieldOf(sent, name)).toBeUndefined();
    expect(fieldOf(sent, 'x-kept')).toBe('yes');
  });
});
