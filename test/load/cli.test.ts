/** The command `shardfetch load` as a process: exit codes, what goes to which output, signals. */

import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { LoadResult } from 'shardfetch/load';
import { describe, expect, test } from 'vitest';
import { answerAtOnce, checkSums, endings, startServer } from './rig.ts';

const COMMAND = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const folder = mkdtempSync(path.join(tmpdir(), 'shardfetch-cli-'));
endings.push(() => rm(folder, { recursive: true }));

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** `onLine`: called with what standard error says, and a function that sends a signal. */
function run(
  args: readonly string[],
  onText?: (text: string, kill: (signal: NodeJS.Signals) => void) => void,
): Promise<Ended> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [COMMAND, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
      onText?.(text, (signal) => child.kill(signal));
    });
    child.once('close', (code) => resolve({ code, stdout, stderr }));
  });
}

describe.concurrent('shardfetch load', () => {
  test('0: a summary on standard output, progress on standard error, JSON in a file', async () => {
    const server = await startServer(answerAtOnce);
    const file = path.join(folder, 'result.json');
    const { code, stdout, stderr } = await run(['load', '-c', '3', '-z', '1500ms', '--json', file, server.url]);
    expect(code).toBe(0);
    expect(stdout).toContain(`GET ${server.url}/`);
    expect(stdout).toMatch(/closed loop, 3 connections, 1 thread, 1\.5 s/);
    expect(stdout).toMatch(/Requests +[\d,]+ completed +[\d,]+\/s +0 failed/);
    expect(stdout).toMatch(/Latency +p50 +p90 +p99 +p99\.9 +max +mean/);
    // A second that the command was held up in is told with the next one.
    expect(stderr).toMatch(/[12] s of 2 s .*\/s +p50/);
    const result = JSON.parse(readFileSync(file, 'utf8')) as LoadResult;
    checkSums(result);
    expect(result).toMatchObject({
      schema: 'shardfetch-load/1',
      verdict: 'passed',
      options: { model: 'closed', connections: 3 },
    });
    expect(result.requests.completed).toBe(server.seen.length);
  });

  test('99: a threshold is crossed; with --json - standard output is JSON alone', async () => {
    const server = await startServer(answerAtOnce);
    const args = ['load', '-R', '100', '-d', '1s', '-j', '--fail-if', 'p99>1us', '--fail-if', 'errors>0', server.url];
    const { code, stdout, stderr } = await run(args);
    expect(code).toBe(99);
    const result = JSON.parse(stdout) as LoadResult;
    expect(result.verdict).toBe('failed');
    expect(result.thresholds.map(({ crossed }) => crossed)).toEqual([true, false]);
    expect(stderr).toMatch(/FAILED +p99>1us/);
    expect(stderr).toMatch(/passed +errors>0/);
  });

  test('what is sent: method, headers, body from a file, targets from a file', async () => {
    const server = await startServer(answerAtOnce);
    const body = path.join(folder, 'body.txt');
    const targets = path.join(folder, 'targets.txt');
    writeFileSync(body, 'from a file');
    writeFileSync(targets, `# comment\n\n2 ${server.url}/two\nPOST ${server.url}/post\n`);
    const common = ['load', '-q', '-n', '6', '-c', '1'];
    const [one, several] = await Promise.all([
      run([...common, '-X', 'PATCH', '-H', 'X-One: 1', '-u', 'me:word', '-b', `@${body}`, `${server.url}/one`]),
      run([...common, '--bearer', 'token', '--url-file', targets]),
    ]);
    expect([one.code, several.code]).toEqual([0, 0]);
    expect(one.stderr).toBe('');
    const sent = server.seen.find(({ url }) => url === '/one');
    expect(sent).toMatchObject({
      method: 'PATCH',
      body: 'from a file',
      headers: { 'x-one': '1', authorization: 'Basic bWU6d29yZA==' },
    });
    const counts = ['/two', '/post'].map((url) => server.seen.filter((request) => request.url === url).length);
    expect(counts).toEqual([4, 2]);
    expect(server.seen.find(({ url }) => url === '/two')?.headers.authorization).toBe('Bearer token');
    expect(several.stdout).toMatch(/By tag +completed +failed/);
  });

  test('130: Ctrl-C ends with the report of what was done', async () => {
    const server = await startServer((_request, response) => void setTimeout(() => response.end('late'), 10));
    const args = ['load', '-d', '60s', '-j', server.url];
    let sent = false;
    const { code, stdout, stderr } = await run(args, (text, kill) => {
      if (sent || !/ [1-9]\d*\/s/.test(text)) return;
      sent = true;
      kill('SIGINT');
    });
    expect(code).toBe(130);
    expect(stderr).toContain('Ending; once more ends at once.');
    expect(stderr).toContain('Ended early by a signal');
    const result = JSON.parse(stdout) as LoadResult;
    checkSums(result);
    expect(result.verdict).toBe('interrupted');
    expect(result.requests.completed).toBeGreaterThan(0);
  });

  test('a second Ctrl-C ends at once', async () => {
    const server = await startServer((_request, response) => void setTimeout(() => response.end('late'), 10));
    // After the first it waits for the scenario's end, so that the second cannot come when all is over.
    const scenario = path.join(folder, 'slow-end.mjs');
    writeFileSync(
      scenario,
      `export const teardown = () => new Promise((resolve) => setTimeout(resolve, 60_000));
       export default ({ http }) => http.get('/');`,
    );
    let told = '';
    const ended = await run(
      ['load', '--scenario', scenario, '-c', '2', '-d', '60s', '-j', server.url],
      (text, kill) => {
        told += text;
        if (text.includes('connections') || text.includes('Ending')) kill('SIGINT');
      },
    );
    expect(told).toContain('Ending; once more ends at once.');
    expect(ended).toMatchObject({ code: 130, stdout: '' });
  });

  test('6: not one request was answered', async () => {
    const server = await startServer((request) => request.socket.destroy());
    const { code, stdout } = await run(['load', '-q', '-n', '20', server.url]);
    expect(code).toBe(6);
    expect(stdout).toMatch(/Failed +20 CONNECTION_LOST: /);
  });

  test('--help teaches; so does --version', async () => {
    const [help, version] = await Promise.all([run(['load', '--help']), run(['--version'])]);
    expect([help.code, version.code]).toEqual([0, 0]);
    for (const part of ['Examples:', '--fail-if', 'Exit codes:', 'Open loop', '-R, --rate'])
      expect(help.stdout).toContain(part);
    for (const line of help.stdout.split('\n')) expect(line.length).toBeLessThanOrEqual(135);
    expect(version.stdout).toMatch(/^\d+\.\d+\.\d+/);
  });

  const url = 'http://127.0.0.1:9/';
  test.each<[number, string[], string]>([
    [2, [], 'Say what to put under load'],
    [2, ['--conections', '5', url], '--connections'],
    [2, ['-c', 'many', url], '--connections takes a whole number'],
    [2, ['-d', 'soon', url], '--duration takes a time'],
    [2, ['-R', 'fast', url], '--rate takes a rate'],
    [2, ['-R', '1g/s', url], 'a slip of a unit'],
    [2, ['-c'], "option '-c, --connections <n>' argument missing"],
    [2, ['localhost:8080'], 'cannot be requested'],
    [2, ['not a url'], 'must be an absolute URL'],
    [2, ['-b', '@/no/such/file', url], '--body: /no/such/file cannot be read (ENOENT)'],
    [2, ['--url-file', '/no/such/file'], '--url-file: /no/such/file cannot be read (ENOENT)'],
    [2, ['--cacert', '/no/such/file', url], '--cacert: /no/such/file cannot be read'],
    [2, ['--json', '/no/such/folder/result.json', url], '--json: /no/such/folder/result.json cannot be written'],
    [2, ['--fail-if', 'slow', url], 'The threshold "slow" is not understood'],
    [2, ['-H', 'no colon', url], '--header takes "name: value"'],
    [2, ['-p', '4', url], 'Pipelining (-p) is not offered'],
    [2, ['--h2', url], 'not built yet'],
    [2, ['-4', '-6', url], 'exclude each other'],
    [2, ['--think', '1s', '-R', '5', url], '--think belongs to a run by connections'],
    [2, ['--stages', '1s:5', '-R', '5', url], '--stages and a rate say the same thing'],
    [2, ['-u', 'a:b', '--bearer', 'c', url], '--user and --bearer both say who asks'],
    [2, ['--bearer', '', url], '--bearer takes a token'],
    [2, ['--connect-rate', '0', url], '--connect-rate must be above 0'],
    [2, ['--json', '', url], '--json takes the name of a file'],
    [3, ['http://no-such-host.invalid/'], 'could not be resolved'],
    [3, ['--unix-socket', '/no/such/socket', url], '/no/such/socket'],
    [4, ['-c', '9m', url], 'ulimit -Hn'],
  ])('%i: %j', async (expected, args, sentence) => {
    const { code, stdout, stderr } = await run(['load', ...args]);
    expect(stderr).toContain(sentence);
    expect(stderr.trimEnd().split('\n').length).toBeLessThanOrEqual(2);
    expect(stderr).toMatch(/^shardfetch: /);
    expect({ code, stdout }).toEqual({ code: expected, stdout: '' });
  });
});
