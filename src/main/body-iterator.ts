/** Reading what a caller gives in pieces, whatever kind of stream it is, and telling it in time that nobody reads any more. */

/**
 * What gives the pieces. `return`, with the reason, tells the source that nobody reads it any more, at once: the iterators of streams wait with
 * that for a read under way, so a stream that has nothing to give would never hear of it.
 */
export function iteratorOf(source: AsyncIterable<unknown>): AsyncIterator<unknown> {
  const { getReader, destroy } = source as { getReader?: unknown; destroy?: unknown };
  if (typeof getReader === 'function') return readingOf(source as ReadableStream);
  const iterator = source[Symbol.asyncIterator]();
  if (typeof destroy !== 'function') return iterator;
  return {
    next: () => iterator.next(),
    return: (): Promise<IteratorResult<unknown>> => {
      destroy.call(source);
      return Promise.resolve({ done: true, value: undefined });
    },
  };
}

function readingOf(stream: ReadableStream): AsyncIterator<unknown> {
  const reader = stream.getReader();
  return {
    next: () => reader.read() as Promise<IteratorResult<unknown>>,
    return: async (reason): Promise<IteratorResult<unknown>> => {
      // Whoever holds the stream finds it cancelled, not locked by us.
      const cancelled = reader.cancel(reason);
      reader.releaseLock();
      await cancelled;
      return { done: true, value: undefined };
    },
  };
}

/** Tells a source that nobody reads it any more; `reason`: what the caller aborted with. What it does then is its own affair. */
export async function letGo(iterator: AsyncIterator<unknown>, reason?: unknown): Promise<void> {
  try {
    await iterator.return?.(reason);
  } catch {
    // Nobody waits for it.
  }
}
