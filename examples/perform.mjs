/**
 * Transfers without any event loop: `perform` does what there is to do, `poll` waits for more. For a script that has nothing else to do,
 * or a worker thread of its own: Node's timers and sockets stand still meanwhile.
 *
 *   node examples/perform.mjs http://127.0.0.1:8080/ http://127.0.0.1:8080/other …
 */
import { Multi, Transfer } from 'shardfetch/multi';

const multi = new Multi();
for (const url of process.argv.slice(2)) multi.add(new Transfer({ url, private: url }));

let running = 0;
do {
  running = multi.perform();
  for (const { transfer, error } of multi.messages()) {
    const { status, bytesReceived } = transfer.info;
    console.log(`${transfer.private} ${error === null ? `${status}, ${bytesReceived} bytes` : error.code}`);
    multi.remove(transfer);
  }
  // Another thread may end this: `wakeup(handle)` from 'shardfetch/multi', where handle is this multi's `wakeupHandle`.
  if (running > 0) multi.poll(1_000);
} while (running > 0);
multi.close();
