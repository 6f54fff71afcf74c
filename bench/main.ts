/** `npm run bench`: runs the benchmarks and prints each question before its figures. */

import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import {
  ACTION_LEVELS,
  ACTION_LEVELS_QUICK,
  ACTION_QUESTION,
  type ActionResult,
  reportAction,
  runAction,
} from './action.ts';
import { BODIES_QUESTION, type BodyCell, reportBodies, runBodies } from './bodies.ts';
import type { Window } from './clients/client.ts';
import {
  CLOSED_LOOP_LEVELS,
  CLOSED_LOOP_QUESTION,
  type ClosedLoopCell,
  reportClosedLoop,
  runClosedLoop,
} from './closed-loop.ts';
import { CODING_QUESTION, type CodingCell, reportCoding, runCoding } from './coding.ts';
import { choiceOption, integerOption, runProgram, UsageError } from './command-line.ts';
import { describeEnvironment, environmentLine, noiseLine } from './environment.ts';
import { checkHistogram } from './histogram.ts';
import { HTTPS_QUESTION, type HttpsCells, reportHttps, runHttps } from './https.ts';
import { LOAD_LEVELS, LOAD_QUESTION, type LoadCells, reportLoad, runLoad } from './load.ts';
import { startTarget } from './server/target.ts';
import { type Cell, QUESTION, reportSmallGets, runSmallGets, type SmallGetsOptions } from './small-gets.ts';
import { bold, dim } from './text.ts';
import type { TimerFigures } from './timers/loads.ts';
import { reportTimers, runTimers, TIMERS_QUESTION } from './timers.ts';

const HELP = `What does it cost? Our pool and engine side by side with undici, wrk and libcurl, against a server on this machine; and the
parts of the engine that decide how far it scales.

  npm run bench -- [options]

  --only WHAT         one of them alone:
                        small-gets   one small GET, 1 to 10,000 in flight, beside undici, wrk and libcurl
                        https        the same over TLS, and new connections with and without resumption
                        bodies       64 KiB to 16 MiB both ways, beside undici and libcurl
                        coding       JSON of 2 KiB and 1 MiB in gzip, beside undici's fetch
                        closed-loop  64 to 10,000 busy connections, answers at once and late, beside libcurl
                        action       one action among 100 to 18,000 sockets, and memory per idle connection
                        load         the load tester beside wrk, h2load and autocannon, 64 and 10,000 connections
                        timers       what timers are kept in: splay tree, heap, wheel, lanes
  --quick             one round, fewer levels: within two minutes
  --full              seven rounds: figures to quote
  --rounds N          rounds; clients take turns within each (default 3)
  --in-flight LIST    small GETs in flight, for example 1,64,1000,10000 (the default)
  --server KIND       auto (nginx where installed, else our own), nginx or node
  --json FILE         all raw figures, as JSON
  --help

Ratios are of CPU per request, taken pair by pair within a round, as median (least-greatest). A figure without its peer from
the same run means little: machines vary by a third within minutes. wrk and libcurl are optional:
apt-get install nginx-light wrk libcurl4-openssl-dev gcc
`;

/** Warming up is long because compilers are slow: undici still gets faster during its first second. */
const QUICK_WINDOW: Window = { warmMs: 700, measureMs: 700, phaseMsMax: 1_500 };
const DEFAULT_WINDOW: Window = { warmMs: 1_000, measureMs: 1_500, phaseMsMax: 4_000 };
const FULL_WINDOW: Window = { warmMs: 2_000, measureMs: 3_000, phaseMsMax: 10_000 };
/** There are many cells, and libcurl needs the longest it may have. */
const QUICK_CLOSED_LOOP_WINDOW: Window = { warmMs: 900, measureMs: 700, phaseMsMax: 1_500 };
const QUICK_TIMER_OPERATIONS = 100_000;
const TIMER_OPERATIONS = 500_000;
/** Bodies come in fewer, longer requests, and there are more kinds of them. */
const QUICK_BODIES_WINDOW: Window = { warmMs: 300, measureMs: 600, phaseMsMax: 2_000 };
const QUICK_LEVELS = '64,1000';
const DEFAULT_LEVELS = '1,64,1000,10000';
const IN_FLIGHT_MAX = 15_000;
const ONLY = ['all', 'small-gets', 'https', 'bodies', 'coding', 'closed-loop', 'action', 'load', 'timers'] as const;

async function runBenchmarks(): Promise<number> {
  const { values } = parseArgs({
    options: {
      quick: { type: 'boolean', default: false },
      full: { type: 'boolean', default: false },
      rounds: { type: 'string' },
      'in-flight': { type: 'string' },
      server: { type: 'string', default: 'auto' },
      only: { type: 'string', default: 'all' },
      json: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) {
    console.log(HELP);
    return 0;
  }
  if (values.quick && values.full) throw new UsageError('--quick and --full exclude each other.');
  const kind = choiceOption('server', values.server, ['auto', 'nginx', 'node'] as const);
  const only = choiceOption('only', values.only, ONLY);
  const levels = values['in-flight'] ?? (values.quick ? QUICK_LEVELS : DEFAULT_LEVELS);
  const options: SmallGetsOptions = {
    rounds: integerOption('rounds', values.rounds ?? (values.quick ? '1' : values.full ? '7' : '3'), 1, 100),
    inFlight: levels.split(',').map((level) => integerOption('in-flight', level, 1, IN_FLIGHT_MAX)),
    window: values.quick ? QUICK_WINDOW : values.full ? FULL_WINDOW : DEFAULT_WINDOW,
  };

  checkHistogram();
  const environment = describeEnvironment();
  const target = await startTarget(kind);
  try {
    console.log(environmentLine(environment));
    console.log(`Server: ${target.name}, same machine`);
    const noise = noiseLine(environment);
    if (noise !== '') console.log(noise);
    const say = (line: string): void => console.log(dim(line));
    let cells: Cell[] = [];
    if (only === 'all' || only === 'small-gets') {
      console.log(`\n${bold(QUESTION)}`);
      cells = await runSmallGets(target, options, environment, say);
      console.log(`\n${reportSmallGets(cells)}`);
    }
    let https: HttpsCells | null = null;
    if (only === 'all' || only === 'https') {
      console.log(`\n${bold(HTTPS_QUESTION)}`);
      https = await runHttps(target, options, environment, say);
      if (https !== null) console.log(`\n${reportHttps(https)}`);
    }
    let bodies: BodyCell[] = [];
    if (only === 'all' || only === 'bodies') {
      console.log(`\n${bold(BODIES_QUESTION)}`);
      const { rounds } = options;
      bodies = await runBodies(target, { rounds, window: values.quick ? QUICK_BODIES_WINDOW : options.window }, say);
      console.log(`\n${reportBodies(bodies)}`);
    }
    let coding: CodingCell[] = [];
    if (only === 'all' || only === 'coding') {
      console.log(`\n${bold(CODING_QUESTION)}`);
      const { rounds } = options;
      coding = await runCoding({ rounds, window: values.quick ? QUICK_BODIES_WINDOW : options.window }, say);
      console.log(`\n${reportCoding(coding)}`);
    }
    let closedLoop: ClosedLoopCell[] = [];
    if (only === 'all' || only === 'closed-loop') {
      console.log(`\n${bold(CLOSED_LOOP_QUESTION)}`);
      const inFlight = values.quick ? CLOSED_LOOP_LEVELS.filter((level) => level !== 1_000) : CLOSED_LOOP_LEVELS;
      const window = values.quick ? QUICK_CLOSED_LOOP_WINDOW : options.window;
      closedLoop = await runClosedLoop(target, { rounds: options.rounds, inFlight, window }, environment, say);
      console.log(`\n${reportClosedLoop(closedLoop)}`);
    }
    let action: ActionResult | null = null;
    if (only === 'all' || only === 'action') {
      console.log(`\n${bold(ACTION_QUESTION)}`);
      const levels = values.quick ? ACTION_LEVELS_QUICK : ACTION_LEVELS;
      action = await runAction({ rounds: options.rounds, levels }, environment.fileLimit, say);
      console.log(`\n${reportAction(action)}`);
    }
    let load: LoadCells | null = null;
    if (only === 'all' || only === 'load') {
      console.log(`\n${bold(LOAD_QUESTION)}`);
      const inFlight = values['in-flight'] === undefined ? LOAD_LEVELS : options.inFlight;
      load = await runLoad(target, { ...options, inFlight }, environment, say);
      console.log(`\n${reportLoad(load)}`);
    }
    let timers: TimerFigures[] = [];
    if (only === 'all' || only === 'timers') {
      console.log(`\n${bold(TIMERS_QUESTION)}`);
      const operations = values.quick ? QUICK_TIMER_OPERATIONS : TIMER_OPERATIONS;
      timers = await runTimers({ rounds: options.rounds, operations }, say);
      console.log(`\n${reportTimers(timers)}`);
    }
    if (values.json !== undefined) {
      const questions = [
        QUESTION,
        HTTPS_QUESTION,
        BODIES_QUESTION,
        CODING_QUESTION,
        CLOSED_LOOP_QUESTION,
        ACTION_QUESTION,
        LOAD_QUESTION,
        TIMERS_QUESTION,
      ];
      const raw = {
        questions,
        environment,
        server: target.name,
        options,
        cells,
        https,
        bodies,
        coding,
        closedLoop,
        action,
        load,
        timers,
      };
      writeFileSync(values.json, `${JSON.stringify(raw, null, 2)}\n`);
    }
    return 0;
  } finally {
    await target.stop();
  }
}

await runProgram(runBenchmarks);
