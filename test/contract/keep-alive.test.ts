/** CONTRACT.md rules 62, 63 and 65 where the server or the application says how long a connection rests: Keep-Alive, clear. */

import { describe, expect, test } from 'vitest';
import { MultiError } from '../../src/worker/multi/index.ts';
import { get, Names, Rig, type Server, type ServerConnection, StillClock, serve } from './rig.ts';

/** Answers each request of a connection with the next of these field lines; the last goes on. */
function telling(...fields: string[]): Promise<Server> {
  return serve((connection) => {
    connection.reply('ok', fields[Math.min(connection.requests, fields.length) - 1]);
  });
}

const isReused = async (rig: Rig, url: string): Promise<boolean> => (await rig.fetch({ url })).transfer.info.reused;

describe("contract/rule-62 (amended) a server's Keep-Alive: timeout=N is honoured less one second", () => {
  test('N seconds: closed by the timer after N - 1, not before', async () => {
    const server = await telling('Keep-Alive: timeout=2\r\n');
    const clock = new StillClock();
    const rig = new Rig({ io: clock.io });
    await rig.fetch({ url: server.url });
    expect(rig.timers.at(-1)).toBe(1_000);
    clock.passes(999);
    rig.multi.timeout();
    expect(rig.multi.stats().idle).toBe(1);
    clock.passes(1);
    rig.multi.timeout();
    expect(rig.multi.stats().idle).toBe(0);
    await rig.until(() => server.open === 0);
    expect(rig.multi.stats().connections).toBe(0);
  });

  test('not used again when the time is over and the timer has not fired yet', async () => {
    const server = await telling('Keep-Alive: timeout=2, max=100\r\n');
    const clock = new StillClock();
    const rig = new Rig({ io: clock.io });
    await rig.fetch({ url: server.url });
    expect(await isReused(rig, server.url)).toBe(true);
    clock.passes(1_020);
    const { transfer } = get({ url: server.url });
    rig.multi.add(transfer);
    await rig.end(transfer);
    expect(transfer.info).toMatchObject({ reused: false, retried: false });
  });

  test.each([
    'timeout=0',
    'timeout=1',
    'TIMEOUT=1',
    'max=5, timeout=1',
    'timeout=1\r\nKeep-Alive: max=3',
    'timeout=9\r\nkeep-alive:timeout=1',
  ])('%j: not used again at all, also not by one that waits', async (value) => {
    const server = await telling(`Keep-Alive: ${value}\r\n`);
    const rig = new Rig({ maxHostConnections: 1 });
    const all = [get({ url: server.url }), get({ url: server.url })];
    for (const { transfer } of all) rig.multi.add(transfer);
    await rig.until(() => rig.multi.running === 0);
    expect(all.map((got) => [got.ended, got.transfer.info.reused])).toEqual([
      [1, false],
      [1, false],
    ]);
    expect(rig.multi.stats()).toMatchObject({ opened: 2, idle: 0, connections: 0 });
  });

  test.each([
    '',
    'timeout',
    'timeout=',
    'timeout=x',
    'timeout="0"',
    'timeout=-1',
    'timeout=0.5',
    'xtimeout=0',
    'max=0',
    'max=1',
    ';',
    ',,,',
    'timeout=99999999999999999999',
  ])('%j says nothing: used again', async (value) => {
    const server = await telling(`Keep-Alive: ${value}\r\n`);
    const rig = new Rig();
    await rig.fetch({ url: server.url });
    expect(await isReused(rig, server.url)).toBe(true);
  });

  test('a time beyond idleMs does not outlast it', async () => {
    const server = await telling('Keep-Alive: timeout=100\r\n');
    const rig = new Rig({ idleMs: 60 });
    await rig.fetch({ url: server.url });
    await rig.until(() => rig.multi.stats().idle === 0);
    await rig.until(() => server.open === 0);
  });

  test('what was said once holds while nothing else is said', async () => {
    const server = await telling('Keep-Alive: timeout=2\r\n', '');
    const clock = new StillClock();
    const rig = new Rig({ io: clock.io });
    await rig.fetch({ url: server.url });
    expect(await isReused(rig, server.url)).toBe(true);
    clock.passes(1_020);
    rig.multi.timeout();
    expect(rig.multi.stats().idle).toBe(0);
  });

  test('a shorter time than before counts from the response that says it', async () => {
    const server = await telling('Keep-Alive: timeout=60\r\n', 'Keep-Alive: timeout=2\r\n');
    const clock = new StillClock();
    const rig = new Rig({ io: clock.io });
    await rig.fetch({ url: server.url });
    await rig.fetch({ url: server.url });
    clock.passes(1_020);
    rig.multi.timeout();
    expect(rig.multi.stats().idle).toBe(0);
  });

  test('each use begins it anew, and costs no timer', async () => {
    const server = await telling('Keep-Alive: timeout=2\r\n');
    const clock = new StillClock();
    const rig = new Rig({ io: clock.io });
    for (let use = 0; use < 40; use++) {
      clock.passes(use === 20 ? 990 : 40);
      rig.multi.timeout();
      await rig.fetch({ url: server.url });
    }
    expect(server.connections.length).toBe(1);
    // Once when it first rested, once when that time was over; the rest is what each transfer's own clocks make.
    const { timers } = rig.multi;
    expect(timers.size).toBeLessThanOrEqual(2);
    clock.passes(999);
    rig.multi.timeout();
    expect(rig.multi.stats().idle).toBe(1);
    clock.passes(1);
    rig.multi.timeout();
    expect(rig.multi.stats().idle).toBe(0);
  });

  test('one that is over lies above one that is not: the latter is used, the former closed', async () => {
    const held: ServerConnection[] = [];
    const server = await serve((connection) => held.push(connection));
    const clock = new StillClock();
    const rig = new Rig({ io: clock.io });
    const [long, short] = [get({ url: server.url }), get({ url: server.url })];
    rig.multi.add(long.transfer);
    rig.multi.add(short.transfer);
    await rig.until(() => held.length === 2);
    held[0]?.reply('ok', 'Keep-Alive: timeout=60\r\n');
    await rig.until(() => rig.multi.stats().idle === 1);
    held[1]?.reply('ok', 'Keep-Alive: timeout=2\r\n');
    await rig.until(() => rig.multi.stats().idle === 2);
    clock.passes(1_020);
    const next = get({ url: server.url });
    rig.multi.add(next.transfer);
    rig.multi.timeout();
    await rig.until(() => held.length === 3);
    expect(held[2]).toBe(held[0]);
    expect(rig.multi.stats()).toMatchObject({ opened: 2, reused: 1, connections: 1 });
  });
});

describe('contract/rule-65 clear (NETWORK_CHANGED): nothing of before is used again, once', () => {
  test('idle connections close within the call', async () => {
    const [one, two] = [await serve(), await serve()];
    const rig = new Rig();
    for (const { url } of [one, two]) await rig.fetch({ url });
    expect(rig.watched.size).toBe(2);
    rig.multi.clear();
    expect(rig.watched.size).toBe(0);
    expect(rig.multi.stats()).toMatchObject({ idle: 0, connections: 0 });
    await rig.until(() => one.open + two.open === 0);
    // Blocked once: what is opened now is used again.
    expect(await isReused(rig, one.url)).toBe(false);
    expect(await isReused(rig, one.url)).toBe(true);
  });

  test('busy and connecting ones finish and close; who waits for them gets a fresh one', async () => {
    const held: ServerConnection[] = [];
    const server = await serve((connection) => held.push(connection));
    const rig = new Rig({ maxHostConnections: 2 });
    const all = ['busy', 'connecting', 'waiting'].map((name) => get({ url: server.url + name }));
    const [busy, connecting, waiting] = all as [(typeof all)[0], (typeof all)[0], (typeof all)[0]];
    rig.multi.add(busy.transfer);
    await rig.until(() => held.length === 1);
    rig.multi.add(connecting.transfer);
    rig.multi.timeout();
    expect(connecting.transfer.info.state).toBe('dialing');
    rig.multi.add(waiting.transfer);
    rig.multi.timeout();
    expect(waiting.transfer.info.state).toBe('queued');
    rig.multi.clear();
    await rig.until(() => held.length === 2);
    held[0]?.reply();
    expect(await rig.end(busy.transfer)).toBeNull();
    await rig.until(() => held.length === 3);
    held[1]?.reply();
    expect(await rig.end(connecting.transfer)).toBeNull();
    await rig.until(() => server.open === 1);
    expect(rig.multi.stats()).toMatchObject({ idle: 0, connections: 1, opened: 3, reused: 0 });
    held[2]?.reply();
    expect(await rig.end(waiting.transfer)).toBeNull();
    expect(rig.multi.stats()).toMatchObject({ idle: 1 });
  });

  test('inside callbacks, also of the transfer whose connection it concerns', async () => {
    const server = await serve();
    const rig = new Rig();
    await rig.fetch({ url: server.url });
    const got = await rig.fetch({ url: server.url, onEnd: () => rig.multi.clear() });
    expect(got).toMatchObject({ error: null, ended: 1 });
    expect(rig.multi.stats()).toMatchObject({ idle: 0, connections: 0 });
    rig.onSocket = () => rig.multi.clear() as undefined;
    expect((await rig.fetch({ url: server.url })).error).toBeNull();
  });

  test('connections and names apart', async () => {
    const server = await serve();
    const names = new Names();
    const rig = new Rig({ io: names.io });
    const url = `http://moved.test:${server.port}/`;
    const first = get({ url });
    rig.multi.add(first.transfer);
    rig.step();
    names.answer(rig, 1, ['127.0.0.1']);
    await rig.end(first.transfer);
    rig.multi.clear({ connections: false });
    expect(await isReused(rig, url)).toBe(true);
    const second = get({ url, freshConnect: true });
    rig.multi.add(second.transfer);
    rig.step();
    expect(names.asked).toEqual(['moved.test', 'moved.test']);
    names.answer(rig, 2, ['127.0.0.1']);
    await rig.end(second.transfer);
    rig.multi.clear({ dns: false });
    expect(rig.multi.stats().idle).toBe(0);
    expect(await isReused(rig, url)).toBe(false);
    expect(names.asked.length).toBe(2);
  });

  test('not after close', () => {
    const rig = new Rig();
    rig.multi.close();
    expect(() => rig.multi.clear()).toThrow(MultiError);
  });
});
