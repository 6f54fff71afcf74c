/**
 * CONTRACT.md §2.6 as §0 amends it, as a full matrix: every callback × every call. Driving and closing are refused and change
 * nothing; everything else is allowed, does what it does elsewhere, and harms no other transfer (rules 28, 44 to 47).
 */

import { closeSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import type { Transfer } from '../../src/worker/multi/index.ts';
import { type Got, get, Rig, serve } from './rig.ts';

const CALLBACKS = [
  'socket',
  'socket, at REMOVE',
  'timer, in a turn',
  'timer, in add',
  'notify',
  'lookup',
  'openSocket',
  'closeSocket',
  'body source',
  'onHead',
  'onData',
  'onEnd',
] as const;
type CallbackName = (typeof CALLBACKS)[number];

/** What a call has at hand: the transfer whose callback it is, and another one that waits for its answer. */
interface Hands {
  readonly rig: Rig;
  readonly multi: Rig['multi'];
  readonly transfer: Transfer;
  readonly other: Transfer;
  /** Not added. */
  readonly third: Transfer;
}

const REFUSED: Record<string, (hands: Hands) => unknown> = {
  action: ({ multi, rig }) => multi.action([...rig.watched.keys()][0] ?? 5, 1),
  'action of no socket': ({ multi }) => multi.action(-1, 0),
  actions: ({ multi }) => multi.actions(new Int32Array(3), 1),
  timeout: ({ multi }) => multi.timeout(),
  perform: ({ multi }) => multi.perform(),
  wait: ({ multi }) => multi.wait(0),
  poll: ({ multi }) => multi.poll(0),
  close: ({ multi }) => multi.close(),
};

const ALLOWED: Record<string, (hands: Hands) => unknown> = {
  add: ({ multi, third }) => multi.add(third),
  'remove of its own': ({ multi, transfer }) => multi.remove(transfer),
  'remove of its own, and add': ({ multi, transfer }) => {
    multi.remove(transfer);
    multi.add(transfer);
  },
  'remove of another': ({ multi, other }) => multi.remove(other),
  'discard of its own': ({ multi, transfer }) => multi.discard(transfer),
  'discard of another': ({ multi, other }) => multi.discard(other),
  'pause and unpause': ({ transfer, other }) => {
    for (const direction of ['receive', 'send', 'both'] as const) {
      transfer.pause(direction);
      transfer.unpause(direction);
      other.pause(direction);
      other.unpause(direction);
    }
  },
  pause: ({ transfer }) => {
    transfer.pause('both');
    setTimeout(() => transfer.unpause('both'), 5);
  },
  continueUpload: ({ transfer, other }) => {
    transfer.continueUpload();
    other.continueUpload();
  },
  setTimeouts: ({ transfer, other }) => {
    transfer.setTimeouts({ totalMs: 60_000, headMs: 50_000 });
    other.setTimeouts({ totalMs: 60_000 });
  },
  setOption: ({ multi }) => {
    multi.setOption('maxConnects', 0);
    multi.setOption('maxHostConnections', 7);
    multi.setOption('idleMs', 1_000);
  },
  clear: ({ multi }) => multi.clear(),
  setAddresses: ({ multi }) => multi.setAddresses('elsewhere.test:80', '127.0.0.1'),
  assign: ({ multi, rig }) => {
    for (const socket of rig.watched.keys()) multi.assign(socket, 'mine');
  },
  messages: ({ multi, rig }) => rig.messages.push(...multi.messages()),
  transfers: ({ multi, other }) => expect(multi.transfers()).toContain(other),
  stats: ({ multi }) => expect(multi.stats().added).toBeGreaterThan(0),
  running: ({ multi }) => expect(multi.running).toBeGreaterThan(0),
  getTimeout: ({ multi }) => expect(multi.getTimeout()).toBeGreaterThanOrEqual(-1),
  wakeup: ({ multi }) => multi.wakeup(),
  'socketFunction and timerFunction': ({ rig }) => {
    // To new callbacks everything is news.
    rig.watched.clear();
    rig.due = Number.POSITIVE_INFINITY;
    rig.install();
  },
  notifyFunction: ({ multi }) => {
    multi.notifyFunction(() => undefined);
    multi.notifyDisable('EASY_DONE');
    multi.notifyEnable('INFO_READ');
  },
  'info and timings': ({ transfer }) => {
    expect(transfer.info.state).not.toBe('new');
    expect(transfer.timings.end).toBeGreaterThanOrEqual(-1);
  },
};

interface Played {
  readonly rig: Rig;
  readonly got: Got;
  readonly other: Got;
  readonly third: Got;
  readonly times: number;
}

/** A transfer in whose course every callback comes; `inside` runs in the first call of the one that is named. */
async function play(name: CallbackName, inside: (hands: Hands) => unknown): Promise<Played> {
  const server = await serve((connection, request) => {
    // The other one is answered when all is over.
    if (!request.startsWith('GET /other')) connection.reply('abcdef');
  });
  let armed = false;
  let times = 0;
  const run = (callback: CallbackName): undefined => {
    if (!armed || callback !== name || times > 0) return;
    times++;
    inside({ rig, multi: rig.multi, transfer: got.transfer, other: other.transfer, third: third.transfer });
  };
  const rig: Rig = new Rig({
    onSocket: ({ transfer, what }) => {
      if (transfer === got.transfer) run(what === 4 ? 'socket, at REMOVE' : 'socket');
      return undefined;
    },
    onTimer: ({ ms }) => run(ms === 0 ? 'timer, in add' : 'timer, in a turn'),
    lookup: (host, _family, done) => {
      if (host === 'main.test') run('lookup');
      done(null, ['127.0.0.1']);
    },
  });
  rig.multi.notifyEnable('EASY_DONE');
  rig.multi.notifyFunction(() => run('notify'));
  const pieces = ['abc', 'def'];
  const got = get({
    url: `http://main.test:${server.port}/`,
    method: 'PUT',
    body: {
      length: 6,
      read: () => {
        run('body source');
        const piece = pieces.shift();
        return piece === undefined ? null : Buffer.from(piece);
      },
    },
    timeouts: { totalMs: 60_000 },
    forbidReuse: true,
    openSocket: () => run('openSocket'),
    closeSocket: (socket) => {
      run('closeSocket');
      closeSync(socket);
    },
    onHead: () => run('onHead'),
    onData: () => run('onData'),
    onEnd: () => run('onEnd'),
  });
  const other = get({ url: `${server.url}other` });
  const third = get({ url: server.url });
  rig.multi.add(other.transfer);
  await rig.until(() => server.requests.length === 1);
  armed = true;
  if (name === 'socket, at REMOVE') got.transfer.onHead = () => got.transfer.pause();
  rig.multi.add(got.transfer);
  await rig.until(
    () => times > 0 && (got.transfer.info.state === 'done' || got.transfer.info.state === 'new' || got.transfer.paused),
  );
  got.transfer.unpause();
  await rig.until(
    () => ['done', 'new'].includes(got.transfer.info.state) && ['done', 'new'].includes(third.transfer.info.state),
  );
  armed = false;
  for (const connection of server.connections)
    if (!connection.closed && connection.requests === 1) connection.reply('other!');
  await rig.until(() => rig.multi.running === 0, 'the end of the others');
  return { rig, got, other, third, times };
}

describe.each(CALLBACKS)('inside the callback "%s"', (name) => {
  test.each(Object.keys(REFUSED))('contract/rule-44 %s is refused and changes nothing', async (call) => {
    let code: unknown;
    let counts: unknown[] = [];
    const { got, other } = await play(name, (hands) => {
      const before = hands.multi.stats();
      try {
        (REFUSED[call] as (hands: Hands) => unknown)(hands);
      } catch (error) {
        ({ code } = error as { code: unknown });
      }
      counts = [before, hands.multi.stats()];
    });
    expect(code).toBe('RECURSIVE_API_CALL');
    expect(counts[1]).toEqual(counts[0]);
    for (const { transfer, ended } of [got, other]) expect([transfer.error, ended]).toEqual([null, 1]);
    expect([got.body, other.body]).toEqual(['abcdef', 'other!']);
  });

  test.each(Object.keys(ALLOWED))('contract/rule-45 (amended) %s is allowed', async (call) => {
    let thrown: unknown = null;
    const { rig, got, other, third } = await play(name, (hands) => {
      try {
        (ALLOWED[call] as (hands: Hands) => unknown)(hands);
      } catch (error) {
        thrown = error;
      }
    });
    expect(thrown).toBeNull();
    if (call === 'add') expect([third.body, third.ended]).toEqual(['abcdef', 1]);
    if (call.endsWith('of another')) expect(other.transfer.info.state).toBe('new');
    else expect([other.body, other.ended]).toEqual(['other!', 1]);
    expect(rig.multi.stats().pending).toBe(0);
    if (call.endsWith('of its own')) {
      expect(got.transfer.info.state).toBe('new');
      expect(rig.messages.map(({ transfer }) => transfer)).not.toContain(got.transfer);
    } else if (call !== 'remove of its own, and add') {
      expect([got.transfer.error, got.body, got.ended]).toEqual([null, 'abcdef', 1]);
    }
  });
});

test('contract/rule-46 (amended) pause in every callback holds, and unpause lets go, in every direction', async () => {
  for (const direction of ['receive', 'send', 'both'] as const) {
    const server = await serve((connection) => connection.reply('abcdef'));
    const rig = new Rig();
    const held = (transfer: Transfer): void => transfer.pause(direction);
    const got = get({ url: server.url, onHead: held, onData: held, onEnd: held });
    // Each unpause makes the socket callback come again: to pause in it for ever would be to go on for ever.
    let calls = 0;
    rig.onSocket = ({ transfer }) => {
      if (calls++ < 3) transfer?.pause(direction);
      return undefined;
    };
    rig.multi.add(got.transfer);
    while (got.ended === 0) {
      await rig.until(() => got.transfer.paused || got.transfer.sendPaused || got.ended === 1);
      await rig.drive(2);
      got.transfer.unpause('both');
    }
    expect(got.body).toBe('abcdef');
  }
});
