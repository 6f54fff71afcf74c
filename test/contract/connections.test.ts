/** CONTRACT.md §2.9 and 2.10: connecting, names, the pool of connections and who may use which. */

import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { nativeIo } from '../../src/worker/io/native-io.ts';
import { PAUSE } from '../../src/worker/multi/index.ts';
import { deadPort, get, Names, Rig, type ServerConnection, StillClock, serve } from './rig.ts';

describe('connecting', () => {
  test('contract/rule-58 a dead port fails cleanly, with the errno; nothing is left', async () => {
    const rig = new Rig();
    const port = await deadPort();
    const got = await rig.fetch({ url: `http://127.0.0.1:${port}/` });
    expect(got.error).toMatchObject({ code: 'COULDNT_CONNECT', errno: 'ECONNREFUSED', phase: 'connect' });
    expect(rig.multi.running).toBe(0);
    expect(rig.watched.size).toBe(0);
    expect(rig.multi.stats()).toMatchObject({ connections: 0, opened: 0 });
  });

  test('contract/rule-58 a name that does not resolve fails all who wait for it, and is asked again later', async () => {
    const names = new Names();
    const rig = new Rig({ io: names.io });
    const all = [get({ url: 'http://no.test/' }), get({ url: 'http://no.test:81/' })];
    for (const { transfer } of all) rig.multi.add(transfer);
    rig.step();
    names.answer(rig, 1, [], 'EAI_AGAIN');
    for (const { transfer } of all) {
      expect(await rig.end(transfer)).toMatchObject({ code: 'COULDNT_RESOLVE', errno: 'EAI_AGAIN', phase: 'dns' });
    }
    expect(rig.multi.stats()).toMatchObject({ running: 0, connections: 0 });
    rig.multi.add(get({ url: 'http://no.test/' }).transfer);
    rig.step();
    expect(names.asked).toEqual(['no.test', 'no.test']);
  });

  test('contract/rule-54 one bad address is no failure while another answers; all bad: one cause each', async () => {
    const server = await serve();
    const names = new Names();
    const rig = new Rig({ io: names.io });
    const good = get({ url: `http://mixed.test:${server.port}/` });
    rig.multi.add(good.transfer);
    rig.step();
    names.answer(rig, 1, ['255.255.255.255', '127.0.0.77', '127.0.0.1']);
    expect(await rig.end(good.transfer)).toBeNull();
    expect(good.transfer.info.remoteAddress).toBe(`127.0.0.1:${server.port}`);
    const bad = get({ url: `http://bad.test:${server.port}/` });
    rig.multi.add(bad.transfer);
    rig.step();
    names.answer(rig, 2, ['255.255.255.255', '127.0.0.78']);
    const error = await rig.end(bad.transfer);
    expect(error).toMatchObject({ code: 'COULDNT_CONNECT', errno: 'ECONNREFUSED' });
    expect(
      (error as unknown as { cause: AggregateError }).cause.errors.map((cause: { errno: string }) => cause.errno),
    ).toEqual([expect.any(String), 'ECONNREFUSED']);
  });

  test('one look-up per name in flight, shared; what was found is kept for its time', async () => {
    const server = await serve();
    const names = new Names();
    const clock = new StillClock(names.io);
    const rig = new Rig({ io: clock.io, lookupTtlMs: 1_000 });
    const url = `http://shared.test:${server.port}/`;
    const all = Array.from({ length: 50 }, () => get({ url }));
    for (const { transfer } of all) rig.multi.add(transfer);
    rig.step();
    expect(names.asked).toEqual(['shared.test']);
    // One that stops waiting takes nobody with it.
    rig.multi.remove((all[0] as (typeof all)[0]).transfer);
    names.answer(rig, 1, ['127.0.0.1']);
    await rig.until(() => rig.multi.running === 0);
    expect(all.slice(1).every((got) => got.body === 'ok')).toBe(true);
    clock.passes(990);
    await rig.fetch({ url, freshConnect: true });
    expect(names.asked).toEqual(['shared.test']);
    clock.passes(20);
    rig.multi.add(get({ url, freshConnect: true }).transfer);
    rig.step();
    expect(names.asked).toEqual(['shared.test', 'shared.test']);
  });

  test('a resolver that cannot be opened fails transfers, not the multi, in the queue too', async () => {
    const io = {
      ...nativeIo(),
      openResolver: () => {
        throw new Error('no descriptor left');
      },
    };
    const server = await serve();
    const rig = new Rig({ io, maxTotalConnections: 1 });
    const all = [get({ url: server.url }), get({ url: 'http://a.test/' }), get({ url: 'http://b.test/' })];
    for (const { transfer } of all) rig.multi.add(transfer);
    await rig.until(() => rig.multi.running === 0);
    rig.step();
    expect(rig.messages.map(({ error }) => error?.code)).toEqual([undefined, 'COULDNT_RESOLVE', 'COULDNT_RESOLVE']);
    expect((await rig.fetch({ url: server.url })).error).toBeNull();
  });

  test('timeouts fire on time while a name is looked up', async () => {
    const names = new Names();
    const rig = new Rig({ io: names.io });
    const connect = get({ url: 'http://never.test/', timeouts: { connectMs: 40 } });
    const total = get({ url: 'http://never.test/', timeouts: { connectMs: 0, totalMs: 60 } });
    rig.multi.add(connect.transfer);
    rig.multi.add(total.transfer);
    const began = performance.now();
    expect(await rig.end(connect.transfer)).toMatchObject({ code: 'CONNECT_TIMEOUT', phase: 'dns' });
    expect(await rig.end(total.transfer)).toMatchObject({ code: 'TOTAL_TIMEOUT', phase: 'dns' });
    expect(performance.now() - began).toBeLessThan(8_000);
    expect(rig.multi.stats().connections).toBe(0);
  });
});

describe('reuse', () => {
  test('contract/rule-59 the pool survives the removal of transfers and dies with the multi', async () => {
    const server = await serve();
    const rig = new Rig();
    await rig.fetch({ url: server.url });
    expect((await rig.fetch({ url: server.url })).transfer.info.reused).toBe(true);
    expect(server.connections.length).toBe(1);
    rig.multi.close();
    await expect.poll(() => server.open, { timeout: 8_000 }).toBe(0);
  });

  test('contract/rule-60 another host, port or name of the same address never shares a connection', async () => {
    const [server, other] = [await serve(), await serve()];
    const rig = new Rig();
    const urls = [server.url, other.url, `http://localhost:${server.port}/`, `http://127.0.0.2:${server.port}/`];
    for (const url of urls.slice(0, 3)) {
      expect((await rig.fetch({ url })).transfer.info.reused).toBe(false);
    }
    for (const url of urls.slice(0, 3)) expect((await rig.fetch({ url })).transfer.info.reused).toBe(true);
    expect([server.connections.length, other.connections.length]).toEqual([2, 1]);
    expect(server.connections.map((connection) => connection.requests)).toEqual([2, 2]);
  });

  test('contract/rule-60 spellings of one origin do share: case, default port, path', async () => {
    const server = await serve();
    const rig = new Rig();
    await rig.fetch({ url: `http://LOCALHOST:${server.port}/a` });
    const got = await rig.fetch({ url: `http://localhost:0${server.port}/b?c#d` });
    expect(got.transfer.info.reused).toBe(true);
    expect(server.paths).toEqual(['/a', '/b?c']);
  });

  test('contract/rule-61 a busy connection is never handed out, a connecting one neither', async () => {
    const held: ServerConnection[] = [];
    const server = await serve((connection) => held.push(connection));
    const rig = new Rig();
    const all = [get({ url: server.url }), get({ url: server.url })];
    rig.multi.add((all[0] as (typeof all)[0]).transfer);
    rig.multi.timeout(); // connecting
    rig.multi.add((all[1] as (typeof all)[0]).transfer);
    await rig.until(() => held.length === 2);
    const third = get({ url: server.url });
    rig.multi.add(third.transfer); // both busy
    await rig.until(() => held.length === 3);
    expect(new Set(held.map((connection) => connection.index)).size).toBe(3);
    // Half an answer keeps it busy.
    held[0]?.socket.write('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf');
    await rig.until(() => all[0]?.body === 'half');
    rig.multi.add(get({ url: server.url }).transfer);
    await rig.until(() => held.length === 4);
    expect(server.connections.length).toBe(4);
  });

  test('contract/rule-61 a connection is free again while the end callback has yet to add the next', async () => {
    const server = await serve();
    const rig = new Rig();
    let left = 20;
    const transfer = get({
      url: server.url,
      onEnd: (ended) => {
        if (--left === 0) return;
        rig.multi.remove(ended);
        rig.multi.add(ended);
      },
    }).transfer;
    rig.multi.add(transfer);
    await rig.end(transfer);
    expect(left).toBe(0);
    expect(server.connections.length).toBe(1);
    expect(server.requests.length).toBe(20);
  });

  test('contract/rule-62 idle for too long: closed, by the timer, and not used again', async () => {
    const server = await serve();
    const rig = new Rig({ idleMs: 60 });
    const began = performance.now();
    await rig.fetch({ url: server.url });
    await rig.until(() => rig.multi.stats().idle === 0);
    expect(performance.now() - began).toBeGreaterThanOrEqual(59);
    // It was idle.
    expect(rig.socketCalls.at(-1)).toMatchObject({ transfer: null, what: 4 });
    await rig.until(() => server.open === 0);
    expect(rig.multi.stats().connections).toBe(0);
    expect((await rig.fetch({ url: server.url })).transfer.info.reused).toBe(false);
  });

  test('contract/rule-62 idle for too long, and the timer has not fired yet: not used again', async () => {
    const server = await serve();
    const rig = new Rig({ idleMs: 40 });
    await rig.fetch({ url: server.url });
    await delay(60);
    const { transfer } = get({ url: server.url });
    rig.multi.add(transfer);
    rig.multi.timeout();
    await rig.end(transfer);
    expect(transfer.info.reused).toBe(false);
    await rig.until(() => server.open === 1);
  });

  test('contract/rule-62 too long alive: not used again and closed, when idle, when it comes free and when queued for', async () => {
    const held: ServerConnection[] = [];
    const server = await serve((connection, request) => {
      if (request.startsWith('GET /held')) held.push(connection);
      else connection.reply();
    });
    const clock = new StillClock();
    const rig = new Rig({ io: clock.io, lifetimeMs: 300, maxHostConnections: 1 });
    // Young: used again.
    await rig.fetch({ url: server.url });
    await rig.fetch({ url: server.url });
    expect(server.connections.length).toBe(1);
    // Too old while it lies idle.
    clock.passes(320);
    expect((await rig.fetch({ url: server.url })).transfer.info.reused).toBe(false);
    await rig.until(() => server.open === 1);
    // Too old while it works: it does not go to the idle ones …
    const long = get({ url: `${server.url}held` });
    rig.multi.add(long.transfer);
    await rig.until(() => held.length === 1);
    clock.passes(320);
    held[0]?.reply();
    await rig.end(long.transfer);
    expect(rig.multi.stats()).toMatchObject({ idle: 0 });
    await rig.until(() => server.open === 0);
    // … nor to who waits for one.
    const [first, second] = [get({ url: `${server.url}held` }), get({ url: server.url })];
    rig.multi.add(first.transfer);
    rig.multi.add(second.transfer);
    await rig.until(() => held.length === 2);
    clock.passes(320);
    held[1]?.reply();
    await rig.end(second.transfer);
    expect(second.transfer.info.reused).toBe(false);
    expect(server.mostOpen).toBe(1);
  });

  test('contract/rule-63 (amended) a close of an idle connection is seen at once', async () => {
    const server = await serve();
    const rig = new Rig();
    await rig.fetch({ url: server.url });
    server.last.socket.end();
    await rig.until(() => rig.multi.stats().idle === 0);
    expect(rig.socketCalls.at(-1)).toMatchObject({ transfer: null, what: 4 });
    const got = await rig.fetch({ url: server.url });
    expect([got.error, got.transfer.info.retried, server.connections.length]).toEqual([null, false, 2]);
  });

  test.each(['HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray', '\r\n', 'x'])(
    'contract/rule-63 (amended) stray bytes %j on an idle connection drop it: they answer nobody',
    async (stray) => {
      const server = await serve();
      const rig = new Rig();
      await rig.fetch({ url: server.url });
      server.last.socket.write(stray);
      await rig.until(() => rig.multi.stats().connections === 0);
      const got = await rig.fetch({ url: server.url });
      expect([got.error, got.body, got.transfer.info.reused]).toEqual([null, 'ok', false]);
    },
  );

  test('contract/rule-63 stray bytes behind a response end its connection, also when the last chunk was refused', async () => {
    for (const refuse of [false, true]) {
      const server = await serve((connection) => {
        connection.socket.write(
          'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil',
        );
      });
      const rig = new Rig();
      let refusals = refuse ? 1 : 0;
      const got = get({ url: server.url, onData: () => (refusals-- > 0 ? PAUSE : undefined) });
      rig.multi.add(got.transfer);
      if (refuse) {
        await rig.until(() => refusals < 1);
        await rig.drive(10);
        expect(got).toMatchObject({ body: '', ended: 0 });
        got.transfer.unpause();
      }
      expect(await rig.end(got.transfer)).toBeNull();
      expect(got.body).toBe('ok');
      expect(rig.multi.stats(), `refused: ${refuse}`).toMatchObject({ idle: 0, connections: 0 });
    }
  });

  test('contract/rule-64 (amended) a reused connection that dies before any byte: once more, on a fresh one', async () => {
    const server = await serve((connection) => {
      if (connection.requests === 2) connection.socket.destroy();
      else connection.reply();
    });
    const rig = new Rig();
    await rig.fetch({ url: server.url });
    const got = await rig.fetch({ url: server.url });
    expect(got).toMatchObject({ error: null, body: 'ok', ended: 1 });
    expect(got.transfer.info).toMatchObject({ retried: true, reused: false });
    expect(server.requests.length).toBe(3);
  });

  test('contract/rule-64 (amended) once only: the fresh connection dies too', async () => {
    const server = await serve((connection) => {
      if (server.requests.length === 1) connection.reply();
      else connection.socket.destroy();
    });
    const rig = new Rig();
    await rig.fetch({ url: server.url });
    const got = await rig.fetch({ url: server.url });
    expect(got.error).toMatchObject({ code: 'CONNECTION_LOST', phase: 'head' });
    expect(server.requests.length).toBe(3);
  });

  test.each(['POST', 'PATCH'])('contract/rule-64 (amended) %s is not repeated once written', async (method) => {
    const server = await serve((connection) => {
      if (connection.requests === 2) connection.socket.destroy();
      else connection.reply();
    });
    const rig = new Rig();
    await rig.fetch({ url: server.url });
    const got = await rig.fetch({ url: server.url, method, body: 'once' });
    expect(got.error).toMatchObject({ code: expect.stringMatching(/CONNECTION_LOST|SEND_FAILED/) });
    expect(server.requests.length).toBe(2);
  });

  test('contract/rule-64 (amended) not after the first byte of a response, and not on a fresh connection', async () => {
    const server = await serve((connection) => {
      if (connection.requests === 2) connection.socket.end('HTTP/1.1 2');
      else if (server.requests.length === 1) connection.reply();
      else connection.socket.destroy();
    });
    const rig = new Rig();
    await rig.fetch({ url: server.url });
    expect((await rig.fetch({ url: server.url })).error).not.toBeNull();
    expect(server.requests.length).toBe(2);
    expect((await rig.fetch({ url: server.url })).error).toMatchObject({ code: 'CONNECTION_LOST' });
    expect(server.requests.length).toBe(3);
  });

  test('contract/rule-64 (amended) a body goes again whole', async () => {
    const bodies: string[] = [];
    const server = await serve((connection) => {
      if (connection.requests === 2) connection.socket.destroy();
      else connection.reply();
    });
    const rig = new Rig();
    await rig.fetch({ url: server.url });
    const body = 'x'.repeat(300_000);
    const got = await rig.fetch({ url: server.url, method: 'PUT', body });
    expect(got.error).toBeNull();
    expect(got.transfer.info.bytesSent).toBe(got.transfer.head.length + body.length);
    expect(bodies).toEqual([]);
  });

  test('contract/rule-65 freshConnect takes no idle connection; forbidReuse leaves none', async () => {
    const server = await serve();
    const rig = new Rig();
    await rig.fetch({ url: server.url });
    expect((await rig.fetch({ url: server.url, freshConnect: true })).transfer.info.reused).toBe(false);
    expect(rig.multi.stats()).toMatchObject({ idle: 2, opened: 2 });
    expect((await rig.fetch({ url: server.url, forbidReuse: true })).transfer.info.reused).toBe(true);
    expect(rig.multi.stats()).toMatchObject({ idle: 1, opened: 2 });
  });

  test.each([
    ['Connection: close', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok'],
    ['HTTP/1.0', 'HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok'],
    ['no length', 'HTTP/1.1 200 OK\r\n\r\nok'],
  ])('contract/rule-65 %s closes after the response', async (_what, response) => {
    const server = await serve((connection) => {
      connection.socket.write(response);
      if (!response.includes('Length')) connection.socket.end();
    });
    const rig = new Rig();
    const got = await rig.fetch({ url: server.url });
    expect(got).toMatchObject({ error: null, body: 'ok' });
    expect(rig.multi.stats()).toMatchObject({ idle: 0, connections: 0 });
  });

  test('contract/rule-65 a response that came before its request was sent whole leaves no connection', async () => {
    const server = await serve((connection) => {
      connection.socket.pause();
      connection.reply('early');
    });
    const rig = new Rig();
    const got = get({ url: server.url, method: 'POST', body: new Uint8Array(30_000_000) });
    rig.multi.add(got.transfer);
    await rig.until(() => got.ended === 1);
    expect(await rig.end(got.transfer)).toBeNull();
    expect(got.body).toBe('early');
    expect(rig.multi.stats()).toMatchObject({ connections: 0 });
  });

  test('contract/rule-65 a body that ends too early fails and closes', async () => {
    const server = await serve((connection) => {
      connection.socket.end('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf');
    });
    const rig = new Rig();
    const got = await rig.fetch({ url: server.url });
    expect(got.error).toMatchObject({ code: 'INCOMPLETE_BODY', phase: 'body' });
    expect(got.body).toBe('half');
    expect(rig.multi.stats()).toMatchObject({ connections: 0 });
  });

  test('contract/rule-66 above maxConnects the longest idle is closed, in that order', async () => {
    const held: ServerConnection[] = [];
    const server = await serve((connection) => held.push(connection));
    const rig = new Rig({ maxConnects: 2 });
    const all = ['a', 'b', 'c', 'd'].map((name) => get({ url: server.url + name }));
    for (const { transfer } of all) rig.multi.add(transfer);
    await rig.until(() => held.length === 4);
    const byPath = new Map(server.paths.map((path, index) => [path, held[index] as ServerConnection]));
    const ended = (): number => all.reduce((sum, got) => sum + got.ended, 0);
    for (const [index, path] of ['/c', '/a', '/d', '/b'].entries()) {
      byPath.get(path)?.reply();
      await rig.until(() => ended() === index + 1);
      expect(rig.multi.stats().idle).toBe(Math.min(2, index + 1));
    }
    await rig.until(() => server.open === 2);
    expect(['/a', '/b', '/c', '/d'].filter((path) => byPath.get(path)?.closed)).toEqual(['/a', '/c']);
    // The one used last is the one used next.
    rig.multi.add(get({ url: `${server.url}next` }).transfer);
    await rig.until(() => held.length === 5);
    expect(held[4]).toBe(byPath.get('/b'));
  });

  test('contract/rule-66 maxConnects 0 keeps none', async () => {
    const server = await serve();
    const rig = new Rig({ maxConnects: 0 });
    for (let use = 0; use < 3; use++) await rig.fetch({ url: server.url });
    expect(server.connections.length).toBe(3);
    expect(rig.multi.stats()).toMatchObject({ idle: 0, connections: 0 });
  });
});
