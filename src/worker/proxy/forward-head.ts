/**
 * The head of a request that goes to a proxy, which sends it on (RFC 9112 §3.2.2): the target in absolute form, and behind the
 * request line what is for the proxy alone. The caller's head knows nothing of this, so none of it can reach an origin.
 */

import { invalidArgument } from '../../protocol/errors.ts';
import { excerptText } from '../../protocol/http1/excerpt.ts';
import type { ProxyPlan } from '../../protocol/proxy-options.ts';
import type { Route } from '../multi/route.ts';

/** `head` as it is written along the route. Throws TransferError INVALID_ARGUMENT. */
export function headAlong(route: Route, head: string): string {
  return route.forwards ? forwarded(head, route.origin.text, (route.proxy as ProxyPlan).fields) : head;
}

function forwarded(head: string, origin: string, fields: string): string {
  const target = head.indexOf(' ') + 1;
  const line = head.indexOf('\r\n') + 2;
  const isAbsolute = head[target] !== '/';
  if (isAbsolute) checkOrigin(head.slice(target, head.indexOf(' ', target)), origin);
  return `${head.slice(0, target)}${isAbsolute ? '' : origin}${head.slice(target, line)}${fields}${head.slice(line)}`;
}

/** A whole URL (the dispatcher takes them as paths, as undici does) is where the proxy would go, whatever was asked about the origin. By its text: proxies need not agree with anybody on how a URL is read. */
function checkOrigin(target: string, origin: string): void {
  const next = target[origin.length] ?? '/';
  if (target.startsWith(origin) && (next === '/' || next === '?')) return;
  throw invalidArgument(
    'path',
    `The path ${excerptText(target)} is a URL that does not begin with its origin ${origin}, so the proxy would send the request elsewhere.`,
  );
}
