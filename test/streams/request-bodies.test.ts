/** Request bodies that come in pieces: from every kind of source, framed to the byte, at the server's pace, and let go of in time. */

import { once } from 'node:events';
import { PassThrough, Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { Pool } from 'shardfetch';
import { Request as UndiciRequest } from 'undici';
import { afterAll, describe, expect, test } from 'vitest';
import {
  checkElsewhere,
  checkFailure,
  checkRefusal,
  checkStats,
  DEFAULT_FIELDS,
  eventually,
  expectNoSocketLeaks,
  PLACES,
  poolFor,
  rejection,
} from '../wire/checks.ts';
import {
  answer,
  bytes,
  deferred,
  fin,
  gate,
  head,
  rawPeer,
  request,
  reset,
  send,
  serve,
  stopReading,
} from '../wire/raw-peer.ts';
import {
  allAcknowledged,
  bodyOf,
  CountingSource,
  checkPattern,
  chunkedRequest,
  dechunked,
  flood,
  KERNEL_BYTES_MAX,
  KIB,
  MIB,
  PatternCheck,
  pattern,
  patternAt,
  patternSource,
  readOn,
  standsStill,
  takeAll,
  until,
  uploadServer,
} from './rig.ts';

expectNoSocketLeaks();

/** An init for a body in pieces. */
function posted(body: unknown, more: object = {}): object {
  return { method: 'POST', body, duplex: 'half', ...more };
}

/** One chunked request per connection, then `ok`. */
const TAKES_CHUNKS = [chunkedRequest(), send(answer('ok', 'Connection: close'))];

function streamOf(...pieces: readonly unknown[]): ReadableStream {
  return new ReadableStream({
    start(controller): void {
      for (const piece of pieces) controller.enqueue(piece);
      controller.close();
    },
  });
}

async function* given(...pieces: readonly unknown[]): AsyncGenerator<unknown> {
  yield* pieces;
}

/** Memory of its own, which byte streams take over. */
const encoded = (text: string): Uint8Array => new TextEncoder().encode(text);

describe.each(PLACES)('$name', ({ shards }) => {
  const pool = new Pool({ shards });
  afterAll(() => pool.close());

  test('chunked coding, literally', async () => {
    const peer = await rawPeer(TAKES_CHUNKS);
    expect(await (await pool.fetch(peer.url, posted(given('first piece')))).text()).toBe('ok');
    expect(peer.requests()).toEqual([
      `POST / HTTP/1.1\r\nhost: 127.0.0.1:${peer.port}\r\n${DEFAULT_FIELDS}` +
        'transfer-encoding: chunked\r\n\r\nb\r\nfirst piece\r\n0\r\n\r\n',
    ]);
  });

  test('a declared length, literally', async () => {
    const peer = await rawPeer(serve(send(answer('ok'))));
    const init = posted(given('12', '', '345'), { headers: { 'Content-Length': '5' } });
    expect(await (await pool.fetch(peer.url, init)).text()).toBe('ok');
    expect(peer.requests()).toEqual([
      `POST / HTTP/1.1\r\nhost: 127.0.0.1:${peer.port}\r\nContent-Length: 5\r\n${DEFAULT_FIELDS}\r\n12345`,
    ]);
  });

  test.each([
    { what: 'no piece', pieces: [], wire: '' },
    { what: 'empty pieces only', pieces: ['', new Uint8Array(0), new ArrayBuffer(0)], wire: '' },
    { what: 'empty pieces between others', pieces: ['', 'a', '', new Uint8Array(0), 'b', ''], wire: 'ab' },
    { what: 'text beyond ASCII', pieces: ['\u20ac', encoded('\u20ac'), '\0'], wire: '\xe2\x82\xac\xe2\x82\xac\0' },
    {
      what: 'every kind of bytes',
      pieces: [Uint8Array.of(13, 10), new DataView(Uint8Array.of(46, 104, 46).buffer, 1, 1), Uint16Array.of(0x6968)],
      wire: '\r\nhhi',
    },
    { what: 'memory that is shared', pieces: [new SharedArrayBuffer(2)], wire: '\0\0' },
  ])('$what', async ({ pieces, wire }) => {
    const peer = await rawPeer([until('0\r\n\r\n'), takeAll(), send(answer('ok', 'Connection: close'))]);
    const length = String(wire.length);
    const sized = await rawPeer(serve(send(answer('ok'))));
    for (const make of [() => given(...pieces), () => streamOf(...pieces), () => pieces]) {
      expect(await (await pool.fetch(peer.url, posted(make()))).text()).toBe('ok');
      await pool.fetch(sized.url, posted(make(), { headers: { 'content-length': length } }));
    }
    for (const sent of peer.requests()) expect(dechunked(sent)).toBe(wire);
    expect(peer.requests()).toHaveLength(3);
    for (const sent of sized.requests()) expect(sent.endsWith(`\r\n\r\n${wire}`)).toBe(true);
    expect(sized.requests()).toHaveLength(3);
  });

  test('small, large and huge pieces arrive whole and in order, in both framings', async () => {
    const server = await uploadServer();
    const sizes = [1, 16 * KIB, 16 * KIB + 1, 255 * KIB, 256 * KIB, 256 * KIB + 1, MIB, 3, 8 * MIB, 0, 8 * MIB + 5];
    const length = sizes.reduce((sum, size) => sum + size, 0);
    const whole = pattern(length);
    async function* cut(): AsyncGenerator<Uint8Array> {
      let at = 0;
      for (const size of sizes) {
        yield whole.subarray(at, at + size);
        at += size;
      }
    }
    expect(await (await pool.fetch(server.url, posted(cut()))).text()).toBe(String(length));
    const init = posted(cut(), { headers: { 'content-length': String(length) } });
    expect(await (await pool.fetch(server.url, init)).text()).toBe(String(length));
    expect(server.uploads.map(({ headers }) => headers['transfer-encoding'])).toEqual(['chunked', undefined]);
  });

  test('a piece may be written over as soon as the next one is asked for', async () => {
    const server = await uploadServer();
    const own = new Uint8Array(40 * KIB);
    const source = new CountingSource(200, (index) => {
      own.set(patternAt(index * own.length, own.length));
      return own;
    });
    expect(await (await pool.fetch(server.url, posted(source))).text()).toBe(String(200 * own.length));
    expect(source).toMatchObject({ pulls: 200, returns: 0 });
  });

  test('a server that stops reading stops the source, and goes on when it reads on', async () => {
    const late = deferred();
    const peer = await rawPeer([stopReading(), gate(late.promise), readOn(), ...TAKES_CHUNKS]);
    const length = 96 * MIB;
    const source = patternSource(length);
    const sent = pool.fetch(peer.url, posted(source));
    const pulls = await standsStill(pool, () => source.pulls, 'the source');
    // 1 MiB of credit, overdrawn by a piece; one piece waits for credit.
    expect(pulls * 64 * KIB).toBeLessThanOrEqual(KERNEL_BYTES_MAX + MIB + 3 * 64 * KIB);
    await checkElsewhere(pool);
    expect(source.pulls).toBe(pulls);
    await (await peer.connection(0)).socket.destroy();
    expect(((await rejection(sent)) as { code: string }).code).toBe('SEND_FAILED');
    await eventually(() => source.returns === 1, 'the source is let go');
    late.resolve();
  });
});

const pool = new Pool({ shards: 1 });
afterAll(() => pool.close());

describe('sources', () => {
  test.each([
    { what: 'a ReadableStream of bytes', make: () => streamOf(encoded('ab'), encoded('c')) },
    { what: 'a ReadableStream of text', make: () => streamOf('ab', 'c') },
    {
      what: 'a byte stream',
      make: () =>
        new ReadableStream({
          type: 'bytes',
          pull(controller): void {
            controller.enqueue(encoded('abc'));
            controller.close();
          },
        }),
    },
    { what: 'a Node stream', make: () => Readable.from([Buffer.from('a'), Buffer.from('bc')]) },
    { what: 'a Node stream of text', make: () => Readable.from(['a', 'bc']) },
    { what: 'an async generator', make: () => given('a', 'b', 'c') },
    { what: 'the body of a Response', make: () => new Response('abc').body },
    { what: 'the stream of a Blob', make: () => new Blob(['abc']).stream() },
  ])('$what', async ({ make }) => {
    const peer = await rawPeer(TAKES_CHUNKS);
    expect(await (await pool.fetch(peer.url, posted(make()))).text()).toBe('ok');
    expect(peer.requests().map(dechunked)).toEqual(['abc']);
    expect(peer.requests()[0]).not.toMatch(/content-type|content-length/i);
  });

  test.each([
    { what: 'with a type', blob: new Blob(['ab', 'c'], { type: 'text/x-own' }), type: 'text/x-own', text: 'abc' },
    { what: 'without one', blob: new Blob(['abc']).slice(1), type: null, text: 'bc' },
    { what: 'that is empty', blob: new Blob([]), type: null, text: '' },
  ])('a Blob $what has a length of its own and needs no duplex', async ({ blob, type, text }) => {
    const peer = await rawPeer(serve(send(answer('ok'))));
    await pool.fetch(peer.url, { method: 'PUT', body: blob });
    expect(peer.requests()).toEqual([
      `PUT / HTTP/1.1\r\nhost: 127.0.0.1:${peer.port}\r\n${type === null ? '' : `content-type: ${type}\r\n`}` +
        `${DEFAULT_FIELDS}content-length: ${text.length}\r\n\r\n${text}`,
    ]);
  });

  test('a large Blob', async () => {
    const server = await uploadServer();
    const body = new Blob([pattern(20 * MIB)]);
    expect(await (await pool.fetch(server.url, { method: 'POST', body })).text()).toBe(String(20 * MIB));
  });

  test('a response is piped from one server to another', async () => {
    const length = 10 * MIB;
    const from = await rawPeer([request(), send(head('HTTP/1.1 200 OK')), flood(length), fin()]);
    const server = await uploadServer();
    const { body } = await pool.fetch(from.url);
    expect(await (await pool.fetch(server.url, posted(body))).text()).toBe(String(length));
  });

  test('while it waits for its turn a source is asked for no more than its credit', async () => {
    const one = poolFor({ connections: { perOrigin: 1 } });
    const open = deferred();
    const peer = await rawPeer([request(), gate(open.promise), send(answer('first')), ...TAKES_CHUNKS]);
    const first = one.fetch(peer.url);
    await eventually(() => peer.requests().length === 1, 'the first request is there');
    const source = patternSource(4 * MIB);
    const second = one.fetch(peer.url, posted(source));
    const pulls = await standsStill(one, () => source.pulls, 'the source');
    expect(pulls).toBeLessThanOrEqual(MIB / (64 * KIB) + 2);
    open.resolve();
    expect(await (await first).text()).toBe('first');
    expect(await (await second).text()).toBe('ok');
    checkPattern(Buffer.from(dechunked(peer.requests()[1] as string), 'latin1'), 4 * MIB);
    expect(source.returns).toBe(0);
  });

  test('both ways at once: what is sent comes back while more is sent', async () => {
    const peer = await rawPeer([
      until('\r\n\r\n'),
      (connection) => {
        const { socket } = connection;
        const start = connection.pending.indexOf('\r\n\r\n') + 4;
        socket.write(head('HTTP/1.1 200 OK', 'Transfer-Encoding: chunked'));
        socket.write(connection.pending.slice(start), 'latin1');
        socket.removeAllListeners('data');
        socket.pipe(socket);
      },
    ]);
    const asked: number[] = [];
    let check: PatternCheck | null = null;
    const source = new CountingSource(300, (index) => {
      asked.push(check?.length ?? 0);
      return patternAt(index * 64 * KIB, 64 * KIB);
    });
    const response = await pool.fetch(peer.url, posted(source));
    check = new PatternCheck();
    for await (const chunk of bodyOf(response)) check.take(chunk);
    expect(check.length).toBe(300 * 64 * KIB);
    expect(asked.at(-1)).toBeGreaterThan(0);
    // All was sent before the end came, so the connection is as good as new.
    expect(source).toMatchObject({ pulls: 300, returns: 0 });
  });
});

describe('Request objects', () => {
  const INIT = { method: 'POST', headers: { 'x-own': '1', 'content-type': 'text/x-own' }, body: 'abc' };

  test.each([
    { what: "the runtime's", make: (url: string) => new Request(url, INIT) },
    { what: "undici's", make: (url: string) => new UndiciRequest(url, INIT) },
    {
      what: 'a look-alike',
      make: (url: string) => ({ url, method: 'POST', headers: new Headers(INIT.headers), body: streamOf('abc') }),
    },
  ])('$what', async ({ make }) => {
    const peer = await rawPeer(serve(send(answer('ok'))));
    const input = make(`${peer.url}path?query`);
    expect(await (await pool.fetch(input as never)).text()).toBe('ok');
    const [sent] = peer.requests() as [string];
    expect(sent).toMatch(/^POST \/path\?query HTTP\/1\.1\r\n/);
    expect(sent).toContain('\r\nx-own: 1\r\n');
    expect(sent).toContain('\r\ncontent-type: text/x-own\r\n');
    // It is all there, so its length is known.
    expect(sent).toContain('\r\ncontent-length: 3\r\n');
    expect(sent.endsWith('\r\n\r\nabc')).toBe(true);
  });

  test('the redirect mode: what a Request says by itself is no wish, but an error is', async () => {
    const peer = await rawPeer(serve(send(answer('ok'))));
    for (const made of [Request, UndiciRequest]) {
      const failing = new made(peer.url, { redirect: 'error' });
      expect(await (await pool.fetch(failing)).text()).toBe('ok');
      const redirecting = await rawPeer(serve(send('HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n')));
      const refused = await rejection(pool.fetch(new made(redirecting.url, { redirect: 'error' })));
      checkFailure(refused, { code: 'BAD_REDIRECT', message: 'fetch failed', limit: 'redirect' });
      for (const redirect of ['follow', 'manual'] as const) {
        expect(await (await pool.fetch(new made(peer.url, { redirect }))).text()).toBe('ok');
      }
      expect(await (await pool.fetch(failing, { redirect: 'manual' })).text()).toBe('ok');
    }
  });

  test('without a body; what the init says goes first', async () => {
    const peer = await rawPeer(serve(send(answer('ok'))));
    await pool.fetch(new Request(peer.url, { headers: { a: '1' } }));
    await pool.fetch(new UndiciRequest(peer.url, { headers: { a: '1' } }) as never, { headers: { b: '2' } });
    await pool.fetch(new Request(peer.url, INIT), { method: 'PUT', body: 'other' });
    const [plain, changed, other] = peer.requests() as [string, string, string];
    expect(plain).toMatch(/^GET \/ HTTP\/1\.1\r\n/);
    expect(plain).toContain('\r\na: 1\r\n');
    expect(changed).not.toContain('\r\na: 1\r\n');
    expect(changed).toContain('\r\nb: 2\r\n');
    expect(other).toMatch(/^PUT \//);
    expect(other.endsWith('\r\ncontent-length: 5\r\n\r\nother')).toBe(true);
  });

  test('one that was used already is refused', async () => {
    const peer = await rawPeer(serve(send(answer('ok'))));
    const input = new Request(peer.url, INIT);
    await pool.fetch(input);
    checkRefusal(await rejection(pool.fetch(input)), 'input', /used already/);
  });

  test('its signal counts; that of the init goes first', async () => {
    const peer = await rawPeer([request()]);
    const own = new AbortController();
    const waiting = pool.fetch(new Request(peer.url, { signal: own.signal }));
    const reason = new Error('own reason');
    own.abort(reason);
    expect(await rejection(waiting)).toBe(reason);
    const other = new AbortController();
    const input = new UndiciRequest(peer.url, { signal: AbortSignal.timeout(600_000) }) as never;
    const second = pool.fetch(input, { signal: other.signal });
    other.abort(reason);
    expect(await rejection(second)).toBe(reason);
  });
});

describe('streams that nobody has read yet', () => {
  test('paused, filled, or half of a tee', async () => {
    const peer = await rawPeer(TAKES_CHUNKS);
    const paused = Readable.from(['a', 'b']).pause();
    const filled = new PassThrough();
    filled.end('ab');
    await once(filled, 'readable');
    const [mine, theirs] = streamOf('a', 'b').tee();
    for (const body of [paused, filled, mine, theirs]) {
      expect(await (await pool.fetch(peer.url, posted(body))).text()).toBe('ok');
    }
    expect(peer.requests().map(dechunked)).toEqual(['ab', 'ab', 'ab', 'ab']);
  });

  test('that have failed reject with their own error', async () => {
    const peer = await rawPeer([request()]);
    const stream = new PassThrough();
    const reason = new Error('own reason');
    stream.on('error', () => undefined);
    stream.destroy(reason);
    await eventually(() => stream.closed, 'the stream has failed');
    expect(await rejection(pool.fetch(peer.url, posted(stream)))).toBe(reason);
  });
});

describe('refused before anything is sent', () => {
  const URL_OF_NOBODY = 'http://127.0.0.1:9/';

  test('without duplex', async () => {
    for (const body of [given('a'), streamOf('a'), Readable.from(['a'])]) {
      const init = { method: 'POST', body } as never;
      checkRefusal(await rejection(pool.fetch(URL_OF_NOBODY, init)), 'duplex', /duplex: 'half'/);
    }
  });

  test('a stream that somebody reads', async () => {
    const stream = streamOf('a');
    stream.getReader();
    checkRefusal(await rejection(pool.fetch(URL_OF_NOBODY, posted(stream))), 'body', /locked/);
  });

  test('a stream given twice', async () => {
    const peer = await rawPeer(TAKES_CHUNKS);
    const stream = streamOf('a');
    const first = pool.fetch(peer.url, posted(stream));
    checkRefusal(await rejection(pool.fetch(peer.url, posted(stream))), 'body', /locked/);
    await (await first).text();
  });

  const READ: readonly { what: string; make: () => Promise<unknown> }[] = [
    {
      what: 'a Node stream read to its end',
      make: async () => {
        const stream = Readable.from(['abc']);
        for await (const _ of stream);
        return stream;
      },
    },
    {
      what: 'an empty Node stream read to its end',
      make: async () => {
        const stream = Readable.from([]);
        for await (const _ of stream);
        return stream;
      },
    },
    {
      what: 'a Node stream read in part',
      make: async () => {
        const stream = new PassThrough();
        stream.write('abc');
        await once(stream, 'readable');
        stream.read(1);
        return stream;
      },
    },
    { what: 'a destroyed Node stream', make: async () => Readable.from(['abc']).destroy() },
    {
      what: 'a ReadableStream read in part, whose reader is gone',
      make: async () => {
        const stream = streamOf('abc', 'def');
        const reader = stream.getReader();
        await reader.read();
        reader.releaseLock();
        return stream;
      },
    },
    {
      what: 'a cancelled ReadableStream',
      make: async () => {
        const stream = streamOf('abc');
        await stream.cancel();
        return stream;
      },
    },
    {
      what: "a stream of another package, by Node's members",
      make: async () => Object.assign(given('abc'), { readableDidRead: true }),
    },
  ];
  test.each(READ)('$what', async ({ make }) => {
    checkRefusal(await rejection(pool.fetch(URL_OF_NOBODY, posted(await make()))), 'body', /read or destroyed already/);
  });

  test.each(['GET', 'HEAD'])('a body with %s', async (method) => {
    checkRefusal(
      await rejection(pool.fetch(URL_OF_NOBODY, posted(given('a'), { method }))),
      'body',
      /cannot have a body/,
    );
  });

  test('what is refused leaves its stream as it was', async () => {
    const stream = streamOf('abc');
    const init = posted(stream, { headers: { 'no name': 'x' } });
    checkRefusal(await rejection(pool.fetch(URL_OF_NOBODY, init)), 'headers');
    expect(stream.locked).toBe(false);
  });
});

describe('a source that breaks its word', () => {
  test.each([
    { how: 'fewer', pieces: ['abc'], length: 4 },
    { how: 'fewer', pieces: [], length: 1 },
    { how: 'more', pieces: ['abc', 'de', 'f'], length: 4 },
    { how: 'more', pieces: ['a'], length: 0 },
  ])('$how bytes than $length', async ({ how, pieces, length }) => {
    const peer = await rawPeer([request(), send(answer('never'))]);
    const source = new CountingSource(pieces.length, (index) => pieces[index] as string);
    const init = posted(source, { headers: { 'content-length': String(length) } });
    const error = checkRefusal(
      await rejection(pool.fetch(peer.url, init)),
      'body',
      new RegExp(`${how} bytes than the ${length}`),
    );
    expect(error.url).toBe(peer.url);
    expect(source.returns).toBe(how === 'more' ? 1 : 0);
    await peer.quiet();
    // The byte that was too many never left.
    for (const { requests, pending } of peer.connections) {
      const sent = [...requests, pending].join('');
      expect(sent.length - (sent.indexOf('\r\n\r\n') + 4)).toBeLessThanOrEqual(length);
    }
    await checkStats(pool, { inFlight: 0 });
  });

  test.each([7, null, { length: 3 }])('a piece that is no bytes: %o', async (piece) => {
    const peer = await rawPeer(TAKES_CHUNKS);
    const source = new CountingSource(3, (index) => (index === 1 ? (piece as never) : 'abc'));
    checkRefusal(await rejection(pool.fetch(peer.url, posted(source))), 'body', /pieces must be bytes or text/);
    expect(source).toMatchObject({ pulls: 2, returns: 1 });
    await peer.quiet();
  });
});

describe("a source that fails: fetch rejects with the source's own error", () => {
  const own = new Error('the disk is gone');

  async function* failing(after: number): AsyncGenerator<string> {
    for (let piece = 0; piece < after; piece++) {
      yield 'abc';
      await delay(1);
    }
    throw own;
  }

  const SOURCES: { what: string; make: (after: number) => unknown }[] = [
    { what: 'an async generator', make: failing },
    { what: 'a Node stream', make: (after) => Readable.from(failing(after)) },
    {
      what: 'a ReadableStream',
      make: (after) => {
        let pulls = 0;
        return new ReadableStream({
          pull(controller): void {
            if (pulls++ < after) controller.enqueue(encoded('abc'));
            else controller.error(own);
          },
        });
      },
    },
    {
      what: 'an iterator whose next throws',
      make: (after) => {
        let pulls = 0;
        return {
          [Symbol.asyncIterator]: () => ({
            next(): unknown {
              if (pulls++ >= after) throw own;
              return { done: false, value: 'abc' };
            },
          }),
        };
      },
    },
    {
      what: 'an iterable without an iterator',
      make: () => ({
        [Symbol.asyncIterator]: () => {
          throw own;
        },
      }),
    },
  ];

  test.each(SOURCES)('$what', async ({ make }) => {
    const peer = await rawPeer([request(), send('HTTP/1.1 1')]);
    for (const after of [0, 3]) {
      for (const headers of [{}, { 'content-length': '1000' }]) {
        expect(await rejection(pool.fetch(peer.url, posted(make(after), { headers })))).toBe(own);
      }
    }
    await peer.quiet();
    await checkStats(pool, { inFlight: 0 });
    await checkElsewhere(pool);
  });

  test('in the middle of the response: its body fails with that error', async () => {
    const broken = deferred();
    const peer = await rawPeer([until('abc'), send(head('HTTP/1.1 200 OK', 'Content-Length: 10'), 'begun')]);
    async function* body(): AsyncGenerator<string> {
      yield 'abc';
      await broken.promise;
      throw own;
    }
    const response = await pool.fetch(peer.url, posted(body()));
    const read = response.text();
    broken.resolve();
    expect(await rejection(read)).toBe(own);
    await peer.gone(0);
  });
});

describe('an answer before the end of the upload', () => {
  const TOO_LARGE = `${head('HTTP/1.1 413 Content Too Large', 'Content-Length: 5', 'Connection: close')}large`;

  test('413 and a close: the answer is delivered, the source let go, the connection not used again', async () => {
    const peer = await rawPeer([bytes(300 * KIB), stopReading(), send(TOO_LARGE), fin()], serve(send(answer('next'))));
    const source = patternSource();
    const response = await pool.fetch(peer.url, posted(source));
    expect(response.status).toBe(413);
    expect(await response.text()).toBe('large');
    await eventually(() => source.returns === 1, 'the source is let go');
    const next = await pool.fetch(peer.url);
    expect(next.connection.reused).toBe(false);
    await checkStats(pool, { inFlight: 0 });
  });

  test('a generator of the caller ends as a loop over it would end it', async () => {
    const peer = await rawPeer([bytes(300 * KIB), stopReading(), send(TOO_LARGE)]);
    const ended = deferred();
    async function* body(): AsyncGenerator<Uint8Array> {
      try {
        for (;;) yield patternAt(0, 64 * KIB);
      } finally {
        ended.resolve();
      }
    }
    expect((await pool.fetch(peer.url, posted(body()))).status).toBe(413);
    await ended.promise;
  });

  test('one that would keep its connection: it is not used again, since a part of the request may be under way', async () => {
    const peer = await rawPeer([bytes(300 * KIB), stopReading(), send(answer('early'))], serve(send(answer('next'))));
    const source = patternSource();
    const response = await pool.fetch(peer.url, posted(source));
    expect(await response.text()).toBe('early');
    await eventually(() => source.returns === 1, 'the source is let go');
    const next = await pool.fetch(peer.url);
    expect(await next.text()).toBe('next');
    expect(next.connection.reused).toBe(false);
    (await peer.connection(0)).socket.resume();
    await peer.gone(0);
  });

  test('while the source has nothing to give', async () => {
    const peer = await rawPeer([until('abc'), send(answer('early'))]);
    let cancelled = 0;
    const body = new ReadableStream({
      start: (controller) => controller.enqueue(encoded('abc')),
      pull: () => new Promise(() => undefined),
      cancel: () => {
        cancelled++;
      },
    });
    expect(await (await pool.fetch(peer.url, posted(body))).text()).toBe('early');
    await eventually(() => cancelled === 1, 'the stream is let go');
    const stuck = new Readable({ read: () => undefined });
    stuck.push('abc');
    expect(await (await pool.fetch(peer.url, posted(stuck))).text()).toBe('early');
    await eventually(() => stuck.destroyed, 'the stream is let go');
    await peer.quiet();
  });

  test('a long answer and a reset: what had arrived of it is delivered', async () => {
    const length = 200 * KIB;
    const announced = head('HTTP/1.1 413 Content Too Large', `Content-Length: ${length}`, 'Connection: close');
    const sent = deferred();
    const peer = await rawPeer([
      bytes(300 * KIB),
      stopReading(),
      send(announced, pattern(length)),
      async ({ socket }) => {
        // A reset takes back what the client's kernel has not, and only that.
        await allAcknowledged(socket);
        sent.resolve();
      },
      reset(),
    ]);
    const response = await pool.fetch(peer.url, posted(patternSource()));
    expect(response.status).toBe(413);
    await sent.promise;
    checkPattern(await response.bytes(), length);
  });

  test('a source whose return throws, fails, or answers nothing of use disturbs nobody', async () => {
    const peer = await rawPeer([until('abc'), send(answer('early'))]);
    const returns: (() => unknown)[] = [
      () => {
        throw new Error('thrown by return');
      },
      () => Promise.reject(new Error('rejected by return')),
      () => ({ done: true }),
      () => undefined,
    ];
    for (const end of returns) {
      let given = false;
      const next = (): unknown => {
        if (given) return new Promise(() => undefined);
        given = true;
        return { done: false, value: 'abc' };
      };
      const body = { [Symbol.asyncIterator]: () => ({ next, return: end }) };
      expect(await (await pool.fetch(peer.url, posted(body))).text()).toBe('early');
    }
    await checkStats(pool, { inFlight: 0 });
  });
});

describe('clocks', () => {
  test('HEAD_TIMEOUT when the server takes nothing more', async () => {
    const peer = await rawPeer([stopReading()]);
    const source = patternSource();
    const error = await rejection(pool.fetch(peer.url, posted(source, { timeouts: { headMs: 150 } })));
    checkFailure(error, {
      code: 'HEAD_TIMEOUT',
      message: 'fetch failed',
      limit: 'timeouts.headMs',
      phase: 'send',
      says: /stopped taking/,
    });
    await eventually(() => source.returns === 1, 'the source is let go');
    (await peer.connection(0)).socket.resume();
    await peer.gone(0);
  });

  test('none while the source is slow: that is not the fault of the server', async () => {
    const peer = await rawPeer(TAKES_CHUNKS);
    // As long as this thread, which answers, may wait for its turn on a busy machine.
    const headMs = 1_200;
    async function* slow(): AsyncGenerator<string> {
      yield 'a';
      await delay(2 * headMs);
      yield 'b';
    }
    const response = await pool.fetch(peer.url, posted(slow(), { timeouts: { headMs } }));
    expect(await response.text()).toBe('ok');
    expect(peer.requests().map(dechunked)).toEqual(['ab']);
  });

  test('HEAD_TIMEOUT counts from the end of the upload', async () => {
    const peer = await rawPeer([chunkedRequest()]);
    const error = await rejection(pool.fetch(peer.url, posted(given('a', 'b'), { timeouts: { headMs: 60 } })));
    checkFailure(error, { code: 'HEAD_TIMEOUT', message: 'fetch failed', limit: 'timeouts.headMs', phase: 'head' });
    await peer.gone(0);
  });
});

test('a body in pieces is never sent twice', async () => {
  const peer = await rawPeer([request(), send(answer('first')), until('abc'), takeAll(), fin()], TAKES_CHUNKS);
  await (await pool.fetch(peer.url)).text();
  const source = new CountingSource(1, () => 'abc');
  const error = await rejection(pool.fetch(peer.url, posted(source, { method: 'PUT' })));
  expect(['CONNECTION_LOST', 'SEND_FAILED']).toContain((error as { code: string }).code);
  expect(peer.connections).toHaveLength(1);
  expect(source.pulls).toBe(1);
});
