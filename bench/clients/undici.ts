/** Measured: undici's `request` and its `fetch`, over an agent with as many connections as requests in flight. */

import { Agent, fetch, request } from 'undici';
import { EXPECTED_BODY, type Load } from './client.ts';
import { failureCode, type Meter } from './meter.ts';

/** `sessions`: a new connection for each request, with so many sessions kept; null: connections are kept. */
export function loadUndiciRequest(load: Load, meter: Meter, sessions: number | null = null): void {
  const { url, inFlight } = load;
  const reset = sessions !== null;
  const connect = reset ? { connect: { maxCachedSessions: sessions } } : {};
  const dispatcher = new Agent({ connections: inFlight, pipelining: 1, ...connect });

  async function lane(): Promise<void> {
    while (meter.running) {
      const began = meter.begin();
      try {
        const response = await request(url, { dispatcher, reset });
        if ((await response.body.text()) === EXPECTED_BODY) meter.end(began);
        else meter.fail('WRONG_BODY', began);
      } catch (error) {
        meter.fail(failureCode(error), began);
      }
    }
  }

  for (let index = 0; index < inFlight; index++) void lane();
}

export function loadUndiciFetch(load: Load, meter: Meter): void {
  const { url, inFlight } = load;
  const dispatcher = new Agent({ connections: inFlight, pipelining: 1 });

  async function lane(): Promise<void> {
    while (meter.running) {
      const began = meter.begin();
      try {
        const response = await fetch(url, { dispatcher });
        if ((await response.text()) === EXPECTED_BODY) meter.end(began);
        else meter.fail('WRONG_BODY', began);
      } catch (error) {
        meter.fail(failureCode(error), began);
      }
    }
  }

  for (let index = 0; index < inFlight; index++) void lane();
}
