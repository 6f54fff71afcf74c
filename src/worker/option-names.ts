/**
 * The engine's names of options, as the caller of a pool knows them: what a shard reports of a failed transfer must name an option
 * that the pool has. Options that have one name in both are not listed.
 */

import { TransferError } from '../protocol/errors.ts';

/** By the engine's `limit`: the pool's, and what the engine's sentence calls it and its companions. */
const POOL_NAMES: ReadonlyMap<string, { readonly limit: string; readonly words: RegExp; readonly prefix: string }> =
  new Map([
    ['family', { limit: 'dns.family', words: /(?<=the option )family\b/g, prefix: 'dns.' }],
    [
      'lowSpeedBytesPerSecond',
      { limit: 'pace.lowSpeedBytesPerSecond', words: /\blowSpeed(BytesPerSecond|Ms)\b/g, prefix: 'pace.' },
    ],
  ]);

/** The error itself, or one like it that names the pool's option. */
export function withPoolNames(error: unknown): unknown {
  if (!TransferError.is(error) || error.limit === undefined) return error;
  const names = POOL_NAMES.get(error.limit);
  if (names === undefined) return error;
  const { code, message, phase, errno, status, url, cause } = error;
  const sentence = message.replace(names.words, (word) => names.prefix + word);
  return new TransferError(code, sentence, { phase, errno, status, url, cause, limit: names.limit });
}
