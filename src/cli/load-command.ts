/** `shardfetch load`: flags in, a run, reports out. What a run is, is `shardfetch/load`'s; what reports look like, other files'. */

import { Command } from 'commander';
import { LoadError, type LoadResult, load } from '../main/load/index.ts';
import { compareResults, failuresOf } from './compare.ts';
import { comparisonText, parseLimit, readResult } from './compare-command.ts';
import { applyConfig } from './config-file.ts';
import { CommandError, EXIT, EXIT_HELP, type ExitCode, exitCodeOf, usageError } from './exit-codes.ts';
import { errorText } from './flag-names.ts';
import { type Interrupt, watchInterrupts } from './interrupt.ts';
import { openView } from './live-view.ts';
import { addLoadFlags, type LoadFlags, loadOptionsOf } from './load-flags.ts';
import { commandText, withoutCredentials } from './reports/command-text.ts';
import { checkReportFiles, type ReportFlags, writeReports } from './reports/report-files.ts';
import { summaryOf } from './summary.ts';
import { screenText } from './text.ts';

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
  shardfetch load -d 30s --html report.html --compare before.json --fail-if-worse 5% URL

Letters are wrk's: -d is the duration (curl and hey: a body, here -b), -t are threads, -n is the number of requests.

${EXIT_HELP}`;

export function loadCommand(setExitCode: (code: ExitCode) => void): Command {
  const command = new Command('load')
    .summary('puts a server under load and measures it')
    .description('Puts a server under load and measures rate, latency and errors.')
    .argument('[url...]', 'what to ask for; several take turns')
    .addHelpText('after', EXAMPLES);
  return addLoadFlags(command).action(async (urls: string[], flags: LoadFlags) => {
    setExitCode(await runLoad(command, urls, flags));
  });
}

/** Throws CommandError for whatever keeps a run from taking place. */
async function runLoad(command: Command, given: readonly string[], flags: LoadFlags): Promise<ExitCode> {
  const fromFile = flags.config === undefined ? [] : applyConfig(command, flags.config);
  // The file may say more flags than these were.
  Object.assign(flags, command.opts());
  const options = loadOptionsOf(given.length > 0 ? given : fromFile, flags);
  const files: ReportFlags = flags.json === undefined && flags.j ? { ...flags, json: '-' } : flags;
  const outputIsTaken = checkReportFiles(files);
  const compare = prepareComparison(flags);

  const title = (options.url ?? options.targets?.[0]?.url ?? '').toString();
  const view = openView(process.stderr, {
    quiet: flags.quiet === true,
    title: `shardfetch load ${withoutCredentials(title)}`,
    requests: options.requests ?? 0,
    env: process.env,
  });
  const interrupt = watchInterrupts((line) => view.say(line));
  let result: LoadResult | null = null;
  try {
    result = await load({
      ...options,
      signal: interrupt.signal,
      onProgress: (progress) => view.progress(progress),
    });
  } catch (error) {
    if (error instanceof LoadError) throw new CommandError(exitCodeOf(error.kind), errorText('load', error));
    throw error;
  } finally {
    interrupt.stop();
    // Where the summary comes next on the same screen, the view makes room.
    view.end(result !== null && !outputIsTaken && process.stdout.isTTY !== true);
  }
  const { text: comparison, worse } = compare(result);
  const summary = screenText(`${[summaryOf(result, flags.latency), ...comparison].join('\n\n')}\n`);
  // Standard output belongs to the report that goes there.
  if (outputIsTaken) process.stderr.write(flags.quiet ? '' : summary);
  else process.stdout.write(summary);
  writeReports(files, result, commandText(process.argv.slice(2)));
  const code = exitCodeFor(result, interrupt);
  return worse && code === EXIT.ok ? EXIT.threshold : code;
}

/** Reads what there is to compare with before the run, which may take an hour. */
function prepareComparison({ compare, failIfWorse }: LoadFlags) {
  const limit = parseLimit(failIfWorse);
  if (compare === undefined) {
    if (limit !== null) throw usageError('--fail-if-worse needs --compare FILE: worse than what?');
    return () => ({ text: [], worse: false });
  }
  const before = readResult('--compare', compare);
  return (after: LoadResult) => {
    const comparison = compareResults(before, after);
    return {
      text: [comparisonText(comparison, limit)],
      worse: limit !== null && failuresOf(comparison, limit).length > 0,
    };
  };
}

function exitCodeFor(result: LoadResult, interrupt: Interrupt): ExitCode {
  const { verdict } = result;
  if (verdict === 'interrupted') return interrupt.exitCode;
  if (verdict === 'passed') return EXIT.ok;
  return result.thresholds.some(({ crossed }) => crossed) ? EXIT.threshold : EXIT.unanswered;
}
