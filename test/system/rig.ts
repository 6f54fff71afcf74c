/**
 * What the tests of faults from outside share: a server, child processes that use the built package, and what must hold of
 * them whatever was done to them: they end by themselves, every fetch has settled, no body is wrong, and the counts add up.
 */

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished } from 'vitest';

export interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

/** Few children take this long; one that does is killed, with what it has started. */
const CHILD_MS = 40_000;

/** Runs a program to its end, in a process group of its own so that it can be ended with what it started. */
export async function run(
  command: readonly string[],
  env: Record<string, string> = {},
  limitMs = CHILD_MS,
): Promise<Ended> {
  const [program, ...args] = command as [string, ...string[]];
  const child = spawn(program, args, {
    detached: true,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const ended: Ended = { code: null, signal: null, stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    ended.stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    ended.stderr += text;
  });
  const timer = setTimeout(() => {
    ended.stderr += `\nkilled after ${limitMs} ms`;
    if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
  }, limitMs);
  try {
    [ended.code, ended.signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
  } finally {
    clearTimeout(timer);
  }
  return ended;
}

export function fixture(name: string): string {
  return fileURLToPath(new URL(`./fixtures/${name}`, import.meta.url));
}

/** Why a test of these tools cannot run here; null when it can. Each of them is tried, not only looked for. */
export function missing(...tries: readonly (readonly string[])[]): string | null {
  for (const [program, ...args] of tries as [string, ...string[]][]) {
    const { status, error, stderr } = spawnSync(program, args, { encoding: 'utf8', timeout: 10_000 });
    if (status === 0) continue;
    return `${program} does not work here: ${error?.message ?? stderr.trim().split('\n')[0] ?? `status ${status}`}`;
  }
  return null;
}

export const SMALL = 'small answer';
export const LARGE_BYTES = 200_000;

/** `/small`, `/large` (of known length), `/chunked` (in ten pieces), `/echo` (what was sent). */
export async function serve(): Promise<string> {
  const large = Buffer.alloc(LARGE_BYTES, 'large ');
  const server = http.createServer((request, response) => {
    switch (request.url) {
      case '/large':
        response.end(large);
        return;
      case '/chunked':
        void inPieces(response);
        return;
      case '/echo':
        request.pipe(response);
        request.on('error', () => response.destroy());
        return;
      default:
        response.end(SMALL);
    }
  });
  server.keepAliveTimeout = 60_000;
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function inPieces(response: http.ServerResponse): Promise<void> {
  for (let piece = 0; piece < 10; piece++) {
    response.write(`piece ${piece};`);
    await delay(2);
  }
  response.end();
}

/** What fixtures/fetches.mjs prints. */
export interface Report {
  /** `ok`, or code and errno of each fetch of the first round, in their order. */
  outcomes: string[];
  /** Of the second round, when whatever was done is over. */
  again: string[];
  counts: { started: number; completed: number; failed: number; aborted: number; inFlight: number; shardsLost: number };
  cpuMs: number;
}

/** The child ended well, every fetch settled with what it should or a code, and the counts add up. */
export function expectOrder(ended: Ended, what: string): Report {
  expect({ code: ended.code, signal: ended.signal }, `${what}: ${ended.stderr}`).toEqual({ code: 0, signal: null });
  const report = JSON.parse(ended.stdout) as Report;
  const { started, completed, failed, aborted, inFlight } = report.counts;
  expect({ what, inFlight, sum: completed + failed + aborted }).toEqual({ what, inFlight: 0, sum: started });
  for (const outcome of [...report.outcomes, ...report.again])
    expect(`${what}: ${outcome}`).not.toMatch(/WRONG|no code/);
  return report;
}
