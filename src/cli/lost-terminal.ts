/**
 * A terminal that was closed while the process ran. At its end Node restores the modes of the terminals that it was started on, and
 * aborts where one does not answer any more (`ResetStdio` of its node.cc); so what is left of such a one is let go of before.
 */

import { closeSync, openSync } from 'node:fs';
import { isatty } from 'node:tty';

/** Of standard input, output and error, those that were terminals at the start. */
const terminals = [0, 1, 2].filter((descriptor) => isatty(descriptor));

export function letGoOfLostTerminals(): void {
  for (const descriptor of terminals) {
    if (isatty(descriptor)) continue;
    closeSync(descriptor);
    // It gets the lowest number that is free, which is this one.
    openSync('/dev/null', 'r+');
  }
}

/** Whoever read standard output reads no more: the other end of a pipe, or a terminal. No failure of ours, and nobody to tell. */
export function readerHasGone({ code }: NodeJS.ErrnoException): boolean {
  return code === 'EPIPE' || (code === 'EIO' && terminals.includes(1));
}
