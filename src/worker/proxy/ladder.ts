/**
 * The way from a connected socket to a connection that serves, rung by rung. Which rungs there are, the route says:
 *
 *     route                        connected -> proxy TLS -> tunnel -> origin TLS -> ready
 *     no proxy, http               .                                                .
 *     no proxy, https              .                                   .            .
 *     http proxy, absolute form    .                                                .
 *     http or socks5 proxy, http   .                         .                      .
 *     http or socks5 proxy, https  .                         .         .            .
 *     https proxy                  .            .            as above
 *
 * No byte of a request is written before `ready`; the clock of connecting runs until then.
 */

import type { Route } from '../multi/route.ts';

export type Rung = 'connected' | 'proxy TLS' | 'tunnel' | 'origin TLS' | 'ready';

/** What comes after `rung` is done. */
export function rungAfter(route: Route, rung: Rung): Rung {
  const { proxy, forwards, tls } = route;
  switch (rung) {
    case 'connected':
      return proxy !== null && proxy.tls !== null ? 'proxy TLS' : rungAfter(route, 'proxy TLS');
    case 'proxy TLS':
      if (proxy !== null && !forwards) return 'tunnel';
      return tls === null ? 'ready' : 'origin TLS';
    case 'tunnel':
      return tls === null ? 'ready' : 'origin TLS';
    case 'origin TLS':
    case 'ready':
      return 'ready';
  }
  return rung satisfies never;
}
