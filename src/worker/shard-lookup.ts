/** The shard's end of the pool's look-up function: asks the main thread over a port of its own (see main/lookup-server.ts). */

import type { MessagePort } from 'node:worker_threads';
import { wrap } from 'comlink';
import nodeEndpoint from 'comlink/dist/esm/node-adapter.mjs';
import type { LookupFunction } from '../protocol/lookup-function.ts';
import type { LookupControl } from '../protocol/port/control.ts';
import { decodeTransferError } from '../protocol/port/error-encoding.ts';

/** Names are asked for once however many transfers wait: a promise here is none on the path of a request. */
export function lookupThrough(port: MessagePort): LookupFunction {
  const remote = wrap<LookupControl>(nodeEndpoint(port));
  port.unref();
  return (host, family, done) => {
    remote.lookup(host, family).then(
      (answer) => {
        if ('error' in answer) done(decodeTransferError(answer.error));
        else done(null, answer.ok);
      },
      (error: unknown) => done(error),
    );
  };
}
