/** CONTRACT.md §2.1, 2.4 and 2.5: adding, removing, running, completing, counting. */

import { expect, test } from 'vitest';
import { Multi, MultiError, Transfer } from '../../src/worker/multi/index.ts';
import { deadPort, get, Names, Rig, type ServerConnection, serve } from './rig.ts';

test('contract/rule-01 a transfer belongs to one multi; the second add fails and the first stays good', async () => {
  const server = await serve();
  const rig = new Rig();
  const other = new Rig();
  const { transfer } = get({ url: server.url });
  rig.multi.add(transfer);
  expect(() => rig.multi.add(transfer)).toThrow(expect.objectContaining({ name: 'MultiError', code: 'ADDED_ALREADY' }));
  expect(() => other.multi.add(transfer)).toThrow(expect.objectContaining({ code: 'ADDED_ALREADY' }));
  expect(rig.multi.stats()).toMatchObject({ added: 1, current: 1, running: 1 });
  expect(other.multi.stats()).toMatchObject({ added: 0, current: 0, running: 0 });
  expect(await rig.end(transfer)).toBeNull();
  expect(server.requests.length).toBe(1);
});

test('contract/rule-02 add and remove at any moment leave the others untouched', async () => {
  const held: ServerConnection[] = [];
  const server = await serve((connection, request) => {
    if (request.startsWith('GET /held')) held.push(connection);
    else connection.reply('free');
  });
  const rig = new Rig();
  const first = get({ url: `${server.url}held1` });
  const second = get({ url: `${server.url}held2` });
  rig.multi.add(first.transfer);
  rig.multi.add(second.transfer);
  await rig.until(() => held.length === 2);
  const late = get({ url: `${server.url}late` });
  rig.multi.add(late.transfer);
  expect(await rig.end(late.transfer)).toBeNull();
  rig.multi.remove(first.transfer);
  rig.multi.remove(late.transfer);
  for (const connection of held) connection.reply('held');
  expect(await rig.end(second.transfer)).toBeNull();
  expect([first.body, second.body, late.body]).toEqual(['', 'held', 'free']);
  expect(rig.multi.stats()).toMatchObject({ added: 3, current: 1, running: 0, done: 1 });
});

test('contract/rule-03 add asks for the timer, with 0 ms and from inside the call, and does no network work', async () => {
  const server = await serve();
  const rig = new Rig();
  const { transfer } = get({ url: server.url });
  rig.multi.add(transfer);
  expect(rig.calls).toEqual([{ kind: 'timer', ms: 0 }]);
  rig.multi.add(get({ url: server.url }).transfer);
  expect(rig.timers.every((ms) => ms === 0)).toBe(true);
  expect(rig.socketCalls).toEqual([]);
  expect(rig.multi.getTimeout()).toBe(0);
  expect(rig.multi.stats()).toMatchObject({ connections: 0, opened: 0, running: 2 });
  expect(transfer.info.state).toBe('runnable');
});

test('contract/rule-04 a completed transfer stays added until removed, and can be used again', async () => {
  const server = await serve();
  const rig = new Rig();
  const got = get({ url: server.url });
  for (let use = 1; use <= 5; use++) {
    got.body = '';
    rig.multi.add(got.transfer);
    rig.messages.length = 0;
    expect(await rig.end(got.transfer)).toBeNull();
    expect(rig.multi.stats()).toMatchObject({ added: use, current: 1, running: 0, done: 1 });
    expect(() => rig.multi.add(got.transfer)).toThrow(expect.objectContaining({ code: 'ADDED_ALREADY' }));
    expect(got.body).toBe('ok');
    expect(got.transfer.info).toMatchObject({ status: 200, reused: use > 1, bytesReceived: 2 });
    rig.multi.remove(got.transfer);
    expect(rig.multi.stats()).toMatchObject({ current: 0, done: 0 });
  }
  expect(server.connections.length).toBe(1);
  expect(got.ended).toBe(5);
});

test('contract/rule-04 what failed runs again as if new', async () => {
  const rig = new Rig();
  const got = get({ url: `http://127.0.0.1:${await deadPort()}/` });
  for (let use = 0; use < 3; use++) {
    rig.messages.length = 0;
    rig.multi.add(got.transfer);
    expect(got.transfer.error).toBeNull();
    expect(await rig.end(got.transfer)).toMatchObject({ code: 'COULDNT_CONNECT', errno: 'ECONNREFUSED' });
    rig.multi.remove(got.transfer);
  }
});

test('contract/rule-05 removing what is not added is fine, also twice; removing from a foreign multi is not', async () => {
  const rig = new Rig();
  const other = new Rig();
  const transfer = new Transfer({ url: 'http://127.0.0.1:1/' });
  rig.multi.remove(transfer);
  rig.multi.add(transfer);
  expect(() => other.multi.remove(transfer)).toThrow(expect.objectContaining({ code: 'BAD_EASY_HANDLE' }));
  expect(rig.multi.transfers()).toEqual([transfer]);
  rig.multi.remove(transfer);
  rig.multi.remove(transfer);
  expect(rig.multi.stats()).toMatchObject({ added: 1, current: 0, running: 0 });
  other.multi.add(transfer);
  other.multi.remove(transfer);
});

test('contract/rule-06 remove drops the unread message; nothing of the transfer is told later', async () => {
  const server = await serve();
  const rig = new Rig();
  const first = get({ url: server.url });
  const second = get({ url: server.url });
  rig.multi.add(first.transfer);
  rig.multi.add(second.transfer);
  // Not `step`, which would read the messages.
  for (const end = performance.now() + 10_000; rig.multi.stats().done < 2 && performance.now() < end; ) {
    for (const [socket, events] of rig.ready()) rig.multi.action(socket, events);
    rig.fireTimer();
    await new Promise(setImmediate);
  }
  expect(rig.multi.stats()).toMatchObject({ done: 2, running: 0 });
  rig.multi.remove(first.transfer);
  expect([...rig.multi.messages()].map((message) => message.transfer)).toEqual([second.transfer]);
  // Added again, the old message does not come back either.
  rig.multi.add(first.transfer);
  expect([...rig.multi.messages()]).toEqual([]);
});

test('contract/rule-06 a transfer removed in mid-exchange hears nothing more', async () => {
  const server = await serve((connection) => {
    connection.socket.write('HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nfirst');
  });
  const rig = new Rig();
  const got = get({ url: server.url });
  rig.multi.add(got.transfer);
  await rig.until(() => got.body === 'first');
  server.last.socket.write('!');
  await rig.arrived(1);
  rig.multi.remove(got.transfer);
  await rig.drive(20);
  expect(got).toMatchObject({ body: 'first', ended: 0 });
  expect(rig.messages).toEqual([]);
});

test('contract/rule-07 remove in mid-transfer closes the connection, remove of a finished one keeps it', async () => {
  let answers = true;
  const server = await serve((connection) => {
    if (answers) connection.reply();
  });
  const rig = new Rig();
  await rig.fetch({ url: server.url });
  expect(rig.multi.stats()).toMatchObject({ connections: 1, idle: 1 });
  answers = false;
  const { transfer } = get({ url: server.url });
  rig.multi.add(transfer);
  await rig.until(() => server.requests.length === 2);
  expect(server.connections.length).toBe(1);
  rig.multi.remove(transfer);
  // At once, inside remove: the socket is told to go and is closed.
  expect(rig.multi.stats()).toMatchObject({ connections: 0, idle: 0 });
  expect(rig.whats.at(-1)).toBe(4);
  await rig.until(() => server.open === 0);
});

test('contract/rule-08 remove is quick while the name is looked up, and the late answer is harmless', async () => {
  const server = await serve();
  const names = new Names();
  const rig = new Rig({ io: names.io });
  const { transfer } = get({ url: `http://slow.test:${server.port}/` });
  rig.multi.add(transfer);
  rig.step();
  expect(names.asked).toEqual(['slow.test']);
  const began = performance.now();
  rig.multi.remove(transfer);
  // It waits for nothing, not even for a moment; a machine may hold it up.
  expect(performance.now() - began).toBeLessThan(2_000);
  expect(rig.multi.stats()).toMatchObject({ current: 0, running: 0, connections: 0 });
  names.answer(rig, 1, ['127.0.0.1']);
  expect(rig.multi.stats()).toMatchObject({ connections: 0, opened: 0 });
  // What was found is kept for the next.
  expect((await rig.fetch({ url: `http://slow.test:${server.port}/` })).body).toBe('ok');
  expect(names.asked).toEqual(['slow.test']);
});

test('contract/rule-09 remove of a queued transfer leaves no dangling entry', async () => {
  const held: ServerConnection[] = [];
  const server = await serve((connection) => held.push(connection));
  const rig = new Rig({ maxHostConnections: 1 });
  const all = ['a', 'b', 'c', 'd', 'e'].map((name) => get({ url: server.url + name }));
  for (const { transfer } of all) rig.multi.add(transfer);
  await rig.until(() => held.length === 1);
  expect(rig.multi.stats().pending).toBe(4);
  // The head, the middle and the tail of the queue.
  for (const index of [1, 3, 4]) rig.multi.remove((all[index] as (typeof all)[0]).transfer);
  expect(rig.multi.stats().pending).toBe(1);
  held[0]?.reply();
  await rig.until(() => held.length === 2);
  held[1]?.reply();
  await rig.until(() => rig.multi.running === 0);
  expect(server.paths).toEqual(['/a', '/c']);
  expect(rig.multi.stats()).toMatchObject({ pending: 0, current: 2, done: 2 });
});

test('contract/rule-11 a multi that was never used closes, also twice, and then refuses', () => {
  const multi = new Multi();
  multi.close();
  multi.close();
  expect(() => multi.add(new Transfer({ url: 'http://127.0.0.1/' }))).toThrow(
    expect.objectContaining({ code: 'BAD_HANDLE' }),
  );
  expect(() => multi.timeout()).toThrow(MultiError);
  expect(() => multi.action(3, 1)).toThrow(expect.objectContaining({ code: 'BAD_HANDLE' }));
});

test('contract/rule-11 close in any state: running, resolving, queued, paused, idle, unread', async () => {
  const server = await serve((connection, request) => {
    if (request.startsWith('GET /hang')) return;
    if (request.startsWith('GET /part')) connection.socket.write('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\npart');
    else connection.reply();
  });
  const names = new Names();
  const rig = new Rig({ maxHostConnections: 3, io: names.io });
  await rig.fetch({ url: server.url });
  const part = get({ url: `${server.url}part` });
  const all = ['hang', 'hang', 'quick', 'hang'].map((path) => get({ url: server.url + path }));
  for (const { transfer } of [part, ...all]) rig.multi.add(transfer);
  rig.multi.add(get({ url: 'http://never.test/' }).transfer);
  await rig.until(() => part.body === 'part');
  part.transfer.pause();
  await rig.until(() => rig.multi.stats().pending === 2);
  rig.multi.close();
  expect(rig.watched.size).toBe(0);
  expect(names.closed).toBe(1);
  expect(all.map(({ transfer }) => transfer.info.state)).toEqual(['new', 'new', 'new', 'new']);
  await expect.poll(() => server.open, { timeout: 8_000 }).toBe(0);
});

test('contract/rule-12 what a transfer has may be set after add, before the first drive', async () => {
  const server = await serve();
  const rig = new Rig();
  const transfer = new Transfer({ url: server.url });
  rig.multi.add(transfer);
  const seen: string[] = [];
  transfer.private = 'mine';
  transfer.onHead = () => void seen.push('head');
  transfer.onData = () => void seen.push('data');
  transfer.onEnd = (ended) => void seen.push(`end of ${ended.private}`);
  expect(await rig.end(transfer)).toBeNull();
  expect(seen).toEqual(['head', 'data', 'end of mine']);
});

test('contract/rule-35 running counts the never-started and the queued, and drops when the message is queued', async () => {
  const held: ServerConnection[] = [];
  const server = await serve((connection) => held.push(connection));
  const rig = new Rig({ maxHostConnections: 1 });
  const seen: unknown[] = [];
  const first = get({
    url: server.url,
    onEnd: () => seen.push([rig.multi.running, [...rig.multi.messages()].map((message) => message.transfer)]),
  });
  const second = get({ url: server.url });
  rig.multi.add(first.transfer);
  rig.multi.add(second.transfer);
  expect(rig.multi.running).toBe(2);
  expect(rig.multi.timeout()).toBe(2);
  await rig.until(() => held.length === 1);
  // The counter leaves the queued out (rule 42), the answer of a drive does not (rule 35).
  expect(rig.multi.stats()).toMatchObject({ running: 1, pending: 1 });
  held[0]?.reply();
  await rig.until(() => held.length === 2);
  expect(seen).toEqual([[1, [first.transfer]]]);
  expect(rig.multi.running).toBe(1);
});

test('contract/rule-36 a transfer that fails at once is gone from the count of the very call that started it', () => {
  const rig = new Rig();
  // No connection to a broadcast address can even be begun.
  const { transfer } = get({ url: 'http://255.255.255.255/' });
  rig.multi.add(transfer);
  expect(rig.multi.timeout()).toBe(0);
  expect([...rig.multi.messages()].map(({ error }) => error?.code)).toEqual(['COULDNT_CONNECT']);
});

test('contract/rule-37 after the first adds one call of timeout() starts everything', async () => {
  const server = await serve();
  const rig = new Rig();
  const all = Array.from({ length: 20 }, () => get({ url: server.url }));
  for (const { transfer } of all) rig.multi.add(transfer);
  expect(rig.multi.timeout()).toBe(20);
  rig.due = Number.POSITIVE_INFINITY;
  expect(rig.multi.stats().connections).toBe(20);
  await rig.until(() => rig.multi.running === 0);
  expect(all.every((got) => got.body === 'ok')).toBe(true);
});

test('contract/rule-40 one message per completion, in order, with its result; those that come meanwhile are included', async () => {
  const held = new Map<string, ServerConnection>();
  const server = await serve((connection, request) => held.set(request.split(' ')[1] as string, connection));
  const rig = new Rig();
  const all = ['last', 'first', 'second'].map((name) => get({ url: server.url + name }));
  for (const { transfer } of all) rig.multi.add(transfer);
  await rig.until(() => held.size === 3);
  held.get('/first')?.reply();
  await rig.until(() => rig.messages.length === 1);
  held.get('/second')?.socket.destroy();
  await rig.until(() => rig.messages.length === 2);
  held.get('/last')?.reply();
  await rig.until(() => rig.multi.running === 0);
  rig.step();
  expect(rig.messages.map((message) => [message.transfer, message.error?.code])).toEqual([
    [all[1]?.transfer, undefined],
    [all[2]?.transfer, 'CONNECTION_LOST'],
    [all[0]?.transfer, undefined],
  ]);
  expect([...rig.multi.messages()]).toEqual([]);

  const failsAtOnce = (): Transfer => new Transfer({ url: 'http://255.255.255.255/' });
  rig.multi.add(failsAtOnce());
  rig.multi.timeout();
  let walked = 0;
  for (const _ of rig.multi.messages()) {
    walked++;
    if (walked > 1) continue;
    rig.multi.add(failsAtOnce());
    rig.multi.timeout();
  }
  expect(walked).toBe(2);
});

test('contract/rule-41 reading never scans: unread messages of removed transfers cost nothing', () => {
  const rig = new Rig();
  const all = Array.from({ length: 20_000 }, () => new Transfer({ url: 'http://255.255.255.255/' }));
  for (const transfer of all) rig.multi.add(transfer);
  rig.multi.timeout();
  expect(rig.multi.stats()).toMatchObject({ running: 0, done: 20_000 });
  // Some milliseconds; seconds where each removal looks through the others.
  const began = performance.now();
  for (let index = 0; index < all.length; index += 2) rig.multi.remove(all[index] as Transfer);
  const read = [...rig.multi.messages()].map((message) => message.transfer);
  expect(performance.now() - began).toBeLessThan(2_000);
  expect(read).toEqual(all.filter((_, index) => index % 2 === 1));
});

test('contract/rule-42 counters: added only grows, current and done drop on remove, pending is the queue', async () => {
  const held: ServerConnection[] = [];
  const server = await serve((connection) => held.push(connection));
  const rig = new Rig({ maxHostConnections: 1 });
  const first = get({ url: server.url });
  const second = get({ url: server.url });
  const third = get({ url: server.url });
  for (const { transfer } of [first, second, third]) rig.multi.add(transfer);
  await rig.until(() => held.length === 1);
  expect(rig.multi.stats()).toMatchObject({ added: 3, current: 3, pending: 2, done: 0 });
  rig.multi.remove(third.transfer);
  expect(rig.multi.stats()).toMatchObject({ added: 3, current: 2, pending: 1, done: 0 });
  held[0]?.reply();
  await rig.end(first.transfer);
  // Read, and still done: only remove ends it.
  expect(rig.multi.stats()).toMatchObject({ added: 3, current: 2, pending: 0, done: 1 });
  rig.multi.remove(first.transfer);
  expect(rig.multi.stats()).toMatchObject({ added: 3, current: 1, pending: 0, done: 0 });
  rig.multi.add(third.transfer);
  expect(rig.multi.stats()).toMatchObject({ added: 4, current: 2 });
  expect(rig.multi.transfers()).toEqual([second.transfer, third.transfer]);
});

test('contract/rule-12 clocks may be changed after add: totalMs acts at once, the others when they start', async () => {
  const server = await serve(() => undefined);
  const rig = new Rig();
  const total = new Transfer({ url: server.url, timeouts: { totalMs: 60_000 } });
  const head = new Transfer({ url: server.url });
  const none = new Transfer({ url: server.url, timeouts: { totalMs: 50 } });
  for (const transfer of [total, head, none]) rig.multi.add(transfer);
  total.setTimeouts({ totalMs: 100 });
  head.setTimeouts({ headMs: 100 });
  none.setTimeouts({ totalMs: 0 });
  expect(await rig.end(total)).toMatchObject({ code: 'TOTAL_TIMEOUT' });
  expect(await rig.end(head)).toMatchObject({ code: 'HEAD_TIMEOUT' });
  expect(none.info.state).toBe('waiting');
  // In mid-transfer, and in the past: it is due now.
  none.setTimeouts({ totalMs: 1 });
  expect(rig.timers.at(-1)).toBe(0);
  expect(await rig.end(none)).toMatchObject({ code: 'TOTAL_TIMEOUT' });
  expect(() => none.setTimeouts({ totalMs: -1 })).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
});

test('contract/rule-71 setOption takes limits only, checked and by name; idleMs acts on what is idle', async () => {
  const server = await serve();
  const rig = new Rig();
  await rig.fetch({ url: server.url });
  const refuse = (name: string, value: unknown, code: string): void => {
    expect(() => rig.multi.setOption(name as 'idleMs', value as number)).toThrow(expect.objectContaining({ code }));
  };
  for (const name of ['io', 'lookupTtlMs', 'maxconnects', 'toString', '']) refuse(name, 1, 'UNKNOWN_OPTION');
  for (const value of [-1, 1.5, '3', Number.NaN]) refuse('maxConnects', value, 'INVALID_ARGUMENT');
  refuse('idleMs', 0, 'INVALID_ARGUMENT');
  expect(rig.multi.stats().idle).toBe(1);

  rig.multi.setOption('idleMs', 100);
  expect(rig.timers.at(-1)).toBeLessThanOrEqual(100);
  await rig.until(() => rig.multi.stats().idle === 0);
  await rig.until(() => server.open === 0);
  rig.multi.close();
  refuse('maxConnects', 1, 'BAD_HANDLE');
});
