/**
 * A function of the application's that checks whose certificate it is: making the certificate as Node shows it, and making sense of
 * what the function answers. When it is called, and what a refusal means, is `tls-handshake.ts`'s.
 */

import { X509Certificate } from 'node:crypto';
import { isError } from './built-ins.ts';
import { describe } from './options.ts';
import type { CheckServerIdentity, PeerCertificateInfo } from './tls-options.ts';

/** As `tls.TLSSocket.getPeerCertificate()` answers it; without the issuer's. `der`: one that OpenSSL has parsed before. */
export function describeCertificate(der: Uint8Array): PeerCertificateInfo {
  return new X509Certificate(der).toLegacyObject() as unknown as PeerCertificateInfo;
}

/** What the function objects to; null: nothing. A promise of that where the function answers by one; it never rejects. */
export function callCheck(
  check: CheckServerIdentity,
  host: string,
  der: Uint8Array,
): Error | null | Promise<Error | null> {
  try {
    const answer: unknown = check(host, describeCertificate(der));
    return isThenable(answer) ? verdictLater(answer) : verdictOf(answer);
  } catch (thrown) {
    return asError(thrown);
  }
}

async function verdictLater(answer: PromiseLike<unknown>): Promise<Error | null> {
  try {
    return verdictOf(await answer);
  } catch (thrown) {
    return asError(thrown);
  }
}

/** Only nothing is consent: who answers `false` has not meant that all is well. */
function verdictOf(answer: unknown): Error | null {
  if (answer === undefined || answer === null) return null;
  if (isError(answer)) return answer;
  return new Error(`it answered ${describe(answer)}, which is neither an Error nor undefined`);
}

function asError(thrown: unknown): Error {
  return isError(thrown) ? thrown : new Error(`it threw ${describe(thrown)}`);
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function';
}
