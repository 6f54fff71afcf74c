/** The queue of those who wait: order, removal, one timer. */

import { expect, test } from 'vitest';
import { WaitQueue } from '../../../src/main/wait-queue.ts';

const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

test('in the order of their times, equals as they came, with one timer', async () => {
  const queue = new WaitQueue();
  const woken: number[] = [];
  const before = timers();
  for (const ms of [30, 10, 20, 10, 0]) queue.add(ms, () => woken.push(ms));
  expect(timers()).toBe(before + 1);
  expect(queue.size).toBe(5);
  await pause(60);
  expect(woken).toEqual([0, 10, 10, 20, 30]);
  expect(queue.size).toBe(0);
  expect(timers()).toBe(before);
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

test('who is woken may add and remove others', async () => {
  const queue = new WaitQueue();
  const woken: string[] = [];
  const removed = queue.add(2, () => woken.push('removed'));
  queue.add(1, () => {
    woken.push('first');
    queue.remove(removed);
    queue.add(0, () => woken.push('added'));
  });
  await pause(50);
  expect(woken).toEqual(['first', 'added']);
});
