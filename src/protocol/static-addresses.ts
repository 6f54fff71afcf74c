/**
 * Addresses that the application has fixed for a host and a port (libcurl: CURLOPT_RESOLVE). They come before the cache and the
 * resolver, never expire, and hold for numeric hosts too. `*` stands for any host.
 */

import { isIP } from 'node:net';
import { invalidArgument } from './errors.ts';
import { checkInteger, describe } from './options.ts';
import { shownUrl } from './shown-url.ts';

/** By `host:port`, `[v6]:port` or `*:port`; the addresses are numeric. */
export type StaticAddressesGiven = Readonly<Record<string, string | readonly string[]>>;

const HOST_AND_PORT = /^(?:\[([0-9a-f:.%]+)\]|([^:[\]]+)):(\d{1,5})$/i;
const ANY_HOST = '*';

export class StaticAddresses {
  readonly #addresses = new Map<string, readonly string[]>();

  find(host: string, port: number): readonly string[] | null {
    if (this.#addresses.size === 0) return null;
    return this.#addresses.get(keyOf(host, port)) ?? this.#addresses.get(keyOf(ANY_HOST, port)) ?? null;
  }

  /** `addresses` null removes the entry. Throws TransferError INVALID_ARGUMENT that names `option`. */
  set(option: string, hostAndPort: unknown, addresses: unknown): void {
    const key = checkKey(option, hostAndPort);
    if (addresses === null) this.#addresses.delete(key);
    else this.#addresses.set(key, checkAddresses(`${option}[${shownUrl(hostAndPort)}]`, addresses));
  }
}

/** Throws TransferError INVALID_ARGUMENT that names `option`. */
export function checkStaticAddresses(option: string, given: unknown): void {
  if (typeof given !== 'object' || given === null || Array.isArray(given)) {
    throw invalidArgument(option, `${option} must be an object of addresses by 'host:port', not ${describe(given)}.`);
  }
  const checking = new StaticAddresses();
  for (const [hostAndPort, addresses] of Object.entries(given)) checking.set(option, hostAndPort, addresses);
}

function keyOf(host: string, port: number): string {
  return `${host} ${port}`;
}

function checkKey(option: string, hostAndPort: unknown): string {
  const [, six, host, port] = (typeof hostAndPort === 'string' && HOST_AND_PORT.exec(hostAndPort)) || [];
  if (port === undefined) {
    throw invalidArgument(option, `${option} is by 'host:port' or '*:port', not by ${shownUrl(hostAndPort)}.`);
  }
  return keyOf((six ?? host ?? '').toLowerCase(), checkInteger(option, Number(port), 1, 65_535));
}

function checkAddresses(option: string, value: unknown): readonly string[] {
  const given: unknown[] = Array.isArray(value) ? value : [value];
  if (given.length === 0) throw invalidArgument(option, `${option} must name at least one address.`);
  return given.map((address) => {
    if (typeof address === 'string' && isIP(address) !== 0) return address;
    throw invalidArgument(option, `${option} must be numeric addresses, not ${describe(address)}.`);
  });
}
