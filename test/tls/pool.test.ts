/** `pool.fetch` of https: over real threads: what crosses to shards and back. */

import { Pool, type PoolOptions, type TransferError } from 'shardfetch';
import { expect, onTestFinished, test } from 'vitest';
import { pem, ROOT, reply, serve } from './rig.ts';

function poolOf(port: number, options: PoolOptions = {}): Pool {
  const resolve = Object.fromEntries(['good.test', 'a.wild.test'].map((host) => [`${host}:${port}`, ['127.0.0.1']]));
  const pool = new Pool({ shards: 2, tls: { ca: ROOT }, dns: { resolve }, ...options });
  onTestFinished(() => pool.destroy());
  return pool;
}

test.each([0, 2])('verified, kept alive, and told of: %i shards', async (shards) => {
  const server = await serve('good', {}, (socket, request) => reply(socket, request.split(' ')[1] as string));
  const pool = poolOf(server.port, { shards });
  const first = await pool.fetch(`https://good.test:${server.port}/one`);
  expect(await first.text()).toBe('/one');
  expect(first.connection).toMatchObject({
    reused: false,
    remoteAddress: `127.0.0.1:${server.port}`,
    tls: { protocol: 'TLSv1.3', cipher: 'TLS_AES_256_GCM_SHA384', resumed: false, verified: true },
  });
  expect(first.timings.tls).toBeGreaterThanOrEqual(first.timings.connect);
  const second = await pool.fetch(`https://good.test:${server.port}/two`);
  expect(await second.text()).toBe('/two');
  expect(second.connection.reused).toBe(true);
});

test('2 MiB both ways', async () => {
  const big = 'abcdefgh'.repeat(256 * 1024);
  const server = await serve('good', {}, (socket) => reply(socket, big));
  const pool = poolOf(server.port);
  const response = await pool.fetch(`https://good.test:${server.port}/`, { method: 'POST', body: big });
  expect((await response.text()) === big).toBe(true);
  expect(server.requests[0]).toContain(`${big.length}`);
});

test('hostile/104 a certificate that does not verify rejects with what a person needs', async () => {
  const server = await serve('untrusted');
  const pool = poolOf(server.port);
  const failure = await pool.fetch(`https://good.test:${server.port}/`).catch((error: unknown) => error);
  expect(failure).toMatchObject({ name: 'TypeError', message: 'fetch failed', code: 'CERTIFICATE_INVALID' });
  const { message, phase, limit, url } = (failure as TypeError).cause as TransferError;
  expect({ phase, limit, url }).toEqual({ phase: 'tls', limit: 'tls.ca', url: `https://good.test:${server.port}/` });
  expect(message).toMatch(/good\.test.*CN=Other root.*valid from.*SHA-256 [0-9A-F:]{95}.*tls\.ca/);
  expect(server.requests).toEqual([]);
});

test('a client certificate crosses to the shards', async () => {
  const server = await serve('good', { requestCert: true, ca: ROOT }, (socket) =>
    reply(socket, String(socket.getPeerCertificate().subject.CN)),
  );
  const text = pem('client');
  const pool = poolOf(server.port, { tls: { ca: ROOT, cert: text, key: text } });
  expect(await (await pool.fetch(`https://good.test:${server.port}/`)).text()).toBe('client');
});

test('plain requests of the same pool have no TLS', async () => {
  const server = await serve();
  const pool = poolOf(server.port);
  await expect(pool.fetch(`http://good.test:${server.port}/`)).rejects.toMatchObject({ name: 'TypeError' });
  expect(server.failures.length).toBe(1);
});
