/**
 * Ctrl-C, SIGTERM, a terminal that was closed: the first ends what runs in good order, Ctrl-C or SIGTERM after it ends the process at
 * once. A terminal that goes may say so twice, and nobody has asked for more by that.
 */

import { EXIT, type ExitCode } from './exit-codes.ts';

export interface Interrupt {
  readonly signal: AbortSignal;
  /** What the process ends with once `signal` is aborted. */
  readonly exitCode: ExitCode;
  /** Signals do what they did before. */
  stop(): void;
}

const CODES: Readonly<Partial<Record<NodeJS.Signals, ExitCode>>> = {
  SIGINT: EXIT.interrupted,
  SIGTERM: EXIT.interrupted,
  SIGHUP: EXIT.hungUp,
};
const SIGNALS = Object.keys(CODES) as NodeJS.Signals[];

export function watchInterrupts(say: (line: string) => void): Interrupt {
  const controller = new AbortController();
  let exitCode: ExitCode = EXIT.interrupted;
  const onSignal = (signal: NodeJS.Signals): void => {
    if (controller.signal.aborted) {
      if (signal !== 'SIGHUP') process.exit(exitCode);
      return;
    }
    exitCode = CODES[signal] ?? EXIT.interrupted;
    // Nobody is left who could press it once more.
    if (signal !== 'SIGHUP') say('Ending; once more ends at once.');
    controller.abort();
  };
  for (const signal of SIGNALS) process.on(signal, onSignal);
  return {
    signal: controller.signal,
    get exitCode() {
      return exitCode;
    },
    stop: () => {
      for (const signal of SIGNALS) {
        // Where the terminal has gone, the shell may still say so while reports are written.
        if (signal !== 'SIGHUP' || exitCode !== EXIT.hungUp) process.off(signal, onSignal);
      }
    },
  };
}
