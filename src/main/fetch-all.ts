/**
 * `pool.fetchAll`: many requests, so many at a time, their results in the order in which they settle. Inputs are taken from the
 * caller's iterable only when there is room for one more, and a result that nobody has taken holds a place: so memory is bounded by
 * `concurrency`, whatever the number of inputs. What a request is and how it fails is `fetch`'s.
 */

import { invalidArgument } from '../protocol/errors.ts';
import { checkInteger, checkRecord, describe } from '../protocol/options.ts';
import { type FetchInit, isSignal } from './fetch-init.ts';
import type { RequestLike } from './request-like.ts';
import type { FetchResponse } from './response.ts';

/** What `fetch` takes first, or both that it takes. */
export type FetchAllInput = string | URL | RequestLike | readonly [input: string | URL | RequestLike, init?: FetchInit];

/** How `pool.fetchAll` goes through its inputs. */
export interface FetchAllOptions {
  /** Requests under way, and results that were not taken yet, together at most. Default 64. */
  concurrency?: number | undefined;
  /** Ends the iteration: it throws `signal.reason`, and what is under way is aborted. Responses that were taken are the caller's. */
  signal?: AbortSignal | null | undefined;
  /** Called when something has settled, at most ten times a second, and once at the end. What it throws ends the iteration. */
  onProgress?: ((progress: FetchAllProgress) => void) | undefined;
}

/** Counts since the iteration began. */
export interface FetchAllProgress {
  /** Requests that were begun. */
  readonly started: number;
  /** Those whose response came. */
  readonly fulfilled: number;
  /** Those that failed. */
  readonly rejected: number;
  /** Requests whose response has not come yet. */
  readonly inFlight: number;
  /** Milliseconds since the first input was asked for. */
  readonly elapsedMs: number;
  /** Nothing more comes. */
  readonly done: boolean;
}

/** As Promise.allSettled tells it, with what it is the result of. */
export type FetchAllResult<Input extends FetchAllInput = FetchAllInput> =
  | { readonly status: 'fulfilled'; readonly index: number; readonly input: Input; readonly value: FetchResponse }
  | { readonly status: 'rejected'; readonly index: number; readonly input: Input; readonly reason: unknown };

type Fetch = (input: string | URL | RequestLike, init?: FetchInit | null) => Promise<FetchResponse>;

const CONCURRENCY_DEFAULT = 64;
const CONCURRENCY_MAX = 1_000_000;
/** Between two calls of `onProgress`. */
const PROGRESS_MS = 100;

/**
 * As much of an AbortSignal as `fetch` asks of one, with the one listener that it has: a real one with its controller takes 10 us per
 * request.
 */
class StopSignal {
  aborted = false;
  reason: unknown = undefined;
  #listener: (() => void) | null = null;

  addEventListener(_type: 'abort', listener: () => void): void {
    this.#listener = listener;
  }

  removeEventListener(): void {
    this.#listener = null;
  }

  abort(reason: unknown): void {
    if (this.aborted) return;
    this.aborted = true;
    this.reason = reason;
    this.#listener?.();
  }
}

/** Aborted by the iteration, and by the request's own signal. Listens as long as it is listened to, unlike AbortSignal.any. */
class JoinedSignal {
  readonly #own: AbortSignal;
  readonly #stop: StopSignal;

  constructor(own: AbortSignal, stop: StopSignal) {
    this.#own = own;
    this.#stop = stop;
  }

  get aborted(): boolean {
    return this.#own.aborted || this.#stop.aborted;
  }

  get reason(): unknown {
    return this.#own.aborted ? this.#own.reason : this.#stop.reason;
  }

  addEventListener(type: 'abort', listener: () => void): void {
    this.#own.addEventListener(type, listener, { once: true });
    this.#stop.addEventListener(type, listener);
  }

  removeEventListener(type: 'abort', listener: () => void): void {
    this.#own.removeEventListener(type, listener);
    this.#stop.removeEventListener();
  }
}

/** One input on its way to its result. */
interface Job<Input extends FetchAllInput> {
  readonly index: number;
  readonly input: Input;
  readonly stop: StopSignal;
  result: FetchAllResult<Input> | null;
}

interface Waiter<Input extends FetchAllInput> {
  resolve(result: IteratorResult<FetchAllResult<Input>, undefined>): void;
  reject(error: unknown): void;
}

/** Throws TransferError INVALID_ARGUMENT that names the argument. Nothing is taken from `inputs` before the first result is asked for. */
export function fetchAll<Input extends FetchAllInput>(
  fetch: Fetch,
  inputs: Iterable<Input | PromiseLike<Input>> | AsyncIterable<Input>,
  options: FetchAllOptions = {},
): AsyncGenerator<FetchAllResult<Input>, undefined, undefined> {
  const { concurrency, signal, onProgress } = resolveOptions(options);
  return new FetchAll(fetch, checkInputs<Input>(inputs), concurrency, signal, onProgress);
}

/**
 *   open    inputs are taken and results given
 *   ending  the inputs have ended, or failed with `#failure`: what is under way is still given
 *   over    nothing more is given: it has ended, failed, or was left
 */
class FetchAll<Input extends FetchAllInput> implements AsyncGenerator<FetchAllResult<Input>, undefined, undefined> {
  #state: 'open' | 'ending' | 'over' = 'open';
  readonly #fetch: Fetch;
  readonly #inputs: AsyncIterable<Input> | Iterable<Input | PromiseLike<Input>>;
  #iterator: Iterator<Input | PromiseLike<Input>> | AsyncIterator<Input> | null = null;
  readonly #concurrency: number;
  readonly #signal: AbortSignal | null;
  readonly #onProgress: ((progress: FetchAllProgress) => void) | null;
  /** Under way. */
  readonly #jobs = new Set<Job<Input>>();
  /** Settled and not taken, in order; those before `#taken` were. */
  #settled: Job<Input>[] = [];
  #taken = 0;
  readonly #waiters: Waiter<Input>[] = [];
  /** The iterator was asked and has not answered. */
  #asking = false;
  /** True inside `#fill`, which the iterator's own code may come back to. */
  #filling = false;
  #failure: { readonly error: unknown } | null = null;
  readonly #onAbort = (): void => this.#fail((this.#signal as AbortSignal).reason);

  #started = 0;
  #fulfilled = 0;
  #rejected = 0;
  #beganMs = 0;
  #toldMs = 0;

  constructor(
    fetch: Fetch,
    inputs: AsyncIterable<Input> | Iterable<Input | PromiseLike<Input>>,
    concurrency: number,
    signal: AbortSignal | null,
    onProgress: ((progress: FetchAllProgress) => void) | null,
  ) {
    this.#fetch = fetch;
    this.#inputs = inputs;
    this.#concurrency = concurrency;
    this.#signal = signal;
    this.#onProgress = onProgress;
  }

  next(): Promise<IteratorResult<FetchAllResult<Input>, undefined>> {
    if (this.#iterator === null && this.#state === 'open') this.#begin();
    const result = this.#take();
    if (result !== null) {
      this.#fill();
      return Promise.resolve({ done: false, value: result });
    }
    if (this.#state === 'over') return this.#afterwards();
    return new Promise((resolve, reject) => {
      this.#waiters.push({ resolve, reject });
      this.#fill();
    });
  }

  /** The caller leaves: what is under way is aborted, the inputs are let go. */
  return(): Promise<IteratorResult<FetchAllResult<Input>, undefined>> {
    this.#end(new DOMException('The iteration was left.', 'AbortError'));
    return Promise.resolve({ done: true, value: undefined });
  }

  throw(error: unknown): Promise<IteratorResult<FetchAllResult<Input>, undefined>> {
    this.#end(error);
    return Promise.reject(error);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.return();
  }

  #begin(): void {
    const signal = this.#signal;
    this.#beganMs = performance.now();
    this.#toldMs = this.#beganMs;
    if (signal?.aborted) {
      this.#fail(signal.reason);
      return;
    }
    signal?.addEventListener('abort', this.#onAbort, { once: true });
    try {
      this.#iterator =
        Symbol.asyncIterator in this.#inputs ? this.#inputs[Symbol.asyncIterator]() : this.#inputs[Symbol.iterator]();
    } catch (error) {
      this.#fail(error);
    }
  }

  /** Takes inputs as long as there is room for what comes of them. */
  #fill(): void {
    if (this.#filling) return;
    this.#filling = true;
    try {
      while (this.#state === 'open' && !this.#asking && this.#places < this.#concurrency) this.#ask();
    } finally {
      this.#filling = false;
    }
    this.#endIfQuiet();
  }

  get #places(): number {
    return this.#jobs.size + this.#settled.length - this.#taken;
  }

  #ask(): void {
    let answer: IteratorResult<Input | PromiseLike<Input>> | PromiseLike<IteratorResult<Input>>;
    try {
      answer = (this.#iterator as Iterator<Input>).next();
      if (isPromiseLike(answer)) {
        this.#wait(answer as PromiseLike<IteratorResult<Input>>);
      } else if (answer.done) this.#inputsEnded();
      else if (isPromiseLike(answer.value)) {
        this.#wait(Promise.resolve(answer.value as PromiseLike<Input>).then((value) => ({ done: false, value })));
      } else this.#start(answer.value as Input);
    } catch (error) {
      this.#inputsFailed(error);
    }
  }

  #wait(answer: PromiseLike<IteratorResult<Input>>): void {
    this.#asking = true;
    answer.then(
      ({ done, value }) => {
        this.#asking = false;
        if (this.#state !== 'open') return;
        if (done) this.#inputsEnded();
        else this.#start(value);
        this.#fill();
      },
      (error: unknown) => {
        this.#asking = false;
        if (this.#state !== 'open') return;
        this.#inputsFailed(error);
        this.#endIfQuiet();
      },
    );
  }

  #inputsEnded(): void {
    this.#iterator = null;
    if (this.#state === 'open') this.#state = 'ending';
  }

  /** What is under way is still given, and then the error: nothing that was sent is lost. */
  #inputsFailed(error: unknown): void {
    this.#inputsEnded();
    this.#failure ??= { error };
  }

  #start(input: Input): void {
    const job: Job<Input> = { index: this.#started++, input, stop: new StopSignal(), result: null };
    this.#jobs.add(job);
    this.#send(input, job.stop).then(
      (value) => this.#settle(job, { status: 'fulfilled', index: job.index, input, value }),
      (reason: unknown) => this.#settle(job, { status: 'rejected', index: job.index, input, reason }),
    );
  }

  /** `fetch` itself never throws; what reads like none of what it takes may. */
  async #send(input: Input, stop: StopSignal): Promise<FetchResponse> {
    const [resource, init] = isPair(input) ? input : ([input, undefined] as const);
    return this.#fetch(resource as string, withSignal(resource, init, stop));
  }

  #settle(job: Job<Input>, result: FetchAllResult<Input>): void {
    this.#jobs.delete(job);
    if (this.#state === 'over') return;
    if (result.status === 'fulfilled') this.#fulfilled++;
    else this.#rejected++;
    job.result = result;
    this.#settled.push(job);
    this.#tell(false);
    const waiter = this.#waiters[0];
    const taken = waiter === undefined ? null : this.#take();
    if (taken !== null) {
      this.#waiters.shift();
      waiter?.resolve({ done: false, value: taken });
    }
    this.#fill();
  }

  /** The next result that nobody has taken; null: there is none now. */
  #take(): FetchAllResult<Input> | null {
    if (this.#taken === this.#settled.length) return null;
    const { result } = this.#settled[this.#taken] as Job<Input>;
    this.#taken++;
    if (this.#taken === this.#settled.length) {
      this.#settled = [];
      this.#taken = 0;
    } else if (this.#taken >= this.#concurrency) {
      this.#settled.splice(0, this.#taken);
      this.#taken = 0;
    }
    return result;
  }

  /** All was given: it ends, or fails as the inputs did. */
  #endIfQuiet(): void {
    if (this.#state !== 'ending' || this.#places > 0) return;
    this.#over();
    this.#tell(true);
    for (const waiter of this.#waiters.splice(0)) this.#afterwards().then(waiter.resolve as never, waiter.reject);
  }

  /** Everything ends now, with this error for who waits or asks next. */
  #fail(error: unknown): void {
    if (this.#state === 'over') return;
    this.#failure = { error };
    this.#end(error);
  }

  #end(reason: unknown): void {
    if (this.#state === 'over') return;
    this.#over();
    for (const job of this.#jobs) job.stop.abort(reason);
    for (const job of this.#settled.slice(this.#taken)) job.stop.abort(reason);
    this.#jobs.clear();
    this.#settled = [];
    this.#taken = 0;
    for (const waiter of this.#waiters.splice(0)) this.#afterwards().then(waiter.resolve as never, waiter.reject);
    const iterator = this.#iterator;
    this.#iterator = null;
    if (iterator !== null) letGo(iterator);
  }

  #over(): void {
    this.#state = 'over';
    this.#signal?.removeEventListener('abort', this.#onAbort);
  }

  /** The failure is told once, as a generator's is. */
  #afterwards(): Promise<IteratorResult<never, undefined>> {
    const failure = this.#failure;
    this.#failure = null;
    return failure === null ? Promise.resolve({ done: true, value: undefined }) : Promise.reject(failure.error);
  }

  #tell(done: boolean): void {
    if (this.#onProgress === null) return;
    const now = performance.now();
    if (!done && now - this.#toldMs < PROGRESS_MS) return;
    this.#toldMs = now;
    try {
      this.#onProgress({
        started: this.#started,
        fulfilled: this.#fulfilled,
        rejected: this.#rejected,
        inFlight: this.#jobs.size,
        elapsedMs: now - this.#beganMs,
        done,
      });
    } catch (error) {
      if (done) this.#failure ??= { error };
      else this.#fail(error);
    }
  }
}

function resolveOptions(options: unknown): {
  concurrency: number;
  signal: AbortSignal | null;
  onProgress: ((progress: FetchAllProgress) => void) | null;
} {
  const given = checkRecord('options', options, ['concurrency', 'signal', 'onProgress']) as FetchAllOptions;
  const { concurrency = CONCURRENCY_DEFAULT, signal = null, onProgress } = given;
  checkInteger('concurrency', concurrency, 1, CONCURRENCY_MAX);
  if (signal !== null && typeof (signal as Partial<AbortSignal>).addEventListener !== 'function') {
    throw invalidArgument('signal', `signal must be an AbortSignal, not ${describe(signal)}.`);
  }
  if (onProgress !== undefined && typeof onProgress !== 'function') {
    throw invalidArgument('onProgress', `onProgress must be a function, not ${describe(onProgress)}.`);
  }
  return { concurrency, signal, onProgress: onProgress ?? null };
}

function checkInputs<Input>(inputs: unknown): Iterable<Input | PromiseLike<Input>> | AsyncIterable<Input> {
  // A text is an iterable too, of its characters, and never what was meant.
  if (typeof inputs === 'object' && inputs !== null) {
    if (Symbol.asyncIterator in inputs || Symbol.iterator in inputs) return inputs as Iterable<Input>;
  }
  throw invalidArgument('inputs', `fetchAll takes an iterable of what fetch takes, not ${describe(inputs)}.`);
}

function isPair(input: unknown): input is readonly [string, FetchInit?] {
  return Array.isArray(input);
}

function isPromiseLike(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function';
}

/** Both may abort it: the request's own signal, and the iteration. What is no init, or no signal, goes to `fetch` as it is, which says so. */
function withSignal(resource: unknown, init: FetchInit | null | undefined, stop: StopSignal): FetchInit {
  if (init !== undefined && init !== null && (typeof init !== 'object' || Array.isArray(init))) return init;
  const given = init?.signal;
  const own = given === undefined ? (resource as { signal?: unknown } | null | undefined)?.signal : given;
  if (own === undefined || own === null) return { ...init, signal: stop as unknown as AbortSignal };
  return isSignal(own) ? { ...init, signal: new JoinedSignal(own, stop) as unknown as AbortSignal } : (init ?? {});
}

/** What the iterator makes of it is its own affair: nobody waits any more. */
function letGo(iterator: Iterator<unknown> | AsyncIterator<unknown>): void {
  try {
    const answer: unknown = iterator.return?.();
    if (isPromiseLike(answer)) answer.then(undefined, () => undefined);
  } catch {
    // As above.
  }
}
