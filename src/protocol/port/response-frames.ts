/** What a shard tells the main thread: HEAD, COMPLETE, BODY, END, ERROR. Layouts: see frames.ts. */

import { isArrayBuffer } from '../built-ins.ts';
import type { BatchReader } from './batch-reader.ts';
import type { BatchWriter } from './batch-writer.ts';
import {
  BODY,
  COMPLETE,
  END,
  ERROR,
  FLAG_ATTACHED,
  FLAG_HTTP_1_0,
  FLAG_PROXIED,
  FLAG_REUSED,
  FLAG_SECURE,
  HEAD,
  INFO_TIMINGS,
  INFO_TIMINGS_BYTES,
  INTERIM,
} from './frames.ts';
import { unzeroedBuffer } from './own-buffer.ts';

const HEAD_WORDS = 7;
const BODY_WORDS = 5;
const END_WORDS = 5;
const ERROR_WORDS = 4;
const INTERIM_WORDS = 5;

/** What a HEAD frame is made of besides the head's bytes: the engine's Transfer has it all. */
export interface HeadFacts {
  readonly id: number;
  readonly status: number;
  readonly minorVersion: number;
  readonly reused: boolean;
  readonly remoteAddress: string;
  /** null or absent: there is no TLS. */
  readonly tls?: TlsFacts | null;
  /** Absent: there is no proxy. */
  readonly route?: { readonly proxy: { readonly name: string } | null };
  readonly queuedUs: number;
  readonly dnsUs: number;
  readonly connectUs: number;
  readonly tlsUs: number;
  readonly sentUs: number;
  readonly firstByteUs: number;
  readonly endUs: number;
}

/** What a caller may want to know of a connection's TLS. */
export interface TlsFacts {
  /** `TLSv1.3`. */
  readonly protocol: string;
  /** OpenSSL's name of the cipher suite. */
  readonly cipher: string;
  /** Whether an earlier connection's session was resumed. */
  readonly resumed: boolean;
  /** What the peer chose by ALPN; '': nothing. */
  readonly alpn: string;
  /** Whether the certificate verified; false only with `rejectUnauthorized: false`. */
  readonly verified: boolean;
  /** By which the shard finds the peer's certificate; 0: it showed none. */
  readonly certificate: number;
}

/** In front of what is said of a proxy and of TLS, in which it does not occur. */
const SEPARATOR = '\0';

function encodeTls({ protocol, cipher, resumed, alpn, verified, certificate }: TlsFacts): string {
  return `${SEPARATOR}${protocol} ${cipher} ${resumed ? 1 : 0}${verified ? 1 : 0} ${certificate} ${alpn}`;
}

function decodeTls(text: string): TlsFacts {
  const [protocol = '', cipher = '', flags = '', certificate = '', ...alpn] = text.split(' ');
  return {
    protocol,
    cipher,
    resumed: flags[0] === '1',
    verified: flags[1] === '1',
    certificate: Number(certificate),
    alpn: alpn.join(' '),
  };
}

/** What a frame's info says of the connection: the address, then the proxy's name if there is one, then TLS if there is. */
export function readInfo({ secure, proxied, text, infoBytes }: HeadFrame): {
  remoteAddress: string;
  proxy: string | null;
  tls: TlsFacts | null;
} {
  const tlsStart = secure ? text.lastIndexOf(SEPARATOR, infoBytes - 1) : infoBytes;
  const addressEnd = proxied ? text.lastIndexOf(SEPARATOR, tlsStart - 1) : tlsStart;
  return {
    remoteAddress: text.slice(INFO_TIMINGS_BYTES, addressEnd),
    proxy: proxied ? text.slice(addressEnd + 1, tlsStart) : null,
    tls: secure ? decodeTls(text.slice(tlsStart + 1, infoBytes)) : null,
  };
}

export function writeHead(writer: BatchWriter, facts: HeadFacts, head: Uint8Array, start: number, end: number): void {
  const tls = facts.tls ?? null;
  const proxy = facts.route?.proxy ?? null;
  const address = proxy === null ? facts.remoteAddress : facts.remoteAddress + SEPARATOR + proxy.name;
  const info = tls === null ? address : address + encodeTls(tls);
  const headBytes = end - start;
  const infoBytes = INFO_TIMINGS_BYTES + info.length;
  const flags =
    (facts.reused ? FLAG_REUSED : 0) |
    (facts.minorVersion === 0 ? FLAG_HTTP_1_0 : 0) |
    (proxy === null ? 0 : FLAG_PROXIED) |
    (tls === null ? 0 : FLAG_SECURE);
  const frame = writer.beginFrame(HEAD | (flags << 8), facts.id, HEAD_WORDS * 4 + infoBytes + headBytes);
  const { words, bytes } = writer;
  words[frame + 3] = facts.status;
  words[frame + 4] = infoBytes;
  words[frame + 5] = headBytes;
  words[frame + 6] = 0;
  words[frame + 7] = timingWord(facts.queuedUs);
  words[frame + 8] = timingWord(facts.dnsUs);
  words[frame + 9] = timingWord(facts.connectUs);
  words[frame + 10] = timingWord(facts.tlsUs);
  words[frame + 11] = timingWord(facts.sentUs);
  words[frame + 12] = timingWord(facts.firstByteUs);
  words[frame + 13] = timingWord(facts.endUs);
  let at = (frame + HEAD_WORDS + INFO_TIMINGS) * 4;
  for (let index = 0; index < info.length; index++) bytes[at++] = info.charCodeAt(index);
  copyBytes(bytes, at, head, start, end);
  writer.used = at + headBytes;
  writer.endFrame();
}

/** The head of a 1xx response. */
export function writeInterim(
  writer: BatchWriter,
  id: number,
  status: number,
  head: Uint8Array,
  start: number,
  end: number,
): void {
  const count = end - start;
  const frame = writer.beginFrame(INTERIM, id, INTERIM_WORDS * 4 + count);
  writer.words[frame + 3] = status;
  writer.words[frame + 4] = count;
  const at = (frame + INTERIM_WORDS) * 4;
  copyBytes(writer.bytes, at, head, start, end);
  writer.used = at + count;
  writer.endFrame();
}

/** The whole body, in a buffer of its own that is moved: right behind `writeHead`, and no body bytes after it. */
export function attachToHead(writer: BatchWriter, body: ArrayBuffer): void {
  const frame = writer.lastFrame;
  writer.words[frame + 1] = (writer.words[frame + 1] as number) | (FLAG_ATTACHED << 8);
  writer.words[frame + 6] = writer.attach(body);
}

/** Body bytes: behind the transfer's HEAD or BODY frame when that was written last, so that small chunks cost no frame each. */
export function writeBody(writer: BatchWriter, id: number, body: Uint8Array, start: number, end: number): void {
  const count = end - start;
  const last = writer.lastFrame;
  if (last >= 0 && writer.words[last + 2] === id) {
    const kind = (writer.words[last + 1] as number) & 0xff;
    if (kind === HEAD || (kind === BODY && writer.words[last + 4] === -1)) {
      lengthen(writer, last, kind, body, start, end);
      return;
    }
  }
  const frame = writer.beginFrame(BODY, id, BODY_WORDS * 4 + count);
  writer.words[frame + 3] = count;
  writer.words[frame + 4] = -1;
  const at = (frame + BODY_WORDS) * 4;
  copyBytes(writer.bytes, at, body, start, end);
  writer.used = at + count;
  writer.endFrame();
}

function lengthen(
  writer: BatchWriter,
  frame: number,
  kind: number,
  body: Uint8Array,
  start: number,
  end: number,
): void {
  const count = end - start;
  writer.makeRoom(count);
  const { words, bytes } = writer;
  const lengthWord = kind === HEAD ? frame + 6 : frame + 3;
  const before = words[lengthWord] as number;
  const payload =
    kind === HEAD
      ? (frame + HEAD_WORDS) * 4 + (words[frame + 4] as number) + (words[frame + 5] as number)
      : (frame + BODY_WORDS) * 4;
  copyBytes(bytes, payload + before, body, start, end);
  words[lengthWord] = before + count;
  writer.used = payload + before + count;
  writer.endFrame();
}

/** Body bytes in a buffer of their own, which is moved. */
export function writeAttachedBody(writer: BatchWriter, id: number, body: ArrayBuffer): void {
  const frame = writer.beginFrame(BODY, id, BODY_WORDS * 4);
  writer.words[frame + 3] = body.byteLength;
  writer.words[frame + 4] = writer.attach(body);
  writer.used += BODY_WORDS * 4;
  writer.endFrame();
}

/**
 * The response is complete. When its HEAD was the last frame written, that frame becomes COMPLETE and no END is needed: then the
 * answer is true.
 */
export function writeEnd(writer: BatchWriter, id: number, endUs: number, trailers: string): boolean {
  const last = writer.lastFrame;
  if (last >= 0 && writer.words[last + 2] === id && trailers === '') {
    const kindAndFlags = writer.words[last + 1] as number;
    if ((kindAndFlags & 0xff) === HEAD) {
      writer.words[last + 1] = (kindAndFlags & ~0xff) | COMPLETE;
      writer.words[last + HEAD_WORDS + INFO_TIMINGS - 1] = timingWord(endUs);
      return true;
    }
  }
  const frame = writer.beginFrame(END, id, END_WORDS * 4 + trailers.length);
  writer.words[frame + 3] = timingWord(endUs);
  writer.words[frame + 4] = trailers.length;
  writer.used += END_WORDS * 4;
  writer.used += writer.bytes.write(trailers, writer.used, 'latin1');
  writer.endFrame();
  return false;
}

/** `error` as `encodeError` made it. */
export function writeError(writer: BatchWriter, id: number, error: string): void {
  const bytes = Buffer.byteLength(error);
  const frame = writer.beginFrame(ERROR, id, ERROR_WORDS * 4 + bytes);
  writer.words[frame + 3] = bytes;
  writer.used += ERROR_WORDS * 4;
  writer.used += writer.bytes.write(error, writer.used, 'utf8');
  writer.endFrame();
}

/**
 * A HEAD or COMPLETE frame, copied out of its batch as one latin-1 string: info, head, body, one behind the other. A string
 * is the cheapest copy there is, and a kept response then pins no batch (TRAPS 16).
 */
export interface HeadFrame {
  status: number;
  reused: boolean;
  http10: boolean;
  /** `https:`; what is said of TLS stands behind the address. */
  secure: boolean;
  /** The name of its proxy stands behind the address. */
  proxied: boolean;
  text: string;
  infoBytes: number;
  headBytes: number;
  bodyBytes: number;
  /** The body, when it was too long for `text`; then `text` ends with the head. */
  body: Uint8Array | null;
}

/** Bodies above this are copied as bytes: most are decoded or parsed, and strings of bytes would be turned back first. */
export const TEXT_BODY_BYTES = 4096;

/** null when the frame does not hold what it says. */
export function readHead(reader: BatchReader): HeadFrame | null {
  const infoBytes = reader.word(4);
  const headBytes = reader.word(5);
  const { flags } = reader;
  const isAttached = (flags & FLAG_ATTACHED) !== 0;
  const attached = isAttached ? reader.attachments[reader.word(6)] : null;
  const inlineBytes = isAttached ? 0 : reader.word(6);
  if (attached === undefined || (isAttached && !isArrayBuffer(attached))) return null;
  if (infoBytes < INFO_TIMINGS_BYTES || headBytes < 0 || inlineBytes < 0) return null;
  if (!reader.holds(HEAD_WORDS * 4, infoBytes + headBytes + inlineBytes)) return null;
  const start = (reader.frame + HEAD_WORDS) * 4;
  const headEnd = start + infoBytes + headBytes;
  const asText = inlineBytes <= TEXT_BODY_BYTES;
  return {
    status: reader.word(3),
    reused: (flags & FLAG_REUSED) !== 0,
    http10: (flags & FLAG_HTTP_1_0) !== 0,
    secure: (flags & FLAG_SECURE) !== 0,
    proxied: (flags & FLAG_PROXIED) !== 0,
    text: reader.bytes.toString('latin1', start, asText ? headEnd + inlineBytes : headEnd),
    infoBytes,
    headBytes,
    bodyBytes: attached === null ? inlineBytes : attached.byteLength,
    body: attached !== null ? new Uint8Array(attached) : asText ? null : copyOut(reader, headEnd, inlineBytes),
  };
}

/** null when the frame does not hold what it says. */
export function readInterim(reader: BatchReader): { status: number; head: string } | null {
  const headBytes = reader.word(4);
  if (!reader.holds(INTERIM_WORDS * 4, headBytes)) return null;
  const start = (reader.frame + INTERIM_WORDS) * 4;
  return { status: reader.word(3), head: reader.bytes.toString('latin1', start, start + headBytes) };
}

/** The bytes of a BODY frame, copied out or taken over; null when the frame does not hold what it says. */
export function readBody(reader: BatchReader): Uint8Array<ArrayBuffer> | null {
  const bodyBytes = reader.word(3);
  const attachment = reader.word(4);
  if (attachment >= 0) {
    const buffer = reader.attachments[attachment];
    return isArrayBuffer(buffer) && buffer.byteLength === bodyBytes ? new Uint8Array(buffer) : null;
  }
  if (!reader.holds(BODY_WORDS * 4, bodyBytes)) return null;
  return copyOut(reader, (reader.frame + BODY_WORDS) * 4, bodyBytes);
}

/** null when the frame does not hold what it says. */
export function readEnd(reader: BatchReader): { endUs: number; trailers: string } | null {
  const trailerBytes = reader.word(4);
  if (!reader.holds(END_WORDS * 4, trailerBytes)) return null;
  const start = (reader.frame + END_WORDS) * 4;
  return { endUs: timingUs(reader.word(3)), trailers: reader.bytes.toString('latin1', start, start + trailerBytes) };
}

/** null when the frame does not hold what it says. */
export function readError(reader: BatchReader): string | null {
  const bytes = reader.word(3);
  if (!reader.holds(ERROR_WORDS * 4, bytes)) return null;
  const start = (reader.frame + ERROR_WORDS) * 4;
  return reader.bytes.toString('utf8', start, start + bytes);
}

/** Timing `index` of an info text, in microseconds; -1: has not happened. */
export function infoTiming(text: string, index: number): number {
  const at = index * 4;
  return timingUs(
    text.charCodeAt(at) |
      (text.charCodeAt(at + 1) << 8) |
      (text.charCodeAt(at + 2) << 16) |
      (text.charCodeAt(at + 3) << 24),
  );
}

const WORD_MAX = 2 ** 31 - 1;
const US_PER_MS = 1000;

/** A timing in microseconds, or -1, as the word that tells it (see frames.ts). */
function timingWord(us: number): number {
  return us <= WORD_MAX ? us : -2 - Math.min(Math.round(us / US_PER_MS), WORD_MAX - 1);
}

function timingUs(word: number): number {
  return word >= -1 ? word : (-2 - word) * US_PER_MS;
}

function copyOut(reader: BatchReader, start: number, count: number): Uint8Array<ArrayBuffer> {
  const copy = new Uint8Array(unzeroedBuffer(count));
  copy.set(reader.bytes.subarray(start, start + count));
  return copy;
}

/** Below this many bytes a loop is faster than a view and a native copy. */
const LOOP_BYTES = 64;

function copyBytes(target: Uint8Array, at: number, source: Uint8Array, start: number, end: number): void {
  if (end - start > LOOP_BYTES) {
    target.set(start === 0 && end === source.length ? source : source.subarray(start, end), at);
    return;
  }
  let to = at;
  for (let from = start; from < end; from++) target[to++] = source[from] as number;
}
