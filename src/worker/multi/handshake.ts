/** What stands between a socket that is connected and a connection that serves: TLS, or being let through by a proxy. */

import type { Destination } from './destination.ts';

export interface Handshake {
  /** Where its transfer is meanwhile, as errors tell it. */
  readonly phase: 'proxy' | 'tls';
  /** It holds a slot of this one. */
  readonly destination: Destination;
  /** The transfer no longer wants it. The caller gives the slot back. */
  cancel(): void;
}
