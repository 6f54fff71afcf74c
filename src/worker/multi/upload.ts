/**
 * Request bodies that come in pieces (libcurl: CURLOPT_READFUNCTION). The application hands over a source; the engine asks it
 * whenever the socket takes more, and frames what it gives: as it is when the length was announced, else in chunked coding
 * (RFC 9112 §7.1). Held to the announced length to the byte.
 */

import { invalidArgument, TransferError } from '../../protocol/errors.ts';
import { PAUSE } from './transfer-options.ts';

export interface UploadSource {
  /** Bytes announced in Content-Length; -1: unknown, sent in chunked coding. */
  readonly length: number;
  /**
   * The next piece, which must stay as it is until `read` is called again; null at the end; PAUSE when there is nothing yet:
   * then `transfer.continueUpload()` makes the engine ask again. A throw fails the transfer with ABORTED_BY_CALLBACK.
   */
  read(): Uint8Array | null | typeof PAUSE;
}

const CRLF = Buffer.from('\r\n', 'latin1');
const LAST_CHUNK = Buffer.from('0\r\n\r\n', 'latin1');

/** A source with its framing: gives what is to be written. */
export class Upload {
  readonly #source: UploadSource;
  /** What is left of the announced length; Infinity when it is unknown. */
  #room: number;
  /** The rest of a chunk that was begun: its data, then its line end. */
  #pieces: Uint8Array[] = [];
  #ended = false;

  constructor(source: UploadSource) {
    this.#source = source;
    this.#room = source.length < 0 ? Number.POSITIVE_INFINITY : source.length;
  }

  /** The next bytes for the socket; null when all is written. Throws TransferError. */
  next(): Uint8Array | null | typeof PAUSE {
    const piece = this.#pieces.shift();
    if (piece !== undefined) return piece;
    if (this.#ended) return null;
    const given = this.#ask();
    if (given === PAUSE) return PAUSE;
    if (given === null) return this.#end();
    return this.#frame(given);
  }

  #ask(): Uint8Array | null | typeof PAUSE {
    for (;;) {
      let given: Uint8Array | null | typeof PAUSE;
      try {
        given = this.#source.read();
      } catch (error) {
        throw new TransferError(
          'ABORTED_BY_CALLBACK',
          'The source of the request body threw, which ends the transfer.',
          {
            phase: 'send',
            cause: error,
          },
        );
      }
      // An empty chunk would end a chunked body (RFC 9112 §7.1), so empty pieces are passed over.
      if (given === null || given === PAUSE || given.length > 0) return given;
    }
  }

  #frame(data: Uint8Array): Uint8Array {
    if (this.#source.length < 0) {
      this.#pieces.push(data, CRLF);
      return Buffer.from(`${data.length.toString(16)}\r\n`, 'latin1');
    }
    if (data.length > this.#room) throw lengthMismatch(this.#source.length, 'more');
    this.#room -= data.length;
    return data;
  }

  #end(): Uint8Array | null {
    this.#ended = true;
    if (this.#source.length < 0) return LAST_CHUNK;
    if (this.#room > 0) throw lengthMismatch(this.#source.length, 'fewer');
    return null;
  }
}

function lengthMismatch(length: number, how: 'more' | 'fewer'): TransferError {
  const error = invalidArgument(
    'body',
    `The request body gave ${how} bytes than the ${length} that its Content-Length announced, so the request was cut off.`,
  );
  return new TransferError('INVALID_ARGUMENT', error.message, { limit: 'body', phase: 'send' });
}
