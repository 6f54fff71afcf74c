/** What is sent: the targets of a run, checked to the last byte, so that nothing is found in the shards that could have been told before. */

import { accessSync, constants, readFileSync, statSync } from 'node:fs';
import { isUint8Array, isUrl } from '../../protocol/built-ins.ts';
import { invalidArgument } from '../../protocol/errors.ts';
import { type HeaderPair, type HeadersGiven, headerPairs } from '../../protocol/http1/header-pairs.ts';
import { composeRequestHead, NO_BODY, normalizeMethod } from '../../protocol/http1/request-head.ts';
import type { LoadBodyFile, LoadTarget } from '../../protocol/load/plan.ts';
import { hasTemplate, type LoadTable } from '../../protocol/load/template.ts';
import { checkInteger, checkRecord, describe, describeKind } from '../../protocol/options.ts';
import { originOf, targetOf } from '../../protocol/origin.ts';
import { shownUrl } from '../../protocol/shown-url.ts';
import { userinfoOf } from '../auth.ts';
import type { LoadOptions } from './load-options.ts';
import { Places, requestTemplateOf } from './request-template.ts';

/** Text may have templates. A file's bytes are sent as they are. */
export type LoadBody = string | Uint8Array | { readonly file: string };

/** One kind of request of a run that sends several. */
export interface LoadTargetOptions {
  /** Absolute `http:` or `https:` URL. A user name and password in it are sent as basic authentication. */
  url: string | URL;
  /** Default: `method` of the run. */
  method?: string;
  /** Behind those of the run. */
  headers?: HeadersGiven;
  /** Default: `body` of the run. */
  body?: LoadBody;
  /** How often it is sent, against the others. Default 1. */
  weight?: number;
  /** Under which name it is counted. Default: method and path. */
  tag?: string;
}

/** Either a person's or a token's. */
export type LoadAuth = { username: string; password: string } | { bearer: string };

const WEIGHT_MAX = 10_000;
/** Each has histograms of its own in every shard, 100 KiB. */
export const TAGS_MAX = 200;
/** A larger file is read anew for each request; up to here it is held once per shard. */
const HELD_FILE_BYTES_MAX = 1024 * 1024;
/** A body of unusual length, in whose place the real length is put. */
const MARKED_BYTES = 8_765_432_198_765_432;
const MARKED_LENGTH = `content-length: ${MARKED_BYTES}\r\n`;
/** What is asked for by `compressed`, as browsers do. */
const CODINGS = 'gzip, deflate, br, zstd';

/** Throws TransferError INVALID_ARGUMENT. */
export function checkTargets(given: LoadOptions, tables: readonly LoadTable[]): LoadTarget[] {
  const { url, targets } = given;
  if ((url === undefined) === (targets === undefined)) {
    throw invalidArgument('url', 'Say what to ask for: url, or targets where there are several; one of the two.');
  }
  const list = url === undefined ? targets : [{ url }];
  if (!Array.isArray(list) || list.length === 0) {
    throw invalidArgument('targets', `targets must be a list of at least one, not ${describe(list)}.`);
  }
  const checked = list.map((target: LoadTargetOptions, index) =>
    checkTarget(given, target, url === undefined ? `targets[${index}].` : '', tables),
  );
  if (new Set(checked.map(({ tag }) => tag)).size > TAGS_MAX) {
    throw invalidArgument(
      'targets',
      `There are more than ${TAGS_MAX} different tags; give targets that are counted together the same tag.`,
    );
  }
  return checked;
}

function checkTarget(
  given: LoadOptions,
  target: LoadTargetOptions,
  prefix: string,
  tables: readonly LoadTable[],
): LoadTarget {
  const {
    url: text,
    method,
    headers,
    body,
    weight,
    tag,
  } = checkRecord(prefix === '' ? 'options' : prefix.slice(0, -1), target, [
    'url',
    'method',
    'headers',
    'body',
    'weight',
    'tag',
  ]) as unknown as LoadTargetOptions;
  const places = given.templates === false ? null : new Places(tables);
  const url = parseUrl(`${prefix}url`, text, places);
  const content = contentOf(`${prefix}body`, body ?? given.body, places);
  const pairs = fieldsOf(given, url, headerPairs(headers), places);
  url.username = '';
  url.password = '';
  const hasContent = content.bytes !== null || content.file !== null || content.text !== null;
  const verb = normalizeMethod(method ?? given.method ?? (hasContent ? 'POST' : 'GET'));
  if (hasContent && (verb === 'GET' || verb === 'HEAD')) {
    throw invalidArgument(`${prefix}body`, `A ${verb} request cannot have a body (Fetch §5.4); use another method.`);
  }
  if (content.text !== null && pairs.some(([name]) => name.toLowerCase() === 'content-length')) {
    throw invalidArgument(
      'headers',
      'The length of a body with templates is not known beforehand; leave Content-Length out.',
    );
  }
  // What cannot be said to a server is found now, not in every shard.
  const { hostField: host } = originOf(url);
  const bodyBytes = content.text === null ? (content.bytes?.length ?? content.file?.bytes ?? NO_BODY) : MARKED_BYTES;
  const head = composeRequestHead({ method: verb, target: targetOf(url), host, headers: pairs, bodyBytes });
  const isTemplate = places !== null && places.count > 0;
  const shown = (marked: string) => places?.shown(marked) ?? marked;
  return {
    url: shown(url.href),
    method: verb,
    headers: isTemplate ? [] : pairs,
    body: content.bytes,
    bodyFile: content.file,
    template: isTemplate ? templateOf(places, head, content.text) : null,
    weight: checkInteger(`${prefix}weight`, weight ?? 1, 1, WEIGHT_MAX),
    tag: tag ?? `${verb} ${shown(url.pathname)}`,
  };
}

function templateOf(places: Places, head: string, text: string | null): LoadTarget['template'] {
  if (text === null) return requestTemplateOf(places, head, null);
  const marked = head.replace(MARKED_LENGTH, () => `content-length: ${places.markLength()}\r\n`);
  return requestTemplateOf(places, marked, text);
}

export function parseUrl(option: string, given: unknown, places: Places | null): URL {
  if (isUrl(given)) return new URL(given.href);
  const text = typeof given === 'string' && places !== null ? places.mark(option, given, 'url') : given;
  if (typeof text !== 'string' || !URL.canParse(text)) {
    throw invalidArgument(
      option,
      `${option} must be an absolute URL such as http://127.0.0.1:8080/, not ${shownUrl(given)}.`,
    );
  }
  const url = new URL(text);
  if (places?.isMarked(url.username + url.password + url.host)) {
    throw invalidArgument(
      option,
      `${option}: a template may stand in the path and the query, not in front of them: connections are opened before it is filled in.`,
    );
  }
  return url;
}

/** At most one of them is not null. */
interface Content {
  readonly bytes: Uint8Array | null;
  readonly file: LoadBodyFile | null;
  /** With the marks of templates. */
  readonly text: string | null;
}

function contentOf(option: string, body: unknown, places: Places | null): Content {
  const none: Content = { bytes: null, file: null, text: null };
  if (body === undefined) return none;
  if (isUint8Array(body)) return { ...none, bytes: body };
  if (typeof body === 'string') {
    if (places !== null && hasTemplate(body)) return { ...none, text: places.mark(option, body, 'body') };
    return { ...none, bytes: Buffer.from(body, 'utf8') };
  }
  if (typeof body === 'object' && body !== null && 'file' in body && typeof body.file === 'string') {
    return contentOfFile(option, body.file, none);
  }
  throw invalidArgument(option, `${option} must be a string, a Uint8Array or { file }, not ${describeKind(body)}.`);
}

function contentOfFile(option: string, path: string, none: Content): Content {
  try {
    const stats = statSync(path);
    if (!stats.isFile()) throw invalidArgument(option, `${option}: ${path} is no file.`);
    if (stats.size <= HELD_FILE_BYTES_MAX) return { ...none, bytes: readFileSync(path) };
    accessSync(path, constants.R_OK);
    return { ...none, file: { path, bytes: stats.size } };
  } catch (error) {
    const { code, syscall } = error as NodeJS.ErrnoException;
    if (syscall === undefined) throw error;
    throw invalidArgument(option, `${option}: ${path} cannot be read (${code ?? 'unknown reason'}).`);
  }
}

/** The run's fields, the target's, and those that options stand for. */
function fieldsOf(given: LoadOptions, url: URL, own: readonly HeaderPair[], places: Places | null): HeaderPair[] {
  const pairs: HeaderPair[] = [...headerPairs(given.headers), ...own].map(([name, value]) => [
    name,
    places?.mark(`headers: ${name}`, value, 'header') ?? value,
  ]);
  const has = (wanted: string) => pairs.some(([name]) => name.toLowerCase() === wanted);
  const authorization = has('authorization') ? null : authorizationOf(given.auth, url, places);
  if (authorization !== null) pairs.push(['authorization', authorization]);
  if (given.compressed === true && !has('accept-encoding')) pairs.push(['accept-encoding', CODINGS]);
  return pairs;
}

/** null: none is asked for. */
export function authorizationOf(auth: LoadAuth | undefined, url: URL, places: Places | null): string | null {
  if (auth === undefined) {
    const userinfo = userinfoOf(url);
    return userinfo === null ? null : basic(`${userinfo.username}:${userinfo.password}`, null);
  }
  const { bearer, username, password } = checkRecord('auth', auth, ['bearer', 'username', 'password']) as Record<
    string,
    string
  >;
  if (bearer !== undefined) return `Bearer ${places?.mark('auth', bearer, 'header') ?? bearer}`;
  return basic(`${username ?? ''}:${password ?? ''}`, places);
}

function basic(credentials: string, places: Places | null): string {
  if (places !== null && hasTemplate(credentials)) return `Basic ${places.markBasic(credentials)}`;
  return `Basic ${Buffer.from(credentials, 'utf8').toString('base64')}`;
}
