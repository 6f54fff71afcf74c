/** What the tests of the public interface share: pools by kind, failures taken apart, counts that add up, descriptors. */

import { readdirSync, readlinkSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { Pool, type PoolOptions, type PoolStats, type TransferCode, TransferError } from 'shardfetch';
import { afterAll, beforeAll, expect, onTestFinished } from 'vitest';
import { ACCEPT_ENCODING } from '../../src/protocol/content-codings.ts';
import { answer, rawPeer, send, serve } from './raw-peer.ts';

/** What a request has of ours where the caller says nothing. */
export const DEFAULT_FIELDS = `accept-encoding: ${ACCEPT_ENCODING}\r\naccept: */*\r\nuser-agent: shardfetch\r\n`;

/** A pool for one test; it is cut when the test is over. */
export function poolFor(options: PoolOptions = {}): Pool {
  const pool = new Pool({ shards: 1, ...options });
  onTestFinished(() => pool.destroy());
  return pool;
}

/** What a promise rejects with. */
export async function rejection(promise: Promise<unknown>): Promise<unknown> {
  let value: unknown;
  try {
    value = await promise;
  } catch (error) {
    return error;
  }
  throw new Error(`it did not fail but answered ${String(value)}`);
}

export interface ExpectedFailure {
  code: TransferCode;
  /** `fetch failed` before there is a response, `terminated` while its body comes. */
  message: 'fetch failed' | 'terminated';
  /** The option at fault; the error's sentence must name it too. */
  limit?: string | undefined;
  phase?: string | undefined;
  errno?: string | undefined;
  /** What the cause's sentence must say. */
  says?: RegExp | undefined;
}

/** A failure as callers of fetch see it: a TypeError with fetch's words, and our error as its cause. */
export function checkFailure(error: unknown, expected: ExpectedFailure): TransferError {
  expect(error).toBeInstanceOf(TypeError);
  const failure = error as TypeError & { code?: string };
  expect(failure.name).toBe('TypeError');
  expect({ code: failure.code, said: causeText(failure.cause) }).toMatchObject({ code: expected.code });
  expect(failure.message).toBe(expected.message);
  expect(failure.cause).toBeInstanceOf(TransferError);
  expect(TransferError.is(failure.cause)).toBe(true);
  const cause = failure.cause as TransferError;
  expect(cause.code).toBe(expected.code);
  expect(cause.limit).toBe(expected.limit);
  if (expected.limit !== undefined) expect(cause.message).toContain(expected.limit);
  if (expected.phase !== undefined) expect(cause.phase).toBe(expected.phase);
  if (expected.errno !== undefined) expect(cause.errno).toBe(expected.errno);
  if (expected.says !== undefined) expect(cause.message).toMatch(expected.says);
  return cause;
}

function causeText(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}

/** `INVALID_ARGUMENT`: the sentence itself is the message, and names the option or argument. */
export function checkRefusal(error: unknown, limit: string | undefined, says?: RegExp): TransferError {
  expect(error).toBeInstanceOf(TypeError);
  const failure = error as TypeError & { code?: string };
  const cause = failure.cause as TransferError;
  expect({ code: failure.code, limit: cause?.limit, said: failure.message }).toMatchObject({
    code: 'INVALID_ARGUMENT',
    limit,
  });
  expect(cause).toBeInstanceOf(TransferError);
  expect(cause.code).toBe('INVALID_ARGUMENT');
  expect(cause.phase).toBe('arguments');
  expect(failure.message).toBe(cause.message);
  if (says !== undefined) expect(failure.message).toMatch(says);
  return cause;
}

/** The counts of a pool add up, and those of its shards do. */
export async function checkStats(pool: Pool, expected: Partial<PoolStats> = {}): Promise<PoolStats> {
  const stats = await pool.stats();
  const { started, completed, failed, aborted, inFlight } = stats;
  expect(started).toBe(completed + failed + aborted + inFlight);
  expect(stats).toMatchObject(expected);
  expect(stats.shardsLost).toBe(0);
  for (const shard of stats.shards) {
    expect(shard.idle).toBeLessThanOrEqual(shard.connections);
    expect(shard.started).toBe(shard.completed + shard.failed + shard.aborted + shard.running);
  }
  return stats;
}

/** Everything else is untouched: a clean transfer to another server works in this pool. */
export async function checkElsewhere(pool: Pool): Promise<void> {
  const other = await rawPeer(serve(send(answer('elsewhere'))));
  expect(await (await pool.fetch(other.url)).text()).toBe('elsewhere');
}

/** Waits for what another thread or the kernel does in its own time. */
export async function eventually(holds: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const end = performance.now() + 20_000;
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`waited in vain until ${what}`);
    await delay(2);
  }
}

/** Open sockets of this process, those of its worker threads among them. */
export function socketsOpen(): number {
  let count = 0;
  for (const name of readdirSync('/proc/self/fd')) {
    try {
      if (readlinkSync(`/proc/self/fd/${name}`).startsWith('socket:')) count++;
    } catch {
      // Closed meanwhile, as the descriptor of this very listing is.
    }
  }
  return count;
}

/** To be called once per file: after its last test no socket is open that was not open before its first. */
export function expectNoSocketLeaks(): void {
  let before = 0;
  beforeAll(() => {
    before = socketsOpen();
  });
  afterAll(async () => {
    await eventually(() => socketsOpen() <= before, `as few sockets are open as before (${before})`);
    // Not cut off by the time that hooks have by default.
  }, 30_000);
}

/** Where a shard may live; a core of the tests runs over all of them. */
export const PLACES: readonly { name: string; shards: number }[] = [
  { name: 'one shard', shards: 1 },
  { name: 'in this thread', shards: 0 },
  { name: 'two shards', shards: 2 },
];
