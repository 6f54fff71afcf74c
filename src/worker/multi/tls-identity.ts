/** Checks of the peer's certificate that OpenSSL does not make: pinned keys, and a function of the application's. */

import { createHash, X509Certificate } from 'node:crypto';
import { callCheck } from '../../protocol/identity-function.ts';
import type { CheckServerIdentity } from '../../protocol/tls-options.ts';

/** `certificate`: DER. `pins`: `sha256//` and base64. */
export function hasPinnedKey(certificate: Buffer | null, pins: readonly string[]): boolean {
  if (certificate === null) return false;
  const key = new X509Certificate(certificate).publicKey.export({ type: 'spki', format: 'der' });
  return pins.includes(`sha256//${createHash('sha256').update(key).digest('base64')}`);
}

/** What the function objects to; null: nothing. A promise of that where the function answers by one; it never rejects. */
export function checkedIdentity(
  certificate: Buffer | null,
  host: string,
  check: CheckServerIdentity,
): Error | null | Promise<Error | null> {
  return certificate === null ? new Error('the peer showed no certificate') : callCheck(check, host, certificate);
}
