/**
 * The kernel's sockets, with addresses that lead to ports of loopback as the test wants: so that a name can have many addresses,
 * good, dead and silent ones, and no packet leaves this machine. Notes what is tried and what is open.
 */

import type { Io } from '../../../src/worker/io/io.ts';
import { nativeIo } from '../../../src/worker/io/native-io.ts';

const ENETUNREACH = 101;
const EINPROGRESS = 115;

/** In the place of a port: nothing comes from there until the test says what. */
export const SILENT = 0;

export interface Attempt {
  readonly address: string;
  readonly socket: number;
  /** On the clock of `performance.now`. */
  readonly at: number;
}

export class Detour {
  readonly io: Io;
  /** In order. */
  readonly attempts: Attempt[] = [];
  /** Sockets opened and not closed. */
  readonly open = new Set<number>();
  mostOpen = 0;
  /** What has become of the attempts at SILENT addresses: `-errno`. */
  silence = -EINPROGRESS;
  readonly #silent = new Set<number>();

  /** `ports`: the port of loopback behind each address; any other is unreachable. */
  constructor(ports: Readonly<Record<string, number>>) {
    const real = nativeIo();
    this.io = {
      ...real,
      open: (family) => {
        const socket = real.open(family);
        this.open.add(socket);
        this.mostOpen = Math.max(this.mostOpen, this.open.size);
        return socket;
      },
      connect: (socket, family, address) => {
        this.attempts.push({ address, socket, at: performance.now() });
        const port = ports[address];
        if (port === undefined) return -ENETUNREACH;
        if (port === SILENT) {
          this.#silent.add(socket);
          return -EINPROGRESS;
        }
        return real.connect(socket, family, family === 6 ? '::1' : '127.0.0.1', port);
      },
      connectResult: (socket) => (this.#silent.has(socket) ? this.silence : real.connectResult(socket)),
      close: (socket) => {
        this.#silent.delete(socket);
        this.open.delete(socket);
        return real.close(socket);
      },
    };
  }

  get addresses(): string[] {
    return this.attempts.map(({ address }) => address);
  }
}
