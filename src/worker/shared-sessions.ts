/**
 * A shard's TLS sessions for the other shards of its pool, and theirs for it: SESSION frames, in batches that go anyway. Which are
 * set aside is the addon's matter, who gets them the main thread's (`main/session-store.ts`).
 */

import type { BatchReader } from '../protocol/port/batch-reader.ts';
import type { BatchWriter } from '../protocol/port/batch-writer.ts';
import { readSession, writeSession } from '../protocol/port/session-frames.ts';
import type { Io } from './io/io.ts';
import type { TlsIo } from './io/tls-io.ts';

export class SharedSessions {
  readonly #tls: TlsIo;

  private constructor(tls: TlsIo) {
    this.#tls = tls;
  }

  /** null: there are no others, or there is no TLS. */
  static of({ tls }: Io, others: number): SharedSessions | null {
    if (tls === undefined || others === 0) return null;
    tls.share(others);
    return new SharedSessions(tls);
  }

  /** At the end of each turn: one comparison, unless there are any. */
  send(writer: BatchWriter): void {
    if (this.#tls.state[1] === 0) return;
    for (const session of this.#tls.offers()) writeSession(writer, session);
  }

  /** False when the frame is damaged. */
  accept(reader: BatchReader): boolean {
    const session = readSession(reader);
    if (session !== null) this.#tls.accept(session);
    return session !== null;
  }
}
