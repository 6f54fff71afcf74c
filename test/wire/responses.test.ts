/** The response that fetch answers: every member, every way in which a body can come. */

import { inspect } from 'node:util';
import { type FetchResponse, Pool } from 'shardfetch';
import { afterAll, describe, expect, test } from 'vitest';
import { checkElsewhere, checkStats, expectNoSocketLeaks, PLACES, rejection } from './checks.ts';
import {
  answer,
  deferred,
  fin,
  gate,
  head,
  type Peer,
  rawPeer,
  request,
  type Script,
  send,
  sendApart,
  serve,
} from './raw-peer.ts';

expectNoSocketLeaks();

const pool = new Pool({ shards: 1 });
afterAll(() => pool.close());

async function fetchFrom(script: Script, init?: { method: string }, from = pool): Promise<FetchResponse> {
  return from.fetch((await rawPeer(script)).url, init);
}

function once(...parts: (string | Uint8Array)[]): Script {
  return [request(), send(...parts)];
}

describe('members', () => {
  test('status, headers, url and the rest', async () => {
    const peer = await rawPeer(
      once(
        'HTTP/1.1 207 Multi Status\r\nContent-Type: text/plain\r\nSET-Cookie: a=1\r\nset-cookie: b=2; Path=/\r\n' +
          'X-Twice: 1\r\nx-twice:\t2 \r\nX-Empty:\r\nContent-Length: 2\r\n\r\nhi',
      ),
    );
    const response = await pool.fetch(`${peer.url}path?query#fragment`);
    expect(response).toBeInstanceOf(Response);
    expect(response.status).toBe(207);
    expect(response.statusText).toBe('Multi Status');
    expect(response.ok).toBe(true);
    expect(response.url).toBe(`${peer.url}path?query`);
    expect(response.redirected).toBe(false);
    expect(response.type).toBe('basic');
    expect(response.headers).toBeInstanceOf(Headers);
    expect(response.headers).toBe(response.headers);
    expect([...response.headers]).toEqual([
      ['content-length', '2'],
      ['content-type', 'text/plain'],
      ['set-cookie', 'a=1'],
      ['set-cookie', 'b=2; Path=/'],
      ['x-empty', ''],
      ['x-twice', '1, 2'],
    ]);
    expect(response.headers.getSetCookie()).toEqual(['a=1', 'b=2; Path=/']);
    expect(response.bodyUsed).toBe(false);
    expect(await response.text()).toBe('hi');
    expect(response.bodyUsed).toBe(true);
  });

  test.each([
    { line: 'HTTP/1.1 200', status: 200, statusText: '', ok: true, httpVersion: 'HTTP/1.1' },
    { line: 'HTTP/1.1 200 ', status: 200, statusText: '', ok: true, httpVersion: 'HTTP/1.1' },
    { line: 'HTTP/1.0 299 Odd', status: 299, statusText: 'Odd', ok: true, httpVersion: 'HTTP/1.0' },
    { line: 'HTTP/1.1 304 Not Modified', status: 304, statusText: 'Not Modified', ok: false, httpVersion: 'HTTP/1.1' },
    { line: 'HTTP/1.1 404 Caf\xe9', status: 404, statusText: 'Caf\xe9', ok: false, httpVersion: 'HTTP/1.1' },
    { line: 'HTTP/1.1 999 Beyond', status: 999, statusText: 'Beyond', ok: false, httpVersion: 'HTTP/1.1' },
  ])('$line', async ({ line, status, statusText, ok, httpVersion }) => {
    const response = await fetchFrom(once(head(line, 'Content-Length: 0')));
    expect(response).toMatchObject({ status, statusText, ok, connection: { httpVersion } });
    expect(await response.clone().text()).toBe('');
    expect(inspect(response)).toContain(`status: ${status}`);
    expect(await response.text()).toBe('');
  });

  test('a redirect that is not followed is a response like any other', async () => {
    const peer = await rawPeer(once(head('HTTP/1.1 302 Found', 'Location: /elsewhere', 'Content-Length: 0')));
    const response = await pool.fetch(peer.url, { redirect: 'manual' });
    expect(response.status).toBe(302);
    expect(response.headers.get('location')).toBe('/elsewhere');
  });

  test('each way to read a body, once', async () => {
    const peer = await rawPeer(serve(send(answer('{"a":[1]}', 'Content-Type: application/json'))));
    expect(await (await pool.fetch(peer.url)).text()).toBe('{"a":[1]}');
    expect(await (await pool.fetch(peer.url)).json()).toEqual({ a: [1] });
    const buffer = await (await pool.fetch(peer.url)).arrayBuffer();
    expect(buffer).toBeInstanceOf(ArrayBuffer);
    expect(Buffer.from(buffer).toString()).toBe('{"a":[1]}');
    const bytes = await (await pool.fetch(peer.url)).bytes();
    expect(bytes.constructor).toBe(Uint8Array);
    expect(Buffer.from(bytes).toString()).toBe('{"a":[1]}');
    const blob = await (await pool.fetch(peer.url)).blob();
    expect(blob).toBeInstanceOf(Blob);
    expect(blob.type).toBe('application/json');
    expect(await blob.text()).toBe('{"a":[1]}');
    const chunks: Uint8Array[] = [];
    const { body } = await pool.fetch(peer.url);
    expect(body).toBeInstanceOf(ReadableStream);
    for await (const chunk of body ?? []) chunks.push(chunk as Uint8Array);
    expect(Buffer.concat(chunks).toString()).toBe('{"a":[1]}');
    await checkStats(pool);
  });

  test.each(['text', 'json', 'arrayBuffer', 'bytes', 'blob'] as const)('%s() twice is refused', async (method) => {
    const response = await fetchFrom(once(answer('{}')));
    await response[method]();
    for (const again of ['text', 'json', 'arrayBuffer', 'bytes', 'blob', 'formData'] as const) {
      expect(await rejection(response[again]())).toBeInstanceOf(TypeError);
    }
    expect(response.bodyUsed).toBe(true);
    expect(() => response.clone()).toThrow(TypeError);
  });

  test('a body that is being read by hand cannot be read as a whole', async () => {
    const response = await fetchFrom(once(answer('abc')));
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    expect(await rejection(response.text())).toBeInstanceOf(TypeError);
    const { value } = await reader.read();
    expect(Buffer.from(value ?? []).toString()).toBe('abc');
    expect(response.bodyUsed).toBe(true);
    reader.releaseLock();
    expect(await rejection(response.text())).toBeInstanceOf(TypeError);
  });

  test('bad JSON rejects with a SyntaxError', async () => {
    expect(await rejection((await fetchFrom(once(answer('{')))).json())).toBeInstanceOf(SyntaxError);
    expect(await rejection((await fetchFrom(once(answer('')))).json())).toBeInstanceOf(SyntaxError);
  });

  test('a byte stream can be read into a buffer of the caller', async () => {
    const response = await fetchFrom(once(answer('abcdef')));
    const reader = (response.body as ReadableStream<Uint8Array>).getReader({ mode: 'byob' });
    let text = '';
    for (;;) {
      const { value, done } = await reader.read(new Uint8Array(4));
      text += Buffer.from(value ?? []).toString();
      if (done) break;
    }
    expect(text).toBe('abcdef');
  });

  test('clone: both are read, whichever comes first', async () => {
    for (const size of [5, 20_000, 1_500_000]) {
      const body = 'x'.repeat(size);
      const response = await fetchFrom(once(answer(body, 'X-Kept: yes')));
      const clone = response.clone();
      expect(clone).toBeInstanceOf(Response);
      expect(clone.status).toBe(200);
      expect(clone.headers.get('x-kept')).toBe('yes');
      const [first, second] = await Promise.all([clone.text(), response.text()]);
      expect(first === body && second === body).toBe(true);
      expect(response.bodyUsed).toBe(true);
    }
  });

  test('a clone knows its URL', async () => {
    const response = await fetchFrom(once(answer('')));
    expect(response.clone().url).toBe(response.url);
  });

  test('formData', async () => {
    const form = await fetchFrom(once(answer('a=1&b=%C3%BC', 'Content-Type: application/x-www-form-urlencoded')));
    expect([...(await form.formData())]).toEqual([
      ['a', '1'],
      ['b', 'ü'],
    ]);
    const parts = await fetchFrom(
      once(
        answer(
          '--x\r\nContent-Disposition: form-data; name="field"\r\n\r\nvalue\r\n--x--\r\n',
          'Content-Type: multipart/form-data; boundary=x',
        ),
      ),
    );
    expect((await parts.formData()).get('field')).toBe('value');
    expect(parts.bodyUsed).toBe(true);
  });

  test('new Response(body, response)', async () => {
    const response = await fetchFrom(once(answer('again', 'X-Kept: yes')));
    const again = new Response(response.body, response);
    expect(again.status).toBe(200);
    expect(again.statusText).toBe('OK');
    expect(again.headers.get('x-kept')).toBe('yes');
    expect(await again.text()).toBe('again');
  });

  test('every member of the runtime can be touched', async () => {
    const peer = await rawPeer(serve(send(answer('{}'))));
    for (const key of Reflect.ownKeys(Response.prototype)) {
      const response = await pool.fetch(peer.url);
      const member = (response as unknown as Record<PropertyKey, unknown>)[key];
      if (typeof member === 'function' && key !== 'constructor') {
        try {
          await (member as () => unknown).call(response);
        } catch (error) {
          // formData of a JSON body, say: its own error, not that of a receiver of the wrong kind.
          expect(String(error)).not.toMatch(/Illegal invocation|brand|private member/i);
        }
      }
      expect(inspect(response)).toContain('status: 200');
    }
    expect(Object.prototype.toString.call(await pool.fetch(peer.url))).toBe('[object Response]');
  });

  test('inspection shows what a person wants to see', async () => {
    const response = await fetchFrom(once(answer('hello', 'X-Shown: yes')));
    const shown = inspect(response);
    for (const part of ['status: 200', "statusText: 'OK'", 'x-shown', 'remoteAddress', 'firstByte', response.url]) {
      expect(shown).toContain(part);
    }
    // Looking changes nothing.
    expect(await response.text()).toBe('hello');
  });

  test('timings are ordered, and the connection is known', async () => {
    const peer = await rawPeer(serve(send(answer('timed'))));
    const begun = performance.now();
    const first = await pool.fetch(peer.url);
    await first.text();
    const second = await pool.fetch(peer.url);
    await second.text();
    const elapsed = performance.now() - begun;
    for (const { timings } of [first, second]) {
      const { queued, dns, connect, tls, sent, firstByte, end } = timings;
      const order = [0, queued, dns, connect, tls, sent, firstByte, end, elapsed];
      expect(order).toEqual([...order].sort((a, b) => a - b));
    }
    expect(first.connection).toEqual({
      reused: false,
      remoteAddress: `127.0.0.1:${peer.port}`,
      shard: 0,
      httpVersion: 'HTTP/1.1',
      tls: null,
      proxy: null,
    });
    expect(second.connection.reused).toBe(true);
    expect(peer.connections).toHaveLength(1);
  });

  test('timings of a body that takes its time', async () => {
    const later = deferred();
    const peer = await rawPeer([request(), send('HTTP/1.1 200 OK\r\n\r\nx'), gate(later.promise), send('x'), fin()]);
    const response = await pool.fetch(peer.url);
    expect(response.timings.end).toBe(-1);
    await new Promise((resolve) => setTimeout(resolve, 60));
    later.resolve();
    expect(await response.text()).toBe('xx');
    expect(response.timings.end).toBeGreaterThanOrEqual(response.timings.firstByte + 50);
  });
});

describe('responses without a body', () => {
  test.each([204, 304])('%i has none, whatever it announces, and keeps its connection', async (status) => {
    const peer = await rawPeer(serve(send(head(`HTTP/1.1 ${status} None`, 'Content-Length: 5'))));
    for (const reused of [false, true]) {
      const response = await pool.fetch(peer.url);
      expect(response.body).toBe(null);
      expect(await response.text()).toBe('');
      expect(await response.text()).toBe('');
      expect(response.bodyUsed).toBe(false);
      expect(response.connection.reused).toBe(reused);
    }
  });

  test('an empty body is a body', async () => {
    const response = await fetchFrom(once(answer('')));
    expect(response.body).toBeInstanceOf(ReadableStream);
    expect((await response.arrayBuffer()).byteLength).toBe(0);
    expect(response.bodyUsed).toBe(true);
  });

  test('interim responses are passed over', async () => {
    const interim =
      head('HTTP/1.1 100 Continue') +
      head('HTTP/1.1 103 Early Hints', 'Link: </a>; rel=preload', 'Content-Length: 7') +
      head('HTTP/1.1 199 Whatever', 'Transfer-Encoding: chunked');
    const response = await fetchFrom(once(interim, answer('final')));
    expect(response.status).toBe(200);
    expect(response.headers.has('link')).toBe(false);
    expect(await response.text()).toBe('final');
  });
});

describe('text', () => {
  test.each([
    { what: 'ASCII', bytes: 'plain', text: 'plain' },
    { what: 'UTF-8', bytes: 'na\xc3\xafve \xe2\x82\xac \xf0\x9f\x98\x80', text: 'naïve € 😀' },
    { what: 'UTF-8 with a byte order mark', bytes: '\xef\xbb\xbf{"a":"\xc3\xa9"}', text: '{"a":"é"}' },
    { what: 'two byte order marks', bytes: '\xef\xbb\xbf\xef\xbb\xbfa', text: '\ufeffa' },
    { what: 'bytes that are no UTF-8', bytes: 'a\xffb\xc3', text: 'a\ufffdb\ufffd' },
    { what: 'control bytes', bytes: '\x00\x01\x7f\r\n', text: '\x00\x01\x7f\r\n' },
  ])('$what', async ({ bytes, text }) => {
    const padding = 'x'.repeat(5000);
    for (const [sent, expected] of [
      [bytes, text],
      [bytes + padding, text + padding],
    ] as const) {
      const peer = await rawPeer(serve(send(answer(sent))));
      expect(await (await pool.fetch(peer.url)).text()).toBe(expected);
      expect(Buffer.from(await (await pool.fetch(peer.url)).arrayBuffer()).toString('latin1')).toBe(sent);
      const streamed = await pool.fetch(peer.url);
      expect(streamed.body).not.toBe(null);
      expect(await streamed.text()).toBe(expected);
    }
  });
});

const SIZES = [
  0, 1, 4095, 4096, 4097, 16_383, 16_384, 16_385, 65_536, 131_072, 131_073, 1_048_575, 1_048_576, 1_048_577, 5_242_880,
];

describe.each(PLACES)('bodies of all sizes, $name', ({ shards }) => {
  const own = new Pool({ shards });
  afterAll(() => own.close());

  const sizes = shards === 2 ? [4097, 16_385, 1_048_577] : SIZES;

  test.each(sizes)('%i bytes', async (size) => {
    const body = pattern(size);
    const peers: Peer[] = [
      await rawPeer(serve(send(`HTTP/1.1 200 OK\r\ncontent-length: ${size}\r\n\r\n`, body))),
      await rawPeer(serve(send('HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n', chunked(body, 10_007)))),
      await rawPeer([request(), send('HTTP/1.1 200 OK\r\n\r\n', body), fin()]),
    ];
    for (const peer of peers) {
      const whole = await (await own.fetch(peer.url)).arrayBuffer();
      expect(whole.byteLength).toBe(size);
      expect(Buffer.from(whole).equals(body)).toBe(true);
      const streamed = await own.fetch(peer.url);
      const chunks: Uint8Array[] = [];
      for await (const chunk of streamed.body ?? []) chunks.push(chunk as Uint8Array);
      expect(Buffer.concat(chunks).equals(body)).toBe(true);
      const text = await (await own.fetch(peer.url)).bytes();
      expect(Buffer.from(text.buffer, text.byteOffset, text.byteLength).equals(body)).toBe(true);
    }
    expect(peers.map(({ connections }) => connections.length)).toEqual([1, 1, 3]);
    await checkStats(own, { inFlight: 0, failed: 0, aborted: 0 });
  });
});

describe('pieces', () => {
  test('a response byte by byte is the same response', async () => {
    const bytes =
      'HTTP/1.1 200 OK\r\nX-A: b\r\nTransfer-Encoding: chunked\r\n\r\n3;x="y"\r\nabc\r\n2\r\nde\r\n0\r\nX-T: t\r\n\r\n';
    const response = await fetchFrom([request(), sendApart(bytes)]);
    expect(response.headers.get('x-a')).toBe('b');
    expect(await response.text()).toBe('abcde');
    expect(response.headers.has('x-t')).toBe(false);
  });

  test('a long body in pieces that end anywhere', async () => {
    const body = pattern(200_000);
    const pieces: Uint8Array[] = [];
    for (let at = 0, size = 1; at < body.length; at += size, size = (size * 7 + 3) % 40_000) {
      pieces.push(body.subarray(at, at + size));
      if (size === 0) break;
    }
    const peer = await rawPeer([
      request(),
      send(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n`),
      sendApart(pieces),
    ]);
    expect(Buffer.concat(pieces).equals(body)).toBe(true);
    expect(Buffer.from(await (await pool.fetch(peer.url)).arrayBuffer()).equals(body)).toBe(true);
  });

  test('ten thousand chunks of one byte', async () => {
    const response = await fetchFrom(
      once('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n', '1\r\nx\r\n'.repeat(10_000), '0\r\n\r\n'),
    );
    expect((await response.text()).length).toBe(10_000);
  });

  test('a reader that stops holds its own server and nobody else', async () => {
    const body = pattern(12 * 1024 * 1024);
    const peer = await rawPeer([request(), send(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n`, body)]);
    // Longer than a busy machine lets this thread, which is the peer, wait for its turn.
    const bodyIdleMs = 2_000;
    const response = await pool.fetch(peer.url, { timeouts: { bodyIdleMs } });
    for (let count = 0; count < 20; count++) await checkElsewhere(pool);
    // The clock of the body stands still while nobody reads: the reader's slowness is not the peer's.
    await new Promise((resolve) => setTimeout(resolve, bodyIdleMs + 500));
    const { shards } = await pool.stats();
    expect(shards[0]?.running).toBe(1);
    expect(Buffer.from(await response.arrayBuffer()).equals(body)).toBe(true);
    await checkStats(pool, { inFlight: 0 });
  });

  test('a body that is cancelled frees its connection', async () => {
    const body = pattern(12 * 1024 * 1024);
    const peer = await rawPeer([request(), send(`HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n`, body)]);
    const before = await pool.stats();
    const response = await pool.fetch(peer.url);
    await response.body?.cancel();
    await peer.gone(0);
    await checkStats(pool, { inFlight: 0, aborted: before.aborted + 1 });
  });
});

function pattern(size: number): Buffer {
  const all = Buffer.alloc(size);
  for (let index = 0; index < size; index++) all[index] = (index * 31 + (index >> 8) * 7 + (index >> 16)) & 0xff;
  return all;
}

function chunked(body: Buffer, step: number): Buffer {
  const parts: Buffer[] = [];
  for (let at = 0; at < body.length; at += step) {
    const part = body.subarray(at, at + step);
    parts.push(Buffer.from(`${part.length.toString(16)}\r\n`), part, Buffer.from('\r\n'));
  }
  return Buffer.concat([...parts, Buffer.from('0\r\n\r\n')]);
}
