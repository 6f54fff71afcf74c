/** CONTRACT.md §2.6 and 2.7 as §0 amends them: what callbacks may do, what happens when they throw or answer -1. */

import { describe, expect, test } from 'vitest';
import { PAUSE, Transfer } from '../../src/worker/multi/index.ts';
import { get, Rig, type ServerConnection, serve } from './rig.ts';

const CALLBACKS = ['socket', 'timer', 'head', 'data', 'end'] as const;

/** Runs `inside` once in the callback named, during a transfer, and answers the rig with that transfer. */
async function inCallback(
  callback: (typeof CALLBACKS)[number],
  inside: (rig: Rig, transfer: Transfer) => void,
  url: string,
): Promise<{ rig: Rig; transfer: Transfer; ran: boolean }> {
  let ran = false;
  const run = (name: string): undefined => {
    if (name !== callback || ran || rig.multi.running === 0) return;
    ran = true;
    inside(rig, transfer);
  };
  const rig: Rig = new Rig({
    onSocket: ({ what }) => (what === 1 ? run('socket') : undefined),
    onTimer: ({ ms }) => (ms > 0 ? run('timer') : undefined),
  });
  const { transfer } = get({
    url,
    onHead: () => run('head'),
    onData: () => run('data'),
    // By then it is done, and running is 0: rule 35.
    onEnd: (ended) => {
      if (callback === 'end') inside(rig, ended);
      ran = true;
    },
  });
  rig.multi.add(transfer);
  await rig.until(() => ran && (rig.multi.running === 0 || transfer.multi === null));
  return { rig, transfer, ran };
}

describe.each(CALLBACKS)('inside the %s callback', (callback) => {
  test('contract/rule-44 driving and closing are refused and change nothing', async () => {
    const server = await serve();
    const codes: string[] = [];
    const { transfer } = await inCallback(
      callback,
      (rig) => {
        const { multi } = rig;
        const before = JSON.stringify(multi.stats());
        const drives = [
          () => multi.timeout(),
          () => multi.action(5, 1),
          () => multi.action(-1, 0),
          () => multi.actions(new Int32Array(3), 1),
          () => multi.close(),
        ];
        for (const drive of drives) {
          try {
            drive();
            codes.push('none');
          } catch (error) {
            codes.push((error as { code: string }).code);
          }
        }
        expect(JSON.stringify(multi.stats())).toBe(before);
      },
      server.url,
    );
    expect(codes).toEqual(Array(5).fill('RECURSIVE_API_CALL'));
    expect(transfer.error).toBeNull();
  });

  test('contract/rule-45 assign, messages, transfers, stats and getTimeout are allowed', async () => {
    const server = await serve();
    const { transfer } = await inCallback(
      callback,
      (rig, transfer) => {
        const [socket] = rig.watched.keys();
        if (socket !== undefined) rig.multi.assign(socket, 'mine');
        rig.messages.push(...rig.multi.messages());
        expect(rig.multi.transfers()).toEqual([transfer]);
        expect(rig.multi.stats().added).toBe(1);
        expect(rig.multi.getTimeout()).toBeGreaterThanOrEqual(-1);
        expect(transfer.info.remoteAddress).toBe(callback === 'timer' ? '' : server.url.slice(7, -1));
        expect(transfer.timings.queued).toBeGreaterThanOrEqual(0);
      },
      server.url,
    );
    expect(transfer.error).toBeNull();
  });

  test('contract/rule-44 (amended) add is allowed; the added transfer runs', async () => {
    const server = await serve();
    const added = [get({ url: server.url }), get({ url: server.url })];
    const { rig } = await inCallback(
      callback,
      (rig) => {
        const { running } = rig.multi;
        const calls = rig.calls.length;
        for (const { transfer } of added) rig.multi.add(transfer);
        expect(rig.multi.running).toBe(running + 2);
        // Sockets and timer follow when the turn ends.
        expect(rig.calls.length).toBe(calls);
      },
      server.url,
    );
    for (const { transfer } of added) expect(await rig.end(transfer)).toBeNull();
    expect(server.requests.length).toBe(3);
  });

  test('contract/rule-44 (amended) a transfer may remove itself; nothing of it comes after that', async () => {
    const server = await serve();
    const after: string[] = [];
    let removed = false;
    const rig: Rig = new Rig({
      onSocket: ({ what }) => (what === 1 ? note('socket') : undefined),
      onTimer: ({ ms }) => (ms > 0 ? note('timer') : undefined),
    });
    const note = (name: string): undefined => {
      if (removed && name !== 'timer' && name !== 'socket') after.push(name);
      if (name !== callback || removed) return;
      removed = true;
      rig.multi.remove(transfer);
      expect(rig.multi.stats()).toMatchObject({ current: 0, running: 0, done: 0 });
    };
    const { transfer } = get({
      url: server.url,
      onHead: () => note('head'),
      onData: () => note('data'),
      onEnd: () => note('end'),
    });
    rig.multi.add(transfer);
    await rig.until(() => removed);
    await rig.drive(20);
    expect(after).toEqual([]);
    expect(rig.messages).toEqual([]);
    expect(transfer.info.state).toBe('new');
    // Only what had ended may keep its connection (rule 7).
    expect(rig.multi.stats()).toMatchObject({ current: 0, connections: callback === 'end' ? 1 : 0 });
    expect((await rig.fetch({ url: server.url })).body).toBe('ok');
  });

  test('contract/rule-44 (amended) removing and adding the same transfer again runs it anew', async () => {
    const server = await serve();
    const { rig, transfer } = await inCallback(
      callback,
      (rig, transfer) => {
        rig.multi.remove(transfer);
        transfer.onEnd = null;
        transfer.onHead = null;
        transfer.onData = null;
        rig.multi.add(transfer);
      },
      server.url,
    );
    expect(await rig.end(transfer)).toBeNull();
    expect(rig.multi.stats()).toMatchObject({ added: 2, current: 1, done: 1 });
    expect(rig.messages.length).toBe(1);
  });

  test('contract/rule-44 (amended) another transfer may be removed', async () => {
    const held: ServerConnection[] = [];
    const server = await serve((connection, request) => {
      if (request.startsWith('GET /held')) held.push(connection);
      else connection.reply();
    });
    let ran = false;
    const other = get({ url: `${server.url}held` });
    const run = (name: string): undefined => {
      if (name !== callback || ran || held.length === 0) return;
      ran = true;
      rig.multi.remove(other.transfer);
    };
    const rig: Rig = new Rig({
      onSocket: ({ transfer: whose }) => (whose === transfer ? run('socket') : undefined),
      onTimer: () => run('timer'),
    });
    const { transfer } = get({
      url: server.url,
      onHead: () => run('head'),
      onData: () => run('data'),
      onEnd: () => run('end'),
    });
    rig.multi.add(other.transfer);
    await rig.until(() => held.length === 1);
    rig.multi.add(transfer);
    expect(await rig.end(transfer)).toBeNull();
    expect(ran).toBe(true);
    await rig.until(() => held[0]?.closed === true);
    expect(rig.multi.transfers()).toEqual([transfer]);
  });

  test('contract/rule-45 pause and unpause are allowed', async () => {
    const server = await serve();
    const { transfer } = await inCallback(
      callback,
      (_rig, transfer) => {
        transfer.pause();
        transfer.unpause();
      },
      server.url,
    );
    expect(transfer.error).toBeNull();
  });

  test('contract/rule-51 (amended) a throw fails that transfer alone, or is rethrown; the multi lives', async () => {
    const server = await serve();
    const boom = new Error(`thrown by ${callback}`);
    let thrown = false;
    const run = (name: string): undefined => {
      if (name !== callback || thrown) return;
      thrown = true;
      throw boom;
    };
    const rig: Rig = new Rig({
      onSocket: ({ what, transfer: whose }) => (what === 1 && whose === transfer ? run('socket') : undefined),
      onTimer: ({ ms }) => (ms > 0 ? run('timer') : undefined),
    });
    const { transfer } = get({
      url: server.url,
      onHead: () => run('head'),
      onData: () => run('data'),
      onEnd: () => run('end'),
    });
    const bystander = get({ url: server.url });
    rig.multi.add(transfer);
    rig.multi.add(bystander.transfer);
    if (callback === 'timer') {
      // There is no transfer to blame: the driving call throws, after its turn.
      await expect(rig.until(() => rig.multi.running === 0)).rejects.toBe(boom);
      // The application missed nothing that getTimeout does not tell.
      rig.due = Number.NEGATIVE_INFINITY;
      expect(await rig.end(transfer)).toBeNull();
    } else {
      expect(await rig.end(transfer)).toMatchObject({ code: 'ABORTED_BY_CALLBACK', cause: boom });
    }
    expect(await rig.end(bystander.transfer)).toBeNull();
    expect((await rig.fetch({ url: server.url })).error).toBeNull();
  });
});

test('contract/rule-51 (amended) a throw of the socket callback for an idle connection comes out of the driving call', async () => {
  const server = await serve();
  const boom = new Error('boom');
  const rig = new Rig();
  await rig.fetch({ url: server.url });
  rig.onSocket = () => {
    rig.onSocket = undefined;
    throw boom;
  };
  server.last.socket.end();
  await expect(rig.drive(8_000)).rejects.toBe(boom);
  expect(rig.multi.stats()).toMatchObject({ connections: 0, idle: 0 });
  expect((await rig.fetch({ url: server.url })).error).toBeNull();
});

describe.each(['socket', 'timer'])('-1 from the %s callback', (callback) => {
  test.each([1, 2, 3])('contract/rule-48 at call %i: the driving call throws and every transfer ends', async (at) => {
    let answers = false;
    const server = await serve((connection) => {
      if (answers) connection.reply();
    });
    let calls = 0;
    const count = (name: string): number | undefined => (name === callback && ++calls === at ? -1 : undefined);
    const rig = new Rig({ onSocket: () => count('socket'), onTimer: () => count('timer') });
    const all = [get({ url: server.url, forbidReuse: true }), get({ url: server.url, forbidReuse: true })];
    // When the very first call was the one, the first add says so, and the next is refused.
    const dead = callback === 'timer' && at === 1;
    for (const { transfer } of all) {
      if (dead) expect(() => rig.multi.add(transfer)).toThrow(expect.objectContaining({ code: 'ABORTED_BY_CALLBACK' }));
      else rig.multi.add(transfer);
    }
    await expect(rig.drive(8_000)).rejects.toMatchObject({ name: 'MultiError', code: 'ABORTED_BY_CALLBACK' });
    // Rule 49: the next drive ends them all, if this one has not; sockets go, the timer callback is silent.
    const timers = rig.timers.length;
    expect(() => rig.multi.timeout()).toThrow(expect.objectContaining({ code: 'ABORTED_BY_CALLBACK' }));
    expect(rig.timers.length).toBe(timers);
    rig.messages.push(...rig.multi.messages());
    expect(rig.messages.map(({ error }) => error?.code)).toEqual(Array(dead ? 1 : 2).fill('ABORTED_BY_CALLBACK'));
    expect(rig.watched.size).toBe(0);
    expect(rig.multi.stats()).toMatchObject({ running: 0, connections: 0, current: dead ? 1 : 2 });
    // Rule 50: nothing can be added until all are removed; then it works again.
    const next = get({ url: server.url });
    expect(() => rig.multi.add(next.transfer)).toThrow(expect.objectContaining({ code: 'ABORTED_BY_CALLBACK' }));
    if (!dead) {
      rig.multi.remove((all[1] as (typeof all)[0]).transfer);
      expect(() => rig.multi.add(next.transfer)).toThrow(expect.objectContaining({ code: 'ABORTED_BY_CALLBACK' }));
    }
    rig.multi.remove((all[0] as (typeof all)[0]).transfer);
    rig.multi.add(next.transfer);
    rig.messages.length = 0;
    answers = true;
    expect(await rig.end(next.transfer)).toBeNull();
    expect(next.body).toBe('ok');
  });
});

describe('outside a driving call', () => {
  const CALLS: Record<string, (rig: Rig, transfer: Transfer) => unknown> = {
    unpause: (_, transfer) => transfer.unpause(),
    continueUpload: (_, transfer) => transfer.continueUpload(),
    setTimeouts: (_, transfer) => transfer.setTimeouts({ totalMs: 7_000 }),
    pause: (_, transfer) => transfer.pause('both'),
    remove: ({ multi }, transfer) => multi.remove(transfer),
    discard: ({ multi }, transfer) => multi.discard(transfer),
    setOption: ({ multi }) => multi.setOption('maxConnects', 0),
    clear: ({ multi }) => multi.clear(),
    'an answer of the look-up': ({ multi }) => void multi,
  };

  /** A transfer that waits for its upload's source, paused; and an idle connection. */
  async function waiting(call: string): Promise<{ rig: Rig; transfer: Transfer; found: () => void }> {
    const server = await serve((connection, request) => {
      if (request.startsWith('GET')) connection.reply();
    });
    let found: (() => void) | undefined;
    const rig: Rig = new Rig({
      driving: 'hand',
      lookup: (_host, _family, done) => {
        found = () => done(null, ['127.0.0.1']);
      },
    });
    const host = call === 'an answer of the look-up' ? `n.test:${server.port}` : `127.0.0.1:${server.port}`;
    const { transfer } = get({
      url: `http://${host}/`,
      method: 'PUT',
      timeouts: { totalMs: 5_000 },
      body: { length: -1, read: () => PAUSE },
    });
    rig.multi.add(transfer);
    await rig.until(() => found !== undefined || transfer.info.state === 'sending');
    await rig.fetch({ url: server.url });
    if (call === 'unpause') transfer.pause();
    // What the application knows of timers and sockets is not what this is about.
    rig.multi.timerFunction(null);
    rig.multi.socketFunction(null);
    return { rig, transfer, found: () => found?.() };
  }

  const run = (call: string, rig: Rig, transfer: Transfer, found: () => void): void => {
    if (call === 'an answer of the look-up') found();
    else (CALLS[call] as (rig: Rig, transfer: Transfer) => unknown)(rig, transfer);
  };

  test.each(Object.keys(CALLS))(
    'contract/rule-51 (amended) %s does not throw what a callback of the multi threw; the next driving call does',
    async (call) => {
      const { rig, transfer, found } = await waiting(call);
      const boom = new Error('boom');
      let armed = false;
      let calls = 0;
      const callback = (): undefined => {
        if (!armed) return;
        calls++;
        throw boom;
      };
      rig.multi.timerFunction(callback);
      rig.multi.socketFunction(callback);
      armed = true;
      run(call, rig, transfer, found);
      armed = false;
      expect(calls).toBeGreaterThan(0);
      let thrown: unknown = null;
      try {
        rig.multi.timeout();
      } catch (error) {
        thrown = error;
      }
      // That of a socket with a transfer has failed it.
      expect([thrown, transfer.error?.cause]).toContain(boom);
      rig.multi.timeout();
      expect(rig.multi.stats().current).toBe(call === 'remove' || call === 'discard' ? 0 : 1);
    },
  );

  test.each(Object.keys(CALLS))(
    'contract/rule-48 after a -1 within %s all have failed, which is told, and every driving call throws',
    async (call) => {
      const { rig, transfer, found } = await waiting(call);
      const told: unknown[] = [];
      let armed = false;
      let calls = 0;
      const callback = (): number | undefined => {
        if (!armed) return;
        calls++;
        armed = false;
        return -1;
      };
      rig.multi.timerFunction(callback);
      rig.multi.socketFunction(callback);
      rig.multi.notifyEnable('EASY_DONE');
      rig.multi.notifyFunction((_, done) => void told.push(done));
      armed = true;
      run(call, rig, transfer, found);
      armed = false;
      expect(calls).toBe(1);
      if (call === 'remove' || call === 'discard') {
        // There is none left to fail.
        rig.install();
        expect((await rig.fetch({ url: transfer.origin.text })).error).toBeNull();
        return;
      }
      expect(told.length).toBe(1);
      expect(told[0]).toBe(transfer);
      expect([...rig.multi.messages()].map(({ error }) => error?.code)).toEqual(['ABORTED_BY_CALLBACK']);
      expect(rig.multi.stats()).toMatchObject({ running: 0, connections: 0 });
      expect(() => rig.multi.timeout()).toThrow(expect.objectContaining({ code: 'ABORTED_BY_CALLBACK' }));
    },
  );

  test('contract/rule-48 add() and the installation of a callback say at once that it ended the multi, and all have failed', async () => {
    const server = await serve();
    const aborted = expect.objectContaining({ name: 'MultiError', code: 'ABORTED_BY_CALLBACK' });
    for (const install of [false, true]) {
      const rig = new Rig({ driving: 'hand' });
      rig.multi.timerFunction(null);
      const told: unknown[] = [];
      rig.multi.notifyEnable('INFO_READ');
      rig.multi.notifyFunction((notification) => void told.push(notification));
      const { transfer } = get({ url: server.url });
      if (install) {
        rig.multi.add(transfer);
        expect(() => rig.multi.timerFunction(() => -1)).toThrow(aborted);
      } else {
        rig.multi.timerFunction(() => -1);
        expect(() => rig.multi.add(transfer)).toThrow(aborted);
      }
      expect([...rig.multi.messages()].map((message) => message.error?.code)).toEqual(['ABORTED_BY_CALLBACK']);
      expect([told, rig.multi.running, transfer.error?.code]).toEqual([['INFO_READ'], 0, 'ABORTED_BY_CALLBACK']);
      rig.multi.remove(transfer);
      rig.install();
      expect((await rig.fetch({ url: server.url })).error).toBeNull();
    }
  });
});

test.each([undefined, null, 0, new Error('boom')])(
  'contract/rule-51 (amended) a socket callback that throws %s has thrown, and has not ended the multi',
  async (thrown) => {
    const server = await serve();
    let calls = 0;
    const rig = new Rig({
      onSocket: () => {
        if (calls++ === 0) throw thrown;
        return undefined;
      },
    });
    const { error } = await rig.fetch({ url: server.url });
    expect(error).toMatchObject({ code: 'ABORTED_BY_CALLBACK', message: 'A socket callback threw.' });
    expect((await rig.fetch({ url: server.url })).error).toBeNull();
  },
);

/** ECMAScript 2024, which Node 20 has and the library that we type-check against has not. */
const Resizable = ArrayBuffer as unknown as new (
  length: number,
  options: { maxByteLength: number },
) => ArrayBuffer & { resize(length: number): void };

test.each(['transferred', 'shrunk'] as const)(
  'contract/rule-12 a target that is %s in mid-body fails its transfer, and it is the caller who is told so',
  async (how) => {
    const server = await serve((connection) => {
      connection.socket.write('HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf');
    });
    for (const begin of ['in onHead', 'later'] as const) {
      const buffer = new Resizable(8, { maxByteLength: 8 });
      const spoil = (): void => {
        if (how === 'shrunk') buffer.resize(6);
        else structuredClone(buffer, { transfer: [buffer] });
      };
      const rig = new Rig();
      const got = get({
        url: server.url,
        onHead: (transfer) => {
          transfer.receiveInto(new Uint8Array(buffer));
          if (begin === 'in onHead') spoil();
        },
      });
      rig.multi.add(got.transfer);
      await rig.until(() => got.head !== '');
      if (begin === 'later') {
        await rig.until(() => got.transfer.info.bytesReceived === 4);
        spoil();
      }
      if (got.transfer.error === null) server.last.socket.write('half');
      const error = await rig.end(got.transfer);
      expect([error?.code, error?.blame, error?.phase]).toEqual(['INVALID_ARGUMENT', 'caller', 'body']);
      expect(error?.message).toContain('detached or shrunk');
    }
  },
);

test('contract/rule-49 a multi that died closes, whoever killed it', async () => {
  const server = await serve();
  const rig = new Rig();
  await rig.fetch({ url: server.url });
  rig.onSocket = () => -1;
  rig.multi.close();
  expect(() => rig.multi.add(new Transfer({ url: server.url }))).toThrow(
    expect.objectContaining({ code: 'BAD_HANDLE' }),
  );
});

test('contract/rule-50 a multi that died while it had no transfer takes new ones', async () => {
  const server = await serve();
  const rig = new Rig();
  await rig.fetch({ url: server.url });
  rig.onSocket = () => -1;
  server.last.socket.end();
  await expect(rig.drive(8_000)).rejects.toMatchObject({ code: 'ABORTED_BY_CALLBACK' });
  rig.onSocket = undefined;
  expect((await rig.fetch({ url: server.url })).error).toBeNull();
});

test('contract/rule-51 a throw of the socket callback during close() does not keep the multi open', async () => {
  const server = await serve();
  const boom = new Error('boom');
  const rig = new Rig();
  await rig.fetch({ url: server.url });
  rig.onSocket = () => {
    throw boom;
  };
  expect(() => rig.multi.close()).toThrow(boom);
  expect(() => rig.multi.timeout()).toThrow(expect.objectContaining({ code: 'BAD_HANDLE' }));
});
