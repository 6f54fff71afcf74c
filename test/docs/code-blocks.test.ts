/** All code in the pages is type-checked against the package, as a user's compiler would. What `js` blocks do is tested in test/examples. */

import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Block, blocksOf, ROOT, readPages } from './pages.ts';

/** In JavaScript nobody asks first what may be null (TS18047) or could be anything (TS18046, TS2571). */
const NO_MISTAKES_IN_JS = /^error TS(18047|18046|2571):/;

const blocks = readPages().flatMap(blocksOf);
const mistakes = new Map<Block, string[]>();
// Inside the checkout, so that packages are found by their names.
mkdirSync(join(ROOT, 'out'), { recursive: true });
const folder = mkdtempSync(join(ROOT, 'out', 'docs-'));

beforeAll(async () => {
  cpSync(join(ROOT, 'test', 'docs', 'fragments.d.ts'), join(folder, 'fragments.d.ts'));
  const options = {
    allowJs: true,
    checkJs: true,
    noUnusedLocals: false,
    noUnusedParameters: false,
    verbatimModuleSyntax: false,
    noImplicitReturns: false,
    // Programs are short: what an argument is shows from what is done with it.
    noImplicitAny: false,
    // A caught error is whatever it is.
    useUnknownInCatchVariables: false,
  };
  const config = { extends: '../../tsconfig.json', compilerOptions: options, include: ['*'] };
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(config));
  blocks.forEach((block, index) => {
    writeFileSync(join(folder, `block${index}.${block.kind === 'js' ? 'mjs' : 'mts'}`), moduleOf(block));
  });
  const compiler = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc');
  const told = await promisify(execFile)(process.execPath, [compiler, '-p', folder, '--pretty', 'false'], {
    cwd: folder,
    maxBuffer: 16_000_000,
  }).then(
    ({ stdout }) => stdout,
    ({ stdout }: { stdout: string }) => stdout,
  );
  for (const [, index, line, text] of told.matchAll(/^block(\d+)\.m[jt]s\((\d+),\d+\): (.*)$/gm)) {
    const block = blocks[Number(index)] as Block;
    if (block.kind === 'js' && NO_MISTAKES_IN_JS.test(text as string)) continue;
    const told = mistakes.get(block) ?? [];
    mistakes.set(block, [...told, `line ${block.line + Number(line) - 1}: ${text}`]);
  }
  if (told.includes('tsconfig.json') || told.startsWith('error')) throw new Error(told);
}, 300_000);

afterAll(() => rmSync(folder, { recursive: true }));

/** A block without an import or export is a module all the same: names in it are its own, and it may await. */
function moduleOf({ text }: Block): string {
  return `${text}export {};\n`;
}

test('there is code to check', () => {
  expect(blocks.length).toBeGreaterThan(20);
});

test.each(blocks.map((block) => [block.name, block] as const))('%s has the right types', (_, block) => {
  expect(mistakes.get(block) ?? []).toEqual([]);
});
