/** `pool.fetchAll`: order, laziness, backpressure, and every way to end. */

import { setTimeout as delay } from 'node:timers/promises';
import type { FetchAllProgress, FetchAllResult, Pool } from 'shardfetch';
import { describe, expect, test } from 'vitest';
import {
  checkRefusal,
  checkStats,
  eventually,
  expectNoSocketLeaks,
  PLACES,
  poolFor,
  rejection,
} from '../wire/checks.ts';
import { answer, deferred, rawPeer, request, type Step, send, serve } from '../wire/raw-peer.ts';

expectNoSocketLeaks();

/** Answers with the path; `/slow…` after a while, or when the test says so, `/never…` not at all. */
const byPathWhen =
  (slow: () => Promise<unknown>): Step =>
  async (connection) => {
    const path = /^\S+ (\S+)/.exec(connection.requests.at(-1) as string)?.[1] as string;
    if (path.startsWith('/never')) return;
    if (path.startsWith('/slow')) await slow();
    await connection.write(answer(path));
  };
const byPath = byPathWhen(() => delay(150));

function* urls(origin: string, count: number, noted?: number[]): Generator<string> {
  for (let index = 0; index < count; index++) {
    noted?.push(index);
    yield `${origin}/${index}`;
  }
}

/** As polyfills have it. */
class OwnMadeController {
  readonly signal = {
    aborted: false,
    reason: undefined as unknown,
    listeners: [] as (() => void)[],
    addEventListener(_type: string, listener: () => void): void {
      this.listeners.push(listener);
    },
    removeEventListener(_type: string, listener: () => void): void {
      this.listeners = this.listeners.filter((known) => known !== listener);
    },
  };

  abort(reason: unknown): void {
    Object.assign(this.signal, { aborted: true, reason });
    for (const listener of this.signal.listeners.splice(0)) listener();
  }
}

async function all<T>(results: AsyncIterable<T>): Promise<T[]> {
  const collected: T[] = [];
  for await (const result of results) collected.push(result);
  return collected;
}

/** `onText`: called when one more is there. */
async function settled(
  pool: Pool,
  inputs: Iterable<string>,
  concurrency = 4,
  onText?: (count: number) => void,
): Promise<string[]> {
  const texts: string[] = [];
  for await (const { index, input, status, ...rest } of pool.fetchAll(inputs, { concurrency })) {
    const text = 'value' in rest ? await rest.value.text() : (rest.reason as Error).message;
    const count = texts.push(`${index} ${new URL(input).pathname} ${status} ${text}`);
    onText?.(count);
  }
  return texts;
}

describe.each(PLACES.slice(0, 2))('$name', ({ shards }) => {
  test('every input has its result, in the order in which they settle', async () => {
    const others = deferred();
    const peer = await rawPeer(serve(byPathWhen(() => others.promise)));
    const pool = poolFor({ shards });
    const inputs = [`${peer.origin}/slow`, `${peer.origin}/1`, `${peer.origin}/2`];
    // The slow one has its answer when both others were taken.
    expect(await settled(pool, inputs, 4, (count) => count === 2 && others.resolve())).toEqual([
      expect.stringMatching(/^[12] /),
      expect.stringMatching(/^[12] /),
      '0 /slow fulfilled /slow',
    ]);
    const many = await settled(pool, urls(peer.origin, 500), 16);
    expect(many.toSorted()).toEqual(Array.from({ length: 500 }, (_, i) => `${i} /${i} fulfilled /${i}`).toSorted());
    expect(peer.openMax).toBeLessThanOrEqual(17);
    await checkStats(pool, { completed: 503, failed: 0, inFlight: 0 });
  });

  test('inputs of all kinds, from async iterables and iterables of promises; what fails is a result', async () => {
    const peer = await rawPeer(serve(byPath));
    const pool = poolFor({ shards });
    const inputs = async function* () {
      yield `${peer.origin}/text`;
      yield new URL(`${peer.origin}/url`);
      yield new Request(`${peer.origin}/request`, { method: 'PUT' });
      yield [`${peer.origin}/pair`, { method: 'POST', body: 'x' }] as const;
      yield 'no URL';
      yield [`${peer.origin}/aborted`, { signal: AbortSignal.abort(new Error('mine')) }] as const;
    };
    const results = await all(pool.fetchAll(inputs(), { concurrency: 1 }));
    expect(results.map(({ index, status }) => `${index} ${status}`)).toEqual([
      '0 fulfilled',
      '1 fulfilled',
      '2 fulfilled',
      '3 fulfilled',
      '4 rejected',
      '5 rejected',
    ]);
    checkRefusal((results[4] as { reason: unknown }).reason, 'input');
    expect((results[5] as { reason: unknown }).reason).toMatchObject({ message: 'mine' });
    expect(peer.requests().map((text) => text.split(' HTTP')[0])).toEqual([
      'GET /text',
      'GET /url',
      'PUT /request',
      'POST /pair',
    ]);
    const promised = [Promise.resolve(`${peer.origin}/a`), `${peer.origin}/b`];
    expect((await all(pool.fetchAll(promised, { concurrency: 1 }))).map(({ status }) => status)).toEqual([
      'fulfilled',
      'fulfilled',
    ]);
  });

  test('what is no input, no init or no signal is rejected as fetch rejects it', async () => {
    const pool = poolFor({ shards });
    const url = 'http://127.0.0.1:1/';
    const request = { url, method: 'GET', headers: [], signal: 5 };
    const odd = [
      null,
      undefined,
      5,
      {},
      request,
      [],
      [null],
      [undefined, {}],
      [url, 5],
      [url, 'POST'],
      [url, []],
      [url, { signal: 5 }],
    ];
    const told = (reason: unknown): unknown[] => {
      const { name, message, code } = reason as { name: string; message: string; code: string };
      return [name, code, message];
    };
    const given: unknown[] = [];
    for await (const result of pool.fetchAll(odd as string[], { concurrency: 1 }))
      given.push(told((result as { reason: unknown }).reason));
    const expected = odd.map(async (input) => {
      const [resource, init] = Array.isArray(input) ? input : [input];
      return told(await rejection(pool.fetch(resource as string, init as object)));
    });
    expect(given).toEqual(await Promise.all(expected));
    for (const [name, code] of given as string[][]) expect([name, code]).toEqual(['TypeError', 'INVALID_ARGUMENT']);
  });

  test("a request's own signal, whoever made it, aborts it alone; leaving the loop aborts it too, and nobody listens to it then", async () => {
    let aborted = deferred();
    const peer = await rawPeer(serve(byPathWhen(() => aborted.promise)));
    const pool = poolFor({ shards });
    for (const [at, own] of [new AbortController(), new OwnMadeController()].entries()) {
      aborted = deferred();
      const signal = own.signal as unknown as AbortSignal;
      const results = pool.fetchAll([
        [`${peer.origin}/never-own${at}`, { signal }] as const,
        [`${peer.origin}/slow${at}`, { signal: null }] as const,
        [
          `${peer.origin}/never-left${at}`,
          { signal: new OwnMadeController().signal as unknown as AbortSignal },
        ] as const,
      ]);
      const first = results.next();
      await eventually(() => peer.requests().some((text) => text.includes(`never-own${at}`)), 'it is under way');
      const reason = new Error('mine');
      own.abort(reason);
      expect(await first).toMatchObject({ value: { index: 0, status: 'rejected', reason } });
      aborted.resolve();
      expect(await (await results.next()).value?.input).toEqual([`${peer.origin}/slow${at}`, { signal: null }]);
      await results.return(undefined);
      await eventually(async () => (await pool.stats()).inFlight === 0, 'nothing is under way');
      if (own instanceof OwnMadeController) expect(own.signal.listeners).toHaveLength(0);
    }
  });

  test('inputs are taken as there is room, results that are not taken hold more back', async () => {
    const peer = await rawPeer(serve(byPath));
    const pool = poolFor({ shards });
    const taken: number[] = [];
    const all = pool.fetchAll(urls(peer.origin, 100, taken), { concurrency: 5 });
    expect(taken).toEqual([]);
    await all.next();
    await eventually(() => peer.requests().length === 6, 'five more are under way');
    await delay(50);
    expect(taken).toHaveLength(6);
    expect((await pool.stats()).started).toBe(6);
    for (let count = 0; count < 3; count++) await all.next();
    await eventually(() => peer.requests().length === 9, 'three more are');
    expect(taken).toHaveLength(9);
    await all.return(undefined);
    expect(await all.next()).toEqual({ done: true, value: undefined });
    await checkStats(pool, { inFlight: 0 });
  });

  test('leaving the loop aborts what is under way, lets the inputs go, and leaves taken responses alone', async () => {
    const peer = await rawPeer(serve(byPath));
    const pool = poolFor({ shards });
    let over = false;
    const inputs = function* () {
      try {
        yield `${peer.origin}/slow`;
        for (let index = 0; ; index++) yield `${peer.origin}/never${index}`;
      } finally {
        over = true;
      }
    };
    let kept: FetchAllResult | undefined;
    for await (const result of pool.fetchAll(inputs(), { concurrency: 4 })) {
      kept = result;
      break;
    }
    expect(over).toBe(true);
    if (kept?.status !== 'fulfilled') throw new Error('it failed');
    expect(await kept.value.text()).toBe('/slow');
    await eventually(async () => (await pool.stats()).inFlight === 0, 'nothing is under way');
    await checkStats(pool, { completed: 1, failed: 0 });
  });

  test('a signal ends it with its reason, also while it waits', async () => {
    const peer = await rawPeer(serve(byPath));
    const pool = poolFor({ shards });
    const controller = new AbortController();
    const all = pool.fetchAll([`${peer.origin}/1`, `${peer.origin}/never`], { signal: controller.signal });
    await all.next();
    const waiting = rejection(all.next());
    controller.abort(new Error('enough'));
    expect(await waiting).toBe(controller.signal.reason);
    expect(await all.next()).toEqual({ done: true, value: undefined });
    await eventually(async () => (await pool.stats()).inFlight === 0, 'nothing is under way');
    const before = pool.fetchAll([`${peer.origin}/1`], { signal: controller.signal });
    expect(await rejection(before.next())).toBe(controller.signal.reason);
    await checkStats(pool, { started: 2, aborted: 1 });
  });

  test('inputs that throw: what is under way is given, then the error', async () => {
    let quick = deferred();
    const peer = await rawPeer(serve(byPathWhen(() => quick.promise)));
    const pool = poolFor({ shards });
    const broken = new Error('no more');
    const sync = function* () {
      yield `${peer.origin}/slow1`;
      yield `${peer.origin}/2`;
      throw broken;
    };
    const later = async function* () {
      yield* sync();
    };
    for (const inputs of [sync, later]) {
      const given: string[] = [];
      quick = deferred();
      const error = await rejection(
        (async () => {
          for await (const result of pool.fetchAll(inputs() as AsyncIterable<string>)) {
            given.push(`${result.index} ${result.status}`);
            quick.resolve();
          }
        })(),
      );
      expect(error).toBe(broken);
      expect(given).toEqual(['1 fulfilled', '0 fulfilled']);
    }
  });
});

test('progress is told at most every 100 ms, and at the end', async () => {
  const peer = await rawPeer(serve(byPath));
  const told: FetchAllProgress[] = [];
  const inputs = [...urls(peer.origin, 300), `${peer.origin}/slow`, 'bad'];
  const all = poolFor({ shards: 0 }).fetchAll(inputs, {
    concurrency: 8,
    onProgress: (progress) => void told.push(progress),
  });
  for await (const result of all) if (result.status === 'fulfilled') await result.value.text();
  const last = told.at(-1);
  expect(last).toMatchObject({ started: 302, fulfilled: 301, rejected: 1, inFlight: 0, done: true });
  expect(told.filter(({ done }) => done)).toHaveLength(1);
  expect(told.length).toBeLessThanOrEqual(Math.floor((last?.elapsedMs ?? 0) / 100) + 1);
  for (const { started, fulfilled, rejected, inFlight } of told) expect(fulfilled + rejected + inFlight).toBe(started);
});

test('what onProgress throws ends it', async () => {
  const peer = await rawPeer(serve(byPath));
  const broken = new Error('cannot draw');
  const all = poolFor({ shards: 0 }).fetchAll([`${peer.origin}/slow`, `${peer.origin}/never`], {
    onProgress() {
      throw broken;
    },
  });
  expect(await rejection(all.next())).toBe(broken);
});

test('none at all, several who wait, throw()', async () => {
  const pool = poolFor({ shards: 0 });
  expect(await pool.fetchAll([]).next()).toEqual({ done: true, value: undefined });
  const peer = await rawPeer([request(), send(answer('a'))], [request(), send(answer('b'))], [request()]);
  const all = pool.fetchAll([peer.url, peer.url]);
  const answers = await Promise.all([all.next(), all.next(), all.next()]);
  expect(answers.map(({ done }) => done)).toEqual([false, false, true]);
  const left = pool.fetchAll([peer.url]);
  const waiting = left.next();
  const own = new Error('own');
  expect(await rejection(left.throw(own))).toBe(own);
  expect(await waiting).toEqual({ done: true, value: undefined });
});

test.each([
  ['inputs', 'http://127.0.0.1:1', {}],
  ['inputs', undefined, {}],
  ['inputs', 7, {}],
  ['concurrency', [], { concurrency: 0 }],
  ['signal', [], { signal: {} }],
  ['onProgress', [], { onProgress: 1 }],
  ['options', [], { concurency: 1 }],
])('%s is refused', (limit, inputs, options) => {
  const pool = poolFor({ shards: 0 });
  expect(() => pool.fetchAll(inputs as never, options as never)).toThrow(
    expect.objectContaining({ code: 'INVALID_ARGUMENT', ...(limit === 'options' ? {} : { limit }) }),
  );
});
