/** The shard's end of the pool's guards: those that are functions are asked on the main thread, over a port (see main/guard-server.ts). */

import type { MessagePort } from 'node:worker_threads';
import { type Remote, wrap } from 'comlink';
import nodeEndpoint from 'comlink/dist/esm/node-adapter.mjs';
import type { TransferError } from '../protocol/errors.ts';
import {
  type Guard,
  type GuardQuestion,
  type GuardVerdicts,
  PUBLIC_ONLY,
  refused,
  resolveGuard,
} from '../protocol/guard-options.ts';
import type { GuardControl } from '../protocol/port/control.ts';
import { decodeTransferError } from '../protocol/port/error-encoding.ts';

export class ShardGuards {
  readonly #port: MessagePort;
  readonly #remote: Remote<GuardControl>;

  constructor(port: MessagePort) {
    this.#port = port;
    this.#remote = wrap<GuardControl>(nodeEndpoint(port));
    port.unref();
  }

  /** By its name; null: there is none. */
  of(name: string | null): Guard | null {
    if (name === null) return null;
    return name === PUBLIC_ONLY ? resolveGuard(PUBLIC_ONLY) : this.#function(name);
  }

  close(): void {
    this.#port.close();
  }

  /** Asked once per connection that is opened: a promise here is none on the path of a request. */
  #function(name: string): Guard {
    return {
      identity: name,
      judge: (question, done) => {
        this.#remote.judge(name, question).then(
          (answer) => {
            if ('error' in answer) done(all(question, decodeTransferError(answer.error)));
            else done(answer.ok.map((text) => (text === null ? null : decodeTransferError(text))));
          },
          (error: unknown) => done(all(question, refused('The guard could not be asked; see the cause.', error))),
        );
      },
    };
  }
}

function all({ addresses }: GuardQuestion, refusal: TransferError): GuardVerdicts {
  return addresses.map(() => refusal);
}
