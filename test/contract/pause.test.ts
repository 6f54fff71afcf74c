/** CONTRACT.md §2.12: pausing and backpressure. */

import { createHash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { PAUSE } from '../../src/worker/multi/index.ts';
import { get, Rig, StillClock, serve } from './rig.ts';

test('contract/rule-74 a chunk that PAUSE refused comes again first, whole and once', async () => {
  const body = 'abcdefghij'.repeat(40_000);
  const server = await serve((connection) => connection.reply(body));
  const rig = new Rig();
  let calls = 0;
  let refused = '';
  const got = get({
    url: server.url,
    onData(_transfer, bytes, start, end) {
      const text = Buffer.from(bytes.subarray(start, end)).toString('latin1');
      if (refused !== '') {
        expect(text.startsWith(refused), 'what was refused did not come first').toBe(true);
        refused = '';
        return undefined;
      }
      if (++calls % 3 !== 0) return undefined;
      refused = text;
      return PAUSE;
    },
  });
  rig.multi.add(got.transfer);
  while (got.ended === 0) {
    await rig.until(() => got.transfer.paused || got.ended === 1);
    const before = got.body.length;
    rig.step();
    expect(got.body.length, 'data came while paused').toBe(before);
    got.transfer.unpause();
  }
  expect(got.body).toBe(body);
  expect(got.transfer.info.bytesReceived).toBe(body.length);
  expect(await rig.end(got.transfer)).toBeNull();
});

test.each([
  ['length', 'HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabcdef'],
  ['chunked', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n4\r\ncdef\r\n0\r\n\r\n'],
  ['chunked with trailers', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nabcdef\r\n0\r\nX: y\r\n\r\n'],
  ['close', 'HTTP/1.1 200 OK\r\n\r\nabcdef'],
])(
  'contract/rule-74 every chunk refused once, a body framed by %s, also in single bytes',
  async (framing, response) => {
    for (const split of [false, true]) {
      const server = await serve(async (connection) => {
        connection.socket.setNoDelay(true);
        for (const part of split ? response : [response]) {
          connection.socket.write(part);
          if (split) await new Promise(setImmediate);
        }
        if (framing === 'close') connection.socket.end();
      });
      const rig = new Rig();
      let refuse = false;
      const got = get({
        url: server.url,
        onData() {
          refuse = !refuse;
          return refuse ? PAUSE : undefined;
        },
      });
      rig.multi.add(got.transfer);
      await rig.until(() => {
        got.transfer.unpause();
        return got.ended === 1;
      });
      expect(got.body).toBe('abcdef');
      expect(await rig.end(got.transfer)).toBeNull();
      expect(rig.multi.stats().connections).toBe(framing === 'close' ? 0 : 1);
    }
  },
);

test('contract/rule-75 while paused the socket is not watched and no data comes; the body clock stands still', async () => {
  const server = await serve((connection) => {
    connection.socket.write('HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf');
  });
  const clock = new StillClock();
  const rig = new Rig({ io: clock.io });
  const got = get({ url: server.url, timeouts: { bodyIdleMs: 60 } });
  rig.multi.add(got.transfer);
  await rig.until(() => got.body === 'half');
  got.transfer.pause();
  // At once: outside a turn there is no later moment to tell it.
  expect(rig.watched.size).toBe(0);
  rig.calls.length = 0;
  server.last.socket.write('rest');
  await rig.drive(50);
  clock.passes(150);
  rig.multi.timeout();
  expect(got.body).toBe('half');
  expect(got.transfer.info.state).toBe('body');
  expect(rig.socketCalls).toEqual([]);
  got.transfer.unpause();
  expect(await rig.end(got.transfer)).toBeNull();
  expect(got.body).toBe('halfrest');
});

test('contract/rule-75 the body clock starts over at unpause; totalMs does not stand still', async () => {
  const server = await serve((connection) => {
    connection.socket.write('HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf');
  });
  const clock = new StillClock();
  const rig = new Rig({ io: clock.io });
  const body = get({ url: server.url, timeouts: { bodyIdleMs: 120 } });
  const total = get({ url: server.url, timeouts: { bodyIdleMs: 120, totalMs: 500 } });
  rig.multi.add(body.transfer);
  rig.multi.add(total.transfer);
  await rig.until(() => body.body === 'half' && total.body === 'half');
  body.transfer.pause();
  total.transfer.pause();
  clock.passes(180);
  rig.multi.timeout();
  body.transfer.unpause();
  clock.passes(119);
  rig.multi.timeout();
  expect([body, total].map(({ transfer }) => transfer.info.state)).toEqual(['body', 'body']);
  clock.passes(1);
  rig.multi.timeout();
  expect(await rig.end(body.transfer)).toMatchObject({ code: 'BODY_TIMEOUT' });
  clock.passes(200);
  rig.multi.timeout();
  expect(await rig.end(total.transfer)).toMatchObject({ code: 'TOTAL_TIMEOUT', phase: 'body' });
});

test('contract/rule-76 unpause needs no socket event: what is held back comes with the next turn, which is asked for', async () => {
  const server = await serve((connection) => connection.reply('everything'));
  const rig = new Rig();
  let refused = 0;
  const got = get({ url: server.url, onData: () => (refused++ === 0 ? PAUSE : undefined) });
  rig.multi.add(got.transfer);
  await rig.until(() => refused === 1);
  rig.step();
  expect(rig.ready()).toEqual([]);
  got.transfer.unpause();
  expect(rig.timers.at(-1)).toBe(0);
  expect(rig.multi.timeout()).toBe(0);
  expect(got).toMatchObject({ body: 'everything', ended: 1 });
});

test('pausing before the start, while connecting and while waiting delays the response', async () => {
  const server = await serve((connection) => connection.reply('late'));
  const rig = new Rig();
  const early = get({ url: server.url });
  early.transfer.pause();
  rig.multi.add(early.transfer);
  const connecting = get({ url: server.url });
  rig.multi.add(connecting.transfer);
  rig.step();
  connecting.transfer.pause();
  await rig.until(() => server.requests.length === 2);
  await rig.drive(30);
  expect([early.head, connecting.head]).toEqual(['', '']);
  early.transfer.unpause();
  connecting.transfer.unpause();
  expect(await rig.end(early.transfer)).toBeNull();
  expect(await rig.end(connecting.transfer)).toBeNull();
});

test('a paused transfer may be removed, and its connection closes', async () => {
  const server = await serve((connection) => {
    connection.socket.write('HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf');
  });
  const rig = new Rig();
  const got = get({ url: server.url, onData: () => PAUSE });
  rig.multi.add(got.transfer);
  await rig.until(() => rig.watched.size === 0 && server.requests.length === 1);
  rig.multi.remove(got.transfer);
  expect(rig.multi.stats().connections).toBe(0);
  await rig.until(() => server.open === 0);
  got.transfer.unpause();
  got.transfer.pause();
  await delay(5);
});

test('100 pauses at random moments lose and double no byte', async () => {
  let seed = 7;
  const random = (): number => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
    return (seed >>> 8) / 2 ** 24;
  };
  const body = Buffer.from(Array.from({ length: 2_000_000 }, (_, index) => (index * 31 + (index >> 9)) & 0xff));
  const server = await serve((connection) => {
    connection.socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n`);
    connection.socket.write(body);
  });
  const rig = new Rig();
  const hash = createHash('sha256');
  let pauses = 0;
  const got = get({
    url: server.url,
    onData(transfer, bytes, start, end) {
      if (random() < 0.3) return PAUSE;
      hash.update(bytes.subarray(start, end));
      if (random() < 0.3) transfer.pause();
      return undefined;
    },
  });
  rig.multi.add(got.transfer);
  await rig.until(() => {
    if (got.transfer.paused && random() < 0.5) {
      pauses++;
      got.transfer.unpause();
    }
    return got.ended === 1;
  });
  expect(hash.digest('hex')).toBe(createHash('sha256').update(body).digest('hex'));
  expect(pauses).toBeGreaterThan(5);
});
