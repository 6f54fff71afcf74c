/**
 * The question: what does a request of the load tester cost, beside wrk, h2load and autocannon? Closed loop over 64 and 10,000
 * connections that are kept, plain and over TLS, one sending thread each, in turns within a round. As in `small-gets.ts`, only ratios
 * within a round count.
 */

import type { Environment } from './environment.ts';
import { findLoadTesters, type LoadTester, measureLoadTester, OUR_LOAD } from './peers/load-tester.ts';
import type { Target } from './server/target.ts';
import {
  type Cell,
  type Contender,
  cpuAgainst,
  reportBoundTable,
  reportFailures,
  runContenders,
  type SmallGetsOptions,
} from './small-gets.ts';
import { bold, count, figure, median, spread, table } from './text.ts';

export const LOAD_QUESTION = 'What does a request of the load tester cost?';

export interface LoadCells {
  readonly plain: readonly Cell[];
  /** Empty: the server has no TLS. */
  readonly secure: readonly Cell[];
}

export const LOAD_LEVELS: readonly number[] = [64, 10_000];
const WRK = 'wrk';

export async function runLoad(
  target: Target,
  options: SmallGetsOptions,
  environment: Environment,
  say: (line: string) => void,
): Promise<LoadCells> {
  const testers = await findLoadTesters(say);
  const contenders = testers.map((tester): Contender => contenderOf(tester, target));
  return {
    plain: await runContenders(contenders, target.url, options, environment, say),
    secure: target.secureUrl === '' ? [] : await runContenders(contenders, target.secureUrl, options, environment, say),
  };
}

function contenderOf(tester: LoadTester, target: Target): Contender {
  return { name: tester.name, measure: (load, window) => measureLoadTester(tester, target, load, window) };
}

export function reportLoad({ plain, secure }: LoadCells): string {
  const parts = [
    ...levelsOf(plain).map((level) => reportLevel(plain, level, 'plain')),
    ...levelsOf(secure).map((level) => reportLevel(secure, level, 'HTTPS')),
    reportBoundTable([
      ...levelsOf(plain).map((level) => boundOf(plain, level, 'plain', 1, 0.8)),
      ...levelsOf(secure).map((level) => boundOf(secure, level, 'HTTPS', 1.1, 0.9)),
    ]),
    reportFailures([...plain, ...secure]),
  ];
  return parts.filter((part) => part !== '').join('\n\n');
}

function levelsOf(cells: readonly Cell[]): number[] {
  return [...new Set(cells.map(({ inFlight }) => inFlight))];
}

function boundOf(cells: readonly Cell[], level: number, kind: string, bound: number, stretch: number) {
  const measured = cpuAgainst(cells, OUR_LOAD, WRK, level);
  return { what: `${OUR_LOAD} / ${WRK}, ${kind}, ${count(level)}`, bound, stretch, measured };
}

function reportLevel(cells: readonly Cell[], level: number, kind: string): string {
  const names = [...new Set(cells.map(({ client }) => client))];
  const rows = names.map((name) => {
    const measured = cells.flatMap(({ client, inFlight, measurement }) =>
      client === name && inFlight === level && measurement !== null && measurement.requests > 0 ? [measurement] : [],
    );
    const middle = (of: (measurement: (typeof measured)[number]) => number) => median(measured.map(of));
    return [
      name,
      count(middle(({ requests, seconds }) => requests / seconds)).replace('NaN', '-'),
      figure(middle(({ userUs, systemUs, requests }) => (userUs + systemUs) / requests)),
      figure(middle(({ userUs, requests }) => userUs / requests)),
      figure(middle(({ systemUs, requests }) => systemUs / requests)),
      name === OUR_LOAD ? '' : spread(cpuAgainst(cells, OUR_LOAD, name, level)),
    ];
  });
  const header = ['', 'requests/s', 'CPU us/request', 'user', 'system', 'ours against it'];
  return [bold(`${kind}, ${count(level)} connections, medians`), table([header, ...rows])].join('\n');
}
