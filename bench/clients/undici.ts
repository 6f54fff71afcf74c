/** Measured: undici's `request` and its `fetch`, over an agent with as many connections as requests in flight. */

import { Agent, fetch, request } from 'undici';
import { EXPECTED_BODY, type Load } from './client.ts';
import { failureCode, type Meter } from './meter.ts';

/** `reset`: a new connection for each request. */
export function loadUndiciRequest(load: Load, meter: Meter, reset = false): void {
  const { url, inFlight } = load;
  const dispatcher = agentFor(inFlight);

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
  const dispatcher = agentFor(inFlight);

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

function agentFor(inFlight: number): Agent {
  return new Agent({ connections: inFlight, pipelining: 1 });
}
