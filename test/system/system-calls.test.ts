/**
 * Every system call of the addon fails once, at its n-th time for each n: whatever fails, each fetch settles with a code, the
 * requests after it are served, and the program ends by itself.
 */

import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Ended, expectOrder, fixture, missing, type Report, run, serve } from './rig.ts';

const reason = missing(['strace', '-f', '-e', 'trace=connect', '-e', 'inject=connect:error=EIO:when=9', 'true']);
const REQUESTS = 4;
/** Times of each call that are tried. */
const TIMES = 6;

let folder = '';
beforeAll(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'shardfetch-strace-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let runs = 0;

/** So many threads read the program's files that none of them comes to close as many as the thread of the sockets does. */
const SPREAD = ['-E', 'UV_THREADPOOL_SIZE=64'];

/** Runs the requests under strace; the lines of its trace. */
async function traced(call: string, injection: string[], host: string, options: object): Promise<[Ended, string[]]> {
  const url = (await serve()).replace('127.0.0.1', host);
  const trace = path.join(folder, `trace-${runs++}`);
  const strace = ['strace', '-f', '-yy', ...SPREAD, '-o', trace, '-e', `trace=${call}`, ...injection];
  const child = [process.execPath, fixture('fetches.mjs'), url, String(REQUESTS), JSON.stringify(options)];
  const ended = await run([...strace, ...child]);
  return [ended, existsSync(trace) ? readFileSync(trace, 'latin1').split('\n') : []];
}

/** Runs the requests while the n-th call of each thread fails; null when what failed was not the addon's but the runtime's. */
async function inject(
  { call, ours, host, options }: Call,
  errno: string,
  when: number,
): Promise<{ report: Report; hits: number } | null> {
  const [ended, lines] = await traced(call, ['-e', `inject=${call}:error=${errno}:when=${when}`], host, options);
  const hit = lines.filter((line) => line.includes('(INJECTED)'));
  if (hit.some((line) => !ours.test(line))) return null;
  return { report: expectOrder(ended, `${call} ${errno} at ${when}`), hits: hit.length };
}

/** Which of its thread's calls are the addon's: it makes them on sockets, of which the runtime has none here. */
async function timesOnSockets({ call, ours, host, options }: Call): Promise<number[]> {
  const [ended, lines] = await traced(call, [], host, options);
  expectOrder(ended, `${call} untouched`);
  const thread = Number.parseInt(lines.find((line) => ours.test(line)) ?? '', 10);
  const own = lines.filter((line) => Number.parseInt(line, 10) === thread && line.includes(` ${call}(`));
  return own.flatMap((line, index) => (ours.test(line) ? [index + 1] : []));
}

interface Call {
  call: string;
  errnos: string[];
  /** A trace's line of a call of the addon's. */
  ours: RegExp;
  host: string;
  options: object;
}

const IN_THREAD = { shards: 1 };
const IN_MAIN = { shards: 0 };

/** Calls that nobody but the addon makes in the child. */
const OWN: Call[] = [
  { call: 'socket', errnos: ['EMFILE', 'ENFILE', 'ENOBUFS'] },
  { call: 'connect', errnos: ['ECONNREFUSED', 'EADDRNOTAVAIL', 'ENETUNREACH', 'EINTR', 'EAGAIN'] },
  { call: 'sendto', errnos: ['EPIPE', 'ECONNRESET', 'EAGAIN', 'EINTR', 'ENOBUFS'] },
  { call: 'recvfrom', errnos: ['ECONNRESET', 'EAGAIN', 'EINTR', 'ETIMEDOUT'] },
  { call: 'epoll_wait', errnos: ['EINTR', 'EBADF'] },
].map((one) => ({ ...one, ours: /./, host: '127.0.0.1', options: IN_THREAD }));

/** Calls that the runtime makes, too, and does not survive: only those on a socket are made to fail. */
const SHARED: Call[] = [
  { call: 'epoll_ctl', errnos: ['ENOMEM', 'ENOSPC', 'EPERM', 'ENOENT'] },
  { call: 'close', errnos: ['EIO', 'EINTR'] },
].map((one) => ({ ...one, ours: /<(?:TCP|socket)/, host: '127.0.0.1', options: IN_MAIN }));

/** Calls with which an engine begins: the last ones of their kind that its thread makes. */
const BEGINNING = [
  { call: 'epoll_create1', outcome: 'SHARD_LOST' },
  // The look-up waits for a descriptor, as a connection does (HOSTILE 147).
  { call: 'eventfd2', outcome: 'ok' },
].map((one) => ({ ...one, ours: /./, host: 'localhost', options: IN_MAIN, errnos: ['EMFILE'] }));

function count(seen: Map<string, number>, errno: string, report: Report): void {
  for (const outcome of [...report.outcomes, ...report.again]) {
    const key = `${errno} -> ${outcome}`;
    seen.set(key, (seen.get(key) ?? 0) + 1);
  }
}

describe.skipIf(reason !== null)(`a system call fails${reason === null ? '' : ` (skipped: ${reason})`}`, () => {
  test.each(OWN)('$call', { timeout: 300_000 }, async (call) => {
    const seen = new Map<string, number>();
    for (const errno of call.errnos) {
      let hits = 0;
      for (let when = 1; when <= TIMES; when++) {
        const injected = await inject(call, errno, when);
        hits += injected?.hits ?? 0;
        if (injected !== null) count(seen, errno, injected.report);
      }
      expect(hits, `${errno} was never met`).toBeGreaterThan(0);
    }
    console.log(call.call, Object.fromEntries(seen));
  });

  test.each(SHARED)('$call, on a socket', { timeout: 300_000 }, async (call) => {
    const seen = new Map<string, number>();
    const times = await timesOnSockets(call);
    expect(times.length).toBeGreaterThan(3);
    for (const errno of call.errnos) {
      let hits = 0;
      for (const when of times.slice(0, TIMES)) {
        const injected = await inject(call, errno, when);
        hits += injected?.hits ?? 0;
        if (injected !== null) count(seen, errno, injected.report);
      }
      expect(hits, `${errno} was never met`).toBeGreaterThan(0);
    }
    console.log(call.call, Object.fromEntries(seen));
  });

  test.each(BEGINNING)('$call, for the engine', async (call) => {
    const [untouched, lines] = await traced(call.call, [], call.host, call.options);
    expectOrder(untouched, 'untouched');
    const threads = lines.filter((line) => line.includes(` ${call.call}(`)).map((line) => Number.parseInt(line, 10));
    // The main thread makes most of them: it has event loops of its own before.
    const most = Math.max(...threads.map((thread) => threads.filter((other) => other === thread).length));
    const injected = await inject(call, 'EMFILE', most);
    expect(injected?.hits).toBe(1);
    expect(injected?.report.outcomes).toContain(call.outcome);
    expect(injected?.report.again).toEqual(Array(REQUESTS).fill('ok'));
  });
});
