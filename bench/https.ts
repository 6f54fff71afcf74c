/**
 * The questions: what does the same small GET cost over TLS, what does a new connection cost, with and without what an earlier
 * handshake left, and what do bodies of 1 MiB? Beside undici, wrk and libcurl, against a server with the certificate of the
 * tests, which all verify (NODE_EXTRA_CA_CERTS) but wrk. As in `small-gets.ts`, only ratios within a round count.
 *
 * wrk resumes what it can, and has no way not to. h2load keeps its connections and is no peer.
 */

import { fileURLToPath } from 'node:url';
import type { ClientKind, Load, Measurement, Window } from './clients/client.ts';
import { measureClient } from './clients/measure-client.ts';
import type { Environment } from './environment.ts';
import { compileLibcurl, type LibcurlConnections, measureLibcurl } from './peers/libcurl.ts';
import { measureWrk, probeWrk } from './peers/wrk.ts';
import type { Target } from './server/target.ts';
import {
  CELL_MS_MAX,
  type Cell,
  type Contender,
  cpuAgainst,
  ENGINE,
  measureProcess,
  POOL_1,
  reportBoundTable,
  reportFailures,
  reportLevel,
  runContenders,
  type SmallGetsOptions,
  UNDICI_REQUEST,
  WRK,
} from './small-gets.ts';
import { bold } from './text.ts';

export const HTTPS_QUESTION = 'What does a small GET cost over TLS, what a new connection, and what 1 MiB?';

export interface HttpsCells {
  readonly keepAlive: readonly Cell[];
  readonly handshakes: readonly Cell[];
  readonly bodies: readonly Cell[];
}

/** In flight. */
const LEVEL = 64;
const BODIES_LEVEL = 32;
const BODY_BYTES = 1024 * 1024;

const LIBCURL = 'libcurl';
const FULL = {
  engine: 'engine, full handshakes',
  undici: 'undici request, full',
  libcurl: 'libcurl, full',
};
const RESUMED = {
  engine: 'engine, resumed',
  undici: 'undici request, resumed',
  libcurl: 'libcurl, resumed',
  wrk: 'wrk, resumed',
};
/** Relative to this file once it is compiled. */
const ROOT = fileURLToPath(new URL('../../test/tls/certificates/root.pem', import.meta.url));

/** null: the server has no TLS. */
export async function runHttps(
  target: Target,
  options: SmallGetsOptions,
  environment: Environment,
  say: (line: string) => void,
): Promise<HttpsCells | null> {
  if (target.secureUrl === '') {
    say('Left out: the server has no TLS.');
    return null;
  }
  process.env.NODE_EXTRA_CA_CERTS = ROOT;
  const { keepAlive, handshakes, bodies } = await findContenders(target, say);
  const run = (contenders: readonly Contender[], url: string, level: number): Promise<Cell[]> =>
    runContenders(contenders, url, { ...options, inFlight: [level] }, environment, say);
  const { secureUrl, secureFilesUrl } = target;
  if (secureFilesUrl === '')
    say('Bodies are left out: the server has none over TLS (Debian: apt-get install nginx-light).');
  return {
    keepAlive: await run(keepAlive, secureUrl, LEVEL),
    handshakes: await run(handshakes, secureUrl, LEVEL),
    bodies: secureFilesUrl === '' ? [] : await run(bodies, `${secureFilesUrl}${BODY_BYTES}`, BODIES_LEVEL),
  };
}

type Contenders = Record<keyof HttpsCells, Contender[]>;

async function findContenders(target: Target, say: (line: string) => void): Promise<Contenders> {
  const found: Contenders = {
    keepAlive: [ours(POOL_1, 'pool', 1), ours(ENGINE, 'engine'), ours(UNDICI_REQUEST, 'undici-request')],
    handshakes: [
      ours(FULL.engine, 'engine-handshakes'),
      ours(FULL.undici, 'undici-handshakes'),
      ours(RESUMED.engine, 'engine-resumptions'),
      ours(RESUMED.undici, 'undici-resumptions'),
    ],
    bodies: [bodies(POOL_1, 'pool-download', 1), bodies(UNDICI_REQUEST, 'undici-download')],
  };
  if ((await probeWrk()) === null) say('Peer missing: wrk (Debian: apt-get install wrk).');
  else {
    const wrk = (name: string, closes: boolean): Contender => ({
      name,
      measure: (load, window) => measureWrk(target, load, window, CELL_MS_MAX, closes),
    });
    found.keepAlive.push(wrk(WRK, false));
    found.handshakes.push(wrk(RESUMED.wrk, true));
  }
  const compiled = await compileLibcurl();
  if (compiled === null) say('Peer missing: libcurl (Debian: apt-get install libcurl4-openssl-dev gcc).');
  else {
    const libcurl = (name: string, connections: LibcurlConnections, down: readonly [number, number] | [] = []) => ({
      name,
      measure: (load: Load, window: Window): Promise<Measurement> =>
        measureLibcurl(compiled, load, window, CELL_MS_MAX, down, connections),
    });
    found.keepAlive.push(libcurl(LIBCURL, ''));
    found.handshakes.push(libcurl(FULL.libcurl, 'fresh'), libcurl(RESUMED.libcurl, 'resumed'));
    found.bodies.push(libcurl(LIBCURL, '', [BODY_BYTES, 0]));
  }
  return found;
}

function ours(name: string, client: ClientKind, shards = 0): Contender {
  return { name, measure: (load, window) => measureProcess(client, shards, load, window) };
}

function bodies(name: string, client: ClientKind, shards = 0): Contender {
  return {
    name,
    measure: (load, window) => measureClient({ ...load, client, shards, window, bodyBytes: BODY_BYTES }, CELL_MS_MAX),
  };
}

// ── The report ─────────────────────────────────────────────────────────────────────────────────────────────────────────

export function reportHttps({ keepAlive, handshakes, bodies }: HttpsCells): string {
  const bounds = [
    { what: `${ENGINE} / ${WRK}, 64`, bound: 1.1, stretch: 0.9, measured: cpuAgainst(keepAlive, ENGINE, WRK, LEVEL) },
    {
      what: `${POOL_1} / ${UNDICI_REQUEST}, 64`,
      bound: 0.33,
      stretch: 0.2,
      measured: cpuAgainst(keepAlive, POOL_1, UNDICI_REQUEST, LEVEL),
    },
  ];
  const parts = [
    `${bold('Keep-alive')}\n${reportLevel(keepAlive, LEVEL)}`,
    `${bold('A new connection for each request: requests are handshakes')}\n${reportLevel(handshakes, LEVEL)}`,
    bodies.length === 0 ? '' : `${bold('Bodies of 1 MiB')}\n${reportLevel(bodies, BODIES_LEVEL)}`,
    reportBoundTable(bounds),
    reportFailures([...keepAlive, ...handshakes, ...bodies]),
  ];
  return parts.filter((part) => part !== '').join('\n\n');
}
