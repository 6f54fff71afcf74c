/** `--config`, the files of reports, and shell completion, with the command as a process or a shell as its reader. */

import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import type { LoadResult } from 'shardfetch/load';
import { describe, expect, test } from 'vitest';
import { completionScript } from '../../src/cli/completion.ts';
import { applyConfig } from '../../src/cli/config-file.ts';
import { addLoadFlags, type LoadFlags, loadOptionsOf } from '../../src/cli/load-flags.ts';
import { resolveLoadOptions } from '../../src/main/load/load-options.ts';
import { answerAtOnce, endings, startServer } from './rig.ts';

const COMMAND = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const folder = mkdtempSync(path.join(tmpdir(), 'shardfetch-reports-'));
endings.push(() => rm(folder, { recursive: true }));

function run(...args: string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [COMMAND, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    child.once('close', (code) => resolve({ code, stdout, stderr }));
  });
}

function file(name: string, content: unknown): string {
  const at = path.join(folder, name);
  writeFileSync(at, typeof content === 'string' ? content : JSON.stringify(content));
  return at;
}

/** What the flags come to with this command line and this file. */
function flagsWith(args: string[], content: unknown) {
  const command = addLoadFlags(new Command('load').argument('[url...]').exitOverride());
  command.parse(args, { from: 'user' });
  const urls = applyConfig(command, file(`config-${Math.random()}.json`, content));
  return { ...command.opts(), urls };
}

describe('--config', () => {
  test('names of flags, texts, numbers, switches and lists', () => {
    const given = {
      url: 'http://h/',
      rate: '5k',
      duration: 90,
      keepalive: false,
      latency: true,
      header: ['a: 1', 'b: 2'],
      'fail-if': 'p99>1s',
    };
    expect(flagsWith([], given)).toMatchObject({
      urls: ['http://h/'],
      rate: '5k',
      duration: '90',
      keepalive: false,
      latency: true,
      header: ['a: 1', 'b: 2'],
      failIf: ['p99>1s'],
    });
  });

  test('the command line wins, also where it says the same thing in another way', () => {
    const given = { rate: '5k', duration: '1h', method: 'PUT', header: ['a: 1'], keepalive: true, body: 'file' };
    const flags = flagsWith(
      ['--stages', '10s:5', '-z', '1s', '-X', 'POST', '-H', 'b: 2', '--no-keepalive', '-B', 'x'],
      given,
    );
    expect(flags).toMatchObject({ stages: '10s:5', z: '1s', X: 'POST', header: ['b: 2'], keepalive: false });
    expect(flags).not.toHaveProperty('rate');
    expect(flags).not.toHaveProperty('duration');
    expect(flags).not.toHaveProperty('method');
    expect(flags).not.toHaveProperty('body');
  });

  test.each<[args: string[], model: string, durationMs: number, rate: number | null]>([
    [['--stages', '1s:50,1s:0'], 'open', 2_000, null],
    [['--connection-stages', '1s:5'], 'closed', 1_000, null],
    [['--ramp-connections', '1s', '-c', '5'], 'closed', 3_601_000, null],
    [['--rate-per-connection', '2', '-c', '5'], 'open', 3_600_000, 10],
    [['-R', '20', '-z', '3s'], 'open', 3_000, 20],
  ])('the example of docs/load-testing.md with %j is a run', (args, model, durationMs, rate) => {
    const page = readFileSync(new URL('../../docs/load-testing.md', import.meta.url), 'utf8');
    const [, example = ''] = /```json\n(\{ "url": .*\})\n```/.exec(page) ?? [];
    const { urls, ...flags } = flagsWith(args, JSON.parse(example));
    const { run } = resolveLoadOptions(loadOptionsOf(urls, flags as unknown as LoadFlags));
    expect(run).toMatchObject({ model, durationMs, rate });
  });

  test.each<[unknown, string]>([
    [{ conections: 5 }, 'there is no "conections"'],
    [{ failIf: 'p99>1s' }, 'there is no "failIf"; it is "fail-if"'],
    [{ config: 'other.json' }, 'there is no "config"'],
    [{ latency: 'yes' }, '"latency" must be true or false'],
    [{ rate: { per: 1 } }, '"rate" must be a text or a number'],
    [{ rate: ['1', '2'] }, '"rate" must be a text or a number'],
    ['{ rate: 5 }', 'is no JSON'],
    [[1], 'must hold one object'],
  ])('%j: a sentence', (content, sentence) => {
    expect(() => flagsWith([], content)).toThrow(sentence);
  });
});

describe.concurrent('files', () => {
  test('a config file, and every report of one run', async () => {
    const server = await startServer(answerAtOnce);
    const out = (name: string) => path.join(folder, name);
    const config = file('load.json', {
      url: server.url,
      connections: 2,
      duration: '60s',
      header: ['x-from: config'],
      json: out('r.json'),
      html: out('r.html'),
    });
    const args = [
      '--csv',
      out('r.csv'),
      '--hdr',
      out('r.hdr'),
      '--prometheus',
      out('r.prom'),
      '-H',
      'authorization: hush',
    ];
    const { code, stderr } = await run('load', '-q', '-d', '1s', '--config', config, ...args);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const [json, html, csv, hdr, prom] = ['json', 'html', 'csv', 'hdr', 'prom'].map((kind) =>
      readFileSync(out(`r.${kind}`), 'utf8'),
    );
    const result = JSON.parse(json ?? '') as LoadResult;
    expect(result.options).toMatchObject({ connections: 2, durationMs: 1_000 });
    expect(result.perSecond[0]?.histogram).toMatch(/^HIST/);
    expect(server.seen[0]?.headers['x-from']).toBeUndefined();
    expect(server.seen[0]?.headers.authorization).toBe('hush');
    expect(html).toContain('authorization: ***');
    for (const text of [json, html]) expect(text).not.toContain('hush');
    expect(csv).toMatch(/^t,time,/);
    expect(hdr).toMatch(/^#\[Written by shardfetch/);
    expect(prom).toContain(`outcome="completed"} ${result.requests.completed}\n`);
  });

  test('standard output is one report’s alone', async () => {
    const server = await startServer(answerAtOnce);
    const { code, stdout, stderr } = await run('load', '-c', '1', '-d', '500ms', '--csv', '-', server.url);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^t,time,[^\n]+\r\n0,[^\n]+\r\n$/);
    expect(stderr).toMatch(/Requests +[\d,]+ completed/);
  });

  const url = 'http://127.0.0.1:9/';
  test.each<[string[], string]>([
    [['--csv', '-', '--json', '-'], '--json and --csv cannot both go to standard output'],
    [['--csv', '/tmp/same', '--html', '/tmp/../tmp/same'], '--csv and --html name the same file'],
    [['--html', '/no/such/folder/x.html'], '--html: /no/such/folder/x.html cannot be written (ENOENT)'],
    [['--hdr', '/tmp'], '--hdr: /tmp cannot be written (EISDIR)'],
    [['--config', '/no/such/file'], '--config: /no/such/file cannot be read (ENOENT)'],
  ])('2: %j', async (args, sentence) => {
    const { code, stdout, stderr } = await run('load', ...args, url);
    expect(stderr).toContain(sentence);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
  });
});

describe('completion', () => {
  const program = new Command('shardfetch').version('1');
  program.addCommand(addLoadFlags(new Command('load').summary("it's a test").argument('[url...]', 'what')));
  program.addCommand(new Command('compare').argument('<before>', 'a result').option('--json <file>', 'x'));

  /** What bash offers for these words, of which the last is being written. */
  const bashOffers = (...words: string[]) => {
    const script = file('completion.bash', completionScript(program, 'bash'));
    const list = words.map((word) => `'${word}'`).join(' ');
    const { stdout } = spawnSync(
      'bash',
      [
        '-c',
        `source ${script}; COMP_WORDS=(${list}); COMP_CWORD=${words.length - 1}; _shardfetch; printf '%s\\n' "\${COMPREPLY[@]}"`,
      ],
      { encoding: 'utf8', cwd: folder },
    );
    return stdout.trim().split('\n').sort();
  };

  test('bash: commands, flags, files where a flag takes one', () => {
    writeFileSync(path.join(folder, 'offered.json'), '');
    expect(bashOffers('shardfetch', '')).toEqual(['compare', 'load']);
    expect(bashOffers('shardfetch', '--v')).toEqual(['--version']);
    expect(bashOffers('shardfetch', 'load', '--conn')).toEqual([
      '--connect-rate',
      '--connect-to',
      '--connection-stages',
      '--connections',
    ]);
    expect(bashOffers('shardfetch', 'load', '--json', 'offe')).toEqual(['offered.json']);
    expect(bashOffers('shardfetch', 'load', '--rate', 'offe')).toEqual(['']);
    expect(bashOffers('shardfetch', 'compare', 'offe')).toEqual(['offered.json']);
    // Hidden flags are kept for those who know them.
    expect(bashOffers('shardfetch', 'load', '--h2')).toEqual(['']);
  });

  test.each([
    ['zsh', ['-n']],
    ['fish', ['-n']],
  ] as const)('%s: every flag that is shown is in it; the shell can read it, where there is one', (shell, flags) => {
    const text = completionScript(program, shell);
    const load = program.commands[0];
    for (const option of load?.options ?? []) {
      const name = shell === 'fish' ? ` -l ${option.long?.slice(2)}` : (option.long ?? '');
      if (!option.hidden) expect(text).toContain(name);
    }
    const { error, status } = spawnSync(shell, [...flags, file(`completion.${shell}`, text)]);
    if (error === undefined) expect(status).toBe(0);
  });

  test('the command prints it; another shell is refused in a sentence', async () => {
    const [fish, other] = await Promise.all([run('completion', 'fish'), run('completion', 'csh')]);
    expect(fish.stdout).toContain('complete -c shardfetch -n __fish_use_subcommand -a load');
    expect(other).toMatchObject({ code: 2, stdout: '' });
    expect(other.stderr).toMatch(/bash, zsh, fish/);
  });
});
