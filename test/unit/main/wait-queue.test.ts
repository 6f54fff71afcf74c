/** The queue of those who wait: order, removal, one timer. */

import { expect, test } from 'vitest';
import { type Waiting, WaitQueue } from '../../../src/main/wait-queue.ts';
import { cpuMs } from '../cpu-time.ts';
import { randomOf } from '../random.ts';

const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Until it holds, without a timer of its own in between that would be counted; false when it does not for long. */
async function comes(wanted: () => boolean): Promise<boolean> {
  for (const end = performance.now() + 10_000; !wanted() && performance.now() < end; ) {
    await new Promise((resolve) => setImmediate(resolve));
  }
  return wanted();
}

test('in the order of their times, equals as they came, with one timer', async () => {
  const queue = new WaitQueue();
  const woken: number[] = [];
  const before = timers();
  for (const ms of [300, 100, 200, 100, 0]) queue.add(ms, () => woken.push(ms));
  expect(timers()).toBe(before + 1);
  expect(queue.size).toBe(5);
  expect(await comes(() => queue.size === 0)).toBe(true);
  expect(woken).toEqual([0, 100, 100, 200, 300]);
  // The test runner has timers too, which come and go.
  expect(await comes(() => timers() <= before)).toBe(true);
});

test('who is removed is not woken, and the last one takes the timer away', async () => {
  const queue = new WaitQueue();
  const before = timers();
  let woken = 0;
  const first = queue.add(5, () => woken++);
  const second = queue.add(10, () => woken++);
  queue.remove(first);
  queue.remove(first);
  expect(timers()).toBe(before + 1);
  queue.remove(second);
  expect(timers()).toBe(before);
  await pause(20);
  expect(woken).toBe(0);
});

test('who waits for ever, or longer than a timer takes, holds the timer and is not woken', async () => {
  const queue = new WaitQueue();
  let woken = 0;
  const forever = queue.add(Number.POSITIVE_INFINITY, () => woken++);
  const long = queue.add(2 ** 40, () => woken++);
  const others: string[] = [];
  queue.add(5, () => others.push('soon'));
  expect(await comes(() => others.length > 0)).toBe(true);
  expect([woken, ...others]).toEqual([0, 'soon']);
  const held = timers();
  queue.remove(long);
  expect(timers()).toBe(held);
  queue.remove(forever);
  expect(timers()).toBe(held - 1);
});

test('who is woken may add and remove others', async () => {
  const queue = new WaitQueue();
  const woken: string[] = [];
  const removed = queue.add(200, () => woken.push('removed'));
  queue.add(100, () => {
    woken.push('first');
    queue.remove(removed);
    queue.add(0, () => woken.push('added'));
  });
  expect(await comes(() => woken.length > 1)).toBe(true);
  await pause(120);
  expect(woken).toEqual(['first', 'added']);
});

test('any times, removed in any order: the others are woken in theirs (model)', async () => {
  const random = randomOf(10);
  const queue = new WaitQueue();
  const woken: number[] = [];
  const waiting: Waiting[] = [];
  const removed = new Set<number>();
  for (let number = 0; number < 5_000; number++) {
    // One in three would wait for a minute.
    const ms = number % 3 === 0 ? 60_000 + random(1_000) : random(60);
    waiting.push(queue.add(ms, () => woken.push(number)));
    if (random(2) === 0) continue;
    const which = random(number + 1);
    removed.add(which);
    queue.remove(waiting[which] as Waiting);
  }
  for (let number = 0; number < 5_000; number += 3) {
    queue.remove(waiting[number] as Waiting);
    removed.add(number);
  }
  const kept = waiting.map((_, number) => number).filter((number) => !removed.has(number));
  expect([woken, queue.size]).toEqual([[], kept.length]);
  while (queue.size > 0) await pause(20);
  const dueMs = (number: number): number => (waiting[number] as Waiting).dueMs;
  expect(woken).toEqual(kept.sort((a, b) => dueMs(a) - dueMs(b) || a - b));
});

test('100,000 that wait are added and removed in no time', () => {
  const queue = new WaitQueue();
  const startMs = cpuMs();
  const all = Array.from({ length: 100_000 }, (_, index) => queue.add(60_000 + (index % 1_000), () => undefined));
  for (const one of all) queue.remove(one);
  // It took 14 s where a sorted list was moved for each.
  expect(cpuMs() - startMs).toBeLessThan(3_000);
  expect(queue.size).toBe(0);
});
