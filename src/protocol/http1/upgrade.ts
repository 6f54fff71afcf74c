/**
 * Leaving HTTP on a connection: to another protocol, which the server confirms with 101 (RFC 9110 §7.8), or through a tunnel that
 * CONNECT asks for (§9.3.6). What is asked for, checked; and whether a 101 is the answer to it. From there on bytes have no meaning here.
 */

import { invalidArgument } from '../errors.ts';
import { checkRecord, describe } from '../options.ts';
import { shownUrl } from '../shown-url.ts';
import { isToken } from './tokens.ts';

/** The names of protocols to switch to, as they stand in the field Upgrade; or, for CONNECT, the `host:port` to be connected with. */
export type UpgradeOption = string | { connect: string };

/** `protocols`: '' for CONNECT; `authority`: '' for all else. */
export interface Upgrade {
  readonly protocols: string;
  readonly authority: string;
}

/** `host:port`, an IPv6 address in brackets. */
const AUTHORITY = /^(?:[A-Za-z0-9\-._~]+|\[[0-9A-Fa-f:.]+\]):\d{1,5}$/;
const PORT_MAX = 65_535;

/** undefined: none. Throws TransferError INVALID_ARGUMENT that names the option. */
export function resolveUpgrade(upgrade: unknown): Upgrade | null {
  if (upgrade === undefined) return null;
  if (typeof upgrade === 'string') return { protocols: checkProtocols(upgrade), authority: '' };
  const { connect } = checkRecord('upgrade', upgrade, ['connect']) as { connect?: unknown };
  return { protocols: '', authority: checkAuthority(connect) };
}

function checkProtocols(protocols: string): string {
  const names = namesOf(protocols);
  // name [ "/" version ], both tokens
  if (names.length > 0 && names.every((name) => name.split('/', 3).length < 3 && name.split('/').every(isToken))) {
    return names.join(', ');
  }
  throw invalidArgument(
    'upgrade',
    `upgrade must name the protocol to switch to, such as 'websocket', not ${describe(protocols)}.`,
  );
}

function checkAuthority(connect: unknown): string {
  if (typeof connect === 'string' && AUTHORITY.test(connect)) {
    const port = Number(connect.slice(connect.lastIndexOf(':') + 1));
    if (port > 0 && port <= PORT_MAX) return connect;
  }
  throw invalidArgument('upgrade.connect', `upgrade.connect must be 'host:port', not ${shownUrl(connect)}.`);
}

/** Whether every protocol that a 101's head names is among those `offered`, and there is one (RFC 9110 §7.8). `head`: as latin-1 text. */
export function isOffered(head: string, offered: string): boolean {
  const mayBe = namesOf(offered.toLowerCase());
  let names: string[] = [];
  for (const [, value = ''] of head.matchAll(/\r\nupgrade:([^\r\n]*)/gi)) names = names.concat(namesOf(value));
  return names.length > 0 && names.every((name) => mayBe.includes(name.toLowerCase()));
}

function namesOf(list: string): string[] {
  return list
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '');
}
