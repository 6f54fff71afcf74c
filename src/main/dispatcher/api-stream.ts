/** `dispatcher.stream`: the body goes into a Writable of the caller's. */

import { AsyncResource } from 'node:async_hooks';
import { finished, type Writable } from 'node:stream';
import { ApiHandler, type Callback, callOrPromise, checkOptions, type Dispatching } from './api-handler.ts';
import { type RequestOptions, withMethod } from './api-request.ts';
import { DispatchError, invalidDispatch } from './errors.ts';
import type { DispatchController } from './handler.ts';
import type { ParsedFields } from './raw-headers.ts';

// biome-ignore-start lint/suspicious/noExplicitAny: as undici's types have it.
export interface StreamFactoryData {
  statusCode: number;
  headers: any;
  opaque: any;
  context: any;
}

export interface StreamData {
  opaque: any;
  trailers: Record<string, string>;
}
// biome-ignore-end lint/suspicious/noExplicitAny: as undici's types have it.

type Factory = (data: StreamFactoryData) => Writable;

export function stream(
  dispatcher: Dispatching,
  options: RequestOptions,
  factory: Factory,
  callback: Callback<StreamData> | undefined,
): Promise<StreamData> | undefined {
  return callOrPromise(callback, options?.opaque, (done) => {
    checkOptions(options);
    if (typeof factory !== 'function') throw invalidDispatch('invalid factory');
    dispatcher.dispatch(withMethod(options), new StreamHandler(options, AsyncResource.bind(factory), done));
  });
}

class StreamHandler extends ApiHandler {
  readonly #factory: Factory;
  #done: Callback<StreamData> | null;
  #target: Writable | null = null;
  #trailers: ParsedFields = {};

  constructor(options: RequestOptions, factory: Factory, done: Callback<StreamData>) {
    super(options);
    this.#factory = factory;
    this.#done = done;
  }

  onResponseStart(controller: DispatchController, statusCode: number, headers: ParsedFields): void {
    if (this.isInfo(controller, statusCode, headers)) return;
    const { opaque = null, throwOnError } = this.options;
    if (throwOnError === true && statusCode >= 400) {
      const error = new DispatchError('UND_ERR_RESPONSE_STATUS_CODE', `Response status code ${statusCode}`);
      throw Object.assign(error, { status: statusCode, statusCode, headers });
    }
    const shown = this.shown(controller, headers);
    const target = this.#factory({ statusCode, headers: shown, opaque, context: this.context });
    if (typeof target?.write !== 'function' || typeof target.end !== 'function' || typeof target.on !== 'function') {
      throw new DispatchError('UND_ERR_INVALID_RETURN_VALUE', 'expected Writable');
    }
    this.#target = target;
    finished(target, { readable: false }, (error) => {
      const failure = error ?? null;
      this.#target = null;
      if (failure !== null) target.destroy(failure);
      this.#finish(failure);
      if (failure !== null) controller.abort(failure);
    });
    target.on('drain', () => controller.resume());
    if (target.writableNeedDrain) controller.pause();
  }

  onResponseData(controller: DispatchController, chunk: Buffer): void {
    if (this.#target?.write(chunk) === false) controller.pause();
  }

  onResponseEnd(_controller: DispatchController, trailers: ParsedFields): void {
    this.#trailers = trailers;
    this.#target?.end();
  }

  onResponseError(_controller: DispatchController | null, error: Error): void {
    const target = this.#target;
    this.#target = null;
    // `finished` tells of it.
    if (target !== null) target.destroy(error);
    else queueMicrotask(() => this.#finish(error));
  }

  #finish(error: Error | null): void {
    const done = this.#done;
    this.#done = null;
    this.ended();
    const { opaque = null } = this.options;
    done?.(error, { opaque, trailers: this.#trailers as Record<string, string> });
  }
}
