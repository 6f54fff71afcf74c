/**
 * Names to addresses: one look-up per name in flight however many dials wait for it, and a bounded cache of what was
 * found. The look-ups themselves run in `native/`; their answers wait behind a descriptor that the multi announces like any
 * socket, so a program without an event loop of Node's gets them too.
 */

import { TransferError } from '../../protocol/errors.ts';
import type { Io, ResolveAnswer, Resolver } from '../io/io.ts';
import { type SocketEntry, type SocketOwner, type SocketTable, WATCH_IN, WATCH_NONE } from './socket-table.ts';

/** How long an answer may be used again (libcurl: CURLOPT_DNS_CACHE_TIMEOUT, 60 s). */
export const LOOKUP_TTL_MS = 60_000;

/** Most names kept: a crawler that visits a million hosts must not keep a million answers. */
const NAMES_MAX = 10_000;

/** Who waits for a name. */
export interface LookupWaiter {
  onAddresses(addresses: readonly string[]): void;
  onLookupFailed(error: TransferError): void;
}

interface Known {
  addresses: readonly string[];
  expires: number;
}

interface Pending {
  host: string;
  waiters: LookupWaiter[];
}

export class Lookups implements SocketOwner {
  readonly transfer = null;
  readonly #io: Io;
  readonly #sockets: SocketTable;
  readonly #ttlMs: number;
  readonly #known = new Map<string, Known>();
  readonly #pendingByHost = new Map<string, Pending>();
  readonly #pendingById = new Map<number, Pending>();
  #resolver: Resolver | null = null;
  #entry: SocketEntry | null = null;

  constructor(io: Io, sockets: SocketTable, ttlMs: number) {
    this.#io = io;
    this.#sockets = sockets;
    this.#ttlMs = ttlMs;
  }

  /** The addresses if they are known now; else null, and `waiter` will hear. */
  find(host: string, now: number, waiter: LookupWaiter): readonly string[] | null {
    const known = this.#known.get(host);
    if (known !== undefined) {
      if (known.expires > now) return known.addresses;
      this.#known.delete(host);
    }
    const pending = this.#pendingByHost.get(host);
    if (pending !== undefined) {
      pending.waiters.push(waiter);
      return null;
    }
    const failure = this.#start({ host, waiters: [waiter] });
    if (failure !== null) waiter.onLookupFailed(failure);
    return null;
  }

  /** `waiter` will not hear of this name any more. The look-up goes on: its answer is kept. */
  forget(host: string, waiter: LookupWaiter): void {
    const waiters = this.#pendingByHost.get(host)?.waiters;
    const index = waiters?.indexOf(waiter) ?? -1;
    if (index >= 0) waiters?.splice(index, 1);
  }

  onSocketEvents(_events: number): void {
    for (let answer = this.#resolver?.take(); answer; answer = this.#resolver?.take()) this.#answered(answer);
    this.#watch();
  }

  /** What was found is asked for anew. */
  clear(): void {
    this.#known.clear();
  }

  /** Its descriptor is REMOVEd at the end of the turn; `close` comes after that. */
  leave(): void {
    if (this.#entry !== null) this.#sockets.leave(this.#entry);
    this.#entry = null;
  }

  close(): void {
    this.#resolver?.close();
    this.#resolver = null;
    this.#pendingByHost.clear();
    this.#pendingById.clear();
    this.#known.clear();
  }

  /** Why it could not be started: the first look-up of all needs a descriptor. */
  #start(pending: Pending): TransferError | null {
    try {
      this.#resolver ??= this.#io.openResolver();
    } catch (error) {
      return noResolver(pending.host, error as Error & { code?: string });
    }
    this.#entry ??= this.#sockets.add(this.#resolver.socket, this, false);
    this.#pendingByHost.set(pending.host, pending);
    this.#pendingById.set(this.#resolver.resolve(pending.host, 0), pending);
    this.#watch();
    return null;
  }

  #answered(answer: ResolveAnswer): void {
    const pending = this.#pendingById.get(answer.lookup);
    if (pending === undefined) return;
    this.#pendingById.delete(answer.lookup);
    this.#pendingByHost.delete(pending.host);
    if (answer.status !== 0 || answer.addresses.length === 0) {
      const error = couldNotResolve(pending.host, answer);
      for (const waiter of pending.waiters) waiter.onLookupFailed(error);
      return;
    }
    this.#keep(pending.host, answer.addresses);
    for (const waiter of pending.waiters) waiter.onAddresses(answer.addresses);
  }

  #keep(host: string, addresses: readonly string[]): void {
    if (this.#ttlMs <= 0) return;
    if (this.#known.size >= NAMES_MAX) {
      const oldest = this.#known.keys().next();
      if (!oldest.done) this.#known.delete(oldest.value);
    }
    this.#known.set(host, { addresses, expires: this.#io.now() + this.#ttlMs });
  }

  /** Watched exactly while an answer is awaited, so that an idle multi holds no event loop. */
  #watch(): void {
    if (this.#entry === null) return;
    this.#sockets.want(this.#entry, this.#pendingById.size > 0 ? WATCH_IN : WATCH_NONE);
  }
}

function couldNotResolve(host: string, answer: ResolveAnswer): TransferError {
  const reason = answer.statusName === '' ? 'no address' : answer.statusName;
  return new TransferError(
    'COULDNT_RESOLVE',
    `The host name ${host} could not be resolved (${reason}); check its spelling and this machine's name service.`,
    { phase: 'dns', errno: answer.statusName === '' ? undefined : answer.statusName },
  );
}

function noResolver(host: string, error: Error & { code?: string }): TransferError {
  return new TransferError(
    'COULDNT_RESOLVE',
    `The host name ${host} could not be resolved: there is no resolver (${error.code ?? error.message}).`,
    { phase: 'dns', errno: error.code, cause: error },
  );
}
