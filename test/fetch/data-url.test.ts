/** `data:` and `blob:` URLs: answered without input or output (Fetch §4.3, §6). */

import { Pool } from 'shardfetch';
import { afterAll, describe, expect, test } from 'vitest';
import { checkRefusal, checkStats, expectNoSocketLeaks, rejection } from '../wire/checks.ts';

expectNoSocketLeaks();

const pool = new Pool({ shards: 1 });
afterAll(async () => {
  // Not one of them was a transfer.
  await checkStats(pool, { started: 0 });
  await pool.close();
});

const DEFAULT = 'text/plain;charset=US-ASCII';

describe('data:', () => {
  test.each<[url: string, type: string, body: string]>([
    ['data:,A%20brief%20note', DEFAULT, 'A brief note'],
    ['data:,', DEFAULT, ''],
    ['data:text/plain,X', 'text/plain', 'X'],
    ['data:text/HTML;Charset="GBK",X', 'text/html;charset=GBK', 'X'],
    ['data:;charset=utf-8,X', 'text/plain;charset=utf-8', 'X'],
    ['data: ,X', DEFAULT, 'X'],
    ['data:  text/plain;a=b  ,X', 'text/plain;a=b', 'X'],
    ['data:nonsense,X', DEFAULT, 'X'],
    ['data:image/gif;charset=x;charset=y,X', 'image/gif;charset=x', 'X'],
    ['data:,a,b;base64,c', DEFAULT, 'a,b;base64,c'],
    ['data:,a?b=c', DEFAULT, 'a?b=c'],
    ['data:,a#b', DEFAULT, 'a'],
    ['data:,%FF%00%zz%', DEFAULT, '\xff\x00%zz%'],
    ['data:;base64,WA', DEFAULT, 'X'],
    ['data:;base64,WA==', DEFAULT, 'X'],
    ['data:;BASE64,WA%3D%3D', DEFAULT, 'X'],
    ['data:text/plain; base64,W A = =', 'text/plain', 'X'],
    ['data:;base64;x,WA', 'text/plain', 'WA'],
    ['data:x/y;base64=,WA', 'x/y', 'WA'],
    ['data:;base64,', DEFAULT, ''],
  ])('%s', async (url, type, body) => {
    const response = await pool.fetch(url);
    expect([response.status, response.statusText, response.ok]).toEqual([200, 'OK', true]);
    expect(response.headers.get('content-type')).toBe(type);
    expect(Buffer.from(await response.arrayBuffer()).toString('latin1')).toBe(body);
    expect(response.url).toBe(new URL(url).href.replace(/#.*/, ''));
  });

  test('blanks cost no time, and no more than they are', async () => {
    const blanks = ' '.repeat(200_000);
    const began = performance.now();
    for (const url of [
      `data:a${blanks}b,X`,
      `data:a/b${blanks}c,X`,
      `data:a/b;${blanks}c,X`,
      `data:a/b;${blanks}base6,X`,
    ]) {
      const response = await pool.fetch(url);
      expect([response.headers.get('content-type'), await response.text()]).toEqual([DEFAULT, 'X']);
    }
    const response = await pool.fetch(`data:a/b;${blanks}base64${blanks},WA==`);
    expect([response.headers.get('content-type'), await response.text()]).toEqual(['a/b', 'X']);
    // 80,000 of them took 18 seconds.
    expect(performance.now() - began).toBeLessThan(3_000);
  });

  test.each([
    'data:',
    'data:text/plain',
    'data:;base64,W',
    'data:;base64,WA=',
    'data:;base64,W-==',
    'data:;base64,W%00==',
  ])('%s is refused', async (url) => {
    checkRefusal(await rejection(pool.fetch(url)), 'input', /data: URL/);
  });

  test('the same as the runtime answers', async () => {
    for (const url of ['data:a/b;c=d,%41', 'data:;base64,//79', 'data:text/plain;charset=x;base64,YQ', 'data:,é€']) {
      const [ours, theirs] = [await pool.fetch(url), await fetch(url)];
      expect(ours.headers.get('content-type')).toBe(theirs.headers.get('content-type'));
      expect(ours.type).toBe(theirs.type);
      expect(await ours.bytes()).toEqual(new Uint8Array(await theirs.arrayBuffer()));
    }
  });

  test('HEAD has no body; a body that is given is let go of; any method will do', async () => {
    expect((await pool.fetch('data:,x', { method: 'HEAD' })).body).toBe(null);
    let cancelled = false;
    const body = new ReadableStream({
      cancel() {
        cancelled = true;
      },
    });
    expect(await (await pool.fetch('data:,x', { method: 'POST', body, duplex: 'half' })).text()).toBe('x');
    expect(cancelled).toBe(true);
  });

  test('every way to read it, and the facts of a connection that there was not', async () => {
    expect(await (await pool.fetch('data:,{"a":1}')).json()).toEqual({ a: 1 });
    const blob = await (await pool.fetch('data:text/x;charset=y,abc')).blob();
    expect([blob.type, blob.size]).toEqual(['text/x;charset=y', 3]);
    const response = await pool.fetch(new Request('data:,stream'));
    const copy = response.clone();
    let text = '';
    for await (const chunk of response.body as never as AsyncIterable<Uint8Array>) text += Buffer.from(chunk);
    expect([text, await copy.text()]).toEqual(['stream', 'stream']);
    expect(response.connection).toMatchObject({ remoteAddress: '', reused: false, shard: -1 });
    expect(response.timings).toMatchObject({ queued: -1, end: -1 });
  });

  test('an aborted signal', async () => {
    const reason = new Error('no');
    expect(await rejection(pool.fetch('data:,x', { signal: AbortSignal.abort(reason) }))).toBe(reason);
  });
});

describe('blob:', () => {
  test('what it names, with type and length', async () => {
    const url = URL.createObjectURL(new Blob(['content'], { type: 'text/x-y' }));
    const response = await pool.fetch(url);
    expect([...response.headers]).toEqual([
      ['content-length', '7'],
      ['content-type', 'text/x-y'],
    ]);
    expect(await response.text()).toBe('content');
    URL.revokeObjectURL(url);
    checkRefusal(await rejection(pool.fetch(url)), 'input', /revoked/);
  });

  test('aborted while it is read', async () => {
    const url = URL.createObjectURL(new Blob(['x'.repeat(1e6)]));
    const controller = new AbortController();
    const fetching = pool.fetch(url, { signal: controller.signal });
    const reason = new Error('enough');
    controller.abort(reason);
    expect(await rejection(fetching)).toBe(reason);
    URL.revokeObjectURL(url);
  });

  test('only GET', async () => {
    const url = URL.createObjectURL(new Blob(['x']));
    checkRefusal(await rejection(pool.fetch(url, { method: 'HEAD' })), 'method', /blob:/);
    URL.revokeObjectURL(url);
  });
});

test.each(['about:blank', 'file:///etc/passwd', 'ftp://h/', 'ws://h/', 'javascript:1'])(
  '%s is refused',
  async (url) => {
    checkRefusal(await rejection(pool.fetch(url)), 'url', /scheme/);
  },
);
