/** The programs of examples/ as a reader would run them. */

import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { expect, onTestFinished, test, vi } from 'vitest';

/** Each starts a program, which takes many seconds on busy cores. */
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });

/** Answers `/n` with n bytes. */
async function server(): Promise<string> {
  const listener = http.createServer((request, response) => response.end('x'.repeat(Number(request.url?.slice(1)))));
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  onTestFinished(() => {
    listener.closeAllConnections();
    listener.close();
  });
  return `http://127.0.0.1:${(listener.address() as AddressInfo).port}`;
}

interface Run {
  readonly child: ChildProcess;
  out(): string;
  readonly ended: Promise<unknown>;
}

function run(example: string, ...values: string[]): Run {
  const file = fileURLToPath(new URL(`../../examples/${example}.mjs`, import.meta.url));
  const child = spawn(process.execPath, [file, ...values], { stdio: ['ignore', 'pipe', 'pipe'] });
  let out = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk) => {
      out += chunk;
    });
  }
  onTestFinished(() => void child.kill('SIGKILL'));
  return { child, out: () => out, ended: once(child, 'close').then(([code]) => code) };
}

async function until(wanted: () => boolean, program: Run): Promise<void> {
  for (const end = performance.now() + 50_000; !wanted(); await delay(10)) {
    if (performance.now() > end) throw new Error(`it did not come; the program said: ${program.out()}`);
  }
}

test.each(['epoll', 'uv', 'perform'])('%s.mjs transfers what it is told to, and ends', async (example) => {
  const url = await server();
  const urls = [1, 200, 100_000].map((bytes) => `${url}/${bytes}`);
  const program = run(example, ...urls, 'http://127.0.0.1:1/');
  expect(await program.ended).toBe(0);
  const lines = program.out().trim().split('\n').sort();
  expect(lines).toEqual(
    [
      ...[1, 200, 100_000].map((bytes) => `${url}/${bytes} 200, ${bytes} bytes`),
      'http://127.0.0.1:1/ COULDNT_CONNECT',
    ].sort(),
  );
});

test.each(['epoll', 'uv', 'perform'])('%s.mjs without a URL ends', async (example) => {
  const program = run(example);
  expect(await program.ended).toBe(0);
  expect(program.out()).toBe('');
});

test('hiperfifo.mjs transfers what is written to its pipe, by one writer and the next, until it is ended', async () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'shardfetch-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const fifo = path.join(folder, 'urls');
  const url = await server();
  const program = run('hiperfifo', '--fifo', fifo, '--per-host', '4');
  await until(() => program.out().includes('reading'), program);
  const count = (word: string): number =>
    program
      .out()
      .split('\n')
      .filter((line) => line.startsWith(word)).length;
  writeFileSync(fifo, Array.from({ length: 20 }, (_, index) => `${url}/${index}\n`).join(''));
  await until(() => count('done') === 20, program);
  writeFileSync(fifo, `no url\n\nhttp://127.0.0.1:1/\n${url}/33\n`);
  await until(() => count('done') === 22 && count('refused') === 1, program);
  for (const bytes of [0, 1, 19, 33]) expect(program.out()).toContain(`done ${url}/${bytes}: 200, ${bytes} bytes`);
  expect(program.out()).toContain('done http://127.0.0.1:1/: COULDNT_CONNECT');
  program.child.kill('SIGINT');
  expect(await program.ended).toBe(0);
  expect(existsSync(fifo)).toBe(false);
});

test('hiperfifo.mjs ends in order when it is told to twice', async () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'shardfetch-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const program = run('hiperfifo', '--fifo', path.join(folder, 'urls'));
  await until(() => program.out().includes('reading'), program);
  // Two signals, of which each has its handler.
  program.child.kill('SIGINT');
  program.child.kill('SIGTERM');
  expect(await program.ended).toBe(0);
  expect(program.out()).not.toContain('Error');
});

test('hiperfifo.mjs --help says how it is used, and makes no pipe', async () => {
  const program = run('hiperfifo', '--help');
  expect(await program.ended).toBe(0);
  expect(program.out()).toMatch(/^usage: .*--fifo/);
  expect(existsSync('hiper.fifo')).toBe(false);
});

test('fetch-all.mjs tells of each URL, given or read from a file', async () => {
  const url = await server();
  const given = run('fetch-all', `${url}/3`, 'http://127.0.0.1:1/', 'nonsense');
  expect(await given.ended).toBe(0);
  for (const line of [`${url}/3 200, 3 bytes`, 'http://127.0.0.1:1/ COULDNT_CONNECT', 'nonsense INVALID_ARGUMENT']) {
    expect(given.out()).toContain(line);
  }
  expect(given.out()).toContain('1 answered, 2 failed');
});

test('websocket.mjs says one thing and shows the answer', async () => {
  const listener = http.createServer((_, response) => response.writeHead(404).end());
  listener.on('upgrade', ({ url = '', headers }, socket) => {
    const key = `${headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`;
    const accept = createHash('sha1').update(key).digest('base64');
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nupgrade: WebSocket\r\nconnection: upgrade\r\nsec-websocket-accept: ${accept}\r\n\r\n`,
    );
    socket.once('data', (frame: Buffer) => {
      const masked = frame.subarray(6).map((byte, index) => byte ^ (frame[2 + (index % 4)] as number));
      const answer = Buffer.from(`${url} ${Buffer.from(masked)}`);
      socket.end(Buffer.concat([Buffer.from([0x81, answer.length]), answer]));
    });
  });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  onTestFinished(() => {
    listener.closeAllConnections();
    listener.close();
  });
  const { port } = listener.address() as AddressInfo;
  const program = run('websocket', `http://127.0.0.1:${port}/chat`, 'good day');
  expect(await program.ended).toBe(0);
  expect(program.out()).toBe('/chat good day\n');
});
