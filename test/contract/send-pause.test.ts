/** CONTRACT.md §2.12: pausing of sending (rule 74, CURLPAUSE_SEND), and uploads that would keep a turn for themselves (rule 38). */

import { expect, test } from 'vitest';
import { PAUSE, type PauseDirection, Transfer } from '../../src/worker/multi/index.ts';
import { get, Rig, StillClock, serve } from './rig.ts';

const LARGE_BODY = new Uint8Array(32 * 1024 * 1024);

test('contract/rule-74 what is paused for sending before it starts connects, and writes nothing', async () => {
  const server = await serve();
  const rig = new Rig();
  const got = get({ url: server.url, timeouts: { headMs: 50 } });
  rig.multi.add(got.transfer);
  got.transfer.pause('send');
  await rig.until(() => server.connections.length === 1 && got.transfer.info.state === 'sending');
  await rig.drive(120);
  expect(got.transfer.info).toMatchObject({ state: 'sending', bytesSent: 0 });
  expect(rig.whats.at(-1)).toBe(1);
  got.transfer.setTimeouts({ headMs: 5_000 });
  got.transfer.unpause('send');
  expect(rig.timers.at(-1)).toBe(0);
  expect(await rig.end(got.transfer)).toBeNull();
  expect(server.requests.length).toBe(1);
});

test('contract/rule-74 an upload paused in its middle: not watched for writing, no clock, and nothing is lost', async () => {
  let seen = 0;
  const server = await serve(({ socket }) => {
    socket.removeAllListeners('data');
    socket.pause();
    socket.on('data', (chunk) => {
      seen += chunk.length;
      if (seen === LARGE_BODY.length) socket.end('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
    });
    socket.pause();
  });
  const clock = new StillClock();
  const rig = new Rig({ io: clock.io });
  // So the server does not see parts of the body with the head.
  let asked = 0;
  const pieces = [PAUSE, LARGE_BODY, null] as const;
  const got = get({
    url: server.url,
    method: 'PUT',
    body: { length: LARGE_BODY.length, read: () => pieces[asked++] as Uint8Array },
    timeouts: { headMs: 300 },
  });
  rig.multi.add(got.transfer);
  await rig.until(() => server.requests.length === 1);
  got.transfer.continueUpload();
  await rig.until(() => rig.whats.at(-1) === 3);
  got.transfer.pause('send');
  expect(rig.whats.at(-1)).toBe(1);
  server.last.socket.resume();
  await rig.drive(100);
  clock.passes(500);
  rig.multi.timeout();
  const { bytesSent } = got.transfer.info;
  await rig.drive(50);
  expect(got.transfer.info).toMatchObject({ state: 'sending', bytesSent });
  expect(got.transfer.error).toBeNull();
  got.transfer.unpause('send');
  expect(await rig.end(got.transfer)).toBeNull();
  expect(seen).toBe(LARGE_BODY.length);
});

test('contract/rule-74 sending goes on while receiving is paused, and the other way round', async () => {
  const server = await serve(({ socket }) => {
    socket.write('HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nabc');
  });
  const rig = new Rig();
  let more: Uint8Array | typeof PAUSE = PAUSE;
  const got = get({
    url: server.url,
    method: 'PUT',
    body: {
      length: 8,
      read: () => {
        const piece = more;
        more = PAUSE;
        return piece;
      },
    },
  });
  rig.multi.add(got.transfer);
  await rig.until(() => got.body === 'abc');
  const send = (): void => {
    more = Buffer.from('1234');
    got.transfer.continueUpload();
  };
  const { bytesSent } = got.transfer.info;
  got.transfer.pause();
  send();
  await rig.until(() => got.transfer.info.bytesSent > bytesSent);
  expect(got.transfer.info.bytesSent).toBe(bytesSent + 4);
  server.last.socket.write('def');
  await rig.drive(20);
  expect(got.body).toBe('abc');

  got.transfer.pause('send');
  got.transfer.unpause('receive');
  send();
  await rig.until(() => got.body === 'abcdef');
  await rig.drive(20);
  expect(got.transfer.info.bytesSent).toBe(bytesSent + 4);
  expect(got.body).toBe('abcdef');
});

test('contract/rule-74 a direction that is none is refused, and changes nothing', () => {
  const transfer = new Transfer({ url: 'http://127.0.0.1/' });
  for (const call of ['pause', 'unpause'] as const) {
    expect(() => transfer[call]('up' as PauseDirection)).toThrow(
      expect.objectContaining({ code: 'BAD_FUNCTION_ARGUMENT' }),
    );
  }
  expect(transfer.paused || transfer.sendPaused).toBe(false);
});

test('contract/rule-39 what lies in the engine already goes on without a socket event', async () => {
  const server = await serve(({ socket }) => {
    socket.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n');
  });
  const rig = new Rig();
  const got = get({ url: server.url, onData: (transfer) => transfer.pause() });
  rig.multi.add(got.transfer);
  await rig.until(() => got.transfer.paused);
  for (const wanted of ['abcdef', 'abcdef']) {
    got.transfer.unpause();
    expect(rig.timers.at(-1)).toBe(0);
    rig.multi.timeout();
    expect(got.body).toBe(wanted);
  }
  expect(got.ended).toBe(1);
});

test('contract/rule-38 an upload that never ends, to a peer that always reads, leaves turns to the others', async () => {
  const server = await serve((connection, request) => {
    if (request.startsWith('GET')) connection.reply();
    else {
      connection.socket.removeAllListeners('data');
      connection.socket.on('data', () => undefined);
    }
  });
  const rig = new Rig();
  const piece = new Uint8Array(64 * 1024);
  let asked = 0;
  const endless = get({
    url: server.url,
    method: 'PUT',
    body: {
      length: -1,
      read: () => {
        asked++;
        return piece;
      },
    },
  });
  rig.multi.add(endless.transfer);
  await rig.until(() => asked > 0);
  let most = 0;
  for (let turn = 0; turn < 50; turn++) {
    for (const [socket, events] of rig.ready()) {
      const before = asked;
      rig.multi.action(socket, events);
      most = Math.max(most, asked - before);
    }
    await new Promise(setImmediate);
  }
  expect(most).toBeLessThanOrEqual(16);
  expect((await rig.fetch({ url: server.url })).error).toBeNull();
  rig.multi.remove(endless.transfer);
});

test('contract/rule-38 one call reads a socket once: a transfer with much to read does not keep the others waiting', async () => {
  const server = await serve((connection) => connection.reply('x'.repeat(4 * 1024 * 1024)));
  const rig = new Rig();
  const sizes: number[] = [];
  let bytes = 0;
  const got = get({
    url: server.url,
    onData: (_transfer, _bytes, start, end) => {
      bytes += end - start;
      return undefined;
    },
  });
  rig.multi.add(got.transfer);
  while (got.ended === 0) {
    for (const [socket, events] of rig.ready()) {
      const before = bytes;
      rig.multi.action(socket, events);
      sizes.push(bytes - before);
    }
    rig.fireTimer();
    await new Promise(setImmediate);
  }
  expect(bytes).toBe(4 * 1024 * 1024);
  expect(Math.max(...sizes)).toBeLessThanOrEqual(rig.multi.io.readBuffer.length);
});

test('contract/rule-23 watching is level-triggered: what one call did not read is reported again', async () => {
  const size = new Rig().multi.io.readBuffer.length;
  const server = await serve((connection) => connection.reply('x'.repeat(size * 2)));
  const rig = new Rig({ driving: 'hand' });
  const got = get({ url: server.url });
  rig.multi.add(got.transfer);
  await rig.until(() => got.transfer.info.state === 'body');
  let events = 0;
  while (got.ended === 0) {
    for (const [socket, what] of rig.ready()) {
      events++;
      rig.multi.action(socket, what);
    }
    await new Promise(setImmediate);
  }
  expect(events).toBeGreaterThan(0);
  // Told once: nothing has to be armed anew.
  expect(rig.whats.filter((what) => what === 1).length).toBe(1);
});
