/**
 * Guards that are functions run on the main thread, because functions cannot cross: a shard knows each by a name, and asks over a
 * port of its own (Comlink) about all addresses of a connection that it is about to open; its transfer waits, and the shard goes
 * on. When a guard is asked, and what follows, is the shard's.
 */

import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { expose } from 'comlink';
import nodeEndpoint from 'comlink/dist/esm/node-adapter.mjs';
import {
  askGuard,
  type GuardFunction,
  type GuardGiven,
  type GuardQuestion,
  PUBLIC_ONLY,
  refused,
  verdictOf,
} from '../protocol/guard-options.ts';
import type { ControlAnswer, GuardControl } from '../protocol/port/control.ts';
import { encodeError } from '../protocol/port/error-encoding.ts';

/** The guards of one pool, by the names that its shards know them by. */
export class GuardFunctions {
  readonly #names = new WeakMap<GuardFunction, string>();
  /** Whoever made a request keeps its guard alive (`FetchRequest.guard`): one per request, made anew each time, must not pile up here. */
  readonly #functions = new Map<string, WeakRef<GuardFunction>>();
  readonly #forgotten = new FinalizationRegistry((name: string) => this.#functions.delete(name));
  #lastNumber = 0;

  /** The same for the same guard, so that its requests share connections. */
  nameOf(guard: GuardGiven): string {
    if (guard === PUBLIC_ONLY) return PUBLIC_ONLY;
    let name = this.#names.get(guard);
    if (name !== undefined) return name;
    name = `function ${++this.#lastNumber}`;
    this.#names.set(guard, name);
    this.#functions.set(name, new WeakRef(guard));
    this.#forgotten.register(guard, name);
    return name;
  }

  /** The shard's end of a new port; ours ends with it. */
  openPort(): MessagePort {
    const { port1, port2 } = new MessageChannel();
    const control: GuardControl = { judge: (name, question) => this.#judge(name, question) };
    expose(control, nodeEndpoint(port1));
    // A request that waits for the answer keeps the process alive by its shard's data port; this one must not (TRAPS 9).
    port1.unref();
    return port2;
  }

  async #judge(name: string, question: GuardQuestion): Promise<ControlAnswer<readonly (string | null)[]>> {
    const guard = this.#functions.get(name)?.deref();
    if (guard === undefined) return { error: encodeError(refused(`The guard (${name}) is gone.`)) };
    const verdicts = question.addresses.map(async (address) => {
      const refusal = await ask(guard, address, question);
      return refusal === null ? null : encodeError(refusal);
    });
    return { ok: await Promise.all(verdicts) };
  }
}

async function ask(
  guard: GuardFunction,
  address: string,
  question: GuardQuestion,
): Promise<ReturnType<typeof verdictOf>> {
  try {
    return verdictOf(address, question, await askGuard(guard, address, question));
  } catch (error) {
    return verdictOf(address, question, undefined, { error });
  }
}
