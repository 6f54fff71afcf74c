/** Shards that die: what they carried fails as SHARD_LOST, nobody else notices, another takes their place. */

import { execFile } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import type { Pool } from 'shardfetch';
import { describe, expect, onTestFinished, test } from 'vitest';
import { answer, rawPeer, request, send, wait } from '../wire/raw-peer.ts';
import {
  type Death,
  descriptors,
  eventually,
  expectBalance,
  expectLoss,
  kill,
  type Loss,
  makePool,
  rejection,
  serve,
  workers,
} from './rig.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));
const run = promisify(execFile);

/** All shards of the pool serve. */
async function warm(pool: Pool, url: string, shards: number): Promise<void> {
  await Promise.all(Array.from({ length: shards }, async () => (await pool.fetch(url)).text()));
  expect((await pool.stats()).shards.length).toBe(shards);
}

describe.each<Death>(['terminate', 'throws', 'exits'])('a shard ends by %s', (death) => {
  test('its transfers fail with SHARD_LOST, those of the other shard are unharmed, a new one takes its place', async () => {
    const server = await serve();
    const pool = makePool({ shards: 2, placement: 'spread' });
    await warm(pool, server.url, 2);
    const waiting = Array.from({ length: 6 }, () =>
      pool.fetch(`${server.url}hang`).then((response) => response.text()),
    );
    const settled = Promise.allSettled(waiting);
    await eventually(() => server.open.length === 6, 'all requests');
    kill(workers[0], death);
    await Promise.race(waiting.map((promise) => promise.catch(() => undefined)));
    await eventually(async () => (await pool.stats()).failed === 3, 'the failures');
    for (const response of server.open) response.end('survived');
    const results = await settled;
    const lost = results.filter((result) => result.status === 'rejected').map((result) => result.reason as Loss);
    expect(results.filter((result) => result.status === 'fulfilled').map((result) => result.value)).toEqual(
      Array(3).fill('survived'),
    );
    expect(lost.length).toBe(3);
    for (const error of lost) expectLoss(error, 'fetch failed', `${server.url}hang`);
    if (death === 'throws') {
      expect(lost.map((error) => (error.cause.cause as Error | undefined)?.message)).toEqual(
        Array(3).fill('thrown by the fixture'),
      );
    }
    // The new one serves: both numbers answer.
    const shards = await Promise.all(
      Array.from({ length: 8 }, async () => {
        const response = await pool.fetch(server.url);
        expect(await response.text()).toBe('ok');
        return response.connection.shard;
      }),
    );
    expect(new Set(shards)).toEqual(new Set([0, 1]));
    const stats = await expectBalance(pool);
    expect(stats).toMatchObject({ started: 16, completed: 13, failed: 3, aborted: 0, shardsLost: 1 });
    expect(stats.shards.length).toBe(2);
  });

  test('a body that was being read, or not yet read, fails with terminated; the other shard streams on', async () => {
    const server = await serve();
    const pool = makePool({ shards: 2, placement: 'spread' });
    await warm(pool, server.url, 2);
    const responses = await Promise.all(Array.from({ length: 4 }, () => pool.fetch(`${server.url}part`)));
    const reads = responses.map(async (response, index) => {
      // Half of them begin to read before the death, half after it.
      if (index < 2) return response.text();
      await eventually(async () => (await pool.stats()).shardsLost === 1, 'the loss');
      return response.text();
    });
    const results = Promise.allSettled(reads);
    kill(workers[0], death);
    await eventually(async () => (await pool.stats()).shardsLost === 1, 'the loss');
    await delay(20);
    for (const response of server.open) response.end('ial');
    const seen = (await results).map((result, index) => ({ result, shard: responses[index]?.connection.shard }));
    const lost = seen.filter(({ result }) => result.status === 'rejected');
    expect(lost.length).toBe(2);
    expect(new Set(lost.map(({ shard }) => shard)).size).toBe(1);
    for (const { result } of lost) {
      expectLoss((result as PromiseRejectedResult).reason as Loss, 'terminated', `${server.url}part`);
    }
    for (const { result } of seen.filter((one) => !lost.includes(one))) {
      expect(result).toEqual({ status: 'fulfilled', value: 'partial' });
    }
    await expectBalance(pool);
  });

  test('descriptors go with it', async () => {
    const server = await serve();
    // Nothing of the tests before it is still to be closed.
    await eventually(() => workers.length === 0, 'the end of every thread');
    const before = descriptors();
    const pool = makePool({ shards: 2, placement: 'spread' });
    for (let round = 0; round < 2; round++) {
      await warm(pool, server.url, 2);
      const lost = Promise.allSettled(Array.from({ length: 10 }, () => pool.fetch(`${server.url}hang`)));
      // All: one that comes after the others were answered would wait for ever.
      await eventually(() => server.open.length === 10 * (round + 1), 'requests');
      kill(workers[0], death);
      await eventually(async () => (await pool.stats()).shardsLost === round + 1, 'the loss');
      for (const response of server.open) response.end();
      await lost;
    }
    await pool.close();
    // Those of the server's own end go when it hears of the close.
    await eventually(async () => (await server.connections()) === 0, 'the close of every connection');
    await eventually(
      () => JSON.stringify(descriptors()) === JSON.stringify(before),
      `the baseline ${JSON.stringify(before)}`,
    ).catch(() => expect(descriptors()).toEqual(before));
  });
});

test('a request that comes in the very turn of the death settles', async () => {
  const server = await serve();
  const pool = makePool({ shards: 1 });
  await warm(pool, server.url, 1);
  const ended = workers[0]?.terminate();
  const first = pool.fetch(server.url).then((response) => response.text());
  const results = await Promise.allSettled([first, ended?.then(() => pool.fetch(server.url))]);
  for (const result of results) {
    if (result.status === 'rejected') expectLoss(result.reason as Loss, 'fetch failed', server.url);
  }
  expect(await (await pool.fetch(server.url)).text()).toBe('ok');
  await expectBalance(pool);
});

test('three deaths within 10 s with one shard: fetch fails at once while it backs off, and works again later', async () => {
  const server = await serve();
  const pool = makePool({ shards: 1 });
  let killed = 0;
  for (let death = 1; death <= 3; death++) {
    expect(await (await pool.fetch(server.url)).text()).toBe('ok');
    killed = performance.now();
    kill(workers.at(-1), 'terminate');
    await eventually(async () => (await pool.stats()).shardsLost === death, 'the loss');
  }
  // At once is before anything else has happened: no timer, no event.
  let isLater = false;
  setImmediate(() => {
    isLater = true;
  });
  const error = await rejection(pool.fetch(server.url));
  expect(isLater).toBe(false);
  expectLoss(error, 'fetch failed', server.url);
  // Refused before it began: it is in no count.
  expect(await expectBalance(pool)).toMatchObject({ started: 3, completed: 3, shards: [] });
  await eventually(
    () =>
      pool.fetch(server.url).then(
        (response) => response.ok,
        () => false,
      ),
    'the end of the back-off',
  );
  // The pause is one second, and begins with the death; the next would be two.
  expect(performance.now() - killed).toBeGreaterThan(990);
});

test('three deaths within 10 s with two shards: the other serves everything meanwhile', async () => {
  const server = await serve();
  const pool = makePool({ shards: 2, placement: 'spread' });
  await warm(pool, server.url, 2);
  const [survivor, victim] = [...workers];
  kill(victim, 'terminate');
  for (let death = 2; death <= 3; death++) {
    await eventually(async () => (await pool.stats()).shardsLost === death - 1, 'the loss');
    await eventually(async () => (await pool.stats()).shards.length === 2, 'the new shard');
    const next = workers.find((worker) => worker !== survivor && worker !== victim);
    kill(next, 'terminate');
    await eventually(() => !workers.includes(next as (typeof workers)[0]), 'the death');
  }
  await eventually(async () => (await pool.stats()).shardsLost === 3, 'the loss');
  // In one turn: what comes later may find the pause over.
  const counted = pool.stats();
  const responses = await Promise.all(Array.from({ length: 20 }, () => pool.fetch(server.url)));
  expect(new Set(responses.map((response) => response.connection.shard)).size).toBe(1);
  expect((await counted).shards.length).toBe(1);
  await eventually(async () => (await pool.stats()).shards.length === 2, 'the end of the back-off');
  const both = await Promise.all(Array.from({ length: 20 }, () => pool.fetch(server.url)));
  expect(new Set(both.map((response) => response.connection.shard)).size).toBe(2);
});

describe.each(['close', 'destroy'] as const)('pool.%s()', (how) => {
  /** Settles promptly, leaves no thread, and may be called again. */
  async function endsPromptly(pool: Pool): Promise<void> {
    const began = performance.now();
    await pool[how]();
    // A shard that does not answer is waited for one second; a watchdog, or a peer that never answers, would take ten and more.
    expect(performance.now() - began).toBeLessThan(8_000);
    await eventually(() => workers.length === 0, 'the end of every thread');
    await pool.close();
    await pool.destroy();
    const error = await rejection(pool.fetch('http://127.0.0.1:1/'));
    expect(error.code).toBe('POOL_CLOSED');
  }

  test('in the turn of its making', async () => {
    await endsPromptly(makePool({ shards: 2 }));
  });

  test('while its shards start, with a request that waits for them', async () => {
    const server = await serve();
    const pool = makePool({ shards: 2 });
    const fetched = pool.fetch(server.url).then((response) => response.text());
    const result = fetched.then(
      (text) => text,
      (error: Loss) => error.code,
    );
    await endsPromptly(pool);
    expect(await result).toBe(how === 'close' ? 'ok' : 'POOL_CLOSED');
    await expectBalance(pool);
  });

  test.each([0, 1, 5, 20, 60])('%i ms into its start', async (ms) => {
    const pool = makePool({ shards: 2 });
    await delay(ms);
    await endsPromptly(pool);
  });

  test('while a shard dies', async () => {
    const server = await serve();
    const pool = makePool({ shards: 2, placement: 'spread' });
    await warm(pool, server.url, 2);
    const lost = Promise.allSettled(Array.from({ length: 4 }, () => pool.fetch(`${server.url}hang`)));
    await eventually(() => server.open.length === 4, 'the requests');
    kill(workers[0], 'terminate');
    kill(workers[1], 'throws');
    await endsPromptly(pool);
    for (const result of await lost) {
      expect(result.status).toBe('rejected');
      expect(['SHARD_LOST', 'POOL_CLOSED']).toContain(((result as PromiseRejectedResult).reason as Loss).code);
    }
    await expectBalance(pool);
  });

  test('while a shard backs off', async () => {
    const server = await serve();
    const pool = makePool({ shards: 1 });
    for (let death = 1; death <= 3; death++) {
      await (await pool.fetch(server.url)).text();
      kill(workers.at(-1), 'terminate');
      await eventually(async () => (await pool.stats()).shardsLost === death, 'the loss');
    }
    await endsPromptly(pool);
    await delay(1_200);
    expect(workers.length).toBe(0);
  });
});

test('destroy() with a reason: what is in flight fails with POOL_CLOSED and that cause', async () => {
  const server = await serve();
  const pool = makePool({ shards: 2, placement: 'spread' });
  const all = Promise.allSettled([
    pool.fetch(`${server.url}hang`),
    pool.fetch(`${server.url}hang`),
    pool.fetch(`${server.url}part`).then((response) => response.text()),
  ]);
  await eventually(() => server.open.length === 3, 'the requests');
  await delay(20);
  const reason = new Error('enough');
  await pool.destroy(reason);
  for (const result of await all) {
    const error = (result as PromiseRejectedResult).reason as Loss;
    expect(error.code).toBe('POOL_CLOSED');
    expect(error.cause.cause).toBe(reason);
  }
  await expectBalance(pool);
});

// Some two hundred threads: 17 s on two idle cores, three times that on busy ones.
test('50 rounds of death at random moments under load: every fetch settles and the counts add up', {
  timeout: 120_000,
}, async () => {
  const server = await serve();
  let seed = 1;
  const random = (below: number): number => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
    return (seed >>> 8) % below;
  };
  const paths = ['', '', 'slow', 'part', 'hang'];
  let asked = 0;
  let settled = 0;
  const outcomes = new Set<string>();
  for (let round = 0; round < 50; round++) {
    const pool = makePool({ shards: 2, placement: round % 2 === 0 ? 'spread' : 'origin' });
    if (round % 3 !== 0) await (await pool.fetch(server.url)).text();
    const pending: Promise<void>[] = [];
    const controller = new AbortController();
    const ask = (): void => {
      asked++;
      const url = server.url + paths[random(paths.length)];
      pending.push(
        pool
          .fetch(url, random(4) === 0 ? { signal: controller.signal } : undefined)
          .then((response) => response.text())
          .then(
            () => outcomes.add('completed'),
            (error: Loss) => outcomes.add(String(error.code ?? error.name)),
          )
          .then(() => {
            settled++;
          }),
      );
    };
    for (let index = 0; index < 40; index++) ask();
    await delay(random(30));
    kill(workers[random(workers.length)], (['terminate', 'throws', 'exits'] as const)[random(3)] as Death);
    for (let index = 0; index < 20; index++) ask();
    await delay(random(15));
    controller.abort(new Error('given up'));
    if (random(2) === 0 && workers.length > 0) kill(workers[random(workers.length)], 'terminate');
    for (const response of server.open.splice(0)) response.end('ial');
    await delay(random(10));
    await pool.destroy();
    await Promise.all(pending);
    expect(settled).toBe(asked);
    await expectBalance(pool);
  }
  expect([...outcomes].sort()).toEqual(['Error', 'POOL_CLOSED', 'SHARD_LOST', 'completed']);
  await eventually(() => workers.length === 0, 'the end of every thread');
});

/** Of tests that start a program, or many threads: seconds on idle cores, many times that on busy ones. */
const PROGRAM_MS = 120_000;

test('destroy() while a shard throws leaves no thread, and makes none', { timeout: PROGRAM_MS }, async () => {
  const server = await serve();
  for (let round = 0; round < 15; round++) {
    // Several at once, so that they hold each other up.
    const pools = Array.from({ length: 6 }, () => makePool({ shards: 1 }));
    await Promise.all(pools.map((pool) => warm(pool, server.url, 1)));
    for (const worker of workers) kill(worker, 'throws');
    // The throw comes before, while and after the threads are ended.
    const until = performance.now() + (round % 4);
    while (performance.now() < until);
    await Promise.all(pools.map((pool) => pool.destroy()));
    await eventually(() => workers.length === 0, `the end of every thread, in round ${round},`);
  }
});

test('a shard that runs out of memory is a death like any other', { timeout: PROGRAM_MS }, async () => {
  const server = await serve();
  const script = path.join(root, 'test/faults/fixtures/out-of-memory.mjs');
  // A young generation of the usual size, moved to the old one at once, is more than Node leaves a thread that is out of memory
  // to end itself with: in Node 22 and 24 the whole process then aborts, now and then.
  const heap = ['--max-old-space-size=60', '--max-semi-space-size=2'];
  const { stdout } = await run(process.execPath, [...heap, script, server.url]);
  expect(JSON.parse(stdout)).toEqual({
    code: 'SHARD_LOST',
    text: 'ok',
    started: 3,
    completed: 2,
    failed: 1,
    shardsLost: 1,
  });
});

test('a shard that cannot load its addon: fetch fails and says which command to run; close() settles', {
  timeout: PROGRAM_MS,
}, async () => {
  // A copy of the package as it is published, without a binary.
  const copy = mkdtempSync(path.join(tmpdir(), 'shardfetch-'));
  onTestFinished(() => rmSync(copy, { recursive: true }));
  cpSync(path.join(root, 'dist'), path.join(copy, 'dist'), { recursive: true });
  cpSync(path.join(root, 'package.json'), path.join(copy, 'package.json'));
  symlinkSync(path.join(root, 'node_modules'), path.join(copy, 'node_modules'));
  const script = `
    const { Pool } = await import(${JSON.stringify(pathToFileURL(path.join(copy, 'dist/main/index.js')).href)});
    const pool = new Pool({ shards: Number(process.argv[1]) });
    const chain = (error) => (error === undefined ? [] : [error.message, ...chain(error.cause)]);
    const failures = [];
    for (let index = 0; index < 5; index++) {
      failures.push(await pool.fetch('http://127.0.0.1:1/').then(() => ['answered'], (error) => [error.code, ...chain(error)]));
    }
    const began = performance.now();
    await pool.close();
    console.log(JSON.stringify({ failures, closeMs: performance.now() - began }));
  `;
  for (const shards of ['1', '0']) {
    const { stdout } = await run(process.execPath, ['--input-type=module', '-e', script, shards], { timeout: 50_000 });
    const { failures, closeMs } = JSON.parse(stdout) as { failures: string[][]; closeMs: number };
    for (const failure of failures) {
      expect(failure[0], `shards: ${shards}`).toBe('SHARD_LOST');
      expect(failure.join('\n'), `shards: ${shards}`).toContain('npm rebuild shardfetch');
    }
    expect(closeMs).toBeLessThan(8_000);
  }
});

test('threads ended at every moment of their start end alone, not with the whole process', {
  timeout: PROGRAM_MS,
}, async () => {
  // In a process of its own: what is feared is the end of it.
  const script = `
    import { Pool } from 'shardfetch';
    const workers = [];
    process.on('worker', (worker) => workers.push(worker));
    for (let round = 0; round < 40; round++) {
      const pool = new Pool({ shards: 2 });
      await new Promise((resolve) => setTimeout(resolve, 12 + round));
      await Promise.all(workers.splice(0).map((worker) => worker.terminate()));
      await pool.destroy();
    }
    console.log('alive');
  `;
  const { stdout } = await run(process.execPath, ['--input-type=module', '-e', script], {
    cwd: root,
    timeout: 110_000,
  });
  expect(stdout).toBe('alive\n');
});

test.each([
  ['GET', {}, 'retry.shardLost'],
  ['POST that may be repeated', { method: 'POST', idempotent: true }, 'retry.shardLost'],
  ['POST', { method: 'POST' }, undefined],
])('the loss of a %s names the option that would have sent it again, where there is one', async (_, init, limit) => {
  const { url } = await serve();
  const pool = makePool({ shards: 1 });
  await warm(pool, url, 1);
  const lost = rejection(pool.fetch(`${url}hang`, init));
  await eventually(async () => (await pool.stats()).inFlight === 1, 'the request');
  kill(workers[0], 'terminate');
  const { cause } = await lost;
  expect(cause).toMatchObject({ code: 'SHARD_LOST', limit, url: `${url}hang` });
  expect(cause.message.includes('retry.shardLost')).toBe(limit !== undefined);
});

test.each([
  { ofPool: false, ofRequest: true },
  { ofPool: true, ofRequest: false },
])(
  'retry.shardLost of a request ($ofRequest) goes before that of its pool ($ofPool)',
  async ({ ofPool, ofRequest }) => {
    const server = await serve();
    const pool = makePool({ shards: 1, retry: { shardLost: ofPool } });
    await warm(pool, server.url, 1);
    const pending = pool.fetch(`${server.url}hang`, { retry: { shardLost: ofRequest } });
    const lost = ofRequest ? null : rejection(pending);
    await eventually(() => server.open.length === 1, 'the request at the server');
    kill(workers[0], 'terminate');
    if (lost !== null) {
      expect((await lost).code).toBe('SHARD_LOST');
      return;
    }
    await eventually(() => server.open.length === 2, 'the second request');
    for (const response of server.open.splice(0)) response.end('again');
    expect(await (await pending).text()).toBe('again');
  },
);

test.each([
  ['Blob', new Blob(['blob'])],
  ['form', formOf('a', new Blob(['file']))],
])('retry.shardLost sends a %s anew, from its beginning', async (_what, body) => {
  // The first is read to its end, and not answered.
  const peer = await rawPeer([request(), wait(20_000)], [request(), send(answer('again'))]);
  const pool = makePool({ shards: 1, retry: { shardLost: true } });
  const pending = pool.fetch(peer.url, { method: 'PUT', body });
  await eventually(() => peer.requests().length === 1, 'the request at the server');
  kill(workers[0], 'terminate');
  expect(await (await pending).text()).toBe('again');
  const [first, second] = peer.requests();
  expect(second).toBe(first);
});

test('retry.shardLost does not send a stream anew', async () => {
  const peer = await rawPeer([request(), wait(20_000)]);
  const pool = makePool({ shards: 1, retry: { shardLost: true } });
  const body = new Blob(['blob']).stream();
  const init = { method: 'PUT', body, duplex: 'half', headers: { 'content-length': '4' } } as const;
  const lost = rejection(pool.fetch(peer.url, init));
  await eventually(() => peer.requests().length === 1, 'the request at the server');
  kill(workers[0], 'terminate');
  expect((await lost).code).toBe('SHARD_LOST');
});

function formOf(name: string, file: Blob): FormData {
  const form = new FormData();
  form.append(name, file);
  return form;
}

test('lost twice with retry.shardLost: what was done is not proposed', async () => {
  const server = await serve();
  const pool = makePool({ shards: 1, retry: { shardLost: true } });
  await warm(pool, server.url, 1);
  const lost = rejection(pool.fetch(`${server.url}hang`));
  for (const sent of [1, 2]) {
    await eventually(() => server.open.length === sent, 'the request at the server');
    kill(workers[0], 'terminate');
  }
  expect((await lost).cause).toMatchObject({ code: 'SHARD_LOST', limit: undefined });
});
