/**
 * Transfers with EpollDriver: one epoll for all sockets, whole batches at a time. The one to take on Linux.
 *
 *   node examples/epoll.mjs http://127.0.0.1:8080/ http://127.0.0.1:8080/other …
 */
import { EpollDriver, Multi, Transfer } from 'shardfetch/multi';

const multi = new Multi({ maxHostConnections: 8 });
for (const url of process.argv.slice(2)) {
  multi.add(new Transfer({ url, private: url })); // `private` is the application's own, as CURLOPT_PRIVATE
}

const driver = new EpollDriver(multi);
driver.onTurn = () => {
  for (const { transfer, error } of multi.messages()) {
    const { status, bytesReceived } = transfer.info;
    console.log(`${transfer.private} ${error === null ? `${status}, ${bytesReceived} bytes` : error.code}`);
    multi.remove(transfer);
  }
};
// The program ends when no transfer runs any more.
driver.run();
