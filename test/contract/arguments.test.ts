/** What a multi is given that it does not take: told at once, with a sentence, and nothing has changed (rule 33 is of sockets only). */

import { expect, test } from 'vitest';
import { nativeIo } from '../../src/worker/io/native-io.ts';
import { EpollDriver, Multi, UvDriver } from '../../src/worker/multi/index.ts';
import { get, Rig, serve } from './rig.ts';

const wrong = (value: unknown): never => value as never;

const MISTAKES: [string, (multi: Multi) => unknown][] = [
  ['actions(null, 1)', (multi) => multi.actions(wrong(null), 1)],
  ['actions of an array', (multi) => multi.actions(wrong([1, 1, 0]), 1)],
  ['actions of more than there is', (multi) => multi.actions(new Int32Array(3), 2)],
  ['actions from beyond the end', (multi) => multi.actions(new Int32Array(3), 1, 1)],
  ['actions of half a triple', (multi) => multi.actions(new Int32Array(3), 0.5)],
  ['action of a name', (multi) => multi.action(wrong('3'), 1)],
  ['action with a symbol', (multi) => multi.action(3, wrong(Symbol('in')))],
  ['a socket callback that is none', (multi) => multi.socketFunction(wrong('x'))],
  ['a timer callback that is none', (multi) => multi.timerFunction(wrong({}))],
  ['a notify callback that is none', (multi) => multi.notifyFunction(wrong(undefined))],
  ['add(null)', (multi) => multi.add(wrong(null))],
  ['remove(null)', (multi) => multi.remove(wrong(null))],
  ['discard(undefined)', (multi) => multi.discard(wrong(undefined))],
  ["poll('1')", (multi) => multi.poll(wrong('1'))],
  ['wait(NaN)', (multi) => multi.wait(Number.NaN)],
];

test.each(MISTAKES)('%s: BAD_FUNCTION_ARGUMENT, and the multi works on', async (_what, mistake) => {
  const server = await serve();
  const rig = new Rig();
  expect(() => mistake(rig.multi)).toThrow(
    expect.objectContaining({ name: 'MultiError', code: 'BAD_FUNCTION_ARGUMENT' }),
  );
  expect((await rig.fetch({ url: server.url })).body).toBe('ok');
});

test.each([
  ['clear(null)', 'options', (multi: Multi) => multi.clear(wrong(null))],
  ['clear({ foo })', 'foo', (multi: Multi) => multi.clear(wrong({ foo: 1 }))],
  ['clear({ connections })', 'options.connections', (multi: Multi) => multi.clear(wrong({ connections: 'x' }))],
  ['a number as io', 'io', () => new Multi(wrong({ io: 5 }))],
  ['null as io', 'io', () => new Multi(wrong({ io: null }))],
  ['half an io', 'io', () => new Multi(wrong({ io: { open() {}, now() {} } }))],
])('%s: INVALID_ARGUMENT that names %s', (_what, limit, mistake) => {
  const multi = new Multi();
  try {
    expect(() => mistake(multi)).toThrow(
      expect.objectContaining({ name: 'TransferError', code: 'INVALID_ARGUMENT', limit }),
    );
  } finally {
    multi.close();
  }
});

test('a name that is none is told as one, whatever it is: UNKNOWN_OPTION, BAD_SOCKET', () => {
  const multi = new Multi();
  for (const name of [Symbol('idleMs'), 5, null, {}, 'nope']) {
    expect(() => multi.setOption(wrong(name), 1)).toThrow(expect.objectContaining({ code: 'UNKNOWN_OPTION' }));
    expect(() => multi.assign(wrong(name), 1)).toThrow(expect.objectContaining({ code: 'BAD_SOCKET' }));
  }
  multi.close();
});

test('a closed multi takes no addresses', () => {
  const multi = new Multi();
  multi.close();
  expect(() => multi.setAddresses('a:1', '127.0.0.1')).toThrow(expect.objectContaining({ code: 'BAD_HANDLE' }));
});

test('whatever is thrown within a turn, the turn has ended', async () => {
  const server = await serve();
  const real = nativeIo();
  let broken = false;
  const io = {
    ...real,
    close: (socket: number) => {
      const result = real.close(socket);
      if (broken) throw new Error('an engine fault');
      return result;
    },
  };
  const rig = new Rig({ io, driving: 'hand' });
  const got = get({ url: server.url });
  rig.multi.add(got.transfer);
  expect(await rig.end(got.transfer)).toBeNull();
  broken = true;
  expect(() => rig.multi.clear({ dns: false })).toThrow('an engine fault');
  broken = false;
  expect((await rig.fetch({ url: server.url })).body).toBe('ok');
});

test.each([
  ['UvDriver', UvDriver],
  ['EpollDriver', EpollDriver],
])('%s: stopping the old one leaves the callbacks of the new one', async (_name, Driver) => {
  const server = await serve();
  const multi = new Multi();
  const old = new Driver(multi);
  old.run();
  const driver = new Driver(multi);
  driver.run();
  old.stop();
  try {
    const got = get({ url: server.url, timeouts: { totalMs: 12_000 } });
    await new Promise<void>((done) => {
      driver.onTurn = () => {
        if (multi.nextDone() !== null) done();
      };
      // Nobody would tell of a transfer that nobody drives.
      setTimeout(done, 15_000).unref();
      multi.add(got.transfer);
    });
    expect(got.transfer.info).toMatchObject({ state: 'done', status: 200 });
  } finally {
    driver.stop();
    multi.close();
  }
});
