/** CONTRACT.md §2.2, 2.4 and 2.8: the socket callback, action, assign. The rig checks rules 13 and 14 in every test. */

import { fstatSync } from 'node:fs';
import { expect, test } from 'vitest';
import { Transfer, WATCH_IN, WATCH_INOUT, WATCH_OUT, WATCH_REMOVE } from '../../src/worker/multi/index.ts';
import { fullListener } from '../full-listener.ts';
import { get, Names, Rig, type ServerConnection, type SocketCall, serve, sleep } from './rig.ts';

function isOpen(descriptor: number): boolean {
  try {
    return fstatSync(descriptor).isSocket();
  } catch {
    return false;
  }
}

test('contract/rule-13 the callback comes only when what is wanted changes', async () => {
  const server = await serve((connection) => {
    connection.socket.write('HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n');
    for (let part = 1; part <= 3; part++) setTimeout(() => connection.socket.write('0123456789'), part * 5);
  });
  const rig = new Rig();
  const { transfer } = get({ url: server.url, forbidReuse: true });
  rig.multi.add(transfer);
  await rig.end(transfer);
  expect(rig.whats).toEqual([WATCH_OUT, WATCH_IN, WATCH_REMOVE]);
});

test('contract/rule-13 what changes and changes back within a turn is no change', async () => {
  const server = await serve();
  const rig = new Rig();
  const { transfer } = get({
    url: server.url,
    onHead(itself) {
      itself.pause();
      itself.unpause();
    },
  });
  rig.multi.add(transfer);
  expect(await rig.end(transfer)).toBeNull();
  expect(rig.whats).toEqual([WATCH_OUT, WATCH_IN]);
});

test('contract/rule-14 the wish replaces the former one: an upload that stalls wants in and out, then in alone', async () => {
  let reached = false;
  const server = await serve((connection) => {
    connection.socket.pause();
    reached = true;
  });
  const rig = new Rig();
  const body = new Uint8Array(20_000_000);
  const { transfer } = get({ url: server.url, method: 'POST', body, forbidReuse: true });
  rig.multi.add(transfer);
  await rig.until(() => reached);
  await rig.until(() => rig.whats.includes(WATCH_INOUT));
  rig.multi.remove(transfer);
  expect(rig.whats).toEqual([WATCH_OUT, WATCH_INOUT, WATCH_REMOVE]);

  const small = await serve();
  const upload = get({ url: small.url, method: 'PUT', body: new Uint8Array(8_000_000), forbidReuse: true });
  rig.multi.add(upload.transfer);
  await rig.end(upload.transfer);
  const { socket } = rig.socketCalls.at(-1) as SocketCall;
  const its = rig.socketCalls.slice(3).filter((call) => call.socket === socket);
  expect(its[0]?.what).toBe(WATCH_OUT);
  expect(its.at(-1)?.what).toBe(WATCH_REMOVE);
});

test('contract/rule-16 REMOVE comes before the close; the next socket of that number is a fresh one', async () => {
  const server = await serve();
  const seen: { socket: number; open: boolean; data: unknown; what: number }[] = [];
  const rig: Rig = new Rig({
    onSocket({ socket, what, data }) {
      seen.push({ socket, what, data, open: isOpen(socket) });
      rig.multi.assign(socket, `data of call ${seen.length}`);
      return undefined;
    },
  });
  const numbers = new Set<number>();
  // The kernel gives the lowest free number: the same again, unless something else of the process took it or freed one in between.
  for (let use = 0; use < 50 && numbers.size === use; use++) {
    const before = seen.length;
    await rig.fetch({ url: server.url, forbidReuse: true });
    const its = seen.slice(before);
    expect(its.map((call) => call.what)).toEqual([2, 1, 4]);
    expect(its.map((call) => call.data)).toEqual([
      undefined,
      `data of call ${before + 1}`,
      `data of call ${before + 2}`,
    ]);
    numbers.add(its[0]?.socket as number);
    expect(isOpen(its[0]?.socket as number)).toBe(false);
  }
  expect(numbers.size, 'no number came again').toBeLessThan(seen.length / 3);
  expect(seen.every((call) => call.open)).toBe(true);
});

test('contract/rule-17 on keep-alive nothing changes: the socket stays on in, told once for many requests', async () => {
  const server = await serve();
  const rig = new Rig();
  for (let use = 0; use < 10; use++) await rig.fetch({ url: server.url });
  expect(rig.whats).toEqual([WATCH_OUT, WATCH_IN]);
  expect(server.connections.length).toBe(1);
  expect(server.requests.length).toBe(10);
});

test('contract/rule-18 REMOVE still gets the assigned value, and forgets it', async () => {
  const server = await serve();
  const rig = new Rig();
  const { transfer } = get({ url: server.url, forbidReuse: true });
  rig.multi.add(transfer);
  await rig.until(() => rig.whats.length > 0);
  const { socket } = rig.socketCalls[0] as SocketCall;
  const value = { mine: true };
  rig.multi.assign(socket, value);
  const calls = rig.calls.length;
  await rig.end(transfer);
  const later = rig.calls.slice(calls).filter((call) => call.kind === 'socket');
  expect(later.at(-1)?.what).toBe(WATCH_REMOVE);
  expect(later.map((call) => call.data)).toEqual(later.map(() => value));
  expect(() => rig.multi.assign(socket, value)).toThrow(expect.objectContaining({ code: 'BAD_SOCKET' }));
});

test('contract/rule-18 a REMOVE because of a pause forgets it too', async () => {
  const server = await serve((connection) => {
    connection.socket.write('HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npart');
  });
  const rig = new Rig();
  const got = get({ url: server.url });
  rig.multi.add(got.transfer);
  await rig.until(() => got.body === 'part');
  const { socket } = rig.socketCalls[0] as SocketCall;
  rig.multi.assign(socket, 'mine');
  got.transfer.pause();
  rig.step();
  expect(rig.socketCalls.at(-1)).toMatchObject({ what: WATCH_REMOVE, data: 'mine' });
  got.transfer.unpause();
  rig.step();
  expect(rig.socketCalls.at(-1)).toMatchObject({ what: WATCH_IN, data: undefined });
});

test('contract/rule-19 the callback comes from remove() and close() too; an idle connection has no transfer', async () => {
  const server = await serve((connection, request) => {
    if (!request.startsWith('GET /hang')) connection.reply();
  });
  const rig = new Rig();
  await rig.fetch({ url: server.url });
  const { transfer } = get({ url: `${server.url}hang`, freshConnect: true });
  rig.multi.add(transfer);
  await rig.until(() => server.requests.length === 2);
  expect(rig.socketCalls.map((call) => call.transfer === transfer).slice(-2)).toEqual([true, true]);
  rig.calls.length = 0;
  rig.multi.remove(transfer);
  expect(rig.whats).toEqual([WATCH_REMOVE]);
  rig.multi.close();
  expect(rig.socketCalls.map((call) => [call.what, call.transfer]).at(-1)).toEqual([WATCH_REMOVE, null]);
  expect(rig.watched.size).toBe(0);
});

test('contract/rule-20 the look-ups of names have a socket of their own, without a transfer', async () => {
  const server = await serve();
  const rig = new Rig();
  const got = await rig.fetch({ url: `http://localhost:${server.port}/` });
  expect(got.error).toBeNull();
  expect(rig.socketCalls[0]).toMatchObject({ transfer: null, what: WATCH_IN });
  const { socket } = rig.socketCalls[0] as SocketCall;
  // Watched exactly while an answer is awaited.
  const its = rig.socketCalls.filter((call) => call.socket === socket);
  expect(its.map((call) => call.what)).toEqual([WATCH_IN, WATCH_REMOVE]);
});

test('contract/rule-22 callbacks installed in mid-transfer hear what is wanted from then on', async () => {
  const held: ServerConnection[] = [];
  const server = await serve((connection) => held.push(connection));
  const rig = new Rig();
  const { transfer } = get({ url: server.url, timeouts: { headMs: 60_000 } });
  rig.multi.socketFunction(null);
  rig.multi.timerFunction(null);
  rig.multi.add(transfer);
  rig.multi.timeout();
  expect(rig.calls).toEqual([]);
  // Installed while it connects: without another word of the application it must come to its end.
  rig.install();
  await rig.until(() => held.length === 1);
  rig.multi.socketFunction(null);
  rig.multi.timerFunction(null);
  for (const socket of rig.watched.keys()) rig.poller.watch(socket, 0, 0);
  rig.watched.clear();
  rig.calls.length = 0;
  // Installed while it waits for the answer.
  rig.install();
  held[0]?.reply();
  expect(await rig.end(transfer)).toBeNull();
  expect(rig.whats).toEqual([WATCH_IN]);
});

test('contract/rule-31 action(socket) moves only the transfers of that socket', async () => {
  const held: ServerConnection[] = [];
  const server = await serve((connection) => held.push(connection));
  const rig = new Rig();
  const [a, b] = [get({ url: server.url }), get({ url: server.url })];
  rig.multi.add(a.transfer);
  rig.multi.add(b.transfer);
  await rig.until(() => held.length === 2);
  for (const connection of held) connection.reply();
  const ready = await rig.arrived(2);
  expect(rig.multi.action(...(ready[0] as [number, number]))).toBe(1);
  expect([a.ended + b.ended, a.body + b.body]).toEqual([1, 'ok']);
  expect(rig.multi.timeout()).toBe(1);
  expect(a.ended + b.ended).toBe(1);
  expect(rig.multi.action(...(ready[1] as [number, number]))).toBe(0);
});

test('contract/rule-31 action(socket) also runs all timers that are due', async () => {
  const server = await serve();
  const rig = new Rig();
  await rig.fetch({ url: server.url });
  const { socket } = rig.socketCalls.at(-1) as SocketCall;
  const hang = await serve(() => undefined);
  const late = get({ url: hang.url, timeouts: { headMs: 30 } });
  rig.multi.add(late.transfer);
  await rig.until(() => hang.requests.length === 1);
  sleep(40);
  expect(rig.multi.action(socket, 1)).toBe(0);
  expect(late.transfer.error).toMatchObject({ code: 'HEAD_TIMEOUT' });
});

test('contract/rule-32 events are a hint: spurious ones are harmless in every state, and 0 means unknown', async () => {
  const held: ServerConnection[] = [];
  const server = await serve((connection) => held.push(connection));
  const rig = new Rig();
  const got = get({ url: server.url });
  const spurious = (): void => {
    for (const socket of [...rig.watched.keys()])
      for (const events of [0, 1, 2, 4, 7]) rig.multi.action(socket, events);
  };
  rig.multi.add(got.transfer);
  rig.multi.timeout();
  spurious();
  await rig.until(() => held.length === 1);
  spurious();
  held[0]?.socket.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab');
  await rig.until(() => got.body === 'ab');
  spurious();
  held[0]?.socket.write('cd');
  await rig.arrived(1);
  const { socket } = rig.socketCalls.at(-1) as SocketCall;
  expect(rig.multi.action(socket, 0)).toBe(0);
  expect(got).toMatchObject({ body: 'abcd', ended: 1 });
  spurious();
  // Idle, and none the worse.
  expect(rig.multi.stats()).toMatchObject({ idle: 1, connections: 1 });
  const next = get({ url: server.url });
  rig.multi.add(next.transfer);
  await rig.until(() => held.length === 2);
  held[1]?.reply('again');
  expect(await rig.end(next.transfer)).toBeNull();
  expect(next.body).toBe('again');
  expect(server.connections.length).toBe(1);
});

test('contract/rule-32 a spurious event while connecting does not end the attempt', async () => {
  const { port, fillers } = await fullListener();
  const rig = new Rig();
  const { transfer } = get({ url: `http://127.0.0.1:${port}/`, timeouts: { connectMs: 60_000 } });
  rig.multi.add(transfer);
  rig.multi.timeout();
  const { socket } = rig.socketCalls[0] as SocketCall;
  for (const events of [0, 1, 2, 4]) rig.multi.action(socket, events);
  expect(transfer.info.state).toBe('dialing');
  for (const filler of fillers) filler.destroy();
});

test('contract/rule-33 unknown, removed and impossible sockets are accepted silently', async () => {
  const server = await serve();
  const rig = new Rig();
  const { transfer } = get({ url: server.url, forbidReuse: true });
  rig.multi.add(transfer);
  await rig.end(transfer);
  const { socket } = rig.socketCalls.at(-1) as SocketCall;
  for (const stale of [socket, 0, 1, 9_999, 1_000_000_000, -1]) expect(rig.multi.action(stale, 7)).toBe(0);
  expect(rig.multi.actions(Int32Array.from([socket, 1, 0, -1, 1, 0, 777, 4, 0]), 3)).toBe(0);
});

test('contract/rule-33 a stale event in the batch that closed the socket finds nobody', async () => {
  const held: ServerConnection[] = [];
  const server = await serve((connection) => held.push(connection));
  const rig = new Rig();
  const b = get({ url: server.url });
  const a = get({ url: server.url, onEnd: () => rig.multi.remove(b.transfer) });
  rig.multi.add(a.transfer);
  rig.multi.add(b.transfer);
  await rig.until(() => held.length === 2);
  for (const connection of held) connection.reply();
  const sockets = (await rig.arrived(2)).map(([socket]) => socket);
  const of = (transfer: Transfer): number =>
    rig.socketCalls.find((call) => call.transfer === transfer && sockets.includes(call.socket))?.socket as number;
  const batch = [of(a.transfer), of(b.transfer), of(b.transfer)].flatMap((socket) => [socket, 1, 0]);
  expect(rig.multi.actions(Int32Array.from(batch), 3)).toBe(0);
  expect([a.ended, b.ended, b.body]).toEqual([1, 0, '']);
});

test('contract/rule-34 what becomes runnable during a turn waits for the next one: no call runs for ever', () => {
  const rig = new Rig();
  let failures = 0;
  const addOne = (): void => rig.multi.add(new Transfer({ url: 'http://255.255.255.255/' }));
  addOne();
  for (; failures < 5; failures++) {
    expect(rig.multi.timeout()).toBe(0);
    expect([...rig.multi.messages()].length).toBe(1);
    addOne();
    expect(rig.multi.running).toBe(1);
  }
});

test('contract/rule-34 a transfer added by a callback of the turn starts in it or is asked for with 0 ms', async () => {
  const server = await serve();
  const rig = new Rig();
  const second = get({ url: server.url });
  const first = get({ url: server.url, onEnd: () => rig.multi.add(second.transfer) });
  rig.multi.add(first.transfer);
  expect(await rig.end(second.transfer)).toBeNull();
});

test('contract/rule-52 one value per socket, the last wins, handed to each later callback until REMOVE', async () => {
  const server = await serve();
  const rig = new Rig();
  const { transfer } = get({ url: server.url, forbidReuse: true });
  rig.multi.add(transfer);
  await rig.until(() => rig.whats.length > 0);
  const { socket } = rig.socketCalls[0] as SocketCall;
  rig.multi.assign(socket, 1);
  rig.multi.assign(socket, 2);
  const calls = rig.calls.length;
  await rig.end(transfer);
  const later = rig.calls.slice(calls).filter((call) => call.kind === 'socket');
  expect(later.at(-1)?.what).toBe(WATCH_REMOVE);
  expect(later.map((call) => call.data)).toEqual(later.map(() => 2));
});

test('contract/rule-53 assign knows a socket inside its first callback and inside REMOVE, and no other', async () => {
  const server = await serve();
  const rig: Rig = new Rig({
    onSocket({ socket }) {
      rig.multi.assign(socket, 'known');
      return undefined;
    },
  });
  for (const unknown of [0, 12_345, -1]) {
    expect(() => rig.multi.assign(unknown, 1)).toThrow(expect.objectContaining({ code: 'BAD_SOCKET' }));
  }
  const got = await rig.fetch({ url: server.url, forbidReuse: true });
  expect(got.error).toBeNull();
  expect(rig.socketCalls.map((call) => call.data)).toEqual([undefined, 'known', 'known']);
  // Assigning inside REMOVE does not outlive it.
  await rig.fetch({ url: server.url, forbidReuse: true });
  expect(rig.socketCalls[3]?.data).toBeUndefined();
});

test('contract/rule-20 names that are known need no look-up and no socket', async () => {
  const server = await serve();
  const names = new Names();
  const rig = new Rig({ io: names.io });
  await rig.fetch({ url: server.url });
  expect(names.asked).toEqual([]);
  expect(rig.whats).toEqual([WATCH_OUT, WATCH_IN]);
});

test('contract/rule-32 spurious events do not keep the clock of a stalled upload from running out', async () => {
  const server = await serve((connection) => void connection.socket.pause());
  const rig = new Rig();
  const { transfer } = get({
    url: server.url,
    method: 'PUT',
    body: new Uint8Array(50_000_000),
    timeouts: { headMs: 150 },
  });
  rig.multi.add(transfer);
  await rig.until(() => rig.whats.includes(WATCH_INOUT));
  const { socket } = rig.socketCalls.at(-1) as SocketCall;
  const spurious = setInterval(() => rig.multi.action(socket, WATCH_OUT), 10);
  try {
    expect(await rig.end(transfer)).toMatchObject({ code: 'HEAD_TIMEOUT', phase: 'send' });
  } finally {
    clearInterval(spurious);
  }
});
