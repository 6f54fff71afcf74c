#!/usr/bin/env node
/** The command `shardfetch`: finds the command that was asked for, and ends with its exit code. */

import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { compareCommand } from './compare-command.ts';
import { completionCommand } from './completion.ts';
import { CommandError, EXIT, type ExitCode } from './exit-codes.ts';
import { getCommand } from './get-command.ts';
import { holdCommand } from './hold-command.ts';
import { loadCommand } from './load-command.ts';

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
    if (error instanceof CommandError) {
      process.stderr.write(`shardfetch: ${error.message}\n`);
      return error.exitCode;
    }
    process.stderr.write(`shardfetch: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
    return EXIT.unexpected;
  }
}

/** Errors are thrown to `run` in place of ending the process, and told as ours are. */
function inherit(command: Command): Command {
  return command
    .exitOverride()
    .configureOutput({ writeErr: (text) => process.stderr.write(text.replace(/^error: /, 'shardfetch: ')) });
}

process.exitCode = await run(process.argv);
