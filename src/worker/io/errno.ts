/** Linux errno numbers the engine decides by, and their names for people. Numbers are the same on every Linux architecture Node supports. */

import { getSystemErrorName } from 'node:util';

export const EINTR = 4;
export const EAGAIN = 11;
export const EEXIST = 17;
export const EMFILE = 24;
export const ENFILE = 23;
export const EPIPE = 32;
export const EAFNOSUPPORT = 97;
export const EADDRINUSE = 98;
export const EADDRNOTAVAIL = 99;
export const EBADF = 9;
export const ECONNRESET = 104;
export const ENOTCONN = 107;
export const EINPROGRESS = 115;

/** The call may be made again: when the socket is ready, or at once. */
export function isTransient(negativeErrno: number): boolean {
  return negativeErrno === -EAGAIN || negativeErrno === -EINTR;
}

/** `-104` -> `'ECONNRESET'`. Unknown numbers come back as text. */
export function errnoName(negativeErrno: number): string {
  try {
    return getSystemErrorName(negativeErrno);
  } catch {
    return `errno ${-negativeErrno}`;
  }
}
