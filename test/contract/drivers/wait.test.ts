/** perform, wait, poll and wakeup: the multi without any event loop (libcurl: curl_multi_perform and its family; curl's tests 1564, 1565, 2405). */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { describe, expect, onTestFinished, test } from 'vitest';
import { sendWakeup } from '../../../src/worker/io/wakeup.ts';
import { Multi, type MultiOptions, WATCH_IN, WATCH_OUT } from '../../../src/worker/multi/index.ts';
import { type Got, get, Names, Rig, type ServerConnection, StillClock, serve } from '../rig.ts';

/** No callback is installed: nothing but the multi itself tells it what to do. */
function bare(options: MultiOptions = {}): Multi {
  const multi = new Multi(options);
  onTestFinished(() => multi.close());
  return multi;
}

/** The servers of a test live in this thread, so they get their turn in between. */
async function performUntil(multi: Multi, wanted: () => boolean): Promise<void> {
  const end = performance.now() + 20_000;
  while (!wanted()) {
    multi.wait(0);
    multi.perform();
    await new Promise(setImmediate);
    if (performance.now() > end) throw new Error(`it did not come; ${JSON.stringify(multi.stats())}`);
  }
}

/** A server in a process of its own, which answers while this thread waits. Its port. */
async function farServer(afterMs = 0): Promise<number> {
  const script = `import net from 'node:net';
    const answer = 'HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok';
    const server = net.createServer((socket) => {
      socket.on('error', () => {});
      socket.on('data', () => setTimeout(() => socket.write(answer), ${afterMs}));
    });
    server.listen(0, '127.0.0.1', () => console.log(server.address().port));
    process.stdin.resume().on('end', () => process.exit());`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: ['pipe', 'pipe', 'inherit'] });
  onTestFinished(() => void child.stdin.end());
  const [line] = await once(child.stdout, 'data');
  return Number(String(line));
}

/** Drives nothing until so many sockets are ready. */
async function arrived(multi: Multi, count: number): Promise<void> {
  await expect.poll(() => multi.wait(0), { interval: 5, timeout: 8_000 }).toBe(count);
}

function took(call: () => void): number {
  const began = performance.now();
  call();
  return performance.now() - began;
}

describe('perform', () => {
  test('runs transfers from their start to their end without any callback, and answers how many run', async () => {
    const server = await serve((connection) => setTimeout(() => connection.reply(), 5));
    const multi = bare({ maxHostConnections: 2 });
    const all = Array.from({ length: 5 }, () => get({ url: server.url }));
    for (const { transfer } of all) multi.add(transfer);
    expect(multi.perform()).toBe(5);
    await performUntil(multi, () => multi.running === 0);
    expect(all.map((got) => got.body)).toEqual(Array(5).fill('ok'));
    expect([...multi.messages()].map(({ error }) => error)).toEqual(Array(5).fill(null));
    expect(multi.perform()).toBe(0);
    // Idle connections are watched all the same: a close is seen.
    expect(multi.stats()).toMatchObject({ idle: 2 });
    for (const { socket } of server.connections) socket.end();
    await performUntil(multi, () => multi.stats().idle === 0);
  });

  test('names are looked up', async () => {
    const server = await serve();
    const names = new Names();
    const rig = new Rig({ io: names.io, driving: 'perform' });
    const got = get({ url: `http://name.test:${server.port}/` });
    rig.multi.add(got.transfer);
    rig.multi.perform();
    names.answer(rig, 1, ['127.0.0.1']);
    expect(await rig.end(got.transfer)).toBeNull();
  });

  test('clocks run out by it, and an answer that waited in its socket is no timeout (hostile/139)', async () => {
    const held: ServerConnection[] = [];
    const server = await serve((connection) => held.push(connection));
    const clock = new StillClock();
    const multi = bare({ io: clock.io });
    const late = get({ url: server.url, timeouts: { headMs: 100 } });
    const never = get({ url: server.url, timeouts: { headMs: 100 } });
    multi.add(never.transfer);
    await performUntil(multi, () => held.length === 1);
    multi.add(late.transfer);
    await performUntil(multi, () => held.length === 2);
    held[1]?.reply('late');
    await arrived(multi, 1);
    clock.passes(150);
    multi.perform();
    expect(late).toMatchObject({ body: 'late' });
    expect(late.transfer.error).toBeNull();
    expect(never.transfer.error).toMatchObject({ code: 'HEAD_TIMEOUT' });
  });

  test('callbacks that are installed are told as ever', async () => {
    const server = await serve();
    const multi = bare();
    const told: number[] = [];
    const timers: number[] = [];
    multi.socketFunction((_transfer, _socket, what) => void told.push(what));
    multi.timerFunction((ms) => void timers.push(ms));
    const { transfer } = get({ url: server.url });
    multi.add(transfer);
    await performUntil(multi, () => multi.running === 0);
    expect(told).toEqual([WATCH_OUT, WATCH_IN]);
    expect(timers[0]).toBe(0);
  });
});

describe('wait and poll', () => {
  test('wait returns at once when there is no socket to wait for; poll sleeps', () => {
    const multi = bare();
    expect(took(() => expect(multi.wait(20_000)).toBe(0))).toBeLessThan(8_000);
    const slept = took(() => expect(multi.poll(150)).toBe(0));
    expect(slept).toBeGreaterThanOrEqual(149);
    expect(slept).toBeLessThan(8_000);
    expect(took(() => multi.poll(0))).toBeLessThan(8_000);
  });

  test('they answer how many sockets are ready, handle none, and say so again', async () => {
    const held: ServerConnection[] = [];
    const server = await serve((connection) => held.push(connection));
    const multi = bare();
    const all = [get({ url: server.url }), get({ url: server.url }), get({ url: server.url })];
    for (const { transfer } of all) multi.add(transfer);
    await performUntil(multi, () => held.length === 3);
    expect(multi.wait(0)).toBe(0);
    held[0]?.reply();
    held[2]?.reply();
    await arrived(multi, 2);
    for (let again = 0; again < 3; again++) {
      expect(multi.wait(5_000)).toBe(2);
      expect(multi.poll(5_000)).toBe(2);
    }
    expect(multi.running).toBe(3);
    expect(multi.perform()).toBe(1);
    expect(multi.wait(0)).toBe(0);
  });

  test('they end when the timer is due, to the millisecond', async () => {
    const server = await serve(() => undefined);
    const multi = bare();
    const { transfer } = get({ url: server.url, timeouts: { headMs: 1_000 } });
    multi.add(transfer);
    expect(took(() => multi.wait(20_000))).toBeLessThan(8_000);
    await performUntil(multi, () => server.requests.length === 1);
    let left = 0;
    const waited = took(() => {
      left = multi.getTimeout();
      expect(multi.poll(25_000)).toBe(0);
    });
    expect(waited).toBeGreaterThanOrEqual(left - 1);
    expect(waited).toBeLessThan(left + 8_000);
    expect(multi.perform()).toBe(0);
    expect(transfer.error).toMatchObject({ code: 'HEAD_TIMEOUT' });
  });

  test('a paused transfer is not waited for', async () => {
    const server = await serve((connection) => {
      connection.socket.write('HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf');
    });
    const multi = bare();
    const got: Got = get({ url: server.url, timeouts: { bodyIdleMs: 0 } });
    multi.add(got.transfer);
    await performUntil(multi, () => got.body === 'half');
    got.transfer.pause();
    server.last.socket.write('rest');
    await delay(30);
    expect(multi.wait(2_000)).toBe(0);
    expect(took(() => expect(multi.poll(100)).toBe(0))).toBeGreaterThanOrEqual(99);
    got.transfer.unpause();
    await performUntil(multi, () => got.ended === 1);
    expect(got.body).toBe('halfrest');
  });

  test('a program that never returns to an event loop', async () => {
    const port = await farServer(30);
    const multi = bare();
    const all = Array.from({ length: 30 }, () => get({ url: `http://127.0.0.1:${port}/` }));
    for (const { transfer } of all) multi.add(transfer);
    let turns = 0;
    const end = performance.now() + 20_000;
    while (multi.perform() > 0 && performance.now() < end) {
      turns++;
      multi.poll(1_000);
    }
    expect(all.every((got) => got.body === 'ok')).toBe(true);
    // It slept: a loop that spins would have turned thousands of times.
    expect(turns).toBeLessThan(500);
  });

  test('1,600 sockets are waited for at once', async () => {
    const held: ServerConnection[] = [];
    const server = await serve((connection) => held.push(connection));
    const multi = bare();
    // A listener holds 511 that it has not accepted.
    for (let batch = 1; batch <= 4; batch++) {
      for (let count = 0; count < 400; count++) multi.add(get({ url: server.url }).transfer);
      multi.perform();
      // It accepts one in each round of the loop, and perform looks at all.
      while (server.connections.length < batch * 400) await new Promise(setImmediate);
      await performUntil(multi, () => held.length === batch * 400);
    }
    expect(multi.wait(0)).toBe(0);
    for (let index = 0; index < 1_600; index += 2) held[index]?.reply();
    await performUntil(multi, () => multi.running === 800);
    expect(multi.wait(0)).toBe(0);
  }, 120_000);

  test.each([-1, Number.NaN, undefined, 'soon'])('%o is no time to wait', (timeoutMs) => {
    const multi = bare();
    for (const call of [() => multi.wait(timeoutMs as number), () => multi.poll(timeoutMs as number)]) {
      expect(call).toThrow(expect.objectContaining({ name: 'MultiError', code: 'BAD_FUNCTION_ARGUMENT' }));
    }
  });

  test('contract/rule-44 all are refused inside callbacks, save wakeup, and after close', async () => {
    const server = await serve();
    const multi = bare();
    const codes: string[] = [];
    const calls = (): (() => unknown)[] => [() => multi.perform(), () => multi.wait(10), () => multi.poll(10)];
    const attempt = (): void => {
      for (const call of calls()) {
        try {
          call();
          codes.push('none');
        } catch (error) {
          codes.push((error as { code: string }).code);
        }
      }
      multi.wakeup();
    };
    multi.socketFunction(attempt);
    multi.timerFunction(attempt);
    const got = get({ url: server.url, onHead: attempt, onData: attempt, onEnd: attempt });
    multi.add(got.transfer);
    await performUntil(multi, () => multi.running === 0);
    expect(codes.length).toBeGreaterThan(15);
    expect(new Set(codes)).toEqual(new Set(['RECURSIVE_API_CALL']));
    multi.socketFunction(null);
    multi.timerFunction(null);
    multi.close();
    for (const call of [...calls(), () => multi.wakeup(), () => multi.wakeupHandle]) {
      expect(call).toThrow(expect.objectContaining({ code: 'BAD_HANDLE' }));
    }
  });
});

describe('wakeup', () => {
  test('is remembered when nobody waits, many are one, it does not count, and wait does not use it up', () => {
    const multi = bare();
    for (let count = 0; count < 1_000; count++) multi.wakeup();
    multi.wait(0);
    expect(took(() => expect(multi.poll(20_000)).toBe(0))).toBeLessThan(8_000);
    expect(took(() => multi.poll(100))).toBeGreaterThanOrEqual(99);
  });

  test('beside a ready socket both are told at once', async () => {
    const held: ServerConnection[] = [];
    const server = await serve((connection) => held.push(connection));
    const multi = bare();
    multi.add(get({ url: server.url }).transfer);
    await performUntil(multi, () => held.length === 1);
    held[0]?.reply();
    await arrived(multi, 1);
    multi.wakeup();
    expect(multi.poll(5_000)).toBe(1);
    multi.perform();
    expect(took(() => expect(multi.poll(100)).toBe(0))).toBeGreaterThanOrEqual(99);
  });

  test('ends the poll of another thread, by a number that outlives its multi', { timeout: 30_000 }, async () => {
    const worker = new Worker(new URL('fixtures/polls.mjs', import.meta.url));
    onTestFinished(() => void worker.terminate());
    const [{ handle }] = await once(worker, 'message');
    for (let round = 0; round < 3; round++) {
      await delay(100);
      // The clock is the machine's: all threads have the same.
      const sentMs = Number(process.hrtime.bigint()) / 1e6;
      expect(sendWakeup(handle)).toBe(true);
      const [{ endedMs }] = await once(worker, 'message');
      expect(endedMs).toBeGreaterThanOrEqual(sentMs);
      // It would wait for a minute.
      expect(endedMs - sentMs).toBeLessThan(8_000);
    }
    worker.terminate();
    await once(worker, 'exit');
    // Its descriptor may be another's by now; nothing is sent to it.
    expect(sendWakeup(handle)).toBe(false);
    for (const unknown of [0, -1, 2 ** 52, Number.NaN]) expect(sendWakeup(unknown)).toBe(false);
  });

  test('a worker in a long poll is terminated within a moment', async () => {
    const worker = new Worker(new URL('fixtures/polls.mjs', import.meta.url));
    await once(worker, 'message');
    await delay(150);
    const began = performance.now();
    await worker.terminate();
    expect(performance.now() - began).toBeLessThan(8_000);
  });

  test('threads that wake, and multis that come and go, at every moment', { timeout: 60_000 }, async () => {
    const file = fileURLToPath(new URL('fixtures/wakes.mjs', import.meta.url));
    const child = spawn(process.execPath, [file], { stdio: ['ignore', 'pipe', 'pipe'] });
    let out = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk) => {
        out += chunk;
      });
    }
    const [code, signal] = await once(child, 'close');
    expect({ code, signal, out }).toEqual({
      code: 0,
      signal: null,
      out: expect.stringMatching(/^woken [1-9]\d* leaked 0\n$/),
    });
  });
});
