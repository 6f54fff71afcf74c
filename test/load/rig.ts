/** A server whose answers are scripted and which notes what it saw, and what a run's result must satisfy whatever was run. */

import http from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { LoadResult } from 'shardfetch/load';
import { afterAll, expect, vi } from 'vitest';

// Nearly every test begins processes or threads, up to six one after the other, and several tests run at once: half a second of CPU each,
// which is many where everybody wants one.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

export interface Seen {
  readonly method: string;
  readonly url: string;
  readonly headers: http.IncomingHttpHeaders;
  readonly remoteAddress: string;
  body: string;
}

export interface ScriptedServer {
  readonly url: string;
  readonly seen: Seen[];
  readonly connections: { opened: number; open: number; peak: number };
}

/** Tests run at once, so what they leave is ended when all are over. */
export const endings: (() => unknown)[] = [];
afterAll(async () => {
  for (const end of endings) await end();
});

export type Script = (request: http.IncomingMessage, response: http.ServerResponse, number: number) => void;

export async function startServer(script: Script, listen: { path?: string } = {}): Promise<ScriptedServer> {
  const seen: Seen[] = [];
  const connections = { opened: 0, open: 0, peak: 0 };
  const sockets = new Set<Socket>();
  const server = http.createServer((request, response) => {
    const entry: Seen = {
      method: request.method ?? '',
      url: request.url ?? '',
      headers: request.headers,
      remoteAddress: request.socket.remoteAddress ?? '',
      body: '',
    };
    const number = seen.push(entry) - 1;
    request.setEncoding('utf8').on('data', (text: string) => {
      entry.body += text;
    });
    request.once('end', () => script(request, response, number));
  });
  server.keepAliveTimeout = 60_000;
  server.on('connection', (socket) => {
    sockets.add(socket);
    connections.opened++;
    connections.peak = Math.max(connections.peak, ++connections.open);
    socket.once('close', () => {
      sockets.delete(socket);
      connections.open--;
    });
  });
  await new Promise<void>((resolve) => {
    if (listen.path === undefined) server.listen(0, '127.0.0.1', 1_024, resolve);
    else server.listen(listen.path, resolve);
  });
  endings.push(async () => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
  const port = listen.path === undefined ? (server.address() as AddressInfo).port : 1;
  return { url: `http://127.0.0.1:${port}`, seen, connections };
}

export const answerAtOnce: Script = (_request, response) => void response.end('hello');

/** Sums that hold for every run. */
export function checkSums(result: LoadResult): void {
  const { requests, statuses, errors, perSecond, perTag, latency, connections } = result;
  const sum = (values: Iterable<number>) => [...values].reduce((total, value) => total + value, 0);
  const measured = perSecond.filter(({ t }) => t >= 0);
  expect(requests.started).toBe(requests.completed + requests.failed + requests.unfinished);
  expect(sum(Object.values(statuses))).toBe(requests.completed);
  expect(sum(Object.values(errors))).toBe(requests.failed);
  expect(latency.corrected.count).toBe(requests.completed);
  expect(latency.raw.count).toBe(requests.completed);
  expect(latency.phases.firstByte.count).toBe(requests.completed);
  expect(sum(measured.map(({ started }) => started))).toBe(requests.started);
  expect(sum(measured.map(({ completed }) => completed))).toBe(requests.completed);
  expect(sum(measured.map(({ failed }) => failed))).toBe(requests.failed);
  expect(sum(measured.map(({ notStarted }) => notStarted))).toBe(requests.notStarted);
  expect(sum(perTag.map(({ completed }) => completed))).toBe(requests.completed);
  expect(sum(perTag.map(({ failed }) => failed))).toBe(requests.failed);
  expect(sum(perTag.map((tag) => tag.latency.count))).toBe(requests.completed);
  expect(sum(Object.values(connections.perLocalAddress))).toBeLessThanOrEqual(connections.opened);
}
