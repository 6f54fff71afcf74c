/**
 * Pool: `fetch` over all shards. Checks the request, picks the shard, and counts; what crosses to the shard is
 * `shard-link.ts`'s, keeping shards alive `shard-keeper.ts`'s, the request's form `fetch-request.ts`'s.
 */

import { inspect } from 'node:util';
import type { MessagePort } from 'node:worker_threads';
import { TransferError } from '../protocol/errors.ts';
import type { PaceLimits } from '../protocol/pace-options.ts';
import type { ShardConfig, ShardStats, ShardTask } from '../protocol/port/control.ts';
import type { RequestExtras } from '../protocol/port/request-extras.ts';
import { takeDetour } from './detour.ts';
import { isObserved } from './diagnostics.ts';
import { PoolDispatcher } from './dispatcher/dispatcher.ts';
import { Exchange, type ExchangeOwner } from './exchange.ts';
import { because, fetchFailure } from './failure.ts';
import { type FetchAllInput, type FetchAllOptions, type FetchAllResult, fetchAll } from './fetch-all.ts';
import { discard } from './fetch-body.ts';
import { FetchCalls } from './fetch-calls.ts';
import type { FetchInit } from './fetch-init.ts';
import { type FetchRequest, FetchRequests } from './fetch-request.ts';
import { launchInline } from './inline-shard.ts';
import { type PoolOptions, type ResolvedPoolOptions, resolvePoolOptions } from './options.ts';
import { equalShare, keyFrom, type Place, Placement } from './placement.ts';
import type { RequestLike } from './request-like.ts';
import type { FetchResponse, PoolResponse } from './response.ts';
import { SessionStore } from './session-store.ts';
import { ShardKeeper } from './shard-keeper.ts';
import { ShardThreads } from './shard-threads.ts';
import { SignalWatch } from './signal-watch.ts';
import { newIdentityName } from './tls-identity-server.ts';
import { observe, TracedExchange } from './traced-exchange.ts';
import { unreadBodies } from './unread-bodies.ts';
import { checkWarm, connectOnly, openAll, type WarmInit } from './warm.ts';

/** Counts since the pool began: started = completed + failed + aborted + inFlight. Each request of a call counts by itself, those that were redirected or made again too. */
export interface PoolStats {
  /** Requests that were begun. */
  readonly started: number;
  /** Requests whose response came whole. */
  readonly completed: number;
  /** Requests that ended with an error. */
  readonly failed: number;
  /** Requests that the caller gave up. */
  readonly aborted: number;
  /** Requests under way, bodies included. */
  readonly inFlight: number;
  /** Redirects that were followed. */
  readonly redirects: number;
  /** Requests that were made again, as `retry` asks. */
  readonly retries: number;
  /** Bodies of responses that were garbage-collected unread, in the whole process. */
  readonly unreadBodies: number;
  /** Shards lost and replaced. */
  readonly shardsLost: number;
  /** Frames of shards that were bad or late, and so ignored. */
  readonly ignoredFrames: number;
  /** One per shard that lives, in order of their numbers. */
  readonly shards: readonly ShardStats[];
}

/** `performance.now()` counts from the thread's start; all threads share the clock that this leads to (CLOCK_MONOTONIC). */
const MONOTONIC_OFFSET_MS = Number(process.hrtime.bigint() / 1000n) / 1000 - performance.now();

/** `fetch` over all cores: worker threads ("shards"), each with a multi handle and an event loop of its own. It keeps connections and reuses them; make one per program, and close it when it is done. */
export class Pool {
  readonly #options: ResolvedPoolOptions;
  readonly #requests: FetchRequests;
  readonly #placement: Placement;
  readonly #threads: ShardThreads | null;
  readonly #keepers: ShardKeeper[];
  readonly #signals = new SignalWatch();
  readonly #calls: FetchCalls;
  #state: 'open' | 'closing' | 'closed' = 'open';
  #started = 0;
  #completed = 0;
  #failed = 0;
  #aborted = 0;
  #inFlight = 0;
  /** Called when nothing is in flight any more, while closing. */
  #onQuiet: (() => void) | null = null;
  #ended: Promise<void> | null = null;
  #dispatcher: PoolDispatcher | null = null;

  /** Throws TransferError INVALID_ARGUMENT that names the option. Its threads begin at once. */
  constructor(options: PoolOptions = {}) {
    this.#options = resolvePoolOptions(options);
    const { shards, connections, placement, timeouts, policies } = this.#options;
    this.#requests = new FetchRequests(timeouts, this.#options.decompress, policies, this.#options.connecting);
    this.#calls = new FetchCalls(this, this.#signals, timeouts);
    this.#threads = shards === 0 ? null : new ShardThreads(shards);
    const launch = this.#launcher();
    const count = Math.max(shards, 1);
    const identityCheck = this.#options.checkServerIdentity === null ? null : newIdentityName();
    const sessions = count > 1 ? new SessionStore(count) : null;
    this.#keepers = Array.from(
      { length: count },
      (_, shard) => new ShardKeeper(this.#configOf(shard, count, identityCheck), launch, this.#options, sessions),
    );
    this.#placement = new Placement(
      count,
      connections.perOrigin,
      placement,
      (shard) => (this.#keepers[shard] as ShardKeeper).isAlive,
    );
  }

  /**
   * As WHATWG fetch: a string, a URL or a Request of any class, and an init; answers a Response. Never throws: what is wrong rejects. Failures are
   * `TypeError('fetch failed')` with a `TransferError` as `cause` and its `code`; an aborted signal rejects with its reason.
   */
  readonly fetch = (input: string | URL | RequestLike, init?: FetchInit | null): Promise<FetchResponse> => {
    let request: FetchRequest;
    let key: string;
    try {
      request = this.#requests.prepare(input, init);
      key = request.target.isLocal ? '' : this.#keyOf(request);
      if (request.signal?.aborted) {
        // Who gives the body hears of it too (Fetch §4.1).
        void discard(request.body, request.signal.reason);
        return Promise.reject(request.signal.reason);
      }
    } catch (error) {
      return Promise.reject(fetchFailure(error));
    }
    if (request.takesDetour) return takeDetour(request, (ready) => this.#fetch(ready, key));
    return this.#fetch(request, key);
  };

  /**
   * Opens `count` connections to the origin of a URL ahead of their requests: looked up, connected, TLS set up; spread over the shards as as
   * many requests would be. They lie idle until used, for `connections.idleMs` at most. Answers how many it opened: fewer where `perOrigin`
   * or `total` leave no room, or where some failed. Rejects as `fetch` does, where none could be opened. Default 1.
   */
  async warm(origin: string | URL, count = 1, init?: WarmInit): Promise<number> {
    let opening: FetchRequest;
    let key: string;
    let wanted: number;
    try {
      wanted = checkWarm(count, init, this.#options.connections);
      opening = connectOnly(this.#requests.prepare(origin, init ?? {}));
      key = this.#keyOf(opening);
    } catch (error) {
      throw fetchFailure(error);
    }
    const { signal } = opening;
    signal?.throwIfAborted();
    return openAll(wanted, signal, () => new Promise((resolve, reject) => this.#send(opening, key, resolve, reject)));
  }

  /**
   * `fetch` of many inputs, `concurrency` at a time: an async iterable of `{ index, input, status: 'fulfilled', value }` or `{ …, status: 'rejected', reason }`
   * in the order in which they settle. Inputs are taken only when there is room, and results that nobody takes hold new requests back. When the
   * inputs throw, what is under way is still given, then the error. Leaving the loop aborts what is under way. Throws TransferError
   * INVALID_ARGUMENT that names the argument.
   */
  fetchAll<Input extends FetchAllInput>(
    inputs: Iterable<Input | PromiseLike<Input>> | AsyncIterable<Input>,
    options?: FetchAllOptions,
  ): AsyncGenerator<FetchAllResult<Input>, undefined, undefined> {
    return fetchAll(this.fetch, inputs, options);
  }

  /**
   * The pool as an undici Dispatcher, for `fetch(url, { dispatcher })` of the runtime, `setGlobalDispatcher` and undici's interceptors; always the
   * same object. Requests go out and responses come as they are: nothing is decoded, followed or made again. See docs/undici.md.
   */
  dispatcher(): PoolDispatcher {
    this.#dispatcher ??= new PoolDispatcher({
      begin: (key, make) => this.#begin(key, make),
      close: () => this.close(),
      destroy: (reason) => this.destroy(reason),
      perOrigin: this.#options.connections.perOrigin,
      timeouts: this.#options.timeouts,
      proxy: this.#options.connecting.proxy,
      policies: this.#options.policies,
      placement: this.#options.placement,
    });
    return this.#dispatcher;
  }

  /** What each shard is doing and has done. */
  async stats(): Promise<PoolStats> {
    // A shard that ends while it is asked is left out: its successor has done nothing yet.
    const answers = await Promise.all(
      this.#keepers.map((keeper) => keeper.stats().catch((): ShardStats | null => null)),
    );
    return {
      started: this.#started,
      completed: this.#completed,
      failed: this.#failed,
      aborted: this.#aborted,
      inFlight: this.#inFlight,
      redirects: this.#calls.redirects,
      retries: this.#calls.retries,
      unreadBodies: unreadBodies(),
      shardsLost: this.#keepers.reduce((sum, keeper) => sum + keeper.deaths, 0),
      ignoredFrames: this.#keepers.reduce((sum, keeper) => sum + keeper.ignoredFrames, 0),
      shards: answers.filter((answer) => answer !== null),
    };
  }

  /** Takes no more requests, waits for those in flight (their bodies included), then ends the threads. May be called twice. */
  async close(): Promise<void> {
    if (this.#state === 'open') this.#state = 'closing';
    // Looked at again when nothing is in flight: what came last may have been a redirect.
    while (!this.#isQuiet && this.#ended === null) {
      await new Promise<void>((resolve) => {
        const before = this.#onQuiet;
        this.#onQuiet = () => {
          before?.();
          resolve();
        };
      });
    }
    await this.#end();
  }

  /** Cuts what is in flight, which fails with POOL_CLOSED and `reason` as its cause, and ends the threads. May be called twice. */
  async destroy(reason?: unknown): Promise<void> {
    this.#state = 'closed';
    this.#calls.failAll(() => poolClosed(reason));
    for (const keeper of this.#keepers) {
      for (const exchange of [...keeper.exchanges()]) exchange.fail(poolClosed(reason));
    }
    await this.#end();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  [inspect.custom](_depth: number, options: object): string {
    const { shards, connections, placement } = this.#options;
    const view = {
      state: this.#state,
      started: this.#started,
      completed: this.#completed,
      failed: this.#failed,
      aborted: this.#aborted,
      inFlight: this.#inFlight,
      placement,
      connections,
      shards: this.#keepers.map((keeper, shard) => ({
        shard,
        state: keeper.state,
        inFlight: keeper.inFlight,
        lost: keeper.deaths,
      })),
    };
    return `Pool(${shards === 0 ? 'in this thread' : `${shards} shards`}) ${inspect(view, options)}`;
  }

  /** @internal An exchange's owner hears of its end. */
  exchangeOver(exchange: Exchange): void {
    const { request, place, rank, outcome } = exchange;
    this.#placement.release(place, rank);
    if (request.signal !== null) this.#signals.remove(request.signal, exchange);
    this.#inFlight--;
    if (outcome === 'completed') this.#completed++;
    else if (outcome === 'failed') this.#failed++;
    else this.#aborted++;
    this.#tellIfQuiet();
  }

  /** @internal */
  redirected(
    request: FetchRequest,
    response: PoolResponse,
    resolve: (response: FetchResponse) => void,
    reject: (error: unknown) => void,
  ): void {
    this.#calls.continueAfter(request, response, resolve, reject);
  }

  /** @internal Sends one request of a call that takes several. */
  sendFor(request: FetchRequest, resolve: (response: FetchResponse) => void, reject: (error: unknown) => void): void {
    try {
      this.#send(request, this.#keyOf(request), resolve, reject, 'closing');
    } catch (error) {
      reject(fetchFailure(error));
    }
  }

  /** @internal */
  callOver(): void {
    this.#tellIfQuiet();
  }

  /** @internal Sends an exchange again, on another shard than the one that died. */
  replay(exchange: Exchange): boolean {
    if (!exchange.request.policies.retry.shardLost || this.#state === 'closed') return false;
    const { place, rank } = exchange;
    const shard = this.#placement.choose(place);
    // Without a new place it keeps its old one, which its failure releases.
    if (shard < 0) return false;
    this.#placement.release(place, rank);
    exchange.rank = this.#placement.rank;
    this.#startOn(shard, exchange);
    return true;
  }

  get #isQuiet(): boolean {
    return this.#inFlight === 0 && this.#calls.size === 0;
  }

  #tellIfQuiet(): void {
    if (!this.#isQuiet) return;
    const told = this.#onQuiet;
    this.#onQuiet = null;
    told?.();
  }

  #beginCall(
    request: FetchRequest,
    resolve: (response: FetchResponse) => void,
    reject: (error: unknown) => void,
  ): void {
    if (this.#state === 'open') this.#calls.begin(request, resolve, reject);
    else this.#refuse(request, reject, poolClosed(undefined));
  }

  #fetch(request: FetchRequest, key: string): Promise<FetchResponse> {
    return new Promise((resolve, reject) => {
      if (request.policies.isSingle) this.#send(request, key, resolve, reject);
      else this.#beginCall(request, resolve, reject);
    });
  }

  /** `until`: the state in which it is still sent. A call that takes several requests goes on while the pool closes. */
  #send(
    request: FetchRequest,
    key: string,
    resolve: (response: FetchResponse) => void,
    reject: (error: unknown) => void,
    until: 'open' | 'closing' = 'open',
  ): void {
    if (this.#state !== 'open' && this.#state !== until) {
      this.#refuse(request, reject, poolClosed(undefined));
      return;
    }
    const place = this.#placement.placeOf(key);
    const exchange = isObserved()
      ? this.#observed(request, place, resolve, reject)
      : new Exchange(this, request, place, resolve, reject);
    // First what is the caller's and may throw: then nothing is counted yet, and the promise rejects with it.
    if (request.signal !== null) this.#signals.add(request.signal, exchange);
    const shard = this.#placement.choose(place);
    if (shard < 0) {
      if (request.signal !== null) this.#signals.remove(request.signal, exchange);
      const error = this.#noShardLives();
      if (exchange instanceof TracedExchange) exchange.notSent(error);
      this.#refuse(request, reject, error);
      return;
    }
    exchange.rank = this.#placement.rank;
    this.#started++;
    this.#inFlight++;
    this.#startOn(shard, exchange);
    if (exchange instanceof TracedExchange) exchange.wasSent();
  }

  #observed(
    given: FetchRequest,
    place: Place,
    resolve: (response: FetchResponse) => void,
    reject: (error: unknown) => void,
  ): TracedExchange {
    const { request, trace } = observe(given);
    return new TracedExchange(this, request, place, resolve, reject, trace);
  }

  /** One of the dispatcher's. Throws TransferError; else `make`, which must not throw, has made an exchange that is on its way. */
  #begin(key: string, make: (place: Place, owner: ExchangeOwner) => Exchange): void {
    if (this.#state !== 'open') throw poolClosed(undefined);
    const place = this.#placement.placeOf(key);
    const shard = this.#placement.choose(place);
    if (shard < 0) throw this.#noShardLives();
    const { rank } = this.#placement;
    const exchange = make(place, this);
    exchange.rank = rank;
    this.#started++;
    this.#inFlight++;
    this.#startOn(shard, exchange);
  }

  #startOn(shard: number, exchange: Exchange): void {
    const startMs = performance.now() + MONOTONIC_OFFSET_MS;
    (this.#keepers[shard] as ShardKeeper).start(exchange, startMs, this.#placement.share(exchange.rank));
  }

  #keyOf(request: FetchRequest): string {
    const { placement } = this.#options;
    return typeof placement === 'function' ? keyFrom(placement, request.target.url) : request.target.origin;
  }

  /** Who gives the body hears that nobody will read it. */
  #refuse(request: FetchRequest, reject: (error: unknown) => void, error: TransferError): void {
    error.url = request.target.href;
    reject(fetchFailure(error));
    void discard(request.body);
  }

  #noShardLives(): TransferError {
    const death = this.#keepers.map((keeper) => keeper.lastDeath).find((each) => each !== undefined);
    const cause = death ?? this.#threads?.lastError;
    return new TransferError(
      'SHARD_LOST',
      `No worker thread lives: each ended several times within seconds and the pool waits before it tries again${because(cause)}`,
      { cause },
    );
  }

  #launcher(): (task: ShardTask<MessagePort>) => ReturnType<typeof launchInline> {
    const threads = this.#threads;
    return threads === null ? launchInline : (task) => threads.launch(task);
  }

  #configOf(shard: number, count: number, identityCheck: string | null): ShardConfig {
    const { connecting, connections, decompress, timeouts, limits, lookupTtlMs, pace, resolve, route } = this.#options;
    return {
      shard,
      shards: count,
      totalConnections: equalShare(connections.total, count, shard),
      queueLength: equalShare(connections.queueLength, count, shard),
      unreadBytes: Math.ceil(connections.unreadBytes / count),
      idleMs: connections.idleMs,
      extras: usualExtras(connections.reuse, pace, decompress),
      lookupTtlMs,
      resolve,
      route,
      proxy: connecting.proxy,
      guard: connecting.guard,
      identityCheck,
      timeouts,
      limits,
    };
  }

  #end(): Promise<void> {
    this.#state = 'closed';
    this.#ended ??= this.#endShards();
    return this.#ended;
  }

  async #endShards(): Promise<void> {
    await Promise.all(this.#keepers.map((keeper) => keeper.close()));
    await this.#threads?.destroy();
  }
}

function poolClosed(reason: unknown): TransferError {
  return new TransferError('POOL_CLOSED', 'The pool is closed; make a new one to send more requests.', {
    cause: reason,
  });
}

/** What each request gets that does not say otherwise. */
function usualExtras(reuse: boolean, pace: PaceLimits | null, decompress: boolean): RequestExtras | null {
  if (reuse && pace === null && decompress) return null;
  // Both: a request that says forbidReuse: false leaves a used connection behind, which the next must not take.
  const once = reuse ? {} : { freshConnect: true, forbidReuse: true };
  return { ...once, ...(pace === null ? {} : { pace }), ...(decompress ? {} : { decompress }) };
}
