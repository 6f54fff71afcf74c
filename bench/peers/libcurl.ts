/** Measured: libcurl in C, compiled here and now where a C compiler and libcurl's headers are installed (`libcurl.c`). */

import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { probe, runOwned } from '../child-processes.ts';
import type { Load, Measurement, Window } from '../clients/client.ts';

/** Relative to this file once it is compiled. */
const SOURCE = fileURLToPath(new URL('../../../bench/peers/libcurl.c', import.meta.url));
const COMPILE_MS_MAX = 60_000;

export interface CompiledLibcurl {
  readonly version: string;
  readonly program: string;
}

/** null: not installed, or it does not compile. */
export async function compileLibcurl(): Promise<CompiledLibcurl | null> {
  const version = await probe('curl-config', ['--version']);
  if (version === null) return null;
  const flags = (await runOwned('curl-config', ['--cflags', '--libs'], 10_000)).stdout.split(/\s+/).filter(Boolean);
  const folder = mkdtempSync(path.join(os.tmpdir(), 'shardfetch-libcurl-'));
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  const program = path.join(folder, 'libcurl');
  const compiler = process.env.CC ?? 'cc';
  const { code, stderr } = await runOwned(compiler, ['-O2', '-o', program, SOURCE, ...flags], COMPILE_MS_MAX);
  if (code === 0) return { version, program };
  console.error(`The libcurl peer does not compile:\n${stderr}`);
  return null;
}

/** A new connection for each request, without or with what an earlier handshake left; '': connections are kept. */
export type LibcurlConnections = '' | 'fresh' | 'resumed';

export async function measureLibcurl(
  libcurl: CompiledLibcurl,
  load: Load,
  window: Window,
  timeoutMs: number,
  bodies: readonly [downBytes: number, upBytes: number] | [] = [],
  connections: LibcurlConnections = '',
): Promise<Measurement> {
  const args = [load.url, load.inFlight, window.warmMs, window.measureMs, window.phaseMsMax, ...bodies].map(String);
  const { code, stdout, stderr, timedOut } = await runOwned(libcurl.program, args, timeoutMs, {
    LIBCURL_CONNECTIONS: connections,
  });
  if (code === 0) return JSON.parse(stdout) as Measurement;
  throw new Error(timedOut ? `did not end within ${timeoutMs} ms` : stderr.trim() || `exit code ${code}`);
}
