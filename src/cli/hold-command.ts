/** `shardfetch hold`: flags in, connections held, a summary out. What holding is, is `main/load/hold.ts`'s. */

import { writeFileSync } from 'node:fs';
import { Command } from 'commander';
import { hold } from '../main/load/hold.ts';
import { LoadError } from '../main/load/load-error.ts';
import type { HoldProgress, HoldResult } from '../protocol/load/hold.ts';
import { CommandError, EXIT, EXIT_HELP, type ExitCode, exitCodeOf } from './exit-codes.ts';
import { errorText } from './flag-names.ts';
import { addHoldFlags, type HoldFlags, holdOptionsOf } from './hold-flags.ts';
import { holdFrame, holdProgressLine, holdSummary } from './hold-report.ts';
import { type Interrupt, watchInterrupts } from './interrupt.ts';
import type { ViewOutput } from './live-view.ts';
import { checkWritable } from './reports/report-files.ts';
import { screenText } from './text.ts';

const STANDARD_OUTPUT = '-';

const EXAMPLES = `
Connections are opened without a request, held open, and a few of them kept busy. It shows what becomes of them (connecting, idle,
active, lost), what each takes of this process's memory, and how long one call of the engine takes among so many. A server that closes
silent connections is seen to do so: "lost"; --rate gives each its turn.

Examples:
  shardfetch hold -c 10k -d 60s http://127.0.0.1:8080/          10,000 connections, 10 of them active
  shardfetch hold -c 10k -R 500 URL                             each has a request every 20 s
  shardfetch hold -c 50k -P 3 --local-addr 127.0.0.1-127.0.0.2 URL
                                                                more than a process has files, and an address ports
  shardfetch hold -c 10k --fail-if 'lost>0' --json result.json URL

${EXIT_HELP}`;

export function holdCommand(setExitCode: (code: ExitCode) => void): Command {
  const command = new Command('hold')
    .summary('opens many connections and holds them')
    .description('Opens many connections, holds them, and keeps a few of them busy.')
    .argument('[url...]', 'where to; several take turns')
    .addHelpText('after', EXAMPLES);
  return addHoldFlags(command).action(async (urls: string[], flags: HoldFlags) => {
    setExitCode(await runHold(urls, flags));
  });
}

/** Throws CommandError for whatever keeps it from taking place. */
async function runHold(urls: readonly string[], flags: HoldFlags): Promise<ExitCode> {
  const options = holdOptionsOf(urls, flags);
  const jsonFile = flags.json ?? (flags.j ? STANDARD_OUTPUT : undefined);
  if (jsonFile !== undefined) checkWritable('--json', jsonFile);
  const view = openHoldView(process.stderr, flags.quiet === true, process.env);
  const interrupt = watchInterrupts((line) => {
    view.end();
    if (!flags.quiet) process.stderr.write(`${line}\n`);
  });
  let result: HoldResult;
  try {
    result = await hold({ ...options, signal: interrupt.signal, onProgress: (progress) => view.progress(progress) });
  } catch (error) {
    if (error instanceof LoadError) throw new CommandError(exitCodeOf(error.kind), errorText('hold', error));
    throw error;
  } finally {
    view.end();
    interrupt.stop();
  }
  const summary = screenText(`\n${holdSummary(result)}\n`);
  // Standard output belongs to the JSON where that goes there.
  if (jsonFile === STANDARD_OUTPUT) process.stderr.write(flags.quiet ? '' : summary);
  else process.stdout.write(summary);
  if (jsonFile !== undefined) writeJson(jsonFile, result);
  return exitCodeFor(result, interrupt);
}

interface HoldView {
  progress(progress: HoldProgress): void;
  /** What was drawn over itself is taken away. */
  end(): void;
}

/** On a terminal a few lines, drawn over themselves; else a line each second. No mode of the terminal is changed. */
export function openHoldView(output: ViewOutput, quiet: boolean, env: NodeJS.ProcessEnv): HoldView {
  if (quiet) return { progress: () => {}, end: () => {} };
  if (output.isTTY !== true || env.TERM === 'dumb') {
    return { progress: (progress) => void output.write(`${holdProgressLine(progress)}\n`), end: () => {} };
  }
  let drawn = 0;
  const back = () => (drawn === 0 ? '' : `\u001b[${drawn}A\r\u001b[J`);
  return {
    progress: (progress) => {
      const width = Math.max(20, (output.columns || 80) - 1);
      const lines = holdFrame(progress).map((line) => line.slice(0, width));
      output.write(`${back()}${lines.join('\n')}\n`);
      drawn = lines.length;
    },
    end: () => {
      output.write(back());
      drawn = 0;
    },
  };
}

function exitCodeFor({ verdict, thresholds }: HoldResult, interrupt: Interrupt): ExitCode {
  if (verdict === 'interrupted') return interrupt.exitCode;
  if (verdict === 'passed') return EXIT.ok;
  return thresholds.some(({ crossed }) => crossed) ? EXIT.threshold : EXIT.unanswered;
}

function writeJson(file: string, result: HoldResult): void {
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
