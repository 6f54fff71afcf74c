/** The answer that a scenario sees: its head is read and its body put together and decoded when they are asked for, not before. */

import { brotliDecompressSync, gunzipSync, inflateRawSync, inflateSync } from 'node:zlib';
import type { ScenarioResponse } from '../../protocol/load/scenario.ts';
import type { WholeBody } from '../../protocol/port/whole-body.ts';
import { fieldValues } from './head-fields.ts';

/** Of one body, as it comes and decoded. */
export const BODY_BYTES_MAX = 16 * 1024 * 1024;

/** What was received of an answer. */
export interface Received {
  readonly url: string;
  readonly status: number;
  /** In latin-1. */
  readonly head: string;
  /** null: not held. */
  readonly body: WholeBody | null;
  /** Why it was not. */
  readonly whyNot: string;
  readonly bodyBytes: number;
  readonly latencyMs: number;
  readonly redirects: number;
}

export class HeldResponse implements ScenarioResponse {
  readonly url: string;
  readonly status: number;
  readonly latencyMs: number;
  readonly redirects: number;
  readonly bodyBytes: number;
  readonly headers: ScenarioResponse['headers'];
  readonly #received: Received;
  #bytes: Uint8Array | null = null;

  constructor(received: Received) {
    const { head } = received;
    this.#received = received;
    this.url = received.url;
    this.status = received.status;
    this.latencyMs = received.latencyMs;
    this.redirects = received.redirects;
    this.bodyBytes = received.bodyBytes;
    const all = (name: string): string[] => fieldValues(head, name.toLowerCase());
    this.headers = {
      get: (name) => {
        const values = all(name);
        return values.length === 0 ? null : values.join(', ');
      },
      getAll: all,
      has: (name) => all(name).length > 0,
    };
  }

  get ok(): boolean {
    return this.status >= 200 && this.status < 300;
  }

  bytes(): Uint8Array {
    this.#bytes ??= this.#decoded();
    return this.#bytes;
  }

  text(): string {
    const { buffer, byteOffset, length } = this.bytes();
    return Buffer.from(buffer, byteOffset, length).toString('utf8');
  }

  // biome-ignore lint/suspicious/noExplicitAny: see ScenarioResponse.
  json<T = any>(): T {
    return JSON.parse(this.text()) as T;
  }

  #decoded(): Uint8Array {
    const { body, whyNot } = this.#received;
    if (body === null) throw new Error(`The body of ${this.url} ${whyNot}.`);
    const bytes = body.take();
    const coding = this.headers.get('content-encoding')?.trim().toLowerCase() ?? '';
    return bytes.length === 0 ? bytes : decode(coding, bytes);
  }
}

function decode(coding: string, bytes: Uint8Array): Uint8Array {
  const limit = { maxOutputLength: BODY_BYTES_MAX };
  switch (coding) {
    case '':
    case 'identity':
      return bytes;
    case 'gzip':
    case 'x-gzip':
      return gunzipSync(bytes, limit);
    case 'deflate':
      // Some servers leave the wrapper of zlib out, whose first byte says 8 in its low half (RFC 1950).
      return ((bytes[0] as number) & 0x0f) === 8 ? inflateSync(bytes, limit) : inflateRawSync(bytes, limit);
    case 'br':
      return brotliDecompressSync(bytes, limit);
  }
  throw new Error(`A body in the content coding ${coding} is not decoded here; ask for another one.`);
}
