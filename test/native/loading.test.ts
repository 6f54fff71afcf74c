import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

test('a thread that is terminated while it loads the addon ends alone, not with the whole process', async () => {
  const fixture = fileURLToPath(new URL('fixtures/terminated-while-loading.cjs', import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, [fixture]);
  expect(stdout).toBe('200\n');
  // 200 threads, of which some compute all the time: seconds on two idle cores, more than a minute on busy ones.
}, 300_000);
