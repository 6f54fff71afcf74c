/**
 * The pool's look-up function runs on the main thread, because functions cannot cross: a shard asks over a port of its own
 * (Comlink), its transfer waits, and the shard goes on. What the function answers is made sense of here; what is done with it, and
 * for how long it is kept, is the shard's.
 */

import type { MessagePort } from 'node:worker_threads';
import { expose } from 'comlink';
import nodeEndpoint from 'comlink/dist/esm/node-adapter.mjs';
import { TransferError } from '../protocol/errors.ts';
import { callLookup, type LookupFunction } from '../protocol/lookup-function.ts';
import type { ControlAnswer, LookupControl } from '../protocol/port/control.ts';
import { encodeError } from '../protocol/port/error-encoding.ts';
import type { IpFamily } from '../protocol/route-options.ts';

export function serveLookups(lookup: LookupFunction, port: MessagePort): void {
  const control: LookupControl = { lookup: (host, family) => ask(lookup, host, family) };
  expose(control, nodeEndpoint(port));
  // A request that waits for a name keeps the process alive by its shard's data port; this one must not (TRAPS 9).
  port.unref();
}

function ask(lookup: LookupFunction, host: string, family: IpFamily): Promise<ControlAnswer<readonly string[]>> {
  return new Promise((resolve) => {
    callLookup(lookup, host, family, (found) => {
      resolve(TransferError.is(found) ? { error: encodeError(found) } : { ok: found });
    });
  });
}
