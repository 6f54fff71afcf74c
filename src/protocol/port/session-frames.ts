/**
 * TLS sessions on their way from one shard to another: SESSION frames, the same in both directions. Layout: see frames.ts. Which
 * sessions cross, and to whom, is decided by the addon (`native/tls_context.h`) and by `main/session-store.ts`.
 */

import type { BatchReader } from './batch-reader.ts';
import type { BatchWriter } from './batch-writer.ts';
import { FLAG_SINGLE, SESSION } from './frames.ts';
import { unzeroedBuffer } from './own-buffer.ts';

const SESSION_WORDS = 5;

/** No transfer has it. */
const NO_TRANSFER = 0;

/** A session that one shard has no need of. It holds secrets. */
export interface SharedSession {
  /** The TLS configuration's identity, a blank, the destination: all that it may be used for. */
  readonly key: string;
  /** Of TLS 1.3: for one connection of one shard (RFC 8446 §C.4). Others may be used by all. */
  readonly single: boolean;
  readonly bytes: Uint8Array;
}

export function writeSession(writer: BatchWriter, { key, single, bytes }: SharedSession): void {
  const keyBytes = Buffer.byteLength(key);
  const kindAndFlags = SESSION | ((single ? FLAG_SINGLE : 0) << 8);
  const frame = writer.beginFrame(kindAndFlags, NO_TRANSFER, SESSION_WORDS * 4 + keyBytes + bytes.length);
  writer.words[frame + 3] = keyBytes;
  writer.words[frame + 4] = bytes.length;
  writer.used += SESSION_WORDS * 4;
  writer.used += writer.bytes.write(key, writer.used, 'utf8');
  writer.bytes.set(bytes, writer.used);
  writer.used += bytes.length;
  writer.endFrame();
}

/** null when the frame does not hold what it says. */
export function readSession(reader: BatchReader): SharedSession | null {
  const keyBytes = reader.word(3);
  const count = reader.word(4);
  if (keyBytes < 0 || count < 0 || !reader.holds(SESSION_WORDS * 4, keyBytes + count)) return null;
  const start = (reader.frame + SESSION_WORDS) * 4;
  const bytes = new Uint8Array(unzeroedBuffer(count));
  bytes.set(reader.bytes.subarray(start + keyBytes, start + keyBytes + count));
  return {
    key: reader.bytes.toString('utf8', start, start + keyBytes),
    single: (reader.flags & FLAG_SINGLE) !== 0,
    bytes,
  };
}
