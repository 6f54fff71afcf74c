/** The ends of things: a request that its caller gives up, a pool that is closed, a process that has nothing left to do. */

import { spawn } from 'node:child_process';
import { getEventListeners, once } from 'node:events';
import { Pool } from 'shardfetch';
import { afterAll, describe, expect, test } from 'vitest';
import {
  checkElsewhere,
  checkFailure,
  checkStats,
  eventually,
  expectNoSocketLeaks,
  PLACES,
  poolFor,
  rejection,
} from './checks.ts';
import {
  answer,
  bytes,
  deferred,
  gate,
  head,
  rawPeer,
  request,
  type Script,
  send,
  serve,
  startPeer,
  stopReading,
  within,
} from './raw-peer.ts';

expectNoSocketLeaks();

const LENGTH_10 = head('HTTP/1.1 200 OK', 'Content-Length: 10');

/** A count of all shards together. */
async function sumOf(pool: Pool, count: 'queued' | 'connections'): Promise<number> {
  const { shards } = await pool.stats();
  return shards.reduce((sum, shard) => sum + shard[count], 0);
}

describe.each(PLACES)('abort, $name', ({ shards }) => {
  const pool = new Pool({ shards, connections: { perOrigin: 1 } });
  afterAll(() => pool.close());

  test('before the call: the reason itself, and nothing is sent', async () => {
    const peer = await rawPeer(serve(send(answer('x'))));
    const reason = { mine: true };
    const { started } = await pool.stats();
    expect(await rejection(pool.fetch(peer.url, { signal: AbortSignal.abort(reason) }))).toBe(reason);
    const unsaid = await rejection(pool.fetch(peer.url, { signal: AbortSignal.abort() }));
    expect((unsaid as Error).name).toBe('AbortError');
    expect(peer.connections).toHaveLength(0);
    await checkStats(pool, { started });
  });

  test.each<{ what: string; script: Script; body?: Uint8Array; inBody?: boolean }>([
    { what: 'for the head', script: [request()] },
    { what: 'in the head', script: [request(), send('HTTP/1.1 200 OK\r\nA: ')] },
    { what: 'for a peer that takes the upload', script: [bytes(1000), stopReading()], body: new Uint8Array(8_000_000) },
    { what: 'for the body', script: [request(), send(LENGTH_10)], inBody: true },
    { what: 'in the body', script: [request(), send(`${LENGTH_10}12345`)], inBody: true },
    { what: 'in a long body', script: [request(), send(head('HTTP/1.1 200 OK'), 'x'.repeat(3_000_000))], inBody: true },
  ])('waiting $what: the reason itself, once; the slot is free', async ({ script, body, inBody = false }) => {
    const peer = await rawPeer(script, serve(send(answer('after'))));
    const abort = new AbortController();
    const { signal } = abort;
    const init = body === undefined ? { signal } : { method: 'POST', body, signal };
    const before = await pool.stats();
    const fetched = pool.fetch(peer.url, init);
    const connection = await peer.connection(0);
    const failing = inBody ? rejection((await fetched).text()) : rejection(fetched);
    // The only slot of this origin is taken, so this one can be served only when the abort has freed it.
    const next = pool.fetch(peer.url);
    await connection.until((pending) => (connection.requests.length > 0 || pending.length >= 1000 ? true : null));
    const reason = new Error('enough');
    abort.abort(reason);
    abort.abort(new Error('a second time'));
    expect(await failing).toBe(reason);
    connection.socket.resume();
    await peer.gone(0);
    expect(await (await next).text()).toBe('after');
    expect(getEventListeners(signal, 'abort')).toHaveLength(0);
    await checkStats(pool, { inFlight: 0, aborted: before.aborted + 1, failed: before.failed });
    await checkElsewhere(pool);
  });

  test('in the queue: those before and behind it are served', async () => {
    const free = deferred();
    const peer = await rawPeer(serve(gate(free.promise), send(answer('served'))));
    const abort = new AbortController();
    const first = pool.fetch(peer.url);
    await peer.connection(0);
    const given = pool.fetch(peer.url, { signal: abort.signal });
    const last = pool.fetch(peer.url);
    const failing = rejection(given);
    abort.abort();
    expect(await failing).toBe(abort.signal.reason);
    // The caller knows before the shard does: until then the connection, come free, would go to the one that was given up.
    await eventually(async () => (await sumOf(pool, 'queued')) === 1, 'one is queued');
    free.resolve();
    for (const response of [await first, await last]) expect(await response.text()).toBe('served');
    expect(peer.requests()).toHaveLength(2);
    expect(peer.connections).toHaveLength(1);
    await checkStats(pool, { inFlight: 0 });
  });

  test('after the end: no effect, and no listener is left', async () => {
    const peer = await rawPeer(serve(send(answer('whole'))));
    const abort = new AbortController();
    const response = await pool.fetch(peer.url, { signal: abort.signal });
    const text = await response.text();
    expect(getEventListeners(abort.signal, 'abort')).toHaveLength(0);
    abort.abort();
    expect(text).toBe('whole');
    const next = await pool.fetch(peer.url);
    expect(next.connection.reused).toBe(true);
  });

  test('100 requests on one signal: one listener, one reason', async () => {
    const peers = await Promise.all(Array.from({ length: 10 }, () => rawPeer([request()])));
    const abort = new AbortController();
    const failing = Array.from({ length: 100 }, (_, at) =>
      rejection(pool.fetch((peers[at % 10] as { url: string }).url, { signal: abort.signal })),
    );
    expect(getEventListeners(abort.signal, 'abort')).toHaveLength(1);
    await Promise.all(peers.map((peer) => peer.connection(0)));
    expect(getEventListeners(abort.signal, 'abort')).toHaveLength(1);
    const reason = Symbol('enough');
    abort.abort(reason);
    expect(await Promise.all(failing)).toEqual(Array(100).fill(reason));
    expect(getEventListeners(abort.signal, 'abort')).toHaveLength(0);
    await Promise.all(peers.map((peer) => peer.quiet()));
    await checkStats(pool, { inFlight: 0 });
  });

  test('AbortSignal.timeout gives its TimeoutError', async () => {
    const peer = await rawPeer([request()]);
    const error = await rejection(pool.fetch(peer.url, { signal: AbortSignal.timeout(30) }));
    expect((error as Error).name).toBe('TimeoutError');
    // Not gone(0): on a busy machine the time is over before there is a connection.
    await eventually(async () => (await sumOf(pool, 'connections')) === 0, 'no connection is left');
    await peer.quiet();
  });
});

describe.each(PLACES)('close and destroy, $name', ({ shards }) => {
  test('close waits for responses and their bodies, and takes nothing more', async () => {
    const pool = poolFor({ shards });
    const free = deferred();
    const peer = await rawPeer([request(), gate(free.promise), send(LENGTH_10), send('1234567890')]);
    const fetched = pool.fetch(peer.url);
    await peer.connection(0);
    let closed = false;
    const closing = pool.close().then(() => {
      closed = true;
    });
    checkFailure(await rejection(pool.fetch(peer.url)), { code: 'POOL_CLOSED', message: 'fetch failed' });
    await pool.stats();
    expect(closed).toBe(false);
    free.resolve();
    expect(await (await fetched).text()).toBe('1234567890');
    await closing;
    await peer.gone(0);
    await pool.close();
    await pool.destroy();
    const cause = checkFailure(await rejection(pool.fetch(peer.url)), { code: 'POOL_CLOSED', message: 'fetch failed' });
    expect(cause.url).toBe(peer.url);
    // What is refused was never begun; a pool that is closed has no shards left to ask.
    await checkStats(pool, { started: 1, completed: 1, inFlight: 0, shards: [] });
  });

  test('destroy cuts what is in flight with POOL_CLOSED and the reason', async () => {
    const pool = poolFor({ shards, connections: { perOrigin: 1 } });
    const silent = await rawPeer([request()]);
    const begun = await rawPeer([request(), send(`${LENGTH_10}12345`)]);
    const waiting = [rejection(pool.fetch(silent.url)), rejection(pool.fetch(silent.url))];
    const response = await pool.fetch(begun.url);
    const reading = rejection(response.text());
    await silent.connection(0);
    const closing = pool.close();
    const reason = new Error('going down');
    await Promise.all([pool.destroy(reason), pool.destroy(), closing]);
    for (const error of await Promise.all(waiting)) {
      expect(checkFailure(error, { code: 'POOL_CLOSED', message: 'fetch failed' }).cause).toBe(reason);
    }
    expect(checkFailure(await reading, { code: 'POOL_CLOSED', message: 'terminated' }).cause).toBe(reason);
    await Promise.all([silent.quiet(), begun.quiet()]);
    await checkStats(pool, { started: 3, failed: 3, inFlight: 0 });
  });

  test('idle connections are closed with the pool', async () => {
    const pool = poolFor({ shards });
    const peer = await rawPeer(serve(send(answer('x'))));
    await (await pool.fetch(peer.url)).text();
    await pool.close();
    await peer.quiet();
  });

  test('one that was never used', async () => {
    const pool = poolFor({ shards });
    await Promise.all([pool.close(), pool.close(), pool.destroy()]);
  });

  test('Symbol.asyncDispose closes', async () => {
    const pool = poolFor({ shards });
    await pool[Symbol.asyncDispose]();
    checkFailure(await rejection(pool.fetch('http://127.0.0.1:1/')), { code: 'POOL_CLOSED', message: 'fetch failed' });
  });
});

describe('a process with a pool ends by itself', () => {
  /** Runs a program in which `url` is a server's; answers what it printed once it has ended by itself. */
  async function runs(program: string, url: string): Promise<string> {
    const source = `import { Pool, fetch } from 'shardfetch';\nconst url = ${JSON.stringify(url)};\n${program}`;
    const child = spawn(process.execPath, ['--input-type=module', '--eval', source], {
      cwd: new URL('../..', import.meta.url),
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let printed = '';
    child.stdout.on('data', (chunk: Buffer) => {
      printed += chunk.toString();
    });
    try {
      const [code, signal] = await within(once(child, 'close'), 'the process to end by itself');
      expect({ code, signal }).toEqual({ code: 0, signal: null });
    } finally {
      child.kill('SIGKILL');
    }
    return printed;
  }

  const PROGRAMS = [0, 1, 2].flatMap((shards) => [
    { what: `never used, ${shards} shards`, program: `new Pool({ shards: ${shards} });`, printed: '' },
    {
      what: `idle, ${shards} shards`,
      program: `const pool = new Pool({ shards: ${shards} }); console.log(await (await pool.fetch(url)).text());`,
      printed: 'done\n',
    },
    {
      what: `closed, ${shards} shards`,
      program: `const pool = new Pool({ shards: ${shards} }); console.log(await (await pool.fetch(url)).text()); await pool.close(); console.log('closed');`,
      printed: 'done\nclosed\n',
    },
    {
      what: `asked for its counts, ${shards} shards`,
      program: `const pool = new Pool({ shards: ${shards} }); console.log((await pool.stats()).shards.length);`,
      printed: `${Math.max(shards, 1)}\n`,
    },
    {
      what: `in flight when nothing else is left, ${shards} shards`,
      program: `new Pool({ shards: ${shards} }).fetch(url).then((response) => response.text()).then(console.log);`,
      printed: 'done\n',
    },
    {
      what: `aborted, ${shards} shards`,
      program: `const stop = new AbortController();
        const failing = new Pool({ shards: ${shards} }).fetch(url + 'silent', { signal: stop.signal });
        setTimeout(() => stop.abort(), 50);
        await failing.catch((error) => console.log(error.name));`,
      printed: 'AbortError\n',
    },
    {
      // The timer of such a signal keeps nothing alive by itself.
      what: `waiting for a cookie jar, ${shards} shards`,
      program: `const cookies = { getCookieString: () => new Promise(() => {}), setCookie() {} };
        const failing = new Pool({ shards: ${shards} }).fetch(url, { cookies, signal: AbortSignal.timeout(200) });
        await failing.catch((error) => console.log(error.name));`,
      printed: 'TimeoutError\n',
    },
  ]);

  test.concurrent.each([
    ...PROGRAMS,
    { what: 'the bare fetch', program: 'console.log(await (await fetch(url)).text());', printed: 'done\n' },
    {
      what: 'the bare fetch that fails',
      program: "await fetch('http://127.0.0.1:1/').catch((error) => console.log(error.code));",
      printed: 'COULDNT_CONNECT\n',
    },
    { what: 'the bare fetch, refused', program: "await fetch('/').catch(() => console.log('no'));", printed: 'no\n' },
  ])('$what', async ({ program, printed }) => {
    const script: Script = [
      async (connection) => {
        for (;;) {
          await request()(connection);
          if (connection.isGone) return;
          if (connection.requests.at(-1)?.startsWith('GET /silent')) continue;
          await new Promise((resolve) => setTimeout(resolve, 50));
          await connection.write(answer('done'));
        }
      },
    ];
    // Not rawPeer(): what it leaves to the end of "the" test would wait for whichever of these began last.
    const peer = await startPeer('127.0.0.1', [script]);
    try {
      expect(await runs(program, peer.url)).toBe(printed);
    } finally {
      await peer.close();
    }
  });
});

test('a thousand requests given up leave nothing behind', async () => {
  const pool = poolFor({ connections: { perOrigin: 20 } });
  const peer = await rawPeer([request()]);
  for (let round = 0; round < 10; round++) {
    const abort = new AbortController();
    const failing = Array.from({ length: 100 }, () => rejection(pool.fetch(peer.url, { signal: abort.signal })));
    await peer.connection(round * 20);
    abort.abort();
    await Promise.all(failing);
    await eventually(async () => (await pool.stats()).shards[0]?.connections === 0, 'every connection is closed');
  }
  await peer.quiet();
  await checkStats(pool, { started: 1000, aborted: 1000, inFlight: 0 });
});
