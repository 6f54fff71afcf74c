/** What request, stream, pipeline, connect and upgrade have in common: their handler begins, is aborted by a signal, and shows headers. */

import { AsyncResource } from 'node:async_hooks';
import type { EventEmitter } from 'node:events';
import type { DispatchOptions } from './dispatch-options.ts';
import { DispatchError, invalidDispatch } from './errors.ts';
import type { DispatchController, DispatchHandler } from './handler.ts';
import type { ParsedFields } from './raw-headers.ts';

export type AnySignal = AbortSignal | EventEmitter;
/** As a record, or with `responseHeaders: 'raw'` a flat array of names and values. */
export type ShownHeaders = ParsedFields | string[];

export interface ApiOptions extends Omit<DispatchOptions, 'method' | 'path'> {
  path: string;
  method?: string | undefined;
  /** An AbortSignal, or an EventEmitter that emits 'abort'. */
  signal?: unknown;
  /** Given back with the response. */
  opaque?: unknown;
  /** Default: a record. */
  responseHeaders?: 'raw' | null | undefined;
  /** Called with each interim (1xx) response. */
  // biome-ignore lint/suspicious/noExplicitAny: as undici's types have it.
  onInfo?: ((info: { statusCode: number; headers: any }) => void) | null | undefined;
  /** Bytes the body's Readable holds. Default 65,536. */
  highWaterMark?: number | undefined;
}

export type Callback<Data> = (error: Error | null, data: Data) => void;

/** What a skin dispatches to. */
export interface Dispatching {
  // biome-ignore lint/suspicious/noExplicitAny: a handler of the new shape.
  dispatch(options: DispatchOptions, handler: any): boolean;
}

/** A handler of the new shape. */
export abstract class ApiHandler implements DispatchHandler {
  protected readonly options: ApiOptions;
  protected controller: DispatchController | null = null;
  protected context: unknown = undefined;
  #reason: unknown = null;
  #stopListening: (() => void) | null = null;

  /** Throws UND_ERR_INVALID_ARG. */
  constructor(options: ApiOptions, connects = false) {
    const { signal, onInfo, method } = options;
    if (signal && !isSignal(signal)) {
      throw invalidDispatch('signal must be an EventEmitter or EventTarget');
    }
    if (method === 'CONNECT' && !connects) throw invalidDispatch('invalid method');
    if (onInfo && typeof onInfo !== 'function') throw invalidDispatch('invalid onInfo callback');
    this.options = options;
    if (isSignal(signal)) this.#listen(signal);
  }

  onRequestStart(controller: DispatchController, context: unknown): void {
    if (this.#reason !== null) {
      controller.abort(this.#reason);
      return;
    }
    this.controller = controller;
    this.context = context;
  }

  abstract onResponseError(controller: DispatchController | null, error: Error): void;

  /** The signal fired; `reason` is what everybody fails with. */
  protected aborted(reason: unknown): void {
    this.controller?.abort(reason);
  }

  /** True for an interim response, which is told. */
  protected isInfo(controller: DispatchController, statusCode: number, headers: ParsedFields): boolean {
    if (statusCode >= 200) return false;
    this.options.onInfo?.({ statusCode, headers: this.shown(controller, headers) });
    return true;
  }

  protected shown(controller: DispatchController, headers: ParsedFields): ShownHeaders {
    if (this.options.responseHeaders !== 'raw') return headers;
    return (controller.rawHeaders ?? []).map((text) => text.toString('latin1'));
  }

  /** It is over: the signal has nothing to abort. */
  protected ended(): void {
    this.#stopListening?.();
    this.#stopListening = null;
  }

  #listen(signal: AnySignal): void {
    if (isAbortSignal(signal)) {
      if (signal.aborted) {
        this.#reason = signal.reason ?? new DispatchError('UND_ERR_ABORTED');
        return;
      }
      const listener = (): void => this.#fired(signal.reason);
      signal.addEventListener('abort', listener, { once: true });
      this.#stopListening = () => signal.removeEventListener('abort', listener);
      return;
    }
    const listener = (reason: unknown): void => this.#fired(reason);
    signal.once('abort', listener);
    this.#stopListening = () => signal.removeListener('abort', listener);
  }

  #fired(reason: unknown): void {
    this.#reason = reason ?? new DispatchError('UND_ERR_ABORTED');
    this.#stopListening = null;
    this.aborted(this.#reason);
  }
}

function isSignal(signal: unknown): signal is AnySignal {
  return typeof signal === 'object' && signal !== null && ('on' in signal || 'addEventListener' in signal);
}

function isAbortSignal(signal: AnySignal): signal is AbortSignal {
  return 'addEventListener' in signal && typeof signal.addEventListener === 'function';
}

/** A skin in both its styles: with a callback, which runs in its caller's async context, or without, answering a promise. */
export function callOrPromise<Data>(
  callback: Callback<Data> | undefined,
  opaque: unknown,
  begin: (callback: Callback<Data>) => void,
): Promise<Data> | undefined {
  if (callback === undefined) {
    return new Promise((resolve, reject) => {
      begin((error, data) => {
        if (error === null) resolve(data);
        else reject(error);
      });
    });
  }
  if (typeof callback !== 'function') throw invalidDispatch('invalid callback');
  const bound = AsyncResource.bind(callback);
  try {
    begin(bound);
  } catch (error) {
    queueMicrotask(() => bound(error as Error, { opaque } as Data));
  }
  return undefined;
}

export function checkOptions(options: unknown): asserts options is ApiOptions {
  if (typeof options !== 'object' || options === null) throw invalidDispatch('invalid opts');
}
