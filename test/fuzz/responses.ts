/** Responses to feed parsers with: good ones with what is in them, nearly good ones, and broken ones. As latin-1 text. */

import fc from 'fast-check';

/** A response that is right by the grammar, and what it says. */
export interface GoodResponse {
  text: string;
  method: string;
  status: number;
  fields: [name: string, value: string][];
  body: string;
  trailers: [name: string, value: string][];
  fin: boolean;
}

const TOKEN_CHARACTERS = "!#$%&'*+-.^_`|~0123456789ABCXYZabcxyz";
const FRAMING = new Set(['content-length', 'transfer-encoding', 'connection', 'keep-alive', 'trailer', 'upgrade']);

const latin1Character = (characters: string): fc.Arbitrary<string> => fc.constantFrom(...characters);

export const token = fc.string({ unit: latin1Character(TOKEN_CHARACTERS), minLength: 1, maxLength: 12 });

const fieldByte = fc.oneof(
  { weight: 8, arbitrary: fc.integer({ min: 0x21, max: 0x7e }) },
  { weight: 1, arbitrary: fc.integer({ min: 0x80, max: 0xff }) },
  { weight: 2, arbitrary: fc.constantFrom(0x20, 0x09) },
);
/** Field content without blanks at its ends. */
const fieldValue = fc
  .array(fieldByte, { maxLength: 20 })
  .map((bytes) => String.fromCharCode(...bytes).replace(/^[ \t]+|[ \t]+$/g, ''));
const blanks = fc.constantFrom('', ' ', ' ', ' ', '\t', ' \t ');

const plainName = token.filter((name) => !FRAMING.has(name.toLowerCase()));
const field = fc.tuple(plainName, fieldValue);

const bodyText = fc
  .oneof(
    fc.uint8Array({ maxLength: 40 }),
    fc.uint8Array({ maxLength: 3 }),
    fc.uint8Array({ minLength: 200, maxLength: 600 }),
  )
  .map((bytes) => Buffer.from(bytes).toString('latin1'));

const quoted = fc
  .array(fc.constantFrom('a', ' ', ';', '=', '\\"', '\\\\', '\\a', '\t', '\xff', "'"), { maxLength: 5 })
  .map((parts) => `"${parts.join('')}"`);
const extension = fc
  .array(fc.tuple(blanks, blanks, token, fc.option(fc.tuple(blanks, blanks, fc.oneof(token, quoted)))), {
    maxLength: 2,
  })
  .map((extensions) =>
    extensions
      .map(([before, after, name, value]) => {
        const assigned = value === null ? '' : `${value[0]}=${value[1]}${value[2]}`;
        return `${before};${after}${name}${assigned}`;
      })
      .join(''),
  );

function caseOf(text: string, mask: number): string {
  return [...text].map((character, at) => ((mask >> (at % 16)) & 1 ? character.toUpperCase() : character)).join('');
}

function lines(fields: [string, string][], blank: string): string {
  return fields.map(([name, value]) => `${name}:${blank}${value}${blank}\r\n`).join('');
}

/** The body in chunks, as the sizes of `cuts` say. */
function inChunks(body: string, cuts: number[], extensions: string[], zeros: number): string {
  let text = '';
  let at = 0;
  for (let index = 0; at < body.length; index++) {
    const size = Math.min(1 + (cuts[index % Math.max(cuts.length, 1)] ?? body.length), body.length - at);
    text += `${'0'.repeat(zeros)}${size.toString(16)}${extensions[index % Math.max(extensions.length, 1)] ?? ''}\r\n`;
    text += `${body.slice(at, at + size)}\r\n`;
    at += size;
  }
  return `${text}${'0'.repeat(1 + zeros)}${extensions[0] ?? ''}\r\n`;
}

const framingKind = fc.constantFrom('length', 'chunked', 'close', 'none-by-method', 'none-by-status');

export const goodResponse: fc.Arbitrary<GoodResponse> = fc
  .record({
    kind: framingKind,
    status: fc.oneof(
      fc.constantFrom(200, 206, 301, 404, 500),
      fc.integer({ min: 200, max: 999 }).filter((code) => code !== 204 && code !== 304),
    ),
    reason: fc.option(fieldValue),
    fields: fc.array(field, { maxLength: 6 }),
    trailers: fc.array(field, { maxLength: 2 }),
    body: bodyText,
    blank: blanks,
    cuts: fc.array(fc.integer({ min: 0, max: 30 }), { maxLength: 4 }),
    extensions: fc.array(extension, { maxLength: 3 }),
    zeros: fc.constantFrom(0, 0, 0, 3),
    mask: fc.integer({ min: 0, max: 0xffff }),
    place: fc.nat(6),
    connection: fc.constantFrom(null, null, 'close', 'keep-alive', 'Keep-Alive, x', 'x,close'),
    interim: fc.array(fc.constantFrom('100 Continue', '103 Early Hints', '102 P', '199'), { maxLength: 2 }),
    bodiless: fc.constantFrom(204, 304),
  })
  .map((parts) => {
    const { kind, fields, blank, mask, body } = parts;
    const status = kind === 'none-by-status' ? parts.bodiless : parts.status;
    const all: [string, string][] = [...fields];
    const insert = (name: string, value: string): void => {
      all.splice(Math.min(parts.place, all.length), 0, [caseOf(name, mask), value]);
    };
    if (kind === 'length') insert('content-length', String(body.length));
    else if (kind === 'chunked') insert('transfer-encoding', caseOf('chunked', mask));
    if (parts.connection !== null) insert('connection', parts.connection);
    const reason = parts.reason === null ? '' : ` ${parts.reason}`;
    let text = parts.interim.map((line) => `HTTP/1.1 ${line}\r\n${lines(fields.slice(0, 2), blank)}\r\n`).join('');
    text += `HTTP/1.1 ${status}${reason}\r\n${lines(all, blank)}\r\n`;
    const trailers: [string, string][] = kind === 'chunked' ? parts.trailers : [];
    if (kind === 'chunked') {
      text += `${inChunks(body, parts.cuts, parts.extensions, parts.zeros)}${lines(trailers, blank)}\r\n`;
    } else if (!kind.startsWith('none')) text += body;
    return {
      text,
      method: kind === 'none-by-method' ? 'HEAD' : 'GET',
      status,
      fields: all,
      body: kind.startsWith('none') ? '' : body,
      trailers,
      fin: kind === 'close',
    };
  });

/** Pieces that parsers have disagreed about. */
const TRICKY = [
  '\r\n',
  '\n',
  '\r',
  '\r\r\n',
  '\0',
  ' ',
  '\t',
  ':',
  ',',
  ';',
  '"',
  '\x7f',
  '\xff',
  '\r\n ',
  '\r\n\t\r\n',
  '\r\n\r\n',
  'HTTP/1.1 200 OK\r\n',
  'HTTP/1.0 ',
  'HTTP/2.0 ',
  'Content-Length: 5\r\n',
  'Content-Length: 5, 5\r\n',
  'Content-Length: +5\r\n',
  'Content-Length : 5\r\n',
  'Content-Length: 99999999999999999999\r\n',
  'Content-Length: 0x5\r\n',
  'Transfer-Encoding: chunked\r\n',
  'Transfer-Encoding: chunked, gzip\r\n',
  'Transfer-Encoding: xchunked\r\n',
  'Transfer-Encoding:\r\n',
  'Transfer-Encoding\r\n: chunked\r\n',
  'Connection: close\r\n',
  'Connection: keep-alive\r\n',
  'Connection: upgrade\r\nUpgrade: x\r\n',
  'Keep-Alive: timeout=5\r\n',
  'HTTP/1.1 100 Continue\r\n\r\n',
  'HTTP/1.1 101 S\r\n\r\n',
  '0\r\n\r\n',
  'ffffffffffffffff\r\n',
  '-1\r\n',
  '0x5\r\n',
  '5;a="\r\n"\r\n',
  '5 \r\n',
];

type Edit = { kind: 'insert' | 'delete' | 'replace' | 'repeat' | 'flip'; at: number; length: number; piece: string };

const piece = fc.oneof(
  fc.constantFrom(...TRICKY),
  fc.uint8Array({ minLength: 1, maxLength: 3 }).map((bytes) => Buffer.from(bytes).toString('latin1')),
);
const edit: fc.Arbitrary<Edit> = fc.record({
  kind: fc.constantFrom('insert', 'delete', 'replace', 'repeat', 'flip'),
  at: fc.nat(10_000),
  length: fc.integer({ min: 1, max: 8 }),
  piece,
});

function apply(text: string, { kind, at, length, piece: put }: Edit): string {
  // Half of the edits go to where lines begin: that is where parsers decide.
  const starts = [0, ...[...text.matchAll(/\r\n/g)].map((match) => match.index + 2)];
  const place = at % 2 === 0 ? (starts[at % starts.length] as number) : at % (text.length + 1);
  const before = text.slice(0, place);
  const after = text.slice(place);
  switch (kind) {
    case 'insert':
      return before + put + after;
    case 'delete':
      return before + after.slice(length);
    case 'replace':
      return before + put + after.slice(length);
    case 'repeat':
      return before + after.slice(0, length * 8) + after;
    case 'flip':
      return after === ''
        ? text
        : before + String.fromCharCode(after.charCodeAt(0) ^ (1 << (length % 8))) + after.slice(1);
  }
}

/** A good response after some edits. */
export const mutatedResponse: fc.Arbitrary<{ text: string; method: string; fin: boolean }> = fc
  .tuple(goodResponse, fc.array(edit, { minLength: 1, maxLength: 4 }), fc.boolean())
  .map(([{ text, method }, edits, fin]) => ({ text: edits.reduce(apply, text), method, fin }));

/** Tricky pieces one behind the other: what no edit of a good response comes to. */
export const assembledResponse: fc.Arbitrary<{ text: string; method: string; fin: boolean }> = fc.record({
  text: fc
    .tuple(fc.constantFrom('', 'HTTP/1.1 200 OK\r\n', 'HTTP/1.0 200 OK\r\n'), fc.array(piece, { maxLength: 12 }))
    .map(([start, pieces]) => start + pieces.join('')),
  method: fc.constantFrom('GET', 'HEAD', 'POST'),
  fin: fc.boolean(),
});

export const anyResponse: fc.Arbitrary<{ text: string; method: string; fin: boolean }> = fc.oneof(
  { weight: 1, arbitrary: goodResponse.map(({ text, method, fin }) => ({ text, method, fin })) },
  { weight: 4, arbitrary: mutatedResponse },
  { weight: 1, arbitrary: assembledResponse },
);

/** The bytes cut where the offsets say. */
export function cut(bytes: Uint8Array, offsets: readonly number[]): Uint8Array[] {
  const places = [...new Set(offsets.map((offset) => offset % (bytes.length + 1)))].sort((a, b) => a - b);
  const reads: Uint8Array[] = [];
  let from = 0;
  for (const place of [...places, bytes.length]) {
    if (place > from) reads.push(bytes.subarray(from, place));
    from = place;
  }
  return reads;
}
