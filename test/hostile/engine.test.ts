/** D 63 and 72 where the kernel must be made to do it: sockets whose writes fail at a chosen moment and whose reads are short. */

import { expect, test } from 'vitest';
import type { Io } from '../../src/worker/io/io.ts';
import { nativeIo } from '../../src/worker/io/native-io.ts';
import { Rig, serve } from '../contract/rig.ts';

const EPIPE = -32;
const ENOBUFS = -105;

/** The kernel's sockets, but reads give `readBytes` at most, and writes fail with what `writes` says. */
function shortIo(readBytes: number, fails: () => number): Io {
  const real = nativeIo();
  return {
    ...real,
    read(socket) {
      const count = real.readInto(socket, real.readBuffer, 0, readBytes);
      return count;
    },
    readInto: (socket, target, offset, length) => real.readInto(socket, target, offset, Math.min(length, readBytes)),
    write: (socket, offset, length) => (fails() === 0 ? real.write(socket, offset, length) : fails()),
    writeFrom: (socket, source, offset, length) =>
      fails() === 0 ? real.writeFrom(socket, source, offset, Math.min(length, 1000)) : fails(),
  };
}

test.each([EPIPE, ENOBUFS])(
  '72: an answer that came before writing failed with %i is read to its end',
  async (errno) => {
    let failing = 0;
    const rig = new Rig({ io: shortIo(7, () => failing) });
    const answer = `HTTP/1.1 413 Too Large\r\nContent-Length: 5000\r\n\r\n${'x'.repeat(5000)}`;
    const server = await serve(({ socket }) => {
      socket.write(answer, () => {
        failing = errno;
      });
    });
    const got = await rig.fetch({ url: server.url, method: 'POST', body: new Uint8Array(3_000_000) });
    expect(got.error).toBe(null);
    expect([got.transfer.status, got.body.length, got.ended]).toEqual([413, 5000, 1]);
    await rig.until(() => server.open === 0, 'the connection to be closed');
  },
);

test('72: also when the reader pauses halfway', async () => {
  let failing = 0;
  const rig = new Rig({ io: shortIo(7, () => failing) });
  const server = await serve(({ socket }) => {
    socket.write(`HTTP/1.1 413 Too Large\r\nContent-Length: 500\r\n\r\n${'x'.repeat(500)}`, () => {
      failing = EPIPE;
    });
  });
  let pieces = 0;
  const got = await rig.fetch({
    url: server.url,
    method: 'POST',
    body: new Uint8Array(3_000_000),
    onData(transfer) {
      if (++pieces % 10 !== 0) return;
      transfer.pause();
      setTimeout(() => transfer.unpause(), 2);
    },
  });
  expect(got.error).toBe(null);
  expect([got.transfer.status, got.body.length, got.ended]).toEqual([413, 500, 1]);
});

test('72: without an answer it is a request that could not be sent', async () => {
  let failing = 0;
  const rig = new Rig({ io: shortIo(7, () => failing) });
  const server = await serve(() => {
    failing = EPIPE;
  });
  const got = await rig.fetch({ url: server.url, method: 'POST', body: new Uint8Array(3_000_000) });
  expect(got.error).toMatchObject({ code: 'SEND_FAILED', errno: 'EPIPE', phase: 'send' });
  expect(server.connections).toHaveLength(1);
});

test.each(['GET', 'POST', 'PATCH'])(
  '63: %s on a reused connection of which no byte could be written is sent again',
  async (method) => {
    let failing = 0;
    const rig = new Rig({ io: shortIo(1000, () => failing) });
    const server = await serve();
    expect((await rig.fetch({ url: server.url })).body).toBe('ok');
    failing = EPIPE;
    rig.onSocket = () => {
      // The fresh connection is announced: from here on writing works.
      failing = 0;
      return undefined;
    };
    const got = await rig.fetch({ url: server.url, method });
    expect(got.error).toBe(null);
    expect(got.body).toBe('ok');
    expect(server.requests.map((text) => text.split(' ')[0])).toEqual(['GET', method]);
    expect(server.connections).toHaveLength(2);
  },
);
