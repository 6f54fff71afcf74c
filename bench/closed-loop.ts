/**
 * The question: what does a request cost when all connections are busy? 64, 1,000 and 10,000 requests in flight, each followed by
 * the next when its answer comes, from a server that answers at once and from one that answers after a random 0.3 to 0.9 s;
 * our engine on one thread beside libcurl's multi_socket in C.
 *
 * What counts is user time at 10,000 against 64. Which clock tells it: the kernel knows a process's CPU time to the nanosecond,
 * but how much of it was user time only by where its tick (250 a second, usually) found the process. Over a window of 1.5 s
 * that is off by a tenth either way, and perf's samples at 4 kHz gave the same shares within that; so ratios are taken of sums
 * over all rounds, and more rounds make them better.
 *
 * With late answers and 64 in flight a hundred requests come a second, each alone: what they cost is waking up, and code
 * that is hardly compiled yet. That row says what an idle process costs, not what a request does.
 */

import type { Load, Measurement, Window } from './clients/client.ts';
import { measureClient } from './clients/measure-client.ts';
import type { Environment } from './environment.ts';
import { compileLibcurl, measureLibcurl } from './peers/libcurl.ts';
import type { Target } from './server/target.ts';
import { startWaitingServer } from './server/waiting-server.ts';
import { bars, bold, count, failureList, figure, latency, median, table } from './text.ts';

export const CLOSED_LOOP_QUESTION = 'What does a request cost when all connections are busy?';

const SERVERS = ['at once', 'after 0.3 to 0.9 s'] as const;
type Answering = (typeof SERVERS)[number];

const ENGINE = 'engine alone';
const LIBCURL = 'libcurl';
type ContenderName = typeof ENGINE | typeof LIBCURL;

export interface ClosedLoopOptions {
  readonly rounds: number;
  readonly inFlight: readonly number[];
  readonly window: Window;
}

/** One client, server and level in one round. */
export interface ClosedLoopCell {
  readonly answering: Answering;
  readonly client: ContenderName;
  readonly inFlight: number;
  readonly round: number;
  /** null: it failed as a whole, and `error` says how. */
  readonly measurement: Measurement | null;
  readonly error: string | null;
}

export const CLOSED_LOOP_LEVELS: readonly number[] = [64, 1_000, 10_000];
/** What the bound compares. */
const FEW = 64;
const MANY = 10_000;
const CELL_MS_MAX = 90_000;
/** Between two cells, so that the server closes what the last one left. */
const PAUSE_MS = 150;
const FILES_APART = 500;

interface Contender {
  readonly name: ContenderName;
  measure(load: Load): Promise<Measurement>;
}

export async function runClosedLoop(
  target: Target,
  options: ClosedLoopOptions,
  environment: Environment,
  say: (line: string) => void,
): Promise<ClosedLoopCell[]> {
  const contenders = await findContenders(options.window, say);
  const levels = options.inFlight.filter((inFlight) => inFlight + FILES_APART <= environment.fileLimit);
  const waiting = await startWaitingServer();
  const cells: ClosedLoopCell[] = [];
  try {
    const urls: Readonly<Record<Answering, string>> = {
      'at once': target.url,
      'after 0.3 to 0.9 s': `${waiting.origins[0]}/later`,
    };
    for (let round = 1; round <= options.rounds; round++) {
      for (const answering of SERVERS) {
        say(`Round ${round} of ${options.rounds}, answers ${answering} …`);
        // The levels that are compared lie as close together in time as can be.
        for (const contender of contenders) {
          for (const inFlight of levels) {
            const place = { answering, client: contender.name, inFlight, round };
            cells.push(await measureCell(contender, { url: urls[answering], inFlight }, place));
            await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
          }
        }
      }
    }
  } finally {
    await waiting.stop();
  }
  return cells;
}

async function measureCell(
  contender: Contender,
  load: Load,
  place: Omit<ClosedLoopCell, 'measurement' | 'error'>,
): Promise<ClosedLoopCell> {
  try {
    return { ...place, measurement: await contender.measure(load), error: null };
  } catch (error) {
    return { ...place, measurement: null, error: (error as Error).message };
  }
}

async function findContenders(window: Window, say: (line: string) => void): Promise<Contender[]> {
  const engine: Contender = {
    name: ENGINE,
    measure: (load) => measureClient({ ...load, client: 'engine', shards: 0, window }, CELL_MS_MAX),
  };
  const libcurl = await compileLibcurl();
  if (libcurl === null) {
    say('Peer missing: libcurl (Debian: apt-get install libcurl4-openssl-dev gcc).');
    return [engine];
  }
  return [engine, { name: LIBCURL, measure: (load) => measureLibcurl(libcurl, load, window, CELL_MS_MAX) }];
}

// ── The report ─────────────────────────────────────────────────────────────────────────────────────────────────────────

export function reportClosedLoop(cells: readonly ClosedLoopCell[]): string {
  return [...SERVERS.map((answering) => reportServer(cells, answering)), reportGrowth(cells), reportFailures(cells)]
    .filter((part) => part !== '')
    .join('\n\n');
}

function reportServer(cells: readonly ClosedLoopCell[], answering: Answering): string {
  const here = cells.filter((cell) => cell.answering === answering);
  const series = [...new Set(here.map(({ client, inFlight }) => `${client}|${inFlight}`))].map((key) => {
    const [client, inFlight] = key.split('|') as [ContenderName, string];
    return { client, inFlight: Number(inFlight), measured: measurementsOf(here, client, Number(inFlight)) };
  });
  const rows = series.map(({ client, inFlight, measured }) => {
    const middle = (of: (measurement: Measurement) => number) => median(measured.map(of));
    return [
      `${client}, ${count(inFlight)} in flight`,
      count(middle(({ requests, seconds }) => requests / seconds)).replace('NaN', '-'),
      figure(middle(cpuPerRequest)),
      figure(middle(userPerRequest)),
      figure(middle(({ systemUs, requests }) => systemUs / requests)),
      latency(middle(({ p50Us }) => p50Us) || 0),
      latency(middle(({ p99Us }) => p99Us) || 0),
    ];
  });
  const header = ['', 'requests/s', 'CPU us/request', 'user', 'system', 'p50', 'p99'];
  return [
    bold(`Answers ${answering}, medians`),
    table([header, ...rows]),
    bars(
      series.map(({ client, inFlight, measured }) => ({
        label: `user us, ${client}, ${count(inFlight)}`,
        value: median(measured.map(userPerRequest)),
      })),
    ),
  ].join('\n');
}

function reportGrowth(cells: readonly ClosedLoopCell[]): string {
  const rows = SERVERS.flatMap((answering) =>
    ([ENGINE, LIBCURL] as const).flatMap((client) => {
      const here = cells.filter((cell) => cell.answering === answering);
      const growth = (of: (measurement: Measurement) => number) =>
        figure(mean(measurementsOf(here, client, MANY), of) / mean(measurementsOf(here, client, FEW), of));
      if (growth(cpuPerRequest) === '-') return [];
      const bounded = client === ENGINE && answering === 'at once';
      return [
        [
          `${client}, answers ${answering}`,
          bounded ? '1.3' : '',
          bounded ? '1.1' : '',
          growth(userPerRequest),
          growth(cpuPerRequest),
        ],
      ];
    }),
  );
  if (rows.length === 0) return '';
  return [
    bold(`A request at ${count(MANY)} in flight against one at ${FEW}, all rounds together`),
    table([['', 'bound', 'stretch', 'user time', 'all CPU'], ...rows]),
  ].join('\n');
}

function reportFailures(cells: readonly ClosedLoopCell[]): string {
  const lines = cells.flatMap(({ answering, client, inFlight, round, measurement, error }) => {
    const where = `  ${client}, ${count(inFlight)} in flight, answers ${answering}, round ${round}: `;
    if (error !== null) return [`${where}no figure: ${error}`];
    const failed = failureList(measurement?.failures ?? {});
    return failed === '' ? [] : [`${where}failed requests: ${failed}`];
  });
  return lines.length === 0 ? '' : [bold('Failures'), ...lines].join('\n');
}

/** Those with a figure. */
function measurementsOf(cells: readonly ClosedLoopCell[], client: ContenderName, inFlight: number): Measurement[] {
  return cells
    .filter((cell) => cell.client === client && cell.inFlight === inFlight)
    .flatMap(({ measurement }) => (measurement !== null && measurement.requests > 0 ? [measurement] : []));
}

/** Of all requests together: what each round adds to it weighs as its requests do. NaN of none. */
function mean(measurements: readonly Measurement[], of: (measurement: Measurement) => number): number {
  let total = 0;
  let requests = 0;
  for (const measurement of measurements) {
    total += of(measurement) * measurement.requests;
    requests += measurement.requests;
  }
  return total / requests;
}

function cpuPerRequest({ userUs, systemUs, requests }: Measurement): number {
  return (userUs + systemUs) / requests;
}

function userPerRequest({ userUs, requests }: Measurement): number {
  return userUs / requests;
}
