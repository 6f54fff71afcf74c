/**
 * Where our response parser and Node's differ, each with why ours is as it is. The fuzzer's oracle fails only for what is not
 * explained here. An entry must be narrow: whatever it covers is no longer looked at.
 *
 * The numbers are those of the hostile cases in docs/http-support.md.
 */

import type { NodeView } from './node-client.ts';
import type { Response } from './recorder.ts';

export interface Disagreement {
  text: string;
  method: string;
  ours: Response;
  theirs: NodeView;
  /** What `compare` said. */
  difference: string;
}

interface KnownDifference {
  what: string;
  why: string;
  covers(disagreement: Disagreement): boolean;
}

const refusedByUs = ({ ours }: Disagreement): boolean => ours.outcome.startsWith('BAD_RESPONSE');
const refusedByNode = ({ theirs }: Disagreement): boolean => theirs.outcome.startsWith('HPE_');
const keepAliveOnly = ({ difference }: Disagreement): boolean => difference.startsWith('keep-alive');

/** All values of a field in the text, wherever it stands. */
function values(text: string, name: string): string[] {
  return [...text.matchAll(new RegExp(`^${name}:([^\\r\\n]*)`, 'gim'))].map((match) => match[1] as string);
}

export const KNOWN_DIFFERENCES: readonly KnownDifference[] = [
  {
    what: 'a TAB behind a length, a coding or a connection option',
    why: 'OWS is SP or HTAB (RFC 9110 section 5.6.3). llhttp strips only SP there: it refuses the length, and takes "chunked<TAB>" for an unknown coding and hands the chunk framing to the caller as the body.',
    covers: ({ text }) =>
      ['content-length', 'transfer-encoding', 'connection'].some((name) =>
        values(text, name).some((value) => value.includes('\t')),
      ),
  },
  {
    what: 'blanks and quoted strings in chunk extensions',
    why: 'The grammar has BWS around ";" and "=" and quoted values (RFC 9112 section 7.1.1). We read them strictly; llhttp refuses the blanks, and some quoted ones.',
    covers: (one) =>
      refusedByNode(one) && !refusedByUs(one) && /^[0-9a-f]+(?:[ \t]+;|;[^\r\n]*[ \t"])/im.test(one.text),
  },
  {
    what: 'obs-fold',
    why: 'A user agent that takes it replaces it by SP (RFC 9112 section 5.2): we do, in every field; llhttp refuses it.',
    covers: (one) => refusedByNode(one) && !refusedByUs(one) && /\r\n[ \t]/.test(one.text),
  },
  {
    what: 'keep-alive of an answer to HEAD that announces no length',
    why: 'It has no body whatever its fields say (RFC 9112 section 6.3), so that the connection lives on. llhttp looks at the fields alone.',
    covers: (one) => keepAliveOnly(one) && one.ours.keepAlive && one.method === 'HEAD' && one.ours.contentLength === -1,
  },
  {
    what: 'Connection: close on a 204 or 304',
    why: 'close is close (RFC 9112 section 9.6). llhttp skips the option when there is no body.',
    covers: (one) => keepAliveOnly(one) && !one.ours.keepAlive && (one.ours.status === 204 || one.ours.status === 304),
  },
  {
    what: 'bytes behind the end of a response',
    why: 'The response is whole, so it is delivered; the connection is never used again (cases 9, 28). llhttp goes on and fails the response that had ended.',
    covers: ({ ours, theirs }) => ours.outcome === 'complete' && ours.rest > 0 && theirs.outcome !== 'complete',
  },
  {
    what: '101 Switching Protocols',
    why: 'Nothing was offered that could be switched to (case 24).',
    covers: (one) => refusedByUs(one) && /HTTP\/1\.\d 101[ \r]/.test(one.text),
  },
  {
    what: 'a transfer coding other than one "chunked"',
    why: 'Framing that we do not know cannot be followed (cases 10 to 14). llhttp reads to the close and hands the framing to the caller as the body.',
    covers: (one) =>
      refusedByUs(one) &&
      (values(one.text, 'transfer-encoding').length > 1 ||
        values(one.text, 'transfer-encoding').some((value) => !/^[ \t]*chunked[ \t]*$/i.test(value))),
  },
  {
    what: 'empty lines before the status line',
    why: 'RFC 9112 section 2.2 lets servers skip them, not clients (case 22).',
    covers: (one) => refusedByUs(one) && /(?:^|\r\n\r\n)[\r\n]/.test(one.text),
  },
  {
    what: 'one length given twice',
    why: 'RFC 9110 section 8.6 lets a recipient take "5, 5", or two equal fields, as 5 (case 3). llhttp refuses both.',
    covers: (one) =>
      refusedByNode(one) &&
      !refusedByUs(one) &&
      (values(one.text, 'content-length').length > 1 ||
        values(one.text, 'content-length').some((value) => value.includes(','))),
  },
  {
    what: 'control bytes in a status line, a CR without LF among them',
    why: 'It is made of HTAB, SP, VCHAR and obs-text (RFC 9112 section 4).',
    covers: (one) =>
      refusedByUs(one) &&
      /^HTTP\/1\.\d \d{3}(?:\r(?!\n)| [^\r\n]*(?:[^\t\r\n\x20-\x7e\x80-\xff]|\r(?!\n)))/m.test(one.text),
  },
  {
    what: 'a status below 100',
    why: 'It is a number from 100 on (RFC 9110 section 15); "099" is none.',
    covers: (one) => refusedByUs(one) && /HTTP\/1\.\d 0\d\d/.test(one.text),
  },
  {
    what: 'HTTP/1.2 to 1.9',
    why: 'A minor version does not change how a message is read (RFC 9110 section 2.5).',
    covers: (one) => /VERSION/.test(one.theirs.outcome) && !refusedByUs(one) && /HTTP\/1\.[2-9] /.test(one.text),
  },
  {
    what: 'HTTP/2.0 and HTTP/0.9 in a status line',
    why: 'No response of those versions looks like that (case 20).',
    covers: (one) => refusedByUs(one) && /HTTP\/(?:2\.0|0\.9) /.test(one.text),
  },
  {
    what: 'framing and connection fields of an interim response',
    why: 'It has no body and ends nothing (RFC 9110 section 15.2); the final response decides. llhttp reads them.',
    covers: (one) =>
      !refusedByUs(one) &&
      one.ours.interim.some(({ head }) => /^HTTP\/1\.0|^(?:content-length|transfer-encoding|connection):/im.test(head)),
  },
  {
    what: 'framing fields among trailers',
    why: 'They mean nothing there (RFC 9110 section 6.5.1): the body has ended already. llhttp reads them, and fails the response.',
    covers: ({ ours, theirs }) =>
      theirs.outcome.startsWith('HPE_') && /^(?:content-length|transfer-encoding|connection):/im.test(ours.trailers),
  },
  {
    what: 'RTSP and ICE',
    why: 'llhttp reads their status lines, too.',
    covers: (one) => refusedByUs(one) && /(?:^|\r\n\r\n)(?:R|I)/.test(one.text),
  },
  {
    what: 'a chunk size above 2^53 - 1',
    why: 'It cannot be counted exactly, and no body is that long (case 33). llhttp counts to 2^64.',
    covers: (one) => refusedByUs(one) && /^[0-9a-f]{14,}/im.test(one.text),
  },
  {
    what: 'when a length or a coding is judged',
    why: 'With the first byte of the next line, which may continue it (obs-fold). llhttp judges each byte as it comes.',
    covers: ({ ours, theirs }) =>
      /^HPE_.*(?:CONTENT_LENGTH|TRANSFER_ENCODING)$/.test(theirs.outcome) && ours.outcome === 'more',
  },
  {
    what: 'a length above 2^53 - 1',
    why: 'It cannot be counted exactly, and no body is that long (case 6). llhttp counts to 2^64.',
    covers: (one) => refusedByUs(one) && values(one.text, 'content-length').some((value) => /\d{16}/.test(value)),
  },
  {
    what: 'a transfer coding in HTTP/1.0',
    why: 'A relay of that version would have passed on framing that it does not understand (case 14).',
    covers: (one) =>
      refusedByUs(one) && /HTTP\/1\.0 /.test(one.text) && values(one.text, 'transfer-encoding').length > 0,
  },
];

export function isKnown(disagreement: Disagreement): boolean {
  return KNOWN_DIFFERENCES.some((known) => known.covers(disagreement));
}
