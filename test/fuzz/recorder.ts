/** What a ResponseParser says of a stream of bytes, as one value to compare: adjacent body events are one, however the reads cut. */

import { TransferError } from '../../src/protocol/errors.ts';
import { type ParserLimits, ResponseParser, type ResponseSink } from '../../src/protocol/http1/response-parser.ts';

export interface Response {
  /** Status and head text of each interim response. */
  interim: { status: number; head: string }[];
  head: string | null;
  status: number;
  minorVersion: number;
  framing: string;
  contentLength: number;
  keepAlive: boolean;
  keepAliveTimeoutS: number;
  body: string;
  trailers: string;
  /** How it stands: complete, not complete yet, or the error's code, phase and limit. */
  outcome: string;
  /** Bytes given and not consumed. */
  rest: number;
}

export interface Play {
  method: string;
  limits: ParserLimits;
  /** The peer sends FIN after the bytes. */
  fin: boolean;
}

const CODES = new Set(['BAD_RESPONSE', 'LIMIT_EXCEEDED', 'CONNECTION_LOST', 'INCOMPLETE_BODY']);
const POISON = 0x0d;

class Recorder implements ResponseSink {
  readonly #response: Response;
  readonly #pauses: () => boolean;
  over = false;

  constructor(response: Response, pauses: () => boolean) {
    this.#response = response;
    this.#pauses = pauses;
  }

  onInterim(parser: ResponseParser, bytes: Uint8Array, start: number, end: number): void {
    this.#expect(this.#response.head === null, 'an interim response behind the head');
    this.#response.interim.push({ status: parser.status, head: latin1(bytes, start, end) });
  }

  onHead(parser: ResponseParser, bytes: Uint8Array, start: number, end: number): void {
    this.#expect(this.#response.head === null, 'two heads');
    const { status, minorVersion, framing, contentLength, keepAlive, keepAliveTimeoutS } = parser;
    const head = latin1(bytes, start, end);
    Object.assign(this.#response, { status, minorVersion, framing, contentLength, keepAlive, keepAliveTimeoutS, head });
  }

  onBody(_parser: ResponseParser, bytes: Uint8Array, start: number, end: number): boolean {
    this.#expect(this.#response.head !== null && end > start, 'a body event that is empty or without a head');
    this.#response.body += latin1(bytes, start, end);
    return !this.#pauses();
  }

  onEnd(_parser: ResponseParser, trailers: string): void {
    this.#expect(this.#response.head !== null, 'an end without a head');
    this.#response.trailers = trailers;
    this.over = true;
  }

  #expect(condition: boolean, what: string): void {
    if (!condition || this.over) throw new Error(`${this.over ? 'behind the end: ' : ''}${what}`);
  }
}

/** Plays the reads on a parser (a fresh one, unless one is given). `pauses` says at each body event whether the sink pauses. */
export function play(
  reads: readonly Uint8Array[],
  { method, limits, fin }: Play,
  options: { parser?: ResponseParser; pauses?: () => boolean; skips?: boolean } = {},
): Response {
  const parser = options.parser ?? new ResponseParser(limits);
  parser.limits = limits;
  const response: Response = {
    interim: [],
    head: null,
    status: 0,
    minorVersion: 1,
    framing: 'none',
    contentLength: -1,
    keepAlive: false,
    keepAliveTimeoutS: -1,
    body: '',
    trailers: '',
    outcome: 'more',
    rest: 0,
  };
  const recorder = new Recorder(response, options.pauses ?? (() => false));
  parser.begin(method, recorder);
  try {
    for (const read of reads) {
      // In a buffer of its own, between poison, overwritten afterwards: what is kept must have been copied.
      const lent = new Uint8Array(read.length + 5).fill(POISON);
      lent.set(read, 3);
      const end = 3 + read.length;
      let at = 3;
      if (options.skips && parser.framing === 'length' && response.head !== null && parser.bodyRemaining > 0) {
        const count = Math.min(parser.bodyRemaining, end - at);
        response.body += latin1(lent, at, at + count);
        parser.skipBody(count);
        at += count;
      }
      while (at < end && !parser.complete) {
        const consumed = parser.execute(lent, at, end);
        if (consumed < at || consumed > end) throw new Error(`consumed up to ${consumed} of ${at} to ${end}`);
        if (consumed === at) throw new Error('no progress');
        at = consumed;
      }
      lent.fill(POISON);
      response.rest += end - at;
    }
    if (!parser.complete) parser.execute(new Uint8Array(0), 0, 0);
    if (fin) parser.finish();
  } catch (error) {
    response.outcome = describeFailure(error);
    checkStaysFailed(parser, error);
    return response;
  }
  if (parser.complete !== recorder.over) throw new Error('complete and onEnd do not agree');
  if (parser.complete) response.outcome = 'complete';
  return response;
}

function describeFailure(error: unknown): string {
  if (!TransferError.is(error)) throw error;
  if (!CODES.has(error.code)) throw new Error(`an error of code ${error.code}`, { cause: error });
  if (/[^ -~…]/.test(error.message)) throw new Error('a message shows bytes of the peer as they are', { cause: error });
  return `${error.code} ${error.phase} ${error.limit ?? ''}`.trim();
}

function checkStaysFailed(parser: ResponseParser, error: unknown): void {
  for (const again of [() => parser.execute(Uint8Array.of(0x48), 0, 1), () => parser.finish()]) {
    try {
      again();
    } catch (second) {
      if (second === error) continue;
      throw new Error('a failed parser said something else', { cause: second });
    }
    throw new Error('a failed parser went on');
  }
}

/** What must hold of every response, whatever was sent. */
export function checkConsistent(response: Response, { method, limits, fin }: Play, bytes: Uint8Array): void {
  const { head, framing, contentLength, body, outcome, status } = response;
  const complete = outcome === 'complete';
  if (fin && outcome === 'more') throw new Error('neither complete nor failed after FIN');
  if (complete && head === null) throw new Error('complete without a head');
  for (const { status: interim } of response.interim) {
    if (interim < 100 || interim > 199 || interim === 101) throw new Error(`interim status ${interim}`);
  }
  if (head === null) {
    if (body !== '') throw new Error('a body without a head');
    return;
  }
  if (status < 200 || status > 999) throw new Error(`status ${status}`);
  const bodiless = method === 'HEAD' || status === 204 || status === 304;
  if (bodiless !== (framing === 'none')) throw new Error(`framing ${framing} of status ${status} to ${method}`);
  if (framing === 'none' && body !== '') throw new Error('a body where there is none');
  if (framing === 'length' && (complete ? body.length !== contentLength : body.length >= Math.max(contentLength, 1))) {
    throw new Error(`${body.length} bytes of ${contentLength}, ${outcome}`);
  }
  if (framing === 'close' && (response.keepAlive || (complete && !fin))) throw new Error('goes on behind a close');
  if (framing !== 'chunked' && response.trailers !== '') throw new Error('trailers without chunks');
  if (limits.bodyBytes !== 0 && body.length > limits.bodyBytes) throw new Error('more body than allowed');
  if (response.rest > 0 && !complete) throw new Error('bytes left of a response that is not complete');
  if (head.length + body.length + response.rest > bytes.length) throw new Error('more out than in');
  const heads = [head, ...response.interim.map((one) => one.head)];
  if (heads.reduce((sum, one) => sum + one.length, 0) > limits.headBytes) throw new Error('a head beyond its limit');
  for (const one of heads) checkSection(one.slice(one.indexOf('\r\n') + 2, -2));
  checkSection(response.trailers);
}

/** Lines of a section are `name: value`, each with its CRLF, and nothing else is in them. */
function checkSection(section: string): void {
  if (!/^(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*\r\n)*$/.test(section)) {
    throw new Error(`a section of other than fields: ${JSON.stringify(section)}`);
  }
}

export function latin1(bytes: Uint8Array, start = 0, end = bytes.length): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString('latin1');
}
