/** What callers and callbacks threw, as text: it may be anything. Never throws, so that no failure hides behind the telling of it. */

import { isError } from './built-ins.ts';

/** An error's message, or the value itself. */
export function thrownText(thrown: unknown): string {
  try {
    return isError(thrown) ? `${thrown.message}` : String(thrown);
  } catch {
    // An object without prototype, a `toString` that throws.
    return `a value of type ${typeof thrown} that has no text`;
  }
}
