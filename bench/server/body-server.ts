/** Our own server for bodies: takes uploads always, sends downloads where nginx is missing. Starts and stops its process. */

import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { cleanEnvironment } from '../child-processes.ts';

/** Relative to this file once it is compiled. */
const ENTRY = fileURLToPath(new URL('./body-server-process.js', import.meta.url));

export interface BodyServer {
  /** Ends with a slash; the number of bytes follows. */
  readonly url: string;
  stop(): Promise<void>;
}

export async function startBodyServer(): Promise<BodyServer> {
  // `detached`: Ctrl-C in a terminal must reach us alone. The process ends when our end of the channel closes.
  const child = fork(ENTRY, [], { env: cleanEnvironment(), detached: true, execArgv: [] });
  const [port] = (await once(child, 'message')) as [number];
  return {
    url: `http://127.0.0.1:${port}/`,
    stop: async () => {
      if (child.exitCode !== null) return;
      const ended = once(child, 'exit');
      if (child.connected) child.disconnect();
      await ended;
    },
  };
}
