/** Abort signals of requests in flight: one listener per signal, however many requests share it (a listener costs 1 us, TRAPS 20). */

/** What a signal ends: an exchange, or a call between two of them. */
export interface Abortable {
  abort(reason: unknown): void;
}

interface Watched {
  readonly abortables: Set<Abortable>;
  readonly listener: () => void;
}

export class SignalWatch {
  readonly #watched = new Map<AbortSignal, Watched>();

  add(signal: AbortSignal, abortable: Abortable): void {
    const watched = this.#watched.get(signal) ?? this.#watch(signal);
    watched.abortables.add(abortable);
  }

  remove(signal: AbortSignal, abortable: Abortable): void {
    const watched = this.#watched.get(signal);
    if (watched === undefined) return;
    watched.abortables.delete(abortable);
    if (watched.abortables.size > 0) return;
    this.#watched.delete(signal);
    try {
      signal.removeEventListener('abort', watched.listener);
    } catch {
      // A signal of the caller's own making. The listener stays and finds nothing to abort.
    }
  }

  #watch(signal: AbortSignal): Watched {
    const abortables = new Set<Abortable>();
    const listener = (): void => {
      this.#watched.delete(signal);
      for (const abortable of abortables) abortable.abort(signal.reason);
    };
    const watched = { abortables, listener };
    signal.addEventListener('abort', listener, { once: true });
    this.#watched.set(signal, watched);
    return watched;
  }
}
