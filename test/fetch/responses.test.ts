/** What a response does as fetch's does: forms, types, text, headers, the ways to read it wrongly. The rest is in test/wire/responses.test.ts. */

import { inspect } from 'node:util';
import { type FetchResponse, Pool } from 'shardfetch';
import { afterAll, describe, expect, test } from 'vitest';
import { expectNoSocketLeaks, rejection } from '../wire/checks.ts';
import { answer, rawPeer, send, serve } from '../wire/raw-peer.ts';

expectNoSocketLeaks();

const pool = new Pool({ shards: 1 });
afterAll(() => pool.close());

async function both(...fields: string[]): Promise<(body?: string) => Promise<[FetchResponse, Response]>> {
  return async (body = '') => {
    const peer = await rawPeer(serve(send(answer(body, ...fields))));
    return [await pool.fetch(peer.url), await fetch(peer.url)];
  };
}

async function answered(body: string, ...fields: string[]): Promise<FetchResponse> {
  return pool.fetch((await rawPeer(serve(send(answer(body, ...fields))))).url);
}

describe('formData()', () => {
  const MULTIPART =
    '--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nna\xc3\xafve\r\n' +
    '--b\r\nContent-Disposition: form-data; name="f"; filename="x.bin"\r\nContent-Type: a/b\r\n\r\n\x00\xff\r\n--b--\r\n';

  test('multipart, short and long', async () => {
    for (const extra of [0, 100_000, 2_000_000]) {
      const body = MULTIPART.replace('\x00\xff', `\x00\xff${'x'.repeat(extra)}`);
      const response = await answered(body, 'Content-Type: multipart/form-data; boundary=b');
      const form = await response.formData();
      expect(form.get('a')).toBe('naïve');
      const file = form.get('f') as File;
      expect([file.name, file.type, file.size]).toEqual(['x.bin', 'a/b', 2 + extra]);
      expect(Buffer.from(await file.arrayBuffer()).subarray(0, 2)).toEqual(Buffer.from([0, 255]));
      expect(response.bodyUsed).toBe(true);
    }
  });

  test('what was sent as a form comes back as one', async () => {
    const form = new FormData();
    form.append('text', 'a\r\n"b"');
    form.append('file', new Blob(['content'], { type: 'x/y' }), 'n"ame');
    const first = await rawPeer(serve(send(answer('ok'))));
    await pool.fetch(first.url, { method: 'POST', body: form });
    const sent = first.requests()[0] ?? '';
    const type = /content-type: (.*)/.exec(sent)?.[1] ?? '';
    const back = await (await answered(sent.slice(sent.indexOf('\r\n\r\n') + 4), `Content-Type: ${type}`)).formData();
    expect(back.get('text')).toBe('a\r\n"b"');
    expect(await (back.get('file') as File).text()).toBe('content');
  });

  test('urlencoded', async () => {
    const response = await answered('a=1+2&%C3%BC=%26', 'Content-Type: application/x-www-form-urlencoded');
    expect([...(await response.formData())]).toEqual([
      ['a', '1 2'],
      ['ü', '&'],
    ]);
  });

  test('anything else is a TypeError, and so is a form that breaks off', async () => {
    const broken = [
      answered('{}', 'Content-Type: application/json'),
      answered('x'),
      answered(
        '--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nx',
        'Content-Type: multipart/form-data; boundary=b',
      ),
      answered('--b--\r\n', 'Content-Type: multipart/form-data'),
    ];
    for (const response of broken) expect(await rejection((await response).formData())).toBeInstanceOf(TypeError);
  });
});

describe('the type of blob(), as the runtime has it', () => {
  test.each([
    [],
    ['Content-Type: text/plain'],
    ['Content-Type: TEXT/HTML; Charset="UTF-8"'],
    ['Content-Type: text/html;charset=gbk', 'Content-Type: text/html;x=y'],
    ['Content-Type: text/html;charset=gbk', 'Content-Type: */*'],
    ['Content-Type: text/html;charset=gbk, text/plain'],
    ['Content-Type: x/y;a="b,c"'],
    ['Content-Type: nonsense'],
    ['Content-Type: '],
  ])('%s %s', async (...fields) => {
    const [ours, theirs] = await (await both(...(fields as string[])))('body');
    expect((await ours.blob()).type).toBe((await theirs.blob()).type);
  });
});

test('a Content-Type as long as a head may be takes no time, and is none', async () => {
  const blanks = ' '.repeat(60_000);
  const before = process.cpuUsage();
  for (const type of [`a/b${blanks}c`, `a/b;${blanks}c`, `a/b;c="${blanks}"`]) {
    expect((await (await answered('', `Content-Type: ${type}`)).blob()).type).toBe('');
  }
  // The first two took 2 seconds each, of this process alone.
  const { user, system } = process.cpuUsage(before);
  expect((user + system) / 1_000).toBeLessThan(2_000);
});

describe('text', () => {
  test.each([
    ['\xef\xbb\xbfabc', 'abc'],
    ['\xef\xbb\xbf\xef\xbb\xbfabc', '\ufeffabc'],
    ['\xef\xbb', '\ufffd'],
    ['\xff\xfea', '\ufffd\ufffda'],
    ['\xe2\x82\xac', '\u20ac'],
    ['\xe2\x82', '\ufffd'],
    ['', ''],
  ])('%j is read as UTF-8, without its mark', async (bytes, text) => {
    for (const padding of ['', 'x'.repeat(5000), 'x'.repeat(70_000)]) {
      expect(await (await answered(bytes + padding, 'Content-Type: text/plain;charset=utf-16')).text()).toBe(
        text + padding,
      );
    }
  });

  test('JSON behind a mark', async () => {
    expect(await (await answered('\xef\xbb\xbf{"a":1}')).json()).toEqual({ a: 1 });
  });
});

describe('headers', () => {
  test('cannot be changed, nor those of a copy; a copy of them can', async () => {
    const response = await answered('x', 'X-Own: 1', 'Set-Cookie: a=1', 'Set-Cookie: b=2');
    for (const { headers } of [response, response.clone()]) {
      expect(() => headers.set('a', 'b')).toThrow(TypeError);
      expect(() => headers.append('a', 'b')).toThrow(TypeError);
      expect(() => headers.delete('x-own')).toThrow(TypeError);
      expect(headers.get('x-own')).toBe('1');
      expect(headers.getSetCookie()).toEqual(['a=1', 'b=2']);
      expect(headers).toBeInstanceOf(Headers);
    }
    const copy = new Headers(response.headers);
    copy.set('x-own', '2');
    expect([copy.get('x-own'), copy.getSetCookie()]).toEqual(['2', ['a=1', 'b=2']]);
    const other = new Response(response.body, response);
    expect([other.status, other.headers.get('x-own'), await other.text()]).toEqual([200, '1', 'x']);
  });
});

describe('as the runtime answers', () => {
  test('members', async () => {
    const [ours, theirs] = await (await both('X-Own: 1', 'Content-Type: text/plain'))('body');
    for (const name of ['status', 'statusText', 'ok', 'redirected', 'type', 'bodyUsed', 'url'] as const) {
      const [our, their] = [ours[name], theirs[name]];
      expect(name === 'url' ? typeof our : our, name).toEqual(name === 'url' ? typeof their : their);
    }
    expect([...ours.headers]).toEqual([...theirs.headers]);
    expect(Object.prototype.toString.call(ours)).toBe(Object.prototype.toString.call(theirs));
    expect(ours).toBeInstanceOf(Response);
    expect(ours.body).toBe(ours.body);
    await Promise.all([ours.text(), theirs.text()]);
    expect(inspect(ours)).toContain('status: 200');
  });

  test.each(['text', 'json', 'arrayBuffer', 'blob', 'formData'] as const)(
    '%s() twice, of a body that is locked, and of none',
    async (method) => {
      const responses = await (await both('Content-Type: application/x-www-form-urlencoded'))('1');
      for (const response of responses) {
        await response[method]();
        expect(await rejection(response[method]())).toBeInstanceOf(TypeError);
        expect(() => response.clone()).toThrow(TypeError);
      }
      const [locked] = await (await both())('1');
      locked.body?.getReader();
      expect(await rejection(locked[method]())).toBeInstanceOf(TypeError);
      expect(() => locked.clone()).toThrow(TypeError);
    },
  );

  test('without a body, it is not used by reading it', async () => {
    const peer = await rawPeer(serve(send('HTTP/1.1 204 No Content\r\n\r\n')));
    for (const response of [await pool.fetch(peer.url), await fetch(peer.url)]) {
      expect(response.body).toBe(null);
      expect(await response.text()).toBe('');
      expect(response.bodyUsed).toBe(false);
      expect((await response.arrayBuffer()).byteLength).toBe(0);
    }
  });
});

test('a method of Response itself does not take ours: it looks for what only its own have', async () => {
  const response = await answered('x');
  const call = async (): Promise<string> => Response.prototype.text.call(response);
  expect(await rejection(call())).toBeInstanceOf(TypeError);
  expect(await response.text()).toBe('x');
});
