/**
 * What a pool and its requests say of proxies and guards: checked, and in the form that crosses to shards, which choose and judge
 * for each connection. The environment is read once, when the pool is made.
 */

import { checkGuard, type GuardFunction, type GuardGiven } from '../protocol/guard-options.ts';
import type { RequestExtras } from '../protocol/port/request-extras.ts';
import type { Environment } from '../protocol/proxy-env.ts';
import { type ProxyGiven, type ProxyRules, resolveProxy } from '../protocol/proxy-options.ts';
import { GuardFunctions } from './guard-server.ts';

/** How connections are made, of a pool or of one request. */
export interface ConnectingOptions {
  /**
   * Through which proxy (CURLOPT_PROXY): a URL, `ProxyOptions`, `'env'` for curl's variables as they were when the pool was made; null
   * or false: none. Default: none; of a request: the pool's.
   */
  proxy?: ProxyGiven | undefined;
  /**
   * Which addresses may be connected to: `'public-only'`, or a function on the main thread that is asked about each one before it is
   * connected to. Default: all; of a request: the pool's.
   */
  guard?: GuardGiven | undefined;
}

export const CONNECTING_NAMES: readonly (keyof ConnectingOptions)[] = ['proxy', 'guard'];

export class Connecting {
  /** null: none. */
  readonly proxy: ProxyRules | null;
  /** The name of the guard; null: there is none. */
  readonly guard: string | null;
  readonly guards = new GuardFunctions();
  readonly #environment: Environment;
  /** Kept alive for as long as the pool. */
  readonly #guard: GuardGiven | null;

  /** Throws TransferError INVALID_ARGUMENT that names the option. */
  constructor({ proxy, guard }: ConnectingOptions, environment: Environment = process.env) {
    this.#environment = { ...environment };
    this.proxy = resolveProxy(proxy, 'proxy', this.#environment);
    this.#guard = guard === undefined ? null : checkGuard(guard);
    this.guard = this.#guard === null ? null : this.guards.nameOf(this.#guard);
  }

  /** `extras` with what a request says of its own. Throws TransferError INVALID_ARGUMENT that names the option. */
  withOwn(extras: RequestExtras | null, { proxy, guard }: ConnectingOptions): RequestExtras | null {
    if (proxy === undefined && guard === undefined) return extras;
    return {
      ...extras,
      ...(proxy === undefined ? {} : { proxy: resolveProxy(proxy, 'proxy', this.#environment) }),
      ...(guard === undefined ? {} : { guard: this.guards.nameOf(checkGuard(guard)) }),
    };
  }
}

/** What a request must hold for its guard to live; null: nothing. */
export function guardOf({ guard }: ConnectingOptions): GuardFunction | null {
  return typeof guard === 'function' ? guard : null;
}
