/** How a command ended, as its exit code tells: one meaning each, the same for all commands. */

import type { LoadErrorKind } from '../main/load/load-error.ts';

export const EXIT = Object.freeze({
  /** Done as asked; no threshold crossed. */
  ok: 0,
  /** A bug of ours, or something that nobody thought of. */
  unexpected: 1,
  /** An unknown flag, a bad value, an unreadable input file. Nothing was sent. */
  arguments: 2,
  /** The host does not resolve, refuses, or its certificate does not verify. Nothing was sent. */
  target: 3,
  /** Files or ports of this machine do not suffice. Nothing was sent. */
  limits: 4,
  /** A thread that sends died. */
  generator: 5,
  /** The run took place and not one request was answered. */
  unanswered: 6,
  /** The run took place and a report could not be written. */
  report: 7,
  /** `get`: it was answered with an error. */
  status: 8,
  /** `get`: it is whole and its checksum is another. */
  checksum: 9,
  /** `get`: a file is there already, or cannot be written. */
  file: 10,
  /** `get`: it broke off or timed out, after all retries. */
  transfer: 11,
  /** A threshold was crossed. */
  threshold: 99,
  /** The terminal was closed (SIGHUP); what was done was reported, to files. */
  hungUp: 129,
  /** Ended early by Ctrl-C or SIGTERM; what was done was reported. */
  interrupted: 130,
});

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

export function exitCodeOf(kind: LoadErrorKind): ExitCode {
  return EXIT[kind];
}

export const EXIT_HELP = `Exit codes:
    0  done, no threshold crossed        6  not one request was answered
    1  unexpected error                  7  a report could not be written
    2  bad arguments                    99  a threshold was crossed (--fail-if)
    3  the target cannot be reached    129  ended early: the terminal was closed
    4  this machine's limits           130  ended early by a signal
    5  a thread of the generator died`;

/** A command ends with a sentence and a code. */
export class CommandError extends Error {
  override readonly name = 'CommandError';
  readonly exitCode: ExitCode;

  constructor(exitCode: ExitCode, sentence: string) {
    super(sentence);
    this.exitCode = exitCode;
  }
}

export function usageError(sentence: string): CommandError {
  return new CommandError(EXIT.arguments, sentence);
}
