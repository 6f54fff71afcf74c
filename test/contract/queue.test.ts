/** CONTRACT.md §2.11: limits, who waits for whom, and the clocks that run meanwhile. */

import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { type Got, get, Rig, type ServerConnection, StillClock, serve } from './rig.ts';

/** A server that answers when the test says. */
async function holding(): Promise<{
  url: string;
  held: ServerConnection[];
  paths: () => string[];
  server: Awaited<ReturnType<typeof serve>>;
}> {
  const held: ServerConnection[] = [];
  const server = await serve((connection) => held.push(connection));
  return { url: server.url, held, paths: () => server.paths, server };
}

function addAll(rig: Rig, urls: string[]): Got[] {
  const all = urls.map((url) => get({ url }));
  for (const { transfer } of all) rig.multi.add(transfer);
  return all;
}

test('contract/rule-68 at the limit of its host a transfer waits', async () => {
  const { url, held } = await holding();
  const rig = new Rig({ maxHostConnections: 2 });
  addAll(rig, [url, url, url]);
  await rig.until(() => held.length === 2);
  await rig.drive(20);
  expect(held.length).toBe(2);
  expect(rig.multi.stats()).toMatchObject({ running: 2, pending: 1, connections: 2 });
});

test('contract/rule-68 at the limit of the total the longest idle connection is sacrificed, whoever had it', async () => {
  const [a, b, c] = [await serve(), await serve(), await serve()];
  const rig = new Rig({ maxTotalConnections: 2 });
  await rig.fetch({ url: a.url });
  await rig.fetch({ url: b.url });
  expect(rig.multi.stats().idle).toBe(2);
  expect((await rig.fetch({ url: c.url })).body).toBe('ok');
  await rig.until(() => a.open === 0);
  expect([b.open, c.open]).toEqual([1, 1]);
  // And of the host: its own idle one makes room for a fresh one.
  const rig2 = new Rig({ maxHostConnections: 1 });
  await rig2.fetch({ url: b.url });
  expect((await rig2.fetch({ url: b.url, freshConnect: true })).transfer.info.reused).toBe(false);
  expect(rig2.multi.stats()).toMatchObject({ connections: 1, opened: 2 });
});

test('contract/rule-68 several that come at once get one idle connection sacrificed each', async () => {
  const idle = await serve();
  const [b, d] = [await holding(), await holding()];
  const rig = new Rig({ maxTotalConnections: 2 });
  const warm = addAll(rig, [idle.url, idle.url]);
  await rig.until(() => warm.every((got) => got.ended === 1));
  expect(rig.multi.stats()).toMatchObject({ idle: 2, connections: 2 });
  addAll(rig, [b.url, d.url]);
  await rig.until(() => b.held.length === 1 && d.held.length === 1);
  expect(rig.multi.stats()).toMatchObject({ idle: 0, connections: 2, pending: 0 });
});

test('contract/rule-68 a fresh connection at the limit of its host, in a turn that frees a slot elsewhere', async () => {
  const [x, y] = [await serve(), await serve((connection) => connection.reply('bye', 'Connection: close\r\n'))];
  const rig = new Rig({ maxHostConnections: 1 });
  await rig.fetch({ url: x.url });
  const fresh = get({ url: x.url, freshConnect: true });
  rig.multi.add(get({ url: y.url, onEnd: () => rig.multi.add(fresh.transfer) }).transfer);
  expect(await rig.end(fresh.transfer)).toBeNull();
});

test.each([
  { limits: { maxHostConnections: 1 }, most: 1 },
  { limits: { maxHostConnections: 5 }, most: 5 },
  { limits: { maxTotalConnections: 1 }, most: 1 },
  { limits: { maxTotalConnections: 5 }, most: 5 },
  { limits: { maxHostConnections: 3, maxTotalConnections: 5 }, most: 3 },
])('contract/rule-69 the limit is never exceeded: $limits', async ({ limits, most }) => {
  let count = 0;
  const server = await serve((connection) => {
    // Answers late, at once, with a close, with a reset: 50 requests.
    count++;
    if (count % 7 === 0) connection.socket.destroy();
    else if (count % 5 === 0) connection.reply('x', 'Connection: close\r\n');
    else if (count % 3 === 0) setTimeout(() => connection.reply(), 3);
    else connection.reply();
  });
  const rig = new Rig(limits);
  let mostOpen = 0;
  rig.onSocket = () => {
    mostOpen = Math.max(mostOpen, rig.multi.stats().connections);
    return undefined;
  };
  const all = addAll(rig, Array<string>(50).fill(server.url));
  await rig.until(() => rig.multi.running === 0);
  rig.step();
  expect(rig.messages.length).toBe(50);
  expect(all.filter((got) => got.ended === 1).length).toBeGreaterThan(30);
  expect(mostOpen).toBe(most);
  expect(rig.multi.stats().pending).toBe(0);
});

test('contract/rule-69 connections that are closing count: no socket is opened before the old one is closed', async () => {
  const server = await serve((connection) => connection.reply('x', 'Connection: close\r\n'));
  const rig = new Rig({ maxTotalConnections: 1 });
  const live = new Set<number>();
  rig.onSocket = ({ socket, what }) => {
    if (what === 4) live.delete(socket);
    else live.add(socket);
    expect(live.size).toBeLessThanOrEqual(1);
    return undefined;
  };
  const all = addAll(rig, Array<string>(20).fill(server.url));
  await rig.until(() => rig.multi.running === 0);
  expect(all.every((got) => got.ended === 1)).toBe(true);
});

test('contract/rule-70 first come, first served; a freed connection goes to the head of the queue in the same turn', async () => {
  const { url, held, paths, server } = await holding();
  const rig = new Rig({ maxHostConnections: 1 });
  addAll(
    rig,
    ['a', 'b', 'c', 'd'].map((name) => url + name),
  );
  await rig.until(() => held.length === 1);
  for (let index = 0; index < 3; index++) {
    held[index]?.reply();
    await rig.until(() => held.length === index + 2);
    // Later ones queue behind.
    if (index === 0) addAll(rig, [`${url}late`]);
    expect(rig.multi.stats().idle).toBe(0);
  }
  held[3]?.reply();
  await rig.until(() => held.length === 5);
  expect(paths()).toEqual(['/a', '/b', '/c', '/d', '/late']);
  expect(server.connections.length).toBe(1);
  expect(rig.multi.stats()).toMatchObject({ reused: 4, opened: 1 });
});

test.each(['removed', 'timed out', 'lost', 'refused'])(
  'contract/rule-70 the next is woken when the one before is %s',
  async (how) => {
    const { url, held } = await holding();
    const rig = new Rig({ maxHostConnections: 1 });
    const first = get({
      url,
      timeouts: { headMs: how === 'timed out' ? 30 : 0 },
      onHead: () => {
        throw new Error('refused');
      },
    });
    rig.multi.add(first.transfer);
    const [next] = addAll(rig, [`${url}next`]) as [Got];
    await rig.until(() => held.length === 1);
    if (how === 'removed') rig.multi.remove(first.transfer);
    if (how === 'lost') held[0]?.socket.destroy();
    if (how === 'refused') held[0]?.reply();
    await rig.until(() => held.length === 2);
    held[1]?.reply();
    expect(await rig.end(next.transfer)).toBeNull();
  },
);

test('contract/rule-70 the next is woken when the connection of the one before cannot be opened', async () => {
  const rig = new Rig({ maxTotalConnections: 1 });
  const server = await serve();
  const all = addAll(rig, [
    'http://255.255.255.255/',
    'http://255.255.255.255/',
    server.url,
    'http://255.255.255.255/',
    server.url,
  ]);
  await rig.until(() => rig.multi.running === 0);
  expect(all.map((got) => got.ended)).toEqual([0, 0, 1, 0, 1]);
});

test('the total across destinations: a destination that starves gets a connection when one comes free', async () => {
  const [a, b] = [await holding(), await holding()];
  const rig = new Rig({ maxTotalConnections: 1 });
  addAll(rig, [`${a.url}1`]);
  await rig.until(() => a.held.length === 1);
  addAll(rig, [`${b.url}1`]);
  await rig.drive(10);
  expect(b.held.length).toBe(0);
  a.held[0]?.reply();
  await rig.until(() => b.held.length === 1);
  expect(rig.multi.stats()).toMatchObject({ connections: 1, idle: 0 });
});

test('the total across destinations: a busy destination cannot starve another for ever', async () => {
  const a = await serve((connection) => setTimeout(() => connection.reply(), 5));
  const b = await serve();
  const rig = new Rig({ maxTotalConnections: 1 });
  const again = (): void =>
    rig.multi.add(
      get({
        url: a.url,
        onEnd: (ended) => {
          rig.multi.remove(ended);
          again();
        },
      }).transfer,
    );
  for (let load = 0; load < 5; load++) again();
  await rig.until(() => a.requests.length > 3);
  const [starving] = addAll(rig, [b.url]) as [Got];
  const began = performance.now();
  expect(await rig.end(starving.transfer)).toBeNull();
  // A second, and who is served before it.
  expect(performance.now() - began).toBeLessThan(8_000);
});

test('the total across destinations: who starved and left does not block those behind', async () => {
  const [a, b, c] = [await holding(), await holding(), await holding()];
  const rig = new Rig({ maxTotalConnections: 1 });
  addAll(rig, [a.url]);
  await rig.until(() => a.held.length === 1);
  const [left] = addAll(rig, [b.url, c.url]) as [Got, Got];
  await rig.drive(5);
  rig.multi.remove(left.transfer);
  a.held[0]?.reply();
  await rig.until(() => c.held.length === 1);
});

test('the total across destinations: a destination at its own limit that lost its slot to another is not forgotten', async () => {
  const [a, b] = [await holding(), await holding()];
  const rig = new Rig({ maxTotalConnections: 1, maxHostConnections: 1 });
  addAll(rig, [`${b.url}1`]);
  await rig.until(() => b.held.length === 1);
  addAll(rig, [`${a.url}1`]);
  await rig.drive(1_050);
  // B is at its own limit; A has waited for more than a second longer and gets the slot.
  addAll(rig, [`${b.url}2`]);
  await rig.drive(5);
  b.held[0]?.reply();
  await rig.until(() => a.held.length === 1);
  a.held[0]?.reply();
  await rig.until(() => b.held.length === 2);
  b.held[1]?.reply();
  await rig.until(() => rig.multi.running === 0);
});

test('the total across destinations: many random ones all get their turn', async () => {
  let seed = 42;
  const random = (below: number): number => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
    return (seed >>> 8) % below;
  };
  const servers = await Promise.all(
    Array.from({ length: 6 }, () =>
      serve((connection) => {
        const what = random(10);
        if (what === 0) connection.socket.destroy();
        else if (what === 1) connection.reply('x', 'Connection: close\r\n');
        else if (what < 5) setTimeout(() => connection.reply(), random(5));
        else connection.reply();
      }),
    ),
  );
  for (const limits of [
    { maxTotalConnections: 2, maxHostConnections: 1 },
    { maxTotalConnections: 3, maxHostConnections: 2, maxConnects: 1 },
    { maxTotalConnections: 1 },
    { maxTotalConnections: 4, maxHostConnections: 3, idleMs: 3 },
  ]) {
    const rig = new Rig(limits);
    const queued = new Set<Got>();
    let done = 0;
    for (let round = 0; round < 60; round++) {
      const url = servers[random(6)]?.url as string;
      const got = get({
        url,
        freshConnect: random(5) === 0,
        forbidReuse: random(5) === 0,
        timeouts: random(4) === 0 ? { queueMs: random(20) } : {},
      });
      queued.add(got);
      rig.multi.add(got.transfer);
      if (random(3) === 0) rig.step();
      if (random(6) === 0) {
        const victim = [...queued][random(queued.size)] as Got;
        if (victim.transfer.info.state !== 'done') {
          rig.multi.remove(victim.transfer);
          queued.delete(victim);
        }
      }
      expect(rig.multi.stats().connections).toBeLessThanOrEqual(limits.maxTotalConnections);
    }
    await rig.until(() => rig.multi.running === 0, `the end of all with ${JSON.stringify(limits)}`);
    rig.step();
    done += rig.messages.length;
    expect(done).toBe(queued.size);
    expect(rig.multi.stats()).toMatchObject({ pending: 0, running: 0 });
  }
});

test('contract/rule-72 (amended) the clocks run on time in the queue: queueMs, totalMs, not connectMs', async () => {
  const { url, held } = await holding();
  const rig = new Rig({ maxHostConnections: 1 });
  addAll(rig, [url]);
  await rig.until(() => held.length === 1);
  const total = get({ url, timeouts: { totalMs: 60 } });
  const queue = get({ url, timeouts: { queueMs: 30 } });
  const connect = get({ url, timeouts: { connectMs: 30 } });
  const began = performance.now();
  for (const { transfer } of [total, queue, connect]) rig.multi.add(transfer);
  expect(await rig.end(queue.transfer)).toMatchObject({
    code: 'QUEUE_TIMEOUT',
    limit: 'timeouts.queueMs',
    phase: 'queue',
  });
  expect(performance.now() - began).toBeGreaterThan(25);
  expect(await rig.end(total.transfer)).toMatchObject({
    code: 'TOTAL_TIMEOUT',
    limit: 'timeouts.totalMs',
    phase: 'queue',
  });
  const took = performance.now() - began;
  expect(took).toBeGreaterThan(55);
  expect(took).toBeLessThan(8_000);
  await rig.drive(20);
  expect(connect.transfer.info.state).toBe('queued');
  expect(rig.multi.stats().pending).toBe(1);
  held[0]?.reply();
  await rig.until(() => held.length === 2);
});

test.each([
  ['headMs', 'HEAD_TIMEOUT', 'head', () => undefined],
  [
    'headMs',
    'HEAD_TIMEOUT',
    'head',
    (connection: ServerConnection): void => void connection.socket.write('HTTP/1.1 200 OK\r\nA: b'),
  ],
  [
    'bodyIdleMs',
    'BODY_TIMEOUT',
    'body',
    (connection: ServerConnection): void =>
      void connection.socket.write('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf'),
  ],
  [
    'totalMs',
    'TOTAL_TIMEOUT',
    'body',
    (connection: ServerConnection): void =>
      void connection.socket.write('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf'),
  ],
] as const)('%s fires on time (%s in %s), once, and frees the connection', async (option, code, phase, handler) => {
  const server = await serve(handler);
  const rig = new Rig();
  const got = get({ url: server.url, timeouts: { [option]: 60 } });
  const began = performance.now();
  rig.multi.add(got.transfer);
  expect(await rig.end(got.transfer)).toMatchObject({ code, phase, limit: `timeouts.${option}` });
  const took = performance.now() - began;
  expect(took).toBeGreaterThan(58);
  expect(took).toBeLessThan(8_000);
  expect(rig.multi.stats()).toMatchObject({ running: 0, connections: 0 });
  await rig.until(() => server.open === 0);
});

test('bodyIdleMs starts over with each arrival; totalMs does not', async () => {
  const server = await serve((connection) => {
    connection.socket.write('HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n');
  });
  const clock = new StillClock();
  const rig = new Rig({ io: clock.io });
  const got = get({ url: server.url, timeouts: { bodyIdleMs: 300, totalMs: 1_400 } });
  rig.multi.add(got.transfer);
  await rig.until(() => got.head !== '');
  for (let drops = 1; drops <= 5; drops++) {
    clock.passes(250);
    rig.multi.timeout();
    expect(got.transfer.info.state).toBe('body');
    server.last.socket.write('.');
    await rig.until(() => got.body.length === drops);
  }
  clock.passes(150);
  rig.multi.timeout();
  expect(got.transfer.error).toMatchObject({ code: 'TOTAL_TIMEOUT' });
});

test('headMs: an upload that moves is not a silent peer; one that stalls is', async () => {
  const server = await serve(({ socket }) => {
    socket.removeAllListeners('data');
    socket.on('data', () => undefined);
    socket.pause();
  });
  const clock = new StillClock();
  const rig = new Rig({ io: clock.io });
  const got = get({ url: server.url, method: 'PUT', body: new Uint8Array(200_000_000), timeouts: { headMs: 80 } });
  rig.multi.add(got.transfer);
  await rig.until(() => rig.whats.includes(3) && server.requests.length === 1);
  for (let round = 0; round < 5; round++) {
    const { bytesSent } = got.transfer.info;
    clock.passes(60);
    rig.multi.timeout();
    server.last.socket.resume();
    await rig.until(() => got.transfer.info.bytesSent > bytesSent);
    server.last.socket.pause();
  }
  expect(got.transfer.info).toMatchObject({ state: 'sending' });
  clock.passes(79);
  rig.multi.timeout();
  expect(got.transfer.info.state).toBe('sending');
  clock.passes(1);
  rig.multi.timeout();
  expect(got.transfer.error).toMatchObject({ code: 'HEAD_TIMEOUT', phase: 'send' });
});

test('contract/rule-73 the timings tell the wait in the queue', async () => {
  const { url, held } = await holding();
  const rig = new Rig({ maxHostConnections: 1 });
  const [, second] = addAll(rig, [url, url]) as [Got, Got];
  await rig.until(() => held.length === 1);
  await delay(40);
  held[0]?.reply();
  await rig.until(() => held.length === 2);
  held[1]?.reply();
  await rig.end(second.transfer);
  const { queued, connect, end } = second.transfer.timings;
  expect(queued).toBeGreaterThan(39);
  expect(connect).toBe(queued);
  expect(end).toBeGreaterThanOrEqual(queued);
});

test('the queue has a length: more fail at once with QUEUE_FULL, and those that wait are served', async () => {
  const { url, held } = await holding();
  const rig = new Rig({ maxHostConnections: 1, queueLength: 2 });
  const all = addAll(rig, [url, url, url, url, url]);
  rig.step();
  expect(rig.messages.map(({ error }) => error?.code)).toEqual(['QUEUE_FULL', 'QUEUE_FULL']);
  for (let served = 0; served < 3; served++) {
    await rig.until(() => held.length === served + 1);
    held[served]?.reply();
  }
  await rig.until(() => rig.multi.running === 0);
  expect(all.map((got) => got.ended)).toEqual([1, 1, 1, 0, 0]);
});
