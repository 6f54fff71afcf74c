/**
 * The head of a request that goes to a proxy, which sends it on (RFC 9112 §3.2.2): the target in absolute form, and behind the
 * request line what is for the proxy alone. The caller's head knows nothing of this, so none of it can reach an origin.
 */

import type { ProxyPlan } from '../../protocol/proxy-options.ts';
import type { Route } from '../multi/route.ts';

/** `head` as it is written along the route. Its target begins with a slash. */
export function headAlong(route: Route, head: string): string {
  return route.forwards ? forwarded(head, route.origin.text, (route.proxy as ProxyPlan).fields) : head;
}

function forwarded(head: string, origin: string, fields: string): string {
  const target = head.indexOf(' ') + 1;
  const line = head.indexOf('\r\n') + 2;
  return `${head.slice(0, target)}${origin}${head.slice(target, line)}${fields}${head.slice(line)}`;
}
