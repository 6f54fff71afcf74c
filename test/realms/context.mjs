/**
 * Runs a module of this folder in a `node:vm` context whose classes are all its own, and the package with it, as jest and vitest's
 * vmThreads do: `node --experimental-vm-modules context.mjs MODULE [VALUE …]`. Modules of Node and of node_modules are the outer realm's.
 */

import { readFileSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import path from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import vm from 'node:vm';

const [file, ...values] = process.argv.slice(2);
const context = vm.createContext({ values });
const inner = vm.runInContext('globalThis', context);
for (const [name, descriptor] of Object.entries(Object.getOwnPropertyDescriptors(globalThis))) {
  // V8 gives each context a console that prints nothing.
  if (!(name in inner) || name === 'console') Object.defineProperty(inner, name, descriptor);
}

const modules = new Map();

function load(specifier, parent) {
  const isOwn = specifier.startsWith('.') || specifier.startsWith('file:');
  const url = isOwn ? new URL(specifier, parent).href : specifier;
  if (!modules.has(url)) modules.set(url, isOwn ? ownModule(url) : outerModule(url));
  return modules.get(url);
}

async function ownModule(url) {
  return new vm.SourceTextModule(readFileSync(fileURLToPath(url), 'utf8'), {
    identifier: url,
    context,
    initializeImportMeta: (meta) => {
      meta.url = url;
    },
    importModuleDynamically: async (specifier) => evaluated(await load(specifier, url)),
  });
}

async function outerModule(specifier) {
  const names = isBuiltin(specifier) ? specifier : import.meta.resolve(specifier);
  const exported = await import(names);
  const keys = Object.keys(exported);
  return new vm.SyntheticModule(
    keys,
    function () {
      for (const key of keys) this.setExport(key, exported[key]);
    },
    { context, identifier: specifier },
  );
}

async function evaluated(module) {
  if (module.status === 'unlinked') await module.link((specifier, from) => load(specifier, from.identifier));
  await module.evaluate();
  return module;
}

await evaluated(await load(pathToFileURL(path.resolve(file)).href, import.meta.url));
