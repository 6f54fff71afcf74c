/** The package loaded in a realm that is not Node's own, as test runners load it: its classes are others than those of Buffer, of the addon and of Node. */

import { execFile } from 'node:child_process';
import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';
import { expect, onTestFinished, test, vi } from 'vitest';

const run = promisify(execFile);
const here = path.dirname(fileURLToPath(import.meta.url));
/** A second on idle cores, half a minute on busy ones. */
const LIMIT_MS = 110_000;
vi.setConfig({ testTimeout: LIMIT_MS + 10_000 });

/** Answers with what it was sent: `/307` elsewhere, `/gzip` packed. */
async function echo(): Promise<string> {
  const server = http.createServer(async (request, response) => {
    const body = Buffer.concat(await request.toArray());
    const isPacked = request.url?.endsWith('/gzip') === true;
    if (request.url?.endsWith('/307')) response.writeHead(307, { location: '/' });
    if (isPacked) response.setHeader('content-encoding', 'gzip');
    response.end(isPacked ? gzipSync(body) : body);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

test('a realm with classes all its own: every body, error and driver as anywhere', async () => {
  const url = await echo();
  const { stdout } = await run(
    process.execPath,
    ['--no-warnings', '--experimental-vm-modules', 'context.mjs', 'program.mjs', url],
    { cwd: here, timeout: LIMIT_MS, killSignal: 'SIGKILL' },
  );
  const viaPool = {
    text: 'text',
    bytes: 'bytes',
    Buffer: 'Buffer',
    memory: 'memory',
    pairs: 'a=b',
    Blob: 'Blob',
    stream: 'stream',
    form: [
      '--B',
      'Content-Disposition: form-data; name="name"',
      '',
      'value',
      '--B',
      'Content-Disposition: form-data; name="file"; filename="a.txt"',
      'Content-Type: application/octet-stream',
      '',
      'in a file',
      '--B',
      '',
    ].join('\r\n'),
    large: 1_000_000,
    decoded: 'packed',
    repeated: 'again',
    error: [true, 'COULDNT_CONNECT'],
    abort: 'AbortError',
    placement: 'placement',
    dispatched: 200,
  };
  expect(JSON.parse(stdout)).toEqual({
    isItsOwn: true,
    'shards: 0': viaPool,
    'shards: 1': viaPool,
    EpollDriver: 'by EpollDriver',
    UvDriver: 'by UvDriver',
  });
});

test("vitest's vmThreads: with threads and without", async () => {
  const vitest = fileURLToPath(new URL('../../node_modules/vitest/vitest.mjs', import.meta.url));
  const { stdout } = await run(process.execPath, [vitest, 'run', '--reporter=json', '--testTimeout=100000'], {
    cwd: path.join(here, 'vm-threads'),
    timeout: LIMIT_MS,
    killSignal: 'SIGKILL',
  });
  expect(JSON.parse(stdout)).toMatchObject({ success: true, numPassedTests: 2 });
});
