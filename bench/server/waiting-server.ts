/** The server that waits: starts and stops its process (`waiting-server-process.ts` says what its paths answer). */

import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { cleanEnvironment } from '../child-processes.ts';

/** Relative to this file once it is compiled. */
const ENTRY = fileURLToPath(new URL('./waiting-server-process.js', import.meta.url));

export interface WaitingServer {
  /** Several addresses of one server, without a path and its slash. */
  readonly origins: readonly string[];
  readonly pid: number;
  stop(): Promise<void>;
}

export async function startWaitingServer(): Promise<WaitingServer> {
  // `detached`: Ctrl-C in a terminal must reach us alone. The process ends when our end of the channel closes.
  const child = fork(ENTRY, [], { env: cleanEnvironment(), detached: true, execArgv: [] });
  const [origins] = (await once(child, 'message')) as [string[]];
  return {
    origins,
    pid: child.pid as number,
    stop: async () => {
      if (child.exitCode !== null) return;
      const ended = once(child, 'exit');
      if (child.connected) child.disconnect();
      await ended;
    },
  };
}
