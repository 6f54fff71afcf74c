/**
 * The connection of a request that has left HTTP (CONNECT, upgrade), as the Duplex that undici's `onUpgrade` gives: what is written goes out
 * as it is, what comes is read, each under its credit. Its end, or its destruction, is the exchange's.
 */

import { Duplex } from 'node:stream';
import type { Outgoing } from '../duplex.ts';

/** What it needs of its exchange. */
export interface SocketOwner {
  /** There is room for more. */
  resumed(): void;
  /** Nobody wants it any more; does nothing when it is over. */
  socketClosed(): void;
}

export class DispatchSocket extends Duplex {
  readonly #outgoing: Outgoing;
  readonly #owner: SocketOwner;

  constructor(outgoing: Outgoing, owner: SocketOwner) {
    // The peer's end is the end of both directions: the connection is gone then.
    super({ allowHalfOpen: false });
    this.#outgoing = outgoing;
    this.#owner = owner;
  }

  override _read(): void {
    this.#owner.resumed();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    this.#outgoing.write(chunk, callback);
  }

  override _final(callback: (error?: Error | null) => void): void {
    this.#outgoing.end();
    callback();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#owner.socketClosed();
    callback(error);
  }

  /** As net.Socket has them; undici and others call them on any socket. They have no effect: clocks and options are the pool's. */
  setTimeout(): this {
    return this;
  }

  setNoDelay(): this {
    return this;
  }

  setKeepAlive(): this {
    return this;
  }

  ref(): this {
    return this;
  }

  unref(): this {
    return this;
  }
}
