/**
 * The questions: what does the same small GET cost over TLS, and what does a new connection cost, with and without what an earlier
 * handshake left? Beside undici and wrk, against nginx with the certificate of the tests, which all JavaScript clients verify
 * (NODE_EXTRA_CA_CERTS) and wrk does not. As in `small-gets.ts`, only ratios within a round count.
 */

import { fileURLToPath } from 'node:url';
import type { Environment } from './environment.ts';
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

export const HTTPS_QUESTION = 'What does a small GET cost over TLS, and what a new connection?';

export interface HttpsCells {
  readonly keepAlive: readonly Cell[];
  readonly handshakes: readonly Cell[];
}

/** In flight. */
const LEVEL = 64;
const HANDSHAKES = 'engine, full handshakes';
const RESUMPTIONS = 'engine, resumed';
const UNDICI_RESUMPTIONS = 'undici request, resumed';
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
    say('Left out: the server has no TLS (Debian: apt-get install nginx-light).');
    return null;
  }
  process.env.NODE_EXTRA_CA_CERTS = ROOT;
  const keepAlive: Contender[] = [
    { name: POOL_1, measure: (load, window) => measureProcess('pool', 1, load, window) },
    { name: ENGINE, measure: (load, window) => measureProcess('engine', 0, load, window) },
    { name: UNDICI_REQUEST, measure: (load, window) => measureProcess('undici-request', 0, load, window) },
  ];
  if ((await probeWrk()) !== null) {
    keepAlive.push({ name: WRK, measure: (load, window) => measureWrk(target, load, window, CELL_MS_MAX) });
  }
  const handshakes: Contender[] = [
    { name: HANDSHAKES, measure: (load, window) => measureProcess('engine-handshakes', 0, load, window) },
    { name: RESUMPTIONS, measure: (load, window) => measureProcess('engine-resumptions', 0, load, window) },
    { name: UNDICI_RESUMPTIONS, measure: (load, window) => measureProcess('undici-resumptions', 0, load, window) },
  ];
  const level = { ...options, inFlight: [LEVEL] };
  return {
    keepAlive: await runContenders(keepAlive, target.secureUrl, level, environment, say),
    handshakes: await runContenders(handshakes, target.secureUrl, level, environment, say),
  };
}

export function reportHttps({ keepAlive, handshakes }: HttpsCells): string {
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
    `${bold('A new connection for each request')}\n${reportLevel(handshakes, LEVEL)}`,
    reportBoundTable(bounds),
    reportFailures([...keepAlive, ...handshakes]),
  ];
  return parts.filter((part) => part !== '').join('\n\n');
}
