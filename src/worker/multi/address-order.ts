/** In which order the addresses of a name are tried: families in turn, IPv6 first (RFC 8305 §4; rule 57). */

import type { AddressFamily } from '../io/io.ts';

/** Of a numeric address. */
export function familyOf(address: string): AddressFamily {
  return address.includes(':') ? 6 : 4;
}

/** Within a family the order stays: it is the resolver's (RFC 6724). Answers its argument when there is nothing to mix. */
export function interleaved(addresses: readonly string[]): readonly string[] {
  const six = addresses.filter((address) => familyOf(address) === 6);
  if (six.length === 0 || six.length === addresses.length) return addresses;
  const four = addresses.filter((address) => familyOf(address) === 4);
  const mixed: string[] = [];
  for (let index = 0; index < Math.max(six.length, four.length); index++) {
    const [first, second] = [six[index], four[index]];
    if (first !== undefined) mixed.push(first);
    if (second !== undefined) mixed.push(second);
  }
  return mixed;
}
