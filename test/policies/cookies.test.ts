/** Cookies through a jar: the real tough-cookie, and jars of other shapes. */

import { type CookieJar, Pool } from 'shardfetch';
import { CookieJar as ToughJar } from 'tough-cookie';
import { afterAll, describe, expect, test } from 'vitest';
import {
  checkFailure,
  checkRefusal,
  checkStats,
  eventually,
  expectNoSocketLeaks,
  poolFor,
  rejection,
} from '../wire/checks.ts';
import { answer } from '../wire/raw-peer.ts';
import { fieldOf, peerAnswering, redirectTo, status } from './redirecting.ts';

expectNoSocketLeaks();

/** The Cookie fields of all requests. */
function cookiesOf(peer: { requests(): string[] }): (string | undefined)[] {
  return peer.requests().map((sent) => fieldOf(sent, 'cookie'));
}

describe.each([{ shards: 1 }, { shards: 0 }])('$shards shards, tough-cookie', ({ shards }) => {
  const pool = new Pool({ shards });
  afterAll(async () => {
    await checkStats(pool, { inFlight: 0 });
    await pool.close();
  });

  test('what a response sets is sent with the next request', async () => {
    const peer = await peerAnswering(() => answer('ok', 'Set-Cookie: a=1', 'Set-Cookie: b=2; Path=/deep'));
    const cookies = new ToughJar();
    await (await pool.fetch(peer.url, { cookies })).text();
    await (await pool.fetch(peer.url, { cookies })).text();
    await (await pool.fetch(`${peer.origin}/deep/er`, { cookies })).text();
    await (await pool.fetch(peer.url)).text();
    expect(cookiesOf(peer)).toEqual([undefined, 'a=1', 'b=2; a=1', undefined]);
  });

  test('at every hop: those of redirect responses are stored, each URL gets its own', async () => {
    const peer = await peerAnswering((_request, path) => {
      if (path === '/a') return redirectTo('http://two.test/b', 302, 'Set-Cookie: one=1; Path=/');
      if (path === '/b') return redirectTo('http://one.test/c', 302, 'Set-Cookie: two=2; Path=/');
      return answer(path);
    });
    const connectTo = [`::127.0.0.1:${peer.port}`];
    const cookies = new ToughJar();
    await cookies.setCookie('before=0', 'http://two.test/');
    const response = await pool.fetch('http://one.test/a', { cookies, connectTo, headers: { cookie: 'own=1' } });
    expect(await response.text()).toBe('/c');
    // By connection: the first and the third request, then the second. The caller's own cookie stays with its origin, and does not come back (HOSTILE 92).
    expect(cookiesOf(peer)).toEqual(['own=1', 'one=1', 'before=0']);
    expect(await cookies.getCookieString('http://two.test/')).toBe('before=0; two=2');
  });

  test('at every attempt', async () => {
    const answers = [status(503, 'Set-Cookie: tried=1'), answer('ok')];
    const peer = await peerAnswering(() => answers.shift() ?? answer('ok'));
    const cookies = new ToughJar();
    await (await pool.fetch(peer.url, { cookies, retry: { delayMs: 1 } })).text();
    expect(cookiesOf(peer)).toEqual([undefined, 'tried=1']);
  });

  test("the pool's jar; another one, none, or credentials: 'omit'", async () => {
    const peer = await peerAnswering(() => answer('ok', 'Set-Cookie: a=1'));
    const jar = new ToughJar();
    const own = poolFor({ shards, cookies: jar });
    const other = new ToughJar();
    await other.setCookie('b=2', peer.url);
    await (await own.fetch(peer.url)).text();
    await (await own.fetch(peer.url)).text();
    await (await own.fetch(peer.url, { cookies: other })).text();
    await (await own.fetch(peer.url, { cookies: null })).text();
    await (await own.fetch(peer.url, { credentials: 'omit' })).text();
    await (await own.fetch(peer.url, { credentials: 'omit', headers: { cookie: 'c=3' } })).text();
    await (await own.fetch(new Request(peer.url, { credentials: 'omit' }))).text();
    await (await own.fetch(peer.url, { credentials: 'include' })).text();
    expect(cookiesOf(peer)).toEqual([undefined, 'a=1', 'b=2', undefined, undefined, 'c=3', undefined, 'a=1']);
  });

  test("a cookie of the caller's goes with the jar's, and wins where they have the same name", async () => {
    const peer = await peerAnswering(() => answer('ok'));
    const cookies = new ToughJar();
    for (const cookie of ['a=1', 'b=2', 'c=3']) await cookies.setCookie(cookie, peer.url);
    await (await pool.fetch(peer.url, { cookies, headers: { Cookie: 'b=own; d=4' } })).text();
    expect(cookiesOf(peer)).toEqual(['a=1; c=3; b=own; d=4']);
  });

  test.each([
    ['hostile/128 another domain', 'x=1; Domain=other.test'],
    ['hostile/128 a public suffix', 'x=1; Domain=co.uk'],
    ['hostile/128 a public suffix in mixed case with a dot', 'x=1; Domain=.Co.UK'],
    ['hostile/129 name and value above 4,096 bytes', `x=${'y'.repeat(4096)}`],
    ['hostile/129 Secure from http:', 'x=1; Secure'],
    ['hostile/129 secure in other words', 'x=1; path=/;SECURE ; HttpOnly'],
    ['hostile/129 __Secure- without Secure', '__Secure-x=1'],
    ['hostile/129 __Host- from http:', '__Host-x=1; Path=/; Secure'],
    ['nothing', ''],
  ])('refused, and the response is as good: %s', async (_what, line) => {
    const peer = await peerAnswering(() => answer('ok', `Set-Cookie: ${line}`, 'Set-Cookie: good=1'));
    const connectTo = { host: '127.0.0.1', port: peer.port };
    const cookies = new ToughJar();
    for (let time = 0; time < 2; time++) {
      const response = await pool.fetch('http://www.shop.co.uk/', { cookies, connectTo });
      expect(await response.text()).toBe('ok');
    }
    expect(cookiesOf(peer)).toEqual([undefined, 'good=1']);
    expect(await cookies.getCookieString('https://www.shop.co.uk/')).toBe('good=1');
  });

  test('4,096 bytes are stored; of 60 in one response 50; a field is at most 8,190 bytes', async () => {
    const long = `x=${'y'.repeat(4095)}`;
    const many = Array.from({ length: 60 }, (_, index) => `Set-Cookie: n${index}=1; Path=/many`);
    const peer = await peerAnswering((_request, path) =>
      path === '/many'
        ? answer('ok', ...many)
        : answer('ok', `Set-Cookie: ${long}`, `Set-Cookie: z${long}`, `Set-Cookie: zz${long.slice(0, 4000)}`),
    );
    const cookies = new ToughJar();
    await (await pool.fetch(`${peer.origin}/many`, { cookies })).text();
    await (await pool.fetch(`${peer.origin}/many`, { cookies })).text();
    expect(cookiesOf(peer)[1]?.split('; ')).toHaveLength(50);
    await (await pool.fetch(peer.url, { cookies: new ToughJar() })).text();
    const two = new ToughJar();
    await (await pool.fetch(peer.url, { cookies: two })).text();
    await two.setCookie(`more=${'m'.repeat(3000)}`, peer.url);
    await two.setCookie(`most=${'m'.repeat(3000)}`, peer.url);
    await (await pool.fetch(peer.url, { cookies: two })).text();
    const field = cookiesOf(peer).at(-1) ?? '';
    expect(field.length).toBeGreaterThan(4097);
    expect(field.length).toBeLessThanOrEqual(8190);
    for (const pair of field.split('; ')) expect(pair).toMatch(/^\w+=(y+|m+)$/);
  });

  test('abort while the jar thinks, and totalMs', async () => {
    const peer = await peerAnswering(() => answer('ok'));
    let asked = 0;
    const silent: CookieJar = {
      getCookieString: () => {
        asked++;
        return new Promise(() => undefined);
      },
      setCookie: () => undefined,
    };
    const stop = new AbortController();
    const pending = rejection(pool.fetch(peer.url, { cookies: silent, signal: stop.signal }));
    await eventually(() => asked === 1, 'the jar is asked');
    const reason = new Error('enough');
    stop.abort(reason);
    expect(await pending).toBe(reason);
    let cancelled: unknown;
    const stream = new ReadableStream({
      cancel(why) {
        cancelled = why ?? 'cancelled';
      },
    });
    const early = new AbortController();
    const posted = rejection(
      pool.fetch(peer.url, { cookies: silent, signal: early.signal, method: 'POST', body: stream, duplex: 'half' }),
    );
    early.abort(reason);
    expect(await posted).toBe(reason);
    await eventually(() => cancelled !== undefined, 'the stream hears of it');
    const late = await rejection(pool.fetch(peer.url, { cookies: silent, timeouts: { totalMs: 50 } }));
    checkFailure(late, { code: 'TOTAL_TIMEOUT', message: 'fetch failed', limit: 'timeouts.totalMs' });
    expect(peer.connections).toHaveLength(0);
  });
});

describe('jars of other shapes', () => {
  const pool = new Pool({ shards: 0 });
  afterAll(() => pool.close());

  /** Keeps what it is told, and answers `a=1`. */
  function told(): { lines: string[]; urls: string[] } {
    return { lines: [], urls: [] };
  }

  test.each<{ what: string; make: (kept: ReturnType<typeof told>) => CookieJar }>([
    {
      what: 'promises, two parameters',
      make: (kept) => ({
        async getCookieString(url: string) {
          kept.urls.push(url);
          return 'a=1';
        },
        async setCookie(cookie: string, url: string) {
          kept.lines.push(cookie);
          kept.urls.push(url);
        },
      }),
    },
    {
      what: 'callbacks, with options',
      make: (kept) => ({
        getCookieString(url, callback) {
          kept.urls.push(url);
          setImmediate(() => callback(null, 'a=1'));
        },
        setCookie(cookie: string, url: string, _options: object, callback: (error: unknown) => void) {
          kept.lines.push(cookie);
          kept.urls.push(url);
          setImmediate(() => callback(null));
        },
      }),
    },
    {
      what: 'callbacks, without options',
      make: (kept) => ({
        getCookieString(url, callback) {
          kept.urls.push(url);
          callback(null, 'a=1');
        },
        setCookie(cookie: string, url: string, callback: (error: unknown) => void) {
          kept.lines.push(cookie);
          kept.urls.push(url);
          callback(null);
        },
      }),
    },
    {
      what: 'answers at once',
      make: (kept) => ({
        getCookieString(url) {
          kept.urls.push(url);
          return 'a=1';
        },
        setCookie(cookie: string, url: string) {
          kept.lines.push(cookie);
          kept.urls.push(url);
          return true;
        },
      }),
    },
    {
      what: 'answers at once, setCookie with nothing',
      make: (kept) => ({
        getCookieString(url) {
          kept.urls.push(url);
          return 'a=1';
        },
        setCookie(cookie: string, url: string) {
          kept.lines.push(cookie);
          kept.urls.push(url);
        },
      }),
    },
    {
      what: 'promises where no callback is given, as tough-cookie 4 has it',
      make: (kept) => ({
        getCookieString(...given: unknown[]) {
          kept.urls.push(given[0] as string);
          return given.length === 1 ? Promise.resolve('a=1') : undefined;
        },
        setCookie(...given: unknown[]) {
          kept.lines.push(given[0] as string);
          kept.urls.push(given[1] as string);
          return given.length < 4 ? Promise.resolve() : undefined;
        },
      }),
    },
    {
      what: 'a callback out of `arguments`, as tough-cookie 2 has it',
      make: (kept) => ({
        getCookieString(...given: unknown[]) {
          kept.urls.push(given[0] as string);
          setImmediate(() => (given[1] as (error: null, cookies: string) => void)(null, 'a=1'));
        },
        setCookie(cookie: string, url: string, _options: object, callback: () => void) {
          kept.lines.push(cookie);
          kept.urls.push(url);
          setImmediate(callback);
        },
      }),
    },
  ])('$what', async ({ make }) => {
    const peer = await peerAnswering(() => answer('ok', 'Set-Cookie: b=2; Path=/', 'Set-Cookie: c=3'));
    const kept = told();
    await (await pool.fetch(`${peer.origin}/path#fragment`, { cookies: make(kept) })).text();
    expect(cookiesOf(peer)).toEqual(['a=1']);
    expect(kept.lines).toEqual(['b=2; Path=/', 'c=3']);
    expect(new Set(kept.urls)).toEqual(new Set([`${peer.origin}/path`]));
  });

  test('a jar that answers nothing at all: no cookies, and the pool closes', async () => {
    const peer = await peerAnswering(() => answer('ok', 'Set-Cookie: a=1'));
    const own = poolFor({
      shards: 0,
      cookies: { getCookieString: (_url: string) => undefined, setCookie: () => undefined },
    });
    expect(await (await own.fetch(peer.url)).text()).toBe('ok');
    expect(cookiesOf(peer)).toEqual([undefined]);
    await own.close();
  });

  test('hostile/129 what no jar is told: Secure from http: but loopback, and what is too long', async () => {
    const lines = ['a=1; Secure', 'b=2;secure=x', 'c=secure', 'd=4; Path=/secure', `e=${'e'.repeat(4096)}`];
    const peer = await peerAnswering(() => answer('ok', ...lines.map((line) => `Set-Cookie: ${line}`)));
    const connectTo = { host: '127.0.0.1', port: peer.port };
    const toldOf = async (url: string): Promise<string[]> => {
      const kept: string[] = [];
      const cookies = { getCookieString: () => '', setCookie: (line: string) => kept.push(line) };
      await (await pool.fetch(url, { cookies, connectTo })).text();
      return kept.map((line) => line.slice(0, 1));
    };
    expect(await toldOf('http://shop.test/')).toEqual(['c', 'd']);
    expect(await toldOf('http://localhost.evil.test/')).toEqual(['c', 'd']);
    expect(await toldOf('http://127.evil.test/')).toEqual(['c', 'd']);
    expect(await toldOf('http://127.0.0.1/')).toEqual(['a', 'b', 'c', 'd']);
    expect(await toldOf('http://shop.localhost/')).toEqual(['a', 'b', 'c', 'd']);
  });

  const broken = new Error('the store is gone');
  test.each<{ what: string; getCookieString: CookieJar['getCookieString'] }>([
    {
      what: 'throws',
      getCookieString: () => {
        throw broken;
      },
    },
    { what: 'rejects', getCookieString: () => Promise.reject(broken) },
    { what: 'calls back with an error', getCookieString: (_url, callback) => void callback(broken) },
  ])('getCookieString $what: the request fails before it is sent', async ({ getCookieString }) => {
    const peer = await peerAnswering(() => answer('ok'));
    const error = await rejection(pool.fetch(peer.url, { cookies: { getCookieString, setCookie: () => true } }));
    const cause = checkFailure(error, {
      code: 'ABORTED_BY_CALLBACK',
      message: 'fetch failed',
      limit: 'cookies',
      says: /failed in getCookieString/,
    });
    expect(cause.cause).toBe(broken);
    expect(peer.connections).toHaveLength(0);
  });

  test('setCookie fails: the request does, and its connection is not left behind', async () => {
    const peer = await peerAnswering(() => answer('ok', 'Set-Cookie: a=1'));
    const cookies = { getCookieString: () => '', setCookie: () => Promise.reject(broken) };
    const error = await rejection(pool.fetch(peer.url, { cookies }));
    checkFailure(error, { code: 'ABORTED_BY_CALLBACK', message: 'fetch failed', limit: 'cookies', says: /setCookie/ });
    await checkStats(pool, { inFlight: 0 });
  });

  test.each(['a=1\r\nx: y', 'a=\0', 'a=\u20ac'])('hostile/78 a jar cannot split the request: %j', async (cookies) => {
    const peer = await peerAnswering(() => answer('ok'));
    const error = await rejection(
      pool.fetch(peer.url, { cookies: { getCookieString: () => cookies, setCookie: () => true } }),
    );
    expect(error).toMatchObject({ code: 'INVALID_ARGUMENT' });
    expect((error as Error).message).toMatch(/cookie/);
    expect(peer.connections).toHaveLength(0);
  });

  test.each([{}, 'jar', 7, { getCookieString: () => '' }])('%j is no jar', async (cookies) => {
    const error = await rejection(pool.fetch('http://127.0.0.1:1/', { cookies: cookies as unknown as CookieJar }));
    checkRefusal(error, 'cookies', /getCookieString and setCookie/);
  });
});
