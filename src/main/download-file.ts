/**
 * The file of one download while it is not whole: `NAME.part` beside its later place, and `NAME.part.json`, which says what it is a
 * part of, so that a later run can go on where this one ended. It gets its name when it is whole, and never takes that of another
 * file unless told to. Neither of the two is read or written through a link, or where it is no plain file: somebody else may have laid it
 * there. Hashes what it is given.
 */

import { createHash, type Hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { constants, type FileHandle, link, open, rename, rm, stat } from 'node:fs/promises';
import { DownloadError } from './download-error.ts';

/** What a later request for the rest must agree with. */
export interface PartOrigin {
  readonly url: string;
  /** As `If-Range` takes it: a strong entity tag or a date; null: a rest cannot be asked for safely. */
  readonly validator: string | null;
  /** Bytes of the whole; -1: unknown. */
  readonly total: number;
}

/** Of the kinds that `--checksum` takes. */
export const CHECKSUM_KINDS = ['sha256', 'sha512', 'sha384', 'sha1', 'md5'] as const;

export interface Checksum {
  readonly kind: (typeof CHECKSUM_KINDS)[number];
  /** Lower case, hexadecimal. */
  readonly hex: string;
}

export class PartFile {
  readonly path: string;
  readonly #force: boolean;
  readonly #checksum: Checksum | null;
  #handle: FileHandle | null = null;
  #hash: Hash | null = null;
  #size = 0;
  origin: PartOrigin | null = null;

  constructor(path: string, force: boolean, checksum: Checksum | null) {
    this.path = path;
    this.#force = force;
    this.#checksum = checksum;
  }

  get #partPath(): string {
    return `${this.path}.part`;
  }

  get #originPath(): string {
    return `${this.path}.part.json`;
  }

  /** Bytes that are there. */
  get size(): number {
    return this.#size;
  }

  /** Whether a whole file has the name already. Throws DownloadError when it may not be replaced. */
  async exists(mayBeThere: boolean): Promise<boolean> {
    const found = await statOf(this.path);
    if (found === null) return false;
    if (!found.isFile()) throw new DownloadError('file', `${this.path} is there already and is no file.`);
    if (mayBeThere) return true;
    if (this.#force) return false;
    throw new DownloadError(
      'file',
      `${this.path} is there already; use --force to replace it, or --output to name another.`,
    );
  }

  /** `goOn`: what an earlier run left of the same URL is kept. Throws DownloadError. */
  async open(url: string, goOn: boolean): Promise<void> {
    const origin = await this.#readOrigin();
    const found = await statOf(this.#partPath);
    if (found !== null && found.size > 0 && origin === null) this.#checkMayReplace(this.#partPath);
    const keeps = goOn && found !== null && origin !== null && origin.url === url && isUsable(origin, found.size);
    this.#handle = await openPlain(
      this.#partPath,
      constants.O_RDWR | constants.O_CREAT | (keeps ? 0 : constants.O_TRUNC),
    );
    this.#hash = this.#newHash();
    if (!keeps) return;
    this.#size = found.size;
    this.origin = origin;
    if (this.#hash !== null) {
      const stream = this.#handle.createReadStream({ start: 0, end: found.size - 1, autoClose: false });
      for await (const chunk of stream) this.#hash.update(chunk as Buffer);
    }
  }

  /** What comes from here on is part of this. */
  async note(origin: PartOrigin): Promise<void> {
    this.origin = origin;
    const handle = await openPlain(this.#originPath, constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC);
    await tryFile(this.#originPath, () => handle.writeFile(JSON.stringify(origin)).finally(() => handle.close()));
  }

  async append(chunk: Uint8Array): Promise<void> {
    await tryFile(this.#partPath, async () => {
      for (let offset = 0; offset < chunk.length; ) {
        const { bytesWritten } = await this.#open.write(chunk, offset, chunk.length - offset, this.#size + offset);
        offset += bytesWritten;
      }
    });
    this.#hash?.update(chunk);
    this.#size += chunk.length;
  }

  /** Back to nothing. */
  async restart(): Promise<void> {
    this.origin = null;
    if (this.#size === 0) return;
    this.#size = 0;
    this.#hash = this.#newHash();
    await tryFile(this.#partPath, () => this.#open.truncate(0));
  }

  /** It is whole: gets its name. Throws DownloadError; what has the wrong checksum is gone then. */
  async finish(): Promise<void> {
    const checksum = this.#checksum;
    if (checksum !== null) {
      const found = this.#hash?.digest('hex') ?? '';
      this.#hash = null;
      if (found !== checksum.hex) {
        await this.discard();
        throw new DownloadError(
          'checksum',
          `${this.path} has the ${checksum.kind} ${found} and not ${checksum.hex}; it was not kept.`,
        );
      }
    }
    await this.close();
    await tryFile(this.path, () => this.#rename());
    await rm(this.#originPath, { force: true });
  }

  /** What is there stays for a later run. */
  async close(): Promise<void> {
    const handle = this.#handle;
    this.#handle = null;
    await handle?.close();
  }

  /** Nothing of it is of any use. */
  async discard(): Promise<void> {
    await this.close();
    await rm(this.#partPath, { force: true });
    await rm(this.#originPath, { force: true });
  }

  /** null: there is none. Throws DownloadError for what no download has left. */
  async #readOrigin(): Promise<PartOrigin | null> {
    const path = this.#originPath;
    if ((await statOf(path)) === null) return null;
    const handle = await openPlain(path, constants.O_RDONLY);
    const text = await tryFile(path, () => handle.readFile('utf8').finally(() => handle.close()));
    const origin = parseOrigin(text);
    if (origin === null && text !== '') this.#checkMayReplace(path);
    return origin;
  }

  #checkMayReplace(path: string): void {
    if (this.#force) return;
    throw new DownloadError(
      'file',
      `${path} is there already and was not left by a download; move it, or use --force.`,
    );
  }

  async #rename(): Promise<void> {
    if (this.#force) {
      await rename(this.#partPath, this.path);
      return;
    }
    try {
      // Unlike `rename` it does not replace what somebody has put there meanwhile.
      await link(this.#partPath, this.path);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'EEXIST') throw error;
      // Some file systems have no links.
      if ((await statOf(this.path)) !== null) throw Object.assign(new Error(), { code: 'EEXIST' });
      await rename(this.#partPath, this.path);
      return;
    }
    await rm(this.#partPath);
  }

  get #open(): FileHandle {
    if (this.#handle === null) throw new Error('The part file is not open.');
    return this.#handle;
  }

  #newHash(): Hash | null {
    return this.#checksum === null ? null : createHash(this.#checksum.kind);
  }
}

/** Whether a file has it. Throws DownloadError when it cannot be read. */
export async function hasChecksum(path: string, { kind, hex }: Checksum): Promise<boolean> {
  const hash = createHash(kind);
  await tryFile(path, async () => {
    for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  });
  return hash.digest('hex') === hex;
}

function isUsable({ validator, total }: PartOrigin, size: number): boolean {
  return size > 0 && validator !== null && (total < 0 || size <= total);
}

function parseOrigin(text: string): PartOrigin | null {
  try {
    const { url, validator, total } = JSON.parse(text) as Partial<PartOrigin>;
    if (typeof url !== 'string' || !Number.isSafeInteger(total)) return null;
    return { url, validator: typeof validator === 'string' ? validator : null, total: total as number };
  } catch {
    return null;
  }
}

async function statOf(path: string) {
  try {
    return await stat(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT') return null;
    throw fileError(path, error);
  }
}

/** Does not wait for the other end of a pipe, nor follow a link. Throws DownloadError. */
async function openPlain(path: string, flags: number): Promise<FileHandle> {
  const safe = flags | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const handle = await tryFile(path, () => open(path, safe, 0o666));
  if ((await handle.stat()).isFile()) return handle;
  await handle.close();
  throw new DownloadError('file', `${path} is there already and is no file.`);
}

async function tryFile<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw fileError(path, error);
  }
}

function fileError(path: string, error: unknown): DownloadError {
  const { code = 'unknown reason' } = error as NodeJS.ErrnoException;
  if (code === 'EEXIST')
    return new DownloadError('file', `${path} is there already; use --force to replace it.`, { cause: error });
  const sentence = code === 'ELOOP' ? 'is a symbolic link and is not followed' : `cannot be used (${code})`;
  return new DownloadError('file', `${path} ${sentence}.`, { cause: error });
}
