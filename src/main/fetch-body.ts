/**
 * Request bodies as callers give them, turned into bytes or into pieces, with the content type that Fetch §5.2 gives them.
 * By shape, not by class: a ReadableStream of any realm, a Node stream and an async generator are all async iterables.
 */

import { Readable } from 'node:stream';
import { isAnyArrayBuffer } from 'node:util/types';
import { isUint8Array } from '../protocol/built-ins.ts';
import { invalidArgument } from '../protocol/errors.ts';
import { describe, describeKind } from '../protocol/options.ts';
import { iteratorOf, letGo } from './body-iterator.ts';
import { type BlobLike, BodyParts, bytesOfParts, isBlob } from './body-parts.ts';
import { OutgoingEachTime } from './duplex.ts';
import { type FormDataLike, formDataBody, isFormData } from './form-data.ts';

/** What `fetch` takes as a body. Blobs, Files and FormData of any class, read while they are sent. Streams and iterables give bytes (or text, sent as UTF-8) and need `duplex: 'half'`. */
export type FetchBody =
  | string
  | ArrayBuffer
  | ArrayBufferView
  | SharedArrayBuffer
  | URLSearchParams
  | BlobLike
  | FormDataLike
  | ReadableStream
  | AsyncIterable<string | ArrayBuffer | ArrayBufferView>
  | Iterable<ArrayBuffer | ArrayBufferView>
  | null;

/** A body that comes in pieces. */
export interface BodyPieces {
  readonly source: AsyncIterable<unknown>;
  /** Bytes announced; -1: unknown, sent in chunked coding. */
  readonly length: number;
  /** Whether `source` can be read again, from its beginning: Blobs and forms can, streams cannot (Fetch: their source is null); so can what was given to nobody yet. */
  readonly repeatable: boolean;
  /** It is there: they are a Request's, which may have all of it in memory. */
  readonly ofRequest?: true;
}

/** A body ready to be sent. */
export interface ReadyBody {
  readonly content: Uint8Array | BodyPieces | null;
  /** '' : none of its own. */
  readonly contentType: string;
}

const NO_BODY: ReadyBody = { content: null, contentType: '' };

/** What a frame can tell of a body's length. */
const BYTES_MAX = 2 ** 31 - 1;

/** Whether this body can be sent again, by a redirect or a retry; the same object is given to the next request then. */
export function isRepeatable(content: ReadyBody['content']): boolean {
  return content === null || isUint8Array(content) || content.repeatable;
}

/**
 * `declared`: the length in the caller's Content-Length, or -1. Throws TransferError INVALID_ARGUMENT. `duplex` must be
 * 'half' for streams, as Fetch asks, because the response may arrive before the body is sent.
 */
export function readyBody(body: unknown, method: string, duplex: unknown, declared: number): ReadyBody {
  if (duplex !== undefined && duplex !== 'half') {
    throw invalidArgument('duplex', `duplex must be 'half', not ${describe(duplex)}.`);
  }
  if (body === undefined || body === null) return NO_BODY;
  if (method === 'GET' || method === 'HEAD') {
    throw invalidArgument('body', `A ${method} request cannot have a body (Fetch §5.4); use another method.`);
  }
  if (typeof body === 'string') return { content: Buffer.from(body, 'utf8'), contentType: 'text/plain;charset=UTF-8' };
  if (isSearchParams(body)) {
    const contentType = 'application/x-www-form-urlencoded;charset=UTF-8';
    return { content: Buffer.from(body.toString(), 'utf8'), contentType };
  }
  const bytes = bytesOf(body);
  // Copied, because it may be sent again when the caller has long used its memory for something else.
  if (bytes !== null) return { content: Buffer.from(checkLength(bytes)), contentType: '' };
  if (isFormData(body)) return formDataBody(body);
  if (isBlob(body)) return { content: blobPieces(body), contentType: body.type };
  if (isAsyncIterable(body)) return { content: pieces(body, duplex, declared), contentType: '' };
  if (typeof body !== 'object' || !(Symbol.iterator in body)) throw notABody(body);
  return { content: pieces(asAsync(body as Iterable<unknown>), duplex, declared), contentType: '' };
}

/** The bytes behind a view or buffer, not copied; null for anything else. */
export function bytesOf(value: unknown): Uint8Array | null {
  try {
    if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
    if (isAnyArrayBuffer(value)) return new Uint8Array(value);
  } catch {
    throw invalidArgument('body', 'The memory of the body was transferred away, so there is nothing left to send.');
  }
  return null;
}

/** What a source gave, as bytes. Throws TransferError INVALID_ARGUMENT. */
export function pieceBytes(piece: unknown): Uint8Array {
  if (typeof piece === 'string') return Buffer.from(piece, 'utf8');
  const bytes = bytesOf(piece);
  if (bytes !== null) return bytes;
  throw invalidArgument('body', `A body's pieces must be bytes or text, not ${describeKind(piece)}.`);
}

export function isAsyncIterable(value: unknown): value is AsyncIterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.asyncIterator in value;
}

/** A body that will not be sent: who gives it hears of it, and why (Fetch §4.1). */
export async function discard(content: ReadyBody['content'], reason?: unknown): Promise<void> {
  if (content === null || !('source' in content)) return;
  try {
    await letGo(iteratorOf(content.source), reason);
  } catch {
    // It cannot even be read.
  }
}

async function* asAsync(pieces: Iterable<unknown>): AsyncGenerator<unknown> {
  yield* pieces;
}

function pieces(body: AsyncIterable<unknown>, duplex: unknown, length: number): BodyPieces {
  if (duplex !== 'half') {
    throw invalidArgument(
      'duplex',
      "A body that comes in pieces needs duplex: 'half' (Fetch §5.4), because the response may come first.",
    );
  }
  if ((body as { locked?: unknown }).locked === true) {
    throw invalidArgument('body', 'The stream given as body is locked by a reader; give one that nobody reads.');
  }
  if (wasRead(body)) {
    throw invalidArgument(
      'body',
      'The stream given as body was read or destroyed already, so what is left is not the body; give a new stream for each request.',
    );
  }
  return { source: body, length, repeatable: body instanceof OutgoingEachTime };
}

function blobPieces(blob: BlobLike): BodyPieces {
  const parts = [blob];
  return { source: new BodyParts(parts), length: bytesOfParts(parts), repeatable: true };
}

/**
 * Whether a stream has given something away already (Fetch §5.2: "disturbed"). Paused is not read. Of one that failed the
 * answer is no: reading it gives its own error.
 */
function wasRead(body: AsyncIterable<unknown>): boolean {
  const { readableDidRead, readableEnded, destroyed, errored } = body as Partial<Readable>;
  if (errored) return false;
  // By their members too: streams of other packages, and those that ended before a byte was read.
  return (
    Readable.isDisturbed(body as never) || readableDidRead === true || readableEnded === true || destroyed === true
  );
}

/** Of this realm or of another one. */
function isSearchParams(value: unknown): value is URLSearchParams {
  return (
    value instanceof URLSearchParams ||
    (typeof value === 'object' &&
      value !== null &&
      (value as { [Symbol.toStringTag]?: unknown })[Symbol.toStringTag] === 'URLSearchParams')
  );
}

function notABody(body: unknown): Error {
  const packaged = typeof (body as { getBoundary?: unknown } | null)?.getBoundary === 'function';
  const hint = packaged ? '; use the FormData that is global in Node in place of that of a package' : '';
  return invalidArgument(
    'body',
    `body must be a string, bytes, URLSearchParams, FormData, a Blob, a stream or an iterable, not ${describeKind(body)}${hint}.`,
  );
}

function checkLength(bytes: Uint8Array): Uint8Array {
  if (bytes.length <= BYTES_MAX) return bytes;
  throw invalidArgument(
    'body',
    `A body of ${bytes.length} bytes is too long to be sent at once (at most ${BYTES_MAX}); give a stream.`,
  );
}
