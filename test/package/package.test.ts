/**
 * The package as its users get it: packed as `npm pack` does, installed into an empty folder of a machine without compilers,
 * and used there. The dependencies come from npm's cache or registry; everything else is at hand.
 */

import { execFile } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));
const temporary = mkdtempSync(path.join(tmpdir(), 'shardfetch-package-'));
/** A checkout: what `npm pack` needs of this one, so that its dist/ and prebuilds/ are left alone. */
const checkout = path.join(temporary, 'checkout');
const consumer = path.join(temporary, 'consumer');
const installed = path.join(consumer, 'node_modules/shardfetch');
/** Every command that the machine without compilers has. */
const commands = path.join(temporary, 'bin');
const bareEnvironment = { ...process.env, PATH: commands, CC: '/bin/false', CXX: '/bin/false' };

/** npm asks its registry or cache; ten seconds on idle cores, more than a minute on busy ones. */
const INSTALL_MS = 300_000;
/** Of tests that start programs, and of hooks that copy or remove thousands of files. */
vi.setConfig({ testTimeout: 120_000, hookTimeout: 120_000 });
let packed: string[] = [];

beforeAll(async () => {
  const files = ['package.json', 'tsconfig.json', 'tsconfig.build.json', 'binding.gyp', 'native', 'examples', 'src'];
  const texts = ['LICENSE', 'README.md', 'ARCHITECTURE.md', 'CHANGELOG.md', 'HACKING.md', 'SECURITY.md', 'docs'];
  for (const name of [...files, ...texts, 'build/Release/shardfetch.node']) {
    cpSync(path.join(root, name), path.join(checkout, name), { recursive: true, preserveTimestamps: true });
  }
  symlinkSync(path.join(root, 'node_modules'), path.join(checkout, 'node_modules'));
  mkdirSync(commands);
  symlinkSync(process.execPath, path.join(commands, 'node'));
  symlinkSync('/bin/sh', path.join(commands, 'sh'));
  mkdirSync(consumer);
  writeFileSync(path.join(consumer, 'package.json'), '{ "name": "consumer", "private": true, "type": "module" }');

  const [npm, ...first] = npmCommand();
  const { stdout } = await run(npm, [...first, 'pack', '--json', '--pack-destination', temporary], { cwd: checkout });
  const tarball = readdirSync(temporary).find((name) => name.endsWith('.tgz')) ?? 'none';
  packed = packedFiles(stdout);
  await run(npm, [...first, 'install', '--prefer-offline', '--no-audit', '--no-fund', path.join(temporary, tarball)], {
    cwd: consumer,
    env: bareEnvironment,
  });
}, INSTALL_MS);

afterAll(() => rmSync(temporary, { recursive: true }));

/** npm's own script, run by this Node: the one that runs this test, or the one beside `npm` on the PATH. */
function npmCommand(): [string, ...string[]] {
  const folders = (process.env.PATH ?? '').split(':');
  const beside = folders.map((folder) => path.join(folder, '../lib/node_modules/npm/bin/npm-cli.js'));
  const running = process.env.npm_execpath?.replace(/npx-cli\.js$/, 'npm-cli.js');
  const script = [running, ...beside].find((candidate) => candidate?.endsWith('npm-cli.js') && existsSync(candidate));
  return script === undefined ? ['npm'] : [process.execPath, script];
}

/** `npm pack --json` follows what the scripts of `prepack` print. One object of packages by name since npm 11, a list before. */
function packedFiles(output: string): string[] {
  const report = JSON.parse(output.slice(output.search(/^[[{]/m))) as Record<string, { files: { path: string }[] }>;
  return Object.values(report).flatMap(({ files }) => files.map((file) => file.path));
}

function read(...names: string[]): string {
  return readFileSync(path.join(...names), 'utf8');
}

describe('the tarball', () => {
  test('holds what runs, what compiles and what is to be read, and nothing else', () => {
    expect(packed.filter((name) => !/^(dist|native|examples|docs)\//.test(name)).sort()).toEqual([
      'ARCHITECTURE.md',
      'CHANGELOG.md',
      'HACKING.md',
      'LICENSE',
      'README.md',
      'SECURITY.md',
      'binding.gyp',
      'package.json',
      `prebuilds/${process.platform}-${process.arch}/shardfetch.glibc.node`,
    ]);
    expect(packed.filter((name) => /^docs\//.test(name) && !/\.(md|schema\.json)$/.test(name))).toEqual([]);
    const links = read(root, 'README.md').matchAll(/\]\(([^)#]+)/g);
    for (const [, link] of links)
      expect(
        packed.some((name) => name.startsWith(link as string)),
        link,
      ).toBe(true);
    const programs = readdirSync(path.join(root, 'examples'), { recursive: true, encoding: 'utf8' })
      .filter((name) => path.extname(name) !== '')
      .map((name) => `examples/${name}`);
    expect(packed.filter((name) => /^examples\//.test(name)).sort()).toEqual(programs.sort());
    expect(packed.filter((name) => /^dist\//.test(name) && !/\.(js|cjs|d\.ts|d\.cts)$/.test(name))).toEqual([]);
    expect(packed.filter((name) => /^native\//.test(name) && !/\.(cpp|h)$/.test(name))).toEqual(['native/build.mjs']);
  });

  test('holds every source that compiling takes', () => {
    const sources = read(root, 'binding.gyp').match(/native\/\w+\.cpp/g) ?? [];
    expect(sources.length).toBeGreaterThan(0);
    for (const source of sources) {
      expect(packed).toContain(source);
      for (const [, header] of read(root, source).matchAll(/#include "(.*)"/g)) {
        expect(packed).toContain(`native/${header}`);
      }
    }
  });

  test('declares types that need nothing but Node', () => {
    // Nobody can import the command line's.
    const declarations = packed.filter((name) => /\.d\.c?ts$/.test(name) && !name.startsWith('dist/cli/'));
    expect(declarations).toContain('dist/main/index.d.ts');
    const imports = declarations.flatMap((name) =>
      [...read(installed, name).matchAll(/(?:\bfrom |\bimport\(|\bimport |reference types=)['"]([^'"]+)['"]/g)].map(
        ([, specifier]) => specifier,
      ),
    );
    expect(imports.filter((specifier) => !/^(\.\.?\/|node:)/.test(specifier ?? ''))).toEqual([]);
  });
});

describe('installed without a compiler', () => {
  test('the prebuilt addon is used, and nothing was built', () => {
    expect(existsSync(path.join(installed, 'prebuilds'))).toBe(true);
    expect(existsSync(path.join(installed, 'build'))).toBe(false);
  });

  test('a program that uses both exports', async () => {
    const server = http.createServer((request, response) => response.end(`${request.method} ${request.url}`));
    server.listen(0, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const { port } = server.address() as AddressInfo;
    writeFileSync(
      path.join(consumer, 'program.js'),
      `import { Pool } from 'shardfetch';
       import { EpollDriver, Multi, Transfer } from 'shardfetch/multi';
       const said = [];
       for (const shards of [1, 0]) {
         const pool = new Pool({ shards });
         said.push(await (await pool.fetch('http://127.0.0.1:${port}/shards-' + shards)).text());
         await pool.close();
       }
       const multi = new Multi();
       const driver = new EpollDriver(multi);
       multi.add(new Transfer({
         url: 'http://127.0.0.1:${port}/multi',
         onData: (_, bytes, start, end) => { said.push(Buffer.from(bytes.slice(start, end)).toString()); },
       }));
       driver.onTurn = () => {
         for (const { transfer, error } of multi.messages()) {
           multi.remove(transfer);
           multi.close();
           console.log(JSON.stringify({ said, error }));
         }
       };
       driver.run();`,
    );
    const { stdout } = await run(process.execPath, ['program.js'], { cwd: consumer, env: bareEnvironment });
    server.close();
    expect(JSON.parse(stdout)).toEqual({ said: ['GET /shards-1', 'GET /shards-0', 'GET /multi'], error: null });
  });

  const oneRequest = (shards: number, port = 9): string =>
    `import { Pool } from 'shardfetch';
     const pool = new Pool({ shards: ${shards} });
     console.log(await pool.fetch('http://127.0.0.1:${port}/').catch(({ cause }) => [cause.message, cause.limit]));
     await pool.close();`;

  test('where Node may load no addon, the error says which flag forbids it, and not to try again', async () => {
    const { stdout } = await run(process.execPath, ['--no-addons', '--input-type=module', '-e', oneRequest(1)], {
      cwd: consumer,
    });
    expect(stdout).toContain('The shard for this request could not begin: shardfetch needs its native addon');
    expect(stdout).toContain('without --no-addons');
    expect(stdout).not.toContain('npm rebuild');
    expect(stdout).not.toContain('may be repeated');
    for (const command of [['load', '-d', '1s'], ['hold', '-c', '1', '-d', '1s'], ['get']]) {
      const program = [path.join(installed, 'dist/cli/main.js'), ...command, 'http://127.0.0.1:9/'];
      const { stderr } = await run(process.execPath, ['--no-addons', ...program], { cwd: consumer }).catch(
        (error: { stderr: string }) => error,
      );
      expect(stderr).toMatch(/^shardfetch: .*without --no-addons/m);
      expect(stderr).not.toContain('\n    at ');
    }
  });

  test.each([
    ['what threads run', 1, 'dist/worker/shard-entry.cjs'],
    ['the addon', 0, 'package.json'],
  ])('where a bundler has taken the code away from %s, the error says what to do', async (_, shards, lost) => {
    const program = path.join(temporary, `bundled-${shards}/program.mjs`);
    const copy = path.join(path.dirname(program), 'shardfetch');
    cpSync(installed, copy, { recursive: true });
    symlinkSync(path.join(consumer, 'node_modules'), path.join(path.dirname(program), 'node_modules'));
    rmSync(path.join(copy, lost));
    writeFileSync(program, oneRequest(shards).replace("'shardfetch'", "'./shardfetch/dist/main/index.js'"));
    // Of a module whose package.json is gone Node does not know that it is one.
    writeFileSync(path.join(copy, 'dist/package.json'), '{ "type": "module" }');
    const { stdout, stderr } = await run(process.execPath, [program]).catch(
      (error: { stdout: string; stderr: string }) => error,
    );
    expect(stdout + stderr).toContain('shardfetch cannot find its own files');
    expect(stdout + stderr).toContain('docs/bundling.md');
  });

  test('what compiling takes is installed too, so that it can be compiled where no prebuilt addon loads', async () => {
    const script = "console.log(require('node-addon-api').include_dir)";
    const { stdout } = await run(process.execPath, ['-e', script], { cwd: installed });
    expect(
      existsSync(path.join(installed, stdout.trim(), 'napi.h')) || existsSync(path.join(stdout.trim(), 'napi.h')),
    ).toBe(true);
  });

  test('where no prebuilt addon loads and there is no compiler, installing fails and says what it takes', async () => {
    const copy = path.join(temporary, 'without-prebuilt/node_modules/shardfetch');
    cpSync(path.join(consumer, 'node_modules'), path.dirname(copy), { recursive: true });
    rmSync(path.join(copy, 'prebuilds'), { recursive: true });
    const build = run(process.execPath, ['native/build.mjs'], { cwd: copy, env: bareEnvironment });
    await expect(build).rejects.toMatchObject({ code: 1, stderr: expect.stringContaining('npm rebuild shardfetch') });
  });
});

describe('types', () => {
  const program = `
    import nodeBuffer from 'node:buffer';
    import { request, setGlobalDispatcher } from 'undici';
    import { fetch, type FetchInit, type FetchLike, type FetchResponse, Pool, TransferError, type TransferCode } from 'shardfetch';
    import { EpollDriver, Multi, PAUSE, Transfer } from 'shardfetch/multi';

    const pool: Pool = new Pool({ shards: 1, connections: { perOrigin: 4 }, timeouts: { headMs: 1_000 } });
    const init: FetchInit = { method: 'POST', body: 'text', signal: AbortSignal.timeout(1_000) };
    const response: FetchResponse = await pool.fetch(new URL('http://localhost/'), init);
    const plain: Response = await fetch('http://localhost/');
    const bytes: Uint8Array = await response.bytes();
    const firstByte: number = response.timings.firstByte;
    const copied: number = response.clone().clone().timings.end;
    const form = new FormData();
    form.append('file', new Blob(['in a file']), 'a.txt');
    for (const body of [form, new Blob(['x']), new URLSearchParams(), new ReadableStream<Uint8Array>(), new nodeBuffer.Blob(['x']), [new Uint8Array(1)]]) {
      await pool.fetch('http://localhost/', { method: 'POST', body, duplex: 'half' });
    }
    // What takes a fetch, and what a fetch takes.
    const like: FetchLike = pool.fetch;
    const asGlobal: typeof globalThis.fetch = pool.fetch;
    const given: RequestInit = { method: 'POST', body: form, headers: new Headers() };
    await pool.fetch('http://localhost/', given);
    setGlobalDispatcher(pool.dispatcher());
    await request('http://localhost/', { dispatcher: pool.dispatcher().compose((dispatch) => dispatch) });
    // As lib.dom of TypeScript 5.7 has it.
    type OldRequest = Omit<Request, 'body'> & { body: Pick<ReadableStream<Uint8Array>, 'getReader' | 'cancel' | 'locked'> | null };
    await pool.fetch(new Request('http://localhost/') as OldRequest, null);
    const stats = await pool.stats();
    const code: TransferCode | undefined = (response as unknown) instanceof TransferError ? 'HEAD_TIMEOUT' : undefined;
    // @ts-expect-error there is no such option
    new Pool({ shard: 1 });
    // @ts-expect-error a number is no URL
    await pool.fetch(1);

    const multi = new Multi({ maxConnects: 1 });
    const transfer = new Transfer({ url: 'http://localhost/', onData: (_, data, start, end) => (end > start ? PAUSE : undefined) });
    multi.add(transfer);
    new EpollDriver(multi).run();
    console.log(like, asGlobal, plain.ok, bytes.length, firstByte, copied, stats, code, multi.running);
  `;
  const settings = {
    'module: nodenext': { module: 'nodenext', lib: ['es2023'] },
    'module: nodenext, with the libraries that are there by default': { module: 'node20' },
    'module: preserve, with the DOM': { module: 'preserve', moduleResolution: 'bundler', lib: ['es2023', 'dom'] },
  };

  beforeAll(() => {
    for (const name of ['@types/node', 'undici', 'undici-types']) {
      cpSync(path.join(root, 'node_modules', name), path.join(consumer, 'node_modules', name), { recursive: true });
    }
    writeFileSync(path.join(consumer, 'types.ts'), program);
  });

  for (const [name, compilerOptions] of Object.entries(settings)) {
    test(`a strict program that checks its libraries too; ${name}`, async () => {
      const file = path.join(consumer, `tsconfig.${compilerOptions.module}.json`);
      const strict = { strict: true, exactOptionalPropertyTypes: true, skipLibCheck: false, noEmit: true };
      const config = {
        compilerOptions: { target: 'es2023', types: ['node'], ...strict, ...compilerOptions },
        files: ['types.ts'],
      };
      writeFileSync(file, JSON.stringify(config));
      const { stdout } = await run(process.execPath, [
        path.join(root, 'node_modules/typescript/bin/tsc'),
        '-p',
        file,
      ]).catch((error: { stdout: string }) => error);
      expect(stdout).toBe('');
    });
  }
});
