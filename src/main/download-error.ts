/** Why a download failed: whose fault it is, and in one sentence what to change. */

/**
 * target    it does not resolve, refuses, or its certificate does not verify
 * status    it answered with an error
 * transfer  it broke off or timed out, after all retries
 * checksum  it is whole and not what was asked for
 * file      this machine's file system: it exists, it cannot be written
 * aborted   the caller ended it
 */
export type DownloadErrorKind = 'target' | 'status' | 'transfer' | 'checksum' | 'file' | 'aborted';

export class DownloadError extends Error {
  override readonly name = 'DownloadError';
  readonly kind: DownloadErrorKind;

  constructor(kind: DownloadErrorKind, message: string, options: { cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.kind = kind;
  }
}
