/** A password, a token or a key that is given in the wrong place, or in the wrong form, is shown in no sentence about it. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Command } from 'commander';
import { expect, test } from 'vitest';
import { applyConfig } from '../../src/cli/config-file.ts';
import { addGetFlags, type GetFlags, getPlanOf } from '../../src/cli/get-flags.ts';
import { addLoadFlags, type LoadFlags, loadOptionsOf } from '../../src/cli/load-flags.ts';
import { commandText } from '../../src/cli/reports/command-text.ts';
import { Pool } from '../../src/main/index.ts';
import { type LoadOptions, load } from '../../src/main/load/index.ts';
import { shownUrl } from '../../src/protocol/shown-url.ts';
import { Transfer } from '../../src/worker/multi/index.ts';

const BAD_URL = 'http://user:s3cret@host:99999/';
const CREDENTIALS = /s3cret|5377/;

test.each<[unknown, string]>([
  ['http://user:s3cret@host:99999/', '"http://…@host:99999/"'],
  ['http://user:s3cret@host/x@y', '"http://host/x@y"'],
  [new URL('http://user:s3cret@host/'), '"http://host/"'],
  ['http://host/x@y', '"http://host/x@y"'],
  ['ht\ntp:\\\\user:s3cret@host:99999', '"http://…@host:99999"'],
  ['/\t/user:s3cret@host', '"…@host"'],
  ['user:s3cret@host', '"…@host"'],
  ['s3cret@host', '"…@host"'],
  ['gopher://user:s3cret@host', '"gopher://…@host"'],
  ['http://user:s3cret/s3@cret@host/', '"http://…@host/"'],
  ['/users/a@b', '"/users/a@b"'],
  ['?mail=a@b', '"?mail=a@b"'],
  ['host:80', '"host:80"'],
  [undefined, 'undefined'],
  [80, '80'],
])('%j as a URL that is shown', (given, text) => {
  expect(shownUrl(given)).toBe(text);
});

test('URLs', async () => {
  await check(
    () => new Transfer({ url: BAD_URL }),
    (pool) => pool.fetch(BAD_URL),
    (pool) => pool.fetch('http://host/', { referrer: BAD_URL }),
    (pool) => pool.fetch('http://host/', { connectTo: 'user:s3cret@host:1' }),
    (pool) => pool.fetch('http://host/', { connectTo: ['user:s3cret@host:1'] }),
    (pool) => pool.dispatcher().request({ origin: BAD_URL, path: '/', method: 'GET' }),
    () => new Pool({ dns: { resolve: { 'user:s3cret@host': '127.0.0.1' } } }),
    () => new Pool({ proxy: BAD_URL }),
    () => load({ url: BAD_URL }),
    () => load({ targets: [{ url: BAD_URL }] }),
    () => getPlan([BAD_URL]),
  );
});

test('headers, cookies, passwords and keys', async () => {
  const line = 'authorization: Bearer s3cret';
  const url = 'http://host/';
  await check(
    ...[line, [line], [[line]], { [line]: '1' }, [[line, '1']]].flatMap((headers) => [
      (pool: Pool) => pool.fetch(url, { headers: headers as never }),
      () => new Transfer({ url, headers: headers as never }),
      () => new Pool({ proxy: { url: 'http://proxy', headers: headers as never } }),
      () => load({ url, headers: headers as never }),
    ]),
    (pool) => pool.fetch(url, { cookies: 'session=s3cret' as never }),
    (pool) => pool.fetch(url, { auth: 's3cret' as never }),
    (pool) => pool.fetch(url, { auth: { username: 'joe', password: 5377 as never } }),
    (pool) => pool.fetch(url, { method: 'POST', body: 5377 as never }),
    () => new Pool({ proxy: { url: 'http://proxy', username: 'joe', password: 5377 as never } }),
    () => new Pool({ tls: 's3cret' as never }),
    () => new Pool({ tls: { pfx: 's3cret' as never } }),
    () => new Pool({ tls: { cert: 's3cret', key: 's3cret' } }),
    () => new Pool({ tls: { ca: 's3cret' } }),
    () => new Pool({ tls: { passphrase: 5377 as never } }),
    () => load({ url, auth: { username: 'joe', password: '{{s3cret' } }),
    () => getPlan(['--header', 'Bearer s3cret', url]),
    () => loadFlags(['--header', 'Bearer s3cret', url]),
  );
});

test('files that hold some', async () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'shardfetch-secrets-'));
  const fileOf = (text: string): string => {
    const file = path.join(folder, 'file');
    writeFileSync(file, text);
    return file;
  };
  try {
    for (const json of ['{ "user": s3cret }', '{ "user": "joe:s3cret', '["s3cret"]', '{ "insecure": "s3cret" }']) {
      await check(() => applyConfig(addLoadFlags(new Command()), fileOf(json)));
    }
    for (const csv of ['name,word\njoe,s3cret"\n', 'name,word\njoe,"s3cret', 'name,word\njoe,s3cret,x\n']) {
      const options: LoadOptions = { url: 'http://host/{{users.name}}', data: { users: { file: fileOf(csv) } } };
      await check(() => load(options));
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('the command line of a report', () => {
  const args = [
    'load',
    'http://joe:s3cret@host/',
    'http://joe:s3@cr et@host/a@b',
    'https:joe:s3cret@host',
    'mail@host',
  ];
  expect(commandText(args)).toBe("shardfetch load 'http://***@host/' 'http://***@host/a@b' 'https:***@host' mail@host");
});

/** Each is refused, and tells neither in its message nor in that of its causes what it was given. */
async function check(...attempts: ((pool: Pool) => unknown)[]): Promise<void> {
  const pool = new Pool({ shards: 0 });
  for (const attempt of attempts) {
    let error: unknown;
    try {
      await attempt(pool);
    } catch (thrown) {
      error = thrown;
    }
    expect(error, `${attempt}`).toBeInstanceOf(Error);
    for (; error instanceof Error; error = error.cause) expect(error.message, `${attempt}`).not.toMatch(CREDENTIALS);
  }
  await pool.destroy();
}

function getPlan(args: readonly string[]): void {
  const command = addGetFlags(new Command()).argument('[url...]').exitOverride().parse(args, { from: 'user' });
  getPlanOf(command.args, command.opts<GetFlags>());
}

function loadFlags(args: readonly string[]): void {
  const command = addLoadFlags(new Command()).argument('[url...]').exitOverride().parse(args, { from: 'user' });
  loadOptionsOf(command.args, command.opts<LoadFlags>());
}
