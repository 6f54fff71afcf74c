/**
 * Request bodies that come in pieces (libcurl: CURLOPT_READFUNCTION). The application hands over a source; the engine asks it
 * whenever the socket takes more, and frames what it gives: as it is when the length was announced, else in chunked coding
 * (RFC 9112 §7.1). Held to the announced length to the byte.
 */

import { isUint8Array } from '../../protocol/built-ins.ts';
import { invalidArgument, TransferError } from '../../protocol/errors.ts';
import { describe } from '../../protocol/options.ts';
import { PAUSE } from './transfer-options.ts';

/** A request body that is asked for piece by piece (libcurl: CURLOPT_READFUNCTION). */
export interface UploadSource {
  /** Bytes announced in Content-Length; -1: unknown, sent in chunked coding. */
  readonly length: number;
  /**
   * The next piece, which must stay as it is until `read` is called again; null at the end; PAUSE when there is nothing yet:
   * then `transfer.continueUpload()` makes the engine ask again. It answers at once: a source that has to wait answers PAUSE, not
   * a promise. A throw, or an answer of any other kind, fails the transfer with ABORTED_BY_CALLBACK.
   */
  read(): Uint8Array | null | typeof PAUSE;
}

/**
 * Empty pieces taken before the rest waits for the next turn: a source that gives nothing else would keep a turn for itself
 * (rule 38). More than a program that passes on what it gets is likely to give in a row.
 */
const EMPTY_PIECES_MAX = 64;

/** The source is asked again in the next turn. */
export const NEXT_TURN = Symbol('next turn');

export type UploadPiece = Uint8Array | null | typeof PAUSE | typeof NEXT_TURN;

const CRLF = Buffer.from('\r\n', 'latin1');
const LAST_CHUNK = Buffer.from('0\r\n\r\n', 'latin1');

/** A source with its framing: gives what is to be written. */
export class Upload {
  readonly #source: UploadSource;
  /** In chunked coding. */
  readonly #chunked: boolean;
  /** What is left of the announced length; Infinity when it is unknown. */
  #room: number;
  /** The rest of a chunk that was begun: its data, then its line end. */
  #pieces: Uint8Array[] = [];
  #ended = false;
  /** Since the source was last put off to the next turn. */
  #emptyPieces = 0;

  /** `raw`: what it gives goes out as it is, however much (a tunnel has no messages). */
  constructor(source: UploadSource, raw: boolean) {
    this.#source = source;
    this.#chunked = !raw && source.length < 0;
    this.#room = raw || source.length < 0 ? Number.POSITIVE_INFINITY : source.length;
  }

  /** The next bytes for the socket; null when all is written. Throws TransferError. */
  next(): UploadPiece {
    const piece = this.#pieces.shift();
    if (piece !== undefined) return piece;
    if (this.#ended) return null;
    const given = this.#ask();
    if (this.#ended) return null;
    if (given === null) return this.#end();
    return isUint8Array(given) ? this.#frame(given) : given;
  }

  /** The source is not asked any more, also when it is inside `read` that this is called. */
  stop(): void {
    this.#ended = true;
    this.#pieces.length = 0;
  }

  #ask(): UploadPiece {
    for (;;) {
      const given = this.#read();
      // An empty chunk would end a chunked body (RFC 9112 §7.1), so empty pieces are passed over.
      if (this.#ended || given === null || given === PAUSE || given.length > 0) return given;
      this.#emptyPieces++;
      if (this.#emptyPieces < EMPTY_PIECES_MAX) continue;
      this.#emptyPieces = 0;
      return NEXT_TURN;
    }
  }

  #read(): Uint8Array | null | typeof PAUSE {
    let given: unknown;
    try {
      given = this.#source.read();
    } catch (cause) {
      throw aborted('The source of the request body threw, which ends the transfer.', cause);
    }
    if (given === null || given === PAUSE || isUint8Array(given)) return given;
    throw aborted(
      `The read() of the request body's source answered ${describe(given)}, which ends the transfer; it must answer at once, with a Uint8Array, null at the end, or PAUSE.`,
    );
  }

  #frame(data: Uint8Array): Uint8Array {
    if (this.#chunked) {
      this.#pieces.push(data, CRLF);
      return Buffer.from(`${data.length.toString(16)}\r\n`, 'latin1');
    }
    if (data.length > this.#room) throw lengthMismatch(this.#source.length, 'more');
    this.#room -= data.length;
    return data;
  }

  #end(): Uint8Array | null {
    this.#ended = true;
    if (this.#chunked) return LAST_CHUNK;
    if (this.#room > 0 && this.#room !== Number.POSITIVE_INFINITY) throw lengthMismatch(this.#source.length, 'fewer');
    return null;
  }
}

function aborted(sentence: string, cause?: unknown): TransferError {
  return new TransferError('ABORTED_BY_CALLBACK', sentence, { phase: 'send', cause });
}

function lengthMismatch(length: number, how: 'more' | 'fewer'): TransferError {
  const error = invalidArgument(
    'body',
    `The request body gave ${how} bytes than the ${length} that its Content-Length announced, so the request was cut off.`,
  );
  return new TransferError('INVALID_ARGUMENT', error.message, { limit: 'body', phase: 'send' });
}
