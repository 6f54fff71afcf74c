/** CONTRACT.md §2.5 and 2.6: notifications. What may be called inside stands in recursion.test.ts. */

import { expect, test } from 'vitest';
import { type Notification, Transfer } from '../../src/worker/multi/index.ts';
import { deadPort, get, Rig, type ServerConnection, serve } from './rig.ts';

interface Told {
  readonly what: Notification;
  readonly transfer: Transfer | null;
}

function listen(rig: Rig, ...notifications: Notification[]): Told[] {
  const told: Told[] = [];
  rig.multi.notifyFunction((what, transfer) => void told.push({ what, transfer }));
  for (const notification of notifications) rig.multi.notifyEnable(notification);
  return told;
}

/** Drives without reading a message. */
async function untilDone(rig: Rig, count: number): Promise<void> {
  while (rig.multi.stats().done < count) {
    for (const [socket, events] of rig.ready()) rig.multi.action(socket, events);
    rig.fireTimer();
    await new Promise(setImmediate);
  }
}

test('contract/rule-43 INFO_READ comes when a message enters an empty queue, and not again until that was read', async () => {
  const server = await serve();
  const rig = new Rig();
  const told = listen(rig, 'INFO_READ');
  for (let count = 0; count < 5; count++) rig.multi.add(new Transfer({ url: server.url }));
  await untilDone(rig, 5);
  expect(told).toEqual([{ what: 'INFO_READ', transfer: null }]);
  expect([...rig.multi.messages()].length).toBe(5);

  rig.multi.add(new Transfer({ url: server.url }));
  await untilDone(rig, 6);
  expect(told.length).toBe(2);
});

test('contract/rule-43 INFO_READ of messages that a callback of the turn has read, or dropped, does not come', async () => {
  const server = await serve();
  const rig = new Rig();
  const told = listen(rig, 'INFO_READ');
  const read = get({ url: server.url, onEnd: () => void [...rig.multi.messages()] });
  const removed = get({ url: server.url, onEnd: (transfer) => rig.multi.remove(transfer) });
  rig.multi.add(read.transfer);
  rig.multi.add(removed.transfer);
  await rig.until(() => read.ended + removed.ended === 2);
  expect(told).toEqual([]);
});

test('contract/rule-43 EASY_DONE comes once per transfer, however it ended, in the order of the messages', async () => {
  const server = await serve();
  const rig = new Rig();
  const told = listen(rig, 'EASY_DONE');
  const fine = get({ url: server.url }).transfer;
  const failing = get({ url: `http://127.0.0.1:${await deadPort()}/` }).transfer;
  const gone = get({ url: server.url, onEnd: (transfer) => rig.multi.remove(transfer) });
  const throwing = get({
    url: server.url,
    onHead: () => {
      throw new Error('mine');
    },
  }).transfer;
  for (const transfer of [fine, failing, gone.transfer, throwing]) rig.multi.add(transfer);
  await rig.until(() => rig.messages.length === 3 && gone.ended === 1);
  expect(told.map(({ transfer }) => transfer)).toEqual(rig.messages.map(({ transfer }) => transfer));
  expect(new Set(told.map(({ what }) => what))).toEqual(new Set(['EASY_DONE']));
});

test('contract/rule-43 nothing is told that was not asked for, or is asked for no more', async () => {
  const server = await serve();
  const rig = new Rig();
  const told = listen(rig);
  await rig.fetch({ url: server.url });
  expect(told).toEqual([]);

  rig.multi.notifyEnable('EASY_DONE');
  rig.multi.notifyEnable('INFO_READ');
  await rig.fetch({ url: server.url });
  expect(told.map(({ what }) => what)).toEqual(['EASY_DONE', 'INFO_READ']);

  rig.multi.notifyDisable('EASY_DONE');
  rig.multi.notifyDisable('INFO_READ');
  await rig.fetch({ url: server.url });
  expect(told.length).toBe(2);
  expect(() => rig.multi.notifyEnable('EASY_BEGUN' as Notification)).toThrow(
    expect.objectContaining({ code: 'UNKNOWN_OPTION' }),
  );
});

test('contract/rule-43 from remove on nothing is told of a transfer, also when it is added again', async () => {
  const held: ServerConnection[] = [];
  const server = await serve((connection) => held.push(connection));
  const rig = new Rig();
  const transfers = [new Transfer({ url: server.url }), new Transfer({ url: server.url })];
  const told: unknown[] = [];
  rig.multi.notifyEnable('EASY_DONE');
  rig.multi.notifyFunction((_what, transfer) => {
    if (told.push(transfer) > 1) return;
    const [other] = transfers.filter((one) => one !== transfer) as [Transfer];
    expect(other.info.state).toBe('done');
    rig.multi.remove(other);
    rig.multi.add(other);
  });
  for (const transfer of transfers) rig.multi.add(transfer);
  await rig.until(() => held.length === 2);
  for (const connection of held) connection.reply();
  // Both complete in one turn; while the first is told of, the second is removed and added.
  const ready = await rig.arrived(2);
  rig.multi.actions(Int32Array.from(ready.flatMap(([socket, events]) => [socket, events, 0])), ready.length);
  expect(told.length).toBe(1);
  await rig.until(() => held.length === 3);
  expect(told.length).toBe(1);
  held[2]?.reply();
  await rig.until(() => told.length > 1);
  await rig.drive(10);
  expect(told.length).toBe(2);
  expect(new Set(told)).toEqual(new Set(transfers));
});

test('contract/rule-47 a transfer that the notify callback adds is asked for when that turn ends, and runs', async () => {
  const server = await serve();
  const rig = new Rig();
  let added = 0;
  rig.multi.notifyEnable('EASY_DONE');
  rig.multi.notifyFunction((_what, transfer) => {
    rig.multi.remove(transfer as Transfer);
    if (++added < 20) rig.multi.add(transfer as Transfer);
    else rig.multi.notifyFunction(null);
  });
  rig.multi.add(new Transfer({ url: server.url }));
  await rig.until(() => added === 20);
  expect(server.requests.length).toBe(20);
  expect(server.connections.length).toBe(1);
  expect(rig.multi.stats()).toMatchObject({ added: 20, current: 0, done: 0 });
});

test('contract/rule-51 a throw of the notify callback comes out of the driving call; the others are told, the multi lives', async () => {
  const server = await serve();
  const rig = new Rig();
  const told: string[] = [];
  rig.multi.notifyEnable('EASY_DONE');
  rig.multi.notifyEnable('INFO_READ');
  rig.multi.notifyFunction((what) => {
    told.push(what);
    if (what === 'EASY_DONE') throw new Error('mine');
  });
  rig.multi.add(new Transfer({ url: server.url }));
  await expect(untilDone(rig, 1)).rejects.toThrow('mine');
  expect(told).toEqual(['EASY_DONE', 'INFO_READ']);
  expect(rig.multi.stats().done).toBe(1);
  rig.multi.notifyFunction(null);
  expect((await rig.fetch({ url: server.url })).error).toBeNull();
});

test('contract/rule-43 a transfer that a socket callback fails outside a turn is told of too', async () => {
  const server = await serve();
  const rig = new Rig();
  const told = listen(rig, 'EASY_DONE');
  const transfer = new Transfer({ url: server.url });
  rig.multi.add(transfer);
  rig.multi.timeout();
  rig.multi.socketFunction(() => {
    throw new Error('mine');
  });
  expect(told).toEqual([{ what: 'EASY_DONE', transfer }]);
  expect(transfer.error?.code).toBe('ABORTED_BY_CALLBACK');
});
