/**
 * The content codings (RFC 9110 §8.4.1) that are asked for and taken off: their names, the Accept-Encoding that names them, and
 * what a Content-Encoding field says. Nothing is decoded here: see `worker/content-coding/`.
 */

import zlib from 'node:zlib';
import { isUint32Array } from './built-ins.ts';

/** `gzip` stands for `x-gzip` too, which is the same (RFC 9110 §8.4.1.3). */
export type ContentCoding = 'gzip' | 'deflate' | 'br' | 'zstd';

/** The part of a zlib object that decoding within a turn needs: one step, done at once. Node's own sync functions stand on it. */
export interface ZlibHandle {
  /** Decodes into `output` until that is full or `input` used up; what is left of both is in the state. */
  writeSync(
    flush: number,
    input: Uint8Array,
    inputAt: number,
    inputBytes: number,
    output: Uint8Array,
    outputAt: number,
    outputBytes: number,
  ): void;
  reset(): void;
  close(): void;
  /** Called by `writeSync` when it fails; the state is then as it was. */
  onerror: (message: string, errno: number, code: string) => void;
}

/** A zlib stream, of which only the handle is used: no byte goes through the stream. */
export interface ZlibObject {
  readonly _handle: ZlibHandle;
  /** After a step: bytes of room left in the output, bytes left of the input. */
  readonly _writeState: Uint32Array;
  close(): void;
}

/** Node's zlib module as far as it is not in the types of the oldest Node that is served. */
interface ZlibWithZstd {
  createZstdDecompress?: (options?: { params: Record<number, number> }) => object;
  readonly constants: { readonly ZSTD_e_end: number; readonly ZSTD_d_windowLogMax: number };
}

const { createZstdDecompress, constants: ZSTD } = zlib as unknown as ZlibWithZstd;

/** RFC 9659 §3: a content coding of zstd has no window above 8 MiB. */
const ZSTD_WINDOW_LOG_MAX = 23;

/** The flush value that says that the input is over. */
export const ZSTD_FINISH = ZSTD.ZSTD_e_end;

/** null: this Node has none. */
export function openZstd(): object | null {
  return createZstdDecompress?.({ params: { [ZSTD.ZSTD_d_windowLogMax]: ZSTD_WINDOW_LOG_MAX } }) ?? null;
}

/** What this Node can decode, in the order in which it is asked for. */
export const CONTENT_CODINGS: readonly ContentCoding[] = findCodings();

/**
 * The parts above are not documented, though Node 20 to 26 have them. Without them no coding is asked for and none is taken off: bodies
 * come as they were sent. zstd is left out where it is missing (before Node 22.15), and where it takes a body that was cut off
 * for a whole one (Node 22).
 */
function findCodings(): ContentCoding[] {
  const inflate = zlib.createInflate() as unknown as Partial<ZlibObject>;
  const fits = typeof inflate._handle?.writeSync === 'function' && isUint32Array(inflate._writeState);
  inflate.close?.();
  if (!fits) return [];
  const zstd = openZstd() as ZlibObject | null;
  return zstd !== null && noticesTruncation(zstd) ? ['gzip', 'deflate', 'br', 'zstd'] : ['gzip', 'deflate', 'br'];
}

/** Whether it complains when its input ends before anything came. */
function noticesTruncation(zstd: ZlibObject): boolean {
  let noticed = false;
  zstd._handle.onerror = () => {
    noticed = true;
  };
  const none = new Uint8Array(1);
  zstd._handle.writeSync(ZSTD_FINISH, none, 0, 0, none, 0, none.length);
  zstd.close();
  return noticed;
}

/** The value of Accept-Encoding where the caller gives none; '': it is not sent. */
export const ACCEPT_ENCODING = CONTENT_CODINGS.join(', ');

/** What a Content-Encoding field names, empty list elements left out, in lower case. */
export function codingNames(field: string): string[] {
  return field
    .split(',')
    .map((name) => name.trim().toLowerCase())
    .filter((name) => name !== '');
}

/**
 * The codings to take off, in the order in which they were put on. Empty when there is nothing to do: one that is not known stops all
 * of it, and the body passes as it is (Fetch §2.2.6).
 */
export function knownCodings(names: readonly string[]): ContentCoding[] {
  const codings: ContentCoding[] = [];
  for (const name of names) {
    if (name === 'identity') continue;
    const coding = (name === 'x-gzip' ? 'gzip' : name) as ContentCoding;
    if (!CONTENT_CODINGS.includes(coding)) return [];
    codings.push(coding);
  }
  return codings;
}
