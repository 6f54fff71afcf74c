/** Loads a scenario's module into a shard. The main thread has loaded it before, so that what is wrong with it was told there. */

import { Console } from 'node:console';
import { pathToFileURL } from 'node:url';
import type { FromLoadShard } from '../../protocol/load/messages.ts';
import type { LoadPlan } from '../../protocol/load/plan.ts';
import type { Scenario, ScenarioPlan } from '../../protocol/load/scenario.ts';
import { ScenarioGenerator } from './scenario-generator.ts';

export async function openScenario(
  plan: LoadPlan,
  shard: number,
  tell: (message: FromLoadShard) => void,
): Promise<ScenarioGenerator> {
  const { file, data } = plan.scenario as ScenarioPlan;
  // Standard output belongs to reports.
  globalThis.console = new Console(process.stderr);
  const module = (await import(pathToFileURL(file).href)) as { default: Scenario };
  deepFreeze(data);
  const generator = new ScenarioGenerator(plan, shard, module.default, tell);
  process.on('unhandledRejection', (reason) => generator.noteError(reason));
  return generator;
}

/** Records and lists; what is inside other objects (a Map, bytes) stays as it is. */
function deepFreeze(value: unknown): void {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value) || ArrayBuffer.isView(value)) return;
  Object.freeze(value);
  for (const member of Object.values(value)) deepFreeze(member);
}
