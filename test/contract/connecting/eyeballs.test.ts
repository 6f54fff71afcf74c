/** Rule 57, HOSTILE case 151: a race of addresses. */

import { describe, expect, test } from 'vitest';
import { fullListener } from '../../full-listener.ts';
import { deadPort, get, Rig, StillClock, serve } from '../rig.ts';
import { type Attempt, Detour, SILENT } from './detour.ts';

const ETIMEDOUT = 110;

/** Addresses of the documentation ranges: they lead where the detour says. */
const SIX = ['2001:db8::1', '2001:db8::2', '2001:db8::3'];
const FOUR = ['192.0.2.1', '192.0.2.2', '192.0.2.3'];

/** The ports behind the addresses. */
function behind(addresses: readonly string[], port: number): Record<string, number> {
  return Object.fromEntries(addresses.map((address) => [address, port]));
}

function rigOf(detour: Detour, addresses: readonly string[], options = {}): Rig {
  return new Rig({ io: detour.io, lookup: (_host, _family, done) => done(null, addresses), ...options });
}

describe('contract/rule-57 hostile/151', () => {
  test('IPv6 first, families in turn, whatever order the resolver has', async () => {
    const dead = await deadPort();
    const detour = new Detour({ ...behind(SIX, dead), ...behind(FOUR, dead) });
    const rig = rigOf(detour, [...FOUR, ...SIX]);
    const { error } = await rig.fetch({ url: 'http://both.test/' });
    expect(detour.addresses).toEqual([SIX[0], FOUR[0], SIX[1], FOUR[1], SIX[2], FOUR[2]]);
    expect(error).toMatchObject({ code: 'COULDNT_CONNECT', errno: 'ECONNREFUSED', phase: 'connect' });
    const { cause } = error as unknown as { cause: AggregateError };
    expect(cause.errors.map(({ message }: Error) => message)).toEqual(
      ['[2001:db8::1]', '192.0.2.1', '[2001:db8::2]', '192.0.2.2', '[2001:db8::3]', '192.0.2.3'].map(
        (address) => `${address}:80 could not be connected to: ECONNREFUSED.`,
      ),
    );
    expect(detour.open.size).toBe(0);
  });

  test('a silent IPv6 address costs 250 ms, not the connect timeout; the loser closes', async () => {
    const [server, hole] = [await serve(), await fullListener('::1')];
    const detour = new Detour({ '2001:db8::1': hole.port, '192.0.2.1': server.port });
    const rig = rigOf(detour, ['192.0.2.1', '2001:db8::1']);
    const began = performance.now();
    const got = await rig.fetch({ url: 'http://both.test/' });
    const took = performance.now() - began;
    expect(got.body).toBe('ok');
    expect(detour.addresses).toEqual(['2001:db8::1', '192.0.2.1']);
    const [, four] = detour.attempts as unknown as [Attempt, Attempt];
    // From the turn of the first, which is noted in its course.
    expect(four.at - began).toBeGreaterThanOrEqual(249);
    // connectMs is 10,000.
    expect(took).toBeLessThan(8_000);
    expect(got.transfer.timings.connect).toBeGreaterThanOrEqual(249);
    expect(detour.open.size).toBe(1);
    expect(rig.multi.stats()).toMatchObject({ connections: 1, idle: 1, opened: 1 });
    expect(server.connections.length).toBe(1);
    for (const filler of hole.fillers) filler.destroy();
  });

  test('an answer within the time starts no race', async () => {
    const server = await serve();
    const six = await serve(undefined, '::1');
    const detour = new Detour({ '2001:db8::1': six.port, '192.0.2.1': server.port });
    const rig = rigOf(detour, ['192.0.2.1', '2001:db8::1']);
    expect((await rig.fetch({ url: 'http://both.test/' })).body).toBe('ok');
    await rig.drive(400);
    expect(detour.addresses).toEqual(['2001:db8::1']);
    expect(server.connections.length).toBe(0);
  });

  test('a failure starts the next at once, and the slow one may still win', async () => {
    const [server, dead, hole] = [await serve(), await deadPort(), await fullListener('::1')];
    const detour = new Detour({ '2001:db8::1': hole.port, '192.0.2.1': dead, '192.0.2.2': server.port });
    const clock = new StillClock(detour.io);
    const rig = rigOf(detour, ['2001:db8::1', '192.0.2.1', '192.0.2.2'], { io: clock.io, happyEyeballsMs: 300 });
    const got = get({ url: 'http://both.test/' });
    rig.multi.add(got.transfer);
    rig.multi.timeout();
    clock.passes(299);
    rig.multi.timeout();
    expect(detour.addresses).toEqual(['2001:db8::1']);
    clock.passes(1);
    rig.multi.timeout();
    // Time stands still now: no clock can start the third.
    expect(await rig.end(got.transfer)).toBeNull();
    expect(got.body).toBe('ok');
    expect(detour.addresses).toEqual(['2001:db8::1', '192.0.2.1', '192.0.2.2']);
    for (const filler of hole.fillers) filler.destroy();
  });

  test('the only racer fails: the next starts at once', async () => {
    const server = await serve();
    const detour = new Detour({ '192.0.2.1': SILENT, '192.0.2.2': server.port });
    const rig = rigOf(detour, ['192.0.2.1', '192.0.2.2'], { happyEyeballsMs: 9_000 });
    const got = get({ url: 'http://two.test/' });
    rig.multi.add(got.transfer);
    await rig.until(() => detour.attempts.length === 1);
    detour.silence = -ETIMEDOUT;
    const began = performance.now();
    expect(await rig.end(got.transfer)).toBeNull();
    expect(performance.now() - began).toBeLessThan(8_000);
  });

  test('both fail, one at once and one at its clock: the clock speaks; nothing is left', async () => {
    const [dead, hole] = [await deadPort(), await fullListener('::1')];
    const detour = new Detour({ '2001:db8::1': hole.port, '192.0.2.1': dead });
    const rig = rigOf(detour, ['2001:db8::1', '192.0.2.1'], { happyEyeballsMs: 20 });
    const { error } = await rig.fetch({ url: 'http://both.test/', timeouts: { connectMs: 200 } });
    expect(error).toMatchObject({ code: 'CONNECT_TIMEOUT', phase: 'connect' });
    expect(detour.addresses).toEqual(['2001:db8::1', '192.0.2.1']);
    expect(detour.open.size).toBe(0);
    expect(rig.watched.size).toBe(0);
    for (const filler of hole.fillers) filler.destroy();
  });

  test('six at most are alive, the oldest is given up, and the last address may win', async () => {
    const [server, hole] = [await serve(), await fullListener()];
    const silent = Array.from({ length: 9 }, (_, index) => `192.0.2.${index + 1}`);
    const detour = new Detour({ ...behind(silent, hole.port), '192.0.2.10': server.port });
    const rig = rigOf(detour, [...silent, '192.0.2.10'], { happyEyeballsMs: 15 });
    // The application sees every racer (rule 20), and its REMOVE.
    const got = get({ url: 'http://many.test/' });
    rig.multi.add(got.transfer);
    let mostWatched = 0;
    rig.onSocket = () => {
      mostWatched = Math.max(mostWatched, rig.watched.size);
      return undefined;
    };
    expect(await rig.end(got.transfer)).toBeNull();
    expect(detour.addresses).toEqual([...silent, '192.0.2.10']);
    // A new one opens before the oldest closes, which it does at the end of the turn.
    expect(mostWatched).toBeGreaterThanOrEqual(6);
    expect(detour.mostOpen).toBeLessThanOrEqual(7);
    expect(detour.open.size).toBe(1);
    for (const filler of hole.fillers) filler.destroy();
  });

  test('a given up address is told among the causes', async () => {
    const addresses = Array.from({ length: 7 }, (_, index) => `192.0.2.${index + 1}`);
    const detour = new Detour(behind(addresses, SILENT));
    const rig = rigOf(detour, addresses, { happyEyeballsMs: 5 });
    const got = get({ url: 'http://many.test/' });
    rig.multi.add(got.transfer);
    await rig.until(() => detour.attempts.length === 7);
    await rig.until(() => detour.open.size === 6);
    detour.silence = -ETIMEDOUT;
    const error = await rig.end(got.transfer);
    expect(error).toMatchObject({ code: 'COULDNT_CONNECT', errno: 'ETIMEDOUT' });
    expect(error?.message).toMatch(/\(no answer, ETIMEDOUT(, ETIMEDOUT){5}\)/);
    const { errors } = (error as unknown as { cause: AggregateError }).cause;
    expect(errors[0].message).toBe('192.0.2.1:80 had not answered when 6 other addresses were being tried.');
    expect(detour.open.size).toBe(0);
  });

  test('two that connect in one turn: one winner, the other closes unused', async () => {
    const six = await serve(undefined, '::1');
    const four = await serve();
    const detour = new Detour({ '2001:db8::1': six.port, '192.0.2.1': four.port });
    const rig = rigOf(detour, ['2001:db8::1', '192.0.2.1'], { happyEyeballsMs: 1 });
    const got = get({ url: 'http://both.test/' });
    rig.multi.add(got.transfer);
    rig.fireTimer();
    // The first one's success is not looked at until the second has joined.
    while (detour.attempts.length < 2) rig.fireTimer();
    const events = await rig.arrived(2);
    rig.multi.actions(Int32Array.from(events.flatMap((event) => [...event, 0])), 2);
    expect(await rig.end(got.transfer)).toBeNull();
    await rig.until(() => six.open + four.open === 1 && six.connections.length + four.connections.length === 2);
    expect(six.requests.length + four.requests.length).toBe(1);
    expect(detour.open.size).toBe(1);
    expect(rig.multi.stats()).toMatchObject({ connections: 1, opened: 1 });
  });

  test('removing and closing in mid-race leave nothing', async () => {
    const hole = await fullListener();
    const silent = ['192.0.2.1', '192.0.2.2', '192.0.2.3'];
    const detour = new Detour(behind(silent, hole.port));
    const rig = rigOf(detour, silent, { happyEyeballsMs: 5 });
    const [removed, closed] = [get({ url: 'http://a.test/' }), get({ url: 'http://b.test/' })];
    rig.multi.add(removed.transfer);
    rig.multi.add(closed.transfer);
    await rig.until(() => detour.open.size === 6);
    rig.multi.remove(removed.transfer);
    expect(detour.open.size).toBe(3);
    rig.multi.close();
    expect(detour.open.size).toBe(0);
    expect(rig.watched.size).toBe(0);
    for (const filler of hole.fillers) filler.destroy();
  });

  test('one timer for the race of each dial, none when it is over', async () => {
    const [server, hole] = [await serve(), await fullListener('::1')];
    const detour = new Detour({ '2001:db8::1': hole.port, '192.0.2.1': server.port });
    const rig = rigOf(detour, ['2001:db8::1', '192.0.2.1'], { happyEyeballsMs: 300 });
    const options = { url: 'http://both.test/', timeouts: { connectMs: 0, headMs: 0, bodyIdleMs: 0 } };
    const got = get({ ...options, forbidReuse: true });
    rig.multi.add(got.transfer);
    rig.fireTimer();
    expect(rig.multi.timers.size).toBe(1);
    expect(await rig.end(got.transfer)).toBeNull();
    expect(rig.multi.timers.size).toBe(0);
    for (const filler of hole.fillers) filler.destroy();
  });
});
