/** `npm run bench`: runs the benchmarks and prints each question before its figures. */

import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { BODIES_QUESTION, type BodyCell, reportBodies, runBodies } from './bodies.ts';
import type { Window } from './clients/client.ts';
import { choiceOption, integerOption, runProgram, UsageError } from './command-line.ts';
import { describeEnvironment, environmentLine, noiseLine } from './environment.ts';
import { checkHistogram } from './histogram.ts';
import { startTarget } from './server/target.ts';
import { type Cell, QUESTION, reportSmallGets, runSmallGets, type SmallGetsOptions } from './small-gets.ts';
import { bold, dim } from './text.ts';

const HELP = `What does it cost? Our pool and engine side by side with undici, wrk and libcurl, against a server on this machine.

  npm run bench -- [options]

  --only WHAT         small-gets or bodies alone
  --quick             one round, small GETs with 64 and 1,000 in flight: within a minute and a half
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
const QUICK_WINDOW: Window = { warmMs: 800, measureMs: 1_000, phaseMsMax: 2_000 };
const DEFAULT_WINDOW: Window = { warmMs: 1_000, measureMs: 1_500, phaseMsMax: 4_000 };
const FULL_WINDOW: Window = { warmMs: 2_000, measureMs: 3_000, phaseMsMax: 10_000 };
/** Bodies come in fewer, longer requests, and there are more kinds of them. */
const QUICK_BODIES_WINDOW: Window = { warmMs: 300, measureMs: 600, phaseMsMax: 2_000 };
const QUICK_LEVELS = '64,1000';
const DEFAULT_LEVELS = '1,64,1000,10000';
const IN_FLIGHT_MAX = 15_000;

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
  const only = choiceOption('only', values.only, ['all', 'small-gets', 'bodies'] as const);
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
    if (only !== 'bodies') {
      console.log(`\n${bold(QUESTION)}`);
      cells = await runSmallGets(target, options, environment, say);
      console.log(`\n${reportSmallGets(cells)}`);
    }
    let bodies: BodyCell[] = [];
    if (only !== 'small-gets') {
      console.log(`\n${bold(BODIES_QUESTION)}`);
      const { rounds } = options;
      bodies = await runBodies(target, { rounds, window: values.quick ? QUICK_BODIES_WINDOW : options.window }, say);
      console.log(`\n${reportBodies(bodies)}`);
    }
    if (values.json !== undefined) {
      const raw = { questions: [QUESTION, BODIES_QUESTION], environment, server: target.name, options, cells, bodies };
      writeFileSync(values.json, `${JSON.stringify(raw, null, 2)}\n`);
    }
    return 0;
  } finally {
    await target.stop();
  }
}

await runProgram(runBenchmarks);
