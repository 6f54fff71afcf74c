/** What the tests of content codings share: encoders by name, and whole responses. */

import zlib from 'node:zlib';
import { CONTENT_CODINGS, type ContentCoding } from '../../src/protocol/content-codings.ts';

export type Encoder = (data: Uint8Array) => Buffer;

const { zstdCompressSync } = zlib as { zstdCompressSync?: Encoder };

/** Every coding that this Node can take off; `raw` is deflate without zlib's frame. */
export const ENCODERS: Readonly<Record<string, Encoder>> = {
  gzip: zlib.gzipSync,
  deflate: zlib.deflateSync,
  raw: zlib.deflateRawSync,
  br: (data) => zlib.brotliCompressSync(data, { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 4 } }),
  ...(zstdCompressSync === undefined || !CONTENT_CODINGS.includes('zstd') ? {} : { zstd: zstdCompressSync }),
};

export const ENCODER_NAMES = Object.keys(ENCODERS);

/** What Content-Encoding says of what an encoder makes. */
export function codingOf(encoder: string): ContentCoding {
  return (encoder === 'raw' ? 'deflate' : encoder) as ContentCoding;
}

export function encode(encoder: string, data: Uint8Array | string): Buffer {
  return (ENCODERS[encoder] as Encoder)(typeof data === 'string' ? Buffer.from(data) : data);
}

/** Text that is worth compressing, of about so many bytes. */
export function json(bytes: number): string {
  const rows: object[] = [];
  for (let id = 0, size = 0; size < bytes; id++) {
    const row = { id, name: `item ${id}`, value: Math.sin(id) };
    size += JSON.stringify(row).length + 1;
    rows.push(row);
  }
  return JSON.stringify(rows);
}

/** A response with a Content-Length. */
export function sized(body: Uint8Array, ...fields: readonly string[]): Buffer {
  const lines = ['HTTP/1.1 200 OK', ...fields, `Content-Length: ${body.length}`];
  return Buffer.concat([Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1'), body]);
}

/** A response in chunked coding, with trailers. */
export function chunked(body: Uint8Array, fields: readonly string[], trailers: readonly string[] = []): Buffer {
  const lines = ['HTTP/1.1 200 OK', ...fields, 'Transfer-Encoding: chunked'];
  const parts: Uint8Array[] = [Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1')];
  for (let at = 0; at < body.length; at += 1000) {
    const part = body.subarray(at, at + 1000);
    parts.push(Buffer.from(`${part.length.toString(16)}\r\n`), part, Buffer.from('\r\n'));
  }
  parts.push(Buffer.from(`0\r\n${trailers.map((line) => `${line}\r\n`).join('')}\r\n`, 'latin1'));
  return Buffer.concat(parts);
}

const STACK_PIECE_BYTES = 1024 * 1024;

/** What an innermost gzip stream may go on with for ever without giving a byte, by name. */
export const SILENT_PIECES: Readonly<Record<string, { readonly start: Buffer; readonly piece: Buffer }>> = {
  // RFC 1951 §3.2.4: stored, not the last, no length.
  'deflate blocks without content': {
    start: Buffer.from('1f8b0800000000000003', 'hex'),
    piece: repeated(Buffer.from([0, 0, 0, 0xff, 0xff])),
  },
  'zero padding': { start: zlib.gzipSync(''), piece: Buffer.alloc(STACK_PIECE_BYTES) },
  'members without content': { start: Buffer.alloc(0), piece: repeated(zlib.gzipSync('')) },
};

function repeated(unit: Buffer): Buffer {
  return Buffer.concat(Array<Buffer>(Math.floor(STACK_PIECE_BYTES / unit.length)).fill(unit));
}

/** A body of four times gzip: 8 GiB of such pieces go into the innermost, and nothing comes of it. */
export function silentBomb(name: string): Buffer {
  const { start, piece } = SILENT_PIECES[name] as { start: Buffer; piece: Buffer };
  const begin = zlib.gzipSync(start);
  // Members are one body together, so what repeats is compressed once.
  const eightMiB = zlib.gzipSync(Buffer.concat(Array<Buffer>(8).fill(zlib.gzipSync(piece, { level: 9 }))));
  return zlib.gzipSync(Buffer.concat([zlib.gzipSync(begin), ...Array<Buffer>(1024).fill(eightMiB)]), { level: 9 });
}
