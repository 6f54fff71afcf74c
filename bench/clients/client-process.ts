/**
 * The process of one measured client in JavaScript: takes an Order as JSON in its only argument, prints a Measurement as JSON
 * and ends at once, with the load still under way.
 */

import { writeSync } from 'node:fs';
import type { Order } from './client.ts';
import { Meter } from './meter.ts';

const order = JSON.parse(process.argv[2] as string) as Order;

/** Imports only what is measured: a client that is not loaded costs nothing. */
async function runOrder(meter: Meter): Promise<void> {
  switch (order.client) {
    case 'pool':
      return (await import('./pool.ts')).loadPool(order, meter, order.shards);
    case 'engine':
      return (await import('./engine.ts')).loadEngine(order, meter);
    case 'undici-request':
      return (await import('./undici.ts')).loadUndiciRequest(order, meter);
    case 'undici-fetch':
      return (await import('./undici.ts')).loadUndiciFetch(order, meter);
  }
}

const meter = new Meter(order.window, order.inFlight, (measurement) => {
  writeSync(1, `${JSON.stringify(measurement)}\n`);
  process.exit(0);
});
await runOrder(meter);
