/** EpollDriver: the contract's application that shards use. Sockets first, clocks after (HOSTILE.md 139). */

import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { EpollDriver, Multi, type MultiOptions } from '../../src/worker/multi/index.ts';
import { type Got, get, type ServerConnection, serve, sleep } from './rig.ts';

function driven(options: MultiOptions = {}): { multi: Multi; driver: EpollDriver } {
  const multi = new Multi(options);
  const driver = new EpollDriver(multi);
  onTestFinished(() => {
    driver.stop();
    multi.close();
  });
  return { multi, driver };
}

/** Resolves when the transfer has completed. Nothing is polled: only the driver moves it. */
async function ended(multi: Multi, driver: EpollDriver, got: Got): Promise<void> {
  await Promise.race([
    new Promise<void>((resolve) => {
      const look = (): void => {
        if (got.transfer.info.state === 'done') resolve();
      };
      driver.onTurn = look;
      look();
    }),
    delay(5_000, undefined, { ref: false }).then(() => {
      throw new Error(`the transfer hangs in ${got.transfer.info.state}; ${JSON.stringify(multi.stats())}`);
    }),
  ]);
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
    const got = get({ url: server.url, timeouts: { [option]: 100 } });
    multi.add(got.transfer);
    while (held.length < 2 || (first !== '' && got.body !== 'ha')) await new Promise(setImmediate);
    // The answer goes into the kernel now, and the thread is deaf until every clock has run out.
    if (first === '') held[0]?.reply('late');
    else held[0]?.socket.write('lf');
    sleep(200);
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
  const second = new EpollDriver(multi);
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
  const near = get({ url: server.url, timeouts: { totalMs: 150 } });
  const far = get({ url: server.url, timeouts: { totalMs: 300 } });
  const began = performance.now();
  multi.add(near.transfer);
  multi.add(far.transfer);
  while (server.requests.length < 2) await new Promise(setImmediate);
  await delay(100);
  // No turn for 100 ms: what is told now must count from now.
  multi.remove(near.transfer);
  await ended(multi, driver, far);
  const took = performance.now() - began;
  expect(far.transfer.error).toMatchObject({ code: 'TOTAL_TIMEOUT' });
  expect(took).toBeGreaterThan(295);
  expect(took).toBeLessThan(360);
});

test('what is idle keeps no program alive, what runs does, unless unref is called', async () => {
  const server = await serve();
  const { spawn } = await import('node:child_process');
  const script = (rest: string): string =>
    `import { EpollDriver, Multi, Transfer } from './dist/worker/multi/index.js';
     const multi = new Multi(); const driver = new EpollDriver(multi); driver.run();
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
    const [code] = await once(child, 'exit');
    expect([code, out]).toEqual([0, expected]);
  }
});
