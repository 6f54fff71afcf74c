/**
 * The match key: which transfers may share a connection (CONTRACT.md rule 60). The most dangerous decision of a client, so it is
 * made twice, and both must agree:
 *
 *   the key     one text per route; equal texts find the same destination, in constant time
 *   the ladder  one named predicate per field of a route; whatever the key found must pass all of them
 *
 * The key is asked once per route, the ladder whenever another route object leads to a destination that is known; after that
 * the route remembers its destination. A field added to `Route` needs a rung here, an element in the key, and its values in
 * `test/contract/match-key.test.ts`, whose generated tests say so when one is missing.
 *
 * Compares what was asked for, not where it led: two names of one address are two destinations. Nothing is equal because it
 * would come to the same today, such as `family: 4` for a host that is an IPv4 address.
 */

import type { ProxyPlan } from '../../protocol/proxy-options.ts';
import { TLS_FIELDS, type TlsPlan } from '../../protocol/tls-options.ts';
import type { Route } from './route.ts';

/** One rung: true when the routes agree in this field. */
type SameField = (a: Route, b: Route) => boolean;

const sameScheme: SameField = (a, b) => a.origin.scheme === b.origin.scheme;
/** In lower case and without brackets, as URLs have it. The Host field follows from it, so a target in common is not enough. */
const sameHost: SameField = (a, b) => a.origin.host === b.origin.host;
const samePort: SameField = (a, b) => a.origin.port === b.origin.port;
const sameConnectToHost: SameField = (a, b) => addressOf(a.connectTo?.host) === addressOf(b.connectTo?.host);
/** The interface behind a link-local address (`fe80::1%eth0`): the same address elsewhere is another machine. Hosts of URLs have none. */
const sameConnectToZone: SameField = (a, b) => zoneOf(a.connectTo?.host) === zoneOf(b.connectTo?.host);
const sameConnectToPort: SameField = (a, b) => a.connectTo?.port === b.connectTo?.port;
const sameUnixPath: SameField = (a, b) => a.unixPath === b.unixPath;
/** In the same order, which is the order in which they are used. */
const sameLocalAddresses: SameField = (a, b) => sameList(a.localAddresses, b.localAddresses);
const sameLocalPorts: SameField = (a, b) => sameList(a.localPorts, b.localPorts);
const sameFamily: SameField = (a, b) => a.family === b.family;
const sameNoDelay: SameField = (a, b) => a.noDelay === b.noDelay;
const sameKeepAlive: SameField = ({ keepAlive: a }, { keepAlive: b }) =>
  a?.idleMs === b?.idleMs && a?.intervalMs === b?.intervalMs && a?.probes === b?.probes;

/** What is said of ourselves to one proxy is said to no other, and a connection through one is none through another. */
const PROXY_FIELDS = [
  'kind',
  'host',
  'port',
  'username',
  'password',
  'fields',
  'tunnel',
  'guards',
] as const satisfies readonly (keyof ProxyPlan)[];
/** A connection that was opened under another guard, or none, leads to an address that this one was not asked about. */
const sameGuard: SameField = (a, b) => a.guard?.identity === b.guard?.identity;
const sameGroup: SameField = (a, b) => a.group === b.group;

const LADDER: readonly (readonly [field: string, same: SameField])[] = [
  ['scheme', sameScheme],
  ['host', sameHost],
  ['port', samePort],
  ['connectTo host', sameConnectToHost],
  ['connectTo zone', sameConnectToZone],
  ['connectTo port', sameConnectToPort],
  ['unixPath', sameUnixPath],
  ['localAddresses', sameLocalAddresses],
  ['localPorts', sameLocalPorts],
  ['family', sameFamily],
  ['noDelay', sameNoDelay],
  ['keepAlive', sameKeepAlive],
  // One for each option: a connection was verified, and has shown who we are, by all of them.
  ...TLS_FIELDS.map((field) => [`tls ${field}`, sameTls(field)] as const),
  ...PROXY_FIELDS.map((field) => [`proxy ${field}`, sameProxy(field)] as const),
  ...TLS_FIELDS.map((field) => [`proxy tls ${field}`, sameProxyTls(field)] as const),
  ['guard', sameGuard],
  ['group', sameGroup],
];

function sameTls(field: keyof TlsPlan): SameField {
  return ({ tls: a }, { tls: b }) => sameOfPlans(field, a, b);
}

function sameProxyTls(field: keyof TlsPlan): SameField {
  return ({ proxy: a }, { proxy: b }) => sameOfPlans(field, a?.tls ?? null, b?.tls ?? null);
}

function sameOfPlans(field: keyof TlsPlan, a: TlsPlan | null, b: TlsPlan | null): boolean {
  if (a === b) return true;
  if (a === null || b === null) return false;
  const [one, other] = [a[field], b[field]];
  if (Array.isArray(one) && Array.isArray(other)) return sameList(one, other);
  return one === other;
}

function sameProxy(field: (typeof PROXY_FIELDS)[number]): SameField {
  return ({ proxy: a }, { proxy: b }) => a?.[field] === b?.[field];
}

/** The first field in which they differ; null: their transfers may share a connection. */
export function firstDifference(a: Route, b: Route): string | null {
  for (const [field, same] of LADDER) if (!same(a, b)) return field;
  return null;
}

/** Equal exactly when the routes agree in every field. */
export function matchKeyOf(route: Route): string {
  const { origin, connectTo, unixPath, localAddresses, localPorts, family, noDelay, keepAlive, tls } = route;
  if (route.plain) return origin.text;
  const probing = keepAlive === null ? null : [keepAlive.idleMs, keepAlive.intervalMs, keepAlive.probes];
  // A list in JSON has one reading: no field can look like the end of another. The text of an origin holds no blank.
  const rest = [
    connectTo?.host,
    connectTo?.port,
    unixPath,
    localAddresses,
    localPorts,
    family,
    noDelay,
    probing,
    tls?.identity,
    route.proxy?.identity,
    route.guard?.identity,
    route.group,
  ];
  return `${origin.text} ${JSON.stringify(rest)}`;
}

function sameList<Item>(a: readonly Item[] | null, b: readonly Item[] | null): boolean {
  if (a === null || b === null) return a === b;
  return a.length === b.length && a.every((item, index) => item === b[index]);
}

function addressOf(host: string | undefined): string | undefined {
  const zone = host?.indexOf('%') ?? -1;
  return zone < 0 ? host : host?.slice(0, zone);
}

function zoneOf(host: string | undefined): string {
  const zone = host?.indexOf('%') ?? -1;
  return zone < 0 ? '' : (host?.slice(zone) as string);
}
