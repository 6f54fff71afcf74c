/**
 * The handshake on a connection just opened, for the transfer that it was opened for: until it is done and the peer is known to
 * be the right one, not a byte of HTTP is written. It holds its destination's slot, which goes on to the connection. The clock is
 * that of connecting. What a failure means to people is `tls-failure.ts`'s.
 */

import { TransferError } from '../../protocol/errors.ts';
import type { TlsPlan } from '../../protocol/tls-options.ts';
import { TLS_FAILED, TLS_WANT_READ, TLS_WANT_WRITE, type TlsInfo, type TlsIo } from '../io/tls-io.ts';
import type { Destination } from './destination.ts';
import type { Multi } from './multi.ts';
import { type SocketEntry, type SocketOwner, WATCH_IN, WATCH_OUT } from './socket-table.ts';
import { handshakeFailed, identityRefused, protocolRefused, unpinned } from './tls-failure.ts';
import { checkedIdentity, hasPinnedKey } from './tls-identity.ts';
import type { Transfer } from './transfer.ts';

export class TlsHandshake implements SocketOwner {
  readonly transfer: Transfer;
  readonly destination: Destination;
  readonly entry: SocketEntry;
  readonly #multi: Multi;
  readonly #plan: TlsPlan;
  #ended = false;

  constructor(multi: Multi, transfer: Transfer, destination: Destination, entry: SocketEntry, plan: TlsPlan) {
    this.#multi = multi;
    this.transfer = transfer;
    this.destination = destination;
    this.entry = entry;
    this.#plan = plan;
    entry.owner = this;
  }

  start(): void {
    const { tls } = this.#multi.io;
    if (tls === undefined) {
      this.#fail(
        new TransferError('TLS_FAILED', 'This multi was given an io without TLS; https: needs one that has it.', {
          phase: 'tls',
        }),
      );
      return;
    }
    let result: number;
    try {
      result = tls.start(this.entry.socket, this.#plan, this.destination.origin.host, this.destination.key);
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      this.#fail(new TransferError('TLS_FAILED', `TLS could not be set up: ${reason}`, { phase: 'tls', cause }));
      return;
    }
    if (result === 0) this.#step(tls);
    else this.#fail(handshakeFailed(this.destination.origin, result, null));
  }

  onSocketEvents(_events: number): void {
    if (!this.#ended) this.#step(this.#multi.io.tls as TlsIo);
  }

  /** The transfer no longer wants it. The caller gives the slot back. */
  cancel(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#multi.sockets.leave(this.entry);
  }

  #step(tls: TlsIo): void {
    const { socket } = this.entry;
    const result = tls.handshake(socket);
    if (result === TLS_WANT_READ) this.#multi.sockets.want(this.entry, WATCH_IN);
    else if (result === TLS_WANT_WRITE) this.#multi.sockets.want(this.entry, WATCH_OUT);
    else if (result === 0) this.#established(tls);
    else this.#fail(handshakeFailed(this.destination.origin, result, result === TLS_FAILED ? tls.error(socket) : null));
  }

  #established(tls: TlsIo): void {
    const info = tls.info(this.entry.socket);
    const refusal = this.#refusal(tls, info);
    // The function that checks identities is the application's: it may have removed the transfer.
    if (this.#ended) return;
    if (refusal !== null) {
      this.#fail(refusal);
      return;
    }
    this.#ended = true;
    tls.approve(this.entry.socket);
    this.#multi.placer.handshakeSucceeded(this, info);
  }

  /** What OpenSSL did not check; null: all is well. */
  #refusal(tls: TlsIo, info: TlsInfo): TransferError | null {
    const { alpn, pinnedPublicKeys, checkServerIdentity } = this.#plan;
    const { origin } = this.destination;
    if (info.alpn !== '' && !alpn.includes(info.alpn)) return protocolRefused(origin, info.alpn, alpn);
    if (pinnedPublicKeys.length === 0 && checkServerIdentity === null) return null;
    const peer = tls.peer(this.entry.socket);
    if (pinnedPublicKeys.length > 0 && !hasPinnedKey(peer, pinnedPublicKeys)) return unpinned(origin, peer);
    if (checkServerIdentity === null) return null;
    const error = checkedIdentity(peer, this.#plan.servername || origin.host, checkServerIdentity);
    return error === null ? null : identityRefused(origin, peer, error);
  }

  #fail(error: TransferError): void {
    this.#multi.fail(this.transfer, error);
  }
}
