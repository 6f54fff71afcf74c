/** The programs that stand in README.md and docs/, run as they are: one `js` block is one program. See test/docs/pages.ts. */

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { blocksOf, ROOT, readPages } from '../docs/pages.ts';

const programs = readPages()
  .flatMap(blocksOf)
  .filter(({ kind }) => kind === 'js');

/** Five at once, each with threads of its own: a second on idle cores, half a minute on busy ones. */
const PROGRAM_MS = 110_000;

test.concurrent.each(programs)('$name', { timeout: PROGRAM_MS + 10_000 }, async ({ text }) => {
  // What it says in comments behind console.log it must print, up to an ellipsis.
  const promised = [...text.matchAll(/^ *(?:else )?console\.log\(.*\); \/\/ (.*)$/gm)].map(
    ([, promise]) => promise as string,
  );
  const run = promisify(execFile)(process.execPath, ['--input-type=module', '--eval', text], {
    cwd: ROOT,
    timeout: PROGRAM_MS,
  });
  const { stdout } = await run;
  for (const promise of promised) expect(stdout).toContain(promise.split('…')[0]);
});
