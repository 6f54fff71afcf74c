/** Scenarios: what a virtual user's function is given, what is counted of it, and what is refused. Modules are written for each test. */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { gzipSync } from 'node:zlib';
import { type LoadError, type LoadOptions, type LoadResult, load } from 'shardfetch/load';
import { describe, expect, test } from 'vitest';
import { answerAtOnce, checkSums, endings, type Script, startServer } from './rig.ts';

const folder = mkdtempSync(path.join(tmpdir(), 'shardfetch-scenarios-'));
endings.push(() => rmSync(folder, { recursive: true }));
let modules = 0;

/** A module of this text; its path. */
function moduleOf(text: string, extension = 'mjs'): string {
  const file = path.join(folder, `scenario${modules++}.${extension}`);
  writeFileSync(file, text);
  return file;
}

/** A module with this body of its function. */
function scenarioOf(body: string): string {
  return moduleOf(`export default async ({ http, user, data, rows, vars, check, think, tag, url }) => {\n${body}\n}\n`);
}

function checkIterations({ iterations }: LoadResult): void {
  if (iterations === null) throw new Error('no iterations');
  expect(iterations.started).toBe(iterations.completed + iterations.failed + iterations.unfinished);
  expect(iterations.duration.count).toBe(iterations.completed);
}

const echo: Script = ({ url, method, headers }, response, number) => {
  response.setHeader('x-number', [`${number}`, 'more']);
  response.end(JSON.stringify({ url, method, headers }));
};

describe.concurrent('a virtual user', () => {
  test('has connections and cookies of its own, and what it keeps from one iteration to the next', async () => {
    const ports = new Map<string, Set<number>>();
    const server = await startServer((request, response) => {
      const name = /user=(\d+)/.exec(request.headers.cookie ?? '')?.[1];
      const id = new URL(request.url ?? '', 'http://any').searchParams.get('id') ?? '';
      if (name === undefined) response.setHeader('set-cookie', `user=${id}; Path=/`);
      ports.set(id, (ports.get(id) ?? new Set()).add(request.socket.remotePort ?? 0));
      response.end(name);
    });
    const scenario = scenarioOf(`
      const response = await http.get('/?id=' + user.id);
      vars.count = (vars.count ?? 0) + 1;
      check(vars.count, { 'iterations count from 1': (count) => count === user.iteration });
      if (vars.count > 1) check(response, { 'cookie is this user\\'s': (r) => r.text() === String(user.id) });
    `);
    const result = await load({ url: server.url, scenario, connections: 6, shards: 2, iterations: 60 });
    checkSums(result);
    checkIterations(result);
    expect(result.iterations?.completed).toBe(60);
    expect(result.checks).toEqual([
      { name: 'iterations count from 1', passed: 60, failed: 0 },
      { name: "cookie is this user's", passed: 54, failed: 0 },
    ]);
    expect([...ports.keys()].sort()).toEqual(['1', '2', '3', '4', '5', '6']);
    for (const own of ports.values()) expect(own.size).toBe(1);
    expect(new Set([...ports.values()].flatMap((own) => [...own])).size).toBe(6);
    expect(result.connections).toMatchObject({ opened: 6, reused: 54 });
  });

  test('sends what it is told to, relative to the URL of the run, with the headers of the run', async () => {
    const server = await startServer(echo);
    const scenario = scenarioOf(`
      const options = { headers: { 'x-own': '1' } };
      await http.get('here?a=b#c', options);
      await http.post('/json', { json: { word: 'wörd' } });
      await http.put('/form', { form: { a: 'b c', n: 1 } });
      await http.patch(url + 'text', { body: 'text', headers: { 'content-type': 'text/x', 'x-run': 'mine' } });
      await http.delete('/gone');
      await http.head('/head');
      await http.request('PURGE', '/cache');
    `);
    const auth = { username: 'me', password: 'word' };
    const headers = { 'x-run': 'all' };
    await load({ url: `${server.url}/base/`, scenario, headers, auth, connections: 1, iterations: 1 });
    const authorization = 'Basic bWU6d29yZA==';
    expect(server.seen.map(({ method, url, body }) => [method, url, body])).toEqual([
      ['GET', '/base/here?a=b', ''],
      ['POST', '/json', '{"word":"wörd"}'],
      ['PUT', '/form', 'a=b+c&n=1'],
      ['PATCH', '/base/text', 'text'],
      ['DELETE', '/gone', ''],
      ['HEAD', '/head', ''],
      ['PURGE', '/cache', ''],
    ]);
    for (const seen of server.seen) expect(seen.headers).toMatchObject({ authorization });
    expect(server.seen[0]?.headers).toMatchObject({ 'x-own': '1', 'x-run': 'all' });
    expect(server.seen[1]?.headers).toMatchObject({ 'content-type': 'application/json' });
    expect(server.seen[2]?.headers).toMatchObject({ 'content-type': 'application/x-www-form-urlencoded' });
    expect(server.seen[3]?.headers).toMatchObject({ 'content-type': 'text/x', 'x-run': 'mine' });
  });

  test('sees status, headers and body, decoded; redirects where it asks for them', async () => {
    const server = await startServer(({ url }, response) => {
      if (url === '/zip') response.setHeader('content-encoding', 'gzip').end(gzipSync('{"a":["ü"]}'));
      else if (url === '/from') response.writeHead(302, { location: '/zip', 'set-cookie': 'a=1' }).end();
      else response.writeHead(404, { 'x-two': ['a', 'b'] }).end('none');
    });
    const scenario = scenarioOf(`
      const zip = await http.get('/from', { followRedirects: true });
      const from = await http.get('/from');
      const none = await http.get('/none', { discardBody: true });
      check(0, {
        json: () => zip.json().a[0] === 'ü' && zip.text() === '{"a":["ü"]}' && zip.bodyBytes !== 12,
        redirects: () => zip.redirects === 1 && zip.ok && zip.url === url + 'zip' && from.status === 302,
        headers: () => none.headers.get('X-Two') === 'a, b' && none.headers.getAll('x-two').length === 2,
        none: () => none.headers.get('x-no') === null && !none.headers.has('x-no') && !none.ok,
        latency: () => none.latencyMs > 0 && none.latencyMs < 10000,
      });
      none.text();
    `);
    const result = await load({ url: server.url, scenario, connections: 1, iterations: 1 });
    expect(result.checks.map(({ name, passed }) => [name, passed])).toEqual([
      ['json', 1],
      ['redirects', 1],
      ['headers', 1],
      ['none', 1],
      ['latency', 1],
    ]);
    expect(Object.keys(result.iterations?.errors ?? {})).toEqual([
      `Error: The body of ${server.url}/none was discarded.`,
    ]);
    expect(result.statuses).toEqual({ 200: 1, 302: 2, 404: 1 });
  });

  test('gets a row of each table per iteration, each row once over all shards', async () => {
    const server = await startServer(answerAtOnce);
    const rows = Array.from({ length: 21 }, (_, index) => ({ id: index, name: `n${index}` }));
    const scenario = scenarioOf(`await http.get('/' + rows.people.id + '/' + rows.people.name);`);
    const data = { people: { rows, order: 'once' as const } };
    const result = await load({ url: server.url, scenario, data, connections: 4, shards: 2 });
    expect(result.iterations?.completed).toBe(21);
    expect(server.seen.map(({ url }) => url).sort()).toEqual(rows.map(({ id, name }) => `/${id}/${name}`).sort());
  });
});

describe.concurrent('what is counted', () => {
  test('requests by tag or by method and path, checks, what iterations throw', async () => {
    const server = await startServer(answerAtOnce);
    const scenario = scenarioOf(`
      await http.get('/plain?query=1');
      tag('named');
      await http.get('/a' + user.iteration);
      await http.get('/b', { tag: 'own' });
      tag('');
      await http.post('/plain');
      const all = check(1, { yes: () => true, no: () => 0, throws: (one) => one.two.three });
      if (all !== false) throw new Error('check said yes');
      if (user.iteration % 2 === 0) throw new TypeError('an even one');
    `);
    const result = await load({ url: server.url, scenario, connections: 2, shards: 1, iterations: 20 });
    checkSums(result);
    checkIterations(result);
    expect(result.iterations).toMatchObject({ started: 20, completed: 10, failed: 10, unfinished: 0 });
    expect(result.iterations?.errors).toEqual({ 'TypeError: an even one': 10 });
    expect(result.perTag.map(({ tag, completed }) => [tag, completed])).toEqual([
      ['GET /plain', 20],
      ['named', 20],
      ['own', 20],
      ['POST /plain', 20],
    ]);
    expect(result.checks).toEqual([
      { name: 'yes', passed: 20, failed: 0 },
      { name: 'no', passed: 0, failed: 20 },
      { name: 'throws', passed: 0, failed: 20 },
    ]);
    expect(result.requests.completed).toBe(80);
  });

  test('requests without an answer reject and are counted; so is what nobody waited for', async () => {
    const server = await startServer((request, response) => {
      if (request.url === '/cut') request.socket.destroy();
      else if (request.url === '/late') setTimeout(() => response.end(), 5_000).unref();
      else response.end();
    });
    const scenario = scenarioOf(`
      const code = await http.get('/cut').catch((error) => error.code);
      check(code, { 'cut is told': (code) => code === 'CONNECTION_LOST' });
      void http.get('/cut');
      await http.get('/fine');
      await http.get('/late', { timeoutMs: 1000 });
    `);
    const result = await load({ url: server.url, scenario, connections: 1, iterations: 3 });
    checkSums(result);
    expect(result.checks).toEqual([{ name: 'cut is told', passed: 3, failed: 0 }]);
    expect(result.errors).toEqual({ CONNECTION_LOST: 6, TOTAL_TIMEOUT: 3 });
    const { failed, errors } = result.iterations ?? { errors: {} };
    expect(failed).toBe(3);
    const messages = Object.keys(errors).join('\n');
    expect(messages).toMatch(/^TransferError: .*1000 ms/m);
    expect(messages).toMatch(/^Nobody waited for: /m);
  });

  test('many different tags and messages are counted together', async () => {
    const server = await startServer(answerAtOnce);
    const scenario = scenarioOf(`
      for (let one = 1; one <= 5; one++) await http.get('/' + user.iteration + '/' + one);
      throw new Error('no. ' + user.iteration);
    `);
    const result = await load({ url: server.url, scenario, connections: 1, iterations: 60 });
    checkSums(result);
    expect(result.perTag).toHaveLength(201);
    expect(result.perTag.at(-1)).toMatchObject({ tag: '(other)', completed: 100 });
    const { errors = {}, failed } = result.iterations ?? {};
    expect(failed).toBe(60);
    expect(Object.keys(errors)).toHaveLength(51);
    expect(errors['(other)']).toBe(10);
  });

  test('a row of a tag holds all of its requests, whichever thread had no place left for it', async () => {
    const server = await startServer(answerAtOnce);
    // Two threads that meet 210 names in opposite orders.
    const scenario = scenarioOf(`
      vars.step = (vars.step ?? 0) + 1;
      const name = user.id % 2 === 0 ? vars.step : 211 - vars.step;
      await http.get('/', { tag: 'no. ' + name });
    `);
    const result = await load({ url: server.url, scenario, connections: 2, shards: 2, iterations: 420 });
    checkSums(result);
    const rows = result.perTag.filter(({ tag }) => tag !== '(other)');
    expect(rows.length).toBeGreaterThanOrEqual(180);
    for (const { tag, completed } of rows) expect(completed, tag).toBe(2);
    expect(result.perTag.at(-1)?.completed).toBe(420 - rows.length * 2);
  });

  test('thresholds of checks and iterations', async () => {
    const server = await startServer(answerAtOnce);
    const scenario = scenarioOf(`
      await http.get('/');
      check(user.iteration, { 'not the tenth': (number) => number !== 10 });
      if (user.iteration === 10) throw new Error('the tenth');
    `);
    const thresholds = ['checks<91%', 'checks<89%', 'iterationsFailed>9%', 'iterationsFailed>1'];
    const result = await load({ url: server.url, scenario, connections: 1, iterations: 10, thresholds });
    expect(result.thresholds.map(({ crossed, actual }) => [crossed, actual])).toEqual([
      [true, 0.9],
      [false, 0.9],
      [true, 0.1],
      [false, 1],
    ]);
    expect(result.verdict).toBe('failed');
  });
});

describe.concurrent('how it runs', () => {
  test('setup once before, teardown once after; users share a frozen copy', async () => {
    const server = await startServer(answerAtOnce);
    const log = path.join(folder, 'log.txt');
    const scenario = moduleOf(`
      import { appendFileSync } from 'node:fs';
      import { isMainThread } from 'node:worker_threads';
      const note = (what) => appendFileSync(${JSON.stringify(log)}, what + ' ' + isMainThread + '\\n');
      export const setup = async ({ url }) => { note('setup'); return { url, list: [{ a: 1 }] }; };
      export const teardown = (data) => { note('teardown of ' + data.list.length); throw new Error('and fails'); };
      export default async ({ http, data, url, check }) => {
        await http.get('/');
        check(data, {
          shared: () => data.url === url,
          frozen: () => Object.isFrozen(data) && Object.isFrozen(data.list[0]),
        });
      };
    `);
    const result = await load({ url: `${server.url}/x`, scenario, connections: 4, shards: 2, iterations: 8 });
    expect(result.checks).toEqual([
      { name: 'shared', passed: 8, failed: 0 },
      { name: 'frozen', passed: 8, failed: 0 },
    ]);
    const { readFileSync } = await import('node:fs');
    expect(readFileSync(log, 'utf8')).toBe('setup true\nteardown of 1 true\n');
    expect(result.notes).toContainEqual(expect.stringMatching(/^teardown\(\) of scenario\d+\.mjs failed: and fails$/));
  });

  test("the module's options, where the caller says nothing else", async () => {
    const server = await startServer(answerAtOnce);
    const scenario = moduleOf(`
      export const options = { url: '${server.url}/', rate: 5, connections: 3, iterations: 6, thresholds: ['p50<0'], shards: 1 };
      export default ({ http }) => http.get('/');
    `);
    const own = await load({ scenario, rate: 100 });
    expect(own.options).toMatchObject({ model: 'open', rate: 100, connections: 3, requests: 6, shards: 1 });
    expect(own.iterations?.started).toBe(6);
    expect(own.thresholds).toHaveLength(1);
    const other = await load({ scenario, connectionStages: [{ durationMs: 200, to: 2 }], thresholds: ['errors>0'] });
    expect(other.options).toMatchObject({ model: 'closed', connections: 3 });
    expect(other.thresholds.map(({ text }) => text)).toEqual(['p50<0', 'errors>0']);
  });

  test('open loop: iterations are due by the rate; what no user is free for waits or is not begun', async () => {
    const server = await startServer((_request, response) => void setTimeout(() => response.end(), 100));
    const scenario = scenarioOf(`await http.get('/');`);
    const enough = await load({ url: server.url, scenario, rate: 100, durationMs: 1_000, connections: 60, shards: 2 });
    checkSums(enough);
    checkIterations(enough);
    expect(enough.iterations).toMatchObject({ started: 100, completed: 100, notStarted: 0 });
    expect(enough.latency.from).toBe('send');
    const few = { connections: 2, lateMax: 5, timeoutMs: 5_000, shards: 1 };
    const late = await load({ url: server.url, scenario, rate: 100, durationMs: 1_000, ...few });
    checkIterations(late);
    const { started = 0, notStarted = 0, lateStarts, duration } = late.iterations ?? {};
    expect(started + notStarted).toBe(100);
    expect(notStarted).toBeGreaterThan(50);
    // Those that wait at the end are begun all the same.
    expect(lateStarts).toBeGreaterThanOrEqual(5);
    // From when they were due: the wait for a user, of which five wait for two, is in it, and in no request's latency.
    const { '50': durationUs = 0 } = duration?.percentilesUs ?? {};
    expect(durationUs).toBeGreaterThan(250_000);
    expect(late.latency.corrected.percentilesUs['50']).toBeLessThan(durationUs * 0.6);
  });

  test('closed loop by time, with thought, a warm-up and an iteration that waits for nothing', async () => {
    const server = await startServer(answerAtOnce);
    const busy = scenarioOf(`if (user.iteration % 1000 === 0) await http.get('/');`);
    const result = await load({ url: server.url, scenario: busy, connections: 3, durationMs: 500, warmupMs: 300 });
    checkSums(result);
    checkIterations(result);
    expect(result.iterations?.completed).toBeGreaterThan(100);
    expect(result.durationMs).toBeCloseTo(500, 3);
    const thinking = scenarioOf(`await http.get('/'); await think(40, 60);`);
    const slow = await load({ url: server.url, scenario: thinking, connections: 4, thinkMs: 50, durationMs: 1_500 });
    expect(slow.iterations?.completed).toBeGreaterThan(4);
    expect(slow.iterations?.completed).toBeLessThanOrEqual(4 * Math.ceil(1_500 / 90));
  });

  test('the warm-up ends in the middle of a long turn: what begins after it belongs to the run, from its start to its end', async () => {
    const server = await startServer(answerAtOnce);
    const spin = 'for (const began = performance.now(); performance.now() - began < 20; );';
    const scenario = scenarioOf(`${spin} await http.get('/'); ${spin} await http.get('/');`);
    const result = await load({
      url: server.url,
      scenario,
      connections: 3,
      durationMs: 1_000,
      warmupMs: 200,
      shards: 1,
    });
    checkSums(result);
    checkIterations(result);
    expect(result.requests.completed).toBeGreaterThan(2);
  });

  test('an iteration that never ends is unfinished, and keeps nobody waiting', async () => {
    const server = await startServer(answerAtOnce);
    const scenario = scenarioOf(`await http.get('/'); await new Promise(() => {});`);
    const began = performance.now();
    const common = { url: server.url, scenario, connections: 3, timeoutMs: 2_000 };
    const result = await load({ ...common, durationMs: 1_000 });
    expect(performance.now() - began).toBeLessThan(50_000);
    checkSums(result);
    expect(result.iterations).toMatchObject({ started: 3, completed: 0, failed: 0, unfinished: 3 });
    const controller = new AbortController();
    const timer = setInterval(() => server.seen.length === 6 && controller.abort(), 20);
    endings.push(() => clearInterval(timer));
    const stopped = await load({ ...common, durationMs: 60_000, signal: controller.signal });
    expect(stopped.verdict).toBe('interrupted');
    expect(stopped.iterations?.unfinished).toBe(3);
  });

  test('a server that goes away is not hammered', async () => {
    const server = await startServer(answerAtOnce);
    const scenario = scenarioOf(`await http.get('http://127.0.0.1:1/');`);
    const result = await load({ url: server.url, scenario, connections: 3, durationMs: 1_500 });
    checkSums(result);
    const { COULDNT_CONNECT = 0 } = result.errors;
    expect(COULDNT_CONNECT).toBeGreaterThan(3);
    expect(COULDNT_CONNECT).toBeLessThanOrEqual(51);
    // No threshold was crossed; but nothing was answered.
    expect(result.verdict).toBe('failed');
  });

  test('local addresses are used by user in turn', async () => {
    const server = await startServer(answerAtOnce);
    const localAddresses = ['127.0.0.5', '127.0.0.6'];
    const scenario = scenarioOf(`await http.get('/'); await http.get('/');`);
    const result = await load({ url: server.url, scenario, localAddresses, connections: 4, shards: 1, iterations: 12 });
    expect(result.connections.perLocalAddress).toEqual({ '127.0.0.5': 2, '127.0.0.6': 2 });
    expect(new Set(server.seen.map(({ remoteAddress }) => remoteAddress))).toEqual(new Set(localAddresses));
  });
});

test('TypeScript runs where Node runs it, and is refused in a sentence where not', async () => {
  const server = await startServer(answerAtOnce);
  const scenario = moduleOf(
    `import type { Scenario } from 'shardfetch/load';
     const run: Scenario = async ({ http, check }) => {
       check(await http.get('/'), { fine: ({ ok }: { ok: boolean }) => ok });
     };
     export default run;`,
    'ts',
  );
  const running = load({ url: server.url, scenario, connections: 2, iterations: 4 });
  if ((process.features as { typescript?: unknown }).typescript) {
    expect((await running).checks).toEqual([{ name: 'fine', passed: 4, failed: 0 }]);
  } else {
    await expect(running).rejects.toThrow(
      /\.ts is TypeScript, which Node v\d+.* does not run; use Node 22\.18 or newer/,
    );
  }
});

describe.concurrent('refused before anything is sent', () => {
  const url = 'http://127.0.0.1:9/';
  const fine = scenarioOf('');
  test.each<[string, unknown, string]>([
    ['no file', { url, scenario: '/no/such/file.mjs' }, '/no/such/file.mjs cannot be read (ENOENT)'],
    ['no path', { url, scenario: 5 }, 'scenario must be the path of a module, not 5'],
    ['no module', { url, scenario: moduleOf('export default {') }, 'cannot be loaded: '],
    ['one that throws', { url, scenario: moduleOf('throw new Error("at once")') }, 'cannot be loaded: at once'],
    ['no function', { url, scenario: moduleOf('export default 5') }, 'must be an async function, not 5'],
    ['nothing', { url, scenario: moduleOf('') }, 'The default export of the scenario'],
    ['setup', { url, scenario: moduleOf('export const setup = 1; export default () => {}') }, 'setup of the scenario'],
    [
      'an unknown option',
      { url, scenario: moduleOf('export const options = { a: 1 }; export default () => {}') },
      'no option a',
    ],
    ['no URL', { scenario: fine }, 'Say where the scenario takes place'],
    ['targets', { scenario: fine, targets: [{ url }] }, 'targets cannot be given with a scenario'],
    [
      'a body',
      { url, scenario: fine, body: 'x' },
      'body cannot be given with a scenario; the scenario says what is sent',
    ],
    ['requests', { url, scenario: fine, requests: 5 }, 'give iterations'],
    ['iterations alone', { url, iterations: 5 }, 'iterations belong to a scenario'],
    ['a threshold', { url, scenario: fine, thresholds: ['checks<5'] }, 'is not understood'],
  ])('%s', async (_what, options, sentence) => {
    const error = await load(options as LoadOptions).then(
      () => undefined,
      (reason: LoadError) => reason,
    );
    expect(error?.message).toContain(sentence);
    expect(error).toMatchObject({ name: 'LoadError', kind: 'arguments' });
  });

  test('a setup that fails, or answers what cannot be copied', async () => {
    const server = await startServer(answerAtOnce);
    const fails = moduleOf('export const setup = () => { throw new Error("no data") }; export default () => {}');
    await expect(load({ url: server.url, scenario: fails })).rejects.toThrow(/^setup\(\) of .*\.mjs failed: no data$/);
    const uncopied = moduleOf('export const setup = () => ({ run() {} }); export default () => {}');
    const refused = load({ url: server.url, scenario: uncopied });
    await expect(refused).rejects.toThrow('answered what cannot be copied into other threads');
    expect(server.seen).toHaveLength(0);
  });
});
