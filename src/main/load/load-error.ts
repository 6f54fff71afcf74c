/** Why a run did not take place, or broke off: whose fault it is, and in one sentence what to change. */

/**
 * arguments  what was asked for makes no sense
 * target     it does not resolve, refuses, or does not speak as asked
 * limits     this machine does not allow it: files, ports
 * generator  a thread that sends died
 */
export type LoadErrorKind = 'arguments' | 'target' | 'limits' | 'generator';

/** Why a run could not begin or go on. Requests that fail are no such error: the result counts them. */
export class LoadError extends Error {
  override readonly name = 'LoadError';
  readonly kind: LoadErrorKind;

  constructor(kind: LoadErrorKind, message: string, options: { cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.kind = kind;
  }
}
