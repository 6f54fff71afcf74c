/** The scenarios of examples/load/, run by the command line against servers that they suit. */

import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { LoadResult } from 'shardfetch/load';
import { afterAll, describe, expect, test, vi } from 'vitest';
import { EXIT } from '../../src/cli/exit-codes.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));

/** Tests run at once, so they are closed when all are over. */
const servers: http.Server[] = [];
afterAll(() => {
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
});

async function startServer(script: http.RequestListener): Promise<string> {
  const server = http.createServer(script).listen(0, '127.0.0.1');
  await once(server, 'listening');
  servers.push(server);
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** The program and its threads begin in a second on idle cores, in half a minute on busy ones. */
const PROGRAM_MS = 110_000;
vi.setConfig({ testTimeout: PROGRAM_MS + 10_000 });

/** For what a scenario makes. */
const temporary = mkdtempSync(path.join(tmpdir(), 'shardfetch-load-'));
afterAll(() => rmSync(temporary, { recursive: true }));

/** Crossed thresholds are no failure here: those of the examples are for machines that have nothing else to do. */
async function runScenario(name: string, url: string, ...flags: string[]): Promise<LoadResult> {
  const args = [
    `${ROOT}dist/cli/main.js`,
    'load',
    '-j',
    '-q',
    '--scenario',
    `examples/load/${name}.mjs`,
    ...flags,
    url,
  ];
  const env = { ...process.env, TMPDIR: temporary };
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: ROOT, env, timeout: PROGRAM_MS }).catch(
    (error) => {
      if (error.code !== EXIT.threshold) throw error;
      return error as { stdout: string };
    },
  );
  return JSON.parse(stdout) as LoadResult;
}

function expectAllPassed(result: LoadResult, names: readonly string[]): void {
  expect(result.checks.map(({ name }) => name).sort()).toEqual([...names].sort());
  for (const { name, passed, failed } of result.checks) {
    expect({ name, failed }).toEqual({ name, failed: 0 });
    expect(passed).toBeGreaterThan(0);
  }
  expect(result.errorExamples).toEqual({});
  // One of a share of checks holds on any machine.
  for (const { text, crossed } of result.thresholds) {
    if (text.startsWith('checks')) expect({ text, crossed }).toEqual({ text, crossed: false });
  }
  expect(result.requests.failed).toBe(0);
  expect(result.iterations?.errors).toEqual({});
}

async function bodyOf(request: http.IncomingMessage): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of request) pieces.push(piece as Buffer);
  return Buffer.concat(pieces);
}

describe.concurrent('examples/load', () => {
  test('login-then-browse.mjs', async () => {
    const logins: string[] = [];
    const url = await startServer(async (request, response) => {
      if (request.url === '/login') {
        const form = new URLSearchParams((await bodyOf(request)).toString());
        logins.push(`${form.get('name')}:${form.get('password')}`);
        response.setHeader('set-cookie', `session=${form.get('name')}; Path=/; HttpOnly`).end();
        return;
      }
      const [, seenBy] = /session=(\w+)/.exec(request.headers.cookie ?? '') ?? [];
      if (seenBy === undefined) response.statusCode = 401;
      response.end(JSON.stringify(request.url === '/items' ? [{ id: 7 }, { id: 8 }] : { id: 7, seenBy }));
    });
    const result = await runScenario('login-then-browse', url, '-c', '4', '--iterations', '20', '-t', '2');
    expectAllPassed(result, ['logged in', 'list is not empty', 'item is there', 'item is for this user']);
    // Each of the four users once.
    const users = ['ann:swordfish', 'bob:correct horse', 'cem:staple', 'dee:comma, quote " and all'];
    expect(logins.sort()).toEqual(users);
    expect(result.iterations?.completed).toBe(20);
    expect(result.perTag.map(({ tag, completed }) => [tag, completed]).sort()).toEqual([
      ['GET /items', 20],
      ['GET /items/:id', 20],
      ['POST /login', 4],
    ]);
  });

  test('pagination.mjs', async () => {
    const total = 50;
    const url = await startServer((request, response) => {
      const { searchParams } = new URL(request.url ?? '', 'http://any');
      const limit = Number(searchParams.get('limit'));
      const from = Number(searchParams.get('from') ?? 0);
      const items = Array.from({ length: Math.min(limit, total - from) }, (_, index) => from + index);
      const next = from + limit < total ? `/list?limit=${limit}&from=${from + limit}` : null;
      response.end(JSON.stringify({ items, total, next }));
    });
    const result = await runScenario('pagination', url, '-c', '3', '--iterations', '9');
    expectAllPassed(result, ['page is there', 'all items came']);
    expect(result.perTag).toMatchObject([{ tag: 'page', completed: 27 }]);
    expect(result.checks).toContainEqual({ name: 'all items came', passed: 9, failed: 0 });
  });

  test('upload.mjs', async () => {
    const hashes = new Map<string, string>();
    const url = await startServer((request, response) => {
      const name = request.url ?? '';
      if (request.method === 'HEAD') {
        response.setHeader('x-sha256', hashes.get(name) ?? 'none').end();
        return;
      }
      const hash = createHash('sha256');
      request.on('data', (piece) => hash.update(piece));
      request.once('end', () => {
        hashes.set(name, hash.digest('hex'));
        response.writeHead(201).end();
      });
    });
    const result = await runScenario('upload', url, '-c', '2', '--iterations', '4');
    expectAllPassed(result, ['upload was taken', 'it arrived whole']);
    expect(hashes.size).toBe(4);
    expect(new Set(hashes.values()).size).toBe(1);
    expect(result.bytes.sent).toBeGreaterThan(4 * 4 * 1024 * 1024);
    // What setup made is gone.
    expect(readdirSync(temporary).filter((name) => name.startsWith('upload-'))).toEqual([]);
  });
});

test('the examples have the right types', async () => {
  const compiler = `${ROOT}node_modules/typescript/bin/tsc`;
  const files = readdirSync(`${ROOT}examples/load`).filter((name) => name.endsWith('.mjs'));
  const flags =
    '--ignoreConfig --noEmit --allowJs --checkJs --strict --module nodenext --target es2023 --types node --skipLibCheck';
  const args = [compiler, ...flags.split(' '), ...files.map((name) => `examples/load/${name}`)];
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: ROOT }).catch((error) => error);
  expect(stdout).toBe('');
});
