/** What decides where a body ends, against the same grammar written as regular expressions. */

import fc from 'fast-check';
import { expect } from 'vitest';
import {
  EXTENSION_END,
  EXTENSION_REFUSED,
  extensionStart,
  nextExtensionState,
} from '../../src/protocol/http1/chunk-extension.ts';
import {
  isChunked,
  LENGTH_MALFORMED,
  LENGTHS_DIFFER,
  OPTION_CLOSE,
  OPTION_KEEP_ALIVE,
  readConnection,
  readContentLength,
  readKeepAliveTimeout,
} from '../../src/protocol/http1/framing-fields.ts';
import { fuzz } from './fuzz.ts';

const OWS = '[ \\t]*';
const TOKEN = "[!#$%&'*+\\-.^_`|~0-9A-Za-z]+";
const QUOTED = '"(?:[^\\x00-\\x08\\x0a-\\x1f\\x7f"\\\\]|\\\\[^\\x00-\\x08\\x0a-\\x1f\\x7f])*"';
const EXTENSIONS = new RegExp(`^(?:${OWS};${OWS}${TOKEN}(?:${OWS}=${OWS}(?:${TOKEN}|${QUOTED}))?)*\\r`);

/** Text of these pieces, as a value between other bytes. */
const piecesOf = (...pieces: string[]): fc.Arbitrary<string> =>
  fc.array(fc.constantFrom(...pieces), { maxLength: 8 }).map((parts) => parts.join(''));

function read<T>(text: string, reader: (bytes: Uint8Array, start: number, end: number) => T): T {
  const bytes = Buffer.from(`5${text}5`, 'latin1');
  return reader(bytes, 1, bytes.length - 1);
}

fuzz({
  'Content-Length': {
    runs: 2_000,
    property: fc.property(
      piecesOf('0', '5', '55', '007', '9007199254740991', '9007199254740992', ' ', '\t', ',', '+', '-', 'x', '\xb5'),
      (text) => {
        const elements = text.split(',').map((element) => element.replace(/^[ \t]+|[ \t]+$/g, ''));
        const lengths = elements.map(Number).map((one) => (one > Number.MAX_SAFE_INTEGER ? Infinity : one));
        const answer = read(text, readContentLength);
        if (!elements.every((element) => /^[0-9]+$/.test(element))) {
          expect([LENGTH_MALFORMED, LENGTHS_DIFFER]).toContain(answer);
        } else expect(answer).toBe(lengths.every((one) => one === lengths[0]) ? lengths[0] : LENGTHS_DIFFER);
      },
    ) as fc.IRawProperty<unknown>,
  },

  'Transfer-Encoding': {
    runs: 1_000,
    property: fc.property(piecesOf('chunked', 'Chunk', 'CHUNKED', 'ed', ' ', '\t', ',', ';', 'x', 'gzip'), (text) => {
      expect(read(text, isChunked)).toBe(/^[ \t]*chunked[ \t]*$/i.test(text));
    }) as fc.IRawProperty<unknown>,
  },

  Connection: {
    runs: 1_000,
    property: fc.property(piecesOf('close', 'Keep-Alive', 'CLOSE', 'x', ' ', '\t', ',', ',', '-'), (text) => {
      const options = text.split(',').map((option) => option.replace(/^[ \t]+|[ \t]+$/g, '').toLowerCase());
      const expected =
        (options.includes('close') ? OPTION_CLOSE : 0) | (options.includes('keep-alive') ? OPTION_KEEP_ALIVE : 0);
      expect(read(text, readConnection)).toBe(expected);
    }) as fc.IRawProperty<unknown>,
  },

  'Keep-Alive': {
    runs: 1_000,
    property: fc.property(piecesOf('timeout', '=', '5', '99999999999999999999', 'max', ' ', ',', '"', '-'), (text) => {
      const seconds = read(text, readKeepAliveTimeout);
      expect(seconds === -1 || (seconds >= 0 && seconds <= 2_592_000)).toBe(true);
    }) as fc.IRawProperty<unknown>,
  },

  'chunk extensions': {
    runs: 2_000,
    property: fc.property(
      piecesOf(';', ';', 'a', 'bc', '=', '=', '"', '"', '\\', ' ', '\t', '\r', '\n', '\0', '\xff', '(', '\x7f'),
      (text) => {
        const bytes = Buffer.from(`${text}\r`, 'latin1');
        let state = extensionStart(bytes[0] as number);
        for (let at = 1; at < bytes.length && state !== EXTENSION_END && state !== EXTENSION_REFUSED; at++) {
          state = nextExtensionState(state, bytes[at] as number);
        }
        expect(state === EXTENSION_END).toBe(EXTENSIONS.test(`${text}\r`));
      },
    ) as fc.IRawProperty<unknown>,
  },
});
