/**
 * Measured: the bare engine, one multi and its EpollDriver on one thread, without pool, port or promises. A completed
 * transfer starts the next one in its own turn, as a load generator in a shard does.
 */

import { EpollDriver, Multi, Transfer } from 'shardfetch/multi';
import { EXPECTED_BODY, type Load } from './client.ts';
import type { Meter } from './meter.ts';

export function loadEngine(load: Load, meter: Meter): void {
  const { url, inFlight } = load;
  const multi = new Multi({ maxConnects: inFlight });
  const driver = new EpollDriver(multi);
  /** Removed transfers, ready to be added again. */
  const spare: Transfer[] = [];
  /** Body bytes and start of each, by its `id`. */
  const received: number[] = [];
  const began: number[] = [];

  function createTransfer(): Transfer {
    const transfer = new Transfer({ url, onData, onEnd });
    transfer.id = received.length;
    received.push(0);
    began.push(0);
    return transfer;
  }

  function start(): void {
    const transfer = spare.pop() ?? createTransfer();
    received[transfer.id] = 0;
    began[transfer.id] = meter.begin();
    multi.add(transfer);
  }

  function onData(transfer: Transfer, _bytes: Uint8Array, from: number, to: number): void {
    received[transfer.id] = (received[transfer.id] as number) + to - from;
  }

  function onEnd(transfer: Transfer): void {
    const { id } = transfer;
    const right = transfer.status === 200 && received[id] === EXPECTED_BODY.length;
    if (right) meter.end(began[id] as number);
    else meter.fail('WRONG_BODY', began[id] as number);
    if (meter.running) start();
  }

  driver.onTurn = () => {
    for (let transfer = multi.nextDone(); transfer !== null; transfer = multi.nextDone()) {
      multi.remove(transfer);
      spare.push(transfer);
      if (transfer.error === null) continue;
      // `onEnd` was not called, so nothing was started in its place.
      meter.fail(transfer.error.code, began[transfer.id] as number);
      if (meter.running) start();
    }
  };
  driver.run();
  for (let index = 0; index < inFlight; index++) start();
}
