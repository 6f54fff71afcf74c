/**
 * What is said between the main thread and a shard: frames, packed into batches that cross a MessagePort.
 *
 * Encoding. A batch is one ArrayBuffer in the machine's byte order (both ends are the same machine), read as 32-bit words:
 *
 *   word 0  BATCH_MAGIC    word 1  sequence number of the batch, from 1    word 2  bytes used, this header included
 *   then frames, each a whole number of words:
 *   word 0  bytes of the frame, header included    word 1  kind | flags << 8    word 2  transfer id    then by kind:
 *
 *   START    (main -> shard)  3 originShare  4,5 startMs (float64)  6 origin bytes  7 head bytes  8 body bytes, or -1 none,
 *                             9 attachment of the body, or -1    with FLAG_TIMEOUTS: 10 … 14 queueMs connectMs headMs
 *                             bodyIdleMs totalMs    with FLAG_STREAMED, behind these: the body's length (float64), -1 unknown
 *                             with FLAG_EXTRAS, behind these: bytes of the extras (see request-extras.ts)
 *                             then origin, head, extras as JSON in UTF-8, body as bytes
 *   BODY     (main -> shard)  as below: the next piece of a streamed request body
 *   END      (main -> shard)  as below: the request body is complete
 *   ABORT    (main -> shard)  nothing more: the transfer is removed, no answer comes
 *   CREDIT   (main -> shard)  3 body bytes that the main thread has handed on
 *   CREDIT   (shard -> main)  3 request body bytes that were written
 *   HEAD     (shard -> main)  3 status  4 info bytes  5 head bytes  6 body bytes    then info, head, body as bytes
 *                             with FLAG_ATTACHED, 6 is the attachment that is the body, and no body follows
 *   COMPLETE (shard -> main)  as HEAD: the response was complete when it left, and had no trailers
 *   BODY     (shard -> main)  3 body bytes  4 attachment, or -1    then the body, unless attached
 *   END      (shard -> main)  3 timing of the end  4 trailer bytes    then the trailers as bytes
 *   ERROR    (shard -> main)  3 bytes    then the error as JSON in UTF-8 (see error-encoding.ts)
 *   INTERIM  (shard -> main)  3 status  4 head bytes    then the head of a 1xx response, where its request asked for those
 *   SESSION  (both ways)      3 key bytes  4 session bytes    then the key in UTF-8, a TLS session as bytes. Transfer id 0
 *
 * Who must answer. A batch is answered by returning its buffer, with the next batch the other way or alone; a sender has at
 * most two unanswered batches (see batch-link.ts). A START is answered by COMPLETE, or HEAD then BODY… then END, or ERROR at
 * any point; or not at all after an ABORT. Body bytes flow under credit: a shard sends INITIAL_CREDIT_BYTES unasked, then as
 * many as CREDIT frames allow; a streamed request body likewise the other way. What a caller has not read counts in its shard
 * until it is read: CREDIT for a response body goes on after its END or ERROR, until all of it was handed on or dropped, unless
 * the body was no longer than UNCOUNTED_BODY_BYTES or came as COMPLETE. An ABORT settles it at once.
 *
 * A timing is a word: microseconds since the start of the transfer, or -1: it has not happened. What lies beyond 2^31 of them, 35.8
 * minutes, is told in whole milliseconds n, as -2 - n: up to 24.8 days, at which it stops.
 *
 * An attachment is an ArrayBuffer of its own that is transferred beside the batch: large bodies are moved, not copied.
 */

export const BATCH_MAGIC = 0x53464231;
export const BATCH_HEADER_BYTES = 12;
export const FRAME_HEADER_WORDS = 3;

export const START = 1;
export const ABORT = 2;
export const CREDIT = 3;
export const HEAD = 16;
export const COMPLETE = 17;
export const BODY = 18;
export const END = 19;
export const ERROR = 20;
/** A TLS session that one shard has set aside for another: control, which rides in batches that go anyway. */
export const SESSION = 21;
export const INTERIM = 22;

/** START: the five timeouts follow; otherwise the pool's apply. */
export const FLAG_TIMEOUTS = 1;
/** START: the body comes in BODY frames, then END. */
export const FLAG_STREAMED = 2;
/** START: it has extras. */
export const FLAG_EXTRAS = 4;
/** HEAD: the connection had served others. */
export const FLAG_REUSED = 1;
/** HEAD: the peer answered in HTTP/1.0. */
export const FLAG_HTTP_1_0 = 2;
/** SESSION: for one connection of one shard. */
export const FLAG_SINGLE = 1;
/** HEAD, COMPLETE: the connection has TLS. */
export const FLAG_SECURE = 4;
/** HEAD: it came through a proxy, whose name stands behind the address. */
export const FLAG_PROXIED = 16;

/** HEAD, COMPLETE: the whole body is an attachment. */
export const FLAG_ATTACHED = 8;

/** What a shard may send of a body before the main thread asks for more. */
export const INITIAL_CREDIT_BYTES = 1024 * 1024;
/** What each body may still have unread once the budget of its shard is used up: all make progress, none much. */
export const WINDOW_BYTES_MIN = 64 * 1024;

/** A response body that is not longer needs no CREDIT once it has ended, and gets none. */
export const UNCOUNTED_BODY_BYTES = WINDOW_BYTES_MIN;

/** Bodies above this are moved as attachments, received straight into a buffer of their length; below it, copying is cheaper. */
export const ATTACHED_BODY_BYTES = 16 * 1024;

/** Info of a HEAD frame: INFO_TIMINGS timings, then the remote address as text. */
export const INFO_TIMINGS = 7;
export const INFO_TIMINGS_BYTES = INFO_TIMINGS * 4;

/** The part of a MessagePort that a link needs. */
export interface PortLike {
  postMessage(value: unknown, transfer: readonly ArrayBuffer[]): void;
}

/** What crosses a port: a batch or none, a buffer returned or none, then the batch's attachments. */
export type PortMessage = [batch: ArrayBuffer | null, returned: ArrayBuffer | null, ...attachments: ArrayBuffer[]];
