/** `dispatcher.pipeline`: a Duplex whose input is the request's body and whose output is what the caller makes of the response's. */

import { AsyncResource } from 'node:async_hooks';
import { Duplex, PassThrough, Readable } from 'node:stream';
import { ApiHandler, type ApiOptions, checkOptions, type Dispatching } from './api-handler.ts';
import { withMethod } from './api-request.ts';
import { DispatchError, invalidDispatch } from './errors.ts';
import type { DispatchController } from './handler.ts';
import type { ParsedFields } from './raw-headers.ts';
import { ResponseBody } from './response-body.ts';

export interface PipelineOptions extends ApiOptions {
  /** Whether what comes out are objects. Default false. */
  objectMode?: boolean | undefined;
}

// biome-ignore-start lint/suspicious/noExplicitAny: as undici's types have it.
export interface PipelineData {
  statusCode: number;
  headers: any;
  opaque: any;
  body: ResponseBody;
  context: any;
}
// biome-ignore-end lint/suspicious/noExplicitAny: as undici's types have it.

type MakeOutput = (data: PipelineData) => Readable;

/** Never throws: what is wrong destroys the stream. */
export function pipeline(dispatcher: Dispatching, options: PipelineOptions, makeOutput: MakeOutput): Duplex {
  try {
    checkOptions(options);
    if (typeof makeOutput !== 'function') throw invalidDispatch('invalid handler');
    const handler = new PipelineHandler(options, AsyncResource.bind(makeOutput));
    const duplex = new PipelineDuplex(handler, options.objectMode === true);
    handler.duplex = duplex;
    dispatcher.dispatch({ ...withMethod(options), body: duplex.input }, handler);
    return duplex;
  } catch (error) {
    return new PassThrough().destroy(error as Error);
  }
}

class PipelineDuplex extends Duplex {
  /** What is written, as the request reads it. */
  readonly input: Readable;
  readonly #handler: PipelineHandler;
  #onTaken: ((error?: Error | null) => void) | null = null;

  constructor(handler: PipelineHandler, objectMode: boolean) {
    super({ readableObjectMode: objectMode });
    this.#handler = handler;
    const taken = (): void => this.#taken();
    this.input = new Readable({
      read: taken,
      destroy(error, callback): void {
        taken();
        callback(error);
      },
    }).on('error', () => undefined);
  }

  override _write(chunk: Buffer, encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    if (this.input.destroyed || this.input.push(chunk, encoding)) callback();
    else this.#onTaken = callback;
  }

  override _final(callback: (error?: Error | null) => void): void {
    this.input.push(null);
    callback();
  }

  override _read(): void {
    this.#handler.output?.resume();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    const failure = error ?? (this.readableEnded ? null : new DispatchError('UND_ERR_ABORTED'));
    this.#handler.closed(failure);
    this.input.destroy();
    callback(failure);
  }

  #taken(): void {
    const onTaken = this.#onTaken;
    this.#onTaken = null;
    onTaken?.();
  }
}

class PipelineHandler extends ApiHandler {
  duplex: PipelineDuplex | null = null;
  /** What the caller made of the body. */
  output: Readable | null = null;
  readonly #makeOutput: MakeOutput;
  #body: ResponseBody | null = null;

  constructor(options: PipelineOptions, makeOutput: MakeOutput) {
    super(options);
    this.#makeOutput = makeOutput;
  }

  /** The stream is over; `error` null: with its end. */
  closed(error: Error | null): void {
    this.ended();
    if (error === null) return;
    this.controller?.abort(error);
    this.output?.destroy(error);
    this.#body?.destroy(error);
  }

  onResponseStart(controller: DispatchController, statusCode: number, headers: ParsedFields): void {
    if (this.isInfo(controller, statusCode, headers)) return;
    const body = new ResponseBody(controller, '', this.options.highWaterMark).on('error', () => undefined);
    this.#body = body;
    const { opaque = null } = this.options;
    const shown = this.shown(controller, headers);
    const output = this.#makeOutput({ statusCode, headers: shown, opaque, body, context: this.context });
    if (typeof output?.on !== 'function') throw new DispatchError('UND_ERR_INVALID_RETURN_VALUE', 'expected Readable');
    this.output = output;
    const duplex = this.duplex as PipelineDuplex;
    let hasEnded = false;
    output
      .on('data', (chunk) => {
        if (!duplex.push(chunk)) output.pause();
      })
      .on('error', (error) => duplex.destroy(error))
      .on('end', () => {
        hasEnded = true;
        duplex.push(null);
      })
      .on('close', () => {
        if (!hasEnded) duplex.destroy(new DispatchError('UND_ERR_ABORTED'));
      });
  }

  onResponseData(controller: DispatchController, chunk: Buffer): void {
    if (this.#body?.push(chunk) === false) controller.pause();
  }

  onResponseEnd(): void {
    this.#body?.push(null);
  }

  onResponseError(_controller: DispatchController | null, error: Error): void {
    this.duplex?.destroy(error);
  }
}
