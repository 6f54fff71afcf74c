/** `tls.checkServerIdentity`: what it is given, what its answers mean, when it is called; in a multi, and over threads in a pool. */

import { setTimeout as delay } from 'node:timers/promises';
import type tls from 'node:tls';
import { type FetchResponse, Pool, type PoolOptions, type TransferError } from 'shardfetch';
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest';
import { type CheckServerIdentity, resolveTlsOptions } from '../../src/protocol/tls-options.ts';
import { Transfer } from '../../src/worker/multi/index.ts';
import { Rig } from '../contract/rig.ts';
import { pem, ROOT, reply, serve, to } from './rig.ts';

const NOT_THIS_ONE = new Error('not this one');

/** What is no consent, and what the error says of it. */
const REFUSALS: readonly [string, () => unknown, RegExp][] = [
  ['an Error', () => NOT_THIS_ONE, /not this one/],
  [
    'one that is thrown',
    () => {
      throw NOT_THIS_ONE;
    },
    /not this one/,
  ],
  ['a promise of one', () => Promise.resolve(NOT_THIS_ONE), /not this one/],
  ['a promise that rejects', () => Promise.reject(NOT_THIS_ONE), /not this one/],
  ['false', () => false, /answered false, which is neither/],
  ['a promise of true', () => Promise.resolve(true), /answered true, which is neither/],
];

describe('in a multi', () => {
  const withCheck = (port: number, checkServerIdentity: unknown, more = {}) =>
    to(port, 'good.test', { tls: { checkServerIdentity: checkServerIdentity as CheckServerIdentity }, ...more });

  test.each(REFUSALS)('%s refuses', async (_name, check, message) => {
    const server = await serve('other-name');
    const { error } = await new Rig().fetch(withCheck(server.port, check));
    expect(error).toMatchObject({
      code: 'CERTIFICATE_INVALID',
      limit: 'tls.checkServerIdentity',
      phase: 'tls',
      message: expect.stringMatching(message),
    });
    expect(server.requests).toEqual([]);
  });

  test.each([
    ['nothing', () => undefined],
    ['a promise of nothing', async () => undefined],
    ['a promise, later', () => delay(30).then(() => undefined)],
  ])('%s takes the peer', async (_name, check) => {
    const server = await serve('other-name');
    expect(await new Rig().fetch(withCheck(server.port, check))).toMatchObject({ error: null, body: 'ok' });
  });

  test('while it is awaited the multi goes on, and the socket is not watched', async () => {
    const server = await serve();
    const rig = new Rig();
    let answer: () => void = () => undefined;
    const asked = withCheck(
      server.port,
      () => new Promise<undefined>((resolve) => (answer = () => resolve(undefined))),
    );
    const waiting = new Transfer(asked);
    rig.multi.add(waiting);
    await rig.until(() => waiting.handshake !== null && server.sockets.length === 1 && rig.watched.size === 0);
    expect(await rig.fetch(to(server.port))).toMatchObject({ error: null, body: 'ok' });
    expect(waiting.timings.tls).toBe(-1);
    answer();
    await rig.until(() => waiting.state === 'done', 'the end of the transfer that waited');
    expect(waiting.error).toBe(null);
  });

  test('one that never answers runs into connectMs; what it answers after that nobody hears', async () => {
    const server = await serve();
    let answer: (refusal: Error) => void = () => undefined;
    const check = () => new Promise<Error>((resolve) => (answer = resolve));
    const rig = new Rig();
    const { error } = await rig.fetch(withCheck(server.port, check, { timeouts: { connectMs: 200 } }));
    expect(error).toMatchObject({ code: 'CONNECT_TIMEOUT', phase: 'tls' });
    answer(NOT_THIS_ONE);
    await rig.drive(20);
    expect(rig.multi.stats()).toMatchObject({ connections: 0, running: 0 });
  });

  test.each(['TLSv1.2', 'TLSv1.3'] as const)(
    'as in Node, not for a session that is resumed: %s',
    async (maxVersion) => {
      const server = await serve('other-name', { maxVersion });
      const rig = new Rig();
      let calls = 0;
      const check = (): undefined => {
        calls++;
      };
      for (const resumed of [false, true]) {
        const { error, transfer } = await rig.fetch(withCheck(server.port, check, { freshConnect: true }));
        expect(error).toBe(null);
        expect(transfer.info.tls?.resumed).toBe(resumed);
      }
      expect(calls).toBe(1);
      // Another function, or none, has sessions of its own.
      const other = await rig.fetch(withCheck(server.port, () => NOT_THIS_ONE, { freshConnect: true }));
      expect(other.error).toMatchObject({ limit: 'tls.checkServerIdentity' });
      expect((await rig.fetch(to(server.port))).error).toMatchObject({ limit: 'tls.servername' });
      expect(server.requests.length).toBe(2);
    },
  );

  test('a refused peer leaves no session', async () => {
    const server = await serve('good');
    const rig = new Rig();
    let refuses = true;
    const check = () => (refuses ? NOT_THIS_ONE : undefined);
    expect((await rig.fetch(withCheck(server.port, check))).error).not.toBe(null);
    refuses = false;
    const { transfer } = await rig.fetch(withCheck(server.port, check));
    expect(transfer.info.tls?.resumed).toBe(false);
  });

  test('a name that passes to another function takes its plan along', () => {
    const [one, two]: CheckServerIdentity[] = [() => undefined, () => undefined];
    const plans = [one, two].map((check) => resolveTlsOptions({ checkServerIdentity: check }));
    expect(plans[0]?.identity).not.toBe(plans[1]?.identity);
    expect(plans[0]?.checkServerIdentity).toBe(one);
  });
});

describe.each([0, 2])('in a pool of %i shards', (shards) => {
  function poolOf(port: number, checkServerIdentity: unknown, more: PoolOptions = {}): Pool {
    const tls = { ca: ROOT, checkServerIdentity: checkServerIdentity as CheckServerIdentity };
    const dns = { resolve: { [`good.test:${port}`]: ['127.0.0.1'] } };
    const pool = new Pool({ shards, tls, dns, ...more });
    onTestFinished(() => pool.destroy());
    return pool;
  }
  /** Of most tests: threads are slow to start. */
  let common: Pool;
  let commonCheck: (host: string, certificate: tls.PeerCertificate) => unknown;
  beforeAll(() => {
    const checkServerIdentity = ((host, certificate) => commonCheck(host, certificate)) as CheckServerIdentity;
    const dns: PoolOptions['dns'] = { lookup: (_host, _family, done) => done(null, ['127.0.0.1']) };
    common = new Pool({ shards, tls: { ca: ROOT, checkServerIdentity }, dns });
  });
  afterAll(() => common.destroy());
  const get = (pool: Pool, port: number): Promise<FetchResponse> => pool.fetch(`https://good.test:${port}/`);

  test('it is given what Node gives, and stands in for the check of names only', async () => {
    const server = await serve('other-name');
    const seen: [string, tls.PeerCertificate][] = [];
    commonCheck = (host, certificate) => {
      seen.push([host, certificate]);
    };
    expect(await (await get(common, server.port)).text()).toBe('ok');
    expect(seen.length).toBe(1);
    expect(seen[0]?.[0]).toBe('good.test');
    expect(seen[0]?.[1]).toMatchObject({
      subject: { CN: 'good.test' },
      issuer: { O: 'shardfetch tests' },
      subjectaltname: 'DNS:other.test',
      valid_from: expect.stringMatching(/GMT$/),
      valid_to: expect.stringMatching(/GMT$/),
      fingerprint256: expect.stringMatching(/^([0-9A-F]{2}:){31}[0-9A-F]{2}$/),
      serialNumber: expect.any(String),
      raw: expect.any(Buffer),
    });
    const untrusted = await serve('untrusted');
    await expect(get(common, untrusted.port)).rejects.toMatchObject({ code: 'CERTIFICATE_INVALID' });
    expect(untrusted.requests).toEqual([]);
    expect(seen.length).toBe(1);
  });

  test.each(REFUSALS)('%s refuses', async (_name, check, message) => {
    const server = await serve('good');
    commonCheck = check;
    const failure = await get(common, server.port).catch((error: unknown) => error);
    expect(failure).toMatchObject({ name: 'TypeError', code: 'CERTIFICATE_INVALID' });
    const cause = (failure as TypeError).cause as TransferError;
    expect(cause).toMatchObject({ limit: 'tls.checkServerIdentity', message: expect.stringMatching(message) });
    expect(cause.cause).toBeInstanceOf(Error);
    expect(server.requests).toEqual([]);
  });

  test('while it is awaited its shard goes on', async () => {
    const server = await serve('good');
    const plain = await serve('good', {}, (socket) => reply(socket, 'quick'));
    let answer: () => void = () => undefined;
    const waits = new Promise<void>((resolve) => (answer = resolve));
    let calls = 0;
    const pool = poolOf(server.port, () => (++calls === 1 ? waits : undefined), {
      dns: { resolve: { [`good.test:${server.port}`]: ['127.0.0.1'], [`good.test:${plain.port}`]: ['127.0.0.1'] } },
      placement: () => 'one shard',
    });
    const first = get(pool, server.port);
    await vi.waitUntil(() => calls > 0, { timeout: 10_000 });
    expect(await (await get(pool, plain.port)).text()).toBe('quick');
    expect(server.requests).toEqual([]);
    answer();
    expect(await (await first).text()).toBe('ok');
  });

  test('connectMs counts', async () => {
    const server = await serve('good');
    commonCheck = () => new Promise(() => undefined);
    const timeouts = { connectMs: 500 };
    await expect(common.fetch(`https://good.test:${server.port}/`, { timeouts })).rejects.toMatchObject({
      code: 'CONNECT_TIMEOUT',
    });
    expect(server.requests).toEqual([]);
  });

  test('a pool that is destroyed meanwhile', async () => {
    const server = await serve('good');
    let called = false;
    const pool = poolOf(server.port, () => {
      called = true;
      return new Promise(() => undefined);
    });
    const failure = get(pool, server.port).catch((error: unknown) => error);
    await vi.waitUntil(() => called, { timeout: 10_000 });
    await pool.destroy();
    expect(await failure).toMatchObject({ code: 'POOL_CLOSED' });
  });

  test('as in Node, not for a session that is resumed', async () => {
    const server = await serve('good', { maxVersion: 'TLSv1.2' });
    let calls = 0;
    const pool = poolOf(server.port, () => void calls++, { connections: { reuse: false } });
    for (const resumed of [false, true, true]) {
      const response = await get(pool, server.port);
      expect(await response.text()).toBe('ok');
      expect(response.connection.tls?.resumed).toBe(resumed);
    }
    expect(calls).toBe(1);
  });
});

test('what is no function is refused before any thread begins', () => {
  const tls = { ca: pem('root'), checkServerIdentity: 'yes' as unknown as CheckServerIdentity };
  expect(() => new Pool({ tls })).toThrow(
    expect.objectContaining({ code: 'INVALID_ARGUMENT', limit: 'tls.checkServerIdentity' }),
  );
});
