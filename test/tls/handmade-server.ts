/**
 * The server's side of one TLS 1.2 connection (RFC 5246), made by hand, so that it can say what no TLS library lets a server say:
 * a protocol or a cipher that the client did not offer, a handshake that stops between two messages, records of no bytes. Right
 * in all that a script does not change, and no wider than these tests need: one cipher suite, P-256 or a given Diffie-Hellman group.
 */

import {
  createCipheriv,
  createDecipheriv,
  createDiffieHellman,
  createECDH,
  createHash,
  createHmac,
  type DiffieHellman,
  type ECDH,
  randomBytes,
  sign,
  X509Certificate,
} from 'node:crypto';
import type net from 'node:net';
import { pem } from './rig.ts';

export interface Script {
  /** A file of `certificates/`. Default `good`. */
  readonly certificate?: string;
  /** Default: ECDHE-ECDSA-AES128-GCM-SHA256, the one that works. */
  readonly cipherSuite?: number;
  /** The version of the ServerHello. Default 0x0303, TLS 1.2. */
  readonly version?: number;
  /** Chosen whether offered or not. Default: none. */
  readonly alpn?: string;
  /** The prime of an ephemeral Diffie-Hellman exchange with generator 2, signed with RSA, in place of P-256. */
  readonly prime?: Buffer;
  /** After so many of its messages nothing more is said: ServerHello, Certificate, ServerKeyExchange, ServerHelloDone, Finished. */
  readonly messagesMax?: number;
}

export const CHANGE_CIPHER_SPEC = 20;
export const ALERT = 21;
export const HANDSHAKE = 22;
export const APPLICATION_DATA = 23;

const ECDHE_ECDSA_AES128_GCM = 0xc02b;
const CLIENT_HELLO = 1;
const SERVER_HELLO = 2;
const CERTIFICATE = 11;
const SERVER_KEY_EXCHANGE = 12;
const SERVER_HELLO_DONE = 14;
const CLIENT_KEY_EXCHANGE = 16;
const FINISHED = 20;
const RECORD_BYTES_MAX = 16 * 1024;
const TAG_BYTES = 16;

const u8 = (value: number): Buffer => Buffer.from([value]);
const u16 = (value: number): Buffer => Buffer.from([value >> 8, value & 255]);
const u24 = (value: number): Buffer => Buffer.from([value >> 16, (value >> 8) & 255, value & 255]);
/** With its length before it, in 1, 2 or 3 bytes. */
const vector8 = (bytes: Buffer): Buffer => Buffer.concat([u8(bytes.length), bytes]);
const vector16 = (bytes: Buffer): Buffer => Buffer.concat([u16(bytes.length), bytes]);
const vector24 = (bytes: Buffer): Buffer => Buffer.concat([u24(bytes.length), bytes]);

/** RFC 5246 §5, with SHA-256. */
function derive(secret: Buffer, label: string, seed: Buffer, length: number): Buffer {
  const hmac = (bytes: Buffer): Buffer => createHmac('sha256', secret).update(bytes).digest();
  const whole = Buffer.concat([Buffer.from(label, 'latin1'), seed]);
  const parts: Buffer[] = [];
  for (let link = hmac(whole); parts.length * 32 < length; link = hmac(link)) {
    parts.push(hmac(Buffer.concat([link, whole])));
  }
  return Buffer.concat(parts).subarray(0, length);
}

/** Records of one direction, by AES-128-GCM (RFC 5288). */
class Protection {
  #sequence = 0n;
  readonly #key: Buffer;
  readonly #salt: Buffer;

  constructor(key: Buffer, salt: Buffer) {
    this.#key = key;
    this.#salt = salt;
  }

  #next(type: number, length: number): { sequence: Buffer; additional: Buffer } {
    const sequence = Buffer.alloc(8);
    sequence.writeBigUInt64BE(this.#sequence++);
    return { sequence, additional: Buffer.concat([sequence, u8(type), u16(0x0303), u16(length)]) };
  }

  seal(type: number, bytes: Buffer): Buffer {
    const { sequence, additional } = this.#next(type, bytes.length);
    const cipher = createCipheriv('aes-128-gcm', this.#key, Buffer.concat([this.#salt, sequence])).setAAD(additional);
    return Buffer.concat([sequence, cipher.update(bytes), cipher.final(), cipher.getAuthTag()]);
  }

  open(type: number, sealed: Buffer): Buffer {
    const end = sealed.length - TAG_BYTES;
    const { additional } = this.#next(type, end - 8);
    const nonce = Buffer.concat([this.#salt, sealed.subarray(0, 8)]);
    const decipher = createDecipheriv('aes-128-gcm', this.#key, nonce).setAAD(additional);
    decipher.setAuthTag(sealed.subarray(end));
    return Buffer.concat([decipher.update(sealed.subarray(8, end)), decipher.final()]);
  }
}

export class HandmadeServer {
  /** What the client sent: plaintext, and the bytes of its alerts, two each. */
  received = '';
  readonly alerts: Buffer[] = [];
  readonly #socket: net.Socket;
  readonly #script: Script;
  readonly #onRequest: (server: HandmadeServer) => void;
  readonly #transcript: Buffer[] = [];
  readonly #random = randomBytes(32);
  #clientRandom: Buffer = Buffer.alloc(0);
  #waiting: Buffer = Buffer.alloc(0);
  readonly #exchange: ECDH | DiffieHellman;
  #master: Buffer = Buffer.alloc(0);
  #incoming: Protection | null = null;
  #outgoing: Protection | null = null;
  #keys: { incoming: Protection; outgoing: Protection } | null = null;
  #said = 0;

  /** `onRequest`: each time that what was received ends with an empty line. */
  constructor(socket: net.Socket, script: Script, onRequest: (server: HandmadeServer) => void) {
    this.#socket = socket;
    this.#script = script;
    this.#onRequest = onRequest;
    this.#exchange = script.prime ? createDiffieHellman(script.prime, 2) : createECDH('prime256v1');
    socket.on('error', () => undefined);
    socket.on('data', (chunk) => {
      this.#waiting = Buffer.concat([this.#waiting, chunk]);
      this.#readRecords();
    });
  }

  /** In records of 16 KiB at most. */
  send(text: string): void {
    const bytes = Buffer.from(text, 'latin1');
    for (let at = 0; at < bytes.length; at += RECORD_BYTES_MAX) {
      this.sendRecord(APPLICATION_DATA, bytes.subarray(at, at + RECORD_BYTES_MAX));
    }
  }

  sendRecord(type: number, bytes: Buffer): void {
    const fragment = this.#outgoing === null ? bytes : this.#outgoing.seal(type, bytes);
    this.#socket.write(Buffer.concat([u8(type), u16(0x0303), vector16(fragment)]));
  }

  #readRecords(): void {
    while (this.#waiting.length >= 5) {
      const end = 5 + this.#waiting.readUInt16BE(3);
      if (this.#waiting.length < end) return;
      const type = this.#waiting[0] as number;
      const fragment = this.#waiting.subarray(5, end);
      this.#waiting = this.#waiting.subarray(end);
      this.#onRecord(type, this.#incoming === null ? fragment : this.#incoming.open(type, fragment));
    }
  }

  #onRecord(type: number, bytes: Buffer): void {
    if (type === ALERT) this.alerts.push(bytes);
    if (type === CHANGE_CIPHER_SPEC) this.#incoming = this.#keys?.incoming ?? null;
    if (type === HANDSHAKE) this.#onHandshake(bytes);
    if (type !== APPLICATION_DATA) return;
    this.received += bytes.toString('latin1');
    if (this.received.endsWith('\r\n\r\n')) this.#onRequest(this);
  }

  /** OpenSSL's client sends each message in a record of its own. */
  #onHandshake(message: Buffer): void {
    this.#transcript.push(message);
    const body = message.subarray(4);
    if (message[0] === CLIENT_HELLO) this.#onClientHello(body);
    if (message[0] === CLIENT_KEY_EXCHANGE) this.#onKeyExchange(body);
    if (message[0] === FINISHED) this.#finish();
  }

  #onClientHello(body: Buffer): void {
    const { cipherSuite = ECDHE_ECDSA_AES128_GCM, version = 0x0303, alpn } = this.#script;
    this.#clientRandom = Buffer.from(body.subarray(2, 34));
    // Secure renegotiation (RFC 5746), without which OpenSSL goes no further; ALPN (RFC 7301).
    const extensions: Buffer[] = [Buffer.from([0xff, 0x01, 0, 1, 0])];
    if (alpn !== undefined) extensions.push(u16(16), vector16(vector16(vector8(Buffer.from(alpn)))));
    const hello = [u16(version), this.#random, u8(0), u16(cipherSuite), u8(0), vector16(Buffer.concat(extensions))];
    this.#say(SERVER_HELLO, Buffer.concat(hello));
    const certificate = new X509Certificate(pem(this.#script.certificate ?? 'good'));
    this.#say(CERTIFICATE, vector24(vector24(certificate.raw)));
    this.#say(SERVER_KEY_EXCHANGE, this.#keyExchange());
    this.#say(SERVER_HELLO_DONE, Buffer.alloc(0));
  }

  #keyExchange(): Buffer {
    const { prime, certificate = 'good' } = this.#script;
    const share = this.#exchange.generateKeys();
    const parameters =
      prime === undefined
        ? Buffer.concat([u8(3), u16(23), vector8(share)])
        : Buffer.concat([vector16(prime), vector16(u8(2)), vector16(share)]);
    const signature = sign('sha256', Buffer.concat([this.#clientRandom, this.#random, parameters]), pem(certificate));
    return Buffer.concat([parameters, u16(prime === undefined ? 0x0403 : 0x0401), vector16(signature)]);
  }

  #onKeyExchange(body: Buffer): void {
    const isCurve = this.#script.prime === undefined;
    let secret: Buffer = this.#exchange.computeSecret(body.subarray(isCurve ? 1 : 2));
    // RFC 5246 §8.1.2: of Diffie-Hellman's, leading zeros are left out.
    if (!isCurve) secret = secret.subarray(secret.findIndex((byte) => byte !== 0));
    this.#master = derive(secret, 'master secret', Buffer.concat([this.#clientRandom, this.#random]), 48);
    const block = derive(this.#master, 'key expansion', Buffer.concat([this.#random, this.#clientRandom]), 40);
    this.#keys = {
      incoming: new Protection(block.subarray(0, 16), block.subarray(32, 36)),
      outgoing: new Protection(block.subarray(16, 32), block.subarray(36, 40)),
    };
  }

  #finish(): void {
    if (this.#isSilent()) return;
    this.sendRecord(CHANGE_CIPHER_SPEC, u8(1));
    this.#outgoing = this.#keys?.outgoing ?? null;
    const hash = createHash('sha256').update(Buffer.concat(this.#transcript)).digest();
    this.#say(FINISHED, derive(this.#master, 'server finished', hash, 12));
  }

  #isSilent(): boolean {
    return this.#said >= (this.#script.messagesMax ?? Number.POSITIVE_INFINITY);
  }

  #say(type: number, body: Buffer): void {
    if (this.#isSilent()) return;
    this.#said++;
    const message = Buffer.concat([u8(type), vector24(body)]);
    this.#transcript.push(message);
    this.sendRecord(HANDSHAKE, message);
  }
}
