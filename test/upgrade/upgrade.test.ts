/** Connections that leave HTTP: 101 and CONNECT, both ways, to their end. Over sockets, from a pool in a thread and in place. */

import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import { text } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import tls from 'node:tls';
import type { FetchResponse, Pool } from 'shardfetch';
import { openDuplex } from 'shardfetch';
import { describe, expect, onTestFinished, test } from 'vitest';
import { pem, ROOT } from '../tls/rig.ts';
import {
  checkFailure,
  checkRefusal,
  checkStats,
  eventually,
  expectNoSocketLeaks,
  PLACES,
  poolFor,
  rejection,
} from '../wire/checks.ts';
import {
  answer,
  bytes,
  deferred,
  fin,
  gate,
  head,
  type PeerConnection,
  rawPeer,
  request,
  send,
  serve,
  stopReading,
  wait,
} from '../wire/raw-peer.ts';

expectNoSocketLeaks();

const SWITCH = head('HTTP/1.1 101 Switching Protocols', 'Connection: Upgrade', 'Upgrade: echo');
const MIB = 1024 * 1024;

/** Echoes what comes behind a 101, and says bye when the client has said all. */
async function echoServer(secure = false): Promise<{ url: string; requests: http.IncomingMessage[] }> {
  const requests: http.IncomingMessage[] = [];
  const certificate = pem('good');
  const listener = secure ? tls.createServer({ cert: certificate, key: certificate }) : net.createServer();
  const server = http.createServer((_, response) => response.end('plain'));
  const sockets = new Set<net.Socket>();
  server.on('upgrade', (incoming, socket: net.Socket, first: Buffer) => {
    requests.push(incoming);
    socket.on('error', () => undefined);
    socket.write(SWITCH);
    socket.write(first);
    socket.on('end', () => socket.end('bye'));
    socket.pipe(socket, { end: false });
  });
  listener.on(secure ? 'secureConnection' : 'connection', (socket: net.Socket) => {
    (socket as { allowHalfOpen: boolean }).allowHalfOpen = true;
    sockets.add(socket);
    server.emit('connection', socket);
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const { port } = listener.address() as net.AddressInfo;
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    listener.close();
  });
  return { url: secure ? `https://good.test:${port}/` : `http://127.0.0.1:${port}/`, requests };
}

/** A proxy that does CONNECT and nothing else. */
async function connectProxy(response = head('HTTP/1.1 200 OK')): Promise<{ url: string; heads: string[] }> {
  const heads: string[] = [];
  const sockets = new Set<net.Socket>();
  const listener = net.createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    socket.once('data', (bytes: Buffer) => {
      const asked = bytes.toString('latin1');
      heads.push(asked);
      const [, host, port] = /^CONNECT ([^:]+):(\d+) /.exec(asked) as RegExpExecArray;
      const onward = net.connect({ host: host as string, port: Number(port), allowHalfOpen: true }, () => {
        socket.write(response);
        socket.pipe(onward).pipe(socket);
      });
      sockets.add(onward);
      onward.on('error', () => socket.destroy());
    });
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    listener.close();
  });
  return { url: `http://127.0.0.1:${(listener.address() as net.AddressInfo).port}/`, heads };
}

async function openings(pool: Pool): Promise<{ connections: number; idle: number; running: number }> {
  const { shards } = await pool.stats();
  const sum = (name: 'connections' | 'idle' | 'running') => shards.reduce((total, shard) => total + shard[name], 0);
  return { connections: sum('connections'), idle: sum('idle'), running: sum('running') };
}

describe.each(PLACES.slice(0, 2))('$name', ({ shards }) => {
  test('hostile/54 an echo: what is written comes back, the end goes out as FIN, what comes then is read', async () => {
    const server = await echoServer();
    const pool = poolFor({ shards });
    const { response, duplex } = await openDuplex(pool.fetch, server.url, {
      upgrade: 'echo',
      headers: { 'x-key': 'k' },
    });
    expect(response.status).toBe(101);
    expect(response.headers.get('upgrade')).toBe('echo');
    expect(server.requests[0]?.headers).toMatchObject({ 'x-key': 'k', upgrade: 'echo', connection: 'upgrade' });
    expect(server.requests[0]?.headers).not.toHaveProperty('transfer-encoding');
    if (duplex === null) throw new Error('no duplex');
    duplex.write('one ');
    await once(duplex, 'readable');
    expect(String(duplex.read())).toBe('one ');
    duplex.end('two ');
    expect(await text(duplex)).toBe('two bye');
    await eventually(async () => (await openings(pool)).connections === 0, 'the connection is gone');
    await checkStats(pool, { completed: 1, failed: 0, inFlight: 0 });
  });

  test('megabytes both ways at once, in pieces of any size', async () => {
    const server = await echoServer();
    const { duplex } = await openDuplex(poolFor({ shards }).fetch, server.url, { upgrade: 'echo' });
    if (duplex === null) throw new Error('no duplex');
    const bytes = Buffer.alloc(5 * MIB);
    for (let index = 0; index < bytes.length; index++) bytes[index] = index % 251;
    const received: Buffer[] = [];
    duplex.on('data', (chunk: Buffer) => received.push(chunk));
    for (let at = 0, size = 1; at < bytes.length; at += size, size = Math.min(size * 3, 700_000)) {
      if (!duplex.write(bytes.subarray(at, at + size))) await once(duplex, 'drain');
    }
    duplex.end();
    await once(duplex, 'end');
    expect(Buffer.concat(received).equals(Buffer.concat([bytes, Buffer.from('bye')]))).toBe(true);
  });

  test('over TLS', async () => {
    const server = await echoServer(true);
    const pool = poolFor({ shards, tls: { ca: ROOT } });
    const { response, duplex } = await openDuplex(pool.fetch, server.url, { upgrade: 'echo', connectTo: '127.0.0.1' });
    expect(response.connection.tls?.verified).toBe(true);
    if (duplex === null) throw new Error('no duplex');
    const bytes = Buffer.alloc(MIB, 'tls ');
    const received = text(duplex);
    duplex.write(bytes);
    duplex.end();
    expect(await received).toBe(`${bytes}bye`);
  });

  test('hostile/54 bytes in the packet of the 101 are the tunnel’s, and the connection serves nobody else', async () => {
    const peer = await rawPeer([request(), send(`${SWITCH}first `), wait(20), send('HTTP/1.1 200 OK\r\n\r\n'), fin()]);
    const pool = poolFor({ shards });
    const response = await pool.fetch(peer.url, { upgrade: 'echo' });
    expect(response.status).toBe(101);
    expect(await response.text()).toBe('first HTTP/1.1 200 OK\r\n\r\n');
    expect(await openings(pool)).toMatchObject({ idle: 0 });
  });

  test('all in one packet, with the end', async () => {
    const peer = await rawPeer([request(), send(`${SWITCH}all`), fin()]);
    const { response, duplex } = await openDuplex(poolFor({ shards }).fetch, peer.url, { upgrade: 'other, ECHO' });
    expect(response.status).toBe(101);
    expect(duplex === null ? null : await text(duplex)).toBe('all');
  });

  test('without a body no FIN goes out, and everything that comes is read', async () => {
    const peer = await rawPeer([
      request(),
      send(SWITCH),
      wait(100),
      async (connection) => connection.write(connection.isGone ? 'gone' : 'there'),
      fin(),
    ]);
    expect(await (await poolFor({ shards }).fetch(peer.url, { upgrade: 'echo' })).text()).toBe('there');
  });

  test.each([
    ['names another protocol', 'Upgrade: websocket'],
    ['names one more', 'Upgrade: echo, websocket'],
    ['names none', 'X: y'],
  ])('hostile/53 a 101 that %s is BAD_RESPONSE', async (_, field) => {
    const peer = await rawPeer([request(), send(head('HTTP/1.1 101 Switching Protocols', field))]);
    const error = await rejection(poolFor({ shards }).fetch(peer.url, { upgrade: 'echo' }));
    checkFailure(error, { code: 'BAD_RESPONSE', message: 'fetch failed', says: /what was asked for, echo/ });
  });

  test('a server that does not agree: its response is like any other, the way out is closed, the connection is kept', async () => {
    const peer = await rawPeer(serve(send(answer('no', 'Upgrade: echo'))));
    const pool = poolFor({ shards });
    let left = false;
    const body = {
      [Symbol.asyncIterator]: () => ({
        next: () => new Promise<IteratorResult<Buffer>>(() => undefined),
        return(): Promise<IteratorResult<Buffer>> {
          left = true;
          return Promise.resolve({ done: true, value: undefined });
        },
      }),
    };
    const response = await pool.fetch(peer.url, { upgrade: 'echo', body, duplex: 'half' });
    expect(response.status).toBe(200);
    expect(await response.text()).toBe('no');
    await eventually(() => left, 'the way out is closed');
    expect(await (await pool.fetch(peer.url)).text()).toBe('no');
    expect(peer.connections).toHaveLength(1);
    expect((await openDuplex(pool.fetch, peer.url, { upgrade: 'echo' })).duplex).toBeNull();
  });

  test.each([
    ['a switch', { upgrade: 'echo' }, SWITCH],
    ['CONNECT', { upgrade: { connect: 'a.test:443' } }, head('HTTP/1.1 200 OK')],
  ])(
    'hostile/54 100 (Continue) is no agreement to %s: nothing goes into a tunnel before that',
    async (_, init, yes) => {
      const early: string[] = [];
      const hesitant = [
        request(),
        send(head('HTTP/1.1 100 Continue')),
        wait(150),
        ({ pending }: { pending: string }) => void early.push(pending),
      ];
      const first = 'POST /admin HTTP/1.1\r\nhost: x\r\n\r\n';
      const peer = await rawPeer(
        [...hesitant, send('HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno'), ...serve(send(answer('next')))],
        [...hesitant, send(yes), bytes(first.length), send('heard'), fin()],
      );
      const pool = poolFor({ shards });
      const ask = (): Promise<FetchResponse> => {
        const body = new ReadableStream<Uint8Array>({ start: (controller) => controller.enqueue(Buffer.from(first)) });
        return pool.fetch(peer.url, { ...init, body, duplex: 'half', freshConnect: true });
      };
      const refused = await ask();
      expect([refused.status, await refused.text()]).toEqual([403, 'no']);
      // Nothing of the tunnel's stands in the way of the next request.
      expect(await (await pool.fetch(peer.url)).text()).toBe('next');
      expect(peer.connections).toHaveLength(1);
      expect(await (await ask()).text()).toBe('heard');
      expect(early).toEqual(['', '']);
    },
  );

  test('CONNECT through a proxy to a server', async () => {
    const target = await rawPeer([
      send('hello '),
      async (connection) => void (await connection.until((all) => (all === 'ping' ? true : null))),
      send('pong'),
      fin(),
    ]);
    const proxy = await connectProxy();
    const { response, duplex } = await openDuplex(poolFor({ shards }).fetch, proxy.url, {
      upgrade: { connect: `127.0.0.1:${target.port}` },
      headers: { 'proxy-authorization': 'Basic eA==' },
    });
    expect(response.status).toBe(200);
    expect(proxy.heads[0]).toMatch(
      new RegExp(`^CONNECT 127\\.0\\.0\\.1:${target.port} HTTP/1\\.1\r\nhost: 127\\.0\\.0\\.1:${target.port}\r\n`),
    );
    expect(proxy.heads[0]).toContain('proxy-authorization: Basic eA==');
    if (duplex === null) throw new Error('no duplex');
    duplex.write('ping');
    expect(await text(duplex)).toBe('hello pong');
  });

  test.each([
    ['204 No Content', 'X: y'],
    ['200 OK', 'Content-Length: 5'],
    ['200 OK', 'Transfer-Encoding: chunked'],
    ['200 OK', 'Content-Length: 5\r\nTransfer-Encoding: chunked\r\nContent-Length: x'],
    ['200 OK', 'Content-Encoding: gzip'],
  ])('hostile/120 %s with %s to CONNECT: what follows is the tunnel’s', async (status, field) => {
    const peer = await rawPeer([request(), send(`${head(`HTTP/1.1 ${status}`, field)}tunnel bytes`), fin()]);
    const { duplex } = await openDuplex(poolFor({ shards }).fetch, peer.url, { upgrade: { connect: 'a.test:443' } });
    expect(duplex === null ? null : await text(duplex)).toBe('tunnel bytes');
  });

  test('CONNECT that is refused gives the response', async () => {
    const peer = await rawPeer([request(), send('HTTP/1.1 403 No\r\nContent-Length: 3\r\n\r\nno!')]);
    const { response, duplex } = await openDuplex(poolFor({ shards }).fetch, peer.url, {
      upgrade: { connect: 'a.test:443' },
    });
    expect(duplex).toBeNull();
    expect([response.status, await response.text()]).toEqual([403, 'no!']);
  });

  test('headMs holds until the 101, bodyIdleMs not behind it', async () => {
    const pool = poolFor({ shards, timeouts: { headMs: 1_500, bodyIdleMs: 100 } });
    const silent = await rawPeer([request()]);
    const peer = await rawPeer([request(), send(SWITCH), wait(2_000), send('late'), fin()]);
    const failed = rejection(pool.fetch(silent.url, { upgrade: 'echo' }));
    expect(await (await pool.fetch(peer.url, { upgrade: 'echo' })).text()).toBe('late');
    checkFailure(await failed, { code: 'HEAD_TIMEOUT', message: 'fetch failed', limit: 'timeouts.headMs' });
  });

  test('a reader that does not read stops the peer, and limits.bodyBytes is none of a tunnel’s', async () => {
    const length = 24 * MIB;
    const peer = await rawPeer([request(), send(SWITCH, Buffer.alloc(length, 'x')), fin()]);
    const pool = poolFor({ shards, limits: { bodyBytes: 1000 } });
    const { duplex } = await openDuplex(pool.fetch, peer.url, { upgrade: 'echo' });
    await delay(300);
    const { shards: each } = await pool.stats();
    expect(each[0]?.unreadBytes).toBeLessThan(2 * MIB);
    let received = 0;
    for await (const chunk of duplex as AsyncIterable<Buffer>) received += chunk.length;
    expect(received).toBe(length);
  });

  test('destroying the stream, or aborting, closes the connection', async () => {
    const pool = poolFor({ shards });
    const peer = await rawPeer([request(), send(SWITCH)]);
    const opened = await openDuplex(pool.fetch, peer.url, { upgrade: 'echo' });
    opened.duplex?.destroy();
    await peer.gone(0);
    const controller = new AbortController();
    const { duplex } = await openDuplex(pool.fetch, peer.url, { upgrade: 'echo', signal: controller.signal });
    const failed = once(duplex as NonNullable<typeof duplex>, 'error');
    duplex?.resume();
    controller.abort(new Error('enough'));
    expect((await failed)[0]).toMatchObject({ message: 'enough' });
    await peer.gone(1);
    await checkStats(pool, { inFlight: 0 });
  });

  test('a challenge is answered, and what failed or was refused is tried again as retry says, until the server agrees', async () => {
    const asks = 'Digest realm="r", nonce="n", qop="auth"';
    const challenge = head(
      'HTTP/1.1 401 Unauthorized',
      `WWW-Authenticate: ${asks}`,
      'Connection: close',
      'Content-Length: 2',
    );
    const echo = async (connection: PeerConnection): Promise<void> => {
      await send(SWITCH)(connection);
      await bytes(4)(connection);
      await send('pong')(connection);
    };
    const peer = await rawPeer(
      [request(), send(challenge, 'no'), fin()],
      [request(), ({ socket }) => void socket.destroy()],
      [request(), send(`${head('HTTP/1.1 503 Busy', 'Content-Length: 2')}no`), request(), echo],
    );
    const { response, duplex } = await openDuplex(poolFor({ shards }).fetch, peer.url, {
      upgrade: 'echo',
      auth: { username: 'user', password: 'pass', scheme: 'digest' },
      retry: { attempts: 3, delayMs: 1 },
    });
    expect([response.status, response.attempts]).toEqual([101, 3]);
    if (duplex === null) throw new Error('no duplex');
    duplex.write('ping');
    expect(String((await once(duplex, 'data'))[0])).toBe('pong');
    duplex.destroy();
    const counts = peer.requests().map((text) => /nc=(\w+)/.exec(text)?.[1]);
    expect(counts).toEqual([undefined, '00000001', '00000002', '00000003']);
    for (const text of peer.requests()) expect(text).toMatch(/^GET .*upgrade: echo.*\r\n\r\n$/is);
  });

  test('a way out of your own cannot be given again: the challenge is delivered', async () => {
    const challenge = head(
      'HTTP/1.1 401 So',
      'WWW-Authenticate: Digest realm="r", nonce="n", qop="auth"',
      'Content-Length: 0',
    );
    const peer = await rawPeer([request(), send(challenge)]);
    async function* own(): AsyncGenerator<string> {
      yield 'piece';
    }
    const response = await poolFor({ shards }).fetch(peer.url, {
      upgrade: 'echo',
      auth: { username: 'user', password: 'pass', scheme: 'digest' },
      body: own(),
      duplex: 'half',
    });
    expect(response.status).toBe(401);
    expect(peer.requests()).toHaveLength(1);
  });

  test.each(['a signal', 'pool.destroy', 'totalMs', 'a reset'])(
    'a stream that nobody reads, its buffers full or not, is told of its failure at once: %s',
    async (what) => {
      // Behind bytes that nobody takes the shard does not look for a reset either.
      for (const bytes of what === 'a signal' || what === 'pool.destroy' ? [0, 2 * MIB] : [0]) {
        const resetting = deferred<() => void>();
        const peer = await rawPeer([
          request(),
          (connection) => resetting.resolve(() => connection.socket.resetAndDestroy()),
          send(SWITCH, Buffer.alloc(bytes)),
        ]);
        const pool = poolFor({ shards });
        const stop = new AbortController();
        // Its thread has begun: that is no part of what totalMs must hold.
        await pool.stats();
        const { duplex } = await openDuplex(pool.fetch, peer.url, {
          upgrade: 'echo',
          signal: stop.signal,
          timeouts: what === 'totalMs' ? { totalMs: 2_000 } : {},
        });
        if (duplex === null) throw new Error('no duplex');
        const failed = once(duplex, 'error');
        const closed = new Promise((resolve) => duplex.once('close', resolve));
        const reason = new Error('mine');
        if (what === 'a signal') stop.abort(reason);
        else if (what === 'pool.destroy') void pool.destroy(reason);
        else if (what === 'a reset') (await resetting.promise)();
        const [error] = await failed;
        await closed;
        const code = { 'pool.destroy': 'POOL_CLOSED', totalMs: 'TOTAL_TIMEOUT', 'a reset': 'INCOMPLETE_BODY' }[what];
        if (code === undefined) expect(error).toBe(reason);
        else expect(error).toMatchObject({ message: 'terminated', code });
        if (code === 'POOL_CLOSED') expect((error as { cause: Error }).cause.cause).toBe(reason);
      }
    },
  );

  test('a write that does not go out any more fails with the reason, not as if the peer had closed', async () => {
    const peer = await rawPeer([request(), send(SWITCH, Buffer.alloc(2 * MIB)), stopReading()]);
    const stop = new AbortController();
    const pool = poolFor({ shards });
    const { duplex } = await openDuplex(pool.fetch, peer.url, { upgrade: 'echo', signal: stop.signal });
    if (duplex === null) throw new Error('no duplex');
    // It is being read, so the error stands behind what came before it.
    await once(duplex, 'readable');
    const reason = new Error('mine');
    const failed = once(duplex, 'error');
    stop.abort(reason);
    const told = await new Promise((resolve) => duplex.write('late', resolve));
    expect(told).toBe(reason);
    expect((await failed)[0]).toBe(reason);
  });

  test('a reset in the tunnel is a failure of the stream', async () => {
    const torn = deferred();
    const peer = await rawPeer([
      request(),
      send(SWITCH),
      gate(torn.promise),
      ({ socket }) => void socket.resetAndDestroy(),
    ]);
    const { duplex } = await openDuplex(poolFor({ shards }).fetch, peer.url, { upgrade: 'echo' });
    const failed = once(duplex as NonNullable<typeof duplex>, 'error');
    duplex?.resume();
    torn.resolve();
    checkFailure((await failed)[0], { code: 'INCOMPLETE_BODY', message: 'terminated', errno: 'ECONNRESET' });
  });
});

describe('what is refused before anything is sent', () => {
  test.each([
    ['upgrade', { upgrade: '' }],
    ['upgrade', { upgrade: 'web socket' }],
    ['upgrade', { upgrade: 'a/b/c' }],
    ['upgrade', { upgrade: 'x\r\ny' }],
    ['upgrade', { upgrade: 7 }],
    ['upgrade.connect', { upgrade: { connect: 'host' } }],
    ['upgrade.connect', { upgrade: { connect: 'host:0' } }],
    ['upgrade.connect', { upgrade: { connect: 'user@host:80' } }],
    ['upgrade.connect', { upgrade: {} }],
    ['method', { upgrade: { connect: 'a.test:1' }, method: 'POST' }],
    ['method', { method: 'CONNECT' }],
    ['body', { upgrade: 'echo', body: 'whole' }],
    ['headers', { headers: { upgrade: 'echo' } }],
    ['expectContinue', { upgrade: 'echo', expectContinue: 100 }],
  ])('%s: %o', async (limit, init) => {
    const pool = poolFor({ shards: 0 });
    checkRefusal(await rejection(pool.fetch('http://127.0.0.1:1/', init as object)), limit);
  });
});
