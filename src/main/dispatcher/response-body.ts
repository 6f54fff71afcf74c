/** The body of a response as undici's request() gives it: a Readable with the consumers of fetch (text(), json(), …), and dump(). */

import { Blob } from 'node:buffer';
import { Readable } from 'node:stream';
import { isError } from '../../protocol/built-ins.ts';
import { DispatchError, invalidDispatch } from './errors.ts';

/** Of dump(): so much is read to keep the connection; more closes it. */
const DUMP_BYTES_MAX = 128 * 1024;
const HIGH_WATER_BYTES = 64 * 1024;

interface BodyFlow {
  resume(): void;
  abort(reason?: Error): void;
}

export class ResponseBody extends Readable {
  readonly #flow: BodyFlow;
  readonly #contentType: string;
  #used = false;
  #web: ReadableStream<Uint8Array> | null = null;

  constructor(flow: BodyFlow, contentType: string, highWaterMark = HIGH_WATER_BYTES) {
    super({ highWaterMark });
    this.#flow = flow;
    this.#contentType = contentType;
  }

  override _read(): void {
    this.#flow.resume();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    const failure = error ?? (this.readableEnded ? null : new DispatchError('UND_ERR_ABORTED'));
    if (failure !== null) this.#flow.abort(failure);
    // Who awaits the response has had no chance yet to listen for errors.
    if (this.#used) callback(failure);
    else setImmediate(callback, failure);
  }

  override on(event: string | symbol, listener: (...given: never[]) => void): this {
    if (event === 'data' || event === 'readable') this.#used = true;
    return super.on(event as string, listener as (...given: unknown[]) => void);
  }

  override addListener(event: string | symbol, listener: (...given: never[]) => void): this {
    return this.on(event, listener);
  }

  get bodyUsed(): boolean {
    return this.#used || Readable.isDisturbed(this);
  }

  /** As a web stream (ReadableStream), though undici's types call it never. */
  get body(): never {
    this.#web ??= webStreamOf(this);
    return this.#web as never;
  }

  async text(): Promise<string> {
    return decoder.decode(await this.#collect());
  }

  async json(): Promise<unknown> {
    return JSON.parse(await this.text());
  }

  async arrayBuffer(): Promise<ArrayBuffer> {
    const bytes = await this.#collect();
    return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length) as ArrayBuffer;
  }

  async bytes(): Promise<Uint8Array<ArrayBuffer>> {
    return new Uint8Array(await this.arrayBuffer());
  }

  /** That of `node:buffer`, as undici's types have it: where the DOM's are in force, its Blob is another type. */
  async blob(): Promise<Blob> {
    return new Blob([await this.bytes()], { type: this.#contentType });
  }

  /** Not supported, as in undici. */
  async formData(): Promise<never> {
    throw new DispatchError('UND_ERR_NOT_SUPPORTED', 'formData() of a raw body is not supported; use fetch.');
  }

  /** Reads the rest and forgets it, up to `limit` bytes (default 131,072); a longer body closes its connection. Rejects only when `signal` is aborted. */
  // biome-ignore lint/suspicious/noExplicitAny: null, which undici's types call void.
  async dump(options: { limit?: number; signal?: AbortSignal } = {}): Promise<any> {
    const { limit = DUMP_BYTES_MAX, signal } = options ?? {};
    if (!Number.isFinite(limit) || limit < 0) throw invalidDispatch('limit must be a number of bytes');
    signal?.throwIfAborted();
    if (this.closed) return null;
    return new Promise((resolve, reject) => {
      let left = limit;
      const aborted = (): void => {
        this.destroy(signal?.reason);
      };
      signal?.addEventListener('abort', aborted, { once: true });
      this.on('close', () => {
        signal?.removeEventListener('abort', aborted);
        if (signal?.aborted) reject(signal.reason);
        else resolve(null);
      });
      this.on('error', () => undefined);
      this.on('data', (chunk: Buffer) => {
        left -= chunk.length;
        if (left <= 0) this.destroy();
      });
      this.resume();
    });
  }

  #collect(): Promise<Buffer> {
    if (this.errored) return Promise.reject(this.errored);
    if (this.bodyUsed) return Promise.reject(new TypeError('unusable'));
    return new Promise((resolve, reject) => {
      const chunks: Buffer[] = [];
      this.on('data', (chunk: Buffer) => chunks.push(chunk));
      this.on('end', () => resolve(chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks)));
      this.on('error', reject);
      this.on('close', () => reject(new DispatchError('UND_ERR_ABORTED')));
    });
  }
}

/** Begins to read only when it is read itself: until then text() and its like have the body. */
function webStreamOf(body: Readable): ReadableStream<Uint8Array> {
  let pieces: AsyncIterator<Uint8Array> | null = null;
  return new ReadableStream({
    type: 'bytes',
    async pull(controller) {
      pieces ??= body[Symbol.asyncIterator]() as AsyncIterator<Uint8Array>;
      const { done, value } = await pieces.next();
      if (!done) {
        controller.enqueue(Uint8Array.from(value));
        return;
      }
      controller.close();
      controller.byobRequest?.respond(0);
    },
    cancel(reason) {
      // Who cancels hears of no failure.
      body.on('error', () => undefined);
      body.destroy(isError(reason) ? reason : undefined);
    },
  });
}

/** The byte order mark is taken off, as fetch does. */
const decoder = new TextDecoder();
