#!/usr/bin/env node
/**
 * The command `shardfetch`, as far as it needs no other file than its exit codes: the rest is loaded from here, and what keeps it from
 * being loaded is told in a sentence. `program.ts` is the rest.
 */

import { readFileSync } from 'node:fs';
import { EXIT, type ExitCode } from './exit-codes.ts';

/** With fewer, modules may not load: many are opened at once. The load tester's own checks come later, and know what a run needs. */
const FILES_LEAST = 128;

/** What the process may have open; Infinity: unknown. Looked up while there is still a file to open. */
const fileLimit = readFileLimit();

function readFileLimit(): number {
  try {
    const [, limit] = /^Max open files +(\d+)/m.exec(readFileSync('/proc/self/limits', 'latin1')) ?? [];
    return Number(limit ?? Number.POSITIVE_INFINITY);
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}

/** Where files are short Node says EMFILE, or that a package is missing. */
function notLoaded(error: unknown): ExitCode {
  if (fileLimit >= FILES_LEAST) throw error;
  process.stderr.write(
    `shardfetch: This process may have ${fileLimit} open files, too few to load what it is made of; raise the limit to ${FILES_LEAST} or more (ulimit -n ${FILES_LEAST}).\n`,
  );
  return EXIT.limits;
}

// Not awaited: of a top-level await that never ends Node itself says something, in words that help nobody here.
void import('./program.ts').then(
  ({ runProgram }) => runProgram(process.argv),
  (error: unknown) => {
    process.exitCode = notLoaded(error);
  },
);
