/**
 * The question: what does a large body cost? 64 KiB, 1 MiB and 16 MiB, received by `arrayBuffer()`, sent as bytes, and sent by an
 * async generator in pieces of 64 KiB, through our pool, undici and libcurl. libcurl only counts what it receives.
 *
 * Measured as small GETs are: processes of their own, turns within rounds, ratios within a round. Downloads come from nginx
 * where it is installed; uploads go to a server of our own, since nginx would write them to disk.
 */

import type { BodyClientKind, Load, Measurement, Window } from './clients/client.ts';
import { measureClient } from './clients/measure-client.ts';
import { compileLibcurl, measureLibcurl } from './peers/libcurl.ts';
import { type BodyServer, startBodyServer } from './server/body-server.ts';
import { BODY_SIZES, type Target } from './server/target.ts';
import { bold, count, failureList, figure, latency, median, spread, table } from './text.ts';

export const BODIES_QUESTION = 'What does a large body cost?';

export interface BodiesOptions {
  readonly rounds: number;
  readonly window: Window;
}

const WORKS = ['download', 'upload', 'upload-in-pieces'] as const;
type Work = (typeof WORKS)[number];

const WORK_TEXT: Readonly<Record<Work, string>> = {
  download: 'received by arrayBuffer()',
  upload: 'sent as bytes',
  'upload-in-pieces': 'sent by a generator in pieces of 64 KiB',
};

/** One client with one work and one size in one round. */
export interface BodyCell {
  readonly work: Work;
  readonly bodyBytes: number;
  readonly client: string;
  readonly round: number;
  /** null: it failed as a whole, and `error` says how. */
  readonly measurement: Measurement | null;
  readonly error: string | null;
}

const KIB = 1024;
const MIB = 1024 * KIB;
const CELL_MS_MAX = 60_000;
/** Between two cells, so that the server closes what the last one left. */
const PAUSE_MS = 100;
/** Bytes in flight at once, and requests at most: as large as keeps both ends busy. */
const IN_FLIGHT_BYTES = 64 * MIB;
const IN_FLIGHT_MAX = 32;

const POOL = 'pool.fetch, 1 shard';
const UNDICI = 'undici request';
const LIBCURL = 'libcurl';

interface Contender {
  readonly name: string;
  readonly works: readonly Work[];
  measure(work: Work, bodyBytes: number, load: Load, window: Window): Promise<Measurement>;
}

export async function runBodies(
  target: Target,
  options: BodiesOptions,
  say: (line: string) => void,
): Promise<BodyCell[]> {
  const contenders = await findContenders(say);
  const server = await startBodyServer();
  if (target.filesUrl === '') say('Downloads come from our own server: nginx would cost the machine less.');
  const cells: BodyCell[] = [];
  try {
    for (let round = 1; round <= options.rounds; round++) {
      for (const bodyBytes of BODY_SIZES) {
        say(`Round ${round} of ${options.rounds}, bodies of ${sizeText(bodyBytes)} …`);
        for (const work of WORKS) {
          for (const contender of contenders) {
            if (!contender.works.includes(work)) continue;
            const load = { url: urlFor(work, bodyBytes, target, server), inFlight: inFlightOf(bodyBytes) };
            cells.push(await measureCell(contender, work, bodyBytes, load, options.window, round));
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

function urlFor(work: Work, bodyBytes: number, target: Target, server: BodyServer): string {
  if (work !== 'download') return `${server.url}upload`;
  return `${target.filesUrl === '' ? server.url : target.filesUrl}${bodyBytes}`;
}

function inFlightOf(bodyBytes: number): number {
  return Math.min(IN_FLIGHT_BYTES / bodyBytes, IN_FLIGHT_MAX);
}

async function measureCell(
  contender: Contender,
  work: Work,
  bodyBytes: number,
  load: Load,
  window: Window,
  round: number,
): Promise<BodyCell> {
  const place = { work, bodyBytes, client: contender.name, round };
  try {
    return { ...place, measurement: await contender.measure(work, bodyBytes, load, window), error: null };
  } catch (error) {
    return { ...place, measurement: null, error: (error as Error).message };
  }
}

async function findContenders(say: (line: string) => void): Promise<Contender[]> {
  const contenders: Contender[] = [processContender(POOL, 'pool', 1), processContender(UNDICI, 'undici', 0)];
  const libcurl = await compileLibcurl();
  if (libcurl === null) say('Peer missing: libcurl (Debian: apt-get install libcurl4-openssl-dev gcc).');
  else {
    contenders.push({
      name: LIBCURL,
      works: ['download', 'upload'],
      measure: (work, bodyBytes, load, window) => {
        const bodies =
          work === 'download' ? ([bodyBytes, 0] as const) : ([String(bodyBytes).length, bodyBytes] as const);
        return measureLibcurl(libcurl, load, window, CELL_MS_MAX, bodies);
      },
    });
  }
  return contenders;
}

function processContender(name: string, kind: 'pool' | 'undici', shards: number): Contender {
  return {
    name,
    works: WORKS,
    measure: (work, bodyBytes, load, window) => {
      const client: BodyClientKind = `${kind}-${work}`;
      return measureClient({ ...load, client, shards, window, bodyBytes }, CELL_MS_MAX);
    },
  };
}

// ── The report ─────────────────────────────────────────────────────────────────────────────────────────────────────────

export function reportBodies(cells: readonly BodyCell[]): string {
  const parts = WORKS.map((work) => reportWork(cells, work));
  return [...parts, reportBounds(cells), reportFailures(cells)].filter((part) => part !== '').join('\n\n');
}

function reportWork(cells: readonly BodyCell[], work: Work): string {
  const rows = BODY_SIZES.flatMap((bodyBytes) => {
    const clients = [POOL, UNDICI, LIBCURL].filter(
      (client) => measurementsOf(cells, work, bodyBytes, client).length > 0,
    );
    return clients.map((client) => {
      const measured = measurementsOf(cells, work, bodyBytes, client);
      const middle = (figureOf: (measurement: Measurement) => number) => median(measured.map(figureOf));
      const perBody = (us: (measurement: Measurement) => number) => figure(middle((each) => us(each) / each.requests));
      const against = client === POOL ? [UNDICI, LIBCURL] : [];
      return [
        `${sizeText(bodyBytes)}, ${client}`,
        count(middle(({ requests, seconds }) => (requests * bodyBytes) / MIB / seconds)),
        perBody(({ userUs, systemUs }) => userUs + systemUs),
        perBody(({ userUs }) => userUs),
        perBody(({ systemUs }) => systemUs),
        client === POOL ? perBody(({ mainThreadUs }) => mainThreadUs ?? Number.NaN) : '-',
        latency(middle(({ p50Us }) => p50Us)),
        ...[UNDICI, LIBCURL].map((peer) =>
          against.includes(peer) ? spread(ratios(cells, work, bodyBytes, POOL, peer)) : '',
        ),
      ];
    });
  });
  const header = ['', 'MiB/s', 'CPU us/body', 'user', 'system', 'main thread', 'p50', '/ undici', '/ libcurl'];
  return [bold(`Bodies ${WORK_TEXT[work]}, medians`), table([header, ...rows])].join('\n');
}

function reportBounds(cells: readonly BodyCell[]): string {
  const bounds = [
    { peer: LIBCURL, bound: 1.8, stretch: 1.2 },
    { peer: UNDICI, bound: 0.25, stretch: 0.15 },
  ];
  const rows = bounds.flatMap(({ peer, bound, stretch }) => {
    const measured = ratios(cells, 'download', MIB, POOL, peer);
    if (measured.length === 0) return [];
    return [[`${POOL} / ${peer}, 1 MiB by arrayBuffer()`, String(bound), String(stretch), spread(measured)]];
  });
  if (rows.length === 0) return '';
  return [bold('Against what it must cost'), table([['', 'bound', 'stretch', 'measured'], ...rows])].join('\n');
}

function reportFailures(cells: readonly BodyCell[]): string {
  const lines = cells.flatMap(({ work, bodyBytes, client, round, measurement, error }) => {
    const where = `  ${client}, ${sizeText(bodyBytes)} ${WORK_TEXT[work]}, round ${round}: `;
    if (error !== null) return [`${where}no figure: ${error}`];
    const failed = failureList(measurement?.failures ?? {});
    return failed === '' ? [] : [`${where}failed requests: ${failed}`];
  });
  return lines.length === 0 ? '' : [bold('Failures'), ...lines].join('\n');
}

/** One ratio of CPU for each round in which both have a figure. */
function ratios(cells: readonly BodyCell[], work: Work, bodyBytes: number, above: string, below: string): number[] {
  const rounds = new Set(cells.map(({ round }) => round));
  return [...rounds].flatMap((round) => {
    const within = cells.filter((cell) => cell.round === round);
    const [upper] = measurementsOf(within, work, bodyBytes, above);
    const [lower] = measurementsOf(within, work, bodyBytes, below);
    return upper === undefined || lower === undefined ? [] : [cpuPerBody(upper) / cpuPerBody(lower)];
  });
}

/** Those with a figure: a client of which nothing was answered has none. */
function measurementsOf(cells: readonly BodyCell[], work: Work, bodyBytes: number, client: string): Measurement[] {
  return cells
    .filter((cell) => cell.work === work && cell.bodyBytes === bodyBytes && cell.client === client)
    .flatMap(({ measurement }) => (measurement !== null && measurement.requests > 0 ? [measurement] : []));
}

function cpuPerBody({ userUs, systemUs, requests }: Measurement): number {
  return (userUs + systemUs) / requests;
}

function sizeText(bytes: number): string {
  return bytes < MIB ? `${bytes / KIB} KiB` : `${bytes / MIB} MiB`;
}
