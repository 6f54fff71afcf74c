/**
 * A look-up function of the application's, in the resolver's place: its type, and making sense of what it answers. When it is
 * called, and what its answer sets going, is `lookups.ts`'s.
 */

import { isIP } from 'node:net';
import { TransferError } from './errors.ts';
import { describe } from './options.ts';
import type { IpFamily } from './route-options.ts';

/** An address as text, or as Node's `dns.lookup` answers it with `all: true`. */
export type LookupAddress = string | { readonly address: string };

/** Called once, now or later; what comes after the first call is ignored. */
export type LookupDone = (error: unknown, addresses?: readonly LookupAddress[]) => void;

/**
 * Finds the numeric addresses of a host; `family` 0 asks for all, 4 and 6 for one kind. What it throws fails the look-up. Node's own:
 * `(host, family, done) => dns.lookup(host, { family, all: true }, done)`. It may answer by a promise instead: of what `done` takes as
 * addresses, or a rejection that fails the look-up. A promise of undefined, and every other value, leaves the answer to `done`.
 */
export type LookupFunction = (host: string, family: IpFamily, done: LookupDone) => unknown;

/** Names of failures that say there is no such name or address, as Node and getaddrinfo spell them. Others may pass. */
const LASTING: ReadonlySet<string> = new Set(['ENOTFOUND', 'ENODATA', 'EAI_NONAME', 'EAI_NODATA', 'EAI_ADDRFAMILY']);

/** Whether a failure says that there is no such name, so that to ask again at once is no use. */
export function isLasting(errno: string | undefined): boolean {
  return errno !== undefined && LASTING.has(errno);
}

/** Asks the function. `answer` may be called more than once, and before this returns; the first call counts. */
export function callLookup(
  lookup: LookupFunction,
  host: string,
  family: IpFamily,
  answer: (found: readonly string[] | TransferError) => void,
): void {
  try {
    const returned = lookup(host, family, (error, addresses) => answer(readAnswer(host, family, error, addresses)));
    if (isThenable(returned)) void answerFrom(returned, host, family, answer);
  } catch (error) {
    answer(readAnswer(host, family, error ?? new Error('The lookup function threw nothing.'), null));
  }
}

async function answerFrom(
  promise: PromiseLike<unknown>,
  host: string,
  family: IpFamily,
  answer: (found: readonly string[] | TransferError) => void,
): Promise<void> {
  let found: readonly string[] | TransferError;
  try {
    const addresses = await promise;
    if (addresses === undefined) return;
    found = readAnswer(host, family, null, addresses);
  } catch (error) {
    found = readAnswer(host, family, error ?? new Error('The lookup function rejected with nothing.'), null);
  }
  answer(found);
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function';
}

/** The addresses in what a look-up function answered; or COULDNT_RESOLVE with what is wrong as its cause. A TransferError stays what it is. */
function readAnswer(
  host: string,
  family: IpFamily,
  error: unknown,
  answer: unknown,
): readonly string[] | TransferError {
  if (error !== null && error !== undefined) return TransferError.is(error) ? error : failed(host, error);
  const addresses = new Set<string>();
  for (const one of Array.isArray(answer) ? answer : [answer]) {
    const address: unknown = typeof one === 'object' && one !== null && 'address' in one ? one.address : one;
    const kind = typeof address === 'string' ? isIP(address) : 0;
    if (kind === 0)
      return failed(host, new TypeError(`The lookup function answered ${describe(address)}, which is no address.`));
    if (family === 0 || kind === family) addresses.add(address as string);
  }
  return addresses.size > 0 ? [...addresses] : failed(host, new Error('The lookup function answered no such address.'));
}

function failed(host: string, cause: unknown): TransferError {
  const code = typeof cause === 'object' && cause !== null && 'code' in cause ? cause.code : undefined;
  const errno = typeof code === 'string' ? code : undefined;
  return new TransferError(
    'COULDNT_RESOLVE',
    `The host name ${host} could not be resolved by the lookup function${errno === undefined ? '' : ` (${errno})`}; see the cause.`,
    { phase: 'dns', errno, cause },
  );
}
