/**
 * A request body that is read from its file as the socket takes it: what a connection holds of it is one piece. All connections of a
 * shard share one descriptor and read at places of their own; the file's pages are the kernel's to keep.
 */

import { closeSync, openSync, readSync } from 'node:fs';
import type { LoadBodyFile } from '../../protocol/load/plan.ts';
import type { UploadSource } from '../multi/upload.ts';

/** More would be held by each connection that sends; less would be more system calls. */
const PIECE_BYTES = 64 * 1024;

export class BodyFile {
  readonly #descriptor: number;
  readonly #bytes: number;

  /** Throws what opening throws. */
  constructor({ path, bytes }: LoadBodyFile) {
    this.#descriptor = openSync(path, 'r');
    this.#bytes = bytes;
  }

  /** One connection's way through the file. It serves one request after the other. */
  reader(): BodyFileReader {
    return new BodyFileReader(this.#descriptor, this.#bytes);
  }

  close(): void {
    closeSync(this.#descriptor);
  }
}

export class BodyFileReader implements UploadSource {
  readonly length: number;
  readonly #descriptor: number;
  #piece: Buffer | null = null;
  #at = 0;

  constructor(descriptor: number, bytes: number) {
    this.#descriptor = descriptor;
    this.length = bytes;
  }

  /** The next request begins. */
  rewind(): void {
    this.#at = 0;
  }

  /** A file that has become shorter ends the request: fewer bytes than were announced. */
  read(): Uint8Array | null {
    const left = this.length - this.#at;
    if (left === 0) {
      this.#piece = null;
      return null;
    }
    this.#piece ??= Buffer.allocUnsafeSlow(PIECE_BYTES);
    const bytes = readSync(this.#descriptor, this.#piece, 0, Math.min(PIECE_BYTES, left), this.#at);
    if (bytes === 0) return null;
    this.#at += bytes;
    return this.#piece.subarray(0, bytes);
  }
}
