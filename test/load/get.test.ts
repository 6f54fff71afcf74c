/** `shardfetch get` as a process: what is kept, what goes on where it ended, what is refused, exit codes. */

import { execFileSync, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, openSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import type http from 'node:http';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import { describe, expect, test } from 'vitest';
import { addGetFlags, getPlanOf } from '../../src/cli/get-flags.ts';
import { openGetView } from '../../src/cli/get-progress.ts';
import { type DownloadState, newDownloadState } from '../../src/main/download.ts';
import { DownloadError } from '../../src/main/download-error.ts';
import { nameFromDisposition, nameFromUrl } from '../../src/main/download-name.ts';
import { runCommand, startSocketServer } from './hold-rig.ts';
import { endings } from './rig.ts';

/** Longer than what is delivered in one piece. */
const BODY = randomBytes(3_000_000);
const SHA256 = createHash('sha256').update(BODY).digest('hex');
const FAST = ['--retry-delay', '20ms'];

interface Asked {
  readonly url: string;
  readonly range: string | undefined;
  readonly ifRange: string | undefined;
}

/** BODY at every path, with ranges; `script` may do something else, and answers true then. */
async function startFiles(
  script: (request: http.IncomingMessage, response: http.ServerResponse, number: number) => boolean = () => false,
) {
  const asked: Asked[] = [];
  const server = await startSocketServer((request, response) => {
    const { url = '' } = request;
    const { range, 'if-range': ifRange } = request.headers;
    const number = asked.push({ url, range, ifRange: ifRange as string | undefined }) - 1;
    if (!script(request, response, number)) answer(request, response);
  });
  return { url: server.url, asked };
}

function answer(
  request: http.IncomingMessage,
  response: http.ServerResponse,
  bytes = BODY.length,
  tag = '"one"',
): void {
  const [, from] = /^bytes=(\d+)-$/.exec(request.headers.range ?? '') ?? [];
  const first = from !== undefined && request.headers['if-range'] === tag ? Number(from) : 0;
  if (first > 0)
    response.writeHead(206, {
      etag: tag,
      'content-length': BODY.length - first,
      'content-range': `bytes ${first}-${BODY.length - 1}/${BODY.length}`,
    });
  else response.writeHead(200, { etag: tag, 'content-length': BODY.length });
  const body = BODY.subarray(first);
  if (bytes >= body.length) {
    response.end(body);
    return;
  }
  response.write(body.subarray(0, bytes));
  // Behind what was written: a client on a busy machine gets all of it.
  setTimeout(() => request.socket.destroySoon(), 100);
}

function newFolder(): string {
  const folder = mkdtempSync(path.join(tmpdir(), 'shardfetch-get-'));
  endings.push(() => rm(folder, { recursive: true }));
  return folder;
}

const get = (cwd: string, args: readonly string[], input?: string) =>
  runCommand(['get', ...FAST, ...args], input === undefined ? { cwd } : { cwd, input });
const isBody = (folder: string, name: string) => readFileSync(path.join(folder, name)).equals(BODY);

describe.concurrent('shardfetch get', () => {
  test('several at once, from the command line and from standard input, into a folder; nothing else is left', async () => {
    const { url } = await startFiles();
    const cwd = newFolder();
    const lines = `# mirror\n\n${url}/c.bin\n${url}/d.bin  sha256:${SHA256}\n`;
    const args = [
      '--output-dir',
      'to/here',
      '-o',
      'first',
      '-i',
      '-',
      '--json',
      'result.json',
      `${url}/a.bin`,
      `${url}/b%20b.bin?x=/y`,
    ];
    const { code, stderr } = await get(cwd, args, lines);
    expect(stderr).toMatch(/to\/here\/first +3\.00 MB in/);
    expect(stderr).toMatch(/4 of 4 there; 12\.0 MB in/);
    expect(code, stderr).toBe(0);
    expect(readdirSync(path.join(cwd, 'to/here')).sort()).toEqual(['b b.bin', 'c.bin', 'd.bin', 'first']);
    for (const name of ['b b.bin', 'c.bin', 'd.bin', 'first'])
      expect(isBody(path.join(cwd, 'to/here'), name)).toBe(true);
    const { schema, files } = JSON.parse(readFileSync(path.join(cwd, 'result.json'), 'utf8'));
    expect(schema).toBe('shardfetch-get/1');
    expect(files[0]).toMatchObject({ outcome: 'done', status: 200, bytes: 3_000_000, attempts: 1, error: null });
  });

  test('what breaks off goes on where it ended, and the checksum is that of the whole', async () => {
    const { url, asked } = await startFiles((request, response, number) => {
      if (number > 1) return false;
      answer(request, response, 1_000_000);
      return true;
    });
    const cwd = newFolder();
    const { code, stderr } = await get(cwd, ['--checksum', `sha256:${SHA256}`, `${url}/a`]);
    expect(code, stderr).toBe(0);
    expect(asked.map(({ range }) => range)).toEqual([undefined, 'bytes=1000000-', 'bytes=2000000-']);
    expect(asked[1]?.ifRange).toBe('"one"');
    expect(isBody(cwd, 'a')).toBe(true);
    expect(readdirSync(cwd)).toEqual(['a']);
  });

  test.each<[string, (request: http.IncomingMessage, response: http.ServerResponse) => void, number]>([
    ['it has changed: 200', (request, response) => answer(request, response, BODY.length, '"two"'), 2],
    ['another part', (_request, response) => respond(response, 206, { 'content-range': 'bytes 5-2999999/3000000' }), 3],
    [
      'a part that ends early',
      (_request, response) => respond(response, 206, { 'content-range': 'bytes 1000000-2000000/3000000' }),
      3,
    ],
    [
      'another length',
      (_request, response) => respond(response, 206, { 'content-range': 'bytes 1000000-3000000/3000001' }),
      3,
    ],
    [
      'another tag',
      (_request, response) =>
        respond(response, 206, { 'content-range': 'bytes 1000000-2999999/3000000', etag: '"two"' }),
      3,
    ],
    ['no such part', (_request, response) => respond(response, 416, {}), 3],
  ])('the rest is not the rest of this (%s): it begins anew', async (_name, rest, requests) => {
    const { url, asked } = await startFiles((request, response, number) => {
      if (number === 0) answer(request, response, 1_000_000);
      else if (number === 1) rest(request, response);
      return number < 2;
    });
    const cwd = newFolder();
    const { code, stderr } = await get(cwd, ['-q', '--retry', '1', `${url}/a`]);
    expect(code, stderr).toBe(0);
    expect(asked).toHaveLength(requests);
    expect(asked[1]?.range).toBe('bytes=1000000-');
    if (requests === 3) expect(asked[2]?.range).toBeUndefined();
    expect(isBody(cwd, 'a')).toBe(true);
  });

  test('Ctrl-C keeps what has come; --continue goes on, and leaves whole files alone', async () => {
    const { url, asked } = await startFiles((request, response, number) => {
      if (number > 0) return false;
      response.writeHead(200, { etag: '"one"', 'content-length': BODY.length });
      response.write(BODY.subarray(0, 1_000_000));
      void request;
      return true;
    });
    const cwd = newFolder();
    const child = spawn(process.execPath, [COMMAND, 'get', `${url}/a`], { cwd });
    while (sizeOf(cwd, 'a.part') < 1_000_000) await new Promise((resolve) => setTimeout(resolve, 20));
    child.kill('SIGINT');
    expect((await once(child, 'exit'))[0]).toBe(130);
    expect(readdirSync(cwd).sort()).toEqual(['a.part', 'a.part.json']);
    const again = await get(cwd, ['-C', '-', '--checksum', `sha256:${SHA256}`, `${url}/a`]);
    expect(again.stderr).toContain('the first 1.00 MB from an earlier run');
    expect(again.code).toBe(0);
    expect(asked[1]).toEqual({ url: '/a', range: 'bytes=1000000-', ifRange: '"one"' });
    expect(isBody(cwd, 'a')).toBe(true);
    const third = await get(cwd, ['-C', '-', `${url}/a`]);
    expect([third.code, asked.length]).toEqual([0, 2]);
    expect(third.stderr).toContain('is there already, whole');
  });

  test('nothing that is there is replaced without --force; nor is a link followed', async () => {
    const { url, asked } = await startFiles();
    const cwd = newFolder();
    writeFileSync(path.join(cwd, 'a'), 'mine');
    writeFileSync(path.join(cwd, 'b.part'), 'mine');
    writeFileSync(path.join(cwd, 'victim'), 'mine');
    symlinkSync('victim', path.join(cwd, 'c.part'));
    writeFileSync(path.join(cwd, 'c.part.json'), JSON.stringify({ url: `${url}/c`, validator: null, total: -1 }));
    const { code, stderr } = await get(cwd, [`${url}/a`, `${url}/b`, `${url}/c`]);
    expect(code).toBe(10);
    expect(stderr).toMatch(/a is there already; use --force/);
    expect(stderr).toMatch(/b\.part is there already and was not left by a download/);
    expect(stderr).toMatch(/c\.part is a symbolic link and is not followed/);
    expect(asked).toEqual([]);
    for (const name of ['a', 'b.part', 'victim']) expect(readFileSync(path.join(cwd, name), 'utf8')).toBe('mine');
    expect((await get(cwd, ['--force', `${url}/a`])).code).toBe(0);
    expect(isBody(cwd, 'a')).toBe(true);
  });

  test('what somebody else laid where the note of a part belongs is neither followed, read nor replaced', async () => {
    const { url, asked } = await startFiles();
    const cwd = newFolder();
    const note = JSON.stringify({ url: `${url}/a`, validator: '"one"', total: BODY.length });
    writeFileSync(path.join(cwd, 'victim'), 'mine');
    writeFileSync(path.join(cwd, 'note'), note);
    symlinkSync('victim', path.join(cwd, 'a.part.json'));
    symlinkSync('not-there', path.join(cwd, 'b.part.json'));
    symlinkSync('note', path.join(cwd, 'c.part.json'));
    writeFileSync(path.join(cwd, 'd.part.json'), 'mine');
    for (const pipe of ['e.part.json', 'f.part']) execFileSync('mkfifo', [path.join(cwd, pipe)]);
    const before = readdirSync(cwd);
    const run = async (more: readonly string[], names: readonly string[]) => {
      const { code, stderr } = await get(cwd, [...more, ...names.map((name) => `${url}/${name}`)]);
      expect(code).toBe(10);
      for (const name of ['a', 'c'])
        expect(stderr).toContain(`${name}.part.json is a symbolic link and is not followed.`);
      expect(stderr).toContain('e.part.json is there already and is no file.');
      expect(stderr).toContain('f.part is there already and is no file.');
      return stderr;
    };
    const [plain] = await Promise.all([
      run([], ['a', 'c', 'd', 'e', 'f']),
      run(['-C', '-'], ['a', 'c', 'd', 'e', 'f']),
      run(['--force'], ['a', 'c', 'e', 'f']),
    ]);
    expect(plain).toContain('d.part.json is there already and was not left by a download');
    expect(asked).toEqual([]);
    // A link to nothing looks like nothing until it is written to.
    const { code, stderr } = await get(cwd, [`${url}/b`]);
    expect([code, stderr]).toEqual([
      10,
      expect.stringContaining('b.part.json is a symbolic link and is not followed.'),
    ]);
    expect(readFileSync(path.join(cwd, 'victim'), 'utf8')).toBe('mine');
    expect(readFileSync(path.join(cwd, 'note'), 'utf8')).toBe(note);
    expect(readFileSync(path.join(cwd, 'd.part.json'), 'utf8')).toBe('mine');
    expect(readdirSync(cwd).filter((name) => !before.includes(name))).toEqual([]);
    expect((await get(cwd, ['--force', `${url}/d`])).code).toBe(0);
    expect(isBody(cwd, 'd')).toBe(true);
  });

  test('two that have the same name: the second one is told', async () => {
    const { url } = await startFiles();
    const cwd = newFolder();
    const { code, stderr } = await get(cwd, [`${url}/x/a`, `${url}/y/a`]);
    expect(code).toBe(10);
    expect(stderr).toContain('Two of the downloads would be written to a');
    expect(isBody(cwd, 'a')).toBe(true);
  });

  test('8: an answer of 400 or more leaves nothing; 503 is tried again; --no-fail keeps the body', async () => {
    const { url, asked } = await startFiles(({ url: target }, response, number) => {
      if (target === '/busy') {
        if (number > 2) return false;
        response.writeHead(503, { 'retry-after': '0' }).end();
        return true;
      }
      response.writeHead(404).end('not here');
      return true;
    });
    const cwd = newFolder();
    const lost = await get(cwd, [`${url}/lost`]);
    expect(lost.stderr).toContain('/lost answered 404 "Not Found".');
    expect([lost.code, readdirSync(cwd)]).toEqual([8, []]);
    expect((await get(cwd, [`${url}/busy`])).code).toBe(0);
    expect(asked.map(({ url: target }) => target)).toEqual(['/lost', '/busy', '/busy', '/busy']);
    expect((await get(cwd, ['--no-fail', `${url}/lost`])).code).toBe(0);
    expect(readFileSync(path.join(cwd, 'lost'), 'utf8')).toBe('not here');
  });

  test("a server's words come quoted and short, and no control character of theirs to the terminal", async () => {
    const reason = `\x9b2J\x9d0;owned\x9c${'x'.repeat(1_000)}`;
    const server = net.createServer((socket) => {
      socket.on('error', () => {});
      socket.once('data', () => {
        socket.end(Buffer.from(`HTTP/1.1 404 ${reason}\r\ncontent-length: 0\r\n\r\n`, 'latin1'));
      });
    });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    endings.push(() => server.close());
    const { port } = server.address() as net.AddressInfo;
    // Quiet: on a busy machine it would say how far it is.
    const { code, stderr } = await get(newFolder(), ['-q', `http://127.0.0.1:${port}/a`]);
    expect([code, stderr]).toEqual([
      8,
      `shardfetch: http://127.0.0.1:${port}/a answered 404 "\\x9b2J\\x9d0;owned\\x9c${'x'.repeat(28)}…".\n`,
    ]);
  });

  test('9: another checksum is not kept', async () => {
    const { url } = await startFiles();
    const cwd = newFolder();
    const { code, stderr } = await get(cwd, ['--checksum', `md5:${'0'.repeat(32)}`, `${url}/a`]);
    expect(code).toBe(9);
    expect(stderr).toMatch(/a has the md5 [0-9a-f]{32} and not 0{32}; it was not kept/);
    expect(readdirSync(cwd)).toEqual([]);
  });

  test('11: it breaks off again and again; what came is kept', async () => {
    const { url, asked } = await startFiles((request) => {
      request.socket.destroy();
      return true;
    });
    const cwd = newFolder();
    const { code, stderr } = await get(cwd, ['-q', '--retry', '2', `${url}/a`]);
    expect(code).toBe(11);
    // Each is sent a second time by the engine only where its connection had served before, and none had.
    expect(asked).toHaveLength(3);
    expect(stderr.trim().split('\n')).toHaveLength(1);
    expect(readdirSync(cwd)).toEqual([]);
  });

  test('redirects are followed, and the name stays that of the URL given', async () => {
    const { url } = await startFiles(({ url: target }, response) => {
      if (target !== '/from') return false;
      response.writeHead(302, { location: '/../to/evil' }).end();
      return true;
    });
    const cwd = newFolder();
    expect((await get(cwd, [`${url}/from`])).code).toBe(0);
    expect(readdirSync(cwd)).toEqual(['from']);
    expect((await get(cwd, ['--max-redirs', '0', '--force', `${url}/from`])).code).toBe(11);
  });

  test('-J takes the name of Content-Disposition, but never a path', async () => {
    const { url } = await startFiles((_request, response) => {
      response.setHeader('content-disposition', 'attachment; filename="../../.profile"');
      return false;
    });
    const cwd = newFolder();
    expect((await get(cwd, ['-J', '--output-dir', 'in', `${url}/a`])).code).toBe(0);
    expect([readdirSync(cwd), readdirSync(path.join(cwd, 'in'))]).toEqual([['in'], ['_profile']]);
  });

  test('credentials in a URL are sent, and told to nobody', async () => {
    const { url } = await startFiles((request, response) => {
      if (request.headers.authorization === `Basic ${Buffer.from('me:word').toString('base64')}`) return false;
      response.writeHead(403).end();
      return true;
    });
    const cwd = newFolder();
    const own = url.replace('http://', 'http://me:word@');
    expect((await get(cwd, ['--json', 'j', `${own}/a`])).code).toBe(0);
    const wrong = await get(cwd, [`${url.replace('http://', 'http://me:secret@')}/b`]);
    expect(wrong.code).toBe(8);
    expect(wrong.stderr).not.toContain('secret');
    expect(readFileSync(path.join(cwd, 'j'), 'utf8')).not.toContain('word');
  });

  test('-o -: to standard output; who does not read stops the server', async () => {
    let written = 0;
    const { url } = await startFiles(({ url: target }, response) => {
      if (target !== '/endless') return false;
      const chunk = Buffer.alloc(65_536);
      const more = (): void => {
        if (response.destroyed) return;
        written += chunk.length;
        if (response.write(chunk)) setImmediate(more);
        else response.once('drain', more);
      };
      more();
      return true;
    });
    const { code, stdout } = await get(newFolder(), ['-o', '-', `${url}/a`]);
    expect([code, stdout.equals(BODY)]).toEqual([0, true]);
    const child = spawn(process.execPath, [COMMAND, 'get', '-q', '-o', '-', `${url}/endless`]);
    while (written === 0) await new Promise((resolve) => setTimeout(resolve, 20));
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    // Sockets at both ends, the credit of a body, and the pipe. A machine that is busy takes its time to fill them.
    for (let before = 0; before !== written && written < 32 * 1024 * 1024; ) {
      before = written;
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
    expect(written).toBeLessThan(32 * 1024 * 1024);
    child.kill('SIGINT');
    child.stdout.resume();
    await once(child, 'exit');
  });

  test('-o -: a reader that has seen enough is no failure, and other downloads go on', async () => {
    const { url } = await startFiles(({ url: target }, response) => {
      if (target !== '/endless') return false;
      const more = (): void => {
        if (response.destroyed) return;
        if (response.write(Buffer.alloc(65_536))) setImmediate(more);
        else response.once('drain', more);
      };
      more();
      return true;
    });
    const cwd = newFolder();
    const line = `set -o pipefail; "$0" "$1" get --json j -o - -o kept ${url}/endless ${url}/a | head -c 5`;
    const child = spawn('bash', ['-c', line, process.execPath, COMMAND], { cwd, stdio: ['ignore', 'pipe', 'pipe'] });
    const stderr = child.stderr.setEncoding('utf8').toArray();
    const [[code], out] = await Promise.all([once(child, 'close'), child.stdout.toArray()]);
    expect(Buffer.concat(out)).toEqual(Buffer.alloc(5));
    expect([code, (await stderr).join('')]).toEqual([
      0,
      expect.stringMatching(/^(?:. of 2 done.*\n)*kept .*\n(?:. of 2 done.*\n)*1 of 2 there; /),
    ]);
    expect(isBody(cwd, 'kept')).toBe(true);
    const { files } = JSON.parse(readFileSync(path.join(cwd, 'j'), 'utf8'));
    expect(files).toMatchObject([
      { outcome: 'failed', error: { kind: 'aborted' } },
      { outcome: 'done', error: null },
    ]);
  });

  test('-o -: a full disk: one sentence and 10, however short what is written', async () => {
    const { url } = await startFiles(({ url: target }, response) => {
      if (target === '/short') response.end('short');
      return target === '/short';
    });
    for (const name of ['short', 'a']) {
      const child = spawn(process.execPath, [COMMAND, 'get', '-q', '-o', '-', `${url}/${name}`], {
        stdio: ['ignore', openSync('/dev/full', 'w'), 'pipe'],
      });
      const stderr = child.stderr?.setEncoding('utf8').toArray();
      const [code] = await once(child, 'close');
      expect([code, (await stderr)?.join('')]).toEqual([
        10,
        'shardfetch: standard output could not be written (ENOSPC).\n',
      ]);
    }
  });

  test('--limit-rate', async () => {
    const { url } = await startFiles();
    const cwd = newFolder();
    const began = performance.now();
    expect((await get(cwd, ['-q', '--limit-rate', '1500k', `${url}/a`])).code).toBe(0);
    expect(performance.now() - began).toBeGreaterThan(1_000);
    expect(isBody(cwd, 'a')).toBe(true);
  });

  test.each<[number, string[], RegExp]>([
    [2, [], /Say what to get/],
    [2, ['http://x/', '-x', 'gopher://p/'], /proxy/],
    [3, ['--retry', '0', 'http://127.0.0.1:9/'], /ECONNREFUSED/],
    [10, ['-o', '/no/such/folder/a', 'http://127.0.0.1:9/'], /cannot be used \(ENOENT\)/],
  ])('bad input ends with %i and one sentence: %s', async (code, args, sentence) => {
    const ended = await get(newFolder(), args);
    expect(ended.stderr).toMatch(sentence);
    expect(ended.code).toBe(code);
  });
});

const COMMAND = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

function respond(response: http.ServerResponse, status: number, headers: http.OutgoingHttpHeaders): void {
  response.writeHead(status, { etag: '"one"', ...headers }).end('wrong');
}

function sizeOf(folder: string, name: string): number {
  try {
    return readFileSync(path.join(folder, name)).length;
  } catch {
    return 0;
  }
}

test.each<[string[], RegExp]>([
  [['ftp://x/'], /is no http: or https: URL/],
  [['http://x/', '--checksum', 'sha256:12'], /--checksum takes a kind and a hexadecimal sum/],
  [['http://x/', '-o', 'a', '-o', 'b'], /--output is given 2 times for 1 URLs/],
  [['http://x/', '-C', '5'], /--continue finds out by itself/],
  [['http://x/', '-C', '-', '-J'], /exclude each other/],
  [['http://x/', '--limit-rate', 'slow'], /--limit-rate takes bytes a second/],
  [['http://x/', '--parallel-max', '0'], /--parallel-max must be from 1/],
  [['-i', '/no/such/file'], /--input-file: \/no\/such\/file cannot be read \(ENOENT\)/],
])('bad arguments %s are told before anything is sent', (args, sentence) => {
  const command = addGetFlags(new Command('get').argument('[url...]')).exitOverride();
  command.parse(args, { from: 'user' });
  let told: unknown;
  try {
    getPlanOf(command.args, command.opts());
  } catch (error) {
    told = error;
  }
  expect(told).toMatchObject({ exitCode: 2, message: expect.stringMatching(sentence) });
});

test('on a terminal: a bar for each that runs, drawn over itself, and errors whole', async () => {
  const states = ['one', 'two', 'three'].map((name) => ({ ...newDownloadState(`http://host/${name}`), path: name }));
  const [one, two, three] = states as [DownloadState, DownloadState, DownloadState];
  let text = '';
  const output = { isTTY: true, columns: 78, rows: 24, write: (part: string) => (text += part) };
  const view = openGetView(output, states, false, { TERM: 'xterm' });
  Object.assign(one, { phase: 'running', bytes: 500_000, total: 1_000_000, received: 500_000 });
  Object.assign(two, { phase: 'running', bytes: 700, received: 700 });
  // Drawn once more over itself.
  const beganMs = performance.now();
  while (!text.includes('\u001b[3A\r\u001b[J') && performance.now() - beganMs < 10_000) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  expect(text).toMatch(/one +\[={10} {10}\] {2}50 % {3}500 kB/);
  expect(text).toMatch(/two +700 B/);
  expect(text).toMatch(/0 of 3 done, 2 running {3}501 kB/);
  expect(text).toContain('\u001b[3A\r\u001b[J');
  const sentence = `It broke off, ${'for many reasons, '.repeat(8)}and for ever.`;
  Object.assign(three, { phase: 'failed', error: new DownloadError('transfer', sentence) });
  view.ended(three);
  view.end();
  expect(text).toContain(sentence);
  for (const line of text.split('\n')) if (!line.includes(sentence)) expect(line.length).toBeLessThan(78 + 10);
  expect(text.endsWith('\u001b[3A\r\u001b[J')).toBe(true);
});

describe('names', () => {
  test.each<[string, string]>([
    ['/a/b.iso', 'b.iso'],
    ['/a/b.iso?download=1#x', 'b.iso'],
    ['/a/', 'index.html'],
    ['/', 'index.html'],
    ['/..%2f..%2fetc%2fpasswd', '___.._etc_passwd'],
    ['/%2e%2e', 'index.html'],
    ['/.bashrc', '_bashrc'],
    ['/-rf', '_rf'],
    ['/a%00b%0ac', 'abc'],
    ['/%E2%80%AEgpj.exe', 'gpj.exe'],
    ['/caf%C3%A9', 'café'],
    ['/%ff', '%ff'],
    ['/a\\b', 'b'],
    [`/${'x'.repeat(400)}.tar.gz`, `${'x'.repeat(237)}.gz`],
    [`/${'é'.repeat(200)}`, 'é'.repeat(120)],
    [`/x${'é'.repeat(200)}`, `x${'é'.repeat(119)}`],
    [`/xx${'😀'.repeat(100)}.tgz`, `xx${'😀'.repeat(58)}.tgz`],
  ])('of %s', (target, name) => {
    expect(nameFromUrl(new URL(target, 'http://host'))).toBe(name);
  });

  test.each<[string | null, string | null]>([
    [null, null],
    ['inline', null],
    ['attachment; filename=a.txt', 'a.txt'],
    ['attachment; filename="a b.txt"; x=1', 'a b.txt'],
    ['attachment; filename="a\\"b.txt"', 'a"b.txt'],
    ['attachment; filename="/etc/passwd"', 'passwd'],
    ['attachment; filename="C:\\\\Windows\\\\win.ini"', 'win.ini'],
    ['attachment; filename=".."', null],
    ['attachment; filename=""', null],
    ["attachment; filename=plain.txt; filename*=UTF-8''na%C3%AFve.txt", 'naïve.txt'],
    ["attachment; filename*=UTF-8''..%2F..%2Fx; filename=y", 'x'],
    ["attachment; filename*=utf-16''x; filename=y", 'y'],
    [`attachment; filename="${Buffer.from('née').toString('latin1')}"`, 'née'],
    ['attachment; xfilename=evil; filename=good', 'good'],
  ])('of Content-Disposition %s', (field, name) => {
    expect(nameFromDisposition(field)).toBe(name);
  });

  test('a name as long as a head may be takes no time', () => {
    const began = performance.now();
    for (const letter of ['a', 'é', '.', '"', '\\'])
      nameFromDisposition(`attachment; filename="${letter.repeat(65_000)}"`);
    // It took 13 seconds for half of one.
    expect(performance.now() - began).toBeLessThan(8_000);
  });
});
