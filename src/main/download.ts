/**
 * One download: requests, until the whole is in its file. What broke off goes on where it ended, as long as the server says that
 * it is still the same (Range with If-Range, RFC 9110 §13.1.5 and §14); what changed begins anew. The body goes from the response to
 * the file chunk by chunk, each waiting for the one before, so a slow disk stops the socket and nothing is collected.
 */

import { createHash } from 'node:crypto';
import { once } from 'node:events';
import path from 'node:path';
import type { Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { TransferError } from '../protocol/errors.ts';
import { excerptText } from '../protocol/http1/excerpt.ts';
import { thrownText } from '../protocol/thrown-text.ts';
import { DownloadError } from './download-error.ts';
import { type Checksum, hasChecksum, PartFile } from './download-file.ts';
import { nameFromDisposition, nameFromUrl } from './download-name.ts';
import type { FetchInit } from './fetch-init.ts';
import { parseHttpDate } from './http-date.ts';
import type { FetchResponse } from './response.ts';

/** Where it goes: a path that the caller chose, a folder in which it gets a name, or a stream. */
export type DownloadTarget =
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'folder'; readonly folder: string; readonly disposition: boolean }
  | { readonly kind: 'stream'; readonly stream: Writable };

export interface DownloadTask {
  readonly url: string;
  readonly target: DownloadTarget;
  readonly checksum: Checksum | null;
}

export interface DownloadOptions {
  readonly fetch: (url: string, init: FetchInit) => Promise<FetchResponse>;
  /** Of every request. */
  readonly init: FetchInit;
  /** What an earlier run left is gone on with; a file that is there already is taken for whole. */
  readonly resume: boolean;
  /** Replaces files. */
  readonly force: boolean;
  /** An answer of 400 or more is an error; false: its body is kept like any other. */
  readonly fail: boolean;
  /** After the first attempt. */
  readonly retries: number;
  /** Before the first retry; doubled each time. */
  readonly retryDelayMs: number;
  readonly signal: AbortSignal;
  /** Paths that other downloads of this run write to. */
  readonly claimed: Set<string>;
}

/** How far it is; changes while it goes on. */
export interface DownloadState {
  /** Without credentials: what is told and written down. */
  readonly url: string;
  /** null: not known yet. */
  path: string | null;
  phase: 'waiting' | 'running' | 'retrying' | 'done' | 'there' | 'failed';
  /** Of the whole, those of earlier runs included. */
  bytes: number;
  /** -1: unknown. */
  total: number;
  /** Bytes that came over the network, also those that were dropped. */
  received: number;
  /** Where it went on; 0: from the beginning. */
  resumedFrom: number;
  attempts: number;
  status: number;
  beganMs: number;
  endedMs: number;
  error: DownloadError | null;
}

/** Why it is tried again. */
interface Setback {
  readonly error: DownloadError;
  /** The server asks for so much; -1: it does not say. */
  readonly waitMs: number;
}

const STATUSES_RETRIED: ReadonlySet<number> = new Set([408, 425, 429, 500, 502, 503, 504]);
/** What another attempt cannot change. */
const CODES_FINAL: ReadonlySet<string> = new Set([
  'INVALID_ARGUMENT',
  'CERTIFICATE_INVALID',
  'TOO_MANY_REDIRECTS',
  'BAD_REDIRECT',
  'LIMIT_EXCEEDED',
  'POOL_CLOSED',
]);
/** Before anything was said by the server. */
const CODES_TARGET: ReadonlySet<string> = new Set([
  'COULDNT_RESOLVE',
  'COULDNT_CONNECT',
  'CONNECT_TIMEOUT',
  'TLS_FAILED',
  'CERTIFICATE_INVALID',
  'PROXY_FAILED',
]);
const RETRY_DELAY_MS_MAX = 60_000;
const MS_PER_SECOND = 1_000;

export function newDownloadState(url: string): DownloadState {
  return {
    url,
    path: null,
    phase: 'waiting',
    bytes: 0,
    total: -1,
    received: 0,
    resumedFrom: 0,
    attempts: 0,
    status: 0,
    beganMs: 0,
    endedMs: 0,
    error: null,
  };
}

/** Ends with `state.phase` done, there or failed; never rejects. */
export async function download(task: DownloadTask, options: DownloadOptions, state: DownloadState): Promise<void> {
  const one = new Download(task, options, state);
  state.beganMs = performance.now();
  state.phase = 'running';
  try {
    state.phase = (await one.run()) ? 'done' : 'there';
  } catch (error) {
    state.phase = 'failed';
    state.error = options.signal.aborted ? aborted(error) : errorOf(error);
  } finally {
    state.endedMs = performance.now();
    await one.release();
  }
}

class Download {
  readonly #task: DownloadTask;
  readonly #options: DownloadOptions;
  readonly #state: DownloadState;
  #file: PartFile | null = null;
  #claim: string | null = null;

  constructor(task: DownloadTask, options: DownloadOptions, state: DownloadState) {
    this.#task = task;
    this.#options = options;
    this.#state = state;
  }

  /** False: it was there already. */
  async run(): Promise<boolean> {
    const { target, url } = this.#task;
    if (target.kind === 'file' && (await this.#open(target.path))) return false;
    if (target.kind === 'folder' && !target.disposition) {
      if (await this.#open(path.join(target.folder, nameFromUrl(new URL(url))))) return false;
    }
    for (let retry = 0; ; retry++) {
      const setback = await this.#attempt();
      if (setback === null) return true;
      if (retry >= this.#options.retries) throw setback.error;
      this.#state.phase = 'retrying';
      const backOffMs = Math.min(this.#options.retryDelayMs * 2 ** retry, RETRY_DELAY_MS_MAX);
      await sleep(Math.max(backOffMs, setback.waitMs), undefined, { signal: this.#options.signal });
      this.#state.phase = 'running';
    }
  }

  async release(): Promise<void> {
    // Nothing came: nothing is left. Whoever waits hears of what went wrong before: that a file could not be closed or removed as well
    // would only hide it.
    if (this.#file?.size === 0 && this.#state.phase === 'failed') await this.#file.discard().catch(() => {});
    await this.#file?.close().catch(() => {});
    if (this.#claim !== null && this.#state.phase === 'failed') this.#options.claimed.delete(this.#claim);
  }

  /** True: it is there already. */
  async #open(file: string): Promise<boolean> {
    const { resume, force, claimed } = this.#options;
    const claim = path.resolve(file);
    if (claimed.has(claim)) {
      throw new DownloadError(
        'file',
        `Two of the downloads would be written to ${file}; name one of them with --output.`,
      );
    }
    claimed.add(claim);
    this.#claim = claim;
    this.#state.path = file;
    const { checksum } = this.#task;
    const { url } = this.#state;
    const part = new PartFile(file, force, checksum);
    if (await part.exists(resume && !force)) {
      if (checksum === null || (await hasChecksum(file, checksum))) return true;
      throw new DownloadError(
        'checksum',
        `${file} is there already and does not have the ${checksum.kind} that was given; use --force to replace it.`,
      );
    }
    await part.open(url, resume);
    this.#file = part;
    this.#state.bytes = part.size;
    this.#state.resumedFrom = part.size;
    return false;
  }

  /** null: it is whole. Throws what no other attempt can change. */
  async #attempt(): Promise<Setback | null> {
    const part = this.#file;
    const { origin, size } = part ?? { origin: null, size: 0 };
    // All of it came, and then something else went wrong.
    if (part !== null && origin !== null && size > 0 && size === origin.total) {
      await part.finish();
      return null;
    }
    const validator = size > 0 ? (origin?.validator ?? null) : null;
    if (part !== null && size > 0 && validator === null) await this.#restart(part);
    this.#state.attempts++;
    try {
      const response = await this.#request(validator, size);
      this.#state.status = response.status;
      const refusal = this.#refusalOf(response, validator !== null);
      if (refusal !== null) {
        await response.body?.cancel();
        return await this.#refused(response, refusal);
      }
      await this.#receive(response, validator !== null ? size : 0);
      return null;
    } catch (error) {
      if (error instanceof DownloadError || this.#options.signal.aborted) throw error;
      const told = errorOf(error);
      const cause = error instanceof Error ? error.cause : undefined;
      if (TransferError.is(cause) && CODES_FINAL.has(cause.code)) throw told;
      // What went to a stream cannot be taken back.
      if (this.#task.target.kind === 'stream' && this.#state.bytes > 0) throw told;
      return { error: told, waitMs: -1 };
    }
  }

  #request(validator: string | null, size: number): Promise<FetchResponse> {
    const { fetch, init, signal } = this.#options;
    const given = (init.headers ?? []) as [string, string][];
    const range: [string, string][] =
      validator === null
        ? []
        : [
            ['range', `bytes=${size}-`],
            ['if-range', validator],
          ];
    return fetch(this.#task.url, { ...init, headers: [...given, ...range], signal });
  }

  /** Why its body is not what is wanted; null: it is. */
  #refusalOf(response: FetchResponse, asksForRest: boolean): string | null {
    const { status } = response;
    const { url } = this.#state;
    if (status === 206)
      return asksForRest ? this.#restRefusal(response) : `${url} answered with a part that nobody asked for.`;
    if (status === 416 && asksForRest) return `${url} has no such rest.`;
    if (status >= 400 && this.#options.fail) return `${url} answered ${status}${reasonOf(response)}`;
    if (status >= 300 && status < 400) return `${url} answered ${status}, which leads nowhere`;
    return null;
  }

  /** A rest must begin where the file ends and belong to the same whole. */
  #restRefusal(response: FetchResponse): string | null {
    const { url } = this.#state;
    const [, first, last, total] =
      /^bytes (\d+)-(\d+)\/(\d+|\*)$/i.exec(response.headers.get('content-range') ?? '') ?? [];
    const origin = this.#file?.origin ?? null;
    if (first === undefined || Number(first) !== this.#file?.size)
      return `${url} answered with another part than was asked for.`;
    const whole = total === '*' ? -1 : Number(total);
    if (whole >= 0 && Number(last) !== whole - 1) return `${url} answered with a part that does not reach the end.`;
    if (whole >= 0 && origin !== null && origin.total >= 0 && origin.total !== whole)
      return `${url} has another length by now.`;
    const tag = response.headers.get('etag');
    const validator = origin?.validator ?? null;
    if (tag !== null && validator?.startsWith('"') && tag !== validator) return `${url} has changed.`;
    return null;
  }

  async #refused(response: FetchResponse, sentence: string): Promise<Setback | null> {
    const { status } = response;
    const error = new DownloadError('status', sentence.endsWith('.') ? sentence : `${sentence}.`);
    if (status === 206 || status === 416) {
      if (this.#file === null || this.#file.size === 0) throw error;
      // From the beginning, at once: that is no failure of the server's.
      await this.#restart(this.#file);
      return await this.#attempt();
    }
    if (!STATUSES_RETRIED.has(status)) throw error;
    return { error, waitMs: retryAfterMs(response) };
  }

  async #restart(part: PartFile): Promise<void> {
    await part.restart();
    this.#state.bytes = 0;
    this.#state.resumedFrom = 0;
  }

  async #receive(response: FetchResponse, from: number): Promise<void> {
    const { target, checksum } = this.#task;
    const offset = response.status === 206 ? from : 0;
    const length = lengthOf(response);
    this.#state.total = length < 0 ? -1 : offset + length;
    if (target.kind === 'stream') {
      await this.#receiveToStream(response, target.stream, checksum);
      return;
    }
    if (this.#file === null && target.kind === 'folder') {
      const name =
        nameFromDisposition(response.headers.get('content-disposition')) ?? nameFromUrl(new URL(this.#task.url));
      await this.#open(path.join(target.folder, name));
    }
    const part = this.#file as PartFile;
    if (offset === 0) await this.#restart(part);
    await part.note({ url: this.#state.url, validator: validatorOf(response), total: this.#state.total });
    for await (const chunk of bodyOf(response)) {
      this.#state.received += chunk.length;
      await part.append(chunk);
      this.#state.bytes = part.size;
    }
    await part.finish();
  }

  /** A checksum is known when everything has gone out: the caller hears of it all the same. */
  async #receiveToStream(response: FetchResponse, stream: Writable, checksum: Checksum | null): Promise<void> {
    const hash = checksum === null ? null : createHash(checksum.kind);
    for await (const chunk of bodyOf(response)) {
      this.#state.received += chunk.length;
      this.#state.bytes += chunk.length;
      hash?.update(chunk);
      if (!stream.write(chunk)) await once(stream, 'drain', { signal: this.#options.signal });
    }
    // Done is what was written, not what is on its way; whether it could be is the stream's to tell.
    await new Promise<void>((resolve) => void stream.write('', () => resolve()));
    const found = hash?.digest('hex');
    if (checksum !== null && found !== checksum.hex) {
      throw new DownloadError(
        'checksum',
        `${this.#state.url} has the ${checksum.kind} ${found} and not ${checksum.hex}.`,
      );
    }
  }
}

function bodyOf(response: FetchResponse): AsyncIterable<Uint8Array> {
  return (response.body ?? []) as unknown as AsyncIterable<Uint8Array>;
}

/** The server's own words, quoted: they end on terminals. '': none. */
function reasonOf({ statusText }: FetchResponse): string {
  return statusText === '' ? '' : ` ${excerptText(statusText)}`;
}

/** -1: it does not say. */
function lengthOf(response: FetchResponse): number {
  const text = response.headers.get('content-length');
  return text !== null && /^\d{1,15}$/.test(text) ? Number(text) : -1;
}

/** What says later whether it is still the same: a strong tag, or a date that is strong (RFC 9110 §8.8.2.2). */
function validatorOf(response: FetchResponse): string | null {
  const tag = response.headers.get('etag');
  if (tag?.startsWith('"')) return tag;
  const modified = response.headers.get('last-modified');
  if (modified === null) return null;
  const age = parseHttpDate(response.headers.get('date') ?? '') - parseHttpDate(modified);
  return age >= MS_PER_SECOND ? modified : null;
}

function retryAfterMs(response: FetchResponse): number {
  const text = response.headers.get('retry-after') ?? '';
  const ms = /^\d{1,9}$/.test(text) ? Number(text) * MS_PER_SECOND : parseHttpDate(text) - Date.now();
  return Number.isNaN(ms) ? -1 : Math.min(Math.max(ms, 0), RETRY_DELAY_MS_MAX);
}

function errorOf(error: unknown): DownloadError {
  if (error instanceof DownloadError) return error;
  const cause = error instanceof Error ? error.cause : undefined;
  if (TransferError.is(cause))
    return new DownloadError(CODES_TARGET.has(cause.code) ? 'target' : 'transfer', cause.message, { cause });
  return new DownloadError('transfer', thrownText(error), { cause: error });
}

function aborted(cause: unknown): DownloadError {
  return new DownloadError('aborted', 'It was ended early; what had come is kept for --continue.', { cause });
}
