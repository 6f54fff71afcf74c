/**
 * `npm run fuzz`: the properties of this folder for as long as one likes.
 *
 *   --minutes N   default 1
 *   --only TEXT   targets whose name contains it
 *   --seed N      one batch again, as a failure printed it
 *   --path P      one case of it
 */

import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '1' },
    only: { type: 'string' },
    seed: { type: 'string' },
    path: { type: 'string' },
    help: { type: 'boolean' },
  },
});
const numbers = [values.minutes, values.seed ?? '0'].map(Number);
if (values.help || numbers.some((number) => !Number.isFinite(number)) || numbers[0] <= 0) {
  console.log('npm run fuzz -- [--minutes N] [--only TEXT] [--seed N [--path P]]');
  process.exit(values.help ? 0 : 2);
}

const root = fileURLToPath(new URL('../../', import.meta.url));
const vitest = fileURLToPath(new URL('../../node_modules/vitest/vitest.mjs', import.meta.url));
const only = values.only === undefined ? [] : ['-t', values.only.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')];
const env = { ...process.env, FUZZ_MINUTES: values.minutes };
if (values.seed !== undefined) env.FUZZ_SEED = values.seed;
if (values.path !== undefined) env.FUZZ_PATH = values.path;
const child = spawn(process.execPath, [vitest, 'run', 'test/fuzz', '--reporter=verbose', ...only], {
  cwd: root,
  env,
  stdio: 'inherit',
});
child.on('exit', (code) => {
  process.exitCode = code ?? 1;
});
