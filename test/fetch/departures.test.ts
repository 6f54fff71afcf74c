/** What docs/fetch.md says that is otherwise than in Fetch, and is tested nowhere else; and that its table names tests that are there. */

import { existsSync, readFileSync } from 'node:fs';
import { Pool } from 'shardfetch';
import { afterAll, expect, test } from 'vitest';
import { expectNoSocketLeaks } from '../wire/checks.ts';
import { answer, rawPeer, request, send, serve } from '../wire/raw-peer.ts';

expectNoSocketLeaks();

const pool = new Pool({ shards: 1 });
afterAll(() => pool.close());

test('every departure names tests that are there', () => {
  const page = readFileSync(new URL('../../docs/fetch.md', import.meta.url), 'utf8');
  const table = page.slice(page.indexOf('## Departures'));
  const rows = [...table.matchAll(/^\| (.*) \| (.*) \| (.*) \| (.*) \|$/gm)].slice(1);
  expect(rows.length).toBeGreaterThan(25);
  for (const [row, , , , tests = ''] of rows) {
    expect(tests, row).not.toBe('');
    for (const name of tests.split(', ')) {
      const path = new URL(`../${name}`, import.meta.url).pathname;
      expect(existsSync(path) || existsSync(`${path}.test.ts`), `${name}: ${row}`).toBe(true);
    }
  }
});

test('Range of a blob: URL gives all', async () => {
  const url = URL.createObjectURL(new Blob(['0123456789']));
  const response = await pool.fetch(url, { headers: { Range: 'bytes=2-3' } });
  expect([response.status, await response.text()]).toEqual([200, '0123456789']);
  URL.revokeObjectURL(url);
});

test('bad ports are connected to', async () => {
  // 6667 is on the list of Fetch §2.9; the connection is led elsewhere, because who knows what listens there.
  const peer = await rawPeer(serve(send(answer('ok'))));
  const response = await pool.fetch('http://relay.example:6667/', { connectTo: `127.0.0.1:${peer.port}` });
  expect(await response.text()).toBe('ok');
  expect(peer.requests()[0]).toContain('\r\nhost: relay.example:6667\r\n');
});

test('no check of a page is made', async () => {
  const fields = [
    'Content-Type: text/html',
    'X-Content-Type-Options: nosniff',
    "Content-Security-Policy: default-src 'none'",
    'Access-Control-Allow-Origin: https://nobody.example',
    'Cross-Origin-Resource-Policy: same-origin',
  ];
  const peer = await rawPeer(serve(send(answer('all of it', ...fields))));
  for (const mode of ['cors', 'no-cors', 'same-origin'] as const) {
    const response = await pool.fetch(peer.url, { mode, headers: { Origin: 'https://other.example' } });
    expect([response.type, await response.text()]).toEqual(['basic', 'all of it']);
  }
});

test('a redirect that is not followed shows itself', async () => {
  const peer = await rawPeer(serve(send('HTTP/1.1 302 Found\r\nLocation: /next\r\nContent-Length: 4\r\n\r\nbody')));
  const response = await pool.fetch(peer.url, { redirect: 'manual' });
  expect([response.status, response.type, response.headers.get('location')]).toEqual([302, 'basic', '/next']);
  expect(await response.text()).toBe('body');
});

test('Referrer-Policy of a redirect does not change the policy', async () => {
  const redirect = 'HTTP/1.1 302 Found\r\nLocation: /next\r\nReferrer-Policy: no-referrer\r\nContent-Length: 0\r\n\r\n';
  const peer = await rawPeer([request(), send(redirect), request(), send(answer('there'))]);
  await pool.fetch(peer.url, { referrer: `${peer.origin}/page` });
  expect(peer.requests()[1]).toContain(`\r\nreferer: ${peer.origin}/page\r\n`);
});
