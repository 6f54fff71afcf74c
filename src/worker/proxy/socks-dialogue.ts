/**
 * SOCKS5 (RFC 1928) with user name and password (RFC 1929): asks for a connection to host and port. The host goes out as it is: a
 * name is resolved by the proxy, never here, under `socks5:` as under `socks5h:` (curl resolves the former's itself).
 *
 *     greeting     -> 05 01 00                   or 05 02 00 02, where there are credentials
 *                  <- 05 method                  00: none is asked for; 02: those of RFC 1929; ff: none of these
 *     credentials  -> 01 length user length password
 *                  <- 01 status                  00: right
 *     request      -> 05 01 00 address port      address: 01 four bytes, 04 sixteen bytes, or 03 length name
 *                  <- 05 reply 00 address port   00: connected, from the address
 *
 * An answer is judged as soon as its deciding byte is there: a proxy that refuses may send no more than that.
 */

import { isIP } from 'node:net';
import { v6Value } from '../../protocol/address-space.ts';
import type { ProxyPlan } from '../../protocol/proxy-options.ts';
import { hostPortText } from '../multi/route.ts';
import type { Dialogue } from './dialogue.ts';
import { credentialsRefused, proxyFailed } from './proxy-failure.ts';

type State = 'greeting' | 'credentials' | 'request';

const VERSION = 5;
const VERSION_OF_CREDENTIALS = 1;
const METHOD_NONE = 0;
const METHOD_CREDENTIALS = 2;
const METHOD_UNACCEPTABLE = 0xff;
const CONNECT = 1;
const ADDRESS_V4 = 1;
const ADDRESS_NAME = 3;
const ADDRESS_V6 = 4;
const GRANTED = 0;

const NAME_BYTES_MAX = 255;
/** Version, reply, reserved, kind of address, a name's length and 255 bytes, port. */
const ANSWER_BYTES_MAX = 4 + 1 + NAME_BYTES_MAX + 2;

const REPLIES: readonly string[] = [
  '',
  'a general failure',
  'its rules do not allow it',
  'the network is unreachable',
  'the host is unreachable',
  'the connection was refused',
  'the time to live has expired',
  'it does not know the command',
  'it does not know this kind of address',
];

export class SocksDialogue implements Dialogue {
  outgoing: Uint8Array;
  #state: State = 'greeting';
  readonly #proxy: ProxyPlan;
  readonly #host: string;
  readonly #port: number;
  readonly #answer = new Uint8Array(ANSWER_BYTES_MAX);
  #answerBytes = 0;

  constructor(proxy: ProxyPlan, host: string, port: number) {
    this.#proxy = proxy;
    this.#host = host;
    this.#port = port;
    if (isIP(host) === 0 && Buffer.byteLength(host) > NAME_BYTES_MAX) {
      throw proxyFailed(
        proxy,
        `cannot be told of a host name of ${Buffer.byteLength(host)} bytes; SOCKS takes ${NAME_BYTES_MAX}`,
      );
    }
    this.outgoing = Uint8Array.from(
      proxy.username === '' ? [VERSION, 1, METHOD_NONE] : [VERSION, 2, METHOD_NONE, METHOD_CREDENTIALS],
    );
  }

  receive(bytes: Uint8Array, start: number, end: number): 'speak' | 'listen' | 'open' {
    for (let index = start; index < end; index++) {
      this.#answer[this.#answerBytes++] = bytes[index] as number;
      if (!this.#judge()) continue;
      if (index + 1 < end) throw this.#failed(`sent ${end - index - 1} bytes more than SOCKS has in its answer`);
      return this.#next();
    }
    return 'listen';
  }

  /** Whether the answer is complete. */
  #judge(): boolean {
    const [version, second] = this.#answer as unknown as [number, number];
    const isFirst = this.#answerBytes === 1;
    if (this.#state === 'credentials') {
      // The version is not looked at, as in curl: there are proxies that say 05.
      if (isFirst) return false;
      if (second !== GRANTED) throw credentialsRefused(this.#proxy, this.#target, undefined, true);
      return true;
    }
    if (isFirst && version !== VERSION) throw this.#noSocks(version);
    if (isFirst) return false;
    if (this.#state === 'greeting') return true;
    if (second !== GRANTED) throw this.#refused(second);
    return this.#answerBytes >= this.#replyBytes();
  }

  /** Of the answer to the request, as far as it is known. */
  #replyBytes(): number {
    if (this.#answerBytes < 5) return ANSWER_BYTES_MAX;
    switch (this.#answer[3]) {
      case ADDRESS_V4:
        return 4 + 4 + 2;
      case ADDRESS_V6:
        return 4 + 16 + 2;
      case ADDRESS_NAME:
        return 4 + 1 + (this.#answer[4] as number) + 2;
      default:
        throw this.#failed(`answered with an address of the unknown kind ${this.#answer[3]}`);
    }
  }

  #next(): 'speak' | 'open' {
    const method = this.#answer[1] as number;
    this.#answerBytes = 0;
    switch (this.#state) {
      case 'greeting':
        this.#chosen(method);
        return 'speak';
      case 'credentials':
        this.#ask();
        return 'speak';
      case 'request':
        return 'open';
    }
    return this.#state satisfies never;
  }

  #chosen(method: number): void {
    const { username, password } = this.#proxy;
    if (method === METHOD_NONE) {
      this.#ask();
      return;
    }
    if (method === METHOD_UNACCEPTABLE) {
      throw credentialsRefused(this.#proxy, this.#target, undefined, username !== '');
    }
    if (method !== METHOD_CREDENTIALS || username === '') {
      throw this.#failed(`chose the method of authentication ${method}, which was not offered`);
    }
    const user = Buffer.from(username, 'utf8');
    const secret = Buffer.from(password, 'utf8');
    this.#state = 'credentials';
    this.outgoing = Uint8Array.from([VERSION_OF_CREDENTIALS, user.length, ...user, secret.length, ...secret]);
  }

  #ask(): void {
    this.#state = 'request';
    this.outgoing = Uint8Array.from([
      VERSION,
      CONNECT,
      0,
      ...addressBytes(this.#host),
      this.#port >> 8,
      this.#port & 0xff,
    ]);
  }

  get #target(): string {
    return hostPortText(this.#host, this.#port);
  }

  #noSocks(version: number): Error {
    const hint = version === 'H'.charCodeAt(0) ? ' (an HTTP proxy? its URL begins with http://)' : '';
    return this.#failed(`does not speak SOCKS5: its answer begins with byte ${version}${hint}`);
  }

  #refused(reply: number): Error {
    const why = REPLIES[reply] ?? 'for no reason that SOCKS5 knows';
    return proxyFailed(
      this.#proxy,
      `did not connect to ${this.#target}: ${why} (${reply}); it must be able and allowed to reach this target`,
      { status: reply, limit: 'proxy' },
    );
  }

  #failed(what: string): Error {
    return proxyFailed(this.#proxy, what);
  }
}

/** Kind and address as they stand in a request. */
function addressBytes(host: string): number[] {
  switch (isIP(host)) {
    case 4:
      return [ADDRESS_V4, ...host.split('.').map(Number)];
    case 6:
      return [ADDRESS_V6, ...v6Bytes(host)];
    default: {
      const name = Buffer.from(host, 'utf8');
      return [ADDRESS_NAME, name.length, ...name];
    }
  }
}

function v6Bytes(host: string): number[] {
  const value = v6Value(host.split('%', 1)[0] as string);
  return Array.from({ length: 16 }, (_, index) => Number((value >> BigInt(8 * (15 - index))) & 0xffn));
}
