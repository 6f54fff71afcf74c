/**
 * The question: what does it cost when answers are compressed? JSON of 2 KiB and of 1 MiB in gzip, read as text, through our pool
 * (as it comes, and with `collect`), and undici's fetch, which decodes too. And the same JSON as it is, to tell the price of
 * decoding from that of moving.
 *
 * Measured as bodies are: processes of their own, turns within rounds, ratios within a round. The server is our own.
 */

import type { CodedClientKind, Measurement, Window } from './clients/client.ts';
import { measureClient } from './clients/measure-client.ts';
import { startBodyServer } from './server/body-server.ts';
import { bold, count, failureList, figure, latency, median, spread, table } from './text.ts';

export const CODING_QUESTION = 'What does a compressed answer cost?';

export interface CodingOptions {
  readonly rounds: number;
  readonly window: Window;
}

export interface CodingCell {
  readonly client: CodedClientKind;
  readonly coded: boolean;
  readonly bodyBytes: number;
  readonly round: number;
  /** null: it failed as a whole, and `error` says how. */
  readonly measurement: Measurement | null;
  readonly error: string | null;
}

const KIB = 1024;
const MIB = 1024 * KIB;
const SIZES = [2 * KIB, MIB] as const;
const CLIENTS: readonly CodedClientKind[] = ['pool-text', 'pool-collect', 'undici-text'];
const PEER: CodedClientKind = 'undici-text';
const NAMES: Readonly<Record<CodedClientKind, string>> = {
  'pool-text': 'pool.fetch, 1 shard',
  'pool-collect': "the same, collect: 'text'",
  'undici-text': 'undici fetch',
};
const CELL_MS_MAX = 60_000;
/** Between two cells, so that the server closes what the last one left. */
const PAUSE_MS = 100;
/** Small answers: as small GETs are measured. Large ones: enough to keep both ends busy. */
const IN_FLIGHT_SMALL = 64;
const IN_FLIGHT_LARGE = 16;

export async function runCoding(options: CodingOptions, say: (line: string) => void): Promise<CodingCell[]> {
  const server = await startBodyServer();
  const cells: CodingCell[] = [];
  try {
    for (let round = 1; round <= options.rounds; round++) {
      say(`Round ${round} of ${options.rounds} …`);
      for (const bodyBytes of SIZES) {
        for (const coded of [true, false]) {
          for (const client of CLIENTS) {
            const url = `${server.url}${coded ? 'gzip' : 'json'}/${bodyBytes}`;
            cells.push(await measureCell(client, coded, bodyBytes, url, options.window, round));
            await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
          }
        }
      }
    }
  } finally {
    await server.stop();
  }
  return cells;
}

async function measureCell(
  client: CodedClientKind,
  coded: boolean,
  bodyBytes: number,
  url: string,
  window: Window,
  round: number,
): Promise<CodingCell> {
  const inFlight = bodyBytes < MIB ? IN_FLIGHT_SMALL : IN_FLIGHT_LARGE;
  const shards = client === PEER ? 0 : 1;
  const place = { client, coded, bodyBytes, round };
  try {
    const measurement = await measureClient({ client, url, inFlight, shards, window, bodyBytes }, CELL_MS_MAX);
    return { ...place, measurement, error: null };
  } catch (error) {
    return { ...place, measurement: null, error: (error as Error).message };
  }
}

// ── The report ─────────────────────────────────────────────────────────────────────────────────────────────────────────

export function reportCoding(cells: readonly CodingCell[]): string {
  const rows = SIZES.flatMap((bodyBytes) =>
    [true, false].flatMap((coded) =>
      CLIENTS.map((client) =>
        rowOf(
          cells.filter((cell) => cell.bodyBytes === bodyBytes && cell.coded === coded),
          client,
        ),
      ),
    ),
  ).filter((row) => row.length > 0);
  const header = ['', 'requests/s', 'CPU us/request', 'main thread', 'p50', '/ undici fetch'];
  const failures = cells.flatMap(({ client, measurement, error }) => {
    const said = error ?? failureList(measurement?.failures ?? {});
    return said === '' ? [] : [`  ${NAMES[client]}: ${said}`];
  });
  const parts = [bold('JSON read as text, medians'), table([header, ...rows])];
  return [...parts, ...(failures.length === 0 ? [] : [bold('Failures'), ...failures])].join('\n');
}

function rowOf(cells: readonly CodingCell[], client: CodedClientKind): string[] {
  const [first] = cells;
  const measured = cells.filter((cell) => cell.client === client).flatMap(({ measurement }) => measurement ?? []);
  if (first === undefined || measured.length === 0) return [];
  const middle = (figureOf: (measurement: Measurement) => number): number => median(measured.map(figureOf));
  return [
    `${first.bodyBytes < MIB ? `${first.bodyBytes / KIB} KiB` : `${first.bodyBytes / MIB} MiB`}${first.coded ? ' in gzip' : ''}, ${NAMES[client]}`,
    count(middle(({ requests, seconds }) => requests / seconds)),
    figure(middle(cpuPerRequest)),
    client === PEER ? '-' : figure(middle(({ mainThreadUs, requests }) => (mainThreadUs ?? Number.NaN) / requests)),
    latency(middle(({ p50Us }) => p50Us)),
    client === PEER ? '' : spread(ratios(cells, client)),
  ];
}

/** One ratio of CPU for each round in which both have a figure. */
function ratios(cells: readonly CodingCell[], client: CodedClientKind): number[] {
  const rounds = new Set(cells.map(({ round }) => round));
  return [...rounds].flatMap((round) => {
    const of = (kind: CodedClientKind) =>
      cells.find((cell) => cell.round === round && cell.client === kind)?.measurement ?? null;
    const [above, below] = [of(client), of(PEER)];
    return above === null || below === null ? [] : [cpuPerRequest(above) / cpuPerRequest(below)];
  });
}

function cpuPerRequest({ userUs, systemUs, requests }: Measurement): number {
  return (userUs + systemUs) / requests;
}
