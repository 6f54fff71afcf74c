/** Where a request goes: scheme, host and port, taken from a WHATWG URL. Not which connection serves it: see the connection cache. */

import { invalidArgument } from './errors.ts';

export interface Origin {
  /** As in `URL.origin`: `http://example.org:8080`. Equal texts are equal origins. */
  readonly text: string;
  readonly scheme: 'http' | 'https';
  /** What to connect to: a name, an IPv4 address, or an IPv6 address without brackets. */
  readonly host: string;
  /** 1 to 65,535. */
  readonly port: number;
  /** The value of the Host field (RFC 9112 §3.2): brackets kept, the default port left out. */
  readonly hostField: string;
}

const HTTP_PORT_DEFAULT = 80;
const HTTPS_PORT_DEFAULT = 443;

/** The origin of a parsed URL. Throws INVALID_ARGUMENT for what cannot be requested. */
export function originOf(url: URL): Origin {
  const secure = url.protocol === 'https:';
  if (!secure && url.protocol !== 'http:') {
    throw invalidArgument(
      'url',
      `The URL's scheme ${url.protocol} cannot be requested; only http: and https: URLs can.`,
    );
  }
  if (url.username !== '' || url.password !== '') {
    throw invalidArgument(
      'url',
      `The URL ${shown(url)} carries a user name or password; send an Authorization header.`,
    );
  }
  if (url.hostname === '') throw invalidArgument('url', `The URL ${shown(url)} has no host.`);
  const portDefault = secure ? HTTPS_PORT_DEFAULT : HTTP_PORT_DEFAULT;
  const port = url.port === '' ? portDefault : Number(url.port);
  if (port === 0) throw invalidArgument('url', `The URL ${shown(url)} names port 0, which nothing listens on.`);
  const scheme = secure ? 'https' : 'http';
  return { text: url.origin, scheme, host: bareHost(url.hostname), port, hostField: url.host };
}

/** The origin behind its text, for a shard that was told the text by the main thread. */
export function parseOrigin(text: string): Origin {
  return originOf(new URL(text));
}

/** What stands on the request line (RFC 9112 §3.2.1): path and query, never the fragment. */
export function targetOf(url: URL): string {
  return url.search === '' ? url.pathname : url.pathname + url.search;
}

/** The URL without its credentials, as errors and responses may show it. */
export function shown(url: URL): string {
  if (url.username === '' && url.password === '') return url.href;
  const bare = new URL(url);
  bare.username = '';
  bare.password = '';
  return bare.href;
}

function bareHost(hostname: string): string {
  return hostname.startsWith('[') ? hostname.slice(1, -1) : hostname;
}
