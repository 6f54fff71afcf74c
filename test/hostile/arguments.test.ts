/** E: what we send. Nothing of a caller's may become a line, a field or a frame of its own. By case. */

import { type FetchInit, Pool } from 'shardfetch';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { checkRefusal, checkStats, DEFAULT_FIELDS, rejection } from '../wire/checks.ts';
import { answer, bytes, fin, type Peer, rawPeer, send, serve, startPeer, stopReading } from '../wire/raw-peer.ts';
import { checkNothingIsLeft, descriptorCount } from './checks.ts';

const pool = new Pool({ shards: 1 });
let peer: Peer;
let before = 0;

beforeAll(async () => {
  peer = await startPeer('127.0.0.1', [serve(send(answer('ok')))]);
  await (await pool.fetch(peer.url)).text();
  before = descriptorCount();
});
afterEach(() => checkNothingIsLeft(pool, before), 50_000);
afterAll(async () => {
  await pool.close();
  await peer.close();
});

/** It is refused before anything is sent: no request is counted and none arrives. */
async function refused(url: unknown, init?: object, limit?: string, says?: RegExp): Promise<void> {
  const { started } = await pool.stats();
  const seen = peer.requests().length;
  const error = await rejection(pool.fetch(url as string, init as FetchInit));
  checkRefusal(error, limit, says);
  expect((await pool.stats()).started).toBe(started);
  expect(peer.requests()).toHaveLength(seen);
}

const CONTROLS = [
  '\r\n',
  '\r',
  '\n',
  '\0',
  '\r\nX-Injected: 1',
  '\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n',
  '\x0b',
  '\x7f',
];

describe('78: CR, LF, NUL and other control characters', () => {
  describe.each(CONTROLS)('%j', (text) => {
    test.each([`a${text}b`, `${text}a`, text])(
      'in a header value: %j, unless only blanks stand around it',
      async (value) => {
        await refused(peer.url, { headers: { 'x-value': value } }, 'headers', /x-value/);
        await refused(peer.url, { headers: [['Content-Type', value]], method: 'POST', body: 'b' }, 'headers');
        await refused(peer.url, { headers: { host: value } }, 'headers');
        await refused(peer.url, { headers: { cookie: `a=${value}` } }, 'headers');
      },
    );

    test('in a header name', async () => {
      for (const name of [`a${text}b`, `${text}a`, `a${text}`, text]) {
        await refused(peer.url, { headers: [[name, 'value']] }, 'headers');
        await refused(peer.url, { headers: { [name]: 'value' } }, 'headers');
      }
    });

    test('in a method', async () => {
      for (const method of [`GET${text}`, `${text}GET`, `GE${text}T`, text])
        await refused(peer.url, { method }, 'method');
    });

    test('in the type of a Blob, and of what looks like one', async () => {
      const type = `text/plain${text}`;
      const shape = { size: 1, type, stream: () => new Blob(['x']).stream() };
      await refused(peer.url, { method: 'POST', body: shape }, 'headers');
      // A real Blob drops a type that is not printable ASCII.
      const blob = new Blob(['x'], { type });
      if (blob.type === '') {
        await (await pool.fetch(peer.url, { method: 'POST', body: blob })).text();
        expect(peer.requests().at(-1)).not.toMatch(/content-type|injected/i);
      } else await refused(peer.url, { method: 'POST', body: blob }, 'headers');
    });

    test('in a Request of another class', async () => {
      const like = { url: peer.url, method: 'GET', headers: [] as [string, string][] };
      await refused({ ...like, method: `GET${text}` }, undefined, 'method');
      await refused({ ...like, headers: [['a', `b${text}c`]] }, undefined, 'headers');
      await refused({ ...like, headers: [[`a${text}`, 'c']] }, undefined, 'headers');
    });

    test('in a path they are dropped or escaped, as the URL standard says; in a host refused', async () => {
      const response = await pool.fetch(`${peer.url}a${text}b?c${text}d`);
      expect(await response.text()).toBe('ok');
      const sent = peer.requests().at(-1) ?? '';
      expect(sent).toMatch(
        /^GET \/a[!-~]*b\?c[!-~]*d HTTP\/1\.1\r\nhost: [0-9.:]+\r\naccept-encoding: [a-z, ]+\r\naccept: \*\/\*\r\nuser-agent: shardfetch\r\n\r\n$/,
      );
      await pool.fetch(new URL(`${peer.url}#${text}`));
      expect(peer.requests().at(-1)).toMatch(/^GET \/ HTTP\/1\.1\r\n/);
      if (/[\r\n]/.test(text)) return;
      await refused(`http://a${text}b/`, undefined, 'input');
    });
  });
});

describe('79: characters above U+00FF', () => {
  test.each(['\u010d\u010a', '\u560d\u560a', '\u0100', '€', '😀', '\ud800', '\u2028'])(
    '%j is refused, not cut to a byte',
    async (text) => {
      await refused(peer.url, { headers: { 'x-value': `a${text}b` } }, 'headers');
      await refused(peer.url, { headers: [[`x${text}`, 'b']] }, 'headers');
      await refused(peer.url, { headers: { host: `a${text}` } }, 'headers');
      await refused(peer.url, { method: `GET${text}` }, 'method');
      // In a URL it is UTF-8, escaped.
      const response = await pool.fetch(`${peer.url}${text}`);
      await response.text();
      expect(peer.requests().at(-1)).toMatch(/^GET \/(%[0-9A-F]{2})+ HTTP/);
    },
  );

  test('a character that only becomes a token when its case is changed stays outside', async () => {
    // U+212A is lower-cased to k, U+017F upper-cased to S.
    await refused(peer.url, { headers: [['\u212aeep-alive', 'x']] }, 'headers');
    await refused(peer.url, { method: 'PO\u017fT' }, 'method');
  });
});

describe('80: fields that frame or route, given twice', () => {
  test.each([
    ['Content-Length', 'content-length', '2'],
    ['CONTENT-LENGTH', 'Content-Length', '2'],
    ['Host', 'host', 'a.example'],
    ['host', 'HOST', 'a.example'],
  ])('%s and %s', async (one, two, value) => {
    const headers: [string, string][] = [
      [one, value],
      ['x-between', '1'],
      [two, value],
    ];
    await refused(peer.url, { method: 'POST', body: 'ab', headers }, 'headers', /two/);
    await refused(peer.url, { method: 'POST', body: 'ab', headers: { [one]: value, [two]: value } }, 'headers', /two/);
  });
});

describe('81 and 86: framing and hop-by-hop fields', () => {
  test.each([
    'Connection',
    'Keep-Alive',
    'TE',
    'Trailer',
    'Transfer-Encoding',
    'Upgrade',
    'Expect',
    'HTTP2-Settings',
    'Proxy-Connection',
    'Proxy-Authorization',
    'proxy-authenticate',
    'PROXY-Anything',
  ])("%s is the engine's", async (name) => {
    for (const value of ['close', 'chunked', 'gzip, chunked', 'trailers', '100-continue', '']) {
      await refused(peer.url, { headers: { [name]: value } }, 'headers', new RegExp(name, 'i'));
      await refused(peer.url, { method: 'POST', body: 'b', headers: [[name.toLowerCase(), value]] }, 'headers');
    }
  });

  test('81: a length beside a coding', async () => {
    const headers = { 'Content-Length': '2', 'Transfer-Encoding': 'chunked' };
    await refused(peer.url, { method: 'POST', body: 'ab', headers }, 'headers');
  });
});

describe('82: a length that the body does not keep', () => {
  test.each(['1', '3', '02', '+2', '2, 2', '2.0', '0x2', '99999999999999999999', '-2'])(
    'bytes declared as %j',
    async (length) => {
      await refused(peer.url, { method: 'POST', body: 'ab', headers: { 'content-length': length } }, 'headers');
    },
  );

  test.each(['+2', '2, 2', '2.0', '0x2', '99999999999999999999', '-2', 'x'])(
    'a stream declared as %j',
    async (length) => {
      const headers = { 'content-length': length };
      await refused(peer.url, { method: 'POST', body: pieces('ab'), duplex: 'half', headers }, 'headers');
    },
  );

  async function* pieces(...parts: (string | Uint8Array)[]): AsyncGenerator<string | Uint8Array> {
    for (const part of parts) yield part;
  }

  test.each([
    { what: 'fewer', parts: ['abc'] },
    { what: 'none', parts: [] },
    { what: 'more', parts: ['abcd', 'ef'] },
    { what: 'more at once', parts: ['x'.repeat(70_000)] },
  ])(
    '$what bytes than declared: cut off, the connection gone, nothing beyond the length written',
    async ({ parts }) => {
      const own = await rawPeer([bytes(1_000_000)]);
      const headers = { 'content-length': '5' };
      const error = await rejection(
        pool.fetch(own.url, { method: 'PUT', body: pieces(...parts), duplex: 'half', headers }),
      );
      expect(error).toMatchObject({ name: 'TypeError', code: 'INVALID_ARGUMENT', cause: { limit: 'body' } });
      expect(String((error as Error).cause)).toMatch(/(fewer|more) bytes than the 5/);
      await own.quiet();
      for (const { pending } of own.connections) {
        const sent = pending.slice(pending.indexOf('\r\n\r\n') + 4);
        expect(sent.length).toBeLessThanOrEqual(5);
        expect(parts.join('').startsWith(sent)).toBe(true);
      }
      await own.close();
    },
  );

  test('as declared: held to the byte, without chunks', async () => {
    const headers = { 'content-length': '5' };
    const body = pieces('ab', '', Buffer.from('cde'));
    expect(await (await pool.fetch(peer.url, { method: 'PUT', body, duplex: 'half', headers })).text()).toBe('ok');
    expect(peer.requests().at(-1)).toMatch(/\r\ncontent-length: 5\r\n.*\r\n\r\nabcde$/s);
    expect(peer.requests().at(-1)).not.toMatch(/transfer-encoding/i);
  });
});

describe('85: the Host field', () => {
  test('brackets stay; a zone is no part of a URL', async () => {
    const six = await startPeer('::1', [serve(send(answer('six')))]);
    await (await pool.fetch(six.url)).text();
    expect(six.requests()[0]).toContain(`\r\nhost: [::1]:${six.port}\r\n`);
    await six.close();
    await refused('http://[fe80::1%25lo]/', undefined, 'input');
    await refused('http://[fe80::1%lo]/', undefined, 'input');
  });
});

describe('89: a body that throws midway', () => {
  class Mine extends Error {}

  test.each(['at once', 'after a piece', 'after megabytes'])(
    "%s: the error is the caller's own, the connection is gone",
    async (when) => {
      const own = await rawPeer(when === 'after megabytes' ? [stopReading()] : [bytes(1_000_000)]);
      const mine = new Mine('mine');
      async function* body(): AsyncGenerator<string> {
        if (when === 'after a piece') yield 'piece';
        if (when === 'after megabytes') for (let count = 0; count < 20; count++) yield 'x'.repeat(50_000);
        throw mine;
      }
      expect(await rejection(pool.fetch(own.url, { method: 'POST', body: body(), duplex: 'half' }))).toBe(mine);
      for (const { socket } of own.connections) socket.resume();
      await own.quiet();
      for (const { pending } of own.connections) expect(pending).not.toMatch(/\r\n0\r\n\r\n$/);
      await own.close();
      await checkStats(pool, { inFlight: 0 });
    },
  );

  test('a ReadableStream that errors, and one whose pieces are no bytes', async () => {
    const own = await rawPeer([bytes(1_000_000)]);
    const mine = new Mine('mine');
    const broken = new ReadableStream({
      pull: (controller) => {
        controller.error(mine);
      },
    });
    expect(await rejection(pool.fetch(own.url, { method: 'POST', body: broken, duplex: 'half' }))).toBe(mine);
    for (const piece of [42, {}, null, Symbol('s')]) {
      const body = (async function* (): AsyncGenerator<never> {
        yield piece as never;
      })();
      const error = await rejection(pool.fetch(own.url, { method: 'POST', body, duplex: 'half' }));
      expect(error).toMatchObject({ code: 'INVALID_ARGUMENT' });
    }
    await own.quiet();
    await own.close();
  });

  test('when the response has come already, it is the response that counts', async () => {
    const own = await rawPeer([bytes(100), send(answer('early')), fin()]);
    let go: () => void = () => undefined;
    const wait = new Promise<void>((resolve) => {
      go = resolve;
    });
    async function* body(): AsyncGenerator<string> {
      yield 'x'.repeat(100);
      await wait;
      throw new Mine('late');
    }
    const response = await pool.fetch(own.url, { method: 'POST', body: body(), duplex: 'half' });
    go();
    expect(await response.text()).toBe('early');
    await own.close();
  });
});

test('90: nothing of a request is left in the next one', async () => {
  const plain = `GET / HTTP/1.1\r\nhost: 127.0.0.1:${peer.port}\r\n${DEFAULT_FIELDS}\r\n`;
  const loaded: FetchInit[] = [
    { headers: { authorization: 'Basic c2VjcmV0', cookie: 'a=b', referer: 'http://a/', host: 'other.example' } },
    { method: 'POST', body: 'secret', headers: { 'content-type': 'text/secret', accept: 'none', 'user-agent': 'me' } },
    { method: 'HEAD' },
    { timeouts: { totalMs: 60_000, headMs: 50_000 } },
    { signal: new AbortController().signal },
  ];
  for (const init of loaded) {
    if (init.method !== 'HEAD') await (await pool.fetch(peer.url, init)).text();
    const next = await pool.fetch(peer.url);
    expect(await next.text()).toBe('ok');
    expect(peer.requests().at(-1)).toBe(plain);
    // The same init without what it had.
    await (await pool.fetch(peer.url, { ...init, method: 'GET', headers: {}, body: null })).text();
    expect(peer.requests().at(-1)).toBe(plain);
  }
});

describe('168: bodies whose memory moves, or that have none', () => {
  test.each([
    ['an empty Uint8Array', new Uint8Array(0)],
    ['an empty string', ''],
    ['an empty ArrayBuffer', new ArrayBuffer(0)],
    ['an empty Blob', new Blob([])],
  ])('%s is a body of length 0', async (_, body) => {
    await (await pool.fetch(peer.url, { method: 'POST', body })).text();
    expect(peer.requests().at(-1)).toMatch(/\r\ncontent-length: 0\r\n(.*\r\n)?\r\n$/s);
  });

  test.each([10, 100_000])('a detached buffer of %i bytes is refused', async (size) => {
    const bytes = new Uint8Array(size).fill(120);
    const { buffer } = bytes;
    structuredClone(buffer, { transfer: [buffer] });
    await refused(peer.url, { method: 'POST', body: bytes }, 'body', /transferred/);
    await refused(peer.url, { method: 'POST', body: buffer }, 'body', /transferred/);
  });

  test('a buffer that is detached right after the call was copied before', async () => {
    for (const size of [10, 20_000, 300_000]) {
      const bytes = new Uint8Array(size).fill(120);
      const fetched = pool.fetch(peer.url, { method: 'POST', body: bytes });
      structuredClone(bytes.buffer, { transfer: [bytes.buffer] });
      expect(await (await fetched).text()).toBe('ok');
      expect(
        peer
          .requests()
          .at(-1)
          ?.endsWith(`\r\n\r\n${'x'.repeat(size)}`),
      ).toBe(true);
    }
  });

  test('shared memory is copied, too', async () => {
    const shared = new SharedArrayBuffer(30_000);
    const bytes = new Uint8Array(shared).fill(120);
    const fetched = pool.fetch(peer.url, { method: 'POST', body: shared });
    bytes.fill(121);
    expect(await (await fetched).text()).toBe('ok');
    expect(peer.requests().at(-1)?.endsWith('x'.repeat(30_000))).toBe(true);
  });

  test('a stream with empty pieces, moved pieces and shared pieces', async () => {
    const own = await rawPeer([
      async (connection) => {
        await connection.until((pending) => (pending.endsWith('0\r\n\r\n') ? true : null));
      },
      send(answer('ok')),
    ]);
    async function* body(): AsyncGenerator<Uint8Array | string> {
      yield new Uint8Array(0);
      yield '';
      const piece = new Uint8Array(40_000).fill(97);
      yield piece;
      // The caller may do what it likes with a piece once the next is asked for.
      structuredClone(piece.buffer, { transfer: [piece.buffer] });
      yield new Uint8Array(new SharedArrayBuffer(3)).fill(98);
      yield new Uint8Array(0);
    }
    const response = await pool.fetch(own.url, { method: 'POST', body: body(), duplex: 'half' });
    expect(await response.text()).toBe('ok');
    const [sent = ''] = own.connections.map(({ pending }) => pending);
    expect(sent.match(/\r\n\r\n([\s\S]*)$/)?.[1]).toBe(`9c40\r\n${'a'.repeat(40_000)}\r\n3\r\nbbb\r\n0\r\n\r\n`);
    await own.close();
  });
});

test('168: a piece of a stream that was detached before is refused with a sentence', async () => {
  const own = await rawPeer([bytes(1_000_000)]);
  async function* body(): AsyncGenerator<Uint8Array> {
    const piece = new Uint8Array(10);
    structuredClone(piece.buffer, { transfer: [piece.buffer] });
    yield piece;
  }
  const error = await rejection(pool.fetch(own.url, { method: 'POST', body: body(), duplex: 'half' }));
  expect(error).toMatchObject({ code: 'INVALID_ARGUMENT', cause: { limit: 'body' } });
  await own.quiet();
  await own.close();
});

test('a URL that hides another host behind credentials or a backslash goes where new URL says', async () => {
  const hidden = await pool.fetch(`http://elsewhere.example:80@127.0.0.1:${peer.port}/`);
  await hidden.text();
  expect(peer.requests().at(-1)).toContain(`\r\nhost: 127.0.0.1:${peer.port}\r\n`);
  const response = await pool.fetch(`http:\\\\127.0.0.1:${peer.port}\\a\\b`);
  await response.text();
  expect(peer.requests().at(-1)).toMatch(/^GET \/a\/b HTTP/);
});
