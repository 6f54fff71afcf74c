/**
 * What is said to a proxy until it lets through, sans I/O: bytes in, bytes out. The socket is `tunnel.ts`'s; one dialogue per
 * connection.
 *
 *   speak   `outgoing` is due
 *   listen  the proxy's answer, or the rest of it, is due
 *   open    it lets through: what comes from here on is the tunnel's
 */

import type { ProxyPlan } from '../../protocol/proxy-options.ts';
import type { Route } from '../multi/route.ts';
import { ConnectDialogue } from './connect-dialogue.ts';
import { SocksDialogue } from './socks-dialogue.ts';

export interface Dialogue {
  /** What is sent next; due at the beginning, and when `receive` answered 'speak'. */
  readonly outgoing: Uint8Array;
  /** `bytes[start, end)` have come. Throws TransferError PROXY_FAILED. */
  receive(bytes: Uint8Array, start: number, end: number): 'speak' | 'listen' | 'open';
}

/** Throws TransferError PROXY_FAILED when the proxy cannot be told of this target. */
export function openDialogue(proxy: ProxyPlan, route: Route, headBytesMax: number): Dialogue {
  const { host, port } = route.connectTo ?? route.origin;
  if (proxy.kind === 'socks5') return new SocksDialogue(proxy, host, port);
  return new ConnectDialogue(proxy, host, port, headBytesMax);
}
