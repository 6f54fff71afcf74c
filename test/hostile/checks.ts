/** What the tests of hostile peers share: nothing may be left behind. */

import type { Pool } from 'shardfetch';
import { expect } from 'vitest';
import { descriptors } from '../faults/rig.ts';
import { checkStats, eventually } from '../wire/checks.ts';

/** Sockets, epolls and eventfds open in this process, its worker threads included. */
export function descriptorCount(): number {
  return Object.values(descriptors()).reduce((sum, count) => sum + count, 0);
}

/** No transfer is under way, and no descriptor is open that was not open `before`. */
export async function checkNothingIsLeft(pool: Pool, before: number): Promise<void> {
  const stats = await checkStats(pool, { inFlight: 0 });
  for (const shard of stats.shards) {
    const { running, queued, unreadBytes } = shard;
    expect({ running, queued, unreadBytes }).toEqual({ running: 0, queued: 0, unreadBytes: 0 });
  }
  await eventually(() => descriptorCount() <= before, `no more descriptors are open than before (${before})`);
}
