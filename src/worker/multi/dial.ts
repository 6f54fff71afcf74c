/**
 * One attempt to open a connection for one transfer: look-up, then one address after the other until one answers. It holds
 * its destination's slot from its start to its end; on success the slot goes on to the connection.
 */

import { isIP } from 'node:net';
import { TransferError } from '../../protocol/errors.ts';
import { EINPROGRESS, errnoName } from '../io/errno.ts';
import type { AddressFamily, Socket } from '../io/io.ts';
import type { Destination } from './destination.ts';
import type { LookupWaiter } from './lookups.ts';
import type { Multi } from './multi.ts';
import { type SocketEntry, type SocketOwner, WATCH_OUT } from './socket-table.ts';
import type { Transfer } from './transfer.ts';

export class Dial implements SocketOwner, LookupWaiter {
  readonly transfer: Transfer;
  readonly destination: Destination;
  phase: 'dns' | 'connect' = 'dns';
  readonly #multi: Multi;
  #addresses: readonly string[] = [];
  #index = 0;
  #failures: TransferError[] = [];
  #entry: SocketEntry | null = null;

  constructor(multi: Multi, transfer: Transfer, destination: Destination) {
    this.#multi = multi;
    this.transfer = transfer;
    this.destination = destination;
  }

  start(): void {
    const { host } = this.destination.origin;
    const known = isIP(host) === 0 ? this.#multi.lookups.find(host, this.#multi.now, this) : [host];
    if (known !== null) this.onAddresses(known);
  }

  onAddresses(addresses: readonly string[]): void {
    this.transfer.dnsUs = this.transfer.since(this.#multi.now);
    this.phase = 'connect';
    this.#addresses = addresses;
    this.#connectNext();
  }

  onLookupFailed(error: TransferError): void {
    this.#multi.dialFailed(this, error);
  }

  onSocketEvents(_events: number): void {
    const entry = this.#entry;
    if (entry === null) return;
    const result = this.#multi.io.connectResult(entry.socket);
    if (result === -EINPROGRESS) return;
    this.#entry = null;
    if (result === 0) {
      this.#multi.dialSucceeded(this, entry);
      return;
    }
    this.#multi.sockets.leave(entry);
    this.#failed(result);
    this.#connectNext();
  }

  /** The transfer no longer wants it. The caller gives the slot back. */
  cancel(): void {
    if (this.phase === 'dns') this.#multi.lookups.forget(this.destination.origin.host, this);
    if (this.#entry !== null) this.#multi.sockets.leave(this.#entry);
    this.#entry = null;
  }

  #connectNext(): void {
    while (this.#index < this.#addresses.length) {
      const address = this.#addresses[this.#index++] as string;
      if (this.#connectTo(address)) return;
    }
    this.#multi.dialFailed(this, this.#noAddressLeft());
  }

  /** False when the address failed at once. */
  #connectTo(address: string): boolean {
    const { io, sockets } = this.#multi;
    const family = familyOf(address);
    const socket: Socket = io.open(family);
    if (socket < 0) return this.#failed(socket);
    const result = io.connect(socket, family, address, this.destination.origin.port);
    if (result < 0 && result !== -EINPROGRESS) {
      io.close(socket);
      return this.#failed(result);
    }
    // A connect that succeeded at once is found writable at once: one path for both.
    this.#entry = sockets.add(socket, this);
    sockets.want(this.#entry, WATCH_OUT);
    return true;
  }

  #failed(negativeErrno: number): false {
    const { port } = this.destination.origin;
    const address = this.#addresses[this.#index - 1] ?? '';
    const errno = errnoName(negativeErrno);
    const where = address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
    this.#failures.push(
      new TransferError('COULDNT_CONNECT', `${where} could not be connected to: ${errno}.`, {
        phase: 'connect',
        errno,
      }),
    );
    return false;
  }

  #noAddressLeft(): TransferError {
    const failures = this.#failures;
    const last = failures.at(-1);
    const origin = this.destination.origin.text;
    return new TransferError(
      'COULDNT_CONNECT',
      `No connection to ${origin} could be opened (${failures.map((failure) => failure.errno).join(', ')}); check that a server listens there.`,
      {
        phase: 'connect',
        errno: last?.errno,
        cause: failures.length === 1 ? last : new AggregateError(failures, `Every address of ${origin} failed.`),
      },
    );
  }
}

function familyOf(address: string): AddressFamily {
  return address.includes(':') ? 6 : 4;
}
