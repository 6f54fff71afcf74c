/** A 20, J 140 and 142, and what a slow or a fast reader does to the rest: bodies that are long, in time or in bytes. */

import { setTimeout as delay } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { Pool, TransferError } from 'shardfetch';
import { expect, onTestFinished, test } from 'vitest';
import { checkStats, expectNoSocketLeaks, poolFor, rejection } from '../wire/checks.ts';
import { answer, rawPeer, request, send, sendApart, serve, wait } from '../wire/raw-peer.ts';
import { checkNothingIsLeft, descriptorCount } from './checks.ts';

expectNoSocketLeaks();

/** A server on a thread of its own, which sends this block again and again. */
async function firehose(
  head: string,
  block: string,
  times: number,
  tail: string,
): Promise<{ url: string; sent(): number }> {
  const sent = new Int32Array(new SharedArrayBuffer(4));
  const worker = new Worker(FIREHOSE, { eval: true, workerData: { sent, head, block, times, tail } });
  onTestFinished(async () => {
    await worker.terminate();
  });
  const port = await new Promise<number>((resolve) => {
    worker.once('message', resolve);
  });
  return { url: `http://127.0.0.1:${port}/`, sent: () => Atomics.load(sent, 0) };
}

const FIREHOSE = `
const net = require('node:net');
const { parentPort, workerData: { sent, head, block, times, tail } } = require('node:worker_threads');
const bytes = Buffer.from(block, 'latin1');
net.createServer((socket) => {
  socket.on('error', () => undefined);
  socket.once('data', () => {
    let left = times;
    const pump = () => {
      while (left > 0) {
        left--;
        Atomics.add(sent, 0, 1);
        if (!socket.write(bytes)) { socket.once('drain', pump); return; }
      }
      socket.write(tail, 'latin1');
    };
    socket.write(head, 'latin1');
    pump();
  });
}).listen(0, '127.0.0.1', function () { parentPort.postMessage(this.address().port); });
`;

const CHUNKED = 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n';

// 60 MB to take apart, seconds of computing on a busy machine.
test('20: ten million chunks of one byte: memory bounded, and the shard serves others meanwhile', {
  timeout: 120_000,
}, async () => {
  const pool = poolFor();
  const good = await rawPeer(serve(send(answer('good'))));
  await (await pool.fetch(good.url)).text();
  const chunks = 10_000_000;
  const block = 10_000;
  const peer = await firehose(CHUNKED, '1\r\nx\r\n'.repeat(block), chunks / block, '0\r\n\r\n');
  const memory = process.memoryUsage().rss;
  let received = 0;
  let pieces = 0;
  const started = performance.now();
  const reading = (async () => {
    for await (const piece of (await pool.fetch(peer.url)).body ?? []) {
      received += (piece as Uint8Array).length;
      pieces++;
    }
  })();
  let slowest = 0;
  let served = 0;
  let done = false;
  void reading.finally(() => {
    done = true;
  });
  while (!done) {
    const begun = performance.now();
    expect(await (await pool.fetch(good.url)).text()).toBe('good');
    slowest = Math.max(slowest, performance.now() - begun);
    served++;
    await delay(5);
  }
  await reading;
  const wholeMs = performance.now() - started;
  expect(received).toBe(chunks);
  // Coalesced before they cross threads: one read of the socket holds thousands of chunks.
  expect(pieces).toBeLessThan(chunks / 100);
  expect(served).toBeGreaterThan(5);
  // A turn is one read of 128 KiB, some milliseconds; busy cores may make others wait, never for the whole body.
  expect(slowest).toBeLessThan(Math.max(1000, wholeMs / 2));
  expect(process.memoryUsage().rss - memory).toBeLessThan(200 * 1024 * 1024);
  await checkStats(pool, { inFlight: 0, failed: 0 });
});

test('142: a body without end and a reader that stops: the socket is not read beyond the window, and goes on', async () => {
  const pool = poolFor();
  const block = 64 * 1024;
  const peer = await firehose('HTTP/1.1 200 OK\r\n\r\n', 'x'.repeat(block), 1_000_000, '');
  await pool.stats();
  const before = descriptorCount();
  const response = await pool.fetch(peer.url);
  const reader = (response.body as ReadableStream<Uint8Array>).getReader();
  await reader.read();
  const settled = async (): Promise<number> => {
    for (let last = -1; ; ) {
      const now = peer.sent();
      if (now === last) return now;
      last = now;
      await delay(150);
    }
  };
  const held = await settled();
  // The window of one body, and what the kernel holds at both ends.
  const [shard] = (await pool.stats()).shards;
  expect(shard?.unreadBytes).toBeLessThanOrEqual(1024 * 1024 + 128 * 1024);
  expect(held * block).toBeLessThan(24 * 1024 * 1024);
  expect(shard?.running).toBe(1);
  // It goes on where it stopped, as far as the reader goes.
  let read = 0;
  while (read < 40 * 1024 * 1024) read += (await reader.read()).value?.length ?? 0;
  expect(peer.sent()).toBeGreaterThan(held);
  await reader.cancel();
  await checkNothingIsLeft(pool, before);
});

test('138: a body of one byte at a time lives under its idle clock, as long as it likes', async () => {
  // Twenty times as long as a pause: a busy machine does not make one of it.
  const bodyIdleMs = 2000;
  const pool = poolFor({ timeouts: { bodyIdleMs } });
  const text = 'slow and well, but steady';
  const peer = await rawPeer([
    request(),
    send(`HTTP/1.1 200 OK\r\nContent-Length: ${text.length}\r\n\r\n`),
    sendApart(text, 100),
  ]);
  const begun = performance.now();
  expect(await (await pool.fetch(peer.url)).text()).toBe(text);
  expect(performance.now() - begun).toBeGreaterThan(bodyIdleMs);
});

test.each([
  // Time enough for the quick one to be quick on a busy machine.
  { where: 'the pool', options: { pace: { lowSpeedBytesPerSecond: 50, lowSpeedMs: 2000 } }, init: {} },
  { where: 'the request', options: {}, init: { pace: { lowSpeedBytesPerSecond: 50, lowSpeedMs: 2000 } } },
])('138: where $where asks for a least speed, such a body fails', async ({ options, init }) => {
  const pool = poolFor(options);
  await pool.stats();
  const before = descriptorCount();
  const drip = await rawPeer([
    request(),
    send('HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n'),
    sendApart('x'.repeat(100), 100),
  ]);
  const quick = await rawPeer(serve(send('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')));
  const dripping = await pool.fetch(drip.url, init);
  const error = (await rejection(dripping.text())) as TransferError;
  expect(error).toMatchObject({ message: 'terminated', code: 'RATE_TOO_LOW' });
  expect(error.cause).toMatchObject({
    limit: 'pace.lowSpeedBytesPerSecond',
    message: expect.stringMatching(/lower pace\.lowSpeedBytesPerSecond \(50\) or raise pace\.lowSpeedMs/),
  });
  expect(await (await pool.fetch(quick.url, init)).text()).toBe('ok');
  await drip.close();
  await quick.close();
  await checkNothingIsLeft(pool, before);
});

test("a request's own pace goes before its pool's", async () => {
  const pool = poolFor({ pace: { maxReceiveBytesPerSecond: 100_000 } });
  const bytes = 50_000;
  const peer = await rawPeer(serve(send(`HTTP/1.1 200 OK\r\nContent-Length: ${bytes}\r\n\r\n`, 'x'.repeat(bytes))));
  const timed = async (init: object): Promise<number> => {
    const begun = performance.now();
    expect((await (await pool.fetch(peer.url, init)).arrayBuffer()).byteLength).toBe(bytes);
    return performance.now() - begun;
  };
  expect(await timed({})).toBeGreaterThan(250);
  expect(await timed({ pace: { maxReceiveBytesPerSecond: 50_000 } })).toBeGreaterThan(500);
});

test('140: the wall clock jumps an hour either way: no clock of ours runs out, and none stands still', async () => {
  const real = Date.now;
  onTestFinished(() => {
    Date.now = real;
  });
  const pool = poolFor({ shards: 0, timeouts: { headMs: 20_000, bodyIdleMs: 20_000, totalMs: 25_000 } });
  // Its shard is loaded before any clock runs.
  await pool.stats();
  for (const jump of [3_600_000, -3_600_000]) {
    const slow = await rawPeer([
      request(),
      wait(50),
      send('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n'),
      wait(50),
      send('ok'),
    ]);
    const silent = await rawPeer([request()]);
    const answered = pool.fetch(slow.url).then((response) => response.text());
    const begun = performance.now();
    const late = rejection(pool.fetch(silent.url, { timeouts: { headMs: 150 } }));
    Date.now = () => real() + jump;
    expect(await answered).toBe('ok');
    expect(await late).toMatchObject({ code: 'HEAD_TIMEOUT' });
    expect(performance.now() - begun).toBeGreaterThanOrEqual(149);
    // Far below the hour, and below what a busy machine takes.
    expect(performance.now() - begun).toBeLessThan(10_000);
    Date.now = real;
  }
});

test('136 and 137: five clocks, five codes, each on time', async () => {
  const pool = new Pool({ shards: 1, connections: { perOrigin: 1 } });
  // Its thread is there before any clock runs.
  await pool.stats();
  const silent = await rawPeer([request()]);
  const late: Record<string, number> = {};
  const time = async (name: string, failing: Promise<unknown>): Promise<void> => {
    const begun = performance.now();
    const error = await rejection(failing);
    late[name] = performance.now() - begun;
    expect(TransferError.is((error as Error).cause)).toBe(true);
    expect(error).toMatchObject({ code: name });
  };
  const half = await rawPeer([request(), send('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf')]);
  const timed = await rawPeer([request()]);
  await Promise.all([
    time('HEAD_TIMEOUT', pool.fetch(silent.url, { timeouts: { headMs: 200 } })),
    time('QUEUE_TIMEOUT', pool.fetch(silent.url, { timeouts: { queueMs: 100 } })),
    time(
      'BODY_TIMEOUT',
      pool.fetch(half.url, { timeouts: { bodyIdleMs: 200 } }).then((response) => response.text()),
    ),
    time('TOTAL_TIMEOUT', pool.fetch(timed.url, { timeouts: { totalMs: 200 } })),
  ]);
  for (const [name, ms] of Object.entries(late)) {
    const due = name === 'QUEUE_TIMEOUT' ? 100 : 200;
    expect(ms, name).toBeGreaterThanOrEqual(due - 1);
    // The clock's own time and a busy machine's, but not that of a default clock.
    expect(ms, name).toBeLessThan(due + 10_000);
  }
  await checkStats(pool, { failed: 4, inFlight: 0 });
  await pool.close();
});
