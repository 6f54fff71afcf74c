/**
 * `shards: 0`: a shard in the main thread itself, behind the same two ports as any other. The one file in which main knows
 * the worker's code.
 */

import type { MessagePort } from 'node:worker_threads';
import type { ShardTask } from '../protocol/port/control.ts';
import type { ShardThread } from './shard-threads.ts';

export function launchInline(task: ShardTask<MessagePort>): ShardThread {
  const begun = import('../worker/shard.ts').then(({ default: startShard }) => {
    startShard(task);
  });
  return {
    begun,
    onError: null,
    terminate: () => task.dataPort.close(),
  };
}
