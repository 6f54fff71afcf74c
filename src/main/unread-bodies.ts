/**
 * Responses that nobody read and nobody holds any more: their connection is taken back, they are counted, and the program is
 * warned once. Only the handle of a body is watched; whoever holds the response or its stream holds that.
 */

import type { BodySource } from './body-source.ts';

/** What responses and streams hold of a body; see above. */
export class BodyHandle {
  readonly source: BodySource;

  constructor(source: BodySource) {
    this.source = source;
    registry.register(this, source);
  }
}

let count = 0;

/** Bodies taken back because their response was garbage. */
export function unreadBodies(): number {
  return count;
}

const registry = new FinalizationRegistry<BodySource>((source) => {
  if (source.claimed) return;
  if (!source.isOpen) {
    source.drop();
    return;
  }
  count++;
  if (count === 1) {
    process.emitWarning(
      'A response was garbage-collected before its body was read or cancelled; until then it kept a connection. Read every body, or call response.body.cancel().',
      { type: 'UnreadBodyWarning', code: 'SHARDFETCH_UNREAD_BODY' },
    );
  }
  source.cancel();
});
