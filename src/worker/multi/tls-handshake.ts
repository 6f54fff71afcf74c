/**
 * The handshake on a connection just opened, for the transfer that it was opened for: until it is done and the peer is known to
 * be the right one, not a byte of HTTP is written. With an `https:` proxy there are two: with the proxy, and inside it with the origin. It holds its destination's slot, which goes on to the connection. The clock is
 * that of connecting. What a failure means to people is `tls-failure.ts`'s.
 *
 *   shaking  OpenSSL exchanges its messages; the socket is watched
 *   asking   the application's function answers by a promise; the socket is not watched. The answer waits for a turn, for which
 *            the timer callback asks
 *   ended    succeeded, failed or cancelled
 */

import { TransferError } from '../../protocol/errors.ts';
import type { Origin } from '../../protocol/origin.ts';
import type { ProxyPlan } from '../../protocol/proxy-options.ts';
import { thrownText } from '../../protocol/thrown-text.ts';
import type { CheckServerIdentity, TlsPlan } from '../../protocol/tls-options.ts';
import { TLS_FAILED, TLS_WANT_READ, TLS_WANT_WRITE, type TlsInfo, type TlsIo } from '../io/tls-io.ts';
import { optionsOfProxy } from '../proxy/proxy-failure.ts';
import type { Destination } from './destination.ts';
import type { Handshake } from './handshake.ts';
import type { Multi } from './multi.ts';
import { type SocketEntry, type SocketOwner, WATCH_IN, WATCH_NONE, WATCH_OUT } from './socket-table.ts';
import { AT_ONCE } from './timer-announcement.ts';
import { TimerNode, type TimerOwner } from './timer-queue.ts';
import { handshakeFailed, identityRefused, protocolRefused, unnamed, unpinned } from './tls-failure.ts';
import { checkedIdentity, hasPinnedKey } from './tls-identity.ts';
import type { Transfer } from './transfer.ts';

export class TlsHandshake implements SocketOwner, TimerOwner, Handshake {
  readonly phase = 'tls';
  readonly rung: 'proxy TLS' | 'origin TLS';
  readonly transfer: Transfer;
  readonly destination: Destination;
  readonly entry: SocketEntry;
  readonly #multi: Multi;
  readonly #plan: TlsPlan;
  /** Who should be at the other end; as errors show it. */
  readonly #peer: Origin;
  #state: 'shaking' | 'asking' | 'ended' = 'shaking';
  /** In 'asking': ends it in a turn; made when there is an answer. */
  #answerTimer: TimerNode | null = null;
  /** What the function objected to. */
  #objection: Error | null = null;

  constructor(
    multi: Multi,
    transfer: Transfer,
    destination: Destination,
    entry: SocketEntry,
    rung: TlsHandshake['rung'],
  ) {
    this.#multi = multi;
    this.transfer = transfer;
    this.destination = destination;
    this.entry = entry;
    this.rung = rung;
    const { proxy, tls, origin } = transfer.route;
    this.#plan = (rung === 'proxy TLS' ? proxy?.tls : tls) as TlsPlan;
    this.#peer = rung === 'proxy TLS' ? originOfProxy(proxy as ProxyPlan) : origin;
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
      const { proxy } = this.transfer.route;
      const isInner = this.rung === 'origin TLS' && proxy !== null && proxy.tls !== null;
      // Sessions are kept apart by whom they are with: a proxy's are no origin's (HOSTILE 113).
      const sessions = this.rung === 'proxy TLS' ? `proxy ${proxy?.identity}` : this.destination.key;
      result = tls.start(this.entry.socket, this.#plan, this.#peer.host, sessions, isInner);
    } catch (cause) {
      const reason = thrownText(cause);
      this.#fail(new TransferError('TLS_FAILED', `TLS could not be set up: ${reason}`, { phase: 'tls', cause }));
      return;
    }
    if (result === 0) this.#step(tls);
    else this.#fail(handshakeFailed(this.#peer, result, null, null));
  }

  onSocketEvents(_events: number): void {
    if (this.#state === 'shaking') this.#step(this.#multi.io.tls as TlsIo);
  }

  /** The transfer no longer wants it. The caller gives the slot back. */
  cancel(): void {
    if (this.#state === 'ended') return;
    this.#state = 'ended';
    if (this.#answerTimer !== null) this.#multi.timers.cancel(this.#answerTimer);
    this.#multi.sockets.leave(this.entry);
  }

  #step(tls: TlsIo): void {
    const { socket } = this.entry;
    const result = tls.handshake(socket);
    if (result === TLS_WANT_READ) this.#multi.sockets.want(this.entry, WATCH_IN);
    else if (result === TLS_WANT_WRITE) this.#multi.sockets.want(this.entry, WATCH_OUT);
    else if (result === 0) this.#established(tls);
    else {
      const fault = result === TLS_FAILED ? tls.error(socket) : null;
      this.#fail(handshakeFailed(this.#peer, result, fault, this.#plan.servername));
    }
  }

  #established(tls: TlsIo): void {
    const info = tls.info(this.entry.socket);
    const refusal = this.#refusal(tls, info);
    if (refusal !== null) {
      this.#fail(refusal);
      return;
    }
    const { checkServerIdentity } = this.#plan;
    // As Node does: whose session this is, was checked when it was made, by the same function (see `approve`).
    if (checkServerIdentity === null || info.resumed) this.#succeed(tls, info);
    else this.#ask(tls, info, checkServerIdentity);
  }

  /** What OpenSSL did not check; null: all is well. */
  #refusal(tls: TlsIo, info: TlsInfo): TransferError | null {
    const { alpn, pinnedPublicKeys, rejectUnauthorized } = this.#plan;
    if (info.alpn !== '' && !alpn.includes(info.alpn)) return protocolRefused(this.#peer, info.alpn, alpn);
    // Anonymous suites, which `ALL` among the ciphers has: OpenSSL verifies nothing where there is nothing to verify.
    if (rejectUnauthorized && info.certificate === 0) return unnamed(this.#peer, info.cipher);
    if (pinnedPublicKeys.length === 0) return null;
    const certificate = tls.peer(this.entry.socket);
    return hasPinnedKey(certificate, pinnedPublicKeys) ? null : unpinned(this.#peer, certificate);
  }

  #ask(tls: TlsIo, info: TlsInfo, check: CheckServerIdentity): void {
    this.#state = 'asking';
    const host = this.#plan.servername || this.#peer.host;
    const objection = checkedIdentity(tls.peer(this.entry.socket), host, check);
    // The function is the application's: it may have taken its time, and have removed the transfer.
    this.#multi.readClock();
    if (this.#hasEnded) return;
    if (!(objection instanceof Promise)) {
      this.#answered(tls, info, objection);
      return;
    }
    this.#multi.sockets.want(this.entry, WATCH_NONE);
    void objection.then((later) => {
      if (this.#hasEnded) return;
      this.#objection = later;
      this.#answerTimer = new TimerNode(this);
      this.#multi.timers.set(this.#answerTimer, AT_ONCE);
      this.#multi.timersChanged();
    });
  }

  /** The function has answered since the last turn (TimerOwner). */
  onTimer(): void {
    const tls = this.#multi.io.tls as TlsIo;
    this.#answered(tls, tls.info(this.entry.socket), this.#objection);
  }

  #answered(tls: TlsIo, info: TlsInfo, objection: Error | null): void {
    if (objection === null) this.#succeed(tls, info);
    else this.#fail(identityRefused(this.#peer, tls.peer(this.entry.socket), objection));
  }

  #succeed(tls: TlsIo, info: TlsInfo): void {
    this.#state = 'ended';
    tls.approve(this.entry.socket);
    this.#multi.placer.handshakeSucceeded(this, info);
  }

  /** As a question: any callback may change the state. */
  get #hasEnded(): boolean {
    return this.#state === 'ended';
  }

  #fail(error: TransferError): void {
    this.#multi.fail(this.transfer, this.rung === 'proxy TLS' ? withProxyNames(error) : error);
  }
}

function originOfProxy({ name, host, port }: ProxyPlan): Origin {
  return { text: `the proxy ${name}`, scheme: 'https', host, port, hostField: host };
}

/** Its options are those of the proxy. */
function withProxyNames(error: TransferError): TransferError {
  const { code, message, phase, errno, cause } = error;
  const limit = error.limit?.startsWith('tls.') ? `proxy.${error.limit}` : error.limit;
  return new TransferError(code, optionsOfProxy(message), { phase, errno, cause, limit });
}
