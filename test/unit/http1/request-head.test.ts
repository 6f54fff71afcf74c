/** What is sent, byte for byte, and what is refused before it could be (HOSTILE E). */

import { describe, expect, test } from 'vitest';
import { TransferError } from '../../../src/protocol/errors.ts';
import {
  CHUNKED_BODY,
  checkHeader,
  composeRequestHead,
  NO_BODY,
  normalizeHeaderValue,
  normalizeMethod,
  type RequestHead,
} from '../../../src/protocol/http1/request-head.ts';

const GET: RequestHead = { method: 'GET', target: '/a?b', host: 'example.org', headers: [], bodyBytes: NO_BODY };
const DEFAULTS = 'accept: */*\r\nuser-agent: shardfetch\r\n';

function refusal(action: () => unknown): [option: string | undefined, message: string] {
  try {
    action();
  } catch (error) {
    if (!TransferError.is(error)) throw error;
    expect(error.code).toBe('INVALID_ARGUMENT');
    expect(error.phase).toBe('arguments');
    return [error.limit, error.message];
  }
  throw new Error('nothing was refused');
}

describe('composeRequestHead', () => {
  test.each<[string, Partial<RequestHead>, string]>([
    ['the least', {}, `GET /a?b HTTP/1.1\r\nhost: example.org\r\n${DEFAULTS}\r\n`],
    ['*', { method: 'OPTIONS', target: '*' }, `OPTIONS * HTTP/1.1\r\nhost: example.org\r\n${DEFAULTS}\r\n`],
    [
      'a whole URL, an IPv6 host with port',
      { target: 'http://[::1]:8080/', host: '[::1]:8080' },
      `GET http://[::1]:8080/ HTTP/1.1\r\nhost: [::1]:8080\r\n${DEFAULTS}\r\n`,
    ],
    [
      "the caller's fields, in order and as written, before ours",
      {
        headers: [
          ['X-B', '1'],
          ['x-a', '2'],
          ['X-B', '3'],
          ['Empty', ''],
        ],
      },
      `GET /a?b HTTP/1.1\r\nhost: example.org\r\nX-B: 1\r\nx-a: 2\r\nX-B: 3\r\nEmpty: \r\n${DEFAULTS}\r\n`,
    ],
    [
      'the defaults give way, in any case',
      {
        headers: [
          ['ACCEPT', 'text/html'],
          ['User-agent', 'x'],
        ],
      },
      'GET /a?b HTTP/1.1\r\nhost: example.org\r\nACCEPT: text/html\r\nUser-agent: x\r\n\r\n',
    ],
    [
      "the caller's Host takes the place of ours, first",
      {
        headers: [
          ['A', 'b'],
          ['HOST', ' other.example:81 '],
        ],
      },
      `GET /a?b HTTP/1.1\r\nhost: other.example:81\r\nA: b\r\n${DEFAULTS}\r\n`,
    ],
    [
      'blanks around a value are dropped, obs-text and inner blanks stay',
      { headers: [['A', ' \t b \t c\xa0 ']] },
      `GET /a?b HTTP/1.1\r\nhost: example.org\r\nA: b \t c\xa0\r\n${DEFAULTS}\r\n`,
    ],
    [
      'the method normalised',
      { method: 'post', bodyBytes: 3 },
      `POST /a?b HTTP/1.1\r\nhost: example.org\r\n${DEFAULTS}content-length: 3\r\n\r\n`,
    ],
    ...['POST', 'PUT', 'PATCH'].map((method): [string, Partial<RequestHead>, string] => [
      `${method} without a body`,
      { method },
      `${method} /a?b HTTP/1.1\r\nhost: example.org\r\n${DEFAULTS}content-length: 0\r\n\r\n`,
    ]),
    ...['HEAD', 'DELETE', 'OPTIONS', 'patch', 'PURGE'].map((method): [string, Partial<RequestHead>, string] => [
      `${method} without a body`,
      { method },
      `${method} /a?b HTTP/1.1\r\nhost: example.org\r\n${DEFAULTS}\r\n`,
    ]),
    [
      'an empty body',
      { method: 'DELETE', bodyBytes: 0 },
      `DELETE /a?b HTTP/1.1\r\nhost: example.org\r\n${DEFAULTS}content-length: 0\r\n\r\n`,
    ],
    [
      'a body of unknown length',
      { method: 'PUT', bodyBytes: CHUNKED_BODY },
      `PUT /a?b HTTP/1.1\r\nhost: example.org\r\n${DEFAULTS}transfer-encoding: chunked\r\n\r\n`,
    ],
    [
      "the caller's length, when it is right",
      { method: 'PUT', bodyBytes: 5, headers: [['Content-Length', '5']] },
      `PUT /a?b HTTP/1.1\r\nhost: example.org\r\nContent-Length: 5\r\n${DEFAULTS}\r\n`,
    ],
    [
      "the caller's length of no body",
      { method: 'POST', headers: [['Content-Length', '0']] },
      `POST /a?b HTTP/1.1\r\nhost: example.org\r\nContent-Length: 0\r\n${DEFAULTS}\r\n`,
    ],
  ])('%s', (_name, request, expected) => {
    expect(composeRequestHead({ ...GET, ...request })).toBe(expected);
  });

  test.each<[string, Partial<RequestHead>, string]>([
    [
      '80: two Hosts',
      {
        headers: [
          ['Host', 'a'],
          ['hOST', 'a'],
        ],
      },
      'two Host headers',
    ],
    [
      '80: two lengths',
      {
        bodyBytes: 5,
        headers: [
          ['Content-Length', '5'],
          ['content-length', '5'],
        ],
      },
      'two Content-Length headers',
    ],
    [
      '81: a length and a coding',
      {
        bodyBytes: 5,
        headers: [
          ['Content-Length', '5'],
          ['Transfer-Encoding', 'chunked'],
        ],
      },
      'Transfer-Encoding',
    ],
    ['82: another length', { bodyBytes: 5, headers: [['Content-Length', '6']] }, 'says "6", but the body has 5 bytes'],
    ['82: a length of no body', { headers: [['Content-Length', '6']] }, 'says "6", but the body has 0 bytes'],
    ['82: a length of an unknown length', { bodyBytes: CHUNKED_BODY, headers: [['Content-Length', '6']] }, 'not known'],
    ...['+5', '05', '5, 5', '5 5', '0x5', '', '5.0'].map((value): [string, Partial<RequestHead>, string] => [
      `82: length ${JSON.stringify(value)}`,
      { bodyBytes: 5, headers: [['Content-Length', value]] },
      'but the body has 5 bytes',
    ]),
    ['84: userinfo in Host', { headers: [['Host', 'user:secret@example.org']] }, 'not a host and port'],
    ['84: userinfo in the host', { host: 'user@example.org' }, 'not a host and port'],
    ['a path in Host', { headers: [['Host', 'example.org/x']] }, 'not a host and port'],
  ])('refuses %s', (_name, request, sentence) => {
    const [option, message] = refusal(() => composeRequestHead({ ...GET, ...request }));
    expect(option).toBe('headers');
    expect(message).toContain(sentence);
  });

  const INJECTIONS = [
    '\r\n',
    '\r',
    '\n',
    '\0',
    '\r\nX-Injected: 1\r\n\r\n',
    '\x01',
    '\x0b',
    '\x7f',
    '\u010d\u010a',
    '\u560a',
    '\u2028',
    '\u{1f600}',
  ];
  const PLACES: [string, string | undefined, (text: string) => Partial<RequestHead>][] = [
    ['the method', 'method', (text) => ({ method: text })],
    ['the target', 'url', (text) => ({ target: text })],
    ['the host', 'headers', (text) => ({ host: text })],
    ['Host', 'headers', (text) => ({ headers: [['Host', text]] })],
    ['a name', 'headers', (text) => ({ headers: [[text, 'value']] })],
    ['a value', 'headers', (text) => ({ headers: [['X', text]] })],
    ['Content-Type', 'headers', (text) => ({ headers: [['Content-Type', text]] })],
    ['Content-Length', 'headers', (text) => ({ headers: [['Content-Length', text]] })],
  ];
  describe.each(PLACES)('78, 79: injection into %s', (_name, option, place) => {
    test.each(INJECTIONS)('%j', (injection) => {
      for (const text of [injection, `a${injection}`, `${injection}a`, `a${injection}b`, ` ${injection} `]) {
        expect(refusal(() => composeRequestHead({ ...GET, ...place(text) }))[0]).toBe(option);
      }
    });
  });

  test('78: every code unit in every place: what passes is one request of the lines that were asked for', () => {
    for (let code = 0; code <= 0x2_00; code++) {
      const character = String.fromCharCode(code);
      for (const [, , place] of PLACES) {
        let head: string;
        try {
          head = composeRequestHead({ ...GET, ...place(`a${character}b`) });
        } catch (error) {
          expect(TransferError.is(error)).toBe(true);
          continue;
        }
        expect(head).toMatch(
          /^[!-~]+ [!-~]+ HTTP\/1\.1\r\nhost: [!-~]*\r\n([!-9;-~]+: [\t -~\x80-\xff]*\r\n){2,3}\r\n$/,
        );
      }
    }
  });

  test('a target is not empty and has no blanks', () => {
    for (const target of ['', ' ', '/a b', '/\t', '/\xe4']) {
      expect(refusal(() => composeRequestHead({ ...GET, target }))[0]).toBe('url');
    }
  });
});

describe('checkHeader', () => {
  test.each([
    'Transfer-Encoding',
    'Connection',
    'keep-alive',
    'TE',
    'Trailer',
    'UPGRADE',
    'Expect',
    'HTTP2-Settings',
    'Proxy-Authorization',
    'proxy-connection',
    'Proxy-X',
  ])('86: refuses %s, by its name and with a reason', (name) => {
    const [option, message] = refusal(() => checkHeader(name, 'x'));
    expect(option).toBe('headers');
    expect(message).toMatch(new RegExp(`^The header ${name} cannot be set: .{20,}\\.$`));
    expect(refusal(() => composeRequestHead({ ...GET, headers: [[name, 'x']] }))[0]).toBe('headers');
  });

  test('says what to give in the place of Expect and Upgrade', () => {
    expect(refusal(() => checkHeader('Expect', '100-continue'))[1]).toContain('the option expectContinue');
    expect(refusal(() => checkHeader('Upgrade', 'websocket'))[1]).toContain('the option upgrade');
  });

  test('names the field and the character, and not the value, which may be a secret', () => {
    const [, message] = refusal(() => checkHeader('Authorization', 'Bearer secret\n'));
    expect(message).toBe('The value of the header Authorization has "\\n", which is a control character.');
    expect(refusal(() => checkHeader('X', 'é\u0119'))[1]).toBe(
      'The value of the header X has "\\u0119", which is above U+00FF: encode it first.',
    );
  });

  test.each(['', 'a b', 'a:', 'a\r\n', '\xe4', '\u212aeep-Alive', '"a"'])('refuses the name %j', (name) => {
    expect(refusal(() => checkHeader(name, 'x'))[1]).toContain('is not a token');
  });

  test.each([
    ['X', ''],
    ['x-y', ' padded\t'],
    ["!#$%&'*+-.^_`|~09azAZ", '\t !~\x80\xff'],
    ['Cookie', 'a=b; c="d"'],
    ['Expect-CT', 'x'],
  ])('takes %j: %j', (name, value) => {
    expect(() => checkHeader(name, value)).not.toThrow();
  });
});

describe('normalizeMethod', () => {
  test.each([
    ['get', 'GET'],
    ['Head', 'HEAD'],
    ['delete', 'DELETE'],
    ['options', 'OPTIONS'],
    ['pOST', 'POST'],
    ['put', 'PUT'],
    ['GET', 'GET'],
    ['patch', 'patch'],
    ['PATCH', 'PATCH'],
    ['query', 'query'],
    ['M-SEARCH', 'M-SEARCH'],
  ])('%s is sent as %s', (method, expected) => {
    expect(normalizeMethod(method)).toBe(expected);
  });

  test.each([
    'CONNECT',
    'connect',
    'TRACE',
    'Trace',
    'TRACK',
    'tracK',
    '',
    ' GET',
    'GET ',
    'G T',
    'GET\r\n',
    'G\u0130T',
    '\xe4',
  ])('refuses %j', (method) => {
    expect(refusal(() => normalizeMethod(method))[0]).toBe('method');
  });
});

test('normalizeHeaderValue drops SP and HTAB, and leaves what is to be refused', () => {
  expect(normalizeHeaderValue(' \ta b\t ')).toBe('a b');
  expect(normalizeHeaderValue(' \t ')).toBe('');
  expect(normalizeHeaderValue('a\r\n')).toBe('a\r\n');
  expect(normalizeHeaderValue('\xa0a\xa0')).toBe('\xa0a\xa0');
});
