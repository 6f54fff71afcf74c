/**
 * Which addresses are public: globally reachable by the IANA special-purpose address registries (RFC 6890, as of 2025), read
 * strictly: what is anycast, deprecated or a relay is not. Of IPv6 only 2000::/3 can be. An address inside another one (mapped,
 * translated) counts as what it leads to.
 *
 * A NAT64 prefix that a network has made up for itself cannot be known here.
 */

import { isIP } from 'node:net';

interface Block {
  readonly network: bigint;
  readonly bits: number;
  readonly what: string;
}

const V4_BITS = 32;
const V6_BITS = 128;

const V4_BLOCKS: readonly Block[] = blocks(V4_BITS, parseV4, [
  ['0.0.0.0/8', 'this network, RFC 791'],
  ['10.0.0.0/8', 'private, RFC 1918'],
  ['100.64.0.0/10', 'shared by carriers, RFC 6598'],
  ['127.0.0.0/8', 'loopback, RFC 1122'],
  ['168.63.129.16/32', 'the platform of Azure'],
  ['169.254.0.0/16', 'link-local, where clouds keep their metadata, RFC 3927'],
  ['172.16.0.0/12', 'private, RFC 1918'],
  ['192.0.0.0/24', 'protocol assignments, RFC 6890'],
  ['192.0.2.0/24', 'documentation, RFC 5737'],
  ['192.88.99.0/24', '6to4 relays, RFC 7526'],
  ['192.168.0.0/16', 'private, RFC 1918'],
  ['198.18.0.0/15', 'benchmarking, RFC 2544'],
  ['198.51.100.0/24', 'documentation, RFC 5737'],
  ['203.0.113.0/24', 'documentation, RFC 5737'],
  ['224.0.0.0/4', 'multicast, RFC 5771'],
  ['240.0.0.0/4', 'reserved, RFC 1112'],
]);

const V6_BLOCKS: readonly Block[] = blocks(V6_BITS, v6Value, [
  ['::/128', 'unspecified, RFC 4291'],
  ['::1/128', 'loopback, RFC 4291'],
  ['64:ff9b:1::/48', 'translation within a network, RFC 8215'],
  ['100::/64', 'discard, RFC 6666'],
  ['2001::/23', 'protocol assignments, Teredo among them, RFC 2928'],
  ['2001:db8::/32', 'documentation, RFC 3849'],
  ['2002::/16', '6to4, RFC 3056'],
  ['3fff::/20', 'documentation, RFC 9637'],
  ['5f00::/16', 'segment routing, RFC 9602'],
  ['fc00::/7', 'private, RFC 4193'],
  ['fe80::/10', 'link-local, RFC 4291'],
  ['fec0::/10', 'site-local, RFC 3879'],
  ['ff00::/8', 'multicast, RFC 4291'],
]);

/** Prefixes of 96 bits, in front of an IPv4 address that the packets go to: mapped (RFC 4291 §2.5.5.2) and NAT64 (RFC 6052). */
const V4_INSIDE: readonly Block[] = blocks(V6_BITS, v6Value, [
  ['::ffff:0:0/96', 'mapped'],
  ['64:ff9b::/96', 'translated'],
]);

/** 2000::/3: all that was ever given out for unicast. */
const GLOBAL_UNICAST: Block = { network: 1n, bits: 3, what: '' };

/** What a numeric address is, when it is not public; null: it is. A zone (`%eth0`) is left aside. What is no address at all is not public. */
export function notPublic(address: string): string | null {
  const zone = address.indexOf('%');
  const bare = zone < 0 ? address : address.slice(0, zone);
  const family = isIP(bare);
  if (family === 4) return nameOf(V4_BLOCKS, parseV4(bare), V4_BITS);
  if (family === 6) return notPublicV6(v6Value(bare));
  return 'no address of the internet';
}

function notPublicV6(value: bigint): string | null {
  if (V4_INSIDE.some((block) => isIn(block, value, V6_BITS))) {
    return nameOf(V4_BLOCKS, value & 0xffff_ffffn, V4_BITS);
  }
  const known = nameOf(V6_BLOCKS, value, V6_BITS);
  if (known !== null) return known;
  return isIn(GLOBAL_UNICAST, value, V6_BITS) ? null : 'not given out, RFC 4291';
}

function nameOf(list: readonly Block[], value: bigint, width: number): string | null {
  return list.find((block) => isIn(block, value, width))?.what ?? null;
}

function isIn({ network, bits }: Block, value: bigint, width: number): boolean {
  return value >> BigInt(width - bits) === network;
}

function blocks(
  width: number,
  parse: (text: string) => bigint,
  list: readonly (readonly [cidr: string, what: string])[],
): readonly Block[] {
  return list.map(([cidr, what]) => {
    const [network = '', length] = cidr.split('/');
    const bits = Number(length);
    return { network: parse(network) >> BigInt(width - bits), bits, what };
  });
}

/** Of an address that `isIP` knows. */
function parseV4(text: string): bigint {
  return text.split('.').reduce((value, part) => (value << 8n) | BigInt(part), 0n);
}

/** Of an address that `isIP` knows, without zone. */
export function v6Value(text: string): bigint {
  const dotted = text.includes('.') ? text.lastIndexOf(':') + 1 : text.length;
  const tail = dotted === text.length ? [] : wordsOfV4(text.slice(dotted));
  const [before = '', after] = (tail.length === 0 ? text : text.slice(0, dotted)).split('::');
  const front = wordsOf(before);
  const back = [...wordsOf(after ?? ''), ...tail];
  const gap = after === undefined ? 0 : 8 - front.length - back.length;
  return [...front, ...Array<bigint>(gap).fill(0n), ...back].reduce((value, word) => (value << 16n) | word, 0n);
}

function wordsOf(text: string): bigint[] {
  return text
    .split(':')
    .filter((word) => word !== '')
    .map((word) => BigInt(`0x${word}`));
}

function wordsOfV4(text: string): bigint[] {
  const value = parseV4(text);
  return [value >> 16n, value & 0xffffn];
}
