/** `shardfetch load`: flags in, a run, reports out. What a run is, is `shardfetch/load`'s; what reports look like, other files'. */

import { accessSync, constants, existsSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { Command } from 'commander';
import { LoadError, type LoadResult, load } from '../main/load/index.ts';
import { CommandError, EXIT, EXIT_HELP, type ExitCode, exitCodeOf } from './exit-codes.ts';
import { watchInterrupts } from './interrupt.ts';
import { addLoadFlags, type LoadFlags, loadOptionsOf } from './load-flags.ts';
import { progressLine, summaryOf } from './summary.ts';

const STANDARD_OUTPUT = '-';

const EXAMPLES = `
Closed loop, which is the default: each connection sends its next request when it has its answer. It finds out how much a server can
do. Open loop (--rate): requests begin when they are due, whatever the server does, as those of many independent people do, and
latency counts from that moment: a server that stalls cannot hide it.

Examples:
  shardfetch load http://127.0.0.1:8080/                       10 connections for 10 s
  shardfetch load -c 64 -d 30s -t 4 http://127.0.0.1:8080/     as wrk would
  shardfetch load -R 5k -d 1m --warmup 5s http://10.0.0.5/     5,000 requests a second, latency from when each was due
  shardfetch load --stages 30s:100,2m:5k,30s:0 URL             a rate that rises and falls
  shardfetch load -c 20k --local-addr 127.0.0.1-127.0.0.2 URL  more connections than one address has ports
  shardfetch load -m PUT -H 'content-type: application/json' -b @order.json URL
  shardfetch load -R 500 --fail-if 'p99>250ms' --fail-if 'errors>0.1%' --json result.json URL

Letters are wrk's: -d is the duration (curl and hey: a body, here -b), -t are threads, -n is the number of requests.

${EXIT_HELP}`;

export function loadCommand(setExitCode: (code: ExitCode) => void): Command {
  const command = new Command('load')
    .summary('puts a server under load and measures it')
    .description('Puts a server under load and measures rate, latency and errors.')
    .argument('[url...]', 'what to ask for; several take turns')
    .addHelpText('after', EXAMPLES);
  return addLoadFlags(command).action(async (urls: string[], flags: LoadFlags) => {
    setExitCode(await runLoad(urls, flags));
  });
}

/** Throws CommandError for whatever keeps a run from taking place. */
async function runLoad(urls: readonly string[], flags: LoadFlags): Promise<ExitCode> {
  const options = loadOptionsOf(urls, flags);
  const jsonFile = flags.json ?? (flags.j ? STANDARD_OUTPUT : undefined);
  if (jsonFile !== undefined) checkWritable('--json', jsonFile);
  const say = (line: string): void => {
    if (!flags.quiet) process.stderr.write(`${line}\n`);
  };
  const interrupt = watchInterrupts(say);
  let result: LoadResult;
  try {
    result = await load({
      ...options,
      signal: interrupt.signal,
      onProgress: (progress) => say(progressLine(progress)),
    });
  } catch (error) {
    if (error instanceof LoadError) throw new CommandError(exitCodeOf(error.kind), error.message);
    throw error;
  } finally {
    interrupt.stop();
  }
  const summary = `\n${summaryOf(result, flags.latency)}\n`;
  // Standard output belongs to the JSON where that goes there.
  if (jsonFile === STANDARD_OUTPUT) process.stderr.write(flags.quiet ? '' : summary);
  else process.stdout.write(summary);
  if (jsonFile !== undefined) writeJson(jsonFile, result);
  return exitCodeFor(result);
}

function exitCodeFor({ verdict, requests }: LoadResult): ExitCode {
  if (verdict === 'interrupted') return EXIT.interrupted;
  if (verdict === 'failed') return EXIT.threshold;
  return requests.completed === 0 && requests.started > 0 ? EXIT.unanswered : EXIT.ok;
}

/** Before the run: a report that could not be written after an hour would be a pity. */
export function checkWritable(flag: string, file: string): void {
  if (file === STANDARD_OUTPUT) return;
  try {
    accessSync(existsSync(file) ? file : path.dirname(path.resolve(file)), constants.W_OK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new CommandError(EXIT.arguments, `${flag}: ${file} cannot be written (${code ?? 'unknown reason'}).`);
  }
}

function writeJson(file: string, result: LoadResult): void {
  const text = `${JSON.stringify(result, null, 2)}\n`;
  if (file === STANDARD_OUTPUT) {
    process.stdout.write(text);
    return;
  }
  try {
    writeFileSync(file, text);
  } catch (error) {
    throw new CommandError(EXIT.report, `--json: ${file} could not be written: ${(error as Error).message}.`);
  }
}
