/**
 * The options that say where and how a transfer connects: their names, units, defaults, checks. Both sides of the thread boundary
 * use them. The route that comes of them is `worker/multi/route.ts`'s.
 */

import { isIP } from 'node:net';
import { invalidArgument } from './errors.ts';
import { type Guard, type GuardGiven, resolveGuard } from './guard-options.ts';
import { checkBoolean, checkInteger, checkNumber, checkRecord, describe } from './options.ts';
import { type ProxyGiven, type ProxyRules, resolveProxy } from './proxy-options.ts';
import { shownUrl } from './shown-url.ts';
import { DEFAULT_TLS_PLAN, resolveTlsOptions, type TlsOptions, type TlsPlan } from './tls-options.ts';

/** Which addresses of a name are used (CURLOPT_IPRESOLVE): 0 all, 4 IPv4 only, 6 IPv6 only. */
export type IpFamily = 0 | 4 | 6;

/** Probes on an idle connection, sent by the kernel (CURLOPT_TCP_KEEPALIVE). Milliseconds are rounded up to whole seconds. */
export interface KeepAlive {
  /** Silence before the first probe (CURLOPT_TCP_KEEPIDLE). Default 60,000. */
  readonly idleMs: number;
  /** Between two probes (CURLOPT_TCP_KEEPINTVL). Default 60,000. */
  readonly intervalMs: number;
  /** Probes without an answer before the connection counts as lost (CURLOPT_TCP_KEEPCNT). Default 9. */
  readonly probes: number;
}

/** The options of a transfer that its route is made of. */
export interface RouteOptions {
  /**
   * The target of the TCP connection, where it is not the origin; the Host field stays as it is (CURLOPT_CONNECT_TO). A host, a
   * port or both, as `{ host, port }` or as text (`'127.0.0.1:8080'`, `'[::1]:8080'`, `':8080'`); or libcurl's list of
   * `HOST:PORT:CONNECT-TO-HOST:CONNECT-TO-PORT`, where an empty part stands for any host or port, or for the origin's own.
   */
  connectTo?: string | { host?: string; port?: number } | readonly string[];
  /** The unix socket to connect to, in place of any address (CURLOPT_UNIX_SOCKET_PATH); one that begins with a NUL is an abstract name (unix(7)). Not with `connectTo`. */
  unixPath?: string;
  /** The address of this machine to connect from, or several that are used in turn (CURLOPT_INTERFACE). Default: the kernel chooses. */
  localAddress?: string | readonly string[];
  /** The port of this machine to connect from, or the first and the last of a range (CURLOPT_LOCALPORT, LOCALPORTRANGE). */
  localPorts?: number | readonly [first: number, last: number];
  /** Which addresses of a name are used (CURLOPT_IPRESOLVE). Default 0: all. */
  family?: IpFamily;
  /** Small writes go out at once (CURLOPT_TCP_NODELAY). Default true. */
  noDelay?: boolean;
  /** Default false. `true`: after 60 s of silence, every 60 s, 9 times (CURLOPT_TCP_KEEPALIVE and its three). */
  keepAlive?: boolean | Partial<KeepAlive>;
  /** Of `https:` URLs. Default: Node's root certificates, TLS 1.2 and 1.3. */
  tls?: TlsOptions;
  /**
   * Through which proxy it goes (CURLOPT_PROXY): a URL, `ProxyOptions`, or `'env'` for curl's variables, read when the option is.
   * Default: none. Not with `unixPath`, which then comes first.
   */
  proxy?: ProxyGiven;
  /**
   * Which addresses may be connected to: `'public-only'`, or a function that is asked about each one when it is known, before
   * anything is sent to it. Default: all. With a proxy the target is asked about instead: see docs/guard.md.
   */
  guard?: GuardGiven;
}

/** `RouteOptions`, checked: what makes a route of an origin. */
export interface RoutePlan {
  readonly connectTo: readonly ConnectToEntry[];
  readonly unixPath: string;
  readonly localAddresses: readonly string[];
  readonly localPorts: readonly [number, number] | null;
  readonly family: IpFamily;
  readonly noDelay: boolean;
  readonly keepAlive: KeepAlive | null;
  readonly tls: TlsPlan;
  /** null: nothing goes through a proxy. */
  readonly proxy: ProxyRules | null;
  /** null: every address may be connected to. */
  readonly guard: Guard | null;
}

/** Empty texts and port 0: any host or port of the origin, or the origin's own as the target. */
export interface ConnectToEntry {
  readonly fromHost: string;
  readonly fromPort: number;
  readonly host: string;
  readonly port: number;
}

export const ROUTE_OPTION_NAMES: readonly string[] = [
  'connectTo',
  'unixPath',
  'localAddress',
  'localPorts',
  'family',
  'noDelay',
  'keepAlive',
  'tls',
  'proxy',
  'guard',
];

/** sun_path holds 108 bytes; a path has an end mark (unix(7)). */
const UNIX_PATH_BYTES_MAX = 107;
/** What fits the kernel's TCP_KEEPIDLE and TCP_KEEPINTVL: 32,767 s. */
const KEEP_ALIVE_MS_MAX = 32_767_000;
/** MAX_TCP_KEEPCNT of the kernel. */
const KEEP_ALIVE_PROBES_MAX = 127;
const KEEP_ALIVE_DEFAULT: KeepAlive = Object.freeze({ idleMs: 60_000, intervalMs: 60_000, probes: 9 });

export const PLAIN_PLAN: RoutePlan = Object.freeze({
  connectTo: [],
  unixPath: '',
  localAddresses: [],
  localPorts: null,
  family: 0,
  noDelay: true,
  keepAlive: null,
  tls: DEFAULT_TLS_PLAN,
  proxy: null,
  guard: null,
});

/** Answers PLAIN_PLAN itself when nothing differs from it. Throws TransferError INVALID_ARGUMENT that names the option, behind `prefix`. */
export function resolveRouteOptions(given: RouteOptions, prefix = ''): RoutePlan {
  const { connectTo, unixPath, localAddress, localPorts, family, noDelay, keepAlive, tls } = given;
  const plan: RoutePlan = {
    connectTo: checkConnectTo(`${prefix}connectTo`, connectTo),
    unixPath: checkUnixPath(`${prefix}unixPath`, unixPath),
    localAddresses: checkLocalAddress(`${prefix}localAddress`, localAddress),
    localPorts: checkLocalPorts(`${prefix}localPorts`, localPorts),
    family: checkFamily(`${prefix}family`, family),
    noDelay: checkBoolean(`${prefix}noDelay`, noDelay, true),
    keepAlive: checkKeepAlive(`${prefix}keepAlive`, keepAlive),
    tls: resolveTlsOptions(tls, `${prefix}tls`),
    proxy: resolveProxy(given.proxy, `${prefix}proxy`),
    guard: resolveGuard(given.guard, `${prefix}guard`),
  };
  if (plan.unixPath !== '' && plan.connectTo.length > 0) {
    throw invalidArgument(
      `${prefix}unixPath`,
      `${prefix}unixPath and ${prefix}connectTo name two targets; give one of them.`,
    );
  }
  const plain = isPlainPlan(plan) && plan.connectTo.length === 0 && plan.tls === DEFAULT_TLS_PLAN;
  return plain ? PLAIN_PLAN : Object.freeze(plan);
}

/** Whether nothing differs from PLAIN_PLAN, connect-to entries and TLS apart. */
export function isPlainPlan(plan: RoutePlan): boolean {
  if (plan.unixPath !== '' || plan.localAddresses.length > 0 || plan.localPorts !== null) return false;
  if (plan.proxy !== null || plan.guard !== null) return false;
  return plan.family === 0 && plan.noDelay && plan.keepAlive === null;
}

// ── Checks ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

const HOST = String.raw`(\[[0-9a-f:.]+(?:%[\w.-]+)?\]|[^\s:/?#@[\]\0]*)`;
const PORT = String.raw`(\d{0,5})`;
const TARGET = new RegExp(`^${HOST}(?::${PORT})?$`, 'i');
const ENTRY = new RegExp(`^${HOST}:${PORT}:${HOST}:${PORT}$`, 'i');

function checkConnectTo(option: string, value: unknown): readonly ConnectToEntry[] {
  if (value === undefined) return [];
  if (typeof value === 'string') {
    const [, host, port] = TARGET.exec(value) ?? [];
    if (value === '' || host === undefined) {
      throw invalidArgument(option, `${option} must be a host, a port or both ('host:port'), not ${shownUrl(value)}.`);
    }
    return [{ fromHost: '', fromPort: 0, host: bare(option, host), port: checkPortText(option, port) }];
  }
  if (Array.isArray(value)) return value.map((entry, index) => checkConnectToEntry(`${option}[${index}]`, entry));
  const { host, port } = checkRecord(option, value, ['host', 'port']);
  if (host === undefined && port === undefined) {
    throw invalidArgument(option, `${option} must name a host, a port or both.`);
  }
  return [
    {
      fromHost: '',
      fromPort: 0,
      host: host === undefined ? '' : checkHost(`${option}.host`, host),
      port: port === undefined ? 0 : checkInteger(`${option}.port`, port, 1, 65_535),
    },
  ];
}

function checkConnectToEntry(option: string, value: unknown): ConnectToEntry {
  const parts = typeof value === 'string' ? ENTRY.exec(value) : null;
  if (parts === null) {
    throw invalidArgument(option, `${option} must read 'host:port:to-host:to-port', not ${shownUrl(value)}.`);
  }
  const [, fromHost = '', fromPort, host = '', port] = parts;
  return {
    fromHost: bare(option, fromHost),
    fromPort: checkPortText(option, fromPort),
    host: bare(option, host),
    port: checkPortText(option, port),
  };
}

function checkHost(option: string, host: unknown): string {
  if (typeof host !== 'string') throw invalidArgument(option, `${option} must be a string, not ${describe(host)}.`);
  if (isIP(host) !== 0) return host;
  const [, text] = TARGET.exec(host) ?? [];
  if (text !== host || host === '') {
    throw invalidArgument(option, `${option} must be a host name or an address, not ${shownUrl(host)}.`);
  }
  return bare(option, host);
}

/** As origins have it: without brackets, in lower case. */
function bare(option: string, host: string): string {
  if (!host.startsWith('[')) return host.toLowerCase();
  const address = host.slice(1, -1);
  if (isIP(address) === 6) return address;
  throw invalidArgument(option, `${option} holds ${describe(host)}, which is no IPv6 address.`);
}

/** 0 when left out. */
function checkPortText(option: string, text: string | undefined): number {
  return text === undefined || text === '' ? 0 : checkInteger(option, Number(text), 1, 65_535);
}

function checkUnixPath(option: string, value: unknown): string {
  if (value === undefined) return '';
  if (typeof value !== 'string' || value === '') {
    throw invalidArgument(option, `${option} must be the path of a unix socket, not ${describe(value)}.`);
  }
  const abstract = value.startsWith('\0');
  if (!abstract && value.includes('\0')) throw invalidArgument(option, `${option} must not contain a NUL byte.`);
  const bytes = Buffer.byteLength(value) - (abstract ? 1 : 0);
  if (bytes <= UNIX_PATH_BYTES_MAX) return value;
  throw invalidArgument(option, `${option} has ${bytes} bytes; the kernel takes at most ${UNIX_PATH_BYTES_MAX}.`);
}

function checkLocalAddress(option: string, value: unknown): readonly string[] {
  if (value === undefined) return [];
  const given: unknown[] = Array.isArray(value) ? value : [value];
  if (given.length === 0) throw invalidArgument(option, `${option} must name at least one address.`);
  const addresses = given.map((address, index) => {
    const name = Array.isArray(value) ? `${option}[${index}]` : option;
    if (typeof address === 'string' && isIP(address) !== 0) return address;
    throw invalidArgument(name, `${name} must be a numeric address of this machine, not ${describe(address)}.`);
  });
  return Object.freeze([...new Set(addresses)]);
}

function checkLocalPorts(option: string, value: unknown): readonly [number, number] | null {
  if (value === undefined) return null;
  if (typeof value === 'number') {
    const port = checkInteger(option, value, 1, 65_535);
    return [port, port];
  }
  if (!Array.isArray(value) || value.length !== 2) {
    throw invalidArgument(option, `${option} must be a port or the first and the last of a range.`);
  }
  const first = checkInteger(`${option}[0]`, value[0], 1, 65_535);
  return [first, checkInteger(`${option}[1]`, value[1], first, 65_535)];
}

function checkFamily(option: string, value: unknown): IpFamily {
  if (value === undefined) return 0;
  if (value === 0 || value === 4 || value === 6) return value;
  throw invalidArgument(option, `${option} must be 0, 4 or 6, not ${describe(value)}.`);
}

function checkKeepAlive(option: string, value: unknown): KeepAlive | null {
  if (value === undefined || value === false) return null;
  if (value === true) return KEEP_ALIVE_DEFAULT;
  const given = checkRecord(option, value, Object.keys(KEEP_ALIVE_DEFAULT)) as Partial<KeepAlive>;
  const { idleMs, intervalMs, probes } = { ...KEEP_ALIVE_DEFAULT, ...given };
  return {
    idleMs: checkNumber(`${option}.idleMs`, idleMs, 1, KEEP_ALIVE_MS_MAX, 'milliseconds'),
    intervalMs: checkNumber(`${option}.intervalMs`, intervalMs, 1, KEEP_ALIVE_MS_MAX, 'milliseconds'),
    probes: checkInteger(`${option}.probes`, probes, 1, KEEP_ALIVE_PROBES_MAX),
  };
}
