/**
 * What goes wrong with TLS, in sentences: which host, which certificate, which rule, and which option would change it.
 * Text of certificates is the peer's: it is cut, and shown without control characters.
 */

import { X509Certificate } from 'node:crypto';
import { TransferError } from '../../protocol/errors.ts';
import type { Origin } from '../../protocol/origin.ts';
import { errnoName } from '../io/errno.ts';
import { TLS_FAILED, TLS_TRUNCATED, type TlsFault } from '../io/tls-io.ts';

/** Characters of a subject, an issuer or a list of names that are shown. */
const SHOWN_MAX = 200;

/** What the rule of an X509_V_ERR_* is, and which option has a say in it. */
interface Rule {
  readonly what: string;
  readonly hint: string;
  readonly option: string;
}

const TRUST_HINT = 'to trust its issuer, give the root certificate as tls.ca';
const CLOCK_HINT = "the peer needs a new one; check this machine's clock too";

const RULES: ReadonlyMap<number, Rule> = new Map([
  [2, { what: 'its issuer did not come with it and is not trusted', hint: TRUST_HINT, option: 'tls.ca' }],
  [9, { what: 'it is not valid yet', hint: CLOCK_HINT, option: 'tls.rejectUnauthorized' }],
  [10, { what: 'it has expired', hint: CLOCK_HINT, option: 'tls.rejectUnauthorized' }],
  [18, { what: 'it is self-signed and not trusted', hint: 'to trust it, give it as tls.ca', option: 'tls.ca' }],
  [19, { what: 'it leads to a root that is not trusted', hint: TRUST_HINT, option: 'tls.ca' }],
  [20, { what: 'its issuer is not trusted, or is missing in what the peer sent', hint: TRUST_HINT, option: 'tls.ca' }],
  [21, { what: 'its issuer did not come with it and is not trusted', hint: TRUST_HINT, option: 'tls.ca' }],
  [23, { what: 'it was revoked', hint: 'the peer needs a new one', option: 'tls.rejectUnauthorized' }],
  [
    62,
    {
      what: 'it is for other names',
      hint: 'use one of its names in the URL, or give it as tls.servername',
      option: 'tls.servername',
    },
  ],
  [
    64,
    {
      what: 'it is not for this address',
      hint: 'use one of its names in the URL, or give it as tls.servername',
      option: 'tls.servername',
    },
  ],
]);

const UNKNOWN_RULE: Omit<Rule, 'what'> = {
  hint: 'the peer needs another certificate',
  option: 'tls.rejectUnauthorized',
};

/** Alerts (RFC 8446 §6.2) that say which option the peer objects to. */
const ALERT_OPTIONS: ReadonlyMap<number, readonly [option: string, hint: string]> = new Map([
  [
    40,
    [
      'tls.ciphers',
      'nothing that both sides allow was found; see tls.ciphers, sigalgs, ecdhCurve, minVersion and cert',
    ],
  ],
  [42, ['tls.cert', 'it objects to the certificate of tls.cert, or to none being given']],
  [43, ['tls.cert', 'it objects to the kind of certificate of tls.cert']],
  [44, ['tls.cert', 'the certificate of tls.cert was revoked']],
  [45, ['tls.cert', 'the certificate of tls.cert has expired']],
  [46, ['tls.cert', 'it objects to the certificate of tls.cert']],
  [48, ['tls.cert', 'it does not know who issued the certificate of tls.cert']],
  [49, ['tls.cert', 'the certificate of tls.cert has no access']],
  [51, ['tls.cert', 'the key of tls.key does not fit its certificate, or the peer is broken']],
  [
    70,
    [
      'tls.minVersion',
      'it speaks other versions of TLS; see tls.minVersion, and tls.ciphers if that names only suites of TLS 1.3',
    ],
  ],
  [71, ['tls.ciphers', 'it wants stronger ciphers; see tls.ciphers']],
  [112, ['tls.servername', 'it does not know this name; see tls.servername']],
  [116, ['tls.cert', 'it wants a certificate of the client; give tls.cert and tls.key']],
  [120, ['tls.alpn', 'it speaks none of the protocols of tls.alpn']],
]);

/** `result`: what `handshake` or `start` answered; `fault`: its details, after TLS_FAILED; `servername`: checked in place of the host, or null. */
export function handshakeFailed(
  origin: Origin,
  result: number,
  fault: TlsFault | null,
  servername: string | null,
): TransferError {
  if (result === TLS_TRUNCATED) {
    return failed(origin, 'the peer closed the connection in the handshake; check that it speaks TLS on this port');
  }
  if (result !== TLS_FAILED || fault === null) {
    const errno = errnoName(result);
    return failed(origin, `the connection was lost in the handshake (${errno})`, { errno });
  }
  return fault.verifyCode === 0 ? faultOf(origin, fault) : certificateRefused(origin, fault, servername);
}

/** After the handshake: a record that cannot be, or an alert. */
export function connectionFailed(origin: Origin, fault: TlsFault): TransferError {
  return faultOf(origin, fault);
}

/** The same in the middle of a body, where the code is another: which alert it was, or what is wrong with the record. */
export function brokenBy({ alert, reason }: TlsFault): string {
  return alert >= 0 ? `the peer sent TLS alert ${alert}, ${reason}` : `TLS failed: ${reason}`;
}

export function protocolRefused(origin: Origin, chosen: string, offered: readonly string[]): TransferError {
  const text = shown(chosen);
  const list = offered.length === 0 ? 'none' : offered.join(', ');
  return failed(origin, `the peer chose the protocol ${text}, of which none was offered but: ${list}`, {
    limit: 'tls.alpn',
  });
}

/** No certificate came, so it is nobody in particular. */
export function unnamed(origin: Origin, cipher: string): TransferError {
  const sentence = `${origin.text} showed no certificate, which the anonymous cipher suite ${shown(cipher)} allows; leave such suites out of tls.ciphers, by !aNULL.`;
  return new TransferError('CERTIFICATE_INVALID', sentence, { phase: 'tls', limit: 'tls.ciphers' });
}

export function unpinned(origin: Origin, certificate: Buffer | null): TransferError {
  const sentence = `The certificate of ${origin.text} was refused, because its public key is none of tls.pinnedPublicKeys (${facts(certificate)}).`;
  return new TransferError('CERTIFICATE_INVALID', sentence, { phase: 'tls', limit: 'tls.pinnedPublicKeys' });
}

export function identityRefused(origin: Origin, certificate: Buffer | null, cause: Error): TransferError {
  const sentence = `The certificate of ${origin.text} was refused by tls.checkServerIdentity: ${cause.message} (${facts(certificate)}).`;
  return new TransferError('CERTIFICATE_INVALID', sentence, { phase: 'tls', limit: 'tls.checkServerIdentity', cause });
}

function certificateRefused(origin: Origin, fault: TlsFault, servername: string | null): TransferError {
  const { verifyCode, verifyDepth, certificate, leaf } = fault;
  const rule = RULES.get(verifyCode) ?? { ...UNKNOWN_RULE, what: `of this rule: ${fault.verifyText}` };
  // Those of the URL may be among them, where tls.servername is another.
  const than = servername ? ` than ${servername} of tls.servername` : '';
  const names = verifyCode === 62 || verifyCode === 64 ? `${than}: ${namesOf(leaf)}` : '';
  const which =
    verifyDepth > 0 ? `A certificate that the one of ${origin.text} leads to` : `The certificate of ${origin.text}`;
  const details = facts(certificate ?? leaf);
  return new TransferError(
    'CERTIFICATE_INVALID',
    `${which} was refused, because ${rule.what}${names} (${details}); ${rule.hint}.`,
    { phase: 'tls', limit: rule.option },
  );
}

function faultOf(origin: Origin, fault: TlsFault): TransferError {
  const { what, limit } = explained(fault);
  return failed(origin, what, { limit });
}

/** What a fault that is not about a certificate comes to, and which option has a say in it. */
export function explained({ alert, reason }: TlsFault): { readonly what: string; readonly limit?: string | undefined } {
  if (alert >= 0) {
    const [limit, hint] = ALERT_OPTIONS.get(alert) ?? [undefined, ''];
    return { what: `the peer sent alert ${alert} (${reason})${hint === '' ? '' : `: ${hint}`}`, limit };
  }
  if (/wrong version number|http request|packet length too long|record layer/.test(reason)) {
    return { what: `what the peer sent is no TLS (${reason}); should the URL begin with http?` };
  }
  if (/unsupported protocol|protocol version|no protocols available/.test(reason)) {
    const what = `the peer speaks no version of TLS that is allowed (${reason}); see tls.minVersion`;
    return { what, limit: 'tls.minVersion' };
  }
  if (/no ciphers available/.test(reason)) return { what: `${reason}; see tls.ciphers`, limit: 'tls.ciphers' };
  return { what: reason };
}

function failed(
  origin: Origin,
  what: string,
  details: { errno?: string; limit?: string | undefined } = {},
): TransferError {
  return new TransferError('TLS_FAILED', `TLS with ${origin.text} failed: ${what}.`, { phase: 'tls', ...details });
}

function facts(der: Buffer | null): string {
  const certificate = parsed(der);
  if (certificate === null) return 'a certificate that cannot be read';
  const { subject, issuer, validFrom, validTo, fingerprint256 } = certificate;
  return `subject ${shown(subject)}, issuer ${shown(issuer)}, valid from ${validFrom} to ${validTo}, SHA-256 ${fingerprint256}`;
}

function namesOf(der: Buffer | null): string {
  const names = parsed(der)?.subjectAltName;
  return names === undefined ? 'it names none (a common name does not count)' : shown(names);
}

function parsed(der: Buffer | null): X509Certificate | null {
  if (der === null) return null;
  try {
    return new X509Certificate(der);
  } catch {
    return null;
  }
}

function shown(text: string | undefined): string {
  if (text === undefined || text === '') return '(empty)';
  const line = text
    .trim()
    .replaceAll('\n', ', ')
    .replaceAll(/[^\x20-\x7e]/g, '?');
  return line.length > SHOWN_MAX ? `${line.slice(0, SHOWN_MAX)}…` : line;
}
