/** The flags of `shardfetch get`, named as curl's where curl has them, and what they come to. Reads the files that they name. */

import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import type { DownloadTarget, DownloadTask } from '../main/download.ts';
import { CHECKSUM_KINDS, type Checksum } from '../main/download-file.ts';
import type { FetchInit } from '../main/fetch-init.ts';
import type { PoolOptions } from '../main/options.ts';
import { shownUrl } from '../protocol/shown-url.ts';
import { usageError } from './exit-codes.ts';
import { parseCount, parseDuration } from './units.ts';

/** As commander names them. */
export interface GetFlags {
  output: string[];
  remoteName?: boolean;
  remoteHeaderName?: boolean;
  outputDir?: string;
  inputFile?: string;
  continue?: string | true;
  force?: boolean;
  fail?: boolean;
  checksum: string[];
  parallel?: boolean;
  parallelMax?: string;
  limitRate?: string;
  retry?: string;
  retryDelay?: string;
  maxRedirs?: string;
  connectTimeout?: string;
  maxTime?: string;
  speedLimit?: string;
  speedTime?: string;
  header: string[];
  user?: string;
  proxy?: string;
  insecure?: boolean;
  cacert?: string;
  json?: string;
  quiet?: boolean;
}

export interface GetPlan {
  readonly tasks: readonly DownloadTask[];
  readonly pool: PoolOptions;
  readonly init: FetchInit;
  readonly parallelMax: number;
  readonly retries: number;
  readonly retryDelayMs: number;
}

const PARALLEL_DEFAULT = 50;
const PARALLEL_MAX = 10_000;
const RETRIES_DEFAULT = 3;
const RETRY_DELAY_MS = 1_000;
const SPEED_MS_DEFAULT = 30_000;
const STANDARD = '-';
const HEX_LENGTH: Readonly<Record<Checksum['kind'], number>> = {
  sha256: 64,
  sha512: 128,
  sha384: 96,
  sha1: 40,
  md5: 32,
};

const collect = (value: string, before: string[]): string[] => [...before, value];

export function addGetFlags(command: Command): Command {
  return command
    .optionsGroup('Where it is kept:')
    .option('-o, --output <file>', 'of the first URL, and so on; - for standard output (default: as -O)', collect, [])
    .option('-O, --remote-name', "the last part of the URL's path")
    .option('-J, --remote-header-name', 'the name in Content-Disposition, where there is one')
    .option('--output-dir <folder>', 'the folder of all of them')
    .option(
      '-C, --continue [offset]',
      'goes on with what an earlier run left (curl: -C -), and leaves whole files alone',
    )
    .option('--force', 'replaces files that are there already')
    .optionsGroup('What is fetched:')
    .option('-i, --input-file <file>', 'more URLs, one per line: URL [sha256:HEX]; - for standard input')
    .option('--checksum <kind:hex>', 'of the first URL, and so on: sha256, sha512, sha384, sha1, md5', collect, [])
    .option('-H, --header <line>', 'a header, "name: value"; may be given often', collect, [])
    .option('-u, --user <name:password>', 'basic authentication, to the host of each URL alone')
    .option('-f, --fail', 'an answer of 400 or more is an error (the default)')
    .option('--no-fail', 'keeps the bodies of errors too')
    .option('--max-redirs <n>', 'redirects that are followed (default: 20)')
    .optionsGroup('How:')
    .option('-Z, --parallel', 'as always: for those who know curl')
    .option('--parallel-max <n>', `at once (default: ${PARALLEL_DEFAULT})`)
    .option('--limit-rate <bytes>', 'a second, each download: 500k, 1M')
    .option(
      '--retry <n>',
      `attempts after the first (default: ${RETRIES_DEFAULT}); each goes on where the last one ended`,
    )
    .option('--retry-delay <time>', 'before the first of them, then twice as long each time (default: 1s)')
    .option('--connect-timeout <time>', 'until connected (default: 10s)')
    .option('-m, --max-time <time>', 'for each request (default: none)')
    .option('-Y, --speed-limit <bytes>', 'slower than this for --speed-time has failed')
    .option('-y, --speed-time <time>', 'default: 30s')
    .option('-x, --proxy <url>', "a proxy; default: curl's environment variables; '' for none")
    .option('-k, --insecure', 'any certificate will do')
    .option('--cacert <file>', 'roots to trust, PEM')
    .optionsGroup('What is shown:')
    .option('--json <file>', 'what became of each, as JSON; - for standard output')
    .option('-q, --quiet', 'errors only');
}

/** Throws CommandError. */
export function getPlanOf(urls: readonly string[], flags: GetFlags): GetPlan {
  if (flags.continue !== undefined && flags.continue !== true && flags.continue !== STANDARD) {
    throw usageError(`--continue finds out by itself where to go on; give it nothing, or -, not "${flags.continue}".`);
  }
  if (flags.continue !== undefined && flags.remoteHeaderName) {
    throw usageError('--continue and --remote-header-name exclude each other: the name would be known too late.');
  }
  return {
    tasks: tasksOf(urls, flags),
    pool: poolOf(flags),
    init: initOf(flags),
    parallelMax: countOf('--parallel-max', flags.parallelMax, PARALLEL_DEFAULT, 1, PARALLEL_MAX),
    retries: countOf('--retry', flags.retry, RETRIES_DEFAULT, 0, 1_000),
    retryDelayMs: flags.retryDelay === undefined ? RETRY_DELAY_MS : parseDuration('--retry-delay', flags.retryDelay),
  };
}

// ── What is fetched ────────────────────────────────────────────────────────────────────────────────────────────────────

interface Line {
  readonly url: string;
  readonly checksum: Checksum | null;
}

function tasksOf(urls: readonly string[], flags: GetFlags): DownloadTask[] {
  const given = urls.map((url): Line => ({ url: checkUrl(url, ''), checksum: null }));
  const lines = [...given, ...(flags.inputFile === undefined ? [] : readLines(flags.inputFile))];
  if (lines.length === 0) throw usageError('Say what to get: shardfetch get URL.');
  const { output, checksum } = flags;
  if (output.length > lines.length)
    throw usageError(`--output is given ${output.length} times for ${lines.length} URLs.`);
  if (checksum.length > lines.length)
    throw usageError(`--checksum is given ${checksum.length} times for ${lines.length} URLs.`);
  const toOutput = output.filter((file) => file === STANDARD).length;
  if (toOutput > 1) throw usageError('Only one download can go to standard output: others would be mixed into it.');
  if (toOutput === 1 && flags.json === STANDARD)
    throw usageError('--json and --output cannot both go to standard output.');
  return lines.map((line, index) => {
    const sum = checksum[index];
    return {
      url: line.url,
      target: targetOf(output[index], flags),
      checksum: sum === undefined ? line.checksum : parseChecksum('--checksum', sum),
    };
  });
}

function targetOf(output: string | undefined, { outputDir = '.', remoteHeaderName }: GetFlags): DownloadTarget {
  if (output === STANDARD) return { kind: 'stream', stream: process.stdout };
  if (output === '') throw usageError('--output takes the name of a file, or -.');
  if (output === undefined) return { kind: 'folder', folder: outputDir, disposition: remoteHeaderName === true };
  return { kind: 'file', path: outputDir === '.' || output.startsWith('/') ? output : `${outputDir}/${output}` };
}

function readLines(file: string): Line[] {
  const name = file === STANDARD ? 'standard input' : file;
  return readText('--input-file', file === STANDARD ? 0 : file)
    .split('\n')
    .flatMap((text, index) => {
      const line = text.trim();
      if (line === '' || line.startsWith('#')) return [];
      const [url = '', sum, ...more] = line.split(/\s+/);
      const where = `--input-file ${name}, line ${index + 1}: `;
      if (more.length > 0) throw usageError(`${where}a line is a URL and perhaps a checksum.`);
      return [
        { url: checkUrl(url, where), checksum: sum === undefined ? null : parseChecksum(where.slice(0, -2), sum) },
      ];
    });
}

function checkUrl(text: string, where: string): string {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url?.protocol === 'http:' || url?.protocol === 'https:') return text;
  throw usageError(`${where}${shownUrl(text)} is no http: or https: URL.`);
}

function parseChecksum(flag: string, text: string): Checksum {
  const [name = '', hex = '', ...more] = text.trim().toLowerCase().split(':');
  const kind = CHECKSUM_KINDS.find((known) => known === name.replace('-', ''));
  if (kind === undefined || more.length > 0 || !/^[0-9a-f]+$/.test(hex) || hex.length !== HEX_LENGTH[kind]) {
    throw usageError(
      `${flag} takes a kind and a hexadecimal sum, such as sha256:2c26…, of ${CHECKSUM_KINDS.join(', ')}; not "${text}".`,
    );
  }
  return { kind, hex };
}

// ── How ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

function poolOf({ insecure, cacert, proxy, maxRedirs, connectTimeout, maxTime }: GetFlags): PoolOptions {
  const tls = {
    ...(insecure ? { rejectUnauthorized: false } : {}),
    ...(cacert === undefined ? {} : { ca: readText('--cacert', cacert) }),
  };
  return {
    // What is kept is what was sent.
    decompress: false,
    proxy: proxy === undefined ? 'env' : proxy === '' ? null : proxy,
    ...(Object.keys(tls).length > 0 ? { tls } : {}),
    ...(maxRedirs === undefined
      ? {}
      : { redirect: { mode: 'follow', max: countOf('--max-redirs', maxRedirs, 0, 0, 1_000) } }),
    timeouts: {
      ...(connectTimeout === undefined ? {} : { connectMs: parseDuration('--connect-timeout', connectTimeout) }),
      ...(maxTime === undefined ? {} : { totalMs: parseDuration('--max-time', maxTime) }),
    },
  };
}

function initOf({ header, user, limitRate, speedLimit, speedTime }: GetFlags): FetchInit {
  const init: FetchInit = { headers: header.map(headerOf) };
  if (user !== undefined) {
    const at = user.indexOf(':');
    if (at < 0) throw usageError('--user takes name:password.');
    init.auth = { username: user.slice(0, at), password: user.slice(at + 1) };
  }
  if (speedTime !== undefined && speedLimit === undefined) throw usageError('--speed-time needs --speed-limit.');
  if (limitRate !== undefined || speedLimit !== undefined) {
    init.pace = {
      ...(limitRate === undefined ? {} : { maxReceiveBytesPerSecond: parseBytes('--limit-rate', limitRate) }),
      ...(speedLimit === undefined
        ? {}
        : {
            lowSpeedBytesPerSecond: parseBytes('--speed-limit', speedLimit),
            lowSpeedMs: speedTime === undefined ? SPEED_MS_DEFAULT : parseDuration('--speed-time', speedTime),
          }),
    };
  }
  return init;
}

function headerOf(line: string): [name: string, value: string] {
  const at = line.indexOf(':');
  if (at <= 0) throw usageError('--header takes "name: value", and one has no colon or no name in front of it.');
  return [line.slice(0, at).toLowerCase(), line.slice(at + 1).trim()];
}

/** `500k`, `1M`; with curl a k is 1,024. */
function parseBytes(flag: string, text: string): number {
  const [, number, unit = ''] = /^(\d+(?:\.\d+)?)([kmg]?)b?$/i.exec(text.trim()) ?? [];
  const value = Math.round(Number(number) * 1024 ** ' kmg'.indexOf(unit.toLowerCase() || ' '));
  if (number === undefined || value < 1)
    throw usageError(`${flag} takes bytes a second such as 500k or 1M, not "${text}".`);
  return value;
}

function countOf(flag: string, text: string | undefined, usual: number, least: number, most: number): number {
  const value = text === undefined ? usual : parseCount(flag, text);
  if (value >= least && value <= most) return value;
  throw usageError(`${flag} must be from ${least} to ${most}, not ${text}.`);
}

function readText(flag: string, file: string | number): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw usageError(`${flag}: ${file === 0 ? 'standard input' : file} cannot be read (${code ?? 'unknown reason'}).`);
  }
}
