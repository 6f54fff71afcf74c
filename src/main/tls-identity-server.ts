/**
 * The pool's `tls.checkServerIdentity` runs on the main thread, because functions cannot cross: a shard asks over a port of its own
 * (Comlink), once per connection that resumes no session; its transfer waits in the handshake, and the shard goes on.
 */

import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { expose } from 'comlink';
import nodeEndpoint from 'comlink/dist/esm/node-adapter.mjs';
import { callCheck } from '../protocol/identity-function.ts';
import type { ControlAnswer, IdentityControl } from '../protocol/port/control.ts';
import { encodeError } from '../protocol/port/error-encoding.ts';
import type { CheckServerIdentity } from '../protocol/tls-options.ts';

/** The shard's end of a new port; ours ends with it. */
export function identityPortFor(check: CheckServerIdentity): MessagePort {
  const { port1, port2 } = new MessageChannel();
  const control: IdentityControl = { check: (host, certificate) => ask(check, host, certificate) };
  expose(control, nodeEndpoint(port1));
  // A request that waits for the answer keeps the process alive by its shard's data port; this one must not (TRAPS 9).
  port1.unref();
  return port2;
}

async function ask(check: CheckServerIdentity, host: string, certificate: Uint8Array): Promise<ControlAnswer<true>> {
  const refusal = await callCheck(check, host, certificate);
  return refusal === null ? { ok: true } : { error: encodeError(refusal) };
}

let lastNumber = 0;

/**
 * What all shards of a pool know its function by, and nobody else's: sessions and connections of one configuration are shared by it
 * (`nameIdentityCheck`).
 */
export function newIdentityName(): string {
  return `pool ${++lastNumber}`;
}
