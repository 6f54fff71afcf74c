/** TLS in TLS, where bytes come as they like: a byte at a time, in floods, cut off, and read more slowly than they come. */

import { once } from 'node:events';
import net from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { get, Rig } from '../contract/rig.ts';
import { HANDSHAKE, HandmadeServer } from '../tls/handmade-server.ts';
import { ROOT, reply, serveRaw, serve as serveSecure } from '../tls/rig.ts';
import { httpProxy } from './proxies.ts';

/** What goes from one end of a relay to the other, piece by piece. */
type Chop = (bytes: Buffer) => Buffer[];

/** Relays to a port on loopback; `sockets` are the client's ends. */
async function relay(port: number, chop: Chop): Promise<{ port: number; sockets: net.Socket[] }> {
  const sockets: net.Socket[] = [];
  const all = new Set<net.Socket>();
  const listener = net.createServer((client) => {
    const target = net.connect(port, '127.0.0.1');
    sockets.push(client);
    for (const [from, to] of [
      [client, target],
      [target, client],
    ] as const) {
      all.add(from);
      from.setNoDelay();
      let line = Promise.resolve();
      from.on('data', (bytes) => {
        from.pause();
        line = line.then(async () => {
          for (const piece of chop(bytes)) {
            if (!to.writable) {
              from.destroy();
              return;
            }
            await new Promise<void>((resolve) => to.write(piece, () => setImmediate(resolve)));
          }
          from.resume();
        });
      });
      from.on('close', () => to.destroy());
      from.on('error', () => to.destroy());
    }
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  onTestFinished(() => {
    for (const socket of all) socket.destroy();
    listener.close();
  });
  return { port: (listener.address() as net.AddressInfo).port, sockets };
}

const whole: Chop = (bytes) => [bytes];

/** Pieces of 1 to `most` bytes, by a seed. */
function pieces(most: number): Chop {
  let seed = 7;
  return (bytes) => {
    const cut: Buffer[] = [];
    for (let at = 0; at < bytes.length; ) {
      seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
      const size = 1 + ((seed >>> 8) % most);
      cut.push(bytes.subarray(at, at + size));
      at += size;
    }
    return cut;
  };
}

async function through(chop: Chop, port: number) {
  const proxy = await httpProxy({ certificate: 'good' });
  const relayed = await relay(proxy.port, chop);
  const rig = new Rig({ resolve: { [`good.test:${relayed.port}`]: '127.0.0.1' } });
  const options = {
    url: `https://good.test:${port}/`,
    tls: { ca: ROOT },
    proxy: { url: `https://good.test:${relayed.port}`, tls: { ca: ROOT } },
  };
  return { rig, options, proxy, relayed };
}

describe.each(['TLSv1.2', 'TLSv1.3'] as const)('%s inside', (version) => {
  test.each([
    ['1 byte', 1, 500],
    ['1 to 40 bytes', 40, 20_000],
    ['1 to 3,000 bytes', 3_000, 500_000],
    ['1 to 50,000 bytes', 50_000, 2_000_000],
  ])('in pieces of %s', async (_, most, bodyBytes) => {
    const body = 'abcdefghij'.repeat(bodyBytes / 10);
    const server = await serveSecure('good', { maxVersion: version }, (socket) => reply(socket, body));
    const { rig, options } = await through(pieces(most), server.port);
    for (const reused of [false, true]) {
      const got = await rig.fetch({ ...options, method: 'POST', body });
      expect(got.error).toBeNull();
      expect(got.body === body).toBe(true);
      expect(server.bodies.at(-1) === body).toBe(true);
      expect(got.transfer.info).toMatchObject({ reused, tls: { protocol: version } });
    }
  });

  test('contract/rule-39 rule-78 read slowly, and paused, what the outer layer has decrypted is not forgotten', async () => {
    const body = 'x'.repeat(15_000);
    const server = await serveSecure('good', { maxVersion: version }, (socket) => reply(socket, body));
    const { rig, options } = await through(whole, server.port);
    const slow = await rig.fetch({ ...options, maxReceiveBytesPerSecond: 60_000 });
    expect(slow.error).toBeNull();
    expect(slow.body).toBe(body);
    let paused = 0;
    const held = await rig.fetch({
      ...options,
      onData: (transfer) => {
        if (paused++ % 2 === 1) return undefined;
        setTimeout(() => transfer.unpause(), 10);
        transfer.pause();
        return undefined;
      },
    });
    expect(held.error).toBeNull();
    expect(held.body).toBe(body);
    expect(paused).toBeGreaterThan(0);
  });
});

const PATIENCE = { timeout: 30_000 };

/** Waits until `value` is the same as a while before: what was under way has come. */
async function isStill(value: () => number): Promise<void> {
  for (let before = Number.NaN; before !== value(); ) {
    before = value();
    await delay(200);
  }
}

// It seals, wraps and opens 24,000 records and more in one thread.
test('one call takes no more of the kernel than its share, whatever the inner layer makes of it', {
  timeout: 90_000,
}, async () => {
  const servers: HandmadeServer[] = [];
  const port = await serveRaw((socket) => {
    const answer = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no';
    servers.push(new HandmadeServer(socket, {}, (server) => server.send(answer)));
  });
  const { rig, options, relayed } = await through(whole, port);
  const got = get(options);
  rig.multi.add(got.transfer);
  await rig.until(() => got.body === 'o');
  // 33 bytes each, of which the application hears nothing; each is answered with a warning.
  const count = 24_000;
  const [server] = servers as [HandmadeServer];
  for (let index = 0; index < count; index++) server.sendRecord(HANDSHAKE, Buffer.alloc(4));
  server.send('k');
  const [towardsUs] = relayed.sockets as [net.Socket];
  // As much as the kernel takes of it: all, where its buffers are large.
  await vi.waitUntil(() => towardsUs.bytesWritten > 64 * 1024, PATIENCE);
  await isStill(() => towardsUs.bytesWritten - towardsUs.writableLength);
  rig.step();
  await vi.waitUntil(() => server.alerts.length > 0, PATIENCE);
  await isStill(() => server.alerts.length);
  expect(server.alerts.length).toBeLessThan(count / 2);
  expect(await rig.end(got.transfer)).toBeNull();
  expect(got.body).toBe('ok');
});

describe('ends', () => {
  test('a body that only the end of the connection ends is whole with close_notify, and cut without', async () => {
    let cut = false;
    const server = await serveSecure('good', {}, (socket) => {
      socket.write('HTTP/1.1 200 OK\r\n\r\nall of it');
      if (!cut) socket.end();
    });
    const { rig, options, relayed } = await through(whole, server.port);
    const all = await rig.fetch(options);
    expect(all).toMatchObject({ error: null, body: 'all of it' });
    cut = true;
    const part = await rig.fetch({ ...options, onData: () => relayed.sockets.at(-1)?.end() });
    expect(part.error).toMatchObject({ code: 'INCOMPLETE_BODY' });
  });

  test('an idle connection that proxy or origin has closed is not used again', async () => {
    const server = await serveSecure();
    const { rig, options, relayed } = await through(whole, server.port);
    for (const close of [() => relayed.sockets.at(-1)?.destroy(), () => server.sockets.at(-1)?.end()]) {
      expect((await rig.fetch(options)).transfer.info.reused).toBe(false);
      close();
      await rig.until(() => rig.multi.stats().idle === 0);
    }
    expect(await rig.fetch(options)).toMatchObject({ error: null, body: 'ok' });
  });

  test('sessions of the proxy and of the origin are resumed, each with its own', async () => {
    const server = await serveSecure();
    const { rig, options } = await through(whole, server.port);
    const resumed: (boolean | undefined)[] = [];
    for (let count = 0; count < 2; count++) {
      const { transfer, error } = await rig.fetch({ ...options, forbidReuse: true });
      expect(error).toBeNull();
      resumed.push(transfer.info.tls?.resumed);
    }
    expect(resumed).toEqual([false, true]);
  });

  test('sixty at once, of which half are removed in the middle, leave nothing', async () => {
    const server = await serveSecure();
    const { rig, options } = await through(pieces(2_000), server.port);
    const transfers = Array.from({ length: 60 }, (_, index) => {
      const timeouts = index % 2 === 0 ? { totalMs: 20 + index * 2 } : {};
      return get({ ...options, freshConnect: true, timeouts }).transfer;
    });
    for (const transfer of transfers) rig.multi.add(transfer);
    await rig.until(() => rig.messages.length === transfers.length);
    for (const { transfer, error } of rig.messages) {
      if (transfers.indexOf(transfer) % 2 === 1) expect(error).toBeNull();
      else if (error !== null) expect(error.code).toBe('TOTAL_TIMEOUT');
      rig.multi.remove(transfer);
    }
    rig.multi.clear();
    await rig.until(() => rig.multi.stats().connections === 0);
    expect(rig.watched.size).toBe(0);
  });
});
