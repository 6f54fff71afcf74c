/** HOSTILE case 147: no descriptor is left. Transfers wait for one, fail with the errno at their clock, and nothing spins. */

import { describe, expect, test } from 'vitest';
import type { Io } from '../../../src/worker/io/io.ts';
import { nativeIo } from '../../../src/worker/io/native-io.ts';
import { get, Rig, StillClock, serve } from '../rig.ts';

const EMFILE = 24;
const ENFILE = 23;

/** A kernel that has `room` descriptors for sockets. */
class Scarcity {
  room: number;
  errno = EMFILE;
  asked = 0;
  readonly io: Io;
  readonly #open = new Set<number>();

  constructor(room: number) {
    this.room = room;
    const real = nativeIo();
    this.io = {
      ...real,
      open: (family) => {
        this.asked++;
        if (this.#open.size >= this.room) return -this.errno;
        const socket = real.open(family);
        this.#open.add(socket);
        return socket;
      },
      close: (socket) => {
        this.#open.delete(socket);
        return real.close(socket);
      },
    };
  }
}

/** A kernel that has no descriptor for the resolver while `isFull` says so. */
function resolverWithout(errno: string, when: 'opening' | 'looking up', isFull: () => boolean): Io {
  const real = nativeIo();
  return {
    ...real,
    openResolver: () => {
      if (when === 'opening' && isFull()) throw Object.assign(new Error('cannot open a resolver'), { code: errno });
      const resolver = real.openResolver();
      return {
        get socket() {
          return resolver.socket;
        },
        resolve: (host, family) => resolver.resolve(host, family),
        take: () => {
          const answer = resolver.take();
          if (answer === null || when === 'opening' || !isFull()) return answer;
          // As getaddrinfo says it.
          return { ...answer, status: -11, statusName: `EAI_SYSTEM (${errno})`, addresses: [] };
        },
        close: () => resolver.close(),
      };
    },
  };
}

describe('hostile/147', () => {
  test('who finds none waits, and goes on when the multi closes one', async () => {
    const server = await serve((connection, request) => !request.startsWith('GET /held') && connection.reply());
    const scarcity = new Scarcity(1);
    const rig = new Rig({ io: scarcity.io });
    const held = get({ url: `${server.url}held` });
    rig.multi.add(held.transfer);
    await rig.until(() => server.requests.length === 1);
    const waiting = Array.from({ length: 3 }, (_, index) => get({ url: `${server.url}${index}`, forbidReuse: true }));
    for (const { transfer } of waiting) rig.multi.add(transfer);
    await rig.drive(250);
    expect(rig.multi.running).toBe(4);
    expect(waiting.map(({ transfer }) => transfer.info.state)).toEqual(['dialing', 'dialing', 'dialing']);
    rig.multi.remove(held.transfer);
    const began = performance.now();
    for (const { transfer } of waiting) expect(await rig.end(transfer)).toBeNull();
    expect(performance.now() - began).toBeLessThan(8_000);
    // First come, first served.
    expect(server.paths).toEqual(['/held', '/0', '/1', '/2']);
  });

  test('one that others of the process free is found within a moment, and nothing spins meanwhile', async () => {
    const server = await serve();
    const scarcity = new Scarcity(0);
    // Calls of the timer callback are counted: other ways of driving provoke more of them (rule 27).
    const rig = new Rig({ io: scarcity.io, driving: 'hand' });
    const all = Array.from({ length: 20 }, () => get({ url: server.url }));
    for (const { transfer } of all) rig.multi.add(transfer);
    const began = performance.now();
    await rig.until(() => scarcity.asked >= 25);
    // Each once, then the first of them every 100 ms.
    expect(scarcity.asked).toBe(25);
    expect(performance.now() - began).toBeGreaterThanOrEqual(499);
    expect(rig.timers.length).toBeLessThanOrEqual(12);
    scarcity.room = 100;
    await rig.until(() => rig.multi.running === 0);
    expect(all.every(({ body }) => body === 'ok')).toBe(true);
    expect(rig.multi.timers.size).toBe(1);
  });

  test.each([
    [EMFILE, 'EMFILE', 'ulimit -n'],
    [ENFILE, 'ENFILE', 'fs.file-max'],
  ])('errno %i: at the end of connectMs it fails with %s and says %s', async (errno, name, advice) => {
    const scarcity = new Scarcity(0);
    scarcity.errno = errno;
    const rig = new Rig({ io: scarcity.io });
    const began = performance.now();
    const { error } = await rig.fetch({ url: 'http://127.0.0.1/', timeouts: { connectMs: 150 } });
    expect(performance.now() - began).toBeGreaterThanOrEqual(149);
    expect(error).toMatchObject({
      code: 'COULDNT_CONNECT',
      errno: name,
      phase: 'connect',
      limit: 'timeouts.connectMs',
    });
    expect(error?.message).toContain(advice);
    expect(rig.multi.timers.size).toBe(0);
    expect(rig.multi.stats()).toMatchObject({ connections: 0, running: 0 });
  });

  test('an idle connection of another host is given up for it', async () => {
    const [server, other] = [await serve(), await serve()];
    // Time stands still, so the clock that comes every 100 ms does not help.
    const rig = new Rig({ io: new StillClock(new Scarcity(1).io).io });
    expect((await rig.fetch({ url: server.url })).body).toBe('ok');
    expect((await rig.fetch({ url: other.url })).body).toBe('ok');
    await rig.until(() => server.open === 0);
    expect(rig.multi.stats()).toMatchObject({ connections: 1, idle: 1 });
  });

  test('a connection to its own host that comes free is its, though others wait in the queue', async () => {
    const server = await serve();
    const scarcity = new Scarcity(1);
    const rig = new Rig({ io: scarcity.io, maxHostConnections: 2 });
    const all = Array.from({ length: 6 }, (_, index) => get({ url: `${server.url}${index}` }));
    for (const { transfer } of all) rig.multi.add(transfer);
    await rig.until(() => rig.multi.running === 0);
    expect(all.every(({ body }) => body === 'ok')).toBe(true);
    expect(server.connections.length).toBe(1);
    expect(server.paths).toEqual(['/0', '/1', '/2', '/3', '/4', '/5']);
    rig.step();
    expect(rig.multi.stats()).toMatchObject({ connections: 1, idle: 1 });
  });

  test('one that must be fresh takes no old connection', async () => {
    const server = await serve();
    const rig = new Rig({ io: new Scarcity(1).io });
    const [first, fresh] = [get({ url: server.url }), get({ url: server.url, freshConnect: true })];
    rig.multi.add(first.transfer);
    rig.multi.add(fresh.transfer);
    expect(await rig.end(fresh.transfer)).toBeNull();
    expect(fresh.transfer.info.reused).toBe(false);
    expect(server.connections.length).toBe(2);
  });

  test('the race goes on with what it has: an address that connects wins, the wait is over', async () => {
    const server = await serve();
    const scarcity = new Scarcity(1);
    const rig = new Rig({
      io: scarcity.io,
      resolve: { [`a.test:${server.port}`]: ['127.0.0.1', '127.0.0.2'] },
      happyEyeballsMs: 1,
    });
    expect((await rig.fetch({ url: `http://a.test:${server.port}/`, forbidReuse: true })).body).toBe('ok');
    expect(rig.multi.timers.size).toBe(0);
  });

  test.each([
    ['EMFILE', 'ulimit -n'],
    ['ENFILE', 'fs.file-max'],
  ] as const)(
    'the resolver finds none (%s): what looks a name up waits, and fails with the errno at its clock',
    async (errno, advice) => {
      for (const when of ['opening', 'looking up'] as const) {
        let refused = 0;
        const clock = new StillClock(resolverWithout(errno, when, () => ++refused > 0));
        const rig = new Rig({ io: clock.io });
        const { transfer } = get({ url: 'http://localhost/', timeouts: { connectMs: 250 } });
        rig.multi.add(transfer);
        await rig.until(() => refused > 0);
        clock.passes(249);
        rig.multi.timeout();
        expect(transfer.info.state).toBe('dialing');
        clock.passes(1);
        rig.multi.timeout();
        const error = await rig.end(transfer);
        rig.multi.remove(transfer);
        expect(error).toMatchObject({ code: 'COULDNT_CONNECT', errno, limit: 'timeouts.connectMs' });
        expect(error?.message).toContain(advice);
        expect(rig.multi.timers.size).toBe(0);
        expect(rig.multi.stats()).toMatchObject({ connections: 0, running: 0 });
      }
    },
  );

  test.each(['opening', 'looking up'] as const)(
    'the resolver finds none (%s) until an idle connection was given up for it',
    async (when) => {
      const [server, other] = [await serve(), await serve()];
      const rig: Rig = new Rig({ io: resolverWithout('EMFILE', when, () => rig.multi.stats().idle > 0) });
      expect((await rig.fetch({ url: server.url })).body).toBe('ok');
      const began = performance.now();
      const all = Array.from({ length: 3 }, () => get({ url: `http://localhost:${other.port}/` }));
      for (const { transfer } of all) rig.multi.add(transfer);
      await rig.until(() => rig.multi.running === 0);
      expect(all.map(({ body }) => body)).toEqual(['ok', 'ok', 'ok']);
      // Sooner than by the clock, which comes every 100 ms, but a name service may take its time.
      expect(performance.now() - began).toBeLessThan(8_000);
      await rig.until(() => server.open === 0);
    },
  );

  test('remove and close while waiting for a resolver leave nothing', async () => {
    const rig = new Rig({ io: resolverWithout('EMFILE', 'looking up', () => true) });
    const [removed, closed] = [get({ url: 'http://localhost/' }), get({ url: 'http://localhost/' })];
    for (const { transfer } of [removed, closed]) rig.multi.add(transfer);
    await rig.drive(50);
    rig.multi.remove(removed.transfer);
    expect(rig.multi.stats()).toMatchObject({ connections: 1 });
    rig.multi.close();
    expect(rig.multi.timers.size).toBe(0);
    expect(rig.watched.size).toBe(0);
  });

  test('remove and close while waiting leave nothing', async () => {
    const scarcity = new Scarcity(0);
    const rig = new Rig({ io: scarcity.io });
    const [removed, closed] = [get({ url: 'http://127.0.0.1/' }), get({ url: 'http://127.0.0.1/' })];
    for (const { transfer } of [removed, closed]) rig.multi.add(transfer);
    rig.step();
    rig.multi.remove(removed.transfer);
    expect(rig.multi.stats()).toMatchObject({ connections: 1 });
    rig.multi.close();
    expect(rig.multi.timers.size).toBe(0);
    expect(rig.watched.size).toBe(0);
  });
});
