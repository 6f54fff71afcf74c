/** A process that holds connections: a Holder, and its messages to and from the main process. Ends with its channel, however that ends. */

import type { FromHoldProcess, ToHoldProcess } from '../../protocol/load/hold.ts';
import { Holder } from './hold-holder.ts';

let holder: Holder | null = null;

function tell(message: FromHoldProcess): void {
  if (!process.connected) return;
  process.send?.(message, undefined, undefined, () => {
    if (message.kind === 'done') process.disconnect();
  });
}

process.on('message', (message: ToHoldProcess) => {
  switch (message.kind) {
    case 'plan':
      holder = new Holder(message.plan, message.process, tell);
      holder.open();
      return;
    case 'active':
      holder?.hold(message.startMs);
      return;
    case 'stop':
      holder?.stop();
      return;
  }
  message satisfies never;
});
// The main process is gone, or has heard the last.
process.on('disconnect', () => process.exit(0));
tell({ kind: 'ready' });
