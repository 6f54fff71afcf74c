/** A uv_poll per socket: what it reports, how it ends, and how it lives on the thread's event loop. poll(2) beside it. */

import { spawnSync } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { describe, expect, onTestFinished, test } from 'vitest';
import { pollDescriptors } from '../../src/worker/io/descriptor-poll.ts';
import { EBADF } from '../../src/worker/io/errno.ts';
import { EVENT_ERR, EVENT_IN, EVENT_OUT } from '../../src/worker/io/io.ts';
import { type LoopWatches, openLoopWatches } from '../../src/worker/io/loop-watches.ts';
import { nativeIo } from '../../src/worker/io/native-io.ts';
import { openWakeup } from '../../src/worker/io/wakeup.ts';
import { connected, opened, readSoon, serve, until } from './peer.ts';

const ENOENT = 2;
const EEXIST = 17;
const EINVAL = 22;
const io = nativeIo();

function open(): LoopWatches {
  const watches = openLoopWatches();
  onTestFinished(() => watches.close());
  return watches;
}

/** Started, with what it found since the last `take`: socket and events by round. */
function started(): { watches: LoopWatches; rounds: number[][] } {
  const watches = open();
  const rounds: number[][] = [];
  watches.start(() => {
    const count = watches.take();
    const pairs: number[] = [];
    for (let at = 0; at < count * 3; at += 3)
      pairs.push(watches.events[at] as number, watches.events[at + 1] as number);
    rounds.push(pairs);
  });
  return { watches, rounds };
}

async function next(rounds: number[][]): Promise<number[]> {
  rounds.length = 0;
  for (const end = performance.now() + 10_000; performance.now() < end; ) {
    if (rounds.length > 0) return rounds[0] as number[];
    await delay(1);
  }
  throw new Error('nothing came');
}

async function nothing(rounds: number[][]): Promise<void> {
  rounds.length = 0;
  await delay(30);
  expect(rounds).toEqual([]);
}

describe('watching', () => {
  test('level-triggered: reported each round while it holds; changed and ended at once', async () => {
    const server = await serve({ host: '127.0.0.1' });
    const socket = await connected(4, '127.0.0.1', server.port);
    const peer = await server.accept();
    const { watches, rounds } = started();
    expect(watches.watch(socket, EVENT_IN)).toBe(0);
    await nothing(rounds);
    peer.write('x');
    expect(await next(rounds)).toEqual([socket, EVENT_IN]);
    expect(await next(rounds)).toEqual([socket, EVENT_IN]);
    expect(watches.watch(socket, EVENT_IN | EVENT_OUT)).toBe(0);
    expect(await next(rounds)).toEqual([socket, EVENT_IN | EVENT_OUT]);
    expect(await readSoon(socket)).toBe(1);
    expect(await next(rounds)).toEqual([socket, EVENT_OUT]);
    expect(watches.watch(socket, 0)).toBe(0);
    await nothing(rounds);
    expect(watches.watch(socket, 0)).toBe(-ENOENT);
    expect(watches.watch(socket, EVENT_OUT)).toBe(0);
    expect(await next(rounds)).toEqual([socket, EVENT_OUT]);
  });

  test('an error is told for as long as it is there, though libuv stops such a handle', async () => {
    const server = await serve({ host: '127.0.0.1' });
    const socket = await connected(4, '127.0.0.1', server.port);
    const peer = await server.accept();
    const { watches, rounds } = started();
    watches.watch(socket, EVENT_IN);
    peer.resetAndDestroy();
    for (let round = 0; round < 3; round++) {
      expect(await next(rounds)).toEqual([socket, EVENT_IN | EVENT_OUT | EVENT_ERR]);
    }
    expect(io.read(socket)).toBeLessThan(0);
  });

  test('what is not ours, what another handle has, and what is no event are refused with their errno', () => {
    const watches = open();
    const others = open();
    const socket = opened(4);
    expect(watches.watch(socket, EVENT_OUT)).toBe(0);
    expect(others.watch(socket, EVENT_OUT)).toBe(-EEXIST);
    expect(watches.watch(socket, 0)).toBe(0);
    expect(others.watch(socket, EVENT_OUT)).toBe(0);
    for (const foreign of [0, 1, -1, 100_000]) expect(watches.watch(foreign, EVENT_IN)).toBe(-EBADF);
    expect(watches.watch(socket, 8)).toBe(-EINVAL);
  });

  test('a descriptor that is closed is watched no longer, and what was found of it is taken back', () => {
    const watches = open();
    const [first, second] = [opened(4), opened(4)];
    watches.watch(first, EVENT_OUT); // never connected: always ready
    watches.watch(second, EVENT_OUT);
    watches.look();
    // Against the contract, before any REMOVE: libuv must survive it all the same.
    io.close(first);
    const again = opened(4);
    expect(again).toBe(first);
    expect(watches.take()).toBe(2);
    expect([...watches.events.subarray(0, 6)]).toEqual([-1, expect.anything(), 0, second, expect.anything(), 0]);
    expect(watches.watch(again, EVENT_OUT)).toBe(0);
  });

  test('the same number, closed and opened again 1,000 times, is always the new socket', async () => {
    const { watches, rounds } = started();
    for (let count = 0; count < 1_000; count++) {
      const socket = io.open(4);
      expect(watches.watch(socket, EVENT_OUT)).toBe(0);
      if (count % 100 === 0) expect(await next(rounds)).toEqual([socket, expect.anything()]);
      expect(watches.watch(socket, 0)).toBe(0);
      io.close(socket);
    }
    await nothing(rounds);
  });

  test('look finds what libuv has not told yet; within a millisecond of its polling it asks nothing', async () => {
    const server = await serve({ host: '127.0.0.1' });
    const socket = await connected(4, '127.0.0.1', server.port);
    const peer = await server.accept();
    const { watches } = started();
    watches.watch(socket, EVENT_IN);
    await delay(5);
    peer.write('x');
    const end = performance.now() + 50;
    while (performance.now() < end); // the kernel delivers; the event loop stands still
    expect(watches.take()).toBe(0);
    watches.look();
    expect(watches.take()).toBe(1);
    expect([...watches.events.subarray(0, 3)]).toEqual([socket, EVENT_IN, 0]);
    // Both looks within a millisecond, which a thread that loses its core between them needs another try for.
    let found = -1;
    for (let round = 0; round < 1_000 && found === -1; round++) {
      const end = performance.now() + 2;
      while (performance.now() < end);
      const began = performance.now();
      watches.look();
      expect(watches.take()).toBe(1);
      watches.look();
      const count = watches.take();
      if (performance.now() - began < 1) found = count;
    }
    expect(found).toBe(0);
  });

  test('10,000 events of one round are all handed over', async () => {
    const { watches, rounds } = started();
    const sockets: number[] = [];
    onTestFinished(() => {
      for (const socket of sockets) io.close(socket);
    });
    for (let count = 0; count < 10_000; count++) {
      const socket = io.open(4);
      if (socket < 0) break; // this machine allows fewer
      sockets.push(socket);
      expect(watches.watch(socket, EVENT_OUT)).toBe(0);
    }
    const seen = new Set<number>();
    for (let turn = 0; turn < 200 && seen.size < sockets.length; turn++) {
      for (const pairs of rounds.splice(0)) for (let at = 0; at < pairs.length; at += 2) seen.add(pairs[at] as number);
      await new Promise(setImmediate);
    }
    expect(seen.size).toBe(sockets.length);
  });

  test('start, stop and close, in any order and twice', async () => {
    const { watches, rounds } = started();
    expect(() => watches.start(() => {})).toThrow('EALREADY');
    const socket = opened(4);
    watches.watch(socket, EVENT_OUT);
    await next(rounds);
    watches.stop();
    watches.stop();
    await nothing(rounds);
    watches.start(() => rounds.push([]));
    await next(rounds);
    watches.close();
    watches.close();
    await nothing(rounds);
    expect(watches.watch(socket, EVENT_OUT)).toBe(-EBADF);
    expect(() => watches.start(() => {})).toThrow('EBADF');
    watches.ref();
    watches.unref();
    watches.look();
  });
});

test.each([
  ['started', 'stayed'],
  ['unref', 'left'],
  ['unref-before-start', 'left'],
  ['ref-again', 'stayed'],
  ['stopped', 'left'],
  ['closed', 'left'],
])('the event loop, %s: %s', (how, word) => {
  const file = fileURLToPath(new URL('fixtures/watches-life.mjs', import.meta.url));
  const { stdout, stderr, status } = spawnSync(process.execPath, [file, how], { encoding: 'utf8', timeout: 20_000 });
  expect({ stdout, stderr, status }).toEqual({ stdout: `${word}\n`, stderr: '', status: 0 });
});

describe('pollDescriptors', () => {
  test('moves what is ready to the front; waits no longer than 100 ms; refuses what does not fit', async () => {
    const server = await serve({ host: '127.0.0.1' });
    const quiet = await connected(4, '127.0.0.1', server.port);
    const loud = await connected(4, '127.0.0.1', server.port);
    const [, peer] = [await server.accept(), await server.accept()];
    const triples = Int32Array.from([quiet, EVENT_IN, 7, loud, EVENT_IN, 7, loud, EVENT_IN | EVENT_OUT, 7]);
    const began = performance.now();
    expect(pollDescriptors(triples, 1, 60_000)).toBe(0);
    expect(performance.now() - began).toBeGreaterThanOrEqual(99);
    // Of the minute that it was told.
    expect(performance.now() - began).toBeLessThan(30_000);
    peer.write('x');
    await until(
      () => pollDescriptors(triples, 3, 0),
      (count) => count === 2,
    );
    expect([...triples.subarray(0, 6)]).toEqual([loud, EVENT_IN, 0, loud, EVENT_IN | EVENT_OUT, 0]);
    expect(pollDescriptors(triples, 0, 0)).toBe(0);
    expect(pollDescriptors(triples, 4, 0)).toBe(-EINVAL);
    expect(pollDescriptors(triples, -1, 0)).toBe(-EINVAL);
  });

  test('what is no descriptor of ours is said to be ready, and is not waited for', () => {
    const took = Array.from({ length: 20 }, () => {
      const triples = Int32Array.from([0, EVENT_IN, 0, 1_000_000, EVENT_IN, 0, -1, EVENT_IN, 0]);
      const began = performance.now();
      expect(pollDescriptors(triples, 3, 100)).toBe(3);
      return performance.now() - began;
    });
    // The thread may lose its core within any of them.
    expect(Math.min(...took)).toBeLessThan(90);
  });

  test('a wakeup is readable from the first send to the clear', () => {
    const wakeup = openWakeup();
    onTestFinished(() => wakeup.close());
    const look = (): number => pollDescriptors(Int32Array.from([wakeup.descriptor, EVENT_IN, 0]), 1, 0);
    expect(look()).toBe(0);
    for (let count = 0; count < 3; count++) wakeup.send();
    expect(look()).toBe(1);
    wakeup.clear();
    wakeup.clear();
    expect(look()).toBe(0);
  });
});
