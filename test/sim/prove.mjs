/**
 * `npm run sim -- --prove`: does the simulation find what it is for? Puts each bug of `bugs.mjs` alone into a copy of the sources
 * in a temporary folder, runs the seeds there, and fails unless every one is found. The checkout is only read.
 */

import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { BUGS } from './bugs.mjs';

const root = fileURLToPath(new URL('../../', import.meta.url));

/** Answers 0 when every bug is found within so many seeds. */
export function prove(seeds) {
  const copy = mkdtempSync(join(tmpdir(), 'shardfetch-sim-'));
  try {
    for (const name of ['src', 'test/sim', 'package.json', 'tsconfig.json']) {
      cpSync(join(root, name), join(copy, name), { recursive: true });
    }
    symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
    const missed = BUGS.filter((bug) => !isFound(copy, bug, seeds));
    console.log(`${BUGS.length - missed.length} of ${BUGS.length} bugs were found within ${seeds} seeds each`);
    return missed.length === 0 ? 0 : 1;
  } finally {
    rmSync(copy, { recursive: true });
  }
}

function isFound(copy, { name, file, from, to }, seeds) {
  const path = join(copy, file);
  const healthy = readFileSync(path, 'utf8');
  const places = healthy.split(from).length - 1;
  if (places !== 1) {
    console.log(`${name}: its line stands ${places} times in ${file}; bugs.mjs is out of date`);
    return false;
  }
  writeFileSync(
    path,
    healthy.replace(from, () => to),
  );
  const output = run(copy, seeds);
  writeFileSync(path, healthy);
  const found = /seeds? \d[\d to]* failed: .*/.exec(output)?.[0];
  const count = /^(\d+) of \d+ seeds in .*$/gm;
  const last = [...output.matchAll(count)].at(-1)?.[0] ?? output.slice(-500);
  console.log(`${name}: ${found === undefined ? `NOT FOUND, ${last}` : found.slice(0, 200)}`);
  return found !== undefined;
}

function run(copy, seeds) {
  const compiler = join(root, 'node_modules/typescript/bin/tsc');
  const built = spawnSync(process.execPath, [compiler, '-p', 'test/sim/tsconfig.json'], {
    cwd: copy,
    encoding: 'utf8',
  });
  if (built.status !== 0) return `does not compile: ${built.stdout}`;
  const main = join(copy, 'out/sim/test/sim/main.js');
  const { stdout, stderr } = spawnSync(process.execPath, [main, '--seeds', String(seeds), '--failures', '1'], {
    cwd: copy,
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  });
  return stdout + stderr;
}
