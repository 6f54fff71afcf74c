/** `Io` over the native addon: real sockets, the real clock. The hot calls are the addon's own functions, without a wrapper. */

import { markAsUntransferable } from 'node:worker_threads';
import { addon } from './addon.ts';
import { errnoName } from './errno.ts';
import type { Io, ResolveAnswer, Resolver } from './io.ts';
import { NativeTls } from './native-tls.ts';

let io: Io | undefined;

/**
 * This thread's `Io`, made on first use: all engines of a thread share it and its two buffers of 128 KiB, so what `read` left
 * in `readBuffer` holds until the next `read` of anyone on the thread. Throws an Error when the addon cannot be loaded.
 */
export function nativeIo(): Io {
  io ??= createIo();
  return io;
}

/** The hard limit of open files of this process (RLIMIT_NOFILE); Infinity when there is none. */
export function fileLimit(): number {
  return addon().fileLimit();
}

function createIo(): Io {
  const native = addon();
  const { read: readBuffer, write: writeBuffer, tlsState } = native.buffers();
  // The addon keeps their addresses: transferred, they would have it read into another thread's memory.
  markAsUntransferable(readBuffer.buffer);
  markAsUntransferable(writeBuffer.buffer);
  markAsUntransferable(tlsState.buffer);
  return {
    readBuffer,
    writeBuffer,
    now: native.now,
    open: native.open,
    bind: native.bind,
    setTcpOptions: native.setTcpOptions,
    adopt: native.adopt,
    release: native.release,
    connect: native.connect,
    connectResult: native.connectResult,
    read: native.read,
    readInto: native.readInto,
    write: native.write,
    writeFrom: native.writeFrom,
    endWriting: native.endWriting,
    close: native.close,
    remoteAddress: native.remoteAddress,
    tls: new NativeTls(native, tlsState),
    openResolver: () => new NativeResolver(),
  };
}

class NativeResolver implements Resolver {
  /** -1 once closed: its number may by then be another descriptor's. */
  #descriptor: number;

  constructor() {
    this.#descriptor = addon().resolverOpen();
    if (this.#descriptor >= 0) return;
    const code = errnoName(this.#descriptor);
    throw Object.assign(new Error(`cannot open a resolver: ${code}`), { code });
  }

  get socket(): number {
    return this.#descriptor;
  }

  /** -EBADF after close, -EINVAL for a family other than 0, 4 or 6; all else that fails, fails in the answer. */
  resolve(host: string, family: 0 | 4 | 6): number {
    return addon().resolverResolve(this.#descriptor, host, family);
  }

  take(): ResolveAnswer | null {
    const answer = addon().resolverTake(this.#descriptor);
    if (answer === null) return null;
    const { lookup, status, statusName, systemError, addresses } = answer;
    const detail = systemError === 0 ? '' : ` (${errnoName(-systemError)})`;
    return { lookup, status, statusName: statusName + detail, addresses };
  }

  close(): void {
    addon().resolverClose(this.#descriptor);
    this.#descriptor = -1;
  }
}
