/** The simulated network without chance: one server by script, no faults, no delays. For what a seed found and a test must keep. */

import { SimulatedClock } from '../../src/worker/io/simulated/clock.ts';
import {
  type Channel,
  type ConnectPlan,
  type KernelFaults,
  type Peer,
  SimulatedNetwork,
  type Watcher,
} from '../../src/worker/io/simulated/network.ts';
import { Random } from '../../src/worker/io/simulated/random.ts';
import { Multi, type MultiOptions, type Transfer, WATCH_REMOVE } from '../../src/worker/multi/index.ts';

const NO_FAULTS: KernelFaults = {
  readPartial: 0,
  readWouldBlock: 0,
  interrupted: 0,
  writePartial: 0,
  writeWouldBlock: 0,
  noDescriptor: 0,
  resetPurges: 0,
  clockTicks: 0,
  cannotBind: 0,
  strangeAnswer: 0,
};

/** More turns at one instant are no progress. */
const TURNS_MAX = 100;
const NEVER = Number.POSITIVE_INFINITY;

export interface ScriptOptions extends MultiOptions {
  /** What is done when bytes of a request have come. */
  onBytes?: (channel: Channel, text: string) => void;
  connect?: (address: string) => Partial<ConnectPlan>;
  sendBufferBytes?: number;
  /** Infinity: the server reads nothing. */
  readDelayMs?: number;
  onSocket?: (transfer: Transfer | null, socket: number, what: number) => number | undefined;
}

export class Script {
  readonly clock = new SimulatedClock();
  readonly network: SimulatedNetwork;
  readonly multi: Multi;
  readonly watched = new Map<number, number>();
  readonly channels: Channel[] = [];
  /** The most sockets that were open at once. */
  socketsMax = 0;
  onSocket: ScriptOptions['onSocket'];
  /** What driving calls threw. */
  readonly thrown: unknown[] = [];
  #sockets = 0;
  #due = NEVER;

  constructor(options: ScriptOptions = {}) {
    const { onBytes, connect, sendBufferBytes = 1_000_000, readDelayMs = 0, onSocket, ...multiOptions } = options;
    this.onSocket = onSocket;
    const accept = (channel: Channel): Peer => {
      this.channels.push(channel);
      channel.readDelayMs = readDelayMs;
      return {
        onBytes: (bytes) => onBytes?.(channel, Buffer.from(bytes).toString('latin1')),
        onClosed: () => {},
      };
    };
    this.network = new SimulatedNetwork({
      clock: this.clock,
      random: new Random(1),
      faults: NO_FAULTS,
      world: {
        connect: (address) => ({ result: 0, afterMs: 0, accept, ...connect?.(address) }),
        resolve: () => ({ afterMs: 0, status: 0, statusName: '', addresses: ['10.0.0.1'] }),
      },
      watcher: this.#watcher(),
      readBufferBytes: 65_536,
      writeBufferBytes: 65_536,
      sendBufferBytes,
      descriptorsMax: 1_000,
      latencyMs: 0,
    });
    this.multi = new Multi({ io: this.network, ...multiOptions });
    this.multi.socketFunction((transfer, socket, what) => {
      if (what === WATCH_REMOVE) this.watched.delete(socket);
      else this.watched.set(socket, what);
      return this.onSocket?.(transfer, socket, what);
    });
    this.multi.timerFunction((timeoutMs) => {
      this.#due = timeoutMs < 0 ? NEVER : this.clock.nowMs + timeoutMs;
    });
  }

  /** Serves what is ready and due now until nothing more is; throws when that does not end. */
  settle(): void {
    for (let turn = 0; turn < TURNS_MAX; turn++) {
      this.clock.advance(this.clock.nowMs);
      const ready = this.#ready();
      const isDue = this.#due <= this.clock.nowMs;
      if (ready.length === 0 && !isDue) return;
      for (const [socket, events] of ready) this.#drive(() => this.multi.action(socket, events));
      if (!isDue) continue;
      this.#due = NEVER;
      this.#drive(() => this.multi.timeout());
    }
    throw new Error(`${TURNS_MAX} turns at one instant; ready: ${JSON.stringify(this.#ready())}`);
  }

  later(ms: number): void {
    this.clock.advance(this.clock.nowMs + ms);
    this.settle();
  }

  #drive(act: () => void): void {
    try {
      act();
    } catch (error) {
      this.thrown.push(error);
    }
  }

  #ready(): [number, number][] {
    const ready: [number, number][] = [];
    for (const [socket, what] of this.watched) {
      const events = this.network.readiness(socket) & (what | 4);
      if (events !== 0) ready.push([socket, events]);
    }
    return ready;
  }

  #watcher(): Watcher {
    return {
      fault: (rule, detail) => {
        throw new Error(`${rule}: ${detail}`);
      },
      opened: () => {
        this.socketsMax = Math.max(this.socketsMax, ++this.#sockets);
      },
      closed: () => {
        this.#sockets--;
      },
      connecting: () => {},
      wasRead: () => {},
      writing: () => {},
      wrote: () => {},
      writeFailed: () => {},
      connectFailed: () => {},
      note: () => {},
    };
  }
}

export function say(channel: Channel, text: string): void {
  channel.send(Buffer.from(text, 'latin1'));
}
