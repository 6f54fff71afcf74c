/** `dispatch` with a handler of either shape: what goes out, what is told and in which order, aborts, backpressure, failures. */

import { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import type { PoolOptions } from 'shardfetch';
import { describe, expect, test } from 'vitest';
import { httpProxy } from '../proxy/proxies.ts';
import { ROOT, serve as serveSecure } from '../tls/rig.ts';
import { checkStats, eventually, expectNoSocketLeaks, PLACES, poolFor, rejection } from '../wire/checks.ts';
import {
  answer,
  bytes,
  closedPort,
  deferred,
  fin,
  gate,
  head,
  rawPeer,
  request,
  reset,
  type Step,
  send,
  serve,
  wait,
} from '../wire/raw-peer.ts';
import { SHAPES } from './recorders.ts';

expectNoSocketLeaks();

const lastChunk: Step = async (connection) => {
  await connection.until((pending) => (pending.endsWith('0\r\n\r\n') ? true : null));
};

const CASES = PLACES.slice(0, 2).flatMap((place) => SHAPES.map((shape) => ({ ...place, ...shape })));

describe.each(CASES)('$shape, $name', ({ shards, record }) => {
  test('raw both ways: nothing is added to the head, fields come as they were sent', async () => {
    const response = head(
      'HTTP/1.1 203 Quite OK',
      'X-Name: a',
      'x-name: b',
      'Content-Encoding: gzip',
      'Content-Length: 3',
    );
    const peer = await rawPeer([request(), send(`${response}abc`)]);
    const dispatcher = poolFor({ shards }).dispatcher();
    const { handler, events, over } = record();
    const headers = { 'X-Own': 'y', Cookie: ['a=1', 'b=2'] };
    const goesOn = dispatcher.dispatch({ origin: peer.origin, path: '/a//../b?c', method: 'GET', headers }, handler);
    expect(goesOn).toBe(true);
    await over;
    expect(events).toEqual([
      'start',
      'all sent',
      'head 203 Quite OK X-Name=a;x-name=b;Content-Encoding=gzip;Content-Length=3;',
      'data abc',
      'end ',
    ]);
    const host = peer.origin.slice('http://'.length);
    expect(peer.requests()).toEqual([
      `GET /a//../b?c HTTP/1.1\r\nhost: ${host}\r\nX-Own: y\r\nCookie: a=1\r\nCookie: b=2\r\n\r\n`,
    ]);
  });

  test('a redirect is a response like any', async () => {
    const peer = await rawPeer([request(), send(head('HTTP/1.1 302 Found', 'Location: /x', 'Content-Length: 0'))]);
    const { handler, events, over } = record();
    poolFor({ shards })
      .dispatcher()
      .dispatch({ origin: new URL(peer.url), path: '/', method: 'GET' }, handler);
    await over;
    expect(events.slice(2)).toEqual(['head 302 Found Location=/x;Content-Length=0;', 'end ']);
  });

  test('interim responses are told, 100 is not, and no pause holds the final one', async () => {
    const hints = head('HTTP/1.1 103 Early Hints', 'Link: </a>', 'Link: </b>');
    const final = answer('abc');
    const peer = await rawPeer([
      request(),
      send(`${head('HTTP/1.1 100 Continue')}${hints}`),
      wait(20),
      send(`${head('HTTP/1.1 102 Processing')}${final}`),
    ]);
    const { handler, events, over } = record();
    poolFor({ shards }).dispatcher().dispatch({ origin: peer.origin, path: '/', method: 'GET' }, handler);
    await over;
    expect(events.slice(2)).toEqual([
      'head 103 Early Hints Link=</a>;Link=</b>;',
      'head 102 Processing ',
      'head 200 OK Content-Length=3;',
      'data abc',
      'end ',
    ]);
    const told: unknown[] = [];
    const again = await rawPeer([request(), send(`${hints}${final}`)]);
    const onInfo = (info: unknown): unknown => told.push(info);
    await poolFor({ shards }).dispatcher().request({ origin: again.origin, path: '/', onInfo });
    expect(told).toEqual([{ statusCode: 103, headers: { link: ['</a>', '</b>'] } }]);
  });

  test('trailers, and a body in pieces', async () => {
    const chunked = head('HTTP/1.1 200 OK', 'Transfer-Encoding: chunked');
    const firstSeen = deferred();
    const peer = await rawPeer([
      request(),
      send(`${chunked}1\r\na\r\n`),
      gate(firstSeen.promise),
      send('1\r\nb\r\n0\r\nX-Sum: 7\r\nx-other: 8\r\n\r\n'),
    ]);
    const self = record();
    const { handler, events, over } = self;
    self.onEvent = (event) => {
      if (event === 'data a') firstSeen.resolve();
      return undefined;
    };
    poolFor({ shards }).dispatcher().dispatch({ origin: peer.origin, path: '/', method: 'GET' }, handler);
    await over;
    expect(events.slice(3)).toEqual(['data a', 'data b', 'end X-Sum=7;x-other=8;']);
  });

  test.each([
    ['text', (): string => 'hello'],
    ['bytes', (): Uint8Array => new Uint8Array(Buffer.from('hello'))],
    ['a view', (): DataView => new DataView(Uint8Array.from(Buffer.from('..hello')).buffer, 2)],
  ] as const)('a request body: %s', async (_what, body) => {
    const peer = await rawPeer([request(), send(answer('ok'))]);
    const { handler, events, over } = record();
    poolFor({ shards })
      .dispatcher()
      .dispatch({ origin: peer.origin, path: '/', method: 'POST', body: body() }, handler);
    await over;
    expect(events.slice(0, 3)).toEqual(['start', 'sent hello', 'all sent']);
    expect(peer.requests()[0]).toMatch(/^POST \/ HTTP\/1\.1\r\nhost: [^\r]*\r\ncontent-length: 5\r\n\r\nhello$/);
  });

  test.each([
    ['a Readable', () => Readable.from([Buffer.from('he'), Buffer.from('llo')])],
    ['an array of pieces', () => ['he', Buffer.from('llo')]],
    [
      'an async generator',
      async function* pieces(): AsyncGenerator<Buffer> {
        yield Buffer.from('he');
        await delay(10);
        yield Buffer.from('llo');
      },
    ],
  ] as const)('a request body in pieces: %s', async (_what, body) => {
    const peer = await rawPeer([request(), lastChunk, send(answer('ok'))], [request(), send(answer('ok'))]);
    const dispatcher = poolFor({ shards }).dispatcher();
    const unknown = record();
    dispatcher.dispatch({ origin: peer.origin, path: '/', method: 'PUT', body: body(), reset: true }, unknown.handler);
    await unknown.over;
    expect(unknown.events).toEqual(expect.arrayContaining(['sent he', 'sent llo', 'all sent']));
    const connection = await peer.connection(0);
    expect(connection.requests[0]).toContain('transfer-encoding: chunked\r\n');
    expect(connection.pending.replaceAll(/\r\n|\d/g, '')).toBe('hello');
    const known = record();
    const headers = ['content-length', '5'];
    dispatcher.dispatch({ origin: peer.origin, path: '/', method: 'PUT', body: body(), headers }, known.handler);
    await known.over;
    expect(peer.requests()[1]).toMatch(/content-length: 5\r\n\r\nhello$/);
  });

  test('a body that is not as long as was said', async () => {
    const peer = await rawPeer([bytes(1)]);
    const dispatcher = poolFor({ shards }).dispatcher();
    for (const body of ['abc', Readable.from(['abc'])]) {
      const { handler, over, events } = record();
      const headers = { 'content-length': '4' };
      dispatcher.dispatch({ origin: peer.origin, path: '/', method: 'POST', body, headers }, handler);
      await over;
      expect(events.at(-1)).toBe('error UND_ERR_REQ_CONTENT_LENGTH_MISMATCH');
    }
  });

  test('a body that fails is the error', async () => {
    const peer = await rawPeer([bytes(1)]);
    const failure = Object.assign(new Error('no more'), { code: 'MINE' });
    const body = Readable.from(
      (async function* pieces() {
        yield 'a';
        throw failure;
      })(),
    );
    const self = record();
    poolFor({ shards }).dispatcher().dispatch({ origin: peer.origin, path: '/', method: 'POST', body }, self.handler);
    await self.over;
    expect(self.error).toBe(failure);
  });

  test('a handler that pauses gets no more, the server is stopped, and all comes when it goes on', async () => {
    const size = 24 * 1024 * 1024;
    let written = 0;
    const peer = await rawPeer([
      request(),
      async (connection) => {
        await connection.write(head('HTTP/1.1 200 OK', `Content-Length: ${size}`));
        const piece = Buffer.alloc(64 * 1024, 'x');
        for (let at = 0; at < size; at += piece.length) {
          await connection.write(piece);
          written = at + piece.length;
        }
      },
    ]);
    const self = record();
    let received = 0;
    let pauses = 0;
    self.onEvent = (event) => {
      if (!event.startsWith('data')) return undefined;
      received += event.length - 'data '.length;
      self.events.pop();
      return pauses++ === 0 ? 'pause' : undefined;
    };
    poolFor({ shards }).dispatcher().dispatch({ origin: peer.origin, path: '/', method: 'GET' }, self.handler);
    await eventually(() => pauses === 1, 'it paused');
    let before = -1;
    // Until the socket buffers are full.
    while (before !== written) {
      before = written;
      await delay(150);
    }
    expect(written).toBeLessThan(size);
    expect(pauses).toBe(1);
    self.resume();
    await self.over;
    expect(received).toBe(size);
    expect(self.events.at(-1)).toBe('end ');
  });

  test('paused in its head, with all there: nothing until it goes on, then all in its order', async () => {
    const peer = await rawPeer([request(), send(answer('abc'))]);
    const self = record();
    self.onEvent = (event) => (event.startsWith('head') ? 'pause' : undefined);
    const pool = poolFor({ shards });
    pool.dispatcher().dispatch({ origin: peer.origin, path: '/', method: 'GET' }, self.handler);
    await eventually(async () => (await pool.stats()).completed === 1, 'all of it came');
    expect(self.events).toHaveLength(3);
    self.resume();
    expect(self.events.slice(3)).toEqual(['data abc', 'end ']);
    await checkStats(pool, { completed: 1, inFlight: 0 });
  });

  test('aborted: before it starts, before the head, in the body, while paused; then no more is told', async () => {
    const head200 = head('HTTP/1.1 200 OK', 'Content-Length: 10');
    const peer = await rawPeer(
      [request(), wait(60_000)],
      [request(), send(`${head200}abc`), wait(60_000)],
      serve(send(answer('abc'))),
    );
    const pool = poolFor({ shards });
    const dispatcher = pool.dispatcher();
    const reason = Object.assign(new Error('enough'), { code: 'ENOUGH' });
    for (const at of ['start', 'all sent', 'data', 'head']) {
      const self = record();
      self.onEvent = (event) => {
        if (!event.startsWith(at)) return undefined;
        if (at === 'head') return 'pause';
        if (at === 'start') self.abort(reason);
        if (at === 'data') setImmediate(self.abort, reason);
        return undefined;
      };
      dispatcher.dispatch({ origin: peer.origin, path: '/', method: 'GET' }, self.handler);
      if (at === 'all sent') {
        // Sooner, it might not have begun its connection, whose script would be the next request's.
        await eventually(() => peer.requests().length === 1, 'the request is there');
        self.abort(reason);
      }
      if (at === 'head') {
        await eventually(async () => (await pool.stats()).completed === 1, 'all of it came');
        self.abort(reason);
      }
      await self.over;
      expect(self.error).toBe(reason);
      self.resume();
      self.abort(new Error('twice'));
      await delay(5);
      expect(self.events.filter((event) => event.startsWith('error'))).toEqual(['error ENOUGH']);
      expect(self.events.at(-1)).toBe('error ENOUGH');
    }
    // The first was never sent; of the last all had come.
    await checkStats(pool, { started: 3, aborted: 2, completed: 1 });
  });

  test('aborted without a reason', async () => {
    const peer = await rawPeer([request(), wait(60_000)]);
    const self = record();
    self.onEvent = (event) => {
      if (event === 'all sent') setImmediate(() => self.abort());
      return undefined;
    };
    poolFor({ shards }).dispatcher().dispatch({ origin: peer.origin, path: '/', method: 'GET' }, self.handler);
    await self.over;
    expect(self.error).toMatchObject({ name: 'AbortError', code: 'UND_ERR_ABORTED' });
  });

  test.each(['start', 'head', 'data'])('what a handler throws (%s) aborts its request', async (at) => {
    const peer = await rawPeer(serve(send(answer('abc'))));
    const pool = poolFor({ shards });
    const failure = new Error('my own');
    const self = record();
    self.onEvent = (event) => {
      if (event.startsWith(at)) throw failure;
      return undefined;
    };
    pool.dispatcher().dispatch({ origin: peer.origin, path: '/', method: 'GET' }, self.handler);
    await self.over;
    expect(self.error).toBe(failure);
    expect(await (await pool.fetch(peer.url)).text()).toBe('abc');
  });

  const refused: [string, object, string][] = [
    ['no origin', { origin: undefined }, 'UND_ERR_INVALID_ARG'],
    ['an origin of another scheme', { origin: 'ftp://x' }, 'UND_ERR_INVALID_ARG'],
    ['a path without a slash', { path: 'x' }, 'UND_ERR_INVALID_ARG'],
    ['a path with a blank', { path: '/ x' }, 'UND_ERR_INVALID_ARG'],
    ['a line break in the path', { path: '/\r\nx' }, 'UND_ERR_INVALID_ARG'],
    ['a method that is none', { method: 'A B' }, 'UND_ERR_INVALID_ARG'],
    ['a line break in a value', { headers: { a: 'b\r\nc: d' } }, 'UND_ERR_INVALID_ARG'],
    ['an odd array of headers', { headers: ['a'] }, 'UND_ERR_INVALID_ARG'],
    ['headers that are text', { headers: 'a: b' }, 'UND_ERR_INVALID_ARG'],
    ['transfer-encoding', { headers: { 'transfer-encoding': 'chunked' } }, 'UND_ERR_INVALID_ARG'],
    ['two Hosts', { headers: { host: ['a', 'b'] } }, 'UND_ERR_INVALID_ARG'],
    ['two lengths', { headers: { 'content-length': ['1', '1'] }, method: 'POST', body: 'a' }, 'UND_ERR_INVALID_ARG'],
    ['a length that is none', { headers: { 'content-length': '1x' } }, 'UND_ERR_INVALID_ARG'],
    ['expect', { headers: { expect: '100-continue' } }, 'UND_ERR_NOT_SUPPORTED'],
    ['maxRedirections', { maxRedirections: 3 }, 'UND_ERR_INVALID_ARG'],
    ['a timeout that is none', { bodyTimeout: 'x' }, 'UND_ERR_INVALID_ARG'],
    ['reset', { reset: 'yes' }, 'UND_ERR_INVALID_ARG'],
    ['a body that is none', { method: 'POST', body: 7 }, 'UND_ERR_INVALID_ARG'],
  ];
  test('bad options go to the handler, before anything is sent', async () => {
    const peer = await rawPeer(serve(send(answer('never'))));
    const dispatcher = poolFor({ shards }).dispatcher();
    for (const [what, options, code] of refused) {
      const self = record();
      const answered = dispatcher.dispatch({ origin: peer.origin, path: '/', method: 'GET', ...options }, self.handler);
      expect([what, answered, self.events]).toEqual([what, false, [`error ${code}`]]);
    }
    expect(peer.connections).toHaveLength(0);
  });

  test('failures have the names and codes of undici', async () => {
    const partial = head('HTTP/1.1 200 OK', 'Content-Length: 9');
    const peer = await rawPeer(
      [request(), reset()],
      [request(), fin()],
      [request(), send('HTTP/1.1 2000 OK\r\n\r\n')],
      [request(), send(`${partial}abc`), fin()],
      [request(), wait(60_000)],
      [request(), send(`${partial}abc`), wait(60_000)],
      [request(), send(head('HTTP/1.1 200 OK', `X: ${'x'.repeat(2_000)}`, 'Content-Length: 0'))],
      [request(), send(answer('0123456789'.repeat(11)))],
      [request(), wait(60_000)],
    );
    const pool = poolFor({ shards, limits: { headBytes: 1_000, bodyBytes: 100 } });
    const dispatcher = pool.dispatcher();
    const fail = async (options: object): Promise<unknown> => {
      const self = record();
      dispatcher.dispatch({ origin: peer.origin, path: '/', method: 'POST', ...options }, self.handler);
      await self.over;
      return [self.error?.name, self.error?.code, (self.error?.cause as { code?: string } | undefined)?.code];
    };
    expect(await fail({})).toEqual(['Error', 'ECONNRESET', 'CONNECTION_LOST']);
    expect(await fail({})).toEqual(['SocketError', 'UND_ERR_SOCKET', 'CONNECTION_LOST']);
    expect(await fail({})).toEqual(['HTTPParserError', 'HPE_INVALID', 'BAD_RESPONSE']);
    expect(await fail({})).toEqual(['SocketError', 'UND_ERR_SOCKET', 'INCOMPLETE_BODY']);
    expect(await fail({ headersTimeout: 40 })).toEqual([
      'HeadersTimeoutError',
      'UND_ERR_HEADERS_TIMEOUT',
      'HEAD_TIMEOUT',
    ]);
    expect(await fail({ bodyTimeout: 40 })).toEqual(['BodyTimeoutError', 'UND_ERR_BODY_TIMEOUT', 'BODY_TIMEOUT']);
    expect(await fail({})).toEqual(['HeadersOverflowError', 'UND_ERR_HEADERS_OVERFLOW', 'LIMIT_EXCEEDED']);
    expect(await fail({})).toEqual(['ResponseExceededMaxSizeError', 'UND_ERR_RES_EXCEEDED_MAX_SIZE', 'LIMIT_EXCEEDED']);
    const closed = `http://127.0.0.1:${await closedPort()}`;
    expect(await fail({ origin: closed })).toEqual(['Error', 'ECONNREFUSED', 'COULDNT_CONNECT']);
    const cut = fail({});
    await eventually(() => peer.requests().length === 9, 'the last one is there');
    await dispatcher.destroy();
    expect(await cut).toEqual(['ClientDestroyedError', 'UND_ERR_DESTROYED', 'POOL_CLOSED']);
    expect(await fail({})).toEqual(['ClientDestroyedError', 'UND_ERR_DESTROYED', undefined]);
  });

  test('after close: what is in flight ends, what comes is refused', async () => {
    const peer = await rawPeer([request(), wait(50), send(answer('late'))]);
    const dispatcher = poolFor({ shards }).dispatcher();
    const inFlight = record();
    dispatcher.dispatch({ origin: peer.origin, path: '/', method: 'GET' }, inFlight.handler);
    const closing = dispatcher.close();
    expect([dispatcher.closed, dispatcher.destroyed]).toEqual([true, false]);
    const late = record();
    dispatcher.dispatch({ origin: peer.origin, path: '/', method: 'GET' }, late.handler);
    expect(late.events).toEqual(['error UND_ERR_CLOSED']);
    await closing;
    expect(inFlight.events.at(-2)).toBe('data late');
  });

  test('an upgrade gives the socket, both ways, with what came behind the head', async () => {
    const switching = head('HTTP/1.1 101 Switching', 'Connection: upgrade', 'Upgrade: echo');
    const peer = await rawPeer([
      request(),
      send(`${switching}early`),
      bytes(5),
      async (connection) => {
        await connection.write(connection.pending.toUpperCase());
        connection.socket.end();
      },
    ]);
    const self = record();
    poolFor({ shards })
      .dispatcher()
      .dispatch({ origin: peer.origin, path: '/', method: 'GET', upgrade: 'echo' }, self.handler);
    await self.over;
    expect(self.events.at(-1)).toBe('upgrade 101 Connection=upgrade;Upgrade=echo;');
    self.socket?.write('hello');
    let all = '';
    for await (const chunk of self.socket as AsyncIterable<Buffer>) all += chunk.toString();
    expect(all).toBe('earlyHELLO');
    expect(peer.requests()[0]).toContain('connection: upgrade\r\nupgrade: echo\r\n');
  });

  test('CONNECT gives the socket whatever the answer is; destroyed, its connection is gone', async () => {
    const peer = await rawPeer(
      [request(), send(head('HTTP/1.1 200 Fine')), wait(60_000)],
      [request(), send(head('HTTP/1.1 407 No', 'Content-Length: 3')), send('why')],
    );
    const pool = poolFor({ shards });
    const connect = { origin: peer.origin, path: 'example.test:443', method: 'CONNECT' };
    const tunnel = record();
    pool.dispatcher().dispatch({ ...connect, headers: { 'proxy-authorization': 'x' } }, tunnel.handler);
    await tunnel.over;
    expect(tunnel.events.at(-1)).toBe('upgrade 200 ');
    expect(peer.requests()[0]).toMatch(
      /^CONNECT example\.test:443 HTTP\/1\.1\r\nhost: example\.test:443\r\nproxy-auth/,
    );
    tunnel.socket?.destroy();
    await peer.gone(0);
    const refusal = record();
    pool.dispatcher().dispatch(connect, refusal.handler);
    await refusal.over;
    expect(refusal.events.at(-1)).toBe('upgrade 407 Content-Length=3;');
    expect(String(await refusal.socket?.toArray())).toBe('why');
    await checkStats(pool, { inFlight: 0 });
  });
});

test('destroy(error) is the failure of what it cuts, and of nothing that comes later', async () => {
  const peer = await rawPeer([request(), wait(60_000)]);
  const dispatcher = poolFor().dispatcher();
  const reason = new Error('enough');
  const cut = rejection(dispatcher.request({ origin: peer.origin, path: '/' }));
  await eventually(() => peer.requests().length > 0, 'it is under way');
  await dispatcher.destroy(reason);
  expect(await cut).toBe(reason);
  const late = rejection(dispatcher.request({ origin: peer.origin, path: '/' }));
  expect(await late).toMatchObject({ code: 'UND_ERR_DESTROYED' });
});

describe('a whole URL as the path', () => {
  const ask = async (options: PoolOptions, origin: string, path: string): Promise<unknown> => {
    const response = await poolFor({ shards: 0, ...options })
      .dispatcher()
      .request({ origin, path });
    return response.body.text();
  };

  test('is sent as it is, and through a proxy that forwards, where its origin agrees', async () => {
    const steps = [request(), send(answer('a'))];
    const peer = await rawPeer(steps, steps, steps);
    expect(await ask({}, peer.origin, 'http://other.test/x')).toBe('a');
    for (const path of ['http://good.test/x', 'http://good.test?y']) {
      expect(await ask({ proxy: peer.origin }, 'http://good.test', path)).toBe('a');
    }
    const lines = peer.requests().map((text) => text.split('\r\n', 1)[0]);
    expect(lines).toEqual([
      'GET http://other.test/x HTTP/1.1',
      'GET http://good.test/x HTTP/1.1',
      'GET http://good.test?y HTTP/1.1',
    ]);
  });

  test.each([
    'http://other.test/x',
    'https://good.test/x',
    'http://good.test.other.test/x',
    'http://good.test:81/x',
    'http://good.test@other.test/x',
    'http://good.test#@other.test/x',
    'http://good.test\\@other.test/x',
    'http://user@good.test/x',
  ])('else is refused there, and nothing is sent: %s', async (path) => {
    const peer = await rawPeer();
    const failure = await rejection(ask({ proxy: peer.origin }, 'http://good.test', path));
    expect(failure).toMatchObject({
      code: 'UND_ERR_INVALID_ARG',
      message: expect.stringContaining('http://good.test,'),
    });
    expect(peer.requests()).toEqual([]);
  });
});

test.each([
  ['good.test', 1],
  ['127.0.0.1', 0],
])(
  'the origin says what is connected to, so it decides about the proxy, not the Host field: noProxy %s',
  async (noProxy, count) => {
    const [secure, proxy] = [await serveSecure(), await httpProxy()];
    const dispatcher = poolFor({ tls: { ca: ROOT }, proxy: { url: proxy.url, noProxy } }).dispatcher();
    const origin = `https://127.0.0.1:${secure.port}`;
    const { body } = await dispatcher.request({ origin, path: '/', headers: { host: 'good.test' } });
    expect(await body.text()).toBe('ok');
    expect(proxy.heads.map(({ line }) => line)).toEqual(Array(count).fill(`CONNECT 127.0.0.1:${secure.port}`));
  },
);

describe('events', () => {
  test('connect, disconnect, connectionError, drain', async () => {
    const peer = await rawPeer([request(), send(answer('a')), request(), reset()], [request(), wait(60_000)]);
    const dispatcher = poolFor({ connections: { perOrigin: 1 } }).dispatcher();
    const events: string[] = [];
    dispatcher.on('connect', (origin: URL, targets) =>
      events.push(`connect ${origin.origin} ${targets[0] === dispatcher}`),
    );
    dispatcher.on('disconnect', (origin: URL, _targets, error) =>
      events.push(`disconnect ${origin.origin} ${error.code}`),
    );
    dispatcher.on('connectionError', (_origin, _targets, error) => events.push(`connectionError ${error.code}`));
    dispatcher.on('drain', (origin: URL) => events.push(`drain ${origin.origin}`));
    const go = (origin = peer.origin): [boolean, Promise<void>] => {
      const { handler, over } = (SHAPES[1] as (typeof SHAPES)[0]).record();
      return [dispatcher.dispatch({ origin, path: '/', method: 'POST' }, handler), over];
    };
    const [goesOn, first] = go();
    expect(goesOn).toBe(false);
    await first;
    await go()[1];
    await go(`http://127.0.0.1:${await closedPort()}`)[1];
    const { origin } = peer;
    expect(events.filter((event) => event.includes(origin) || event.startsWith('connectionError'))).toEqual([
      `connect ${origin} true`,
      `drain ${origin}`,
      `disconnect ${origin} ECONNRESET`,
      `drain ${origin}`,
      'connectionError ECONNREFUSED',
    ]);
  });

  test("drain, too, when the last request of the origin to end is one of the pool's fetch", async () => {
    const held = [request(), wait(100), send(answer('a'))];
    const peer = await rawPeer([...held, ...held], [request(), send(answer('a')), ...held]);
    const pool = poolFor({ shards: 0, connections: { perOrigin: 2 } });
    const dispatcher = pool.dispatcher();
    const drained: string[] = [];
    dispatcher.on('drain', (origin: URL) => drained.push(origin.origin));
    const first = pool.fetch(`${peer.origin}/held`).then((response) => response.text());
    await eventually(() => peer.requests().length === 1, 'the first is under way');
    const { handler, over } = (SHAPES[1] as (typeof SHAPES)[0]).record();
    expect(dispatcher.dispatch({ origin: peer.origin, path: '/', method: 'GET' }, handler)).toBe(false);
    const third = pool.fetch(`${peer.origin}/held`).then((response) => response.text());
    await over;
    // Two of fetch's have the origin's two connections.
    await Promise.all([first, third]);
    await eventually(() => drained.length > 0, 'drain was told');
    expect(drained).toEqual([peer.origin]);
  });
});
