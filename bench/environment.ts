/** Where figures were taken: a figure without its machine, versions and noise means nothing. */

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';

export interface Environment {
  readonly node: string;
  readonly undici: string;
  readonly kernel: string;
  readonly cores: number;
  readonly processor: string;
  /** Of the last minute, before the benchmark began. */
  readonly loadAverage: number;
  /** Descriptors a process may open at most. */
  readonly fileLimit: number;
}

export function describeEnvironment(): Environment {
  const { version: undici } = createRequire(import.meta.url)('undici/package.json') as { version: string };
  return {
    node: process.version,
    undici,
    kernel: os.release(),
    cores: os.availableParallelism(),
    processor: os.cpus()[0]?.model ?? 'unknown',
    loadAverage: os.loadavg()[0] as number,
    fileLimit: hardFileLimit(),
  };
}

export function environmentLine(environment: Environment): string {
  const { node, undici, kernel, cores, processor } = environment;
  return `Node ${node}, undici ${undici}, Linux ${kernel}, ${cores} x ${processor}`;
}

/** A sentence when other work was running, else ''. */
export function noiseLine(environment: Environment): string {
  const { loadAverage, cores } = environment;
  if (loadAverage < cores / 4) return '';
  return `The load average was ${loadAverage.toFixed(1)} before we began: other work runs here, so trust ratios, not figures.`;
}

export function hardFileLimit(): number {
  const match = /Max open files\s+\d+\s+(\d+)/.exec(readFileSync('/proc/self/limits', 'latin1'));
  return match === null ? 1_024 : Number(match[1]);
}
