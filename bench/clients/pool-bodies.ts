/** Measured: `pool.fetch` with large bodies: received by `arrayBuffer()`, sent as bytes, or sent by an async generator. */

import { Pool } from 'shardfetch';
import type { Order } from './client.ts';
import { failureCode, type Meter } from './meter.ts';
import { pieces } from './pieces.ts';

export function loadPoolBodies(order: Order, meter: Meter): void {
  const { client, url, inFlight, shards, bodyBytes = 0 } = order;
  const pool = new Pool({ shards, connections: { perOrigin: inFlight } });
  const whole = new Uint8Array(client === 'pool-download' ? 0 : bodyBytes);
  const headers = { 'content-length': String(bodyBytes) };

  async function exchange(): Promise<number> {
    if (client === 'pool-download') return (await (await pool.fetch(url)).arrayBuffer()).byteLength;
    const response = await (client === 'pool-upload'
      ? pool.fetch(url, { method: 'POST', body: whole })
      : pool.fetch(url, { method: 'POST', body: pieces(whole), duplex: 'half', headers }));
    return Number(await response.text());
  }

  async function lane(): Promise<void> {
    while (meter.running) {
      const began = meter.begin();
      try {
        if ((await exchange()) === bodyBytes) meter.end(began);
        else meter.fail('WRONG_BODY', began);
      } catch (error) {
        meter.fail(failureCode(error), began);
      }
    }
  }

  for (let index = 0; index < inFlight; index++) void lane();
}
