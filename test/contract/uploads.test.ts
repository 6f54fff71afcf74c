/** What the source of a request body may answer, and that nothing it answers holds a turn (HOSTILE: a callback that breaks its word). */

import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, onTestFinished, test } from 'vitest';
import { Transfer } from '../../src/worker/multi/index.ts';
import { get, Rig, StillClock, serve } from './rig.ts';

const NO_ANSWERS: [string, unknown][] = [
  ['"text"', 'text'],
  ['""', ''],
  ['undefined', undefined],
  ['5', 5],
  ['an array', [1, 2]],
  ['an object (Uint16Array)', new Uint16Array(3)],
  ['an object (ArrayBuffer)', new ArrayBuffer(4)],
  ['an object (Promise)', Promise.resolve(null)],
  ['an object (Object)', { length: 1e6 }],
];

describe('what read() answers', () => {
  test.each([-1, 10].flatMap((length) => NO_ANSWERS.map(([shown, answer]) => ({ length, shown, answer }))))(
    '$shown for a body of length $length fails the transfer and says so',
    async ({ length, shown, answer }) => {
      const server = await serve(() => {});
      const rig = new Rig();
      let asked = 0;
      const read = (): never => (asked++ === 0 ? answer : null) as never;
      const { error } = await rig.fetch({ url: server.url, method: 'POST', body: { length, read } });
      expect(error).toMatchObject({ code: 'ABORTED_BY_CALLBACK', phase: 'send' });
      expect(error?.message).toContain(`answered ${shown},`);
      expect(asked).toBe(1);
      expect(rig.multi.stats()).toMatchObject({ connections: 0, running: 0 });
    },
  );

  test('a throw fails the transfer with its cause', async () => {
    const server = await serve(() => {});
    const cause = new Error('no such file');
    const read = (): never => {
      throw cause;
    };
    const { error } = await new Rig().fetch({ url: server.url, method: 'POST', body: { length: -1, read } });
    expect(error).toMatchObject({ code: 'ABORTED_BY_CALLBACK', phase: 'send', cause });
  });

  test('hundreds of empty pieces between two that are not: the body is whole', async () => {
    const server = http.createServer((request, response) => request.pipe(response));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    onTestFinished(() => {
      server.closeAllConnections();
      server.close();
    });
    const { port } = server.address() as AddressInfo;
    let asked = 0;
    const read = (): Uint8Array | null => {
      asked++;
      if (asked === 300) return Buffer.from('one');
      if (asked === 600) return Buffer.from('two');
      return asked < 900 ? new Uint8Array(0) : null;
    };
    const got = await new Rig().fetch({
      url: `http://127.0.0.1:${port}/`,
      method: 'POST',
      body: { length: -1, read },
    });
    expect(got.error).toBeNull();
    expect(got.body).toBe('onetwo');
    expect(asked).toBe(900);
  });

  test('contract/rule-38 nothing but empty pieces: other transfers and its own clock run', async () => {
    const server = await serve((connection, request) => request.startsWith('GET') && connection.reply());
    const clock = new StillClock();
    const rig = new Rig({ io: clock.io });
    let asked = 0;
    const began = performance.now();
    const read = (): Uint8Array => {
      asked++;
      // Ends the test where it would hang.
      if (performance.now() - began > 15_000) throw new Error('a turn was never left');
      return new Uint8Array(0);
    };
    const stuck = get({ url: server.url, method: 'POST', body: { length: -1, read }, timeouts: { totalMs: 300 } });
    rig.multi.add(stuck.transfer);
    const other = get({ url: server.url });
    rig.multi.add(other.transfer);
    expect(await rig.end(other.transfer)).toBeNull();
    expect(stuck.transfer.info.state).toBe('sending');
    clock.passes(300);
    expect(await rig.end(stuck.transfer)).toMatchObject({ code: 'TOTAL_TIMEOUT' });
    expect(asked).toBeGreaterThan(64);
  });

  test('contract/rule-05 a source that removes its transfer is asked no more', async () => {
    const server = await serve(() => {});
    const rig = new Rig();
    let asked = 0;
    const transfer: Transfer = new Transfer({
      url: server.url,
      method: 'POST',
      body: {
        length: -1,
        read: () => {
          asked++;
          rig.multi.remove(transfer);
          return new Uint8Array(asked % 2);
        },
      },
    });
    rig.multi.add(transfer);
    await rig.until(() => asked > 0);
    await rig.drive(30);
    expect(asked).toBe(1);
    expect(transfer.info.state).toBe('new');
    expect(rig.multi.stats()).toMatchObject({ running: 0, connections: 0 });
    expect(rig.multi.timers.size).toBe(0);
  });
});
