/**
 * Transfers with UvDriver: a uv_poll per socket on the thread's own event loop, and setTimeout. The one to take where there is no epoll.
 * A timer of the program's own shows that the event loop is free meanwhile.
 *
 *   node examples/uv.mjs http://127.0.0.1:8080/ http://127.0.0.1:8080/other …
 */
import { Multi, Transfer, UvDriver } from 'shardfetch/multi';

const multi = new Multi();
for (const url of process.argv.slice(2)) {
  multi.add(new Transfer({ url, private: url, timeouts: { totalMs: 30_000 } }));
}

const progress = setInterval(() => console.error(`${multi.running} running`), 1_000);
if (multi.running === 0) clearInterval(progress); // no URL was given

const driver = new UvDriver(multi);
driver.onTurn = () => {
  for (const { transfer, error } of multi.messages()) {
    const { status, bytesReceived } = transfer.info;
    console.log(`${transfer.private} ${error === null ? `${status}, ${bytesReceived} bytes` : error.code}`);
    multi.remove(transfer);
  }
  if (multi.running === 0) clearInterval(progress);
};
driver.run();
