/** What the tests of streamed bodies share: bytes that tell where they belong, peers that send and take without end, sources that count. */

import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import type net from 'node:net';
import type { AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { Pool } from 'shardfetch';
import { expect, onTestFinished } from 'vitest';
import { eventually } from '../wire/checks.ts';
import type { Step } from '../wire/raw-peer.ts';

export const KIB = 1024;
export const MIB = 1024 * KIB;

/** What a shard may send unasked, and one read more: no reader, and no more than this leaves the shard. */
export const WINDOW_MAX = MIB + 128 * KIB;

/** What the kernel may hold of one connection, both ends together. */
export const KERNEL_BYTES_MAX = ['tcp_rmem', 'tcp_wmem']
  .map((name) => Number(readFileSync(`/proc/sys/net/ipv4/${name}`, 'latin1').trim().split(/\s+/)[2]))
  .reduce((sum, bytes) => sum + bytes, 0);

/** A prime, so that no length or boundary that anything here uses is a multiple of it. */
const PERIOD = 251;
const PATTERN = Uint8Array.from({ length: MIB + PERIOD }, (_, index) => index % PERIOD);

/** `length` bytes of the pattern from `offset` on; at most 1 MiB. Shared memory: not to be written or transferred. */
export function patternAt(offset: number, length: number): Uint8Array<ArrayBuffer> {
  const start = offset % PERIOD;
  return PATTERN.subarray(start, start + length);
}

/** The first `length` bytes of the pattern, in memory of their own. */
export function pattern(length: number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length }, (_, index) => index % PERIOD);
}

/** Counts bytes that come piece by piece, and finds the first that is not in its place. */
export class PatternCheck {
  length = 0;

  take(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at += MIB) {
      const part = bytes.subarray(at, at + MIB);
      if (Buffer.compare(part, patternAt(this.length, part.length)) !== 0) {
        throw new Error(`a byte is wrong somewhere behind byte ${this.length}`);
      }
      this.length += part.length;
    }
  }
}

export function checkPattern(bytes: Uint8Array, length: number): void {
  const check = new PatternCheck();
  check.take(bytes);
  expect(check.length).toBe(length);
}

/** Sends the pattern until the client is gone, as fast as the socket takes it: `count` bytes, or without end. */
export function flood(count = Number.POSITIVE_INFINITY, frame: 'plain' | 'chunked' = 'plain'): Step {
  return async (connection) => {
    const size = 64 * KIB;
    for (let sent = 0; sent < count && !connection.socket.destroyed; ) {
      const part = patternAt(sent, Math.min(size, count - sent));
      if (frame === 'chunked') await connection.write(`${part.length.toString(16)}\r\n`);
      await connection.write(part);
      if (frame === 'chunked') await connection.write('\r\n');
      sent += part.length;
    }
  };
}

/** What the kernel took of what this end wrote. */
export function accepted(socket: net.Socket): number {
  return socket.bytesWritten - socket.writableLength;
}

/**
 * Waits until a count has stopped: it stays the same over five looks. Between two of them this thread has had a turn and every
 * shard of the pool has answered, so that no thread that waits for a core is taken for one that has nothing to do.
 */
export async function standsStill(pool: Pool, count: () => number | Promise<number>, what: string): Promise<number> {
  let last = await count();
  let looks = 0;
  await eventually(async () => {
    await delay(20);
    await pool.stats();
    const now = await count();
    looks = now === last ? looks + 1 : 0;
    last = now;
    return looks >= 5;
  }, `${what} stands still`);
  return last;
}

/** Waits until the peer's kernel has acknowledged all that this end wrote. */
export async function allAcknowledged(socket: net.Socket): Promise<void> {
  const ends = [socket.localPort, socket.remotePort].map((port) =>
    (port ?? 0).toString(16).toUpperCase().padStart(4, '0'),
  );
  // proc(5): local and remote address, state, then the bytes in the queue for sending and the queue received.
  const line = new RegExp(` [0-9A-F]{8}:${ends[0]} [0-9A-F]{8}:${ends[1]} [0-9A-F]{2} ([0-9A-F]{8}):`);
  await eventually(
    () => socket.writableLength === 0 && line.exec(readFileSync('/proc/net/tcp', 'latin1'))?.[1] === '00000000',
    'all is acknowledged',
  );
}

/** A source of pieces that knows what was asked of it. */
export class CountingSource {
  /** Pieces asked for, and how often it was told that nobody reads it any more. */
  pulls = 0;
  returns = 0;
  readonly #piece: (index: number) => Uint8Array | string | Promise<Uint8Array | string>;
  readonly #count: number;

  constructor(count: number, piece: (index: number) => Uint8Array | string | Promise<Uint8Array | string>) {
    this.#count = count;
    this.#piece = piece;
  }

  [Symbol.asyncIterator](): AsyncIterator<Uint8Array | string> {
    return {
      next: async () => {
        if (this.pulls >= this.#count) return { done: true, value: undefined };
        return { done: false, value: await this.#piece(this.pulls++) };
      },
      return: async () => {
        this.returns++;
        return { done: true, value: undefined };
      },
    };
  }
}

/** The pattern in pieces of 64 KiB: `length` bytes, or without end. */
export function patternSource(length = Number.POSITIVE_INFINITY): CountingSource {
  const size = 64 * KIB;
  return new CountingSource(Math.ceil(length / size), (index) =>
    patternAt(index * size, Math.min(size, length - index * size)),
  );
}

export interface Upload {
  readonly bytes: number;
  readonly headers: http.IncomingHttpHeaders;
}

/** Node's own server, which judges our framing: it checks that what comes is the pattern, and answers when it has all. */
export async function uploadServer(): Promise<{ url: string; uploads: Upload[] }> {
  const uploads: Upload[] = [];
  const server = http.createServer((request, response) => {
    const check = new PatternCheck();
    request.on('data', (chunk: Buffer) => {
      try {
        check.take(chunk);
      } catch (error) {
        request.destroy(error as Error);
      }
    });
    request.on('error', () => undefined);
    request.on('end', () => {
      uploads.push({ bytes: check.length, headers: request.headers });
      response.end(String(check.length));
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, uploads };
}

/** Waits until `text` has come, and leaves it. */
export function until(text: string): Step {
  return async (connection) => {
    await connection.until((pending) => (pending.includes(text) ? true : null));
  };
}

/** Takes what has come as one request. */
export function takeAll(): Step {
  return (connection) => {
    connection.requests.push(connection.pending);
    connection.pending = '';
  };
}

/** Takes one request whose body is in chunked coding. */
export function chunkedRequest(): Step {
  return async (connection) => {
    await until('\r\n0\r\n\r\n')(connection);
    await takeAll()(connection);
  };
}

/** The body of a chunked request, decoded with no leniency at all. */
export function dechunked(request: string): string {
  let rest = request.slice(request.indexOf('\r\n\r\n') + 4);
  let body = '';
  for (;;) {
    const line = /^([0-9a-f]+)\r\n/.exec(rest);
    if (line === null) throw new Error(`no chunk begins at ${JSON.stringify(rest.slice(0, 20))}`);
    const size = Number.parseInt(line[1] as string, 16);
    const data = rest.slice(line[0].length, line[0].length + size);
    rest = rest.slice(line[0].length + size);
    if (data.length !== size || !rest.startsWith('\r\n')) throw new Error('a chunk does not end where it says');
    rest = rest.slice(2);
    body += data;
    if (size > 0) continue;
    if (rest !== '') throw new Error(`something follows the last chunk: ${JSON.stringify(rest.slice(0, 20))}`);
    return body;
  }
}

/** Goes on reading after `stopReading()`. */
export function readOn(): Step {
  return ({ socket }) => {
    socket.resume();
  };
}

export async function collect(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

export function bodyOf(response: Response): ReadableStream<Uint8Array> & AsyncIterable<Uint8Array> {
  if (response.body === null) throw new Error('the response has no body');
  return response.body as ReadableStream<Uint8Array> & AsyncIterable<Uint8Array>;
}
