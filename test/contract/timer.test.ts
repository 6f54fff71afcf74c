/** CONTRACT.md §2.3: one timer outward, single-shot. The rig checks that -1 comes only when a timer is set (rule 25). */

import { describe, expect, test } from 'vitest';
import type { LookupFunction } from '../../src/protocol/lookup-function.ts';
import { BatchReader } from '../../src/protocol/port/batch-reader.ts';
import { BatchWriter } from '../../src/protocol/port/batch-writer.ts';
import { type HeadFrame, infoTiming, readHead, writeHead } from '../../src/protocol/port/response-frames.ts';
import type { Io } from '../../src/worker/io/io.ts';
import { nativeIo } from '../../src/worker/io/native-io.ts';
import { Multi, Transfer } from '../../src/worker/multi/index.ts';
import { get, Rig, type ServerConnection, type SocketCall, StillClock, serve, sleep } from './rig.ts';

test('contract/rule-24 one timer for all transfers: each call replaces the former, the nearest expiry counts', async () => {
  const server = await serve(() => undefined);
  const clock = new StillClock();
  const rig = new Rig({ io: clock.io });
  const clocks = [5_000, 40, 20_000, 1_000];
  const all = clocks.map((headMs) => get({ url: server.url, timeouts: { headMs } }));
  for (const { transfer } of all) rig.multi.add(transfer);
  await rig.until(() => server.requests.length === 4);
  expect([rig.timers.at(-1), rig.multi.getTimeout()]).toEqual([40, 40]);
  clock.passes(40);
  rig.multi.timeout();
  expect((all[1] as (typeof all)[0]).transfer.error).toMatchObject({ code: 'HEAD_TIMEOUT' });
  // What remains is the next nearest.
  expect([rig.timers.at(-1), rig.multi.getTimeout()]).toEqual([960, 960]);
});

test('contract/rule-25 -1 deletes the timer, when nothing is due any more and one was set', async () => {
  const server = await serve();
  const rig = new Rig();
  expect(rig.timers).toEqual([]);
  expect(rig.multi.getTimeout()).toBe(-1);
  await rig.fetch({ url: server.url, forbidReuse: true, timeouts: { connectMs: 0, headMs: 0, bodyIdleMs: 0 } });
  await rig.fetch({ url: server.url, forbidReuse: true });
  expect(rig.timers.at(-1)).toBe(-1);
  expect(rig.multi.getTimeout()).toBe(-1);
  const calls = rig.timers.length;
  rig.multi.timeout();
  rig.multi.action(999, 1);
  expect(rig.timers.length).toBe(calls);
});

test('contract/rule-26 no call while the absolute expiry stays the same', async () => {
  const server = await serve(() => undefined);
  const rig = new Rig();
  rig.multi.add(get({ url: server.url, timeouts: { headMs: 90_000 } }).transfer);
  await rig.until(() => server.requests.length === 1);
  rig.step();
  const calls = rig.timers.length;
  const { socket } = rig.socketCalls.at(-1) as SocketCall;
  for (let turn = 0; turn < 5; turn++) {
    sleep(2);
    rig.multi.action(socket, 1);
  }
  expect(rig.timers.length).toBe(calls);
  expect(rig.multi.getTimeout()).toBeLessThan(90_000);
});

test('contract/rule-27 timeout() makes the callback come again, also when the application fired early', async () => {
  const server = await serve(() => undefined);
  const rig = new Rig();
  rig.multi.add(get({ url: server.url, timeouts: { headMs: 90_000 } }).transfer);
  await rig.until(() => server.requests.length === 1);
  rig.step();
  const calls = rig.timers.length;
  for (let early = 1; early <= 3; early++) {
    rig.multi.timeout();
    expect(rig.timers.length).toBe(calls + early);
    expect(rig.timers.at(-1)).toBeGreaterThan(60_000);
  }
});

test('contract/rule-28 driving from inside the timer callback is refused, in a turn, in add and at installation', async () => {
  const server = await serve();
  const refused: unknown[] = [];
  const rig: Rig = new Rig({
    onTimer() {
      const { multi } = rig;
      for (const drive of [
        () => multi.timeout(),
        () => multi.action(3, 1),
        () => multi.actions(new Int32Array(3), 1),
        () => multi.close(),
      ]) {
        try {
          drive();
          refused.push('nothing');
        } catch (error) {
          refused.push((error as { code: string }).code);
        }
      }
      return undefined;
    },
  });
  expect((await rig.fetch({ url: server.url })).error).toBeNull();
  rig.multi.add(new Transfer({ url: server.url }));
  rig.due = Number.POSITIVE_INFINITY;
  rig.multi.timerFunction((ms) => void rig.onTimer?.({ kind: 'timer', ms }));
  expect(refused.length).toBeGreaterThan(12);
  expect(new Set(refused)).toEqual(new Set(['RECURSIVE_API_CALL']));
});

test('contract/rule-28 what the timer callback of a turn adds is asked for when that turn ends', async () => {
  const server = await serve();
  const second = get({ url: server.url });
  let added = false;
  let depth = 0;
  const rig: Rig = new Rig({
    onTimer({ ms }) {
      depth++;
      expect(depth, 'add called the timer callback inside the timer callback').toBe(1);
      if (ms > 0 && !added) {
        added = true;
        rig.multi.add(second.transfer);
      }
      depth--;
      return undefined;
    },
  });
  const first = get({ url: server.url, timeouts: { connectMs: 60_000 } });
  rig.multi.add(first.transfer);
  rig.due = Number.POSITIVE_INFINITY;
  rig.multi.timeout();
  expect(added).toBe(true);
  expect(rig.timers.at(-1)).toBe(0);
  expect(await rig.end(second.transfer)).toBeNull();
});

test('contract/rule-28 what the timer callback of add() adds or removes is settled before add returns', async () => {
  const held: ServerConnection[] = [];
  const server = await serve((connection) => held.push(connection));
  const running = get({ url: server.url });
  const rig: Rig = new Rig();
  rig.multi.add(running.transfer);
  await rig.until(() => held.length === 1);
  rig.onTimer = () => {
    rig.multi.remove(running.transfer);
    return undefined;
  };
  rig.multi.add(new Transfer({ url: server.url }));
  rig.onTimer = undefined;
  // Its socket was told to go, and is gone.
  expect(rig.whats.at(-1)).toBe(4);
  await rig.until(() => held[0]?.closed === true);
});

test('contract/rule-30 time never goes back within a transfer, and a turn in which nothing happens reads the clock once', async () => {
  let reads = 0;
  const io = nativeIo();
  const counting = {
    ...io,
    now: () => {
      reads++;
      return io.now();
    },
  };
  const server = await serve((connection) => {
    connection.socket.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n');
    setTimeout(() => connection.socket.write('done'), 5);
  });
  const rig = new Rig({ io: counting });
  const { transfer } = get({ url: server.url });
  rig.multi.add(transfer);
  rig.multi.timeout();
  await rig.until(() => {
    reads = 0;
    rig.multi.action(9_999, 1);
    expect(reads).toBe(1);
    return transfer.info.state === 'done';
  });
  const { queued, dns, connect, tls, sent, firstByte, end } = transfer.timings;
  const order = [0, queued, dns, connect, tls, sent, firstByte, end];
  expect(order).toEqual([...order].sort((a, b) => a - b));
  expect(end).toBeGreaterThan(4);
});

test('contract/rule-29 timings go on beyond 35.8 minutes, which is 2^31 microseconds, on their way to the main thread too', async () => {
  const io = nativeIo();
  const dayMs = 24 * 60 * 60 * 1000;
  let aheadMs = 0;
  const server = await serve((connection) => {
    aheadMs = 72 * 60 * 1000;
    connection.socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no');
  });
  const rig = new Rig({ io: { ...io, now: () => io.now() + aheadMs } });
  const got = get({ url: server.url, timeouts: { headMs: 0, bodyIdleMs: 0 } });
  const { transfer } = got;
  rig.multi.add(transfer);
  await rig.until(() => got.body === 'o');
  aheadMs = 3 * dayMs;
  server.last.socket.write('k');
  expect(await rig.end(transfer)).toBeNull();
  const { sent, firstByte, end } = transfer.timings;
  expect(sent).toBeLessThan(dayMs / 24);
  expect([firstByte, end].map(Math.floor)).toEqual([
    expect.closeTo(72 * 60 * 1000, -4.5),
    expect.closeTo(3 * dayMs, -4.5),
  ]);

  const writer = new BatchWriter();
  writeHead(writer, transfer, Buffer.alloc(0), 0, 0);
  const reader = new BatchReader();
  reader.open(writer.take(1), [], 1);
  reader.next();
  const { text } = readHead(reader) as HeadFrame;
  expect([4, 5, 6].map((index) => infoTiming(text, index) / 1000)).toEqual([
    sent,
    Math.round(firstByte),
    Math.round(end),
  ]);
});

test('contract/rule-30 a clock that stands still or jumps ahead breaks nothing', async () => {
  let offset = 0;
  let frozen: number | null = null;
  const io = nativeIo();
  const server = await serve();
  const rig = new Rig({ io: { ...io, now: () => frozen ?? io.now() + offset } });
  frozen = io.now();
  expect((await rig.fetch({ url: server.url })).error).toBeNull();
  frozen = null;
  offset = 60_000;
  expect((await rig.fetch({ url: server.url })).error).toBeNull();
});

/** A rig whose clock `takes` moves on, as a callback does that computes for long; nobody sleeps. */
function slowRig(): { rig: Rig; takes: (ms: number) => void; now: () => number } {
  let offset = 0;
  const io = nativeIo();
  const now = (): number => io.now() + offset;
  const rig = new Rig({ driving: 'hand', io: { ...io, now } });
  const takes = (ms: number): void => {
    offset += ms;
  };
  return { rig, takes, now };
}

test.each(['onData', 'onEnd', 'notify', 'body source'] as const)(
  'contract/rule-30 what a callback takes (%s) counts towards no clock of what is added in it',
  async (where) => {
    const held: ServerConnection[] = [];
    const server = await serve((connection, request) => {
      if (request.startsWith('GET /next')) held.push(connection);
      else connection.reply();
    });
    const { rig, takes } = slowRig();
    const next = get({ url: `${server.url}next`, timeouts: { totalMs: 5_000, connectMs: 5_000, headMs: 5_000 } });
    let began = false;
    const work = (): undefined => {
      if (began) return;
      began = true;
      takes(60_000);
      rig.multi.add(next.transfer);
      takes(1_000);
    };
    const at = (name: string): undefined => (name === where ? work() : undefined);
    rig.multi.notifyEnable('EASY_DONE');
    rig.multi.notifyFunction(() => at('notify'));
    const pieces = ['abc'];
    const read = (): Uint8Array | null => {
      at('body source');
      const piece = pieces.shift();
      return piece === undefined ? null : Buffer.from(piece);
    };
    const first = get({
      url: server.url,
      method: 'PUT',
      body: { length: 3, read },
      timeouts: { headMs: 5_000 },
      onData: () => at('onData'),
      onEnd: () => at('onEnd'),
    });
    rig.multi.add(first.transfer);
    await rig.until(() => held.length === 1);
    rig.multi.timeout();
    expect([first.transfer.error, next.transfer.info.state]).toEqual([null, 'waiting']);
    held[0]?.reply();
    expect(await rig.end(next.transfer)).toBeNull();
    expect(next.transfer.timings.queued).toBeGreaterThanOrEqual(1_000);
    expect(next.transfer.timings.end).toBeLessThan(5_000);
  },
);

test('contract/rule-30 nor towards a clock that another transfer of the same turn starts', async () => {
  const held: ServerConnection[] = [];
  const server = await serve((connection) => void held.push(connection));
  const { rig, takes } = slowRig();
  const slow = get({ url: server.url, onData: () => takes(60_000) });
  const other = get({ url: server.url, timeouts: { bodyIdleMs: 5_000 } });
  rig.multi.add(slow.transfer);
  await rig.until(() => held.length === 1);
  rig.multi.add(other.transfer);
  await rig.until(() => held.length === 2);
  const [slowSocket, otherSocket] = [...rig.watched.keys()] as [number, number];
  held[1]?.socket.write('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha');
  await rig.until(() => other.body === 'ha');
  held[0]?.reply();
  held[1]?.socket.write('l');
  await rig.arrived(2);
  rig.multi.actions(Int32Array.of(slowSocket, 1, 0, otherSocket, 1, 0), 2);
  expect([slow.body, other.body]).toEqual(['ok', 'hal']);
  rig.multi.timeout();
  expect(other.transfer.info.state).toBe('body');
  held[1]?.socket.write('f');
  expect(await rig.end(other.transfer)).toBeNull();
});

test('contract/rule-31 (amended) timeout() ends nothing that ran out after the sockets were looked at', async () => {
  const server = await serve(() => undefined);
  const { rig, takes, now } = slowRig();
  const { transfer } = get({ url: server.url, timeouts: { headMs: 5_000 } });
  rig.multi.add(transfer);
  await rig.until(() => server.requests.length === 1);
  const looked = now();
  takes(60_000);
  for (const dueByMs of [0, looked]) {
    expect(rig.multi.timeout(dueByMs)).toBe(1);
    expect(rig.timers.at(-1)).toBe(0);
  }
  for (const wrong of [-1, Number.NaN, '5' as unknown as number, Symbol('5') as unknown as number]) {
    expect(() => rig.multi.timeout(wrong)).toThrow(expect.objectContaining({ code: 'BAD_FUNCTION_ARGUMENT' }));
  }
  expect(rig.multi.timeout(now())).toBe(0);
  expect(transfer.error).toMatchObject({ code: 'HEAD_TIMEOUT' });
});

test('contract/rule-29 the time is rounded up: a timer that fires on the minute finds the expiry due', async () => {
  const server = await serve(() => undefined);
  const rig = new Rig();
  const { transfer } = get({ url: server.url, timeouts: { headMs: 25.5 } });
  rig.multi.add(transfer);
  await rig.until(() => server.requests.length === 1);
  rig.step();
  const told = rig.timers.at(-1) as number;
  expect(Number.isInteger(told)).toBe(true);
  sleep(told);
  rig.multi.timeout();
  expect(transfer.error).toMatchObject({ code: 'HEAD_TIMEOUT', limit: 'timeouts.headMs' });
});

test('contract/rule-25 a multi without callbacks can be driven by getTimeout alone', async () => {
  const server = await serve();
  const multi = new Multi();
  const rig = new Rig();
  rig.multi.timerFunction(null);
  const { transfer } = get({ url: server.url, forbidReuse: true });
  rig.multi.add(transfer);
  for (let end = performance.now() + 10_000; rig.multi.running > 0 && performance.now() < end; ) {
    for (const [socket, events] of rig.ready()) rig.multi.action(socket, events);
    if (rig.multi.getTimeout() === 0) rig.multi.timeout();
    await new Promise(setImmediate);
  }
  expect(transfer.error).toBeNull();
  expect(rig.multi.getTimeout()).toBe(-1);
  multi.close();
});

describe('an assumption that does not hold', () => {
  const io = nativeIo();
  const fault = new Error('a bug of the engine');

  test('in a timer: its transfer fails with INTERNAL, the others that are due have their turn', async () => {
    let broken = false;
    const writeFrom: Io['writeFrom'] = (...given) => {
      if (broken) throw fault;
      return io.writeFrom(...given);
    };
    const server = await serve(() => undefined);
    const rig = new Rig({ io: { ...io, writeFrom } });
    const faulty = get({ url: server.url, method: 'POST', body: 'x'.repeat(500_000), maxSendBytesPerSecond: 20_000 });
    const silent = get({ url: server.url, timeouts: { headMs: 300 } });
    rig.multi.add(silent.transfer);
    await rig.until(() => server.requests.length === 1);
    rig.multi.add(faulty.transfer);
    await rig.until(() => faulty.transfer.info.bytesSent > 0);
    broken = true;
    // Both are due when the timer is told of.
    sleep(400);
    rig.step();
    expect(await rig.end(faulty.transfer)).toMatchObject({ code: 'INTERNAL', phase: 'send', cause: fault });
    expect(await rig.end(silent.transfer)).toMatchObject({ code: 'HEAD_TIMEOUT' });
  });

  test.each(['at once', 'later'])(
    'in a dial, when a name is answered %s: who waits for the same name connects',
    async (when) => {
      let opened = 0;
      const open: Io['open'] = (...given) => {
        if (opened++ === 0) throw fault;
        return io.open(...given);
      };
      const server = await serve();
      const lookup: LookupFunction = (_host, _family, done) => {
        const answer = (): void => done(null, ['127.0.0.1']);
        if (when === 'later') setTimeout(answer, 20);
        else answer();
      };
      const rig = new Rig({ io: { ...io, open }, lookup });
      const url = `http://a.test:${server.port}/`;
      const all = [get({ url }), get({ url }), get({ url })];
      for (const { transfer } of all) rig.multi.add(transfer);
      await rig.until(() => rig.multi.running === 0);
      expect(all.map(({ transfer }) => transfer.error?.code)).toEqual(['INTERNAL', undefined, undefined]);
      expect(all[0]?.transfer.error?.cause).toBe(fault);
    },
  );
});
