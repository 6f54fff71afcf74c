/**
 * One attempt to open a connection for one transfer: look-up, then a race of its addresses (RFC 8305, "happy eyeballs"). It
 * holds its destination's slot from its start to its end; on success the slot goes on to the connection. Opening a single
 * socket is `socket-opener.ts`'s, names are `lookups.ts`'s.
 *
 *   dns      waits for the addresses; with no descriptor left to look them up, for one (`descriptor-shortage.ts`)
 *            The guard, where there is one, is asked about them before any is connected to; none but those that it lets pass race
 *   connect  racers: one address is tried, the next joins when it fails or after `happyEyeballsMs`; the first to connect wins and
 *            the others close. With no descriptor left it waits for one (`descriptor-shortage.ts`)
 *   ended    won, failed or cancelled
 *
 * The limits count a dial as one connection, however many racers it has.
 */

import { isIP } from 'node:net';
import { TransferError } from '../../protocol/errors.ts';
import { type GuardVerdicts, refused } from '../../protocol/guard-options.ts';
import { EINPROGRESS } from '../io/errno.ts';
import { interleaved } from './address-order.ts';
import type { Destination } from './destination.ts';
import type { LookupWaiter } from './lookups.ts';
import type { Multi } from './multi.ts';
import { Racer } from './racer.ts';
import { detourOf, tcpTarget } from './route.ts';
import { closeSocket } from './socket-hooks.ts';
import { attemptFailed, type NoDescriptor, shownAddress } from './socket-opener.ts';
import { TimerNode, type TimerOwner } from './timer-queue.ts';
import type { Transfer } from './transfer.ts';

/** Attempts alive at once; one more, and the oldest is given up (rule 57). A name with a hundred dead addresses must not take a hundred descriptors. */
const RACERS_MAX = 6;

export class Dial implements LookupWaiter, TimerOwner {
  readonly transfer: Transfer;
  readonly destination: Destination;
  phase: 'dns' | 'connect' = 'dns';
  /** Why it waits for a descriptor; null: it does not. */
  shortage: NoDescriptor | null = null;
  readonly #multi: Multi;
  /** True exactly while it waits for the addresses. */
  #lookingUp = false;
  /** True exactly while it waits for the guard. */
  #judging = false;
  #addresses: readonly string[] = [];
  #index = 0;
  /** Oldest first. */
  readonly #racers: Racer[] = [];
  readonly #failures: TransferError[] = [];
  /** When the next address joins; made when there is one. */
  #timer: TimerNode | null = null;
  #ended = false;

  constructor(multi: Multi, transfer: Transfer, destination: Destination) {
    this.#multi = multi;
    this.transfer = transfer;
    this.destination = destination;
  }

  get hasRacers(): boolean {
    return this.#racers.length > 0;
  }

  start(): void {
    const { route } = this.transfer;
    if (route.proxy !== null && route.guard !== null) {
      this.#askAboutTarget();
      return;
    }
    if (route.unixPath !== '') {
      this.onAddresses([route.unixPath]);
      return;
    }
    this.#lookUp();
  }

  #lookUp(): void {
    const { route } = this.transfer;
    const { host, port } = tcpTarget(route);
    this.#lookingUp = true;
    this.#multi.lookups.find(host, port, route.family, this);
  }

  onAddresses(addresses: readonly string[]): void {
    if (this.#ended) return;
    this.#lookingUp = false;
    this.#noShortage();
    // A function of the application's may have found them.
    this.#multi.readClock();
    this.transfer.dnsUs = this.transfer.since(this.#multi.now);
    this.phase = 'connect';
    const { guard, proxy } = this.transfer.route;
    if (guard === null || proxy !== null) this.#race(addresses);
    else this.#ask(addresses, (verdicts) => this.#race(this.#withoutRefused(addresses, verdicts)));
  }

  #race(addresses: readonly string[]): void {
    this.#addresses = interleaved(addresses);
    this.proceed();
  }

  /** A function of the application's may have removed the transfer, or answer late. */
  #ask(addresses: readonly string[], then: (verdicts: GuardVerdicts) => void): void {
    const { route } = this.transfer;
    const { guard, connectTo, origin, unixPath } = route;
    const { host, port } = connectTo ?? origin;
    const isUnix = unixPath !== '';
    const question = { addresses, isUnix, host, port: isUnix ? 0 : port, url: urlOf(this.transfer) };
    this.#judging = true;
    this.#multi.guards.ask(guard as NonNullable<typeof guard>, question, (verdicts) => {
      this.#judging = false;
      if (this.#ended) return;
      try {
        then(verdicts);
      } catch (error) {
        this.#multi.engineFault(this.transfer, error);
      }
    });
  }

  #withoutRefused(addresses: readonly string[], verdicts: GuardVerdicts): readonly string[] {
    return addresses.filter((_, index) => {
      const refusal = verdicts[index];
      if (refusal !== null && refusal !== undefined) this.#failures.push(refusal);
      return refusal === null;
    });
  }

  /**
   * A proxy is the application's choice, and what it connects to on our behalf is what a guard is for. A name is resolved there, where
   * no address can be judged: it passes only where the proxy is said to be a guard itself.
   */
  #askAboutTarget(): void {
    const { route } = this.transfer;
    const { host } = route.connectTo ?? route.origin;
    if (isIP(host) !== 0) {
      this.#ask([host], ([refusal]) => {
        if (refusal === null) this.#lookUp();
        else this.#multi.dialFailed(this, refusal ?? refused(`The guard said nothing about ${host}.`));
      });
      return;
    }
    if (route.proxy?.guards) {
      this.#lookUp();
      return;
    }
    const sentence = `The guard cannot judge ${host}, because its addresses are known to the proxy ${route.proxy?.name} alone; set proxy.guards if that proxy itself refuses what must not be reached, or list the host in proxy.noProxy.`;
    this.#multi.dialFailed(this, refused(sentence));
  }

  onLookupFailed(error: TransferError): void {
    if (this.#ended) return;
    this.#lookingUp = false;
    // The resolver needs descriptors of its own. The shortage calls `proceed`, which looks up again.
    if (error.errno === 'EMFILE' || error.errno === 'ENFILE') this.#waitForDescriptor({ errno: error.errno });
    else this.#multi.dialFailed(this, error);
  }

  /** The last to join has had its time (TimerOwner). */
  onTimer(): void {
    this.proceed();
  }

  racerMoved(racer: Racer): void {
    const { io, sockets } = this.#multi;
    const result = io.connectResult(racer.entry.socket);
    if (result === -EINPROGRESS || this.#ended) return;
    this.#racers.splice(this.#racers.indexOf(racer), 1);
    if (result === 0) {
      this.#end();
      this.#multi.dialSucceeded(this, racer.entry);
      return;
    }
    sockets.leave(racer.entry);
    this.#failures.push(attemptFailed(this.#shown(racer.address), result));
    this.proceed();
  }

  /** The transfer no longer wants it. The caller gives the slot back. */
  cancel(): void {
    if (this.#ended) return;
    if (this.phase === 'dns' && this.transfer.route.unixPath === '') {
      const { host } = tcpTarget(this.transfer.route);
      this.#multi.lookups.forget(host, this.transfer.route.family, this);
    }
    this.#end();
  }

  /** Tries the next address. With none left it fails as soon as no racer is left. Without any yet, it looks for some. */
  proceed(): void {
    if (this.#judging) return;
    if (this.phase === 'dns') {
      if (!this.#lookingUp) this.#lookUp();
      return;
    }
    while (this.#index < this.#addresses.length) {
      const outcome = this.#tryNext();
      if (outcome === 'ended') return;
      if (outcome === 'failed') continue;
      if (outcome === 'racing') this.#dropOldest();
      this.#startTimer();
      return;
    }
    if (this.#racers.length === 0) this.#multi.dialFailed(this, this.#noAddressLeft());
  }

  #tryNext(): 'racing' | 'failed' | 'no descriptor' | 'ended' {
    const multi = this.#multi;
    const address = this.#addresses[this.#index] as string;
    const opened = multi.socketOpener.open(this.transfer, address);
    if (this.#ended) {
      // A hook has removed the transfer.
      if (typeof opened === 'number') this.#closeUnused(opened);
      return 'ended';
    }
    if (typeof opened === 'number') {
      this.#index++;
      this.#noShortage();
      this.#addRacer(address, opened);
      return 'racing';
    }
    if (!TransferError.is(opened)) {
      this.#waitForDescriptor(opened);
      return 'no descriptor';
    }
    this.#index++;
    this.#noShortage();
    if (opened.code === 'COULDNT_CONNECT') {
      this.#failures.push(opened);
      return 'failed';
    }
    multi.dialFailed(this, opened);
    return 'ended';
  }

  #addRacer(address: string, socket: number): void {
    const racer = new Racer(this, address, socket, this.#multi.sockets);
    racer.entry.closer = this.transfer.socketHooks?.closeSocket ?? null;
    this.#racers.push(racer);
  }

  #dropOldest(): void {
    if (this.#racers.length <= RACERS_MAX) return;
    const oldest = this.#racers.shift() as Racer;
    this.#multi.sockets.leave(oldest.entry);
    this.#failures.push(
      new TransferError(
        'COULDNT_CONNECT',
        `${this.#shown(oldest.address)} had not answered when ${RACERS_MAX} other addresses were being tried.`,
        { phase: 'connect' },
      ),
    );
  }

  #startTimer(): void {
    // Who waits for a descriptor is woken by its coming.
    if (this.#index === this.#addresses.length || this.shortage !== null) return;
    this.#timer ??= new TimerNode(this);
    // A hook of the application's may have opened the socket.
    this.#multi.readClock();
    this.#multi.timers.set(this.#timer, this.#multi.now + this.#multi.happyEyeballsMs);
  }

  #waitForDescriptor(shortage: NoDescriptor): void {
    this.shortage = shortage;
    this.#multi.shortage.wait(this);
  }

  #noShortage(): void {
    if (this.shortage === null) return;
    this.shortage = null;
    this.#multi.shortage.forget(this);
  }

  /** Nothing of it is left but, for a winner, its racer's socket. */
  #end(): void {
    this.#ended = true;
    if (this.#timer !== null) this.#multi.timers.cancel(this.#timer);
    this.#noShortage();
    for (const { entry } of this.#racers) this.#multi.sockets.leave(entry);
    this.#racers.length = 0;
  }

  #closeUnused(socket: number): void {
    const thrown = closeSocket(this.#multi.io, socket, this.transfer.socketHooks?.closeSocket ?? null);
    if (thrown !== null) this.#multi.rethrowLater(thrown.error);
  }

  #shown(address: string): string {
    return shownAddress(this.transfer.route, address);
  }

  #noAddressLeft(): TransferError {
    const failures = this.#failures;
    const last = failures.at(-1);
    const teller = tellerOf(failures);
    const { route } = this.transfer;
    const origin = route.origin.text;
    const sentence = `No connection to ${origin}${detourOf(route)} could be opened${reason(failures, teller)}`;
    return new TransferError('COULDNT_CONNECT', sentence, {
      phase: 'connect',
      errno: (teller ?? last)?.errno,
      limit: teller?.limit,
      cause: failures.length === 1 ? last : new AggregateError(failures, `Every address of ${origin} failed.`),
    });
  }
}

/**
 * The last to fail speaks for all where it can say more than that nobody listens. That an address is of a family which cannot be
 * used is worth saying only when that is so of all.
 */
function tellerOf(failures: readonly TransferError[]): TransferError | undefined {
  const last = failures.findLast(({ errno }) => errno !== 'EAFNOSUPPORT') ?? failures.at(-1);
  return last !== undefined && (last.errno === undefined || last.limit !== undefined) ? last : undefined;
}

/** As the caller gave it, without what no URL of a request has. */
function urlOf({ origin, route, head }: Transfer): string {
  const start = head.indexOf(' ') + 1;
  const target = head.slice(start, head.indexOf(' ', start));
  return route.forwards ? target : origin.text + target;
}

function reason(failures: readonly TransferError[], teller: TransferError | undefined): string {
  if (teller !== undefined) return `: ${teller.message}`;
  const names = failures.map(({ errno }) => errno ?? 'no answer').join(', ');
  return ` (${names}); check that a server listens there.`;
}
