/** The `tls` options of a transfer: what is refused before any I/O, and what each of them does. */

import { createHash, X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type tls from 'node:tls';
import { describe, expect, onTestFinished, test } from 'vitest';
import { DEFAULT_TLS_PLAN, resolveTlsOptions, type TlsOptions } from '../../src/protocol/tls-options.ts';
import { Transfer } from '../../src/worker/multi/index.ts';
import { Rig } from '../contract/rig.ts';
import { pem, ROOT, reply, serve, to } from './rig.ts';

const client = pem('client');
const file = (name: string) => readFileSync(path.join(import.meta.dirname, 'certificates', name));

describe('refused before any I/O', () => {
  test.each<[string, unknown]>([
    ['tls', null],
    ['tls', 'strict'],
    ['tls.cacert', { cacert: ROOT }],
    ['tls.ca', { ca: '' }],
    ['tls.ca', { ca: [] }],
    ['tls.ca', { ca: 'no certificate' }],
    ['tls.ca', { ca: ROOT.replace(/[A-Za-z0-9+/]{20}\n/, '!'.repeat(20)) }],
    ['tls.ca[1]', { ca: [ROOT, 5] }],
    ['tls.cert', { cert: 'x', key: client }],
    ['tls.key', { cert: client, key: 'x' }],
    ['tls.key', { cert: client, key: pem('client-two') }],
    ['tls.key', { cert: client }],
    ['tls.cert', { key: client }],
    ['tls.key', { cert: client, key: file('client-locked.key') }],
    ['tls.key', { cert: client, key: file('client-locked.key'), passphrase: 'wrong' }],
    ['tls.pfx', { pfx: file('client.p12'), passphrase: 'wrong' }],
    ['tls.pfx', { pfx: Buffer.from('none') }],
    ['tls.pfx', { pfx: file('client.p12'), passphrase: 'secret', cert: client, key: client }],
    ['tls.rejectUnauthorized', { rejectUnauthorized: 0 }],
    ['tls.servername', { servername: '127.0.0.1' }],
    ['tls.servername', { servername: 'a b' }],
    ['tls.servername', { servername: '.test' }],
    ['tls.servername', { servername: 'a..test' }],
    ['tls.servername', { servername: '.' }],
    ['tls.servername', { servername: 'good.test\0.evil.test' }],
    ['tls.minVersion', { minVersion: 'SSLv3' }],
    ['tls.minVersion', { minVersion: 'TLSv1.3', maxVersion: 'TLSv1.2' }],
    ['tls.maxVersion', { maxVersion: 1.3 }],
    ['tls.ciphers', { ciphers: 'NONSENSE' }],
    ['tls.ciphers', { ciphers: '' }],
    ['tls.ciphers', { ciphers: 'TLS_AES_128_GCM_SHA256', maxVersion: 'TLSv1.2' }],
    ['tls.sigalgs', { sigalgs: 'nonsense' }],
    ['tls.ecdhCurve', { ecdhCurve: 'nonsense' }],
    ['tls.alpn', { alpn: ['h2'] }],
    ['tls.alpn', { alpn: 'http/1.1' }],
    ['tls.pinnedPublicKeys', { pinnedPublicKeys: [] }],
    ['tls.pinnedPublicKeys', { pinnedPublicKeys: ['sha256//short'] }],
    ['tls.sessionReuse', { sessionReuse: 'yes' }],
    ['tls.keyLog', { keyLog: 5 }],
    ['tls.checkServerIdentity', { checkServerIdentity: true }],
  ])('%s', (limit, given) => {
    const refused = expect.objectContaining({ code: 'INVALID_ARGUMENT', phase: 'arguments', limit });
    expect(() => new Transfer({ url: 'https://a.test/', tls: given as TlsOptions })).toThrow(refused);
  });

  test('a list that OpenSSL has no words for is told in ours', () => {
    expect(() => resolveTlsOptions({ sigalgs: 'nonsense' })).toThrow(
      'tls.sigalgs cannot be used: OpenSSL does not know',
    );
  });

  test('no message shows a key', () => {
    const secret = 'MHcCAQEEIsecretsecret';
    for (const given of [{ cert: client, key: secret }, { ca: secret }, { cert: secret, key: client }]) {
      expect(() => resolveTlsOptions(given)).toThrow(
        expect.not.objectContaining({ message: expect.stringContaining(secret) }),
      );
    }
  });
});

describe('plans', () => {
  test('equal options have one identity, which tells nothing of them; others have others', () => {
    expect(resolveTlsOptions(undefined)).toBe(DEFAULT_TLS_PLAN);
    expect(resolveTlsOptions({})).toBe(DEFAULT_TLS_PLAN);
    expect(resolveTlsOptions({ alpn: ['http/1.1'], rejectUnauthorized: true })).toBe(DEFAULT_TLS_PLAN);
    expect(resolveTlsOptions({ ca: ROOT })).toBe(resolveTlsOptions({ ca: [Buffer.from(ROOT)] }));
    expect(resolveTlsOptions({ ca: ROOT }).identity).toMatch(/^[\w+/]{43}=$/);
    const [one, two] = [() => undefined, () => undefined];
    const identities = [
      {},
      { ca: ROOT },
      { ca: ROOT, servername: '' },
      { servername: 'a.test' },
      { rejectUnauthorized: false },
      { checkServerIdentity: one },
      { checkServerIdentity: two },
      { passphrase: '' },
      { alpn: [] },
    ].map((given) => resolveTlsOptions(given).identity);
    expect(new Set(identities).size).toBe(identities.length);
    expect(resolveTlsOptions({ checkServerIdentity: one }).identity).toBe(identities[5]);
  });

  test('what is given is copied', () => {
    const ca = Buffer.from(ROOT);
    const plan = resolveTlsOptions({ ca });
    ca.fill(0);
    expect(plan.ca).toEqual([ROOT]);
  });
});

describe('client certificates', () => {
  test.each<[string, TlsOptions]>([
    ['PEM', { cert: client, key: client }],
    ['bytes', { cert: Buffer.from(client), key: Buffer.from(client) }],
    ['a locked key', { cert: client, key: file('client-locked.key'), passphrase: 'secret' }],
    ['PKCS #12', { pfx: file('client.p12'), passphrase: 'secret' }],
  ])('hostile/114 as %s', async (_name, given) => {
    const server = await serve('good', { requestCert: true, ca: ROOT }, (socket) =>
      reply(socket, String(socket.getPeerCertificate().subject.CN)),
    );
    expect(await new Rig().fetch(to(server.port, 'good.test', { tls: given }))).toMatchObject({
      error: null,
      body: 'client',
    });
  });

  test('hostile/75 two clients share no connection', async () => {
    const server = await serve('good', { requestCert: true, ca: ROOT }, (socket) =>
      reply(socket, String(socket.getPeerCertificate().subject.CN)),
    );
    const rig = new Rig();
    const two = pem('client-two');
    expect((await rig.fetch(to(server.port, 'good.test', { tls: { cert: client, key: client } }))).body).toBe('client');
    expect((await rig.fetch(to(server.port, 'good.test', { tls: { cert: two, key: two } }))).body).toBe('client two');
    expect((await rig.fetch(to(server.port, 'good.test', { tls: { cert: client, key: client } }))).body).toBe('client');
    expect(server.accepted).toBe(2);
  });
});

describe('pinned keys, checkServerIdentity, key log', () => {
  const pin = (name: string) => {
    const key = new X509Certificate(pem(name)).publicKey.export({ type: 'spki', format: 'der' });
    return `sha256//${createHash('sha256').update(key).digest('base64')}`;
  };

  test('one of the pins must be the key, resumed or not', async () => {
    const server = await serve();
    const rig = new Rig();
    const pinnedPublicKeys = [pin('other-root'), pin('good')];
    for (const resumed of [false, true]) {
      const got = await rig.fetch(to(server.port, 'good.test', { freshConnect: true, tls: { pinnedPublicKeys } }));
      expect(got.transfer.info.tls?.resumed).toBe(resumed);
      expect(got.error).toBe(null);
    }
    const { error } = await rig.fetch(to(server.port, 'good.test', { tls: { pinnedPublicKeys: [pin('other-root')] } }));
    expect(error).toMatchObject({ code: 'CERTIFICATE_INVALID', limit: 'tls.pinnedPublicKeys', phase: 'tls' });
    expect(server.requests.length).toBe(2);
  });

  test('the function stands in for the check of names, and only for that', async () => {
    const server = await serve('other-name');
    const rig = new Rig();
    const seen: [string, tls.PeerCertificate][] = [];
    const taken = await rig.fetch(
      to(server.port, 'good.test', {
        tls: {
          checkServerIdentity: (host, certificate) => {
            seen.push([host, certificate]);
            return undefined;
          },
        },
      }),
    );
    expect(taken.error).toBe(null);
    expect(seen.map(([host]) => host)).toEqual(['good.test']);
    expect(seen[0]?.[1].subjectaltname).toBe('DNS:other.test');
    for (const check of [
      () => new Error('not this one'),
      () => {
        throw new Error('not this one');
      },
    ]) {
      const { error } = await rig.fetch(to(server.port, 'good.test', { tls: { checkServerIdentity: check } }));
      expect(error).toMatchObject({ code: 'CERTIFICATE_INVALID', limit: 'tls.checkServerIdentity' });
      expect(error?.message).toContain('not this one');
    }
    const untrusted = await serve('untrusted');
    const { error } = await rig.fetch(
      to(untrusted.port, 'good.test', { tls: { checkServerIdentity: () => undefined } }),
    );
    expect(error).toMatchObject({ code: 'CERTIFICATE_INVALID', limit: 'tls.ca' });
    expect(server.requests.length).toBe(1);
  });

  test('a function that removes the transfer', async () => {
    const server = await serve();
    const rig = new Rig();
    let called = false;
    const transfer: Transfer = new Transfer(
      to(server.port, 'good.test', {
        tls: {
          checkServerIdentity: () => {
            called = true;
            rig.multi.remove(transfer);
            return undefined;
          },
        },
      }),
    );
    rig.multi.add(transfer);
    await rig.until(() => called && rig.multi.stats().connections === 0);
    expect(rig.multi.stats().current).toBe(0);
    expect(server.requests).toEqual([]);
  });

  test('the peer certificate on demand, while there is a connection', async () => {
    const server = await serve();
    let subject: string | undefined;
    const { transfer } = await new Rig().fetch(
      to(server.port, 'good.test', {
        onHead: (seen) => {
          subject = seen.peerCertificate?.subject;
        },
      }),
    );
    expect(subject).toBe('CN=good.test');
    expect(transfer.peerCertificate).toBe(null);
  });

  test('secrets are appended to the key log, for its owner to read', async () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'shardfetch-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const keyLog = path.join(folder, 'keys');
    const server = await serve();
    const rig = new Rig();
    await rig.fetch(to(server.port, 'good.test', { tls: { keyLog } }));
    expect(readFileSync(keyLog, 'latin1')).toMatch(/^CLIENT_TRAFFIC_SECRET_0 [0-9a-f]{64} [0-9a-f]{64,}$/m);
    expect(statSync(keyLog).mode & 0o777).toBe(0o600);
    // One that cannot be written breaks nothing.
    expect(
      (await rig.fetch(to(server.port, 'good.test', { tls: { keyLog: path.join(folder, 'no', 'such') } }))).error,
    ).toBe(null);
  });
});
