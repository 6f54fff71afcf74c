/**
 * `openDuplex`: a connection that has left HTTP (the init member `upgrade`) as one Node stream: what is written goes out as it is, what
 * comes is read. It is a fetch like any other: the request's body is the way out, the response's body the way in, both under their
 * credit, so that either side that reads slowly stops the other.
 */

import { Duplex } from 'node:stream';
import type { FetchInit } from './fetch-init.ts';
import type { FetchResponse } from './response.ts';

type Fetch = (input: string | URL, init?: FetchInit | null) => Promise<FetchResponse>;

/** What `openDuplex` is told: a `FetchInit` with `upgrade`, without a body, which is the stream's. */
export type DuplexInit = Omit<FetchInit, 'body' | 'duplex'> & { upgrade: NonNullable<FetchInit['upgrade']> };

/** What `openDuplex` answers: the response, and the stream, where the server has agreed. */
export interface OpenedDuplex {
  /** As `fetch` answers it. */
  readonly response: FetchResponse;
  /** null: the server did not agree, and `response` says why. */
  readonly duplex: Duplex | null;
}

/**
 * Rejects as fetch does. The stream's failure is the body's, `TypeError('terminated')`, or the signal's reason: what came before it is read
 * first, and a stream that nobody reads is destroyed with it at once. To destroy it closes the connection.
 */
export async function openDuplex(fetch: Fetch, input: string | URL, init: DuplexInit): Promise<OpenedDuplex> {
  const outgoing = new OutgoingEachTime();
  const request = { redirect: 'manual', ...init, body: outgoing, duplex: 'half' } as FetchInit;
  const response = await fetch(input, request);
  const agreed = typeof init.upgrade === 'string' ? response.status === 101 : response.ok;
  return { response, duplex: agreed ? new FetchDuplex(outgoing.last, response) : null };
}

/** What the stream's writer gives, as the body's source that the upload asks. It has a piece at a time. */
export class Outgoing implements AsyncIterableIterator<Uint8Array> {
  #piece: Uint8Array | null = null;
  /** Of the piece: called when it was taken and the next is asked for. */
  #onTaken: ((error?: Error) => void) | null = null;
  #ended = false;
  #left = false;
  #waiting: ((result: IteratorResult<Uint8Array, undefined>) => void) | null = null;

  write(piece: Uint8Array, onTaken: (error?: Error) => void): void {
    if (this.#left) {
      onTaken(brokenPipe());
      return;
    }
    this.#onTaken = onTaken;
    const waiting = this.#waiting;
    this.#waiting = null;
    if (waiting === null) this.#piece = piece;
    else waiting({ done: false, value: piece });
  }

  end(): void {
    this.#ended = true;
    this.#waiting?.({ done: true, value: undefined });
    this.#waiting = null;
  }

  next(): Promise<IteratorResult<Uint8Array, undefined>> {
    const piece = this.#piece;
    this.#piece = null;
    if (piece !== null) return Promise.resolve({ done: false, value: piece });
    // Asked again: what was given before is on its way.
    const onTaken = this.#onTaken;
    this.#onTaken = null;
    const answer = new Promise<IteratorResult<Uint8Array, undefined>>((resolve) => {
      this.#waiting = resolve;
    });
    onTaken?.();
    if (this.#ended) this.end();
    return answer;
  }

  /** The exchange is over. */
  return(): Promise<IteratorResult<Uint8Array, undefined>> {
    this.#left = true;
    this.#piece = null;
    const onTaken = this.#onTaken;
    this.#onTaken = null;
    onTaken?.(this.#ended ? undefined : brokenPipe());
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}

/**
 * The body of `openDuplex`, which can be asked for again, as an answer to a challenge or a retry does: until the server has agreed nobody
 * has the stream, so nothing was given out.
 */
export class OutgoingEachTime implements AsyncIterable<Uint8Array> {
  /** Of the request that was made last. */
  last = new Outgoing();

  [Symbol.asyncIterator](): Outgoing {
    this.last = new Outgoing();
    return this.last;
  }
}

class FetchDuplex extends Duplex {
  readonly #outgoing: Outgoing;
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  /** What the connection went with; null: it came to its end. Settles once it is gone. */
  readonly #failure: Promise<Error | null>;

  constructor(outgoing: Outgoing, response: FetchResponse) {
    // The peer's end is the end of both directions: the connection is gone then.
    super({ allowHalfOpen: false });
    this.#outgoing = outgoing;
    this.#reader = (response.body as ReadableStream<Uint8Array>).getReader();
    this.#failure = response.trailers.then(
      () => null,
      (error: Error) => error,
    );
    // Held weakly: a stream that nobody holds any more gives its connection back.
    const self = new WeakRef(this);
    void this.#failure.then((error) => {
      const stream = self.deref();
      // Who reads is told by reading.
      if (error !== null && stream?.readableFlowing === null) stream.destroy(error);
    });
  }

  override _read(): void {
    this.#reader.read().then(
      ({ done, value }) => this.push(done ? null : value),
      (error: Error) => this.destroy(error),
    );
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    this.#outgoing.write(chunk, (error) => {
      if (error === undefined) callback();
      else void this.#failure.then((failure) => callback(failure ?? error));
    });
  }

  override _final(callback: (error?: Error | null) => void): void {
    this.#outgoing.end();
    callback();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    // Nothing is left to give up where the body has ended; where it has not, the connection closes.
    this.#reader.cancel(error ?? undefined).catch(() => undefined);
    callback(error);
  }
}

function brokenPipe(): Error {
  return Object.assign(new Error('The peer has closed the connection; this was not sent.'), { code: 'EPIPE' });
}
