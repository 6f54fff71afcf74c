/** URLs that are answered in this thread, without input or output: `data:` and `blob:` (Fetch §4.3 "scheme fetch"). */

import { resolveObjectURL } from 'node:buffer';
import { invalidArgument, TransferError } from '../protocol/errors.ts';
import { type LocalContent, readDataUrl } from './data-url.ts';
import { PoolResponse } from './response.ts';

export function isLocalScheme(protocol: string): boolean {
  return protocol === 'data:' || protocol === 'blob:';
}

/** `url`: of such a scheme. Rejects with TransferError INVALID_ARGUMENT. */
export async function answerLocally(url: URL, href: string, method: string): Promise<PoolResponse> {
  const content = url.protocol === 'data:' ? readDataUrl(url.href) : await readBlobUrl(url, method);
  const { contentType, body } = content;
  const length = url.protocol === 'data:' ? '' : `content-length: ${body.length}\r\n`;
  const type = contentType === '' ? '' : `content-type: ${contentType}\r\n`;
  const given = method === 'HEAD' ? new Uint8Array(0) : body;
  return PoolResponse.local(`HTTP/1.1 200 OK\r\n${length}${type}\r\n`, given, href, method);
}

async function readBlobUrl(url: URL, method: string): Promise<LocalContent> {
  if (method !== 'GET')
    throw invalidArgument('method', `A blob: URL can only be got, so the method cannot be ${method}.`);
  const blob = resolveObjectURL(url.href);
  if (blob === undefined) {
    throw invalidArgument('input', 'The blob: URL names nothing in this thread; it may have been revoked.');
  }
  try {
    return { contentType: blob.type, body: new Uint8Array(await blob.arrayBuffer()) };
  } catch (cause) {
    throw new TransferError('INVALID_ARGUMENT', 'The Blob behind the blob: URL could not be read; see the cause.', {
      limit: 'input',
      cause,
    });
  }
}
