/** What the tests of hostile peers share: nothing may be left behind. */

import type { Pool } from 'shardfetch';
import { descriptors } from '../faults/rig.ts';
import { checkStats, eventually } from '../wire/checks.ts';

/** Sockets, epolls and eventfds open in this process, its worker threads included. */
export function descriptorCount(): number {
  return Object.values(descriptors()).reduce((sum, count) => sum + count, 0);
}

/** No transfer is under way, and no descriptor is open that was not open `before`. */
export async function checkNothingIsLeft(pool: Pool, before: number): Promise<void> {
  // What the main thread cancelled a moment ago is on its way to the shard; a question for its counts may overtake it.
  await eventually(async () => {
    const { shards } = await pool.stats();
    return shards.every(({ running, queued, unreadBytes }) => running + queued + unreadBytes === 0);
  }, 'no shard has anything to do');
  await checkStats(pool, { inFlight: 0 });
  await eventually(() => descriptorCount() <= before, `no more descriptors are open than before (${before})`);
}
