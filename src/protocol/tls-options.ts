/**
 * The TLS options of a transfer or a pool: their names, defaults and checks, and the plan that they come to: one value of plain
 * data, the same on both sides of the thread boundary, with an identity that tells configurations apart. Nothing is connected
 * here; how a plan acts is `worker/io/tls-io.ts`'s.
 *
 * Certificates, keys and cipher lists are tried out with Node's own `tls`, so what is wrong with one is told before any I/O.
 */

import { createHash, X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { createSecureContext, DEFAULT_CIPHERS, type PeerCertificate, type SecureContextOptions } from 'node:tls';
import { isUint8Array } from './built-ins.ts';
import { invalidArgument } from './errors.ts';
import { checkBoolean, checkRecord, describe, describeKind } from './options.ts';
import { thrownText } from './thrown-text.ts';

/** A version of TLS, as in `tls.connect`. */
export type TlsVersion = 'TLSv1' | 'TLSv1.1' | 'TLSv1.2' | 'TLSv1.3';

/** PEM text, or its bytes. */
export type Pem = string | Uint8Array;

/** A certificate as Node shows it (`tls.TLSSocket.getPeerCertificate()`), `raw` being its DER; the issuer's is not in it. */
export type PeerCertificateInfo = Omit<PeerCertificate, 'issuerCertificate'>;

/**
 * Checks whose certificate it is in place of RFC 9525, as in `tls.connect`: the chain was verified before. `host`: `servername`, or
 * the URL's host. An Error that it answers or throws refuses the peer, undefined takes it; anything else refuses, too. It may answer by
 * a promise, for which the transfer waits under `connectMs`. As in Node it is not called for a connection that resumes a session: those
 * are kept for this function alone, of peers that it took.
 */
export type CheckServerIdentity = (
  host: string,
  certificate: PeerCertificateInfo,
  // biome-ignore lint/suspicious/noConfusingVoidType: what a function without a return answers.
) => Error | undefined | void | PromiseLike<Error | undefined | void>;

/** As in `tls.connect`, where that has the option. */
export interface TlsOptions {
  /** Roots to trust in place of Node's own (CURLOPT_CAINFO_BLOB). PEM. */
  ca?: Pem | readonly Pem[];
  /** The client's certificate and those that lead from it to a root (CURLOPT_SSLCERT_BLOB). PEM. */
  cert?: Pem | readonly Pem[];
  /** The key of `cert` (CURLOPT_SSLKEY_BLOB). PEM. */
  key?: Pem | readonly Pem[];
  /** Opens `key` or `pfx` (CURLOPT_KEYPASSWD). */
  passphrase?: string;
  /** Certificate and key as PKCS #12, in place of `cert` and `key`. */
  pfx?: Uint8Array;
  /** false: a certificate that does not verify is taken, of anyone (CURLOPT_SSL_VERIFYPEER, VERIFYHOST). Default true. */
  rejectUnauthorized?: boolean;
  /** The name to ask for (SNI) and to check, in place of the URL's host. '': ask for none, and check the URL's host. */
  servername?: string;
  /** Default `TLSv1.2` (CURLOPT_SSLVERSION). */
  minVersion?: TlsVersion;
  /** Default `TLSv1.3`. */
  maxVersion?: TlsVersion;
  /** Cipher suites as OpenSSL names them, those of TLS 1.3 among them (CURLOPT_SSL_CIPHER_LIST). Default: Node's. */
  ciphers?: string;
  /** Signature algorithms, separated by colons (CURLOPT_SSL_SIGNATURE_ALGORITHMS). Default: OpenSSL's. */
  sigalgs?: string;
  /** Groups for the key exchange, separated by colons (CURLOPT_SSL_EC_CURVES). Default: OpenSSL's. */
  ecdhCurve?: string;
  /** Protocols to offer (CURLOPT_SSL_ENABLE_ALPN). Default `['http/1.1']`, the one that is built; `[]`: none are offered. */
  alpn?: readonly string[];
  /** SHA-256 hashes of public keys, as `sha256//` and base64 (CURLOPT_PINNEDPUBLICKEY): the peer must have one of them. */
  pinnedPublicKeys?: readonly string[];
  /** Handshakes are shortened by what an earlier one left (CURLOPT_SSL_SESSIONID_CACHE). Default true. */
  sessionReuse?: boolean;
  /** A file to which the secrets of connections are appended, for Wireshark. Default: the environment's SSLKEYLOGFILE. */
  keyLog?: string;
  /** In a `Pool` it runs on the thread that made the pool. */
  checkServerIdentity?: CheckServerIdentity;
}

/** `TlsOptions`, checked and completed. */
export interface TlsPlan {
  /** Equal for equal configurations only; '' for the default. Holds no secret. */
  readonly identity: string;
  /** null: Node's own roots. */
  readonly ca: readonly string[] | null;
  readonly cert: readonly string[];
  readonly key: readonly string[];
  /** null: none was given. */
  readonly passphrase: string | null;
  /** Base64; '': none. */
  readonly pfx: string;
  readonly rejectUnauthorized: boolean;
  /** null: the URL's host. */
  readonly servername: string | null;
  readonly minVersion: TlsVersion;
  readonly maxVersion: TlsVersion;
  /** '': Node's. */
  readonly ciphers: string;
  readonly sigalgs: string;
  readonly ecdhCurve: string;
  readonly alpn: readonly string[];
  readonly pinnedPublicKeys: readonly string[];
  readonly sessionReuse: boolean;
  /** '': the environment's. */
  readonly keyLog: string;
  readonly checkServerIdentity: CheckServerIdentity | null;
}

const VERSIONS: readonly TlsVersion[] = ['TLSv1', 'TLSv1.1', 'TLSv1.2', 'TLSv1.3'];

/** What can be spoken after the handshake. */
const PROTOCOLS_BUILT: readonly string[] = ['http/1.1', 'http/1.0'];

/** Plans kept by identity: a transfer with options of its own costs a hash then, not the parsing of its certificates. */
const PLANS_MAX = 256;

/** Characters: RFC 1035 §2.3.4, and a dot at the end. */
const SERVERNAME_LENGTH_MAX = 255;

const DEFAULT_FIELDS: Omit<TlsPlan, 'identity'> = {
  ca: null,
  cert: [],
  key: [],
  passphrase: null,
  pfx: '',
  rejectUnauthorized: true,
  servername: null,
  minVersion: 'TLSv1.2',
  maxVersion: 'TLSv1.3',
  ciphers: '',
  sigalgs: '',
  ecdhCurve: '',
  alpn: ['http/1.1'],
  pinnedPublicKeys: [],
  sessionReuse: true,
  keyLog: '',
  checkServerIdentity: null,
};

export const DEFAULT_TLS_PLAN: TlsPlan = Object.freeze({ ...DEFAULT_FIELDS, identity: '' });

/** Every field of a plan that a configuration consists of. */
export const TLS_FIELDS = Object.freeze(Object.keys(DEFAULT_FIELDS)) as readonly (keyof Omit<TlsPlan, 'identity'>)[];

const plans = new Map<string, TlsPlan>();
const functionNames = new WeakMap<CheckServerIdentity, number | string>();
let lastFunctionNumber = 0;

/** What it is known by in identities, when that is not a matter of this thread alone. */
export function nameIdentityCheck(check: CheckServerIdentity, name: string): void {
  functionNames.set(check, name);
}

/** Answers DEFAULT_TLS_PLAN itself when nothing differs from it. Throws TransferError INVALID_ARGUMENT that names the option. */
export function resolveTlsOptions(options: unknown, option = 'tls'): TlsPlan {
  if (options === undefined) return DEFAULT_TLS_PLAN;
  const given = checkRecord(option, options, TLS_FIELDS) as TlsOptions;
  const fields = checkFields(option, given);
  const identity = identityOf(fields);
  if (identity === '') return DEFAULT_TLS_PLAN;
  let plan = plans.get(identity);
  // A name may have passed to another function: that of a shard which began anew.
  if (plan !== undefined && plan.checkServerIdentity === fields.checkServerIdentity) return plan;
  plan = Object.freeze({ ...fields, identity });
  tryOut(option, plan);
  if (plans.size >= PLANS_MAX) plans.clear();
  plans.set(identity, plan);
  return plan;
}

/** The TLS 1.3 suites of a list, and the other ciphers, as OpenSSL wants them apart. '' for none. */
export function splitCiphers(ciphers: string): { suites: string; ciphers: string } {
  const names = (ciphers === '' ? DEFAULT_CIPHERS : ciphers).split(':').filter((name) => name !== '');
  const isSuite = (name: string) => name.startsWith('TLS_');
  return { suites: names.filter(isSuite).join(':'), ciphers: names.filter((name) => !isSuite(name)).join(':') };
}

function identityOf(fields: Omit<TlsPlan, 'identity'>): string {
  const { checkServerIdentity: check } = fields;
  let name: number | string = 0;
  if (check !== null) {
    name = functionNames.get(check) ?? ++lastFunctionNumber;
    functionNames.set(check, name);
  }
  const text = JSON.stringify(TLS_FIELDS.map((field) => (field === 'checkServerIdentity' ? name : fields[field])));
  if (name === 0 && text === DEFAULT_TEXT) return '';
  return createHash('sha256').update(text).digest('base64');
}

const DEFAULT_TEXT = JSON.stringify(
  TLS_FIELDS.map((field) => (field === 'checkServerIdentity' ? 0 : DEFAULT_FIELDS[field])),
);

// ── Checks ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

function checkFields(option: string, given: TlsOptions): Omit<TlsPlan, 'identity'> {
  const fields = {
    ca: given.ca === undefined ? null : checkPems(`${option}.ca`, given.ca),
    cert: given.cert === undefined ? [] : checkPems(`${option}.cert`, given.cert),
    key: given.key === undefined ? [] : checkPems(`${option}.key`, given.key),
    passphrase: given.passphrase === undefined ? null : checkText(`${option}.passphrase`, given.passphrase),
    pfx: checkPfx(`${option}.pfx`, given.pfx),
    rejectUnauthorized: checkBoolean(`${option}.rejectUnauthorized`, given.rejectUnauthorized, true),
    servername: checkServername(`${option}.servername`, given.servername),
    minVersion: checkVersion(`${option}.minVersion`, given.minVersion, DEFAULT_FIELDS.minVersion),
    maxVersion: checkVersion(`${option}.maxVersion`, given.maxVersion, DEFAULT_FIELDS.maxVersion),
    ciphers: given.ciphers === undefined ? '' : checkText(`${option}.ciphers`, given.ciphers),
    sigalgs: given.sigalgs === undefined ? '' : checkText(`${option}.sigalgs`, given.sigalgs),
    ecdhCurve:
      given.ecdhCurve === undefined || given.ecdhCurve === 'auto'
        ? ''
        : checkText(`${option}.ecdhCurve`, given.ecdhCurve),
    alpn: checkAlpn(`${option}.alpn`, given.alpn),
    pinnedPublicKeys: checkPins(`${option}.pinnedPublicKeys`, given.pinnedPublicKeys),
    sessionReuse: checkBoolean(`${option}.sessionReuse`, given.sessionReuse, true),
    keyLog: given.keyLog === undefined ? '' : checkText(`${option}.keyLog`, given.keyLog),
    checkServerIdentity: checkFunction(`${option}.checkServerIdentity`, given.checkServerIdentity),
  };
  checkTogether(option, fields);
  return fields;
}

function checkTogether(option: string, fields: Omit<TlsPlan, 'identity'>): void {
  const { cert, key, pfx, minVersion, maxVersion, ciphers } = fields;
  if (VERSIONS.indexOf(minVersion) > VERSIONS.indexOf(maxVersion)) {
    throw invalidArgument(
      `${option}.minVersion`,
      `${option}.minVersion ${minVersion} is above ${option}.maxVersion ${maxVersion}.`,
    );
  }
  if (maxVersion !== 'TLSv1.3' && splitCiphers(ciphers).ciphers === '') {
    throw invalidArgument(
      `${option}.ciphers`,
      `${option}.ciphers holds none that ${option}.maxVersion ${maxVersion} allows, only suites of TLS 1.3.`,
    );
  }
  if (pfx !== '' && (cert.length > 0 || key.length > 0)) {
    throw invalidArgument(
      `${option}.pfx`,
      `${option}.pfx holds certificate and key; leave out ${option}.cert and key.`,
    );
  }
  if (cert.length > 0 && key.length === 0) {
    throw invalidArgument(`${option}.key`, `${option}.cert needs ${option}.key, the private key of the certificate.`);
  }
  if (key.length > 0 && cert.length === 0) {
    throw invalidArgument(`${option}.cert`, `${option}.key needs ${option}.cert, the certificate of the key.`);
  }
}

/** Each on its own first, so that the error names the one at fault. */
function tryOut(option: string, plan: TlsPlan): void {
  const { ca, cert, key, pfx, ciphers, sigalgs, ecdhCurve } = plan;
  for (const pem of ca ?? []) tryCertificates(`${option}.ca`, pem);
  for (const pem of cert) tryCertificates(`${option}.cert`, pem);
  const passphrase = plan.passphrase === null ? {} : { passphrase: plan.passphrase };
  if (ciphers !== '') tryContext(`${option}.ciphers`, { ciphers });
  if (sigalgs !== '') tryContext(`${option}.sigalgs`, { sigalgs });
  if (ecdhCurve !== '') tryContext(`${option}.ecdhCurve`, { ecdhCurve });
  if (pfx !== '') tryContext(`${option}.pfx`, { pfx: Buffer.from(pfx, 'base64'), ...passphrase });
  if (cert.length === 0) return;
  tryContext(`${option}.cert`, { cert: [...cert] });
  tryContext(`${option}.key`, { cert: [...cert], key: [...key], ...passphrase });
}

function tryContext(option: string, options: SecureContextOptions): void {
  try {
    // Without any `ca` it would load Node's roots, which takes longer than all else.
    createSecureContext({ ca: [], ...options });
  } catch (cause) {
    throw unusable(option, cause);
  }
}

const CERTIFICATE = /-----BEGIN ((?:TRUSTED |X509 )?CERTIFICATE)-----[^-]*-----END \1-----/g;

function tryCertificates(option: string, pem: string): void {
  const blocks = pem.match(CERTIFICATE);
  if (blocks === null) throw invalidArgument(option, `${option} holds no certificate in PEM form.`);
  try {
    for (const block of blocks) new X509Certificate(block);
  } catch (cause) {
    throw unusable(option, cause);
  }
}

function unusable(option: string, cause: unknown): Error {
  const message = thrownText(cause);
  // What OpenSSL says where it has no reason, of `sigalgs` above all.
  const reason = /reason\(0\)/.test(message) ? 'OpenSSL does not know what it says' : message;
  const error = invalidArgument(option, `${option} cannot be used: ${reason}.`);
  error.cause = cause;
  return error;
}

function checkPems(option: string, value: unknown): readonly string[] {
  const given: unknown[] = Array.isArray(value) ? value : [value];
  if (given.length === 0) throw invalidArgument(option, `${option} must hold at least one PEM text.`);
  return given.map((pem, index) => {
    const name = Array.isArray(value) ? `${option}[${index}]` : option;
    if (typeof pem === 'string' && pem !== '') return pem;
    if (isUint8Array(pem) && pem.length > 0) return Buffer.from(pem).toString('latin1');
    throw invalidArgument(name, `${name} must be PEM text or its bytes, not ${shownKind(pem)}.`);
  });
}

/** Whatever is no certificate may be a key: it is not shown. */
function shownKind(value: unknown): string {
  return isUint8Array(value) ? 'no bytes' : describeKind(value);
}

function checkPfx(option: string, value: unknown): string {
  if (value === undefined) return '';
  if (isUint8Array(value) && value.length > 0) return Buffer.from(value).toString('base64');
  throw invalidArgument(option, `${option} must be the bytes of a PKCS #12 archive, not ${shownKind(value)}.`);
}

function checkText(option: string, value: unknown): string {
  if (typeof value !== 'string') {
    throw invalidArgument(option, `${option} must be a string, not ${describeKind(value)}.`);
  }
  if (value === '' && !option.endsWith('.passphrase')) throw invalidArgument(option, `${option} must not be empty.`);
  // C strings end there: what follows would silently not count.
  if (value.includes('\0')) throw invalidArgument(option, `${option} must not contain a NUL character.`);
  return value;
}

function checkServername(option: string, value: unknown): string | null {
  if (value === undefined) return null;
  if (value === '') return '';
  if (typeof value !== 'string' || value.length > SERVERNAME_LENGTH_MAX || !/^[\w-]+(?:\.[\w-]+)*\.?$/.test(value)) {
    throw invalidArgument(option, `${option} must be a host name in ASCII, or '' for none, not ${describe(value)}.`);
  }
  if (isIP(value) !== 0) {
    throw invalidArgument(option, `${option} is ${describe(value)}, but an address is never asked for (RFC 6066 §3).`);
  }
  return value.toLowerCase();
}

function checkVersion(option: string, value: unknown, otherwise: TlsVersion): TlsVersion {
  if (value === undefined) return otherwise;
  if (VERSIONS.includes(value as TlsVersion)) return value as TlsVersion;
  throw invalidArgument(option, `${option} must be one of ${VERSIONS.join(', ')}, not ${describe(value)}.`);
}

function checkAlpn(option: string, value: unknown): readonly string[] {
  if (value === undefined) return DEFAULT_FIELDS.alpn;
  if (!Array.isArray(value)) throw invalidArgument(option, `${option} must be an array, not ${describe(value)}.`);
  for (const name of value) {
    if (PROTOCOLS_BUILT.includes(name)) continue;
    throw invalidArgument(
      option,
      `${option} can offer ${PROTOCOLS_BUILT.join(' and ')}; ${describe(name)} is not built.`,
    );
  }
  return [...new Set(value)];
}

function checkPins(option: string, value: unknown): readonly string[] {
  if (value === undefined) return [];
  if (!Array.isArray(value) || value.length === 0) {
    const given = Array.isArray(value) ? 'an empty one' : describe(value);
    throw invalidArgument(option, `${option} must be an array of at least one hash, not ${given}.`);
  }
  return value.map((pin: unknown) => {
    if (typeof pin === 'string' && /^sha256\/\/[A-Za-z0-9+/]{43}=$/.test(pin)) return pin;
    throw invalidArgument(option, `${option} holds ${describe(pin)}, which is not 'sha256//' and a SHA-256 in base64.`);
  });
}

function checkFunction(option: string, value: unknown): CheckServerIdentity | null {
  if (value === undefined) return null;
  if (typeof value === 'function') return value as CheckServerIdentity;
  throw invalidArgument(option, `${option} must be a function, not ${describe(value)}.`);
}
