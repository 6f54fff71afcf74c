/** The command where what it writes to breaks, what it reads is odd, and what it runs never ends or only fails. */

import { spawn } from 'node:child_process';
import { mkdtempSync, openSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { answerAtOnce, endings, startServer } from './rig.ts';

const COMMAND = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const folder = mkdtempSync(path.join(tmpdir(), 'shardfetch-outputs-'));
endings.push(() => rm(folder, { recursive: true }));

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** `stdout`: a descriptor in place of a pipe; 'closed': a pipe whose reader goes before anything comes. */
function run(args: readonly string[], output: number | 'pipe' | 'closed' = 'pipe'): Promise<Ended> {
  return new Promise((resolve) => {
    const stdio = typeof output === 'number' ? output : 'pipe';
    const child = spawn(process.execPath, [COMMAND, ...args], { stdio: ['ignore', stdio, 'pipe'] });
    let stdout = '';
    let stderr = '';
    if (output === 'closed') child.stdout?.destroy();
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.once('close', (code) => resolve({ code, stdout, stderr }));
  });
}

function file(name: string, text: string): string {
  const at = path.join(folder, name);
  writeFileSync(at, text);
  return at;
}

describe.concurrent('the command line', () => {
  test('standard output that is full: one sentence and 7', async () => {
    const { url } = await startServer(answerAtOnce);
    const full = openSync('/dev/full', 'w');
    for (const more of [[], ['--json', '-']]) {
      const { code, stderr } = await run(['load', '-n', '5', '-q', ...more, url], full);
      expect(stderr).toContain('shardfetch: standard output could not be written (ENOSPC).');
      expect(stderr).not.toContain('    at ');
      expect(code).toBe(7);
    }
  });

  test.each([[['load', '--help']], [['completion', 'bash']]])(
    '%j to a reader that has gone says nothing more',
    async (args) => {
      expect(await run(args, 'closed')).toEqual({ code: 0, stdout: '', stderr: '' });
    },
  );

  test('compare: files with the right schema and odd insides are refused', async () => {
    const head = { schema: 'shardfetch-load/1', latency: {}, requests: {} };
    const empty = file('empty.json', JSON.stringify({ ...head, perSecond: [] }));
    const broken = file('broken.json', JSON.stringify({ ...head, latency: { corrected: 5 }, perSecond: [null, 5] }));
    for (const odd of [empty, broken]) {
      const { code, stderr } = await run(['compare', odd, odd]);
      expect(stderr).toBe(
        `shardfetch: BEFORE: ${odd} is no result of shardfetch load (its schema must be shardfetch-load/1).\n`,
      );
      expect(code).toBe(2);
    }
  });

  test('a setup() that waits for what never comes: one sentence and 2', async () => {
    const { url } = await startServer(answerAtOnce);
    const scenario = file(
      'never.mjs',
      'export const setup = () => new Promise(() => {});\nexport default async () => {};',
    );
    const { code, stderr } = await run(['load', '--scenario', scenario, '-d', '1s', '-q', url]);
    expect(stderr).toMatch(/^shardfetch: It waits for something that will never come/);
    expect(code).toBe(2);
  });

  test('a scenario that only fails: the first line says so, 6; what it threw does nothing to the terminal', async () => {
    const { url } = await startServer(answerAtOnce);
    const scenario = file('fails.mjs', "export default async () => { throw new Error('bad \\x1b[31m\\u202e'); };");
    const { code, stdout } = await run(['load', '--scenario', scenario, '-c', '1', '--iterations', '3', '-q', url]);
    expect(stdout).toMatch(/^FAILED: no request was sent, and all 3 iterations failed\.$/m);
    expect(stdout).toContain('bad \\x1b[31m\\u202e');
    expect(code).toBe(6);
  });

  test('iterations that fail after their requests are in the first line', async () => {
    const { url } = await startServer(answerAtOnce);
    const scenario = file(
      'after.mjs',
      "export default async ({ http }) => { await http.get('/'); throw new Error('after'); };",
    );
    const { stdout } = await run(['load', '--scenario', scenario, '-c', '1', '--iterations', '3', '-q', url]);
    expect(stdout).toMatch(/^Done: .* 0 failed, 3 iterations failed\.$/m);
  });

  test('hold: 6 where not one request was answered', async () => {
    const { url } = await startServer((request) => request.socket.destroy());
    const { code } = await run(['hold', '-c', '3', '-d', '300ms', '-q', url]);
    expect(code).toBe(6);
  });
});
