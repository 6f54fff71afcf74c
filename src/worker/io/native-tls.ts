/** `TlsIo` over the addon: contexts by configuration, trust stores, and which name is asked for and checked. */

import { isIP } from 'node:net';
import type { SharedSession } from '../../protocol/port/session-frames.ts';
import { splitCiphers, type TlsPlan, type TlsVersion } from '../../protocol/tls-options.ts';
import type { Addon, AddonTlsInfo } from './addon.ts';
import { PeerCertificates } from './peer-certificates.ts';
import { rootCertificates, usesOpensslRoots } from './root-certificates.ts';
import type { TlsFault, TlsInfo, TlsIo } from './tls-io.ts';

/** Contexts kept; a program has few configurations. What is dropped while connections use it lives on with them. */
const CONTEXTS_MAX = 256;

/** Keys for which sessions of other threads are kept until a connection wants one. */
const ACCEPTED_MAX = 1_000;

const VERSION_NUMBERS: Readonly<Record<TlsVersion, number>> = {
  TLSv1: 0x0301,
  'TLSv1.1': 0x0302,
  'TLSv1.2': 0x0303,
  'TLSv1.3': 0x0304,
};

interface Context {
  readonly number: number;
  /** Its own trust store; 0: the default one. */
  readonly trust: number;
}

export class NativeTls implements TlsIo {
  readonly state: Int32Array;
  readonly handshake: TlsIo['handshake'];
  readonly approve: TlsIo['approve'];
  readonly shutDown: TlsIo['shutDown'];
  readonly #native: Addon;
  readonly #contexts = new Map<string, Context>();
  readonly #certificates = new PeerCertificates();
  /** Sessions of other threads, by their keys: what nobody connects to is never parsed. */
  readonly #accepted = new Map<string, Uint8Array>();
  /** The store of Node's roots; 0: not made yet. */
  #defaultTrust = 0;

  constructor(native: Addon, state: Int32Array) {
    this.#native = native;
    this.state = state;
    this.handshake = native.tlsHandshake;
    this.approve = native.tlsApprove;
    this.shutDown = native.tlsShutDown;
  }

  start(socket: number, plan: TlsPlan, host: string, destination: string, inside = false): number {
    const context = this.#contextOf(plan);
    const name = nameOf(plan.servername === null || plan.servername === '' ? host : plan.servername);
    const isAddress = isIP(name) !== 0;
    const sendName = plan.servername !== '' && !isAddress;
    const checkName = plan.checkServerIdentity === null;
    if (checkName && hasEmptyLabel(name))
      throw new Error(`no certificate can be for the name "${name}", of which a part is empty`);
    if (this.#accepted.size > 0) this.#takeOver(plan, context, destination);
    return this.#native.tlsStart(socket, context, name, isAddress, sendName, checkName, destination, inside);
  }

  info(socket: number): TlsInfo {
    const info = this.#native.tlsInfo(socket) as AddonTlsInfo;
    info.certificate = this.#certificates.numberOf(this.#native.tlsPeer(socket));
    // To OpenSSL what is not there has not failed.
    if (info.certificate === 0) info.verified = false;
    return info;
  }

  peer(socket: number): Buffer | null {
    return this.#native.tlsPeer(socket);
  }

  certificate(number: number): Buffer | null {
    return this.#certificates.get(number);
  }

  error(socket: number): TlsFault {
    return this.#native.tlsError(socket) as TlsFault;
  }

  share(others: number): void {
    this.#native.tlsShare(others);
  }

  offers(): readonly SharedSession[] {
    const shared: SharedSession[] = [];
    for (const { context, destination, single, bytes } of this.#native.tlsOffers()) {
      const identity = this.#identityOf(context);
      if (identity !== null) shared.push({ key: keyOf(identity, destination), single, bytes });
    }
    return shared;
  }

  accept({ key, bytes }: SharedSession): void {
    this.#accepted.delete(key);
    this.#accepted.set(key, bytes);
    if (this.#accepted.size <= ACCEPTED_MAX) return;
    const oldest = this.#accepted.keys().next();
    if (!oldest.done) this.#accepted.delete(oldest.value);
  }

  /** How many sessions are kept for a configuration; for tests. */
  sessionsOf(plan: TlsPlan): number {
    const context = this.#contexts.get(plan.identity);
    return context === undefined ? 0 : this.#native.tlsSessions(context.number);
  }

  forgetContexts(): void {
    for (const context of this.#contexts.values()) this.#close(context);
    this.#contexts.clear();
    this.#accepted.clear();
    this.#certificates.clear();
    if (this.#defaultTrust > 0) this.#native.tlsClose(this.#defaultTrust);
    this.#defaultTrust = 0;
  }

  #takeOver({ identity }: TlsPlan, context: number, destination: string): void {
    const key = keyOf(identity, destination);
    const bytes = this.#accepted.get(key);
    if (bytes === undefined) return;
    this.#accepted.delete(key);
    this.#native.tlsTakeOver(context, destination, bytes);
  }

  /** null: it was dropped. */
  #identityOf(context: number): string | null {
    for (const [identity, { number }] of this.#contexts) if (number === context) return identity;
    return null;
  }

  #contextOf(plan: TlsPlan): number {
    const known = this.#contexts.get(plan.identity);
    if (known !== undefined) return known.number;
    if (this.#contexts.size >= CONTEXTS_MAX) this.#dropOldest();
    const context = this.#open(plan);
    this.#contexts.set(plan.identity, context);
    return context.number;
  }

  #open(plan: TlsPlan): Context {
    const own = plan.ca === null ? 0 : made('tls.ca', this.#native.tlsTrust(plan.ca, false));
    const { suites, ciphers } = splitCiphers(plan.ciphers);
    const opened = this.#native.tlsContext({
      certificates: plan.cert,
      keys: plan.key,
      pfx: plan.pfx === '' ? '' : Buffer.from(plan.pfx, 'base64'),
      passphrase: plan.passphrase,
      ciphers,
      suites,
      signatures: plan.sigalgs,
      groups: plan.ecdhCurve,
      alpn: alpnBytes(plan.alpn),
      keyLog: plan.keyLog === '' ? (process.env.SSLKEYLOGFILE ?? '') : plan.keyLog,
      // OpenSSL takes an empty list for its own: who names only suites of TLS 1.3 wants no other version. Node does the same.
      versionMin: VERSION_NUMBERS[ciphers === '' ? 'TLSv1.3' : plan.minVersion],
      versionMax: VERSION_NUMBERS[plan.maxVersion],
      verify: plan.rejectUnauthorized,
      keepSessions: plan.sessionReuse,
      trust: own > 0 ? own : this.#trustDefault(),
    });
    if (typeof opened === 'string' && own > 0) this.#native.tlsClose(own);
    return { number: made('tls', opened), trust: own };
  }

  /** Parsing the roots takes tens of milliseconds: once per thread, for the first https connection. */
  #trustDefault(): number {
    if (this.#defaultTrust === 0) {
      this.#defaultTrust = made('The trust store', this.#native.tlsTrust(rootCertificates(), usesOpensslRoots()));
    }
    return this.#defaultTrust;
  }

  #dropOldest(): void {
    const [identity, context] = this.#contexts.entries().next().value as [string, Context];
    this.#contexts.delete(identity);
    this.#close(context);
  }

  #close({ number, trust }: Context): void {
    this.#native.tlsClose(number);
    if (trust > 0) this.#native.tlsClose(trust);
  }
}

/** Of a session. An identity holds no blank. */
function keyOf(identity: string, destination: string): string {
  return `${identity} ${destination}`;
}

/** As it stands in certificates: without the dot at the end of a full name, and without an address's zone. */
function nameOf(host: string): string {
  const zone = host.indexOf('%');
  const bare = zone < 0 ? host : host.slice(0, zone);
  return bare.endsWith('.') ? bare.slice(0, -1) : bare;
}

function hasEmptyLabel(name: string): boolean {
  return name === '' || name.startsWith('.') || name.includes('..');
}

/** RFC 7301 §3.1: each name behind its length. */
function alpnBytes(names: readonly string[]): Buffer | '' {
  if (names.length === 0) return '';
  return Buffer.concat(names.map((name) => Buffer.from(String.fromCharCode(name.length) + name, 'latin1')));
}

function made(what: string, answer: number | string): number {
  if (typeof answer === 'number') return answer;
  throw new Error(`${what} cannot be used: ${answer}.`);
}
