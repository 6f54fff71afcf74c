/**
 * Being let through by a proxy, on a connection just opened to it: carries a dialogue (`dialogue.ts`) over the socket, plain or in
 * the proxy's TLS. It holds its destination's slot, which goes on to the connection, and the clock is that of connecting.
 *
 *   speaking   the socket takes no more for now of what is to be said
 *   listening  the proxy is to answer
 *   ended      open, failed or cancelled
 */

import { TransferError } from '../../protocol/errors.ts';
import type { ProxyPlan } from '../../protocol/proxy-options.ts';
import { EAGAIN, EINTR, errnoName } from '../io/errno.ts';
import {
  TLS_FAILED,
  TLS_MORE,
  TLS_READ_WANTS_WRITE,
  TLS_TRUNCATED,
  TLS_WRITE_WANTS_READ,
  type TlsInfo,
  type TlsIo,
} from '../io/tls-io.ts';
import type { Destination } from '../multi/destination.ts';
import type { Handshake } from '../multi/handshake.ts';
import type { Multi } from '../multi/multi.ts';
import { type SocketEntry, type SocketOwner, WATCH_IN, WATCH_OUT } from '../multi/socket-table.ts';
import { explained } from '../multi/tls-failure.ts';
import type { Transfer } from '../multi/transfer.ts';
import { type Dialogue, openDialogue } from './dialogue.ts';
import { optionsOfProxy, proxyFailed, proxyLost } from './proxy-failure.ts';

export class Tunnel implements SocketOwner, Handshake {
  readonly phase = 'proxy';
  readonly rung = 'tunnel';
  readonly transfer: Transfer;
  readonly destination: Destination;
  readonly entry: SocketEntry;
  /** The proxy's own; null: it is reached without TLS. */
  readonly tls: TlsInfo | null;
  state: 'speaking' | 'listening' | 'ended' = 'speaking';
  readonly #multi: Multi;
  readonly #proxy: ProxyPlan;
  #dialogue: Dialogue | null = null;
  #spokenBytes = 0;

  constructor(multi: Multi, transfer: Transfer, destination: Destination, entry: SocketEntry, tls: TlsInfo | null) {
    this.#multi = multi;
    this.transfer = transfer;
    this.destination = destination;
    this.entry = entry;
    this.tls = tls;
    this.#proxy = transfer.route.proxy as ProxyPlan;
    entry.owner = this;
  }

  start(): void {
    const { route, limits } = this.transfer;
    try {
      this.#dialogue = openDialogue(this.#proxy, route, limits.headBytes);
    } catch (error) {
      this.#fail(error);
      return;
    }
    this.#speak(this.#dialogue);
  }

  onSocketEvents(_events: number): void {
    const dialogue = this.#dialogue as Dialogue;
    if (this.state === 'speaking') this.#speak(dialogue);
    else if (this.state === 'listening') this.#listen(dialogue);
  }

  /** The transfer no longer wants it. The caller gives the slot back. */
  cancel(): void {
    if (this.state === 'ended') return;
    this.state = 'ended';
    this.#multi.sockets.leave(this.entry);
  }

  #speak(dialogue: Dialogue): void {
    const { io, sockets } = this.#multi;
    const { outgoing } = dialogue;
    this.state = 'speaking';
    while (this.#spokenBytes < outgoing.length) {
      const left = outgoing.length - this.#spokenBytes;
      const count = io.writeFrom(this.entry.socket, outgoing, this.#spokenBytes, left);
      if (count === -EINTR) continue;
      if (count === -EAGAIN) {
        sockets.want(this.entry, this.#tlsBit(TLS_WRITE_WANTS_READ) ? WATCH_IN : WATCH_OUT);
        return;
      }
      if (count < 0) {
        this.#lost(count);
        return;
      }
      this.#spokenBytes += count;
    }
    this.#spokenBytes = 0;
    this.state = 'listening';
    sockets.want(this.entry, WATCH_IN);
    // With TLS the answer may have been decrypted already, and no event would tell.
    if (this.tls !== null) this.#listen(dialogue);
  }

  #listen(dialogue: Dialogue): void {
    const { io, sockets } = this.#multi;
    for (;;) {
      const count = io.read(this.entry.socket);
      const isMore = this.#tlsBit(TLS_MORE);
      if (count === -EINTR || count === -EAGAIN) {
        if (isMore) continue;
        sockets.want(this.entry, this.#tlsBit(TLS_READ_WANTS_WRITE) ? WATCH_OUT : WATCH_IN);
        return;
      }
      if (count <= 0) {
        this.#lost(count);
        return;
      }
      if (!this.#hear(dialogue, io.readBuffer, count) || !isMore) return;
    }
  }

  /** Whether more is to be heard. */
  #hear(dialogue: Dialogue, bytes: Uint8Array, count: number): boolean {
    let next: ReturnType<Dialogue['receive']>;
    try {
      next = dialogue.receive(bytes, 0, count);
    } catch (error) {
      this.#fail(error);
      return false;
    }
    if (next === 'listen') return true;
    if (next === 'speak') this.#speak(dialogue);
    else {
      this.state = 'ended';
      this.#multi.placer.handshakeSucceeded(this, this.tls);
    }
    return false;
  }

  #tlsBit(bit: number): boolean {
    return this.tls !== null && (((this.#multi.io.tls as TlsIo).state[0] as number) & bit) !== 0;
  }

  /** 0: the peer's FIN. */
  #lost(result: number): void {
    if (result === 0 || result === TLS_TRUNCATED) {
      this.#fail(proxyLost(this.#proxy, 'closed the connection'));
      return;
    }
    if (result === TLS_FAILED) {
      // In TLS 1.3 a proxy that wants another certificate of ours says so here.
      const { what, limit } = explained((this.#multi.io.tls as TlsIo).error(this.entry.socket));
      this.#fail(
        proxyFailed(
          this.#proxy,
          `lost the connection before it had let this request through (${optionsOfProxy(what)})`,
          limit === undefined ? {} : { limit: `proxy.${limit}` },
        ),
      );
      return;
    }
    const errno = errnoName(result);
    this.#fail(proxyLost(this.#proxy, `lost the connection (${errno})`, errno));
  }

  #fail(error: unknown): void {
    if (TransferError.is(error)) this.#multi.fail(this.transfer, error);
    else this.#multi.engineFault(this.transfer, error);
  }
}
