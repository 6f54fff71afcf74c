/** FormData, Blobs and Files as request bodies, to the byte. */

import { openAsBlob } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FormData as FormData7 } from 'undici';
import { FormData as FormData6 } from 'undici6';
import { describe, expect, onTestFinished, test } from 'vitest';
import { chunkedRequest, dechunked } from '../streams/rig.ts';
import { checkRefusal, checkStats, eventually, expectNoSocketLeaks, poolFor, rejection } from '../wire/checks.ts';
import { answer, rawPeer, request, send, serve } from '../wire/raw-peer.ts';

expectNoSocketLeaks();

const TAKES = serve(send(answer('ok')));

interface Sent {
  readonly head: string;
  readonly boundary: string;
  /** With `--` and the boundary shown as `B`. */
  readonly body: string;
}

function taken(sent: string | undefined): Sent {
  const [head = '', ...rest] = (sent ?? '').split('\r\n\r\n');
  const boundary = /\r\ncontent-type: multipart\/form-data; boundary=(\S+)/.exec(`${head}\r\n`)?.[1] ?? 'none';
  return { head, boundary, body: rest.join('\r\n\r\n').replaceAll(`--${boundary}`, 'B') };
}

async function sentWith(form: unknown): Promise<Sent> {
  const peer = await rawPeer(TAKES);
  const response = await poolFor().fetch(peer.url, { method: 'POST', body: form as FormData });
  expect(await response.text()).toBe('ok');
  const sent = taken(peer.requests()[0]);
  // The length is announced, and it is right: the peer took exactly that many bytes.
  expect(sent.head).toMatch(/\r\ncontent-length: \d+$/);
  return sent;
}

describe('the encoding', () => {
  test('text', async () => {
    const form = new FormData();
    form.append('a', '1');
    form.append('b', 'zwei €');
    form.append('a', '');
    const { body } = await sentWith(form);
    expect(body).toBe(
      'B\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n' +
        'B\r\nContent-Disposition: form-data; name="b"\r\n\r\nzwei \xe2\x82\xac\r\n' +
        'B\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\nB--\r\n',
    );
  });

  test('no entry', async () => {
    expect((await sentWith(new FormData())).body).toBe('B--\r\n');
  });

  test('files', async () => {
    const form = new FormData();
    form.append('one', new File(['first'], 'ä.txt', { type: 'text/plain' }));
    form.append('two', new Blob([Uint8Array.of(0, 13, 10, 255)]));
    form.append('three', new Blob([], { type: 'image/png' }), 'empty.png');
    form.append('last', 'x');
    const { body } = await sentWith(form);
    expect(body).toBe(
      'B\r\nContent-Disposition: form-data; name="one"; filename="\xc3\xa4.txt"\r\nContent-Type: text/plain\r\n\r\nfirst\r\n' +
        'B\r\nContent-Disposition: form-data; name="two"; filename="blob"\r\nContent-Type: application/octet-stream\r\n\r\n\x00\r\n\xff\r\n' +
        'B\r\nContent-Disposition: form-data; name="three"; filename="empty.png"\r\nContent-Type: image/png\r\n\r\n\r\n' +
        'B\r\nContent-Disposition: form-data; name="last"\r\n\r\nx\r\nB--\r\n',
    );
  });

  test('line ends of names and values become CRLF; of file names they are only escaped', async () => {
    const form = new FormData();
    form.append('a\rb\nc\r\nd"e', 'f\rg\nh\r\ni"j%22');
    form.append('file', new Blob(['a\nb\r']), 'k\rl\nm\r\nn"o');
    const { body } = await sentWith(form);
    expect(body).toBe(
      'B\r\nContent-Disposition: form-data; name="a%0D%0Ab%0D%0Ac%0D%0Ad%22e"\r\n\r\nf\r\ng\r\nh\r\ni"j%22\r\n' +
        'B\r\nContent-Disposition: form-data; name="file"; filename="k%0Dl%0Am%0D%0An%22o"\r\n' +
        'Content-Type: application/octet-stream\r\n\r\na\nb\r\r\nB--\r\n',
    );
  });

  test('hostile/88 the boundary is long, its own each time, and needs no quotes', async () => {
    const form = new FormData();
    form.append('a', '1');
    const boundaries = new Set<string>();
    for (let round = 0; round < 4; round++) {
      const { boundary } = await sentWith(form);
      expect(boundary).toMatch(/^formdata-[A-Za-z0-9_-]{24}$/);
      boundaries.add(boundary);
    }
    expect(boundaries.size).toBe(4);
  });

  test('a content type of the caller is kept', async () => {
    const peer = await rawPeer(TAKES);
    const headers = { 'Content-Type': 'multipart/mixed; boundary=mine' };
    await poolFor().fetch(peer.url, { method: 'POST', body: new FormData(), headers });
    expect(peer.requests()[0]?.match(/content-type: .*/gi)).toEqual(['Content-Type: multipart/mixed; boundary=mine']);
  });

  test.each([
    ['undici 7', FormData7],
    ['undici 6', FormData6],
  ])('of %s', async (_, Class) => {
    const form = new Class();
    form.append('a', '1');
    form.append('f', new Blob(['x'], { type: 'a/b' }), 'n');
    expect((await sentWith(form)).body).toBe(
      'B\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n' +
        'B\r\nContent-Disposition: form-data; name="f"; filename="n"\r\nContent-Type: a/b\r\n\r\nx\r\nB--\r\n',
    );
  });

  test('by shape, with a type that would break the line', async () => {
    const file = new Blob(['x']);
    Object.defineProperty(file, 'type', { value: 'a/b\r\nx-injected: 1' });
    expect((await sentWith(formOf(['f', file]))).body).toBe(
      'B\r\nContent-Disposition: form-data; name="f"; filename="blob"\r\nContent-Type: application/octet-stream\r\n\r\nx\r\nB--\r\n',
    );
  });

  test('what the runtime parses is what was put in', async () => {
    const form = new FormData();
    form.append('text', 'with "quotes" and\r\nlines');
    form.append('file', new File(['content'], 'näme.bin', { type: 'application/x-test' }));
    const peer = await rawPeer(TAKES);
    await poolFor().fetch(peer.url, { method: 'POST', body: form });
    const sent = peer.requests()[0] ?? '';
    const type = /content-type: (.*)/.exec(sent)?.[1] ?? '';
    const parsed = await new Response(Buffer.from(afterHead(sent), 'latin1'), {
      headers: { 'content-type': type },
    }).formData();
    expect(parsed.get('text')).toBe('with "quotes" and\r\nlines');
    const file = parsed.get('file') as File;
    expect([file.name, file.type, await file.text()]).toEqual(['näme.bin', 'application/x-test', 'content']);
  });
});

test('a file of the disk is read while it is sent, in either order of the entries', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'shardfetch-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  const path = join(folder, 'large.bin');
  const content = Buffer.alloc(3 * 1024 * 1024, 'shardfetch ');
  await writeFile(path, content);
  const form = new FormData();
  form.append('file', await openAsBlob(path, { type: 'text/x-large' }), 'large.bin');
  form.append('after', 'end');
  const { body } = await sentWith(form);
  const start = body.indexOf('\r\n\r\n') + 4;
  expect(body.slice(start, start + content.length) === content.toString('latin1')).toBe(true);
  expect(body.slice(start + content.length)).toBe(
    '\r\nB\r\nContent-Disposition: form-data; name="after"\r\n\r\nend\r\nB--\r\n',
  );
});

test('a file that does not know its size: chunked coding', async () => {
  const peer = await rawPeer([chunkedRequest(), send(answer('ok', 'Connection: close'))]);
  const file = new Blob(['unsized']);
  Object.defineProperty(file, 'size', { value: Number.NaN });
  await poolFor().fetch(peer.url, { method: 'POST', body: formOf(['f', file]) });
  const sent = peer.requests()[0] ?? '';
  expect(sent).toContain('\r\ntransfer-encoding: chunked\r\n');
  expect(dechunked(sent)).toContain('\r\n\r\nunsized\r\n--');
});

test('a file that is shorter than it said: the request is cut off, and says why', async () => {
  const pool = poolFor();
  const peer = await rawPeer([request()]);
  const file = new Blob(['short']);
  Object.defineProperty(file, 'size', { value: 50 });
  const error = await rejection(pool.fetch(peer.url, { method: 'POST', body: formOf(['f', file]) }));
  checkRefusal(error, 'body', /fewer bytes/);
  await checkStats(pool, { failed: 1, inFlight: 0 });
});

test('an entry of another kind is refused', async () => {
  const pool = poolFor();
  const error = await rejection(
    pool.fetch('http://127.0.0.1:9/', { method: 'POST', body: formOf(['f', { size: 3 }]) }),
  );
  checkRefusal(error, 'body', /entry of FormData/);
});

test('the FormData of the package form-data is refused with a hint', async () => {
  const pool = poolFor();
  const body = { append() {}, getBoundary: () => 'b', pipe() {} } as never;
  checkRefusal(await rejection(pool.fetch('http://127.0.0.1:9/', { method: 'POST', body })), 'body', /global in Node/);
});

test('aborted in mid-file: the reason, and the file hears that nobody reads it any more', async () => {
  const pool = poolFor();
  const peer = await rawPeer([]);
  let cancelled: unknown = 'not yet';
  const file = new Blob(['x']);
  Object.defineProperty(file, 'size', { value: 1e9 });
  // It gives a little, and then nothing for ever.
  Object.defineProperty(file, 'stream', {
    value: () =>
      new ReadableStream({
        start: (controller) => controller.enqueue(new Uint8Array(10)),
        cancel: (reason) => {
          cancelled = reason;
        },
      }),
  });
  const controller = new AbortController();
  const fetching = rejection(
    pool.fetch(peer.url, { method: 'POST', body: formOf(['f', file]), signal: controller.signal }),
  );
  const connection = await peer.connection(0);
  await connection.until((pending) => (pending.includes('filename') ? true : null));
  const reason = new Error('enough');
  controller.abort(reason);
  expect(await fetching).toBe(reason);
  await eventually(() => cancelled === reason, 'the file was let go of');
  await checkStats(pool, { aborted: 1, inFlight: 0 });
});

test('a file that fails: fetch rejects with its error', async () => {
  const pool = poolFor();
  const peer = await rawPeer([request()]);
  const failure = new Error('the disk is gone');
  const file = new Blob(['x']);
  Object.defineProperty(file, 'stream', {
    value: () =>
      new ReadableStream({
        pull: () => {
          throw failure;
        },
      }),
  });
  expect(await rejection(pool.fetch(peer.url, { method: 'POST', body: formOf(['f', file]) }))).toBe(failure);
});

describe('Blob and File', () => {
  test.each([
    { what: 'a Blob with a type', body: new Blob(['hi'], { type: 'Text/X-Y; a=b' }), type: 'text/x-y; a=b' },
    { what: 'a Blob without a type', body: new Blob(['hi']), type: null },
    { what: 'a File', body: new File(['hi'], 'name', { type: 'image/png' }), type: 'image/png' },
  ])('$what', async ({ body, type }) => {
    const peer = await rawPeer(TAKES);
    await poolFor().fetch(peer.url, { method: 'POST', body });
    const sent = peer.requests()[0] ?? '';
    expect(/content-type: (.*)/.exec(sent)?.[1] ?? null).toBe(type);
    expect(sent).toMatch(/\r\ncontent-length: 2\r\n\r\nhi$/);
  });
});

/** A form by shape: entries as they are given. */
function formOf(...entries: [string, unknown][]): FormData {
  return {
    [Symbol.toStringTag]: 'FormData',
    append(): void {},
    getAll: () => [],
    [Symbol.iterator]: () => entries[Symbol.iterator](),
  } as never;
}

function afterHead(sent: string): string {
  return sent.slice(sent.indexOf('\r\n\r\n') + 4);
}
