/**
 * FormData as a request body: RFC 7578, encoded as the HTML standard does ("multipart/form-data encoding algorithm"), so that
 * servers get what a browser would send. Files are read while they are sent.
 *
 *     body      = *( "--" boundary CRLF header CRLF content CRLF ) "--" boundary "--" CRLF
 *     header    = 'Content-Disposition: form-data; name="' name '"' [ '; filename="' filename '"' ] CRLF
 *                 [ "Content-Type: " type CRLF ]
 */

import { randomBytes } from 'node:crypto';
import { invalidArgument } from '../protocol/errors.ts';
import { describeKind } from '../protocol/options.ts';
import { type BlobLike, type BodyPart, BodyParts, bytesOfParts, isBlob } from './body-parts.ts';
import type { ReadyBody } from './fetch-body.ts';

/** FormData of any class: it is read by iterating over it. What lib.dom says of FormData lacks its tag, and in some versions its iterator. */
export interface FormDataLike {
  append(name: string, value: string): void;
  get(name: string): unknown;
  getAll(name: string): unknown[];
  has(name: string): boolean;
}

/** What every FormData is at run time. */
interface FormDataEntries extends Iterable<[string, unknown]> {
  readonly [Symbol.toStringTag]: string;
}

/** Unguessable (HOSTILE 88): who knows a boundary and may write one field could write others (CVE-2025-22150). */
const BOUNDARY_BYTES = 18;
const BOUNDARY_PREFIX = 'formdata-';

const FILE_NAME_DEFAULT = 'blob';
const FILE_TYPE_DEFAULT = 'application/octet-stream';

export function isFormData(value: unknown): value is FormDataLike & FormDataEntries {
  return (
    typeof value === 'object' &&
    value !== null &&
    (value as FormDataEntries)[Symbol.toStringTag] === 'FormData' &&
    typeof (value as FormDataLike).append === 'function' &&
    typeof (value as FormDataLike).getAll === 'function' &&
    typeof (value as FormDataEntries)[Symbol.iterator] === 'function'
  );
}

/** The entries as they are now. Throws TransferError INVALID_ARGUMENT for an entry that is neither text nor a Blob. */
export function formDataBody(form: FormDataEntries): ReadyBody {
  const boundary = BOUNDARY_PREFIX + randomBytes(BOUNDARY_BYTES).toString('base64url');
  const parts: BodyPart[] = [];
  let text = '';
  for (const [name, value] of form) {
    const start = `--${boundary}\r\nContent-Disposition: form-data; name="${escaped(normalized(String(name)))}"`;
    if (typeof value === 'string') {
      text += `${start}\r\n\r\n${normalized(value)}\r\n`;
      continue;
    }
    if (!isBlob(value)) {
      throw invalidArgument('body', `An entry of FormData must be text, a Blob or a File, not ${describeKind(value)}.`);
    }
    text += `${start}; filename="${escaped(fileName(value))}"\r\nContent-Type: ${fileType(value)}\r\n\r\n`;
    parts.push(Buffer.from(text, 'utf8'), value);
    text = '\r\n';
  }
  const end = Buffer.from(`${text}--${boundary}--\r\n`, 'utf8');
  const contentType = `multipart/form-data; boundary=${boundary}`;
  // Without files it is here, whole.
  if (parts.length === 0) return { content: end, contentType };
  parts.push(end);
  const content = { source: new BodyParts(parts), length: bytesOfParts(parts), repeatable: true };
  return { content, contentType };
}

function fileName(file: BlobLike): string {
  const { name } = file as { name?: unknown };
  return typeof name === 'string' ? name : FILE_NAME_DEFAULT;
}

/** A Blob of another class may say anything: what could not stand in a header line is not said. */
function fileType({ type }: BlobLike): string {
  return type !== '' && /^[\x20-\x7e]+$/.test(type) ? type : FILE_TYPE_DEFAULT;
}

/** Every line end is CRLF (HTML: "create an entry", as forms do). */
function normalized(text: string): string {
  return text.replace(/\r\n|\r|\n/g, '\r\n');
}

/** What would end the quoted string or the line. */
function escaped(text: string): string {
  return text.replace(/[\r\n"]/g, (character) => {
    if (character === '"') return '%22';
    return character === '\r' ? '%0D' : '%0A';
  });
}
