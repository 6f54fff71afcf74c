/** poll(2) over any number of descriptors, for programs without an event loop. */

import { addon } from './addon.ts';

/**
 * Waits until one of `count` triples of descriptor, what (1 in, 2 out) and any number is ready, at most `timeoutMs` and at most
 * 100 ms, so that a worker can be ended. Those that are ready are moved to the front, as triples of descriptor, events and 0;
 * their number, or `-errno`. A signal ends the wait early, with 0. What is no descriptor of this thread is said to be ready.
 */
export function pollDescriptors(triples: Int32Array, count: number, timeoutMs: number): number {
  return addon().pollDescriptors(triples, count, timeoutMs);
}
