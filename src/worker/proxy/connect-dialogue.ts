/**
 * CONNECT (RFC 9110 §9.3.6): asks an HTTP proxy for a tunnel to host and port, and reads the head that it answers.
 *
 *     CONNECT example.org:443 HTTP/1.1
 *     host: example.org:443
 *     proxy-authorization: …                  and other fields of the option proxy, nothing of the request
 *
 * A 2xx opens the tunnel: it has no body, whatever its fields say, and what follows its head is the tunnel's (HOSTILE 120). As
 * neither TLS nor HTTP begins with the server's words, bytes right behind the head are nobody's, and end it. Everything else fails with the
 * status; that answer's body is not read.
 */

import { ResponseParser, type ResponseSink } from '../../protocol/http1/response-parser.ts';
import type { ProxyPlan } from '../../protocol/proxy-options.ts';
import { thrownText } from '../../protocol/thrown-text.ts';
import { hostPortText } from '../multi/route.ts';
import type { Dialogue } from './dialogue.ts';
import { connectRefused, proxyFailed } from './proxy-failure.ts';

/** Of the heads of one answer, interim ones included; as curl has it (HOSTILE 122). */
const HEAD_BYTES_MAX = 16 * 1024;
/** No proxy has so much to say. */
const HEADER_COUNT_MAX = 200;

export class ConnectDialogue implements Dialogue, ResponseSink {
  readonly outgoing: Uint8Array;
  readonly #proxy: ProxyPlan;
  /** `example.org:443`. */
  readonly #target: string;
  readonly #parser: ResponseParser;
  #reason = '';
  #answered = false;

  constructor(proxy: ProxyPlan, host: string, port: number, headBytesMax: number) {
    this.#proxy = proxy;
    this.#target = hostPortText(host, port);
    const { fields } = proxy;
    const head = `CONNECT ${this.#target} HTTP/1.1\r\nhost: ${this.#target}\r\n${fields}\r\n`;
    this.outgoing = Buffer.from(head, 'latin1');
    this.#parser = new ResponseParser({
      headBytes: Math.min(headBytesMax, HEAD_BYTES_MAX),
      headerCount: HEADER_COUNT_MAX,
      trailerBytes: 0,
      chunkExtensionBytes: 0,
      bodyBytes: 0,
    });
    this.#parser.begin('CONNECT', this);
  }

  receive(bytes: Uint8Array, start: number, end: number): 'listen' | 'open' {
    let consumed: number;
    try {
      consumed = this.#parser.execute(bytes, start, end);
    } catch (cause) {
      const reason = thrownText(cause).replace(/\.$/, '');
      throw proxyFailed(this.#proxy, `answered CONNECT ${this.#target} with what cannot be understood: ${reason}`, {
        cause,
      });
    }
    if (!this.#answered) return 'listen';
    const { status } = this.#parser;
    if (status < 200 || status > 299) throw connectRefused(this.#proxy, this.#target, status, this.#reason);
    if (consumed === end) return 'open';
    throw proxyFailed(
      this.#proxy,
      `sent ${end - consumed} bytes behind its answer to CONNECT ${this.#target}, before anything was asked through the tunnel`,
      { status },
    );
  }

  onInterim(): void {}

  /** With its head the answer is over: what follows is the tunnel's, or a body that nobody reads. */
  onHead(parser: ResponseParser, bytes: Uint8Array, start: number, end: number): void {
    this.#answered = true;
    parser.abandon();
    const head = Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString('latin1');
    this.#reason = /^\S+ \d+ ?(.*)\r\n/.exec(head)?.[1]?.trim() ?? '';
  }

  onBody(): boolean {
    return true;
  }

  onEnd(): void {}
}
