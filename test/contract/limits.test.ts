/** CONTRACT.md §2.11: the limits themselves, counted by the sockets that are open, and limits that change. See queue.test.ts for who waits. */

import { describe, expect, test } from 'vitest';
import type { Io } from '../../src/worker/io/io.ts';
import { nativeIo } from '../../src/worker/io/native-io.ts';
import type { Transfer } from '../../src/worker/multi/index.ts';
import { type Got, get, Rig, type Server, type ServerConnection, serve } from './rig.ts';

/** The kernel's sockets, counted: what the limits promise is the number of descriptors. */
function countingIo(): { io: Io; open: () => number; most: () => number } {
  const real = nativeIo();
  let open = 0;
  let most = 0;
  const io: Io = {
    ...real,
    open: (family) => {
      const socket = real.open(family);
      if (socket >= 0) most = Math.max(most, ++open);
      return socket;
    },
    close: (socket) => {
      open--;
      return real.close(socket);
    },
  };
  return { io, open: () => open, most: () => most };
}

function addAll(rig: Rig, urls: readonly string[]): Got[] {
  const all = urls.map((url) => get({ url }));
  for (const { transfer } of all) rig.multi.add(transfer);
  return all;
}

const times = (count: number, url: string): string[] => Array<string>(count).fill(url);

/** Holds every request until the test answers it. */
async function holding(): Promise<{ server: Server; url: string; held: ServerConnection[] }> {
  const held: ServerConnection[] = [];
  const server = await serve((connection) => held.push(connection));
  return { server, url: server.url, held };
}

/** Late, at once, with a close, with a reset: every way in which a connection comes free. */
function moody(): Promise<Server> {
  let count = 0;
  return serve((connection) => {
    count++;
    if (count % 7 === 0) connection.socket.destroy();
    else if (count % 5 === 0) connection.reply('x', 'Connection: close\r\n');
    else if (count % 3 === 0) setTimeout(() => connection.reply(), 3);
    else connection.reply();
  });
}

describe.each([0, 1, 5])('contract/rule-69 a limit of %i, 50 in parallel', (limit) => {
  test.each(['maxHostConnections', 'maxTotalConnections'])(
    '%s: never more sockets, closing ones counted; all complete',
    async (name) => {
      const [one, two] = [await moody(), await moody()];
      const { io, open, most } = countingIo();
      const rig = new Rig({ io, [name]: limit });
      const hosts = name === 'maxHostConnections' ? 2 : 1;
      const all = addAll(rig, [...times(25, one.url), ...times(25, two.url)]);
      await rig.until(() => rig.multi.running === 0);
      rig.step();
      expect(rig.messages.length).toBe(50);
      expect(all.filter((got) => got.ended === 1).length).toBeGreaterThan(30);
      expect(most()).toBe(limit === 0 ? 50 : limit * hosts);
      expect(rig.multi.stats()).toMatchObject({ pending: 0, connections: open() });
      rig.multi.close();
      expect(open()).toBe(0);
    },
  );

  test('a new connection for each of them: the same', async () => {
    const server = await serve((connection) => connection.reply('x', 'Connection: close\r\n'));
    const { io, most } = countingIo();
    const rig = new Rig({ io, maxHostConnections: limit, maxTotalConnections: limit });
    const all = addAll(rig, times(50, server.url));
    await rig.until(() => rig.multi.running === 0);
    expect(all.every((got) => got.ended === 1)).toBe(true);
    expect([most(), server.connections.length]).toEqual([limit === 0 ? 50 : limit, 50]);
  });
});

test('contract/rule-68 a fresh connection at the limit of its host: the longest idle one of that host makes room', async () => {
  const { server, url, held } = await holding();
  const rig = new Rig({ maxHostConnections: 3 });
  const all = addAll(
    rig,
    ['a', 'b', 'c'].map((name) => url + name),
  );
  await rig.until(() => held.length === 3);
  const byPath = new Map(server.paths.map((path, index) => [path, held[index] as ServerConnection]));
  for (const [index, path] of ['/b', '/c', '/a'].entries()) {
    byPath.get(path)?.reply();
    await rig.until(() => all.reduce((sum, got) => sum + got.ended, 0) === index + 1);
  }
  const fresh = ['1', '2'].map((name) => get({ url: url + name, freshConnect: true }));
  for (const [index, { transfer }] of fresh.entries()) {
    rig.multi.add(transfer);
    await rig.until(() => held.length === 4 + index);
  }
  await rig.until(() => server.open === 3);
  expect(['/a', '/b', '/c'].filter((path) => byPath.get(path)?.closed)).toEqual(['/b', '/c']);
});

test('contract/rule-70 pending transfers of several hosts go in turn', async () => {
  const order: string[] = [];
  const servers = await Promise.all(
    ['a', 'b', 'c'].map((name) =>
      serve((connection) => {
        order.push(name);
        connection.reply('x', 'Connection: close\r\n');
      }),
    ),
  );
  const rig = new Rig({ maxTotalConnections: 1 });
  addAll(
    rig,
    servers.flatMap(({ url }) => times(3, url)),
  );
  await rig.until(() => rig.multi.running === 0);
  expect(order.join('')).toBe('abcabcabc');
});

test('contract/rule-70 who has waited longest is next, whichever host it waits for', async () => {
  const order: string[] = [];
  const [a, b] = await Promise.all(
    ['a', 'b'].map((name) =>
      serve((connection, request) => {
        order.push(name + (request.split(' ')[1] as string));
        connection.reply('x', 'Connection: close\r\n');
      }),
    ),
  );
  const rig = new Rig({ maxTotalConnections: 1 });
  for (const url of [`${a?.url}1`, `${a?.url}2`, `${a?.url}3`, `${b?.url}1`, `${a?.url}4`]) {
    rig.multi.add(get({ url }).transfer);
    rig.multi.timeout();
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  await rig.until(() => rig.multi.running === 0);
  expect(order).toEqual(['a/1', 'a/2', 'a/3', 'b/1', 'a/4']);
});

test('contract/rule-70 removing the first, the middle and the last of a queue leaves the others in order', async () => {
  const { server, url, held } = await holding();
  const rig = new Rig({ maxHostConnections: 1 });
  const all = addAll(
    rig,
    ['0', '1', '2', '3', '4', '5'].map((name) => url + name),
  );
  await rig.until(() => held.length === 1);
  for (const index of [1, 3, 5]) rig.multi.remove((all[index] as Got).transfer);
  expect(rig.multi.stats().pending).toBe(2);
  for (let served = 0; served < 3; served++) {
    await rig.until(() => held.length === served + 1);
    held[served]?.reply();
  }
  await rig.until(() => rig.multi.running === 0);
  expect(server.paths).toEqual(['/0', '/2', '/4']);
});

describe('contract/rule-71 limits that change', () => {
  test.each(['maxHostConnections', 'maxTotalConnections'] as const)(
    '%s raised: who waits dials at once, in order',
    async (name) => {
      const { server, url, held } = await holding();
      const { io, open } = countingIo();
      const rig = new Rig({ io, [name]: 1 });
      addAll(
        rig,
        Array.from({ length: 10 }, (_, index) => url + index),
      );
      await rig.until(() => held.length === 1);
      rig.multi.setOption(name, 4);
      expect([open(), rig.multi.stats().pending]).toEqual([4, 6]);
      await rig.until(() => held.length === 4);
      expect(server.paths.sort()).toEqual(['/0', '/1', '/2', '/3']);
      // None: no limit at all.
      rig.multi.setOption(name, 0);
      await rig.until(() => held.length === 10);
    },
  );

  test.each(['maxHostConnections', 'maxTotalConnections'] as const)(
    '%s lowered: active ones live on, and are used no more',
    async (name) => {
      const { url, held } = await holding();
      const { io, open } = countingIo();
      const rig = new Rig({ io, [name]: 4 });
      const all = addAll(rig, times(10, url));
      await rig.until(() => held.length === 4);
      rig.multi.setOption(name, 2);
      expect(open()).toBe(4);
      for (let served = 0; served < 10; served++) {
        await rig.until(() => held.length > served);
        held[served]?.reply();
        await rig.until(() => all.filter((got) => got.ended === 1).length > served);
        if (served >= 2) expect(open()).toBeLessThanOrEqual(2);
      }
      expect(all.every((got) => got.ended === 1)).toBe(true);
      // The first two to come free closed; the other two served the rest.
      expect(rig.multi.stats()).toMatchObject({ opened: 4, idle: 2, connections: 2 });
    },
  );

  test.each(['maxHostConnections', 'maxTotalConnections', 'maxConnects'] as const)(
    '%s lowered: idle ones beyond it close at once, the longest idle first',
    async (name) => {
      const { server, url, held } = await holding();
      const rig = new Rig();
      const all = addAll(
        rig,
        ['a', 'b', 'c'].map((path) => url + path),
      );
      await rig.until(() => held.length === 3);
      const byPath = new Map(server.paths.map((path, index) => [path, held[index] as ServerConnection]));
      for (const [index, path] of ['/b', '/c', '/a'].entries()) {
        byPath.get(path)?.reply();
        await rig.until(() => all.reduce((sum, got) => sum + got.ended, 0) === index + 1);
      }
      rig.multi.setOption(name, 1);
      expect(rig.multi.stats()).toMatchObject({ idle: 1, connections: 1 });
      await rig.until(() => server.open === 1);
      expect(byPath.get('/a')?.closed).toBe(false);
    },
  );

  test('idleMs lowered: what has been idle for longer closes, by the timer too', async () => {
    const server = await serve();
    const rig = new Rig();
    await rig.fetch({ url: server.url });
    await rig.drive(60);
    rig.multi.setOption('idleMs', 50);
    expect(rig.multi.stats().idle).toBe(0);
    await rig.fetch({ url: server.url });
    await rig.until(() => rig.multi.stats().idle === 0);
  });

  test('inside a callback, with the limits of a queue that empties meanwhile', async () => {
    const server = await serve();
    const rig = new Rig({ maxHostConnections: 1 });
    let raised = 0;
    const all = Array.from({ length: 20 }, () =>
      get({ url: server.url, onHead: () => rig.multi.setOption('maxHostConnections', 1 + (++raised % 3)) }),
    );
    for (const { transfer } of all) rig.multi.add(transfer);
    await rig.until(() => rig.multi.running === 0);
    expect(all.every((got) => got.ended === 1)).toBe(true);
    expect(rig.multi.stats().connections).toBeLessThanOrEqual(3);
  });
});

test('contract/rule-68 two connections that end in one turn: one makes room for the one that waits elsewhere', async () => {
  const { url, held } = await holding();
  const other = await serve();
  const rig = new Rig({ maxTotalConnections: 2 });
  addAll(rig, [url, url]);
  await rig.until(() => held.length === 2);
  const { transfer } = get({ url: other.url });
  rig.multi.add(transfer);
  rig.step();
  expect(rig.multi.stats().pending).toBe(1);
  for (const connection of held) connection.reply();
  const ready = (await rig.arrived(2)).flatMap(([socket, events]) => [socket, events, 0]);
  rig.multi.actions(Int32Array.from(ready), ready.length / 3);
  expect(await rig.end(transfer)).toBeNull();
  expect(rig.multi.stats()).toMatchObject({ connections: 2, idle: 2, opened: 3 });
});

describe('destinations are forgotten when nothing is open and nobody waits there', () => {
  /** Every address of 127.0.0.0/8 is this machine: as many hosts as a crawler visits. */
  const host = (index: number): string => `127.${1 + (index >> 16)}.${(index >> 8) & 255}.${index & 255}`;

  test.each([
    { what: 'connections not kept', options: { maxConnects: 0 }, left: 0 },
    { what: 'few kept, the oldest closed', options: { maxConnects: 10 }, left: 10 },
    { what: 'few at a time', options: { maxTotalConnections: 7 }, left: 7 },
  ])(
    '2,000 hosts: $what',
    async ({ options, left }) => {
      const server = await serve(undefined, '0.0.0.0');
      const rig = new Rig(options);
      let next = 0;
      const visit = (): void => {
        if (next === 2_000) return;
        const url = `http://${host(next++)}:${server.port}/`;
        const onEnd = (ended: Transfer): void => {
          rig.multi.remove(ended);
          visit();
        };
        rig.multi.add(get({ url, onEnd }).transfer);
      };
      for (let parallel = 0; parallel < 20; parallel++) visit();
      await rig.until(() => rig.multi.stats().current === 0, 'the last of them', 80_000);
      expect(server.requests.length).toBe(2_000);
      expect(rig.multi.cache.destinationCount).toBe(left);
      rig.multi.clear();
      expect(rig.multi.cache.destinationCount).toBe(0);
      // A second or two of work, on a machine that does nothing else.
    },
    120_000,
  );

  test('hosts that cannot be reached, that are given up while they wait, and that find the queue full', async () => {
    const rig = new Rig({ maxTotalConnections: 1, queueLength: 50 });
    const { url, held } = await holding();
    addAll(rig, [url]);
    await rig.until(() => held.length === 1);
    const all = addAll(
      rig,
      Array.from({ length: 100 }, (_, index) => `http://${host(index)}:1/`),
    );
    rig.step();
    expect(rig.messages.length).toBe(50);
    expect(rig.multi.cache.destinationCount).toBe(51);
    for (const { transfer } of all.slice(0, 25)) rig.multi.remove(transfer);
    expect(rig.multi.cache.destinationCount).toBe(26);
    held[0]?.reply('ok', 'Connection: close\r\n');
    await rig.until(() => rig.multi.running === 0);
    expect(rig.multi.cache.destinationCount).toBe(0);
  });
});

describe('several connections that come free in one turn: only as many are given up as somebody needs', () => {
  /** Five connections that are busy, at the limit, and whose answers lie in their sockets. */
  async function fiveAnswered(rig: Rig, prepare: (url: string) => Got[] | Promise<Got[]>): Promise<Got[]> {
    const { url, held } = await holding();
    addAll(rig, times(5, url));
    await rig.until(() => held.length === 5);
    const waiting = await prepare(url);
    for (const connection of held) connection.reply();
    await rig.arrived(5);
    const count = rig.poller.wait(0);
    expect(count).toBe(5);
    rig.multi.actions(rig.poller.events, count);
    return waiting;
  }

  test('contract/rule-65 one that must have a fresh one, before others', async () => {
    const rig = new Rig({ maxHostConnections: 5 });
    const waiting = await fiveAnswered(rig, (url) => {
      const all = [get({ url, freshConnect: true }), ...Array.from({ length: 3 }, () => get({ url }))];
      for (const { transfer } of all) rig.multi.add(transfer);
      rig.multi.timeout();
      return all;
    });
    // One closed and dialed anew, three went on, one had nothing to do.
    expect(rig.multi.stats()).toMatchObject({ reused: 3, idle: 1, connections: 5, pending: 0 });
    await rig.until(() => waiting[0]?.transfer.info.state === 'waiting');
    expect(rig.multi.stats()).toMatchObject({ opened: 6 });
  });

  test('contract/rule-65 several that must have fresh ones, among others', async () => {
    const rig = new Rig({ maxHostConnections: 5 });
    await fiveAnswered(rig, (url) => {
      const all = [false, true, false, true].map((freshConnect) => get({ url, freshConnect }));
      for (const { transfer } of all) rig.multi.add(transfer);
      rig.multi.timeout();
      return all;
    });
    expect(rig.multi.stats()).toMatchObject({ reused: 2, idle: 1, connections: 5, pending: 0 });
    await rig.until(() => rig.multi.stats().opened === 7);
  });

  test('contract/rule-70 one of another host, which has starved', async () => {
    const rig = new Rig({ maxTotalConnections: 5 });
    const other = await serve();
    const [starving] = (await fiveAnswered(rig, async (url) => {
      const [first] = addAll(rig, [other.url]) as [Got];
      rig.multi.timeout();
      await rig.drive(1_050);
      addAll(rig, times(10, url));
      rig.multi.timeout();
      return [first];
    })) as [Got];
    expect(rig.multi.stats()).toMatchObject({ reused: 4, pending: 6, connections: 5 });
    expect(await rig.end(starving.transfer)).toBeNull();
  });
});

test('contract/rule-69 500 transfers, 5 connections at most and none used again', async () => {
  const server = await serve();
  const { io, most } = countingIo();
  const rig = new Rig({ io, maxTotalConnections: 5 });
  const all = Array.from({ length: 500 }, () => get({ url: server.url, forbidReuse: true }));
  for (const { transfer } of all) rig.multi.add(transfer);
  await rig.until(() => rig.multi.running === 0);
  expect(all.every((got) => got.ended === 1)).toBe(true);
  expect([most(), server.connections.length]).toEqual([5, 500]);
  expect(rig.multi.stats()).toMatchObject({ opened: 500, reused: 0, connections: 0 });
});
