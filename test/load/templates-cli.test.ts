/** The flags of templates, tables, files, cookies, redirects and scenarios, as a shell gives them. */

import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { LoadResult } from 'shardfetch/load';
import { describe, expect, test } from 'vitest';
import { answerAtOnce, endings, startServer } from './rig.ts';

const COMMAND = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const folder = mkdtempSync(path.join(tmpdir(), 'shardfetch-flags-'));
endings.push(() => rmSync(folder, { recursive: true }));

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function run(...args: string[]): Promise<Ended> {
  return new Promise((resolve) => {
    execFile(process.execPath, [COMMAND, 'load', ...args], { timeout: 50_000 }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr });
    });
  });
}

function fileOf(name: string, text: string | Buffer): string {
  const file = path.join(folder, name);
  writeFileSync(file, text);
  return file;
}

describe.concurrent('flags', () => {
  test('tables by the name of their file or another, targets of a file with templates, a body with them', async () => {
    const server = await startServer(answerAtOnce);
    const users = fileOf('users.csv', 'name\nann\nbob\n');
    const words = fileOf('list.csv', 'word\nred\n');
    const body = fileOf('body.txt', 'for {{users.name}}');
    const urls = fileOf('urls.txt', `PUT ${server.url}/{{ users.name }}/{{words.word}}/{{random 1 1}}?a=1\n`);
    const flags = ['--data', users, '--data', `words=${words}`, '-b', `@${body}`, '--url-file', urls];
    const { code, stderr } = await run('-q', '-n', '2', '-c', '1', '-H', 'x-a: {{words.word}}', ...flags);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(server.seen.map(({ method, url, body: sent }) => [method, url, sent])).toEqual([
      ['PUT', '/ann/red/1?a=1', 'for ann'],
      ['PUT', '/bob/red/1?a=1', 'for bob'],
    ]);
    expect(server.seen[0]?.headers['x-a']).toBe('red');
  });

  test('rows once, cookies, redirects, codings', async () => {
    const server = await startServer(({ url }, response) => {
      response.setHeader('set-cookie', 'a=1; Path=/');
      if (url === '/from') response.writeHead(302, { location: '/to' });
      response.end();
    });
    const users = fileOf('once.csv', 'name\nfrom\nfrom\nto\n');
    const flags = ['--data', users, '--data-order', 'once', '--cookies', '--follow', '--compressed', '-j', '-q'];
    const { code, stdout } = await run('-c', '1', ...flags, `${server.url}/{{once.name}}`);
    expect(code).toBe(0);
    const { requests, statuses } = JSON.parse(stdout) as LoadResult;
    expect(requests).toMatchObject({ started: 5, redirected: 2 });
    expect(statuses).toEqual({ 200: 3, 302: 2 });
    expect(server.seen.map(({ headers }) => headers.cookie)).toEqual([undefined, 'a=1', 'a=1', 'a=1', 'a=1']);
    expect(server.seen[0]?.headers['accept-encoding']).toContain('gzip');
  });

  test('bytes of a file, and braces as they are', async () => {
    const server = await startServer(answerAtOnce);
    const bytes = fileOf('bytes', '{{x}} {{counter}}');
    const [file, plain] = await Promise.all([
      run('-q', '-n', '1', '-B', bytes, `${server.url}/file`),
      run('-q', '-n', '1', '--no-templates', '-b', '{{x', `${server.url}/plain`),
    ]);
    expect([file.code, plain.code]).toEqual([0, 0]);
    const bodies = ['/file', '/plain'].map((url) => server.seen.find((seen) => seen.url === url)?.body);
    expect(bodies).toEqual(['{{x}} {{counter}}', '{{x']);
  });

  test('a scenario: its summary, its threshold; what it prints is no report', async () => {
    const server = await startServer(answerAtOnce);
    const scenario = fileOf(
      'half.mjs',
      `export default async ({ http, check, user }) => {
         console.log('printed');
         check(await http.get('/'), { 'every other': () => user.iteration % 2 === 0 });
         if (user.iteration === 4) throw new Error('the fourth');
       };`,
    );
    const flags = ['--scenario', scenario, '-c', '1', '--iterations', '4', '--fail-if', 'checks<99%', '-q'];
    const { code, stdout, stderr } = await run(...flags, server.url);
    expect(code).toBe(99);
    expect(stdout).toContain(`Scenario half.mjs at ${server.url}/`);
    expect(stdout).toMatch(/Iterations +3 completed +1 failed/);
    expect(stdout).toMatch(/Threw +1 Error: the fourth/);
    expect(stdout).toMatch(/every other +2 +2 +50 %/);
    expect(stdout).toMatch(/FAILED +checks<99% +\(50 %\)/);
    expect(stdout).not.toContain('printed');
    expect(stderr).toContain('printed');
  });

  const url = 'http://127.0.0.1:9/';
  const scenario = fileOf('any.mjs', 'export default async () => {};');
  test.each<[string[], string]>([
    [[`${url}{{numbr}}`], 'url: {{numbr}} is not understood'],
    [['--data', '/no/such.csv', `${url}{{such.name}}`], 'The table /no/such.csv cannot be read (ENOENT)'],
    [['--data-order', 'once', url], '--data-order needs --data'],
    [['--data', scenario, '--data-order', 'up', url], 'must be turn, random or once'],
    [['-B', '/no/such/file', url], '/no/such/file cannot be read (ENOENT)'],
    [['--scenario', '/no/such.mjs', url], 'The scenario /no/such.mjs cannot be read (ENOENT)'],
    [['--scenario', scenario], 'Say where the scenario takes place'],
    [['--scenario', scenario, url, url], 'A scenario takes one URL'],
    [['--scenario', scenario, '-n', '5', url], 'give --iterations in place of -n'],
    [['--scenario', scenario, '-b', 'x', url], 'A scenario says itself what is sent'],
    [['--iterations', '5', url], '--iterations belong to a --scenario'],
  ])('2: %j', async (args, sentence) => {
    const { code, stdout, stderr } = await run(...args);
    expect(stderr).toContain(sentence);
    expect(stderr).toMatch(/^shardfetch: /);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  });
});
