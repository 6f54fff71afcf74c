/**
 * Opens one socket towards one address as a route says: made by the hook or the kernel, bound to a local end, its options set,
 * its connect started. Whether it connects is `dial.ts`'s; nothing here waits.
 */

import { TransferError } from '../../protocol/errors.ts';
import type { KeepAlive } from '../../protocol/route-options.ts';
import {
  EADDRINUSE,
  EADDRNOTAVAIL,
  EAFNOSUPPORT,
  EEXIST,
  EINPROGRESS,
  EMFILE,
  ENFILE,
  errnoName,
} from '../io/errno.ts';
import type { AddressFamily, Io, Socket } from '../io/io.ts';
import { familyOf } from './address-order.ts';
import { LocalEnds } from './local-ends.ts';
import type { Multi } from './multi.ts';
import { hostPortText, type Route, tcpTarget } from './route.ts';
import { badSocket, callOpenSocket, closeSocket, REFUSED, type SocketAddress, UNMADE } from './socket-hooks.ts';
import type { Transfer } from './transfer.ts';

/** No descriptor is left: EMFILE for this process, ENFILE for the machine. */
export interface NoDescriptor {
  readonly errno: 'EMFILE' | 'ENFILE';
}

/** A socket whose connect is under way or done; or why not. A TransferError of ABORTED_BY_CALLBACK ends the transfer, others only the address. */
export type Opened = Socket | NoDescriptor | TransferError;

const MS_PER_SECOND = 1_000;
const NONE: readonly string[] = [''];

/** An address as errors show it. */
export function shownAddress(route: Route, address: string): string {
  return textOf(targetOf(route, address));
}

export class SocketOpener {
  readonly #multi: Multi;
  readonly #localEnds = new LocalEnds();

  constructor(multi: Multi) {
    this.#multi = multi;
  }

  open(transfer: Transfer, address: string): Opened {
    const { route } = transfer;
    const target = targetOf(route, address);
    const locals = localsFor(route, target);
    const first = locals.length + (route.localPorts === null ? 0 : 1) > 1 ? this.#localEnds.turn(textOf(target)) : 0;
    let failure: TransferError | null = null;
    for (let index = 0; index < locals.length; index++) {
      const local = locals[(first + index) % locals.length] as string;
      const opened = this.#openFrom(transfer, target, local, first);
      if (typeof opened === 'number' || !TransferError.is(opened)) return opened;
      failure = opened;
      // Another local address helps only where this one was at fault.
      if (opened.errno !== 'EADDRNOTAVAIL' && opened.errno !== 'EADDRINUSE') return opened;
      // A hook has removed the transfer: it is asked no more.
      if (transfer.state !== 'dialing') return opened;
    }
    return failure ?? noLocalOfFamily(route, target);
  }

  #openFrom(transfer: Transfer, target: SocketAddress, local: string, turn: number): Opened {
    const { io, now } = this.#multi;
    const { route, socketHooks } = transfer;
    const text = textOf(target);
    if (this.#localEnds.isSpent(local, text, now)) return noPortLeft(route, target);
    const hook = socketHooks?.openSocket ?? null;
    const made = hook === null ? null : callOpenSocket(hook, target);
    if (TransferError.is(made)) return made;
    if (made !== null && made.socket === REFUSED) return refusedByHook(target);
    const socket = made === null || made.socket === UNMADE ? io.open(target.family) : this.#adopt(made.socket);
    if (typeof socket !== 'number') return socket;
    if (socket < 0) return openFailed(target, socket);
    // A socket of the application's has no options that `open` gave it.
    if (target.family !== 1) setTcpOptions(io, route, socket, made !== null && made.socket !== UNMADE);
    const failure = made?.connected === true ? null : this.#connect(route, target, local, turn, socket);
    if (failure === null) return socket;
    const thrown = closeSocket(io, socket, socketHooks?.closeSocket ?? null);
    return thrown === null ? failure : closeThrew(thrown.error);
  }

  /** A socket of the application's. It may be one of this thread's `Io`, but not one that this multi uses already. */
  #adopt(socket: number): Socket | TransferError {
    const { io, sockets } = this.#multi;
    if (sockets.get(socket) !== undefined) return badSocket(`answered socket ${socket}, which is in use already`);
    const result = io.adopt(socket);
    if (result === 0 || result === -EEXIST) return socket;
    return badSocket(`answered ${socket}, which cannot be used (${errnoName(result)})`);
  }

  /** Null: connected or connecting. */
  #connect(route: Route, target: SocketAddress, local: string, turn: number, socket: Socket): TransferError | null {
    const { io, now } = this.#multi;
    const bound = bind(io, route, target.family, local, turn, socket);
    if (bound !== 0) return bindFailed(target, local, route, bound);
    const result = io.connect(socket, target.family, target.address, target.port);
    if (result === -EADDRNOTAVAIL) {
      this.#localEnds.refused(local, textOf(target), now);
      return noPortLeft(route, target);
    }
    if (result < 0 && result !== -EINPROGRESS) return connectFailed(target, result);
    this.#localEnds.granted(local, textOf(target));
    return null;
  }
}

function targetOf(route: Route, address: string): SocketAddress {
  if (route.unixPath !== '') return { family: 1, address: route.unixPath, port: 0 };
  return { family: familyOf(address), address, port: tcpTarget(route).port };
}

/** The local addresses of the target's family; one '' where the kernel chooses. */
function localsFor(route: Route, target: SocketAddress): readonly string[] {
  if (route.localAddresses.length === 0 || target.family === 1) return NONE;
  return route.localAddresses.filter((local) => familyOf(local) === target.family);
}

/** Failing to is no failure: a socket of the application's may be of another kind (libcurl only notes it, too). */
function setTcpOptions(io: Io, route: Route, socket: Socket, foreign: boolean): void {
  const { noDelay, keepAlive } = route;
  if (noDelay && keepAlive === null && !foreign) return; // as `open` leaves it
  const { idleMs, intervalMs, probes }: KeepAlive = keepAlive ?? { idleMs: 0, intervalMs: 0, probes: 0 };
  io.setTcpOptions(socket, noDelay, secondsOf(idleMs), secondsOf(intervalMs), probes);
}

function secondsOf(ms: number): number {
  return Math.ceil(ms / MS_PER_SECOND);
}

function bind(
  io: Io,
  { localPorts }: Route,
  family: AddressFamily,
  local: string,
  turn: number,
  socket: Socket,
): number {
  if (family === 1 || (local === '' && localPorts === null)) return 0;
  const address = local !== '' ? local : family === 6 ? '::' : '0.0.0.0';
  if (localPorts === null) return io.bind(socket, family, address, 0);
  const [first, last] = localPorts;
  const count = last - first + 1;
  let result = -EADDRINUSE;
  for (let index = 0; index < count && result === -EADDRINUSE; index++) {
    result = io.bind(socket, family, address, first + ((turn + index) % count));
  }
  return result;
}

// ── What is told of failures ───────────────────────────────────────────────────────────────────────────────────────────

function textOf({ family, address, port }: SocketAddress): string {
  return family === 1 ? address : hostPortText(address, port);
}

function openFailed(target: SocketAddress, negativeErrno: number): NoDescriptor | TransferError {
  if (negativeErrno === -EMFILE) return { errno: 'EMFILE' };
  if (negativeErrno === -ENFILE) return { errno: 'ENFILE' };
  return connectFailed(target, negativeErrno);
}

function connectFailed(target: SocketAddress, negativeErrno: number): TransferError {
  return attemptFailed(textOf(target), negativeErrno);
}

/** `where` was reached for, and the kernel says why it cannot be. */
export function attemptFailed(where: string, negativeErrno: number): TransferError {
  const errno = errnoName(negativeErrno);
  return couldNotConnect(`${where} could not be connected to: ${errno}.`, errno);
}

function noPortLeft({ localAddresses }: Route, target: SocketAddress): TransferError {
  const from = localAddresses.length === 0 ? 'the local address that the kernel chose' : localAddresses.join(', ');
  return couldNotConnect(
    `No local port is left, or no local address of its family, to connect to ${textOf(target)} from ${from} (EADDRNOTAVAIL); name more addresses with localAddress, or keep fewer connections to it.`,
    'EADDRNOTAVAIL',
    'localAddress',
  );
}

function bindFailed(target: SocketAddress, local: string, route: Route, negativeErrno: number): TransferError {
  const errno = errnoName(negativeErrno);
  if (negativeErrno === -EADDRINUSE && route.localPorts !== null) {
    const [first, last] = route.localPorts;
    return couldNotConnect(
      `Every port of localPorts (${first} to ${last}) is taken, so ${textOf(target)} cannot be connected to (EADDRINUSE).`,
      errno,
      'localPorts',
    );
  }
  return couldNotConnect(
    `${textOf(target)} could not be connected to from ${local === '' ? 'localPorts' : `localAddress ${local}`}: ${errno}; is it an address of this machine?`,
    errno,
    local === '' ? 'localPorts' : 'localAddress',
  );
}

function noLocalOfFamily({ localAddresses }: Route, target: SocketAddress): TransferError {
  return couldNotConnect(
    `${textOf(target)} cannot be connected to from localAddress ${localAddresses.join(', ')}: they are of another family.`,
    errnoName(-EAFNOSUPPORT),
    'localAddress',
  );
}

function refusedByHook(target: SocketAddress): TransferError {
  return couldNotConnect(`The openSocket hook refused ${textOf(target)}.`, undefined);
}

function couldNotConnect(sentence: string, errno: string | undefined, limit?: string): TransferError {
  return new TransferError('COULDNT_CONNECT', sentence, { phase: 'connect', errno, limit });
}

function closeThrew(cause: unknown): TransferError {
  return new TransferError('ABORTED_BY_CALLBACK', 'The closeSocket hook threw.', { phase: 'connect', cause });
}
