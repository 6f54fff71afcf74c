/** Abort signals of requests in flight: one listener per signal, however many requests share it (a listener costs 1 us, TRAPS 20). */

import type { Exchange } from './exchange.ts';

interface Watched {
  readonly exchanges: Set<Exchange>;
  readonly listener: () => void;
}

export class SignalWatch {
  readonly #watched = new Map<AbortSignal, Watched>();

  add(signal: AbortSignal, exchange: Exchange): void {
    const watched = this.#watched.get(signal) ?? this.#watch(signal);
    watched.exchanges.add(exchange);
  }

  remove(signal: AbortSignal, exchange: Exchange): void {
    const watched = this.#watched.get(signal);
    if (watched === undefined) return;
    watched.exchanges.delete(exchange);
    if (watched.exchanges.size > 0) return;
    this.#watched.delete(signal);
    try {
      signal.removeEventListener('abort', watched.listener);
    } catch {
      // A signal of the caller's own making. The listener stays and finds nothing to abort.
    }
  }

  #watch(signal: AbortSignal): Watched {
    const exchanges = new Set<Exchange>();
    const listener = (): void => {
      this.#watched.delete(signal);
      for (const exchange of exchanges) exchange.abort(signal.reason);
    };
    const watched = { exchanges, listener };
    signal.addEventListener('abort', listener, { once: true });
    this.#watched.set(signal, watched);
    return watched;
  }
}
