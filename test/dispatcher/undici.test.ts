/** The real undici, 6, 7 and 8, and the runtime's fetch over `pool.dispatcher()`: its APIs, its interceptors, its global dispatcher, its WebSocket. */

import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { PassThrough, pipeline, Readable, Writable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { gzipSync } from 'node:zlib';
import type { PoolDispatcher } from 'shardfetch';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { PLACES, poolFor, rejection } from '../wire/checks.ts';
import { closedPort, fin, rawPeer, request, send } from '../wire/raw-peer.ts';
import { UNDICIS, type Undici } from './undici-versions.ts';

let server: Server;
let origin = '';
/** How often each path was asked for. */
const asked = new Map<string, number>();

function times(path: string): number {
  const count = (asked.get(path) ?? 0) + 1;
  asked.set(path, count);
  return count;
}

const ROUTES: Record<string, (request: IncomingMessage, response: ServerResponse, count: number) => void> = {
  '/echo': (request, response) => {
    response.setHeader('x-type', request.headers['content-type'] ?? 'none');
    response.setHeader('x-length', request.headers['content-length'] ?? 'none');
    request.pipe(response);
  },
  '/gzip': (_request, response) => response.setHeader('content-encoding', 'gzip').end(gzipSync('unpacked')),
  '/to': (_request, response) => response.writeHead(302, { location: '/here' }).end(),
  '/here': (_request, response) => response.end('arrived'),
  '/trailers': (_request, response) => {
    response.writeHead(200, { trailer: 'x-sum' });
    response.write('body');
    response.addTrailers({ 'x-sum': '4' });
    response.end();
  },
  '/404': (_request, response) => response.writeHead(404, { 'content-type': 'text/plain' }).end('not here'),
  '/busy': (_request, response, count) => response.writeHead(count < 3 ? 503 : 200).end(`answer ${count}`),
  '/flaky': (request, response, count) => {
    if (count < 3) request.socket.resetAndDestroy();
    else response.end(`answer ${count}`);
  },
  '/cached': (_request, response, count) => response.setHeader('cache-control', 'max-age=100').end(`answer ${count}`),
  '/slow': (_request, response) => {
    response.write('begun');
  },
  '/large': (_request, response) => response.end(Buffer.alloc(3_000_000, 'x')),
  '/events': (_request, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' });
    response.end('data: one\n\ndata: two\n\n');
  },
};

beforeAll(async () => {
  server = createServer((request, response) => {
    const path = (request.url ?? '').split('?')[0] as string;
    const route = ROUTES[path.replace(/-.*$/, '')];
    if (route === undefined) response.end(`${request.method} ${request.url} ${request.headers.host}`);
    else route(request, response, times(path));
  });
  server.on('upgrade', (request, socket) => {
    const key = `${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`;
    const accept = createHash('sha1').update(key).digest('base64');
    const names = request.headers.upgrade as string;
    socket.write(
      `HTTP/1.1 101 OK\r\nConnection: upgrade\r\nUpgrade: ${names}\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`,
    );
    if (names !== 'websocket') socket.pipe(socket);
    // A text frame, then the peer's close frame is answered with the end.
    else
      socket.write(Buffer.from([0x81, 5, ...Buffer.from('hello')])) &&
        socket.once('data', () => socket.end(Buffer.from([0x88, 0])));
    socket.on('error', () => undefined);
  });
  server.on('connect', (request, socket) => {
    socket.write('HTTP/1.1 200 OK\r\n\r\n');
    socket.end(`to ${request.url}`);
  });
  // No client finds a connection closed that it was about to use.
  server.keepAliveTimeout = 60_000;
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});

afterAll(() => {
  server.closeAllConnections();
  server.close();
});

const SHARDS = PLACES.slice(0, 2);

// biome-ignore lint/suspicious/noExplicitAny: of undici and of every runtime.
type AnyFetch = (input: string, init?: any) => Promise<Response>;

async function checkFetch(fetch: AnyFetch, dispatcher: PoolDispatcher, id: string): Promise<void> {
  const plain = await fetch(`${origin}/plain?a=b`, { dispatcher });
  expect([plain.status, await plain.text()]).toEqual([200, `GET /plain?a=b ${origin.slice(7)}`]);
  const echo = (init: object): Promise<Response> => fetch(`${origin}/echo`, { method: 'POST', dispatcher, ...init });
  const posted = await echo({ body: 'hé' });
  expect([posted.headers.get('x-type'), posted.headers.get('x-length')]).toEqual(['text/plain;charset=UTF-8', '3']);
  expect(await posted.text()).toBe('hé');
  const streamed = await echo({ body: new Blob(['a', 'b']).stream(), duplex: 'half' });
  expect([streamed.headers.get('x-length'), await streamed.text()]).toEqual(['none', 'ab']);
  const large = await echo({ body: Buffer.alloc(2_000_000, 'y') });
  expect((await large.arrayBuffer()).byteLength).toBe(2_000_000);
  const redirected = await fetch(`${origin}/to`, { dispatcher });
  expect([redirected.redirected, redirected.url, await redirected.text()]).toEqual([true, `${origin}/here`, 'arrived']);
  expect(await (await fetch(`${origin}/gzip`, { dispatcher })).text()).toBe('unpacked');
  const failure = (await rejection(fetch(`http://127.0.0.1:${await closedPort()}/`, { dispatcher }))) as Error;
  expect(failure).toBeInstanceOf(TypeError);
  expect(failure.cause).toMatchObject({ code: 'ECONNREFUSED' });
  const before = new AbortController();
  const abortedAt = fetch(`${origin}/never-${id}`, { dispatcher, signal: before.signal });
  before.abort(new Error('mine'));
  expect(await rejection(abortedAt)).toMatchObject({ message: 'mine' });
  const within = new AbortController();
  const slow = await fetch(`${origin}/slow`, { dispatcher, signal: within.signal });
  within.abort(new Error('mine too'));
  // Some versions have their own error here, with a pool's dispatcher or without.
  expect((await rejection(slow.text())) as Error).toMatchObject({ message: expect.stringMatching(/mine too|aborted/) });
}

describe.each(SHARDS)("the runtime's fetch, $name", ({ shards }) => {
  test('with { dispatcher }', async () => {
    const pool = poolFor({ shards });
    await checkFetch(globalThis.fetch, pool.dispatcher(), 'runtime');
    const form = new FormData();
    form.set('a', 'b');
    form.set('file', new Blob(['content'], { type: 'text/css' }), 'x.css');
    const init = { method: 'POST', body: form, dispatcher: pool.dispatcher() };
    const echo = await fetch(`${origin}/echo`, init as RequestInit);
    const parsed = await new Response(await echo.arrayBuffer(), {
      headers: { 'content-type': echo.headers.get('x-type') as string },
    }).formData();
    expect([parsed.get('a'), await (parsed.get('file') as File).text()]).toEqual(['b', 'content']);
    const { started, completed } = await pool.stats();
    expect(started).toBeGreaterThan(9);
    expect(completed).toBeGreaterThan(7);
  });

  // Fetch listens for failures of the body only after some microtasks: told at once, it would wait for ever.
  test.each([
    ['broken chunks', 'Transfer-Encoding: chunked\r\n\r\nzz\r\n'],
    ['too few bytes', 'Content-Length: 9\r\n\r\nabc'],
  ])('%s in one packet with the head', async (_name, rest) => {
    const peer = await rawPeer([request(), send(`HTTP/1.1 200 OK\r\n${rest}`), fin()]);
    const response = await fetch(peer.origin, { dispatcher: poolFor({ shards }).dispatcher() } as RequestInit);
    expect((await rejection(response.text())) as Error).toMatchObject({ name: 'TypeError', message: 'terminated' });
  });
});

describe.each(SHARDS)('$name', ({ shards }) => {
  describe.each(UNDICIS)('$name', ({ load, major }) => {
    let undici: Undici;
    beforeAll(async () => {
      undici = await load();
    });

    test('fetch', async () => {
      await checkFetch(undici.fetch, poolFor({ shards }).dispatcher(), `${major}`);
    });

    test('request: record and raw headers, consumers, trailers, query, bodies, aborts, errors', async () => {
      const dispatcher = poolFor({ shards }).dispatcher();
      const { request, errors } = undici;
      const trailers = await request(`${origin}/trailers`, { dispatcher });
      expect([trailers.statusCode, await trailers.body.text()]).toEqual([200, 'body']);
      expect(trailers.trailers).toEqual({ 'x-sum': '4' });
      const raw = await request(`${origin}/here`, { dispatcher, responseHeaders: 'raw' });
      expect(raw.headers).toContain('arrived'.length.toString());
      await raw.body.dump();
      const query = await request(`${origin}/q`, { dispatcher, query: { a: 1, b: ['x', 'y z'] } });
      expect(await query.body.text()).toContain('GET /q?a=1&b=x&b=y%20z ');
      const empty = await request(`${origin}/q`, { dispatcher, query: { a: null, b: undefined, c: {} } });
      expect(await empty.body.text()).toContain('GET /q?a=&b=&c= ');
      const body = Readable.from(['ab', 'cd']);
      const echo = await request(`${origin}/echo`, { dispatcher, method: 'POST', body });
      expect(await echo.body.text()).toBe('abcd');
      const form = new undici.FormData();
      form.set('a', 'b');
      const posted = await request(`${origin}/echo`, { dispatcher, method: 'POST', body: form });
      expect(posted.headers['x-type']).toMatch(/^multipart\/form-data; boundary=/);
      expect(await posted.body.text()).toContain('name="a"\r\n\r\nb\r\n');
      // On a busy machine it may end before the head comes.
      const signal = AbortSignal.timeout(200);
      const slow = request(`${origin}/slow`, { dispatcher, signal }).then(({ body }: Undici) => body.text());
      expect(await rejection(slow)).toMatchObject({ name: 'TimeoutError' });
      const failure = await rejection(
        request(`${origin}/slow`, { dispatcher, bodyTimeout: 40 }).then(({ body }: Undici) => body.text()),
      );
      expect(failure).toBeInstanceOf(errors.BodyTimeoutError);
      expect(failure).not.toBeInstanceOf(errors.HeadersTimeoutError);
      const wrong = await rejection(request(`${origin}/`, { dispatcher, headers: { 'transfer-encoding': 'x' } }));
      expect(wrong).toBeInstanceOf(errors.InvalidArgumentError);
    });

    test('stream, pipeline, connect, upgrade', async () => {
      const dispatcher = poolFor({ shards }).dispatcher();
      let bytes = 0;
      const target = new Writable({
        highWaterMark: 1,
        write(chunk, _encoding, done) {
          bytes += chunk.length;
          setImmediate(done);
        },
      });
      await undici.stream(`${origin}/large`, { dispatcher, method: 'GET' }, () => target);
      expect(bytes).toBe(3_000_000);
      const through = undici.pipeline(`${origin}/echo`, { dispatcher, method: 'PUT' }, ({ body }: Undici) => body);
      through.end('in and out');
      expect(await text(through)).toBe('in and out');
      const tunnel = await undici.connect(origin, { dispatcher, path: 'x.test:1' });
      expect([tunnel.statusCode, await text(tunnel.socket)]).toEqual([200, 'to x.test:1']);
      const upgraded = await undici.upgrade(origin, { dispatcher, path: '/', protocol: 'mine' });
      upgraded.socket.end('both ways');
      expect([upgraded.headers.upgrade, await text(upgraded.socket)]).toEqual(['mine', 'both ways']);
    });

    test('interceptors', async () => {
      const id = `${major}-${shards}`;
      const dispatcher: Undici = poolFor({ shards }).dispatcher();
      const { interceptors } = undici;
      const get = async (composed: Undici, path: string): Promise<[number, string]> => {
        const { statusCode, body } = await composed.request({ origin, path, method: 'GET' });
        return [statusCode, await body.text()];
      };
      const follows = dispatcher.compose(interceptors.redirect({ maxRedirections: 3 }));
      expect(await get(follows, '/to')).toEqual([200, 'arrived']);
      const history = await undici.request(`${origin}/to`, { dispatcher: follows });
      expect(history.context.history.map(String)).toEqual([`${origin}/to`, `${origin}/here`]);
      expect(await history.body.text()).toBe('arrived');
      const retries = dispatcher.compose(interceptors.retry({ minTimeout: 5, maxRetries: 4 }));
      expect(await get(retries, `/busy-${id}`)).toEqual([200, 'answer 3']);
      expect(await get(retries, `/flaky-${id}`)).toEqual([200, 'answer 3']);
      const both = dispatcher.compose([
        interceptors.retry({ minTimeout: 5 }),
        interceptors.redirect({ maxRedirections: 3 }),
      ]);
      expect(await get(both, `/busy-both-${id}`)).toEqual([200, 'answer 3']);
      const dumps = dispatcher.compose(interceptors.dump({ maxSize: 10_000_000 }));
      expect(await get(dumps, '/large')).toEqual([200, '']);
      const named = dispatcher.compose(
        interceptors.dns({
          lookup: (_origin: unknown, _options: unknown, done: Undici) =>
            done(null, [{ address: '127.0.0.1', family: 4, ttl: 10 }]),
        }),
      );
      const host = `name.test:${new URL(origin).port}`;
      const byName = await named.request({ origin: `http://${host}`, path: '/who', method: 'GET' });
      // undici 6 leaves the port out.
      expect(`GET /who ${host}`).toContain(await byName.body.text());
      if (interceptors.responseError !== undefined) {
        const fails = dispatcher.compose(interceptors.responseError());
        expect(await rejection(get(fails, '/404'))).toMatchObject({ statusCode: 404, body: 'not here' });
      }
      if (interceptors.decompress !== undefined) {
        const unpacks = dispatcher.compose(interceptors.decompress());
        expect(await get(unpacks, '/gzip')).toEqual([200, 'unpacked']);
      }
      if (interceptors.cache !== undefined) {
        const caches = dispatcher.compose(interceptors.cache());
        expect(await get(caches, `/cached-${id}`)).toEqual([200, 'answer 1']);
        expect(await get(caches, `/cached-${id}`)).toEqual([200, 'answer 1']);
      }
    });

    test("interceptors under the runtime's fetch, whatever shape its handler has", async () => {
      const id = `fetch-${major}-${shards}`;
      const dispatcher: Undici = poolFor({ shards }).dispatcher();
      const retries = dispatcher.compose(undici.interceptors.retry({ minTimeout: 5 }));
      const response = await fetch(`${origin}/busy-${id}`, { dispatcher: retries } as RequestInit);
      expect([response.status, await response.text()]).toEqual([200, 'answer 3']);
    });

    test('setGlobalDispatcher moves an application over', async () => {
      const pool = poolFor({ shards });
      const before = undici.getGlobalDispatcher();
      undici.setGlobalDispatcher(pool.dispatcher());
      try {
        expect(await (await undici.request(`${origin}/here`)).body.text()).toBe('arrived');
        expect(await (await undici.fetch(`${origin}/here`)).text()).toBe('arrived');
        expect(await (await fetch(`${origin}/here`)).text()).toBe('arrived');
        // The fetch of Node 26 does not look where undici 6 puts it.
        const reachesRuntime = major > 6 || Number.parseInt(process.versions.undici as string, 10) < 8;
        expect((await pool.stats()).completed).toBe(reachesRuntime ? 3 : 2);
      } finally {
        undici.setGlobalDispatcher(before);
      }
    });

    test('WebSocket', async () => {
      const pool = poolFor({ shards });
      const socket = new undici.WebSocket(origin.replace('http', 'ws'), { dispatcher: pool.dispatcher() });
      const [message] = await once(socket, 'message');
      expect(message.data).toBe('hello');
      const closed = once(socket, 'close');
      socket.close();
      await closed;
    });
  });

  test('the same without undici: request, stream, pipeline, connect, upgrade, with promises and with callbacks', async () => {
    const dispatcher = poolFor({ shards }).dispatcher();
    const response = await dispatcher.request({ origin, path: '/trailers', opaque: 7 });
    expect([response.statusCode, response.statusText, response.opaque]).toEqual([200, 'OK', 7]);
    expect([await response.body.text(), response.trailers]).toEqual(['body', { 'x-sum': '4' }]);
    expect(response.body.bodyUsed).toBe(true);
    expect(await rejection(response.body.text())).toBeInstanceOf(TypeError);
    const large = await dispatcher.request({ origin, path: '/large' });
    expect((await large.body.bytes()).length).toBe(3_000_000);
    const dumped = await dispatcher.request({ origin, path: '/large' });
    expect(await dumped.body.dump({ limit: 10 })).toBe(null);
    const web = await dispatcher.request({ origin, path: '/here' });
    expect(await new Response(web.body.body).text()).toBe('arrived');
    const looked = await dispatcher.request({ origin, path: '/here' });
    expect(looked.body.body).toBeInstanceOf(ReadableStream);
    expect([looked.body.bodyUsed, await looked.body.text()]).toEqual([false, 'arrived']);
    const cancelled = await dispatcher.request({ origin, path: '/slow' });
    await (cancelled.body.body as ReadableStream).cancel();
    expect(cancelled.body.destroyed).toBe(true);
    const json = await dispatcher.request({ origin, path: '/echo', method: 'POST', body: '{"a":1}' });
    expect(await json.body.json()).toEqual({ a: 1 });
    const strict = rejection(dispatcher.request({ origin, path: '/404', throwOnError: true }));
    expect(await strict).toMatchObject({ code: 'UND_ERR_RESPONSE_STATUS_CODE', statusCode: 404, body: 'not here' });
    const called = await new Promise<unknown[]>((resolve) => {
      dispatcher.request({ origin, path: '/here' }, (error, data) => resolve([error, data.statusCode]));
    });
    expect(called).toEqual([null, 200]);
    const target = new PassThrough();
    const [streamed, all] = await Promise.all([
      dispatcher.stream({ origin, path: '/trailers', opaque: target }, ({ opaque }) => opaque),
      text(target),
    ]);
    expect([streamed.trailers, all]).toEqual([{ 'x-sum': '4' }, 'body']);
    const collected = new PassThrough();
    await new Promise<void>((resolve, reject) => {
      const through = dispatcher.pipeline({ origin, path: '/echo', method: 'POST' }, ({ body }) => body);
      pipeline(Readable.from(['a', 'b']), through, collected, (error) => (error ? reject(error) : resolve()));
    });
    expect(await text(collected)).toBe('ab');
    const tunnel = await dispatcher.connect({ origin, path: 'x.test:1' });
    expect(await text(tunnel.socket)).toBe('to x.test:1');
    const upgraded = await dispatcher.upgrade({ origin, path: '/', protocol: 'mine' });
    upgraded.socket.end('both ways');
    expect(await text(upgraded.socket)).toBe('both ways');
    expect(
      await rejection(dispatcher.upgrade({ origin, path: '/here', method: 'TRACE', protocol: 'x' })),
    ).toMatchObject({
      code: 'UND_ERR_INVALID_ARG',
    });
    const stop = new AbortController();
    const slow = await dispatcher.request({ origin, path: '/slow', signal: stop.signal });
    stop.abort(new Error('mine'));
    expect(await rejection(slow.body.text())).toMatchObject({ message: 'mine' });
    expect(await rejection(dispatcher.request({ origin, path: '/', signal: stop.signal }))).toMatchObject({
      message: 'mine',
    });
  });

  test('fields called __proto__ are fields like any, in heads and in trailers', async () => {
    const fields = '__proto__: a\r\n__proto__: b\r\nx: y\r\n\r\n';
    const steps = [
      request(),
      send(`HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n${fields}2\r\nok\r\n0\r\n${fields}`),
    ];
    const peer = await rawPeer([...steps, ...steps]);
    const dispatcher = poolFor({ shards }).dispatcher();
    const { headers, trailers, body } = await dispatcher.request({ origin: peer.origin, path: '/' });
    expect(await body.text()).toBe('ok');
    const target = new PassThrough().resume();
    const streamed = await dispatcher.stream({ origin: peer.origin, path: '/' }, () => target);
    for (const record of [headers, trailers, streamed.trailers]) {
      expect(Object.getPrototypeOf(record)).toBe(Object.prototype);
      expect(Object.getOwnPropertyDescriptor(record, '__proto__')?.value).toEqual(['a', 'b']);
      expect(record.x).toBe('y');
    }
  });

  test('throwOnError says what the peer said short, quoted and printable', async () => {
    const reason = `\x9b31m"${'A'.repeat(20_000)}`;
    const answer = Buffer.from(`HTTP/1.1 404 ${reason}\r\ncontent-length: 0\r\n\r\n`, 'latin1');
    const peer = await rawPeer([request(), send(answer)]);
    const dispatcher = poolFor({ shards }).dispatcher();
    const failure = await rejection(dispatcher.request({ origin: peer.origin, path: '/', throwOnError: true }));
    const said = `"\\x9b31m\\"${'A'.repeat(40 - 5)}…"`;
    expect(failure).toMatchObject({ message: `Response status code 404: ${said}`, statusCode: 404 });
  });
});
