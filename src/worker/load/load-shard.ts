/** The thread of a load shard: a generator, and its messages to and from the main thread. Lives until the generator is done. */

import { parentPort, workerData } from 'node:worker_threads';
import type { FromLoadShard, LoadShardTask, ToLoadShard } from '../../protocol/load/messages.ts';
import { LoadGenerator } from './generator.ts';
import { WeightedTargets } from './request-source.ts';
import { needsVariedTargets, VariedTargets } from './requests.ts';
import { openScenario } from './scenario-shard.ts';

const port = parentPort;
if (port === null) throw new Error('A load shard runs in a thread of its own.');
const { plan, shard } = workerData as LoadShardTask;

function tell(message: FromLoadShard): void {
  port?.postMessage(message);
  if (message.kind === 'done') port?.close();
}

/** What begins and stops. */
type Generator = Pick<LoadGenerator, 'begin' | 'stop'>;

async function openGenerator(): Promise<Generator> {
  if (plan.scenario !== null) return openScenario(plan, shard, tell);
  const source = needsVariedTargets(plan) ? new VariedTargets(plan, shard) : new WeightedTargets(plan, shard);
  return new LoadGenerator(plan, shard, source, tell);
}

const generator = await openGenerator();
port.on('message', (message: ToLoadShard) => {
  if (message.kind === 'begin') generator.begin(message.startMs);
  else generator.stop();
});
tell({ kind: 'ready', shard });
