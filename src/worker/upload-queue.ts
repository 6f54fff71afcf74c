/**
 * A request body on its way through a shard: pieces that came from the main thread and were not written yet. Writing gives
 * credit back, so more comes; a server that takes nothing stops its own upload and nothing else.
 */

import { PAUSE } from './multi/transfer-options.ts';
import type { UploadSource } from './multi/upload.ts';

/** Credit goes back in steps of this size, or when nothing is left. */
const CREDIT_STEP_BYTES = 128 * 1024;

export class UploadQueue implements UploadSource {
  readonly length: number;
  readonly #giveCredit: (bodyBytes: number) => void;
  #pieces: Uint8Array[] = [];
  #ended = false;
  #taken = 0;

  constructor(length: number, giveCredit: (bodyBytes: number) => void) {
    this.length = length;
    this.#giveCredit = giveCredit;
  }

  push(piece: Uint8Array): void {
    this.#pieces.push(piece);
  }

  end(): void {
    this.#ended = true;
  }

  read(): Uint8Array | null | typeof PAUSE {
    const piece = this.#pieces.shift();
    if (piece === undefined) {
      if (this.#taken > 0) this.#giveBack();
      return this.#ended ? null : PAUSE;
    }
    this.#taken += piece.length;
    if (this.#taken >= CREDIT_STEP_BYTES) this.#giveBack();
    return piece;
  }

  #giveBack(): void {
    this.#giveCredit(this.#taken);
    this.#taken = 0;
  }
}
