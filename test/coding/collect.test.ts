/** `collect`: the whole response at once, of any size and framing; its failures are fetch's own. */

import { Pool } from 'shardfetch';
import { afterAll, describe, expect, test } from 'vitest';
import {
  checkFailure,
  checkStats,
  eventually,
  expectNoSocketLeaks,
  PLACES,
  poolFor,
  rejection,
} from '../wire/checks.ts';
import { answer, deferred, fin, gate, head, rawPeer, request, type Step, send, serve } from '../wire/raw-peer.ts';
import { chunked, encode, json, sized } from './rig.ts';

expectNoSocketLeaks();

const SIZES = [0, 5, 4_000, 5_000, 17_000, 70_000, 1_200_000];

describe.each(PLACES.slice(0, 2))('$name', ({ shards }) => {
  const pool = new Pool({ shards });
  afterAll(() => pool.destroy());

  test.each(SIZES)('%i bytes, coded or not, in every framing', async (size) => {
    const text = size === 0 ? '' : json(size);
    const body = Buffer.from(text);
    const gzipped = encode('gzip', text);
    const responses = [
      sized(body),
      chunked(body, []),
      sized(gzipped, 'Content-Encoding: gzip'),
      chunked(gzipped, ['Content-Encoding: gzip']),
    ];
    for (const whole of responses) {
      const peer = await rawPeer(serve(send(whole)));
      const fetchAs = (collect: 'bytes' | 'text' | 'json') => pool.fetch(peer.url, { collect });
      const response = await fetchAs('text');
      expect({ status: response.status, used: response.bodyUsed }).toEqual({ status: 200, used: false });
      expect(await response.text()).toBe(text);
      expect(response.bodyUsed).toBe(true);
      expect(await rejection(response.text())).toBeInstanceOf(TypeError);
      const bytes = await (await fetchAs('bytes')).arrayBuffer();
      expect(Buffer.from(bytes).equals(body)).toBe(true);
      if (size > 0) expect(await (await fetchAs('json')).json()).toEqual(JSON.parse(text));
      const streamed: Uint8Array[] = [];
      for await (const chunk of (await fetchAs('bytes')).body ?? []) streamed.push(chunk);
      expect(Buffer.concat(streamed).equals(body)).toBe(true);
      const twice = await fetchAs('text');
      const copy = twice.clone();
      expect(await Promise.all([twice.text(), copy.text()])).toEqual([text, text]);
      expect(peer.connections).toHaveLength(1);
    }
  });

  test('nothing is answered before the end, and then all is there', async () => {
    const opened = deferred();
    const peer = await rawPeer([
      request(),
      send(head('HTTP/1.1 200 OK', 'Content-Length: 6'), 'abc'),
      gate(opened.promise),
      send('def'),
    ]);
    let settled = false;
    const fetched = pool.fetch(peer.url, { collect: 'text' }).finally(() => {
      settled = true;
    });
    await peer.connection(0);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(settled).toBe(false);
    opened.resolve();
    const response = await fetched;
    expect(response.timings.end).toBeGreaterThan(0);
    expect(await response.text()).toBe('abcdef');
  });

  test('a body that breaks rejects fetch', async () => {
    const lines = head('HTTP/1.1 200 OK', 'Content-Length: 100000');
    const peer = await rawPeer([request(), send(lines, 'x'.repeat(50_000)), fin()]);
    const error = await rejection(pool.fetch(peer.url, { collect: 'bytes' }));
    checkFailure(error, { code: 'INCOMPLETE_BODY', message: 'fetch failed', phase: 'body' });
    const cut = encode('gzip', 'hello');
    const other = await rawPeer(serve(send(sized(cut.subarray(0, 12), 'Content-Encoding: gzip'))));
    checkFailure(await rejection(pool.fetch(other.url, { collect: 'text' })), {
      code: 'BAD_CONTENT_CODING',
      message: 'fetch failed',
    });
    await eventually(async () => (await pool.stats()).shards[0]?.unreadBytes === 0, 'nothing is counted');
  });

  test('what is no JSON is told by json(), as everywhere', async () => {
    const peer = await rawPeer(serve(send(answer('{"no'))));
    expect(await rejection((await pool.fetch(peer.url, { collect: 'json' })).json())).toBeInstanceOf(SyntaxError);
  });

  test('HEAD, 204 and 304', async () => {
    const peer = await rawPeer(
      [request(), send(head('HTTP/1.1 200 OK', 'Content-Length: 5', 'Content-Encoding: gzip'))],
      serve(send(head('HTTP/1.1 204 No Content'))),
    );
    expect(await (await pool.fetch(peer.url, { method: 'HEAD', collect: 'text' })).text()).toBe('');
    const { status, body } = await poolFor({ shards }).fetch(peer.url, { collect: 'text' });
    expect({ status, body }).toEqual({ status: 204, body: null });
  });

  test('aborted while it is collected', async () => {
    const lines = head('HTTP/1.1 200 OK', 'Transfer-Encoding: chunked');
    const peer = await rawPeer([request(), send(lines, '5\r\nhello\r\n')]);
    const controller = new AbortController();
    const fetched = pool.fetch(peer.url, { collect: 'text', signal: controller.signal });
    await peer.connection(0);
    await new Promise((resolve) => setTimeout(resolve, 30));
    controller.abort(new Error('enough'));
    expect(await rejection(fetched)).toMatchObject({ message: 'enough' });
    await peer.gone(0);
    await eventually(async () => (await pool.stats()).shards[0]?.unreadBytes === 0, 'nothing is counted');
    await checkStats(pool, { inFlight: 0 });
  });

  test('what is being collected counts as unread, until it is delivered', async () => {
    const opened = deferred();
    const lines = head('HTTP/1.1 200 OK', 'Content-Length: 300000');
    const peer = await rawPeer([
      request(),
      send(lines, 'x'.repeat(200_000)),
      gate(opened.promise),
      send('x'.repeat(100_000)),
    ]);
    const fetched = pool.fetch(peer.url, { collect: 'bytes' });
    await eventually(async () => (await pool.stats()).shards[0]?.unreadBytes === 300_000, 'it counts whole');
    opened.resolve();
    expect((await (await fetched).arrayBuffer()).byteLength).toBe(300_000);
    // A question for counts may overtake what the reader tells.
    await eventually(async () => (await pool.stats()).shards[0]?.unreadBytes === 0, 'nothing is unread');
  });

  test('a body in chunks of a byte each costs memory by its bytes, not by its chunks', async () => {
    const block = '1\r\nx\r\n'.repeat(20_000);
    const peer = await rawPeer([
      request(),
      send(head('HTTP/1.1 200 OK', 'Transfer-Encoding: chunked')),
      ...Array<Step>(100).fill(send(block)),
      send('0\r\n\r\n'),
    ]);
    // The shard is there, and its memory with it.
    await pool.stats();
    const before = process.memoryUsage.rss();
    let most = 0;
    const timer = setInterval(() => {
      most = Math.max(most, process.memoryUsage.rss() - before);
    }, 20);
    const response = await pool.fetch(peer.url, { collect: 'bytes' });
    clearInterval(timer);
    most = Math.max(most, process.memoryUsage.rss() - before);
    const bytes = Buffer.from(await response.arrayBuffer());
    expect(bytes.equals(Buffer.alloc(2_000_000, 'x'))).toBe(true);
    // Some 20 MB. With an object for each chunk it was 270 MB and more.
    expect(most).toBeLessThan(120_000_000);
  });

  test('a peer that announces more than it sends costs what it sends', async () => {
    const lines = head('HTTP/1.1 200 OK', 'Content-Length: 900000000000');
    const peer = await rawPeer([request(), send(lines, 'x'.repeat(10_000)), fin()]);
    checkFailure(await rejection(pool.fetch(peer.url, { collect: 'bytes' })), {
      code: 'INCOMPLETE_BODY',
      message: 'fetch failed',
    });
  });
});
