/** `npm run sim`: compiles the sources and the simulation to out/sim, and runs it there. See main.ts for what it takes. */

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { prove } from './prove.mjs';

const SEEDS_TO_PROVE = 10_000;

const root = fileURLToPath(new URL('../../', import.meta.url));
const given = process.argv.slice(2);

process.exitCode = given.includes('--prove') ? prove(SEEDS_TO_PROVE) : simulate();

function simulate() {
  const compiler = fileURLToPath(new URL('../../node_modules/typescript/bin/tsc', import.meta.url));
  const node = (...args) => spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' }).status ?? 1;
  return (
    node(compiler, '-p', 'test/sim/tsconfig.json') || node('--enable-source-maps', 'out/sim/test/sim/main.js', ...given)
  );
}
