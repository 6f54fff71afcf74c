/**
 * What is left of a response that nobody wants any more, read away where that costs less than a new connection (HOSTILE 73): the
 * whole body must be read before the connection serves again (RFC 9112 §9.3). It has the socket meanwhile; then the connection has it
 * back, or closes.
 */

import type { ResponseParser } from '../../protocol/http1/response-parser.ts';
import { isTransient } from '../io/errno.ts';
import { TLS_MORE, TLS_READ_WANTS_WRITE, type TlsIo } from '../io/tls-io.ts';
import type { Connection } from './connection.ts';
import type { Multi } from './multi.ts';
import { type SocketEntry, type SocketOwner, WATCH_IN } from './socket-table.ts';
import { TimerNode, type TimerOwner } from './timer-queue.ts';

/** A response that nobody wants is read to its end when that is near: then it costs less than a new connection. */
const DRAIN_BYTES_MAX = 64 * 1024;
/** The peer may be slow with that end, or never come to it. */
const DRAIN_MS_MAX = 1_000;

/** Whether the end of the response is known and near. */
export function isNearItsEnd({ bodyRemaining }: ResponseParser): boolean {
  return bodyRemaining >= 0 && bodyRemaining <= DRAIN_BYTES_MAX;
}

export class UnwantedRest implements SocketOwner, TimerOwner {
  readonly transfer = null;
  readonly #multi: Multi;
  readonly #connection: Connection;
  readonly #entry: SocketEntry;
  readonly #timer = new TimerNode(this);
  #over = false;

  constructor(multi: Multi, connection: Connection, entry: SocketEntry) {
    this.#multi = multi;
    this.#connection = connection;
    this.#entry = entry;
    entry.owner = this;
    multi.placer.draining.add(this);
    multi.sockets.want(entry, WATCH_IN);
    multi.timers.set(this.#timer, multi.now + DRAIN_MS_MAX);
  }

  onSocketEvents(): void {
    if (this.#over) return;
    const { io } = this.#multi;
    const count = io.read(this.#entry.socket);
    // More than was left to read away is there.
    if (this.#connection.isSecure && this.#tlsIsBusy) this.close();
    else if (count > 0) this.take(io.readBuffer, 0, count);
    else if (!isTransient(count)) this.close();
  }

  /** The peer has had its time. */
  onTimer(): void {
    this.close();
  }

  /** Bytes that were read: of the rest, and perhaps behind it. */
  take(bytes: Uint8Array, start: number, end: number): void {
    if (this.#over) return;
    const { parser } = this.#connection;
    try {
      const consumed = parser.execute(bytes, start, end);
      if (!parser.complete) return;
      if (consumed === end) this.finish();
      else this.close();
    } catch {
      this.close();
    }
  }

  /** All of it is read: the connection serves again. */
  finish(): void {
    if (!this.#end()) return;
    this.#entry.owner = this.#connection;
    this.#multi.placer.connectionFree(this.#connection);
  }

  close(): void {
    if (this.#end()) this.#connection.abandon();
  }

  #end(): boolean {
    if (this.#over) return false;
    this.#over = true;
    this.#multi.placer.draining.delete(this);
    this.#multi.timers.cancel(this.#timer);
    return true;
  }

  get #tlsIsBusy(): boolean {
    const { state } = this.#multi.io.tls as TlsIo;
    return ((state[0] as number) & (TLS_MORE | TLS_READ_WANTS_WRITE)) !== 0;
  }
}
