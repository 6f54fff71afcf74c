/**
 * TLS on sockets, as the engine sees it: an optional part of `Io`. Once `start` was called for a connected socket, `read`,
 * `readInto`, `write` and `writeFrom` carry its plaintext, and may answer the codes below beside counts and errnos.
 *
 * One trust store of Node's roots is made per thread, when the first https connection needs it; contexts are made once per
 * configuration. No policy: what is done about a peer that fails is the engine's.
 */

import type { SharedSession } from '../../protocol/port/session-frames.ts';
import type { TlsPlan } from '../../protocol/tls-options.ts';
import type { Socket } from './io.ts';

/** The peer or its certificate failed: `error` says how. */
export const TLS_FAILED = -5001;
/** The peer's FIN came without its close_notify: what was read may not be all. */
export const TLS_TRUNCATED = -5002;
/** Of `handshake`: goes on when the socket is readable, or writable. */
export const TLS_WANT_READ = -5003;
export const TLS_WANT_WRITE = -5004;

/** Bits of `state[0]` after a `read`, `readInto`, `write` or `writeFrom` of a socket with TLS. */
/** The next read has an answer without any event of the socket. */
export const TLS_MORE = 1;
/** Reading goes on when the socket is writable. */
export const TLS_READ_WANTS_WRITE = 2;
/** Writing goes on when the socket is readable. */
export const TLS_WRITE_WANTS_READ = 4;

export interface TlsIo {
  /** [0]: the bits above; [1]: how many sessions `offers` would answer. */
  readonly state: Int32Array;
  /**
   * Puts TLS on a connected socket. `host`: the URL's, which is asked for and checked unless the plan names another.
   * `destination`: what its sessions are kept by, beside the configuration. `inside`: in the TLS that
   * the socket has already, which then carries it. 0 or -errno. Throws an Error when the plan cannot be used.
   */
  start(socket: Socket, plan: TlsPlan, host: string, destination: string, inside?: boolean): number;
  /** 0: done; TLS_WANT_READ or TLS_WANT_WRITE: not yet; TLS_FAILED, TLS_TRUNCATED or -errno: it failed. */
  handshake(socket: Socket): number;
  /** The peer is who it should be: sessions of this connection may be used from now on. */
  approve(socket: Socket): number;
  /** Sends close_notify. 1: the peer's has come already; 0: it has not; negative: there is nothing to say any more. `close` does this too. */
  shutDown(socket: Socket): number;
  /** After the handshake. */
  info(socket: Socket): TlsInfo;
  /** The peer's certificate as DER; null: there is none. */
  peer(socket: Socket): Buffer | null;
  /** A peer's certificate as DER, by `TlsInfo.certificate`, of the last 1,000 that were met; null: it is not among them. */
  certificate(number: number): Buffer | null;
  /** After TLS_FAILED. */
  error(socket: Socket): TlsFault;
  /** From now on sessions are set aside for so many other threads that connect to the same destinations: one for each of them. */
  share(others: number): void;
  /** What was set aside since the last call; of TLS 1.3 it is gone here. */
  offers(): readonly SharedSession[];
  /** What another thread has set aside. It is read when a connection first has a use for it. */
  accept(session: SharedSession): void;
  /** Lets go of what was resolved and parsed for connections to come; those open live on. */
  forgetContexts(): void;
}

/** How a connection is secured. */
export interface TlsInfo {
  /** `TLSv1.3`. */
  readonly protocol: string;
  /** OpenSSL's name of the cipher suite. */
  readonly cipher: string;
  /** Whether an earlier connection's session was resumed. */
  readonly resumed: boolean;
  /** What the peer chose by ALPN; '': nothing. */
  readonly alpn: string;
  /** Whether the certificate verified; false only with `rejectUnauthorized: false`. */
  readonly verified: boolean;
  /** By which `certificate` finds what the peer showed, on this thread; 0: nothing. */
  readonly certificate: number;
}

export interface TlsFault {
  /** OpenSSL's. */
  readonly reason: string;
  /** The alert that the peer sent (RFC 8446 §6), or -1. */
  readonly alert: number;
  /** X509_V_ERR_*; 0: the certificate is not what failed. */
  readonly verifyCode: number;
  readonly verifyText: string;
  /** Of the certificate at fault: 0 is the peer's own. */
  readonly verifyDepth: number;
  /** DER of the certificate at fault. */
  readonly certificate: Buffer | null;
  /** DER of the peer's own. */
  readonly leaf: Buffer | null;
}
