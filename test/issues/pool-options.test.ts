/**
 * Found by a user of the pool: errors that named no option of it, or an engine's; an option that promised more than it kept; a
 * function of the caller's whose misbehaviour was taken for something else.
 */

import { execFile } from 'node:child_process';
import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { LookupFunction, Pool, TransferError } from 'shardfetch';
import { Multi, Transfer } from 'shardfetch/multi';
import { describe, expect, onTestFinished, test } from 'vitest';
import { callLookup } from '../../src/protocol/lookup-function.ts';
import { PLACES, poolFor, rejection } from '../wire/checks.ts';
import { closedPort } from '../wire/raw-peer.ts';

const root = fileURLToPath(new URL('../../', import.meta.url));

async function serve(host = '127.0.0.1'): Promise<{ port: number; url: string; openings: () => number }> {
  let openings = 0;
  const server = http.createServer((_, response) => response.end('ok'));
  server.on('connection', () => openings++);
  server.keepAliveTimeout = 60_000;
  server.listen(0, host);
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { port, url: `http://127.0.0.1:${port}/`, openings: () => openings };
}

async function reusedBy(pool: Pool, url: string, init: object = {}): Promise<boolean> {
  const response = await pool.fetch(url, init);
  await response.text();
  return response.connection.reused;
}

async function causeOf(pool: Pool, url: string, init: object = {}): Promise<TransferError> {
  return ((await rejection(pool.fetch(url, init))) as { cause: TransferError }).cause;
}

describe.each(PLACES)('$name', ({ shards }) => {
  test('connections.reuse false: no request is sent on a connection that served others', async () => {
    const server = await serve();
    const pool = poolFor({ shards, connections: { reuse: false } });
    expect(await reusedBy(pool, server.url)).toBe(false);
    // It keeps its connection, because it says so; nobody who does not say so takes it.
    expect(await reusedBy(pool, server.url, { forbidReuse: false })).toBe(false);
    expect(await reusedBy(pool, server.url)).toBe(false);
    expect(server.openings()).toBe(3);
    expect(await reusedBy(pool, server.url, { freshConnect: false })).toBe(true);
    expect(server.openings()).toBe(3);
  });

  test('dns.family of the pool is named by its own name', async () => {
    const pool = poolFor({ shards, dns: { family: 6 } });
    expect(await causeOf(pool, 'http://127.0.0.1:1/')).toMatchObject({
      code: 'COULDNT_RESOLVE',
      limit: 'dns.family',
      message: expect.stringContaining('leave out the option dns.family'),
    });
  });

  test.each([
    ['EAFNOSUPPORT', '::1'],
    ['EADDRNOTAVAIL', '192.0.2.1'],
  ])('a localAddress that cannot be connected from (%s) is named', async (errno, localAddress) => {
    const { url } = await serve();
    const pool = poolFor({ shards, localAddress });
    expect(await causeOf(pool, url)).toMatchObject({
      code: 'COULDNT_CONNECT',
      errno,
      limit: 'localAddress',
      message: expect.stringContaining(`from localAddress ${localAddress}`),
    });
  });

  test('of several addresses, one of another family than localAddress does not hide why the others failed', async () => {
    const port = await closedPort();
    const resolve = { [`a.test:${port}`]: ['127.0.0.1', '::1'] };
    const pool = poolFor({ shards, localAddress: '127.0.0.1', dns: { resolve } });
    expect(await causeOf(pool, `http://a.test:${port}/`)).toMatchObject({
      limit: undefined,
      message: expect.stringContaining('ECONNREFUSED'),
    });
  });

  test('a unixPath or a target that failed stands in the sentence', async () => {
    const pool = poolFor({ shards });
    const unix = await causeOf(pool, 'http://a.test/', { unixPath: '/nonesuch/socket' });
    expect(unix.message).toBe(
      'No connection to http://a.test over the unix socket /nonesuch/socket could be opened (ENOENT); check that a server listens there.',
    );
    const abstract = await causeOf(pool, 'http://a.test/', { unixPath: '\0shardfetch-nonesuch' });
    expect(abstract.message).toContain('over the unix socket @shardfetch-nonesuch could');
    const port = await closedPort();
    const target = await causeOf(pool, 'http://a.test/', { connectTo: `127.0.0.1:${port}` });
    expect(target.message).toContain(`No connection to http://a.test by way of 127.0.0.1:${port} could be opened`);
    const silent = poolFor({ shards, dns: { lookup: () => undefined }, timeouts: { connectMs: 50 } });
    const late = await causeOf(silent, 'http://a.test/', { connectTo: 'b.test:81' });
    expect(late.message).toContain('Resolving http://a.test by way of b.test:81 took longer');
  });

  test.each<[string, LookupFunction, string | undefined]>([
    ['resolves', async () => ['127.0.0.1'], undefined],
    ['resolves to what dns.lookup answers', async () => [{ address: '127.0.0.1', family: 4 }], undefined],
    // biome-ignore lint/suspicious/noThenProperty: a thenable that is no promise is what this is about.
    ['answers a thenable', () => ({ then: (resolve: (value: unknown) => void) => resolve('127.0.0.1') }), undefined],
    [
      'calls done and resolves to nothing',
      async (_host, _family, done) => void setTimeout(done, 20, null, ['127.0.0.1']),
      undefined,
    ],
    ['rejects', async () => Promise.reject(Object.assign(new Error('none'), { code: 'ENOTFOUND' })), 'none'],
    ['rejects with nothing', () => Promise.reject(undefined), 'The lookup function rejected with nothing.'],
    ['resolves to nonsense', async () => [7], 'The lookup function answered 7, which is no address.'],
    ['resolves to null', async () => null, 'The lookup function answered null, which is no address.'],
  ])('dns.lookup that %s', async (_, lookup, failure) => {
    const { port } = await serve();
    const pool = poolFor({ shards, dns: { lookup } });
    const outcome = pool.fetch(`http://a.test:${port}/`).then((response) => response.text());
    if (failure === undefined) expect(await outcome).toBe('ok');
    else {
      const { cause } = (await rejection(outcome)) as { cause: TransferError };
      expect(cause).toMatchObject({ code: 'COULDNT_RESOLVE', cause: { message: failure } });
    }
  });
});

test('a look-up that answers twice is heard once, by whichever comes first', async () => {
  const heard: unknown[] = [];
  const both: LookupFunction = async (_host, _family, done) => {
    done(null, ['127.0.0.2']);
    return ['127.0.0.3'];
  };
  callLookup(both, 'a.test', 0, (found) => heard.push(found));
  await new Promise((resolve) => setImmediate(resolve));
  expect(heard[0]).toEqual(['127.0.0.2']);
  // Of a multi that is closed meanwhile nobody hears.
  const multi = new Multi({ lookup: async () => Promise.reject(new Error('late')) });
  multi.lookups.find('a.test', 80, 0, {
    transfer: new Transfer({ url: 'http://a.test/' }),
    onAddresses: () => expect.unreachable(),
    onLookupFailed: () => expect.unreachable(),
  });
  multi.close();
  await new Promise((resolve) => setImmediate(resolve));
});

test.each([
  ['undefined', () => undefined, 'not undefined'],
  ['a number', () => 7, 'not 7'],
  ['a promise', async () => 'a', 'not an object (Promise)'],
  ['a promise that is rejected', () => Promise.reject(new Error('nobody waits')), 'not an object (Promise)'],
])('a placement function that answers %s', async (_, placement, says) => {
  const pool = poolFor({ placement: placement as never });
  expect(await causeOf(pool, 'http://a.test/')).toMatchObject({
    code: 'INVALID_ARGUMENT',
    limit: 'placement',
    message: expect.stringContaining(`The placement function of the pool must answer a string, ${says}`),
  });
});

test('a placement function that throws', async () => {
  const thrown = new RangeError('mine');
  const pool = poolFor({
    placement: () => {
      throw thrown;
    },
  });
  const cause = await causeOf(pool, 'http://a.test/');
  expect(cause).toMatchObject({
    code: 'INVALID_ARGUMENT',
    limit: 'placement',
    message: 'The placement function of the pool threw; see the cause.',
  });
  expect(cause.cause).toBe(thrown);
});

test('a placement function: perOrigin holds for each key', async () => {
  let open = 0;
  let most = 0;
  const server = http.createServer((_, response) => setTimeout(() => response.end('ok'), 50));
  server.on('connection', (socket) => {
    most = Math.max(most, ++open);
    socket.on('close', () => open--);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  // Sixteen keys are ranked both ways.
  const pool = poolFor({ shards: 2, connections: { perOrigin: 1 }, placement: ({ pathname }) => pathname });
  const paths = Array.from({ length: 16 }, (_, index) => `/${index}`);
  await Promise.all(paths.map(async (path) => (await pool.fetch(url + path)).text()));
  expect(most).toBe(2);
});

test.each(['1x', '-1', '', '0x5'])('content-length %j with a body in pieces', async (value) => {
  const pool = poolFor({});
  async function* body() {
    yield 'x';
  }
  const init = { method: 'POST', body: body(), duplex: 'half', headers: { 'content-length': value } };
  expect(await causeOf(pool, 'http://127.0.0.1:1/', init)).toMatchObject({
    code: 'INVALID_ARGUMENT',
    limit: 'headers',
    message: `The header Content-Length says ${JSON.stringify(value)}, which is no number of bytes.`,
  });
});

/** Under a hard limit of open files; answers what it printed. */
async function underLimit(files: number, options: object): Promise<string> {
  const program = `
    import { Pool } from 'shardfetch';
    try {
      const pool = new Pool(${JSON.stringify(options)});
      console.log(/total: (\\d+)/.exec((await import('node:util')).inspect(pool, { depth: 5 }))[1]);
      await pool.close();
    } catch (error) { console.log(error.limit, error.message); }`;
  const script = `ulimit -n ${files} && exec "$0" --input-type=module -e "$1"`;
  const { stdout } = await promisify(execFile)('bash', ['-c', script, process.execPath, program], { cwd: root });
  return stdout.trim();
}

test.each([
  [300, { shards: 2 }, '150'],
  [502, { shards: 2 }, '251'],
  [1_200, { shards: 1 }, '700'],
  [128, { shards: 0 }, '64'],
])('under a limit of %i open files a pool has a default that it can start with', async (files, options, total) => {
  expect(await underLimit(files, options)).toBe(total);
});

test('more connections than files may be open: the limit is named', async () => {
  const said = await underLimit(300, { shards: 1, connections: { total: 200 } });
  expect(said).toMatch(/^connections\.total .*hard limit of open files \(ulimit -Hn\) allows 150/);
});
