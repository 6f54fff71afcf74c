/**
 * Feeds literal bytes to a ResponseParser and writes down what it says, one line per event, so that a test is bytes in and
 * lines out. Adjacent body events become one line: how the reads cut must not show in anything else.
 *
 * Every read is given in a buffer of its own, at an odd offset between poison, and is overwritten after the call: a parser that
 * looks outside of its range, or keeps bytes that it was lent, says something else.
 */

import { TransferError } from '../../../src/protocol/errors.ts';
import { type ParserLimits, ResponseParser, type ResponseSink } from '../../../src/protocol/http1/response-parser.ts';

export const DEFAULT_LIMITS: ParserLimits = {
  headBytes: 65_536,
  headerCount: 1_000,
  trailerBytes: 16_384,
  chunkExtensionBytes: 16_384,
  bodyBytes: 0,
};

export interface Scenario {
  method?: string;
  limits?: Partial<ParserLimits>;
  /** The peer sends FIN after the bytes. */
  fin?: boolean;
  /** Show heads as text, too. */
  heads?: boolean;
}

const POISON = 0x0d;

export function latin1(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

export function text(bytes: Uint8Array, start: number, end: number): string {
  return Buffer.from(bytes.subarray(start, end)).toString('latin1');
}

/** What is said about a head, in one line. */
export function describeHead(parser: ResponseParser): string {
  const { status, minorVersion, framing, contentLength, keepAlive, keepAliveTimeoutS } = parser;
  let line = `head ${status} HTTP/1.${minorVersion} ${framing}`;
  if (contentLength !== -1) line += ` ${contentLength}`;
  line += keepAlive ? ' keep' : ' close';
  if (keepAliveTimeoutS !== -1) line += ` timeout=${keepAliveTimeoutS}`;
  return line;
}

export function describeError(error: unknown): string {
  if (!TransferError.is(error)) throw error;
  return `error ${error.code} ${error.phase}${error.limit === undefined ? '' : ` ${error.limit}`}`;
}

export class Recorder implements ResponseSink {
  readonly events: string[] = [];
  readonly #heads: boolean;
  #body: string | null = null;

  constructor(heads: boolean) {
    this.#heads = heads;
  }

  onInterim(parser: ResponseParser, bytes: Uint8Array, start: number, end: number): void {
    this.#add(`interim ${parser.status}${this.#heads ? ` ${JSON.stringify(text(bytes, start, end))}` : ''}`);
  }

  onHead(parser: ResponseParser, bytes: Uint8Array, start: number, end: number): void {
    this.#add(describeHead(parser));
    if (this.#heads) this.#add(JSON.stringify(text(bytes, start, end)));
  }

  onBody(_parser: ResponseParser, bytes: Uint8Array, start: number, end: number): boolean {
    if (end <= start) throw new Error('an empty body event');
    this.#body = (this.#body ?? '') + text(bytes, start, end);
    return true;
  }

  onEnd(_parser: ResponseParser, trailers: string): void {
    this.#add(trailers === '' ? 'end' : `end ${JSON.stringify(trailers)}`);
  }

  flush(): void {
    if (this.#body !== null) this.events.push(`body ${shorten(this.#body)}`);
    this.#body = null;
  }

  #add(event: string): void {
    this.flush();
    this.events.push(event);
  }
}

function shorten(body: string): string {
  return body.length > 100 ? `of ${body.length} bytes` : JSON.stringify(body);
}

/** The events of one response that comes in these reads. */
export function play(reads: readonly Uint8Array[], scenario: Scenario = {}): string[] {
  const parser = new ResponseParser({ ...DEFAULT_LIMITS, ...scenario.limits });
  const recorder = new Recorder(scenario.heads ?? false);
  parser.begin(scenario.method ?? 'GET', recorder);
  let rest = 0;
  try {
    for (const read of reads) {
      const lent = new Uint8Array(read.length + 5).fill(POISON);
      lent.set(read, 3);
      const consumed = parser.execute(lent, 3, 3 + read.length);
      lent.fill(POISON);
      rest += 3 + read.length - consumed;
    }
    if (scenario.fin) parser.finish();
  } catch (error) {
    recorder.flush();
    recorder.events.push(describeError(error));
    return recorder.events;
  }
  recorder.flush();
  if (rest > 0) recorder.events.push(`rest ${rest}`);
  if (!parser.complete) recorder.events.push('more');
  return recorder.events;
}

/** Ways to cut the bytes: every place once, and everywhere at once. Of long inputs, some places and both ends. */
export function* cuts(bytes: Uint8Array): Generator<Uint8Array[]> {
  const step = bytes.length > 2_000 ? Math.ceil(bytes.length / 40) : 1;
  for (let at = 1; at < bytes.length; at += at < 60 || at > bytes.length - 60 ? 1 : step) {
    yield [bytes.subarray(0, at), bytes.subarray(at)];
  }
  yield Array.from({ length: bytes.length }, (_, at) => bytes.subarray(at, at + 1));
}

/** A seeded source of numbers below `bound` (mulberry32): a failing test prints its seed, the seed replays it. */
export function seeded(seed: number): (bound: number) => number {
  let state = seed >>> 0;
  return (bound) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % bound;
  };
}
