/**
 * The main thread's end of the control plane. A Comlink call to a thread that died never settles (TRAPS 9), so each call
 * races with the end of the shard.
 */

import type { MessagePort } from 'node:worker_threads';
import { type Remote, wrap } from 'comlink';
import nodeEndpoint from 'comlink/dist/esm/node-adapter.mjs';
import { TransferError } from '../protocol/errors.ts';
import type { ControlAnswer, ShardControl, ShardStats } from '../protocol/port/control.ts';
import { decodeError } from '../protocol/port/error-encoding.ts';

export class ControlClient {
  readonly #port: MessagePort;
  readonly #remote: Remote<ShardControl>;
  /** Rejects the calls under way; called when the shard has ended. */
  readonly #rejects = new Set<(error: unknown) => void>();
  #ended = false;

  constructor(port: MessagePort) {
    this.#port = port;
    this.#remote = wrap<ShardControl>(nodeEndpoint(port));
    port.unref();
  }

  ping(): Promise<true> {
    return this.#call(() => this.#remote.ping());
  }

  stats(): Promise<ShardStats> {
    return this.#call(() => this.#remote.stats());
  }

  peerCertificate(number: number): Promise<Uint8Array> {
    return this.#call(() => this.#remote.peerCertificate(number));
  }

  close(): Promise<true> {
    return this.#call(() => this.#remote.close());
  }

  /** The shard has ended: calls under way reject, later ones at once. */
  end(): void {
    if (this.#ended) return;
    this.#ended = true;
    for (const reject of this.#rejects) reject(shardEnded());
    this.#rejects.clear();
    this.#port.close();
  }

  async #call<T>(send: () => PromiseLike<ControlAnswer<T>>): Promise<T> {
    if (this.#ended) throw shardEnded();
    let rejectCall: (error: unknown) => void = () => undefined;
    const ended = new Promise<never>((_, reject) => {
      rejectCall = reject;
      this.#rejects.add(reject);
    });
    // While a call is awaited the answer must find the process alive.
    this.#port.ref();
    try {
      const answer = await Promise.race([send(), ended]);
      if ('error' in answer) throw decodeError(answer.error);
      return answer.ok;
    } finally {
      this.#rejects.delete(rejectCall);
      if (this.#rejects.size === 0 && !this.#ended) this.#port.unref();
    }
  }
}

function shardEnded(): TransferError {
  return new TransferError('SHARD_LOST', 'The shard ended before it answered.');
}
