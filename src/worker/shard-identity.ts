/** The shard's end of the pool's `tls.checkServerIdentity`: asks the main thread over a port of its own (see main/tls-identity-server.ts). */

import type { MessagePort } from 'node:worker_threads';
import { wrap } from 'comlink';
import nodeEndpoint from 'comlink/dist/esm/node-adapter.mjs';
import type { IdentityControl } from '../protocol/port/control.ts';
import { decodeError } from '../protocol/port/error-encoding.ts';
import type { RouteOptions } from '../protocol/route-options.ts';
import { type CheckServerIdentity, nameIdentityCheck } from '../protocol/tls-options.ts';

/** `route` with the function in it that asks. `name`: what the pool's shards all know it by. */
export function withIdentityCheck(route: RouteOptions, name: string, port: MessagePort): RouteOptions {
  const check = identityThrough(port);
  nameIdentityCheck(check, name);
  return { ...route, tls: { ...route.tls, checkServerIdentity: check } };
}

function identityThrough(port: MessagePort): CheckServerIdentity {
  const remote = wrap<IdentityControl>(nodeEndpoint(port));
  port.unref();
  return async (host, { raw }) => {
    const answer = await remote.check(host, raw);
    return 'error' in answer ? decodeError(answer.error) : undefined;
  };
}
