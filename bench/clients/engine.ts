/**
 * Measured: the bare engine, one multi and its EpollDriver on one thread, without pool, port or promises. A completed
 * transfer starts the next one in its own turn, as a load generator in a shard does.
 */

import { EpollDriver, Multi, Transfer, type TransferOptions } from 'shardfetch/multi';
import { EXPECTED_BODY, type Load } from './client.ts';
import type { Meter } from './meter.ts';

export function loadEngine(load: Load, meter: Meter, options: Partial<TransferOptions> = {}): void {
  const { url, inFlight } = load;
  const multi = new Multi({ maxConnects: inFlight });
  const driver = new EpollDriver(multi);
  /** Body bytes of each, by its `id`. */
  const received = new Int32Array(inFlight);
  /** As `Meter.begin` answered, by `id`. */
  const began = new Float64Array(inFlight);

  function start(transfer: Transfer): void {
    received[transfer.id] = 0;
    began[transfer.id] = meter.begin();
    multi.add(transfer);
  }

  function onData(transfer: Transfer, _bytes: Uint8Array, from: number, to: number): void {
    received[transfer.id] = (received[transfer.id] as number) + to - from;
  }

  /** It is done already: it may be removed and start again at once, while all that it touches is still in the cache. */
  function onEnd(transfer: Transfer): void {
    const { id } = transfer;
    const right = transfer.status === 200 && received[id] === EXPECTED_BODY.length;
    if (right) meter.end(began[id] as number);
    else meter.fail('WRONG_BODY', began[id] as number);
    if (!meter.running) return;
    multi.remove(transfer);
    start(transfer);
  }

  driver.onTurn = () => {
    // What failed: `onEnd` was not called, so nothing was started in its place.
    for (let transfer = multi.nextDone(); transfer !== null; transfer = multi.nextDone()) {
      multi.remove(transfer);
      if (transfer.error === null) continue;
      meter.fail(transfer.error.code, began[transfer.id] as number);
      if (meter.running) start(transfer);
    }
  };
  driver.run();
  for (let index = 0; index < inFlight; index++) {
    const transfer = new Transfer({ ...options, url, onData, onEnd });
    transfer.id = index;
    start(transfer);
  }
}
