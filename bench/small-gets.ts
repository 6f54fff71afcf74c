/**
 * The question: what does one small GET cost? The same 13-byte body over keep-alive connections, with 1 to 10,000 requests in
 * flight, through our pool, our bare engine, undici, wrk and libcurl.
 *
 * Each client runs in a process of its own, so its CPU is that process's. Clients take turns within a round, rounds repeat, and
 * what counts is the ratio of two clients within one round: machines drift, neighbours come and go, pairs do not care. Nothing
 * is asserted; the project's bounds stand beside what was measured.
 */

import type { ClientKind, Load, Measurement, Window } from './clients/client.ts';
import { measureClient } from './clients/measure-client.ts';
import type { Environment } from './environment.ts';
import { type CompiledLibcurl, compileLibcurl, measureLibcurl } from './peers/libcurl.ts';
import { measureWrk, probeWrk } from './peers/wrk.ts';
import type { Target } from './server/target.ts';
import { bold, count, failureList, figure, latency, median, spread, table } from './text.ts';

export const QUESTION = 'What does one small GET cost?';

export interface SmallGetsOptions {
  readonly rounds: number;
  readonly inFlight: readonly number[];
  readonly window: Window;
}

/** One client at one level in one round. */
export interface Cell {
  readonly inFlight: number;
  readonly client: string;
  readonly round: number;
  /** null: it failed as a whole, and `error` says how. */
  readonly measurement: Measurement | null;
  readonly error: string | null;
}

export interface Contender {
  readonly name: string;
  measure(load: Load, window: Window): Promise<Measurement>;
}

/** Starting, both phases and a margin for a busy machine. */
export const CELL_MS_MAX = 60_000;
/** Between two cells, so that the server closes what the last one left. */
const PAUSE_MS = 150;
/** Descriptors a client needs besides its connections. */
const FILES_APART = 500;

export const POOL_1 = 'pool.fetch, 1 shard';
const POOL_2 = 'pool.fetch, 2 shards';
export const ENGINE = 'engine alone';
const isOurs = (name: string): boolean => name.startsWith('pool') || name.startsWith('engine');
export const UNDICI_REQUEST = 'undici request';
const UNDICI_FETCH = 'undici fetch';
export const WRK = 'wrk';
const LIBCURL = 'libcurl';

export async function runSmallGets(
  target: Target,
  options: SmallGetsOptions,
  environment: Environment,
  say: (line: string) => void,
): Promise<Cell[]> {
  return runContenders(await findContenders(target, say), target.url, options, environment, say);
}

/** Each of them at each level, in turns. */
export async function runContenders(
  contenders: readonly Contender[],
  url: string,
  options: SmallGetsOptions,
  environment: Environment,
  say: (line: string) => void,
): Promise<Cell[]> {
  const levels = options.inFlight.filter((inFlight) => {
    const fits = inFlight + FILES_APART <= environment.fileLimit;
    if (!fits) say(`${count(inFlight)} in flight are left out: the limit of open files is ${environment.fileLimit}.`);
    return fits;
  });
  const cells: Cell[] = [];
  for (let round = 1; round <= options.rounds; round++) {
    for (const inFlight of levels) {
      say(`Round ${round} of ${options.rounds}, ${count(inFlight)} in flight …`);
      for (const contender of contenders) {
        cells.push(await measureCell(contender, { url, inFlight }, options.window, round));
        await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
      }
    }
  }
  return cells;
}

async function measureCell(contender: Contender, load: Load, window: Window, round: number): Promise<Cell> {
  const place = { inFlight: load.inFlight, client: contender.name, round };
  try {
    return { ...place, measurement: await contender.measure(load, window), error: null };
  } catch (error) {
    return { ...place, measurement: null, error: (error as Error).message };
  }
}

/** Ours and undici always; wrk and libcurl where they are installed. */
async function findContenders(target: Target, say: (line: string) => void): Promise<Contender[]> {
  const contenders: Contender[] = [
    { name: POOL_1, measure: (load, window) => measureProcess('pool', 1, load, window) },
    { name: POOL_2, measure: (load, window) => measureProcess('pool', 2, load, window) },
    { name: ENGINE, measure: (load, window) => measureProcess('engine', 0, load, window) },
    { name: UNDICI_REQUEST, measure: (load, window) => measureProcess('undici-request', 0, load, window) },
    { name: UNDICI_FETCH, measure: (load, window) => measureProcess('undici-fetch', 0, load, window) },
  ];
  const wrk = await probeWrk();
  if (wrk === null) say('Peer missing: wrk (Debian: apt-get install wrk).');
  else {
    say(`Peer: ${wrk.replace(/ Copyright.*/, '')}`);
    contenders.push({
      name: WRK,

      measure: (load, window) => measureWrk(target, load, window, CELL_MS_MAX),
    });
  }
  const libcurl = await compileLibcurl();
  if (libcurl === null) say('Peer missing: libcurl (Debian: apt-get install libcurl4-openssl-dev gcc).');
  else {
    say(`Peer: ${libcurl.version}, multi_socket`);
    contenders.push(libcurlContender(libcurl));
  }
  return contenders;
}

function libcurlContender(libcurl: CompiledLibcurl): Contender {
  return {
    name: LIBCURL,

    measure: (load, window) => measureLibcurl(libcurl, load, window, CELL_MS_MAX),
  };
}

export function measureProcess(client: ClientKind, shards: number, load: Load, window: Window): Promise<Measurement> {
  return measureClient({ ...load, client, shards, window }, CELL_MS_MAX);
}

// ── The report ─────────────────────────────────────────────────────────────────────────────────────────────────────────

export function reportSmallGets(cells: readonly Cell[]): string {
  const levels = [...new Set(cells.map((cell) => cell.inFlight))];
  return [...levels.map((inFlight) => reportLevel(cells, inFlight)), reportBounds(cells), reportFailures(cells)]
    .filter((part) => part !== '')
    .join('\n\n');
}

export function reportLevel(cells: readonly Cell[], inFlight: number): string {
  const names = [...new Set(cells.map((cell) => cell.client))];
  const rows = names.map((client) => {
    const measured = measurementsOf(cells, inFlight, client);
    const middle = (figureOf: (measurement: Measurement) => number) => median(measured.map(figureOf));
    const main = measured.map(mainThreadPerRequest).filter((us) => us !== null);
    return [
      client,
      count(middle((measurement) => measurement.requests / measurement.seconds)).replace('NaN', '-'),
      figure(middle(cpuPerRequest)),
      figure(middle(userPerRequest)),
      figure(middle((measurement) => measurement.systemUs / measurement.requests)),
      main.length === 0 || client.startsWith('engine') || client.startsWith('undici') ? '-' : figure(median(main)),
      latency(middle((measurement) => measurement.p50Us) || 0),
      latency(middle((measurement) => measurement.p99Us) || 0),
    ];
  });
  const header = ['', 'requests/s', 'CPU us/request', 'user', 'system', 'main thread', 'p50', 'p99'];
  const title = `${count(inFlight)} in flight, medians`;
  return [bold(title), table([header, ...rows]), '', reportRatios(cells, inFlight, names)].join('\n');
}

function reportRatios(cells: readonly Cell[], inFlight: number, names: readonly string[]): string {
  const ours = names.filter(isOurs);
  const peers = names.filter((name) => !isOurs(name));
  const rows = ours.map((name) => [
    name,
    ...peers.map((peer) =>
      spread(ratios(cells, cpuPerRequest, { inFlight, client: name }, { inFlight, client: peer })),
    ),
  ]);
  return table([['CPU per request, against', ...peers], ...rows]);
}

export interface Bound {
  readonly what: string;
  readonly bound: number;
  readonly stretch: number;
  readonly measured: readonly number[];
}

/** CPU per request of one client against another's, a ratio for each round. */
export function cpuAgainst(cells: readonly Cell[], client: string, peer: string, inFlight: number): number[] {
  return ratios(cells, cpuPerRequest, { inFlight, client }, { inFlight, client: peer });
}

function reportBounds(cells: readonly Cell[]): string {
  const against = (client: string, peer: string, inFlight: number) => cpuAgainst(cells, client, peer, inFlight);
  const userGrowth = (client: string) =>
    ratios(cells, userPerRequest, { inFlight: 10_000, client }, { inFlight: 64, client });
  const bounds: Bound[] = [
    {
      what: `${POOL_1} / ${UNDICI_REQUEST}, 64`,
      bound: 0.33,
      stretch: 0.25,
      measured: against(POOL_1, UNDICI_REQUEST, 64),
    },
    {
      what: `${POOL_1} / ${UNDICI_FETCH}, 64`,
      bound: 0.1,
      stretch: 0.06,
      measured: against(POOL_1, UNDICI_FETCH, 64),
    },
    { what: `${POOL_1} / ${WRK}, 64`, bound: 2, stretch: 1.4, measured: against(POOL_1, WRK, 64) },
    { what: `${ENGINE} / ${WRK}, 64`, bound: 1, stretch: 0.8, measured: against(ENGINE, WRK, 64) },
    { what: `${ENGINE} / ${WRK}, 10,000`, bound: 1, stretch: 0.8, measured: against(ENGINE, WRK, 10_000) },
    { what: `${POOL_1}: user CPU at 10,000 / at 64`, bound: 1.3, stretch: 1.1, measured: userGrowth(POOL_1) },
    { what: `${ENGINE}: user CPU at 10,000 / at 64`, bound: 1.3, stretch: 1.1, measured: userGrowth(ENGINE) },
    { what: 'main thread us/request, 64', bound: 5, stretch: 3, measured: mainThreadFigures(cells, POOL_1, 64) },
  ];
  return reportBoundTable(bounds);
}

/** '' when nothing was measured. */
export function reportBoundTable(bounds: readonly Bound[]): string {
  const rows = bounds
    .filter(({ measured }) => measured.length > 0)
    .map(({ what, bound, stretch, measured }) => [what, String(bound), String(stretch), spread(measured)]);
  if (rows.length === 0) return '';
  return [bold('Against what it must cost'), table([['', 'bound', 'stretch', 'measured'], ...rows])].join('\n');
}

export function reportFailures(cells: readonly Cell[]): string {
  const lines = cells.flatMap(({ client, inFlight, round, measurement, error }) => {
    const where = `  ${client}, ${count(inFlight)} in flight, round ${round}: `;
    if (error !== null) return [`${where}no figure: ${error}`];
    const failed = failureList(measurement?.failures ?? {});
    return failed === '' ? [] : [`${where}failed requests: ${failed}`];
  });
  return lines.length === 0 ? '' : [bold('Failures'), ...lines].join('\n');
}

interface Series {
  readonly inFlight: number;
  readonly client: string;
}

/** One ratio for each round in which both have a figure. */
function ratios(
  cells: readonly Cell[],
  figureOf: (measurement: Measurement) => number,
  above: Series,
  below: Series,
): number[] {
  const found: number[] = [];
  for (const cell of cells) {
    if (cell.client !== above.client || cell.inFlight !== above.inFlight) continue;
    const pair = cells.find(
      ({ client, inFlight, round }) => client === below.client && inFlight === below.inFlight && round === cell.round,
    );
    if (!cell.measurement?.requests || !pair?.measurement?.requests) continue;
    found.push(figureOf(cell.measurement) / figureOf(pair.measurement));
  }
  return found;
}

/** Those with a figure: a client of which nothing was answered has none. */
function measurementsOf(cells: readonly Cell[], inFlight: number, client: string): Measurement[] {
  return cells
    .filter((cell) => cell.inFlight === inFlight && cell.client === client)
    .flatMap(({ measurement }) => (measurement !== null && measurement.requests > 0 ? [measurement] : []));
}

function mainThreadFigures(cells: readonly Cell[], client: string, inFlight: number): number[] {
  return measurementsOf(cells, inFlight, client).flatMap((measurement) => mainThreadPerRequest(measurement) ?? []);
}

function cpuPerRequest({ userUs, systemUs, requests }: Measurement): number {
  return (userUs + systemUs) / requests;
}

function userPerRequest({ userUs, requests }: Measurement): number {
  return userUs / requests;
}

function mainThreadPerRequest({ mainThreadUs, requests }: Measurement): number | null {
  return mainThreadUs === null ? null : mainThreadUs / requests;
}
