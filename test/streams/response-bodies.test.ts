/** Response bodies as streams: every way to read one, how a slow reader holds its peer, and what giving one up frees. */

import { setTimeout as delay } from 'node:timers/promises';
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
import {
  answer,
  deferred,
  fin,
  gate,
  head,
  type Peer,
  rawPeer,
  request,
  reset,
  type Script,
  send,
  serve,
} from '../wire/raw-peer.ts';
import {
  accepted,
  bodyOf,
  checkPattern,
  collect,
  flood,
  KERNEL_BYTES_MAX,
  KIB,
  MIB,
  PatternCheck,
  pattern,
  standsStill,
  WINDOW_MAX,
} from './rig.ts';

expectNoSocketLeaks();

const UNTIL_CLOSE = head('HTTP/1.1 200 OK');
const CHUNKED = head('HTTP/1.1 200 OK', 'Transfer-Encoding: chunked');

function sized(length: number): string {
  return head('HTTP/1.1 200 OK', `Content-Length: ${length}`);
}

/** Answers with `length` bytes of the pattern, in the framing asked for. */
function patternScript(length: number, framing: 'length' | 'chunked' | 'close'): Script {
  if (framing === 'length') return serve(send(sized(length)), flood(length));
  if (framing === 'chunked') return serve(send(CHUNKED), flood(length, 'chunked'), send('0\r\n\r\n'));
  return [request(), send(UNTIL_CLOSE), flood(length), fin()];
}

const FRAMINGS = ['length', 'chunked', 'close'] as const;

describe.each(PLACES)('$name', ({ shards }) => {
  const pool = new Pool({ shards });
  afterAll(() => pool.close());

  test('a peer that sends without end is stopped while nobody reads, and goes on when somebody does', async () => {
    const peer = await rawPeer([request(), send(UNTIL_CLOSE), flood()]);
    const response = await pool.fetch(peer.url);
    const { socket } = await peer.connection(0);
    const stopped = await standsStill(pool, () => accepted(socket), 'the peer');
    expect(stopped).toBeLessThanOrEqual(KERNEL_BYTES_MAX + WINDOW_MAX);
    const { shards: each } = await pool.stats();
    expect(each.reduce((sum, shard) => sum + shard.unreadBytes, 0)).toBeLessThanOrEqual(WINDOW_MAX);
    const check = new PatternCheck();
    const reader = bodyOf(response).getReader();
    while (check.length < stopped + 8 * MIB) check.take((await reader.read()).value as Uint8Array);
    expect(accepted(socket)).toBeGreaterThan(stopped);
    await standsStill(pool, () => accepted(socket), 'the peer');
    expect(accepted(socket) - check.length).toBeLessThanOrEqual(KERNEL_BYTES_MAX + WINDOW_MAX);
    await reader.cancel();
    await peer.gone(0);
    await checkStats(pool, { inFlight: 0 });
  });

  test.each(FRAMINGS)('bodies around every border, framed by %s, read in every way', async (framing) => {
    for (const length of [1, 4096, 4097, 16 * KIB, 16 * KIB + 1, 128 * KIB, MIB - 1, MIB, MIB + 1, 5 * MIB + 3]) {
      const peer = await rawPeer(patternScript(length, framing));
      checkPattern(new Uint8Array(await (await pool.fetch(peer.url)).arrayBuffer()), length);
      checkPattern(await collect(bodyOf(await pool.fetch(peer.url))), length);
      const copied = (await pool.fetch(peer.url)).clone();
      checkPattern(new Uint8Array(await copied.arrayBuffer()), length);
    }
  });

  test('a reader of its own buffers gets every byte, of whatever size they are', async () => {
    const length = 3 * MIB + 77;
    const peer = await rawPeer(patternScript(length, 'chunked'));
    const reader = bodyOf(await pool.fetch(peer.url)).getReader({ mode: 'byob' });
    const check = new PatternCheck();
    let buffer = new ArrayBuffer(100_001);
    for (let size = 1; ; size = (size * 7) % 100_000) {
      const { value, done } = await reader.read(new Uint8Array(buffer, 1, size));
      if (done) {
        // The memory comes back in the end, as the standard asks.
        expect(value?.byteLength).toBe(0);
        expect(value?.buffer.byteLength).toBe(100_001);
        break;
      }
      check.take(value);
      buffer = value.buffer as ArrayBuffer;
    }
    expect(check.length).toBe(length);
    await reader.closed;
  });

  test('what is left when a reader is cancelled closes its connection, and the next request has the place', async () => {
    const peer = await rawPeer([request(), send(UNTIL_CLOSE), flood()], serve(send(answer('next'))));
    const one = poolFor({ shards, connections: { perOrigin: 1 } });
    const reader = bodyOf(await one.fetch(peer.url)).getReader();
    await reader.read();
    const next = one.fetch(peer.url);
    await reader.cancel('enough');
    expect(await reader.read()).toEqual({ done: true, value: undefined });
    expect(await (await next).text()).toBe('next');
    await peer.gone(0);
    await checkStats(one, { aborted: 1, completed: 1, inFlight: 0 });
  });
});

const pool = new Pool({ shards: 1 });
afterAll(() => pool.close());

describe('reading', () => {
  test('leaving a loop closes the connection', async () => {
    const peer = await rawPeer([request(), send(UNTIL_CLOSE), flood()]);
    for await (const chunk of bodyOf(await pool.fetch(peer.url))) {
      expect(chunk.length).toBeGreaterThan(0);
      break;
    }
    await peer.gone(0);
  });

  test('a loop that throws closes the connection', async () => {
    const peer = await rawPeer([request(), send(UNTIL_CLOSE), flood()]);
    const own = new Error('my own');
    const loop = async (): Promise<void> => {
      for await (const chunk of bodyOf(await pool.fetch(peer.url))) if (chunk.length > 0) throw own;
    };
    expect(await rejection(loop())).toBe(own);
    await peer.gone(0);
  });

  test('cancel while a read is under way ends the read', async () => {
    const peer = await rawPeer([request(), send(sized(10))]);
    const stream = bodyOf(await pool.fetch(peer.url));
    const reader = stream.getReader();
    const read = reader.read();
    await reader.cancel();
    expect(await read).toEqual({ done: true, value: undefined });
    await reader.closed;
    await peer.gone(0);
  });

  test('cancel without a reader, before and after the end', async () => {
    const peer = await rawPeer([request(), send(sized(10))], serve(send(answer('whole'))));
    await bodyOf(await pool.fetch(peer.url)).cancel();
    await peer.gone(0);
    const response = await pool.fetch(peer.url);
    await bodyOf(response).cancel();
    expect(await rejection(response.text())).toBeInstanceOf(TypeError);
    const again = await pool.fetch(peer.url);
    expect(again.connection.reused).toBe(true);
    expect(await again.text()).toBe('whole');
  });

  test('a reader of its own buffers waits for bytes, and hears of the failure', async () => {
    const more = deferred();
    const peer = await rawPeer([request(), send(sized(10)), gate(more.promise), send('abc'), fin()]);
    const reader = bodyOf(await pool.fetch(peer.url)).getReader({ mode: 'byob' });
    const read = reader.read(new Uint8Array(8));
    more.resolve();
    expect(Buffer.from((await read).value ?? []).toString()).toBe('abc');
    checkFailure(await rejection(reader.read(new Uint8Array(8))), { code: 'INCOMPLETE_BODY', message: 'terminated' });
  });

  test('a pipe into a slow sink holds the peer, and ends with the body', async () => {
    const length = 24 * MIB;
    const peer = await rawPeer(patternScript(length, 'length'));
    const check = new PatternCheck();
    const go = deferred();
    const sink = new WritableStream<Uint8Array>({
      async write(chunk): Promise<void> {
        await go.promise;
        check.take(chunk);
      },
    });
    const piped = bodyOf(await pool.fetch(peer.url)).pipeTo(sink);
    await eventually(async () => ((await pool.stats()).shards[0]?.unreadBytes ?? 0) >= MIB - 256 * KIB, 'it is held');
    expect((await pool.stats()).shards[0]?.unreadBytes).toBeLessThanOrEqual(WINDOW_MAX);
    go.resolve();
    await piped;
    expect(check.length).toBe(length);
  });

  test('a pipe that is aborted, or whose sink fails, closes the connection', async () => {
    const peer = await rawPeer([request(), send(UNTIL_CLOSE), flood()]);
    const stop = new AbortController();
    const reason = new Error('stop the pipe');
    const aborted = bodyOf(await pool.fetch(peer.url)).pipeTo(new WritableStream(), { signal: stop.signal });
    stop.abort(reason);
    expect(await rejection(aborted)).toBe(reason);
    await peer.gone(0);
    const full = new Error('no room');
    const sink = new WritableStream({
      write(): void {
        throw full;
      },
    });
    expect(await rejection(bodyOf(await pool.fetch(peer.url)).pipeTo(sink))).toBe(full);
    await peer.gone(1);
  });

  test('through a stream of the runtime', async () => {
    const peer = await rawPeer(serve(send(CHUNKED, '1\r\n\xe2\r\n', '2\r\n\x82\xac\r\n', '0\r\n\r\n')));
    const texts: string[] = [];
    for await (const text of bodyOf(await pool.fetch(peer.url)).pipeThrough(new TextDecoderStream() as never)) {
      texts.push(String(text));
    }
    expect(texts.join('')).toBe('\u20ac');
  });
});

describe('two readers', () => {
  const LENGTH = 6 * MIB;

  test.each([0, 1])('tee: branch %i first, then the other', async (first) => {
    const peer = await rawPeer(patternScript(LENGTH, 'chunked'));
    const branches = bodyOf(await pool.fetch(peer.url)).tee();
    checkPattern(await collect(branches[first] as never), LENGTH);
    checkPattern(await collect(branches[1 - first] as never), LENGTH);
  });

  test('tee: one gives up, the other reads on; when both give up the connection closes', async () => {
    const peer = await rawPeer(patternScript(LENGTH, 'close'), [request(), send(UNTIL_CLOSE), flood()]);
    const [left, right] = bodyOf(await pool.fetch(peer.url)).tee();
    void left.cancel();
    checkPattern(await collect(right as never), LENGTH);
    const [one, two] = bodyOf(await pool.fetch(peer.url)).tee();
    await Promise.all([one.cancel(), two.cancel()]);
    await peer.gone(1);
  });

  test.each(['original', 'copy'])('clone of a body that is still coming: the %s first', async (which) => {
    const more = deferred();
    const half = LENGTH / 2;
    const peer = await rawPeer([
      request(),
      send(sized(LENGTH), pattern(half)),
      gate(more.promise),
      send(pattern(LENGTH).subarray(half)),
    ]);
    const original = await pool.fetch(peer.url);
    const copy = original.clone() as typeof original;
    const [first, second] = which === 'original' ? [original, copy] : [copy, original];
    expect(first.bodyUsed).toBe(false);
    const read = first.bytes();
    expect(first.bodyUsed).toBe(true);
    expect(second.bodyUsed).toBe(false);
    more.resolve();
    checkPattern(await read, LENGTH);
    checkPattern(await collect(bodyOf(second)), LENGTH);
    expect(copy.timings.end).toBeGreaterThan(0);
    expect(copy.url).toBe(original.url);
  });

  test('clones of clones: each reads it all; the connection closes when the last of them gives up', async () => {
    const peer = await rawPeer(patternScript(LENGTH, 'close'), [request(), send(UNTIL_CLOSE), flood()]);
    const copiesOf = (response: Response): Response[] => {
      const copy = response.clone();
      return [response, copy.clone(), copy];
    };
    const read = copiesOf(await pool.fetch(peer.url)).map((copy) => copy.arrayBuffer());
    for (const buffer of await Promise.all(read)) checkPattern(new Uint8Array(buffer), LENGTH);
    const [first, second, third] = copiesOf(await pool.fetch(peer.url)) as [Response, Response, Response];
    const others = [first, second].map((copy) => bodyOf(copy).cancel());
    const reader = bodyOf(third).getReader();
    await reader.read();
    expect((await peer.connection(1)).isGone).toBe(false);
    await reader.cancel();
    await Promise.all(others);
    await peer.gone(1);
  });

  test('a body that breaks breaks for both', async () => {
    const peer = await rawPeer([request(), send(sized(10), 'abc'), fin()]);
    const original = await pool.fetch(peer.url);
    const copy = original.clone();
    checkFailure(await rejection(copy.text()), { code: 'INCOMPLETE_BODY', message: 'terminated' });
    checkFailure(await rejection(original.text()), { code: 'INCOMPLETE_BODY', message: 'terminated' });
  });
});

describe('trailers', () => {
  const TRAILED = [CHUNKED, '3\r\nabc\r\n', '0\r\nX-Sum: 7\r\nx-sum: 8\r\nSet-Cookie: a=1\r\n\r\n'];

  test('come when the body has ended, and never among the headers', async () => {
    const more = deferred();
    const peer = await rawPeer([request(), send(TRAILED[0] as string), gate(more.promise), send(...TRAILED.slice(1))]);
    const response = await pool.fetch(peer.url);
    let known = false;
    const trailers = response.trailers.finally(() => {
      known = true;
    });
    const read = response.text();
    await delay(0);
    expect(known).toBe(false);
    more.resolve();
    expect(await read).toBe('abc');
    expect([...(await trailers)]).toEqual([
      ['set-cookie', 'a=1'],
      ['x-sum', '7, 8'],
    ]);
    expect(response.headers.has('x-sum')).toBe(false);
    expect((await response.trailers).get('x-sum')).toBe('7, 8');
  });

  test('of a response that was complete at once, of its clone, and of one that has none', async () => {
    const peer = await rawPeer(serve(send(TRAILED.join(''))), serve(send(answer('abc'))));
    const response = await pool.fetch(peer.url);
    const copy = response.clone() as typeof response;
    expect(await copy.text()).toBe('abc');
    expect((await response.trailers).get('x-sum')).toBe('7, 8');
    expect((await copy.trailers).get('x-sum')).toBe('7, 8');
    const none = await rawPeer(serve(send(answer('abc'))));
    expect([...(await (await pool.fetch(none.url)).trailers)]).toEqual([]);
    await response.text();
  });

  test('of a body that breaks: they fail as it does, and bother nobody who did not ask', async () => {
    const peer = await rawPeer([request(), send(CHUNKED, '3\r\nabc\r\n'), fin()]);
    const response = await pool.fetch(peer.url);
    const { trailers } = response;
    checkFailure(await rejection(response.text()), { code: 'INCOMPLETE_BODY', message: 'terminated' });
    checkFailure(await rejection(trailers), { code: 'INCOMPLETE_BODY', message: 'terminated' });
  });

  test('of a body that was given up: nobody is told that there were none', async () => {
    const peer = await rawPeer([request(), send(CHUNKED, '3\r\nabc\r\n')]);
    const unread = await pool.fetch(peer.url);
    const early = unread.trailers;
    await bodyOf(unread).cancel();
    checkFailure(await rejection(early), { code: 'INCOMPLETE_BODY', message: 'terminated', phase: 'body' });
    const begun = await pool.fetch(peer.url);
    const reader = bodyOf(begun).getReader();
    await reader.read();
    await reader.cancel();
    checkFailure(await rejection(begun.trailers), { code: 'INCOMPLETE_BODY', message: 'terminated', phase: 'body' });
    expect(await reader.read()).toEqual({ done: true, value: undefined });
  });
});

describe('clocks and ends while nobody reads', () => {
  async function heldResponse(from: Pool, peer: Peer, bodyIdleMs: number) {
    const response = await from.fetch(peer.url, { timeouts: { bodyIdleMs } });
    const { socket } = await peer.connection(0);
    await standsStill(from, () => accepted(socket), 'the peer');
    return response;
  }

  async function checkBodyClock(from: Pool): Promise<void> {
    const peer = await rawPeer([request(), send(sized(40 * MIB)), flood(40 * MIB - 1)]);
    // As long as this thread, which is the peer, may wait for its turn on a busy machine.
    const bodyIdleMs = 1_500;
    const response = await heldResponse(from, peer, bodyIdleMs);
    const check = new PatternCheck();
    const reader = bodyOf(response).getReader();
    // A reader that sleeps for longer than the clock, more than once.
    for (let pause = 0; pause < 2; pause++) {
      await delay(bodyIdleMs + 200);
      for (let reads = 0; reads < 3; reads++) check.take((await reader.read()).value as Uint8Array);
    }
    const drain = async (): Promise<never> => {
      for (;;) check.take((await reader.read()).value as Uint8Array);
    };
    // The last byte never comes, and now it is the peer who is silent.
    checkFailure(await rejection(drain()), {
      code: 'BODY_TIMEOUT',
      message: 'terminated',
      limit: 'timeouts.bodyIdleMs',
    });
    expect(check.length).toBe(40 * MIB - 1);
  }

  test('the body clock stands still while it is paused, and runs again when it is read', async () => {
    await Promise.all(PLACES.map(({ shards }) => checkBodyClock(poolFor({ shards }))));
  });

  test('the total clock does not stand still', async () => {
    const peer = await rawPeer([request(), send(UNTIL_CLOSE), flood()]);
    // Long enough for its head to come on a busy machine.
    const response = await pool.fetch(peer.url, { timeouts: { totalMs: 2_000 } });
    await peer.gone(0);
    checkFailure(await rejection(response.text()), {
      code: 'TOTAL_TIMEOUT',
      message: 'terminated',
      limit: 'timeouts.totalMs',
    });
  });

  test('a peer that resets while its body is paused: what has come is delivered, then the failure', async () => {
    const peer = await rawPeer([request(), send(sized(64 * MIB)), flood(64 * MIB - 1)]);
    const response = await heldResponse(pool, peer, 0);
    const loopMs = async (): Promise<number> => (await pool.stats()).shards[0]?.turns ?? 0;
    (await peer.connection(0)).socket.resetAndDestroy();
    const before = await loopMs();
    await delay(100);
    // A dead socket that nobody reads does not keep its shard busy.
    expect((await loopMs()) - before).toBeLessThan(20);
    const check = new PatternCheck();
    const read = async (): Promise<void> => {
      for await (const chunk of bodyOf(response)) check.take(chunk);
    };
    checkFailure(await rejection(read()), { code: 'INCOMPLETE_BODY', message: 'terminated' });
    expect(check.length).toBeGreaterThanOrEqual(MIB);
  });

  test('a reset in the middle of a body that is being read', async () => {
    const peer = await rawPeer([request(), send(CHUNKED, '3\r\nabc\r\n'), reset()]);
    const first = await rejection(pool.fetch(peer.url).then((response) => response.text()));
    // A reset discards what its receiver had not read: how much was read before is the kernel's affair.
    expect(['INCOMPLETE_BODY', 'CONNECTION_LOST']).toContain((first as { code: string }).code);
  });

  test('a shard that is destroyed fails the bodies that nobody reads', async () => {
    const own = poolFor();
    const peer = await rawPeer([request(), send(UNTIL_CLOSE), flood()]);
    const response = await own.fetch(peer.url);
    await own.destroy(new Error('over'));
    const error = checkFailure(await rejection(response.text()), { code: 'POOL_CLOSED', message: 'terminated' });
    expect(error.cause).toMatchObject({ message: 'over' });
    await peer.gone(0);
  });

  test('close() waits for a body that is still being read', async () => {
    const own = poolFor();
    const length = 12 * MIB;
    const peer = await rawPeer(patternScript(length, 'length'));
    const response = await own.fetch(peer.url);
    let closed = false;
    const closing = own.close().then(() => {
      closed = true;
    });
    await delay(30);
    expect(closed).toBe(false);
    checkPattern(await response.bytes(), length);
    await closing;
  });
});
