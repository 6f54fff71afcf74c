/**
 * What `npm pack` runs for the addon: leaves it as prebuilds/<platform>-<arch>/shardfetch.<libc>.node, where node-gyp-build looks
 * in an installed package. It uses N-API alone, so one binary is for every Node. Builds it first if native/ is newer; strips it; and
 * refuses one that an older system could not load.
 */
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** The newest symbol versions that may be asked for: those of Debian 10 and RHEL 8. */
const NEWEST = { GLIBC: [2, 28], GLIBCXX: [3, 4, 25], CXXABI: [1, 3, 11] };

const root = fileURLToPath(new URL('..', import.meta.url));
const built = path.join(root, 'build/Release/shardfetch.node');
const libc = process.report.getReport().header.glibcVersionRuntime ? 'glibc' : 'musl';
const folder = path.join(root, 'prebuilds', `${process.platform}-${process.arch}`);
const prebuilt = path.join(folder, `shardfetch.${libc}.node`);

function isCurrent() {
  if (!existsSync(built)) return false;
  const sources = readdirSync(path.join(root, 'native')).filter((name) => /\.(cpp|h)$/.test(name));
  const files = [...sources.map((name) => path.join(root, 'native', name)), path.join(root, 'binding.gyp')];
  const builtMs = statSync(built).mtimeMs;
  return files.every((file) => statSync(file).mtimeMs <= builtMs);
}

function run(command, ...args) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: 'inherit' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} failed${error ? `: ${error.message}` : ''}`);
}

/** The symbol versions in an ELF file that are newer than the oldest system we promise has. */
function tooNew(file) {
  const versions = readFileSync(file, 'latin1').match(/\b(?:GLIBC|GLIBCXX|CXXABI)_[0-9.]+/g) ?? [];
  return versions.filter((version) => {
    const [library, numbers] = version.split('_');
    const asked = numbers.split('.').map(Number);
    const differs = asked.findIndex((number, index) => number !== (NEWEST[library][index] ?? 0));
    return differs !== -1 && asked[differs] > (NEWEST[library][differs] ?? 0);
  });
}

if (!isCurrent()) run(process.execPath, 'native/build.mjs', '--always');
rmSync(path.join(root, 'prebuilds'), { recursive: true, force: true });
mkdirSync(folder, { recursive: true });
copyFileSync(built, prebuilt);
run('strip', '--strip-unneeded', prebuilt);
const newer = tooNew(prebuilt);
if (newer.length > 0)
  throw new Error(`the prebuilt addon would not load on older systems: it asks for ${newer.join(', ')}`);
createRequire(import.meta.url)(prebuilt);
console.log(`shardfetch: ${path.relative(root, prebuilt)}, ${statSync(prebuilt).size} bytes`);
