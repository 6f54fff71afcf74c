/** Members of an init that Fetch has for browsers: what they come to here, and what is refused. */

import { Pool } from 'shardfetch';
import { afterAll, describe, expect, test } from 'vitest';
import { checkRefusal, expectNoSocketLeaks, rejection } from '../wire/checks.ts';
import { answer, rawPeer, send, serve } from '../wire/raw-peer.ts';

expectNoSocketLeaks();

const pool = new Pool({ shards: 1 });
afterAll(() => pool.close());

async function sentWith(init: object, method = 'GET'): Promise<string> {
  const peer = await rawPeer(serve(send(answer('ok'))));
  await (await pool.fetch(peer.url, { method, ...init })).text();
  return peer.requests()[0] ?? '';
}

const field = (sent: string, name: string): string | null =>
  new RegExp(`\r\n${name}: (.*)\r\n`, 'i').exec(sent)?.[1] ?? null;

describe('without effect', () => {
  test.each([
    { mode: 'cors' },
    { mode: 'no-cors' },
    { mode: 'same-origin' },
    { cache: 'default' },
    { cache: 'force-cache' },
    { credentials: 'omit' },
    { credentials: 'same-origin' },
    { credentials: 'include' },
    { keepalive: true },
    { keepalive: false },
    { priority: 'high' },
    { priority: 'low' },
    { priority: 'auto' },
    { window: null },
    { referrerPolicy: 'unsafe-url' },
    { referrer: '' },
    { referrer: 'about:client' },
    { integrity: '' },
    { method: undefined },
  ])('%j', async (init) => {
    const plain = await sentWith({});
    const sent = await sentWith(init);
    expect(sent.replace(/host: .*/, '')).toBe(plain.replace(/host: .*/, ''));
  });
});

describe('refused', () => {
  test.each([
    ['mode', 'navigate'],
    ['mode', ''],
    ['cache', 'never'],
    ['cache', 'only-if-cached'],
    ['credentials', 'all'],
    ['keepalive', 'yes'],
    ['priority', 'highest'],
    ['window', {}],
    ['referrerPolicy', 'none'],
    ['referrer', '/relative'],
    ['referrer', 5],
    ['duplex', 'full'],
    ['method', 'CONNECT'],
    ['method', 'trace'],
    ['method', 'TRACK'],
    ['method', 'A B'],
    ['method', ''],
    ['signal', 'now'],
    ['headers', 5],
    ['unheardOf', 1],
  ])('%s: %j', async (name, value) => {
    const init = { [name]: value, ...(name === 'duplex' ? { method: 'POST', body: (async function* () {})() } : {}) };
    const error = await rejection(pool.fetch('http://127.0.0.1:9/', init as never));
    checkRefusal(error, name === 'unheardOf' ? 'init.unheardOf' : name);
  });
});

describe('cache', () => {
  test.each([
    ['no-store', 'no-cache', 'no-cache'],
    ['reload', 'no-cache', 'no-cache'],
    ['no-cache', 'max-age=0', null],
  ])('%s', async (cache, cacheControl, pragma) => {
    const sent = await sentWith({ cache });
    expect([field(sent, 'cache-control'), field(sent, 'pragma')]).toEqual([cacheControl, pragma]);
    const own = await sentWith({ cache, headers: { 'Cache-Control': 'only-mine', Pragma: 'own' } });
    expect(own.match(/(cache-control|pragma): .*/gi)).toEqual(['Cache-Control: only-mine', 'Pragma: own']);
  });
});

describe('referrer', () => {
  const PAGE = 'https://user:secret@page.example/path?query#fragment';

  test.each([
    // To http: on this machine, which counts as trustworthy.
    [undefined, 'https://page.example/'],
    ['', 'https://page.example/'],
    ['strict-origin-when-cross-origin', 'https://page.example/'],
    ['origin-when-cross-origin', 'https://page.example/'],
    ['origin', 'https://page.example/'],
    ['strict-origin', 'https://page.example/'],
    ['unsafe-url', 'https://page.example/path?query'],
    ['no-referrer-when-downgrade', 'https://page.example/path?query'],
    ['same-origin', null],
    ['no-referrer', null],
  ])('%s to another origin', async (referrerPolicy, referer) => {
    expect(field(await sentWith({ referrer: PAGE, referrerPolicy }), 'referer')).toBe(referer);
  });

  test.each([
    [undefined, true],
    ['strict-origin-when-cross-origin', true],
    ['origin-when-cross-origin', true],
    ['same-origin', true],
    ['no-referrer', false],
  ])('%s to the same origin', async (referrerPolicy, isWhole) => {
    const peer = await rawPeer(serve(send(answer('ok'))));
    const referrer = `${peer.origin}/page?x#y`;
    await pool.fetch(peer.url, { referrer, referrerPolicy: referrerPolicy as never });
    expect(field(peer.requests()[0] ?? '', 'referer')).toBe(isWhole ? `${peer.origin}/page?x` : null);
  });

  test.each([
    [undefined, null],
    ['strict-origin', null],
    ['no-referrer-when-downgrade', null],
    ['origin', 'https://page.example/'],
    ['unsafe-url', 'https://page.example/path?query'],
  ])('%s to where others can read it', async (referrerPolicy, referer) => {
    const peer = await rawPeer(serve(send(answer('ok'))));
    const init = { referrer: PAGE, referrerPolicy: referrerPolicy as never, connectTo: `127.0.0.1:${peer.port}` };
    await pool.fetch('http://elsewhere.example/', init);
    expect(field(peer.requests()[0] ?? '', 'referer')).toBe(referer);
  });

  test('a long one is cut to its origin; one that is no page is none; a header goes before it', async () => {
    const long = `https://page.example/${'x'.repeat(4100)}`;
    expect(field(await sentWith({ referrer: long, referrerPolicy: 'unsafe-url' }), 'referer')).toBe(
      'https://page.example/',
    );
    expect(field(await sentWith({ referrer: 'data:,x', referrerPolicy: 'unsafe-url' }), 'referer')).toBe(null);
    expect(field(await sentWith({ referrer: PAGE, headers: { Referer: 'mine' } }), 'referer')).toBe('mine');
    expect(field(await sentWith({ referrer: new URL(PAGE) }), 'referer')).toBe('https://page.example/');
  });

  test('a redirect asks the policy again', async () => {
    const next = await rawPeer(serve(send(answer('there'))));
    const peer = await rawPeer(
      serve(send(`HTTP/1.1 302 Found\r\nLocation: ${next.origin}/next\r\nContent-Length: 0\r\n\r\n`)),
    );
    await pool.fetch(peer.url, { referrer: `${peer.origin}/page`, redirect: 'follow' });
    expect(field(peer.requests()[0] ?? '', 'referer')).toBe(`${peer.origin}/page`);
    expect(field(next.requests()[0] ?? '', 'referer')).toBe(`${peer.origin}/`);
  });
});

describe('methods', () => {
  test.each([
    ['get', 'GET'],
    ['pOsT', 'POST'],
    ['delete', 'DELETE'],
    ['options', 'OPTIONS'],
    ['put', 'PUT'],
    ['head', 'HEAD'],
    ['patch', 'patch'],
    ['PATCH', 'PATCH'],
    ['Query', 'Query'],
  ])('%s is sent as %s', async (given, method) => {
    expect((await sentWith({}, given)).split(' ')[0]).toBe(method);
  });
});

describe('headers', () => {
  test('those that browsers forbid and a server may say', async () => {
    const headers = {
      'Accept-Charset': 'a',
      'Access-Control-Request-Method': 'b',
      Cookie: 'c=d',
      Date: 'e',
      DNT: '1',
      Origin: 'f',
      Referer: 'g',
      'Sec-Fetch-Mode': 'h',
      Via: 'i',
      'User-Agent': 'j',
      Host: 'k.example',
    };
    const sent = await sentWith({ headers });
    for (const [name, value] of Object.entries(headers)) expect(field(sent, name)).toBe(value);
  });

  test.each([
    'Connection',
    'Keep-Alive',
    'TE',
    'Trailer',
    'Transfer-Encoding',
    'Upgrade',
    'Expect',
    'Proxy-Authorization',
  ])('%s is refused', async (name) => {
    const error = await rejection(pool.fetch('http://127.0.0.1:9/', { headers: { [name]: 'x' } }));
    checkRefusal(error, 'headers', new RegExp(name));
  });

  test('what is sent unasked, and how to have it left out', async () => {
    const plain = await sentWith({});
    expect(plain.match(/^[a-z-]+(?=: )/gm)).toEqual(['host', 'accept-encoding', 'accept', 'user-agent']);
    for (const nothing of ['', ' ', null]) {
      const sent = await sentWith({ headers: { Accept: nothing, 'user-agent': nothing }, decompress: false });
      expect(sent.match(/^[a-z-]+(?=: )/gm)).toEqual(['host']);
    }
  });

  test.each(['\n', 'x\r\n', '\nx', 'a\r\nx-injected: 1'])('the value %j is refused', async (value) => {
    checkRefusal(await rejection(pool.fetch('http://127.0.0.1:9/', { headers: { 'x-a': value } })), 'headers', /x-a/);
  });

  test('line ends that a Headers object has dropped already', async () => {
    expect(field(await sentWith({ headers: new Headers({ 'x-a': '\r\n b \n' }) }), 'x-a')).toBe('b');
  });

  test('a member that is null or undefined is not sent', async () => {
    const sent = await sentWith({ headers: { 'x-null': null, 'x-undefined': undefined, 'user-agent': undefined } });
    expect(sent).not.toMatch(/x-null|x-undefined/);
    expect(field(sent, 'user-agent')).toBe('shardfetch');
  });
});

test('never throws, whatever the arguments', async () => {
  const hostile = {
    get method(): never {
      throw new Error('own');
    },
  };
  for (const given of [[], [undefined], [null], [Symbol('s')], ['http://127.0.0.1:9/', hostile], ['http://[', {}]]) {
    const promise = (pool.fetch as (...all: unknown[]) => Promise<unknown>)(...given);
    expect(await rejection(promise)).toBeInstanceOf(TypeError);
  }
});
