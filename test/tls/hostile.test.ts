/** HOSTILE.md G, by number: what servers do wrong with TLS, against real servers. Each refusal comes before a byte of HTTP is sent. */

import { createHash, X509Certificate } from 'node:crypto';
import net from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import tls from 'node:tls';
import { describe, expect, test } from 'vitest';
import type { TransferOptions } from '../../src/worker/multi/index.ts';
import { get, Rig } from '../contract/rig.ts';
import { pem, ROOT, reply, serve, serveRaw, to } from './rig.ts';

type TlsGiven = NonNullable<TransferOptions['tls']>;

const GOOD_KEY_SHA256 = createHash('sha256')
  .update(new X509Certificate(pem('good')).publicKey.export({ type: 'spki', format: 'der' }))
  .digest('base64');

/** The error of a GET of `host` from a server with this certificate; the server sees no request. */
async function refusal(certificate: string, host = 'good.test', given: TlsGiven = {}, options: tls.TlsOptions = {}) {
  const server = await serve(certificate, options);
  const { error, transfer } = await new Rig().fetch(to(server.port, host, { tls: given }));
  expect(server.requests).toEqual([]);
  expect(transfer.bytesSent).toBe(0);
  return error;
}

async function accepted(certificate: string, host = 'good.test', given: TlsGiven = {}): Promise<void> {
  const server = await serve(certificate);
  expect(await new Rig().fetch(to(server.port, host, { tls: given }))).toMatchObject({ error: null, body: 'ok' });
}

const invalid = (limit: string, message: RegExp) =>
  expect.objectContaining({
    code: 'CERTIFICATE_INVALID',
    phase: 'tls',
    limit,
    message: expect.stringMatching(message),
  });
const failed = (message: RegExp) =>
  expect.objectContaining({ code: 'TLS_FAILED', phase: 'tls', message: expect.stringMatching(message) });

describe('hostile/104', () => {
  test.each([
    ['expired', 'tls.rejectUnauthorized', /has expired \(subject CN=good.test, .* to Jan {2}1 00:00:00 2011 GMT/],
    ['not-yet', 'tls.rejectUnauthorized', /not valid yet .*valid from Jan {2}1 00:00:00 2110 GMT/],
    ['self-signed', 'tls.ca', /self-signed/],
    ['untrusted', 'tls.ca', /issuer/],
    ['incomplete', 'tls.ca', /issuer .*issuer CN=Middle, O=shardfetch tests/],
  ])('hostile/104 %s is refused', async (certificate, limit, message) => {
    expect(await refusal(certificate)).toEqual(invalid(limit, message));
  });

  test('hostile/104 the whole chain is taken', () => accepted('complete'));

  test('hostile/104 rejectUnauthorized: false takes what it is told to take', async () => {
    for (const certificate of ['expired', 'self-signed', 'other-name']) {
      await accepted(certificate, 'good.test', { rejectUnauthorized: false });
    }
  });

  test('hostile/104 the own root, and no other, is trusted', async () => {
    await accepted('untrusted', 'good.test', { ca: pem('other-root') });
    expect(await refusal('good', 'good.test', { ca: pem('other-root') })).toEqual(invalid('tls.ca', /issuer/));
    await accepted('untrusted', 'good.test', { ca: [ROOT, pem('other-root')] });
    await accepted('untrusted', 'good.test', { ca: Buffer.from(ROOT + pem('other-root')) });
  });
});

describe('hostile/105', () => {
  test.each([
    ['other-name', 'good.test', /for other names: DNS:other.test/],
    ['good', 'a.b.wild.test', /other names/],
    ['good', 'wild.test', /other names/],
    ['good', 'bad.test', /other names/],
    ['star', 'good.test', /DNS:\*/],
    ['star', 'localhost', /DNS:\*/],
    ['partial-star', 'xy.wild.test', /other names/],
    ['partial-star', 'xn--bcher-kva.wild.test', /other names/],
  ])('hostile/105 %s does not serve %s', async (certificate, host, message) => {
    expect(await refusal(certificate, host)).toEqual(invalid('tls.servername', message));
  });

  test.each(['a.wild.test', 'A.WILD.test', 'xn--bcher-kva.wild.test', 'good.test.', 'localhost'])(
    'hostile/105 %s is served',
    async (host) => {
      await accepted('good', host);
    },
  );

  // Not by what OpenSSL's wildcards may stand for; Node's, curl's and browsers' serve it.
  test.each(['an_other.wild.test', '_dmarc.wild.test', 'A_B.wild.test'])('hostile/105 %s is served', async (host) => {
    await accepted('good', host);
  });

  test.each(['a_b.c.wild.test', 'a.b_c.wild.test', '_.test', 'wild_.test', '_.other.test'])(
    'hostile/105 a wildcard does not serve %s',
    async (host) => {
      expect(await refusal('good', host)).toEqual(invalid('tls.servername', /other names/));
    },
  );

  // To OpenSSL a dot in front stands for every name below, and no name for any.
  test.each(['.test', '.wild.test', '.', '..', '.good.test', 'a..wild.test'])(
    'hostile/105 no certificate is for %s',
    async (host) => {
      const error = await refusal('good', host);
      expect(error).toMatchObject({ code: 'TLS_FAILED', message: expect.stringContaining('of which a part is empty') });
      expect(await refusal('good', host, { servername: '' })).toMatchObject({ code: 'TLS_FAILED' });
    },
  );

  test('hostile/105 which name was checked is told, where it is not the host', async () => {
    expect(await refusal('good', 'good.test', { servername: 'no.test' })).toEqual(
      invalid('tls.servername', /other names than no\.test of tls\.servername: DNS:good\.test/),
    );
  });

  test('hostile/105 servername is asked for and checked in place of the host', async () => {
    const server = await serve('other-name');
    const rig = new Rig();
    expect((await rig.fetch(to(server.port, 'good.test', { tls: { servername: 'other.test' } }))).error).toBe(null);
    expect(server.sockets[0]?.servername).toBe('other.test');
    expect((await rig.fetch(to(server.port, 'good.test', { tls: { servername: '' } }))).error).toEqual(
      invalid('tls.servername', /other/),
    );
  });
});

describe('hostile/106, hostile/107', () => {
  test('hostile/106 a common name does not count', async () => {
    expect(await refusal('common-name-only')).toEqual(invalid('tls.servername', /common name does not count/));
  });

  test('hostile/106 names without a subject do', () => accepted('no-subject'));

  test('hostile/107 a NUL in a name is no end of it', async () => {
    expect(await refusal('nul')).toEqual(invalid('tls.servername', /other names/));
  });
});

describe('no certificate', () => {
  const ciphers = 'ALL:@SECLEVEL=0';
  const anonymous: tls.TlsOptions = {
    cert: undefined,
    key: undefined,
    ciphers: 'ADH-AES256-GCM-SHA384:@SECLEVEL=0',
    dhparam: 'auto',
    maxVersion: 'TLSv1.2',
  };

  test('hostile/104 a peer that shows none is refused, also where the ciphers allow it', async () => {
    const expected = invalid('tls.ciphers', /good\.test:\d+ showed no certificate.*ADH-AES256-GCM-SHA384.*!aNULL/);
    expect(await refusal('good', 'good.test', { ciphers }, anonymous)).toEqual(expected);
    const checkServerIdentity = () => undefined;
    expect(await refusal('good', 'good.test', { ciphers, checkServerIdentity }, anonymous)).toEqual(expected);
    expect(await refusal('good', 'good.test', {}, anonymous)).toMatchObject({ code: 'TLS_FAILED' });
  });

  test('hostile/104 it is not called verified where nothing is verified', async () => {
    const server = await serve('good', anonymous);
    const rig = new Rig();
    for (const resumed of [false, true]) {
      const given = { ciphers, rejectUnauthorized: false };
      const got = await rig.fetch({ ...to(server.port, 'good.test', { tls: given }), freshConnect: true });
      expect(got).toMatchObject({ error: null, body: 'ok' });
      expect(got.transfer.info.tls).toMatchObject({ verified: false, resumed });
    }
  });
});

describe('hostile/108', () => {
  test('hostile/108 an address is checked against addresses, and never asked for', async () => {
    const server = await serve('good');
    const rig = new Rig();
    expect(await rig.fetch(to(server.port, '127.0.0.1'))).toMatchObject({ error: null, body: 'ok' });
    expect(server.sockets[0]?.servername).toBe(false);
  });

  test('hostile/108 an address written as a name does not count', async () => {
    expect(await refusal('address-as-name', '127.0.0.1')).toEqual(invalid('tls.servername', /not for this address/));
    expect(await refusal('other-name', '127.0.0.1')).toEqual(invalid('tls.servername', /not for this address/));
  });
});

describe('hostile/110', () => {
  test('hostile/110 http/1.1 is offered, and what the peer chooses is told', async () => {
    const server = await serve('good', { ALPNProtocols: ['h2', 'http/1.1'] });
    const { error, transfer } = await new Rig().fetch(to(server.port));
    expect(error).toBe(null);
    expect(transfer.info.tls?.alpn).toBe('http/1.1');
  });

  test('hostile/110 a peer that can only h2 is refused, by itself or by us', async () => {
    expect(await refusal('good', 'good.test', {}, { ALPNProtocols: ['h2'] })).toMatchObject({
      code: 'TLS_FAILED',
      phase: 'tls',
    });
  });
});

describe('hostile/111', () => {
  test('hostile/111 plain HTTP on the TLS port', async () => {
    const port = await serveRaw((socket) => {
      socket.on('data', () => socket.end('HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n'));
    });
    expect((await new Rig().fetch(to(port))).error).toEqual(failed(/is no TLS .*begin with http\?/));
  });

  test('hostile/111 TLS on the plain port', async () => {
    const server = await serve();
    const { error } = await new Rig().fetch({ url: `http://127.0.0.1:${server.port}/`, timeouts: { headMs: 3_000 } });
    expect(error?.code).toMatch(/BAD_RESPONSE|CONNECTION_LOST/);
  });
});

/** A server that passes only the first `count` bytes that the real one says, then `then`. */
async function cutAt(count: number, then: (socket: net.Socket) => void): Promise<number> {
  const real = await serve('good');
  return serveRaw((socket) => {
    const upstream = net.connect(real.port, '127.0.0.1');
    upstream.on('error', () => undefined);
    socket.on('data', (chunk) => upstream.write(chunk));
    socket.on('close', () => upstream.destroy());
    let left = count;
    upstream.on('data', (chunk: Buffer) => {
      if (left < 0) return;
      socket.write(chunk.subarray(0, left));
      left -= chunk.length;
      if (left < 0) then(socket);
    });
  });
}

describe('hostile/112', () => {
  // Nothing, within the ServerHello, behind it, within the certificate, before the Finished.
  test.each([0, 3, 40, 160, 400, 700])(
    'hostile/112 a handshake that stalls after %i bytes runs into connectMs',
    async (count) => {
      const port = await cutAt(count, () => undefined);
      const began = performance.now();
      const { error } = await new Rig().fetch(to(port, 'good.test', { timeouts: { connectMs: 300 } }));
      expect(error).toMatchObject({ code: 'CONNECT_TIMEOUT', phase: 'tls', limit: 'timeouts.connectMs' });
      expect(error?.message).toMatch(/TLS handshake/);
      expect(performance.now() - began).toBeLessThan(5_000);
    },
  );

  test.each([0, 3, 40, 160, 400, 700])('hostile/112 the end after %i bytes is told at once', async (count) => {
    const port = await cutAt(count, (socket) => socket.end());
    expect((await new Rig().fetch(to(port))).error).toEqual(failed(/closed the connection in the handshake/));
  });

  test('hostile/112 a reset', async () => {
    const port = await cutAt(40, (socket) => socket.resetAndDestroy());
    expect((await new Rig().fetch(to(port))).error).toMatchObject({ code: 'TLS_FAILED', errno: 'ECONNRESET' });
  });

  test.each([
    [40, 'tls.ciphers'],
    [70, 'tls.minVersion'],
    [80, undefined],
    [112, 'tls.servername'],
    [116, 'tls.cert'],
    [255, undefined],
  ])('hostile/112 alert %i', async (alert, limit) => {
    const port = await serveRaw((socket) =>
      socket.once('data', () => socket.end(Buffer.from([0x15, 3, 3, 0, 2, 2, alert]))),
    );
    const { error } = await new Rig().fetch(to(port));
    expect(error).toMatchObject({ code: 'TLS_FAILED', phase: 'tls', limit });
  });

  test('hostile/112 every byte of a handshake on its own', async () => {
    const real = await serve('good');
    const port = await serveRaw((socket) => {
      socket.setNoDelay(true);
      const upstream = net.connect(real.port, '127.0.0.1');
      socket.on('data', (chunk) => upstream.write(chunk));
      socket.on('close', () => upstream.destroy());
      const waiting: number[] = [];
      const drip = (): void => {
        const byte = waiting.shift();
        if (byte === undefined) return;
        socket.write(Buffer.from([byte]));
        setImmediate(drip);
      };
      upstream.on('data', (chunk: Buffer) => {
        const idle = waiting.length === 0;
        waiting.push(...chunk);
        if (idle) drip();
      });
    });
    expect(await new Rig().fetch(to(port))).toMatchObject({ error: null, body: 'ok' });
  });
});

describe('hostile/113, hostile/119', () => {
  const resumed = async (rig: Rig, options: TransferOptions): Promise<boolean | undefined> =>
    (await rig.fetch({ ...options, freshConnect: true })).transfer.info.tls?.resumed;

  test.each<[string, TlsGiven]>([
    ['ca', { ca: [ROOT, pem('other-root')] }],
    ['rejectUnauthorized', { rejectUnauthorized: false }],
    ['client certificate', { cert: pem('client'), key: pem('client') }],
    ['servername', { servername: 'localhost' }],
    ['ciphers', { ciphers: 'TLS_AES_256_GCM_SHA384:ECDHE-ECDSA-AES256-GCM-SHA384' }],
    ['maxVersion', { minVersion: 'TLSv1.3' }],
    ['minVersion', { minVersion: 'TLSv1.3', maxVersion: 'TLSv1.3' }],
    ['ecdhCurve', { ecdhCurve: 'X25519:P-256' }],
    ['sigalgs', { sigalgs: 'ecdsa_secp256r1_sha256' }],
    ['pinnedPublicKeys', { pinnedPublicKeys: [`sha256//${GOOD_KEY_SHA256}`] }],
    ['checkServerIdentity', { checkServerIdentity: () => undefined }],
    ['alpn', { alpn: [] }],
  ])('hostile/113, hostile/75 a session is for the same %s only', async (_name, given) => {
    const server = await serve('good', { requestCert: true, rejectUnauthorized: false });
    const rig = new Rig();
    expect(await resumed(rig, to(server.port))).toBe(false);
    expect(await resumed(rig, to(server.port))).toBe(true);
    expect(await resumed(rig, to(server.port, 'good.test', { tls: given }))).toBe(false);
    expect(await resumed(rig, to(server.port))).toBe(true);
  });

  test('hostile/113 none is kept when verification failed, even if that was allowed', async () => {
    for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
      const server = await serve('self-signed', { maxVersion });
      const rig = new Rig();
      const options = to(server.port, 'good.test', { tls: { rejectUnauthorized: false } });
      expect(await resumed(rig, options)).toBe(false);
      expect(await resumed(rig, options)).toBe(false);
    }
  });

  test('hostile/119 an unverified connection or session serves nobody who verifies', async () => {
    const server = await serve('self-signed');
    const rig = new Rig();
    expect((await rig.fetch(to(server.port, 'good.test', { tls: { rejectUnauthorized: false } }))).error).toBe(null);
    expect(rig.multi.stats().idle).toBe(1);
    const { error } = await rig.fetch(to(server.port));
    expect(error).toMatchObject({ code: 'CERTIFICATE_INVALID' });
    expect(server.requests.length).toBe(1);
  });
});

describe('hostile/114', () => {
  test('hostile/114 renegotiation is refused, and the response comes', async () => {
    const server = await serve('good', { maxVersion: 'TLSv1.2' }, (socket) => {
      socket.renegotiate({ rejectUnauthorized: false }, () => undefined);
      setTimeout(() => reply(socket), 50);
    });
    const { error, body } = await new Rig().fetch(to(server.port, 'good.test', { timeouts: { headMs: 7_000 } }));
    // The server may take our refusal for the end.
    if (error === null || error === undefined) expect(body).toBe('ok');
    else expect(error.code).toMatch(/TLS_FAILED|CONNECTION_LOST/);
  });

  test.each(['TLSv1.2', 'TLSv1.3'] as const)(
    'hostile/114 a client certificate that is demanded and not given: %s',
    async (version) => {
      const server = await serve('good', {
        requestCert: true,
        rejectUnauthorized: true,
        ca: ROOT,
        minVersion: version,
        maxVersion: version,
      });
      const { error } = await new Rig().fetch(to(server.port));
      expect(error).toMatchObject({ code: expect.stringMatching(/TLS_FAILED|CONNECTION_LOST/) });
      expect(server.requests).toEqual([]);
    },
  );
});

describe('hostile/115', () => {
  test('hostile/115 records of one byte', async () => {
    const server = await serve('good', {}, (socket) => {
      for (const byte of `HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\n${'y'.repeat(300)}`) socket.write(byte);
    });
    const got = await new Rig().fetch(to(server.port));
    expect(got).toMatchObject({ error: null, body: 'y'.repeat(300) });
  });

  test('hostile/115 a body that ends with a record, then bytes that nobody asked for: never used again', async () => {
    const server = await serve('good', {}, (socket) => {
      reply(socket);
      setTimeout(() => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison'), 30);
    });
    const rig = new Rig();
    expect((await rig.fetch(to(server.port))).body).toBe('ok');
    await rig.until(() => rig.multi.stats().idle === 0, 'the drop of the poisoned connection');
    expect((await rig.fetch(to(server.port))).body).toBe('ok');
  });

  test('hostile/115 tickets on an idle connection are no stray bytes; a close is seen', async () => {
    const server = await serve('good', { minVersion: 'TLSv1.3' });
    const rig = new Rig();
    await rig.fetch(to(server.port));
    await rig.drive(100);
    expect(rig.multi.stats().idle).toBe(1);
    server.sockets[0]?.end();
    await rig.until(() => rig.multi.stats().idle === 0, 'the close of an idle connection');
  });
});

describe('hostile/116', () => {
  test.each(['TLSv1', 'TLSv1.1'] as const)('hostile/116 only %s is spoken', async (version) => {
    const error = await refusal(
      'good',
      'good.test',
      {},
      { minVersion: version, maxVersion: version, ciphers: 'DEFAULT@SECLEVEL=0' },
    );
    expect(error).toEqual(failed(/tls\.minVersion|alert|version/));
  });

  test('hostile/116 a server of TLS 1.2, where only suites of TLS 1.3 are allowed, gets none that was not named', async () => {
    const given = { ciphers: 'TLS_AES_128_GCM_SHA256' };
    const error = await refusal('good', 'good.test', given, { maxVersion: 'TLSv1.2' });
    expect(error).toMatchObject({ code: 'TLS_FAILED', limit: 'tls.minVersion' });
    await accepted('good', 'good.test', given);
  });

  test('hostile/116 a chain signed with SHA-1, and a key of 512 bits', async () => {
    // Servers themselves refuse such a certificate, unless told otherwise.
    const weak = { ciphers: 'DEFAULT@SECLEVEL=0' };
    expect(await refusal('sha1', 'good.test', {}, weak)).toMatchObject({ code: 'CERTIFICATE_INVALID' });
    expect(await refusal('rsa-512', 'good.test', {}, weak)).toMatchObject({
      code: expect.stringMatching(/CERTIFICATE_INVALID|TLS_FAILED/),
    });
  });
});

describe('truncation', () => {
  test('with close_notify it is whole', async () => {
    const server = await serve('good', {}, (socket) => {
      socket.end('HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nsome bytes');
    });
    expect(await new Rig().fetch(to(server.port))).toMatchObject({ error: null, body: 'some bytes', ended: 1 });
  });

  test('RFC 9112 §9.8 without it, it is INCOMPLETE_BODY', async () => {
    // A server over a plain socket of its own, which ends below TLS.
    const text = pem('good');
    const port = await serveRaw((raw) => {
      const socket = new tls.TLSSocket(raw, {
        isServer: true,
        secureContext: tls.createSecureContext({ cert: text, key: text }),
      });
      socket.on('error', () => undefined);
      socket.once('data', () => {
        socket.write('HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nsome bytes');
        setTimeout(() => raw.end(), 50);
      });
    });
    const got = await new Rig().fetch(to(port));
    expect(got.body).toBe('some bytes');
    expect(got.error).toMatchObject({
      code: 'INCOMPLETE_BODY',
      phase: 'body',
      message: expect.stringMatching(/close_notify/),
    });
  });
});

/** The content type of alerts (RFC 5246 §6.2.1). */
const ALERT = 21;

describe('closing', () => {
  /** Between us and a TLS 1.2 server: what we sent; the server's answer to our close_notify is passed on or not. */
  async function relay(passesFarewell: boolean) {
    const server = await serve('good', { maxVersion: 'TLSv1.2' });
    const sent: Buffer[] = [];
    const port = await serveRaw((socket) => {
      const upstream = net.connect(server.port, '127.0.0.1');
      upstream.on('error', () => undefined);
      upstream.on('data', (chunk: Buffer) => {
        if (passesFarewell || chunk[0] !== ALERT) socket.write(chunk);
      });
      socket.on('data', (chunk) => {
        sent.push(chunk);
        upstream.write(chunk);
      });
      socket.on('end', () => upstream.end());
      socket.on('close', () => upstream.destroy());
    });
    return { port, sent };
  }

  test("contract/rule-21 close_notify goes out, the peer's is awaited with the socket watched, then it is closed", async () => {
    const { port, sent } = await relay(true);
    const rig = new Rig();
    await rig.fetch(to(port, 'good.test', { forbidReuse: true }));
    expect(rig.multi.stats().connections).toBe(1);
    expect([...rig.watched.values()]).toEqual([1]);
    // The peer's answer ends it, and no clock: the timer is not looked at here.
    for (const end = performance.now() + 8_000; rig.multi.stats().connections > 0 && performance.now() < end; ) {
      for (const [socket, events] of rig.ready()) rig.multi.action(socket, events);
      await nextTurn();
    }
    expect(rig.multi.stats().connections).toBe(0);
    expect(sent.at(-1)?.[0]).toBe(ALERT);
    expect(rig.watched.size).toBe(0);
  });

  test('a peer that does not answer is waited for half a second, no longer', async () => {
    const { port } = await relay(false);
    const rig = new Rig();
    // The wait begins right after this, however late the test itself goes on.
    let ended = Number.NaN;
    const onEnd = (): void => {
      ended = performance.now();
    };
    await rig.fetch(to(port, 'good.test', { forbidReuse: true, onEnd }));
    await rig.until(() => rig.multi.stats().connections === 0, 'the end of the connection');
    expect(performance.now() - ended).toBeGreaterThan(450);
    expect(performance.now() - ended).toBeLessThan(5_000);
  });

  test('contract/rule-68 rule-69 it counts until then, and who waits for its place gets it at once', async () => {
    const { port } = await relay(false);
    const rig = new Rig({ maxTotalConnections: 1 });
    await rig.fetch(to(port, 'good.test', { forbidReuse: true }));
    expect(rig.multi.stats().connections).toBe(1);
    const second = get(to(port, 'good.test', { forbidReuse: true }));
    rig.multi.add(second.transfer);
    // Within these, no time passes that is worth waiting for.
    for (let step = 0; step < 5; step++) rig.step();
    expect(second.transfer.phase).not.toBe('queue');
    expect(rig.multi.stats().connections).toBe(1);
    expect(await rig.end(second.transfer)).toBe(null);
  });
});
