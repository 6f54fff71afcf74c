/** CONTRACT.md §2.6 and 2.7 as §0 amends them: what callbacks may do, what happens when they throw or answer -1. */

import { describe, expect, test } from 'vitest';
import { Transfer } from '../../src/worker/multi/index.ts';
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
  await expect(rig.drive(2_000)).rejects.toBe(boom);
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
    rig.multi.add((all[0] as (typeof all)[0]).transfer);
    // When the very first call was the one, this add is refused.
    const dead = callback === 'timer' && at === 1;
    if (dead) {
      expect(() => rig.multi.add((all[1] as (typeof all)[0]).transfer)).toThrow('-1');
    } else rig.multi.add((all[1] as (typeof all)[0]).transfer);
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
  await expect(rig.drive(2_000)).rejects.toMatchObject({ code: 'ABORTED_BY_CALLBACK' });
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
