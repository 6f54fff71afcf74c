/** What seeds of the simulation have found in the engine, each alone and without chance. */

import { expect, test } from 'vitest';
import { PAUSE, Transfer, type TransferOptions } from '../../src/worker/multi/index.ts';
import { Script, say } from './scripted.ts';

const WHOLE = 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody';
const URL = 'http://10.0.0.1/';

/** The body as it was delivered. */
function collecting(options: Omit<TransferOptions, 'url'> = {}): { transfer: Transfer; pieces: string[] } {
  const pieces: string[] = [];
  const transfer = new Transfer({
    url: URL,
    onData: (_transfer, bytes, start, end) => pieces.push(Buffer.from(bytes.slice(start, end)).toString('latin1')),
    ...options,
  });
  return { transfer, pieces };
}

test('contract/rule-75 a pause in onHead holds the body bytes that came in the same read', () => {
  const script = new Script({ onBytes: (channel) => say(channel, WHOLE) });
  const { transfer, pieces } = collecting({ onHead: (paused) => paused.pause() });
  script.multi.add(transfer);
  script.settle();
  expect(pieces).toEqual([]);
  expect(transfer.info.state).toBe('body');
  transfer.unpause();
  script.settle();
  expect(pieces).toEqual(['body']);
  expect(transfer.info.state).toBe('done');
  script.multi.close();
});

test('contract/rule-75 a paused transfer that can no longer send is not watched for writing', () => {
  const script = new Script({ sendBufferBytes: 500, readDelayMs: Number.POSITIVE_INFINITY });
  const { transfer, pieces } = collecting({
    method: 'POST',
    body: 'x'.repeat(5_000),
    onHead: (paused) => paused.pause(),
  });
  script.multi.add(transfer);
  script.settle();
  const [channel] = script.channels;
  if (channel === undefined) throw new Error('nobody connected');
  const bodyAt = WHOLE.length - 4;
  say(channel, WHOLE.slice(0, bodyAt));
  script.settle();
  say(channel, WHOLE.slice(bodyAt));
  channel.reset();
  // An event loop would spin here: the socket is writable, in its way, for ever.
  script.settle();
  expect(script.watched.size).toBe(0);
  transfer.unpause();
  script.settle();
  expect(pieces).toEqual(['body']);
  script.multi.close();
});

test('contract/rule-17 a connection that comes to rest after a paused transfer is watched', () => {
  const script = new Script({ onBytes: (channel) => say(channel, 'HTTP/1.1 204 No Content\r\n\r\n') });
  const { transfer } = collecting({ onHead: (paused) => paused.pause() });
  script.multi.add(transfer);
  script.settle();
  expect(transfer.info.state).toBe('done');
  expect(script.multi.stats().idle).toBe(1);
  script.channels[0]?.end();
  script.settle();
  expect(script.multi.stats().connections).toBe(0);
  script.multi.close();
});

test('contract/rule-75 the last bytes, refused once and then taken with a pause, end the transfer', () => {
  const script = new Script({ onBytes: (channel) => say(channel, WHOLE) });
  let asked = 0;
  const { transfer } = collecting({
    onData: (paused) => {
      if (asked++ === 0) return PAUSE;
      paused.pause();
      return undefined;
    },
  });
  script.multi.add(transfer);
  script.settle();
  expect(transfer.info.state).toBe('body');
  transfer.unpause();
  script.settle();
  transfer.unpause();
  script.settle();
  expect(asked).toBe(2);
  expect(transfer.info.state).toBe('done');
  expect(transfer.error).toBeNull();
  script.multi.close();
});

test('contract/rule-69 a slot freed by a socket callback is handed on when its descriptor is closed', () => {
  const script = new Script({ maxTotalConnections: 2, connect: () => ({ afterMs: 10 }) });
  const [first, second, third] = [1, 2, 3].map((number) => new Transfer({ url: `http://10.0.0.${number}/` }));
  if (first === undefined || second === undefined || third === undefined) throw new Error('three were made');
  for (const transfer of [first, second, third]) script.multi.add(transfer);
  script.onSocket = (transfer) => {
    // Its own socket has been told already, in the same pass.
    if (transfer === second && first.info.state !== 'new') script.multi.remove(first);
    return undefined;
  };
  script.settle();
  expect(first.info.state).toBe('new');
  expect(third.info.state).toBe('dialing');
  expect(script.socketsMax).toBe(2);
  script.multi.close();
});

test('contract/rule-48 a socket callback that throws each time fails its transfer once', () => {
  const script = new Script({
    onSocket: () => {
      throw new Error('mine');
    },
  });
  const { transfer } = collecting();
  const other = new Transfer({ url: URL });
  script.multi.add(transfer);
  script.settle();
  expect(transfer.error?.code).toBe('ABORTED_BY_CALLBACK');
  expect(script.multi.running).toBe(0);
  expect(script.multi.stats().done).toBe(1);
  expect([...script.multi.messages()].length).toBe(1);
  script.onSocket = undefined;
  script.multi.add(other);
  expect(script.multi.running).toBe(1);
  script.multi.close();
});

test('contract/rule-48 what a socket callback throws at the REMOVE of a transfer that is done comes out of the driving call', () => {
  const script = new Script({
    connect: () => ({ afterMs: 10_000 }),
    onSocket: (_transfer, _socket, what) => {
      if (what === 4) throw new Error('mine');
      return undefined;
    },
  });
  const { transfer } = collecting({ timeouts: { connectMs: 100 } });
  script.multi.add(transfer);
  script.settle();
  script.later(200);
  expect(transfer.error?.code).toBe('CONNECT_TIMEOUT');
  expect(script.thrown).toEqual([new Error('mine')]);
  expect(script.multi.stats().done).toBe(1);
  script.multi.close();
});

test('a close-delimited body that a reset cuts is incomplete, also when writing was told of the reset', () => {
  const script = new Script({ sendBufferBytes: 500, readDelayMs: Number.POSITIVE_INFINITY });
  const { transfer, pieces } = collecting({ method: 'POST', body: 'x'.repeat(5_000) });
  script.multi.add(transfer);
  script.settle();
  const [channel] = script.channels;
  if (channel === undefined) throw new Error('nobody connected');
  say(channel, 'HTTP/1.1 200 OK\r\n\r\nhalf');
  script.settle();
  channel.reset();
  script.settle();
  expect(pieces).toEqual(['half']);
  expect(transfer.error?.code).toBe('INCOMPLETE_BODY');
  expect(transfer.error?.errno).toBe('ECONNRESET');
  script.multi.close();
});
