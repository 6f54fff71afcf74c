/** Finds the command that was asked for, and sets the exit code with which it ended. */

import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { AddonError } from '../protocol/addon-error.ts';
import { thrownText } from '../protocol/thrown-text.ts';
import { compareCommand } from './compare-command.ts';
import { completionCommand } from './completion.ts';
import { CommandError, EXIT, type ExitCode } from './exit-codes.ts';
import { getCommand } from './get-command.ts';
import { holdCommand } from './hold-command.ts';
import { loadCommand } from './load-command.ts';
import { letGoOfLostTerminals, readerHasGone } from './lost-terminal.ts';
import { screenText } from './text.ts';

function packageVersion(): string {
  const file = new URL('../../package.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}

async function run(argv: readonly string[]): Promise<ExitCode> {
  let exitCode: ExitCode = EXIT.ok;
  const setExitCode = (code: ExitCode): void => {
    exitCode = code;
  };
  const program: Command = new Command('shardfetch')
    .description('HTTP over every core of this machine.')
    .version(packageVersion())
    .showSuggestionAfterError()
    .addCommand(inherit(loadCommand(setExitCode)))
    .addCommand(inherit(holdCommand(setExitCode)))
    .addCommand(inherit(getCommand(setExitCode)))
    .addCommand(inherit(compareCommand(setExitCode)))
    .addCommand(inherit(completionCommand(() => program)));
  inherit(program);
  try {
    await program.parseAsync(argv);
    return exitCode;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.arguments;
    if (error instanceof AddonError) {
      process.stderr.write(`shardfetch: ${error.message}\n`);
      return EXIT.unexpected;
    }
    if (error instanceof CommandError) {
      process.stderr.write(`shardfetch: ${screenText(error.message)}\n`);
      return error.exitCode;
    }
    process.stderr.write(
      `shardfetch: ${screenText(error instanceof Error ? (error.stack ?? error.message) : thrownText(error))}\n`,
    );
    return EXIT.unexpected;
  }
}

/** Errors are thrown to `run` in place of ending the process, and told as ours are. */
function inherit(command: Command): Command {
  return command
    .exitOverride()
    .configureOutput({ writeErr: (text) => process.stderr.write(text.replace(/^error: /, 'shardfetch: ')) });
}

/**
 * Standard output that cannot be written to. A reader that has gone (`| head`, a terminal that was closed) is no failure; a full disk is
 * one. A command with a handler of its own says itself what that means.
 */
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (readerHasGone(error) || process.stdout.listenerCount('error') > 1) return;
  process.stderr.write(`shardfetch: standard output could not be written (${error.code ?? error.message}).\n`);
  process.exitCode = EXIT.report;
});
// There is nowhere left to say that nothing can be said.
process.stderr.on('error', () => {});

process.once('exit', letGoOfLostTerminals);

let isSettled = false;
/** Node ends a program that has nothing left to wait for, here one whose scenario or `setup()` waits for what will never come. */
process.once('exit', (code) => {
  if (isSettled || code !== EXIT.ok) return;
  process.stderr.write(
    'shardfetch: It waits for something that will never come: a promise of the scenario or its setup().\n',
  );
  process.exitCode = EXIT.arguments;
});

export async function runProgram(argv: readonly string[]): Promise<void> {
  const exitCode = await run(argv);
  isSettled = true;
  process.exitCode = process.exitCode || exitCode;
}
