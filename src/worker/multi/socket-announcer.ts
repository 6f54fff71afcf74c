/**
 * Tells the application what to watch (libcurl: CURLMOPT_SOCKETFUNCTION), once per turn: what changed and changed back is no
 * change (rule 13). Closes what is leaving, after its REMOVE and in no other place (rule 16).
 */

import { TransferError } from '../../protocol/errors.ts';
import { abortedBy } from './aborted-by.ts';
import type { Multi } from './multi.ts';
import type { SocketCallback } from './multi-options.ts';
import { closeSocket } from './socket-hooks.ts';
import { type SocketEntry, WATCH_NONE, WATCH_REMOVE } from './socket-table.ts';

export class SocketAnnouncer {
  callback: SocketCallback | null = null;
  readonly #multi: Multi;

  constructor(multi: Multi) {
    this.#multi = multi;
  }

  tellChanges(): void {
    const { sockets, io, shortage } = this.#multi;
    let closed = false;
    const changed = sockets.takeChanged();
    for (let index = 0; index < changed.length; index++) {
      const entry = changed[index] as SocketEntry;
      entry.changed = false;
      // A callback that throws makes the socket leave; its REMOVE is still to be told then, in the next pass.
      const { leaving } = entry;
      if (entry.wanted !== entry.told) this.#tell(entry);
      if (!leaving) continue;
      sockets.delete(entry);
      if (!entry.owned) continue;
      const thrown = closeSocket(io, entry.socket, entry.closer);
      // Its transfer may be long gone (rule 56).
      if (thrown !== null) this.#multi.rethrowLater(thrown.error);
      closed = true;
    }
    if (closed) shortage.descriptorsClosed();
  }

  #tell(entry: SocketEntry): void {
    entry.told = entry.wanted;
    const what = entry.wanted === WATCH_NONE ? WATCH_REMOVE : entry.wanted;
    const { transfer } = entry.owner;
    if (this.callback !== null) {
      try {
        if (this.callback(transfer, entry.socket, what, entry.data) === -1) this.#multi.die();
      } catch (error) {
        // A socket that leaves may still name its transfer, which was removed or is done; it fails once.
        const isOver = transfer === null || transfer.multi !== this.#multi || transfer.state === 'done';
        if (!isOver) {
          this.#multi.fail(transfer, TransferError.is(error) ? error : abortedBy('A socket callback', error));
        } else if (transfer?.error?.code !== 'ABORTED_BY_CALLBACK') this.#multi.rethrowLater(error);
      }
    }
    if (what === WATCH_REMOVE) entry.data = undefined;
  }
}
