/**
 * Route: where and how a transfer connects, as one immutable value. Two transfers may share a connection only when their
 * routes agree (the match key compares them field by field); opening along a route is `dial.ts`'s, and what is said once
 * connected (Host field, request line) depends on the origin alone.
 *
 * Most transfers have nothing but an origin: they share the plain route of that origin.
 */

import type { Guard } from '../../protocol/guard-options.ts';
import type { Origin } from '../../protocol/origin.ts';
import { type ProxyPlan, proxyFor } from '../../protocol/proxy-options.ts';
import {
  type ConnectToEntry,
  type IpFamily,
  isPlainPlan,
  type KeepAlive,
  PLAIN_PLAN,
  type RoutePlan,
} from '../../protocol/route-options.ts';
import { DEFAULT_TLS_PLAN, type TlsPlan } from '../../protocol/tls-options.ts';
import type { Destination } from './destination.ts';

export interface HostPort {
  /** A name, an IPv4 address, or an IPv6 address without brackets. */
  readonly host: string;
  readonly port: number;
}

export interface Route {
  readonly origin: Origin;
  /** The target of the TCP connection in the origin's place; null: the origin. */
  readonly connectTo: HostPort | null;
  /** Connects to this unix socket, in place of any address; '': not. A leading NUL names an abstract socket (unix(7)). */
  readonly unixPath: string;
  /** Numeric addresses of this machine to connect from, used in turn; empty: the kernel chooses. */
  readonly localAddresses: readonly string[];
  /** Ports of this machine to connect from, first and last; null: the kernel chooses. */
  readonly localPorts: readonly [number, number] | null;
  readonly family: IpFamily;
  readonly noDelay: boolean;
  /** null: no probes. */
  readonly keepAlive: KeepAlive | null;
  /** null: the origin is reached without TLS. */
  readonly tls: TlsPlan | null;
  /** null: the origin is connected to directly. */
  readonly proxy: ProxyPlan | null;
  /** The proxy sends the requests on itself, in absolute form; it opens no tunnel for them. */
  readonly forwards: boolean;
  /** Who is asked about addresses; null: nobody. */
  readonly guard: Guard | null;
  /** Whose connections: those of one group serve no other. '': everybody's. */
  readonly group: string;
  /** True exactly when everything but the origin is the default: then the origin's text tells routes apart. */
  readonly plain: boolean;
  /** @internal Where a connection cache last found it to lead, so that a request looks nothing up. No part of the value. */
  destination: Destination | null;
}

/** Made once per origin by whoever makes many transfers to it. */
export function routeOf(origin: Origin, plan: RoutePlan = PLAIN_PLAN): Route {
  const { unixPath, localAddresses, localPorts, family, noDelay, keepAlive } = plan;
  const connectTo = connectToOf(origin, plan.connectTo);
  const tls = origin.scheme === 'https' ? plan.tls : null;
  // By identity, not by reference: kept plans are dropped when there are many.
  const plainTls = tls === null || tls.identity === DEFAULT_TLS_PLAN.identity;
  const proxy = unixPath === '' ? proxyFor(plan.proxy, origin) : null;
  const plain = plan === PLAIN_PLAN || (connectTo === null && plainTls && isPlainPlan(plan));
  return {
    origin,
    connectTo,
    unixPath,
    localAddresses,
    localPorts,
    family,
    noDelay,
    keepAlive,
    tls,
    proxy,
    forwards: proxy !== null && forwardsTo(proxy, origin, connectTo),
    guard: plan.guard,
    group: '',
    plain,
    destination: null,
  };
}

/** Where the TCP connection goes: meaningless with a `unixPath`. */
export function tcpTarget(route: Route): HostPort {
  return route.proxy ?? route.connectTo ?? route.origin;
}

/** The same, over connections that belong to this group alone: a virtual user's. */
export function inGroup(route: Route, group: string): Route {
  return { ...route, group, plain: false, destination: null };
}

/** Another target than the origin's is for a tunnel, where the proxy does not know better (curl, too). */
function forwardsTo(proxy: ProxyPlan, origin: Origin, connectTo: HostPort | null): boolean {
  return origin.scheme === 'http' && proxy.kind !== 'socks5' && connectTo === null && !proxy.tunnel;
}

/** `127.0.0.1:80`, `[::1]:80`. */
export function hostPortText(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

function connectToOf(origin: Origin, entries: readonly ConnectToEntry[]): HostPort | null {
  for (const entry of entries) {
    if (entry.fromHost !== '' && entry.fromHost !== origin.host) continue;
    if (entry.fromPort !== 0 && entry.fromPort !== origin.port) continue;
    const host = entry.host === '' ? origin.host : entry.host;
    const port = entry.port === 0 ? origin.port : entry.port;
    return host === origin.host && port === origin.port ? null : { host, port };
  }
  return null;
}

/** What is reached for where it is not the origin, to stand behind the origin in a sentence; '' else. */
export function detourOf(route: Route): string {
  if (route.unixPath !== '') return ` over the unix socket ${unixPathText(route.unixPath)}`;
  if (route.proxy !== null) return ` through the proxy ${route.proxy.name}`;
  if (route.connectTo === null) return '';
  return ` by way of ${hostPortText(route.connectTo.host, route.connectTo.port)}`;
}

/** An abstract socket's name as unix(7) tools write it. */
function unixPathText(path: string): string {
  return path.startsWith('\0') ? `@${path.slice(1)}` : path;
}
