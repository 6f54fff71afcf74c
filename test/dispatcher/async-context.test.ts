/** AsyncLocalStorage: what the caller's code sees, wherever a request calls it. */

import { AsyncLocalStorage } from 'node:async_hooks';
import { once } from 'node:events';
import { PassThrough } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { PLACES, poolFor } from '../wire/checks.ts';
import { answer, head, rawPeer, request, send, serve } from '../wire/raw-peer.ts';

const storage = new AsyncLocalStorage<string>();

describe.each(PLACES.slice(0, 2))('$name', ({ shards }) => {
  test('fetch: continuations, pieces of both bodies, a jar at every hop', async () => {
    const found = head('HTTP/1.1 302 Found', 'Location: /next', 'Set-Cookie: a=b', 'Content-Length: 0');
    const chunked = `${head('HTTP/1.1 200 OK', 'Transfer-Encoding: chunked')}1\r\na\r\n`;
    const peer = await rawPeer(
      [request(), send(`${chunked}0\r\n\r\n`)],
      [request(), send(found), request(), send(answer('abc'))],
    );
    const pool = poolFor({ shards, connections: { reuse: true } });
    const seen = new Map<string, Set<string | undefined>>();
    const note = (where: string): void => {
      seen.set(where, (seen.get(where) ?? new Set()).add(storage.getStore()));
    };
    async function* pieces(): AsyncGenerator<string> {
      for (let index = 0; index < 3; index++) {
        note('upload');
        yield 'x';
        await delay(2);
      }
    }
    await storage.run('mine', async () => {
      const response = await pool.fetch(peer.url, {
        method: 'POST',
        body: pieces(),
        duplex: 'half',
        forbidReuse: true,
      });
      note('response');
      for await (const _chunk of response.body as ReadableStream<Uint8Array>) note('download');
      const cookies = {
        getCookieString: async (): Promise<string> => {
          note('cookies');
          return '';
        },
        setCookie: async (): Promise<void> => note('set-cookie'),
      };
      await (await pool.fetch(peer.url, { cookies })).text();
    });
    expect([...seen].map(([where, stores]) => [where, [...stores]])).toEqual(
      ['upload', 'response', 'download', 'cookies', 'set-cookie'].map((where) => [where, ['mine']]),
    );
  });

  test('fetchAll: onProgress and the results', async () => {
    const peer = await rawPeer(serve(send(answer('abc'))));
    const seen: (string | undefined)[] = [];
    await storage.run('mine', async () => {
      const onProgress = (): void => {
        seen.push(storage.getStore());
      };
      for await (const _result of poolFor({ shards }).fetchAll([peer.url, peer.url], { onProgress })) {
        seen.push(storage.getStore());
      }
    });
    expect(seen.length).toBeGreaterThan(2);
    expect(new Set(seen)).toEqual(new Set(['mine']));
  });

  test('the dispatcher: callbacks, factories, streams', async () => {
    const peer = await rawPeer(serve(send(answer('abc'))));
    const dispatcher = poolFor({ shards }).dispatcher();
    const seen: (string | undefined)[] = [];
    const note = (): void => {
      seen.push(storage.getStore());
    };
    await storage.run('mine', async () => {
      await new Promise<void>((resolve) => {
        dispatcher.request({ origin: peer.origin, path: '/' }, (_error, { body }) => {
          note();
          resolve(body.dump());
        });
      });
      await dispatcher.stream({ origin: peer.origin, path: '/' }, () => {
        note();
        return new PassThrough().resume();
      });
      const through = dispatcher.pipeline({ origin: peer.origin, path: '/', method: 'PUT' }, ({ body }) => {
        note();
        return body;
      });
      through.end('x');
      await once(through.resume(), 'end');
      note();
    });
    expect(seen).toEqual(['mine', 'mine', 'mine', 'mine']);
  });
});
