/** The command where what it writes to breaks, what it reads is odd, and what it runs never ends or only fails. */

import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { answerAtOnce, endings, startServer } from './rig.ts';

const NODE_MAJOR = Number(process.versions.node.split('.')[0]);
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

  test.each([
    ['load', '-d', '60s'],
    ['hold', '-c', '5', '-d', '60s'],
    ['get', '-o', 'kept'],
  ])('%s, SIGHUP: 129, and the file is written', async (command, ...flags) => {
    let asked = () => {};
    const isAsked = new Promise<void>((resolve) => {
      asked = resolve;
    });
    const { url } = await startServer((_request, response) => {
      asked();
      if (command !== 'get') response.end('hello');
    });
    const json = path.join(folder, `${command}-hup.json`);
    const child = spawn(process.execPath, [COMMAND, command, ...flags, '--json', json, url], { cwd: folder });
    await isAsked;
    child.kill('SIGHUP');
    // The shell of a terminal says so a second time.
    setTimeout(() => child.kill('SIGHUP'), 50);
    const [code, signal] = await once(child, 'close');
    // The second may find a process that is at its end and hears no more: a shell tells both as 129.
    expect(signal ?? code).toBe(signal === null ? 129 : 'SIGHUP');
    expect(readFileSync(json, 'utf8')).toMatch(/"verdict": "interrupted"|"kind": "aborted"/);
  });

  test.skipIf(spawnSync('script', ['--version']).status !== 0)(
    'a terminal that is closed: 129, and the file is written',
    async ({ expect }) => {
      const { url } = await startServer(answerAtOnce);
      const [json, code] = ['terminal.json', 'terminal.code'].map((name) => path.join(folder, name)) as [
        string,
        string,
      ];
      const command = `'${process.execPath}' '${COMMAND}' load -d 60s --json ${json} ${url}`;
      // As a shell does: the kernel tells it, and it tells its jobs.
      const shell = `${command} & trap "kill -HUP $!" HUP; wait $!; wait $!; echo $? > ${code}`;
      const terminal = spawn('script', ['-qfc', shell, '/dev/null'], { stdio: ['ignore', 'pipe', 'inherit'] });
      let text = '';
      terminal.stdout.setEncoding('utf8').on('data', (part: string) => {
        text += part;
        if (/Rate .*\d\/s/.test(text)) terminal.kill('SIGKILL');
      });
      await once(terminal, 'close');
      await expect.poll(() => existsSync(code) && readFileSync(code, 'utf8'), { timeout: 20_000 }).toBe('129\n');
      expect(JSON.parse(readFileSync(json, 'utf8'))).toMatchObject({ verdict: 'interrupted' });
      expect(text).not.toContain('NaN');
    },
  );

  test.each(['load', 'hold', 'get'])('%s with too few open files: one sentence and 4', async (command) => {
    const child = spawn('bash', [
      '-c',
      'ulimit -n 48; exec "$0" "$@"',
      process.execPath,
      COMMAND,
      command,
      'http://h/',
    ]);
    const stderr = child.stderr.setEncoding('utf8').toArray();
    const [code] = await once(child, 'close');
    const said = (await stderr).join('');
    // How many files Node opens at once to load modules differs: where they suffice, what comes is what the command itself finds wrong.
    if (NODE_MAJOR >= 22 && !said.includes('too few to load')) {
      expect(code).toBe(command === 'get' ? 3 : 4);
      expect(said).toMatch(/shardfetch: [^\n]*\.\n$/);
      expect(said).not.toMatch(/\n +at /);
      return;
    }
    expect([code, said]).toEqual([
      4,
      'shardfetch: This process may have 48 open files, too few to load what it is made of; raise the limit to 128 or more (ulimit -n 128).\n',
    ]);
  });

  test('hold: 6 where not one request was answered', async () => {
    const { url } = await startServer((request) => request.socket.destroy());
    // Long enough for a server on a busy machine to have refused one.
    const { code } = await run(['hold', '-c', '3', '-d', '3s', '-q', url]);
    expect(code).toBe(6);
  });
});
