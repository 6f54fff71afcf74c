/**
 * A handler of one shape as one of both, for what stands between `compose` and it: interceptors of undici 6 call the callbacks of the old shape,
 * those of 7 and later the new ones, and neither knows what is behind. Headers go the way of the callback, so what an interceptor
 * changed in them stays changed.
 */

import type { Duplex } from 'node:stream';
import {
  DispatchController as Controller,
  type DispatchController,
  type DispatchHandler,
  type Flow,
} from './handler.ts';
import { asRecord, type ParsedFields } from './raw-headers.ts';

export function bothShapes(handler: DispatchHandler): DispatchHandler {
  if (typeof handler !== 'object' || handler === null) return handler;
  const hasNew = typeof handler.onRequestStart === 'function';
  const hasOld = typeof handler.onConnect === 'function';
  if (hasNew && hasOld) return handler;
  return hasNew ? new NewAsBoth(handler) : new OldAsBoth(handler);
}

class OldAsBoth implements DispatchHandler {
  readonly #handler: DispatchHandler;

  constructor(handler: DispatchHandler) {
    this.#handler = handler;
  }

  onConnect(abort: (error?: Error) => void, context?: unknown): void {
    this.#handler.onConnect?.(abort, context);
  }

  onResponseStarted(): void {
    this.#handler.onResponseStarted?.();
  }

  onHeaders(status: number, headers: Buffer[], resume: () => void, statusText: string): boolean | undefined {
    return this.#handler.onHeaders?.(status, headers, resume, statusText);
  }

  onUpgrade(status: number, headers: Buffer[], socket: Duplex): void {
    this.#handler.onUpgrade?.(status, headers, socket);
  }

  onData(chunk: Buffer): boolean | undefined {
    return this.#handler.onData?.(chunk);
  }

  onComplete(trailers: Buffer[]): void {
    this.#handler.onComplete?.(trailers);
  }

  onError(error: Error): void {
    this.#handler.onError?.(error);
  }

  onBodySent(chunk: Uint8Array): void {
    this.#handler.onBodySent?.(chunk);
  }

  onRequestSent(): void {
    this.#handler.onRequestSent?.();
  }

  onRequestStart(controller: DispatchController, context: unknown): void {
    this.#handler.onConnect?.((reason) => controller.abort(reason), context);
  }

  onRequestUpgrade(_controller: DispatchController, status: number, headers: ParsedFields, socket: Duplex): void {
    this.#handler.onUpgrade?.(status, rawOf(headers), socket);
  }

  onResponseStart(controller: DispatchController, status: number, headers: ParsedFields, statusText = ''): void {
    const goesOn = this.#handler.onHeaders?.(status, rawOf(headers), () => controller.resume(), statusText);
    if (goesOn === false && status >= 200) controller.pause();
  }

  onResponseData(controller: DispatchController, chunk: Buffer): void {
    if (this.#handler.onData?.(chunk) === false) controller.pause();
  }

  onResponseEnd(_controller: DispatchController, trailers: ParsedFields): void {
    this.#handler.onComplete?.(rawOf(trailers));
  }

  onResponseError(_controller: DispatchController | null, error: Error): void {
    this.#handler.onError?.(error);
  }
}

class NewAsBoth implements DispatchHandler, Flow {
  readonly #handler: DispatchHandler;
  #controller: DispatchController | null = null;
  #abort: ((reason?: Error) => void) | null = null;
  #resume: (() => void) | null = null;

  constructor(handler: DispatchHandler) {
    this.#handler = handler;
  }

  /** What the controller that is made here for callbacks of the old shape does. */
  resumed(): void {
    this.#resume?.();
  }

  aborted(reason: unknown): void {
    this.#abort?.(reason as Error);
  }

  onConnect(abort: (error?: Error) => void, context?: unknown): void {
    this.#abort = abort;
    this.#resume = null;
    this.#controller = new Controller(this);
    this.#handler.onRequestStart?.(this.#controller, context);
  }

  onResponseStarted(): void {
    this.#handler.onResponseStarted?.();
  }

  onHeaders(status: number, headers: Buffer[], resume: () => void, statusText: string): boolean {
    const controller = this.#controller as DispatchController;
    this.#resume = resume;
    const fields = headers.map((text) => text.toString('latin1'));
    controller.setHeaders(fields);
    this.#handler.onResponseStart?.(controller, status, asRecord(fields), statusText);
    return !controller.paused;
  }

  onUpgrade(status: number, headers: Buffer[], socket: Duplex): void {
    const fields = headers.map((text) => text.toString('latin1'));
    this.#controller?.setHeaders(fields);
    this.#handler.onRequestUpgrade?.(this.#controller as DispatchController, status, asRecord(fields), socket);
  }

  onData(chunk: Buffer): boolean {
    const controller = this.#controller as DispatchController;
    this.#handler.onResponseData?.(controller, chunk);
    return !controller.paused;
  }

  onComplete(trailers: Buffer[]): void {
    const fields = trailers.map((text) => text.toString('latin1'));
    this.#controller?.setTrailers(fields);
    this.#handler.onResponseEnd?.(this.#controller as DispatchController, asRecord(fields));
  }

  onError(error: Error): void {
    this.#handler.onResponseError?.(this.#controller, error);
  }

  onBodySent(chunk: Uint8Array): void {
    this.#handler.onBodySent?.(chunk);
  }

  onRequestSent(): void {
    this.#handler.onRequestSent?.();
  }

  onRequestStart(controller: DispatchController, context: unknown): void {
    this.#controller = controller;
    this.#handler.onRequestStart?.(controller, context);
  }

  onRequestUpgrade(controller: DispatchController, status: number, headers: ParsedFields, socket: Duplex): void {
    this.#handler.onRequestUpgrade?.(controller, status, headers, socket);
  }

  onResponseStart(controller: DispatchController, status: number, headers: ParsedFields, statusText?: string): void {
    this.#handler.onResponseStart?.(controller, status, headers, statusText);
  }

  onResponseData(controller: DispatchController, chunk: Buffer): void {
    this.#handler.onResponseData?.(controller, chunk);
  }

  onResponseEnd(controller: DispatchController, trailers: ParsedFields): void {
    this.#handler.onResponseEnd?.(controller, trailers);
  }

  onResponseError(controller: DispatchController | null, error: Error): void {
    this.#handler.onResponseError?.(controller, error);
  }
}

/** An array of values becomes as many fields. */
function rawOf(fields: ParsedFields): Buffer[] {
  const raw: Buffer[] = [];
  for (const [name, value] of Object.entries(fields)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      raw.push(Buffer.from(name, 'latin1'), Buffer.from(String(one), 'latin1'));
    }
  }
  return raw;
}
