/** Measured: `pool.fetch`, the response read as text. The connections of the whole pool are as many as the requests in flight. */

import { Pool } from 'shardfetch';
import { EXPECTED_BODY, type Load } from './client.ts';
import { failureCode, type Meter } from './meter.ts';

export function loadPool(load: Load, meter: Meter, shards: number): void {
  const { url, inFlight } = load;
  // Shares of shards differ by chance, so the total leaves them room.
  const pool = new Pool({ shards, connections: { perOrigin: inFlight, total: Math.max(1_000, inFlight) } });

  async function lane(): Promise<void> {
    while (meter.running) {
      const began = meter.begin();
      try {
        const response = await pool.fetch(url);
        if ((await response.text()) === EXPECTED_BODY) meter.end(began);
        else meter.fail('WRONG_BODY', began);
      } catch (error) {
        meter.fail(failureCode(error), began);
      }
    }
  }

  for (let index = 0; index < inFlight; index++) void lane();
}
