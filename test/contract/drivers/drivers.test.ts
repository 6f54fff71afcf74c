/** The drivers on a real event loop: EpollDriver and UvDriver keep the same promises. Sockets first, clocks after (HOSTILE.md 139). */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { AddressFamily } from '../../../src/worker/io/io.ts';
import { openLoopWatches } from '../../../src/worker/io/loop-watches.ts';
import { nativeIo } from '../../../src/worker/io/native-io.ts';
import { type Driver, EpollDriver, Multi, type MultiOptions, UvDriver } from '../../../src/worker/multi/index.ts';
import { type Got, get, type ServerConnection, serve, sleep } from '../rig.ts';

/** Resolves when the transfer has completed. Nothing is polled: only the driver moves it. */
async function ended(multi: Multi, driver: Driver, got: Got): Promise<void> {
  await Promise.race([
    new Promise<void>((resolve) => {
      const look = (): void => {
        if (got.transfer.info.state === 'done') resolve();
      };
      driver.onTurn = look;
      look();
    }),
    delay(20_000, undefined, { ref: false }).then(() => {
      throw new Error(`the transfer hangs in ${got.transfer.info.state}; ${JSON.stringify(multi.stats())}`);
    }),
  ]);
}

/** Opens so many connections: a server accepts one in each round of its loop, and clocks must not run out meanwhile. */
async function warmUp(multi: Multi, driver: Driver, url: string, count: number): Promise<void> {
  const all = Array.from({ length: count }, () => get({ url }));
  for (const { transfer } of all) multi.add(transfer);
  for (const got of all) await ended(multi, driver, got);
  for (const { transfer } of all) multi.remove(transfer);
  expect(multi.stats()).toMatchObject({ idle: count, connections: count });
}

describe.each([EpollDriver, UvDriver].map((OneDriver) => [OneDriver.name, OneDriver] as const))(
  '%s',
  (_, OneDriver) => {
    function driven(options: MultiOptions = {}): { multi: Multi; driver: Driver } {
      const multi = new Multi(options);
      const driver = new OneDriver(multi);
      onTestFinished(() => {
        driver.stop();
        multi.close();
      });
      return { multi, driver };
    }

    test('a transfer runs by the driver alone, and another, and one that was queued', async () => {
      const server = await serve();
      const { multi, driver } = driven({ maxHostConnections: 1 });
      driver.run();
      const all = [get({ url: server.url }), get({ url: server.url }), get({ url: server.url })];
      for (const { transfer } of all) multi.add(transfer);
      for (const got of all) {
        await ended(multi, driver, got);
        expect(got).toMatchObject({ body: 'ok', ended: 1 });
      }
    });

    test.each([
      ['headMs', ''],
      ['totalMs', ''],
      ['bodyIdleMs', 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha'],
    ] as const)(
      'hostile/139 a late answer that waited in the socket beats %s when the thread was blocked',
      async (option, first) => {
        const held: ServerConnection[] = [];
        const server = await serve((connection) => {
          if (first !== '') connection.socket.write(first);
          held.push(connection);
          setImmediate(() => held.push(connection));
        });
        const { multi, driver } = driven();
        driver.run();
        const got = get({ url: server.url, timeouts: { [option]: 600 } });
        multi.add(got.transfer);
        while (held.length < 2 || (first !== '' && got.body !== 'ha')) await new Promise(setImmediate);
        // The answer goes into the kernel now, and the thread is deaf until every clock has run out.
        if (first === '') held[0]?.reply('late');
        else held[0]?.socket.write('lf');
        sleep(700);
        await ended(multi, driver, got);
        expect(got.transfer.error).toBeNull();
        expect(got.body).toBe(first === '' ? 'late' : 'half');
      },
    );

    test('hostile/139 without an answer the clock has run out all the same', async () => {
      const server = await serve(() => undefined);
      const { multi, driver } = driven();
      driver.run();
      const got = get({ url: server.url, timeouts: { headMs: 60 } });
      multi.add(got.transfer);
      while (server.requests.length === 0) await new Promise(setImmediate);
      sleep(100);
      await ended(multi, driver, got);
      expect(got.transfer.error).toMatchObject({ code: 'HEAD_TIMEOUT' });
    });

    test('a driver that takes over in mid-transfer brings it to its end', async () => {
      const held: ServerConnection[] = [];
      const server = await serve((connection) => held.push(connection));
      const { multi, driver } = driven();
      const got = get({ url: server.url });
      multi.add(got.transfer);
      multi.timeout();
      driver.run();
      while (held.length === 0) await new Promise(setImmediate);
      driver.stop();
      const second = new OneDriver(multi);
      second.run();
      onTestFinished(() => second.stop());
      held[0]?.reply('moved');
      await ended(multi, second, got);
      expect(got.body).toBe('moved');
    });

    test('timers are on time: the nearest of many, after the nearest went away, and while nothing else happens', async () => {
      const server = await serve(() => undefined);
      const { multi, driver } = driven();
      driver.run();
      const near = get({ url: server.url, timeouts: { totalMs: 1_200 } });
      const far = get({ url: server.url, timeouts: { totalMs: 1_500 } });
      const began = performance.now();
      multi.add(near.transfer);
      multi.add(far.transfer);
      while (server.requests.length < 2) await new Promise(setImmediate);
      await delay(1_000);
      // No turn for a second: what is told now must count from now.
      multi.remove(near.transfer);
      await ended(multi, driver, far);
      const took = performance.now() - began;
      expect(far.transfer.error).toMatchObject({ code: 'TOTAL_TIMEOUT' });
      expect(took).toBeGreaterThanOrEqual(1_499);
      expect(took).toBeLessThan(2_400);
    });

    test('what is idle keeps no program alive, what runs does, unless unref is called', async () => {
      const server = await serve();
      const script = (rest: string): string =>
        `import { ${OneDriver.name}, Multi, Transfer } from './dist/worker/multi/index.js';
     const multi = new Multi(); const driver = new ${OneDriver.name}(multi); driver.run();
     multi.add(new Transfer({ url: '${server.url}', onEnd: () => console.log('ended') }));
     ${rest}`;
      for (const [rest, expected] of [
        ['', 'ended\n'],
        ['driver.unref();', expect.stringMatching(/^(ended\n)?$/)],
      ] as const) {
        const child = spawn(process.execPath, ['--input-type=module', '-e', script(rest)]);
        let out = '';
        child.stdout.on('data', (chunk) => {
          out += chunk;
        });
        const [code] = await once(child, 'close');
        expect([code, out]).toEqual([0, expected]);
      }
    });

    test.each([1, 7, 200])(
      'hostile/139 of %i answers that waited in their sockets none is a timeout',
      async (count) => {
        const held: ServerConnection[] = [];
        const server = await serve((connection, request) => {
          if (request.startsWith('GET /warm')) connection.reply();
          else held.push(connection);
        });
        const { multi, driver } = driven();
        driver.run();
        await warmUp(multi, driver, `${server.url}warm`, count);
        const all = Array.from({ length: count }, () => get({ url: server.url, timeouts: { headMs: 1_000 } }));
        for (const { transfer } of all) multi.add(transfer);
        while (held.length < count) await new Promise(setImmediate);
        for (const connection of held) connection.reply('late');
        sleep(1_200);
        for (const got of all) await ended(multi, driver, got);
        expect(all.map((got) => got.transfer.error?.code ?? got.body)).toEqual(Array(count).fill('late'));
      },
    );

    test.each([0, 100])(
      'hostile/139 nor when the callback of another transfer held up the loop, with %i more events of the same moment',
      async (count) => {
        const held = new Map<string, ServerConnection>();
        const server = await serve((connection, request) => {
          if (request.startsWith('GET /warm')) connection.reply();
          else held.set(request.split(' ')[1] as string, connection);
        });
        const { multi, driver } = driven();
        driver.run();
        await warmUp(multi, driver, `${server.url}warm`, count + 4);
        const begin = (path: string, options: Partial<Parameters<typeof get>[0]> = {}): Got => {
          const got = get({ url: server.url + path, ...options });
          multi.add(got.transfer);
          return got;
        };
        const waiting = [
          begin('head', { timeouts: { headMs: 1_000 } }),
          begin('body', { timeouts: { headMs: 0, bodyIdleMs: 1_000 } }),
          begin('total', { timeouts: { headMs: 0, totalMs: 1_300 } }),
        ];
        const [head, body, total] = waiting as [Got, Got, Got];
        const many = Array.from({ length: count }, (_, index) => begin(`many${index}`));
        // The first of its moment to be told: it was the first to come.
        const slow = begin('slow', {
          onData() {
            // All their clocks run out, and then there is what each waited for.
            sleep(1_500);
            held.get('/head')?.reply('late');
            held.get('/body')?.socket.write('lf');
            held.get('/total')?.reply('late');
            sleep(2);
          },
        });
        while (held.size < count + 4) await new Promise(setImmediate);
        held.get('/body')?.socket.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha');
        while (body.body !== 'ha') await new Promise(setImmediate);
        held.get('/slow')?.reply();
        for (let index = 0; index < count; index++) held.get(`/many${index}`)?.reply();
        for (const got of [slow, ...waiting, ...many]) await ended(multi, driver, got);
        expect(waiting.map((got) => got.transfer.error?.code ?? got.body)).toEqual(['late', 'half', 'late']);
        expect([head, total].map((got) => got.transfer.timings.end > 1_300)).toEqual([true, true]);
      },
    );

    test('contract/rule-44 to crank inside a callback is refused and changes nothing: what was due then comes all the same', async () => {
      const held: ServerConnection[] = [];
      const server = await serve((connection, request) => {
        if (request.startsWith('GET /quick')) held.push(connection);
      });
      const { multi, driver } = driven();
      driver.run();
      const codes: unknown[] = [];
      const crank = (): void => {
        try {
          driver.crank();
          codes.push('none');
        } catch (error) {
          codes.push((error as { code: unknown }).code);
        }
      };
      const silent = get({ url: server.url, timeouts: { totalMs: 300 } });
      const quick = get({
        url: `${server.url}quick`,
        onData() {
          sleep(400);
          crank();
        },
      });
      multi.add(silent.transfer);
      multi.add(quick.transfer);
      while (held.length === 0) await new Promise(setImmediate);
      held[0]?.reply();
      await ended(multi, driver, quick);
      await ended(multi, driver, silent);
      expect([codes, silent.transfer.error?.code]).toEqual([['RECURSIVE_API_CALL'], 'TOTAL_TIMEOUT']);
      // Also in a turn that is not the driver's.
      multi.notifyEnable('EASY_DONE');
      multi.notifyFunction(crank);
      const third = get({ url: server.url, timeouts: { totalMs: 50 } });
      multi.add(third.transfer);
      const fourth = get({ url: server.url, timeouts: { totalMs: 60 } });
      multi.add(fourth.transfer);
      multi.timeout();
      sleep(100);
      multi.timeout();
      expect([third.transfer.error?.code, fourth.transfer.error?.code]).toEqual(['TOTAL_TIMEOUT', 'TOTAL_TIMEOUT']);
      const last = get({ url: server.url, timeouts: { totalMs: 50 } });
      multi.add(last.transfer);
      await ended(multi, driver, last);
      expect(last.transfer.error?.code).toBe('TOTAL_TIMEOUT');
    });

    test.each([EpollDriver, UvDriver].map((Next) => [Next.name, Next] as const))(
      'a driver that runs takes over from one that runs (%s), in mid-transfer and with idle connections',
      async (_next, Next) => {
        const held: ServerConnection[] = [];
        const server = await serve((connection, request) => {
          if (request.startsWith('GET /held')) held.push(connection);
          else connection.reply();
        });
        const { multi, driver } = driven();
        driver.run();
        const stopped = new OneDriver(multi);
        stopped.stop();
        const idle = get({ url: server.url });
        multi.add(idle.transfer);
        await ended(multi, driver, idle);
        const running = get({ url: `${server.url}held` });
        multi.add(running.transfer);
        while (held.length === 0) await new Promise(setImmediate);
        held[0]?.socket.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha');
        while (running.body !== 'ha') await new Promise(setImmediate);
        // One that was stopped takes nothing over.
        expect(() => stopped.run()).toThrow();
        let turns = 0;
        driver.onTurn = () => turns++;
        const next = new Next(multi);
        onTestFinished(() => next.stop());
        next.run();
        held[0]?.socket.write('lf');
        await ended(multi, next, running);
        driver.stop();
        expect([running.body, turns]).toEqual(['half', 0]);
        const later = get({ url: server.url });
        multi.add(later.transfer);
        await ended(multi, next, later);
        expect(later).toMatchObject({ body: 'ok', ended: 1 });
      },
    );

    test('hostile/139 nor when a timer of the program, a callback of libuv or an immediate held up the loop', async () => {
      const held: ServerConnection[] = [];
      const server = await serve((connection) => held.push(connection));
      const { multi, driver } = driven();
      driver.run();
      for (const later of [
        (block: () => void) => void setTimeout(block, 1),
        (block: () => void) => void setImmediate(block),
        (block: () => void) => void setImmediate(() => setImmediate(block)),
        (block: () => void) => void queueMicrotask(block),
        (block: () => void) => void process.nextTick(block),
      ]) {
        held.length = 0;
        const got = get({ url: server.url, timeouts: { headMs: 400 } });
        multi.add(got.transfer);
        while (held.length < 1) await new Promise(setImmediate);
        later(() => {
          held[0]?.reply('late');
          sleep(450);
          // Work of the same round that takes long as well.
          setImmediate(() => sleep(20));
        });
        await ended(multi, driver, got);
        expect(got.transfer.error?.code ?? got.body).toBe('late');
        multi.remove(got.transfer);
      }
    });

    test('a transfer that its own callback removes, and another added in its place, over and over', async () => {
      const server = await serve((connection) => connection.reply('x', 'Connection: close\r\n'));
      const { multi, driver } = driven({ maxHostConnections: 3 });
      driver.run();
      let done = 0;
      // Each closes its descriptor, and the next gets the same number within the turn.
      const next = (): void => {
        const got = get({
          url: server.url,
          onEnd: (transfer) => {
            done++;
            multi.remove(transfer);
            if (done <= 300) next();
          },
        });
        multi.add(got.transfer);
      };
      for (let parallel = 0; parallel < 8; parallel++) next();
      for (const end = performance.now() + 20_000; multi.running > 0 && performance.now() < end; ) await delay(1);
      expect(multi.stats()).toMatchObject({ running: 0, current: 0, connections: 0 });
      expect(done).toBe(308);
    });

    test('what the application throws in a transfer does not stop the driver; what it throws in onTurn is uncaught', async () => {
      const server = await serve();
      const script = `import { ${OneDriver.name}, Multi, Transfer } from './dist/worker/multi/index.js';
    const multi = new Multi(); const driver = new ${OneDriver.name}(multi); driver.run();
    let thrown = 0;
    process.on('uncaughtException', (error) => { thrown++; if (error.message !== 'mine') throw error; });
    driver.onTurn = () => { if (multi.running === 1 && thrown === 0) throw new Error('mine'); };
    multi.add(new Transfer({ url: '${server.url}', onHead() { throw new Error('in a callback'); } }));
    multi.add(new Transfer({ url: '${server.url}', onEnd() { console.log('ended', thrown); } }));`;
      const child = spawn(process.execPath, ['--input-type=module', '-e', script]);
      let out = '';
      for (const stream of [child.stdout, child.stderr]) {
        stream.on('data', (chunk) => {
          out += chunk;
        });
      }
      const [code] = await once(child, 'close');
      expect([code, out]).toEqual([0, expect.stringMatching(/^ended [01]\n$/)]);
    });

    test('stopping: twice, before running, in mid-transfer, inside a callback; nothing moves after it', async () => {
      const server = await serve();
      const { multi, driver } = driven();
      const never = new OneDriver(multi);
      never.stop();
      never.stop();
      driver.run();
      driver.run();
      const got = get({ url: server.url, onHead: () => driver.stop() });
      multi.add(got.transfer);
      for (const end = performance.now() + 20_000; got.head === '' && performance.now() < end; ) await delay(1);
      driver.stop();
      driver.crank();
      // The turn in which it was stopped went on to its end.
      expect(got.body).toBe('ok');
      const late = get({ url: server.url });
      multi.add(late.transfer);
      await delay(30);
      expect(late.transfer.info.state).toBe('runnable');
      multi.remove(late.transfer);
    });
  },
);

test('UvDriver: a socket that libuv refuses fails its own transfer, with the errno, and no other', async () => {
  const server = await serve();
  const real = nativeIo();
  // libuv takes one handle per descriptor: this one is taken.
  const taken = openLoopWatches();
  let opened = 0;
  const io = {
    ...real,
    open: (family: AddressFamily) => {
      const socket = real.open(family);
      if (++opened === 2) expect(taken.watch(socket, 1)).toBe(0);
      return socket;
    },
  };
  const multi = new Multi({ io });
  const driver = new UvDriver(multi);
  onTestFinished(() => {
    driver.stop();
    multi.close();
    taken.close();
  });
  driver.run();
  const all = Array.from({ length: 3 }, () => get({ url: server.url }));
  for (const { transfer } of all) multi.add(transfer);
  for (const got of all) await ended(multi, driver, got);
  expect(all.map((got) => got.transfer.error?.code ?? got.body)).toEqual(['ok', 'COULDNT_CONNECT', 'ok']);
  expect(all[1]?.transfer.error).toMatchObject({ errno: 'EEXIST', phase: 'connect' });
});
