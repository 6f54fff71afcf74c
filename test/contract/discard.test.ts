/** HOSTILE 73: what becomes of the connection of a response that nobody wants any more (`Multi.discard`). RFC 9112 §9.3. */

import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { PAUSE, type TransferOptions, type UploadSource } from '../../src/worker/multi/index.ts';
import { type Got, get, Rig, type Server, StillClock, serve } from './rig.ts';

const LIMIT = 64 * 1024;

interface Scene {
  readonly clock: StillClock;
  readonly rig: Rig;
  readonly server: Server;
  readonly got: Got;
}

/** A transfer that has got `first` of a response; later requests on the server are answered at once. */
async function begun(first: string, options: Partial<TransferOptions> = {}): Promise<Scene> {
  const server = await serve((connection) => {
    if (server.requests.length === 1) connection.socket.write(first);
    else connection.reply('next');
  });
  const clock = new StillClock();
  const rig = new Rig({ io: clock.io, driving: 'hand' });
  const got = get({ url: server.url, ...options });
  rig.multi.add(got.transfer);
  await rig.until(() => got.head !== '' && (got.transfer.paused || first.endsWith(got.body)));
  return { clock, rig, server, got };
}

const head = (bytes: number, more = ''): string => `HTTP/1.1 200 OK\r\nContent-Length: ${bytes}\r\n${more}\r\n`;

async function expectKept({ rig, server, got }: Scene, kept: boolean): Promise<void> {
  const body = got.body;
  await rig.until(() => rig.multi.stats().connections === rig.multi.stats().idle, 'the end of draining');
  expect((await rig.fetch({ url: server.url })).body).toBe('next');
  expect(server.connections.length).toBe(kept ? 1 : 2);
  // Nothing of the rest was told, and nobody else got it.
  expect(got).toMatchObject({ body, ended: 0 });
}

describe('hostile/73 a short rest is read away, and the connection kept', () => {
  test.each([1, 10, LIMIT])('%i bytes are due', async (due) => {
    const scene = await begun(`${head(due + 3)}abc`);
    const { rig, server, got } = scene;
    rig.multi.discard(got.transfer);
    expect(got.transfer.info.state).toBe('new');
    expect(rig.multi.stats()).toMatchObject({ current: 0, running: 0, connections: 1, idle: 0 });
    expect([...rig.watched.values()]).toEqual([1]);
    server.last.socket.write('x'.repeat(due));
    await expectKept(scene, true);
    expect(rig.watched.size).toBe(1);
  });

  test('it lies in the engine already, held back by a pause or refused', async () => {
    const holds: Partial<TransferOptions>[] = [{ onData: () => PAUSE }, { onHead: (transfer) => transfer.pause() }];
    for (const options of holds) {
      const scene = await begun(`${head(6)}abcdef`, options);
      scene.rig.multi.discard(scene.got.transfer);
      await expectKept(scene, true);
    }
  });

  test.each(['onHead', 'onData'] as const)('from inside %s', async (callback) => {
    const server = await serve((connection) => connection.reply('abcdef'));
    const rig = new Rig();
    let calls = 0;
    const got = get({
      url: server.url,
      [callback]: () => {
        calls++;
        rig.multi.discard(got.transfer);
        return undefined;
      },
    });
    rig.multi.add(got.transfer);
    await rig.until(() => calls === 1);
    await rig.until(() => rig.multi.stats().idle === 1);
    expect((await rig.fetch({ url: server.url })).body).toBe('abcdef');
    expect(server.connections.length).toBe(1);
    expect(got).toMatchObject({ body: callback === 'onHead' ? '' : 'abcdef', ended: 0 });
    expect(calls).toBe(1);
  });

  test('from inside a callback that throws after that: the connection closes, and nobody else fails', async () => {
    const server = await serve((connection) => connection.reply('abcdef'));
    const rig = new Rig();
    const got = get({
      url: server.url,
      onData: (transfer) => {
        rig.multi.discard(transfer);
        throw new Error('mine');
      },
    });
    rig.multi.add(got.transfer);
    await rig.until(() => got.transfer.info.state === 'new');
    expect(rig.multi.stats().connections).toBe(0);
    expect((await rig.fetch({ url: server.url })).error).toBeNull();
    expect(server.connections.length).toBe(2);
  });

  test('a transfer that waits for a slot gets the connection when it is through', async () => {
    const scene = await begun(`${head(6)}abc`);
    const { rig, server, got } = scene;
    rig.multi.setOption('maxHostConnections', 1);
    const waiting = get({ url: server.url });
    rig.multi.add(waiting.transfer);
    await rig.until(() => waiting.transfer.info.state === 'queued');
    rig.multi.discard(got.transfer);
    await rig.drive(30);
    expect(waiting.transfer.info.state).toBe('queued');
    server.last.socket.write('def');
    expect(await rig.end(waiting.transfer)).toBeNull();
    expect([waiting.body, server.connections.length]).toEqual(['next', 1]);
  });

  test('the same transfer may be added again at once', async () => {
    const { rig, server, got } = await begun(`${head(6)}abc`);
    rig.multi.discard(got.transfer);
    got.body = '';
    rig.multi.add(got.transfer);
    expect(await rig.end(got.transfer)).toBeNull();
    expect([got.body, server.connections.length]).toEqual(['next', 2]);
  });
});

describe('hostile/73 a rest that is long, late or without a known end closes the connection', () => {
  test.each([
    ['more than the limit is due', `${head(LIMIT + 4)}abc`],
    ['chunked', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc'],
    ['ended by the connection', 'HTTP/1.1 200 OK\r\n\r\nabc'],
    ['the last of its connection anyway', `${head(6, 'Connection: close\r\n')}abc`],
  ])('%s: at once', async (_what, first) => {
    const scene = await begun(first);
    scene.rig.multi.discard(scene.got.transfer);
    expect(scene.rig.multi.stats().connections).toBe(0);
    await expectKept(scene, false);
  });

  test('forbidReuse, and a request that is not sent whole: at once', async () => {
    const never: UploadSource = { length: 5, read: () => PAUSE };
    const unfit: Partial<TransferOptions>[] = [{ forbidReuse: true }, { method: 'PUT', body: never }];
    for (const options of unfit) {
      const scene = await begun(`${head(6)}abc`, options);
      scene.rig.multi.discard(scene.got.transfer);
      expect(scene.rig.multi.stats().connections).toBe(0);
    }
  });

  test('the rest does not come within a second', async () => {
    const scene = await begun(`${head(6)}abc`);
    const { clock, rig, server, got } = scene;
    rig.multi.discard(got.transfer);
    clock.passes(999);
    rig.multi.timeout();
    expect(rig.multi.stats()).toMatchObject({ connections: 1, idle: 0 });
    clock.passes(1);
    rig.multi.timeout();
    await rig.until(() => server.open === 0);
    await expectKept(scene, false);
  });

  test.each([
    ['FIN', (server: Server) => server.last.socket.end()],
    ['RST', (server: Server) => server.last.socket.resetAndDestroy()],
    ['more than was announced', (server: Server) => server.last.socket.write('defg')],
  ])('the peer sends %s', async (_what, act) => {
    const scene = await begun(`${head(6)}abc`);
    scene.rig.multi.discard(scene.got.transfer);
    act(scene.server);
    await expectKept(scene, false);
  });

  test('the multi closes, or dies, meanwhile: nothing stays open', async () => {
    for (const end of ['close', 'die'] as const) {
      const { rig, server, got } = await begun(`${head(6)}abc`);
      rig.multi.discard(got.transfer);
      if (end === 'close') rig.multi.close();
      else {
        rig.onTimer = () => -1;
        const aborted = expect.objectContaining({ code: 'ABORTED_BY_CALLBACK' });
        expect(() => rig.multi.add(get({ url: server.url }).transfer)).toThrow(aborted);
        expect(() => rig.multi.timeout()).toThrow(aborted);
      }
      expect(rig.multi.stats().connections).toBe(0);
      expect(rig.watched.size).toBe(0);
    }
  });
});

test('hostile/73 discard in other states is remove; of another multi it is refused', async () => {
  const server = await serve();
  const rig = new Rig();
  const other = new Rig();
  const got = get({ url: server.url });
  rig.multi.discard(got.transfer);
  rig.multi.add(got.transfer);
  expect(() => other.multi.discard(got.transfer)).toThrow(expect.objectContaining({ code: 'BAD_EASY_HANDLE' }));
  rig.multi.discard(got.transfer);
  await delay(10);
  expect(server.connections.length).toBe(0);
});
