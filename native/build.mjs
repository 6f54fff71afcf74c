/**
 * What `npm install` runs: builds the addon into build/Release, unless a prebuilt one loads (`--always`: also then). Downloads
 * nothing where Node's headers lie beside Node, as they do in its own packages. Says one line; shows the compiler's output only
 * when it fails.
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const prefix = path.resolve(process.execPath, '..', '..');

function prebuiltLoads() {
  process.env.PREBUILDS_ONLY = '1'; // node-gyp-build reads it when it is loaded
  try {
    createRequire(import.meta.url)('node-gyp-build')(root);
    return true;
  } catch {
    return false; // none for this platform, or one that this system cannot load
  }
}

/** npm's own node-gyp fits the Node it came with; the newest one need not. */
function nodeGypCommand() {
  const npm = process.env.npm_execpath && path.resolve(process.env.npm_execpath, '..', '..');
  const candidates = [
    process.env.npm_config_node_gyp,
    npm && path.join(npm, 'node_modules/node-gyp/bin/node-gyp.js'),
    path.join(prefix, 'lib/node_modules/npm/node_modules/node-gyp/bin/node-gyp.js'),
  ];
  const script = candidates.find((candidate) => candidate && existsSync(candidate));
  return script ? [process.execPath, script] : ['npx', '--yes', 'node-gyp'];
}

function headerArguments() {
  const configured = Object.keys(process.env).some((name) => /^npm_(package_)?config_(node_gyp_)?nodedir$/i.test(name));
  return !configured && existsSync(path.join(prefix, 'include/node/node_api.h')) ? [`--nodedir=${prefix}`] : [];
}

function build() {
  const [command, ...first] = nodeGypCommand();
  const result = spawnSync(command, [...first, 'rebuild', ...headerArguments()], { cwd: root, encoding: 'utf8' });
  if (result.status === 0) {
    console.log('shardfetch: built the native addon');
    return;
  }
  console.error(`${result.stdout ?? ''}${result.stderr ?? ''}${result.error ?? ''}`);
  console.error(
    'shardfetch: the native addon could not be built; it takes a C++20 compiler (g++ 10 or clang 12, or newer), make, ' +
      'Python 3 and the headers of this Node. Install them, then run: npm rebuild shardfetch',
  );
  process.exitCode = 1;
}

if (process.argv.includes('--always') || !prebuiltLoads()) build();
