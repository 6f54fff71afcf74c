/**
 * A pool as an undici Dispatcher: one object for the handlers of undici 6, 7 and 8, so for `fetch(url, { dispatcher })` of every runtime,
 * `setGlobalDispatcher` and undici's interceptors, without undici. What is asked is checked in `dispatch-options.ts`, what comes goes to the handler by
 * `dispatch-exchange.ts`; request, stream, pipeline, connect and upgrade are skins over `dispatch` (`api-*.ts`).
 */

import { EventEmitter } from 'node:events';
import type { Duplex, Readable, Writable } from 'node:stream';
import { TransferError } from '../../protocol/errors.ts';
import { isObserved, RequestTrace } from '../diagnostics.ts';
import { Outgoing } from '../duplex.ts';
import type { Exchange, ExchangeOwner } from '../exchange.ts';
import { discard } from '../fetch-body.ts';
import type { FetchRequest } from '../fetch-request.ts';
import type { PlacementOption } from '../options.ts';
import { keyFrom, type Place } from '../placement.ts';
import { type PipelineData, type PipelineOptions, pipeline } from './api-pipeline.ts';
import { type RequestOptions, type ResponseData, request } from './api-request.ts';
import { type StreamData, type StreamFactoryData, stream } from './api-stream.ts';
import { type ConnectOptions, connect, type SocketData, type UpgradeOptions, upgrade } from './api-upgrade.ts';
import { bothShapes } from './both-shapes.ts';
import { DispatchExchange, type DispatchOwner, outside } from './dispatch-exchange.ts';
import { type DispatchDefaults, type DispatchOptions, DispatchRequests } from './dispatch-options.ts';
import { DispatchError, dispatchFailure, invalidDispatch } from './errors.ts';
import { DispatchController, type DispatchHandler, type Flow, faceOf } from './handler.ts';

/** What the dispatcher needs of its pool. */
export interface DispatchPool extends DispatchDefaults {
  readonly perOrigin: number;
  readonly placement: PlacementOption;
  /** Throws TransferError; else what `make` answers is on its way. */
  begin(key: string, make: (place: Place, owner: ExchangeOwner) => Exchange): void;
  close(): Promise<void>;
  destroy(reason?: unknown): Promise<void>;
}

export type Dispatch = (options: DispatchOptions, handler: DispatchHandler) => boolean;
/** As undici's interceptors: given a dispatch, answers another one. */
// biome-ignore lint/suspicious/noExplicitAny: undici's types of dispatch differ from version to version, in details that do not matter here.
export type Interceptor = (dispatch: any, origin?: any) => any;
type Callback<Data> = (error: Error | null, data: Data) => void;
type Done = (error: Error | null, data: null) => void;

/** All that undici's Dispatcher has, over `dispatch`. */
export abstract class DispatcherBase extends EventEmitter {
  /** True when more may come at once; false: 'drain' tells when. What is wrong goes to the handler; throws UND_ERR_INVALID_ARG where there is none that could hear of it. */
  // biome-ignore lint/suspicious/noExplicitAny: handlers of any shape, of any version's types.
  abstract dispatch(options: DispatchOptions, handler: any): boolean;
  abstract close(): Promise<void>;
  abstract close(callback: Done): void;
  abstract destroy(error?: Error | null): Promise<void>;
  abstract destroy(callback: Done): void;
  abstract destroy(error: Error | null, callback: Done): void;
  abstract get closed(): boolean;
  abstract get destroyed(): boolean;

  // biome-ignore lint/suspicious/noExplicitAny: undici's types know what listens.
  override listeners(event: string | symbol): any[] {
    return super.listeners(event);
  }

  // biome-ignore lint/suspicious/noExplicitAny: as above.
  override rawListeners(event: string | symbol): any[] {
    return super.rawListeners(event);
  }

  /** Answers the response with its body as a Readable that has text(), json() and the like. */
  request(options: RequestOptions): Promise<ResponseData>;
  request(options: RequestOptions, callback: Callback<ResponseData>): void;
  request(options: RequestOptions, callback?: Callback<ResponseData>): Promise<ResponseData> | undefined {
    return request(this, options, callback);
  }

  /** The body goes into the Writable that `factory` answers. */
  stream(options: RequestOptions, factory: (data: StreamFactoryData) => Writable): Promise<StreamData>;
  stream(options: RequestOptions, factory: (data: StreamFactoryData) => Writable, callback: Callback<StreamData>): void;
  stream(
    options: RequestOptions,
    factory: (data: StreamFactoryData) => Writable,
    callback?: Callback<StreamData>,
  ): Promise<StreamData> | undefined {
    return stream(this, options, factory, callback);
  }

  /** A Duplex: the request's body goes in, what `handler` makes of the response's comes out. */
  pipeline(options: PipelineOptions, handler: (data: PipelineData) => Readable): Duplex {
    return pipeline(this, options, handler);
  }

  /** A tunnel (CONNECT) to `path`, `host:port`. */
  connect(options: ConnectOptions): Promise<SocketData>;
  connect(options: ConnectOptions, callback: Callback<SocketData>): void;
  connect(options: ConnectOptions, callback?: Callback<SocketData>): Promise<SocketData> | undefined {
    return connect(this, options, callback);
  }

  /** The connection, once the server has switched to `protocol` (default `'Websocket'`). */
  upgrade(options: UpgradeOptions): Promise<SocketData>;
  upgrade(options: UpgradeOptions, callback: Callback<SocketData>): void;
  upgrade(options: UpgradeOptions, callback?: Callback<SocketData>): Promise<SocketData> | undefined {
    return upgrade(this, options, callback);
  }

  /** A dispatcher whose requests pass through undici's interceptors, of any version, the last one first. */
  compose(interceptors: readonly Interceptor[]): ComposedDispatcher;
  compose(...interceptors: readonly Interceptor[]): ComposedDispatcher;
  compose(...given: readonly (Interceptor | readonly Interceptor[])[]): ComposedDispatcher {
    let dispatch: Dispatch = (options, handler) => this.dispatch(options, handler);
    for (const interceptor of given.flat()) {
      if (interceptor === null || interceptor === undefined) continue;
      if (typeof interceptor !== 'function') {
        throw new TypeError(`invalid interceptor, expected function received ${typeof interceptor}`);
      }
      const next: unknown = interceptor(dispatch);
      if (typeof next !== 'function') throw new TypeError('invalid interceptor');
      dispatch = (options, handler) => next(options, bothShapes(handler));
    }
    return new ComposedDispatcher(this, dispatch);
  }
}

/** What `compose` answers. Its end is its pool's. */
export class ComposedDispatcher extends DispatcherBase {
  readonly #inner: DispatcherBase;
  readonly #dispatch: Dispatch;

  constructor(inner: DispatcherBase, dispatch: Dispatch) {
    super();
    this.#inner = inner;
    this.#dispatch = dispatch;
  }

  // biome-ignore lint/suspicious/noExplicitAny: as above.
  dispatch(options: DispatchOptions, handler: any): boolean {
    return this.#dispatch(options, handler);
  }

  get closed(): boolean {
    return this.#inner.closed;
  }

  get destroyed(): boolean {
    return this.#inner.destroyed;
  }

  // biome-ignore lint/suspicious/noExplicitAny: the overloads are the inner one's.
  close(...given: any[]): any {
    return (this.#inner.close as (...given: unknown[]) => unknown).apply(this.#inner, given);
  }

  // biome-ignore lint/suspicious/noExplicitAny: the overloads are the inner one's.
  destroy(...given: any[]): any {
    return (this.#inner.destroy as (...given: unknown[]) => unknown).apply(this.#inner, given);
  }
}

/** What `pool.dispatcher()` answers. */
export class PoolDispatcher extends DispatcherBase {
  readonly #pool: DispatchPool;
  readonly #requests: DispatchRequests;
  #state: 'open' | 'closing' | 'destroyed' = 'open';
  /** Where `dispatch` has answered false, and to whose origins. */
  readonly #full = new Map<Place, Set<string>>();
  readonly #onRoom = (place: Place): void => this.#hasRoom(place);
  readonly #owner: DispatchOwner = {
    connected: (exchange) => this.#tell('connect', exchange.request.target.url.origin),
    ended: (exchange, failure) => this.#ended(exchange, failure),
  };

  constructor(pool: DispatchPool) {
    super();
    this.#pool = pool;
    this.#requests = new DispatchRequests(pool);
  }

  // biome-ignore lint/suspicious/noExplicitAny: handlers of any shape, of any version's types.
  dispatch(options: DispatchOptions, handler: any): boolean {
    if (typeof handler !== 'object' || handler === null) throw invalidDispatch('handler must be an object');
    if (typeof options !== 'object' || options === null)
      return refuse(handler, invalidDispatch('opts must be an object.'));
    const isUpgrade = options.method === 'CONNECT' || Boolean(options.upgrade);
    let trace: RequestTrace | null = null;
    let prepared: FetchRequest;
    const face = faceOf(handler, isUpgrade);
    try {
      this.#checkOpen();
      const plan = this.#requests.plan(options);
      if (isObserved()) trace = new RequestTrace(plan.target.origin, plan.path, plan.method, plan.headers);
      prepared = this.#requests.request(plan, trace?.added);
    } catch (error) {
      const failure = dispatchFailure(error);
      trace?.error(failure);
      return refuse(handler, failure);
    }
    const outgoing = prepared.upgrade === null ? null : new Outgoing();
    const asked =
      outgoing === null ? prepared : { ...prepared, body: { source: outgoing, length: -1, repeatable: false } };
    const flow = new DispatchFlow();
    const controller = new DispatchController(flow);
    try {
      face.start(controller);
    } catch (error) {
      controller.abort(error);
    }
    let failure: Error | null = null;
    if (flow.isAborted) failure = (flow.reason as Error | undefined) ?? new DispatchError('UND_ERR_ABORTED');
    else {
      try {
        this.#pool.begin(keyOf(this.#pool.placement, asked), (place, owner) => {
          flow.exchange = new DispatchExchange(
            owner,
            this.#owner,
            asked,
            place,
            face,
            handler,
            controller,
            trace,
            outgoing,
          );
          return flow.exchange;
        });
      } catch (error) {
        failure = dispatchFailure(error);
      }
    }
    const { exchange } = flow;
    if (failure !== null || exchange === null) {
      void discard(asked.body, failure);
      trace?.error(failure);
      face.fail(controller, failure as Error);
      return false;
    }
    exchange.wasSent();
    const { place } = exchange;
    if (place.inFlightTotal < this.#pool.perOrigin) return true;
    this.#isFull(place, asked.target.url.origin);
    return false;
  }

  get closed(): boolean {
    return this.#state !== 'open';
  }

  get destroyed(): boolean {
    return this.#state === 'destroyed';
  }

  /** Closes the pool: takes no more requests, waits for those in flight. */
  close(): Promise<void>;
  close(callback: Done): void;
  close(callback?: Done): Promise<void> | undefined {
    if (this.#state === 'open') this.#state = 'closing';
    return settle(this.#pool.close(), callback);
  }

  /** Destroys the pool; what is in flight fails with `error`, or UND_ERR_DESTROYED. */
  destroy(error?: Error | null): Promise<void>;
  destroy(callback: Done): void;
  destroy(error: Error | null, callback: Done): void;
  destroy(error?: Error | null | Done, callback?: Done): Promise<void> | undefined {
    const isCallback = typeof error === 'function';
    this.#state = 'destroyed';
    return settle(this.#pool.destroy(isCallback ? undefined : error), isCallback ? error : callback);
  }

  #ended({ request: { target } }: DispatchExchange, failure: unknown): void {
    if (!TransferError.is(failure)) return;
    const { origin } = target.url;
    if (isConnectFailure(failure)) this.#tell('connectionError', origin, dispatchFailure(failure));
    else if (isLoss(failure)) this.#tell('disconnect', origin, dispatchFailure(failure));
  }

  /** A function of the caller's may give several origins one place. */
  #isFull(place: Place, origin: string): void {
    const origins = this.#full.get(place);
    if (origins !== undefined) {
      origins.add(origin);
      return;
    }
    this.#full.set(place, new Set([origin]));
    place.onRoom = this.#onRoom;
  }

  /** Any request of the pool may have made it, one of `fetch` too. What ends it is told first: hence in the microtask behind. */
  #hasRoom(place: Place): void {
    const origins = this.#full.get(place) ?? [];
    this.#full.delete(place);
    queueMicrotask(() => {
      for (const origin of origins) outside(() => this.emit('drain', new URL(origin)));
    });
  }

  #tell(event: 'connect' | 'disconnect' | 'connectionError', origin: string, error?: Error): void {
    if (this.listenerCount(event) === 0) return;
    outside(() => this.emit(event, new URL(origin), [this], ...(error === undefined ? [] : [error])));
  }

  #checkOpen(): void {
    if (this.#state === 'closing') throw new DispatchError('UND_ERR_CLOSED');
    if (this.#state === 'destroyed') throw new DispatchError('UND_ERR_DESTROYED');
  }
}

/** What the controller does, once there is an exchange; before that it can only be aborted. */
class DispatchFlow implements Flow {
  exchange: DispatchExchange | null = null;
  isAborted = false;
  reason: unknown = undefined;

  resumed(): void {
    this.exchange?.resumed();
  }

  aborted(reason: unknown): void {
    this.isAborted = true;
    this.reason = reason;
    this.exchange?.abort(reason);
  }
}

/** Answers what `dispatch` then answers. */
function refuse(handler: DispatchHandler, error: Error): false {
  if (typeof handler.onRequestStart === 'function' && typeof handler.onResponseError === 'function') {
    handler.onResponseError(null, error);
  } else if (typeof handler.onError === 'function') handler.onError(error);
  else throw error;
  return false;
}

function keyOf(placement: PlacementOption, { target }: FetchRequest): string {
  return typeof placement === 'function' ? keyFrom(placement, target.url) : target.origin;
}

function settle(promise: Promise<void>, callback: Done | undefined): Promise<void> | undefined {
  if (callback === undefined) return promise;
  if (typeof callback !== 'function') throw invalidDispatch('invalid callback');
  promise.then(
    () => outside(() => callback(null, null)),
    (error: Error) => outside(() => callback(error, null)),
  );
  return undefined;
}

function isConnectFailure({ code, phase }: TransferError): boolean {
  return (
    code === 'COULDNT_RESOLVE' ||
    code === 'COULDNT_CONNECT' ||
    code === 'CONNECT_TIMEOUT' ||
    code === 'TLS_FAILED' ||
    code === 'CERTIFICATE_INVALID' ||
    code === 'PROXY_FAILED' ||
    (code === 'CONNECTION_LOST' && phase === 'proxy')
  );
}

function isLoss({ code }: TransferError): boolean {
  return code === 'CONNECTION_LOST' || code === 'SEND_FAILED' || code === 'INCOMPLETE_BODY' || code === 'BAD_RESPONSE';
}
