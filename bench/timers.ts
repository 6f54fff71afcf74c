/**
 * The question: what should timers be kept in? A splay tree (as libcurl's), a 4-ary heap (ours), a hierarchical timing wheel and
 * lanes of equal timeouts, each behind the interface of the engine's TimerQueue, at 1,000 to 100,000 timers.
 *
 * Each candidate runs in a process of its own, so that its calls are compiled for it alone; candidates take turns within a
 * round. CPU is counted, not time. The loads are in `timers/loads.ts`.
 */

import { fileURLToPath } from 'node:url';
import { runOwned } from './child-processes.ts';
import { bars, bold, count, figure, median, table } from './text.ts';
import { COUNTS, LOADS, type TimerFigures } from './timers/loads.ts';

export const TIMERS_QUESTION = 'What should timers be kept in?';

/** Relative to this file once it is compiled. */
const CANDIDATE_PROCESS = fileURLToPath(new URL('./timers/timers-process.js', import.meta.url));
const CANDIDATES = 4;
const CANDIDATE_MS_MAX = 120_000;
/** What five timers may add to a transfer when there are 100,000: microseconds. */
const TRANSFER_US_BOUND = 2;

export interface TimersOptions {
  readonly rounds: number;
  /** Timers set and ended per load. */
  readonly operations: number;
}

export async function runTimers(options: TimersOptions, say: (line: string) => void): Promise<TimerFigures[]> {
  const figures: TimerFigures[] = [];
  for (let round = 1; round <= options.rounds; round++) {
    say(`Round ${round} of ${options.rounds} …`);
    for (let place = 0; place < CANDIDATES; place++) {
      const args = [CANDIDATE_PROCESS, String(place), String(options.operations)];
      const { code, stdout, stderr } = await runOwned(process.execPath, args, CANDIDATE_MS_MAX);
      if (code === 0) figures.push(JSON.parse(stdout) as TimerFigures);
      else say(`A candidate failed: ${stderr.trim() || `exit code ${code}`}`);
    }
  }
  return figures;
}

export function reportTimers(figures: readonly TimerFigures[]): string {
  const names = [...new Set(figures.map(({ name }) => name))];
  const of = (name: string) => figures.filter((each) => each.name === name);
  const parts = LOADS.map((load) => {
    const ns = (name: string, timers: number) =>
      median(
        of(name).map(({ loads }) => loads.find((one) => one.load === load && one.count === timers)?.ns ?? Number.NaN),
      );
    const rows = names.map((name) => [name, ...COUNTS.map((timers) => figure(ns(name, timers)))]);
    const most = COUNTS.at(-1) as number;
    return [
      bold(`${load[0]?.toUpperCase()}${load.slice(1)}: CPU ns per timer, medians`),
      table([['timers', ...COUNTS.map(count)], ...rows]),
      bars(names.map((name) => ({ label: `${name}, ${count(most)}`, value: ns(name, most) }))),
    ].join('\n');
  });
  const rows = names.map((name) => [
    name,
    figure(median(of(name).map(({ transfer }) => transfer.oneNodeUs))),
    figure(median(of(name).map(({ transfer }) => transfer.fiveNodesUs))),
    String(TRANSFER_US_BOUND),
  ]);
  parts.push(
    [
      bold('100,000 transfers, each with five timers: CPU us that they add to a transfer'),
      table([['', 'one node, the nearest (as the engine)', 'five nodes', 'bound'], ...rows]),
    ].join('\n'),
  );
  return parts.join('\n\n');
}
