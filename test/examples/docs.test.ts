/** The programs that stand in docs/, run as they are: one `js` block is one program. */

import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

const ROOT = new URL('../../', import.meta.url);
const PAGES = [
  'content-coding',
  'proxies',
  'guard',
  'redirects',
  'retries',
  'cookies',
  'auth',
  'fetch-all',
  'streaming-and-upgrades',
];

const programs = PAGES.flatMap((page) => {
  const text = readFileSync(new URL(`docs/${page}.md`, ROOT), 'utf8');
  return [...text.matchAll(/^```js\n(.*?)^```$/gms)].map(([, program], index) => ({
    name: `docs/${page}.md, ${index + 1}`,
    program: program as string,
  }));
});

test.concurrent.each(programs)('$name', async ({ program }) => {
  // What it says in comments behind console.log it must print, up to an ellipsis.
  const promised = [...program.matchAll(/^ *console\.log\(.*\); \/\/ (.*)$/gm)].map(([, text]) => text as string);
  const run = promisify(execFile)(process.execPath, ['--input-type=module', '--eval', program], {
    cwd: fileURLToPath(ROOT),
    timeout: 20_000,
  });
  const { stdout } = await run;
  for (const text of promised) expect(stdout).toContain(text.split('…')[0]);
});
