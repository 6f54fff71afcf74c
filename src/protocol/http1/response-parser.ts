/**
 * Reads HTTP/1.x responses: bytes in, events out. One parser per connection, `begin()` once per request.
 *
 * It owns the message syntax and the framing: where the head ends, whether there is a body, where that ends, whether the
 * connection can carry another response. It does not own the connection, time, content codings, or what fields mean to anyone
 * else: the head goes out as bytes, and `header-section.ts` makes fields of it when somebody asks.
 *
 *     HTTP-message = status-line CRLF *( field-line CRLF ) CRLF [ message-body ]       RFC 9112 section 2.1
 *     status-line  = HTTP-version SP status-code [ SP reason-phrase ]                  section 4; the last SP may be missing
 *     field-line   = field-name ":" OWS field-value OWS                                section 5
 *     obs-fold     = OWS CRLF RWS                                                      section 5.2
 *     chunked-body = *chunk last-chunk trailer-section CRLF                            section 7.1
 *     chunk        = chunk-size [ chunk-ext ] CRLF chunk-data CRLF
 *     last-chunk   = 1*"0" [ chunk-ext ] CRLF
 *
 * Theory of operation. Two small machines. `#mode` says which part of the response is due, and the table of `execute` follows
 * it; `#state` says where in a head, a trailer section or a chunk's frame we are, to the byte. So every byte is looked at once,
 * wherever the reads cut, and a wrong byte is refused when it comes and not when its line is complete.
 *
 *     idle ─ begin ─> head ─┬─> length ──┐
 *                      ^ │  ├─> close ───┤        head -> head: an interim (1xx) response
 *                      └─┘  ├─> chunked ─┤        chunked -> trailers -> ending
 *                           └────────────┴─> ending ─ onEnd ─> idle
 *
 * A 101 that was asked for, and a 2xx to CONNECT, begin a tunnel: what follows is no message any more and goes on as the body of one
 * that ends with the connection, without limit.
 *
 * A head that lies whole in one read is parsed where it lies and is never copied. A head that does not is kept, from its first
 * byte on, in a buffer of ours, and goes on there: so does one with an obs-fold, which is replaced by one SP while it is copied.
 *
 * Strictness. Whatever two readers could understand differently is refused (HOSTILE 1-37): a length beside a transfer coding,
 * two lengths, a transfer coding other than one `chunked` or in HTTP/1.0, LF without CR, CR without LF, control bytes, blanks
 * around names. That also holds where RFC 9112 section 6.3 would not look at the fields, namely for HEAD, 204 and 304.
 * Only the framing fields of 1xx responses and of a 2xx to CONNECT, and those among trailers, are not looked at.
 */

import { type TransferCode, TransferError } from '../errors.ts';
import { EXTENSION_END, EXTENSION_REFUSED, extensionStart, nextExtensionState } from './chunk-extension.ts';
import { excerptBytes } from './excerpt.ts';
import {
  CONNECTION,
  CONTENT_ENCODING,
  CONTENT_LENGTH,
  framingField,
  isChunked,
  KEEP_ALIVE,
  LENGTH_MALFORMED,
  LENGTHS_DIFFER,
  NOT_FRAMING,
  OPTION_CLOSE,
  OPTION_KEEP_ALIVE,
  readConnection,
  readContentLength,
  readKeepAliveTimeout,
  TRANSFER_ENCODING,
} from './framing-fields.ts';
import {
  type LinePart,
  limitFault,
  lineFault,
  type ParserLimit,
  statusFault,
  versionFault,
} from './response-faults.ts';
import { BLANK, BYTE_CLASS, COLON, CR, DIGIT, FIELD, HEX_VALUE, isBlank, LF, SP, TOKEN } from './tokens.ts';
import { isOffered } from './upgrade.ts';

export interface ParserLimits {
  /** Bytes of all heads of one response together, interim ones included, empty lines included. */
  headBytes: number;
  /** Field lines of all heads of one response together. */
  headerCount: number;
  /** Bytes of the trailer section, its final empty line not counted. */
  trailerBytes: number;
  /** Bytes of chunk extensions of one body together: what stands between a chunk size and its CRLF. */
  chunkExtensionBytes: number;
  /** Bytes of the body as sent, before content decoding. 0: none. */
  bodyBytes: number;
}

/**
 * What is told. The callbacks come from inside `execute()`, `skipBody()` or `finish()`. In `onEnd` the parser is done with the
 * response, so that `begin()` may be called; in the others, `abandon()` is the only method that may be.
 */
export interface ResponseSink {
  /** A 1xx response: its head as in `onHead`, its status on the parser. */
  onInterim(parser: ResponseParser, bytes: Uint8Array, start: number, end: number): void;
  /**
   * The final head is complete; facts are on the parser. bytes[start, end): from the status line's first byte up to and including
   * the empty line, obs-fold already replaced by one SP. Valid during the call only.
   */
  onHead(parser: ResponseParser, bytes: Uint8Array, start: number, end: number): void;
  /**
   * Body bytes; valid during the call only. Returning false pauses: execute() returns with what follows unconsumed. A body of
   * known length ends with its last byte, so that `onEnd` still comes at once when that one is answered with false.
   */
  onBody(parser: ResponseParser, bytes: Uint8Array, start: number, end: number): boolean;
  /** The response is complete. `trailers`: the trailer fields as latin-1 text, each line with its CRLF, or ''. */
  onEnd(parser: ResponseParser, trailers: string): void;
}

/** `tunnel`: bytes of another protocol, until the connection ends. */
export type BodyFraming = 'none' | 'length' | 'chunked' | 'close' | 'tunnel';

/** Hexadecimal digits of a chunk size. 2^53 has 14; endless leading zeros must end somewhere. */
const CHUNK_SIZE_DIGITS_MAX = 16;

/**
 * Bytes of a read that are copied at a time behind a head that did not lie whole in one read. The head may end in any of them,
 * and an obs-fold makes us copy the rest of one again: small enough for both, large enough to amortise the call.
 */
const KEEP_STEP_BYTES = 128;

/** The first buffer for a head that is kept: most heads fit. Bytes. */
const KEPT_BYTES_MIN = 1024;

/** A buffer up to this size stays with the parser from response to response; a larger one is given back. Bytes. */
const KEPT_BYTES_MAX = 4096;

/** CRLF after the last field. */
const EMPTY_LINE_BYTES = 2;

const STATUS_INTERIM_MAX = 199;
const STATUS_SUCCESS_MAX = 299;
const HTTP_NAME = Uint8Array.from('HTTP/1.', (character) => character.charCodeAt(0));
const NO_BYTES = new Uint8Array(0);

type Mode = 'idle' | 'head' | 'length' | 'close' | 'chunked' | 'trailers' | 'ending' | 'failed';

// `#state` within a head or a trailer section. Numbers and not names: the switch over them is the hottest of the program.
const HTTP_VERSION = 0;
const MINOR_VERSION = 1;
const VERSION_END = 2;
const STATUS = 3;
const STATUS_END = 4;
const REASON = 5;
const STATUS_LINE_LF = 6;
const LINE_START = 7;
const NAME = 8;
const VALUE_START = 9;
const VALUE = 10;
const LINE_LF = 11;
/** The line began with a blank: it continues the value before, and its blanks are being dropped. */
const FOLD = 12;
const SECTION_LF = 13;
const SECTION_END = 14;

// `#state` within a chunk's frame. Below EXTENSION_END, it is a state of `chunk-extension.ts`.
const CHUNK_LF = EXTENSION_END;
const CHUNK_SIZE_FIRST = 20;
const CHUNK_SIZE = 21;
const CHUNK_DATA = 22;
const CHUNK_DATA_CR = 23;
const CHUNK_DATA_LF = 24;

const LENGTH_UNSEEN = -1;

export class ResponseParser {
  /** Of the head seen last; during onInterim, the interim one. */
  status = 0;
  /** 1 for HTTP/1.1 and whatever HTTP/1.x follows it. */
  minorVersion: 0 | 1 = 1;
  framing: BodyFraming = 'none';
  /** What Content-Length announced, or -1. Also of HEAD and 304 responses, where it describes a body that is not there. */
  contentLength = LENGTH_UNSEEN;
  /** Bytes still due of a body of known length; 0 without a body, -1 where the length is not known. */
  bodyRemaining = 0;
  /** Whether the peer offers to take another request on this connection after this response. */
  keepAlive = false;
  /** Of `Keep-Alive: timeout=N`, or -1. */
  keepAliveTimeoutS = -1;
  /** What its Content-Encoding says, of several field lines as one list; '': there is none. Decoding is not the parser's. */
  contentCoding = '';
  /** Any byte of this response was seen. */
  begun = false;
  complete = false;

  /** Read by `begin()` and from then on: to be set before it, to the limits of the request that it is for. */
  limits: ParserLimits;
  #sink: ResponseSink | null = null;
  #mode: Mode = 'idle';
  #state = HTTP_VERSION;
  #failure: TransferError | null = null;
  #bodyAllowed = true;
  /** The request is a CONNECT. */
  #connects = false;
  /** The protocols that the request would switch to; '': none. */
  #offered = '';
  #paused = false;

  // Of the section (head or trailers) that is being read. Offsets count in the buffer it is read from: the caller's or #kept.
  #kept = NO_BYTES;
  #keptLength = 0;
  #lineStart = 0;
  #valueStart = 0;
  /** Bytes that the section may still take. */
  #sectionRoom = 0;
  #fieldRoom = 0;
  #anyField = false;
  /** Which framing field the line is. */
  #field = NOT_FRAMING;
  /** How much of "HTTP/1.", or how many digits of the status, were seen. */
  #matched = 0;

  // What the framing fields of the head have said so far.
  #length = LENGTH_UNSEEN;
  #chunked = false;
  #connection = 0;

  // Of the chunked body.
  #chunkRemaining = 0;
  #chunkDigits = 0;
  #extensionRoom = 0;
  #trailers = '';

  /** Body bytes that are still allowed, of a body whose length was not announced. */
  #bodyRoom = 0;

  constructor(limits: ParserLimits) {
    this.limits = limits;
  }

  /** A new response is expected, to a request of this method that offered these protocols. Reuses the object; allocates nothing. */
  begin(method: string, sink: ResponseSink, offered = ''): void {
    const limits = this.limits;
    this.status = 0;
    this.minorVersion = 1;
    this.framing = 'none';
    this.contentLength = LENGTH_UNSEEN;
    this.bodyRemaining = 0;
    this.keepAlive = false;
    this.keepAliveTimeoutS = -1;
    this.contentCoding = '';
    this.begun = false;
    this.complete = false;
    this.#sink = sink;
    this.#mode = 'head';
    this.#failure = null;
    this.#bodyAllowed = method !== 'HEAD';
    this.#connects = method === 'CONNECT';
    this.#offered = offered;
    this.#paused = false;
    this.#trailers = '';
    this.#extensionRoom = limits.chunkExtensionBytes;
    this.#bodyRoom = limits.bodyBytes === 0 ? Number.POSITIVE_INFINITY : limits.bodyBytes;
    this.#fieldRoom = limits.headerCount;
    this.#beginSection(HTTP_VERSION, limits.headBytes);
    if (this.#kept.length > KEPT_BYTES_MAX) this.#kept = NO_BYTES;
  }

  /** Reads a field of each line of cache that it takes, and answers their sum: the next `execute()` finds them there. */
  prefetch(): number {
    const unlimited = this.#bodyRoom > 0 ? 1 : 0;
    return this.status + this.keepAliveTimeoutS + this.#keptLength + this.#matched + this.#chunkDigits + unlimited;
  }

  /** No event comes any more for this response, and `execute()` consumes nothing. May be called from inside any callback. */
  abandon(): void {
    if (this.#mode !== 'failed') this.#mode = 'idle';
  }

  /**
   * Feeds bytes[start, end); returns the offset up to which they were consumed: `end`, or less when the response is complete (the
   * rest is not part of it) or paused. Throws TransferError: BAD_RESPONSE, or LIMIT_EXCEEDED with `limit`. After a throw the
   * parser stays failed, and says the same again.
   */
  execute(bytes: Uint8Array, start: number, end: number): number {
    let at = start;
    if (at < end && this.#mode !== 'idle') this.begun = true;
    for (;;) {
      switch (this.#mode) {
        case 'head':
        case 'trailers':
          if (at === end) return at;
          at = this.#readSection(bytes, at, end);
          break;
        case 'length':
          if (at === end) return at;
          at = this.#readLength(bytes, at, end);
          break;
        case 'chunked':
          if (at === end) return at;
          at = this.#readChunks(bytes, at, end);
          break;
        case 'close':
          if (at === end) return at;
          at = this.#readToClose(bytes, at, end);
          break;
        case 'ending':
          this.#end();
          return at;
        case 'failed':
          throw this.#failure;
        case 'idle':
          return at;
      }
      if (this.#paused) {
        this.#paused = false;
        return at;
      }
    }
  }

  /**
   * Body bytes of a body of known length that were received elsewhere, straight into a buffer of the caller's: counts them, and
   * calls onEnd after the last one.
   */
  skipBody(count: number): void {
    if (this.#mode !== 'length' || !Number.isSafeInteger(count) || count < 0 || count > this.bodyRemaining) {
      const due = this.#mode === 'length' ? this.bodyRemaining : 0;
      throw new TransferError('INTERNAL', `${count} body bytes were skipped where ${due} are due.`, { phase: 'body' });
    }
    if (count === 0) return;
    this.begun = true;
    this.bodyRemaining -= count;
    if (this.bodyRemaining === 0) this.#end();
  }

  /**
   * The peer sent FIN, after everything that was given to `execute()` and consumed by it. Completes a body that ends with the
   * connection, else throws: CONNECTION_LOST when the head is not complete, INCOMPLETE_BODY when the body is not.
   */
  finish(): void {
    switch (this.#mode) {
      case 'close':
      case 'ending':
        this.#end();
        return;
      case 'head':
        throw this.#fail(
          'CONNECTION_LOST',
          this.begun
            ? 'The peer closed the connection in the middle of the head of its response.'
            : 'The peer closed the connection before it sent any byte of its response.',
        );
      case 'length':
        throw this.#fail(
          'INCOMPLETE_BODY',
          `The peer closed the connection after ${this.contentLength - this.bodyRemaining} of the ${this.contentLength} body bytes that its Content-Length announced.`,
        );
      case 'chunked':
        throw this.#fail('INCOMPLETE_BODY', 'The peer closed the connection before the last chunk of its body.');
      case 'trailers':
        throw this.#fail(
          'INCOMPLETE_BODY',
          'The peer closed the connection after the last chunk, before the empty line that ends a chunked body.',
        );
      case 'failed':
        throw this.#failure;
      case 'idle':
        return;
    }
  }

  // ---- A head or a trailer section -----------------------------------------------------------------------------------------

  #beginSection(state: number, roomBytes: number): void {
    this.#state = state;
    this.#sectionRoom = roomBytes;
    this.#beginHead();
  }

  /** What an interim head and the one after it do not share; the room in bytes and fields they do (HOSTILE 48). */
  #beginHead(): void {
    this.#keptLength = 0;
    this.#matched = 0;
    this.#anyField = false;
    this.#field = NOT_FRAMING;
    this.#length = LENGTH_UNSEEN;
    this.#chunked = false;
    this.#connection = 0;
  }

  #readSection(bytes: Uint8Array, start: number, end: number): number {
    const room = this.#sectionRoom;
    const stop = end - start > room ? start + room : end;
    let at = start;
    if (this.#keptLength === 0) {
      this.#lineStart = start;
      at = this.#scan(bytes, start, stop);
      if (this.#state === SECTION_END) {
        this.#sectionRoom = room - (at - start);
        this.#sectionDone(bytes, start, at);
        return at;
      }
      this.#keep(bytes, start, at);
      this.#lineStart -= start;
      this.#valueStart -= start;
      if (this.#state === FOLD) this.#joinFold();
    }
    while (at < stop) {
      if (this.#state === FOLD) {
        if (isBlank(bytes[at])) {
          at++;
          continue;
        }
        this.#state = VALUE;
      }
      const from = this.#keptLength;
      const step = Math.min(stop - at, KEEP_STEP_BYTES);
      this.#keep(bytes, at, at + step);
      const reached = this.#scan(this.#kept, from, from + step);
      at += reached - from;
      this.#keptLength = reached;
      if (this.#state === SECTION_END) {
        this.#sectionRoom = room - (at - start);
        this.#sectionDone(this.#kept, 0, reached);
        return at;
      }
      if (this.#state === FOLD) this.#joinFold();
    }
    this.#sectionRoom = room - (at - start);
    if (at < end) throw this.#tooLarge(this.#mode === 'head' ? 'headBytes' : 'trailerBytes');
    return at;
  }

  /** Appends to the kept bytes. They grow by doubling, so that a head that comes byte by byte costs linear time. */
  #keep(bytes: Uint8Array, start: number, end: number): void {
    const length = this.#keptLength + (end - start);
    if (length > this.#kept.length) {
      const grown = new Uint8Array(Math.max(length, this.#kept.length * 2, KEPT_BYTES_MIN));
      grown.set(this.#kept.subarray(0, this.#keptLength));
      this.#kept = grown;
    }
    const kept = this.#kept;
    let to = this.#keptLength;
    for (let at = start; at < end; at++) kept[to++] = bytes[at];
    this.#keptLength = length;
  }

  /** The kept bytes end with a field line that goes on: its OWS and CRLF become one SP, the blanks to come are dropped. */
  #joinFold(): void {
    let length = this.#keptLength - 2;
    while (length > this.#valueStart && isBlank(this.#kept[length - 1])) length--;
    this.#kept[length] = SP;
    this.#keptLength = length + 1;
  }

  /**
   * Looks at bytes[start, end) once. Returns `end`, or less: behind the section when it is complete, or in front of the blank that
   * makes a line an obs-fold.
   */
  #scan(bytes: Uint8Array, start: number, end: number): number {
    let state = this.#state;
    let at = start;
    // Bound here because an import is loaded anew at each use, which in the loops over bytes was a fifth of the whole parse.
    const classes = BYTE_CLASS;
    const token = TOKEN;
    const field = FIELD;
    const blank = BLANK;
    while (at < end) {
      switch (state) {
        case VALUE: {
          while (at < end && (classes[bytes[at]] & field) !== 0) at++;
          if (at === end) break;
          if (bytes[at] !== CR) throw this.#badLine('a field value', bytes, at, end);
          at++;
          state = LINE_LF;
          break;
        }
        case LINE_LF:
        case STATUS_LINE_LF:
          if (bytes[at] !== LF) throw this.#badLine('the end of a line', bytes, at, end);
          at++;
          state = LINE_START;
          break;
        case LINE_START: {
          const byte = bytes[at];
          if (isBlank(byte)) {
            this.#lineStart = at;
            if (!this.#anyField) throw this.#badLine('the first field', bytes, at, end);
            this.#state = FOLD;
            return at;
          }
          if (this.#field !== NOT_FRAMING) this.#readFraming(bytes, at - 2);
          this.#lineStart = at;
          if (byte === CR) {
            at++;
            state = SECTION_LF;
            break;
          }
          if (this.#mode === 'head' && --this.#fieldRoom < 0) throw this.#tooLarge('headerCount');
          this.#anyField = true;
          state = NAME;
          break;
        }
        case NAME: {
          while (at < end && (classes[bytes[at]] & token) !== 0) at++;
          if (at === end) break;
          if (bytes[at] !== COLON || at === this.#lineStart) throw this.#badLine('a field name', bytes, at, end);
          if (this.status > STATUS_INTERIM_MAX && this.#mode === 'head') {
            this.#field = framingField(bytes, this.#lineStart, at);
          }
          at++;
          state = VALUE_START;
          break;
        }
        case VALUE_START:
          while (at < end && (classes[bytes[at]] & blank) !== 0) at++;
          this.#valueStart = at;
          if (at < end) state = VALUE;
          break;
        case SECTION_LF:
          if (bytes[at] !== LF) throw this.#badLine('the end of a line', bytes, at, end);
          this.#state = SECTION_END;
          return at + 1;
        case HTTP_VERSION: {
          while (at < end && bytes[at] === HTTP_NAME[this.#matched]) {
            at++;
            this.#matched++;
          }
          if (this.#matched === HTTP_NAME.length) state = MINOR_VERSION;
          else if (at < end) throw this.#badVersion(bytes, at, end);
          break;
        }
        case MINOR_VERSION:
          if ((classes[bytes[at]] & DIGIT) === 0) throw this.#badVersion(bytes, at, end);
          this.minorVersion = bytes[at] === 0x30 ? 0 : 1;
          at++;
          state = VERSION_END;
          break;
        case VERSION_END:
          if (bytes[at] !== SP) throw this.#badVersion(bytes, at, end);
          at++;
          this.status = 0;
          this.#matched = 0;
          state = STATUS;
          break;
        case STATUS: {
          const digit = bytes[at] - 0x30;
          if (digit < 0 || digit > 9 || (digit === 0 && this.#matched === 0)) throw this.#badStatus(bytes, at, end);
          this.status = this.status * 10 + digit;
          at++;
          if (++this.#matched === 3) state = STATUS_END;
          break;
        }
        case STATUS_END:
          if (bytes[at] === SP) state = REASON;
          else if (bytes[at] === CR) state = STATUS_LINE_LF;
          else throw this.#badStatus(bytes, at, end);
          at++;
          break;
        case REASON: {
          while (at < end && (classes[bytes[at]] & field) !== 0) at++;
          if (at === end) break;
          if (bytes[at] !== CR) throw this.#badLine('the reason phrase', bytes, at, end);
          at++;
          state = STATUS_LINE_LF;
          break;
        }
        default:
          throw this.#fail('INTERNAL', `The response parser has no section state ${state}.`);
      }
    }
    this.#state = state;
    return at;
  }

  /** The line of a framing field is complete: its value is bytes[#valueStart, end). */
  #readFraming(bytes: Uint8Array, end: number): void {
    if (this.#tunnels) {
      this.#field = NOT_FRAMING;
      return;
    }
    const start = this.#valueStart;
    switch (this.#field) {
      case CONTENT_LENGTH: {
        const length = readContentLength(bytes, start, end);
        if (length === LENGTH_MALFORMED) {
          throw this.#bad(`its Content-Length is not a number: ${excerptBytes(bytes, start, end)}`);
        }
        if (length === LENGTHS_DIFFER || (this.#length !== LENGTH_UNSEEN && this.#length !== length)) {
          throw this.#bad(`it announces two lengths: Content-Length ${excerptBytes(bytes, start, end)}`);
        }
        this.#length = length;
        break;
      }
      case TRANSFER_ENCODING:
        if (this.#chunked) throw this.#bad('it has two Transfer-Encoding fields');
        if (!isChunked(bytes, start, end)) {
          throw this.#bad(
            `its Transfer-Encoding is not the one that we can take, "chunked", but ${excerptBytes(bytes, start, end)}`,
          );
        }
        this.#chunked = true;
        break;
      case CONNECTION:
        this.#connection |= readConnection(bytes, start, end);
        break;
      case KEEP_ALIVE: {
        // Of several field lines the shortest time counts; one that tells none takes none back.
        const toldS = readKeepAliveTimeout(bytes, start, end);
        if (toldS >= 0 && (this.keepAliveTimeoutS < 0 || toldS < this.keepAliveTimeoutS))
          this.keepAliveTimeoutS = toldS;
        break;
      }
      case CONTENT_ENCODING: {
        const value = latin1(bytes, start, end);
        this.contentCoding = this.contentCoding === '' ? value : `${this.contentCoding},${value}`;
        break;
      }
    }
    this.#field = NOT_FRAMING;
  }

  #sectionDone(bytes: Uint8Array, start: number, end: number): void {
    if (this.#mode === 'trailers') {
      const stop = end - EMPTY_LINE_BYTES;
      this.#trailers = stop === start ? '' : latin1(bytes, start, stop);
      this.#mode = 'ending';
      return;
    }
    const sink = this.#sink as ResponseSink;
    if (this.status <= STATUS_INTERIM_MAX) {
      if (this.status === 101) {
        this.#checkSwitch(bytes, start, end);
        this.#beginTunnel();
        sink.onHead(this, bytes, start, end);
        return;
      }
      this.#state = HTTP_VERSION;
      this.#beginHead();
      sink.onInterim(this, bytes, start, end);
      return;
    }
    if (this.#tunnels) this.#beginTunnel();
    else this.#decideFraming();
    sink.onHead(this, bytes, start, end);
  }

  #checkSwitch(bytes: Uint8Array, start: number, end: number): void {
    const offered = this.#offered;
    if (offered === '') throw this.#bad('it switches protocols (101), which was not asked for');
    if (isOffered(latin1(bytes, start, end), offered)) return;
    throw this.#bad(`it switches protocols (101), but its Upgrade does not name what was asked for, ${offered}`);
  }

  /** A 2xx to CONNECT, whatever its framing fields say: they are not looked at (RFC 9110 section 9.3.6; RFC 9112 section 6.3, rule 2). */
  get #tunnels(): boolean {
    return this.#connects && this.status > STATUS_INTERIM_MAX && this.status <= STATUS_SUCCESS_MAX;
  }

  #beginTunnel(): void {
    this.#frame('tunnel', -1, 'close');
    this.#bodyRoom = Number.POSITIVE_INFINITY;
    this.keepAlive = false;
    this.contentCoding = '';
  }

  /** RFC 9112 section 6.3, its rules in its order; with rule 3 made an error, and rule 4 too. */
  #decideFraming(): void {
    const length = this.#length;
    const chunked = this.#chunked;
    if (chunked && length !== LENGTH_UNSEEN) throw this.#bad('it has both Content-Length and Transfer-Encoding');
    if (chunked && this.minorVersion === 0) throw this.#bad('it has Transfer-Encoding, which HTTP/1.0 does not know');

    const hasBody = this.#bodyAllowed && this.status !== 204 && this.status !== 304;
    const bodyBytesMax = this.limits.bodyBytes;
    if (hasBody && bodyBytesMax !== 0 && length > bodyBytesMax) throw this.#tooLarge('bodyBytes');
    if (length === Number.POSITIVE_INFINITY) throw this.#bad('its Content-Length is above 2^53 - 1');

    this.contentLength = length;
    if (!hasBody) this.#frame('none', 0, 'ending');
    else if (chunked) this.#frame('chunked', -1, 'chunked');
    else if (length !== LENGTH_UNSEEN) this.#frame('length', length, length === 0 ? 'ending' : 'length');
    else this.#frame('close', -1, 'close');

    if (this.framing === 'close' || (this.#connection & OPTION_CLOSE) !== 0) this.keepAlive = false;
    else this.keepAlive = this.minorVersion === 1 || (this.#connection & OPTION_KEEP_ALIVE) !== 0;
  }

  #frame(framing: BodyFraming, remaining: number, mode: Mode): void {
    this.framing = framing;
    this.bodyRemaining = remaining;
    this.#mode = mode;
    this.#state = CHUNK_SIZE_FIRST;
    this.#chunkRemaining = 0;
    this.#chunkDigits = 0;
  }

  // ---- The body -------------------------------------------------------------------------------------------------------------

  #readLength(bytes: Uint8Array, start: number, end: number): number {
    const stop = Math.min(end, start + this.bodyRemaining);
    this.bodyRemaining -= stop - start;
    if (this.bodyRemaining === 0) this.#mode = 'ending';
    const more = (this.#sink as ResponseSink).onBody(this, bytes, start, stop);
    this.#paused = !more && this.bodyRemaining > 0;
    return stop;
  }

  /** Delivers what is allowed and refuses the byte after it, so that what was delivered does not depend on how the reads cut. */
  #readToClose(bytes: Uint8Array, start: number, end: number): number {
    if (this.#bodyRoom === 0) throw this.#tooLarge('bodyBytes');
    const stop = Math.min(end, start + this.#bodyRoom);
    this.#bodyRoom -= stop - start;
    this.#paused = !(this.#sink as ResponseSink).onBody(this, bytes, start, stop);
    return stop;
  }

  /** Goes through chunks until the read ends, the sink pauses, or the last chunk is over. */
  #readChunks(bytes: Uint8Array, start: number, end: number): number {
    const sink = this.#sink as ResponseSink;
    let state = this.#state;
    let at = start;
    while (at < end) {
      const byte = bytes[at];
      switch (state) {
        case CHUNK_SIZE_FIRST:
        case CHUNK_SIZE: {
          const digit = HEX_VALUE[byte];
          if (digit < 16) {
            this.#chunkRemaining = this.#chunkRemaining * 16 + digit;
            if (++this.#chunkDigits > CHUNK_SIZE_DIGITS_MAX || this.#chunkRemaining > Number.MAX_SAFE_INTEGER) {
              throw this.#bad('a chunk size has more than 16 digits or is above 2^53 - 1');
            }
            at++;
            state = CHUNK_SIZE;
            break;
          }
          if (state === CHUNK_SIZE_FIRST) throw this.#badChunk(bytes, at, end, 'a chunk size in hexadecimal was due');
          state = extensionStart(byte);
          if (state === EXTENSION_REFUSED) {
            throw this.#badChunk(bytes, at, end, 'only ";" or CRLF may follow a chunk size');
          }
          if (state !== CHUNK_LF && --this.#extensionRoom < 0) throw this.#tooLarge('chunkExtensionBytes');
          at++;
          break;
        }
        case CHUNK_LF:
          if (byte !== LF) throw this.#badChunk(bytes, at, end, 'LF was due after CR');
          at++;
          this.#chunkDigits = 0;
          if (this.#chunkRemaining === 0) {
            this.#mode = 'trailers';
            this.#beginSection(LINE_START, this.limits.trailerBytes + EMPTY_LINE_BYTES);
            return at;
          }
          if (this.#chunkRemaining > this.#bodyRoom) throw this.#tooLarge('bodyBytes');
          this.#bodyRoom -= this.#chunkRemaining;
          state = CHUNK_DATA;
          break;
        case CHUNK_DATA: {
          const stop = Math.min(end, at + this.#chunkRemaining);
          const from = at;
          at = stop;
          this.#chunkRemaining -= stop - from;
          if (this.#chunkRemaining === 0) state = CHUNK_DATA_CR;
          this.#state = state;
          if (!sink.onBody(this, bytes, from, stop)) {
            this.#paused = true;
            return at;
          }
          if (this.#mode !== 'chunked') return at;
          break;
        }
        case CHUNK_DATA_CR:
          if (byte !== CR) throw this.#badChunk(bytes, at, end, 'CRLF was due after the data of a chunk');
          at++;
          state = CHUNK_DATA_LF;
          break;
        case CHUNK_DATA_LF:
          if (byte !== LF) throw this.#badChunk(bytes, at, end, 'LF was due after CR');
          at++;
          state = CHUNK_SIZE_FIRST;
          break;
        default:
          state = nextExtensionState(state, byte);
          if (state === EXTENSION_REFUSED) throw this.#badChunk(bytes, at, end, 'a chunk extension is malformed');
          if (state !== CHUNK_LF && --this.#extensionRoom < 0) throw this.#tooLarge('chunkExtensionBytes');
          at++;
          break;
      }
    }
    this.#state = state;
    return at;
  }

  #end(): void {
    const trailers = this.#trailers;
    this.#trailers = '';
    this.#mode = 'idle';
    this.complete = true;
    (this.#sink as ResponseSink).onEnd(this, trailers);
  }

  // ---- Failures -------------------------------------------------------------------------------------------------------------

  #fail(code: TransferCode, message: string, limit?: string): TransferError {
    const phase = this.#mode === 'head' ? 'head' : 'body';
    this.#failure = new TransferError(code, message, { phase, limit });
    this.#mode = 'failed';
    return this.#failure;
  }

  #bad(how: string): TransferError {
    return this.#fail('BAD_RESPONSE', `The response is not valid HTTP/1.1: ${how}.`);
  }

  #badVersion(bytes: Uint8Array, fault: number, end: number): TransferError {
    return this.#fail('BAD_RESPONSE', versionFault(bytes, this.#lineStart, fault, end));
  }

  #badStatus(bytes: Uint8Array, fault: number, end: number): TransferError {
    return this.#bad(statusFault(bytes, this.#lineStart, fault, end));
  }

  #badLine(part: LinePart, bytes: Uint8Array, fault: number, end: number): TransferError {
    const section = this.#mode === 'trailers' ? 'in its trailers, ' : '';
    return this.#bad(section + lineFault(part, bytes, this.#lineStart, fault, end));
  }

  #badChunk(bytes: Uint8Array, fault: number, end: number, how: string): TransferError {
    return this.#bad(`in its chunked coding, ${how}, not ${excerptBytes(bytes, fault, end)}`);
  }

  #tooLarge(limit: ParserLimit): TransferError {
    return this.#fail('LIMIT_EXCEEDED', limitFault(limit, this.limits[limit]), `limits.${limit}`);
  }
}

function latin1(bytes: Uint8Array, start: number, end: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString('latin1');
}
