/** Measured: JSON read as text, compressed or not: `pool.fetch` as it comes, with `collect`, and undici's `fetch`. */

import type { Order } from './client.ts';
import { failureCode, type Meter } from './meter.ts';

type Exchange = () => Promise<string>;

export async function loadCoded(order: Order, meter: Meter): Promise<void> {
  const exchange = await exchangeOf(order);
  const { inFlight, bodyBytes } = order;

  async function lane(): Promise<void> {
    while (meter.running) {
      const began = meter.begin();
      try {
        if ((await exchange()).length === bodyBytes) meter.end(began);
        else meter.fail('WRONG_BODY', began);
      } catch (error) {
        meter.fail(failureCode(error), began);
      }
    }
  }

  for (let index = 0; index < inFlight; index++) void lane();
}

async function exchangeOf({ client, url, inFlight, shards }: Order): Promise<Exchange> {
  if (client === 'undici-text') {
    const { Agent, fetch } = await import('undici');
    const dispatcher = new Agent({ connections: inFlight, pipelining: 1 });
    return async () => (await fetch(url, { dispatcher })).text();
  }
  const { Pool } = await import('shardfetch');
  const pool = new Pool({ shards, connections: { perOrigin: inFlight } });
  if (client === 'pool-collect') return async () => (await pool.fetch(url, { collect: 'text' })).text();
  return async () => (await pool.fetch(url)).text();
}
