/** Fields of the text that the parser delivers. */

import { describe, expect, test } from 'vitest';
import { parseHeaderSection, parseTrailerSection, reasonPhrase } from '../../../src/protocol/http1/header-section.ts';
import { isFieldValue, isToken, isVisible } from '../../../src/protocol/http1/tokens.ts';

describe('parseHeaderSection', () => {
  test.each<[string, string, [string, string][]]>([
    ['no fields', 'HTTP/1.1 200 OK\r\n\r\n', []],
    [
      'names in lower case, in order',
      'HTTP/1.1 200 OK\r\nB: 1\r\nA: 2\r\nb: 3\r\n\r\n',
      [
        ['b', '1'],
        ['a', '2'],
        ['b', '3'],
      ],
    ],
    [
      'OWS is dropped, inner blanks stay',
      'HTTP/1.1 200 OK\r\nA:\t b \t c \t\r\nB:c\r\n\r\n',
      [
        ['a', 'b \t c'],
        ['b', 'c'],
      ],
    ],
    [
      'empty values',
      'HTTP/1.1 200 OK\r\nA:\r\nB: \t\r\n\r\n',
      [
        ['a', ''],
        ['b', ''],
      ],
    ],
    ['colons in values', 'HTTP/1.1 200\r\nLocation: http://a:80/\r\n\r\n', [['location', 'http://a:80/']]],
    ['42: obs-text, also at the ends', 'HTTP/1.1 200 OK\r\nA: \xa0\x85\xff\xa0\r\n\r\n', [['a', '\xa0\x85\xff\xa0']]],
    ['names of objects', 'HTTP/1.1 200 OK\r\n__proto__: x\r\n\r\n', [['__proto__', 'x']]],
  ])('%s', (_name, text, fields) => {
    expect(parseHeaderSection(text)).toEqual(fields);
  });

  test('trailers have no status line and no empty line', () => {
    expect(parseTrailerSection('')).toEqual([]);
    expect(parseTrailerSection('A: b\r\nC:d \r\n')).toEqual([
      ['a', 'b'],
      ['c', 'd'],
    ]);
  });
});

test.each([
  ['HTTP/1.1 200 OK\r\n\r\n', 'OK'],
  ['HTTP/1.1 404 Not Found at all\r\nA: b\r\n\r\n', 'Not Found at all'],
  ['HTTP/1.1 200 \r\n\r\n', ''],
  ['HTTP/1.1 200\r\nA: b\r\n\r\n', ''],
  ['HTTP/1.1 200 \xe4\r\n\r\n', '\xe4'],
])('reasonPhrase of %j', (head, reason) => {
  expect(reasonPhrase(head)).toBe(reason);
});

describe('character classes, each of the 256 and some beyond', () => {
  const all = Array.from({ length: 0x140 }, (_, code) => String.fromCharCode(code));
  test.each<[string, (text: string) => boolean, RegExp]>([
    ['isToken', isToken, /^[!#$%&'*+\-.^_`|~0-9A-Za-z]$/],
    ['isFieldValue', isFieldValue, /^[\t\x20-\x7e\x80-\xff]$/],
    ['isVisible', isVisible, /^[!-~]$/],
  ])('%s', (_name, predicate, grammar) => {
    for (const character of all) expect(predicate(character), JSON.stringify(character)).toBe(grammar.test(character));
  });

  test('only a value may be empty', () => {
    expect([isToken(''), isFieldValue(''), isVisible('')]).toEqual([false, true, false]);
  });
});
