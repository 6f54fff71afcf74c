/** HOSTILE.md G, what no TLS library lets a server say: `handmade-server.ts` says it. */

import { getDiffieHellman } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import type { TransferOptions } from '../../src/worker/multi/index.ts';
import { Rig } from '../contract/rig.ts';
import { ALERT, APPLICATION_DATA, HANDSHAKE, HandmadeServer, type Script } from './handmade-server.ts';
import { serveRaw, to } from './rig.ts';

type TlsGiven = NonNullable<TransferOptions['tls']>;

const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

async function serveByHand(script: Script = {}, onRequest = (server: HandmadeServer): void => server.send(OK)) {
  const servers: HandmadeServer[] = [];
  const port = await serveRaw((socket) => {
    servers.push(new HandmadeServer(socket, script, onRequest));
  });
  return { port, servers };
}

/** The error of a GET; the server is sent nothing in reply to what it said. */
async function refusal(script: Script, given: TlsGiven = {}) {
  const { port, servers } = await serveByHand(script);
  const { error, transfer } = await new Rig().fetch(to(port, 'good.test', { tls: given }));
  expect(servers[0]?.received).toBe('');
  expect(transfer.bytesSent).toBe(0);
  return error;
}

const failed = (message: RegExp) =>
  expect.objectContaining({ code: 'TLS_FAILED', phase: 'tls', message: expect.stringMatching(message) });

test('the server that is made by hand is a server: what is refused below is refused for what it says', async () => {
  const { port, servers } = await serveByHand({ alpn: 'http/1.1' });
  const rig = new Rig();
  for (let round = 0; round < 3; round++) {
    expect(await rig.fetch(to(port))).toMatchObject({ error: null, body: 'ok' });
  }
  expect(servers.length).toBe(1);
  expect(servers[0]?.alerts).toEqual([]);
});

describe('hostile/110', () => {
  test.each(['h2', 'http/1.0', 'spdy/3', '\u0000'])('hostile/110 %j is chosen, which was not offered', async (alpn) => {
    // OpenSSL refuses it by itself since 3.0.14; before that it is up to us.
    expect(await refusal({ alpn })).toMatchObject({ code: 'TLS_FAILED', phase: 'tls' });
  });

  test('hostile/110 a protocol is chosen where none was offered', async () => {
    expect(await refusal({ alpn: 'http/1.1' }, { alpn: [] })).toMatchObject({ code: 'TLS_FAILED', phase: 'tls' });
  });

  test('hostile/110 none is chosen: HTTP/1.1 is spoken', async () => {
    const { port } = await serveByHand();
    const { error, body, transfer } = await new Rig().fetch(to(port));
    expect({ error, body, alpn: transfer.info.tls?.alpn }).toEqual({ error: null, body: 'ok', alpn: '' });
  });
});

describe('hostile/112', () => {
  // Nothing; after ServerHello, Certificate, ServerKeyExchange, and after ServerHelloDone, when our Finished is not answered.
  test.each([0, 1, 2, 3, 4])('hostile/112 a server that stops after %i of its messages', async (messagesMax) => {
    const { port } = await serveByHand({ messagesMax });
    const { error } = await new Rig().fetch(to(port, 'good.test', { timeouts: { connectMs: 300 } }));
    expect(error).toMatchObject({ code: 'CONNECT_TIMEOUT', phase: 'tls', limit: 'timeouts.connectMs' });
  });
});

describe('hostile/114', () => {
  test('hostile/114 HelloRequests on an idle connection: a few are passed over, without end they close it', async () => {
    const { port, servers } = await serveByHand();
    const rig = new Rig();
    const ask = async (times: number): Promise<void> => {
      for (let time = 0; time < times && rig.multi.stats().idle > 0; time++) {
        servers[0]?.sendRecord(HANDSHAKE, Buffer.alloc(4));
        await rig.drive(3);
      }
    };
    for (let round = 0; round < 3; round++) {
      expect((await rig.fetch(to(port))).error).toBe(null);
      await ask(12);
      expect(rig.multi.stats()).toMatchObject({ idle: 1, opened: 1 });
    }
    await ask(400);
    expect(rig.multi.stats().idle).toBe(0);
    await rig.until(() => rig.multi.stats().connections === 0);
    expect((await rig.fetch(to(port))).error).toBe(null);
  });

  test('hostile/114 HelloRequest in mid-body is refused with a warning, and the body goes on', async () => {
    const { port, servers } = await serveByHand({}, (server) => {
      server.send('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabcde');
      server.sendRecord(HANDSHAKE, Buffer.from([0, 0, 0, 0]));
      server.send('fghij');
    });
    expect(await new Rig().fetch(to(port))).toMatchObject({ error: null, body: 'abcdefghij' });
    // no_renegotiation
    await expect.poll(() => servers[0]?.alerts[0], { timeout: 8_000 }).toEqual(Buffer.from([1, 100]));
  });
});

describe('hostile/115', () => {
  const empty = Buffer.alloc(0);

  test('hostile/115 empty records between those of a response', async () => {
    const { port } = await serveByHand({}, (server) => {
      for (const character of OK) {
        server.send(character);
        for (let times = 0; times < 3; times++) server.sendRecord(APPLICATION_DATA, empty);
      }
    });
    const rig = new Rig();
    expect(await rig.fetch(to(port))).toMatchObject({ error: null, body: 'ok' });
    await rig.drive(50);
    expect(rig.multi.stats().idle).toBe(1);
  });

  test('hostile/115 a flood of empty records is no endless turn', async () => {
    const { port } = await serveByHand({}, (server) => {
      server.send('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabcde');
      for (let times = 0; times < 10_000; times++) server.sendRecord(APPLICATION_DATA, empty);
      server.send('fghij');
    });
    const { error, body } = await new Rig().fetch(to(port, 'good.test', { timeouts: { totalMs: 10_000 } }));
    // OpenSSL takes 32 in a row.
    expect(error).toMatchObject({ code: 'INCOMPLETE_BODY' });
    expect(body).toBe('abcde');
  });

  test('hostile/115 a record that is longer than a record may be', async () => {
    const { port } = await serveByHand({}, (server) => {
      server.sendRecord(APPLICATION_DATA, Buffer.alloc(18 * 1024, 0x61));
    });
    expect((await new Rig().fetch(to(port))).error).toMatchObject({ code: 'TLS_FAILED' });
  });

  test.each([
    ['a fatal alert', ALERT, Buffer.from([2, 80]), 'the peer sent TLS alert 80, '],
    ['a fatal alert that is not known', ALERT, Buffer.from([2, 200]), 'the peer sent TLS alert 200, '],
    ['a record of no known type', 99, Buffer.from('x'), 'TLS failed: unexpected record'],
    [
      'a Finished, again',
      HANDSHAKE,
      Buffer.from([20, 0, 0, 12, ...Buffer.alloc(12)]),
      'TLS failed: unexpected message',
    ],
  ])('hostile/115 in mid-body: %s', async (_name, type, bytes, why) => {
    const { port } = await serveByHand({}, (server) => {
      server.send('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabcde');
      server.sendRecord(type, bytes);
      server.send('fghij');
    });
    const { error, body } = await new Rig().fetch(to(port));
    expect(error).toMatchObject({ code: 'INCOMPLETE_BODY', phase: 'body', errno: undefined });
    expect(error?.message).toContain(`was lost (${why}`);
    expect(body).toBe('abcde');
  });
});

/** `openssl dhparam 512`; and group 14 of RFC 3526. */
const PRIME_512 = Buffer.from(
  'C4ECBE15C47158ABB63096ECF37D0D3E26BCC3779B2EC1EF61785106FAED12D8FB4BC01DE6917F9CAD59DCB6690E2342C0E9EC3CF4F08400C0A7D7110976795F',
  'hex',
);
const PRIME_2048 = getDiffieHellman('modp14').getPrime();

describe('hostile/116', () => {
  test.each([
    ['ECDHE-ECDSA-RC4-SHA', 0xc007],
    ['ECDHE-ECDSA-DES-CBC3-SHA', 0xc008],
    ['ECDHE-ECDSA-NULL-SHA', 0xc006],
    ['RSA export RC4', 0x0003],
    ['ECDH_anon-AES128-SHA', 0xc018],
  ])('hostile/116 %s is chosen', async (_name, cipherSuite) => {
    expect(await refusal({ cipherSuite })).toEqual(failed(/./));
  });

  test.each([
    ['SSL 3', 0x0300],
    ['TLS 1.0', 0x0301],
    ['TLS 1.1', 0x0302],
  ])('hostile/116 %s is chosen', async (_name, version) => {
    expect(await refusal({ version })).toEqual(failed(/./));
  });

  test('hostile/116 a Diffie-Hellman group of 512 bits; one of 2,048 is taken', async () => {
    const DHE_RSA_AES128_GCM = 0x009e;
    const given = { cipherSuite: DHE_RSA_AES128_GCM, certificate: 'rsa' };
    expect(await refusal({ ...given, prime: PRIME_512 })).toEqual(failed(/dh key too small|unknown security bits/));
    const { port } = await serveByHand({ ...given, prime: PRIME_2048 });
    const got = await new Rig().fetch(to(port));
    expect(got).toMatchObject({ error: null, body: 'ok' });
  });
});
