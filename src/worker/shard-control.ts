/** The shard's end of the control plane: Comlink on the control port. It may be slow; nothing of a request comes this way. */

import type { MessagePort } from 'node:worker_threads';
import { expose } from 'comlink';
import nodeEndpoint from 'comlink/dist/esm/node-adapter.mjs';
import type { ControlAnswer, ShardControl } from '../protocol/port/control.ts';
import { encodeError } from '../protocol/port/error-encoding.ts';
import type { Shard } from './shard.ts';

export function exposeControl(shard: Shard, port: MessagePort): void {
  const control: ShardControl = {
    ping: () => ({ ok: true }),
    stats: () => answer(() => shard.stats()),
    peerCertificate: (number) => answer(() => shard.peerCertificate(number)),
    close: () =>
      answer(() => {
        shard.close();
        return true as const;
      }),
  };
  expose(control, nodeEndpoint(port));
  // Comlink's listener would keep the thread's event loop alive (TRAPS 9).
  port.unref();
}

function answer<T>(call: () => T): ControlAnswer<T> {
  try {
    return { ok: call() };
  } catch (error) {
    return { error: encodeError(error) };
  }
}
