/** Which driver turns a shard's crank: chosen here and nowhere else. */

import type { Driven, Driver } from './multi/driver.ts';
import { EpollDriver } from './multi/epoll-driver.ts';
import { UvDriver } from './multi/uv-driver.ts';

/** epoll where there is one: it takes fewer system calls per socket, and asks again before the event loop has its turn. */
export function openShardDriver(multi: Driven): Driver {
  return process.platform === 'linux' ? new EpollDriver(multi) : new UvDriver(multi);
}
