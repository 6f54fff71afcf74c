/**
 * The option `proxy`: its forms, names, defaults and checks, and the rules that they come to: plain data, the same on both sides of
 * the thread boundary, that say for each origin through which proxy it is reached. Nothing is connected here: see `worker/proxy/`.
 */

import { isUrl } from './built-ins.ts';
import { invalidArgument } from './errors.ts';
import type { HeadersGiven } from './http1/header-pairs.ts';
import { nameFault } from './http1/request-head.ts';
import { isFieldValue, isToken, trimBlanks } from './http1/tokens.ts';
import { isExcepted, noProxyEntries } from './no-proxy.ts';
import { checkBoolean, checkRecord, describe, describeKind } from './options.ts';
import type { Origin } from './origin.ts';
import { type Environment, environmentProxies } from './proxy-env.ts';
import { resolveTlsOptions, type TlsOptions, type TlsPlan } from './tls-options.ts';

/** A proxy, and what is said to it alone. */
export interface ProxyOptions {
  /**
   * `http://`, `https://` (TLS to the proxy), `socks5://` or `socks5h://` (both leave names to the proxy), with or without `user:password@`;
   * without a scheme it is `http://`. Default ports: 80, 443, 1080. `'env'`: what the environment says.
   */
  url: string | URL;
  /** In place of the URL's (CURLOPT_PROXYUSERNAME). Sent at once, as Basic or by RFC 1929. */
  username?: string;
  /** CURLOPT_PROXYPASSWORD. Default: the URL's, or ''. */
  password?: string;
  /** Fields for the proxy alone: on CONNECT, and on requests in absolute form (CURLOPT_PROXYHEADER). Not for SOCKS. */
  headers?: HeadersGiven;
  /** Of an `https://` proxy itself (CURLOPT_PROXY_CAINFO and so on); the option `tls` is of the servers behind it. */
  tls?: TlsOptions;
  /** Hosts that are reached without it, in place of the environment's (CURLOPT_NOPROXY). */
  noProxy?: string | readonly string[];
  /** true: `http:` URLs too go through a tunnel made with CONNECT (CURLOPT_HTTPPROXYTUNNEL). Default false: in absolute form. */
  tunnel?: boolean;
  /** true: the proxy itself decides which hosts may be reached, so that the option `guard` lets names pass it. Default false. */
  guards?: boolean;
}

/** `'env'`: curl's variables; null and false: none. */
export type ProxyGiven = 'env' | (string & {}) | URL | ProxyOptions | null | false;

/** One proxy, checked. */
export interface ProxyPlan {
  readonly kind: 'http' | 'https' | 'socks5';
  /** A name, an IPv4 address, or an IPv6 address without brackets. */
  readonly host: string;
  readonly port: number;
  /** Scheme, host and port, as people may see it. */
  readonly name: string;
  /** '': no credentials. */
  readonly username: string;
  readonly password: string;
  /** Header lines for the proxy, Proxy-Authorization among them, each with its CRLF. */
  readonly fields: string;
  /** null: it is reached without TLS. */
  readonly tls: TlsPlan | null;
  readonly tunnel: boolean;
  readonly guards: boolean;
  /** Equal for equal plans only. Holds the credentials: never shown. */
  readonly identity: string;
}

/** Which proxy for which origin. */
export interface ProxyRules {
  readonly http: ProxyPlan | null;
  readonly https: ProxyPlan | null;
  readonly noProxy: readonly string[];
  /** Equal for equal rules only. Never shown. */
  readonly identity: string;
}

const NAMES: readonly string[] = [
  'url',
  'username',
  'password',
  'headers',
  'tls',
  'noProxy',
  'tunnel',
  'guards',
] satisfies readonly (keyof ProxyOptions)[];

const ENVIRONMENT = 'env';

const PORT_DEFAULTS = { http: 80, https: 443, socks5: 1080 };

/** Of username and password each: RFC 1929 has a length byte. */
const SOCKS_TEXT_BYTES_MAX = 255;

/** Fields that say how a message is framed or what happens to its connection, and Host, which follows from the target. */
const REFUSED_FIELDS: ReadonlySet<string> = new Set([
  'connection',
  'content-length',
  'expect',
  'host',
  'keep-alive',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/** The proxy that an origin is reached through; null: none. */
export function proxyFor(rules: ProxyRules | null, origin: Origin): ProxyPlan | null {
  const plan = rules === null ? null : rules[origin.scheme];
  return plan === null || isExcepted((rules as ProxyRules).noProxy, origin) ? null : plan;
}

/** What they say of this origin, said of any: for a request that goes there under another name. */
export function rulesAt(rules: ProxyRules, origin: Origin): ProxyRules | null {
  const plan = proxyFor(rules, origin);
  return plan === null ? null : rulesOf(plan, plan, []);
}

/** For a request that leaves HTTP: no proxy may read it on the way. */
export function withTunnels(rules: ProxyRules | null): ProxyRules | null {
  if (rules === null) return null;
  return rulesOf(tunnelling(rules.http), tunnelling(rules.https), rules.noProxy);
}

function tunnelling(plan: ProxyPlan | null): ProxyPlan | null {
  return plan === null ? null : withIdentity({ ...plan, tunnel: true });
}

/** null: nothing goes through a proxy. `environment` is read now. Throws TransferError INVALID_ARGUMENT that names the option. */
export function resolveProxy(
  given: unknown,
  option = 'proxy',
  environment: Environment = process.env,
): ProxyRules | null {
  if (given === undefined || given === null || given === false) return null;
  const isRecord = typeof given === 'object' && !isUrl(given);
  const options = (isRecord ? checkRecord(option, given, NAMES) : { url: given }) as Partial<ProxyOptions>;
  const noProxy = checkNoProxy(`${option}.noProxy`, options.noProxy);
  if (options.url !== ENVIRONMENT) {
    const plan = planOf(option, options, options.url, isRecord ? `${option}.url` : option);
    return rulesOf(plan, plan, noProxy ?? []);
  }
  const found = environmentProxies(environment);
  const planFor = ({ variable, value }: { variable: string; value: string }): ProxyPlan | null =>
    value === '' ? null : planOf(option, options, value, option, variable);
  const http = planFor(found.http);
  const https = planFor(found.https);
  return http === null && https === null ? null : rulesOf(http, https, noProxy ?? noProxyEntries(found.noProxy));
}

function rulesOf(http: ProxyPlan | null, https: ProxyPlan | null, noProxy: readonly string[]): ProxyRules {
  const identity = JSON.stringify([http?.identity ?? null, https?.identity ?? null, noProxy]);
  return Object.freeze({ http, https, noProxy, identity });
}

/** `variable`: where the URL comes from; '': the option. */
function planOf(
  option: string,
  options: Partial<ProxyOptions>,
  given: unknown,
  urlOption: string,
  variable = '',
): ProxyPlan {
  const address = parseProxyUrl(given, urlOption, variable);
  const { kind, host, port } = address;
  const username = checkCredential(`${option}.username`, options.username ?? address.username, kind);
  const password = checkCredential(`${option}.password`, options.password ?? address.password, kind);
  if (kind !== 'socks5' && username.includes(':')) {
    const sentence = `${option}.username has a colon, which Basic authentication cannot send.`;
    throw invalidArgument(`${option}.username`, sentence);
  }
  if (kind === 'socks5' && username === '' && password !== '') {
    throw invalidArgument(`${option}.username`, `${option}.password for a SOCKS proxy needs ${option}.username too.`);
  }
  if (options.tls !== undefined && kind !== 'https' && variable === '') {
    throw invalidArgument(`${option}.tls`, `${option}.tls is of proxies with an https:// URL; this one is ${kind}://.`);
  }
  const tls = kind === 'https' ? resolveTlsOptions(options.tls, `${option}.tls`) : null;
  if (tls !== null && tls.checkServerIdentity !== null) {
    throw invalidArgument(`${option}.tls.checkServerIdentity`, `${option}.tls.checkServerIdentity is not supported.`);
  }
  const fields = kind === 'socks5' ? noFields(option, options) : fieldsOf(option, options.headers, username, password);
  const tunnel = checkBoolean(`${option}.tunnel`, options.tunnel, false);
  const guards = checkBoolean(`${option}.guards`, options.guards, false);
  const name = `${kind}://${host.includes(':') ? `[${host}]` : host}:${port}`;
  return withIdentity({ kind, host, port, name, username, password, fields, tls, tunnel, guards });
}

function withIdentity(plan: Omit<ProxyPlan, 'identity'>): ProxyPlan {
  const { kind, host, port, username, password, fields, tls, tunnel, guards } = plan;
  const identity = JSON.stringify([kind, host, port, username, password, fields, tls?.identity, tunnel, guards]);
  return Object.freeze({ ...plan, identity });
}

interface ProxyAddress {
  readonly kind: ProxyPlan['kind'];
  /** Without brackets. */
  readonly host: string;
  readonly port: number;
  readonly username: string;
  readonly password: string;
}

function parseProxyUrl(given: unknown, option: string, variable: string): ProxyAddress {
  const where = variable === '' ? option : `The environment's ${variable}`;
  if (typeof given !== 'string' && !isUrl(given)) {
    throw invalidArgument(option, `${where} must be a URL, 'env', an object or null, not ${describe(given)}.`);
  }
  const text = String(given).trim();
  const [scheme = 'http', rest = text] = /^([a-z][a-z0-9+.-]*):\/\/(.*)$/is.exec(text)?.slice(1) ?? [];
  const kind = kindOf(scheme.toLowerCase());
  if (kind === null) {
    throw invalidArgument(
      option,
      `${where} has the scheme ${describe(scheme)}; proxies are reached by http://, https://, socks5:// and socks5h://.`,
    );
  }
  // Only URLs of special schemes have their host normalised. What the text is may be a password, so it is not shown.
  const bare = `http://${rest}`;
  if (!URL.canParse(bare)) throw invalidArgument(option, `${where} is not a URL such as http://proxy.example:3128.`);
  const url = new URL(bare);
  if (url.pathname !== '/' || url.search !== '' || url.hash !== '') {
    throw invalidArgument(option, `${where} must end with host and port; a proxy's URL has no path.`);
  }
  // The parser leaves out a port that is the default of http:.
  const isEighty = /:0*80$/.test(rest.split(/[/?#]/, 1)[0] as string);
  const port = url.port === '' ? (isEighty ? 80 : PORT_DEFAULTS[kind]) : Number(url.port);
  if (port === 0) throw invalidArgument(option, `${where} names port 0, which nothing listens on.`);
  const { hostname } = url;
  return {
    kind,
    host: hostname.startsWith('[') ? hostname.slice(1, -1) : hostname,
    port,
    username: decoded(url.username, where, option),
    password: decoded(url.password, where, option),
  };
}

function kindOf(scheme: string): ProxyPlan['kind'] | null {
  if (scheme === 'http' || scheme === 'https') return scheme;
  return scheme === 'socks5' || scheme === 'socks5h' ? 'socks5' : null;
}

function decoded(text: string, where: string, option: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw invalidArgument(option, `${where} has a user name or password with a "%" that escapes nothing; write %25.`);
  }
}

function fieldsOf(option: string, headers: unknown, username: string, password: string): string {
  let fields = '';
  if (username !== '' || password !== '') {
    fields = `proxy-authorization: Basic ${Buffer.from(`${username}:${password}`, 'utf8').toString('base64')}\r\n`;
  }
  for (const [name, value] of headerEntries(`${option}.headers`, headers)) {
    const lowerName = name.toLowerCase();
    if (lowerName === 'proxy-authorization' && fields.startsWith('proxy-authorization')) {
      throw invalidArgument(`${option}.headers`, `${option}.headers and ${option}.username both authorise; give one.`);
    }
    if (!isToken(name)) throw invalidArgument(`${option}.headers`, `${option}.headers: ${nameFault(name)}.`);
    if (REFUSED_FIELDS.has(lowerName)) {
      throw invalidArgument(`${option}.headers`, `${option}.headers cannot have the field ${describe(name)}.`);
    }
    // The value may be a secret: it is not shown.
    if (!isFieldValue(value)) {
      throw invalidArgument(`${option}.headers`, `The value of ${name} in ${option}.headers cannot be sent.`);
    }
    fields += `${name}: ${value}\r\n`;
  }
  return fields;
}

function headerEntries(option: string, headers: unknown): [name: string, value: string][] {
  if (headers === undefined || headers === null) return [];
  if (typeof headers !== 'object') {
    throw invalidArgument(
      option,
      `${option} must be a record, pairs or a Headers object, not ${describeKind(headers)}.`,
    );
  }
  const entries = Symbol.iterator in headers ? [...(headers as Iterable<unknown>)] : Object.entries(headers);
  return entries.flatMap((entry) => {
    if (!Array.isArray(entry) || entry.length !== 2 || typeof entry[0] !== 'string') {
      throw invalidArgument(option, `Each of ${option} must be a pair of name and value, not ${describeKind(entry)}.`);
    }
    const name: string = entry[0];
    const values: unknown[] = Array.isArray(entry[1]) ? entry[1] : [entry[1]];
    return values.map((value): [string, string] => [name, trimBlanks(String(value))]);
  });
}

function noFields(option: string, { headers }: Partial<ProxyOptions>): '' {
  if (headers === undefined || headers === null) return '';
  throw invalidArgument(`${option}.headers`, `${option}.headers are HTTP's; a SOCKS proxy takes none.`);
}

function checkCredential(option: string, value: unknown, kind: ProxyPlan['kind']): string {
  if (typeof value !== 'string') {
    throw invalidArgument(option, `${option} must be a string, not ${describeKind(value)}.`);
  }
  const isText = ![...value].some((character) => character < ' ' || character === '\x7f');
  if (!isText) throw invalidArgument(option, `${option} must not have control characters.`);
  if (kind !== 'socks5' || Buffer.byteLength(value) <= SOCKS_TEXT_BYTES_MAX) return value;
  throw invalidArgument(option, `${option} has more than ${SOCKS_TEXT_BYTES_MAX} bytes, which SOCKS cannot send.`);
}

function checkNoProxy(option: string, value: unknown): readonly string[] | null {
  if (value === undefined) return null;
  if (typeof value === 'string') return noProxyEntries(value);
  if (Array.isArray(value) && value.every((entry) => typeof entry === 'string')) return noProxyEntries(value);
  throw invalidArgument(
    option,
    `${option} must be a text such as NO_PROXY or an array of hosts, not ${describe(value)}.`,
  );
}
