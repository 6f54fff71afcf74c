/** Runs one client in a process of its own and takes its figures. */

import { fileURLToPath } from 'node:url';
import { runOwned } from '../child-processes.ts';
import type { Measurement, Order } from './client.ts';

/** Relative to this file once it is compiled. */
const CLIENT_PROCESS = fileURLToPath(new URL('./client-process.js', import.meta.url));

/** Rejects with what the process said when it has no figures. */
export async function measureClient(order: Order, timeoutMs: number): Promise<Measurement> {
  const { code, stdout, stderr, timedOut } = await runOwned(
    process.execPath,
    [CLIENT_PROCESS, JSON.stringify(order)],
    timeoutMs,
  );
  if (code === 0 && stdout !== '') return JSON.parse(stdout) as Measurement;
  if (timedOut) throw new Error(`did not end within ${timeoutMs / 1000} s`);
  // Of Node's report of an uncaught error, the line that says it.
  const said = /^\w*Error.*$/m.exec(stderr)?.[0] ?? stderr.trim();
  throw new Error(said || `ended with ${code} and without a figure`);
}
