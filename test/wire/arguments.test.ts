/**
 * What a caller gets wrong: refused with a sentence that names the argument, before any input or output, and never thrown by
 * fetch itself. (What might be smuggled through arguments is in test/hostile/.)
 */

import { fetch as bareFetch, type FetchInit, Pool, type PoolOptions, TransferError } from 'shardfetch';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { checkFailure, checkRefusal, checkStats, expectNoSocketLeaks, rejection } from './checks.ts';
import { answer, type Peer, send, serve, startPeer } from './raw-peer.ts';

expectNoSocketLeaks();

const pool = new Pool({ shards: 1 });
let peer: Peer;
beforeAll(async () => {
  peer = await startPeer('127.0.0.1', [serve(send(answer('ok')))]);
});
afterAll(async () => {
  // None of it was begun, none of it reached the server; and the pool is as good as new.
  await checkStats(pool, { started: 0, failed: 0, inFlight: 0 });
  expect(peer.connections).toHaveLength(0);
  expect(await (await pool.fetch(peer.url)).text()).toBe('ok');
  await pool.close();
  await peer.close();
});

/** Calls fetch, which must answer a promise whatever it was given. */
function refusal(input: unknown, init?: unknown): Promise<unknown> {
  let promise: Promise<unknown>;
  try {
    promise = pool.fetch(input as string, init as FetchInit);
  } catch (error) {
    throw new Error(`fetch threw ${String(error)} instead of rejecting`);
  }
  expect(promise).toBeInstanceOf(Promise);
  return rejection(promise);
}

describe('the URL', () => {
  test.each<{ input: unknown; limit: string; says: RegExp }>([
    { input: '', limit: 'input', says: /absolute URL/ },
    { input: '/path', limit: 'input', says: /absolute URL.*relative/ },
    { input: 'path?query', limit: 'input', says: /relative/ },
    { input: '//host/path', limit: 'input', says: /relative/ },
    { input: 'http://', limit: 'input', says: /absolute URL/ },
    { input: 'http://a b/', limit: 'input', says: /absolute URL/ },
    { input: 'http://host:65536/', limit: 'input', says: /absolute URL/ },
    { input: 'http://host:0/', limit: 'url', says: /port 0/ },
    { input: 'http://[::1/', limit: 'input', says: /absolute URL/ },
    { input: 'ftp://host/', limit: 'url', says: /ftp:/ },
    { input: 'file:///etc/passwd', limit: 'url', says: /file:/ },
    { input: 'about:blank', limit: 'url', says: /about:/ },
    { input: 'javascript:alert(1)', limit: 'url', says: /javascript:/ },
    { input: 'host:80/path', limit: 'url', says: /host:/ },
    { input: new URL('ftp://host/'), limit: 'url', says: /ftp:/ },
    { input: undefined, limit: 'input', says: /undefined/ },
    { input: null, limit: 'input', says: /null/ },
    { input: 80, limit: 'input', says: /80/ },
    { input: {}, limit: 'input', says: /object/ },
    { input: Symbol('url'), limit: 'input', says: /symbol/ },
  ])('$input', async ({ input, limit, says }) => {
    checkRefusal(await refusal(input), limit, says);
  });

  test.each([
    { input: 'http://user%3A:s3cret@host/', limit: 'auth.username' },
    { input: 'http://user:s3cret@host:0/', limit: 'url' },
    { input: 'ftp://user:s3cret@host/', limit: 'url' },
    // These are no URLs, so nobody has taken the password out.
    { input: 'http://user:s3cret@host:99999/', limit: 'input' },
    { input: 'http://user:x@s3cret@host:99999/', limit: 'input' },
    { input: 'http://user:s3cret/s3cret@host/', limit: 'input' },
    { input: 'http:\\\\user:s3cret@host:99999/', limit: 'input' },
    { input: 'http:user:s3cret@host:99999/', limit: 'input' },
    { input: '//user:s3cret@host/', limit: 'input' },
  ])('credentials are refused and not repeated: $input', async ({ input, limit }) => {
    const error = await refusal(input);
    const cause = checkRefusal(error, limit);
    for (const text of [(error as Error).message, cause.message, cause.url ?? '', (error as Error).stack ?? '']) {
      expect(text).not.toContain('s3cret');
    }
  });
});

describe('the init', () => {
  test.each<{ init: unknown; limit: string; says: RegExp }>([
    { init: 'GET', limit: 'init', says: /object/ },
    { init: 7, limit: 'init', says: /a number/ },
    { init: [], limit: 'init', says: /array/ },
    { init: { metod: 'GET' }, limit: 'init.metod', says: /no option init\.metod.*method/ },
    { init: { timeout: 1000 }, limit: 'init.timeout', says: /timeouts/ },
    { init: { dispatcher: {} }, limit: 'init.dispatcher', says: /dispatcher/ },
    { init: { method: '' }, limit: 'method', says: /token/ },
    { init: { method: 'GE T' }, limit: 'method', says: /token/ },
    { init: { method: 'GET\r\nX: y' }, limit: 'method', says: /token/ },
    { init: { method: 'GÉT' }, limit: 'method', says: /token/ },
    { init: { method: 'CONNECT' }, limit: 'method', says: /CONNECT/ },
    { init: { method: 'trace' }, limit: 'method', says: /TRACE/ },
    { init: { method: 'Track' }, limit: 'method', says: /TRACK/ },
    { init: { method: 5 }, limit: 'method', says: /string/ },
    { init: { headers: 'a: b' }, limit: 'headers', says: /record, pairs/ },
    { init: { headers: 5 }, limit: 'headers', says: /a number/ },
    { init: { headers: [['a']] }, limit: 'headers', says: /pair/ },
    { init: { headers: [['a', 'b', 'c']] }, limit: 'headers', says: /pair/ },
    { init: { headers: ['ab'] }, limit: 'headers', says: /pair/ },
    { init: { headers: { '': 'x' } }, limit: 'headers', says: /token/ },
    { init: { headers: { 'a b': 'x' } }, limit: 'headers', says: /token/ },
    { init: { headers: { 'a:': 'x' } }, limit: 'headers', says: /token/ },
    { init: { headers: { 'a\r\nb': 'x' } }, limit: 'headers', says: /token/ },
    { init: { headers: { ä: 'x' } }, limit: 'headers', says: /token/ },
    { init: { headers: { a: 'b\r\nc: d' } }, limit: 'headers', says: /"\\r".*control/ },
    { init: { headers: { a: 'b\nc' } }, limit: 'headers', says: /"\\n".*control/ },
    { init: { headers: { a: 'b\0c' } }, limit: 'headers', says: /"\\x00".*control/ },
    { init: { headers: { a: 'b\x7fc' } }, limit: 'headers', says: /control/ },
    { init: { headers: { a: 'Ā' } }, limit: 'headers', says: /U\+00FF/ },
    { init: { headers: { a: '😀' } }, limit: 'headers', says: /U\+00FF/ },
    { init: { headers: { a: Symbol('x') } }, limit: 'headers', says: /symbol/ },
    { init: { headers: { Connection: 'close' } }, limit: 'headers', says: /Connection/ },
    { init: { headers: { 'transfer-encoding': 'chunked' } }, limit: 'headers', says: /transfer-encoding/ },
    { init: { headers: { Upgrade: 'websocket' } }, limit: 'headers', says: /Upgrade/ },
    { init: { headers: { Expect: '100-continue' } }, limit: 'headers', says: /Expect/ },
    { init: { headers: { 'Proxy-Authorization': 'x' } }, limit: 'headers', says: /Proxy-Authorization/ },
    { init: { headers: { host: 'a/b' } }, limit: 'headers', says: /Host/ },
    { init: { headers: { 'content-length': '1' } }, limit: 'headers', says: /Content-Length/ },
    { init: { method: 'POST', body: 'ab', headers: { 'content-length': '3' } }, limit: 'headers', says: /2 bytes/ },
    { init: { body: 'x' }, limit: 'body', says: /GET/ },
    { init: { method: 'HEAD', body: '' }, limit: 'body', says: /HEAD/ },
    { init: { method: 'POST', body: 5 }, limit: 'body', says: /a number/ },
    { init: { method: 'POST', body: {} }, limit: 'body', says: /object/ },
    { init: { method: 'POST', body: true }, limit: 'body', says: /a boolean/ },
    { init: { signal: {} }, limit: 'signal', says: /AbortSignal/ },
    { init: { signal: new AbortController() }, limit: 'signal', says: /AbortSignal/ },
    { init: { redirect: { mode: 'never' } }, limit: 'redirect.mode', says: /'follow', 'error' or 'manual'/ },
    { init: { redirect: 'never' }, limit: 'redirect', says: /'follow', 'error' or 'manual'/ },
    { init: { pace: 5 }, limit: 'pace', says: /object/ },
    { init: { pace: { lowSpeed: 5 } }, limit: 'pace.lowSpeed', says: /lowSpeedMs/ },
    { init: { pace: { lowSpeedMs: 5 } }, limit: 'pace.lowSpeedMs', says: /go together/ },
    { init: { pace: { maxSendBytesPerSecond: -1 } }, limit: 'pace.maxSendBytesPerSecond', says: /-1/ },
    { init: { pace: { maxReceiveBytesPerSecond: 1.5 } }, limit: 'pace.maxReceiveBytesPerSecond', says: /1.5/ },
    { init: { freshConnect: 1 }, limit: 'freshConnect', says: /true or false, not 1/ },
    { init: { forbidReuse: 'yes' }, limit: 'forbidReuse', says: /true or false/ },
    { init: { idempotent: null }, limit: 'idempotent', says: /true or false/ },
    { init: { timeouts: 5 }, limit: 'timeouts', says: /object/ },
    { init: { timeouts: { headMS: 5 } }, limit: 'timeouts.headMS', says: /headMs/ },
    { init: { timeouts: { headMs: -1 } }, limit: 'timeouts.headMs', says: /-1/ },
    { init: { timeouts: { totalMs: Number.NaN } }, limit: 'timeouts.totalMs', says: /NaN/ },
    { init: { timeouts: { queueMs: Number.POSITIVE_INFINITY } }, limit: 'timeouts.queueMs', says: /Infinity/ },
    { init: { timeouts: { bodyIdleMs: '5' } }, limit: 'timeouts.bodyIdleMs', says: /"5"/ },
    { init: { timeouts: { connectMs: 2 ** 31 } }, limit: 'timeouts.connectMs', says: /2147483648/ },
    { init: { timeouts: { connectMs: null } }, limit: 'timeouts.connectMs', says: /null/ },
  ])('$init', async ({ init, limit, says }) => {
    checkRefusal(await refusal(peer.url, init), limit, says);
  });

  test('a value that is refused is not repeated: it may be a secret', async () => {
    const error = await refusal(peer.url, { headers: { authorization: 'Bearer s3cret\n' + 's3cret' } });
    expect(checkRefusal(error, 'headers', /authorization/).message).not.toContain('s3cret');
  });

  test('what throws while it is read rejects, with what it threw as the cause', async () => {
    const thrown = new Error('mine');
    const trap = {
      get method(): string {
        throw thrown;
      },
    };
    const text = {
      toString(): string {
        throw thrown;
      },
    };
    for (const init of [trap, { headers: { a: text } }, { headers: [['a', text]] }]) {
      const error = await refusal(peer.url, init);
      expect((error as { code?: string }).code).toBe('INVALID_ARGUMENT');
      expect(((error as Error).cause as Error).cause).toBe(thrown);
    }
  });

  test('what throws without having a text rejects all the same', async () => {
    const mute = {
      toString(): string {
        throw mute;
      },
    };
    for (const thrown of [Object.create(null), mute, Symbol('x'), undefined]) {
      const headers = {
        [Symbol.iterator](): Iterator<[string, string]> {
          throw thrown;
        },
      };
      const error = checkRefusal(await refusal(peer.url, { headers }), undefined);
      expect(error.cause).toBe(thrown);
    }
  });

  test('members of fetch that mean nothing here are taken and have no effect', async () => {
    const own = await startPeer('127.0.0.1', [serve(send(answer('ok')))]);
    const other = new Pool({ shards: 0 });
    const init = { cache: 'no-store', credentials: 'omit', keepalive: true, mode: 'cors', referrer: '', window: null };
    expect(await (await other.fetch(own.url, init as FetchInit)).text()).toBe('ok');
    await other.close();
    await own.close();
  });

  test('no init, and members that are undefined, are as good as nothing', async () => {
    const own = await startPeer('127.0.0.1', [serve(send(answer('ok')))]);
    const other = new Pool({ shards: 0 });
    const empty = { unknown: undefined, method: undefined } as FetchInit;
    for (const init of [null, empty]) {
      expect(await (await other.fetch(own.url, init)).text()).toBe('ok');
      expect(await (await other.fetch(new Request(own.url), init)).text()).toBe('ok');
    }
    expect(await (await bareFetch(own.url, null)).text()).toBe('ok');
    await other.close();
    await own.close();
  });

  test('the bare fetch refuses in the same way', async () => {
    checkRefusal(await rejection(bareFetch('/relative')), 'input', /relative/);
  });
});

describe('the options of a pool', () => {
  test.each<{ options: unknown; limit: string; says: RegExp }>([
    { options: null, limit: 'options', says: /null/ },
    { options: 4, limit: 'options', says: /a number/ },
    { options: { shard: 4 }, limit: 'shard', says: /no option shard.*shards/ },
    { options: { shards: -1 }, limit: 'shards', says: /-1/ },
    { options: { shards: 1.5 }, limit: 'shards', says: /whole number/ },
    { options: { shards: '4' }, limit: 'shards', says: /"4"/ },
    { options: { shards: 100_000 }, limit: 'shards', says: /100000/ },
    { options: { placement: 'random' }, limit: 'placement', says: /'spread'/ },
    { options: { placement: 5 }, limit: 'placement', says: /5/ },
    { options: { connections: 5 }, limit: 'connections', says: /object/ },
    { options: { connections: { perHost: 5 } }, limit: 'connections.perHost', says: /perOrigin/ },
    { options: { connections: { perOrigin: 0 } }, limit: 'connections.perOrigin', says: /0/ },
    { options: { connections: { perOrigin: 1.5 } }, limit: 'connections.perOrigin', says: /whole/ },
    { options: { connections: { total: 0 } }, limit: 'connections.total', says: /0/ },
    { options: { connections: { total: 9_999_999 } }, limit: 'connections.total', says: /ulimit/ },
    { options: { shards: 2, connections: { total: 1 } }, limit: 'connections.total', says: /2 shards/ },
    { options: { connections: { idleMs: 0 } }, limit: 'connections.idleMs', says: /0/ },
    { options: { connections: { queueLength: 0 } }, limit: 'connections.queueLength', says: /0/ },
    { options: { shards: 3, connections: { queueLength: 2 } }, limit: 'connections.queueLength', says: /3 shards/ },
    { options: { timeouts: { headMs: -5 } }, limit: 'timeouts.headMs', says: /-5/ },
    { options: { timeouts: { head: 5 } }, limit: 'timeouts.head', says: /headMs/ },
    { options: { limits: { headBytes: 0 } }, limit: 'limits.headBytes', says: /0/ },
    { options: { limits: { headerCount: '5' } }, limit: 'limits.headerCount', says: /"5"/ },
    { options: { limits: { bodyBytes: -1 } }, limit: 'limits.bodyBytes', says: /-1/ },
    { options: { limits: { bodyBytes: 0.5 } }, limit: 'limits.bodyBytes', says: /whole/ },
    { options: { limits: { head: 5 } }, limit: 'limits.head', says: /headBytes/ },
    { options: { dns: { ttlMs: -1 } }, limit: 'dns.ttlMs', says: /-1/ },
    { options: { dns: { ttl: 1 } }, limit: 'dns.ttl', says: /ttlMs/ },
    { options: { dns: { lookup: 'dns' } }, limit: 'dns.lookup', says: /function/ },
    { options: { dns: { family: 5 } }, limit: 'dns.family', says: /5/ },
    { options: { dns: { resolve: { 'a.test': '127.0.0.1' } } }, limit: 'dns.resolve', says: /host:port/ },
    { options: { dns: null }, limit: 'dns', says: /null/ },
    { options: { tls: { ca: 'none' } }, limit: 'tls.ca', says: /no certificate/ },
    { options: { cookies: {} }, limit: 'cookies', says: /getCookieString/ },
    { options: { localAddress: ['lo'] }, limit: 'localAddress[0]', says: /"lo"/ },
    { options: { retry: { attempts: 0 } }, limit: 'retry.attempts', says: /from 1 to/ },
    { options: { decompress: 'gzip' as never }, limit: 'decompress', says: /true or false/ },
    { options: { redirect: 'never' }, limit: 'redirect', says: /'follow', 'error' or 'manual'/ },
  ])('$options', ({ options, limit, says }) => {
    let error: unknown;
    try {
      new Pool(options as PoolOptions);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(TransferError);
    const { code, phase, message } = error as TransferError;
    expect({ code, phase, limit: (error as TransferError).limit }).toEqual({
      code: 'INVALID_ARGUMENT',
      phase: 'arguments',
      limit,
    });
    expect(message).toContain(limit);
    expect(message).toMatch(says);
  });

  test('arguments are looked at before the state of the pool, and the pool before the network', async () => {
    const closed = new Pool({ shards: 1 });
    await closed.close();
    checkRefusal(await rejection(closed.fetch('/x')), 'input');
    checkFailure(await rejection(closed.fetch(peer.url)), { code: 'POOL_CLOSED', message: 'fetch failed' });
  });
});
