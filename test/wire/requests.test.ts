/** What a fetch puts on the wire, to the byte. */

import { Pool } from 'shardfetch';
import { afterAll, describe, expect, test } from 'vitest';
import { checkStats, DEFAULT_FIELDS, expectNoSocketLeaks, PLACES, poolFor } from './checks.ts';
import { answer, bytes, deferred, gate, rawPeer, request, send, serve, startPeer, stopReading } from './raw-peer.ts';

expectNoSocketLeaks();

describe.each(PLACES)('$name', ({ shards }) => {
  const pool = new Pool({ shards });
  afterAll(() => pool.close());

  const ECHO_NOTHING = serve(send(answer('ok')));

  test('GET', async () => {
    const peer = await rawPeer(ECHO_NOTHING);
    const response = await pool.fetch(peer.url);
    expect(await response.text()).toBe('ok');
    expect(peer.requests()).toEqual([`GET / HTTP/1.1\r\nhost: 127.0.0.1:${peer.port}\r\n${DEFAULT_FIELDS}\r\n`]);
  });

  test('HEAD', async () => {
    const peer = await rawPeer(serve(send('HTTP/1.1 200 OK\r\nContent-Length: 555\r\n\r\n')));
    const response = await pool.fetch(peer.url, { method: 'HEAD' });
    expect(response.headers.get('content-length')).toBe('555');
    expect(response.body).toBe(null);
    expect(await response.text()).toBe('');
    await pool.fetch(peer.url, { method: 'head' });
    const sent = `HEAD / HTTP/1.1\r\nhost: 127.0.0.1:${peer.port}\r\n${DEFAULT_FIELDS}\r\n`;
    expect(peer.requests()).toEqual([sent, sent]);
    expect(peer.connections).toHaveLength(1);
  });

  test.each([
    { what: 'a string', body: 'naïve €', type: 'text/plain;charset=UTF-8', wire: 'na\xc3\xafve \xe2\x82\xac' },
    { what: 'an empty string', body: '', type: 'text/plain;charset=UTF-8', wire: '' },
    { what: 'a Uint8Array', body: Uint8Array.of(0, 1, 13, 10, 255), type: null, wire: '\x00\x01\r\n\xff' },
    { what: 'a part of a buffer', body: Buffer.from('..part..').subarray(2, 6), type: null, wire: 'part' },
    { what: 'an ArrayBuffer', body: Uint8Array.of(104, 105).buffer, type: null, wire: 'hi' },
    { what: 'a DataView', body: new DataView(Uint8Array.of(46, 104, 105, 46).buffer, 1, 2), type: null, wire: 'hi' },
    { what: 'a Uint16Array', body: Uint16Array.of(0x6968), type: null, wire: 'hi' },
    { what: 'an empty Uint8Array', body: new Uint8Array(0), type: null, wire: '' },
    {
      what: 'URLSearchParams',
      body: new URLSearchParams({ a: '1 2', ü: '&' }),
      type: 'application/x-www-form-urlencoded;charset=UTF-8',
      wire: 'a=1+2&%C3%BC=%26',
    },
  ])('POST with $what', async ({ body, type, wire }) => {
    const peer = await rawPeer(ECHO_NOTHING);
    expect(await (await pool.fetch(peer.url, { method: 'POST', body })).text()).toBe('ok');
    expect(peer.requests()).toEqual([
      `POST / HTTP/1.1\r\nhost: 127.0.0.1:${peer.port}\r\n${type === null ? '' : `content-type: ${type}\r\n`}` +
        `${DEFAULT_FIELDS}content-length: ${wire.length}\r\n\r\n${wire}`,
    ]);
  });

  test.each(['POST', 'PUT', 'PATCH'])('%s without a body says so', async (method) => {
    const peer = await rawPeer(ECHO_NOTHING);
    await pool.fetch(peer.url, { method });
    expect(peer.requests()[0]).toMatch(new RegExp(`^${method} / .*\r\ncontent-length: 0\r\n\r\n$`, 's'));
  });

  test.each(['GET', 'DELETE', 'OPTIONS', 'PURGE'])('%s without a body says nothing of one', async (method) => {
    const peer = await rawPeer(ECHO_NOTHING);
    await pool.fetch(peer.url, { method });
    expect(peer.requests()[0]).toMatch(new RegExp(`^${method} / `));
    expect(peer.requests()[0]).not.toMatch(/content-length/i);
  });

  test.each([
    { what: 'a record', headers: { 'X-One': ' 1\t', 'x-Two': 'zwei' } },
    {
      what: 'pairs',
      headers: [
        ['X-One', '1'],
        ['x-Two', 'zwei'],
      ] as [string, string][],
    },
    {
      what: 'a Map',
      headers: new Map([
        ['X-One', '1'],
        ['x-Two', 'zwei'],
      ]),
    },
  ])('headers as $what keep their order and spelling', async ({ headers }) => {
    const peer = await rawPeer(ECHO_NOTHING);
    await pool.fetch(peer.url, { headers });
    expect(peer.requests()[0]).toContain('\r\nX-One: 1\r\nx-Two: zwei\r\naccept-encoding: ');
  });

  test('headers as a Headers object; a name twice; what would be added is replaced', async () => {
    const peer = await rawPeer(ECHO_NOTHING);
    await pool.fetch(peer.url, { headers: new Headers({ Accept: 'text/html', 'User-Agent': 'me' }) });
    await pool.fetch(peer.url, {
      headers: [
        ['cookie', 'a=1'],
        ['cookie', 'b=2'],
        ['x-latin', 'é\xff'],
        ['x-empty', ''],
      ],
    });
    const [first, second] = peer.requests();
    const [asked] = DEFAULT_FIELDS.split('\r\n');
    expect(first).toBe(
      `GET / HTTP/1.1\r\nhost: 127.0.0.1:${peer.port}\r\naccept: text/html\r\nuser-agent: me\r\n${asked}\r\n\r\n`,
    );
    expect(second).toContain('\r\ncookie: a=1\r\ncookie: b=2\r\nx-latin: \xe9\xff\r\nx-empty: \r\n');
  });

  test('a content type of the caller is kept, whatever its spelling; so is a right content length', async () => {
    const peer = await rawPeer(ECHO_NOTHING);
    await pool.fetch(peer.url, {
      method: 'POST',
      body: '{}',
      headers: { 'CONTENT-type': 'application/json', 'Content-Length': '2' },
    });
    const [sent = ''] = peer.requests();
    expect(sent.match(/content-type/gi)).toEqual(['CONTENT-type']);
    expect(sent.match(/content-length/gi)).toEqual(['Content-Length']);
    expect(sent).toMatch(/\r\n\r\n\{\}$/);
  });

  test('the target: path and query as the URL standard writes them, the fragment never', async () => {
    const peer = await rawPeer(ECHO_NOTHING);
    const response = await pool.fetch(`${peer.origin}/a b/../ü?q=1&r=%20"#fragment`);
    expect(response.url).toBe(`${peer.origin}/%C3%BC?q=1&r=%20%22`);
    await pool.fetch(new URL(`${peer.origin}?only=query`));
    await pool.fetch(`${peer.origin}/?`);
    expect(peer.requests().map((sent) => sent.split('\r\n')[0])).toEqual([
      'GET /%C3%BC?q=1&r=%20%22 HTTP/1.1',
      'GET /?only=query HTTP/1.1',
      'GET / HTTP/1.1',
    ]);
  });

  test('a Host of the caller replaces ours, once', async () => {
    const peer = await rawPeer(ECHO_NOTHING);
    await pool.fetch(peer.url, { headers: { Host: 'virtual.example' } });
    expect(peer.requests()[0]?.match(/host: .*/gi)).toEqual(['host: virtual.example']);
  });

  test.each([10, 4096, 65_536, 131_072, 1_048_576, 5 * 1024 * 1024])(
    'a body of %i bytes arrives whole',
    async (size) => {
      const peer = await rawPeer(ECHO_NOTHING);
      const body = pattern(size);
      const sent = pool.fetch(peer.url, { method: 'PUT', body });
      // Bytes are copied when fetch is called: what the caller does to them later changes nothing.
      const expected = Buffer.from(body).toString('latin1');
      body.fill(0x58);
      expect(await (await sent).text()).toBe('ok');
      const [whole = ''] = peer.requests();
      const at = whole.indexOf('\r\n\r\n') + 4;
      expect(whole.slice(0, at)).toContain(`\r\ncontent-length: ${size}\r\n`);
      expect(whole.length - at).toBe(size);
      expect(whole.slice(at) === expected).toBe(true);
      await checkStats(pool);
    },
  );
});

test('a peer that reads late gets the whole upload', async () => {
  const pool = poolFor();
  const late = deferred();
  const resume = [
    gate(late.promise),
    (connection: { socket: { resume(): unknown } }): void => {
      connection.socket.resume();
    },
  ];
  const peer = await rawPeer([stopReading(), ...resume, request(), send(answer('took it'))]);
  const body = pattern(5 * 1024 * 1024);
  const sent = pool.fetch(peer.url, { method: 'POST', body });
  const connection = await peer.connection(0);
  // Another transfer runs meanwhile: the stopped upload blocks nobody.
  const other = await rawPeer(serve(send(answer('meanwhile'))));
  expect(await (await pool.fetch(other.url)).text()).toBe('meanwhile');
  late.resolve();
  expect(await (await sent).text()).toBe('took it');
  expect(connection.requests[0]?.endsWith(Buffer.from(body).toString('latin1'))).toBe(true);
});

test('an answer that comes before the upload is over is delivered, and the connection closed', async () => {
  const pool = poolFor();
  const peer = await rawPeer([bytes(1000), stopReading(), send(answer('too large'))], serve(send(answer('next'))));
  const response = await pool.fetch(peer.url, { method: 'POST', body: pattern(5 * 1024 * 1024) });
  expect(await response.text()).toBe('too large');
  (await peer.connection(0)).socket.resume();
  await peer.gone(0);
  const next = await pool.fetch(peer.url);
  expect(await next.text()).toBe('next');
  expect(next.connection.reused).toBe(false);
  expect(peer.requests()).toEqual([expect.stringMatching(/^GET \/ /)]);
});

test('IPv6, and a name with two addresses of which the first refuses', async () => {
  const pool = poolFor();
  const six = await startPeer('::1', [serve(send(answer('six')))]);
  try {
    const response = await pool.fetch(six.url);
    expect(await response.text()).toBe('six');
    expect(response.connection.remoteAddress).toBe(`[::1]:${six.port}`);
    expect(six.requests()[0]).toContain(`\r\nhost: [::1]:${six.port}\r\n`);
  } finally {
    await six.close();
  }
  const four = await rawPeer(serve(send(answer('four'))));
  const named = await pool.fetch(`http://localhost:${four.port}/`);
  expect(await named.text()).toBe('four');
  expect(named.connection.remoteAddress).toBe(`127.0.0.1:${four.port}`);
  expect(four.requests()[0]).toContain(`\r\nhost: localhost:${four.port}\r\n`);
});

/** Bytes that show when any is missing, doubled or moved. */
function pattern(size: number): Uint8Array {
  const all = new Uint8Array(size);
  for (let index = 0; index < size; index++) all[index] = (index * 31 + (index >> 8) * 7 + (index >> 16)) & 0xff;
  return all;
}
