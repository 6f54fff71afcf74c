/** HTTPS through a multi, against Node's own TLS: requests, keep-alive, sessions, timings, closing. */

import { describe, expect, test } from 'vitest';
import { Rig } from '../contract/rig.ts';
import { ROOT, reply, serve, to } from './rig.ts';

describe('requests', () => {
  test.each(['TLSv1.2', 'TLSv1.3'] as const)('over %s: two on one connection', async (version) => {
    const server = await serve('good', { minVersion: version, maxVersion: version });
    const rig = new Rig();
    const first = await rig.fetch(to(server.port));
    expect(first).toMatchObject({ error: null, body: 'ok', ended: 1 });
    expect(first.transfer.info.tls).toMatchObject({ protocol: version, resumed: false, alpn: '', verified: true });
    const second = await rig.fetch(to(server.port));
    expect(second).toMatchObject({ error: null, body: 'ok' });
    expect(second.transfer.info.reused).toBe(true);
    expect(server.accepted).toBe(1);
    expect(server.requests[0]).toContain(`host: good.test:${server.port}\r\n`);
    expect(rig.multi.stats().idle).toBe(1);
  });

  test('timings: dns <= connect <= tls <= sent', async () => {
    const server = await serve();
    const { transfer } = await new Rig().fetch(to(server.port));
    const { dns, connect, tls, sent, firstByte } = transfer.timings;
    expect(dns).toBeLessThanOrEqual(connect);
    expect(connect).toBeLessThanOrEqual(tls);
    expect(tls).toBeLessThanOrEqual(sent);
    expect(sent).toBeLessThanOrEqual(firstByte);
  });

  test('bodies of 3 MiB both ways, through onData and into a target', async () => {
    const big = Buffer.alloc(3 * 1024 * 1024, 'abcdefghij').toString('latin1');
    let got = 0;
    const server = await serve('good', {}, (socket, request) => {
      got = Number(/content-length: (\d+)/i.exec(request)?.[1] ?? 0);
      reply(socket, big);
    });
    const rig = new Rig();
    const answer = await rig.fetch(to(server.port, 'good.test', { method: 'POST', body: big }));
    expect(answer.error).toBe(null);
    expect(answer.body === big).toBe(true);
    expect(got).toBe(big.length);
    const target = new Uint8Array(big.length);
    const direct = await rig.fetch(
      to(server.port, 'good.test', { onHead: (transfer) => transfer.receiveInto(target) }),
    );
    expect(direct.error).toBe(null);
    expect(Buffer.from(target).toString('latin1') === big).toBe(true);
    expect(direct.transfer.info.reused).toBe(true);
  });

  test('contract/rule-39 rule-76 rule-78 what is decrypted already comes without an event of the socket', async () => {
    // One record, of which each read takes a part: the rest lies decrypted, and the socket has nothing more.
    const record = 'x'.repeat(15_000);
    const server = await serve('good', {}, (socket) => reply(socket, record));
    const rig = new Rig();
    let chunks = 0;
    const got = await rig.fetch(
      to(server.port, 'good.test', {
        maxReceiveBytesPerSecond: 60_000,
        onData: (transfer) => {
          if (++chunks !== 1) return;
          setTimeout(() => transfer.unpause(), 20);
          transfer.pause();
        },
      }),
    );
    expect(got).toMatchObject({ error: null, body: record });
    expect(chunks).toBeGreaterThan(1);
  });
});

describe('sessions', () => {
  test.each(['TLSv1.2', 'TLSv1.3'] as const)('%s is resumed by a ticket', async (version) => {
    const server = await serve('good', { minVersion: version, maxVersion: version });
    const rig = new Rig();
    await rig.fetch(to(server.port));
    const fresh = await rig.fetch(to(server.port, 'good.test', { freshConnect: true }));
    expect(fresh.transfer.info).toMatchObject({ reused: false, tls: { resumed: true, verified: true } });
    expect(server.sockets[1]?.isSessionReused()).toBe(true);
    const other = await rig.fetch(to(server.port, 'good.test', { freshConnect: true, tls: { sessionReuse: false } }));
    expect(other.transfer.info.tls?.resumed).toBe(false);
    const wild = await rig.fetch(to(server.port, 'a.wild.test'));
    expect(wild.transfer.info.tls?.resumed, 'another destination').toBe(false);
  });
});

describe('trust', () => {
  test('the default roots do not know the tests root; ca does', async () => {
    const server = await serve();
    const rig = new Rig();
    const url = `https://localhost:${server.port}/`;
    const refused = await rig.fetch({ url });
    expect(refused.error?.code).toBe('CERTIFICATE_INVALID');
    expect(server.requests).toEqual([]);
    const taken = await rig.fetch({ url, tls: { ca: ROOT } });
    expect(taken.error).toBe(null);
  });
});
