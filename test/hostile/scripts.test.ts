/**
 * Plays the scripts of test/hostile/*.md: at the parser split at every offset, and over sockets through `pool.fetch` whole, byte
 * by byte and at three seeded splits, beside a clean transfer that must not notice.
 */

import { readdirSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { type FetchResponse, Pool, type TransferCode, TransferError } from 'shardfetch';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseHeaderSection, parseTrailerSection, reasonPhrase } from '../../src/protocol/http1/header-section.ts';
import { ResponseParser } from '../../src/protocol/http1/response-parser.ts';
import { DEFAULT_LIMITS, latin1, seeded } from '../unit/http1/harness.ts';
import { checkFailure, rejection } from '../wire/checks.ts';
import {
  answer,
  deferred,
  fin,
  type Peer,
  type PeerConnection,
  request,
  reset,
  type Step,
  send,
  serve,
  startPeer,
  wait,
} from '../wire/raw-peer.ts';
import { checkNothingIsLeft, descriptorCount } from './checks.ts';
import { type Outcome, readScripts, type Script } from './script.ts';

/** What `tight` means in a script. */
const TIGHT = { headBytes: 100, headerCount: 4, trailerBytes: 24, chunkExtensionBytes: 16, bodyBytes: 8 };

/** Scripts above this are not played byte by byte, and split at some offsets only. */
const SMALL_BYTES = 4096;
/** Most pieces that a script is sent in. */
const PIECES_MAX = 400;
const SEED = Number(process.env.SEED ?? 20_260_101);

const folder = new URL('./', import.meta.url);
const files = readdirSync(folder).filter((name) => name.endsWith('.md') && name !== 'README.md');
const scripts = files.sort().flatMap((name) => readScripts(new URL(name, folder), name));
const named = scripts.map((script): [string, Script] => [script.name, script]);

// ── At the parser ────────────────────────────────────────────────────────────────────────────────────────────────────────

interface Parsed {
  code: string;
  limit: string | undefined;
  status: number;
  body: string | null;
  keep: boolean;
  head: string;
  trailers: string;
  interim: number[];
  minorVersion: number;
}

function parse(reads: readonly Uint8Array[], script: Script): Parsed {
  const parser = new ResponseParser({ ...DEFAULT_LIMITS, ...(script.tight ? TIGHT : {}) });
  const closes = script.acts.some(({ kind }) => kind !== 'bytes' && kind !== 'wait');
  const parsed: Parsed = {
    code: 'INCOMPLETE',
    limit: undefined,
    status: 0,
    body: null,
    keep: false,
    head: '',
    trailers: '',
    interim: [],
    minorVersion: 1,
  };
  parser.begin(script.method, {
    onInterim: ({ status }) => {
      parsed.interim.push(status);
    },
    onHead: ({ status, minorVersion }, bytes, start, end) => {
      parsed.status = status;
      parsed.minorVersion = minorVersion;
      parsed.head = Buffer.from(bytes.subarray(start, end)).toString('latin1');
      parsed.body = '';
    },
    onBody: (_, bytes, start, end) => {
      parsed.body += Buffer.from(bytes.subarray(start, end)).toString('latin1');
      return true;
    },
    onEnd: (_, trailers) => {
      parsed.trailers = trailers;
    },
  });
  let rest = 0;
  try {
    for (const read of reads) rest += read.length - parser.execute(read, 0, read.length);
    if (script.acts.some(({ kind }) => kind === 'fin')) parser.finish();
  } catch (error) {
    if (!TransferError.is(error)) throw error;
    parsed.code = error.code;
    parsed.limit = error.limit;
    return parsed;
  }
  if (parser.complete) parsed.code = 'OK';
  // The parser does not hear of a reset: who does makes this of what it has.
  else if (script.acts.some(({ kind }) => kind === 'rst')) {
    parsed.code = parsed.body === null ? 'CONNECTION_LOST' : 'INCOMPLETE_BODY';
  }
  parsed.keep = parsed.code === 'OK' && parser.keepAlive && rest === 0 && !closes;
  return parsed;
}

function checkParsed(parsed: Parsed, outcome: Outcome, how: string): void {
  const { code, limit, status, body, keep } = outcome;
  const said = { code: parsed.code, limit: parsed.limit, status: parsed.status, body: parsed.body, keep: parsed.keep };
  expect(said, how).toEqual({ code, limit, status, body, keep });
  const fields = parseHeaderSection(parsed.head);
  for (const [name, value] of outcome.headers) expect(joined(fields, name), `${how}: ${name}`).toBe(value);
  const trailers = parseTrailerSection(parsed.trailers);
  for (const [name, value] of outcome.trailers) expect(joined(trailers, name), `${how}: ${name}`).toBe(value);
  if (outcome.interim !== null) expect(parsed.interim, how).toEqual(outcome.interim);
  if (outcome.reason !== undefined) expect(reasonPhrase(parsed.head), how).toBe(outcome.reason);
  if (outcome.httpVersion !== undefined) expect(`HTTP/1.${parsed.minorVersion}`, how).toBe(outcome.httpVersion);
}

function joined(fields: readonly (readonly [string, string])[], wanted: string): string | null {
  const values = fields.filter(([name]) => name === wanted).map(([, value]) => value);
  return values.length === 0 ? null : values.join(', ');
}

function offsets(length: number): number[] {
  if (length <= SMALL_BYTES) return Array.from({ length: Math.max(0, length - 1) }, (_, index) => index + 1);
  const random = seeded(SEED);
  const some = Array.from({ length: 200 }, () => 1 + random(length - 1));
  const ends = Array.from({ length: 100 }, (_, index) => [index + 1, length - 1 - index]).flat();
  return [...new Set([...some, ...ends])];
}

describe('at the parser, split at every offset', () => {
  // Long heads at some hundred offsets are seconds of computing, and more where others compute.
  test.each(named)('%s', { timeout: 120_000 }, (_, script) => {
    const bytes = latin1(allBytes(script).toString('latin1'));
    const { outcome } = script;
    checkParsed(parse([bytes], script), outcome, 'whole');
    for (const at of offsets(bytes.length)) {
      // Copies, so that what looks beyond the end of a read finds nothing.
      checkParsed(parse([bytes.slice(0, at), bytes.slice(at)], script), outcome, `split at ${at}`);
    }
    if (bytes.length > SMALL_BYTES) return;
    const single = Array.from(bytes, (byte) => Uint8Array.of(byte));
    checkParsed(parse(single, script), outcome, 'byte by byte');
  });
});

function allBytes(script: Script): Buffer {
  return Buffer.concat(script.acts.flatMap((act) => (act.kind === 'bytes' ? [act.bytes] : [])));
}

// ── Over sockets ─────────────────────────────────────────────────────────────────────────────────────────────────────────

interface Delivery {
  readonly name: string;
  /** Where a run of bytes is cut. */
  cuts(length: number): number[];
  /** Between two pieces. */
  pause(): Promise<unknown>;
}

function deliveries(script: Script): Delivery[] {
  const all: Delivery[] = [{ name: 'whole', cuts: () => [], pause: nextTurn }];
  const length = allBytes(script).length;
  if (length <= PIECES_MAX) {
    all.push({
      name: 'byte by byte',
      cuts: (run) => Array.from({ length: run }, (_, index) => index),
      pause: nextTurn,
    });
  }
  for (const round of [1, 2, 3]) {
    const seed = SEED + script.number * 1000 + round;
    const random = seeded(seed);
    all.push({
      name: `split with SEED ${SEED}, round ${round}`,
      cuts: (run) => (run < 2 ? [] : Array.from({ length: round + 1 }, () => random(run)).sort((a, b) => a - b)),
      pause: () => delay(2),
    });
  }
  return all;
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

function steps(script: Script, delivery: Delivery): Step[] {
  return script.acts.map((act): Step => {
    switch (act.kind) {
      case 'fin':
        return fin();
      case 'rst':
        return reset();
      case 'wait':
        return wait(act.ms);
      case 'bytes':
        return (connection) => sendCut(connection, act.bytes, delivery);
    }
    return act satisfies never;
  });
}

async function sendCut(connection: PeerConnection, bytes: Buffer, delivery: Delivery): Promise<void> {
  let from = 0;
  for (const to of [...delivery.cuts(bytes.length), bytes.length]) {
    if (to <= from) continue;
    await connection.write(bytes.subarray(from, to));
    from = to;
    if (from < bytes.length) await delivery.pause();
  }
}

async function play(script: Script, delivery: Delivery, pool: Pool): Promise<void> {
  const { outcome, method } = script;
  const cleanScript = serve(send(answer('clean')));
  const peer = await startPeer('127.0.0.1', [[request(), ...steps(script, delivery), ...cleanScript], cleanScript]);
  try {
    const fetched = pool.fetch(`${peer.url}path`, { method });
    if (outcome.code === 'OK') await checkResponse(await fetched, outcome);
    else await checkBroken(fetched, outcome);
    if (!outcome.keep) await peer.gone(0);
    await checkNext(pool, peer, outcome.keep);
  } finally {
    await peer.close();
  }
}

async function checkResponse(response: FetchResponse, outcome: Outcome): Promise<void> {
  const body = Buffer.from(await response.arrayBuffer()).toString('latin1');
  expect({ status: response.status, body }).toEqual({ status: outcome.status, body: outcome.body });
  for (const [name, value] of outcome.headers) expect(response.headers.get(name), name).toBe(value);
  const trailers = await response.trailers;
  for (const [name, value] of outcome.trailers) {
    expect(trailers.get(name), name).toBe(value);
    expect(response.headers.has(name), `${name} among the headers`).toBe(false);
  }
  if (outcome.reason !== undefined) expect(response.statusText).toBe(outcome.reason);
  if (outcome.httpVersion !== undefined) expect(response.connection.httpVersion).toBe(outcome.httpVersion);
}

async function checkBroken(fetched: Promise<FetchResponse>, outcome: Outcome): Promise<void> {
  const code = outcome.code as TransferCode;
  const { limit } = outcome;
  if (outcome.body === null) {
    checkFailure(await rejection(fetched), { code, limit, message: 'fetch failed' });
    return;
  }
  const response = await fetched;
  expect(response.status).toBe(outcome.status);
  for (const [name, value] of outcome.headers) expect(response.headers.get(name), name).toBe(value);
  let body = '';
  let failure: unknown;
  try {
    for await (const chunk of response.body ?? []) body += Buffer.from(chunk as Uint8Array).toString('latin1');
  } catch (error) {
    failure = error;
  }
  checkFailure(failure, { code, limit, message: 'terminated' });
  expect(body).toBe(outcome.body);
}

/** The connection serves the next request, or another one does; no byte of the script is taken for its answer. */
async function checkNext(pool: Pool, peer: Peer, keep: boolean): Promise<void> {
  const next = await pool.fetch(peer.url);
  expect(await next.text()).toBe('clean');
  expect(next.connection.reused, 'the connection was kept').toBe(keep);
  expect(peer.connections, 'connections opened').toHaveLength(keep ? 1 : 2);
}

describe('over sockets, beside a clean transfer', () => {
  const pools = { loose: new Pool({ shards: 1 }), tight: new Pool({ shards: 1, limits: TIGHT }) };
  let beside: Peer;
  let release = deferred();
  let before = 0;

  beforeAll(async () => {
    // The first half at once, the second when the test has had its way with the shard.
    beside = await startPeer('127.0.0.1', [
      serve(send('HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nbe'), () => release.promise, send('side')),
    ]);
    for (const pool of Object.values(pools)) {
      release.resolve();
      await (await pool.fetch(beside.url)).text();
    }
    before = descriptorCount();
  });
  afterAll(async () => {
    await Promise.all(Object.values(pools).map((pool) => pool.close()));
    await beside.close();
  });

  test.each(named)('%s', async (_, script) => {
    const pool = script.tight ? pools.tight : pools.loose;
    release = deferred();
    const clean = await pool.fetch(beside.url);
    expect(clean.connection.reused, 'the clean connection lives on').toBe(true);
    const outcomes = await Promise.allSettled(deliveries(script).map((delivery) => play(script, delivery, pool)));
    release.resolve();
    expect(await clean.text()).toBe('beside');
    for (const [index, outcome] of outcomes.entries()) {
      if (outcome.status === 'rejected') {
        const { reason } = outcome;
        if (reason instanceof Error) reason.message = `${deliveries(script)[index]?.name}: ${reason.message}`;
        throw reason;
      }
    }
    await checkNothingIsLeft(pool, before);
  });
});
