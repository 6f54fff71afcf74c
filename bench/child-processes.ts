/**
 * Processes that a benchmark starts: they end when the benchmark ends, however it ends. Every child is known by its id; none
 * is ever looked for by name. Children see no proxy settings: a proxy would be measured in place of the client.
 */

import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';

const owned = new Set<ChildProcess>();
let watching = false;

const PROXY_VARIABLE = /^(https?|all|no|ftp)_proxy$/i;

export function cleanEnvironment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !PROXY_VARIABLE.test(name)));
}

/** `spawn` whose child is killed when this process ends. */
export function spawnOwned(command: string, args: readonly string[], options: SpawnOptions): ChildProcess {
  watchExit();
  const child = spawn(command, args, { env: cleanEnvironment(), ...options });
  owned.add(child);
  child.once('exit', () => owned.delete(child));
  child.once('error', () => owned.delete(child));
  return child;
}

export interface Output {
  /** null: ended by a signal, or never started. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  readonly timedOut: boolean;
}

/** Runs a command to its end; never rejects: what went wrong stands in the answer. */
export function runOwned(
  command: string,
  args: readonly string[],
  timeoutMs: number,
  environment: NodeJS.ProcessEnv = {},
): Promise<Output> {
  const env = { ...cleanEnvironment(), ...environment };
  return collectOutput(spawnOwned(command, args, { stdio: ['ignore', 'pipe', 'pipe'], env }), timeoutMs);
}

export function collectOutput(child: ChildProcess, timeoutMs: number): Promise<Output> {
  return new Promise((resolve) => {
    let stdout = '';
    let stderr = '';
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      child.kill('SIGKILL');
    }, timeoutMs);
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.once('error', (error) => {
      clearTimeout(timer);
      resolve({ code: null, stdout, stderr: stderr + error.message, timedOut });
    });
    child.once('close', (code) => {
      clearTimeout(timer);
      resolve({ code, stdout, stderr, timedOut });
    });
  });
}

/** The first words of a tool's own description, or null when it is not installed. */
export async function probe(command: string, args: readonly string[]): Promise<string | null> {
  const { code, stdout, stderr } = await runOwned(command, args, 10_000);
  // wrk shows its version together with its usage and exits with 1.
  if (code === null) return null;
  return `${stdout}\n${stderr}`.trim().split('\n')[0] ?? '';
}

function watchExit(): void {
  if (watching) return;
  watching = true;
  process.on('exit', () => {
    for (const child of owned) child.kill('SIGKILL');
  });
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    // Whoever listens besides (the demo does) ends in its own way.
    process.on(signal, () => {
      if (process.listenerCount(signal) === 1) process.exit(signal === 'SIGINT' ? 130 : 143);
    });
  }
}
