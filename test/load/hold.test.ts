/** `shardfetch hold` as a process: connections by state, addresses in turn, what is lost, limits, exit codes. */

import { mkdtempSync, readFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Command } from 'commander';
import type { HoldResult } from 'shardfetch/load';
import { describe, expect, test } from 'vitest';
import { openHoldView } from '../../src/cli/hold-command.ts';
import { addHoldFlags, holdOptionsOf } from '../../src/cli/hold-flags.ts';
import { HoldMerger } from '../../src/main/load/hold-merge.ts';
import { resolveHoldOptions } from '../../src/main/load/hold-options.ts';
import { checkHold, type HoldLimits } from '../../src/main/load/hold-preflight.ts';
import type { HoldPlan } from '../../src/protocol/load/hold.ts';
import { eventually, runCommand, startSocketServer } from './hold-rig.ts';
import { endings } from './rig.ts';

const folder = mkdtempSync(path.join(tmpdir(), 'shardfetch-hold-'));
endings.push(() => rm(folder, { recursive: true }));

function resultOf(stdout: Buffer): HoldResult {
  return JSON.parse(stdout.toString()) as HoldResult;
}

describe.concurrent('shardfetch hold', () => {
  test('all active; two processes, two targets, two local addresses: equal shares', async () => {
    const [one, two] = await Promise.all([startSocketServer(), startSocketServer()]);
    const args = ['hold', '-qj', '-c', '80', '-a', 'all', '-P', '2', '-d', '2s'];
    const { code, stdout, stderr } = await runCommand([
      ...args,
      '--local-addr',
      '127.0.0.3-127.0.0.4',
      one.url,
      two.url,
    ]);
    expect(code, stderr).toBe(0);
    const { connections, processes } = resultOf(stdout);
    expect(connections.perLocalAddress).toEqual({ '127.0.0.3': 40, '127.0.0.4': 40 });
    expect(connections.perRemoteAddress).toEqual({ [`127.0.0.1:${one.port}`]: 40, [`127.0.0.1:${two.port}`]: 40 });
    expect(processes).toHaveLength(2);
    for (const { requests } of [one, two]) {
      const askedCount = () => [...requests.values()].filter((count) => count > 0).length;
      await eventually(() => askedCount() >= 40, 'each connection was asked');
      expect(askedCount()).toBe(40);
    }
  });

  test('seconds count to when all were open and on from there, one by one', async () => {
    const server = await startSocketServer();
    const args = ['hold', '-j', '-c', '150', '--connect-rate', '100', '-P', '2', '-a', '1', '-d', '2s', server.url];
    const { code, stdout, stderr } = await runCommand(args);
    expect(code, stderr).toBe(0);
    const { perSecond, requests, heldMs } = resultOf(stdout);
    const from = perSecond.findIndex(({ t }) => t === 0);
    expect(from).toBeGreaterThan(0);
    const opening = perSecond.slice(0, from);
    const holding = perSecond.slice(from);
    // A machine that is busy may hold a process up for more than a second.
    const next = (seconds: typeof perSecond) =>
      seconds.map(({ t, lengthMs }) => t + Math.max(1, Math.round(lengthMs / 1_000)));
    for (const seconds of [opening, holding])
      expect(next(seconds).slice(0, -1)).toEqual(seconds.slice(1).map(({ t }) => t));
    expect(opening.at(-1)?.t).toBe(-1);
    const [last] = holding.slice(-1) as [(typeof holding)[number]];
    expect(last.t * 1_000 + last.lengthMs).toBeGreaterThan(1_990);
    // Each process is asked when it ends, and each may be held up then.
    expect(last.t * 1_000 + last.lengthMs).toBeGreaterThanOrEqual(heldMs - 1);
    // A short rest of a second is none.
    expect(opening.at(-1)?.opened).toBeGreaterThan(100);
    expect(holding[0]?.opened).toBe(150);
    const opened = perSecond.map((second) => second.opened);
    expect(opened).toEqual([...opened].sort((a, b) => a - b));
    expect(holding.reduce((sum, { completed }) => sum + completed, 0)).toBe(requests.completed);
    const told = [/^opening, (\d+) s /gm, /^(\d+) s of 2 s /gm].map((line) => [...stderr.matchAll(line)]) as [
      RegExpExecArray[],
      RegExpExecArray[],
    ];
    for (const lines of told) {
      const at = lines.map(([, seconds]) => Number(seconds));
      expect(at).toEqual([...at].sort((a, b) => a - b));
    }
    expect(told[0][0]?.index).toBe(0);
    expect(told[0].at(-1)?.index).toBeLessThan(told[1][0]?.index ?? 0);
    expect(Number(told[1].at(-1)?.[1])).toBeGreaterThanOrEqual(2);
  });

  test('--to: addresses in place of the host, in turn', async () => {
    const server = await startSocketServer(undefined, '0.0.0.0');
    const args = ['hold', '-qj', '-c', '30', '-a', '0', '-d', '200ms', '--to', '127.0.0.5-127.0.0.7'];
    const { code, stdout, stderr } = await runCommand([...args, `http://held.test:${server.port}/`]);
    expect(code, stderr).toBe(0);
    expect(Object.values(resultOf(stdout).connections.perRemoteAddress)).toEqual([10, 10, 10]);
    expect(resultOf(stdout).requests.started).toBe(0);
  });

  test('errors: what failed and what was answered with 400 or above, as in a load run', async () => {
    let asked = 0;
    const server = await startSocketServer((_request, response) => {
      response.writeHead(++asked % 4 === 0 ? 503 : 200).end();
    });
    const sentences = ['errors>0', 'errors>20%', 'errors>30%', 'failed>0'].flatMap((text) => ['--fail-if', text]);
    // So many that a few more or less move no share, however slow the server is.
    const args = ['hold', '-qj', '-c', '10', '-a', 'all', '-d', '3s', ...sentences, server.url];
    const { code, stdout, stderr } = await runCommand(args);
    expect(code, stderr).toBe(99);
    const { statuses, thresholds, requests } = resultOf(stdout);
    const refused = statuses['503'] ?? 0;
    expect(refused).toBeGreaterThan(2);
    expect(thresholds).toEqual([
      { text: 'errors>0', actual: refused, crossed: true },
      { text: 'errors>20%', actual: refused / requests.completed, crossed: true },
      { text: 'errors>30%', actual: refused / requests.completed, crossed: false },
      { text: 'failed>0', actual: 0, crossed: false },
    ]);
  });

  test('a server that closes after each answer is told apart from one that drops connections', async () => {
    const server = await startSocketServer((_request, response) => {
      response.setHeader('connection', 'close').end('bye');
    });
    const { code, stdout, stderr } = await runCommand(['hold', '-qj', '-c', '20', '-a', '5', '-d', '4s', server.url]);
    expect(code, stderr).toBe(0);
    expect(resultOf(stdout).connections).toMatchObject({ opened: 20, closed: 20, lost: 0, held: 0 });
  });

  test('130: Ctrl-C ends with the report of what was done', async () => {
    const server = await startSocketServer();
    let sent = false;
    const { code, stdout, stderr } = await runCommand(['hold', '-j', '-c', '20', '-d', '60s', server.url], {
      onText: (text, child) => {
        if (sent || !text.includes(' s of 60 s')) return;
        sent = true;
        child.kill('SIGINT');
      },
    });
    expect(code, stderr).toBe(130);
    expect(stderr).toContain('Ended early by a signal');
    expect(resultOf(stdout)).toMatchObject({ verdict: 'interrupted', connections: { held: 20 } });
  });

  const url = 'http://127.0.0.1:9/';
  test.each<[number, string[], RegExp]>([
    [2, [], /Say where to hold connections/],
    [2, ['-c', 'many', url], /--connections takes a whole number/],
    [3, ['-c', '5', url], /ECONNREFUSED/],
    [4, ['-c', '1m', '-P', '1', url], /use --processes \d+, or raise the hard limit to 1000080 \(ulimit -Hn 1000080/],
  ])('bad input ends with %i and one sentence: %s', async (code, args, sentence) => {
    const ended = await runCommand(['hold', ...args]);
    expect(ended.stderr).toMatch(sentence);
    expect(ended.stderr.trim().split('\n')).toHaveLength(1);
    expect(ended.code).toBe(code);
    expect(ended.stdout.toString()).toBe('');
  });
});

// Alone, these: a server that is busy with others accepts one connection a turn, and those that it has not accepted yet are asked nothing.
test('200 connections are held, ten of them active; a summary, and JSON in a file', async () => {
  const server = await startSocketServer();
  const file = path.join(folder, 'held.json');
  const { code, stdout, stderr } = await runCommand(['hold', '-c', '200', '-d', '3s', '--json', file, server.url]);
  expect(stderr).toMatch(/opening, .*200 of 200/);
  expect(stderr).toMatch(/^[3-9] s of 3 s +0 connecting +190 idle +10 active +0 lost/m);
  expect(code, stderr).toBe(0);
  expect(stdout.toString()).toMatch(/200 connections held for [3-9]\.\d s, 10 of them active, 1 process/);
  expect(stdout.toString()).toMatch(/Action +[\d.]+ us on average/);
  const result = resultOf(readFileSync(file));
  expect(result).toMatchObject({
    schema: 'shardfetch-hold/1',
    verdict: 'passed',
    connections: { wanted: 200, opened: 200, failed: 0, lost: 0, held: 200, heldLeast: 200, peak: 200 },
    requests: { failed: 0, notStarted: 0 },
    errors: {},
  });
  expect(server.mostOpen).toBeGreaterThanOrEqual(200);
  const asked = [...server.requests.values()];
  expect(result.requests.completed).toBeGreaterThan(0);
  expect(asked.reduce((sum, count) => sum + count, 0)).toBeGreaterThanOrEqual(result.requests.completed);
  // The same few all the time. One connection more was the check's before the run.
  expect(asked.filter((count) => count > 0)).toHaveLength(10);
  expect(asked).toHaveLength(201);
  expect(result.action.meanUs).toBeGreaterThan(0);
  expect(result.latency.count).toBe(result.requests.completed);
});

test.each<[string, string[], Partial<HoldResult['connections']>]>([
  [
    'what is lost is counted, and crosses a threshold',
    ['--fail-if', 'lost>19', '--fail-if', 'held<40'],
    { lost: 20, held: 20, reopened: 0 },
  ],
  ['--reconnect opens it again', ['--reconnect'], { lost: 20, held: 40, reopened: 20, opened: 60 }],
])('%s', async (_name, flags, connections) => {
  const server = await startSocketServer();
  /** 20 of them, without the first, which was the check's before the run. */
  const cut = async () => {
    await eventually(() => server.requests.size === 41, 'all are accepted');
    for (const socket of [...server.requests.keys()].slice(1, 21)) socket.destroy();
  };
  // They are opened again at the next whole second.
  const args = ['hold', '-j', '-c', '40', '-a', '0', '-d', '5s', ...flags, server.url];
  let cutting: Promise<void> | undefined;
  const { code, stdout, stderr } = await runCommand(args, {
    onText: (text) => {
      if (text.includes(' s of 5 s')) cutting ??= cut();
    },
  });
  await cutting;
  const result = resultOf(stdout);
  expect(result.connections).toMatchObject(connections);
  expect(code, stderr).toBe(flags.length === 1 ? 0 : 99);
  if (flags.length > 1) expect(stderr).toMatch(/FAILED +lost>19 +\(20\)/);
});

test('with a rate all connections take turns', async () => {
  const asked: Socket[] = [];
  const server = await startSocketServer((request, response) => {
    asked.push(request.socket);
    response.end('hello');
  });
  const { code, stdout, stderr } = await runCommand('hold -qj -c 50 -R 200 -d 1500ms'.split(' ').concat(server.url));
  expect(code, stderr).toBe(0);
  const { requests, connections } = resultOf(stdout);
  // 200 a second for 1.5 s: none is forgotten, however busy this machine is.
  expect(requests.started + requests.notStarted).toBeGreaterThanOrEqual(300);
  expect(requests.completed).toBeLessThanOrEqual(301);
  expect(requests.completed + requests.unfinished).toBe(requests.started);
  expect(connections.held).toBe(50);
  // The check's connection was asked nothing.
  expect([...server.requests.values()].filter((count) => count === 0)).toHaveLength(1);
  expect(new Set(asked).size).toBe(50);
  // From when all had their first turn.
  const firstRound = asked.findLastIndex((socket, index) => asked.indexOf(socket) === index);
  const turns = new Map<Socket, number>();
  for (const socket of asked.slice(firstRound + 1)) turns.set(socket, (turns.get(socket) ?? 0) + 1);
  const counts = [...new Set(asked)].map((socket) => turns.get(socket) ?? 0);
  // Answers may overtake each other.
  expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(2);
});

test.each<[string[], RegExp]>([
  [['-c', '5', '-P', '6'], /6 processes cannot share 5 connections/],
  [['-a', '3', '-R', '5'], /--rate and --active exclude each other/],
  [['-c', '5', '-a', '6'], /active/],
  [['--fail-if', 'luck<1'], /the metrics are lost, /],
  [['--to', 'example.org'], /--to takes addresses/],
])('bad arguments %s are told before anything is opened', (args, sentence) => {
  const command = addHoldFlags(new Command('hold').argument('[url...]')).exitOverride();
  command.parse([...args, 'http://127.0.0.1:9/'], { from: 'user' });
  expect(() => resolveHoldOptions(holdOptionsOf(command.args, command.opts()))).toThrow(sentence);
});

test('what is answered after the last whole second belongs to it, and seconds add up to the whole', () => {
  const none = { connecting: 0, idle: 0, active: 0, opened: 9, reopened: 0, failed: 0, retried: 0, lost: 0, closed: 0 };
  const tick = (merger: HoldMerger, process: number, elapsedMs: number, completed: number) => {
    const counts = { ...none, started: 0, completed, requestsFailed: 0, notStarted: 0, actions: 0, actionsMs: 0 };
    const usage = { residentBytes: 0, heapBytes: 0, latency: null, actionNs: null };
    merger.add({ kind: 'tick', process, phase: 'holding', elapsedMs, counts, ...usage }, process);
  };
  for (const [restMs, lengths] of [
    [250, [1_000, 1_250]],
    [350, [1_000, 1_000, 350]],
  ] as const) {
    const merger = new HoldMerger(2, () => {});
    merger.hold();
    for (const [elapsedMs, completed] of [
      [1_000, 10],
      [2_000, 30],
      [2_000 + restMs, 35],
    ] as const)
      for (const process of [0, 1]) tick(merger, process, elapsedMs, completed);
    merger.end();
    expect(merger.seconds.filter(({ t }) => t >= 0).map(({ lengthMs }) => lengthMs)).toEqual(lengths);
    expect(merger.seconds.reduce((sum, { completed }) => sum + completed, 0)).toBe(70);
  }
});

test('on a terminal a few lines are drawn over themselves, and taken away at the end', () => {
  let text = '';
  const output = { isTTY: true, columns: 60, write: (part: string) => (text += part) };
  const view = openHoldView(output, false, { TERM: 'xterm' });
  const second = { t: 0, lengthMs: 1_000, connecting: 0, idle: 9_990, active: 10, opened: 10_003, failed: 0, lost: 3 };
  const figures = {
    completed: 1_200,
    requestsFailed: 0,
    p50Us: 120,
    p99Us: 4_500,
    actionUs: 4.451,
    residentBytes: 75e6,
    heapBytes: 12e6,
  };
  const progress = { elapsedMs: 1_000, phase: 'holding', durationMs: 60_000, wanted: 10_000 } as const;
  view.progress({ ...progress, second: { ...second, ...figures } });
  view.progress({ ...progress, elapsedMs: 2_000, second: { ...second, ...figures } });
  view.end();
  expect(text).toContain('Holding, 2 s of 60 s\n');
  expect(text).toContain('0 connecting   9,990 idle   10 active');
  expect(text).toMatch(/Action +4\.45 us\n/);
  expect(text).toMatch(/Requests +1,200\/s {3}p50 120 us {3}p99 4\.50 ms\n/);
  expect(text.split('\u001b[5A\r\u001b[J')).toHaveLength(3);
  for (const line of text.split('\n')) expect(line.length).toBeLessThan(60 + 10);
});

describe('what this machine allows is checked before', () => {
  const limits: HoldLimits = {
    files: 20_000,
    ports: [32_768, 60_999],
    timeWaitReuse: 2,
    filesLeft: 1_000_000,
    watches: 1_000_000,
    somaxconn: 4_096,
    tracked: Number.POSITIVE_INFINITY,
  };
  const plan = (options: object): HoldPlan => resolveHoldOptions({ url: 'http://127.0.0.1:80/', ...options }).plan;

  test('what suffices is not spoken of', () => {
    expect(checkHold(plan({ connections: 18_000 }), limits)).toEqual([]);
    expect(
      checkHold(plan({ connections: 50_000, processes: 3, localAddresses: ['127.0.0.1', '127.0.0.2'] }), limits),
    ).toEqual([]);
    expect(
      checkHold(plan({ connections: 50_000, processes: 3, toAddresses: ['127.0.0.1', '127.0.0.2'] }), limits),
    ).toEqual([]);
  });

  test.each<[string, object, Partial<HoldLimits>, string]>([
    [
      'files of a process',
      { connections: 50_000 },
      {},
      'use --processes 3, or raise the hard limit to 50080 (ulimit -Hn 50080',
    ],
    ['files of the system', { connections: 5_000 }, { filesLeft: 5_000 }, 'raise fs.file-max by 80'],
    ['watches', { connections: 5_000 }, { watches: 4_000 }, 'fs.epoll.max_user_watches=5000'],
    [
      'ports',
      { connections: 50_000, processes: 3 },
      {},
      'give 2 local addresses with --local-addr (127.0.0.1-127.0.0.2 on loopback)',
    ],
    [
      'ports that could be widened',
      { connections: 50_000, processes: 3 },
      {},
      'net.ipv4.ip_local_port_range="1024 65535"',
    ],
  ])('%s', (_name, options, changed, sentence) => {
    expect(() => checkHold(plan(options), { ...limits, ...changed })).toThrow(sentence);
  });

  test('what may not suffice is a note', () => {
    expect(checkHold(plan({ connections: 500 }), { ...limits, somaxconn: 128 })[0]).toContain(
      'net.core.somaxconn is 128',
    );
    expect(checkHold(plan({ connections: 500 }), { ...limits, tracked: 100 })[0]).toContain('nf_conntrack_max');
  });
});

test('shardfetch load: each connection that thinks has a socket of its own, and all are asked', async () => {
  const server = await startSocketServer();
  const args = [
    'load',
    '-q',
    '-c',
    '60',
    '-t',
    '1',
    '--think',
    '200ms',
    '--connect-rate',
    '200',
    '-d',
    '3s',
    '-j',
    server.url,
  ];
  const { code, stdout, stderr } = await runCommand(args);
  expect(code, stderr).toBe(0);
  expect(JSON.parse(stdout.toString()).connections).toMatchObject({ opened: 60, peak: 60, lost: 0 });
  // One more was the check's before the run.
  const asked = [...server.requests.values()].sort((a, b) => a - b);
  expect(asked).toHaveLength(61);
  expect(asked[1]).toBeGreaterThan(1);
});
