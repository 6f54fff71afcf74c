/**
 * Names to addresses: static entries, a bounded cache of what was found, and one look-up per name and family in flight however
 * many dials wait for it. A look-up runs in `native/`, whose answers wait behind a descriptor that the multi announces like any
 * socket, so that a program without an event loop of Node's gets them too; or in the application's own function, whose answer,
 * when it comes later, waits for the multi's next turn, for which the timer callback asks.
 *
 *   find ── static entry? ── numeric? ── known? ── in flight? ── start one
 */

import { isIP } from 'node:net';
import { TransferError } from '../../protocol/errors.ts';
import { callLookup, isLasting, type LookupFunction } from '../../protocol/lookup-function.ts';
import type { IpFamily } from '../../protocol/route-options.ts';
import { StaticAddresses } from '../../protocol/static-addresses.ts';
import type { ResolveAnswer, Resolver } from '../io/io.ts';
import { familyOf } from './address-order.ts';
import type { Multi } from './multi.ts';
import { type SocketEntry, type SocketOwner, WATCH_IN, WATCH_NONE } from './socket-table.ts';
import { AT_ONCE } from './timer-announcement.ts';
import { TimerNode, type TimerOwner } from './timer-queue.ts';
import type { Transfer } from './transfer.ts';

/** How long an answer may be used again (libcurl: CURLOPT_DNS_CACHE_TIMEOUT, 60 s). */
export const LOOKUP_TTL_MS = 60_000;

/**
 * How long it is remembered that there is no such name: a burst of requests to a dead host asks once, and a name that was made
 * just now is found a second later. Other failures (EAI_AGAIN: the name service had no answer) are asked again at once.
 */
const FAILURE_TTL_MS = 1_000;

/** Most names kept: a crawler that visits a million hosts must not keep a million answers. */
const NAMES_MAX = 10_000;

/** Who waits for a name. Either call may come before `find` returns. */
export interface LookupWaiter {
  /** Fails where one of the calls throws: others wait for the same name. */
  readonly transfer: Transfer;
  onAddresses(addresses: readonly string[]): void;
  onLookupFailed(error: TransferError): void;
}

type Found = readonly string[] | TransferError;

interface Known {
  found: Found;
  expires: number;
}

interface Pending {
  key: string;
  host: string;
  family: IpFamily;
  waiters: LookupWaiter[];
}

export class Lookups implements SocketOwner, TimerOwner {
  readonly transfer = null;
  readonly statics = new StaticAddresses();
  readonly #multi: Multi;
  readonly #ttlMs: number;
  readonly #lookup: LookupFunction | null;
  readonly #known = new Map<string, Known>();
  readonly #pending = new Map<string, Pending>();
  /** Those that the resolver works on, by its number for them. */
  readonly #resolving = new Map<number, Pending>();
  /** What the application's function answered between turns. */
  readonly #answered: { pending: Pending; found: Found }[] = [];
  readonly #answerTimer = new TimerNode(this);
  #resolver: Resolver | null = null;
  #entry: SocketEntry | null = null;
  #closed = false;

  /** `lookup` null: the system's resolver. */
  constructor(multi: Multi, ttlMs: number, lookup: LookupFunction | null) {
    this.#multi = multi;
    this.#ttlMs = ttlMs;
    this.#lookup = lookup;
  }

  /** `host`: a name, or a numeric address without brackets. The waiter hears once, perhaps at once. */
  find(host: string, port: number, family: IpFamily, waiter: LookupWaiter): void {
    const fixed = this.statics.find(host, port) ?? (isIP(host) === 0 ? null : [host]);
    if (fixed !== null) {
      this.#tell([waiter], ofFamily(host, family, fixed));
      return;
    }
    const key = keyOf(host, family);
    const known = this.#known.get(key);
    if (known !== undefined) {
      if (known.expires > this.#multi.now) {
        this.#tell([waiter], known.found);
        return;
      }
      this.#known.delete(key);
    }
    const pending = this.#pending.get(key);
    if (pending === undefined) this.#start({ key, host, family, waiters: [waiter] });
    else pending.waiters.push(waiter);
  }

  /** `waiter` will not hear of this name any more. The look-up goes on: its answer is kept. */
  forget(host: string, family: IpFamily, waiter: LookupWaiter): void {
    const waiters = this.#pending.get(keyOf(host, family))?.waiters;
    const index = waiters?.indexOf(waiter) ?? -1;
    if (index >= 0) waiters?.splice(index, 1);
  }

  onSocketEvents(_events: number): void {
    for (let answer = this.#resolver?.take(); answer; answer = this.#resolver?.take()) this.#resolved(answer);
    this.#watch();
  }

  /** The application's function has answered since the last turn (TimerOwner). */
  onTimer(): void {
    for (let next = this.#answered.shift(); next !== undefined; next = this.#answered.shift()) {
      this.#settle(next.pending, next.found);
    }
  }

  /** What was found is asked for anew; static entries stay. */
  clear(): void {
    this.#known.clear();
  }

  /** What is answered from here on is ignored. Its descriptor is REMOVEd at the end of the turn; `close` comes after that. */
  leave(): void {
    this.#closed = true;
    this.#answered.length = 0;
    this.#multi.timers.cancel(this.#answerTimer);
    if (this.#entry !== null) this.#multi.sockets.leave(this.#entry);
    this.#entry = null;
  }

  close(): void {
    this.#resolver?.close();
    this.#resolver = null;
    this.#pending.clear();
    this.#resolving.clear();
    this.#known.clear();
  }

  #start(pending: Pending): void {
    this.#pending.set(pending.key, pending);
    if (this.#lookup === null) this.#startResolving(pending);
    else this.#ask(this.#lookup, pending);
  }

  #startResolving(pending: Pending): void {
    const multi = this.#multi;
    try {
      this.#resolver ??= multi.io.openResolver();
    } catch (error) {
      // The first look-up of all needs a descriptor.
      this.#settle(pending, noResolver(pending.host, error as Error & { code?: string }));
      return;
    }
    this.#entry ??= multi.sockets.add(this.#resolver.socket, this, false);
    this.#resolving.set(this.#resolver.resolve(pending.host, pending.family), pending);
    this.#watch();
  }

  #ask(lookup: LookupFunction, pending: Pending): void {
    const { host, family } = pending;
    let asking = true;
    let answered = false;
    const answer = (found: Found): void => {
      if (answered || this.#closed) return;
      answered = true;
      if (asking) this.#settle(pending, found);
      else this.#settleNextTurn(pending, found);
    };
    callLookup(lookup, host, family, answer);
    asking = false;
  }

  #settleNextTurn(pending: Pending, found: Found): void {
    this.#answered.push({ pending, found });
    this.#multi.timers.set(this.#answerTimer, AT_ONCE);
    this.#multi.timersChanged();
  }

  #resolved(answer: ResolveAnswer): void {
    const pending = this.#resolving.get(answer.lookup);
    if (pending === undefined) return;
    this.#resolving.delete(answer.lookup);
    const failed = answer.status !== 0 || answer.addresses.length === 0;
    this.#settle(pending, failed ? couldNotResolve(pending.host, answer) : answer.addresses);
  }

  #settle(pending: Pending, found: Found): void {
    this.#pending.delete(pending.key);
    this.#keep(pending.key, found);
    this.#tell(pending.waiters, found);
  }

  #tell(waiters: readonly LookupWaiter[], found: Found): void {
    for (const waiter of waiters) {
      try {
        if (TransferError.is(found)) waiter.onLookupFailed(found);
        else waiter.onAddresses(found);
      } catch (error) {
        this.#multi.engineFault(waiter.transfer, error);
      }
    }
  }

  #keep(key: string, found: Found): void {
    const failed = TransferError.is(found);
    if (failed && !isLasting(found.errno)) return;
    const ttlMs = failed ? Math.min(FAILURE_TTL_MS, this.#ttlMs) : this.#ttlMs;
    if (ttlMs <= 0) return;
    if (this.#known.size >= NAMES_MAX) {
      const oldest = this.#known.keys().next();
      if (!oldest.done) this.#known.delete(oldest.value);
    }
    this.#known.set(key, { found, expires: this.#multi.now + ttlMs });
  }

  /** Watched exactly while an answer is awaited, so that an idle multi holds no event loop. */
  #watch(): void {
    if (this.#entry === null) return;
    this.#multi.sockets.want(this.#entry, this.#resolving.size > 0 ? WATCH_IN : WATCH_NONE);
  }
}

function keyOf(host: string, family: IpFamily): string {
  return family === 0 ? host : `${host} ${family}`;
}

function ofFamily(host: string, family: IpFamily, addresses: readonly string[]): Found {
  const wanted = family === 0 ? addresses : addresses.filter((address) => familyOf(address) === family);
  if (wanted.length > 0) return wanted;
  return new TransferError(
    'COULDNT_RESOLVE',
    `${host} has no IPv${family} address (${addresses.join(', ')}); leave out the option family to use what it has.`,
    { phase: 'dns', limit: 'family' },
  );
}

/** EAI_SYSTEM leaves it to an errno what is the matter. */
const NO_DESCRIPTOR = /^EAI_SYSTEM \((EMFILE|ENFILE)\)$/;

function couldNotResolve(host: string, answer: ResolveAnswer): TransferError {
  const shortage = NO_DESCRIPTOR.exec(answer.statusName);
  if (shortage !== null) return noDescriptor(host, shortage[1] as string, undefined);
  const reason = answer.statusName === '' ? 'no address' : answer.statusName;
  return new TransferError(
    'COULDNT_RESOLVE',
    `The host name ${host} could not be resolved (${reason}); check its spelling and this machine's name service.`,
    { phase: 'dns', errno: answer.statusName === '' ? undefined : answer.statusName },
  );
}

function noResolver(host: string, error: Error & { code?: string }): TransferError {
  if (error.code === 'EMFILE' || error.code === 'ENFILE') return noDescriptor(host, error.code, error);
  return new TransferError(
    'COULDNT_RESOLVE',
    `The host name ${host} could not be resolved: there is no resolver (${error.code ?? error.message}).`,
    { phase: 'dns', errno: error.code, cause: error },
  );
}

/** Whoever waits for the name may wait for a descriptor. */
function noDescriptor(host: string, errno: string, cause: Error | undefined): TransferError {
  return new TransferError(
    'COULDNT_RESOLVE',
    `The host name ${host} could not be resolved: no descriptor is left (${errno}); raise the limit, or open fewer connections.`,
    { phase: 'dns', errno, cause },
  );
}
