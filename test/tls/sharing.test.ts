/** Sessions that shards of a pool share, against servers that give none, one, two or many. */

import { spawn, spawnSync } from 'node:child_process';
import { constants, createHash, X509Certificate } from 'node:crypto';
import path from 'node:path';
import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises';
import type tls from 'node:tls';
import { Pool, type PoolOptions } from 'shardfetch';
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import { rankShards } from '../../src/main/placement.ts';
import { SessionStore } from '../../src/main/session-store.ts';
import type { SharedSession } from '../../src/protocol/port/session-frames.ts';
import { pem, ROOT, reply, serve } from './rig.ts';

const hasOpenssl = spawnSync('openssl', ['version']).status === 0;

type TlsGiven = NonNullable<PoolOptions['tls']>;

const SHARDS = 4;

/** Requests of the path `/n` go to shard n: each key has one shard, the first of its ranking. */
function makePool(shards: number, tls: TlsGiven): Pool {
  return new Pool({
    shards,
    placement: (url) => keyFor(Number(url.pathname.slice(1)), shards),
    tls,
    dns: { lookup: (_host, _family, done) => done(null, ['127.0.0.1']) },
    connections: { reuse: false, perOrigin: 1 },
  });
}

function poolOf(tls: TlsGiven, shards: number): Pool {
  const pool = makePool(shards, tls);
  onTestFinished(() => pool.destroy());
  return pool;
}

/** Of most tests: threads are slow to start. What it learns of a server, it learns of a port. */
let common: Pool;
beforeAll(() => {
  common = makePool(SHARDS, { ca: ROOT });
});
afterAll(() => common.destroy());

function keyFor(shard: number, shards: number): string {
  let number = 0;
  while (shards > 0 && rankShards(`${number}`, shards)[0] !== shard) number++;
  return `${number}`;
}

/** Shard 0, then the others in the order in which they are given what it offers. */
function inOrder(port: number): number[] {
  const ranking = [...rankShards(`https://good.test:${port}`, SHARDS)];
  return [0, ...ranking.filter((shard) => shard !== 0)];
}

/** Sends one request after the other, by these shards, each over a new connection; answers whether it resumed a session. */
async function on(pool: Pool, port: number, shards: readonly (number | undefined)[]): Promise<(boolean | undefined)[]> {
  const resumed: (boolean | undefined)[] = [];
  for (const shard of shards) {
    const response = await pool.fetch(`https://good.test:${port}/${shard}`);
    await response.text();
    expect(response.connection.shard).toBe(shard);
    resumed.push(response.connection.tls?.resumed);
  }
  return resumed;
}

/** `openssl s_server` that answers with a page about each connection and closes it. */
async function sServer(...given: string[]): Promise<{ port: number }> {
  const certificate = path.join(import.meta.dirname, 'certificates', 'good.pem');
  const args = ['s_server', '-www', '-accept', '127.0.0.1:0', '-cert', certificate, '-key', certificate, ...given];
  const child = spawn('openssl', args, { stdio: ['ignore', 'pipe', 'ignore'] });
  onTestFinished(() => void child.kill('SIGKILL'));
  let text = '';
  child.stdout.on('data', (chunk) => (text += String(chunk)));
  for (;;) {
    const port = /^ACCEPT 127\.0\.0\.1:(\d+)\n/m.exec(text)?.[1];
    if (port !== undefined) return { port: Number(port) };
    await delay(20);
  }
}

describe('over the shards of a pool', () => {
  test('TLS 1.2: one session serves all, and again', async () => {
    const { port, sockets } = await serve('good', { maxVersion: 'TLSv1.2' });
    expect(await on(common, port, [0, 1, 2, 1, 0, 2])).toEqual([false, true, true, true, true, true]);
    expect(sockets.length).toBe(6);
  });

  test('TLS 1.3: of two tickets the second goes to another shard, and each is used once', async () => {
    const { port } = await serve('good', { minVersion: 'TLSv1.3' });
    // Node's server gives none when a session is resumed. Of those that the first gets the second time one goes to the third.
    const [first, second, third] = inOrder(port);
    expect(await on(common, port, [first, second, first, second, first, third])).toEqual([
      false,
      true,
      true,
      false,
      false,
      true,
    ]);
  });

  test('a shard alone keeps all of its tickets', async () => {
    const { port } = await serve('good', { minVersion: 'TLSv1.3' });
    expect(await on(poolOf({ ca: ROOT }, 0), port, [0, 0, 0, 0])).toEqual([false, true, true, false]);
  });

  test('a server that gives no session', async () => {
    const { port } = await serve('good', { maxVersion: 'TLSv1.2', secureOptions: constants.SSL_OP_NO_TICKET });
    expect(await on(common, port, [0, 1, 0])).toEqual([false, false, false]);
  });

  test('sessionReuse: false', async () => {
    const { port } = await serve('good', { maxVersion: 'TLSv1.2' });
    expect(await on(poolOf({ ca: ROOT, sessionReuse: false }, 2), port, [0, 1, 0])).toEqual([false, false, false]);
  });

  test.skipIf(!hasOpenssl).each([
    [0, [0, 1, 0, 1], [false, false, false, false]],
    // The one that there is stays where it was got.
    [1, [0, 1, 0, 1], [false, false, true, true]],
    [2, [0, 1, 0, 1], [false, true, true, true]],
    [8, [0, 1, 2, 3, 2, 1, 0], [false, true, true, true, true, true, true]],
  ])('TLS 1.3: openssl s_server that gives %i tickets', async (tickets, shards, resumed) => {
    const server = await sServer('-tls1_3', '-num_tickets', `${tickets}`);
    const order = inOrder(server.port);
    const path = shards.map((index) => order[index]);
    expect(await on(common, server.port, path)).toEqual(resumed);
  });

  test.skipIf(!hasOpenssl)('TLS 1.2: openssl s_server that knows sessions by their ids', async () => {
    const server = await sServer('-tls1_2', '-no_ticket');
    expect(await on(common, server.port, [0, 1, 0])).toEqual([false, true, true]);
  });

  test('with a function that checks identities, by which all shards know it', async () => {
    const { port } = await serve('other-name', { maxVersion: 'TLSv1.2' });
    let calls = 0;
    const pool = poolOf({ ca: ROOT, checkServerIdentity: () => void calls++ }, 2);
    expect(await on(pool, port, [0, 1, 0])).toEqual([false, true, true]);
    expect(calls).toBe(1);
  });

  test.each(['TLSv1.2', 'TLSv1.3'] as const)('hostile/113 none when verification failed: %s', async (maxVersion) => {
    const { port } = await serve('self-signed', { maxVersion });
    const pool = poolOf({ rejectUnauthorized: false }, 2);
    expect(await on(pool, port, [0, 1, 0, 1])).toEqual([false, false, false, false]);
  });

  test('pinned keys are checked on a session of another shard, too', async () => {
    const { port } = await serve('good', { maxVersion: 'TLSv1.2' });
    const pool = poolOf({ ca: ROOT, pinnedPublicKeys: [pinOf('good')] }, 2);
    expect(await on(pool, port, [0, 1])).toEqual([false, true]);
  });

  test('a request that is under way on one shard, another goes to the next', async () => {
    let isSecond = false;
    const held: tls.TLSSocket[] = [];
    const { port, requests } = await serve('good', { maxVersion: 'TLSv1.2' }, (socket) => {
      if (isSecond) reply(socket);
      else held.push(socket);
    });
    const resolve = { [`good.test:${port}`]: ['127.0.0.1'] };
    const pool = new Pool({ shards: 2, placement: 'spread', tls: { ca: ROOT }, dns: { resolve } });
    onTestFinished(() => pool.destroy());
    const first = pool.fetch(`https://good.test:${port}/`);
    await vi.waitUntil(() => requests.length > 0, { timeout: 10_000 });
    // The session crosses in a batch of its own: there is no response yet that it could go with. It was sent before the shard
    // answers this question, which goes by another port: what waits at both is taken in one turn.
    await pool.stats();
    await nextTurn();
    isSecond = true;
    expect((await pool.fetch(`https://good.test:${port}/`)).connection.tls?.resumed).toBe(true);
    for (const socket of held) reply(socket);
    expect((await first).connection.tls?.resumed).toBe(false);
  });
});

function pinOf(name: string): string {
  const key = new X509Certificate(pem(name)).publicKey.export({ type: 'spki', format: 'der' });
  return `sha256//${createHash('sha256').update(key).digest('base64')}`;
}

describe('hostile/113, hostile/75 a pool of another configuration gets none', () => {
  test.each<[string, TlsGiven]>([
    ['ca', { ca: [ROOT, pem('other-root')] }],
    ['rejectUnauthorized', { ca: ROOT, rejectUnauthorized: false }],
    ['servername', { ca: ROOT, servername: 'localhost' }],
    ['client certificate', { ca: ROOT, cert: pem('client'), key: pem('client') }],
    ['checkServerIdentity', { ca: ROOT, checkServerIdentity: () => undefined }],
  ])('%s', async (_name, given) => {
    const { port } = await serve('good', { maxVersion: 'TLSv1.2' });
    // In one thread both pools have the same addon.
    const [one, other] = [poolOf({ ca: ROOT }, 0), poolOf(given, 0)];
    expect(await on(one, port, [0, 0])).toEqual([false, true]);
    expect(await on(other, port, [0, 0])).toEqual([false, true]);
  });
});

describe('the store', () => {
  let count = 0;
  const session = (key: string, single: boolean): SharedSession => ({ key, single, bytes: Uint8Array.of(++count) });
  const KEY = ' https://a.test';
  const taken = (store: SessionStore, shard: number): number[] =>
    (store.take(shard) ?? []).map(({ bytes }) => bytes[0] as number);

  test('a single one goes to one shard, never to the one that offers it, nor twice', () => {
    const store = new SessionStore(3);
    const offered = [session(KEY, true), session(KEY, true), session(KEY, true)];
    for (const one of offered) store.offer(0, one);
    const all = [0, 1, 2].map((shard) => taken(store, shard));
    expect(all[0]).toEqual([]);
    expect(all.map((of) => of.length)).toEqual([0, 1, 1]);
    expect(new Set(all.flat()).size).toBe(2);
    expect([0, 1, 2].flatMap((shard) => taken(store, shard))).toEqual([]);
  });

  test('a lasting one goes to all others, once', () => {
    const store = new SessionStore(3);
    store.offer(1, session(KEY, false));
    expect([0, 1, 2].map((shard) => taken(store, shard).length)).toEqual([1, 0, 1]);
    expect([0, 1, 2].map((shard) => taken(store, shard).length)).toEqual([0, 0, 0]);
  });

  test('a shard that begins anew gets what is spare, and what waited for the one before it', () => {
    const store = new SessionStore(2);
    store.offer(0, session(KEY, true));
    store.begun(1);
    expect(taken(store, 1).length).toBe(1);
    store.begun(1);
    expect(taken(store, 1)).toEqual([]);
    store.offer(0, session(' https://b.test', true));
    expect(taken(store, 1).length).toBe(1);
    store.offer(0, session(' https://b.test', true));
    expect(taken(store, 1)).toEqual([]);
    store.begun(1);
    expect(taken(store, 1).length).toBe(1);
    store.begun(1);
    expect(taken(store, 1)).toEqual([]);
  });

  test('it keeps the newest thousand destinations', () => {
    const store = new SessionStore(2);
    for (let index = 0; index < 1_500; index++) store.offer(0, session(` https://${index}.test`, true));
    expect(taken(store, 1).length).toBe(1_000);
  });
});
