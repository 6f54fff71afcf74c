/** `dispatcher.request`: the response with its body as a Readable. */

import { excerptText } from '../../protocol/http1/excerpt.ts';
import {
  ApiHandler,
  type ApiOptions,
  type Callback,
  callOrPromise,
  checkOptions,
  type Dispatching,
  type ShownHeaders,
} from './api-handler.ts';
import type { DispatchOptions } from './dispatch-options.ts';
import { DispatchError, invalidDispatch } from './errors.ts';
import type { DispatchController } from './handler.ts';
import { copyFields, type ParsedFields } from './raw-headers.ts';
import { ResponseBody } from './response-body.ts';

export interface RequestOptions extends ApiOptions {
  /** Of undici 6: a status of 400 or more rejects with UND_ERR_RESPONSE_STATUS_CODE. Default false. */
  throwOnError?: boolean | undefined;
}

// biome-ignore-start lint/suspicious/noExplicitAny: as undici's types have it.
export interface ResponseData {
  statusCode: number;
  statusText: string;
  headers: any;
  body: ResponseBody;
  /** Complete once the body has ended. */
  trailers: Record<string, string>;
  opaque: any;
  context: any;
}
// biome-ignore-end lint/suspicious/noExplicitAny: as undici's types have it.

/** Of a body that goes into an error. */
const ERROR_BODY_BYTES_MAX = 128 * 1024;

export function request(
  dispatcher: Dispatching,
  options: RequestOptions,
  callback: Callback<ResponseData> | undefined,
): Promise<ResponseData> | undefined {
  return callOrPromise(callback, options?.opaque, (done) => {
    checkOptions(options);
    dispatcher.dispatch(withMethod(options), new RequestHandler(options, done));
  });
}

/** Of a request that names none. */
export function withMethod(options: ApiOptions): DispatchOptions {
  return options.method === undefined ? { ...options, method: 'GET' } : (options as DispatchOptions);
}

class RequestHandler extends ApiHandler {
  #done: Callback<ResponseData> | null;
  #body: ResponseBody | null = null;
  readonly #trailers: Record<string, string> = {};

  constructor(options: RequestOptions, done: Callback<ResponseData>) {
    super(options);
    const { highWaterMark } = options;
    if (highWaterMark !== undefined && !(Number.isFinite(highWaterMark) && highWaterMark >= 0)) {
      throw invalidDispatch('invalid highWaterMark');
    }
    this.#done = done;
  }

  protected override aborted(reason: unknown): void {
    if (this.#body === null) super.aborted(reason);
    else this.#body.destroy(reason as Error);
  }

  onResponseStart(controller: DispatchController, statusCode: number, headers: ParsedFields, statusText = ''): void {
    if (this.isInfo(controller, statusCode, headers)) return;
    const body = new ResponseBody(controller, String(headers['content-type'] ?? ''), this.options.highWaterMark);
    body.once('close', () => this.ended());
    this.#body = body;
    const done = this.#done as Callback<ResponseData>;
    this.#done = null;
    const data: ResponseData = {
      statusCode,
      statusText,
      headers: this.shown(controller, headers),
      body,
      trailers: this.#trailers,
      opaque: this.options.opaque ?? null,
      context: this.context,
    };
    if (this.options.throwOnError === true && statusCode >= 400) void failWith(data, done);
    else done(null, data);
  }

  onResponseData(controller: DispatchController, chunk: Buffer): void {
    if (this.#body?.push(chunk) === false) controller.pause();
  }

  onResponseEnd(_controller: DispatchController, trailers: ParsedFields): void {
    copyFields(this.#trailers, trailers);
    this.#body?.push(null);
  }

  onResponseError(_controller: DispatchController | null, error: Error): void {
    const done = this.#done;
    const body = this.#body;
    this.#done = null;
    this.#body = null;
    if (body === null) this.ended();
    if (done !== null) queueMicrotask(() => done(error, { opaque: this.options.opaque ?? null } as ResponseData));
    // Who awaits the response gets it before its body fails.
    if (body !== null) queueMicrotask(() => body.on('error', () => undefined).destroy(error));
  }
}

/** As undici 6: the beginning of the body goes into the error. */
async function failWith(
  { statusCode, statusText, headers, body, opaque }: ResponseData,
  done: Callback<ResponseData>,
): Promise<void> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of body) {
      chunks.push(chunk as Buffer);
      bytes += (chunk as Buffer).length;
      if (bytes > ERROR_BODY_BYTES_MAX) break;
    }
  } catch {
    // The status is what counts.
  }
  const message = `Response status code ${statusCode}${statusText ? `: ${excerptText(statusText)}` : ''}`;
  const error = new DispatchError('UND_ERR_RESPONSE_STATUS_CODE', message);
  const text = bytes > ERROR_BODY_BYTES_MAX ? undefined : Buffer.concat(chunks).toString();
  const facts = { status: statusCode, statusCode, headers: headers as ShownHeaders, body: text };
  done(Object.assign(error, facts), { opaque } as ResponseData);
}
