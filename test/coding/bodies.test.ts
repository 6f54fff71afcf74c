/** Coded bodies through `pool.fetch`: what is asked for, every coding in every framing read in every way, and what holds them. */

import { Pool } from 'shardfetch';
import { afterAll, describe, expect, test } from 'vitest';
import { ACCEPT_ENCODING } from '../../src/protocol/content-codings.ts';
import { bodyOf, collect } from '../streams/rig.ts';
import {
  checkFailure,
  checkRefusal,
  checkStats,
  eventually,
  expectNoSocketLeaks,
  PLACES,
  poolFor,
  rejection,
} from '../wire/checks.ts';
import { answer, deferred, fin, gate, head, rawPeer, request, send, serve } from '../wire/raw-peer.ts';
import { chunked, codingOf, ENCODER_NAMES, encode, json, sized } from './rig.ts';

expectNoSocketLeaks();

const SMALL = json(2_000);
const LARGE = json(400_000);

describe('what is asked for', () => {
  const acceptEncoding = (text: string | undefined): string | null =>
    /\r\naccept-encoding: ?([^\r]*)\r\n/i.exec(text ?? '')?.[1] ?? null;

  test('what this Node can decode, unless the caller asks or says decompress: false', async () => {
    const peer = await rawPeer(serve(send(answer('hello'))));
    const pool = poolFor();
    const undecoded = poolFor({ decompress: false });
    const asked = async (from: Pool, init?: object): Promise<string | null> => {
      await (await from.fetch(peer.url, init)).text();
      return acceptEncoding(peer.requests().at(-1));
    };
    expect(await asked(pool)).toBe(ACCEPT_ENCODING);
    expect(ACCEPT_ENCODING).toMatch(/^gzip, deflate, br(, zstd)?$/);
    expect(await asked(pool, { method: 'POST', body: 'x' })).toBe(ACCEPT_ENCODING);
    expect(await asked(pool, { headers: { 'Accept-Encoding': 'br' } })).toBe('br');
    expect(await asked(pool, { headers: { Range: 'bytes=0-9' } })).toBe('identity');
    expect(await asked(pool, { decompress: false })).toBe(null);
    expect(await asked(undecoded)).toBe(null);
    expect(await asked(undecoded, { method: 'POST' })).toBe(null);
    expect(await asked(undecoded, { decompress: true })).toBe(ACCEPT_ENCODING);
  });

  test('arguments', async () => {
    expect(() => new Pool({ decompress: 1 as never })).toThrow(/decompress must be true or false, not 1/);
    const pool = poolFor();
    checkRefusal(await rejection(pool.fetch('http://127.0.0.1:1/', { decompress: 'yes' as never })), 'decompress');
    checkRefusal(await rejection(pool.fetch('http://127.0.0.1:1/', { collect: 'blob' as never })), 'collect');
  });
});

describe.each(PLACES.slice(0, 2))('$name', ({ shards }) => {
  const pool = new Pool({ shards });
  afterAll(() => pool.destroy());

  test.each(ENCODER_NAMES)('%s, of any size and framing, read in any way', async (name) => {
    for (const text of [SMALL, LARGE]) {
      const coded = encode(name, text);
      const field = `Content-Encoding: ${codingOf(name)}`;
      const framings = [sized(coded, field), chunked(coded, [field])];
      for (const whole of framings) {
        const peer = await rawPeer(serve(send(whole)));
        const response = await pool.fetch(peer.url);
        expect(response.headers.get('content-encoding')).toBe(codingOf(name));
        expect(await response.text()).toBe(text);
        expect(await (await pool.fetch(peer.url)).json()).toEqual(JSON.parse(text));
        expect(Buffer.from(await (await pool.fetch(peer.url)).arrayBuffer()).toString()).toBe(text);
        expect(Buffer.from(await (await pool.fetch(peer.url)).bytes()).toString()).toBe(text);
        expect(await (await (await pool.fetch(peer.url)).blob()).text()).toBe(text);
        expect((await collect(bodyOf(await pool.fetch(peer.url)))).toString()).toBe(text);
        const twice = await pool.fetch(peer.url);
        const copy = twice.clone();
        expect(await Promise.all([twice.text(), copy.text()])).toEqual([text, text]);
        const raw = await pool.fetch(peer.url, { decompress: false });
        expect(Buffer.from(await raw.arrayBuffer()).equals(coded)).toBe(true);
        expect(peer.connections).toHaveLength(1);
      }
    }
  });

  test('until the connection closes, and stacked', async () => {
    const stacked = encode('br', encode('gzip', LARGE));
    const lines = head('HTTP/1.1 200 OK', 'Content-Encoding: gzip', 'content-encoding: BR');
    const peer = await rawPeer([request(), send(lines, stacked), fin()]);
    const response = await pool.fetch(peer.url);
    expect(response.headers.get('content-encoding')).toBe('gzip, BR');
    expect(await response.text()).toBe(LARGE);
  });

  test('the announced length stays to be seen, and means nothing to a reader', async () => {
    const coded = encode('gzip', LARGE);
    const peer = await rawPeer(serve(send(sized(coded, 'Content-Encoding: gzip'))));
    const response = await pool.fetch(peer.url);
    expect(response.headers.get('content-length')).toBe(String(coded.length));
    expect((await response.arrayBuffer()).byteLength).toBe(LARGE.length);
  });

  test('trailers behind a coded body', async () => {
    const whole = chunked(encode('gzip', SMALL), ['Content-Encoding: gzip'], ['X-Sum: 42']);
    const peer = await rawPeer(serve(send(whole)));
    for (const init of [{}, { collect: 'text' as const }]) {
      const response = await pool.fetch(peer.url, init);
      expect(await response.text()).toBe(SMALL);
      expect((await response.trailers).get('x-sum')).toBe('42');
    }
  });

  test('byte by byte', async () => {
    const whole = sized(encode('gzip', 'hello, world'), 'Content-Encoding: gzip');
    const peer = await rawPeer(
      serve(async (connection) => {
        for (const byte of whole) {
          await connection.write(Uint8Array.of(byte));
          await new Promise(setImmediate);
        }
      }),
    );
    expect(await (await pool.fetch(peer.url)).text()).toBe('hello, world');
  });

  test('a 206 is not decoded: a part of a coded body does not decode by itself', async () => {
    const part = encode('gzip', SMALL).subarray(10, 60);
    const lines = head('HTTP/1.1 206 Partial Content', 'Content-Encoding: gzip', `Content-Length: ${part.length}`);
    const peer = await rawPeer(serve(send(lines, part)));
    expect(Buffer.from(await (await pool.fetch(peer.url)).arrayBuffer()).equals(part)).toBe(true);
  });

  test('a body cut off on the wire is INCOMPLETE_BODY behind what could be decoded of it', async () => {
    const coded = encode('gzip', LARGE);
    const lines = head('HTTP/1.1 200 OK', 'Content-Encoding: gzip', `Content-Length: ${coded.length}`);
    const peer = await rawPeer([request(), send(lines, coded.subarray(0, 60_000)), fin()]);
    const response = await pool.fetch(peer.url);
    let text = '';
    const error = await rejection(
      (async () => {
        for await (const chunk of bodyOf(response)) text += Buffer.from(chunk).toString('latin1');
      })(),
    );
    checkFailure(error, { code: 'INCOMPLETE_BODY', message: 'terminated', phase: 'body' });
    expect(text.length).toBeGreaterThan(60_000);
    expect(LARGE.startsWith(text)).toBe(true);
  });

  test('whole on the wire, but not decoded whole: BAD_CONTENT_CODING; its connection serves on', async () => {
    const coded = encode('gzip', LARGE);
    const cut = sized(coded.subarray(0, coded.length - 4), 'Content-Encoding: gzip');
    const small = encode('gzip', 'hello');
    const smallCut = sized(small.subarray(0, small.length - 4), 'Content-Encoding: gzip');
    const peer = await rawPeer([request(), send(cut), request(), send(smallCut), request(), send(answer('next'))]);
    const broken = { code: 'BAD_CONTENT_CODING', phase: 'body' } as const;
    const response = await pool.fetch(peer.url);
    checkFailure(await rejection(response.text()), { ...broken, message: 'terminated' });
    checkFailure(await rejection((await pool.fetch(peer.url)).text()), { ...broken, message: 'terminated' });
    expect(await (await pool.fetch(peer.url)).text()).toBe('next');
    expect(peer.connections).toHaveLength(1);
  });

  test('what does not decode ends the transfer and its connection at once', async () => {
    const never = deferred();
    const lines = head('HTTP/1.1 200 OK', 'Content-Encoding: br', 'Content-Length: 1000');
    const peer = await rawPeer([request(), send(lines, 'this is no brotli at all'), gate(never.promise)]);
    const response = await pool.fetch(peer.url);
    checkFailure(await rejection(response.text()), { code: 'BAD_CONTENT_CODING', message: 'terminated' });
    await peer.gone(0);
    never.resolve();
  });

  test('limits.bodyBytes counts what came, limits.decodedBytes what that gave', async () => {
    const coded = encode('gzip', LARGE);
    const peer = await rawPeer(serve(send(sized(coded, 'Content-Encoding: gzip'))));
    const wide = poolFor({ shards, limits: { bodyBytes: coded.length, decodedBytes: LARGE.length } });
    expect(await (await wide.fetch(peer.url)).text()).toBe(LARGE);
    const narrow = poolFor({ shards, limits: { decodedBytes: LARGE.length - 1 } });
    const expected = { code: 'LIMIT_EXCEEDED', limit: 'limits.decodedBytes', phase: 'body' } as const;
    checkFailure(await rejection((await narrow.fetch(peer.url)).text()), { ...expected, message: 'terminated' });
    checkFailure(await rejection(narrow.fetch(peer.url, { collect: 'text' })), {
      ...expected,
      message: 'fetch failed',
    });
    const short = poolFor({ shards, limits: { bodyBytes: coded.length - 1 } });
    checkFailure(await rejection(short.fetch(peer.url)), {
      code: 'LIMIT_EXCEEDED',
      limit: 'limits.bodyBytes',
      message: 'fetch failed',
    });
  });

  test('aborted and given up in the midst of decoding: nothing is counted any more', async () => {
    const bomb = encode('gzip', Buffer.alloc(50_000_000));
    const peer = await rawPeer(serve(send(sized(bomb, 'Content-Encoding: gzip'))));
    const controller = new AbortController();
    const response = await pool.fetch(peer.url, { signal: controller.signal });
    const reader = bodyOf(response).getReader();
    await reader.read();
    controller.abort(new Error('enough'));
    const read = async (): Promise<void> => {
      while (!(await reader.read()).done);
    };
    expect(await rejection(read())).toMatchObject({ message: 'enough' });
    const other = await pool.fetch(peer.url);
    await bodyOf(other).cancel();
    await eventually(async () => {
      const { shards: each } = await pool.stats();
      return each.every(({ unreadBytes, running }) => unreadBytes === 0 && running === 0);
    }, 'nothing is unread or running');
    await checkStats(pool, { inFlight: 0 });
  });
});
