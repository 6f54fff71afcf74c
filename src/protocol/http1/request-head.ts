/**
 * Composes the head of a request as one latin-1 string, ready for the wire, and refuses what must not get there.
 *
 * It is the last gate before the socket: whatever a caller gave, no CR, LF, NUL or character above U+00FF passes it (HOSTILE 78,
 * 79), and no field passes that decides about framing or about the connection, because those two are the engine's (HOSTILE 80,
 * 81, 86). It does not know URLs: who calls it has made target and host of one, without credentials.
 *
 *     request-line = method SP request-target SP HTTP-version                         RFC 9112 section 3
 *     field-line   = field-name ":" OWS field-value OWS                               section 5
 *     Host         = uri-host [ ":" port ]                                            RFC 9110 section 7.2
 */

import { invalidArgument, type TransferError } from '../errors.ts';
import { excerptText } from './excerpt.ts';
import { isFieldValue, isToken, isVisible, trimBlanks } from './tokens.ts';
import type { Upgrade } from './upgrade.ts';

/** `bodyBytes` of a request without a body. */
export const NO_BODY = -1;
/** `bodyBytes` of a body whose length is not known: it is sent in chunks. */
export const CHUNKED_BODY = -2;

export interface RequestHead {
  method: string;
  /** The request target: path and query, or `*`, or for a proxy the whole URL. */
  target: string;
  /** The URL's host and, unless it is the scheme's default, port. */
  host: string;
  /** The caller's fields, written in this order and spelling. */
  headers: readonly (readonly [name: string, value: string])[];
  /** Length of the body; NO_BODY (-1) without one, CHUNKED_BODY (-2) when the length is not known. */
  bodyBytes: number;
  /** Where it leaves HTTP; null or absent: it does not. With an authority it is a CONNECT, whatever method, target and host say. */
  upgrade?: Upgrade | null;
}

const CONNECT = 'CONNECT';
const ACCEPT = 'accept: */*\r\n';
const USER_AGENT = 'user-agent: shardfetch\r\n';

/** The methods that the fetch standard upper-cases. Others stay: `patch` is not PATCH. */
const NORMALIZED_METHODS = new Set(['DELETE', 'GET', 'HEAD', 'OPTIONS', 'POST', 'PUT']);

/** CONNECT is the proxy code's and the option upgrade's; TRACE and TRACK hand credentials back to whoever reads the answer. */
const FORBIDDEN_METHODS = new Set(['CONNECT', 'TRACE', 'TRACK']);

/** Methods whose content has a meaning: without any they say so with a length of 0 (RFC 9110 section 8.6). */
const METHODS_WITH_CONTENT = new Set(['POST', 'PUT', 'PATCH']);

/** Field names, in lower case, that a caller may not send, each with what to do instead. */
const REFUSED_FIELDS = new Map([
  ['connection', 'whether a connection is kept is decided by the pool'],
  ['expect', 'give the option expectContinue, which also waits for the answer'],
  ['http2-settings', 'an upgrade to HTTP/2 is not offered'],
  ['keep-alive', 'whether a connection is kept is decided by the pool'],
  ['te', 'it names what the connection can take, which the engine knows; trailers are always taken'],
  ['trailer', 'it is not supported yet: requests are sent without trailers'],
  ['transfer-encoding', 'the framing is chosen from the body: give a body of unknown length to have it sent in chunks'],
  ['upgrade', 'give the option upgrade, which also does what follows from it'],
]);

/** What may stand in uri-host and port (RFC 3986 section 3.2): neither userinfo nor a path can hide in it. */
const HOST_GRAMMAR = /^[A-Za-z0-9\-._~!$&'()*+,;=%:[\]]*$/;

/** The method as it is sent: upper case for the six that the fetch standard names, as it is for others. */
export function normalizeMethod(method: string): string {
  if (NORMALIZED_METHODS.has(method)) return method;
  if (!isToken(method)) {
    throw invalidArgument(
      'method',
      `The method ${excerptText(method)} is not a token: letters, digits and some signs.`,
    );
  }
  const upper = method.toUpperCase();
  if (FORBIDDEN_METHODS.has(upper)) throw invalidArgument('method', `The method ${upper} cannot be used in a request.`);
  return NORMALIZED_METHODS.has(upper) ? upper : method;
}

/** The value without the blanks (SP, HTAB) around it. CR and LF stay, to be refused. */
export function normalizeHeaderValue(value: string): string {
  return trimBlanks(value);
}

/** Throws when a caller may not send this field, `connects`: with CONNECT: its name or value is not HTTP's, or the field is the engine's own. */
export function checkHeader(name: string, value: string, connects = false): void {
  checkField(name, name.toLowerCase(), value, connects);
}

/**
 * The request line, the fields and the empty line: Host first, then the caller's fields, then what they left open; an empty Accept or
 * User-Agent of theirs says that there is none. Throws
 * INVALID_ARGUMENT for everything that must not be sent, and checks all of it, whoever may have checked before.
 */
export function composeRequestHead(request: RequestHead): string {
  const { bodyBytes, upgrade = null } = request;
  const authority = upgrade?.authority ?? '';
  const connects = authority !== '';
  const method = connects ? CONNECT : normalizeMethod(request.method);
  const target = connects ? authority : request.target;
  if (!isVisible(target)) {
    throw invalidArgument('url', `The request target ${excerptText(target)} has characters that a URL must escape.`);
  }

  let host: string | null = null;
  let fields = '';
  let hasAccept = false;
  let hasUserAgent = false;
  let hasContentLength = false;
  for (const [name, value] of request.headers) {
    const lowerName = name.toLowerCase();
    const trimmed = trimBlanks(value);
    checkField(name, lowerName, trimmed, connects);
    switch (lowerName) {
      case 'host':
        if (host !== null) throw invalidArgument('headers', 'There are two Host headers; a request has one.');
        host = trimmed;
        continue;
      case 'content-length':
        if (hasContentLength) throw invalidArgument('headers', 'There are two Content-Length headers; give none.');
        checkContentLength(trimmed, bodyBytes);
        hasContentLength = true;
        break;
      case 'accept':
        hasAccept = true;
        if (trimmed === '') continue;
        break;
      case 'user-agent':
        hasUserAgent = true;
        if (trimmed === '') continue;
        break;
    }
    fields += `${name}: ${trimmed}\r\n`;
  }

  host ??= connects ? authority : request.host;
  if (!HOST_GRAMMAR.test(host))
    throw invalidArgument('headers', `The Host ${excerptText(host)} is not a host and port.`);
  if (!hasAccept && !connects) fields += ACCEPT;
  if (!hasUserAgent) fields += USER_AGENT;
  if (!hasContentLength) fields += framingField(method, bodyBytes);
  if (upgrade !== null && !connects) fields += `connection: upgrade\r\nupgrade: ${upgrade.protocols}\r\n`;
  return `${method} ${target} HTTP/1.1\r\nhost: ${host}\r\n${fields}\r\n`;
}

function framingField(method: string, bodyBytes: number): string {
  if (bodyBytes === CHUNKED_BODY) return 'transfer-encoding: chunked\r\n';
  if (bodyBytes >= 0) return `content-length: ${bodyBytes}\r\n`;
  return METHODS_WITH_CONTENT.has(method) ? 'content-length: 0\r\n' : '';
}

function checkContentLength(value: string, bodyBytes: number): void {
  if (bodyBytes === CHUNKED_BODY && !/^\d+$/.test(value)) {
    throw invalidArgument(
      'headers',
      `The header Content-Length says ${excerptText(value)}, which is no number of bytes.`,
    );
  }
  if (bodyBytes === CHUNKED_BODY) {
    throw invalidArgument(
      'headers',
      'The header Content-Length cannot be sent with a body whose length is not known: give the length with the body.',
    );
  }
  const expected = String(Math.max(0, bodyBytes));
  if (value !== expected) {
    throw invalidArgument(
      'headers',
      `The header Content-Length says ${excerptText(value)}, but the body has ${expected} bytes.`,
    );
  }
}

function checkField(name: string, lowerName: string, value: string, connects: boolean): void {
  if (!isToken(name)) {
    throw invalidArgument('headers', `${nameFault(name)}.`);
  }
  const instead = REFUSED_FIELDS.get(lowerName);
  if (instead !== undefined) throw invalidArgument('headers', `The header ${name} cannot be set: ${instead}.`);
  if (lowerName.startsWith('proxy-') && !connects) {
    throw invalidArgument(
      'headers',
      `The header ${name} cannot be set: what is said to a proxy comes from the option proxy.`,
    );
  }
  if (!isFieldValue(value)) throw badValue(name, value);
}

/** What is wrong with a name that is no token. A whole line may have been given for a name: what follows is not shown, it may be a secret. */
export function nameFault(name: string): string {
  let end = 0;
  while (end < name.length && isToken(name.charAt(end))) end++;
  const which = end === 0 ? 'A header name' : `The header name that begins with ${excerptText(name.slice(0, end))}`;
  const fault = name === '' ? 'it is empty' : `it has ${excerptText(name.charAt(end))}`;
  return `${which} is not a token (letters, digits and some signs): ${fault}`;
}

/** Names the character at fault and not the value, which may be a secret. */
function badValue(name: string, value: string): TransferError {
  for (let index = 0; index < value.length; index++) {
    const character = value.charAt(index);
    if (isFieldValue(character)) continue;
    const why = character.charCodeAt(0) > 0xff ? 'is above U+00FF: encode it first' : 'is a control character';
    return invalidArgument('headers', `The value of the header ${name} has ${excerptText(character)}, which ${why}.`);
  }
  return invalidArgument('headers', `The value of the header ${name} is not valid.`);
}
