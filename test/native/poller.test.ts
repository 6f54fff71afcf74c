/** The epoll poller: what it reports, and how it lives on the thread's event loop. */

import { spawnSync } from 'node:child_process';
import { closeSync, openSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { describe, expect, onTestFinished, test } from 'vitest';
import { openEpollPoller } from '../../src/worker/io/epoll-poller.ts';
import { EBADF, EINPROGRESS } from '../../src/worker/io/errno.ts';
import { EVENT_ERR, EVENT_IN, EVENT_OUT, type Poller } from '../../src/worker/io/io.ts';
import { nativeIo } from '../../src/worker/io/native-io.ts';
import { connected, opened, readSoon, serve } from './peer.ts';

const ENOENT = 2;
const EINVAL = 22;
const io = nativeIo();

function openPoller(): Poller {
  const poller = openEpollPoller();
  onTestFinished(() => poller.close());
  return poller;
}

/** Waits until something comes, as triples. */
async function waited(poller: Poller): Promise<number[][]> {
  for (const end = performance.now() + 10_000; performance.now() < end; ) {
    const count = poller.wait(0);
    if (count < 0) throw new Error(`wait answered ${count}`);
    if (count > 0)
      return Array.from({ length: count }, (_, index) => [...poller.events.slice(index * 3, index * 3 + 3)]);
    await delay(1);
  }
  throw new Error('nothing came');
}

describe('wait', () => {
  test('reports socket, events and tag, again and again while they hold', async () => {
    const server = await serve({ host: '127.0.0.1' });
    const socket = await connected(4, '127.0.0.1', server.port);
    const peer = await server.accept();
    const poller = openPoller();
    expect(poller.watch(socket, EVENT_IN, -2_000_000_001)).toBe(0);
    expect(poller.wait(0)).toBe(0);
    peer.write('x');
    expect(await waited(poller)).toEqual([[socket, EVENT_IN, -2_000_000_001]]);
    expect(await waited(poller)).toEqual([[socket, EVENT_IN, -2_000_000_001]]);
    expect(poller.watch(socket, EVENT_IN | EVENT_OUT, 0x8000_0001)).toBe(0); // 32 bits, whatever their sign
    expect(await waited(poller)).toEqual([[socket, EVENT_IN | EVENT_OUT, 0x8000_0001 | 0]]);
    expect(await readSoon(socket)).toBe(1);
    expect(await waited(poller)).toEqual([[socket, EVENT_OUT, 0x8000_0001 | 0]]);
    expect(poller.watch(socket, 0, 0)).toBe(0);
    expect(poller.wait(0)).toBe(0);
    expect(poller.watch(socket, 0, 0)).toBe(-ENOENT);
    expect(poller.watch(socket, EVENT_OUT, 5)).toBe(0);
    expect(await waited(poller)).toEqual([[socket, EVENT_OUT, 5]]);
  });

  test("the peer's FIN is readable; its reset is an error for everyone", async () => {
    const server = await serve({ host: '127.0.0.1' });
    const poller = openPoller();
    const half = await connected(4, '127.0.0.1', server.port);
    poller.watch(half, EVENT_IN, 1);
    const halfPeer = await server.accept();
    halfPeer.end();
    expect(await waited(poller)).toEqual([[half, EVENT_IN, 1]]);
    poller.watch(half, 0, 0);
    const reset = await connected(4, '127.0.0.1', server.port);
    poller.watch(reset, EVENT_IN, 2);
    (await server.accept()).resetAndDestroy();
    expect(await waited(poller)).toEqual([[reset, EVENT_IN | EVENT_OUT | EVENT_ERR, 2]]);
  });

  test('an unconnected socket is ready with an error, and connectResult sees through it', async () => {
    const poller = openPoller();
    const socket = opened(4);
    poller.watch(socket, EVENT_OUT, 3);
    expect(await waited(poller)).toEqual([[socket, EVENT_IN | EVENT_OUT | EVENT_ERR, 3]]);
    expect(io.connectResult(socket)).toBe(-EINPROGRESS);
  });

  test('a closed socket is forgotten, and its number is watched anew', async () => {
    const server = await serve({ host: '127.0.0.1' });
    const poller = openPoller();
    const first = await connected(4, '127.0.0.1', server.port);
    poller.watch(first, EVENT_OUT, 1);
    expect(await waited(poller)).toEqual([[first, EVENT_OUT, 1]]);
    io.close(first);
    expect(poller.wait(0)).toBe(0);
    expect(poller.watch(first, EVENT_OUT, 1)).toBe(-EBADF);
    const second = io.open(4);
    onTestFinished(() => void io.close(second));
    expect(second).toBe(first); // the kernel gives the lowest free number
    expect(poller.watch(second, EVENT_OUT, 2)).toBe(0);
    expect((await waited(poller))[0]?.[2]).toBe(2);
  });

  test('one socket in two pollers', async () => {
    const server = await serve({ host: '127.0.0.1' });
    const socket = await connected(4, '127.0.0.1', server.port);
    const [one, other] = [openPoller(), openPoller()];
    for (const tag of [1, 2]) {
      expect(one.watch(socket, EVENT_OUT, tag)).toBe(0);
      expect(other.watch(socket, EVENT_OUT, -tag)).toBe(0);
      expect(await waited(one)).toEqual([[socket, EVENT_OUT, tag]]);
      expect(await waited(other)).toEqual([[socket, EVENT_OUT, -tag]]);
    }
  });

  test('a socket outlives the poller that watched it, and a new poller of the same number adds it', async () => {
    const server = await serve({ host: '127.0.0.1' });
    const socket = await connected(4, '127.0.0.1', server.port);
    const first = openEpollPoller();
    first.watch(socket, EVENT_OUT, 1);
    first.close();
    first.close();
    const second = openPoller();
    expect(first.watch(socket, EVENT_OUT, 1)).toBe(-EBADF);
    expect(first.wait(0)).toBe(-EBADF);
    expect(second.wait(0)).toBe(0);
    expect(second.watch(socket, EVENT_OUT, 2)).toBe(0);
    expect(await waited(second)).toEqual([[socket, EVENT_OUT, 2]]);
  });

  test('more sockets than one wait holds come in the next', async () => {
    const poller = openPoller();
    const sockets = Array.from({ length: 1500 }, () => opened(4));
    for (const socket of sockets) poller.watch(socket, EVENT_OUT, socket);
    const seen = new Set<number>();
    expect(poller.wait(0)).toBe(1024);
    for (let turn = 0; turn < 3; turn++) {
      const count = poller.wait(0);
      for (let index = 0; index < count; index++) seen.add(poller.events[index * 3] ?? -1);
    }
    expect(seen.size).toBe(1500);
  });

  test('strangers and unknown wishes are refused', () => {
    const poller = openPoller();
    const foreign = openSync('/dev/null', 'r');
    onTestFinished(() => closeSync(foreign));
    for (const descriptor of [0, foreign, -1, 2 ** 31]) expect(poller.watch(descriptor, EVENT_IN, 0)).toBe(-EBADF);
    expect(poller.watch(opened(4), EVENT_ERR, 0)).toBe(-EINVAL);
    expect(poller.watch(opened(4), -1, 0)).toBe(-EINVAL);
  });

  test('waits as long as it is told, never over 100 ms', () => {
    const poller = openPoller();
    const took = (timeoutMs: number) => {
      const start = io.now();
      expect(poller.wait(timeoutMs)).toBe(0);
      return io.now() - start;
    };
    // The shortest of many: the thread may lose its core within any of them.
    expect(Math.min(...Array.from({ length: 50 }, () => took(0)))).toBeLessThan(0.9);
    expect(took(0.25)).toBeGreaterThanOrEqual(0.9);
    expect(took(30)).toBeGreaterThanOrEqual(29);
    for (const long of [1e9, -1, Number.POSITIVE_INFINITY, Number.NaN]) {
      const ms = took(long);
      expect(ms).toBeGreaterThanOrEqual(99);
      expect(ms).toBeLessThan(8_000);
    }
  });
});

describe('on the event loop', () => {
  test('calls back while something is ready; not after stop; again after start', async () => {
    const server = await serve({ host: '127.0.0.1' });
    const socket = await connected(4, '127.0.0.1', server.port);
    const poller = openPoller();
    poller.watch(socket, EVENT_IN, 9);
    const peer = await server.accept();
    for (let round = 0; round < 3; round++) {
      let calls = 0;
      const ready = new Promise<void>((resolve) => {
        poller.start(() => {
          calls++;
          if (poller.wait(0) === 1) io.read(socket);
          poller.stop(); // inside its own callback
          resolve();
        });
      });
      expect(() => poller.start(() => {})).toThrow('EALREADY');
      await delay(5);
      expect(calls).toBe(0);
      peer.write('x');
      await ready;
      peer.write('y');
      await delay(5);
      expect(calls).toBe(1);
      await readSoon(socket);
    }
    poller.stop();
  });

  test('may be closed inside its own callback, and refuses to start after', async () => {
    const poller = openPoller();
    poller.watch(opened(4), EVENT_OUT, 0);
    let calls = 0;
    await new Promise<void>((resolve) => {
      poller.start(() => {
        calls++;
        poller.close();
        resolve();
      });
    });
    await delay(5);
    expect(calls).toBe(1);
    expect(() => poller.start(() => {})).toThrow('EBADF');
    poller.stop();
    poller.ref();
    poller.unref();
  });

  test('start wants a function', () => {
    const poller = openPoller();
    expect(() => poller.start(undefined as unknown as () => void)).toThrow('EINVAL');
  });

  test('many pollers come and go', async () => {
    for (let round = 0; round < 200; round++) {
      const poller = openEpollPoller();
      poller.start(() => {});
      if (round % 3 === 0) poller.stop();
      if (round % 5 === 0) await delay(0);
      poller.close();
    }
  });

  test.each(['ref', 'unref', 'unref-before-start', 'stopped', 'ref-again'])(
    '%s decides whether the process stays',
    (how) => {
      const fixture = fileURLToPath(new URL('fixtures/poller-life.mjs', import.meta.url));
      const child = spawnSync(process.execPath, [fixture, how], { encoding: 'utf8', timeout: 20_000 });
      expect(child.signal).toBe(null);
      expect(child.stdout.trim()).toBe(how.startsWith('ref') ? 'stayed' : 'left');
    },
  );

  test('what onReady throws is an uncaught exception, and the next callback still comes', () => {
    const fixture = fileURLToPath(new URL('fixtures/poller-throws.mjs', import.meta.url));
    const child = spawnSync(process.execPath, [fixture], { encoding: 'utf8', timeout: 20_000 });
    expect(child.stdout.trim().split('\n')).toEqual([
      'caught: thrown 1',
      'caught: null',
      'caught: undefined',
      'called 4 context kept',
    ]);
    expect(child.status).toBe(0);
    const uncaught = spawnSync(process.execPath, [fixture, 'uncaught'], { encoding: 'utf8', timeout: 20_000 });
    expect(uncaught.stderr).toContain('Error: thrown 1');
    expect(uncaught.status).toBe(1);
  });
});
