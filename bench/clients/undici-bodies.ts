/** Measured: undici's `request` with large bodies: received by `arrayBuffer()`, sent as bytes, or sent by an async generator. */

import { Agent, request } from 'undici';
import type { Order } from './client.ts';
import { failureCode, type Meter } from './meter.ts';
import { pieces } from './pieces.ts';

export function loadUndiciBodies(order: Order, meter: Meter): void {
  const { client, url, inFlight, bodyBytes = 0 } = order;
  const dispatcher = new Agent({ connections: inFlight, pipelining: 1 });
  const whole = new Uint8Array(client === 'undici-download' ? 0 : bodyBytes);
  const headers = { 'content-length': String(bodyBytes) };

  async function exchange(): Promise<number> {
    if (client === 'undici-download') return (await (await request(url, { dispatcher })).body.arrayBuffer()).byteLength;
    // An iterable is taken, though the types name only streams.
    const body = client === 'undici-upload' ? whole : (pieces(whole) as never);
    const response = await request(url, { dispatcher, method: 'POST', body, headers });
    return Number(await response.body.text());
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
