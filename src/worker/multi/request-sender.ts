/**
 * The sending half of a connection: writes a request's head and body as the socket takes them. It knows nothing of responses
 * and decides nothing: each step answers how far it came, and the connection acts.
 */

import { isUint8Array } from '../../protocol/built-ins.ts';
import type { TransferError } from '../../protocol/errors.ts';
import { isTransient } from '../io/errno.ts';
import type { Io, Socket } from '../io/io.ts';
import { withExpect } from './expectation.ts';
import type { Multi } from './multi.ts';
import type { Transfer } from './transfer.ts';
import { PAUSE } from './transfer-options.ts';
import { NEXT_TURN, Upload, type UploadPiece } from './upload.ts';

/**
 *   sent     all is written
 *   blocked  the socket takes no more for now
 *   starved  the source has nothing for now
 *   put off  the source gave nothing but empty pieces: it is asked again in the next turn
 *   awaiting the head is written, and the body waits for the server's word: see `sendBody`
 *   held     the transfer may not send for now: it is paused, or at its speed limit
 *   failed   writing failed: see `errno`
 *   refused  the source broke its word: see `fault`
 */
export type SendProgress = 'sent' | 'blocked' | 'starved' | 'put off' | 'awaiting' | 'held' | 'failed' | 'refused';

/** Small pieces (a chunk's size line, its data, its line end) are gathered up to this: a system call costs more than the copy. */
const GATHER_BYTES = 16 * 1024;

/**
 * Writes in one go. A source that always has more and a peer that always takes it would keep a turn for themselves (rule 38);
 * the socket is found writable again in the next one.
 */
const WRITES_MAX = 16;

type Piece = UploadPiece | 'refused';

export class RequestSender {
  progress: SendProgress = 'sent';
  /** Why writing failed, as a negative errno. */
  errno = 0;
  /** What the source did. */
  fault: TransferError | null = null;
  /** True once the source was asked for anything, however the sending ended: the request cannot be sent again. */
  uploadBegun = false;
  readonly #multi: Multi;
  readonly #io: Io;
  readonly #staging: Buffer;
  readonly #socket: Socket;
  /** What is being written; null: nothing. */
  #out: Uint8Array | null = null;
  #outOffset = 0;
  /** The body waits for the server's word. */
  #bodyWaits = false;
  /** A body of bytes behind `#out`. */
  #body: Uint8Array | null = null;
  #upload: Upload | null = null;
  /** What the source answered last, when it is not yet acted on; undefined: nothing waits. */
  #held: Piece | undefined = undefined;
  /** Where small pieces are gathered; made by the first upload. */
  #gathered: Buffer | null = null;

  constructor(multi: Multi, socket: Socket) {
    this.#multi = multi;
    this.#io = multi.io;
    this.#staging = multi.staging;
    this.#socket = socket;
  }

  /** The common case is one write of head and body from the staging buffer, which takes no allocation. */
  start(transfer: Transfer): SendProgress {
    const { head, body, upload, bodyWaits } = transfer;
    const headBytes = head.length;
    const bodyBytes = body === null ? 0 : body.length;
    this.#upload = upload === null ? null : new Upload(upload, transfer.upgrade !== null);
    this.#bodyWaits = bodyWaits;
    this.uploadBegun = false;
    if (headBytes + bodyBytes > this.#staging.length || transfer.sendPaused || transfer.pace !== null || bodyWaits) {
      this.#out = Buffer.from(transfer.expects ? withExpect(head) : head, 'latin1');
      this.#outOffset = 0;
      this.#body = body;
      return this.proceed(transfer);
    }
    this.#staging.write(head, 0, 'latin1');
    if (body !== null) this.#staging.set(body, headBytes);
    const total = headBytes + bodyBytes;
    const written = this.#io.write(this.#socket, 0, total);
    if (written > 0) transfer.bytesSent += written;
    if (written === total) return this.#upload === null ? this.#become('sent') : this.proceed(transfer);
    if (written < 0 && !isTransient(written)) return this.#stopped(written);
    this.#out = Uint8Array.prototype.slice.call(this.#staging, Math.max(written, 0), total);
    this.#outOffset = 0;
    return this.#become('blocked');
  }

  /** Goes on after the socket became writable, or the source has more. */
  proceed(transfer: Transfer): SendProgress {
    const throttle = transfer.pace?.send ?? null;
    for (let writes = 0; ; writes++) {
      if (transfer.sendPaused) return this.#become('held');
      if (writes === WRITES_MAX) return this.#become('blocked');
      const out = this.#out ?? this.#refill();
      if (out === null) return this.progress;
      const left = out.length - this.#outOffset;
      const most = throttle === null || left === 0 ? left : Math.min(left, throttle.room(this.#multi));
      if (most === 0 && left > 0) return this.#become('held');
      const written = most === 0 ? 0 : this.#io.writeFrom(this.#socket, out, this.#outOffset, most);
      if (written < 0) return this.#stopped(written);
      throttle?.moved(this.#multi, written);
      transfer.bytesSent += written;
      this.#outOffset += written;
      if (written < most) return this.#become('blocked');
      if (written === left) this.#out = null;
    }
  }

  /** The body may go, from the next `proceed` on. False: nothing waited for that. */
  sendBody(): boolean {
    this.#bodyWaits = false;
    if (this.progress !== 'awaiting') return false;
    this.progress = 'put off';
    return true;
  }

  /** The response came first, or the transfer is gone: what is left is not written. */
  stop(): void {
    this.#out = null;
    this.#body = null;
    this.#upload?.stop();
    this.#upload = null;
    this.#held = undefined;
  }

  /** The next bytes to write, put into `#out`; null when there are none now, and `progress` says why. */
  #refill(): Uint8Array | null {
    if (this.#bodyWaits) return this.#none('awaiting');
    const body = this.#body;
    if (body !== null) {
      this.#body = null;
      return this.#take(body);
    }
    const upload = this.#upload;
    if (upload === null) return this.#none('sent');
    let piece = this.#ask(upload);
    let bytes = 0;
    while (isUint8Array(piece) && bytes + piece.length <= GATHER_BYTES) {
      this.#gathered ??= Buffer.allocUnsafeSlow(GATHER_BYTES);
      this.#gathered.set(piece, bytes);
      bytes += piece.length;
      piece = this.#ask(upload);
    }
    if (bytes > 0) {
      this.#held = piece;
      return this.#take((this.#gathered as Buffer).subarray(0, bytes));
    }
    if (isUint8Array(piece)) return this.#take(piece);
    if (piece === PAUSE) return this.#none('starved');
    if (piece === NEXT_TURN) return this.#none('put off');
    if (piece === 'refused') return this.#none('refused');
    this.#upload = null;
    return this.#none('sent');
  }

  /** What was held, else what the source says now. */
  #ask(upload: Upload): Piece {
    const held = this.#held;
    this.#held = undefined;
    // A PAUSE that was held is asked about again: there may be more by now.
    if (held !== undefined && held !== PAUSE) return held;
    this.uploadBegun = true;
    try {
      return upload.next();
    } catch (error) {
      this.fault = error as TransferError;
      return 'refused';
    }
  }

  #take(piece: Uint8Array): Uint8Array {
    this.#out = piece;
    this.#outOffset = 0;
    return piece;
  }

  #none(progress: SendProgress): null {
    this.progress = progress;
    return null;
  }

  #stopped(negativeErrno: number): SendProgress {
    if (isTransient(negativeErrno)) return this.#become('blocked');
    this.errno = negativeErrno;
    this.stop();
    return this.#become('failed');
  }

  #become(progress: SendProgress): SendProgress {
    this.progress = progress;
    return progress;
  }
}
