/**
 * Subresource Integrity (https://www.w3.org/TR/SRI/ §3.3): what a body must hash to, and whether it does. Reading the body is not
 * done here.
 *
 *     integrity-metadata = *WSP hash-with-options *( 1*WSP hash-with-options ) *WSP
 *     hash-with-options  = ( "sha256" / "sha384" / "sha512" ) "-" base64-value [ "?" *VCHAR ]
 */

import { createHash } from 'node:crypto';
import { invalidArgument, TransferError } from '../protocol/errors.ts';
import { describe } from '../protocol/options.ts';

/** Weakest first. */
const ALGORITHMS = ['sha256', 'sha384', 'sha512'];

export interface Integrity {
  /** The strongest that was named. */
  readonly algorithm: string;
  /** The body must have one of them. */
  readonly digests: readonly Buffer[];
}

/**
 * null: nothing is asked for. Throws TransferError INVALID_ARGUMENT. Where browsers check nothing when they know none of the algorithms,
 * that is refused: it is a slip, and who asks for a check must not go without.
 */
export function parseIntegrity(metadata: unknown): Integrity | null {
  if (metadata === undefined || metadata === '') return null;
  if (typeof metadata !== 'string') {
    throw invalidArgument('integrity', `integrity must be a string, not ${describe(metadata)}.`);
  }
  let strongest = -1;
  let digests: Buffer[] = [];
  for (const item of metadata.split(/[\t\n\f\r ]+/)) {
    const [, name = '', digest = ''] = /^(sha\d+)-([^?]*)/i.exec(item) ?? [];
    const strength = ALGORITHMS.indexOf(name.toLowerCase());
    if (strength < 0 || strength < strongest) continue;
    if (strength > strongest) digests = [];
    strongest = strength;
    // Takes both alphabets of base64, with padding or without.
    digests.push(Buffer.from(digest, 'base64'));
  }
  const algorithm = ALGORITHMS[strongest];
  if (algorithm !== undefined) return { algorithm, digests };
  if (/^[\t\n\f\r ]*$/.test(metadata)) return null;
  throw invalidArgument(
    'integrity',
    `integrity has no hash that can be checked: it must be sha256-, sha384- or sha512- and a hash in base64, not ${describe(metadata)}.`,
  );
}

/** Throws TransferError BAD_RESPONSE when the body is not what was asked for. */
export function checkIntegrity({ algorithm, digests }: Integrity, body: Uint8Array): void {
  const digest = createHash(algorithm).update(body).digest();
  if (digests.some((wanted) => wanted.equals(digest))) return;
  throw integrityFailure(
    `The body's hash is ${algorithm}-${digest.toString('base64')}, which integrity does not allow.`,
  );
}

export function integrityFailure(sentence: string): TransferError {
  return new TransferError('BAD_RESPONSE', sentence, { limit: 'integrity', phase: 'body' });
}
