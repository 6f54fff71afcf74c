/**
 * The hooks through which an application makes and closes the sockets of its transfers itself (libcurl:
 * CURLOPT_OPENSOCKETFUNCTION, CURLOPT_CLOSESOCKETFUNCTION): their types, and calling them safely. What is done with a socket is
 * `socket-opener.ts`'s.
 */

import { TransferError } from '../../protocol/errors.ts';
import { describe } from '../../protocol/options.ts';
import type { AddressFamily, Io, Socket } from '../io/io.ts';
import { abortedBy } from './aborted-by.ts';

/** What a socket is for; libcurl's CURLSOCKTYPE_IPCXN. There are no others yet. */
export type SocketPurpose = 'connect';

/** Where a socket is about to connect to (libcurl: struct curl_sockaddr). */
export interface SocketAddress {
  /** 4: IPv4, 6: IPv6, 1: unix. */
  readonly family: AddressFamily;
  /** Numeric; the path of a unix socket. */
  readonly address: string;
  /** 0 for a unix socket. */
  readonly port: number;
}

/**
 * Makes the socket for a connection: a descriptor, `{ socket, connected: true }` when it is connected already, nothing for the
 * engine to make it, or -1 to refuse (that address fails, rule 54). Called once per attempt at an address. The socket is then the
 * engine's, and its connection one of its origin's like any other. A throw fails the transfer.
 */
export type OpenSocketHook = (
  purpose: SocketPurpose,
  address: SocketAddress,
  // biome-ignore lint/suspicious/noConfusingVoidType: returning nothing is a usual case.
) => number | { readonly socket: number; readonly connected?: boolean } | undefined | void;

/**
 * Closes a socket in the engine's place, whoever made it; it must close it. It is the hook of the transfer that opened the
 * connection, and may run long after that transfer is gone (rule 56).
 */
export type CloseSocketHook = (socket: number) => void;

export interface SocketHooks {
  readonly openSocket: OpenSocketHook | null;
  readonly closeSocket: CloseSocketHook | null;
}

/** Of an answer: the hook leaves it to the engine. */
export const UNMADE = -2;
/** Of an answer: the hook refuses. */
export const REFUSED = -1;

export interface HookAnswer {
  /** A descriptor, UNMADE or REFUSED. */
  readonly socket: number;
  readonly connected: boolean;
}

const UNMADE_ANSWER: HookAnswer = { socket: UNMADE, connected: false };

/** Answers a TransferError ABORTED_BY_CALLBACK when the hook throws, or answers what is no answer. */
export function callOpenSocket(hook: OpenSocketHook, address: SocketAddress): HookAnswer | TransferError {
  let given: unknown;
  try {
    given = hook('connect', address);
  } catch (error) {
    return TransferError.is(error) ? error : abortedBy('The openSocket hook', error);
  }
  if (given === undefined) return UNMADE_ANSWER;
  if (isDescriptor(given)) return { socket: given, connected: false };
  if (typeof given === 'object' && given !== null && 'socket' in given && isDescriptor(given.socket)) {
    const connected = 'connected' in given ? given.connected : false;
    if (typeof connected === 'boolean') return { socket: given.socket, connected };
  }
  return badSocket(`answered ${describe(given)}, which is no socket`);
}

/** Closes through the hook, or by itself when there is none. Answers what the hook threw, in a box, or null. */
export function closeSocket(io: Io, socket: Socket, hook: CloseSocketHook | null): { error: unknown } | null {
  if (hook === null) {
    io.close(socket);
    return null;
  }
  io.release(socket);
  try {
    hook(socket);
    return null;
  } catch (error) {
    return { error };
  }
}

export function badSocket(what: string): TransferError {
  return new TransferError(
    'ABORTED_BY_CALLBACK',
    `The openSocket hook ${what}; it must answer the descriptor of a stream socket, -1 or nothing.`,
    { phase: 'connect' },
  );
}

function isDescriptor(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= REFUSED && value < 2 ** 31;
}
