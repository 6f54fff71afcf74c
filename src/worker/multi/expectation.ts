/**
 * `Expect: 100-continue` (RFC 9110 §10.1.1): a request whose head is written waits here with its body, until the server says 100 or
 * has said nothing for as long as the request wants to wait. What an answer means is `connection.ts`'s.
 */

import type { Connection } from './connection.ts';
import type { Multi } from './multi.ts';
import { TimerNode, type TimerOwner } from './timer-queue.ts';
import type { Transfer } from './transfer.ts';

const FIELD = 'expect: 100-continue\r\n';

/** `head` with the field, before its empty line. */
export function withExpect(head: string): string {
  return `${head.slice(0, -2)}${FIELD}\r\n`;
}

export class Expectation implements TimerOwner {
  readonly #multi: Multi;
  readonly #connection: Connection;
  readonly #timer = new TimerNode(this);

  constructor(multi: Multi, connection: Connection, waitMs: number) {
    this.#multi = multi;
    this.#connection = connection;
    multi.timers.set(this.#timer, multi.now + waitMs);
  }

  get transfer(): Transfer | null {
    return this.#connection.transfer;
  }

  /** The server is silent: it may not know the field (libcurl does the same after CURLOPT_EXPECT_100_TIMEOUT_MS). */
  onTimer(): void {
    this.#connection.sendBody();
  }

  stop(): void {
    this.#multi.timers.cancel(this.#timer);
  }
}
