/**
 * The process of one measured client in JavaScript: takes an Order as JSON in its only argument, prints a Measurement as JSON
 * and ends at once, with the load still under way.
 */

import { writeSync } from 'node:fs';
import type { Measurement, Order } from './client.ts';
import { Meter } from './meter.ts';

const order = JSON.parse(process.argv[2] as string) as Order;

/** Imports only what is measured: a client that is not loaded costs nothing. */
async function runOrder(meter: Meter): Promise<void> {
  switch (order.client) {
    case 'pool':
      return (await import('./pool.ts')).loadPool(order, meter, order.shards);
    case 'engine':
      return (await import('./engine.ts')).loadEngine(order, meter);
    case 'engine-handshakes':
      return (await import('./engine.ts')).loadEngine(order, meter, {
        forbidReuse: true,
        tls: { sessionReuse: false },
      });
    case 'engine-resumptions':
      return (await import('./engine.ts')).loadEngine(order, meter, { forbidReuse: true });
    case 'undici-handshakes':
      return (await import('./undici.ts')).loadUndiciRequest(order, meter, 0);
    case 'undici-resumptions':
      return (await import('./undici.ts')).loadUndiciRequest(order, meter, 100);
    case 'undici-request':
      return (await import('./undici.ts')).loadUndiciRequest(order, meter);
    case 'undici-fetch':
      return (await import('./undici.ts')).loadUndiciFetch(order, meter);
    case 'pool-download':
    case 'pool-upload':
    case 'pool-upload-in-pieces':
      return (await import('./pool-bodies.ts')).loadPoolBodies(order, meter);
    case 'undici-download':
    case 'undici-upload':
    case 'undici-upload-in-pieces':
      return (await import('./undici-bodies.ts')).loadUndiciBodies(order, meter);
    case 'pool-text':
    case 'pool-collect':
    case 'undici-text':
      return (await import('./coded.ts')).loadCoded(order, meter);
  }
}

/** Bodies are few and take long: the clock is looked at for each. */
const sampleEvery = (order.bodyBytes ?? 0) < 64 * 1024 ? 16 : 1;
const report = (measurement: Measurement): never => {
  writeSync(1, `${JSON.stringify(measurement)}\n`);
  process.exit(0);
};
const meter = new Meter(order.window, order.inFlight, sampleEvery, report);
await runOrder(meter);
