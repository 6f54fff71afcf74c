/** `pool.fetch` of https: over real threads: what crosses to shards and back. */

import { X509Certificate } from 'node:crypto';
import { inspect } from 'node:util';
import { Pool, type PoolOptions, type TransferError } from 'shardfetch';
import { describe, expect, onTestFinished, test } from 'vitest';
import { PeerCertificates } from '../../src/worker/io/peer-certificates.ts';
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

describe('the peer certificate on demand', () => {
  const pathOf = (port: number) => `https://good.test:${port}/`;

  test.each([0, 2])('as Node shows it: %i shards', async (shards) => {
    const server = await serve('good');
    const pool = poolOf(server.port, { shards });
    const response = await pool.fetch(pathOf(server.port));
    const certificate = await response.connection.tls?.peerCertificate();
    const expected = new X509Certificate(pem('good'));
    expect(certificate?.raw.equals(expected.raw)).toBe(true);
    expect(certificate).toMatchObject({
      subject: { CN: 'good.test' },
      subjectaltname: expected.subjectAltName,
      valid_to: expected.validTo,
      fingerprint256: expected.fingerprint256,
    });
    expect(inspect(response.connection)).not.toContain('source');
  });

  test('of a connection that has closed, that resumed a session, and of a clone', async () => {
    const server = await serve('good');
    const pool = poolOf(server.port, { connections: { reuse: false } });
    for (const resumed of [false, true]) {
      const response = await pool.fetch(pathOf(server.port));
      expect(await response.clone().text()).toBe('ok');
      expect(response.connection.tls?.resumed).toBe(resumed);
      server.sockets.at(-1)?.destroy();
      expect((await response.clone().connection.tls?.peerCertificate())?.subject.CN).toBe('good.test');
    }
  });

  test('each peer has its own', async () => {
    const [one, two] = [await serve('good'), await serve('complete')];
    const resolve = { [`good.test:${one.port}`]: ['127.0.0.1'], [`good.test:${two.port}`]: ['127.0.0.1'] };
    const pool = poolOf(one.port, { shards: 1, dns: { resolve } });
    const responses = [await pool.fetch(pathOf(one.port)), await pool.fetch(pathOf(two.port))];
    const serials = responses.map(async ({ connection }) => (await connection.tls?.peerCertificate())?.serialNumber);
    expect(await Promise.all(serials)).toEqual(
      ['good', 'complete'].map((name) => new X509Certificate(pem(name)).serialNumber),
    );
  });

  test('when its shard is gone it rejects with a sentence', async () => {
    const server = await serve('good');
    const pool = poolOf(server.port);
    const { connection } = await pool.fetch(pathOf(server.port));
    await pool.destroy();
    await expect(connection.tls?.peerCertificate()).rejects.toMatchObject({ code: 'SHARD_LOST' });
  });

  test('hostile/113 large ones are kept as long as all take 4 MiB together', () => {
    const kept = new PeerCertificates();
    const large = (index: number): Buffer => Buffer.alloc(100 * 1024, index);
    const small = kept.numberOf(Buffer.from('small'));
    const numbers = Array.from({ length: 100 }, (_, index) => kept.numberOf(large(index)));
    expect(numbers.filter((number) => kept.get(number) !== null)).toEqual(numbers.slice(-40));
    expect(kept.get(small)).toBe(null);
    expect(kept.numberOf(large(99))).toBe(numbers[99]);
    kept.clear();
    expect(kept.get(kept.numberOf(large(1)))?.equals(large(1))).toBe(true);
  });

  test('a thousand are kept, those met last', () => {
    const kept = new PeerCertificates();
    const numbers = Array.from({ length: 1_001 }, (_, index) => kept.numberOf(Buffer.from(`${index}`)));
    expect(new Set(numbers).size).toBe(1_001);
    expect(kept.get(numbers[0] as number)).toBe(null);
    expect(kept.get(numbers[1] as number)?.toString()).toBe('1');
    expect(kept.numberOf(Buffer.from('1'))).toBe(numbers[1]);
    kept.numberOf(Buffer.from('another'));
    expect(kept.get(numbers[1] as number)?.toString()).toBe('1');
    expect(kept.get(numbers[2] as number)).toBe(null);
    expect(kept.numberOf(null)).toBe(0);
    expect(kept.get(0)).toBe(null);
  });
});
