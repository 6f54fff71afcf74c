/**
 * `npm run test:versions [-- arguments of vitest]`: the suite under every supported Node, each fetched by npx, all with the one
 * addon that is built. A version that cannot be had is skipped, with the reason. Fails when any of the others does.
 */
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const MAJORS = [20, 22, 24, 26];
const root = fileURLToPath(new URL('..', import.meta.url));
const vitest = path.join(root, 'node_modules/vitest/vitest.mjs');
const LONGEST_FETCH_MS = 120_000;

/** The path of that Node, or why there is none. */
function find(major) {
  if (process.versions.node.startsWith(`${major}.`)) return { node: process.execPath };
  const asked = ['--yes', `node@${major}`, '--print', 'process.execPath'];
  const { status, stdout, stderr, error } = spawnSync('npx', asked, { encoding: 'utf8', timeout: LONGEST_FETCH_MS });
  if (status === 0) return { node: stdout.trim() };
  const said = stderr?.split('\n').filter((line) => /error (?!code)/i.test(line)) ?? [];
  return { reason: error?.message ?? said[0] ?? `npx ended with ${status}` };
}

const results = MAJORS.map((major) => {
  const { node, reason } = find(major);
  if (node === undefined) return { line: `Node ${major}: skipped, cannot be had: ${reason}`, failed: false };
  const version = spawnSync(node, ['--version'], { encoding: 'utf8' }).stdout.trim();
  console.log(`\n=== Node ${version}`);
  const { status } = spawnSync(node, [vitest, 'run', ...process.argv.slice(2)], { cwd: root, stdio: 'inherit' });
  return { line: `Node ${version}: ${status === 0 ? 'passed' : 'failed'}`, failed: status !== 0 };
});

console.log(`\n${results.map(({ line }) => line).join('\n')}`);
process.exitCode = results.some(({ failed }) => failed) ? 1 : 0;
