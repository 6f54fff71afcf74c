/**
 * The `ts` blocks of the pages, run: one after the other in one process, against a server that answers `[]` to everything. Most say only what is called
 * how, so what they print is nobody's business; but what they ask for must be there and must be allowed. Hosts of `.example` are made a closed port of
 * this machine, and connections that fail are no fault of a page.
 */

import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ts } from 'ts-morph';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { blocksOf, ROOT, readPages } from './pages.ts';

/** Pages whose fragments put servers under load, for as long as they say. */
const NOT_RUN = /^docs\/(load|load-testing|scenarios|hold|get)\.md/;
const fragments = readPages()
  .flatMap(blocksOf)
  .filter(({ kind, name }) => kind === 'ts' && !NOT_RUN.test(name));
const complaints = new Map<string, string>();
// Inside the checkout, so that packages are found by their names.
mkdirSync(join(ROOT, 'out'), { recursive: true });
const folder = mkdtempSync(join(ROOT, 'out', 'fragments-'));

const RUNNER = `
import { createServer } from 'node:http';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import tls from 'node:tls';
import { Pool } from 'shardfetch';
import { Multi, Transfer } from 'shardfetch/multi';

const server = createServer((request, response) => {
  request.resume();
  request.once('end', () => response.setHeader('content-type', 'application/json').end('[]'));
});
server.on('checkContinue', (request, response) => {
  response.writeContinue();
  server.emit('request', request, response);
});
server.on('upgrade', (request, socket) => {
  socket.on('error', () => undefined);
  socket.end('HTTP/1.1 101 Switching Protocols\\r\\nConnection: Upgrade\\r\\nUpgrade: echo\\r\\n\\r\\n');
});
server.listen(0, '127.0.0.1');
await once(server, 'listening');
const url = \`http://127.0.0.1:\${server.address().port}/\`;
const pool = new Pool({ shards: 1 });
const file = new URL('file.pem', import.meta.url).pathname;
const ca = tls.rootCertificates[0];
const signal = new AbortController().signal;
const multi = new Multi();
const transfer = new Transfer({ url });
const response = await pool.fetch(url);
Object.assign(globalThis, { pool, url, urls: [url, url], response, multi, transfer, file, ca, token: 'token', signal });

// What connects nowhere says so with one of these.
const NETWORK = /^(COULDNT_|CONNECTION_LOST|PROXY_FAILED|ECONNREFUSED|ENOENT|UND_ERR_|ECONNRESET)/;
const codeOf = (error) => error?.code ?? error?.cause?.code ?? '';
const complain = (index, error) => {
  if (!NETWORK.test(codeOf(error))) complaints[index] = \`\${error?.name} \${codeOf(error)}: \${error?.message}\`;
};
const complaints = {};
let current = 0;
process.on('unhandledRejection', (error) => complain(current, error));
process.on('uncaughtException', (error) => complain(current, error));
for (; current < Number(process.argv[2]); current++) {
  writeFileSync(file, ca);
  const limit = new Promise((resolve, reject) => setTimeout(reject, 60_000, new Error('It takes longer than a minute.')).unref());
  await Promise.race([import(\`./fragment\${current}.mjs\`), limit]).catch((error) => complain(current, error));
}
writeFileSync(new URL('complaints.json', import.meta.url), JSON.stringify(complaints));
process.exit();
`;

beforeAll(async () => {
  writeFileSync(join(folder, 'runner.mjs'), RUNNER);
  const compilerOptions = { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2023 };
  fragments.forEach(({ text }, index) => {
    const here = text.replace(/[\w.-]+\.example\b(:\d+)?/g, (host, port) =>
      port === undefined ? host : '127.0.0.1:1',
    );
    const local = here.replace(/(https?:\/\/)[\w.-]+\.example\b/g, '$1127.0.0.1:1');
    writeFileSync(join(folder, `fragment${index}.mjs`), ts.transpileModule(local, { compilerOptions }).outputText);
  });
  const runner = [join(folder, 'runner.mjs'), String(fragments.length)];
  // A proxy of this machine's environment is not to be asked.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !/_proxy$/i.test(name)));
  await promisify(execFile)(process.execPath, runner, { cwd: folder, env, timeout: 280_000, maxBuffer: 16_000_000 });
  const told = JSON.parse(readFileSync(join(folder, 'complaints.json'), 'utf8')) as Record<string, string>;
  for (const [index, complaint] of Object.entries(told)) {
    complaints.set(fragments[Number(index)]?.name as string, complaint);
  }
  // Five seconds on two idle cores, a minute on busy ones.
}, 300_000);

afterAll(() => rmSync(folder, { recursive: true }));

test.each(fragments.map(({ name }) => name))('%s asks for what there is', (name) => {
  expect(complaints.get(name)).toBeUndefined();
});
