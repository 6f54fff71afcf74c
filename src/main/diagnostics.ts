/**
 * Events of requests on the `diagnostics_channel` names of undici, in its shapes as far as instrumentations use them, so that
 * OpenTelemetry's and others see ours. Nothing of this runs without a subscriber: `isObserved` is asked once per request, and one that
 * is observed has a `RequestTrace`. Who tells it what happens: `traced-exchange.ts` for fetch, `dispatch-exchange.ts` for the dispatcher.
 *
 *     undici:request:create      { request }                       before anything is sent: headers may be added
 *     undici:request:bodySent    { request }                       all of the body is on its way to its shard
 *     undici:client:sendHeaders  { request, headers, socket }      with the response's head, because only then the connection is known here
 *     undici:request:headers     { request, response }
 *     undici:request:trailers    { request, trailers }             the response is complete
 *     undici:request:error       { request, error }
 */

import { channel } from 'node:diagnostics_channel';
import type { HeaderPair } from '../protocol/http1/header-pairs.ts';
import { reasonPhrase } from '../protocol/http1/header-section.ts';
import { checkHeader, normalizeHeaderValue } from '../protocol/http1/request-head.ts';
import { type HeadFrame, readInfo } from '../protocol/port/response-frames.ts';
import { asBuffers, headFields, trailerFields } from './dispatcher/raw-headers.ts';

const channels = {
  create: channel('undici:request:create'),
  bodySent: channel('undici:request:bodySent'),
  sendHeaders: channel('undici:client:sendHeaders'),
  headers: channel('undici:request:headers'),
  trailers: channel('undici:request:trailers'),
  error: channel('undici:request:error'),
};

export function isObserved(): boolean {
  return (
    channels.create.hasSubscribers ||
    channels.headers.hasSubscribers ||
    channels.trailers.hasSubscribers ||
    channels.error.hasSubscribers ||
    channels.bodySent.hasSubscribers ||
    channels.sendHeaders.hasSubscribers
  );
}

/** What a subscriber sees of a request: undici's Request as instrumentations know it. One object throughout, so that it can be a key. */
export class ObservedRequest {
  readonly origin: string;
  readonly path: string;
  readonly method: string;
  /** Names and values in turn; those that were added too. */
  readonly headers: string[];
  completed = false;
  aborted = false;
  readonly #added: HeaderPair[] = [];
  #isSent = false;

  constructor(origin: string, path: string, method: string, headers: readonly HeaderPair[]) {
    this.origin = origin;
    this.path = path;
    this.method = method;
    this.headers = headers.flat();
  }

  /** While `undici:request:create` is told. Throws TransferError INVALID_ARGUMENT for what may not be sent. */
  addHeader(name: string, value: string): this {
    const trimmed = normalizeHeaderValue(String(value));
    checkHeader(name, trimmed);
    this.headers.push(name, trimmed);
    if (!this.#isSent) this.#added.push([name, trimmed]);
    return this;
  }

  /** @internal What was added; later additions have no effect. */
  takeAdded(): readonly HeaderPair[] {
    this.#isSent = true;
    return this.#added;
  }
}

export class RequestTrace {
  readonly #request: ObservedRequest;
  /** What subscribers have added to its headers. */
  readonly added: readonly HeaderPair[];

  /** Tells of the request. */
  constructor(origin: string, path: string, method: string, headers: readonly HeaderPair[]) {
    this.#request = new ObservedRequest(origin, path, method, headers);
    if (channels.create.hasSubscribers) channels.create.publish({ request: this.#request });
    this.added = this.#request.takeAdded();
  }

  bodySent(): void {
    if (channels.bodySent.hasSubscribers) channels.bodySent.publish({ request: this.#request });
  }

  head(frame: HeadFrame): void {
    const request = this.#request;
    if (channels.sendHeaders.hasSubscribers) {
      channels.sendHeaders.publish({ request, headers: headText(request), socket: peerOf(frame) });
    }
    if (!channels.headers.hasSubscribers) return;
    const { status, text, infoBytes, headBytes } = frame;
    const head = text.slice(infoBytes, infoBytes + headBytes);
    const headers = asBuffers(headFields(head));
    channels.headers.publish({ request, response: { statusCode: status, headers, statusText: reasonPhrase(head) } });
  }

  /** `trailers`: of the section's text. */
  end(trailers: string): void {
    this.#request.completed = true;
    if (!channels.trailers.hasSubscribers) return;
    channels.trailers.publish({ request: this.#request, trailers: asBuffers(trailerFields(trailers)) });
  }

  error(error: unknown): void {
    this.#request.aborted = true;
    if (channels.error.hasSubscribers) channels.error.publish({ request: this.#request, error });
  }
}

function headText({ method, path, headers }: ObservedRequest): string {
  let text = `${method} ${path} HTTP/1.1\r\n`;
  for (let index = 0; index < headers.length; index += 2) text += `${headers[index]}: ${headers[index + 1]}\r\n`;
  return text;
}

/** As much of a socket as can be told. */
function peerOf(frame: HeadFrame): { remoteAddress: string; remotePort: number; remoteFamily: string } {
  const { remoteAddress } = readInfo(frame);
  const colon = remoteAddress.lastIndexOf(':');
  const isSix = remoteAddress.startsWith('[');
  return {
    remoteAddress: isSix ? remoteAddress.slice(1, colon - 1) : remoteAddress.slice(0, colon),
    remotePort: Number(remoteAddress.slice(colon + 1)),
    remoteFamily: isSix ? 'IPv6' : 'IPv4',
  };
}
