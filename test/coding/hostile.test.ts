/** HOSTILE.md 143 to 146, and that nothing is left of some thousand coded bodies, whatever became of them. */

import { createHash } from 'node:crypto';
import zlib from 'node:zlib';
import { Pool } from 'shardfetch';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { bodyOf } from '../streams/rig.ts';
import { checkFailure, checkStats, eventually, expectNoSocketLeaks, poolFor, rejection } from '../wire/checks.ts';
import { answer, head, rawPeer, request, type Script, send, serve } from '../wire/raw-peer.ts';
import { codingOf, ENCODER_NAMES, encode, json, SILENT_PIECES, silentBomb, sized } from './rig.ts';

expectNoSocketLeaks();

const MIB = 1024 * 1024;

/** 10,000 take as long as all the rest. */
const REQUESTS = Number(process.env.CODED_REQUESTS ?? 2_500);

/** Members of gzip that give 16 MiB of zeros each, without end. */
function bombScript(): Script {
  const member = zlib.gzipSync(Buffer.alloc(16 * MIB), { level: 9 });
  return [
    request(),
    send(head('HTTP/1.1 200 OK', 'Content-Encoding: gzip')),
    async (connection) => {
      while (!connection.socket.destroyed) await connection.write(member);
    },
  ];
}

describe('hostile/143 bombs', () => {
  test.each(ENCODER_NAMES)('%s: limits.decodedBytes ends it', async (name) => {
    const bomb = encode(name, Buffer.alloc(64 * MIB));
    const peer = await rawPeer(serve(send(sized(bomb, `Content-Encoding: ${codingOf(name)}`))));
    const pool = poolFor({ limits: { decodedBytes: MIB } });
    let got = 0;
    const read = async (): Promise<void> => {
      for await (const chunk of bodyOf(await pool.fetch(peer.url))) got += chunk.length;
    };
    checkFailure(await rejection(read()), {
      code: 'LIMIT_EXCEEDED',
      limit: 'limits.decodedBytes',
      message: 'terminated',
      phase: 'body',
    });
    expect(got).toBeLessThanOrEqual(MIB);
    await checkStats(pool, { inFlight: 0, failed: 1 });
  });

  test('without a limit: who does not read holds it at the window, and who reads gets it', async () => {
    const peer = await rawPeer(bombScript());
    const pool = poolFor();
    const response = await pool.fetch(peer.url);
    await eventually(async () => ((await pool.stats()).shards[0]?.unreadBytes ?? 0) >= MIB, 'the window is full');
    const before = peer.connections[0]?.socket.bytesWritten ?? 0;
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect((await pool.stats()).shards[0]?.unreadBytes).toBeLessThanOrEqual(MIB + 128 * 1024);
    const reader = bodyOf(response).getReader();
    for (let got = 0; got < 40 * MIB; ) got += (await reader.read()).value?.length ?? 0;
    await reader.cancel();
    await peer.gone(0);
    expect(before).toBeGreaterThan(0);
  });

  test('others of the shard are served meanwhile', async () => {
    const bombs = await rawPeer(bombScript());
    const other = await rawPeer(serve(send(answer('hello'))));
    const pool = poolFor();
    const medianMs = async (): Promise<number> => {
      const tookMs: number[] = [];
      for (let index = 0; index < 20; index++) {
        const began = performance.now();
        expect(await (await pool.fetch(other.url)).text()).toBe('hello');
        tookMs.push(performance.now() - began);
      }
      return tookMs.sort((a, b) => a - b)[10] as number;
    };
    await pool.stats();
    const aloneMs = await medianMs();
    const readers = await Promise.all(
      Array.from({ length: 4 }, async () => bodyOf(await pool.fetch(bombs.url)).getReader()),
    );
    let reading = true;
    const drains = readers.map(async (reader) => {
      while (reading) await reader.read();
      await reader.cancel();
    });
    const besideMs = await medianMs();
    reading = false;
    await Promise.all(drains);
    // A turn holds a few milliseconds of decoding, so far more than that is a turn that was not given up: or a busy machine, where
    // all of it takes longer.
    expect(besideMs).toBeLessThan(Math.max(250, 20 * aloneMs));
  });

  test.each([0, 1])('stacked codings that give nothing stop no shard, with shards: %i', async (shards) => {
    const pool = poolFor({ shards });
    const other = await rawPeer(serve(send(answer('hello'))));
    await pool.stats();
    for (const name of Object.keys(SILENT_PIECES)) {
      const field = 'Content-Encoding: gzip, gzip, gzip, gzip';
      const peer = await rawPeer(serve(send(sized(silentBomb(name), field))));
      const began = performance.now();
      const fetched = rejection(pool.fetch(peer.url, { collect: 'bytes' }));
      expect(await (await pool.fetch(other.url)).text()).toBe('hello');
      checkFailure(await fetched, { code: 'BAD_CONTENT_CODING', message: 'fetch failed', phase: 'body' });
      // Some 20 ms. All of it would be 8 GiB, at 1 to 4 ns a byte.
      expect(performance.now() - began, name).toBeLessThan(6_000);
    }
    await checkStats(pool, { inFlight: 0 });
  });

  test('a body that gives nothing for long: fifty thousand empty members', async () => {
    const empty = zlib.gzipSync('');
    const body = Buffer.concat([...Array.from({ length: 50_000 }, () => empty), zlib.gzipSync('end')]);
    const peer = await rawPeer(serve(send(sized(body, 'Content-Encoding: gzip'))));
    expect(await (await poolFor().fetch(peer.url)).text()).toBe('end');
  });
});

describe('hostile/144 too many codings', () => {
  const fields = (count: number): string[] => Array.from({ length: count }, () => 'Content-Encoding: gzip');
  const stacked = (count: number): Buffer => {
    let body = Buffer.from('hello');
    for (let index = 0; index < count; index++) body = zlib.gzipSync(body);
    return body;
  };
  const tooMany = { code: 'LIMIT_EXCEEDED', limit: 'limits.codings', message: 'fetch failed', phase: 'head' } as const;

  test('five pass, six in one field or in many do not; unknown ones and identity count', async () => {
    const pool = poolFor();
    const five = await rawPeer(serve(send(sized(stacked(5), ...fields(5)))));
    expect(await (await pool.fetch(five.url)).text()).toBe('hello');
    const sixes = [
      fields(6),
      ['Content-Encoding: gzip, gzip, gzip, gzip, gzip, gzip'],
      ['Content-Encoding: gzip,gzip,gzip,gzip', 'Content-Encoding: x-unheard-of, br'],
      [`Content-Encoding: ${'identity, '.repeat(1_000)}gzip`],
    ];
    for (const lines of sixes) {
      const peer = await rawPeer(serve(send(sized(stacked(6), ...lines))));
      checkFailure(await rejection(pool.fetch(peer.url)), tooMany);
      checkFailure(await rejection(pool.fetch(peer.url, { collect: 'text' })), tooMany);
      await Promise.all([peer.gone(0), peer.gone(1)]);
      const raw = await pool.fetch(peer.url, { decompress: false });
      expect(Buffer.from(await raw.arrayBuffer()).equals(stacked(6))).toBe(true);
    }
    await checkStats(pool, { inFlight: 0 });
  });

  test('the limit is the option', async () => {
    const peer = await rawPeer(serve(send(sized(stacked(2), ...fields(2)))));
    checkFailure(await rejection(poolFor({ limits: { codings: 1 } }).fetch(peer.url)), tooMany);
    expect(await (await poolFor({ limits: { codings: 2 } }).fetch(peer.url)).text()).toBe('hello');
  });
});

describe('hostile/146 codings that are unknown, or that code nothing', () => {
  test('one that is not known lets all of it pass as it is', async () => {
    const pool = poolFor();
    for (const field of ['compress', 'aes128gcm', 'gzip, x-unheard-of', 'x-unheard-of, gzip', 'identity', '']) {
      const peer = await rawPeer(serve(send(answer('hello', `Content-Encoding: ${field}`))));
      expect(await (await pool.fetch(peer.url)).text()).toBe('hello');
    }
  });

  test('HEAD, 204, 304 and empty bodies, with more codings than are allowed', async () => {
    const pool = poolFor();
    const field = `Content-Encoding: ${'gzip, '.repeat(20)}br`;
    const peer = await rawPeer(
      [
        request(),
        send(head('HTTP/1.1 200 OK', field, 'Content-Length: 20')),
        request(),
        send(sized(Buffer.alloc(0), field)),
      ],
      serve(send(head('HTTP/1.1 304 Not Modified', field, 'Content-Length: 20'))),
    );
    expect(await (await pool.fetch(peer.url, { method: 'HEAD' })).text()).toBe('');
    expect(await (await pool.fetch(peer.url)).text()).toBe('');
    const { status, body } = await poolFor().fetch(peer.url);
    expect({ status, body }).toEqual({ status: 304, body: null });
    const empty = await rawPeer(
      serve(send('HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n')),
    );
    expect(await (await pool.fetch(empty.url)).text()).toBe('');
  });
});

describe('thousands of coded bodies', () => {
  /** In this thread, so that the decoders can be counted. */
  const pool = new Pool({ shards: 0 });
  let inUse: () => number = () => -1;
  beforeAll(async () => {
    const path = '../../dist/worker/content-coding/coding-decoder.js';
    ({ decodersInUse: inUse } = (await import(path)) as { decodersInUse: () => number });
  });
  afterAll(() => pool.destroy());

  test('read, aborted, given up, broken and too long: no decoder is left', { timeout: 120_000 }, async () => {
    const text = json(3_000);
    const sum = createHash('sha1').update(text).digest('hex');
    const bodies = [
      ...ENCODER_NAMES.map((name) => sized(encode(name, text), `Content-Encoding: ${codingOf(name)}`)),
      sized(encode('gzip', text).subarray(0, 300), 'Content-Encoding: gzip'),
      sized(Buffer.from('nonsense, nonsense'), 'Content-Encoding: br'),
      sized(encode('gzip', Buffer.alloc(MIB / 4)), 'Content-Encoding: gzip'),
    ];
    const whole = ENCODER_NAMES.length;
    const peer = await rawPeer(
      serve(async (connection) => {
        const index = Number(/^GET \/(\d+)/.exec(connection.requests.at(-1) ?? '')?.[1]);
        connection.requests.length = 0;
        await connection.write(bodies[index % bodies.length] as Buffer);
      }),
    );
    let most = 0;
    let read = 0;
    const one = async (index: number): Promise<void> => {
      const url = `${peer.url}${index}`;
      const controller = index % 7 === 0 ? new AbortController() : null;
      try {
        const fetched = pool.fetch(url, {
          ...(controller === null ? {} : { signal: controller.signal }),
          ...(index % 5 === 0 ? { collect: 'text' as const } : {}),
        });
        if (controller !== null) setImmediate(() => controller.abort());
        const response = await fetched;
        most = Math.max(most, inUse());
        if (index % 11 === 0) {
          await bodyOf(response).cancel();
          return;
        }
        const got = await response.text();
        if (index % bodies.length < whole) {
          expect(createHash('sha1').update(got).digest('hex')).toBe(sum);
          read++;
        }
      } catch (error) {
        if (index % bodies.length < whole && controller === null) throw error;
      }
    };
    let next = 0;
    const lane = async (): Promise<void> => {
      while (next < REQUESTS) await one(next++);
    };
    await Promise.all(Array.from({ length: 32 }, lane));
    await eventually(async () => (await pool.stats()).inFlight === 0, 'nothing is in flight');
    expect(read).toBeGreaterThan(REQUESTS * 0.3);
    expect(most).toBeGreaterThan(0);
    expect(inUse()).toBe(0);
    expect((await pool.stats()).shards[0]?.unreadBytes).toBe(0);
  });
});
