/** Every state of a transfer × what an application may do to it: remove, discard, pause and unpause, untrue events, close of the multi (rules 2, 6 to 10, 32, 76). */

import { describe, expect, test } from 'vitest';
import { PAUSE, type PauseDirection, type Transfer } from '../../src/worker/multi/index.ts';
import { type Got, get, Names, Rig, type Server, serve } from './rig.ts';

const STATES = [
  'runnable',
  'queued',
  'dialing: dns',
  'dialing: connect',
  'sending',
  'sending, paused',
  'waiting',
  'body',
  'body, paused',
  'body, a chunk refused',
  'body, all of it held back',
  'done, unread',
  'done, read',
] as const;
type StateName = (typeof STATES)[number];

/** More than the buffers of a loopback connection hold. */
const LARGE_BODY = new Uint8Array(32 * 1024 * 1024);

interface Scene {
  readonly rig: Rig;
  readonly server: Server;
  readonly got: Got;
  readonly transfer: Transfer;
  /** Lets the server go on, and answer whatever is asked from now on. */
  finish(): void;
}

/** A transfer that has been brought to the state, and rests there. */
async function bring(state: StateName): Promise<Scene> {
  let open = false;
  const server = await serve((connection, request) => {
    if (open || state.startsWith('done')) connection.reply('abcdef');
    else if (state.startsWith('body')) connection.socket.write('HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc');
    else if (request.startsWith('PUT')) connection.socket.pause();
  });
  const names = new Names();
  const rig = new Rig({ io: names.io, maxHostConnections: 1 });
  const uploads = state.startsWith('sending');
  const got = get({
    url: state === 'dialing: dns' ? `http://slow.test:${server.port}/` : server.url,
    method: uploads ? 'PUT' : 'GET',
    body: uploads ? LARGE_BODY : null,
    onData: (transfer) => {
      if (open) return undefined;
      if (state === 'body, all of it held back') transfer.pause();
      return state === 'body, a chunk refused' ? PAUSE : undefined;
    },
  });
  const { transfer } = got;
  const finish = (): void => {
    open = true;
    for (const connection of server.connections) {
      connection.socket.resume();
      if (state.startsWith('body')) connection.socket.write('def');
      else if (connection.requests > 0 && !state.startsWith('done')) connection.reply('abcdef');
    }
    if (state === 'dialing: dns') names.answer(rig, 1, ['127.0.0.1']);
  };
  if (state === 'queued') {
    rig.multi.add(get({ url: server.url }).transfer);
    await rig.until(() => server.requests.length === 1);
  }
  rig.multi.add(transfer);
  if (state !== 'runnable') rig.multi.timeout();
  await reach(rig, server, got, state);
  return { rig, server, got, transfer, finish };
}

async function reach(rig: Rig, server: Server, got: Got, state: StateName): Promise<void> {
  const { transfer } = got;
  if (state === 'runnable' || state.startsWith('dialing')) return;
  if (state === 'done, unread') {
    while (transfer.state !== 'done') {
      for (const [socket, events] of rig.ready()) rig.multi.action(socket, events);
      await new Promise(setImmediate);
    }
    return;
  }
  await rig.until(() => {
    if (state === 'queued') return transfer.state === 'queued';
    if (state.startsWith('sending')) return transfer.state === 'sending' && server.requests.length === 1;
    if (state === 'waiting') return transfer.state === 'waiting' && server.requests.length === 1;
    if (state === 'body') return got.body === 'abc';
    if (state.startsWith('body')) return transfer.state === 'body';
    return rig.messages.length === 1;
  }, state);
  if (state === 'sending, paused') transfer.pause('send');
  if (state === 'body, paused') transfer.pause();
}

test.each(STATES)('what "%s" is', async (state) => {
  const { transfer } = await bring(state);
  const [name, phase] = state.split(/[:,] /) as [string, string | undefined];
  expect(transfer.info.state).toBe(name);
  if (name === 'dialing') expect(transfer.phase).toBe(phase);
});

describe.each(STATES)('in state "%s"', (state) => {
  test.each(['remove', 'discard'] as const)(
    'contract/rule-02 %s: nothing stays and nothing more is told',
    async (how) => {
      const scene = await bring(state);
      const { rig, got, transfer, server } = scene;
      rig.messages.length = 0;
      const before = { ...got };
      rig.multi[how](transfer);
      expect(transfer.info.state).toBe('new');
      expect(rig.multi.transfers()).not.toContain(transfer);
      scene.finish();
      await rig.until(() => rig.multi.running === 0);
      await rig.drive(20);
      expect(rig.messages.map((message) => message.transfer)).not.toContain(transfer);
      expect(got).toEqual(before);
      const { done, pending, connections, idle } = rig.multi.stats();
      expect({ pending, busy: connections - idle }).toEqual({ pending: 0, busy: 0 });
      expect(done).toBe(state === 'queued' ? 1 : 0);
      // A connection of use is kept: that of a finished transfer, and that of a discarded one whose rest is short.
      const kept = state.startsWith('done') || state === 'queued' || (how === 'discard' && state.startsWith('body'));
      expect(idle).toBe(kept ? 1 : 0);
      await rig.until(() => server.open === idle, 'the closing of its connection');

      // It is as new: what it left behind would show now.
      if (state === 'dialing: dns') return;
      got.body = '';
      rig.multi.add(transfer);
      expect(await rig.end(transfer)).toBeNull();
      expect(got.body).toBe('abcdef');
    },
  );

  test('contract/rule-32 events that are not true, of every kind, and late ones (rule 33), do no harm', async () => {
    const { rig, got, transfer, finish } = await bring(state);
    const sockets = [...rig.watched.keys()];
    const { ended, body } = got;
    for (const socket of [...sockets, 1_000_000, -1]) {
      for (const events of [0, 1, 2, 3, 4, 5, 7, 255]) rig.multi.action(socket, events);
    }
    expect(transfer.error).toBeNull();
    // Nothing was taken twice, and nothing that is held back came.
    if (state !== 'runnable' && state !== 'dialing: connect') expect(got).toMatchObject({ ended, body });
    finish();
    transfer.unpause('both');
    await rig.until(() => got.ended === 1);
    expect(got.body).toBe('abcdef');
    for (const socket of sockets) rig.multi.action(socket, 7);
    expect(transfer.error).toBeNull();
  });

  test('contract/rule-10 close of the multi first: each transfer is free for another', async () => {
    const { rig, got, transfer, finish } = await bring(state);
    rig.multi.close();
    expect(rig.watched.size).toBe(0);
    expect(rig.due).toBe(Number.POSITIVE_INFINITY);
    expect(rig.multi.transfers()).toEqual([]);
    expect(rig.multi.nextDone()).toBeNull();
    expect(transfer.info.state).toBe('new');
    rig.multi.remove(transfer);
    if (state === 'dialing: dns') return;
    finish();
    if (state.startsWith('sending')) return;
    const other = new Rig();
    got.body = '';
    other.multi.add(transfer);
    expect(await other.end(transfer)).toBeNull();
    expect(got.body).toBe('abcdef');
  });

  test.each<PauseDirection>(['receive', 'send', 'both'])(
    'contract/rule-76 pause and unpause of "%s" lose nothing',
    async (direction) => {
      const { rig, got, transfer, finish } = await bring(state);
      const { ended } = got;
      const { body } = got;
      transfer.pause(direction);
      transfer.pause(direction);
      finish();
      await rig.drive(20);
      if (direction !== 'send') expect(got).toMatchObject({ ended, body });
      transfer.unpause('both');
      transfer.unpause(direction);
      await rig.until(() => got.ended === 1);
      expect(got.body).toBe('abcdef');
      expect(transfer.error).toBeNull();
    },
  );
});

test('contract/rule-10 the right order: remove each, then close; a multi that is closed takes nothing and drives nothing', async () => {
  const server = await serve();
  const rig = new Rig();
  const all = Array.from({ length: 5 }, () => get({ url: server.url }).transfer);
  for (const transfer of all) rig.multi.add(transfer);
  rig.step();
  for (const transfer of all) rig.multi.remove(transfer);
  rig.multi.close();
  expect(rig.watched.size).toBe(0);
  for (const call of [
    () => rig.multi.add(all[0] as Transfer),
    () => rig.multi.timeout(),
    () => rig.multi.action(3, 1),
  ]) {
    expect(call).toThrow(expect.objectContaining({ code: 'BAD_HANDLE' }));
  }
  await rig.until(() => server.open === 0);
});
