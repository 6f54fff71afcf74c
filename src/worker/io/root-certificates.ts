/**
 * The root certificates that Node itself would trust, as PEM: its own, those of the file in NODE_EXTRA_CA_CERTS, and the
 * system's where Node was told to use them. Reads files; parses nothing.
 */

import { readFileSync } from 'node:fs';
import tls from 'node:tls';

/** Node 22.15 and 23.10 on answer it themselves, with every option and variable of theirs honoured. */
type WithCertificates = typeof tls & { getCACertificates?: (type: 'default') => string[] };

export function rootCertificates(): readonly string[] {
  const { getCACertificates } = tls as WithCertificates;
  if (getCACertificates !== undefined) return getCACertificates('default');
  const own = usesOpensslRoots() ? [] : tls.rootCertificates;
  return [...own, ...extraCertificates()];
}

/** `--use-openssl-ca`: the roots are where OpenSSL looks for them, in SSL_CERT_FILE and SSL_CERT_DIR. */
export function usesOpensslRoots(): boolean {
  const given = [...process.execArgv, ...(process.env.NODE_OPTIONS ?? '').split(/\s+/)];
  return given.includes('--use-openssl-ca');
}

/** Node warns of a file that it cannot read and goes on; so the roots are without it here too. */
function extraCertificates(): string[] {
  const path = process.env.NODE_EXTRA_CA_CERTS;
  if (path === undefined || path === '') return [];
  try {
    const text = readFileSync(path, 'latin1');
    return text.includes('CERTIFICATE-----') ? [text] : [];
  } catch {
    return [];
  }
}
