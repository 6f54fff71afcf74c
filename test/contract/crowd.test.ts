/** Many transfers in one multi (curl's test 751, with 100,000): what is O(1) for one must be for all, or this takes minutes. */

import { expect, test } from 'vitest';
import { Transfer } from '../../src/worker/multi/index.ts';
import { deadPort, Rig, serve } from './rig.ts';

const CROWD = 100_000;
/** Each step takes some tenths of a second; one that scans would take hours. */
const STEP_MS_MAX = 15_000;

function quickly(what: string, step: () => void): void {
  const began = performance.now();
  step();
  expect(performance.now() - began, what).toBeLessThan(STEP_MS_MAX);
}

test('contract/rule-02 100,000 transfers added, queued, some completed, all removed', async () => {
  const server = await serve();
  const rig = new Rig({ maxTotalConnections: 20 });
  const request = { url: server.url, timeouts: { totalMs: 600_000, queueMs: 500_000 } };
  const all = Array.from({ length: CROWD }, () => new Transfer(request));
  quickly('adding', () => {
    for (const transfer of all) rig.multi.add(transfer);
  });
  // Rule 26: the expiry is the same for all.
  expect(rig.timers).toEqual([0]);
  expect(rig.multi.transfers().length).toBe(CROWD);
  quickly('the first turn', () => rig.multi.timeout());
  expect(rig.multi.stats()).toMatchObject({ current: CROWD, pending: CROWD - 20, running: 20, connections: 20 });
  await rig.until(() => rig.multi.stats().done >= 1_000);
  const { done } = rig.multi.stats();
  expect(server.connections.length).toBe(20);
  // First come, first served, among so many.
  for (const { transfer } of rig.messages) expect(all.indexOf(transfer)).toBeLessThan(done + 20);
  // From the end: in the order they came each would free a slot, for the next to dial and be removed in turn (rule 9).
  quickly('removing', () => {
    for (const transfer of all.reverse()) rig.multi.remove(transfer);
  });
  expect(rig.multi.stats()).toMatchObject({ added: CROWD, current: 0, running: 0, pending: 0, done: 0 });
  expect(rig.multi.nextDone()).toBeNull();
}, 60_000);

test('contract/rule-41 100,000 messages are read in the order in which they came, some after the removal of others', async () => {
  const rig = new Rig({ queueLength: 1, maxTotalConnections: 1 });
  const request = { url: `http://127.0.0.1:${await deadPort()}/` };
  const all = Array.from({ length: CROWD }, () => new Transfer(request));
  for (const transfer of all) rig.multi.add(transfer);
  // One dials, one waits, the queue is full for all others.
  quickly('failing', () => rig.multi.timeout());
  expect(rig.multi.stats()).toMatchObject({ done: CROWD - 2, unread: CROWD - 2 });
  quickly('removing unread', () => {
    for (let index = 2; index < CROWD; index += 2) rig.multi.remove(all[index] as Transfer);
  });
  expect(rig.multi.stats()).toMatchObject({ done: CROWD / 2 - 1, unread: CROWD / 2 - 1 });
  quickly('reading', () => {
    for (let index = 3; index < CROWD; index += 2) expect(rig.multi.nextDone()).toBe(all[index]);
  });
  expect(rig.multi.nextDone()).toBeNull();
}, 60_000);

test('contract/rule-06 who removes in onEnd and never reads messages leaves nothing behind', async () => {
  const server = await serve();
  const rig = new Rig();
  let left = 3_000;
  const again = (ended: Transfer): void => {
    rig.multi.remove(ended);
    if (--left > 0) rig.multi.add(ended);
  };
  for (let count = 0; count < 10; count++) rig.multi.add(new Transfer({ url: server.url, onEnd: again }));
  while (rig.multi.running > 0) {
    for (const [socket, events] of rig.ready()) rig.multi.action(socket, events);
    rig.fireTimer();
    await new Promise(setImmediate);
  }
  expect(rig.multi.stats()).toMatchObject({ current: 0, done: 0 });
  expect(server.connections.length).toBeLessThanOrEqual(10);
}, 60_000);
