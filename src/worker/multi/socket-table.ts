/**
 * Which descriptors the multi uses, what it wants of each, and what it has told the application. Constant time, whatever
 * their number: descriptors are small dense integers, so an array does. Calls no callback itself: the multi walks
 * `takeChanged()` at the end of its turn, which is when the application hears of changes and when descriptors close.
 */

import type { Socket } from '../io/io.ts';
import type { CloseSocketHook } from './socket-hooks.ts';
import type { Transfer } from './transfer.ts';

/** What to wait for on a socket (libcurl: CURL_POLL_*). `remove`: nothing, and forget it. */
export const WATCH_NONE = 0;
/** Of the socket callback: watch for reading (CURL_POLL_IN). */
export const WATCH_IN = 1;
/** Of the socket callback: watch for writing (CURL_POLL_OUT). */
export const WATCH_OUT = 2;
/** Of the socket callback: watch for both (CURL_POLL_INOUT). */
export const WATCH_INOUT = 3;
/** Of the socket callback: watch no longer (CURL_POLL_REMOVE). */
export const WATCH_REMOVE = 4;

/** Who is behind a socket: a dial, a connection, the resolver. */
export interface SocketOwner {
  /** The transfer the socket serves now; null for an idle connection and for the resolver. */
  readonly transfer: Transfer | null;
  /** Readiness, or a guess of it: an owner must survive events that are not true. */
  onSocketEvents(events: number): void;
  /** Reads a field of each object that its next event will need; see `SocketTable.prefetch`. Answers any small integer. */
  prefetch?(): number;
}

export class SocketEntry {
  readonly socket: Socket;
  owner: SocketOwner;
  /** What the owner wants: WATCH_NONE to WATCH_INOUT. */
  wanted = WATCH_NONE;
  /** What the application was last told; WATCH_NONE after a REMOVE and before the first call. */
  told = WATCH_NONE;
  /** What `assign` tied to the socket, until REMOVE. */
  data: unknown = undefined;
  /** True exactly when the entry waits in the list of changes. */
  changed = false;
  /** True once the owner let go: REMOVE is told, then the descriptor closes, both at the end of the turn. */
  leaving = false;
  /** Whether the descriptor is closed with the entry (the resolver closes its own). */
  readonly owned: boolean;
  /** Closes the descriptor in the engine's place: the hook of the transfer that opened it (rule 56). */
  closer: CloseSocketHook | null = null;

  constructor(socket: Socket, owner: SocketOwner, owned: boolean) {
    this.socket = socket;
    this.owner = owner;
    this.owned = owned;
  }
}

export class SocketTable {
  readonly #entries: (SocketEntry | undefined)[] = [];
  #changed: SocketEntry[] = [];
  #spare: SocketEntry[] = [];
  size = 0;
  /** What `prefetch` read. Nobody looks at it: a compiler may drop reads whose values are dropped. */
  #prefetched = 0;

  get(socket: Socket): SocketEntry | undefined {
    return this.#entries[socket];
  }

  /** A new descriptor. It cannot be in the table: a leaving one keeps its descriptor open until it has left. */
  add(socket: Socket, owner: SocketOwner, owned = true): SocketEntry {
    if (this.#entries[socket] !== undefined) throw new Error(`Descriptor ${socket} is in the socket table already.`);
    const entry = new SocketEntry(socket, owner, owned);
    this.#entries[socket] = entry;
    this.size++;
    return entry;
  }

  /**
   * Before a batch is handled: reads what its events will need, so that it lies in the processor's cache then. With 10,000 busy
   * sockets nothing of a connection is in the cache any more when its next event comes, and handling one event waits for some
   * 30 lines of memory, one after the other. Here the reads of many sockets do not depend on each other, so the processor
   * waits for them all at once: the user time per request falls by a quarter (see bench/closed-loop.ts).
   * `events`: triples as in `Multi.actions`; offsets [start, end) in it.
   */
  prefetch(events: Int32Array, start: number, end: number): void {
    let sum = 0;
    // Three passes, because each finds its objects through the one before.
    for (let index = start; index < end; index += 3) sum += this.#entryAt(events, index)?.wanted ?? 0;
    for (let index = start; index < end; index += 3) {
      if (this.#entryAt(events, index)?.owner.transfer === null) sum++;
    }
    for (let index = start; index < end; index += 3) sum += this.#entryAt(events, index)?.owner.prefetch?.() ?? 0;
    this.#prefetched = (this.#prefetched + sum) & 0xff;
  }

  want(entry: SocketEntry, what: number): void {
    if (entry.wanted === what) return;
    entry.wanted = what;
    this.#note(entry);
  }

  /** The owner has no more use for the socket. */
  leave(entry: SocketEntry): void {
    if (entry.leaving) return;
    entry.leaving = true;
    entry.wanted = WATCH_NONE;
    this.#note(entry);
  }

  /** Out of the table: the descriptor may be closed now. */
  delete(entry: SocketEntry): void {
    this.#entries[entry.socket] = undefined;
    this.size--;
  }

  get hasChanged(): boolean {
    return this.#changed.length > 0;
  }

  /** The entries changed since the last call. The array is reused by the call after next. */
  takeChanged(): SocketEntry[] {
    const taken = this.#changed;
    this.#changed = this.#spare;
    this.#changed.length = 0;
    this.#spare = taken;
    return taken;
  }

  /** Puts triples of what is watched into `target`: socket, WATCH_IN to WATCH_INOUT, and 0. Answers their number, `size` at most. */
  fillWatched(target: Int32Array): number {
    let count = 0;
    for (const entry of this.#entries) {
      if (entry === undefined || entry.wanted === WATCH_NONE) continue;
      target[count * 3] = entry.socket;
      target[count * 3 + 1] = entry.wanted;
      target[count * 3 + 2] = 0;
      count++;
    }
    return count;
  }

  /** Tells everything again (a socket callback was installed late: rule 22). */
  noteAll(): void {
    for (const entry of this) {
      entry.told = WATCH_NONE;
      this.#note(entry);
    }
  }

  #entryAt(events: Int32Array, index: number): SocketEntry | undefined {
    const socket = events[index] as number;
    // A negative index would be looked for among the array's named properties, and make every look-up slow from then on.
    return socket < 0 ? undefined : this.#entries[socket];
  }

  *[Symbol.iterator](): Generator<SocketEntry> {
    for (const entry of this.#entries) if (entry !== undefined) yield entry;
  }

  #note(entry: SocketEntry): void {
    if (entry.changed) return;
    entry.changed = true;
    this.#changed.push(entry);
  }
}
