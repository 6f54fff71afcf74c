/** What is said to proxies, without sockets: literal bytes both ways, whole and split at every byte. */

import { describe, expect, test } from 'vitest';
import { originOf } from '../../src/protocol/origin.ts';
import { type ProxyPlan, type ProxyRules, resolveProxy } from '../../src/protocol/proxy-options.ts';
import { PLAIN_PLAN } from '../../src/protocol/route-options.ts';
import { routeOf } from '../../src/worker/multi/route.ts';
import { type Dialogue, openDialogue } from '../../src/worker/proxy/dialogue.ts';

function dialogueWith(proxy: string | object, url: string, headBytesMax = 65_536): Dialogue {
  const rules = resolveProxy(proxy) as ProxyRules;
  const route = routeOf(originOf(new URL(url)), { ...PLAIN_PLAN, proxy: rules });
  return openDialogue(rules.http as ProxyPlan, route, headBytesMax);
}

type Bytes = string | readonly number[];

function bytesOf(bytes: Bytes): Buffer {
  return typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : Buffer.from(bytes);
}

/** Hears `answers`, one for each thing said, in pieces that end at `cuts`; answers what was said, and how it ended. */
function hold(dialogue: Dialogue, answers: readonly Bytes[], cut: number): { said: Buffer[]; end: string } {
  const said = [Buffer.from(dialogue.outgoing)];
  let left = cut;
  for (const answer of answers) {
    const whole = bytesOf(answer);
    const pieces = left > 0 && left < whole.length ? [whole.subarray(0, left), whole.subarray(left)] : [whole];
    left -= whole.length;
    let next = 'listen';
    for (const piece of pieces) next = dialogue.receive(piece, 0, piece.length);
    if (next === 'speak') said.push(Buffer.from(dialogue.outgoing));
    else return { said, end: next };
  }
  return { said, end: 'speak' };
}

/** With no cut, and with one at each byte. */
function everyWay(
  make: () => Dialogue,
  answers: readonly Bytes[],
  check: (run: () => ReturnType<typeof hold>) => void,
): void {
  const total = answers.reduce((sum, answer) => sum + answer.length, 0);
  for (let cut = 0; cut < total; cut++) check(() => hold(make(), answers, cut));
}

describe('CONNECT', () => {
  const make = (): Dialogue => dialogueWith('http://user:pass@p:1', 'https://example.org/path');

  test.each([
    ['HTTP/1.1 200 Connection established\r\n\r\n'],
    ['HTTP/1.0 200 OK\r\nServer: x\r\n\r\n'],
    ['HTTP/1.1 204 No Content\r\n\r\n'],
    ['HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n'],
    ['HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'],
    ['HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n'],
    ['HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: many\r\nTransfer-Encoding: gzip, gzip\r\n\r\n'],
    ['HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n'],
  ])('hostile/120 hostile/122 %j opens, split anywhere', (answer) => {
    everyWay(make, [answer], (run) => {
      const { said, end } = run();
      expect(end).toBe('open');
      expect(said.map(String)).toEqual([
        'CONNECT example.org:443 HTTP/1.1\r\nhost: example.org:443\r\nproxy-authorization: Basic dXNlcjpwYXNz\r\n\r\n',
      ]);
    });
  });

  test.each([
    ['hostile/121', 'HTTP/1.1 407 Who?\r\nContent-Length: 9999999\r\n\r\n', { status: 407, limit: 'proxy.username' }],
    ['hostile/121', 'HTTP/1.1 407 Who?\r\nConnection: close\r\n\r\n', { status: 407, limit: 'proxy.username' }],
    ['hostile/121', 'HTTP/1.1 403 No\r\n\r\n', { status: 403, limit: 'proxy' }],
    ['hostile/121', 'HTTP/1.1 302 Found\r\nLocation: http://evil.test/\r\n\r\n', { status: 302 }],
    ['hostile/122', 'HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n', { cause: expect.objectContaining({ code: 'BAD_RESPONSE' }) }],
    ['hostile/122', 'SSH-2.0-OpenSSH\r\n', { cause: expect.objectContaining({ code: 'BAD_RESPONSE' }) }],
    ['hostile/122', '\x05\xff', { cause: expect.objectContaining({ code: 'BAD_RESPONSE' }) }],
  ])('%s %j fails, split anywhere', (_, answer, error) => {
    everyWay(make, [answer], (run) =>
      expect(run).toThrow(expect.objectContaining({ code: 'PROXY_FAILED', phase: 'proxy', ...error })),
    );
  });

  test('hostile/120 what follows the head is the tunnel’s, and there nobody spoke yet', () => {
    const answer = Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello');
    expect(() => make().receive(answer, 0, answer.length)).toThrow(/5 bytes behind its answer/);
  });

  test.each([16 * 1024, 2_000])('hostile/122 a head above 16 KiB, or above the limit, is refused: %i', (limit) => {
    const dialogue = dialogueWith('http://p:1', 'https://example.org/', limit);
    const answer = Buffer.from(`HTTP/1.1 200 OK\r\n${`X-Filler: ${'x'.repeat(80)}\r\n`.repeat(Math.ceil(limit / 90))}`);
    const most = Math.floor(limit * 0.9);
    expect(dialogue.receive(answer, 0, most)).toBe('listen');
    expect(() => dialogue.receive(answer, most, answer.length)).toThrow(
      expect.objectContaining({ code: 'PROXY_FAILED', cause: expect.objectContaining({ code: 'LIMIT_EXCEEDED' }) }),
    );
  });

  test('an IPv6 target has its brackets', () => {
    const { outgoing } = dialogueWith({ url: 'p', tunnel: true }, 'http://[::1]:8080/');
    expect(String(Buffer.from(outgoing))).toBe('CONNECT [::1]:8080 HTTP/1.1\r\nhost: [::1]:8080\r\n\r\n');
  });
});

describe('SOCKS5', () => {
  const NAME = [3, 11, ...Buffer.from('example.org')];
  const GRANTED = [5, 0, 0, 1, 10, 0, 0, 1, 4, 56];
  const plain = (): Dialogue => dialogueWith('socks5://p', 'http://example.org/');
  const secret = (): Dialogue => dialogueWith('socks5h://user:p%C3%A4ss@p', 'https://example.org/');

  test.each([
    ['IPv4', GRANTED],
    ['IPv6', [5, 0, 0, 4, ...Array(16).fill(7), 0, 80]],
    ['a name', [5, 0, 0, 3, 4, 1, 2, 3, 4, 0, 80]],
    ['an empty name', [5, 0, 0, 3, 0, 0, 80]],
  ])('hostile/127 the name goes to the proxy as it is; bound to %s, split anywhere', (_, granted) => {
    everyWay(plain, [[5, 0], granted], (run) => {
      const { said, end } = run();
      expect(end).toBe('open');
      expect(said.map((bytes) => [...bytes])).toEqual([
        [5, 1, 0],
        [5, 1, 0, ...NAME, 0, 80],
      ]);
    });
  });

  test('credentials (RFC 1929), split anywhere', () => {
    everyWay(secret, [[5, 2], [1, 0], GRANTED], (run) => {
      const { said, end } = run();
      expect(end).toBe('open');
      expect(said.map((bytes) => [...bytes])).toEqual([
        [5, 2, 0, 2],
        [1, 4, ...Buffer.from('user'), 5, ...Buffer.from('päss')],
        [5, 1, 0, ...NAME, 1, 187],
      ]);
    });
  });

  test('a proxy that asks for none gets none', () => {
    expect(hold(secret(), [[5, 0], GRANTED], 0).said.length).toBe(2);
  });

  test.each([
    ['http://192.0.2.7:8080/', [1, 192, 0, 2, 7, 31, 144]],
    ['http://[2001:db8::ffff:1]/', [4, 0x20, 1, 0x0d, 0xb8, ...Array(8).fill(0), 0xff, 0xff, 0, 1, 0, 80]],
    ['http://[::ffff:127.0.0.1]/', [4, ...Array(10).fill(0), 0xff, 0xff, 127, 0, 0, 1, 0, 80]],
  ])('an address goes out as one: %s', (url, bytes) => {
    const { said } = hold(dialogueWith('socks5://p', url), [[5, 0]], 0);
    expect([...(said[1] as Buffer)]).toEqual([5, 1, 0, ...bytes]);
  });

  test.each<[string, readonly Bytes[], object]>([
    ['the version of SOCKS4', [[4, 0]], { message: expect.stringMatching(/does not speak SOCKS5/) }],
    ['an HTTP proxy', ['HTTP/1.1 400 Bad Request\r\n\r\n'], { message: expect.stringMatching(/http:\/\//) }],
    ['no acceptable method', [[5, 255]], { limit: 'proxy.username' }],
    ['a method that was not offered', [[5, 2]], { message: expect.stringMatching(/not offered/) }],
    [
      'another version in the reply',
      [
        [5, 0],
        [4, 0],
      ],
      { message: expect.stringMatching(/does not speak SOCKS5/) },
    ],
    [
      'a kind of address that is none',
      [
        [5, 0],
        [5, 0, 0, 2, 1, 1, 1, 1],
      ],
      { message: expect.stringMatching(/kind 2/) },
    ],
    [
      'more than the answer',
      [
        [5, 0],
        [...GRANTED, 1],
      ],
      { message: expect.stringMatching(/1 bytes more/) },
    ],
    ...[1, 2, 3, 4, 5, 6, 7, 8, 9, 255].map((reply): [string, readonly Bytes[], object] => [
      `a short reply ${reply}`,
      [
        [5, 0],
        [5, reply],
      ],
      { status: reply, limit: 'proxy' },
    ]),
  ])('hostile/127 %s fails, split anywhere', (_, answers, error) => {
    const isWhole = (answers.at(-1)?.length ?? 0) > GRANTED.length;
    if (isWhole)
      expect(() => hold(plain(), answers, 0)).toThrow(expect.objectContaining({ code: 'PROXY_FAILED', ...error }));
    else
      everyWay(plain, answers, (run) =>
        expect(run).toThrow(expect.objectContaining({ code: 'PROXY_FAILED', phase: 'proxy', ...error })),
      );
  });

  test('wrong credentials', () => {
    expect(() =>
      hold(
        secret(),
        [
          [5, 2],
          [1, 1],
        ],
        0,
      ),
    ).toThrow(expect.objectContaining({ limit: 'proxy.username' }));
    expect(() =>
      hold(
        secret(),
        [
          [5, 2],
          [1, 1],
        ],
        0,
      ),
    ).not.toThrow(/user:|päss/);
  });

  test('hostile/127 a name above 255 bytes is not asked for', () => {
    expect(() => dialogueWith('socks5://p', `http://${'a'.repeat(63)}.${'b'.repeat(200)}.test/`)).toThrow(
      expect.objectContaining({ code: 'PROXY_FAILED', message: expect.stringMatching(/269 bytes/) }),
    );
    const most = `${'a'.repeat(250)}.test`;
    expect(hold(dialogueWith('socks5://p', `http://${most}/`), [[5, 0]], 0).said[1]?.length).toBe(4 + 1 + 255 + 2);
  });
});
