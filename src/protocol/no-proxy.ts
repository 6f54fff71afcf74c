/**
 * Which hosts are reached without a proxy: the list of curl's `NO_PROXY` (CURLOPT_NOPROXY). Entries are matched by their text and
 * by numeric address; nothing is resolved.
 *
 *     *               every host
 *     example.org     that host and all below it; a dot in front, or one at the end, changes nothing; `*.example.org` is the same
 *     192.0.2.0/24    addresses in a block; without a length one address; IPv6 likewise, with or without brackets
 *     …:8080          only on this port (an IPv6 address then needs its brackets)
 *
 * A name matches in whole labels and in any case. Entries with ports and `*.` are not curl's: there they match nothing.
 */

import { BlockList, isIP } from 'node:net';
import type { Origin } from './origin.ts';

/** Entries as given: separated by commas or blanks in a text, or one each. */
export function noProxyEntries(given: string | readonly string[]): readonly string[] {
  const text = typeof given === 'string' ? given : given.join(',');
  return text.split(/[\s,]+/).filter((entry) => entry !== '');
}

/** Whether `entries` say that this origin is reached without a proxy. */
export function isExcepted(entries: readonly string[], { host, port }: Origin): boolean {
  return entries.some((entry) => matches(entry, host, port));
}

const WITH_PORT = /^(\[[^\]]*\]|[^:]*):(\d{1,5})$/;

function matches(entry: string, host: string, port: number): boolean {
  if (entry === '*') return true;
  const [, before, portText] = WITH_PORT.exec(entry) ?? [];
  if (before !== undefined && Number(portText) !== port) return false;
  const pattern = before ?? entry;
  const family = isIP(host);
  return family === 0 ? matchesName(pattern, host) : matchesAddress(pattern, host, family === 4 ? 'ipv4' : 'ipv6');
}

function matchesName(pattern: string, host: string): boolean {
  const wanted = bareName(pattern.startsWith('*.') ? pattern.slice(1) : pattern);
  const name = bareName(host);
  return wanted !== '' && (name === wanted || name.endsWith(`.${wanted}`));
}

/** In lower case, without one dot at either end. */
function bareName(name: string): string {
  return name.toLowerCase().replace(/^\./, '').replace(/\.$/, '');
}

function matchesAddress(pattern: string, host: string, family: 'ipv4' | 'ipv6'): boolean {
  const [text = '', length, ...rest] = pattern.split('/');
  const network = text.startsWith('[') && text.endsWith(']') ? text.slice(1, -1) : text;
  const bitsMax = family === 'ipv4' ? 32 : 128;
  const bits = length === undefined ? bitsMax : Number(length);
  if (isIP(network) !== (family === 'ipv4' ? 4 : 6) || rest.length > 0) return false;
  if (length === '' || !Number.isInteger(bits) || bits < 0 || bits > bitsMax) return false;
  const block = new BlockList();
  block.addSubnet(network, bits, family);
  return block.check(host, family);
}
