/**
 * The one narrow interface between the engine and the kernel: names, sockets, bytes, a clock. No HTTP, no policy, no timers.
 *
 * Two implementations: `native-io.ts` over the addon, and (for tests) a simulated network. The engine cannot tell them apart.
 * Every call that can fail answers a negative errno (`-errno`, see `errno.ts`) and never throws: these are the hot calls.
 */

import type { TlsIo } from './tls-io.ts';

/** A socket is its descriptor: a small dense non-negative integer, reused by the kernel after close. */
export type Socket = number;

/** 4: IPv4, 6: IPv6, 1: unix (AF_UNIX). */
export type AddressFamily = 4 | 6 | 1;

export interface Io {
  /** Every `read` lands here, from offset 0. Referenced by the addon, never transferred. */
  readonly readBuffer: Uint8Array;
  /** Staging for `write`. Referenced by the addon, never transferred. */
  readonly writeBuffer: Uint8Array;

  /** Monotonic milliseconds with fractions (CLOCK_MONOTONIC: the same clock in every thread). */
  now(): number;

  /** A non-blocking, close-on-exec stream socket with TCP_NODELAY, or `-errno`. */
  open(family: AddressFamily): Socket | number;
  /**
   * Binds to a local address before `connect`. With port 0 the port is picked when connecting, so that an address has all its
   * ports once per peer. 0; -EADDRNOTAVAIL: no address of this machine; -EADDRINUSE: that port is taken. Called only where a
   * route names local addresses or ports.
   */
  bind(socket: Socket, family: AddressFamily, address: string, port: number): number;
  /** `idleSeconds` 0: no keep-alive probes. 0 or -errno. Called only where a route's options are not `open`'s. */
  setTcpOptions(socket: Socket, noDelay: boolean, idleSeconds: number, intervalSeconds: number, probes: number): number;
  /**
   * Takes over a stream socket that the application made (its `openSocket` hook): made non-blocking, used and closed like one that
   * `open` made. 0; -EEXIST: it is one already; -ENOTSOCK, -EPROTOTYPE, -EBADF: it cannot be.
   */
  adopt(descriptor: number): number;
  /** Gives a socket up, open, to the application, which closes it (its `closeSocket` hook). 0 or -EBADF. */
  release(socket: Socket): number;
  /** Starts to connect to a numeric address (or a unix path; `port` is then ignored). 0 when connected at once, -EINPROGRESS (-115) usually. */
  connect(socket: Socket, family: AddressFamily, address: string, port: number): number;
  /** After a connecting socket became writable: 0 connected, -EINPROGRESS not yet (a stale event), else why it failed. */
  connectResult(socket: Socket): number;
  /** Bytes read into `readBuffer`; 0 at the peer's FIN; -EAGAIN (-11) when there is nothing. */
  read(socket: Socket): number;
  /** As `read`, into `target[offset, offset + length)`. */
  readInto(socket: Socket, target: Uint8Array, offset: number, length: number): number;
  /** Writes `writeBuffer[offset, offset + length)`; the count written, or -EAGAIN, -EPIPE, … Never raises SIGPIPE. */
  write(socket: Socket, offset: number, length: number): number;
  /** As `write`, from `source`. With TLS it may answer more than `length`, where more was taken by the call that -EAGAIN answered. */
  writeFrom(socket: Socket, source: Uint8Array, offset: number, length: number): number;
  /** Sends FIN behind what was written and goes on reading: 0 or -errno. With TLS it is `tls.shutDown` that says so. */
  endWriting(socket: Socket): number;
  /** Closes a socket that `open` made or `adopt` took; -EBADF for any other descriptor, which stays untouched. */
  close(socket: Socket): number;
  /** The peer's address as text, `127.0.0.1:8080` or `[::1]:8080`; the path of a unix socket; empty when not connected. */
  remoteAddress(socket: Socket): string;

  /** TLS on sockets; absent: https cannot be reached this way. */
  readonly tls?: TlsIo;

  /** A resolver with a descriptor of its own. One per multi. Throws an Error whose `code` is the errno's name. */
  openResolver(): Resolver;
}

/** Answers of one look-up. */
export interface ResolveAnswer {
  /** What `resolve` returned. */
  readonly lookup: number;
  /** 0, or getaddrinfo's code (EAI_*, negative). */
  readonly status: number;
  /** getaddrinfo's name of the failure, e.g. `EAI_NONAME`; empty on success. */
  readonly statusName: string;
  /** Numeric addresses in the order of getaddrinfo (RFC 6724), without duplicates. A scope is kept: `fe80::1%eth0`. */
  readonly addresses: readonly string[];
}

/** getaddrinfo on threads of its own; answers wait behind an eventfd. */
export interface Resolver {
  /** Readable when an answer waits. */
  readonly socket: Socket;
  /** Starts a look-up; a positive number that its answer will carry. `family` 0: both. */
  resolve(host: string, family: 0 | 4 | 6): number;
  /** The next answer, or null. Clears readability once the last was taken. */
  take(): ResolveAnswer | null;
  /** Forgets all look-ups under way (their threads finish on their own) and closes the descriptor. */
  close(): void;
}

// What epoll says of a socket; the engine's own bits.
/** Of `multi.action`: the socket is readable (CURL_CSELECT_IN). */
export const EVENT_IN = 1;
/** Of `multi.action`: the socket is writable (CURL_CSELECT_OUT). */
export const EVENT_OUT = 2;
/** Of `multi.action`: the socket has an error (CURL_CSELECT_ERR). */
export const EVENT_ERR = 4;

/** Readiness: what `EpollDriver` needs of the kernel. No part of `Io`, because the engine itself never waits. */
export interface Poller {
  /**
   * Filled by `wait`: triples of socket, events (EVENT_IN | EVENT_OUT | EVENT_ERR) and the tag given to `watch`.
   * EPOLLIN and EPOLLRDHUP give EVENT_IN; EPOLLHUP and EPOLLERR give EVENT_ERR (and EVENT_IN | EVENT_OUT, so that whoever waits wakes).
   */
  readonly events: Int32Array;
  /** Begins, changes or (what = 0) ends watching, level-triggered. `tag`: any 32-bit integer, returned with each event. 0 or -errno. */
  watch(socket: Socket, what: number, tag: number): number;
  /** Waits at most `timeoutMs` (clamped to 100 ms so that a worker can be ended); the number of triples, or -errno. */
  wait(timeoutMs: number): number;
  /** Calls back on this thread's event loop whenever `wait(0)` would find something. Once per poller. */
  start(onReady: () => void): void;
  stop(): void;
  /** Whether the started poller keeps the thread's event loop alive. Default: yes. */
  ref(): void;
  unref(): void;
  /** Closes the epoll descriptor; watched sockets stay open. */
  close(): void;
}
