/**
 * The response parser against the cases of HOSTILE.md, by their numbers: literal bytes in, events out.
 *
 * Every case is played whole, cut in two at every offset, and byte by byte, and must say the same each time.
 */

import { describe, expect, test } from 'vitest';
import { cuts, latin1, play, type Scenario } from './harness.ts';

type Case = [name: string, input: string, events: string[], scenario?: Scenario];

const OK = 'HTTP/1.1 200 OK\r\n';
const BAD_HEAD = ['error BAD_RESPONSE head'];
const CHUNKED = `${OK}Transfer-Encoding: chunked\r\n\r\n`;
const CHUNKED_HEAD = 'head 200 HTTP/1.1 chunked keep';
const BAD_CHUNK = [CHUNKED_HEAD, 'error BAD_RESPONSE body'];

function length(value: string): string {
  return `${OK}Content-Length: ${value}\r\n\r\n`;
}

const FRAMING: Case[] = [
  ['plain: a length', `${length('5')}hello`, ['head 200 HTTP/1.1 length 5 keep', 'body "hello"', 'end']],
  ['plain: a length of 0', length('0'), ['head 200 HTTP/1.1 length 0 keep', 'end']],
  ['plain: leading zeros', `${length('0005')}hello`, ['head 200 HTTP/1.1 length 5 keep', 'body "hello"', 'end']],
  ['1: length, then coding', `${OK}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, BAD_HEAD],
  ['1: coding, then length', `${OK}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n`, BAD_HEAD],
  ['1: both, to a HEAD', `${OK}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n`, BAD_HEAD, { method: 'HEAD' }],
  ['1: both, on a 304', 'HTTP/1.1 304 N\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n', BAD_HEAD],
  ['2: two lengths', `${OK}Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello`, BAD_HEAD],
  ['2: two lengths in a list', `${length('5, 6')}hello`, BAD_HEAD],
  ['2: two lengths, one out of range', `${length('99999999999999999999, 5')}hello`, BAD_HEAD],
  [
    '3: one length twice',
    `${OK}Content-Length: 5\r\ncontent-length: 5\r\n\r\nhello`,
    ['head 200 HTTP/1.1 length 5 keep', 'body "hello"', 'end'],
  ],
  ['3: as a list', `${length('5, 5 ,5')}hello`, ['head 200 HTTP/1.1 length 5 keep', 'body "hello"', 'end']],
  ...['-1', '+5', '0x5', '5 5', '5,', ',5', '5,,5', '', '6badness', '5;', '5.0', '5e0', '"5"', '\xb5', 'a5'].map(
    (value): Case => [`5: length ${JSON.stringify(value)}`, `${length(value)}hello`, BAD_HEAD],
  ),
  ['5: a bad length on a 204', 'HTTP/1.1 204 N\r\nContent-Length: x\r\n\r\n', BAD_HEAD],
  ['6: 2^53 - 1', length('9007199254740991'), ['head 200 HTTP/1.1 length 9007199254740991 keep', 'more']],
  ...['9007199254740992', '9223372036854775808', '18446744073709551616', `1${'0'.repeat(400)}`].flatMap(
    (value): Case[] => [
      [`6: length ${value.slice(0, 24)}`, length(value), BAD_HEAD],
      [
        `6: length ${value.slice(0, 24)} with a limit`,
        length(value),
        ['error LIMIT_EXCEEDED head limits.bodyBytes'],
        { limits: { bodyBytes: 100 } },
      ],
    ],
  ),
  [
    '6: length at the limit',
    `${length('5')}hello`,
    ['head 200 HTTP/1.1 length 5 keep', 'body "hello"', 'end'],
    { limits: { bodyBytes: 5 } },
  ],
  [
    '6: length over the limit',
    `${length('6')}hello!`,
    ['error LIMIT_EXCEEDED head limits.bodyBytes'],
    { limits: { bodyBytes: 5 } },
  ],
  [
    '6: length over the limit, to a HEAD',
    length('6'),
    ['head 200 HTTP/1.1 none 6 keep', 'end'],
    { method: 'HEAD', limits: { bodyBytes: 5 } },
  ],
  [
    '8: FIN after half of the length',
    `${length('10')}hello`,
    ['head 200 HTTP/1.1 length 10 keep', 'body "hello"', 'error INCOMPLETE_BODY body'],
    { fin: true },
  ],
  [
    '8: FIN after the head',
    length('10'),
    ['head 200 HTTP/1.1 length 10 keep', 'error INCOMPLETE_BODY body'],
    { fin: true },
  ],
  [
    '9: bytes after the length',
    `${length('5')}helloHTTP/1.1 200 OK\r\n\r\n`,
    ['head 200 HTTP/1.1 length 5 keep', 'body "hello"', 'end', 'rest 19'],
    { fin: true },
  ],
  ...[
    'chunked, gzip',
    'gzip, chunked',
    'identityx',
    'xchunked',
    'chunkedx',
    'identity',
    'chunked;q=1',
    '"chunked"',
    'chunked,',
    ', chunked',
    '',
  ].map((coding): Case => [`10: coding ${coding}`, `${OK}Transfer-Encoding: ${coding}\r\n\r\n0\r\n\r\n`, BAD_HEAD]),
  ['11: gzip alone', `${OK}Transfer-Encoding: gzip\r\n\r\n`, BAD_HEAD],
  ['12: chunked, chunked', `${OK}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n`, BAD_HEAD],
  ['12: two lines', `${OK}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, BAD_HEAD],
  ['12: in HTTP/1.0', 'HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n', BAD_HEAD],
  ['plain: the names in any case', `${OK}TRANSFER-encoding:\t ChunKed \r\n\r\n0\r\n\r\n`, [CHUNKED_HEAD, 'end']],
  [
    'plain: names of the same length are not framing',
    `${OK}content_length: x\r\nContent-Lengti: x\r\ntransfer-encodinh: x\r\nConnectiom: close\r\nContent-Length: 0\r\n\r\n`,
    ['head 200 HTTP/1.1 length 0 keep', 'end'],
  ],
  ['25: no length at all', `${OK}\r\nhello`, ['head 200 HTTP/1.1 close close', 'body "hello"', 'end'], { fin: true }],
  ['25: nothing before FIN', `${OK}\r\n`, ['head 200 HTTP/1.1 close close', 'end'], { fin: true }],
  ['25: no FIN yet', `${OK}\r\nhello`, ['head 200 HTTP/1.1 close close', 'body "hello"', 'more']],
  [
    '25: at the limit',
    `${OK}\r\nhello`,
    ['head 200 HTTP/1.1 close close', 'body "hello"', 'end'],
    { fin: true, limits: { bodyBytes: 5 } },
  ],
  [
    '25: one over the limit',
    `${OK}\r\nhello!`,
    ['head 200 HTTP/1.1 close close', 'body "hello"', 'error LIMIT_EXCEEDED body limits.bodyBytes'],
    { fin: true, limits: { bodyBytes: 5 } },
  ],
];

const CHUNKS: Case[] = [
  [
    'plain: chunks',
    `${CHUNKED}5\r\nhello\r\nA\r\n, world!!!\r\n0\r\n\r\n`,
    [CHUNKED_HEAD, 'body "hello, world!!!"', 'end'],
  ],
  [
    'plain: sizes with zeros, in any case',
    `${CHUNKED}005\r\nhello\r\n0a\r\n, world!!!\r\n000\r\n\r\n`,
    [CHUNKED_HEAD, 'body "hello, world!!!"', 'end'],
  ],
  ['plain: an empty body', `${CHUNKED}0\r\n\r\n`, [CHUNKED_HEAD, 'end']],
  ['9: bytes after the last chunk', `${CHUNKED}0\r\n\r\nHTTP`, [CHUNKED_HEAD, 'end', 'rest 4']],
  ...[
    '10000000000000000',
    '00000000000000005',
    '20000000000000',
    'fffffffffffffffff',
    '-5',
    '+5',
    '0x5',
    '0_2e',
    '',
    ' 5',
    '5 ',
    '5\t',
    'g',
  ].map(
    (size): Case => [`14: chunk size ${JSON.stringify(size)}`, `${CHUNKED}${size}\r\nhello\r\n0\r\n\r\n`, BAD_CHUNK],
  ),
  ['14: 16 digits', `${CHUNKED}0000000000000005\r\nhello\r\n0\r\n\r\n`, [CHUNKED_HEAD, 'body "hello"', 'end']],
  ['14: 2^53 - 1', `${CHUNKED}1fffffffffffff\r\nhello`, [CHUNKED_HEAD, 'body "hello"', 'more']],
  ['15: LF alone after the size', `${CHUNKED}5\nhello\r\n0\r\n\r\n`, BAD_CHUNK],
  ['15: CR alone after the size', `${CHUNKED}5\rhello\r\n0\r\n\r\n`, BAD_CHUNK],
  ['15: LF alone after an extension', `${CHUNKED}5;a=b\nhello\r\n0\r\n\r\n`, BAD_CHUNK],
  ['15: LF in an extension', `${CHUNKED}5;a\n=b\r\nhello\r\n0\r\n\r\n`, BAD_CHUNK],
  ['15: CR in a quoted extension', `${CHUNKED}5;a="\r\n"\r\nhello\r\n0\r\n\r\n`, BAD_CHUNK],
  ['15: CR escaped in a quoted extension', `${CHUNKED}5;a="\\\r\n"\r\nhello\r\n0\r\n\r\n`, BAD_CHUNK],
  ['15: LF alone after the last size', `${CHUNKED}0\n\r\n`, BAD_CHUNK],
  [
    '15: LF alone after the data',
    `${CHUNKED}5\r\nhello\n0\r\n\r\n`,
    [CHUNKED_HEAD, 'body "hello"', 'error BAD_RESPONSE body'],
  ],
  [
    '16: data longer than its size',
    `${CHUNKED}5\r\nhello!\r\n0\r\n\r\n`,
    [CHUNKED_HEAD, 'body "hello"', 'error BAD_RESPONSE body'],
  ],
  [
    '16: CR without LF after the data',
    `${CHUNKED}5\r\nhello\r0\r\n\r\n`,
    [CHUNKED_HEAD, 'body "hello"', 'error BAD_RESPONSE body'],
  ],
  [
    '16: no CRLF after the data',
    `${CHUNKED}5\r\nhello0\r\n\r\n`,
    [CHUNKED_HEAD, 'body "hello"', 'error BAD_RESPONSE body'],
  ],
  ...[';a', ';a=b', ';a;b', ';a="d;e"', ';a="\\"";b', '; a = b', ' ;\ta', ';a ;b', ';a="" ; c=d', ';a="\t \xff"'].map(
    (extension): Case => [
      `17: extension ${JSON.stringify(extension)}`,
      `${CHUNKED}5${extension}\r\nhello\r\n0${extension}\r\n\r\n`,
      [CHUNKED_HEAD, 'body "hello"', 'end'],
    ],
  ),
  ...[
    ';',
    ';;',
    ';=b',
    ';a=',
    ';a=;',
    ';a b',
    ';a=b c',
    ';a="b',
    ';a="b"c',
    ';a\0',
    ';a="\0"',
    ';a="\x7f"',
    ';a ',
    ';a=b ',
    ' a',
    ';a=@',
    ';\xe4',
  ].map(
    (extension): Case => [
      `17: malformed extension ${JSON.stringify(extension)}`,
      `${CHUNKED}5${extension}\r\nhello\r\n0\r\n\r\n`,
      BAD_CHUNK,
    ],
  ),
  [
    '18: extensions at the limit',
    `${CHUNKED}1;abc\r\nx\r\n1;def\r\ny\r\n0;g\r\n\r\n`,
    [CHUNKED_HEAD, 'body "xy"', 'end'],
    { limits: { chunkExtensionBytes: 10 } },
  ],
  [
    '18: extensions one over the limit',
    `${CHUNKED}1;abc\r\nx\r\n1;def\r\ny\r\n0;gh\r\n\r\n`,
    [CHUNKED_HEAD, 'body "xy"', 'error LIMIT_EXCEEDED body limits.chunkExtensionBytes'],
    { limits: { chunkExtensionBytes: 10 } },
  ],
  [
    '18: one long extension',
    `${CHUNKED}1;${'a'.repeat(16_384)}\r\nx\r\n0\r\n\r\n`,
    [CHUNKED_HEAD, 'error LIMIT_EXCEEDED body limits.chunkExtensionBytes'],
  ],
  [
    '18: a limit of 0',
    `${CHUNKED}1;a\r\nx\r\n0\r\n\r\n`,
    [CHUNKED_HEAD, 'error LIMIT_EXCEEDED body limits.chunkExtensionBytes'],
    { limits: { chunkExtensionBytes: 0 } },
  ],
  ['21: FIN in a size', `${CHUNKED}5`, [CHUNKED_HEAD, 'error INCOMPLETE_BODY body'], { fin: true }],
  [
    '21: FIN in the data',
    `${CHUNKED}5\r\nhel`,
    [CHUNKED_HEAD, 'body "hel"', 'error INCOMPLETE_BODY body'],
    { fin: true },
  ],
  [
    '21: FIN between chunks',
    `${CHUNKED}5\r\nhello\r\n`,
    [CHUNKED_HEAD, 'body "hello"', 'error INCOMPLETE_BODY body'],
    { fin: true },
  ],
  [
    '21: FIN after 0 CRLF',
    `${CHUNKED}5\r\nhello\r\n0\r\n`,
    [CHUNKED_HEAD, 'body "hello"', 'error INCOMPLETE_BODY body'],
    { fin: true },
  ],
  ['21: FIN in a trailer', `${CHUNKED}0\r\nA: b\r\n`, [CHUNKED_HEAD, 'error INCOMPLETE_BODY body'], { fin: true }],
  [
    '22: trailers',
    `${CHUNKED}5\r\nhello\r\n0\r\nA: b\r\nC:d \r\n\r\nrest`,
    [CHUNKED_HEAD, 'body "hello"', 'end "A: b\\r\\nC:d \\r\\n"', 'rest 4'],
  ],
  [
    '22: framing fields among trailers mean nothing',
    `${CHUNKED}5\r\nhello\r\n0\r\nContent-Length: x\r\nTransfer-Encoding: gzip\r\nConnection: close\r\n\r\n`,
    [CHUNKED_HEAD, 'body "hello"', 'end "Content-Length: x\\r\\nTransfer-Encoding: gzip\\r\\nConnection: close\\r\\n"'],
  ],
  ['22: obs-fold in a trailer', `${CHUNKED}0\r\nA: b \r\n\t c\r\n\r\n`, [CHUNKED_HEAD, 'end "A: b c\\r\\n"']],
  ...[
    'A: \0\r\n\r\n',
    'A\r\n\r\n',
    'A : b\r\n\r\n',
    ' A: b\r\n\r\n',
    'A: b\n\r\n',
    ': b\r\n\r\n',
    '\n',
    '\rx',
    'A: b\rc\r\n\r\n',
  ].map((trailers): Case => [`24: trailers ${JSON.stringify(trailers)}`, `${CHUNKED}0\r\n${trailers}`, BAD_CHUNK]),
  [
    '24: trailers at the limit',
    `${CHUNKED}0\r\nA: bcd\r\n\r\n`,
    [CHUNKED_HEAD, 'end "A: bcd\\r\\n"'],
    { limits: { trailerBytes: 8 } },
  ],
  [
    '24: trailers one over the limit',
    `${CHUNKED}0\r\nA: bcde\r\n\r\n`,
    [CHUNKED_HEAD, 'error LIMIT_EXCEEDED body limits.trailerBytes'],
    { limits: { trailerBytes: 8 } },
  ],
  ['24: no trailers, a limit of 0', `${CHUNKED}0\r\n\r\n`, [CHUNKED_HEAD, 'end'], { limits: { trailerBytes: 0 } }],
  [
    '24: endless trailers',
    `${CHUNKED}0\r\n${'Abc: d\r\n'.repeat(2_049)}\r\n`,
    [CHUNKED_HEAD, 'error LIMIT_EXCEEDED body limits.trailerBytes'],
  ],
  [
    'limit: chunks at the limit',
    `${CHUNKED}2\r\nab\r\n3\r\ncde\r\n0\r\n\r\n`,
    [CHUNKED_HEAD, 'body "abcde"', 'end'],
    { limits: { bodyBytes: 5 } },
  ],
  [
    'limit: chunks one over the limit',
    `${CHUNKED}2\r\nab\r\n4\r\ncdef\r\n0\r\n\r\n`,
    [CHUNKED_HEAD, 'body "ab"', 'error LIMIT_EXCEEDED body limits.bodyBytes'],
    { limits: { bodyBytes: 5 } },
  ],
];

const HEADS: Case[] = [
  ...['20', '1000', '-12', 'abc', '000', '099', '2 0', '20x', '', '2000 OK', '\xb200'].map(
    (status): Case => [`27: status ${JSON.stringify(status)}`, `HTTP/1.1 ${status} OK\r\n\r\n`, BAD_HEAD],
  ),
  ['27: LF alone after the status', 'HTTP/1.1 200\n\r\n', BAD_HEAD],
  ['27: HTAB after the status', 'HTTP/1.1 200\tOK\r\n\r\n', BAD_HEAD],
  ['27: status 999', 'HTTP/1.1 999 \r\nContent-Length: 0\r\n\r\n', ['head 999 HTTP/1.1 length 0 keep', 'end']],
  ['29: HTTP/1.2', 'HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n', ['head 200 HTTP/1.1 length 0 keep', 'end']],
  ['29: HTTP/1.9', 'HTTP/1.9 200 OK\r\nContent-Length: 0\r\n\r\n', ['head 200 HTTP/1.1 length 0 keep', 'end']],
  ...[
    'HTTP/1.0123 200',
    'HTTP/2.0 200',
    'HTTP/3 200',
    'HTTP/1 200',
    'HTTP/1. 200',
    'HTTP/01.1 200',
    'http/1.1 200',
    'HTTP/1.1  200',
    'HTTP/1.1\t200',
    'HTTP/1.1\r\n',
    'ICY 200',
    ' HTTP/1.1 200',
  ].map((start): Case => [`29: ${JSON.stringify(start)}`, `${start} OK\r\n\r\n`, BAD_HEAD]),
  ['30: HTTP/0.9', '<html>', BAD_HEAD],
  ['30: refused at the first wrong byte', 'HTTX', BAD_HEAD],
  ['30: CRLF first', `\r\n${length('0')}`, BAD_HEAD],
  ['30: LF first', '\n', BAD_HEAD],
  ['30: TLS', '\x15\x03\x01\x00\x02', BAD_HEAD],
  ['31: no reason, no space', 'HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n', ['head 200 HTTP/1.1 length 0 keep', 'end']],
  ['31: an empty reason', 'HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n', ['head 200 HTTP/1.1 length 0 keep', 'end']],
  [
    '31: any reason',
    'HTTP/1.1 200 \tso \xe4 so\r\nContent-Length: 0\r\n\r\n',
    ['head 200 HTTP/1.1 length 0 keep', 'end'],
  ],
  ['33: bare CR in the reason', 'HTTP/1.1 200 O\rK\r\n\r\n', BAD_HEAD],
  ['33: bare CR after the status', 'HTTP/1.1 200\rX: y\r\n\r\n', BAD_HEAD],
  ['33: bare CR in a name', `${OK}X\rY: z\r\n\r\n`, BAD_HEAD],
  ['33: bare CR in a value', `${OK}X: y\rz\r\n\r\n`, BAD_HEAD],
  ['33: bare CR as a terminator', `${OK}X: y\rY: z\r\r`, BAD_HEAD],
  ['33: CR CR LF', `${OK}X: y\r\r\n\r\n`, BAD_HEAD],
  ['33: bare CR at the end', `${OK}X: y\r\n\rX`, BAD_HEAD],
  ['34: LF alone after the status line', 'HTTP/1.1 200 OK\nX: y\n\n', BAD_HEAD],
  ['34: LF alone after a field', `${OK}X: y\n\r\n`, BAD_HEAD],
  ['34: LF alone after an empty value', `${OK}X:\n\r\n`, BAD_HEAD],
  ['34: LF alone at the end', `${OK}X: y\r\n\n`, BAD_HEAD],
  ['34: LF alone, no fields', `${OK}\n`, BAD_HEAD],
  ['35: NUL in a name', `${OK}X\0: y\r\n\r\n`, BAD_HEAD],
  ...[0, 1, 8, 11, 12, 14, 31, 127].flatMap((code): Case[] => [
    [`35: byte ${code} in a value`, `${OK}X: y${String.fromCharCode(code)}z\r\n\r\n`, BAD_HEAD],
    [`35: byte ${code} first in a value`, `${OK}X:${String.fromCharCode(code)}\r\n\r\n`, BAD_HEAD],
    [`35: byte ${code} in the reason`, `HTTP/1.1 200 ${String.fromCharCode(code)}\r\n\r\n`, BAD_HEAD],
  ]),
  ...[
    'X y\r\n',
    'X\r\n',
    ': y\r\n',
    'X : y\r\n',
    'X\t: y\r\n',
    'X(: y\r\n',
    'X\x80: y\r\n',
    'X,Y: z\r\n',
    '"X": y\r\n',
    '@: y\r\n',
  ].map((line): Case => [`36: line ${JSON.stringify(line)}`, `${OK}${line}\r\n`, BAD_HEAD]),
  ['36: a bad line after a good one', `${OK}A: b\r\nX\r\n\r\n`, BAD_HEAD],
  ['37: SP before the first field', `${OK} X: y\r\n\r\n`, BAD_HEAD],
  ['37: HTAB before the first field', `${OK}\tX: y\r\n\r\n`, BAD_HEAD],
  ['37: SP before the empty line', `${OK} \r\n\r\n`, BAD_HEAD],
  [
    '38: obs-fold',
    `${OK}X: a\r\n b\r\nContent-Length: 2\r\n\r\nok`,
    ['head 200 HTTP/1.1 length 2 keep', JSON.stringify(`${OK}X: a b\r\nContent-Length: 2\r\n\r\n`), 'body "ok"', 'end'],
    { heads: true },
  ],
  [
    '38: obs-folds, blanks around, blank lines, an empty value',
    `${OK}X:\r\n \t a \t\r\n\t b\r\n \r\n\tc \r\n\r\n`,
    ['head 200 HTTP/1.1 close close', JSON.stringify(`${OK}X: a b c \r\n\r\n`), 'more'],
    { heads: true },
  ],
  [
    '38: obs-fold in a length',
    `${OK}Content-Length:\r\n 2\r\n \r\n\r\nok`,
    ['head 200 HTTP/1.1 length 2 keep', 'body "ok"', 'end'],
  ],
  ['38: obs-fold between digits', `${OK}Content-Length: 2\r\n 2\r\n\r\nok`, BAD_HEAD],
  ['38: obs-fold in a coding', `${OK}Transfer-Encoding:\r\n\tchunked\r\n\r\n0\r\n\r\n`, [CHUNKED_HEAD, 'end']],
  ['38: obs-fold with a control byte', `${OK}X: a\r\n \0\r\n\r\n`, BAD_HEAD],
  ['38: obs-fold with LF alone', `${OK}X: a\r\n \n\r\n`, BAD_HEAD],
  [
    '38: obs-fold at the limit',
    `${OK}X: a\r\n    b\r\n\r\n`,
    ['head 200 HTTP/1.1 close close', 'more'],
    { limits: { headBytes: 32 } },
  ],
  [
    '38: obs-fold over the limit',
    `${OK}X: a\r\n     b\r\n\r\n`,
    ['error LIMIT_EXCEEDED head limits.headBytes'],
    { limits: { headBytes: 32 } },
  ],
  [
    '40: a head at the limit',
    `${OK}X: yz\r\n\r\n`,
    ['head 200 HTTP/1.1 close close', 'more'],
    { limits: { headBytes: 26 } },
  ],
  [
    '40: a head one over the limit',
    `${OK}X: yzz\r\n\r\n`,
    ['error LIMIT_EXCEEDED head limits.headBytes'],
    { limits: { headBytes: 26 } },
  ],
  [
    '40: bytes behind a head at the limit',
    `${OK}X: yz\r\n\r\nbody`,
    ['head 200 HTTP/1.1 close close', 'body "body"', 'more'],
    { limits: { headBytes: 26 } },
  ],
  ['40: one long line', `${OK}X: ${'y'.repeat(102_400)}\r\n\r\n`, ['error LIMIT_EXCEEDED head limits.headBytes']],
  ['40: one long name', `${OK}${'y'.repeat(102_400)}: x\r\n\r\n`, ['error LIMIT_EXCEEDED head limits.headBytes']],
  [
    '40: one long reason',
    `HTTP/1.1 200 ${'y'.repeat(102_400)}\r\n\r\n`,
    ['error LIMIT_EXCEEDED head limits.headBytes'],
  ],
  ['40: 5,001 fields', `${OK}${'A: b\r\n'.repeat(5_001)}\r\n`, ['error LIMIT_EXCEEDED head limits.headerCount']],
  [
    '40: fields at the limit',
    `${OK}${'A:\r\n'.repeat(3)}\r\n`,
    ['head 200 HTTP/1.1 close close', 'more'],
    { limits: { headerCount: 3 } },
  ],
  [
    '40: fields one over the limit',
    `${OK}${'A:\r\n'.repeat(4)}\r\n`,
    ['error LIMIT_EXCEEDED head limits.headerCount'],
    { limits: { headerCount: 3 } },
  ],
  [
    '40: endless obs-fold',
    `${OK}X: y\r\n${' \r\n'.repeat(30_000)}\r\n`,
    ['error LIMIT_EXCEEDED head limits.headBytes'],
  ],
  ['40: endless blanks', `${OK}X: y\r\n${' '.repeat(70_000)}\r\n\r\n`, ['error LIMIT_EXCEEDED head limits.headBytes']],
  [
    '42: obs-text',
    `${OK}X: \x80\xa0\xff\r\nContent-Length: 0\r\n\r\n`,
    ['head 200 HTTP/1.1 length 0 keep', JSON.stringify(`${OK}X: \x80\xa0\xff\r\nContent-Length: 0\r\n\r\n`), 'end'],
    { heads: true },
  ],
  ['44: FIN before any byte', '', ['error CONNECTION_LOST head'], { fin: true }],
  ['44: FIN in the status line', 'HTTP/1.1 200', ['error CONNECTION_LOST head'], { fin: true }],
  ['44: FIN before the empty line', `${OK}X: y\r\n`, ['error CONNECTION_LOST head'], { fin: true }],
  ['44: FIN in the empty line', `${OK}X: y\r\n\r`, ['error CONNECTION_LOST head'], { fin: true }],
];

const INTERIM: Case[] = [
  ...[100, 102, 103, 104, 199].map(
    (status): Case => [
      `47: ${status}`,
      `HTTP/1.1 ${status} Wait\r\nX: y\r\n\r\n${length('0')}`,
      [`interim ${status}`, 'head 200 HTTP/1.1 length 0 keep', 'end'],
    ],
  ),
  [
    '47: several, with their heads',
    `HTTP/1.1 100\r\n\r\nHTTP/1.1 103 E\r\nLink: a\r\n b\r\n\r\n${length('0')}`,
    [
      'interim 100 "HTTP/1.1 100\\r\\n\\r\\n"',
      'interim 103 "HTTP/1.1 103 E\\r\\nLink: a b\\r\\n\\r\\n"',
      'head 200 HTTP/1.1 length 0 keep',
      JSON.stringify(length('0')),
      'end',
    ],
    { heads: true },
  ],
  ['47: FIN after it', 'HTTP/1.1 100 Continue\r\n\r\n', ['interim 100', 'error CONNECTION_LOST head'], { fin: true }],
  [
    '48: endless 1xx',
    'HTTP/1.1 103 E\r\n\r\n'.repeat(4_000),
    [...Array(3_640).fill('interim 103'), 'error LIMIT_EXCEEDED head limits.headBytes'],
  ],
  [
    '48: fields of all heads count',
    `HTTP/1.1 103 E\r\nA:\r\nB:\r\n\r\n${OK}C:\r\nD:\r\n\r\n`,
    ['interim 103', 'error LIMIT_EXCEEDED head limits.headerCount'],
    { limits: { headerCount: 3 } },
  ],
  [
    '48: bytes of all heads at the limit',
    `HTTP/1.1 103 E\r\n\r\n${length('0')}`,
    ['interim 103', 'head 200 HTTP/1.1 length 0 keep', 'end'],
    { limits: { headBytes: 18 + 38 } },
  ],
  [
    '48: bytes of all heads one over the limit',
    `HTTP/1.1 103 E\r\n\r\n${length('0')}`,
    ['interim 103', 'error LIMIT_EXCEEDED head limits.headBytes'],
    { limits: { headBytes: 18 + 37 } },
  ],
  [
    '49: framing fields on a 1xx',
    `HTTP/1.1 103 E\r\nContent-Length: x\r\nTransfer-Encoding: gzip\r\nConnection: close\r\nKeep-Alive: timeout=3\r\n\r\n${length('0')}`,
    ['interim 103', 'head 200 HTTP/1.1 length 0 keep', 'end'],
  ],
  ['50: HEAD with a length', length('555'), ['head 200 HTTP/1.1 none 555 keep', 'end'], { method: 'HEAD' }],
  ['50: HEAD with chunked', CHUNKED, ['head 200 HTTP/1.1 none keep', 'end'], { method: 'HEAD' }],
  ['50: HEAD with neither', `${OK}\r\n`, ['head 200 HTTP/1.1 none keep', 'end'], { method: 'HEAD' }],
  [
    '50: HEAD with body bytes',
    `${length('5')}hello`,
    ['head 200 HTTP/1.1 none 5 keep', 'end', 'rest 5'],
    { method: 'HEAD' },
  ],
  [
    '50: a 1xx to a HEAD',
    `HTTP/1.1 100 C\r\n\r\n${length('5')}`,
    ['interim 100', 'head 200 HTTP/1.1 none 5 keep', 'end'],
    { method: 'HEAD' },
  ],
  ...[204, 304].flatMap((status): Case[] => [
    [
      `51: ${status} with a length`,
      `HTTP/1.1 ${status} N\r\nContent-Length: 5\r\n\r\n`,
      [`head ${status} HTTP/1.1 none 5 keep`, 'end'],
    ],
    [
      `51: ${status} with chunked`,
      `HTTP/1.1 ${status} N\r\nTransfer-Encoding: chunked\r\n\r\n`,
      [`head ${status} HTTP/1.1 none keep`, 'end'],
    ],
    [`51: ${status} with neither`, `HTTP/1.1 ${status} N\r\n\r\n`, [`head ${status} HTTP/1.1 none keep`, 'end']],
    [
      `51: ${status} with bytes after it`,
      `HTTP/1.1 ${status} N\r\n\r\nhello`,
      [`head ${status} HTTP/1.1 none keep`, 'end', 'rest 5'],
    ],
  ]),
  [
    '51: 205 has a body as others do',
    'HTTP/1.1 205 R\r\nContent-Length: 1\r\n\r\nx',
    ['head 205 HTTP/1.1 length 1 keep', 'body "x"', 'end'],
  ],
  [
    '37: a blank before the first field of the head after a 1xx',
    `HTTP/1.1 103 E\r\nA: b\r\n\r\n${OK} X: y\r\n\r\n`,
    ['interim 103', 'error BAD_RESPONSE head'],
  ],
  ['53: 101', 'HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n', BAD_HEAD],
];

const KEEPING: Case[] = [
  ['69: close', `${OK}Connection: close\r\nContent-Length: 0\r\n\r\n`, ['head 200 HTTP/1.1 length 0 close', 'end']],
  [
    '69: close in a list, in any case',
    `${OK}connection: foo ,\tCLOSE\r\nContent-Length: 0\r\n\r\n`,
    ['head 200 HTTP/1.1 length 0 close', 'end'],
  ],
  [
    '69: close on a second line',
    `${OK}Connection: keep-alive\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`,
    ['head 200 HTTP/1.1 length 0 close', 'end'],
  ],
  [
    '69: options that only look like close',
    `${OK}Connection: closed, xclose, clos\r\nContent-Length: 0\r\n\r\n`,
    ['head 200 HTTP/1.1 length 0 keep', 'end'],
  ],
  ['69: HTTP/1.0', 'HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n', ['head 200 HTTP/1.0 length 0 close', 'end']],
  [
    '69: HTTP/1.0 with keep-alive',
    'HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 0\r\n\r\n',
    ['head 200 HTTP/1.0 length 0 keep', 'end'],
  ],
  [
    '69: HTTP/1.0 with both',
    'HTTP/1.0 200 OK\r\nConnection: Keep-Alive, close\r\nContent-Length: 0\r\n\r\n',
    ['head 200 HTTP/1.0 length 0 close', 'end'],
  ],
  [
    '69: HTTP/1.0 with keep-alive, close-delimited',
    'HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\nx',
    ['head 200 HTTP/1.0 close close', 'body "x"', 'end'],
    { fin: true },
  ],
  ['69: HEAD and close', `${OK}Connection: close\r\n\r\n`, ['head 200 HTTP/1.1 none close', 'end'], { method: 'HEAD' }],
  ...(
    [
      ['timeout=5', ' timeout=5'],
      ['timeout=5, max=100', ' timeout=5'],
      ['max=100 , Timeout=7 ', ' timeout=7'],
      ['timeout=0', ' timeout=0'],
      ['timeout=99999999999999999999', ' timeout=2592000'],
      ['timeout=', ''],
      ['timeout=x', ''],
      ['timeout=-5', ''],
      ['timeouts=5', ''],
      ['', ''],
    ] as const
  ).map(
    ([value, shown]): Case => [
      `keep-alive: ${value}`,
      `${OK}Keep-Alive: ${value}\r\nContent-Length: 0\r\n\r\n`,
      [`head 200 HTTP/1.1 length 0 keep${shown}`, 'end'],
    ],
  ),
];

describe.each([
  ['body framing (HOSTILE A)', FRAMING],
  ['chunked coding (HOSTILE A)', CHUNKS],
  ['status line and fields (HOSTILE B)', HEADS],
  ['interim and bodiless responses (HOSTILE C)', INTERIM],
  ['keeping the connection (HOSTILE D)', KEEPING],
])('%s', (_title, cases) => {
  // The longest inputs take some seconds on a machine that does nothing else.
  test.each(cases)('%s', { timeout: 180_000 }, (_name, input, events, scenario) => {
    const bytes = latin1(input);
    expect(play([bytes], scenario)).toEqual(events);
    for (const reads of cuts(bytes)) {
      const seen = play(reads, scenario);
      if (seen.join('\n') !== events.join('\n')) {
        expect(seen, `in ${reads.length} reads, the first of ${reads[0].length} bytes`).toEqual(events);
      }
    }
  });
});

describe('HOSTILE 44: FIN after any byte', () => {
  const responses: [string, string][] = [
    ['a length', `HTTP/1.1 103 E\r\nLink: x\r\n\r\n${OK}X: a\r\n b\r\nContent-Length: 5\r\n\r\nhello`],
    ['chunks and trailers', `${CHUNKED}5;a="b"\r\nhello\r\n3\r\n...\r\n0\r\nA: b\r\n\r\n`],
  ];
  test.each(responses)('%s: never a clean end', (_name, input) => {
    const bytes = latin1(input);
    for (let at = 0; at < bytes.length; at++) {
      const events = play([bytes.subarray(0, at)], { fin: true });
      const head = events.some((event) => event.startsWith('head'));
      expect(events.at(-1), `after ${at} bytes`).toBe(
        head ? 'error INCOMPLETE_BODY body' : 'error CONNECTION_LOST head',
      );
      expect(events).not.toContain('end');
    }
    expect(play([bytes], { fin: true }).at(-1)).toMatch(/^end/);
  });
});
