/** Requests that differ: templates, tables, files, cookies, redirects, as a server sees them. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Command } from 'commander';
import { type LoadError, type LoadOptions, load } from 'shardfetch/load';
import { describe, expect, test } from 'vitest';
import { addLoadFlags, type LoadFlags, loadOptionsOf } from '../../src/cli/load-flags.ts';
import { redirectOf } from '../../src/worker/load/redirects.ts';
import { answerAtOnce, checkSums, endings, type Script, startServer } from './rig.ts';

const folder = mkdtempSync(path.join(tmpdir(), 'shardfetch-templates-'));
endings.push(() => rmSync(folder, { recursive: true }));

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

describe.concurrent('templates', () => {
  test('a counter gives each number once over all shards, the same everywhere in one request', async () => {
    const server = await startServer(answerAtOnce);
    const result = await load({
      url: `${server.url}/item/{{counter}}?again={{ counter }}#{{counter}}`,
      headers: { 'x-number': 'no. {{counter}}' },
      body: 'number {{counter}}',
      requests: 101,
      connections: 6,
      shards: 2,
    });
    checkSums(result);
    const numbers = server.seen.map(({ url }) => Number(/item\/(\d+)/.exec(url)?.[1])).sort((a, b) => a - b);
    // Each shard counts its own, so one of them may have gone further than the other.
    expect(new Set(numbers).size).toBe(101);
    expect(numbers[0]).toBe(1);
    for (const { url, headers, body, method } of server.seen) {
      const [, number] = /^\/item\/(\d+)/.exec(url) as unknown as [string, string];
      expect(url).toBe(`/item/${number}?again=${number}`);
      expect({ method, body }).toEqual({ method: 'POST', body: `number ${number}` });
      expect(headers).toMatchObject({ 'x-number': `no. ${number}`, 'content-length': `${7 + number.length}` });
    }
    expect(result.perTag.map(({ tag }) => tag)).toEqual(['POST /item/{{counter}}']);
    expect(result.targets[0]?.url).toBe(`${server.url}/item/{{counter}}?again={{ counter }}#{{counter}}`);
  });

  test('random values, words, UUIDs, the time', async () => {
    const server = await startServer(answerAtOnce);
    const url = `${server.url}/{{random -1 2}}/{{pick red dark&blue}}/{{uuid}}/{{time}}`;
    await load({ url, requests: 120, connections: 3 });
    const parts = server.seen.map((request) => request.url.split('/').slice(1));
    expect([...new Set(parts.map(([random]) => random))].sort()).toEqual(['-1', '0', '1', '2']);
    expect([...new Set(parts.map(([, word]) => word))].sort()).toEqual(['dark%26blue', 'red']);
    expect(new Set(parts.map(([, , uuid]) => uuid)).size).toBe(120);
    for (const [, , uuid, time] of parts) {
      expect(uuid).toMatch(UUID);
      expect(Math.abs(Number(time) - Date.now())).toBeLessThan(60_000);
    }
  });

  test('columns of a CSV: escaped in the URL, UTF-8 in the body, credentials in base64, one row per request', async () => {
    const server = await startServer(answerAtOnce);
    const file = path.join(folder, 'users.csv');
    writeFileSync(file, '\ufeffname,pass word,note\r\nann/1,"se,cret","größer ""als"""\nbob,pw,ü\n');
    const body = 'é {{users.note}} of {{users.name}}';
    const auth = { username: '{{users.name}}', password: 'x{{users.pass}}' };
    const data = { users: { file } };
    const common = { requests: 4, connections: 1, shards: 1 };
    const refused = load({ url: server.url, body, auth, data, ...common });
    await expect(refused).rejects.toThrow('names no column of users; it has name, pass word, note');
    await load({
      url: `${server.url}/{{users.name}}`,
      body,
      auth: { ...auth, password: '{{users.pass word}}' },
      data,
      ...common,
    });
    expect(server.seen.map(({ url }) => url)).toEqual(['/ann%2F1', '/bob', '/ann%2F1', '/bob']);
    expect(server.seen.map((request) => request.body).slice(0, 2)).toEqual(['é größer "als" of ann/1', 'é ü of bob']);
    const credentials = `Basic ${Buffer.from('ann/1:se,cret').toString('base64')}`;
    expect(server.seen[0]?.headers.authorization).toBe(credentials);
  });

  test('rows used once: each one, over all shards, and the run ends', async () => {
    const server = await startServer(answerAtOnce);
    const rows = Array.from({ length: 37 }, (_, index) => ({ id: index }));
    const data = { ids: { rows, order: 'once' as const } };
    const result = await load({ url: `${server.url}/{{ids.id}}`, data, connections: 8, shards: 3, durationMs: 20_000 });
    expect(result.requests.completed).toBe(37);
    const ids = server.seen.map(({ url }) => Number(url.slice(1))).sort((a, b) => a - b);
    expect(ids).toEqual(rows.map(({ id }) => id));
  });

  test('rows in turn: shards use rows of their own; random ones', async () => {
    const server = await startServer(answerAtOnce);
    const rows = ['a', 'b', 'c', 'd', 'e'].map((id) => ({ id }));
    const url = `${server.url}/{{turn.id}}/{{any.id}}`;
    const data = { turn: { rows }, any: { rows, order: 'random' as const } };
    await load({ url, data, requests: 60, connections: 2, shards: 2 });
    const count = (place: number, id: string) => server.seen.filter((seen) => seen.url.split('/')[place] === id).length;
    // 30 requests of each shard: a, c, e are the first one's and b, d the other's.
    expect(rows.map(({ id }) => count(1, id))).toEqual([10, 15, 10, 15, 10]);
    expect(rows.every(({ id }) => count(2, id) > 0)).toBe(true);
  });

  test('templates: false sends braces as they are', async () => {
    const server = await startServer(answerAtOnce);
    const result = await load({ url: server.url, body: '{{a}}', templates: false, requests: 1 });
    expect(result.requests.completed).toBe(1);
    expect(server.seen[0]?.body).toBe('{{a}}');
  });

  test('braces without end, and many places in a line that is refused, take no time', async () => {
    const began = performance.now();
    const braces = '{'.repeat(300_000);
    await expect(load({ url: 'http://127.0.0.1:9/', body: braces })).rejects.toThrow('is not closed');
    const file = path.join(folder, 'many');
    const command = () => addLoadFlags(new Command()).parse(['--url-file', file], { from: 'user' }).opts<LoadFlags>();
    writeFileSync(file, `http://127.0.0.1:9/${'{{counter}}'.repeat(1_000)} x\n`);
    expect(() => loadOptionsOf([], command())).toThrow('line 1 is no [WEIGHT] [METHOD] URL');
    writeFileSync(file, `7 PUT http://127.0.0.1:9/{{ counter }}/${braces}\n`);
    expect(loadOptionsOf([], command()).targets).toMatchObject([{ weight: 7, method: 'PUT' }]);
    // 22 places in a line took a minute.
    expect(performance.now() - began).toBeLessThan(20_000);
  });

  const url = 'http://127.0.0.1:9/';
  const data = { users: { rows: [{ name: 'ann\n', id: '1' }] } };
  test.each<[string, unknown, string]>([
    ['an unknown place', { url: `${url}{{number}}` }, 'url: {{number}} is not understood; known are {{counter}}'],
    ['an open place', { url, body: 'a {{counter}} b {{counter' }, 'body: the {{ at character 17 is not closed'],
    ['too few numbers', { url: `${url}{{random 5}}` }, '{{random 5}} takes two whole numbers'],
    ['the larger one first', { url: `${url}{{random 9 1}}` }, 'the smaller one first'],
    ['nothing to pick', { url: `${url}{{pick}}` }, 'nothing to pick from'],
    ['a value too many', { url: `${url}{{counter 5}}` }, 'takes no values'],
    ['no table', { url: `${url}{{users.name}}` }, 'names the table users; there is none'],
    ['another table', { url: `${url}{{people.name}}`, data }, 'there are users'],
    ['no column', { url: `${url}{{users.age}}`, data }, 'names no column of users; it has name, id'],
    ['a line end in a header', { url, headers: { 'x-a': '{{users.name}}' }, data }, 'row 1 of users has in name'],
    ['a host', { url: 'http://{{pick a b}}/' }, 'may stand in the path and the query'],
    ['a name of a header', { url, headers: { '{{counter}}': '1' } }, 'is not a token'],
    ['a length', { url, body: '{{counter}}', headers: { 'content-length': '9' } }, 'leave Content-Length out'],
    ['no file', { url, data: { users: '/no/such/file' } }, '/no/such/file cannot be read (ENOENT)'],
    ['no rows', { url, data: { users: { rows: [] } } }, 'has no rows'],
    ['an order', { url, data: { users: { rows: [{ a: 1 }], order: 'up' } } }, 'must be turn, random or once'],
    ['a warm-up', { url, data: { u: { rows: [{ a: 1 }], order: 'once' } }, warmupMs: 5 }, 'a warm-up would use up'],
    ['a body that is no file', { url, body: { file: '/no/such/file' } }, '/no/such/file cannot be read (ENOENT)'],
    ['a folder', { url, body: { file: folder } }, 'is no file'],
  ])('refused before anything is sent: %s', async (_what, options, sentence) => {
    const error = await load(options as LoadOptions).then(
      () => undefined,
      (reason: LoadError) => reason,
    );
    expect(error?.message).toContain(sentence);
    expect(error).toMatchObject({ name: 'LoadError', kind: 'arguments' });
  });

  test('CSV that is none', async () => {
    const file = path.join(folder, 'bad.csv');
    writeFileSync(file, 'a,b\n1,2,3\n');
    await expect(load({ url, data: { bad: file } })).rejects.toThrow(`The table ${file} is no CSV: `);
  });
});

describe.concurrent('bodies of files', () => {
  test('a large one is read as it is sent, a small one is held', async () => {
    const large = path.join(folder, 'large');
    const small = path.join(folder, 'small');
    const bytes = Buffer.alloc(3_000_001, 'abcdefg');
    writeFileSync(large, bytes);
    writeFileSync(small, '{{counter}}');
    const lengths: number[] = [];
    const server = await startServer((_request, response, number) => {
      lengths.push((server.seen[number]?.body ?? '').length);
      response.end('ok');
    });
    const result = await load({ url: server.url, method: 'PUT', body: { file: large }, requests: 9, connections: 3 });
    checkSums(result);
    expect(result.requests).toMatchObject({ completed: 9, failed: 0 });
    expect(lengths).toEqual(new Array(9).fill(3_000_001));
    expect(server.seen.every(({ body }) => body === bytes.toString())).toBe(true);
    await load({ url: server.url, body: { file: small }, requests: 1 });
    expect(server.seen.at(-1)).toMatchObject({ method: 'POST', body: '{{counter}}' });
  });
});

describe.concurrent('cookies', () => {
  const giveNumber: Script = ({ headers }, response, number) => {
    if (headers.cookie === undefined) response.setHeader('set-cookie', [`id=${number}; Path=/`, 'other=1; Path=/else']);
    response.end('ok');
  };

  test('each connection keeps its own, where it is asked to', async () => {
    const server = await startServer(giveNumber);
    await load({ url: `${server.url}/{{counter}}`, cookies: true, requests: 40, connections: 4 });
    const cookies = server.seen.map(({ headers }) => headers.cookie).filter((cookie) => cookie !== undefined);
    expect(cookies).toHaveLength(36);
    expect(new Set(cookies).size).toBe(4);
    for (const cookie of cookies) expect(cookie).toMatch(/^id=\d+$/);
  });

  test('not unless it is', async () => {
    const server = await startServer(giveNumber);
    await load({ url: server.url, requests: 10, connections: 2 });
    expect(server.seen.every(({ headers }) => headers.cookie === undefined)).toBe(true);
  });
});

describe.concurrent('redirects', () => {
  test.each([
    [302, '/b', 'https://a.test/b'],
    [308, 'http://a.test/b', null],
    [301, 'https://b.test/\xc3\xbc?\xff', 'https://b.test/%C3%BC?%FF'],
    [303, 'https://user:word@a.test/', null],
    [307, 'ftp://a.test/', null],
    [307, 'https://', null],
    [300, '/b', null],
    [304, '/b', null],
    [302, undefined, null],
  ])('%i to %s from https://a.test/ is followed to %s', (status, location, url) => {
    expect(redirectOf(status, location, new URL('https://a.test/'))?.href ?? null).toBe(url);
  });

  const hops: Script = ({ url = '', method }, response) => {
    const left = Number(url.slice(1));
    if (left === 0) return void response.end(method);
    response.statusCode = left % 2 === 0 ? 307 : 302;
    response.setHeader('location', `/${left - 1}`);
    response.end();
  };

  test('are answers like others by default', async () => {
    const server = await startServer(hops);
    const result = await load({ url: `${server.url}/3`, requests: 5, connections: 2 });
    expect(result.statuses).toEqual({ 302: 5 });
    expect(result.requests.redirected).toBe(0);
  });

  test('are followed where it is asked: each is a request, none of those that were asked for', async () => {
    const server = await startServer(hops);
    const common = { connections: 2, requests: 5, followRedirects: true, body: 'x{{counter}}' };
    const result = await load({ ...common, url: `${server.url}/4`, headers: { 'content-type': 'text/plain' } });
    checkSums(result);
    expect(result.statuses).toEqual({ 200: 5, 302: 10, 307: 10 });
    expect(result.requests).toMatchObject({ started: 25, redirected: 20 });
    const of = (url: string) => server.seen.filter((seen) => seen.url === url);
    // 307 keeps method and body, 302 makes a GET of a POST.
    for (const { method, body, headers } of of('/3')) {
      expect(method).toBe('POST');
      expect(body).toMatch(/^x\d$/);
      expect(headers['content-type']).toBe('text/plain');
    }
    for (const { method, body, headers } of of('/2')) {
      expect({ method, body }).toEqual({ method: 'GET', body: '' });
      expect(headers).not.toHaveProperty('content-type');
    }
  });

  test.each([{ warmupMs: 0 }, { warmupMs: 150 }])('each user keeps to its connection: %o', async ({ warmupMs }) => {
    const server = await startServer(hops);
    const common = { connections: 3, requests: 90, followRedirects: true, warmupMs };
    const result = await load({ ...common, url: `${server.url}/4`, shards: 1 });
    checkSums(result);
    // A chain that began in the warm-up counts in no hop.
    expect(result.requests.started - result.requests.redirected).toBe(90);
    // One more was the check's before the run.
    expect(server.connections.opened).toBe(4);
  });

  test('in open loop, with cookies, so many in a row; credentials stay with their origin', async () => {
    const other = await startServer(answerAtOnce);
    const server = await startServer((request, response) => {
      response.statusCode = 302;
      response.setHeader('set-cookie', 'seen=1');
      response.setHeader('location', request.url === '/away' ? `${other.url}/there` : '/round');
      response.end();
    });
    const common = { auth: { bearer: 'secret' }, cookies: true, rate: 50, durationMs: 200 };
    const result = await load({ ...common, url: `${server.url}/round`, followRedirects: 3 });
    checkSums(result);
    expect(result.statuses).toEqual({ 302: 40 });
    expect(result.requests.redirected).toBe(30);
    expect(server.seen.some(({ headers }) => headers.cookie === 'seen=1')).toBe(true);
    await load({ ...common, url: `${server.url}/away`, followRedirects: true });
    expect(other.seen).toHaveLength(10);
    for (const { headers, url } of other.seen) {
      expect(url).toBe('/there');
      expect(headers).not.toHaveProperty('authorization');
    }
  });
});

test('compressed asks for codings and counts what comes', async () => {
  const server = await startServer(answerAtOnce);
  await load({ url: server.url, compressed: true, requests: 1 });
  await load({ url: server.url, compressed: true, headers: { 'accept-encoding': 'br' }, requests: 1 });
  const asked = server.seen.map(({ headers }) => headers['accept-encoding']);
  expect(asked).toEqual(['gzip, deflate, br, zstd', 'br']);
});
