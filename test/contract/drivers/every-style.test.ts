/** What every program does with a multi, driven in every way: large bodies, many at once, clocks, reuse, closes, pauses. */

import { createHash } from 'node:crypto';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { describe, expect, onTestFinished, test } from 'vitest';
import { Transfer, type TransferOptions } from '../../../src/worker/multi/index.ts';
import { DRIVING_STYLES } from '../driving-styles.ts';
import { get, Rig, type RigOptions, type ServerConnection, serve } from '../rig.ts';

const LARGE_BYTES = 8 * 2 ** 20;

/** Bytes in which a piece lost, doubled or swapped shows. */
function pattern(bytes: number): Buffer {
  const words = new Uint32Array(bytes / 4);
  for (let index = 0; index < words.length; index++) words[index] = Math.imul(index, 0x9e3779b1);
  return Buffer.from(words.buffer);
}

const LARGE = pattern(LARGE_BYTES);

function hashOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** GET answers LARGE; PUT answers the hash of what came. */
async function largeServer(): Promise<string> {
  const server = http.createServer((request, response) => {
    if (request.method === 'GET') {
      response.end(LARGE);
      return;
    }
    const hash = createHash('sha256');
    request.on('data', (chunk) => hash.update(chunk));
    request.on('end', () => response.end(hash.digest('hex')));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}

describe.each(DRIVING_STYLES)('driven by %s', (driving) => {
  const rigged = (options: RigOptions = {}): Rig => new Rig({ ...options, driving });

  async function run(rig: Rig, options: TransferOptions): Promise<{ transfer: Transfer; hash: string; bytes: number }> {
    const hash = createHash('sha256');
    let bytes = 0;
    const transfer = new Transfer({
      ...options,
      onData(itself, chunk, start, end) {
        const answer = options.onData?.(itself, chunk, start, end);
        if (typeof answer === 'symbol') return answer;
        hash.update(chunk.subarray(start, end));
        bytes += end - start;
        return undefined;
      },
    });
    rig.multi.add(transfer);
    expect(await rig.end(transfer)).toBeNull();
    return { transfer, hash: hash.digest('hex'), bytes };
  }

  test('8 MiB come down whole', async () => {
    const url = await largeServer();
    const { hash, bytes } = await run(rigged(), { url });
    expect([bytes, hash]).toEqual([LARGE_BYTES, hashOf(LARGE)]);
  });

  test('8 MiB go up whole', async () => {
    const url = await largeServer();
    const got = get({ url, method: 'PUT', body: LARGE });
    const rig = rigged();
    rig.multi.add(got.transfer);
    expect(await rig.end(got.transfer)).toBeNull();
    expect(got.body).toBe(hashOf(LARGE));
    expect(got.transfer.info.bytesSent).toBeGreaterThan(LARGE_BYTES);
  });

  test('8 MiB down with pauses on the way, beside others that are not held up', async () => {
    const url = await largeServer();
    const server = await serve();
    const rig = rigged();
    let pauses = 0;
    let paused: Transfer | null = null;
    const onData: TransferOptions['onData'] = (itself) => {
      if (itself.info.bytesReceived < (pauses + 1) * 2 ** 20 || pauses === 5) return;
      pauses++;
      itself.pause();
      paused = itself;
    };
    const ends = run(rig, { url, onData });
    for (let resumed = 0; resumed < 5; resumed++) {
      await rig.until(() => paused !== null);
      const whole = get({ url: server.url });
      rig.multi.add(whole.transfer);
      await rig.until(() => whole.ended === 1);
      const transfer = paused as Transfer | null;
      const { bytesReceived } = (transfer as Transfer).info;
      await rig.drive(5);
      expect((transfer as Transfer).info.bytesReceived).toBe(bytesReceived);
      paused = null;
      transfer?.unpause();
    }
    expect((await ends).hash).toBe(hashOf(LARGE));
    expect(pauses).toBe(5);
  });

  test('200 at once, each with its own answer, then 200 more on the same connections', async () => {
    const server = await serve((connection, request) => {
      const name = request.split(' ')[1] as string;
      setTimeout(() => connection.reply(`body of ${name}`), name.length % 7);
    });
    const rig = rigged();
    for (const round of ['first', 'second']) {
      const all = Array.from({ length: 200 }, (_, index) => get({ url: `${server.url}${round}/${index ** 3}` }));
      for (const { transfer } of all) rig.multi.add(transfer);
      await rig.until(() => rig.multi.running === 0);
      expect(all.map((got) => got.body)).toEqual(all.map((_, index) => `body of /${round}/${index ** 3}`));
    }
    expect(server.connections.length).toBe(200);
    expect(rig.multi.stats()).toMatchObject({ opened: 200, reused: 200, idle: 200 });
  });

  test('clocks run out in order, none early', async () => {
    const server = await serve(() => undefined);
    const rig = rigged();
    const clocks = [240, 80, 160];
    const all = clocks.map((totalMs) => get({ url: server.url, timeouts: { totalMs } }));
    const began = performance.now();
    const ended: number[] = [];
    for (const { transfer } of all) rig.multi.add(transfer);
    await rig.until(() => {
      for (const { transfer } of rig.messages.splice(0)) ended.push(all.findIndex((got) => got.transfer === transfer));
      return ended.length === 3;
    });
    expect(ended).toEqual([1, 2, 0]);
    expect(performance.now() - began).toBeGreaterThanOrEqual(239);
    expect(all.map((got) => got.transfer.error?.code)).toEqual(Array(3).fill('TOTAL_TIMEOUT'));
  });

  test('one connection serves one after the other, and a close of the server while it is idle is seen', async () => {
    const server = await serve();
    const rig = rigged();
    for (let use = 0; use < 20; use++) expect((await rig.fetch({ url: server.url })).body).toBe('ok');
    expect(server.connections.length).toBe(1);
    server.last.socket.end();
    await rig.until(() => rig.multi.stats().connections === 0);
    expect(rig.watched.size).toBe(0);
    expect((await rig.fetch({ url: server.url })).body).toBe('ok');
    expect(server.connections.length).toBe(2);
  });

  test.each(['end', 'destroy', 'resetAndDestroy'] as const)(
    'the peer leaves (%s) before, amid and after the answer, many times: descriptors come again',
    async (leave) => {
      let count = 0;
      const server = await serve((connection: ServerConnection) => {
        const step = count++ % 3;
        if (step === 1) connection.socket.write('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf');
        if (step === 2) connection.reply();
        // A reset overtakes what was written.
        if (step === 0) connection.socket[leave]();
        else setTimeout(() => connection.socket[leave](), 3);
      });
      const rig = rigged({ maxHostConnections: 4 });
      const codes = new Set<unknown>();
      let ended = 0;
      const next = (): void => {
        rig.multi.add(new Transfer({ url: server.url, freshConnect: true }));
      };
      for (let parallel = 0; parallel < 8; parallel++) next();
      await rig.until(() => {
        for (const { transfer, error } of rig.messages.splice(0)) {
          codes.add(error?.code);
          rig.multi.remove(transfer);
          if (++ended <= 92) next();
        }
        return ended === 100;
      });
      expect(rig.multi.stats()).toMatchObject({ current: 0, running: 0 });
      expect(codes).toEqual(new Set(['CONNECTION_LOST', 'INCOMPLETE_BODY', undefined]));
    },
  );
});
