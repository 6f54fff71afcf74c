/** The command as a process, and a server that knows its sockets. */

import { type ChildProcess, spawn } from 'node:child_process';
import http from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { endings } from './rig.ts';

const COMMAND = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

export interface Ended {
  readonly code: number | null;
  readonly stdout: Buffer;
  readonly stderr: string;
}

/** Waits for what a server does in its own time: it accepts one connection a turn, and reads what clients have sent that are gone. */
export async function eventually(holds: () => boolean, what: string): Promise<void> {
  const endMs = performance.now() + 20_000;
  while (!holds()) {
    if (performance.now() > endMs) throw new Error(`waited in vain until ${what}`);
    await delay(5);
  }
}

export interface RunOptions {
  readonly cwd?: string;
  readonly input?: string;
  /** Called with what standard error says so far. */
  readonly onText?: (text: string, child: ChildProcess) => void;
}

export function runCommand(args: readonly string[], { cwd, input, onText }: RunOptions = {}): Promise<Ended> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [COMMAND, ...args], { cwd, stdio: ['pipe', 'pipe', 'pipe'] });
    const stdout: Buffer[] = [];
    let stderr = '';
    child.stdin.end(input ?? '');
    child.stdout.on('data', (bytes: Buffer) => stdout.push(bytes));
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
      onText?.(stderr, child);
    });
    child.once('close', (code) => resolve({ code, stdout: Buffer.concat(stdout), stderr }));
  });
}

export interface SocketServer {
  readonly url: string;
  readonly port: number;
  /** Requests by socket, of those that are open or were. */
  readonly requests: Map<Socket, number>;
  open: number;
  mostOpen: number;
}

/** Answers at once, unless `handle` does something else. */
export async function startSocketServer(
  handle: http.RequestListener = (_request, response) => void response.end('hello'),
  host = '127.0.0.1',
): Promise<SocketServer> {
  const requests = new Map<Socket, number>();
  const server = http.createServer((request, response) => {
    requests.set(request.socket, (requests.get(request.socket) ?? 0) + 1);
    handle(request, response);
  });
  server.keepAliveTimeout = 60_000;
  const state: SocketServer = { url: '', port: 0, requests, open: 0, mostOpen: 0 };
  server.on('connection', (socket) => {
    requests.set(socket, 0);
    state.mostOpen = Math.max(state.mostOpen, ++state.open);
    socket.once('close', () => state.open--);
  });
  await new Promise<void>((resolve) => server.listen(0, host, 4_096, resolve));
  endings.push(async () => {
    for (const socket of requests.keys()) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  const { port } = server.address() as AddressInfo;
  return Object.assign(state, { port, url: `http://127.0.0.1:${port}` });
}
