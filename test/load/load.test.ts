/** What a run sends and counts, by `load()` against servers on loopback. */

import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import https from 'node:https';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import {
  LOAD_PERCENTILES,
  LOAD_PHASES,
  LOAD_SCHEMA,
  type LoadError,
  type LoadOptions,
  type LoadProgress,
  load,
} from 'shardfetch/load';
import { describe, expect, test } from 'vitest';
import { answerAtOnce, checkSums, endings, startServer } from './rig.ts';

describe.concurrent('closed loop', () => {
  test('a number of requests is exactly that, over connections that are kept', async () => {
    const server = await startServer(answerAtOnce);
    const result = await load({ url: `${server.url}/a?b=c#d`, requests: 503, connections: 7, shards: 2 });
    checkSums(result);
    expect(result.requests).toMatchObject({ started: 503, completed: 503, failed: 0, unfinished: 0 });
    expect(server.seen).toHaveLength(503);
    expect(server.seen[0]).toMatchObject({ method: 'GET', url: '/a?b=c' });
    // And one that the checks before the run made.
    expect(server.connections.opened).toBe(8);
    expect(result.connections).toMatchObject({ opened: 7, reused: 496, lost: 0, failed: 0, closed: 0, peak: 7 });
    expect(result.latency.phases.connect.count).toBe(7);
    expect(result.bytes.received).toBe(503 * 5);
    expect(result.statuses).toEqual({ 200: 503 });
    expect(result.verdict).toBe('passed');
  });

  test('without keep-alive each request has a connection of its own', async () => {
    const server = await startServer(answerAtOnce);
    const result = await load({ url: server.url, requests: 50, connections: 4, keepAlive: false });
    checkSums(result);
    // And one that the checks before the run made.
    expect(server.connections.opened).toBe(51);
    expect(result.connections).toMatchObject({ opened: 50, reused: 0, closed: 50 });
  });

  test('connections begin at the rate that is allowed, also where the server closes them', async () => {
    const server = await startServer((_request, response) => {
      response.setHeader('connection', 'close');
      response.end('once');
    });
    const result = await load({ url: server.url, connections: 20, connectRate: 50, durationMs: 2_000 });
    checkSums(result);
    // 50 a second, and what may be caught up with. A machine that is busy makes fewer of them.
    expect(result.connections.opened).toBeGreaterThan(10);
    expect(result.connections.opened).toBeLessThanOrEqual(110);
  });

  test('thinking: a request per connection and thought', async () => {
    const server = await startServer(answerAtOnce);
    const result = await load({ url: server.url, connections: 5, thinkMs: [80, 120], durationMs: 2_000 });
    checkSums(result);
    // Each has its first at once; a machine that is busy makes thoughts longer, and none shorter.
    expect(result.requests.completed).toBeGreaterThan(5);
    expect(result.requests.completed).toBeLessThanOrEqual(5 * (2_000 / 80));
  });

  test('connections rise and fall with their stages', async () => {
    const server = await startServer((_request, response) => void setTimeout(() => response.end('late'), 10));
    const result = await load({
      url: server.url,
      connectionStages: [
        { durationMs: 600, to: 30 },
        { durationMs: 1_600, to: 30 },
        { durationMs: 600, to: 2 },
        { durationMs: 2_000, to: 2 },
      ],
    });
    checkSums(result);
    // As the run saw them: a server that is busy accepts late. And one that the checks before the run made.
    expect(result.connections.peak).toBe(30);
    expect(server.connections.opened).toBeGreaterThanOrEqual(31);
    expect(server.connections.peak).toBeLessThanOrEqual(31);
    const perSecond = result.perSecond.map(({ connections }) => connections);
    expect(Math.max(...perSecond.slice(0, -1))).toBeGreaterThan(3);
    expect(perSecond.at(-1)).toBeLessThanOrEqual(3);
  });
});

describe.concurrent('open loop', () => {
  test('the number of requests is what the rate says, over all shards', async () => {
    const server = await startServer(answerAtOnce);
    const result = await load({
      url: server.url,
      rate: 300,
      durationMs: 1_000,
      warmupMs: 300,
      shards: 2,
      connections: 50,
    });
    checkSums(result);
    expect(result.requests.started + result.requests.notStarted).toBe(300);
    expect(server.seen).toHaveLength(390);
    expect(result.perSecond.filter(({ t }) => t < 0)).toHaveLength(1);
    expect(result.latency.from).toBe('schedule');
    expect(result.latency.phases.queue.count).toBe(300);
  });

  test('a changing rate comes to its area', async () => {
    const server = await startServer(answerAtOnce);
    const rateStages = [
      { durationMs: 1_000, to: 200 },
      { durationMs: 500, to: 0 },
    ];
    const result = await load({ url: server.url, rateStages });
    checkSums(result);
    expect(result.requests.started).toBe(150);
    expect(result.options).toMatchObject({ rate: null, durationMs: 1_500 });
  });

  test('what cannot be started in time is counted, and the late queue is bounded', async () => {
    const server = await startServer(() => {});
    const result = await load({
      url: server.url,
      rate: 100,
      connections: 3,
      lateMax: 10,
      // Longer than a machine that is busy holds a thread up: a connection that was not looked at is none.
      timeoutMs: 1_500,
      durationMs: 1_000,
    });
    checkSums(result);
    const { started, notStarted, failed } = result.requests;
    expect(started + notStarted).toBe(100);
    expect(notStarted).toBeGreaterThan(60);
    expect(failed).toBe(started);
    expect(result.errors).toEqual({ TOTAL_TIMEOUT: started });
    expect(result.errorExamples.TOTAL_TIMEOUT).toContain('within 1500 ms');
  });
});

describe.concurrent('what is sent', () => {
  test('method, headers, body, credentials of the URL', async () => {
    const server = await startServer(answerAtOnce);
    const url = server.url.replace('//', '//me:pass%20word@');
    const headers = { 'x-one': '1', 'user-agent': 'mine' };
    const result = await load({ url, method: 'put', headers, body: 'wörter', requests: 3 });
    expect(result.targets[0]?.url).not.toContain('pass');
    expect(server.seen).toHaveLength(3);
    for (const { method, headers: sent, body } of server.seen) {
      expect({ method, body }).toEqual({ method: 'PUT', body: 'wörter' });
      const authorization = `Basic ${Buffer.from('me:pass word').toString('base64')}`;
      expect(sent).toMatchObject({ 'x-one': '1', 'user-agent': 'mine', 'content-length': '7', authorization });
    }
  });

  test('targets take turns by weight, and are counted by tag', async () => {
    const server = await startServer((request, response) => {
      response.statusCode = request.url === '/missing' ? 404 : 200;
      response.end('x');
    });
    const targets = [
      { url: `${server.url}/often`, weight: 3 },
      { url: `${server.url}/missing`, method: 'POST', body: 'text', tag: 'lost' },
    ];
    const result = await load({ targets, requests: 80, connections: 4 });
    checkSums(result);
    expect(server.seen.filter(({ url }) => url === '/often')).toHaveLength(60);
    expect(server.seen.filter(({ method, body }) => method === 'POST' && body === 'text')).toHaveLength(20);
    expect(result.perTag).toMatchObject([
      { tag: 'GET /often', completed: 60, statuses: { 200: 60 } },
      { tag: 'lost', completed: 20, statuses: { 404: 20 } },
    ]);
  });

  test('local addresses are used in turn and counted', async () => {
    const server = await startServer(answerAtOnce);
    const localAddresses = ['127.0.0.5', '127.0.0.6', '127.0.0.7'];
    const result = await load({ url: server.url, localAddresses, requests: 60, connections: 6 });
    expect(result.connections.perLocalAddress).toEqual({ '127.0.0.5': 2, '127.0.0.6': 2, '127.0.0.7': 2 });
    expect(new Set(server.seen.map(({ remoteAddress }) => remoteAddress))).toEqual(new Set(localAddresses));
  });

  test('HTTPS, verified by default', async () => {
    const file = (name: string) => new URL(`../tls/certificates/${name}.pem`, import.meta.url);
    const good = readFileSync(file('good'));
    const server = https.createServer({ key: good, cert: good }, (_request, response) => response.end('safe'));
    // It answers a handshake only after a while: one that ends in the turn in which it began took no time that a clock read once a
    // turn can see.
    const listener = net.createServer({ pauseOnConnect: true }, (socket) => {
      setTimeout(() => server.emit('connection', socket.resume()), 50);
    });
    await once(listener.listen(0, '127.0.0.1'), 'listening');
    endings.push(
      () => listener.close(),
      () => server.closeAllConnections(),
    );
    const url = `https://127.0.0.1:${(listener.address() as net.AddressInfo).port}/`;
    const result = await load({ url, tls: { ca: readFileSync(file('root')) }, requests: 20, connections: 2 });
    checkSums(result);
    expect(result.requests.completed).toBe(20);
    expect(result.latency.phases.tls).toMatchObject({ count: 2 });
    expect(result.latency.phases.tls.maxUs).toBeGreaterThan(0);
    const insecure = await load({ url, tls: { rejectUnauthorized: false }, requests: 2, connections: 1 });
    expect(insecure.requests.completed).toBe(2);
    await expect(load({ url, requests: 2 })).rejects.toMatchObject({ name: 'LoadError', kind: 'target' });
  });

  test('--resolve, --connect-to and unix sockets', async () => {
    const server = await startServer(answerAtOnce);
    const { port } = new URL(server.url);
    const resolve = { [`somewhere.invalid:${port}`]: '127.0.0.1' };
    expect((await load({ url: `http://somewhere.invalid:${port}/`, resolve, requests: 2 })).requests.completed).toBe(2);
    const connectTo = `127.0.0.1:${port}`;
    expect((await load({ url: 'http://elsewhere.invalid/', connectTo, requests: 2 })).requests.completed).toBe(2);
    expect(server.seen.at(-1)?.headers.host).toBe('elsewhere.invalid');

    const folder = mkdtempSync(path.join(tmpdir(), 'shardfetch-load-'));
    endings.push(() => rmSync(folder, { recursive: true }));
    const unixPath = path.join(folder, 'socket');
    await startServer(answerAtOnce, { path: unixPath });
    expect((await load({ url: 'http://nowhere.invalid/', unixPath, requests: 2 })).requests.completed).toBe(2);
  });
});

describe.concurrent('what goes wrong', () => {
  test('a connection that is closed in mid-answer is a failure and a loss; the run goes on', async () => {
    const server = await startServer((_request, response, number) => {
      if (number % 10 !== 9) return void response.end('whole');
      response.writeHead(200, { 'content-length': '10' });
      response.write('half');
      setTimeout(() => response.destroy(), 5);
    });
    const result = await load({ url: server.url, requests: 100, connections: 5 });
    checkSums(result);
    expect(result.requests).toMatchObject({ started: 100, completed: 90, failed: 10 });
    expect(result.errors).toEqual({ INCOMPLETE_BODY: 10 });
    expect(result.connections.lost).toBe(10);
  });

  test('a server that goes away is not hammered, and what failed is told', async () => {
    let accepted = 0;
    const server = net.createServer((socket) => {
      socket.destroy();
      // The first one is of the checks before the run.
      if (++accepted === 5) server.close();
    });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const { port } = server.address() as net.AddressInfo;
    const result = await load({
      url: `http://127.0.0.1:${port}/`,
      connections: 10,
      durationMs: 2_000,
      onProgress: () => {},
    });
    checkSums(result);
    expect(result.requests.completed).toBe(0);
    expect(result.errors.COULDNT_CONNECT).toBeGreaterThan(0);
    // Ten connections, each trying ten times a second.
    expect(result.errors.COULDNT_CONNECT).toBeLessThan(250);
  });

  test('nothing of the warm-up is in the result, no byte of it either', async () => {
    const server = await startServer((_request, response) => void setTimeout(() => response.end('0123456789'), 30));
    for (const model of [{}, { rate: 100 }]) {
      const result = await load({ url: server.url, connections: 5, durationMs: 1_000, warmupMs: 200, ...model });
      checkSums(result);
      expect(result.requests.completed).toBeGreaterThan(5);
      expect(result.bytes.received).toBe(result.requests.completed * 10);
      const measured = result.perSecond.filter(({ t }) => t >= 0);
      expect(measured.reduce((sum, { bytes }) => sum + bytes, 0)).toBe(result.bytes.received);
      const head = `GET / HTTP/1.1\r\nHost: ${new URL(server.url).host}\r\n`.length;
      expect(result.bytes.sent % result.requests.completed).toBe(0);
      expect(result.bytes.sent / result.requests.completed).toBeGreaterThan(head);
    }
  });

  test('what onProgress throws ends the run, and load rejects with it', async () => {
    const server = await startServer(answerAtOnce);
    const reason = new Error('the display is gone');
    let calls = 0;
    const onProgress = () => {
      calls++;
      throw reason;
    };
    const began = performance.now();
    await expect(load({ url: server.url, connections: 2, durationMs: 60_000, onProgress })).rejects.toBe(reason);
    expect(performance.now() - began).toBeLessThan(50_000);
    expect(calls).toBe(1);
  });

  test('a signal ends the run early with what was done', async () => {
    const server = await startServer((_request, response) => void setTimeout(() => response.end('late'), 20));
    const controller = new AbortController();
    const began = performance.now();
    const onProgress = ({ completed }: LoadProgress) => completed > 3 && controller.abort();
    const { signal } = controller;
    const result = await load({ url: server.url, connections: 3, durationMs: 60_000, signal, onProgress });
    expect(performance.now() - began).toBeLessThan(50_000);
    checkSums(result);
    expect(result.verdict).toBe('interrupted');
    expect(result.requests.completed).toBeGreaterThan(3);
    expect(result.requests.unfinished).toBeLessThanOrEqual(3);
    expect(result.durationMs).toBeLessThan(20_000);
  });
});

test('the result is plain JSON of the documented shape', async () => {
  const server = await startServer(answerAtOnce);
  const result = await load({ url: server.url, requests: 20, thresholds: ['p99<1us', 'errors<1'] });
  expect(JSON.parse(JSON.stringify(result))).toEqual(result);
  expect(result.schema).toBe(LOAD_SCHEMA);
  expect(result.schema).toBe('shardfetch-load/1');
  expect(Object.keys(result)).toEqual([
    'schema',
    'version',
    'environment',
    'targets',
    'options',
    'startedAt',
    'durationMs',
    'drainMs',
    'rate',
    'requests',
    'statuses',
    'errors',
    'errorExamples',
    'bytes',
    'latency',
    'perSecond',
    'perTag',
    'iterations',
    'checks',
    'connections',
    'generator',
    'thresholds',
    'verdict',
    'notes',
  ]);
  expect(Object.keys(result.latency.phases)).toEqual([...LOAD_PHASES]);
  expect(new Set(Object.keys(result.latency.corrected.percentilesUs))).toEqual(new Set(LOAD_PERCENTILES.map(String)));
  expect(result.thresholds).toMatchObject([
    { text: 'p99<1us', crossed: false },
    { text: 'errors<1', crossed: true, actual: 0 },
  ]);
  expect(result.verdict).toBe('failed');
  expect(Date.parse(result.startedAt)).toBeGreaterThan(Date.now() - 60_000);
});

describe.concurrent('refused before anything is sent', () => {
  const url = 'http://127.0.0.1:9/';
  test.each<[string, unknown, string]>([
    ['nothing to ask for', {}, 'Say what to ask for'],
    ['two things', { url, targets: [{ url }] }, 'Say what to ask for'],
    ['no URL', { url: 'localhost' }, 'must be an absolute URL'],
    ['another scheme', { url: 'ftp://127.0.0.1/' }, 'ftp:'],
    ['an unknown option', { url, conections: 3 }, 'There is no option conections'],
    ['no connections', { url, connections: 0 }, 'connections must be from 1'],
    ['half a connection', { url, connections: 1.5 }, 'whole number'],
    ['more shards than connections', { url, connections: 2, shards: 3 }, '3 shards cannot share 2 connections'],
    ['rate 0', { url, rate: 0 }, 'rate must be above 0'],
    ['an impossible rate', { url, rate: 1e9 }, 'a slip of a unit'],
    ['an endless rate', { url, rate: Number.POSITIVE_INFINITY }, 'rate must be'],
    ['a profile of nothing', { url, rateStages: [{ durationMs: 5, to: 0 }] }, 'never rises above 0'],
    ['stages and a duration', { url, rateStages: [{ durationMs: 5, to: 1 }], durationMs: 5 }, 'both say how long'],
    ['thinking with a rate', { url, rate: 5, thinkMs: 5 }, 'thinkMs belongs to a run by connections'],
    ['a late queue without one', { url, lateMax: 5 }, 'lateMax belongs to a run with a rate'],
    ['pipelining', { url, pipelining: 4 }, 'Pipelining is not offered'],
    ['a body of a GET', { url, method: 'GET', body: 'x' }, 'cannot have a body'],
    ['a bad header', { url, headers: { 'x y': '1' } }, 'not a token'],
    ['a bad threshold', { url, thresholds: ['fast'] }, 'is not understood'],
    ['a negative time', { url, durationMs: -1 }, 'durationMs must be from 1'],
    ['a timeout of nothing', { url, timeoutMs: 0 }, 'timeoutMs must be from 1'],
    ['an address that is none', { url, localAddresses: ['home'] }, 'must be a numeric address'],
  ])('%s', async (_what, options, sentence) => {
    const error = await load(options as LoadOptions).then(
      () => undefined,
      (reason: LoadError) => reason,
    );
    expect(error?.message).toContain(sentence);
    expect(error).toMatchObject({ name: 'LoadError', kind: 'arguments' });
  });

  test('a port that nobody listens on, a name that is none, an address that is not ours', async () => {
    const server = net.createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as net.AddressInfo;
    const closed = await startServer(answerAtOnce);
    await new Promise((resolve) => server.close(resolve));
    await expect(load({ url: `http://127.0.0.1:${port}/` })).rejects.toMatchObject({ kind: 'target' });
    const lookup = load({ url: 'http://no-such-host.invalid/' });
    await expect(lookup).rejects.toMatchObject({
      kind: 'target',
      message: expect.stringContaining('could not be resolved'),
    });
    const foreign = load({ url: closed.url, localAddresses: ['127.0.0.1', '192.0.2.1'] });
    await expect(foreign).rejects.toMatchObject({ kind: 'target', message: expect.stringContaining('192.0.2.1') });
    expect(closed.seen).toHaveLength(0);
  });

  test('more connections than files', async () => {
    const refused = load({ url, connections: 9_999_999, shards: 1 });
    await expect(refused).rejects.toMatchObject({ kind: 'limits', message: expect.stringMatching(/ulimit -Hn \d+/) });
  });
});
