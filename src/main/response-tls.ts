/** What a response tells of its connection's TLS. The peer's certificate stays in the shard until somebody asks for it. */

import { describeCertificate } from '../protocol/identity-function.ts';
import type { TlsFacts } from '../protocol/port/response-frames.ts';
import type { PeerCertificateInfo } from '../protocol/tls-options.ts';

/** Who has certificates, by the numbers that stand in heads of responses. */
export interface CertificateSource {
  /** As DER. Rejects when it is no longer known. */
  peerCertificate(number: number): Promise<Uint8Array>;
}

/** How the connection is secured. */
export class ResponseTls {
  /** `TLSv1.3`. */
  readonly protocol: string;
  /** OpenSSL's name of the cipher suite. */
  readonly cipher: string;
  /** Whether an earlier connection's session was resumed. */
  readonly resumed: boolean;
  /** What the peer chose by ALPN; '': nothing. */
  readonly alpn: string;
  /** Whether the certificate verified; false only with `rejectUnauthorized: false`. */
  readonly verified: boolean;
  readonly #certificate: number;
  readonly #source: CertificateSource | null;

  /** @internal */
  constructor({ protocol, cipher, resumed, alpn, verified, certificate }: TlsFacts, source: CertificateSource | null) {
    this.protocol = protocol;
    this.cipher = cipher;
    this.resumed = resumed;
    this.alpn = alpn;
    this.verified = verified;
    this.#certificate = certificate;
    this.#source = source;
  }

  /**
   * The peer's certificate as Node shows it (`tls.TLSSocket.getPeerCertificate()`), `raw` being its DER; for more of it make an
   * `X509Certificate` of that. null: it showed none. It is asked of the shard, which keeps those of the last 1,000 peers, so it is
   * there after the connection has closed, too; rejects with a TransferError when it or its shard is gone.
   */
  async peerCertificate(): Promise<PeerCertificateInfo | null> {
    if (this.#certificate === 0 || this.#source === null) return null;
    return describeCertificate(await this.#source.peerCertificate(this.#certificate));
  }
}
