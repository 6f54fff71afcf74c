/**
 * The two shapes of undici's handlers behind one interface. Up to version 7 a handler has `onConnect(abort)`, `onHeaders`, …, which pauses by
 * answering false; from version 7 on `onRequestStart(controller)`, `onResponseStart`, …, which pauses by the controller. As there,
 * who has `onRequestStart` is of the new shape. Which callback comes when is `dispatch-exchange.ts`'s.
 */

import type { Duplex } from 'node:stream';
import { invalidDispatch } from './errors.ts';
import { asBuffers, asRecord, type ParsedFields, type RawFields } from './raw-headers.ts';

/** What the handler's callbacks do to the transfer. */
export interface Flow {
  resumed(): void;
  /** `reason` as given. */
  aborted(reason: unknown): void;
}

/** undici's DispatchController. */
export class DispatchController {
  #paused = false;
  #aborted = false;
  #reason: unknown = null;
  #rawHeaders: RawFields | Buffer[] | null = null;
  #rawTrailers: RawFields | Buffer[] | null = null;
  readonly #flow: Flow;

  constructor(flow: Flow) {
    this.#flow = flow;
  }

  get paused(): boolean {
    return this.#paused;
  }

  get aborted(): boolean {
    return this.#aborted;
  }

  get reason(): unknown {
    return this.#reason;
  }

  /** Of the response's head: names and values as Buffers. */
  get rawHeaders(): Buffer[] | null {
    this.#rawHeaders = buffers(this.#rawHeaders);
    return this.#rawHeaders;
  }

  get rawTrailers(): Buffer[] | null {
    this.#rawTrailers = buffers(this.#rawTrailers);
    return this.#rawTrailers;
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#flow.resumed();
  }

  abort(reason?: unknown): void {
    if (this.#aborted) return;
    this.#aborted = true;
    this.#reason = reason ?? null;
    this.#flow.aborted(reason);
  }

  /** @internal */
  setHeaders(fields: RawFields): void {
    this.#rawHeaders = fields;
  }

  /** @internal */
  setTrailers(fields: RawFields): void {
    this.#rawTrailers = fields;
  }
}

function buffers(fields: RawFields | Buffer[] | null): Buffer[] | null {
  if (fields === null || typeof fields[0] !== 'string') return fields as Buffer[] | null;
  return asBuffers(fields as RawFields);
}

/** undici's handlers: each has the callbacks of one shape, or of both. */
export interface DispatchHandler {
  onRequestStart?(controller: DispatchController, context: unknown): void;
  onRequestUpgrade?(controller: DispatchController, statusCode: number, headers: ParsedFields, socket: Duplex): void;
  onResponseStart?(
    controller: DispatchController,
    statusCode: number,
    headers: ParsedFields,
    statusMessage?: string,
  ): void;
  onResponseData?(controller: DispatchController, chunk: Buffer): void;
  onResponseEnd?(controller: DispatchController, trailers: ParsedFields): void;
  onResponseError?(controller: DispatchController | null, error: Error): void;
  onConnect?(abort: (error?: Error) => void, context?: unknown): void;
  onError?(error: Error): void;
  onUpgrade?(statusCode: number, headers: Buffer[], socket: Duplex): void;
  onResponseStarted?(): void;
  onHeaders?(statusCode: number, headers: Buffer[], resume: () => void, statusText: string): boolean | undefined;
  onData?(chunk: Buffer): boolean | undefined;
  onComplete?(trailers: Buffer[]): void;
  onBodySent?(chunk: Uint8Array): void;
  onRequestSent?(): void;
}

/** A handler of either shape. What it throws is its caller's to catch. */
export interface HandlerFace {
  start(controller: DispatchController): void;
  head(controller: DispatchController, status: number, fields: RawFields, statusText: string): void;
  data(controller: DispatchController, chunk: Buffer): void;
  end(controller: DispatchController, trailers: RawFields): void;
  fail(controller: DispatchController | null, error: Error): void;
  upgrade(controller: DispatchController, status: number, fields: RawFields, socket: Duplex): void;
}

/** Throws what undici throws. */
export function faceOf(handler: unknown, isUpgrade: boolean): HandlerFace {
  const given = handler as DispatchHandler;
  const isNew = typeof given.onRequestStart === 'function';
  for (const name of isNew ? NEW_NAMES : OLD_NAMES) check(given, name);
  for (const name of isUpgrade ? UPGRADE_NAMES[+isNew] : RESPONSE_NAMES[+isNew]) check(given, name);
  return isNew ? new NewFace(given) : new OldFace(given);
}

type CallbackName = keyof DispatchHandler;

const OLD_NAMES: readonly CallbackName[] = ['onConnect', 'onError'];
const NEW_NAMES: readonly CallbackName[] = ['onResponseError'];
/** By whether the shape is the new one. What undici lets out of the new one may be missing. */
const UPGRADE_NAMES = [['onUpgrade'], ['onRequestUpgrade']] as const;
const RESPONSE_NAMES = [['onHeaders', 'onData', 'onComplete'], []] as const;

function check(handler: DispatchHandler, name: CallbackName): void {
  if (typeof handler[name] !== 'function') throw invalidDispatch(`invalid ${name} method`);
}

class NewFace implements HandlerFace {
  readonly #handler: DispatchHandler;

  constructor(handler: DispatchHandler) {
    this.#handler = handler;
  }

  start(controller: DispatchController): void {
    this.#handler.onRequestStart?.(controller, undefined);
  }

  head(controller: DispatchController, status: number, fields: RawFields, statusText: string): void {
    controller.setHeaders(fields);
    this.#handler.onResponseStarted?.();
    this.#handler.onResponseStart?.(controller, status, asRecord(fields), statusText);
  }

  data(controller: DispatchController, chunk: Buffer): void {
    this.#handler.onResponseData?.(controller, chunk);
  }

  end(controller: DispatchController, trailers: RawFields): void {
    controller.setTrailers(trailers);
    this.#handler.onResponseEnd?.(controller, asRecord(trailers));
  }

  fail(controller: DispatchController | null, error: Error): void {
    this.#handler.onResponseError?.(controller, error);
  }

  upgrade(controller: DispatchController, status: number, fields: RawFields, socket: Duplex): void {
    controller.setHeaders(fields);
    this.#handler.onRequestUpgrade?.(controller, status, asRecord(fields), socket);
  }
}

class OldFace implements HandlerFace {
  readonly #handler: DispatchHandler;

  constructor(handler: DispatchHandler) {
    this.#handler = handler;
  }

  start(controller: DispatchController): void {
    this.#handler.onConnect?.((reason) => controller.abort(reason), undefined);
  }

  head(controller: DispatchController, status: number, fields: RawFields, statusText: string): void {
    this.#handler.onResponseStarted?.();
    const goesOn = this.#handler.onHeaders?.(status, asBuffers(fields), () => controller.resume(), statusText);
    // Behind an interim head comes another one, whatever was answered.
    if (goesOn === false && status >= 200) controller.pause();
  }

  data(controller: DispatchController, chunk: Buffer): void {
    if (this.#handler.onData?.(chunk) === false) controller.pause();
  }

  end(_controller: DispatchController, trailers: RawFields): void {
    this.#handler.onComplete?.(asBuffers(trailers));
  }

  fail(_controller: DispatchController | null, error: Error): void {
    this.#handler.onError?.(error);
  }

  upgrade(_controller: DispatchController, status: number, fields: RawFields, socket: Duplex): void {
    this.#handler.onUpgrade?.(status, asBuffers(fields), socket);
  }
}
