/** Request objects as input: of the runtime, of undici, of any class; an init over them (Fetch §5.4); bodies that are sent again. */

import { type FetchBody, Pool } from 'shardfetch';
import { Headers as Headers7, Request as Request7 } from 'undici';
import { Headers as Headers6, Request as Request6 } from 'undici6';
import { afterAll, describe, expect, test } from 'vitest';
import { chunkedRequest, dechunked } from '../streams/rig.ts';
import { checkFailure, checkRefusal, expectNoSocketLeaks, rejection } from '../wire/checks.ts';
import { answer, rawPeer, request, send, serve } from '../wire/raw-peer.ts';

expectNoSocketLeaks();

const pool = new Pool({ shards: 1 });
afterAll(() => pool.close());

const TAKES = serve(send(answer('ok')));
/** Where this Node can load it. */
const UNDICI_8 = await import('undici8').then(
  ({ Request: Request8 }) => [["undici 8's", Request8]],
  () => [],
);
const CLASSES = [
  ["the runtime's", Request],
  ["undici 7's", Request7],
  ["undici 6's", Request6],
  ...UNDICI_8,
] as unknown as [string, typeof Request][];

const afterHead = (sent: string): string => sent.slice(sent.indexOf('\r\n\r\n') + 4);

describe.each(CLASSES)('%s', (_, Class) => {
  test.each<{
    what: string;
    body: string | Uint8Array<ArrayBuffer> | URLSearchParams;
    type: string | null;
    wire: string;
  }>([
    { what: 'text', body: 'na\u00efve', type: 'text/plain;charset=UTF-8', wire: 'na\xc3\xafve' },
    { what: 'empty text', body: '', type: 'text/plain;charset=UTF-8', wire: '' },
    { what: 'bytes', body: Uint8Array.of(0, 255), type: null, wire: '\x00\xff' },
    {
      what: 'URLSearchParams',
      body: new URLSearchParams({ a: '1' }),
      type: 'application/x-www-form-urlencoded;charset=UTF-8',
      wire: 'a=1',
    },
  ])('a body of $what is sent with its length', async ({ body, type, wire }) => {
    const peer = await rawPeer(TAKES);
    const made = new Class(peer.url, { method: 'POST', body });
    await pool.fetch(made);
    const sent = peer.requests()[0] ?? '';
    expect(/content-type: (.*)/.exec(sent)?.[1] ?? null).toBe(type);
    expect(sent).toContain(`\r\ncontent-length: ${wire.length}\r\n`);
    expect(afterHead(sent)).toBe(wire);
    // It was used by this, as by fetch.
    expect(made.bodyUsed).toBe(true);
    checkRefusal(await rejection(pool.fetch(made)), 'input', /used already/);
  });

  test('a form without files is sent with its length', async () => {
    const form = new FormData();
    form.append('a', '1');
    const peer = await rawPeer(TAKES);
    await pool.fetch(new Request(peer.url, { method: 'POST', body: form }));
    const sent = peer.requests()[0] ?? '';
    expect(sent).toMatch(/\r\ncontent-type: multipart\/form-data; boundary=.*\r\n/i);
    expect(sent).toMatch(/\r\ncontent-length: \d+\r\n/);
    expect(afterHead(sent)).toContain('name="a"\r\n\r\n1\r\n--');
  });

  test('a stream goes out as it comes', async () => {
    const peer = await rawPeer([chunkedRequest(), send(answer('ok', 'Connection: close'))]);
    let pulls = 0;
    const body = new ReadableStream({
      async pull(controller) {
        await new Promise((resolve) => setTimeout(resolve, 10));
        if (++pulls > 3) controller.close();
        else controller.enqueue(Buffer.from(`piece ${pulls}, `));
      },
    });
    const init = { method: 'POST', body, duplex: 'half' } as never;
    await pool.fetch(new Class(peer.url, init));
    expect(dechunked(peer.requests()[0] ?? '')).toBe('piece 1, piece 2, piece 3, ');
  });

  test('an init over it', async () => {
    const peer = await rawPeer(TAKES);
    const made = (): Request => new Class(peer.url, { method: 'POST', body: 'own', headers: { a: '1', b: '2' } });
    await pool.fetch(made(), { headers: { c: '3' } });
    await pool.fetch(made(), { body: 'other' });
    await pool.fetch(made(), { body: null, method: 'PUT' });
    await pool.fetch(made(), { headers: undefined, body: undefined });
    const [headers = '', body = '', none = '', nothing = ''] = peer.requests();
    expect(headers).not.toMatch(/\r\n[ab]: /);
    expect(headers).toMatch(/\r\nc: 3\r\n/);
    expect(body).toMatch(/\r\na: 1\r\n/);
    expect(afterHead(body)).toBe('other');
    // A body that is null is none of its own: the request's stays (Fetch §5.4).
    expect(none).toMatch(/^PUT/);
    expect(afterHead(none)).toBe('own');
    expect(nothing).toMatch(/^POST .*\r\na: 1\r\nb: 2\r\n/s);
    expect(afterHead(nothing)).toBe('own');
  });

  test('GET over a body is refused', async () => {
    const made = new Class('http://127.0.0.1:9/', { method: 'POST', body: 'x' });
    checkRefusal(await rejection(pool.fetch(made, { method: 'GET' })), 'body', /GET/);
  });

  test('as the init', async () => {
    const peer = await rawPeer(TAKES);
    const init = new Class('http://elsewhere.example/', { method: 'PUT', headers: { a: '1' }, body: 'own' });
    await pool.fetch(peer.url, init as never);
    const sent = peer.requests()[0] ?? '';
    expect(sent).toMatch(/^PUT \/ .*\r\na: 1\r\n/s);
  });
});

test('a stream that has given a part is sent whole, and its end is told', async () => {
  const peer = await rawPeer([chunkedRequest(), send(answer('ok', 'Connection: close'))]);
  let feed: ReadableStreamDefaultController | undefined;
  const body = new ReadableStream({
    start(controller) {
      feed = controller;
      controller.enqueue('first ');
      controller.enqueue(Buffer.from('second '));
    },
  });
  const fetching = pool.fetch({ url: peer.url, method: 'POST', headers: new Headers(), body });
  await (await peer.connection(0)).until((pending) => (pending.includes('second ') ? true : null));
  feed?.enqueue('third');
  feed?.close();
  await fetching;
  expect(dechunked(peer.requests()[0] ?? '')).toBe('first second third');
});

test('a stream that is longer than is looked at', async () => {
  const peer = await rawPeer([chunkedRequest(), send(answer('ok', 'Connection: close'))]);
  const piece = new Uint8Array(512 * 1024).fill(0x61);
  const body = new ReadableStream({
    start(controller) {
      for (let count = 0; count < 6; count++) controller.enqueue(piece.slice());
      controller.close();
    },
  });
  await pool.fetch({ url: peer.url, method: 'POST', headers: new Headers(), body });
  expect(dechunked(peer.requests()[0] ?? '').length).toBe(6 * 512 * 1024);
});

test('aborted while its body is looked at, and one whose body fails', async () => {
  const peer = await rawPeer([request()]);
  let cancelled = false;
  const body = new ReadableStream({
    cancel() {
      cancelled = true;
    },
  });
  const controller = new AbortController();
  const fetching = pool.fetch({
    url: peer.url,
    method: 'POST',
    headers: new Headers(),
    body,
    signal: controller.signal,
  });
  const reason = new Error('enough');
  controller.abort(reason);
  expect(await rejection(fetching)).toBe(reason);
  expect(cancelled).toBe(true);
  const failing = new ReadableStream({
    pull() {
      throw reason;
    },
  });
  const input = { url: peer.url, method: 'POST', headers: new Headers(), body: failing };
  expect(await rejection(pool.fetch(input))).toBe(reason);
});

test('a body that is not what its header says, or no bytes at all, is refused as any argument', async () => {
  const input = (body: unknown): never =>
    ({ url: 'http://127.0.0.1:9/', method: 'POST', headers: new Headers({ 'content-length': '5' }), body }) as never;
  const of = (piece: unknown): ReadableStream => ReadableStream.from([piece]);
  checkRefusal(await rejection(pool.fetch(input(of('abc')))), 'headers', /3 bytes/);
  checkRefusal(await rejection(pool.fetch(input(of(5)))), 'body', /pieces/);
});

test('a URL of another class', async () => {
  const peer = await rawPeer(TAKES);
  await pool.fetch({ href: `${peer.url}x` } as URL);
  expect(peer.requests()[0]).toMatch(/^GET \/x /);
});

test('Headers of other classes', async () => {
  const peer = await rawPeer(TAKES);
  for (const Class of [Headers, Headers7, Headers6]) {
    await pool.fetch(peer.url, { headers: new Class([['x-a', '1']]) as never });
  }
  for (const sent of peer.requests()) expect(sent).toContain('\r\nx-a: 1\r\n');
});

describe('a redirect that keeps the body', () => {
  const fileForm = (): FormData => {
    const form = new FormData();
    form.append('file', new Blob(['content']), 'name');
    return form;
  };
  test.each<{ what: string; input: (url: string) => Request | string; body?: FetchBody }>([
    { what: 'text', input: (url) => url, body: 'text' },
    { what: 'bytes', input: (url) => url, body: Uint8Array.of(1, 2, 3) },
    { what: 'a Blob', input: (url) => url, body: new Blob(['blob']) },
    { what: 'a form with a file', input: (url) => url, body: fileForm() },
    { what: 'a Request of text', input: (url) => new Request(url, { method: 'POST', body: 'text' }) },
  ])('$what is sent again', async ({ input, body }) => {
    const peer = await rawPeer([
      request(),
      send('HTTP/1.1 307 Again\r\nLocation: /next\r\nContent-Length: 0\r\n\r\n'),
      request(),
      send(answer('there')),
    ]);
    const init = { redirect: 'follow' as const, ...(body === undefined ? {} : { method: 'POST', body }) };
    expect(await (await pool.fetch(input(peer.url), init)).text()).toBe('there');
    const [first = '', second = ''] = peer.requests();
    expect(afterHead(first).length).toBeGreaterThan(0);
    expect(afterHead(second)).toBe(afterHead(first));
    expect(second).toMatch(/^POST \/next /);
  });

  test('bytes as they were when fetch was called', async () => {
    const peer = await rawPeer([
      request(),
      send('HTTP/1.1 308 Again\r\nLocation: /next\r\nContent-Length: 0\r\n\r\n'),
      request(),
      send(answer('there')),
    ]);
    const body = Buffer.from('before');
    const fetching = pool.fetch(peer.url, { method: 'PUT', body, redirect: 'follow' });
    body.fill(0x58);
    await fetching;
    expect(peer.requests().map(afterHead)).toEqual(['before', 'before']);
  });

  test('a stream cannot be', async () => {
    const peer = await rawPeer([
      chunkedRequest(),
      send('HTTP/1.1 307 Again\r\nLocation: /next\r\nContent-Length: 0\r\n\r\n'),
    ]);
    const body = (async function* (): AsyncGenerator<string> {
      yield 'once';
    })();
    const error = await rejection(pool.fetch(peer.url, { method: 'POST', body, duplex: 'half', redirect: 'follow' }));
    checkFailure(error, { code: 'BAD_REDIRECT', message: 'fetch failed' });
  });
});
