/** Our own target, for machines without nginx: starts and stops the processes of `node-server-process.ts`. */

import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { cleanEnvironment } from '../child-processes.ts';
import type { Target } from './target.ts';

/** Relative to this file once it is compiled. */
const ENTRY = fileURLToPath(new URL('./node-server-process.js', import.meta.url));

/** What the processes say to us, in order: where they listen, then an answer to each `count`. */
export type Report = { readonly listening: number; readonly secure: number } | { readonly requests: number };

export async function startNodeServer(): Promise<Target> {
  // `detached`: Ctrl-C in a terminal must reach us alone. The processes end when our end of the channel closes.
  const child = fork(ENTRY, [], { env: cleanEnvironment(), detached: true, execArgv: [] });
  const port = (await answerOf(child)) as { listening: number; secure: number };
  return {
    name: `node ${process.version} raw sockets, 2 processes`,
    url: `http://127.0.0.1:${port.listening}/hello`,
    secureUrl: `https://127.0.0.1:${port.secure}/hello`,
    filesUrl: '',
    secureFilesUrl: '',
    requestCount: async () => {
      child.send('count');
      return ((await answerOf(child)) as { requests: number }).requests;
    },
    stop: async () => {
      if (child.exitCode !== null) return;
      const ended = new Promise((resolve) => child.once('exit', resolve));
      if (child.connected) child.disconnect();
      await ended;
    },
  };
}

function answerOf(child: ChildProcess): Promise<Report> {
  return new Promise((resolve, reject) => {
    const died = () => reject(new Error('The server of the benchmark died.'));
    child.once('exit', died);
    child.once('message', (message) => {
      child.off('exit', died);
      resolve(message as Report);
    });
  });
}
