/**
 * `Io` without a kernel: simulated sockets, names and time, decided by a seed. The engine cannot tell it from `native-io.ts`.
 *
 * This is the kernel's part: descriptors (the lowest free number, as Linux gives them), what is readable and writable,
 * partial reads and writes, wouldblock where there is something, resets, half-closes. What is at the other end is a `World`'s.
 * A use of a descriptor that is not open is a fault of the engine, and told to the `Watcher`, who also hears of all the rest.
 */

import { constants } from 'node:os';
import { isTransient } from '../errno.ts';
import { type AddressFamily, EVENT_ERR, EVENT_IN, EVENT_OUT, type Io, type Resolver, type Socket } from '../io.ts';
import type { SimulatedClock } from './clock.ts';
import type { Random } from './random.ts';
import { SimulatedResolver } from './resolver.ts';

const { EADDRNOTAVAIL, EAGAIN, EBADF, ECONNRESET, EEXIST, EINPROGRESS, EINTR, EMFILE, ENOTCONN, ENOTSOCK, EPIPE } =
  constants.errno;

/** How often the kernel does what it may do: shares from 0 to 1. */
export interface KernelFaults {
  /** A read gives less than there is. */
  readPartial: number;
  /** A read says EAGAIN although there is something. */
  readWouldBlock: number;
  /** A read or write says EINTR. */
  interrupted: number;
  /** A write takes less than there is room for. */
  writePartial: number;
  /** A write says EAGAIN although there is room. */
  writeWouldBlock: number;
  /** No descriptor is left for a socket or the resolver. */
  noDescriptor: number;
  /** A reset throws away what had arrived and was not read. */
  resetPurges: number;
  /** Time goes on while the engine looks at the clock. */
  clockTicks: number;
  /** A local address is not there. */
  cannotBind: number;
  /** A look-up's answer comes with another one's number too. */
  strangeAnswer: number;
}

export interface NetworkOptions {
  readonly clock: SimulatedClock;
  readonly random: Random;
  readonly faults: KernelFaults;
  readonly world: World;
  readonly watcher: Watcher;
  /** Bytes of the buffers for reads and writes. */
  readonly readBufferBytes: number;
  readonly writeBufferBytes: number;
  /** How many bytes a socket takes that the peer has not. */
  readonly sendBufferBytes: number;
  /** Descriptors of this process; one more is EMFILE. */
  readonly descriptorsMax: number;
  /** The longest way of a segment, in milliseconds. */
  readonly latencyMs: number;
}

/** What becomes of a connect. */
export interface ConnectPlan {
  /** 0, or why it fails as -errno. */
  readonly result: number;
  /** When that is known, from now; -1: within the call; Infinity: never. */
  readonly afterMs: number;
  /** Who is at the other end, once connected. */
  accept(channel: Channel): Peer;
}

export interface LookupPlan {
  /** Infinity: no answer ever. */
  readonly afterMs: number;
  readonly status: number;
  readonly statusName: string;
  readonly addresses: readonly string[];
}

/** All that is outside: who can be reached, and what names mean. */
export interface World {
  connect(address: string, port: number): ConnectPlan;
  resolve(host: string): LookupPlan;
}

/** The other end of a connection. */
export interface Peer {
  onBytes(bytes: Uint8Array): void;
  /** The client's FIN; it goes on reading. */
  onEnded?(): void;
  /** The client has closed; `reset`: with data of ours unread. */
  onClosed(reset: boolean): void;
}

/** Hears of everything, right after it happened. */
export interface Watcher {
  fault(rule: string, detail: string): void;
  opened(socket: SimulatedSocket): void;
  connecting(socket: SimulatedSocket): void;
  /** `count` bytes, 0 the FIN, or -errno. */
  wasRead(socket: SimulatedSocket, count: number): void;
  /** A write begins, whatever comes of it. */
  writing(socket: SimulatedSocket): void;
  wrote(socket: SimulatedSocket, bytes: Uint8Array): void;
  writeFailed(socket: SimulatedSocket, negativeErrno: number): void;
  connectFailed(socket: SimulatedSocket, negativeErrno: number): void;
  closed(socket: SimulatedSocket): void;
  /** A fault was put in, or something rare happened: counted, so that one sees what the seeds cover. */
  note(what: string): void;
}

/** How far the clock goes on between two looks at it at most, in milliseconds. */
export const TICK_MS_MAX = 0.02;

/** Where a descriptor of the resolver stands in the table. */
type Descriptor = SimulatedSocket | SimulatedResolver;

export type SocketState = 'open' | 'connecting' | 'connected' | 'failed' | 'closed';

/** What the peer's end of a connection can do. Segments of one direction arrive in order. */
export class Channel {
  readonly socket: SimulatedSocket;
  readonly #network: SimulatedNetwork;
  /** When the last segment sent to the client arrives. */
  #arrivesMs = 0;
  #ended = false;
  /** True once nothing is taken from the client any more: what it writes is answered with a reset. */
  deaf = false;
  /** Milliseconds until what arrived makes room for more; Infinity: the peer reads nothing. */
  readDelayMs = 0;
  /** Bytes sent so far. */
  sentBytes = 0;

  constructor(network: SimulatedNetwork, socket: SimulatedSocket) {
    this.#network = network;
    this.socket = socket;
  }

  send(bytes: Uint8Array): void {
    if (this.#ended || bytes.length === 0) return;
    this.sentBytes += bytes.length;
    this.#arrive(() => this.#network.arrived(this.socket, bytes));
  }

  /** FIN: nothing more comes; what the client writes is still taken, unless `deaf`. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#arrive(() => this.#network.ended(this.socket));
  }

  reset(): void {
    this.#ended = true;
    this.deaf = true;
    this.#arrive(() => this.#network.wasReset(this.socket));
  }

  #arrive(act: () => void): void {
    const { clock } = this.#network;
    this.#arrivesMs = Math.max(this.#arrivesMs, clock.nowMs + this.#network.latency());
    clock.at(this.#arrivesMs, act);
  }
}

export class SimulatedSocket {
  readonly descriptor: number;
  readonly family: AddressFamily;
  /** Never used twice, as descriptors are. */
  readonly serial: number;
  state: SocketState = 'open';
  address = '';
  /** Of this side; '': the kernel chooses. */
  localAddress = '';
  port = 0;
  /** -errno that waits to be told; 0: none. */
  error = 0;
  channel: Channel | null = null;
  peer: Peer | null = null;
  /** What arrived, and how much of the first was read. */
  readonly segments: Uint8Array[] = [];
  firstOffset = 0;
  available = 0;
  ended = false;
  /** The error was told: nothing can be written any more. */
  broken = false;
  /** Given up by the engine, for the application to close. */
  released = false;
  /** Bytes that may still be written. */
  room: number;
  /** When the last segment sent to the peer arrives. */
  arrivesMs = 0;
  /** Bytes the client has read. */
  readBytes = 0;
  /** What the watcher ties to it. */
  data: unknown = undefined;

  constructor(descriptor: number, serial: number, family: AddressFamily, room: number) {
    this.descriptor = descriptor;
    this.serial = serial;
    this.family = family;
    this.room = room;
  }
}

/** Shared by all simulations of a thread: only one runs at a time, and they would be most of what a short one costs. */
const READ_STORE = new Uint8Array(128 * 1024);
const WRITE_STORE = new Uint8Array(128 * 1024);

/** What stands in the read buffer once a turn is over: whoever kept a reference sees it. */
const POISON = 0xee;

export class SimulatedNetwork implements Io {
  readonly readBuffer: Uint8Array;
  readonly writeBuffer: Uint8Array;
  readonly clock: SimulatedClock;
  readonly #options: NetworkOptions;
  readonly #random: Random;
  readonly #faults: KernelFaults;
  readonly #watcher: Watcher;
  /** By number; 0 to 2 are never ours. */
  readonly #descriptors: (Descriptor | undefined)[] = [];
  #serial = 0;
  #openCount = 0;
  /** Bytes at the start of the read buffer that the last reads filled. */
  #dirtyBytes = 0;
  /** Counts all that moved: reads, writes, opens, closes. */
  progress = 0;
  /** Counts the times the kernel said no without need. */
  refusals = 0;
  /** Null unless someone wants to read what happens. */
  trace: ((line: string) => void) | null = null;

  constructor(options: NetworkOptions) {
    this.#options = options;
    this.#random = options.random;
    this.#faults = options.faults;
    this.#watcher = options.watcher;
    this.clock = options.clock;
    this.readBuffer = READ_STORE.subarray(0, options.readBufferBytes);
    this.writeBuffer = WRITE_STORE.subarray(0, options.writeBufferBytes);
  }

  // ── Io ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

  now(): number {
    // A real clock goes on between two looks at it, also within one turn.
    if (this.#random.chance(this.#faults.clockTicks)) this.clock.nowMs += this.#random.fraction() * TICK_MS_MAX;
    return this.clock.nowMs;
  }

  open(family: AddressFamily): Socket {
    if (this.#noDescriptor()) return -EMFILE;
    const descriptor = this.#lowestFree();
    const socket = new SimulatedSocket(descriptor, this.#serial++, family, this.#options.sendBufferBytes);
    this.#take(descriptor, socket);
    this.trace?.(`open -> ${descriptor}`);
    this.#watcher.opened(socket);
    return descriptor;
  }

  bind(descriptor: Socket, _family: AddressFamily, address: string, port: number): number {
    const socket = this.#socket('bind', descriptor);
    if (socket === null) return -EBADF;
    const result = this.#random.chance(this.#faults.cannotBind) ? -EADDRNOTAVAIL : 0;
    if (result === 0) socket.localAddress = address;
    else this.#watcher.note('cannot bind');
    this.trace?.(`bind ${descriptor} to ${address} ${port}: ${result}`);
    return result;
  }

  setTcpOptions(descriptor: Socket): number {
    return this.#socket('setTcpOptions', descriptor) === null ? -EBADF : 0;
  }

  /** Only what `release` gave up is there to be adopted: nobody else makes sockets here. */
  adopt(descriptor: number): number {
    const socket = this.#descriptors[descriptor];
    if (!(socket instanceof SimulatedSocket)) return -ENOTSOCK;
    if (!socket.released) return -EEXIST;
    socket.released = false;
    return 0;
  }

  release(descriptor: Socket): number {
    const socket = this.#socket('release', descriptor);
    if (socket === null) return -EBADF;
    socket.released = true;
    return 0;
  }

  connect(descriptor: Socket, _family: AddressFamily, address: string, port: number): number {
    const socket = this.#socket('connect', descriptor);
    if (socket === null) return -EBADF;
    if (socket.state !== 'open') this.#watcher.fault('io', `connect on ${descriptor}, which is ${socket.state}`);
    const plan = this.#options.world.connect(address, port);
    socket.address = address;
    socket.port = port;
    socket.state = 'connecting';
    this.trace?.(`connect ${descriptor} to ${address} ${port}: ${plan.result} after ${plan.afterMs} ms`);
    this.#watcher.connecting(socket);
    if (plan.afterMs < 0) {
      this.#connected(socket, plan);
      if (plan.result !== 0) this.#watcher.connectFailed(socket, plan.result);
      return plan.result;
    }
    if (plan.afterMs !== Number.POSITIVE_INFINITY) this.clock.after(plan.afterMs, () => this.#connected(socket, plan));
    return -EINPROGRESS;
  }

  connectResult(descriptor: Socket): number {
    const socket = this.#socket('connectResult', descriptor);
    if (socket === null) return -EBADF;
    if (socket.state === 'connecting') return -EINPROGRESS;
    const { error } = socket;
    if (error === 0) return 0;
    this.progress++;
    this.trace?.(`connectResult ${descriptor}: ${error}`);
    // A reset may have come since it was connected.
    if (socket.state === 'connected') breakDown(socket);
    this.#watcher.connectFailed(socket, error);
    return error;
  }

  read(descriptor: Socket): number {
    const count = this.#read(descriptor, this.readBuffer, 0, this.readBuffer.length);
    if (count > this.#dirtyBytes) this.#dirtyBytes = count;
    return count;
  }

  readInto(descriptor: Socket, target: Uint8Array, offset: number, length: number): number {
    if (offset < 0 || length <= 0 || offset + length > target.length) {
      this.#watcher.fault('io', `readInto [${offset}, ${offset + length}) of ${target.length} bytes`);
    }
    return this.#read(descriptor, target, offset, length);
  }

  write(descriptor: Socket, offset: number, length: number): number {
    return this.writeFrom(descriptor, this.writeBuffer, offset, length);
  }

  writeFrom(descriptor: Socket, source: Uint8Array, offset: number, length: number): number {
    const socket = this.#socket('write', descriptor);
    if (socket === null) return -EBADF;
    if (offset < 0 || length < 0 || offset + length > source.length) {
      this.#watcher.fault('io', `write of [${offset}, ${offset + length}) of ${source.length} bytes`);
    }
    this.#watcher.writing(socket);
    const result = this.#write(socket, source, offset, length);
    this.trace?.(`write ${descriptor} ${length}: ${result}`);
    if (result < 0 && !isTransient(result)) this.#watcher.writeFailed(socket, result);
    return result;
  }

  endWriting(descriptor: Socket): number {
    const socket = this.#socket('endWriting', descriptor);
    if (socket === null) return -EBADF;
    const { peer } = socket;
    if (peer === null || socket.state !== 'connected') return -ENOTCONN;
    this.#toPeer(socket, () => peer.onEnded?.());
    return 0;
  }

  close(descriptor: Socket): number {
    const socket = this.#socket('close', descriptor);
    if (socket === null) return -EBADF;
    this.trace?.(`close ${descriptor}`);
    this.#watcher.closed(socket);
    this.#release(descriptor);
    const { peer, channel } = socket;
    const wasConnected = socket.state === 'connected';
    const unread = socket.available > 0;
    socket.state = 'closed';
    socket.segments.length = 0;
    if (peer === null || channel === null || !wasConnected) return 0;
    this.#toPeer(socket, () => peer.onClosed(unread));
    return 0;
  }

  remoteAddress(descriptor: Socket): string {
    const socket = this.#socket('remoteAddress', descriptor);
    if (socket === null || socket.state !== 'connected') return '';
    return socket.address.includes(':') ? `[${socket.address}]:${socket.port}` : `${socket.address}:${socket.port}`;
  }

  openResolver(): Resolver {
    if (this.#noDescriptor()) {
      throw Object.assign(new Error('cannot open a resolver: EMFILE'), { code: 'EMFILE' });
    }
    const descriptor = this.#lowestFree();
    const resolver = new SimulatedResolver({
      descriptor,
      clock: this.clock,
      plan: (host) => this.#options.world.resolve(host),
      note: (what) => this.#watcher.note(what),
      isStrange: () => this.#random.chance(this.#faults.strangeAnswer),
      onProgress: () => {
        this.progress++;
      },
      onClose: () => this.#release(descriptor),
    });
    this.#take(descriptor, resolver);
    this.trace?.(`openResolver -> ${descriptor}`);
    return resolver;
  }

  // ── What a poller would know ─────────────────────────────────────────────────────────────────────────────────────────

  /** EVENT_IN | EVENT_OUT | EVENT_ERR of a descriptor; -1 when it is not open. */
  readiness(descriptor: Socket): number {
    const entry = this.#descriptors[descriptor];
    if (entry === undefined) return -1;
    if (entry instanceof SimulatedResolver) return entry.isReadable ? EVENT_IN : 0;
    switch (entry.state) {
      case 'connecting':
        return 0;
      case 'connected':
        if (entry.error !== 0 || entry.broken) return EVENT_IN | EVENT_OUT | EVENT_ERR;
        return (entry.available > 0 || entry.ended ? EVENT_IN : 0) | (entry.room > 0 ? EVENT_OUT : 0);
      case 'open':
      case 'failed':
      case 'closed':
        return EVENT_IN | EVENT_OUT | EVENT_ERR;
    }
    return entry.state satisfies never;
  }

  isOpen(descriptor: Socket): boolean {
    return this.#descriptors[descriptor] !== undefined;
  }

  /** Sockets that are open, the resolver not among them. */
  *sockets(): Generator<SimulatedSocket> {
    for (const entry of this.#descriptors) if (entry instanceof SimulatedSocket) yield entry;
  }

  /** Descriptors that are open, the resolver's among them. */
  get openCount(): number {
    return this.#openCount;
  }

  /** The turn is over: what was read is nobody's any more. */
  forgetRead(): void {
    this.readBuffer.fill(POISON, 0, this.#dirtyBytes);
    this.#dirtyBytes = 0;
  }

  // ── What happens on the way ──────────────────────────────────────────────────────────────────────────────────────────

  /** Milliseconds one segment takes. */
  latency(): number {
    return this.#random.chance(0.3) ? 0 : this.#random.fraction() * this.#options.latencyMs;
  }

  /** @internal Bytes of the peer's are there. */
  arrived(socket: SimulatedSocket, bytes: Uint8Array): void {
    if (socket.state !== 'connected' || socket.error !== 0) return;
    this.trace?.(`arrived for ${socket.descriptor}: ${bytes.length} bytes`);
    socket.segments.push(bytes);
    socket.available += bytes.length;
  }

  /** @internal The peer's FIN is there. */
  ended(socket: SimulatedSocket): void {
    if (socket.state !== 'connected') return;
    this.trace?.(`FIN for ${socket.descriptor}`);
    socket.ended = true;
  }

  /** @internal */
  wasReset(socket: SimulatedSocket): void {
    if (socket.state !== 'connected') return;
    this.trace?.(`RST for ${socket.descriptor}`);
    this.#watcher.note('reset arrived');
    // As Linux has it (tcp_reset): after a FIN the stream was whole, reading goes on to its end.
    socket.error = socket.ended ? -EPIPE : -ECONNRESET;
    if (socket.available === 0 || socket.ended || !this.#random.chance(this.#faults.resetPurges)) return;
    this.#watcher.note('reset purged bytes');
    socket.segments.length = 0;
    socket.available = 0;
    socket.firstOffset = 0;
  }

  #connected(socket: SimulatedSocket, plan: ConnectPlan): void {
    if (socket.state !== 'connecting') return;
    if (plan.result !== 0) {
      socket.state = 'failed';
      socket.error = plan.result;
      return;
    }
    socket.state = 'connected';
    socket.channel = new Channel(this, socket);
    socket.peer = plan.accept(socket.channel);
  }

  #read(descriptor: Socket, target: Uint8Array, offset: number, length: number): number {
    const socket = this.#socket('read', descriptor);
    if (socket === null) return -EBADF;
    const count = this.#readSome(socket, target, offset, length);
    this.trace?.(`read ${descriptor}: ${count}`);
    if (!isTransient(count)) {
      this.progress++;
      this.#watcher.wasRead(socket, count);
    }
    return count;
  }

  #readSome(socket: SimulatedSocket, target: Uint8Array, offset: number, length: number): number {
    const random = this.#random;
    if (socket.state !== 'connected') {
      this.#watcher.fault('io', `read of ${socket.descriptor}, which is ${socket.state}`);
      return -ENOTCONN;
    }
    if (random.chance(this.#faults.interrupted)) return this.#refuse('EINTR', -EINTR);
    if (random.chance(this.#faults.readWouldBlock)) return this.#refuse('read EAGAIN', -EAGAIN);
    if (socket.available === 0) {
      const { error } = socket;
      if (socket.ended) return 0;
      if (error === 0) return -EAGAIN;
      // An error is told once; afterwards the stream has ended.
      breakDown(socket);
      return error;
    }
    let wanted = Math.min(length, socket.available);
    if (wanted > 1 && random.chance(this.#faults.readPartial)) {
      this.#watcher.note('partial read');
      wanted = random.chance(0.3) ? 1 : random.between(1, wanted);
    }
    let done = 0;
    while (done < wanted) {
      const first = socket.segments[0] as Uint8Array;
      const piece = Math.min(first.length - socket.firstOffset, wanted - done);
      target.set(first.subarray(socket.firstOffset, socket.firstOffset + piece), offset + done);
      done += piece;
      socket.firstOffset += piece;
      if (socket.firstOffset < first.length) continue;
      socket.segments.shift();
      socket.firstOffset = 0;
    }
    socket.available -= done;
    socket.readBytes += done;
    return done;
  }

  #write(socket: SimulatedSocket, source: Uint8Array, offset: number, length: number): number {
    const random = this.#random;
    if (socket.state !== 'connected') {
      this.#watcher.fault('io', `write to ${socket.descriptor}, which is ${socket.state}`);
      return -ENOTCONN;
    }
    const channel = socket.channel as Channel;
    if (socket.error !== 0) {
      const { error } = socket;
      breakDown(socket);
      this.progress++;
      return error;
    }
    if (socket.broken) return -EPIPE;
    if (random.chance(this.#faults.interrupted)) return this.#refuse('EINTR', -EINTR);
    if (socket.room === 0) return -EAGAIN;
    if (random.chance(this.#faults.writeWouldBlock)) return this.#refuse('write EAGAIN', -EAGAIN);
    let count = Math.min(length, socket.room);
    if (count > 1 && random.chance(this.#faults.writePartial)) {
      this.#watcher.note('partial write');
      count = random.chance(0.3) ? 1 : random.between(1, count);
    }
    socket.room -= count;
    this.progress++;
    // A Buffer's own slice is a view.
    const bytes = Uint8Array.prototype.slice.call(source, offset, offset + count);
    this.#watcher.wrote(socket, bytes);
    this.#toPeer(socket, () => this.#taken(socket, channel, bytes));
    return count;
  }

  /** What the client wrote has come to the peer. */
  #taken(socket: SimulatedSocket, channel: Channel, bytes: Uint8Array): void {
    if (channel.deaf) {
      channel.reset();
      return;
    }
    if (channel.readDelayMs === Number.POSITIVE_INFINITY) return;
    this.clock.after(channel.readDelayMs, () => {
      socket.room += bytes.length;
    });
    (socket.peer as Peer).onBytes(bytes);
  }

  #toPeer(socket: SimulatedSocket, act: () => void): void {
    socket.arrivesMs = Math.max(socket.arrivesMs, this.clock.nowMs + this.latency());
    this.clock.at(socket.arrivesMs, act);
  }

  #refuse(what: string, negativeErrno: number): number {
    this.refusals++;
    this.#watcher.note(what);
    return negativeErrno;
  }

  // ── Descriptors ──────────────────────────────────────────────────────────────────────────────────────────────────────

  #noDescriptor(): boolean {
    const isFull = this.#openCount >= this.#options.descriptorsMax;
    if (!isFull && !this.#random.chance(this.#faults.noDescriptor)) return false;
    this.#watcher.note('EMFILE');
    return true;
  }

  #lowestFree(): number {
    let descriptor = 3;
    while (this.#descriptors[descriptor] !== undefined) descriptor++;
    return descriptor;
  }

  #take(descriptor: number, entry: Descriptor): void {
    this.#descriptors[descriptor] = entry;
    this.#openCount++;
    this.progress++;
  }

  #release(descriptor: number): void {
    this.#descriptors[descriptor] = undefined;
    this.#openCount--;
    this.progress++;
  }

  #socket(call: string, descriptor: Socket): SimulatedSocket | null {
    const entry = this.#descriptors[descriptor];
    if (entry instanceof SimulatedSocket) return entry;
    this.#watcher.fault('io', `${call} on descriptor ${descriptor}, which is no open socket`);
    return null;
  }
}

/** The error is told once; from then on the stream has ended. */
function breakDown(socket: SimulatedSocket): void {
  socket.error = 0;
  socket.ended = true;
  socket.broken = true;
}
