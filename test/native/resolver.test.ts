/** The resolver: getaddrinfo on threads of its own, answers behind a descriptor. Needs no network: `localhost` and names that cannot be. Look-ups that hang are in worker-death.test.ts. */

import { setTimeout as delay } from 'node:timers/promises';
import { describe, expect, onTestFinished, test } from 'vitest';
import { openEpollPoller } from '../../src/worker/io/epoll-poller.ts';
import { EBADF } from '../../src/worker/io/errno.ts';
import { EVENT_IN, type ResolveAnswer, type Resolver } from '../../src/worker/io/io.ts';
import { nativeIo } from '../../src/worker/io/native-io.ts';
import { until } from './peer.ts';

const io = nativeIo();

function openResolver(): Resolver {
  const resolver = io.openResolver();
  onTestFinished(() => resolver.close());
  return resolver;
}

async function answerOf(resolver: Resolver): Promise<ResolveAnswer> {
  const answer = await until(
    () => resolver.take(),
    (taken) => taken !== null,
  );
  if (answer === null) throw new Error('no answer');
  return answer;
}

describe('resolver', () => {
  test('localhost, by family', async () => {
    const resolver = openResolver();
    const lookup = resolver.resolve('localhost', 4);
    expect(lookup).toBeGreaterThan(0);
    expect(await answerOf(resolver)).toEqual({ lookup, status: 0, statusName: '', addresses: ['127.0.0.1'] });
    resolver.resolve('localhost', 0);
    const { addresses } = await answerOf(resolver);
    expect(addresses).toContain('127.0.0.1');
    expect(new Set(addresses).size).toBe(addresses.length);
  });

  test('a numeric address comes back, with its scope', async () => {
    const resolver = openResolver();
    for (const address of ['192.0.2.7', '2001:db8::7', 'fe80::1%lo']) {
      resolver.resolve(address, 0);
      expect((await answerOf(resolver)).addresses).toEqual([address]);
    }
  });

  test('a name that cannot be fails by name', async () => {
    const resolver = openResolver();
    resolver.resolve('nonexistent.invalid', 0);
    const unknown = await answerOf(resolver);
    expect(unknown.status).toBeLessThan(0);
    expect(unknown.statusName).toMatch(/^EAI_(NONAME|AGAIN|NODATA|FAIL)$/);
    expect(unknown.addresses).toEqual([]);
    for (const host of ['', 'localhost\0.example.org', 'x'.repeat(5000), '192.0.2.7 x']) {
      const lookup = resolver.resolve(host, 0);
      const answer = await answerOf(resolver);
      expect(answer.lookup).toBe(lookup);
      expect(answer.statusName, host).toMatch(/^EAI_/);
    }
  });

  test('many at once: each answer once, the descriptor readable exactly while answers wait', async () => {
    const resolver = openResolver();
    const poller = openEpollPoller();
    onTestFinished(() => poller.close());
    expect(poller.watch(resolver.socket, EVENT_IN, 11)).toBe(0);
    expect(poller.wait(0)).toBe(0);
    const lookups = Array.from({ length: 100 }, () => resolver.resolve('localhost', 4));
    expect(new Set(lookups).size).toBe(100);
    const answered: number[] = [];
    while (answered.length < 100) {
      expect(
        await until(
          () => poller.wait(0),
          (count) => count > 0,
        ),
      ).toBe(1);
      expect([...poller.events.slice(0, 3)]).toEqual([resolver.socket, EVENT_IN, 11]);
      for (let answer = resolver.take(); answer !== null; answer = resolver.take()) answered.push(answer.lookup);
    }
    expect(answered.sort((a, b) => a - b)).toEqual(lookups);
    expect(poller.wait(0)).toBe(0);
    expect(resolver.take()).toBe(null);
  });

  test('closed with look-ups under way: no answer, no new ones, twice is once', async () => {
    const resolver = io.openResolver();
    for (let lookup = 0; lookup < 8; lookup++) resolver.resolve('nonexistent.invalid', 0);
    resolver.close();
    resolver.close();
    expect(resolver.socket).toBe(-1);
    expect(resolver.resolve('localhost', 4)).toBe(-EBADF);
    expect(resolver.take()).toBe(null);
    const next = openResolver(); // gets the same descriptor
    await delay(20);
    expect(next.take()).toBe(null);
    const lookup = next.resolve('localhost', 4);
    expect((await answerOf(next)).lookup).toBe(lookup);
  });

  test('its descriptor is no socket', () => {
    const resolver = openResolver();
    expect(io.read(resolver.socket)).toBe(-EBADF);
    expect(io.close(resolver.socket)).toBe(-EBADF);
  });
});
