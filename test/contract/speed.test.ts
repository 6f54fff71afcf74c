/** CONTRACT.md §2.12: speed limits both ways (rule 78) and the least speed (rule 75, CURLOPT_LOW_SPEED_LIMIT). */

import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { PAUSE, Transfer } from '../../src/worker/multi/index.ts';
import { get, Rig, type ServerConnection, StillClock, serve } from './rig.ts';

const KILOBYTE = 'x'.repeat(1000);

/** Drives until the transfer has ended; how long it took, and how many driving calls it needed. */
async function measure(rig: Rig, transfer: Transfer): Promise<{ ms: number; calls: number }> {
  const { multi } = rig;
  let calls = 0;
  const began = performance.now();
  while (transfer.info.state !== 'done') {
    for (const [socket, events] of rig.ready()) {
      calls++;
      multi.action(socket, events);
    }
    const timers = rig.timers.length;
    rig.fireTimer();
    if (rig.timers.length > timers) calls++;
    await delay(1);
    expect(performance.now() - began, 'the transfer hangs').toBeLessThan(20_000);
  }
  return { ms: performance.now() - began, calls };
}

describe('speed limits', () => {
  test.each([
    ['with a length', `HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n${KILOBYTE.repeat(50)}`],
    ['chunked', `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nc350\r\n${KILOBYTE.repeat(50)}\r\n0\r\n\r\n`],
  ])('contract/rule-78 a download %s keeps to its limit by unwatching and a timer', async (_framing, response) => {
    const server = await serve((connection) => connection.socket.write(response));
    const rig = new Rig();
    const got = get({ url: server.url, maxReceiveBytesPerSecond: 100_000 });
    rig.multi.add(got.transfer);
    const { ms, calls } = await measure(rig, got.transfer);
    expect(got.body.length).toBe(50_000);
    // Half a second at the rate, less the first burst of a tenth of one.
    expect(ms).toBeGreaterThan(380);
    // Unwatched in between, so no event comes that moves nothing: ten bursts a second, two calls each, and what begins and ends it.
    expect(calls).toBeLessThan(30);
    expect(rig.whats.filter((what) => what === 4).length).toBeGreaterThanOrEqual(3);
  });

  test('contract/rule-78 a body received in place keeps to its limit too', async () => {
    const server = await serve((connection) => connection.reply(KILOBYTE.repeat(40)));
    const rig = new Rig();
    const target = new Uint8Array(40_000);
    const transfer = new Transfer({
      url: server.url,
      maxReceiveBytesPerSecond: 100_000,
      onHead: (begun) => begun.receiveInto(target),
    });
    rig.multi.add(transfer);
    const { ms } = await measure(rig, transfer);
    expect(ms).toBeGreaterThan(280);
    expect(Buffer.from(target).toString()).toBe(KILOBYTE.repeat(40));
  });

  test.each(['bytes', 'source'] as const)('contract/rule-78 an upload from %s keeps to its limit', async (from) => {
    // The wait for the answer is not what is measured.
    const server = await serve(() => undefined);
    const rig = new Rig();
    let left = 50;
    const got = get({
      url: server.url,
      method: 'PUT',
      body:
        from === 'bytes'
          ? KILOBYTE.repeat(50)
          : { length: 50_000, read: () => (left-- > 0 ? Buffer.from(KILOBYTE) : null) },
      maxSendBytesPerSecond: 100_000,
    });
    rig.multi.add(got.transfer);
    const began = performance.now();
    await rig.until(() => got.transfer.info.state === 'waiting', 'the end of the upload');
    expect(performance.now() - began).toBeGreaterThan(380);
    expect(got.transfer.info.bytesSent).toBeGreaterThan(50_000);
    // Never watched for writing: the socket could always take more.
    expect(rig.whats.filter((what) => what === 3)).toEqual([]);
    rig.multi.remove(got.transfer);
  });

  test('contract/rule-78 a rate below ten bytes a second moves single bytes; other transfers are not slowed down', async () => {
    const server = await serve();
    const rig = new Rig();
    const slow = get({ url: `${server.url}${'slow'.repeat(100)}`, maxSendBytesPerSecond: 5 });
    const began = performance.now();
    rig.multi.add(slow.transfer);
    rig.step();
    for (let count = 0; count < 10; count++) expect((await rig.fetch({ url: server.url })).error).toBeNull();
    await rig.drive(700);
    await rig.until(() => slow.transfer.info.bytesSent > 1);
    // One more at the beginning.
    expect(slow.transfer.info.bytesSent).toBeLessThanOrEqual(1 + ((performance.now() - began) / 1000) * 5);
  });

  test('contract/rule-78 the body clock stands still while the limit holds the transfer', async () => {
    const server = await serve((connection) => connection.reply('abc'));
    const rig = new Rig();
    const got = get({ url: server.url, maxReceiveBytesPerSecond: 20, timeouts: { bodyIdleMs: 30 } });
    rig.multi.add(got.transfer);
    expect(await rig.end(got.transfer)).toBeNull();
    expect(got.body).toBe('abc');
  });

  test('contract/rule-78 pause and unpause of a transfer that waits for its limit', async () => {
    const server = await serve((connection) => connection.reply(KILOBYTE.repeat(20)));
    const rig = new Rig();
    const got = get({ url: server.url, maxReceiveBytesPerSecond: 100_000 });
    rig.multi.add(got.transfer);
    await rig.until(() => got.body.length > 5_000);
    got.transfer.pause();
    const { length } = got.body;
    await rig.drive(250);
    expect(got.body.length).toBe(length);
    got.transfer.unpause();
    expect(await rig.end(got.transfer)).toBeNull();
    expect(got.body.length).toBe(20_000);
  });

  test('contract/rule-78 what is removed or closed while it waits leaves no timer', async () => {
    const server = await serve((connection) => connection.reply(KILOBYTE.repeat(100)));
    const rig = new Rig({ maxConnects: 0 });
    const got = get({ url: server.url, maxReceiveBytesPerSecond: 10_000, timeouts: { bodyIdleMs: 0, headMs: 0 } });
    rig.multi.add(got.transfer);
    await rig.until(() => got.body.length > 0);
    await rig.until(() => rig.due !== Number.POSITIVE_INFINITY);
    rig.multi.remove(got.transfer);
    expect(rig.due).toBe(Number.POSITIVE_INFINITY);
    expect(rig.multi.getTimeout()).toBe(-1);
    expect(rig.multi.stats().bytesIn).toBe(got.body.length);
  });
});

describe('the least speed', () => {
  test('contract/rule-75 a body that drips ends with RATE_TOO_LOW', async () => {
    const dripping: NodeJS.Timeout[] = [];
    const server = await serve((connection) => {
      connection.socket.write('HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n');
      dripping.push(setInterval(() => connection.socket.write('x'), 20));
    });
    const rig = new Rig();
    const got = get({ url: server.url, lowSpeedBytesPerSecond: 1_000, lowSpeedMs: 200 });
    rig.multi.add(got.transfer);
    const error = await rig.end(got.transfer);
    for (const timer of dripping) clearInterval(timer);
    expect(error).toMatchObject({
      code: 'RATE_TOO_LOW',
      blame: 'clock',
      limit: 'lowSpeedBytesPerSecond',
      phase: 'body',
    });
    // The first window has the request's bytes in it.
    expect(got.transfer.timings.end).toBeGreaterThan(190);
  });

  test('contract/rule-75 a server that answers nothing, or takes nothing, is too slow as well', async () => {
    const server = await serve((connection) => void connection.socket.pause());
    const rig = new Rig();
    const pace = { lowSpeedBytesPerSecond: 1, lowSpeedMs: 150 };
    const silent = get({ url: server.url, ...pace });
    const stalled = get({ url: server.url, method: 'PUT', body: new Uint8Array(32 * 1024 * 1024), ...pace });
    rig.multi.add(silent.transfer);
    rig.multi.add(stalled.transfer);
    expect(await rig.end(silent.transfer)).toMatchObject({ code: 'RATE_TOO_LOW', phase: 'head' });
    expect(await rig.end(stalled.transfer)).toMatchObject({ code: 'RATE_TOO_LOW', phase: 'send' });
  });

  test('contract/rule-75 it is off while paused, whichever way, and starts over at unpause', async () => {
    const held: ServerConnection[] = [];
    const server = await serve((connection) => void held.push(connection));
    const clock = new StillClock();
    const rig = new Rig({ io: clock.io });
    const got = get({ url: server.url, lowSpeedBytesPerSecond: 100, lowSpeedMs: 150 });
    rig.multi.add(got.transfer);
    await rig.until(() => held.length === 1);
    for (const direction of ['receive', 'send'] as const) {
      got.transfer.pause(direction);
      for (let round = 0; round < 4; round++) {
        clock.passes(100);
        rig.multi.timeout();
      }
      expect(got.transfer.error).toBeNull();
      got.transfer.unpause(direction);
      await rig.drive(5);
    }
    clock.passes(149);
    rig.multi.timeout();
    expect(got.transfer.error).toBeNull();
    clock.passes(1);
    rig.multi.timeout();
    expect(got.transfer.error).toMatchObject({ code: 'RATE_TOO_LOW' });
  });

  test('contract/rule-75 it is off while the application has nothing to send', async () => {
    const server = await serve(() => undefined);
    const clock = new StillClock();
    const rig = new Rig({ io: clock.io });
    let more: Uint8Array | null | typeof PAUSE = PAUSE;
    const got = get({
      url: server.url,
      method: 'PUT',
      body: { length: -1, read: () => more },
      lowSpeedBytesPerSecond: 100,
      lowSpeedMs: 100,
    });
    rig.multi.add(got.transfer);
    await rig.until(() => server.requests.length === 1);
    for (let round = 0; round < 4; round++) {
      clock.passes(90);
      rig.multi.timeout();
    }
    expect(got.transfer.error).toBeNull();
    more = null;
    got.transfer.continueUpload();
    await rig.until(() => got.transfer.info.state === 'waiting');
    for (let round = 0; round < 4; round++) {
      clock.passes(90);
      rig.multi.timeout();
    }
    expect(got.transfer.error).toMatchObject({ code: 'RATE_TOO_LOW', phase: 'head' });
  });

  test('contract/rule-75 a transfer that is fast enough hears nothing of it', async () => {
    const server = await serve((connection) => {
      connection.socket.write('HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n');
    });
    const clock = new StillClock();
    const rig = new Rig({ io: clock.io });
    const got = get({ url: server.url, lowSpeedBytesPerSecond: 5_000, lowSpeedMs: 200 });
    rig.multi.add(got.transfer);
    await rig.until(() => got.head !== '');
    for (let pieces = 1; pieces <= 20; pieces++) {
      server.last.socket.write(KILOBYTE);
      await rig.until(() => got.body.length === pieces * KILOBYTE.length);
      clock.passes(100);
      rig.multi.timeout();
    }
    expect(await rig.end(got.transfer)).toBeNull();
    expect(got.body.length).toBe(20_000);
  });
});

test('the options of speed are checked, and named', () => {
  const url = 'http://127.0.0.1/';
  for (const [option, value] of [
    ['maxReceiveBytesPerSecond', -1],
    ['maxSendBytesPerSecond', 1.5],
    ['lowSpeedBytesPerSecond', '1'],
    ['lowSpeedMs', Number.NaN],
  ]) {
    expect(() => new Transfer({ url, [option as string]: value })).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT', limit: option }),
    );
  }
  expect(() => new Transfer({ url, lowSpeedMs: 1_000 })).toThrow(/go together/);
});
